"""Where files are kept, how they are read, and how they are written: whole or not at all."""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs

_INSTALLED, _CHECKOUT = (Path(__file__).resolve().parents[up] / "data" for up in (0, 1))
DATA = (_INSTALLED if _INSTALLED.is_dir() else _CHECKOUT).resolve()  # the protocol, landmarks and thresholds


def cache_folder() -> Path:
    """Folder for what can be computed again: ``$XFV_CACHE``, or ``data/cache`` of a checkout, or the user's cache."""
    ours = DATA / "cache" if DATA == _CHECKOUT else platformdirs.user_cache_path("xfvlib")
    return Path(os.environ.get("XFV_CACHE") or ours)


def read_bytes(path: str | Path, most: int, what: str) -> bytes:
    """Content of a file of at most ``most`` bytes; ``what`` is for the errors, such as "photograph".

    Raises FileNotFoundError when there is none that can be read; ValueError for a folder, a pipe, a device, and for a
    larger file.
    """
    path = Path(path)
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and found.st_size <= most:
            return path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
        raise FileNotFoundError(f"there is no {what} {path} that can be read ({error})") from error
    given = f"has {found.st_size / 1e6:.0f} MB" if stat.S_ISREG(found.st_mode) else "is a folder, a pipe or a device"
    raise ValueError(f"{path} {given}; a {what} in a file of at most {most / 1e6:.0f} MB is needed")


def read_text(path: str | Path, most: int, what: str) -> str:
    """Text of a file in UTF-8; arguments and errors as for :func:`read_bytes`, and ValueError for another encoding."""
    try:
        return read_bytes(path, most, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 (byte {error.start}); save it in that encoding") from error


def kept_array(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of that name in the cache folder; one that is missing or damaged is made and kept."""
    path = cache_folder() / f"{name}.npy"
    try:
        return np.load(path)
    except (OSError, ValueError, EOFError):
        array = make()
        write_whole(path, lambda temporary: np.save(temporary, array))
        return array


def write_whole(path: str | Path, write: Callable, advice: str = "or set XFV_CACHE to a folder that is") -> None:
    """Call ``write(temporary_path)`` and rename the result to ``path``: a reader never sees half a file.

    Raises PermissionError, naming the way out (``advice``), when the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}-{path.name}")  # mkstemp's are for their owner's eyes only
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise PermissionError(f"cannot write to {path.parent}: make it writable, {advice}") from error
    try:
        write(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
