"""Packages that only a part of the library needs, the extras of its own package."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports: an ImportError that says how to install what is missing.

    Args:
        name: the extra of ``xfvlib`` that the packages belong to, such as "sweep".

    Example:
        >>> with extra("onnx"):
        ...     import no_such_package
        Traceback (most recent call last):
        ImportError: no_such_package is needed here and not installed: pip install 'xfvlib[onnx]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(f"{error.name} is needed here and not installed: pip install 'xfvlib[{name}]'") from error
