"""Where files are kept, how they are read, and how they are written."""

import importlib.util
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from xfvlib import files


def installed(folder):
    """The module as it lies in a wheel, with its data beside it."""
    (folder / "xfvlib" / "data").mkdir(parents=True)
    shutil.copy(files.__file__, folder / "xfvlib")
    spec = importlib.util.spec_from_file_location("files_of_a_wheel", folder / "xfvlib" / "files.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_wheel_has_its_own_data_and_the_users_cache(tmp_path, monkeypatch):
    module = installed(tmp_path / "site-packages")
    monkeypatch.delenv("XFV_CACHE", raising=False)
    assert tmp_path / "site-packages" / "xfvlib" / "data" == module.DATA
    assert module.cache_folder() == platformdirs.user_cache_path("xfvlib")
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "mine"))
    assert module.cache_folder() == files.cache_folder() == tmp_path / "mine"


def test_a_checkout_has_its_folders():
    assert all((files.DATA / f"{name}.csv").is_file() for name in ("orl_pairs", "orl_landmarks", "lfw_landmarks"))


def test_a_checkout_keeps_its_cache_to_itself(monkeypatch):
    monkeypatch.delenv("XFV_CACHE", raising=False)
    if (Path(files.__file__).parent / "data").is_dir():
        pytest.skip("the library is installed from a wheel")
    assert files.cache_folder() == files.DATA / "cache"


def test_only_regular_files_of_a_bearable_size_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    assert files.read_bytes(tmp_path / "file", 7, "letter") == files.read_bytes(str(tmp_path / "file"), 9, "letter")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(3_000_000_000)  # takes no room on the disk
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, error, words in (
        ("large", ValueError, "3000 MB; a letter"),
        ("pipe", ValueError, "pipe"),
        (".", ValueError, "folder"),
        ("/dev/zero", ValueError, "device"),
        ("absent", FileNotFoundError, "no letter"),
        ("loop", FileNotFoundError, "symbolic links"),
        ("x" * 300, FileNotFoundError, "too long"),
    ):
        with pytest.raises(error, match=words):
            files.read_bytes(tmp_path / name, 1_000_000, "letter")


def test_text_is_utf8_with_or_without_a_mark(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "text").write_text("später", encoding=encoding)
        assert files.read_text(tmp_path / "text", 99, "letter") == "später"
    for encoding in ("latin-1", "utf-16"):
        (tmp_path / "text").write_text("später", encoding=encoding)
        with pytest.raises(ValueError, match="UTF-8"):
            files.read_text(tmp_path / "text", 99, "letter")


def test_a_kept_array_is_made_once_and_again_when_it_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path))
    made = []
    get = lambda: files.kept_array("some/row", lambda: made.append(1) or np.arange(9.0), 9)
    assert np.array_equal(get(), np.arange(9)) and np.array_equal(get(), np.arange(9)) and len(made) == 1
    whole = (tmp_path / "some" / "row.npy").read_bytes()
    for damage in (b"", b"no array", whole[:-20], whole.replace(b"(9,)", b"(9999999999999,)")):
        (tmp_path / "some" / "row.npy").write_bytes(damage)
        assert np.array_equal(get(), np.arange(9))
    assert len(made) == 5


def test_interrupted_write_leaves_nothing(tmp_path):
    target = tmp_path / "deep" / "file.txt"

    def interrupted(temporary):
        hidden = temporary.parent  # a folder beside the target
        assert hidden.name.startswith(".") and hidden.parent == target.parent
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(target, interrupted)
    assert list(target.parent.iterdir()) == []
    files.write_whole(target, lambda temporary: temporary.write_text("whole"))
    assert [p.name for p in target.parent.iterdir()] == ["file.txt"]


def test_interrupted_write_keeps_the_former_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("former")
    with pytest.raises(ZeroDivisionError):
        files.write_whole(target, lambda temporary: 1 / 0)
    assert target.read_text() == "former"


def test_threads_that_write_one_file_do_not_meet(tmp_path):
    def write(number):
        def slowly(temporary):
            for _ in range(200):
                with temporary.open("a") as file:
                    file.write(f"{number}\n")

        files.write_whole(tmp_path / "file.txt", slowly)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    lines = (tmp_path / "file.txt").read_text().splitlines()
    assert len(lines) == 200 and len(set(lines)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_what_is_written_can_be_read_as_other_files_can(tmp_path):
    (tmp_path / "plain").touch()
    files.write_whole(tmp_path / "whole", lambda temporary: temporary.write_text("text"))
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "whole")}
    assert len(modes) == 1
