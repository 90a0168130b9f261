"""Where files are kept, and how they are written: whole or not at all."""

import os
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data"


def cache_folder():
    """Folder for whatever can be computed again: ``$XFV_CACHE``, or ``data/cache`` of the workbook."""
    return Path(os.environ.get("XFV_CACHE") or DATA / "cache")


def write_whole(path, write, advice="or set the environment variable XFV_CACHE to a folder that is"):
    """Call ``write(temporary_path)`` and rename the result to ``path``: a reader never sees half a file.

    Raises PermissionError, naming the way out (``advice``), when the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise PermissionError(f"cannot write to {path.parent} ({error.strerror}): make it writable, {advice}") from error
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
