"""The field's verification files, such as ``lfw.bin``: a pickle, read without running anything that it asks for."""

import io
import pickle
import pickletools
import re
from pathlib import Path

from xfvlib.files import read_bytes

_LARGEST_FILE = 1_000_000_000  # bytes
_MOST_STEPS = 2_000_000  # of the unpickler: 7,000 pairs take 350,000 at most, and one can take 70 bytes of memory
_REFUSED_STEPS = re.compile("DICT|SET|OBJ|^INST|EXT|PERS")  # dicts and sets of colliding keys take hours
_ADMITTED = re.compile(r"_codecs.encode|numpy.(dtype|ndarray|_?core.(multiarray._reconstruct|numeric._frombuffer))")


class _Marker:
    """Stands for what a pickle asks for by name; it is not run, but keeps what it was to be given."""

    def __init__(self, name, args=()):
        self.name, self.args, self.state = name, args, None

    def __call__(self, *args):
        return _Marker(self.name, args)

    def __setstate__(self, state):
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Makes lists, tuples, bytes, bools and markers; refuses everything else by name."""

    def find_class(self, module, name):
        if not _ADMITTED.fullmatch(f"{module}.{name}"):
            raise pickle.UnpicklingError(f"it asks for {module[:100]}.{name[:100]}")
        return _Marker(name)


def _content(image):
    """Bytes of an image, or text that is to be encoded as latin-1; None for anything else."""
    match image:
        case _Marker(name="_reconstruct", state=(_, _, _Marker(name="dtype", args=(code, *_)), _, content)):
            pass
        case _Marker(name="_frombuffer", args=(content, _Marker(name="dtype", args=(code, *_)), *_)):
            pass
        case _:
            code, content = "u1", image
    if code not in ("u1", b"u1", "uint8", b"uint8"):
        raise ValueError(f"a numpy array of dtype {code[:20] if isinstance(code, (str, bytes)) else type(code)!r}")
    kinds = (bytes, bytearray)
    if isinstance(content, _Marker) and content.name == "encode":  # as Python 3 writes bytes in old protocols
        content, kinds = content.args[0], str
    return content if isinstance(content, kinds) else None


def read_bin(path: str | Path) -> tuple[list[bytes], list[bool]]:
    """Encoded images and labels of a verification file; no image is decoded.

    Args:
        path: of a pickle of ``(list of encoded images, list of bool)``, two images a pair, by Python 2 or 3, to 1 GB.

    Returns:
        ``(images, same)``: a list of 2P ``bytes`` and a list of P ``bool``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no file, truncated, of another structure, or asking for anything but lists, bytes, bools and uint8
            arrays: named, and not run.
    """
    data = read_bytes(path, _LARGEST_FILE, "verification file")
    try:
        return _images_and_labels(data)
    except Exception as error:  # a damaged pickle can fail in any way
        what = f"{Path(path).name} is truncated or not a verification file, and nothing in it was run"
        raise ValueError(f"{what} ({type(error).__name__}: {error})") from error


def _images_and_labels(data):
    for step, (opcode, value, _) in enumerate(pickletools.genops(data)):  # which checks all lengths but a frame's
        too_far = ("PUT" in opcode.name and value > step) or (opcode.name == "FRAME" and value > len(data))
        if too_far or step > _MOST_STEPS or _REFUSED_STEPS.search(opcode.name):
            raise ValueError(f"step {step:,} of the pickle is {opcode.name}")
    match _Unpickler(io.BytesIO(data), encoding="bytes").load():
        case [list(images), list(same)]:
            found = [_content(image) for image in images]
        case _:
            raise ValueError("it holds no list of images and list of labels")
    if len(found) != 2 * len(same) or not same:
        raise ValueError(f"it holds {len(found)} images for {len(same)} labels; two a label are needed")
    if wrong := [i for i, image in enumerate(found) if image is None]:
        raise ValueError(f"image {wrong[0]} is a {type(images[wrong[0]]).__name__}, not bytes or a uint8 array")
    if wrong := [i for i, label in enumerate(same) if not isinstance(label, int) or label not in (0, 1)]:
        raise ValueError(f"label {wrong[0]} is a {type(same[wrong[0]]).__name__}, or a number, not true or false")
    # once for each content, however many images a short file makes of it
    distinct = {id(one): one for one in found}
    made = {key: one.encode("latin1") if isinstance(one, str) else bytes(one) for key, one in distinct.items()}
    return [made[id(one)] for one in found], list(map(bool, same))
