"""Errors in words: of what is caught, and of packages that only a part of the library needs, the extras of its own."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


@contextmanager
def reworded(caught: type[Exception] | tuple, error: type[Exception], message: str) -> Iterator[None]:
    """Around what may fail: ``caught`` becomes an ``error`` of this message, with the reason in brackets.

    Example:
        >>> with reworded(KeyError, ValueError, "there is no such crop"):
        ...     {}["s1/1"]
        Traceback (most recent call last):
        ValueError: there is no such crop (KeyError: 's1/1')
    """
    try:
        yield
    except caught as reason:
        words = str(reason).partition(" <_io")[0].partition("\n")[0]  # without PIL's address in memory, torch's advice
        raise error(f"{message} ({type(reason).__name__}: {words})") from reason


def extra(name: str) -> AbstractContextManager[None]:
    """Around imports: an ImportError that says how to install what is missing.

    Args:
        name: the extra of ``xfvlib`` that the packages belong to, such as "sweep".

    Example:
        >>> with extra("onnx"):
        ...     import absent
        Traceback (most recent call last):
        ImportError: a package is lacking: pip install 'xfvlib[onnx]' (ModuleNotFoundError: No module named 'absent')
    """
    return reworded(ModuleNotFoundError, ImportError, f"a package is lacking: pip install 'xfvlib[{name}]'")
