"""The field's verification files, such as ``lfw.bin``: a pickle, read without running anything that it asks for."""

import io
import pickle
import pickletools
import re
from pathlib import Path
from types import SimpleNamespace

from xfvlib.extras import reworded
from xfvlib.files import read_bytes

_MOST_STEPS = 2_000_000  # of the unpickler: 7,000 pairs take 350,000 at most, and one can take 70 bytes of memory
_REFUSED_STEPS = re.compile("DICT|SET|OBJ|^INST|EXT|PERS")  # dicts and sets of colliding keys take hours
_ADMITTED = re.compile(r"_codecs.encode|numpy.(dtype|ndarray|_?core.(multiarray._reconstruct|numeric._frombuffer))")


class _Marker(SimpleNamespace):
    """Stands for what a pickle asks for by name; it is not run, but keeps what it was to be given."""

    __match_args__ = ("name", "given", "state")

    def __setstate__(self, state):
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Makes lists, tuples, bytes, bools and markers; refuses everything else by name."""

    def find_class(self, module, name):
        if not _ADMITTED.fullmatch(f"{module}.{name}"):
            raise pickle.UnpicklingError(f"it asks for {module[:100]}.{name[:100]}")
        return lambda *given: _Marker(name=name, given=given, state=None)


def _content(number, image):
    """Bytes of an image, or text that is to be encoded as latin-1, as Python 3 writes bytes in old protocols."""
    match image:
        case (bytes() | bytearray() as content) | _Marker("encode", (str() as content, _)):
            return content
        case _Marker("_reconstruct", _, (_, _, dtype, _, content)) | _Marker("_frombuffer", (content, dtype, *_)):
            if (code := dtype.given[0]) in ("u1", b"u1", "uint8", b"uint8"):
                return _content(number, content)
            kind = code[:20] if isinstance(code, (str, bytes)) else type(code)
            raise ValueError(f"image {number} is a numpy array of dtype {kind!r}")
    raise ValueError(f"image {number} is a {type(image).__name__}, not bytes or a uint8 array")


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
    data = read_bytes(path, 1_000_000_000, "verification file")
    kind = "a verification file, a list of images and a list of labels, and nothing in it was run"
    # a damaged pickle can fail in any way
    with reworded(Exception, ValueError, f"{Path(path).name} is truncated or not {kind}"):
        for step, (opcode, value, _) in enumerate(pickletools.genops(data)):  # which checks all lengths but a frame's
            far = value and (("PUT" in opcode.name and value > step) or (opcode.name == "FRAME" and value > len(data)))
            if far or step > _MOST_STEPS or _REFUSED_STEPS.search(opcode.name):
                raise ValueError(f"step {step:,} of the pickle is {opcode.name}")
        images, same = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        found = [_content(*numbered) for numbered in enumerate(images)]
        if len(found) != 2 * len(same) or not same:
            raise ValueError(f"it holds {len(found)} images for {len(same)} labels; two a label are needed")
        for number, label in enumerate(same):
            if not isinstance(label, int) or label not in (0, 1):
                raise ValueError(f"label {number} is a {type(label).__name__}, or a number, not true or false")
        # once for each content, however many images a short file makes of it
        distinct = {id(one): one for one in found}
        made = {key: one.encode("latin1") if isinstance(one, str) else bytes(one) for key, one in distinct.items()}
    return [made[id(one)] for one in found], list(map(bool, same))
