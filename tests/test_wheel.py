"""A wheel holds all that the library needs: built, installed into an empty folder and tried there."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copy2, copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parents[1]
TRIAL = """
import sys
from pathlib import Path
import xfvlib as xfv
from xfvlib.files import DATA, cache_folder
from xfvlib.pairs import orl_photo_path

installed, home = Path(sys.argv[1]), Path.home()
assert Path(xfv.__file__).is_relative_to(installed) and DATA.is_relative_to(installed), (xfv.__file__, DATA)
assert cache_folder().is_relative_to(home), cache_folder()
model, pairs = xfv.load_model(), xfv.load_pairs("orl")
assert model.threshold is not None and len(pairs) == 600
found = xfv.explain(model, pairs[0], method="gradient")
assert found.map_a.shape == pairs[0].a.shape[1:]
table = home / "pairs.csv"
table.write_text(f"path_a,path_b,same\\n{orl_photo_path('s1/1')},{orl_photo_path('s1/2')},1\\n")
assert xfv.load_pairs("csv", file=table)[0].same
assert len(list(cache_folder().rglob("*.npy"))) == 2  # landmarks found
assert len(list(cache_folder().rglob("*.safetensors"))) == 1
print(xfv.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of what a checkout holds, so that the build leaves nothing there."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        copy2(ROOT / name, source)
    copytree(ROOT / "xfvlib", source / "xfvlib", ignore=ignore_patterns("__pycache__"))
    copytree(ROOT / "data", source / "data", ignore=ignore_patterns("cache", "results"))
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", out, source], check=True)
    return next(out.glob("*.whl"))


def test_a_wheel_holds_every_module_and_the_tables_but_no_results(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "xfvlib").rglob("*.py")}
    tables = {f"xfvlib/data/{path.name}" for path in (ROOT / "data").glob("*.csv")}
    scripts = {f"xfvlib/{path.name}" for kind in ("js", "html") for path in (ROOT / "xfvlib").glob(f"*.{kind}")}
    assert names == modules | tables | scripts | {"xfvlib/py.typed"}


def test_a_wheel_works_away_from_the_checkout(wheel, tmp_path):
    installed, home = tmp_path / "installed", tmp_path / "home"
    home.mkdir()
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--target", installed]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, wheel], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XFV_", "XDG_"))}
    environment = kept | {"PYTHONPATH": str(installed), "HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRIAL, installed]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == wheel.name.split("-")[1]
