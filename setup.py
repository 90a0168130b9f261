"""A wheel also holds the tables that the library reads, from ``data`` of the checkout, as ``xfvlib/data``."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithTables(build_py):
    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        shutil.rmtree(self.build_lib, ignore_errors=True)  # modules of an earlier build would come along
        super().run()
        self.mkpath(f"{self.build_lib}/xfvlib/data")
        for table in Path("data").glob("*.csv"):
            self.copy_file(str(table), f"{self.build_lib}/xfvlib/data/{table.name}")


setup(cmdclass={"build_py": BuildWithTables})
