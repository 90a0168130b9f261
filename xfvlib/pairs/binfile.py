"""The field's verification files, such as ``lfw.bin``: a pickle, read without running anything that it asks for."""

import pickle
from pathlib import Path

import numpy as np


def only_bytes(text, encoding):
    """Python 3 writes bytes in old pickle protocols as latin-1 text to be encoded."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text to be encoded as {encoding}")
    return text.encode("latin1")


def only_uint8(code, *_):
    """The dtype of a numpy array, when it is uint8."""
    if code not in ("u1", b"u1", "uint8", b"uint8"):
        raise pickle.UnpicklingError(f"a numpy array of dtype {code!r}")
    return np.dtype("u1")


def empty_array(kind, shape, code):
    """The empty array that an unpickled one begins as."""
    return np.empty(0, np.uint8)


def from_buffer(buffer, dtype, shape, order):
    """A numpy array as pickle protocol 5 keeps it, flat; its dtype has been seen to be uint8."""
    return np.frombuffer(buffer, dtype)


ADMITTED = {("_codecs", "encode"): only_bytes, ("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): only_uint8}
for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    ADMITTED[module, "_reconstruct"] = empty_array
for module in ("numpy.core.numeric", "numpy._core.numeric"):
    ADMITTED[module, "_frombuffer"] = from_buffer


class Unpickler(pickle.Unpickler):
    """Admits lists, tuples, bytes, bools and numpy uint8 arrays; refuses everything else by name."""

    def find_class(self, module, name):
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name}") from None


def read_bin(path):
    """Encoded images and labels of a verification file; no image is decoded.

    Args:
        path: of a pickle of ``(list of encoded images, list of bool)``, two images a pair, by Python 2 or 3.

    Returns:
        ``(images, same)``: a list of 2P ``bytes`` and a list of P ``bool``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, of another structure, or asking for anything but lists, bytes, bools and uint8 arrays: named, and not run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no verification file {path}")
    try:
        with path.open("rb") as file:
            content = Unpickler(file, encoding="bytes").load()
    except pickle.UnpicklingError as error:
        if "truncated" in str(error) or "invalid load key" in str(error):
            raise ValueError(f"{path.name} is truncated or not a verification file ({error})") from error
        raise ValueError(f"{path.name} asks for {error}, which verification files do not hold; it was refused and not run") from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(f"{path.name} is truncated or not a verification file ({type(error).__name__}: {error})") from error
    if not (isinstance(content, (tuple, list)) and len(content) == 2 and all(isinstance(part, list) for part in content)):
        raise ValueError(f"{path.name} does not hold a list of images and a list of labels")
    images, same = content
    if len(images) != 2 * len(same) or not same:
        raise ValueError(f"{path.name} holds {len(images)} images for {len(same)} labels; two a label are needed")
    for i, image in enumerate(images):
        if isinstance(image, np.ndarray) and image.dtype == np.uint8:
            images[i] = image.tobytes()
        elif not isinstance(image, bytes):
            raise ValueError(f"image {i} of {path.name} is a {type(image).__name__}, not bytes or a uint8 array")
    for i, label in enumerate(same):
        if label not in (True, False):
            raise ValueError(f"label {i} of {path.name} is {label!r}, not a bool")
    return images, [bool(label) for label in same]
