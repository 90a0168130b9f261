"""Odd inputs by area for ``campaign.py``, each with an oracle. A process calls one generator, in a folder of its own."""

import io
import itertools
import json
import math
import os
import pickle
import random
import shutil
import socket
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import captum.attr  # noqa: F401 – imported once here, and not by every process
import distributed
import numpy as np
import onnx
import onnxruntime  # noqa: F401
import pandas as pd
import pyarrow.parquet as pq
import scipy.stats  # noqa: F401
import sklearn.metrics  # noqa: F401
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw
from torch import nn

import xfvlib as xfv
from xfvlib import alignment, conditions, evaluation, frequency, gradients, notebook, perturb, plots, sanity, widgets

from xfvlib.faithfulness import (
    areas, compare, compare_all, deletion_area, deletion_scores, deletion_table, first_pixels, gains, progressively, read_table, save_table,
)  # fmt: skip
from xfvlib.methods import METHODS
from xfvlib.models import mobilefacenet
from xfvlib.models.mobilefacenet import MobileFaceNet
from xfvlib.pairs import orl_photo_path
from xfvlib.sweep import read_costs, read_maps

NAN, INF = float("nan"), float("inf")
ODD = [
    -1, 0, 1, 2, 3, 0.5, -0.5, 1e-9, 1e6, 1e30, 10**30, NAN, INF, -INF, True, False, None, "", "3", "many", b"x", 1j, [], [1], (), (2, 3), {},
    np.int64(2), np.float32(1.5), np.float64(NAN), np.bool_(True), np.str_("mean"), np.array(2), np.array([1, 2]), torch.tensor(2),
    torch.tensor([1.0, 2.0]), object,
]  # fmt: skip
AREAS = {}


@dataclass
class Input:
    """``what`` in words, the ``call``, and a ``check`` of its result: None where it is right, or what is wrong with it."""

    what: str
    call: Callable[[], Any]
    check: Callable[[Any], str | None]


@dataclass
class Area:
    make: Callable[[random.Random], Input]
    weight: int


def area(name, weight):
    return lambda make: AREAS.setdefault(name, Area(make, weight)).make


def refuse(result):
    return f"was accepted: {short(result)}"


def short(value):
    return " ".join(repr(value).split())[:110]


def anything(result):
    return None


def equal(expected, tolerance=1e-5):
    """Check: numbers, tensors or arrays of the same shape, without NaN where ``expected`` has none."""

    def check(result):
        one, other = np.asarray(result, float), np.asarray(expected, float)
        if one.shape != other.shape:
            return f"shape {one.shape}, not {other.shape}"
        if not np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True):
            return f"differs by {np.nanmax(np.abs(one - other)):.3g} from what it must be, NaN in {np.isnan(one).sum()}"
        return None

    return check


def finite(result, shape=None):
    values = np.asarray(result, float)
    if shape and values.shape != tuple(shape):
        return f"shape {values.shape}, not {tuple(shape)}"
    return None if np.isfinite(values).all() else f"NaN or infinite in {(~np.isfinite(values)).sum()} of {values.size}"


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 5, stride=2), nn.PReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 11)]
    return nn.Sequential(*layers)


TINY = xfv.FaceModel(network(), size=20, name="tiny", threshold=0.3)


def some_pairs(people=4, images=3):
    generator = torch.Generator().manual_seed(2)
    faces, noise = (torch.rand(people, 3, 20, 20, generator=generator), torch.rand(people, images, 3, 20, 20, generator=generator))
    crops = {f"p{i}/{j}": 0.6 * faces[i] + 0.4 * noise[i, j] for i in range(people) for j in range(images)}
    table = pd.DataFrame(itertools.combinations(crops, 2), columns=["name_a", "name_b"])
    table["same"] = table.name_a.str[:2] == table.name_b.str[:2]
    return xfv.PairSet("tiny", table.assign(fold=np.arange(len(table)) % 3), crops)


PAIRS = some_pairs()
PAIR, FEW = PAIRS[0], PAIRS[np.r_[0, 1, 2, 5, 6, 7]]
PHOTO = Image.open(orl_photo_path("s1/1")).resize((184, 224))  # grey
PIXELS = np.asarray(PHOTO.convert("RGB"))
LANDMARKS = TABLE = CROP = None  # from warm_up


def warm_up():
    """What every process uses is made before they are forked; nothing that starts threads."""
    global LANDMARKS, TABLE, CROP
    torch.set_num_threads(1)
    LANDMARKS, CROP = alignment.find_landmarks(PHOTO), alignment.align(PHOTO)
    TABLE = deletion_table(TINY, PAIRS[:24], ["occlusion", "lime"], [{"metric": "deletion", "steps": 4}])
    plots.display = lambda *shown: SHOWN.extend(shown)
    plots.to_png(plots.draw_pair(xfv.explain(TINY, PAIR, "occlusion")))


SHOWN = []

# ------------------------------------------------------------------------------------------------- verification files


class Payload:
    """Pickled, it asks for ``function(*arguments)`` to be called."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def png(rng, size=(20, 20)):
    file = io.BytesIO()
    Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1])).save(file, "png")
    return file.getvalue()


ARRAY = b"cnumpy\nndarray\n"
PROGRAMS = {
    "memo index of 4 bytes": b"]r\0\0\0\x10.",
    "memo index in words": b"]p4000000000\n.",
    "memo index, deep": b"]r\xff\xff\xff\x7f.",
    "strides 0": ARRAY + b"((I3000000000\ntcnumpy\ndtype\n(S'u1'\ntRC\x01xI0\n(I0\nttR.",
    "negative strides": ARRAY + b"((I300\ntcnumpy\ndtype\n(S'u1'\ntRC\x08xxxxxxxxI0\n(I-4096\nttR.",
    "array of a huge shape": ARRAY + b"((I100000\nI100000\ntcnumpy\ndtype\n(S'u1'\ntRtR.",
    "object array": ARRAY + b"((I5\ntcnumpy\ndtype\n(S'O'\ntRC\x28" + b"A" * 40 + b"tR.",
    "array state, huge": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n(I4000000000\ntcnumpy\ndtype\n(S'u1'\ntRI00\nC\x01xtb.",
    "dtype state": b"cnumpy\ndtype\n(S'u1'\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb.",
    "system": b"cos\nsystem\n(S'touch harm'\ntR.",
    "eval by inst": b'(S\'open("harm", "w")\'\nibuiltins\neval\n.',
    "object by obj": b"(cbuiltins\neval\nS'1'\no.",
    "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0atouch harm\x85R.",
    "new object": b"\x80\x04\x8c\x08builtins\x8c\x09bytearray\x93J\xff\xff\xff\x7f\x85\x81.",
    "extension code": b"\x82\x01.",
    "persistent": b"Pharm\n.",
    "persistent, binary": b"]Q.",
    "next buffer": b"\x80\x05\x97.",
    "deep lists": b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep tuples": b"N" + b"\x85" * 500_000 + b".",
    "marks": b"(" * 2_000_000 + b".",
    "bytes of a huge length": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "bytearray of a huge length": b"\x80\x05\x96" + struct.pack("<Q", 3 * 2**30) + b"x.",
    "text of a huge length": b"\x80\x04\x8d" + struct.pack("<Q", 2**33) + b"x.",
    "long of a huge length": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "frame of a huge length": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"].",
    "a number of many digits": b"I" + b"9" * 3_000_000 + b"\n.",
    "a long of many digits": b"L" + b"9" * 3_000_000 + b"L\n.",
    "encode as idna": b"c_codecs\nencode\n(V" + b"a" * 200_000 + b"\nS'idna'\ntR.",
    "build on a function": b"c_codecs\nencode\n}S'__name__'\nS'x'\nsb.",
    "build on the dtype class": b"cnumpy\ndtype\n}S'x'\nI1\nsb.",
    "reduce with a dict": b"c_codecs\nencode\n}R.",
    "set items of a list": b"](I1\nI2\nu.",
    "append to a tuple": b")Na.",
    "stop alone": b".",
    "empty": b"",
    "protocol 255": b"\x80\xff].",
    "text": b"PNG, or a page of HTML",
}
SOUP = [b"(", b")", b"]", b"}", b"N", b"K\x01", b"K\x05", b"q\0", b"h\0", b"q\xff", b"a", b"e", b"t", b"\x85", b"\x86", b"\x87", b"2", b"0", b"1", b"s", b"u",
        b"b", b"R", b"\x81", b"\x88", b"\x89", b"C\x03abc", b"U\x02ab", b"X\x01\0\0\0a", b"\x94", b"\x8f", b"\x90", b"\x91", b"I5\n", b"F1.5\n", ARRAY, b"cnumpy\ndtype\n",
        b"c_codecs\nencode\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy.core.numeric\n_frombuffer\n", b"S'u1'\n", b"J\xff\xff\xff\x7f"]  # fmt: skip


def odd_label(rng):
    many = [True]
    for _ in range(40):
        many = [many, many]
    return rng.choice([None, NAN, 2, -1, "True", b"1", 0.0, 1.0, 1, 0, [], [True], (), {}, 1j, 10**400, True, False, many, 0.5, "", ()])


@area("bin files", 900)
def bin_files(rng):
    """.bin files: labels, images, dtypes, protocols, damage, crafted pickles."""
    labels = [rng.random() < 0.5 for _ in range(rng.randint(1, 3))]
    images = [png(rng) for _ in range(2 * len(labels))]
    protocol = rng.randint(0, 5)
    kind = rng.choice(["plain", "label", "image", "count", "cut", "flip", "insert", "soup", "program", "payload", "shape"])
    given, first, check = (images, labels), images[0], None
    if kind == "plain":
        form = rng.choice(["bytes", "arrays", "tuple", "bytearray", "numpy labels", "tail"])
        arrays = [np.frombuffer(image, np.uint8) for image in images]
        given = {"arrays": (arrays, labels), "tuple": [images, labels], "bytearray": ([bytearray(x) for x in images], labels),
                 "numpy labels": (images, list(np.array(labels)))}.get(form, given)  # fmt: skip
        kind += f", {form}"
    elif kind == "label":
        value, place = odd_label(rng), rng.randrange(len(labels))
        right = isinstance(value, (int, float)) and value in (0, 1)
        kind += f" {type(value).__name__} {'' if isinstance(value, (list, int)) and not right else short(value)}"
        labels[place] = value
        check = None if right else refuse
    elif kind == "image":
        odd = [None, "", "text", b"", 5, np.zeros(5), np.zeros((4, 4), "u1"), np.zeros(3, "i4"), np.array([1, "a"], object), [images[0]],
               images[0][:60], b"GIF89a" + bytes(30), np.frombuffer(images[0] + b"\0" * (-len(images[0]) % 4), "i4")]  # fmt: skip
        images[0] = rng.choice(odd)
        kind, check = f"image {short(images[0])[:40]}", refuse
    elif kind == "count":
        given = rng.choice([(images[1:], labels), (images, labels * 2), (images, []), ([], []), (images,), (images, labels, labels), images, {}])
        check = refuse
    elif kind == "shape":
        given = rng.choice([None, 5, "text", {"images": images, "same": labels}, (tuple(images), tuple(labels)), (labels, images), ([images], [labels])])
        check = refuse if not isinstance(given, tuple) or not isinstance(given[0], tuple) else None
    elif kind == "payload":
        one = rng.choice([Payload(os.system, "touch harm"), Payload(open, "harm", "w"), Payload(eval, "1/0"), Payload(bytearray, 3 * 10**9),
                          Payload(np.ndarray, (5,), "u1"), Payload(bytes, 2 * 10**9), Payload(getattr, "a", "upper"), np.dtype("u1"), np.ndarray])  # fmt: skip
        given = rng.choice([(images, [*labels[1:], one]), ([one, *images[1:]], labels), one])
        check = refuse
    data = pickle.dumps(given, protocol=protocol) if kind not in ("program", "soup") else b""
    if kind == "program":
        name = rng.choice(list(PROGRAMS))
        kind, data, check = f"program: {name}", PROGRAMS[name], refuse
        if rng.random() < 0.4 and data.endswith(b"."):  # in the place of the labels of a whole file
            data = pickle.dumps(images, 0)[:-1] + data[2 * (data[:1] == b"\x80") : -1] + b"\x86."
            kind += " beside images"
    elif kind == "soup":
        data, check = b"".join(rng.choice(SOUP) for _ in range(rng.randint(3, 40))) + b".", refuse
        kind += f" {data[:40]}"
    elif kind == "cut":
        data, check = data[: rng.randrange(len(data))], refuse
    elif kind == "insert":
        place = rng.randrange(len(data))
        data, check = data[:place] + rng.choice(SOUP) + data[place:], anything
    elif kind == "flip":
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        data, check = bytes(changed), anything
    elif kind == "plain, tail":
        data += b"something behind"
    Path("lfw.bin").write_bytes(data)

    def read():
        pairs = xfv.load_pairs(rng.choice(["lfw", "calfw"]), bin="lfw.bin", model=TINY)
        return pairs.labels, [pairs[i].a for i in range(len(pairs))]

    def as_it_was(result):
        found, crops = result
        if found.dtype != bool or len(found) != len(crops) or not all(torch.isfinite(crop).all() for crop in crops):
            return f"labels {found}, {len(crops)} crops"
        if check is anything:
            return None
        wanted = np.asarray(Image.open(io.BytesIO(first)).convert("RGB")).transpose(2, 0, 1) / 255
        return equal(np.array(labels, float))(found) or equal(wanted, 1e-3)(crops[0])

    return Input(f"{kind}, protocol {protocol}", read, refuse if check is refuse else as_it_was)


# ------------------------------------------------------------------------------------------------- photographs


def saved(image, name, format=None, **options):
    image.save(name, format, **options)
    return Path(name)


def raw_png(width, height, depth, colour, row=None, rows=None, text=0):
    """A PNG of any size, rows of zeros unless given."""
    packer, parts = zlib.compressobj(1), []
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    for i in range(height if rows is None else rows):
        parts.append(packer.compress(b"\0" + (bytes(-(-width * bits // 8)) if row is None else row(i))))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), (b"IDAT", b"".join(parts) + packer.flush()), (b"IEND", b"")]
    if text:
        chunks.insert(1, (b"zTXt", b"a\0\0" + zlib.compress(bytes(text), 1)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(x)) + t + x + struct.pack(">I", zlib.crc32(t + x)) for t, x in chunks)


def patched_header(kind):
    """An image file whose header says that it is enormous."""
    file = io.BytesIO()
    more = {"save_all": True, "append_images": [Image.new("RGB", (16, 16), "white")]} if kind == "webp" else {}
    Image.new("RGB", (16, 16)).save(file, kind, **more)
    data = bytearray(file.getvalue())
    if kind == "jpeg":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", 65_000, 65_000)
    elif kind == "bmp":
        data[18:26] = struct.pack("<ii", 40_000, 40_000)
    elif kind == "webp":
        place = data.index(b"VP8X") + 12
        data[place : place + 6] = (20_000).to_bytes(3, "little") * 2
    elif kind == "gif":
        data[6:10] = struct.pack("<HH", 65_000, 65_000)
        place = data.index(b",") + 5
        data[place : place + 4] = struct.pack("<HH", 65_000, 65_000)
    return bytes(data)


def form_of(rng):
    """The same photograph in some form: ``(name, path, expected RGB, tolerance)``."""
    grey, deep = np.asarray(PHOTO), np.asarray(PHOTO, np.uint16) * 257
    turn = rng.randint(2, 8)
    exif = Image.Exif()
    exif[0x0112] = turn
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[turn]  # the transposition that the tag undoes
    alpha = PHOTO.convert("LA")
    opaque = PHOTO.convert("RGBA")
    forms = {
        "png": lambda: saved(PHOTO, "a.png"),
        "rgb jpeg": lambda: saved(PHOTO.convert("RGB"), "a.jpg", quality=95),
        "upper case ending": lambda: saved(PHOTO, "A.JPG", "jpeg", quality=95),
        "no ending": lambda: saved(PHOTO, "photograph", "png"),
        "wrong ending": lambda: saved(PHOTO, "a.jpg", "png"),
        "la png": lambda: saved(alpha, "a.png"),
        "rgba png": lambda: saved(opaque, "a.png"),
        "palette png": lambda: saved(PHOTO.convert("P"), "a.png"),
        "palette gif": lambda: saved(PHOTO.convert("RGB").quantize(128), "a.gif"),
        "animated gif": lambda: saved(PHOTO, "a.gif", save_all=True, append_images=[Image.new("L", PHOTO.size)] * 3),
        "animated webp": lambda: saved(PHOTO.convert("RGB"), "a.webp", save_all=True, append_images=[Image.new("RGB", PHOTO.size)] * 3),
        "cmyk jpeg": lambda: saved(PHOTO.convert("RGB").convert("CMYK"), "a.jpg", quality=95),
        "cmyk tiff": lambda: saved(PHOTO.convert("RGB").convert("CMYK"), "a.tif"),
        "ycbcr tiff": lambda: saved(PHOTO.convert("RGB").convert("YCbCr"), "a.tif"),
        "16-bit png": lambda: saved(Image.fromarray(deep), "a.png"),
        "16-bit tiff": lambda: saved(Image.fromarray(deep), "a.tif"),
        "16-bit pgm": lambda: saved(Image.fromarray(deep), "a.pgm"),
        "12 of 16-bit png": lambda: saved(Image.fromarray(deep >> 4), "a.png"),
        "32-bit tiff": lambda: saved(Image.fromarray(deep.astype(np.int32)), "a.tif"),
        "float tiff to 1": lambda: saved(Image.fromarray((grey / 255).astype(np.float32)), "a.tif"),
        "float tiff to 255": lambda: saved(Image.fromarray(grey.astype(np.float32)), "a.tif"),
        "16-bit rgb png": lambda: Path("a.png").write_bytes(
            raw_png(*PHOTO.size, 16, 2, lambda i: np.repeat(deep[i], 3).astype(">u2").tobytes())) and Path("a.png"),
        "1-bit png": lambda: saved(PHOTO.convert("1"), "a.png"),
        "bmp": lambda: saved(PHOTO, "a.bmp"),
        "webp": lambda: saved(PHOTO.convert("RGB"), "a.webp", quality=95),
        f"exif {turn}": lambda: saved(PHOTO.transpose(back), "a.jpg", quality=95, exif=exif),
        f"exif {turn} png": lambda: saved(PHOTO.transpose(back), "a.png", exif=exif),
        "a space and an ü": lambda: saved(PHOTO, "mein Foto ü.png"),
    }  # fmt: skip
    name = rng.choice(list(forms))
    return name, forms[name](), 0.2 if name == "1-bit png" else None if name.startswith("12 of") or name.endswith("to 255") else 0.03


def hostile_file(rng):
    """Something that is no photograph, or a dangerous one: ``(name, path)``."""
    path = Path("photo.jpg")
    bombs = {
        "bomb, 1 bit": lambda: raw_png(13_000, 13_000, 1, 0),
        "bomb, palette": lambda: raw_png(13_300, 13_300, 1, 3),
        "bomb, 16-bit": lambda: raw_png(6_500, 13_000, 16, 0),
        "bomb beyond PIL's limit": lambda: raw_png(20_000, 20_000, 1, 0),
        "bomb by header alone": lambda: raw_png(60_000, 60_000, 8, 2, rows=1),
        "bomb, wide": lambda: raw_png(150_000_000, 1, 1, 0),
        "jpeg header": lambda: patched_header("jpeg"),
        "bmp header": lambda: patched_header("bmp"),
        "gif header": lambda: patched_header("gif"),
        "webp header": lambda: patched_header("webp"),
        "very thin": lambda: raw_png(45_000_000, 1, 1, 0),
        "png with a long text": lambda: raw_png(20, 20, 8, 0, text=200_000_000),
        "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n(harm) (w) file closefile\nshowpage\n%%EOF\n",
        "pdf": lambda: b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer <<>>\n%%EOF",
        "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
        "heic": lambda: b"\0\0\0\x18ftypheic" + bytes(200),
        "html": lambda: b"<html>404</html>",
        "empty": lambda: b"",
        "noise": lambda: rng.randbytes(5000),
        "cut": lambda: saved(PHOTO, "b.png").read_bytes()[: rng.randint(1, 15_000)],
        "cut jpeg": lambda: saved(PHOTO, "b.jpg").read_bytes()[: rng.randint(1, 4000)],
        "one pixel": lambda: raw_png(1, 1, 8, 0),
        "thin": lambda: raw_png(5000, 1, 8, 0),
        "tall": lambda: raw_png(1, 5000, 8, 0),
        "black": lambda: raw_png(300, 300, 8, 2),
        "no pixels": lambda: raw_png(0, 0, 8, 0),
    }  # fmt: skip
    others = {
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "sparse file of 3 GB": lambda: path.open("wb").truncate(3 * 10**9),
        "link to itself": lambda: path.symlink_to(path),
        "link to a device": lambda: path.symlink_to(rng.choice(["/dev/zero", "/dev/random", "/dev/stdin", "/dev/null", "/dev/full", "/proc/self/mem"])),
        "absent": lambda: None,
    }  # fmt: skip
    name = rng.choice([*bombs, *others])
    if name in bombs:
        path.write_bytes(bombs[name]())
    else:
        others[name]()
    return name, path


@area("photographs", 450)
def photographs(rng):
    """Files: forms of one photograph, and what is none or harms; read, aligned, in folders, tables and uploads."""
    if rng.random() < 0.5:
        name, path, tolerance = form_of(rng)
        path = rng.choice([path, str(path), path.resolve()])
        if rng.random() < 0.7:
            return Input(f"read {name}", lambda: np.asarray(alignment.read_photo(path)) / 255, brightness(PIXELS / 255, tolerance))
        return Input(f"align {name}", lambda: xfv.align(path), brightness(CROP, tolerance and 2 * tolerance))
    name, path = hostile_file(rng)
    way = rng.choice(["align", "folder", "csv", "bytes", "crop"])
    if way == "align":
        return Input(f"align {name}", lambda: xfv.align(rng.choice([path, str(path)])), refuse)
    if way == "crop":
        check = anything if name in ("thin", "tall", "very thin", "one pixel", "black", "cut", "cut jpeg", "png with a long text") or name.startswith("bomb") else refuse
        return Input(f"crop {name}", lambda: alignment.crop(path, LANDMARKS), check)
    if way == "bytes" and path.is_file() and path.stat().st_size < 10**8:
        data = path.read_bytes()
        small = not name.startswith(("bomb", "jpeg", "bmp", "gif", "webp"))
        check = (lambda image: None if image.width * image.height < 10**8 else refuse(image)) if small or "bomb" in name else anything
        return Input(f"bytes of {name}", lambda: alignment.read_photo(data), check)
    for person in ("ann", "bob"):
        Path(person).mkdir()
        for i in range(2):
            shutil.copy(orl_photo_path(f"s{1 + (person == 'bob')}/{i + 1}"), f"{person}/{i}.pgm")
    if path.exists() or path.is_symlink():
        path.rename("ann/odd.jpg")
    Path("pairs.csv").write_text("path_a,path_b,same\nann/odd.jpg,ann/0.pgm,1\nann/0.pgm,bob/0.pgm,0\n")

    def seen():
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            pairs = xfv.load_pairs("csv", file="pairs.csv") if way == "csv" else xfv.load_pairs("folder", root=".")
            odd = [one for one in pairs.images if "odd" in one]
            return pairs.image(odd[0]) if odd else None, [str(note.message) for note in notes]

    def said(result):
        crop, notes = result
        return None if crop is None or any("odd" in note or "face" in note for note in notes) else f"{way} took it for a face, and said {notes}"

    return Input(f"{way} with {name}", seen, said)


def brightness(expected, tolerance):
    """Check: an image of the same size, the same within a mean absolute difference."""

    def check(result):
        one, other = np.asarray(result, float), np.asarray(expected, float)
        if one.shape != other.shape:
            return f"shape {one.shape}, not {other.shape}"
        if tolerance is None:
            alike = np.corrcoef(one.ravel(), other.ravel())[0, 1]
            return None if alike > 0.95 else f"correlation {alike:.2f} with the photograph, mean {one.mean():.3f}"
        if tolerance > 0.1:  # dithered: brightness is kept on the whole only
            one, other = one.mean(), other.mean()
        far = np.abs(one - other).mean()
        return None if far < tolerance else f"mean difference {far:.3f}, mean {one.mean():.3f} in place of {other.mean():.3f}"

    return check


@area("arrays", 350)
def arrays(rng):
    """Arrays and PIL images to align, read_photo and crop; landmarks, sizes and kinds."""
    base, grey = PIXELS.copy(), PIXELS[..., 0].copy()
    good = {
        "rgb": base, "grey": grey, "fortran": np.asfortranarray(base), "slices": np.repeat(base, 2, axis=1)[:, ::2], "flipped twice": base[::-1].copy()[::-1],
        "read-only": base, "mirrored channels": base[..., ::-1], "float to 1": (base / 255).astype(np.float32), "float64 to 1": base / 255,
        "float to 255": base.astype(np.float32), "uint16": base.astype(np.uint16) * 257, "int64": base.astype(int), "one channel": base[..., :1],
        "rgba": np.dstack([base, np.full_like(grey, 255)]), "list": base.tolist(), "tensor": torch.from_numpy(base), "memory view": memoryview(base),
        "masked array": np.ma.array(base),
    }  # fmt: skip
    bad = {
        "chw": base.transpose(2, 0, 1), "empty": base[:0], "no columns": base[:, :0], "a line": grey[0], "4-d": base[None], "objects": base.astype(object),
        "complex": base + 0j, "bool": base > 100, "two channels": base[..., :2], "text": np.array(["face"]), "0-d": np.array(5, np.uint8), "nan": base * NAN,
        "a number": 5, "none": None, "bytes": b"photo.jpg", "empty path": "", "nul": "a\0b", "folder": ".", "long path": "a" * 5000, "file": io.BytesIO(b"x"),
        "one pixel": base[:1, :1], "thin": base[:1], "noise": np.frombuffer(rng.randbytes(30_000), np.uint8).reshape(100, 100, 3),
        "wall": np.full((200, 200, 3), 128, np.uint8), "huge view": np.broadcast_to(np.uint8(7), (60_000, 60_000, 3)),
    }  # fmt: skip
    way = rng.choice(["good", "bad", "pil", "crop", "crop", "size"])
    if way == "good":
        name = rng.choice(list(good))
        if rng.random() < 0.6:
            return Input(f"read {name}", lambda: np.asarray(alignment.read_photo(good[name])) / 255, brightness(base / 255, 0.01))
        return Input(f"align {name}", lambda: xfv.align(good[name]), brightness(CROP, 0.03))
    if way == "bad":
        name = rng.choice(list(bad))
        return Input(f"align {name}", lambda: xfv.align(bad[name], rng.choice([None, TINY])), refuse)
    if way == "pil":
        mode = rng.choice(["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "LA", "La", "RGBa", "RGBX", "PA", "I;16"])
        image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else None
        if mode not in ("I;16", "La", "RGBa"):
            image = PHOTO.convert("RGB").convert(mode) if mode not in ("I", "F", "LA", "PA") else PHOTO.convert(mode)
        image = image or (PHOTO.convert("LA").convert("La") if mode == "La" else PHOTO.convert("RGBA").convert("RGBa") if mode == "RGBa" else None)
        return Input(f"PIL {mode}", lambda: np.asarray(alignment.read_photo(image)) / 255, brightness(base / 255, 0.2 if mode in ("1", "P", "PA") else 0.03))
    size, kind, points = (20, 20), rng.choice(["dlib", "arcface"]), LANDMARKS
    if way == "size":
        size = rng.choice([20, (20,), (0, 0), (-1, 20), (20, -1), (1, 1), (20, 40), (40, 20), (20.5, 20), (NAN, 20), "20", None, (10**5, 10**5), (20, 20, 3), (True, True)])
        kind = rng.choice([kind, "banana", None, "", 5, "DLIB"])
        fits = isinstance(size, tuple) and len(size) == 2 and all(isinstance(n, int) and 0 < n < 10**4 for n in size) and kind in ("dlib", "arcface")
        return Input(f"crop size {size} kind {kind!r}", lambda: alignment.crop(base, points, size=size, kind=kind),
                     (lambda crop: finite(crop, (3, *size))) if fits else refuse)  # fmt: skip
    changes = {
        "list": points.tolist(), "tensor": torch.from_numpy(points), "float32": points.astype(np.float32), "nan": np.where(np.arange(20).reshape(10, 2) == rng.randrange(20), NAN, points),
        "infinite": points + [[INF, 0]], "all one point": points * 0 + 50, "in a line": points * [[1, 0]], "five": points[:5], "flat": points.ravel(), "empty": points[:0],
        "text": points.astype(str).tolist(), "words": [["a", "b"]] * 10, "complex": points + 1j, "far away": points + 1e7, "very far": points * 1e300, "tiny": points * 1e-9,
        "huge": points * 1e5, "negative": -points, "none": None, "objects": points.astype(object), "swapped": points[:, ::-1],
    }  # fmt: skip
    name = rng.choice(list(changes))
    call = lambda: alignment.crop(base, changes[name], size=size, kind=kind)
    if name in ("list", "tensor", "float32", "text", "objects"):
        return Input(f"landmarks {name}, {kind}", call, lambda crop: equal(alignment.crop(base, points, size=size, kind=kind), 0.02)(crop))
    fine = name in ("swapped", "negative", "far away", "in a line", "huge", "tiny")
    return Input(f"landmarks {name}, {kind}", call, (lambda crop: finite(crop, (3, *size))) if fine else refuse)


# ------------------------------------------------------------------------------------------------- tables, folders, pairs


@area("tables", 450)
def tables(rng):
    """CSV tables, LFW's pairs.txt, and folders."""
    way = rng.choice(["csv", "csv", "lfw", "folder"])
    names = ["ann/0", "ann/1", "bob/0", "bob/1", "NA/001", "null", "001", "1e3", "nan", "true", "ü/é", "a b/c d", "None", "-1", "x,y", 'q"q', "ann/..//ann/2"]
    if way == "csv":
        return csv_table(rng, rng.sample(names, 4))
    if way == "lfw":
        return lfw_folder(rng)
    people = rng.sample(["ann", "bob", "NA", "ü", "001", " lee", ".hidden", "a'b", "p [1]", "*"], rng.randint(0, 4))
    made, photo = {}, Path(orl_photo_path("s1/1"))
    for person in people:
        Path(person).mkdir()
        for i in range(rng.randint(0, 3)):
            ending = rng.choice([".pgm", ".jpg", ".PNG", ".txt", "", ".jpg.part", ".gif"])
            shutil.copy(photo, f"{person}/{i}{ending}")
            made[person] = made.get(person, 0) + (ending in (".pgm", ".jpg", ".PNG") and person[0] != ".")
    trick = rng.choice(["", "", "", "loop", "loose file", "nested", "directory called .jpg", "fifo", "file as root", "no root"])
    if trick == "loop" and people:
        Path(people[0], "again").symlink_to(Path().resolve())
    elif trick == "loose file":
        shutil.copy(photo, "loose.jpg")
    elif trick == "nested" and people:
        shutil.copytree(people[0], f"deep/{people[0]}")
    elif trick == "directory called .jpg" and people:
        Path(people[0], "album.jpg").mkdir()
    elif trick == "fifo" and people:
        os.mkfifo(Path(people[0], "pipe.jpg"))
    root = {"file as root": photo, "no root": "absent"}.get(trick, rng.choice([".", Path(), Path().resolve()]))

    def check(pairs):
        for row in pairs.table.itertuples():
            if row.same != (row.name_a.rsplit("/", 1)[0] == row.name_b.rsplit("/", 1)[0]) or row.name_a == row.name_b:
                return f"{row.name_a} and {row.name_b} are same={row.same}"
        genuine = sum(n * (n - 1) // 2 for n in made.values())
        found = int(pairs.labels.sum())
        return None if found == genuine or trick else f"{found} genuine pairs of {genuine}"

    return Input(f"folder of {made} {trick}", lambda: xfv.load_pairs("folder", root=root), check)


def csv_table(rng, names):
    """A table of pairs with something odd about it."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(orl_photo_path(f"s{rng.randint(1, 9)}/1"), name)
    rows = [[a, b, rng.random() < 0.5, i % 3] for i, (a, b) in enumerate(itertools.combinations(names, 2))]
    labels, folds = [row[2] for row in rows], [row[3] for row in rows]
    word = rng.choice([("True", "False"), ("1", "0"), ("true", "false"), ("TRUE", "FALSE"), (" true", "false "), ("1.0", "0.0")])
    fold = rng.choice([str, str, "{}.0".format, lambda n: rng.choice(["1.5", "1e30", "", "a", "nan", "-1", "inf", "0x1", "2e0", "True"])])
    quoted = lambda text: '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"') or rng.random() < 0.2 else text
    cells = [[quoted(a), quoted(b), word[0] if same else word[1], fold(n)] for a, b, same, n in rows]
    odd, place = (rng.choice(["", "", "empty name", "empty label", "word", "absent", "short row", "long row", "same file", "number"]), rng.randrange(len(cells)))
    if odd == "empty name":
        cells[place][rng.randrange(2)] = rng.choice(["", " ", '""'])
    elif odd in ("empty label", "word", "number"):
        cells[place][2] = {"empty label": "", "word": rng.choice(["yes", "same", "T", "NA", "None", "nan"]), "number": rng.choice(["2", "-1", "0.5", "1e0"])}[odd]
    elif odd == "absent":
        cells[place][0] = rng.choice(["absent.jpg", "..", ".", "a" * 3000, "/dev/zero"])
    elif odd == "short row":
        cells[place] = cells[place][:2]
    elif odd == "long row":
        cells[place].append("more")
    head = rng.choice([["path_a", "path_b", "same", "fold"]] * 4 + [["path_a", "path_b", "same", "fold", "note"], ["a", "b", "same", "fold"], ["path_a", "path_b", "path_b", "same"],
                       [" path_a", " path_b", " same", " fold"], ["PATH_A", "PATH_B", "SAME", "FOLD"]])  # fmt: skip
    comma, newline = rng.choice([",", ",", ",", ", ", ";", "\t"]), rng.choice(["\n", "\n", "\r\n", "\n\n", "\r"])
    text = newline.join(comma.join(line) for line in [head, *cells]) + rng.choice(["", newline])
    coding = rng.choice(["utf8", "utf8", "utf8", "utf-8-sig", "utf-16", "latin1"])
    data = text.encode(coding) if rng.random() < 0.95 else rng.choice([b"", b"\n", b"path_a,path_b,same\n", b"\0" * 50, rng.randbytes(200), b'path_a,path_b,same\n"open,x,1'])
    Path("pairs.csv").write_bytes(data)
    what = f"csv {odd}, header {head[0]!r}, separator {comma!r}{newline!r}, {coding}, labels {word[0]!r}, fold {cells[0][3:4]} of {names[:2]}"
    wrong = odd in ("empty name", "empty label", "absent", "short row") or (odd == "long row" and "note" not in head) or (odd and odd in ("word", "number") and cells[place][2] not in ("T", "1e0"))

    def read():
        pairs = xfv.load_pairs("csv", file=rng.choice(["pairs.csv", Path("pairs.csv")]), model=TINY)
        pairs.labels, pairs.folds, pairs.names  # noqa: B018 – each may raise
        return pairs

    def check(pairs):
        if wrong or len(data) < 60:
            return refuse(pairs.table.iloc[place % len(pairs.table)].to_dict())
        sources = [Path(pairs.images.sources[name]).resolve() for name in pairs.table.name_a]
        if sources != [Path(row[0]).resolve() for row in rows]:
            return f"reads {sources[:2]} for {[row[0] for row in rows][:2]}"
        try:
            folds_meant = [int(float(cell[3])) for cell in cells] if "fold" in "".join(head).lower() and fold is not None else None
        except (ValueError, OverflowError):
            return f"folds are {pairs.folds.tolist()} of {[cell[3] for cell in cells]}"
        exact = folds_meant is None or all(float(cell[3]) == int(float(cell[3])) and abs(float(cell[3])) < 1e9 for cell in cells)
        found = pairs.folds.tolist()
        if not exact or (folds_meant not in (None, found) and set(found) != {-1}):
            return f"folds are {found} of {[cell[3] for cell in cells]} ({folds})"
        return equal(np.array(labels, float))(pairs.labels)

    return Input(what, read, check)


def lfw_folder(rng):
    """LFW's layout, its pairs.txt altered."""
    for person in ("Ann", "Bob"):
        Path("lfw", person).mkdir(parents=True)
        for i in (1, 2, 3):
            shutil.copy(orl_photo_path(f"s{1 + (person == 'Bob')}/{i}"), f"lfw/{person}/{person}_000{i}.jpg")
    lines = ["2\t2", "Ann\t1\t2", "Bob\t1\t3", "Ann\t1\tBob\t1", "Ann\t2\tBob\t3", "Ann\t2\t3", "Bob\t2\t3", "Bob\t1\tAnn\t3", "Bob\t2\tAnn\t2"]
    change, place = (rng.choice(["", "word", "drop", "double", "swap", "header", "blank", "spaces", "bytes", "absent"]), rng.randrange(1, len(lines)))
    if change == "word":
        words = lines[place].split("\t")
        words[rng.randrange(len(words))] = rng.choice(["", "x", "-1", "0", "99", "1.5", "1e3", "../Bob", "²", "١", "Ann Bob"])
        lines[place] = "\t".join(words)
    elif change == "drop":
        del lines[place]
    elif change == "double":
        lines.insert(place, lines[place])
    elif change == "swap":
        lines[1], lines[3] = lines[3], lines[1]
    elif change == "header":
        lines[0] = rng.choice(["", "2", "8", "0", "-2 2", "2 2 2", "a b", "1000000000 1000000000", "²\t2", "1.0 2.0", "4", "1 4", "4 1"])
    elif change == "blank":
        lines.insert(place, "")
    elif change == "absent":
        Path("lfw/Ann/Ann_0002.jpg").unlink()
    text = "\n".join(lines).replace("\t", "  " if change == "spaces" else "\t")
    Path(rng.choice(["pairs.txt", "lfw/pairs.txt"])).write_bytes(rng.choice([b"", rng.randbytes(300), b"\xff\xfe2\t2"]) if change == "bytes" else text.encode())
    root = rng.choice(["lfw", Path("lfw")])

    def check(pairs):
        if change in ("", "spaces", "absent"):
            return equal([1, 1, 0, 0, 1, 1, 0, 0])(pairs.labels.astype(float)) or equal([0] * 4 + [1] * 4)(pairs.folds)
        if change in ("drop", "double", "swap", "bytes"):
            return refuse(pairs)
        for row in pairs.table.itertuples():
            if row.same != (row.name_a.split("/")[0] == row.name_b.split("/")[0]):
                return f"{row.name_a} and {row.name_b} are same={row.same}"
        return None

    return Input(f"pairs.txt {change} {lines[place % len(lines)]!r} {lines[0]!r}", lambda: xfv.load_pairs("lfw", root=root, model=TINY), check)


@area("pairs", 400)
def pairs_and_sets(rng):
    """Pair and PairSet: images, labels, tables, indices, the names of data sets; crops that are handed out."""
    image, way = PAIR.a.clone(), rng.choice(["image", "label", "table", "index", "method", "load", "handed out"])
    if way == "image":
        forms = {
            "float64": image.double(), "float16": image.half(), "bfloat16": image.bfloat16(), "grad": image.clone().requires_grad_(True), "channels last": image[None].to(memory_format=torch.channels_last)[0],
            "view": image.flip(2).flip(2), "expanded": image[:1].expand(3, -1, -1),
        }  # fmt: skip
        bad = {
            "uint8": (image * 255).byte(), "bool": image > 0.5, "complex": image + 0j, "nan": image * NAN, "inf": image / 0, "to 255": image * 255, "negative": image - 1, "grey": image[:1],
            "batch": image[None], "hwc": image.permute(1, 2, 0), "empty": image[:, :0], "no width": image[:, :, :0], "array": image.numpy(), "list": image.tolist(), "none": None, "meta": image.to("meta"),
            "sparse": image.to_sparse(), "text": "a.jpg", "pil": PHOTO, "2-d": image[0], "larger": torch.rand(3, 21, 20), "nan once": image.where(torch.arange(20) != 3, NAN),
        }  # fmt: skip
        name = rng.choice([*forms, *bad])
        other = {**forms, **bad}[name]
        couple = (other, image) if rng.random() < 0.5 else (image, other)
        expected = lambda pair: equal(xfv.scores(TINY, one_pair(forms[name].detach().float(), image)).item(), 3e-3)(xfv.explain(TINY, pair, "occlusion").score)
        if name in forms:
            return Input(f"pair with {name}", lambda: xfv.Pair(*couple), expected)
        return Input(f"pair with {name}", lambda: xfv.Pair(*couple), refuse)
    if way == "label":
        value = rng.choice([*ODD, pd.NA, np.nan, np.bool_(False), "False", "True", pd.NaT])
        known = value is None or isinstance(value, (bool, np.bool_))

        def check(pair):
            if pair.same not in (True, False, None) or not (known or type(value) is int or pair.same is None):
                return f"same is {short(pair.same)}"
            return None if value is None or not known or pair.same == value else f"same is {pair.same}"

        return Input(f"Pair(same={short(value)})", lambda: xfv.Pair(image, image, value), check)
    if way == "table":
        return odd_table(rng)
    if way == "index":
        index = rng.choice([*ODD, -1, -len(PAIRS), len(PAIRS), -len(PAIRS) - 1, slice(1, 3), slice(None, None, -7), slice(5, 2), [0, 0, 1], [-1], [True] * 3, np.arange(3), np.arange(3.0),
                            PAIRS.labels, PAIRS.labels[:5], PAIRS.labels.tolist(), torch.arange(3), torch.tensor([True] * len(PAIRS)), ..., "name_a", [NAN], [[0, 1]], range(3), pd.Series([1, 2], index=[9, 8]),
                            np.array([], int), {1, 2}, slice(0.5, 2), [10**6]])  # fmt: skip

        def check(found):
            if isinstance(index, tuple) or isinstance(index, bool):
                return None
            if isinstance(index, (Integral, np.integer)) and not isinstance(index, (bool, np.bool_)):
                return None if found.name_a == PAIRS.table.name_a.iloc[int(index)] else f"{found.name_a}"
            if isinstance(found, xfv.Pair):
                return f"a Pair for {short(index)}" if not isinstance(index, (torch.Tensor, np.ndarray)) else None
            listed = np.asarray(index, int) if getattr(index, "dtype", None) == float else list(index) if isinstance(index, range) else np.asarray(index) if not isinstance(index, slice) else index
            wanted = PAIRS.table.name_a.to_numpy()[np.asarray(listed, int) if len(np.atleast_1d(listed)) == 0 else listed].tolist()
            return None if found.table.name_a.tolist() == wanted else f"{found.table.name_a.tolist()[:4]}, not {wanted[:4]}"

        return Input(f"pairs[{short(index)}]", lambda: PAIRS[index], check)
    if way == "handed out":
        crops = some_crops()
        spoil = rng.choice([lambda x: x.zero_(), lambda x: x.mul_(9), lambda x: x.numpy().fill(NAN), lambda x: x[:, 0].fill_(5)])

        def twice():
            pairs = crops()
            before = pairs.image("ann/0").clone()
            spoil(rng.choice([lambda: pairs.image("ann/0"), lambda: pairs[0].a, lambda: pairs.images["ann/0"]])())
            return before, pairs.image("ann/0")

        return Input("a crop handed out is overwritten", twice, lambda both: equal(both[0])(both[1]))
    if way == "load":
        name = rng.choice([*ODD, "ORL", "lfw ", "bin", "cplfw", "folder", "csv", "agedb_30"])
        given = {key: rng.choice(["", ".", "absent", 5, None, b"x", Path("absent")]) for key in rng.sample(["root", "bin", "file"], rng.randint(0, 2))}
        given = {"bin": "absent"} if isinstance(name, str) and name == "lfw" else given
        return Input(f"load_pairs({short(name)}, {given})", lambda: xfv.load_pairs(name, **given, model=TINY), refuse)
    name, given = rng.choice([("draw", rng.choice(ODD)), ("draw", 3), ("pair", rng.choice([*ODD, "p0/0", "p9/9"])), ("image", rng.choice([*ODD, "p0/9", "p0/0"])), ("all_pairs", None)])
    calls = {"draw": lambda: PAIRS.draw(given), "pair": lambda: PAIRS.pair(given, "p1/0"), "image": lambda: PAIRS.image(given), "all_pairs": PAIRS.all_pairs}

    def check(found):
        if name == "draw":
            whole = isinstance(given, Integral) and not isinstance(given, bool) and given >= 1
            return None if whole and len(found) == 2 * given and found.labels.sum() == given else refuse(found)
        if name == "all_pairs":
            return None if len(found) == 66 and found.labels.sum() == 12 else refuse(found)
        return None if given == "p0/0" else refuse(found)

    return Input(f"{name}({short(given)})", calls[name], check)


def one_pair(a, b):
    return xfv.PairSet("one", pd.DataFrame([("a", "b", True, -1)], columns=["name_a", "name_b", "same", "fold"]), {"a": a, "b": b})


def some_crops():
    for person in ("ann", "bob"):
        Path(person).mkdir()
        for i in range(2):
            shutil.copy(orl_photo_path(f"s{1 + (person == 'bob')}/{i + 1}"), f"{person}/{i}.pgm")
    return lambda: xfv.load_pairs("folder", root=".", model=TINY)


def odd_table(rng):
    """A PairSet of an odd table."""
    table, images = FEW.table.copy(), dict(FEW.images)
    change = rng.choice(["label", "label", "label", "no column", "more columns", "index", "names as numbers", "absent", "double", "empty", "fold", "images", "not a table", "name"])
    value = rng.choice([None, NAN, pd.NA, "True", "False", 2, 0.5, 1, 0, np.True_, "", [], -1])
    if change == "label":
        table["same"] = table.same.astype(object)
        table.iat[2, table.columns.get_loc("same")] = value
        table = table.astype({"same": rng.choice([object, object, "boolean"])}) if value in (None, 1, 0) else table
    elif change == "no column":
        table = table.drop(columns=rng.choice(["name_a", "name_b", "same", "fold"]))
    elif change == "more columns":
        table["note"] = "x"
    elif change == "index":
        table.index = rng.choice([[5] * 6, list("abcdef"), range(6, 0, -1)])
    elif change == "names as numbers":
        table["name_a"], images = range(6), images | {i: images["p0/0"] for i in range(6)}
    elif change == "absent":
        table["name_a"] = [rng.choice(["nobody", None, NAN, 5, ""]), *table.name_a[1:]]
    elif change == "double":
        table = pd.concat([table, table])
    elif change == "empty":
        table = table.iloc[:0]
    elif change == "fold":
        table["fold"] = rng.choice([1.5, NAN, "a", None, -1, 10**30])
    elif change == "images":
        images = rng.choice([images, {}, None, list(images), {name: None for name in images}, {name: (x * 255).byte() for name, x in images.items()}, {n: x.numpy() for n, x in images.items()}])
    elif change == "not a table":
        table = rng.choice([None, [], table.to_dict(), table.to_numpy(), "table", table.same])
    name = rng.choice(ODD) if change == "name" else "odd"

    def use():
        pairs = xfv.PairSet(name, table, images)
        return pairs, pairs.labels, [pair.same for pair in pairs], xfv.scores(TINY, pairs), repr(pairs)

    def check(result):
        pairs, labels, each, scores, _ = result
        if change == "label":
            fine = isinstance(value, (bool, np.bool_)) or (isinstance(value, int) and value in (0, 1))
            if not fine and (bool(labels[2]) or each[2] is not None):
                return f"label {value!r} is {labels[2]} in labels and {each[2]} in the pair"
            return None if not fine or bool(labels[2]) == each[2] == bool(value) else f"label {value!r} is {labels[2]}, {each[2]}"
        return finite(scores, (len(pairs),)) or (None if change in ("more columns", "index", "double", "names as numbers", "images", "name", "fold") or isinstance(table, dict) else refuse(pairs))

    return Input(f"PairSet, {change} {short(value) if change == 'label' else ''}", use, check)


# ------------------------------------------------------------------------------------------------- models


class Net(nn.Module):
    """A network of a given function behind a linear layer."""

    def __init__(self, function, inner=None):
        super().__init__()
        self.inner, self.function = network() if inner is None else inner, function

    def forward(self, x):
        return self.function(self.inner(x))


def faulty(number):
    calls = itertools.count()
    functions = {
        "nan": lambda y: y * NAN, "nan beyond the first": lambda y: torch.where(torch.arange(len(y))[:, None] > 0, NAN, y), "zero": lambda y: y * 0, "infinite": lambda y: y / 0,
        "empty": lambda y: y[:, :0], "batch mean": lambda y: y - y.mean(dim=0), "batch maximum": lambda y: y / y.abs().max(), "sum of the batch": lambda y: y.cumsum(dim=0),
        "dict": lambda y: {"embedding": y}, "none": lambda y: None, "empty tuple": lambda y: (), "text": lambda y: "embedding", "array": lambda y: y.detach().numpy(), "3-d": lambda y: y[:, None],
        "flat": lambda y: y.flatten(), "one row": lambda y: y[:1], "twice the rows": lambda y: y.repeat(2, 1), "integers": lambda y: (y * 100).long(), "bool": lambda y: y > 0, "complex": lambda y: y + 0j,
        "raises": lambda y: 1 / 0, "exits": lambda y: (_ for _ in ()).throw(KeyError("layer")), "random": lambda y: y + torch.rand_like(y), "counts": lambda y: y + 10.0 * next(calls),
        "one for all": lambda y: torch.ones_like(y), "transposed": lambda y: y.T, "meta": lambda y: y.to("meta"), "sparse": lambda y: y.to_sparse(),
    }  # fmt: skip
    return functions


@area("models", 350)
def wrapped(rng):
    """FaceModel of networks that answer wrongly, of odd arguments, and of good networks in odd forms."""
    way = rng.choice(["faulty", "argument", "argument", "good", "object", "setting"])
    if way == "faulty":
        name = rng.choice(list(faulty(0)))
        return Input(f"network: {name}", lambda: xfv.FaceModel(Net(faulty(0)[name]), size=20, threshold=0.3), refuse)
    if way == "good":
        half, double = network().bfloat16(), network().double()
        forms = {
            "tuple": Net(lambda y: (y, None)), "list": Net(lambda y: [y]), "double": double, "bfloat16": half, "in place": Net(lambda y: y.mul_(2)), "scripted": torch.jit.script(network()), "training": network().train(),
            "dropout": nn.Sequential(network(), nn.Dropout(0.5)), "batch norm": nn.Sequential(network(), nn.BatchNorm1d(11)), "no weights": nn.Sequential(nn.AvgPool2d(5), nn.Flatten()), "one number more": nn.Sequential(network(), nn.Linear(11, 1000)),
            "detached": Net(lambda y: y.detach()), "numpy inside": Net(lambda y: torch.from_numpy(y.detach().numpy())), "parallel": nn.DataParallel(network()),
        }  # fmt: skip
        name = rng.choice(list(forms))
        images = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(1))

        def check(model):
            rows = model.embed(images)
            alone = torch.cat([model.embed(images[i : i + 1]) for i in range(3)])
            if rows.dtype != torch.float32:
                return f"embeddings are {rows.dtype}"
            return equal(np.ones(3), 1e-2)(rows.norm(dim=1)) or equal(rows, 2e-2 if name == "bfloat16" else 1e-4)(alone)

        return Input(f"network: {name}", lambda: xfv.FaceModel(forms[name], size=20), check)
    if way == "object":
        thing = rng.choice([None, 5, "network", nn.Linear, lambda x: x, network, np.eye(3), nn.Parameter(torch.ones(3)), nn.Sequential(), network().to("meta"), nn.Identity(), nn.Linear(5, 3), nn.ModuleList([network()]), {}])
        return Input(f"FaceModel({short(thing)[:60]})", lambda: xfv.FaceModel(thing, size=20), (lambda model: finite(model.embed(PAIR.a[None]))) if type(thing) is nn.Identity or (type(thing) is nn.Sequential and not len(thing)) else refuse)
    values = {
        "size": ([*ODD, (20,), (20, 20, 3), (20, 20), [20, 20], "20", 10**6, (0, 20), (20.0, 20.0), np.int64(20), 5, 19, (1, 400)], lambda v, m: m.size == (20, 20) and v is not True),
        "mean": ([*ODD, 127.5, [0.5, 0.5], [0.5] * 4, [0.5] * 3, (0.1, 0.2, NAN), np.array([0.4, 0.5, 0.6]), torch.tensor([0.5] * 3), [[0.5]]], lambda v, m: bool((m.mean.abs() <= 3).all())),
        "std": ([*ODD, 127.5, 0, -0.5, [0.5, 0.5], [0.2, 0, 0.2], [0.5] * 3, 1e-30, np.float64(0.5)], lambda v, m: bool(((m.std > 0) & (m.std < 20)).all())),
        "channels": ([*ODD, "RGB", "bgr", "rbg"], lambda v, m: v == "bgr"),
        "name": ([*ODD, "x" * 10**5, "<b>"], lambda v, m: isinstance(m.name, str)),
        "threshold": ([*ODD, 1.0001, -1, np.float32(0.5), "0.5"], lambda v, m: m.threshold is None or (isinstance(v, Real) and isinstance(m.threshold, float) and -1 <= m.threshold <= 1)),
        "alignment": ([*ODD, "ArcFace", "dlib"], lambda v, m: v == "dlib"),
    }  # fmt: skip
    name = rng.choice(list(values))
    value, right = rng.choice(values[name][0]), values[name][1]
    if way == "setting" and name == "threshold":

        def later():
            model = xfv.FaceModel(network(), size=20, threshold=0.3)
            model.threshold = value
            return model

        return Input(f"model.threshold = {short(value)}", later, lambda model: None if right(value, model) else refuse(model))
    call = lambda: xfv.FaceModel(network(), **({"size": 20} | {name: value}))
    return Input(f"FaceModel({name}={short(value)})", call, lambda m: (None if right(value, m) else refuse(m)) or finite(m.embed(torch.rand(2, 3, *m.size))))


@area("embed", 300)
def embed(rng):
    """Images to FaceModel.embed: types, shapes, ranges, layouts, devices."""
    x = torch.rand(rng.randint(1, 4), 3, 20, 20, generator=torch.Generator().manual_seed(rng.randrange(100)))
    good = {
        "float64": x.double(), "half": x.half(), "bfloat16": x.bfloat16(), "channels last": x.to(memory_format=torch.channels_last), "view": x.flip(0).flip(0), "strided": x.repeat_interleave(2, dim=3)[..., ::2],
        "with grad": x.clone().requires_grad_(True), "parameter": nn.Parameter(x), "expanded": x[:1].expand(len(x), -1, -1, -1), "slightly outside": x * 1.2 - 0.1, "transposed": x.transpose(2, 3).contiguous().transpose(2, 3), "black": x * 0,
        "white": x * 0 + 1, "subnormal": x * 1e-40, "one": x[:1], "inference": inference(x),
    }  # fmt: skip
    bad = {
        "uint8": (x * 255).byte(), "int": x.long(), "bool": x > 0.5, "complex": x + 0j, "to 255": x * 255, "nan": x * NAN, "one nan": torch.where(torch.arange(20) == 7, NAN, x), "infinite": x / 0, "huge": x * 1e30, "meta": x.to("meta"),
        "sparse": x.to_sparse(), "array": x.numpy(), "list": x.tolist(), "3-d": x[0], "5-d": x[None], "hwc": x.permute(0, 2, 3, 1), "grey": x[:, :1], "rgba": torch.cat([x, x[:, :1]], dim=1), "empty": x[:0], "no pixels": x[..., :0],
        "larger": torch.rand(2, 3, 21, 20), "none": None, "pair": PAIR, "text": "x", "number": 0.5, "flat": x.flatten(), "pil": PHOTO, "nested": torch.nested.nested_tensor([x[0]]), "quantized": torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
        "float8": x.to(torch.float8_e4m3fn), "a model": TINY, "object array": np.array([None]), "tuple": (x,),
    }  # fmt: skip
    name = rng.choice([*good, *bad])
    given = {**good, **bad}[name]
    context = rng.choice([torch.no_grad, torch.enable_grad, torch.inference_mode])

    def call():
        with context():
            return TINY.embed(given).detach()

    if name in bad and name != "float8":
        return Input(f"embed {name}", call, refuse)
    plain = given.detach().float().contiguous().clone()
    return Input(f"embed {name}, {context.__name__}", call, lambda rows: equal(rows_of(plain), 2e-2 if name in ("half", "bfloat16", "float8") else 1e-4)(rows))


def inference(x):
    with torch.inference_mode():
        return x.clone()


def rows_of(images):
    with torch.no_grad():
        raw = TINY.network((images - 0.5) / 0.5)
    return (raw / raw.norm(dim=1, keepdim=True).clamp(min=1e-12)).numpy()


# ------------------------------------------------------------------------------------------------- files of models


def linear_onnx(path, shape=("batch", 3, 8, 8), *, kind=TensorProto.FLOAT, external=False, outputs=1, inputs=1, opset=13):
    """A linear map of all pixels to six numbers; returns its weights."""
    weights = np.random.default_rng(0).normal(size=(6, 192)).astype(helper.tensor_dtype_to_np_dtype(kind))
    initial = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([0, -1], np.int64), "flat")]
    nodes, pixels = [], "x"
    if len(shape) == 4 and shape[3] == 3:
        nodes, pixels = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])], "t"
    nodes += [helper.make_node("Reshape", [pixels, "flat"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)]
    nodes += [helper.make_node("Identity", ["y"], [f"y{i}"]) for i in range(1, outputs)]
    ins = [helper.make_tensor_value_info(f"x{i or ''}", kind, shape) for i in range(inputs)]
    outs = [helper.make_tensor_value_info(f"y{i or ''}", kind, [shape[0] if len(shape) else None, 6]) for i in range(outputs)]
    model = helper.make_model(helper.make_graph(nodes, "linear", ins, outs, initial), opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path, save_as_external_data=external, location="weights.bin" if external else None, size_threshold=0)
    return weights.astype(np.float32)


@area("onnx", 170)
def onnx_files(rng):
    """ONNX files: layouts, fixed batches, types, external data, damage."""
    shapes = [("batch", 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8), (None, 3, 8, 8), ("n", 8, 8, 3), (1, 8, 8, 3), ("n", 3, "h", "w"), ("n", "c", 8, 8), (0, 3, 8, 8), (-1, 3, 8, 8), (3, 8, 8), (), ("n", 192), ("n", 1, 8, 24),
              ("n", 3, 8, 3), ("n", 3, 3, 3), ("n", 3, 10**6, 10**6)]  # fmt: skip
    shape = rng.choice(shapes) if rng.random() < 0.5 else shapes[0]
    kind = rng.choice([TensorProto.FLOAT] * 4 + [TensorProto.FLOAT16, TensorProto.DOUBLE])
    more = {"external": rng.random() < 0.15, "outputs": rng.choice([1, 1, 2]), "inputs": rng.choice([1, 1, 1, 2]), "opset": rng.choice([13, 13, 13, 17, 999])}
    path, damage = (Path("net.onnx"), rng.choice(["", "", "", "cut", "flip", "text", "empty", "moved", "lost", "directory", "outside"]))
    weights = linear_onnx(path, shape, kind=kind, **more)
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: rng.randrange(len(data))])
    elif damage == "flip":
        place = rng.randrange(min(400, len(data)))
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :])
    elif damage in ("text", "empty"):
        path.write_bytes(b"not a network" if damage == "text" else b"")
    elif damage == "moved":
        Path("sub").mkdir()
        path = path.rename("sub/net.onnx")
        if more["external"]:
            Path("weights.bin").rename("sub/weights.bin")
    elif damage == "lost" and more["external"]:
        Path("weights.bin").unlink()
    elif damage == "outside" and more["external"]:
        path.write_bytes(data.replace(b"weights.bin", b"/etc/passwd"))
    elif damage == "directory":
        path.unlink()
        path.mkdir()
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(3))

    def load():
        model = xfv.load_model(rng.choice(["onnx", None]), weights=rng.choice([path, str(path)]))
        return model, model.embed(images) if model.size == (8, 8) else None

    def check(result):
        raw = ((images - 0.5) / 0.5).flatten(1) @ torch.from_numpy(weights).T
        if damage in ("flip", ""):
            wrong = damage == "flip" or result[1] is None
            return None if wrong else equal(raw / raw.norm(dim=1, keepdim=True), 2e-2)(result[1])
        fine = damage == "moved" or (damage in ("lost", "outside") and not more["external"])
        return (equal(raw / raw.norm(dim=1, keepdim=True), 2e-2)(result[1]) if result[1] is not None else None) if fine else refuse(result)

    return Input(f"onnx {shape} type {kind} {more} {damage}", load, check)


@area("checkpoints", 180)
def checkpoints(rng):
    """Checkpoints: wrappers, types, formats, missing and extra keys, objects, damage."""
    torch.manual_seed(0)
    ours = MobileFaceNet(64).state_dict()
    told = {"conv_6_dw.conv.weight": torch.empty(512, 1, 7, 7), "linear.weight": torch.empty(64, 512), "conv1.conv.weight": torch.empty(64, 3, 3, 3)}
    plain = {mobilefacenet.recognise(told)[1][key]: value for key, value in ours.items()}
    state, path = dict(plain), Path(rng.choice(["net.pt", "net.pth", "net.ckpt", "net.bin", "net.tar"]))
    key = rng.choice([key for key, value in state.items() if value.dim() > 1])
    change = rng.choice(["", "", "half", "double", "missing", "extra", "shape", "nan", "complex", "strides 0", "sparse", "meta", "numpy", "payload", "payload in the state", "nested", "empty", "list", "number", "not text", "uint8", "shared"])
    if change in ("half", "double"):
        state = {k: v.to(getattr(torch, change)) if v.is_floating_point() else v for k, v in state.items()}
    elif change == "missing":
        del state[key]
    elif change == "extra":
        state[rng.choice(["more.weight", 5, ""])] = torch.ones(3)
    elif change in ("shape", "nan", "complex", "sparse", "meta", "numpy", "uint8", "list", "number", "strides 0", "shared", "payload in the state"):
        value = state[key]
        state[key] = {"shape": value.flatten(), "nan": value * NAN, "complex": value + 0j, "sparse": value.to_sparse(), "meta": value.to("meta"), "numpy": value.numpy(), "uint8": value.byte(), "list": value.tolist(), "number": 5,
                      "payload in the state": Payload(open, "harm", "w"), "strides 0": torch.ones(1).expand(20_000, 50_000), "shared": torch.ones(1).expand(value.shape)}[change]  # fmt: skip
    elif change == "empty":
        state = {}
    elif change == "not text":
        state = {(k, 1): v for k, v in state.items()}
    wrapper = rng.choice([lambda s: s, lambda s: s, lambda s: {"state_dict": s}, lambda s: {"module." + str(k): v for k, v in s.items()}, lambda s: {"model": {"backbone." + str(k): v for k, v in s.items()}, "epoch": 3}])
    content = wrapper(state)
    if change == "payload":
        content = {"state_dict": state, "callback": Payload(os.system, "touch harm")}
    elif change == "nested":
        for _ in range(100):
            content = {"state_dict": content}
    form = rng.choice(["zip", "zip", "legacy", "pickle", "script"])
    if form == "script":
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    elif form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    damage, data = rng.choice(["", "", "", "cut", "flip", "bomb", "safetensors"]), path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: rng.randrange(len(data))])
    elif damage == "flip":
        place = rng.randrange(min(2000, len(data)))
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :])
    elif damage == "bomb" and form == "zip":
        with zipfile.ZipFile(path) as old, zipfile.ZipFile("bomb.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name) + (bytes(300_000_000) if name.endswith("data/0") else b""))
        path = Path("bomb.pt")
    elif damage == "safetensors":
        path = Path("net.safetensors")
        path.write_bytes(rng.choice([struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 10) + b"not json  ", data[:1000], b"", struct.pack("<Q", 2) + b"{}", struct.pack("<Q", 66) + b'{"w":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,4]}}  \0\0\0\0']))
    fine = change in ("", "half", "double") and form in ("zip", "legacy") and (not damage or (damage == "bomb" and form == "legacy"))

    def load():
        model = xfv.load_model(rng.choice([None, "mobilefacenet"]), weights=path)
        return model.embed(torch.full((1, 3, *model.size), 0.3))

    def check(row):
        if fine:
            model = MobileFaceNet(64).eval()
            model.load_state_dict(ours)
            raw = model(torch.full((1, 3, 112, 112), -0.4)).detach()
            return equal(raw / raw.norm(), 2e-2 if change == "half" else 1e-3)(row)
        lenient = damage == "flip" or change in ("extra", "uint8", "shared", "sparse", "strides 0")
        return finite(row) if lenient else refuse(row)

    return Input(f"checkpoint {form}, {change}, {damage}, {path.suffix}", load, check)


# ------------------------------------------------------------------------------------------------- methods

QUICK = {"smoothgrad": {"samples": 8}, "integrated_gradients": {"steps": 8}, "lime": {"samples": 80, "superpixels": 16}, "corrrise": {"masks": 40}, "fame": {"steps": 10}, "minplus": {"quick": True, "tmax": 2}}
COUNTS = {"samples", "masks", "patches", "steps", "batch", "channels_at_once", "superpixels", "tmax"}
LENGTHS = {"size", "stride", "patch", "sigma", "step"}
NOT_NEGATIVE = {"blur", "noise", "compactness"}
WORDS = {"gradient", "embedding", "fill", "part", "correlation", "scoring", "baseline", "layer"}


def defaults(name):
    """The options of a method and their defaults."""
    method = METHODS[name]
    found = {}
    for stage in filter(None, (method.pair, method.prepare, method.finish)):
        found |= {key: one.default for key, one in signature(stage).parameters.items() if one.kind is one.KEYWORD_ONLY and one.default is not one.empty}
    return found | ({"batch": 32} if "batch" in method.options else {})


def sensible(option, value):
    """Whether an odd value can be meant."""
    number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    if option in COUNTS:
        return (isinstance(value, Integral) and number and value >= 1) or (option == "tmax" and value is None)
    if option in LENGTHS:
        return (number and math.isfinite(value) and value > 0) or (option == "step" and value is None)
    if option in NOT_NEGATIVE:
        return number and math.isfinite(value) and value >= 0
    if option in WORDS:
        return (option == "scoring" and value in (1, 2, 3)) or (option == "layer" and value is None) or (isinstance(value, str) and value == "mean")
    if option in ("stop", "th"):
        return number and not math.isnan(value)
    return True


@area("methods", 550)
def methods(rng):
    """Every method with odd options and thresholds; numpy's numbers in place of Python's."""
    name = rng.choice(list(METHODS))
    given, known = dict(QUICK.get(name, {})), defaults(name)
    if known and rng.random() < 0.3:
        options = {key: value for key, value in (known | given).items() if type(value) in (int, float, str, bool) and key != "masks"}
        as_numpy = {int: np.int64, float: np.float64, str: np.str_, bool: np.bool_}
        given_numpy = given | {key: as_numpy[type(value)](value) for key, value in options.items() if rng.random() < 0.7}
        return Input(f"{name} with numpy's {sorted(given_numpy)}", lambda: METHODS[name](TINY, PAIR.a, PAIR.b, threshold=np.float32(0.3), **given_numpy),
                     lambda m: equal(METHODS[name](TINY, PAIR.a, PAIR.b, threshold=0.3, **given), 1e-4)(m))  # fmt: skip
    if known and rng.random() < 0.75:
        for option in rng.sample(sorted(known), rng.randint(1, min(2, len(known)))):
            odd = [value for value in ODD if not (option in COUNTS and isinstance(value, Integral) and value > 1000)]
            given[option] = rng.choice([*odd, 5e-324, 10**6 if option in LENGTHS else 7, "H0-", (7, "x"), (0,), (7, NAN), (10**6,)])
        odd = {key: value for key, value in given.items() if QUICK.get(name, {}).get(key) is not value}
        meant = all(sensible(key, value) for key, value in odd.items())
        return Input(f"{name}({', '.join(f'{k}={short(v)}' for k, v in odd.items())})", lambda: METHODS[name](TINY, PAIR.a, PAIR.b, threshold=0.3, **given),
                     (lambda m: finite(m, (20, 20))) if meant else refuse)  # fmt: skip
    if rng.random() < 0.4:
        threshold = rng.choice([*ODD, 1.0001, -1, 1, np.float32(0.3), "0.3"])

        def check(e):
            right = threshold is None or (isinstance(threshold, (Real, np.bool_)) and -1 <= threshold <= 1)
            if not right or not isinstance(e.threshold, float) or e.accepted != (e.score >= e.threshold):
                return refuse((e.threshold, e.accepted))
            return finite(e.map_a, (20, 20)) or finite(e.map_b, (20, 20))

        return Input(f"explain {name}, threshold {short(threshold)}", lambda: xfv.explain(TINY, PAIR, name, threshold, **given), check)
    images = {"larger": torch.rand(3, 30, 30), "batch": PAIR.a[None], "uint8": (PAIR.a * 255).byte(), "nan": PAIR.a * NAN, "none": None, "array": PAIR.a.numpy(), "to 255": PAIR.a * 255, "name": "p0/0"}
    good = {"double": PAIR.a.double(), "half": PAIR.a.half(), "grad": PAIR.a.clone().requires_grad_(True), "view": PAIR.a.flip(2).flip(2), "expanded": PAIR.a[:1].expand(3, -1, -1), "black": PAIR.a * 0, "the reference": PAIR.b}
    kind = rng.choice([*images, *good, "method", "option", "pair", *["own"] * 6])
    if kind == "own":
        return own_method(rng)
    if kind == "method":
        wrong = rng.choice([*ODD, "FGGB", "fggb "])
        return Input(f"explain by {short(wrong)}", lambda: xfv.explain(TINY, PAIR, wrong), refuse)
    if kind == "option":
        return Input(f"{name} with an unknown option", lambda: xfv.explain(TINY, PAIR, name, blurr=3), refuse)
    if kind == "pair":
        wrong = rng.choice([*ODD, (PAIR.a, PAIR.b), PAIRS, PAIR.a])
        return Input(f"explain {short(wrong)}", lambda: xfv.explain(TINY, wrong, name, **given), refuse)
    if kind in images:
        return Input(f"{name} of an image: {kind}", lambda: METHODS[name](TINY, images[kind], PAIR.b, threshold=0.3, **given), refuse)
    tolerance = 0.1 if kind == "half" else 1e-4
    plain = lambda: METHODS[name](TINY, good[kind].detach().float().contiguous(), PAIR.b, threshold=0.3, **given)
    close = lambda m: (None if m.dtype == torch.float32 and not m.requires_grad else f"{m.dtype}, requires_grad {m.requires_grad}") or (alike(plain(), m) if kind == "half" else equal(plain(), tolerance)(m))
    return Input(f"{name} of an image: {kind}", lambda: METHODS[name](TINY, good[kind], PAIR.b, threshold=0.3, **given), close)


def own_method(rng):
    """A method that somebody adds, and what it gives in the place of a map."""
    x = PAIR.a.mean(dim=0)
    maps = {"a map": x, "double": x.double(), "with grad": x.clone().requires_grad_(True)}
    bad = {"nan": x * NAN, "one nan": torch.where(x > 0.9, NAN, x), "infinite": x / 0, "none": None, "colours": PAIR.a, "flat": x.flatten(), "small": x[:5], "complex": x + 0j, "number": 1.0, "tuple": (x, x), "text": "map", "empty": x[:0]}
    name = rng.choice([*maps, *bad])
    given = {**maps, **bad}[name]
    METHODS["own"] = rng.choice([
        xfv.Method(pair=lambda model, image, reference: given), lambda model, image, reference, **_: given,
        xfv.Method(prepare=lambda image: {"x": image}, finish=lambda prepared, partner: given),
        xfv.Method(prepare=lambda embed, image: {"x": embed(lambda some: image[None], 1)}, finish=lambda prepared, partner, threshold: given),
    ])  # fmt: skip
    way = rng.choice(["explain", "table"])
    call = {"explain": lambda: xfv.explain(TINY, PAIR, "own"), "table": lambda: deletion_table(TINY, FEW, ["own"], [{"metric": "deletion", "steps": 2}])}[way]
    check = lambda r: finite(r.map_a, (20, 20)) or equal(x)(r.map_a) if way == "explain" else finite(r.area)
    return Input(f"a method of one's own gives {name}, {way}", call, check if name in maps else refuse)


def alike(one, other):
    """Maps of one shape that correlate."""
    if one.shape != other.shape or not torch.isfinite(other).all():
        return f"shape {tuple(other.shape)}, or not finite"
    correlation = np.corrcoef(one.flatten(), other.flatten().float())[0, 1]
    return None if correlation > 0.9 or one.std() == 0 else f"correlation {correlation:.2f} with the map of float32"


@area("contexts", 150)
def contexts(rng):
    """Gradient modes, default types, threads and global generators around explain: nothing may change."""
    name = rng.choice(list(METHODS))
    given = QUICK.get(name, {})
    plain = lambda pair=PAIR: xfv.explain(TINY, pair, name, **given)
    before = plain()
    same = lambda e: equal(before.map_a, 1e-4)(e.map_a) or equal(before.map_b, 1e-4)(e.map_b) or equal(before.score)(e.score)
    kind = rng.choice(["no_grad", "inference_mode", "enable_grad", "nested", "threads", "threads", "random", "float64", "batch", "model made in inference mode", "anomaly", "twice", "deterministic", "generators"])

    def call():
        if kind == "float64":
            torch.set_default_dtype(torch.float64)
        if kind == "random":
            torch.manual_seed(rng.randrange(10**6))
            np.random.seed(rng.randrange(10**6))  # noqa: NPY002
        if kind == "deterministic":
            torch.use_deterministic_algorithms(True)
        if kind == "nested":
            with torch.inference_mode(), torch.no_grad():
                return plain()
        if kind == "model made in inference mode":
            with torch.inference_mode():
                model = xfv.FaceModel(network(), size=20, threshold=0.3)
            return xfv.explain(model, PAIR, name, **given)
        if kind == "anomaly":
            with torch.autograd.detect_anomaly():
                return plain()
        if kind == "batch" and "batch" in defaults(name):
            return xfv.explain(TINY, PAIR, name, **(given | {"batch": rng.choice([1, 3, 7])}))
        if kind == "batch" and name == "fggb":
            return xfv.explain(TINY, PAIR, name, channels_at_once=rng.choice([1, 3, 100]))
        if kind in ("no_grad", "inference_mode", "enable_grad"):
            with getattr(torch, kind)():
                return plain()
        return plain()

    if kind == "threads":
        four = [PAIRS[i] for i in (0, 5, 20, 40)]

        def together():
            alone, found = [plain(pair) for pair in four], {}

            def run(i):
                try:
                    for _ in range(3):
                        found[i] = plain(four[i])
                except Exception as error:
                    found[i] = error

            threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            return alone, found

        def check(result):
            alone, found = result
            if raised := [one for one in found.values() if isinstance(one, Exception)]:
                return f"{len(raised)} of 4 threads raised {raised[0]!r}"
            return next(filter(None, (equal(alone[i].map_a, 1e-4)(found[i].map_a) for i in range(4))), None)

        return Input(f"{name} in four threads", together, check)
    if kind == "generators":

        def states():
            torch.manual_seed(1)
            np.random.seed(1)  # noqa: NPY002
            random.seed(1)
            plain()
            return torch.rand(1).item(), np.random.random(), random.random()  # noqa: NPY002

        torch.manual_seed(1)
        return Input(f"{name} and the global generators", states, equal([torch.rand(1).item(), np.random.RandomState(1).random(), random.Random(1).random()]))
    return Input(f"{name}, {kind}", call, same)


# ------------------------------------------------------------------------------------------------- frequency, conditions


def odd_image(rng):
    """``(name, image, whether it is one)``"""
    x = PAIR.a
    forms = [("plain", x, True), ("double", x.double(), True), ("view", x.flip(2).flip(2), True), ("black", x * 0, True), ("constant", x * 0 + 0.5, True), ("nan", x * NAN, False), ("infinite", x / 0, False), ("complex", x + 0j, False), ("uint8", (x * 255).byte(), False),
             ("array", x.numpy(), False), ("none", None, False), ("2-d", x[0], False), ("batch", x[None], False), ("empty", x[:, :0], False), ("one pixel", x[:, :1, :1], True), ("wide", torch.rand(3, 9, 20), True), ("half", x.half(), True)]  # fmt: skip
    return rng.choice(forms) if rng.random() < 0.5 else forms[0]


def odd_bands(rng):
    """``(options of band_numbers, whether they make sense for 20 × 20)``"""
    pool = [({}, True), ({"width": 2}, True), ({"width": 3.5}, True), ({"width": np.float32(2)}, True), ({"width": np.int64(2)}, True), ({"edges": [1, 3, 6]}, True), ({"edges": np.array([2.0, 5.0])}, True), ({"edges": (3,)}, True), ({"shape": "square"}, True),
            *(({"width": w}, False) for w in (0, -1, NAN, INF, 11, 1e30, "2", None, [1], True and "wide", 1j, 10.5)), *(({"edges": e}, False) for e in ([NAN], [], [0, 2], [3, 2], [2, 2], [1, 99], [1, NAN], [1, INF], "12", 5, [[1, 2]], ["a"], [-1, 2], [1j])),
            *(({"shape": s}, False) for s in ("circle", None, 5, "", ["ring"])), ({"bands": 3}, False), ({"width": 1e-9}, None)]  # fmt: skip
    return rng.choice(pool)


@area("frequency", 400)
def frequencies(rng):
    """Bands, masks, influence and its control, deletion of bands."""
    (bands, fits), (name, image, real) = (odd_bands(rng), odd_image(rng) if rng.random() < 0.4 else ("plain", PAIR.a, True))
    fits = fits and (name not in ("one pixel", "wide") or None)
    way = rng.choice(["split", "energy", "mask", "influence", "influence", "gradient", "local", "table", "progressive", "deletion", "order", "areas", "keep", "control", "numbers"])
    what = f"{way} of {name} with {bands}"
    good = fits and real

    def judged(check):
        return check if good else (anything if fits is None and real else refuse)

    if way == "numbers":
        size = rng.choice([(20, 20), (20, 21), (1, 1), (2, 2), (0, 5), (20,), 20, (20.5, 20), "20", None, (NAN, 20), (-3, 4), (20, 20, 3)])
        right = isinstance(size, tuple) and len(size) == 2 and all(isinstance(n, int) and n >= 20 for n in size) and fits
        return Input(f"band_numbers({size}, {bands})", lambda: frequency.band_numbers(size, **bands), (lambda n: finite(n, size)) if right else (anything if size in ((1, 1), (2, 2)) or fits is None else refuse))
    if way == "split":
        return Input(what, lambda: frequency.split_bands(image, **bands), judged(lambda parts: equal(image.float(), 1e-3 if name == "half" else 1e-4)(parts.sum(dim=0))))
    if way == "energy":
        return Input(what, lambda: frequency.band_energy(image, **bands), judged(lambda e: equal(1.0, 1e-3)(e.sum()) if name != "black" else finite(e)))
    if way == "mask":
        removed = rng.choice([[1], [0], [1, 2], [], (1,), [1, 1], np.array([1]), torch.tensor([1]), 1, [np.int64(1)], range(1, 3), [999], [-1], [NAN], [1.5], "1", None, [True], [10**30], [[1]]])
        right = isinstance(removed, (list, tuple, range, np.ndarray, torch.Tensor)) and np.ndim(removed) == 1 and all(float(x).is_integer() and 0 <= x <= 2 and x is not True for x in removed) or removed == 1
        right = right and bands.get("edges") is None
        expected = lambda x: equal(image - frequency.split_bands(image, **bands)[np.unique(np.array(removed, int)).tolist()].sum(dim=0), 1e-3)(x)
        return Input(f"mask_bands {short(removed)} of {name} with {bands}", lambda: frequency.mask_bands(image, removed, **bands), judged(expected) if right else (anything if bands.get("edges") is not None else refuse))
    if way == "keep":
        mask = rng.choice([torch.ones(20, 20), torch.ones(20, 20, dtype=torch.bool), torch.ones(5, 20, 20), torch.ones(21, 20), torch.ones(20), torch.full((20, 20), NAN), torch.full((20, 20), 2.0), None, np.ones((20, 20)), torch.ones(20, 20) * 1j, torch.ones(1, 20), -torch.ones(20, 20)])
        right = isinstance(mask, torch.Tensor) and mask.shape[-2:] == (20, 20) and bool((mask.real == 1).all()) and not mask.is_complex()
        return Input(f"keep_frequencies {short(mask)[:40]} of {name}", lambda: frequency.keep_frequencies(image, mask), (lambda x: equal(np.broadcast_to(image.float(), x.shape), 1e-3)(x)) if right and real and name not in ("one pixel", "wide") else anything if real and name in ("one pixel", "wide") else refuse)
    if way in ("influence", "control"):
        option = rng.choice(["masked", "control", "seed", "batch", ""]) if way == "influence" else "control"
        value = rng.choice([*ODD, "both", "one"])
        if option in ("control", "batch") and isinstance(value, Integral) and value > 100:
            value = 5
        whole = isinstance(value, Integral) and not isinstance(value, (bool, np.bool_)) and value >= (option == "batch")
        right = {"masked": isinstance(value, str) and value in ("one", "both"), "control": whole, "batch": whole, "seed": isinstance(value, Integral), "": True}[option]
        options = {option: value} if option else {}

        def check(f):
            removed = frequency.mask_bands(PAIR.a, [1], **bands)
            lost = f.score - TINY.embed(removed[None])[0] @ TINY.embed(PAIR.b[None])[0]
            if f.control_a is not None and not torch.isfinite(f.control_a[:, 1:]).all():
                return "the control is not finite"
            return finite(f.a) or finite(f.b) or (equal(lost, 1e-4)(f.a[1]) if options.get("masked") != "both" else None)

        odd = fits is None or (option == "seed" and right)
        return Input(f"frequency_influence({options}, {bands})", lambda: xfv.frequency_influence(TINY, PAIR, **options, **bands), check if fits and right else anything if odd and (right or fits is None) and fits is not False else refuse)
    if way == "gradient":
        options = {rng.choice(["groups", "steps", "batch"]): rng.choice([1, 2, 5, 100, 0, -1, NAN, 1.5, "2", None, np.int64(3), True, []])}
        value = next(iter(options.values()))
        right = isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
        return Input(f"gradient_influence({options}, {bands})", lambda: frequency.gradient_influence(TINY, PAIR, **options, **bands), (lambda f: finite(f.a[1:]) or finite(f.b[1:])) if right and fits else anything if right and fits is None else refuse)
    if way == "local":
        ones = torch.ones(20, 20)
        regions = rng.choice([alignment.face_regions(TINY), {"all": ones}, {}, {"small": torch.ones(3, 3)}, {"nan": ones * NAN}, None, [ones], {"text": "x"}, {"array": ones.numpy()}, {"two": ones * 2}])
        right = isinstance(regions, dict) and regions and all(isinstance(x, torch.Tensor) and x.shape == (20, 20) and float(x.max()) <= 1.001 for x in regions.values())
        return Input(f"local_influence {short(regions)[:50]}, {bands}", lambda: frequency.local_influence(TINY, PAIR.a, PAIR.b, regions, **bands), (lambda f: finite(f)) if right and fits else anything if fits is None or isinstance(regions, dict) and "array" in regions else refuse)
    if way == "table":
        pairs = rng.choice([FEW, FEW[:1], list(FEW), [], FEW[[]], None, PAIRS[:2]])
        right = isinstance(pairs, xfv.PairSet) and len(pairs)
        return Input(
            f"influence_table of {short(pairs)[:60]}, {bands}",
            lambda: frequency.influence_table(TINY, pairs, **bands),
            (lambda t: finite(t.influence) or (None if t.pair.nunique() == len(pairs) else "pairs are missing")) if right and fits else (lambda t: finite(t.influence)) if fits is not False and isinstance(pairs, list) and pairs else anything if right and fits is None else refuse,
        )
    count = 15
    if way == "order":
        influence = rng.choice([torch.rand(5), np.random.default_rng(0).random(5), [0.1, 0.2, 0.3], torch.full((5,), NAN), torch.tensor([0.1, NAN, 0.3]), [], torch.rand(2, 5), None, "abc", 5, torch.rand(1)])
        by = rng.choice([*frequency.BAND_ORDERS, "high", None, 5])
        right = by in frequency.BAND_ORDERS and len(np.shape(influence)) == 1 and len(influence) >= 1 and isinstance(influence, (list, np.ndarray, torch.Tensor)) and np.isfinite(np.asarray(influence, float)).all() if not isinstance(influence, str) else False
        return Input(f"order_bands({short(influence)}, {by!r})", lambda: frequency.order_bands(influence, by), (lambda o: None if sorted(o) == list(range(1, len(influence))) else short(o)) if right else anything if by in ("low first", "high first", "random") and np.ndim(influence) == 1 else refuse)
    if way == "areas":
        scores = rng.choice([np.random.default_rng(0).random((4, 5)), np.full((4, 5), NAN), np.ones((0, 5)), np.ones(5), [[0.5, 0.1]] * 4, np.ones((4, 1))])
        labels, threshold = (rng.choice([[True, False, True, False], [True], [None] * 4, [True, NAN, True, False], "1010", [1, 0, 1, 0]]), rng.choice([0.5, NAN, 2, None, "0.5", 0.3]))
        right = np.ndim(scores) == 2 and np.shape(scores)[0] == 4 and np.shape(scores)[1] > 1 and np.isfinite(scores).all() and threshold in (0.5, 0.3) and list(labels) == [1, 0, 1, 0] and not isinstance(labels, str)
        brute = lambda a: equal(100 * np.trapezoid(((np.asarray(scores) >= threshold) == np.asarray([1, 0, 1, 0])[:, None]).astype(float), dx=1 / (np.shape(scores)[1] - 1), axis=1))(a)
        return Input(f"band_areas({np.shape(scores)}, {labels}, {threshold})", lambda: frequency.band_areas(scores, labels, threshold), brute if right else refuse)
    order = rng.choice([list(range(1, count)), list(range(1, count))[::-1], [1], [], [1, 1, 2], None, "abc", list(range(count)), np.arange(1, count), torch.arange(1, count), [NAN] * 14, tuple(range(1, count))])
    kind = rng.choice(["deletion", "insertion", "deletion", "cut", None])
    if way == "progressive":

        def check(images):
            ends = [image.mean(dim=(1, 2), keepdim=True).expand_as(image), image]
            return equal(ends[kind == "deletion"], 1e-3)(images[0]) or equal(ends[kind == "insertion"], 1e-3)(images[-1]) or finite(images)

        return Input(f"progressive_bands {short(order)[:40]} {kind} of {name} with {bands}", lambda: frequency.progressive_bands(image, order, kind, **bands), check if real and kind in ("deletion", "insertion") else refuse)
    return Input(f"band_deletion_scores {short(order)[:40]} {kind} with {bands}", lambda: frequency.band_deletion_scores(TINY, PAIR, order, kind=kind, **bands), (lambda s: finite(s[0]) or finite(s[1])) if kind in ("deletion", "insertion") else refuse)


@area("conditions", 150)
def conditions_of(rng):
    """Low resolution, morphs, landmarks of crops, fills, regions."""
    name, image, real = odd_image(rng)
    way = rng.choice(["reduced", "reduced", "morph", "landmarks", "filled", "regions"])
    if way == "reduced":
        factor = rng.choice([*ODD, 1, 2, 4.9, 5, 6, 1.0001, np.float32(2)])
        right = real and isinstance(factor, Real) and not isinstance(factor, (bool, np.bool_)) and 1 <= factor <= 5 and name not in ("one pixel", "wide", "half")
        range_check = lambda x: finite(x, image.shape) or (None if 0 <= x.min() and x.max() <= 1 else "outside [0, 1]")
        return Input(f"reduced {name} by {short(factor)}", lambda: conditions.reduced(image, factor), range_check if right else anything if real and (name in ("wide", "half") or factor is True or isinstance(factor, np.bool_)) else refuse)
    face, share = CROP, rng.choice([*ODD, 0, 1, 0.5, 0.3, 1.1, -0.1, np.float32(0.5)])
    if way == "morph":
        other = rng.choice([CROP.flip(2), CROP, PAIR.a, CROP * 0, CROP * NAN, None, CROP.double(), CROP.numpy()])
        right = isinstance(share, Real) and 0 <= share <= 1
        fine = other is not None and isinstance(other, torch.Tensor) and other.shape == CROP.shape and float(other.max()) > 0
        ends = lambda m: finite(m, CROP.shape) or (equal(CROP, 0.05)(m) if share == 0 else None)
        return Input(f"morph with {short(other)[:30]}, share {short(share)}", lambda: conditions.morph(face, other, share), ends if right and fine else refuse)
    if way == "landmarks":
        return Input(f"face_landmarks of {name}", lambda: conditions.face_landmarks(rng.choice([image, image, CROP])), lambda p: finite(p, (68, 2)))
    if way == "regions":
        model = rng.choice([None, TINY, 5, "dlib", xfv.FaceModel(nn.Flatten(), size=(7, 30))])
        return Input(f"face_regions({short(model)[:40]})", lambda: alignment.face_regions(model), lambda r: equal(np.ones(next(iter(r.values())).shape), 1e-4)(sum(r.values())) if model not in (5, "dlib") else refuse(r))
    fill, seed = (rng.choice(["black", "mean", "blur", "noise", "white", None, 5, np.str_("mean")]), rng.choice([0, 5, -1, NAN, "3", None, 1.5, np.int64(2)]))
    right = fill in ("black", "mean", "blur", "noise") and real
    return Input(f"filled {name} {fill!r} seed {seed}", lambda: perturb.filled(image, fill, seed), (lambda x: finite(x, image.shape)) if right else refuse if real else anything)


# ------------------------------------------------------------------------------------------------- faithfulness, evaluation


@area("faithfulness", 350)
def faithful(rng):
    """Tables of deletion and insertion of odd pairs, methods, metrics; statistics of altered tables; curves of odd maps."""
    way = rng.choice(["pairs", "pairs", "metrics", "methods", "statistics", "statistics", "statistics", "curve", "curve", "area", "whole"])
    quick = [{"metric": "deletion", "steps": 2}]
    if way == "pairs":
        unknown = [xfv.Pair(PAIR.a, PAIR.b), *FEW]
        forms = {"list": list(FEW), "tuple": tuple(FEW), "iterator": iter(list(FEW)), "generator": (pair for pair in FEW), "array": np.array([*list(FEW), None], object)[:-1], "set": FEW, "one pair": PAIR}
        bad = {"empty list": [], "empty set": FEW[[]], "unlabelled": unknown, "none": None, "text": "orl", "numbers": [1, 2], "tensors": [PAIR.a], "table": FEW.table, "dict": {"a": PAIR},
               "larger": [xfv.Pair(torch.rand(3, 9, 9), torch.rand(3, 9, 9), True)], "with None": [*FEW, None]}  # fmt: skip
        name = rng.choice([*forms, *bad])
        call = lambda: deletion_table(TINY, {**forms, **bad}[name], ["occlusion"], quick)
        expected = lambda t: equal(deletion_table(TINY, [PAIR] if name == "one pair" else FEW, ["occlusion"], quick).area)(t.area)
        return Input(f"deletion_table of {name}", call, expected if name in forms else refuse)
    if way == "metrics":
        odd = [*ODD, "deletions", {"metric": "deletion", "steps": rng.choice(ODD)}, {"metric": "deletion", "fill": rng.choice(ODD)}, {"metric": "insertion", "masked": rng.choice([*ODD, "both"])}, {"metric": "deletion", "ranking": rng.choice(ODD)},
               {"metric": "deletion", "pairs": rng.choice([*ODD, "genuine"])}, {"steps": 3}, {"metric": "scores", "steps": 3}, {"metric": None}, "scores", ["scores"], [[]], {"metric": "deletion", "step": 3}]  # fmt: skip
        metric = rng.choice([odd[-1 - i] for i in range(13)] if rng.random() < 0.7 else odd)
        form = rng.choice([lambda m: m, lambda m: [m], lambda m: ["deletion", m]])(metric)

        def check(table):
            inside = table.area.dropna()
            listed = isinstance(metric, (str, dict)) or (isinstance(form, list) and isinstance(metric, list))
            return None if len(table) and listed and inside.between(0, 100).all() else refuse(table.shape)

        steps = metric.get("steps") if isinstance(metric, dict) else None
        huge = isinstance(steps, Integral) and steps > 10**5
        return Input(f"deletion_table, metrics {short(form)}", lambda: deletion_table(TINY, FEW[:3], ["occlusion"], form if not huge else "deletion"), check)
    if way == "methods":
        value = rng.choice([*ODD, "fggb ", "random", {"random": {"method": "occlusion"}}, {"x": "occlusion"}, {"x": {"size": 14}}, {"x": {"method": "occlusion", "sizes": 3}}, {"x reversed": {"method": "occlusion"}}, {5: {"method": "occlusion"}},
                            {"x": {"method": "occlusion", "size": np.int64(14)}}, ["occlusion", "occlusion"], [["occlusion"]], ("lime",), {"a", "b"}, {"": {"method": "occlusion"}}])  # fmt: skip
        fine = isinstance(value, (list, tuple)) and value and set(map(str, value)) <= {"occlusion", "lime"} or (isinstance(value, dict) and value and all(isinstance(v, dict) and set(v) <= {"method", "size"} and "method" in v and k != "random" for k, v in value.items()) and "x reversed" not in value)
        return Input(f"deletion_table, methods {short(value)}", lambda: deletion_table(TINY, FEW[:3], value, quick), (lambda t: finite(t.area)) if fine else anything if isinstance(value, (list, tuple, dict)) and not value else refuse)
    if way == "statistics":
        return odd_statistics(rng)
    ranking = torch.rand(20, 20, generator=torch.Generator().manual_seed(5))
    maps = {"plain": ranking, "double": ranking.double(), "integers": (ranking * 9).long(), "bool": ranking > 0.5, "array": ranking.numpy(), "constant": ranking * 0, "infinite": torch.where(ranking > 0.9, INF, ranking), "grad": ranking.clone().requires_grad_(True), "half": ranking.half()}
    bad = {"nan": ranking * NAN, "one nan": torch.where(ranking > 0.99, NAN, ranking), "colour": torch.rand(3, 20, 20), "flat": ranking.flatten(), "small": ranking[:9], "none": None, "list": ranking.tolist(), "complex": ranking + 0j, "text": "fggb", "0-d": torch.tensor(1.0)}
    if way == "curve":
        name, steps, kind, fill = (rng.choice([*maps, *bad]), rng.choice([1, 4, 400, 1000, 0, -1, 1.5, NAN, None, "4", True, np.int64(4)]), rng.choice(["deletion", "insertion", "deletion", "cut", None]), rng.choice(["black", "mean", "blur", "noise", "white", None]))
        right = name in maps and isinstance(steps, Integral) and steps >= 1 and steps is not True and kind in ("deletion", "insertion") and fill in ("black", "mean", "blur", "noise")
        given = {**maps, **bad}[name]
        if rng.random() < 0.5:
            other = perturb.filled(PAIR.a, fill) if right else None
            ends = lambda x: finite(x, (steps + 1, 3, 20, 20)) or equal(PAIR.a if kind == "deletion" else other)(x[0]) or equal(other if kind == "deletion" else PAIR.a)(x[-1])
            return Input(f"progressively {name} {kind} {steps} {fill}", lambda: progressively(PAIR.a, given, kind, steps=steps, fill=fill), ends if right else refuse)
        return Input(f"deletion_scores {name} {kind} {steps} {fill}", lambda: deletion_scores(TINY, PAIR, given, kind=kind, steps=steps, fill=fill), (lambda s: finite(s, (steps + 1,))) if right else refuse)
    if way == "area":
        scores, labels, threshold = (
            rng.choice([np.random.default_rng(0).uniform(-1, 1, (4, 5)), [[0.9, 0.1]] * 4, np.full((4, 5), NAN), np.ones((4, 1)), np.ones(4), [], None, np.ones((0, 5))]),
            rng.choice([[True, False, True, False], [1, 0, 1, 0], [None] * 4, [True, NAN, 1, 0], [True], "1010", np.array([1.0, 0, 1, 0])]),
            rng.choice([0.5, -0.2, NAN, 2, None, "0.5"]),
        )
        right = isinstance(scores, (list, np.ndarray)) and np.ndim(scores) == 2 and np.shape(scores)[0] == 4 and np.shape(scores)[1] > 1 and np.isfinite(np.asarray(scores, float)).all() and not isinstance(labels, str) and len(labels) == 4 and list(labels) == [1, 0, 1, 0] and threshold in (0.5, -0.2)
        brute = lambda r: equal((((np.asarray(scores) >= threshold) == np.array([1, 0, 1, 0])[:, None]).mean(axis=0)))(r[0])
        return Input(f"deletion_area {np.shape(scores)} {labels} {threshold}", lambda: deletion_area(scores, labels, threshold), brute if right else refuse)
    pairs = rng.choice([list(PAIRS[:12]), PAIRS[:12], PAIRS[:1], [], [xfv.Pair(PAIR.a, PAIR.b)] * 3, None])
    right = pairs is not None and len(pairs) == 12
    check = lambda t: finite(t.area) or (None if set(t.method) >= {"occlusion", "random"} else "methods are missing")
    return Input(f"faithfulness of {short(pairs)[:60]}", lambda: xfv.faithfulness(TINY, pairs, ["occlusion"], [{"metric": "deletion", "steps": 2}], threshold=rng.choice([None, 0.3])), check if right else refuse)


def odd_statistics(rng):
    """A statistic of an altered table."""
    table = TABLE
    change = rng.choice(["twice", "twice", "shuffled", "index", "no column", "more columns", "one pair", "empty", "two thresholds", "nan areas", "text areas", "categories", "one method", "no controls", "labels none", "", "contradiction", "list", "none"])
    table = {
        "twice": pd.concat([table, table]), "shuffled": table.sample(frac=1, random_state=1), "index": table.set_index("name_a", drop=False), "more columns": table.assign(note="x"), "one pair": table[table.pair == 0], "empty": table[:0],
        "two thresholds": pd.concat([table, table.assign(threshold=0.5)]), "nan areas": table.assign(area=table.area.where(table.pair != 3)), "text areas": table.assign(area="high"), "categories": table.astype({"method": "category", "metric": "category"}),
        "one method": table[table.method == "lime"], "no controls": table[table.method.isin(["lime", "occlusion"])], "labels none": table.assign(same=None), "no column": table.drop(columns=rng.choice(list(table.columns))),
        "contradiction": pd.concat([table, table.assign(area=99.0)]), "list": table.to_dict("records"), "none": None,
    }.get(change, table)  # fmt: skip
    function = rng.choice([areas, gains, compare_all, compare])
    option, value = rng.choice([("", None), ("", None), ("pairs", rng.choice([*ODD, "genuine", "impostor", "all"])), ("draws", rng.choice([1, 50, 0, -1, NAN, "9", None, 1.5, True])), ("seed", rng.choice([0, 5, -1, NAN, None, "3", np.int64(1)]))])
    arguments = ("lime", rng.choice(["occlusion", "random", "nobody", None, 5])) if function is compare else ()
    options = {option: value} if option else {}
    call = lambda which=table: function(which, *arguments, **options)
    columns = {areas: ["method", "pairs", "area"], gains: ["method", "pairs", "gain"], compare: ["method", "pairs", "gain"], compare_all: ["method", "pairs", "area"]}[function]

    def check(found):
        if change in ("empty", "two thresholds", "text areas", "contradiction", "list", "none", "labels none"):
            return refuse(found.to_dict("list"))
        if change in ("twice", "shuffled", "index", "more columns", "categories", ""):
            one, other = (f[columns].astype({"method": str}).sort_values(columns, ignore_index=True) for f in (found, call(TABLE)))
            return None if one.round(6).equals(other.round(6)) else f"{one.to_dict('list')} in place of {other.to_dict('list')}"
        return finite(found[columns[-1]]) if len(found) else "an empty table"

    return Input(f"{function.__name__} of a table {change} {arguments} {options}", call, check)


@area("evaluation", 450)
def evaluations(rng):
    """Error rates, thresholds, cross-validation, intervals of odd scores and labels."""
    numbers = np.random.default_rng(rng.randrange(10**6))
    count = rng.choice([2, 5, 20, 60])
    labels = numbers.random(count) < 0.5
    labels[:2] = True, False
    scores = np.clip(0.3 * labels + numbers.normal(0, 0.25, count), -1, 1).round(rng.choice([1, 2, 9]))
    folds = np.arange(count) % rng.choice([1, 2, 5])
    plain, kinds = (scores, labels), {}
    wrong = rng.choice(["", "", "", "", "nan", "none score", "label none", "label nan", "label text", "label 2", "label -1", "one kind", "shorter", "empty", "2-d", "text", "complex", "none", "word"])
    if wrong in ("nan", "none score"):
        scores = scores.astype(object)
        scores[0] = NAN if wrong == "nan" else None
    elif wrong.startswith("label"):
        labels = labels.astype(object)
        labels[1] = {"none": None, "nan": NAN, "text": rng.choice(["True", "False", ""]), "2": 2, "-1": -1}[wrong.split()[1]]
    elif wrong == "one kind":
        labels = labels | True if rng.random() < 0.5 else labels & False
    elif wrong == "shorter":
        labels = labels[:-1]
    elif wrong == "empty":
        scores, labels, folds = scores[:0], labels[:0], folds[:0]
    elif wrong == "2-d":
        scores = scores[:, None] * np.ones(2)
    elif wrong in ("text", "complex", "none", "word"):
        scores = {"text": [f"x{s}" for s in scores], "complex": scores + 1j, "none": None, "word": "scores"}[wrong]
    kinds = {"array": lambda x: x, "list": lambda x: x.tolist(), "tuple": lambda x: tuple(x.tolist()), "series": lambda x: pd.Series(x, index=numbers.permutation(len(x))), "float16": lambda x: x.astype(np.float16) if x.dtype == float else x,
             "tensor": lambda x: torch.from_numpy(x.copy()), "integers": lambda x: x.astype(int) if x.dtype == bool else x, "object": lambda x: x.astype(object)}  # fmt: skip
    form = rng.choice(list(kinds)) if not wrong else "array"
    if not wrong:
        scores, labels = kinds[form](scores), kinds[form](labels)
        plain = (np.asarray(scores, float), plain[1])
    threshold = rng.choice([0.2, 0.2, 0.0, np.float32(0.2), NAN, None, "0.2", 2, [0.2]])
    far = rng.choice([0, 0.1, 0.5, 1, 0.01, NAN, -0.1, 1.1, None, "0.1", 1e-30])
    s, y = plain
    rates = lambda t: (float((s[~y] >= t).mean()), float((s[y] < t).mean()))
    best = lambda: max(((s >= t) == y).mean() for t in [*np.unique(s), 1.0])
    functions = {
        "auc": (lambda: evaluation.auc(scores, labels), lambda a: equal(np.mean([(g > i) + 0.5 * (g == i) for g in s[y] for i in s[~y]]), 1e-6)(a)),
        "equal_error_rate": (lambda: evaluation.equal_error_rate(scores, labels), lambda r: equal(np.mean(rates(r[1])), 1e-6)(r[0])),
        "accuracy": (lambda: evaluation.accuracy(scores, labels, threshold), lambda a: equal(((s >= threshold) == y).mean())(a) if isinstance(threshold, Real) and abs(threshold) <= 1 else refuse(a)),
        "best_threshold": (lambda: evaluation.best_threshold(scores, labels), lambda t: None if ((s >= t) == y).mean() > best() - 1e-9 else f"accuracy {((s >= t) == y).mean()} of {best()}"),
        "tar_at_far": (lambda: evaluation.tar_at_far(scores, labels, far), lambda r: refuse(r) if not isinstance(far, Real) or not 0 <= far <= 1 else (None if rates(r[1])[0] <= far else f"FMR {rates(r[1])[0]}") or equal(1 - rates(r[1])[1], 1e-6)(r[0])),
        "error_rates": (lambda: evaluation.error_rates(scores, labels), lambda r: equal(rates(r[2][1])[0])(r[0][1]) or equal(rates(r[2][1])[1])(r[1][1])),
        "cross_validated_accuracy": (lambda: evaluation.cross_validated_accuracy(scores, labels, folds), lambda r: refuse(r) if len(np.unique(folds)) < 2 else equal([((s[folds == f] >= t) == y[folds == f]).mean() for f, t in zip(np.unique(folds), r[1])])(r[0])),
        "mean_interval": (lambda: evaluation.mean_interval(scores, draws=rng.choice([50, 200])), lambda r: equal(s.mean(), 1e-3)(r[0]) or (None if r[1] <= r[0] <= r[2] else f"{r}")),
        "decision_threshold": (lambda: evaluation.decision_threshold(TINY, threshold), lambda t: equal(0.3 if threshold is None else float(threshold))(t) if threshold is None or (isinstance(threshold, Real) and abs(threshold) <= 1) else refuse(t)),
        "calibrate": (lambda: evaluation.calibrate(xfv.FaceModel(network(), size=20), rng.choice([FEW, PAIRS])), lambda r: finite(r)),
        "scores": (lambda: xfv.scores(TINY, PAIRS[:30], rng.choice([1, 7, 32])), lambda r: equal([float(TINY.embed(p.a[None])[0] @ TINY.embed(p.b[None])[0]) for p in PAIRS[:30]], 1e-4)(r)),
    }  # fmt: skip
    if rng.random() < 0.15:
        pairs = rng.choice([[], FEW[[]], None, FEW.table, PAIR, "orl", FEW[FEW.labels]])
        refused = not isinstance(pairs, xfv.PairSet) or not len(pairs)
        function = rng.choice(["scores", "calibrate"])
        call = {"scores": lambda: xfv.scores(TINY, pairs), "calibrate": lambda: xfv.calibrate(xfv.FaceModel(network(), size=20), pairs)}[function]
        return Input(f"{function} of {short(pairs)[:50]}", call, refuse if refused or function == "calibrate" else finite)
    if rng.random() < 0.06:
        batch = rng.choice(ODD)
        right = isinstance(batch, Integral) and not isinstance(batch, (bool, np.bool_)) and batch >= 1
        return Input(f"scores, batch {short(batch)}", lambda: xfv.scores(TINY, FEW, batch), finite if right or np.size(batch) == 1 else refuse)
    name = rng.choice(list(functions))
    call, check = functions[name]
    unneeded = name in ("mean_interval", "decision_threshold", "calibrate", "scores")
    refused = wrong and not (unneeded and name != "mean_interval") and not (name == "mean_interval" and (wrong.startswith("label") or wrong in ("one kind", "shorter", "2-d")))
    refused = refused and not (name in ("accuracy",) and wrong in ("one kind", "2-d"))
    if wrong and not refused:
        check = anything
    return Input(f"{name} of {count} {form} {wrong} threshold {short(threshold)} far {far}", call, refuse if refused else check)


# ------------------------------------------------------------------------------------------------- sweep


def contents(folder):
    """Every file below a folder and its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file() and not path.is_symlink()}


def swept(pairs=FEW, out="out", methods=("gradient",), threshold=0.3, **options):
    """A sweep by workers in this process."""
    options = {"block": 2, "metrics": [{"metric": "deletion", "steps": 2}]} | options
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50) as client:
        return xfv.sweep(TINY, pairs, list(methods) if isinstance(methods, tuple) else methods, out=out, client=client, threshold=threshold, **options)


def same_table(expected):
    def check(table):
        columns = ["name_a", "name_b", "method", "metric", "area", "threshold"]
        one, other = (t[columns].sort_values(columns, ignore_index=True).round(4) for t in (table, expected()))
        return None if one.equals(other) else f"{len(one)} rows, area {one.area.mean():.3f}; {len(other)} rows, {other.area.mean():.3f}, are right"

    return check


def by_hand(threshold=0.3, pairs=FEW):
    return lambda: deletion_table(TINY, pairs, ["gradient"], [{"metric": "deletion", "steps": 2}], threshold=threshold)


@area("sweep", 110)
def sweeps(rng):
    """Sweeps into folders with files in them, over damaged and altered blocks, with odd arguments; their readers."""
    way = rng.choice(["foreign", "foreign", "damage", "damage", "damage", "manifest", "argument", "argument", "pairs", "twice at once", "read", "two methods"])
    if way == "foreign":
        out = Path("mine")
        names = ["gradients/a.npy", "gradients/notes.txt", "job-1.pickle", "job-thesis.pickle", ".123-draft", "sub/.9-x", "blocks/000000.parquet", "blocks/notes.txt", "photo.jpg", "maps.zarr/zarr.json", "scratch/a", ".lock", "tmp/x", "000000.parquet"]
        for name in rng.sample(names, rng.randint(1, 5)):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(rng.randbytes(30))
        before = contents(out)

        def call():
            try:
                swept(out=rng.choice([out, str(out)]))
                error = None
            except Exception as raised:
                error = raised
            now = contents(out)
            lost = [name for name in before if now.get(name) != before[name]]
            if not lost and error:
                raise error
            return lost

        return Input(f"sweep into a folder with {sorted(before)}", call, lambda lost: f"changed or deleted {lost}" if lost else None)
    if way == "argument":
        name = rng.choice(["block", "keep_bytes", "seed", "controls", "maps", "workers", "out", "client", "threshold", "methods", "metrics"])
        value = rng.choice(["", None, 5, "/proc/absent", "/dev/null", "file", b"out", "a\0b"]) if name == "out" else rng.choice([*ODD, "tcp://127.0.0.1:9", "zarr"])
        Path("file").write_text("a file")
        needs = {"workers": {"client": None}, "client": {}}.get(name)
        call = (lambda: xfv.sweep(TINY, FEW, ["gradient"], [{"metric": "deletion", "steps": 2}], **({"out": "out", "block": 3, "workers": 1} | needs | {name: value}))) if needs is not None else lambda: swept(**{name: value})
        whole = isinstance(value, Integral) and not isinstance(value, (bool, np.bool_))
        number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
        right = {"block": whole and value >= 1, "keep_bytes": number and value >= 0, "seed": whole, "controls": True, "maps": value in (None, "zarr") if isinstance(value, (str, type(None))) else False, "workers": value is None or (whole and value >= 1 and value < 4), "out": False, "client": value is None,
                 "threshold": value is None or (number and -1 <= value <= 1) or isinstance(value, (bool, np.bool_)), "methods": False, "metrics": False}[name]  # fmt: skip
        return Input(f"sweep({name}={short(value)})", call, (lambda table: finite(table.area)) if right else anything if name in ("methods", "metrics") and isinstance(value, (list, tuple, dict)) and not value else refuse)
    if way == "pairs":
        images = dict(FEW.images)
        lost = {name: image for name, image in images.items() if name != "p0/0"}
        pairs = rng.choice([FEW[[]], [], list(FEW), None, FEW.table, xfv.PairSet("lost", FEW.table, lost), xfv.PairSet("bytes", FEW.table, {n: (x * 255).byte() for n, x in images.items()}), FEW[[0, 0, 1]]])
        check = lambda table: refuse(table) if not isinstance(pairs, xfv.PairSet) or not len(pairs) else None if pairs.name in ("tiny",) or table.error.notna().any() else refuse(table.head(2).to_dict())
        return Input(f"sweep of {short(getattr(pairs, 'name', pairs))[:60]}", lambda: swept(pairs), check)
    if way == "read":
        reader = rng.choice([xfv.read_sweep, read_costs, lambda out: read_maps(out, "gradient", [0])])
        Path("odd/blocks").mkdir(parents=True)
        Path("odd/blocks/000000.parquet").write_bytes(rng.choice([b"", b"PAR1", rng.randbytes(300), b"PAR1" + rng.randbytes(40) + struct.pack("<i", 2**31 - 1) + b"PAR1"]))
        TABLE.to_parquet("table.parquet")
        Path("other/blocks").mkdir(parents=True)
        pd.DataFrame({"x": [1]}).to_parquet("other/blocks/000000.parquet")
        out = rng.choice(["odd", "other", "absent", "table.parquet", ".", "", None, 5])
        return Input(f"read {short(out)}", lambda: reader(out), refuse)
    if way == "two methods":
        two = ("gradient", rng.choice(["fggb", "occlusion", "xface", "lime", "corrrise", "minplus"]))
        metrics = [{"metric": "deletion", "steps": 2, "masked": "both"}]
        expected = lambda: deletion_table(TINY, FEW, list(two), metrics)
        return Input(f"sweep by {two}", lambda: swept(methods=two, metrics=metrics, keep_bytes=rng.choice([0, 1e9])), same_table(expected))
    if way == "twice at once":

        def call():
            found = []

            def run():
                try:
                    found.append(swept(PAIRS[:20]))
                except Exception as error:
                    found.append(error)

            threads = [threading.Thread(target=run) for _ in range(2)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            return found

        expected = same_table(by_hand(pairs=PAIRS[:20]))
        check = lambda found: next(filter(None, (expected(t) for t in found if not isinstance(t, Exception))), None if any(not isinstance(t, Exception) for t in found) else f"both raised: {found}")
        return Input("two sweeps in one folder", call, check)
    swept()
    blocks = sorted(Path("out/blocks").glob("*.parquet"))
    if way == "manifest":
        path = Path("out/manifest.json")
        trick = rng.choice(["lost", "lost, other threshold", "lost, other pairs", "empty", "text", "list", "altered", "no versions", "directory"])
        content = json.loads(path.read_text())
        new = {"empty": "", "text": "lost", "list": "[]", "altered": json.dumps(content | {"threshold": 0.9}), "no versions": json.dumps({k: v for k, v in content.items() if k != "versions"})}.get(trick)
        path.unlink()
        if new is not None:
            path.write_text(new)
        elif trick == "directory":
            path.mkdir()
        threshold, pairs = (0.5 if trick.endswith("threshold") else 0.3, PAIRS[np.r_[30:36]] if trick.endswith("other pairs") else FEW)
        return Input(f"sweep again, its manifest {trick}", lambda: swept(pairs, threshold=threshold), same_table(by_hand(threshold, pairs)))
    trick, block = (rng.choice(["flip", "flip", "flip", "cut", "lost", "empty", "text", "swapped", "copied", "more", "other table", "all lost", "renamed column"]), rng.choice(blocks))
    data = block.read_bytes()
    if trick == "flip":
        place = rng.randrange(len(data))
        block.write_bytes(data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :])
    elif trick in ("cut", "empty", "text"):
        block.write_bytes({"cut": data[: rng.randrange(len(data))], "empty": b"", "text": b"PAR1 block PAR1"}[trick])
    elif trick in ("lost", "all lost"):
        [path.unlink() for path in (blocks if trick == "all lost" else [block])]
    elif trick == "swapped":
        other = blocks[0].read_bytes()
        blocks[0].write_bytes(blocks[1].read_bytes())
        blocks[1].write_bytes(other)
    elif trick == "copied":
        blocks[0].write_bytes(blocks[1].read_bytes())
    elif trick == "more":
        (block.parent / rng.choice(["000099.parquet", "9.parquet", "000000 (copy).parquet"])).write_bytes(data)
    elif trick == "other table":
        pd.DataFrame({"x": [1]}).to_parquet(block)
    elif trick == "renamed column":
        table = pq.read_table(block)
        pq.write_table(table.rename_columns(["pairs", *table.column_names[1:]]), block)
    if rng.random() < 0.3:
        whole = rng.choice([lambda: xfv.read_sweep("out"), lambda: read_costs("out")])
        fine = trick in ("lost", "swapped")
        return Input(f"read a sweep, a block {trick}", whole, lambda t: None if fine or len(t) in (len(by_hand()()), len(blocks)) else refuse(len(t)))
    return Input(f"sweep again, a block {trick}", swept, same_table(by_hand()))


@area("tables read", 100)
def tables_read(rng):
    """read_table of foreign files; save_table and back."""
    path, way = Path("table.parquet"), rng.choice(["back", "bytes", "parquet", "metadata", "path", "save"])
    if way == "back":
        settings = rng.choice([{}, {"seed": 1}, {"name": "ü", "list": [1, 2]}, {"nan": NAN}])

        def call():
            save_table(TABLE, path, settings)
            return read_table(path)

        return Input(f"save_table with {settings} and back", call, lambda r: equal(TABLE.area)(r[0].area) or (None if str(r[1]) == str(settings) else str(r[1])))
    if way == "save":
        table, settings = (rng.choice([TABLE.drop(columns="area"), TABLE.assign(area="x"), None, [], TABLE[:0], TABLE]), rng.choice([{}, None, "x", {1: object}, {"a": np.int64(1)}]))
        fine = isinstance(table, pd.DataFrame) and table.shape[1] == TABLE.shape[1] and not (table.area == "x").any() and settings == {}
        return Input(f"save_table of {short(table)[:30]}, {settings}", lambda: save_table(table, path, settings), anything if fine or settings in (None, "x") else refuse)
    if way == "bytes":
        path.write_bytes(rng.choice([b"", b"PAR1PAR1", rng.randbytes(500), b"a,b\n1,2\n", b"PAR1" + bytes(50) + struct.pack("<i", rng.choice([10**9, -5, 40])) + b"PAR1"]))
    elif way == "parquet":
        rng.choice([pd.DataFrame({"a": [1]}), TABLE.drop(columns="steps"), TABLE.assign(steps=1.5), TABLE.assign(steps="many"), TABLE.rename(columns={"area": "Area"}), TABLE[:0].drop(columns="scores")]).to_parquet(path)
    elif way == "metadata":
        content = pq.read_schema(TABLE.to_parquet(path) or path)
        pq.write_table(pq.read_table(path).replace_schema_metadata({"xfvlib": rng.choice([b"{", b"\xff", b"[]", b"5", b"null"])}), path)
        assert content
    given = path if way != "path" else rng.choice(["absent.parquet", ".", None, 5, "", Path("/dev/zero"), Path("/dev/null")])
    return Input(f"read_table {way} {short(given) if way == 'path' else path.read_bytes()[:12]}", lambda: read_table(given), lambda r: None if way == "metadata" else refuse(r[0].shape))


# ------------------------------------------------------------------------------------------------- sanity, plots, widgets


@area("sanity", 160)
def sanity_tests(rng):
    """Tests whose outcome is known: odd maps, patches, seeds, pairs, methods."""
    way = rng.choice(["similarity", "cascade", "weights", "partner", "identical", "patched", "patched", "patch_test", "rates"])
    one, method = (torch.rand(20, 20, generator=torch.Generator().manual_seed(4)), rng.choice(["gradient", "occlusion", "fggb", "fgb", None, 5]))
    known = method in METHODS
    if way == "similarity":
        other = rng.choice([one, -one, one.double(), one * 0, one * NAN, torch.where(one > 0.9, NAN, one), one.flatten(), one[:5], None, one.numpy(), one > 0.5, (one * 9).long(), one + 0j, torch.where(one > 0.9, INF, one)])
        right = isinstance(other, torch.Tensor) and other.shape == one.shape and not other.is_complex() and not other.isnan().any()

        def check(r):
            if not right:
                return refuse(r) if not isinstance(other, np.ndarray) else None
            return (None if math.isnan(r) else f"{r} with a constant map") if float(other.max()) == float(other.min()) else None if -1.0001 <= r <= 1.0001 else f"{r}"

        return Input(f"map_similarity with {short(other)[:50]}", lambda: sanity.map_similarity(one, other), check)
    if way == "cascade":
        seed = rng.choice([0, 5, -1, NAN, None, "3", np.int64(3), 1.5])
        before = {k: v.clone() for k, v in TINY.state_dict().items()}
        check = lambda steps: None if all(torch.equal(before[k], v) for k, v in TINY.state_dict().items()) and steps else "the model itself was changed"
        return Input(f"cascading_randomisation, seed {short(seed)}", lambda: [name for name, _ in sanity.cascading_randomisation(TINY, seed=seed)], check)
    if way in ("weights", "partner", "identical"):
        other = rng.choice([PAIRS[30].b, PAIR.b, None, PAIR.b[None], PAIR.b * NAN, torch.rand(3, 9, 9)])
        call = {"weights": lambda: sanity.weight_randomisation(TINY, PAIR, method).similarity, "partner": lambda: sanity.swapped_partner(TINY, PAIR, other, method), "identical": lambda: sanity.identical_images(TINY, PAIR.a, method)}[way]
        right = known and (way != "partner" or (isinstance(other, torch.Tensor) and other.shape == PAIR.b.shape and bool(other.isfinite().all())))
        return Input(f"{way} by {method!r} {short(other)[:30] if way == 'partner' else ''}", call, (lambda r: finite(r)) if right else refuse)
    if way == "patched":
        options = {rng.choice(["patches", "side", "seed"]): rng.choice([v for v in ODD if not (isinstance(v, Integral) and v > 10**4)]) for _ in range(rng.randint(1, 2))}
        donor = rng.choice([PAIRS[30].b] * 4 + [None, PAIR.b[None], torch.rand(3, 9, 9), PAIR.b * NAN])
        ok = {"patches": lambda v: sensible("masks", v), "side": lambda v: sensible("size", v), "seed": lambda v: True}
        right = all(ok[k](v) for k, v in options.items()) and donor is not None and donor.shape == PAIR.a.shape and bool(donor.isfinite().all())
        check = lambda r: finite(r[0], (3, 20, 20)) or equal(torch.where(r[1], donor, PAIR.a))(r[0])
        return Input(f"patched {options} {short(donor)[:20]}", lambda: sanity.patched(PAIR, donor, **options), check if right else refuse)
    if way == "patch_test":
        pairs = rng.choice([FEW, FEW[:1], list(FEW), [], FEW[[]], None, PAIRS[:10]])
        right = isinstance(pairs, xfv.PairSet) and len(pairs) > 1 and method in ("gradient", "occlusion", "fggb")
        return Input(f"patch_test of {short(pairs)[:40]} by {method!r}", lambda: sanity.patch_test(TINY, pairs, [method], patches=3), (lambda t: finite(np.stack(t.scores)) or finite(t.localisation)) if right else anything if isinstance(pairs, (list, xfv.PairSet)) and len(pairs) else refuse)
    table = sanity.patch_test(TINY, PAIRS[:14], ["occlusion"], patches=3)
    change = rng.choice(["", "twice", "one row", "empty", "none", "no column", "labels none"])
    given = {"twice": pd.concat([table, table]), "one row": table[:1], "empty": table[:0], "none": None, "no column": table.drop(columns="scores"), "labels none": table.assign(same=None)}.get(change, table)
    right = change in ("", "twice")
    return Input(f"patch_rates of {change}", lambda: sanity.patch_rates(given, draws=rng.choice([50, 9])), (lambda r: finite(r[["value", "low", "high"]]) or equal(sanity.patch_rates(table, draws=9).value)(r.value)) if right else refuse)


@area("plots", 130)
def figures(rng):
    """Every figure with odd maps, names and numbers: a PNG, or a refusal in words."""
    e = xfv.explain(TINY, PAIR, "occlusion")
    x = e.map_a
    odd = [x, x * 0, x * NAN, torch.where(x > x.median(), NAN, x), x * 1e30, x * 1e-40, -x.abs(), x.double(), torch.full_like(x, INF), x > 0, torch.where(x == x.max(), -INF, x), (x * 1000).long(), x.half(), x.clone().requires_grad_(True)]
    shaped = [x[:5], x[None], x.flatten(), None, x.numpy(), x[:0]]
    given = rng.choice([*odd, *odd, *shaped])
    name = rng.choice(["Ann", "$x^2$", "$\\frac{", "a$b", "ü" * 200, "", "<script>alert(1)</script>", "a\nb\tc", "名前", "_x_", "%s %d {}", "\\", "x" * 5000, "a\0b"])
    pair = xfv.Pair(PAIR.a, PAIR.b, rng.choice([True, False, None]), name, "p/1")
    score, threshold = rng.choice([0.5, 1.0, -1.0, 0.99999, NAN]), rng.choice([0.3, -1.0, 1.0])
    explanation = type(e)(pair, rng.choice(["occlusion", name]), score, threshold, given, x)
    numbers = rng.choice([np.linspace(-1, 1, 30), np.full(30, 0.5), np.full(30, NAN), np.r_[NAN, np.linspace(0, 1, 29)], [], [0.5], np.linspace(-1e30, 1e30, 30), np.r_[INF, np.zeros(29)]])
    labels = rng.choice([np.arange(len(numbers)) % 2 == 0, np.ones(len(numbers), bool), [None] * len(numbers), [True]])
    table = rng.choice([np.eye(3), np.zeros((3, 3)), np.full((3, 3), NAN), np.eye(3) * 1e30, np.ones((0, 0)), np.ones(3), np.eye(2)])
    calls = {
        "pair": lambda: plots.show_pair(explanation), "maps": lambda: plots.show_maps([given, x], [name, "b"], image=rng.choice([None, PAIR.a]), signed=rng.random() < 0.5, each_scaled=rng.random() < 0.5), "no maps": lambda: plots.show_maps([], []),
        "images": lambda: plots.show_images(rng.choice([[PAIR.a], [PAIR.a * NAN], [PAIR.a * 9 - 4], [PAIR.a.half()], [None]]), [name], columns=rng.choice([1, 6, 0, -1])), "grid": lambda: plots.show_method_grid(rng.choice([[[explanation, e]], [], [[]]])),
        "scores": lambda: plots.show_scores(numbers, labels, rng.choice([None, 0.5, NAN])), "roc": lambda: plots.show_roc({name: numbers}, labels), "curves": lambda: plots.show_curves(range(len(numbers)), {name: numbers}, xlabel=name, ylabel="y", logx=rng.random() < 0.3),
        "chart": lambda: plots.show_chart(table, list("abc"), list("xyz"), label=name), "influence": lambda: plots.show_frequency_influence(xfv.frequency_influence(TINY, pair, width=rng.choice([1, 5, 10]))),
        "cutoff": lambda: plots.to_png(plots.draw_cutoff(pair, rng.choice([PAIR.a, PAIR.a * NAN, PAIR.a * 0]), torch.ones(20, 20, dtype=torch.bool), score, threshold)),
    }  # fmt: skip
    way = rng.choice(list(calls))
    clean = lambda r: None if (SHOWN and SHOWN[-1].data[:4] == b"\x89PNG") or (isinstance(r, bytes) and r[:4] == b"\x89PNG") else "no figure was shown"
    empty = way in ("no maps",) or (way == "images")
    return Input(f"{way}: map {short(given)[:50]}, name {name[:20]!r}, score {score}, numbers {short(numbers)[:30]}", calls[way], (lambda r: None) if empty else clean)


@area("widgets", 90)
def controls(rng):
    """Widgets: odd values and uploads in turn; nothing is raised, and the status says it in words."""
    which = rng.choice(["picker", "cutoff", "photo", "photo"])
    uploads = {"nothing": b"", "noise": rng.randbytes(300), "face": None, "bomb": raw_png(13_000, 13_000, 1, 0) if which == "photo" else b"", "wall": raw_png(300, 300, 8, 2), "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"}
    file = io.BytesIO()
    PHOTO.save(file, "png")
    uploads["face"] = file.getvalue()
    steps = [(rng.choice(list(uploads)), rng.choice(["face.jpg", "<script>x</script>.png", "$\\frac{", "a" * 500, ""]), rng.choice([-1, 1, 0.3, NAN, INF, 5, 0]), rng.random()) for _ in range(rng.randint(1, 4))]

    def use():
        said = []
        box = {"picker": lambda: widgets.pair_picker(TINY, PAIRS), "cutoff": lambda: widgets.cutoff_slider(TINY, PAIR), "photo": lambda: widgets.photo_pair(TINY, rng.choice(["gradient", "occlusion"]))}[which]()
        for kind, name, number, chance in steps:
            if which == "photo" and chance < 0.8:
                control = rng.choice([box.probe, box.reference])
                control.value = ({"name": name, "type": "image/png", "size": len(uploads[kind]), "content": memoryview(uploads[kind]), "last_modified": pd.Timestamp(0).to_pydatetime()},)
            elif which == "cutoff":
                box.cutoff.value = int(number) if math.isfinite(number) else 3
                box.kept.value = rng.choice(["up to", "beyond"])
            elif which == "picker" and chance < 0.5:
                control = rng.choice([box.group, box.person, box.pair])
                control.value = rng.choice([*control.options, None])[1] if control is not box.person and rng.random() < 0.9 and control.options else None
            else:
                box.threshold.value = number
            said.append(box.status.value)
        return said

    def check(said):
        bad = [s for s in said if not s.strip() or "Computing" in s or "<script" in s]
        return f"status {bad[0]!r}" if bad else None

    return Input(f"{which}: {[(kind, name[:12], number) for kind, name, number, _ in steps]}", use, check)


@area("special files", 150)
def special_files(rng):
    """Pipes, devices, folders, links, huge files in the place of every file; damage in the cache."""
    path = Path("lfw") / "pairs.txt"
    path.parent.mkdir()
    kinds = {
        "pipe": lambda p: os.mkfifo(p), "folder": lambda p: p.mkdir(), "3 GB": lambda p: p.open("wb").truncate(3 * 10**9), "loop": lambda p: p.symlink_to(p.name), "dangling link": lambda p: p.symlink_to("absent"), "empty": lambda p: p.touch(),
        "device": lambda p: p.symlink_to(rng.choice(["/dev/zero", "/dev/random", "/dev/null", "/dev/full", "/dev/tty", "/proc/self/environ"])), "none": lambda p: None, "socket": lambda p: socket.socket(socket.AF_UNIX).bind(str(p)),
    }  # fmt: skip
    readers = {
        "csv": lambda p: xfv.load_pairs("csv", file=p, model=TINY), "bin": lambda p: xfv.load_pairs("lfw", bin=p, model=TINY), "lfw": lambda p: xfv.load_pairs("lfw", root="lfw", model=TINY), "folder": lambda p: xfv.load_pairs("folder", root=p),
        "weights": lambda p: xfv.load_model(weights=p), "onnx": lambda p: xfv.load_model("onnx", weights=p), "safetensors": lambda p: xfv.load_model(weights=p), "photograph": lambda p: xfv.align(p), "table": read_table, "read sweep": xfv.read_sweep,
        "costs": read_costs, "maps": lambda p: read_maps(p, "gradient", [0]), "save": lambda p: save_table(TABLE, p, {}), "sweep": lambda p: swept(out=p), "block": lambda p: xfv.read_sweep("out"), "manifest": lambda p: swept(), "cache": lambda p: some_crops()().image("ann/0"),
    }  # fmt: skip
    reader, kind = rng.choice(list(readers)), rng.choice(list(kinds))
    places = {"csv": "a.csv", "bin": "a.bin", "lfw": "lfw/pairs.txt", "weights": "a.pth", "onnx": "a.onnx", "safetensors": "a.safetensors", "block": "out/blocks/000000.parquet", "manifest": "out/manifest.json"}
    place = Path(places.get(reader, "a.jpg"))
    place.parent.mkdir(parents=True, exist_ok=True)
    if reader == "cache":
        return damaged_cache(rng)
    kinds[kind](place)
    fine = reader in ("save", "sweep", "manifest")
    return Input(f"{reader} of {kind}", lambda: readers[reader](place), anything if fine else refuse)


def damaged_cache(rng):
    """A crop from landmarks that were kept and then damaged."""
    load = some_crops()
    before = load().image("ann/0")
    for path in Path("landmarks").glob("*.npy"):
        row, file = np.load(path), io.BytesIO()
        kind = rng.choice(["empty", "cut", "text", "nan", "shape", "number", "objects", "huge", "folder", "pipe", "complex", "words"])
        np.save(file, {"nan": row * NAN, "shape": row[:7], "number": np.array(3.0), "objects": np.array([None, "x"], object), "complex": row + 1j, "words": row.astype(str)}.get(kind, row))
        data = {"empty": b"", "cut": file.getvalue()[:-20], "text": b"landmarks", "huge": file.getvalue().replace(b"(21,)", b"(9999999999999,)").replace(b"(20,)", b"(9999999999999,)")}.get(kind, file.getvalue())
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(data)
    return Input(f"kept landmarks are damaged: {kind}", lambda: load().image("ann/0"), equal(before, 0.02))


@area("gradients", 100)
def channels(rng):
    """Channel gradients, gradients of a score, versions of an image, the notebooks' examples."""
    option = rng.choice(["gradient", "embedding", "normalise", "channels_at_once", "image", "examples", "setup", "embed_versions", "squares", "score"])
    value = rng.choice([v for v in ODD if not (isinstance(v, Integral) and v > 100)] + ["signed", "raw", False, 3])
    plain = lambda: xfv.channel_gradients(TINY, PAIR.a)
    if option == "image":
        name, image, real = odd_image(rng)
        fits = real and name not in ("one pixel", "wide")
        return Input(f"channel_gradients of {name}", lambda: xfv.channel_gradients(TINY, image), (lambda g: finite(g.maps, (11, 20, 20))) if fits else refuse)
    if option == "examples":
        pairs = rng.choice([FEW, PAIRS, PAIRS[:1], FEW[[]], [], None, list(FEW), FEW[FEW.labels]])
        return Input(f"examples of {short(pairs)[:50]}", lambda: notebook.examples(TINY, pairs), anything if pairs is PAIRS or pairs is FEW else refuse)
    if option == "setup":
        right = isinstance(value, Integral) and value >= 0
        return Input(f"notebook_setup({short(value)})", lambda: notebook.notebook_setup(value), anything if right else refuse)
    if option == "embed_versions":
        count, batch = rng.choice([0, 1, 5, -1, NAN, None, "3", 2.0]), rng.choice([1, 2, 0, -1, None, "2", NAN, True, np.int64(2)])
        right = isinstance(count, int) and count >= 1 and isinstance(batch, (int, np.int64)) and batch >= 1 and batch is not True
        return Input(f"embed_versions, {count} in {batch}", lambda: perturb.embed_versions(TINY, lambda some: PAIR.a.expand(some.stop - some.start, -1, -1, -1), count, batch=batch), (lambda r: finite(r, (count, 11))) if right else refuse)
    if option == "score":
        score = rng.choice([lambda x: x.sum(), lambda x: 5.0, lambda x: None, lambda x: x.detach().sum(), lambda x: x, lambda x: x.sum() * NAN, "score", lambda x: (x > 0).sum()])
        return Input("input_gradient of an odd score", lambda: gradients.input_gradient(score, PAIR.a), lambda g: finite(g, PAIR.a.shape))
    if option == "squares":
        corners = rng.choice([torch.tensor([1, 2]), torch.tensor([[0, 0], [30, 30]]), torch.tensor([-5, 3]), torch.zeros(0, 2, dtype=torch.long), torch.tensor([0.5, 1.5])])
        return Input(f"squares at {corners.tolist()}", lambda: perturb.squares(corners, rng.choice([2, 0, 50]), (20, 20)), lambda both: finite(both[0]) or finite(both[1]))
    allowed = {"gradient": ("absolute", "signed"), "embedding": ("unit", "raw")}
    right = (isinstance(value, str) and value in allowed[option]) if option in allowed else True if option == "normalise" else sensible("batch", value)
    check = lambda g: finite(g.maps, (11, 20, 20)) or (equal(plain().maps, 1e-4)(g.maps) if option == "channels_at_once" else None)
    return Input(f"channel_gradients({option}={short(value)})", lambda: xfv.channel_gradients(TINY, PAIR.a, **{option: value}), check if right else refuse)
