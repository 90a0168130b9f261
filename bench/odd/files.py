"""Files from elsewhere: verification files, tables, weights, results, and what is no file."""

import io
import itertools
import os
import pickle
import shutil
import socket
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pyarrow.parquet as pq
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

import xfvlib as xfv
from odd.base import KEPT, NAN, TINY, Input, area, case, equal, form, refuse, short, two_people
from odd.results import swept
from xfvlib.faithfulness import read_table, save_table
from xfvlib.models import mobilefacenet
from xfvlib.pairs import orl_photo_path
from xfvlib.sweep import read_costs, read_maps


class Payload:
    """Pickled, it asks for ``function(*arguments)`` to be called."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


NDARRAY, DTYPE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n(S'u1'\ntR"
PROGRAMS = {
    "memo index of 4 bytes": b"]r\0\0\0\x10.",
    "memo index in words": b"]p4000000000\n.",
    "largest memo index": b"]r\xff\xff\xff\x7f.",
    "strides 0": NDARRAY + b"((I3000000000\nt" + DTYPE + b"C\x01xI0\n(I0\nttR.",
    "negative strides": NDARRAY + b"((I300\nt" + DTYPE + b"C\x08xxxxxxxxI0\n(I-4096\nttR.",
    "array of a huge shape": NDARRAY + b"((I100000\nI100000\nt" + DTYPE + b"tR.",
    "object array": NDARRAY + b"((I5\ntcnumpy\ndtype\n(S'O'\ntRC\x28" + b"A" * 40 + b"tR.",
    "huge array by its state": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
    b"(I1\n(I4000000000\nt" + DTYPE + b"I00\nC\x01xtb.",
    "state of a dtype": DTYPE + b"(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb.",
    "system": b"cos\nsystem\n(S'touch harm'\ntR.",
    "eval by inst": b'(S\'open("harm", "w")\'\nibuiltins\neval\n.',
    "eval by obj": b"(cbuiltins\neval\nS'1'\no.",
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
    "number of many digits": b"I" + b"9" * 3_000_000 + b"\n.",
    "long of many digits": b"L" + b"9" * 3_000_000 + b"L\n.",
    "encode as idna": b"c_codecs\nencode\n(V" + b"a" * 200_000 + b"\nS'idna'\ntR.",
    "build on a function": b"c_codecs\nencode\n}S'__name__'\nS'x'\nsb.",
    "build on a class": b"cnumpy\ndtype\n}S'x'\nI1\nsb.",
    "reduce with a dict": b"c_codecs\nencode\n}R.",
    "set items of a list": b"](I1\nI2\nu.",
    "append to a tuple": b")Na.",
    "stop alone": b".",
    "nothing": b"",
    "protocol 255": b"\x80\xff].",
    "text": b"PNG, or a page of HTML",
}
SOUP = [
    b"(",
    b")",
    b"]",
    b"}",
    b"N",
    b"K\x01",
    b"K\x05",
    b"q\0",
    b"h\0",
    b"q\xff",
    b"a",
    b"e",
    b"t",
    b"\x85",
    b"\x86",
    b"\x87",
    b"2",
    b"0",
    b"1",
    b"s",
    b"u",
    b"b",
    b"R",
    b"\x81",
    b"\x88",
    b"\x89",
    b"C\x03abc",
    b"U\x02ab",
    b"X\x01\0\0\0a",
    b"\x94",
    b"\x8f",
    b"\x90",
    b"\x91",
    b"I5\n",
    b"F1.5\n",
    NDARRAY,
    DTYPE,
    b"c_codecs\nencode\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.numeric\n_frombuffer\n",
    b"S'u1'\n",
    b"J\xff\xff\xff\x7f",
]
LABELS = [None, NAN, 2, -1, "True", b"1", 0.0, 1.0, 1, 0, [], [True], (), {}, 1j, 10**400, True, False, 0.5, ""]


def damaged(rng, data, first=None):
    """Bytes cut off, or with a few bits changed among the first."""
    if rng.random() < 0.5:
        return "cut", data[: rng.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(min(len(data), first or len(data)))] ^= 1 << rng.randrange(8)
    return "flipped", bytes(changed)


def coloured_png(rng):
    file = io.BytesIO()
    Image.frombytes("RGB", (20, 20), rng.randbytes(1200)).save(file, "png")
    return file.getvalue()


@area("bin files", 900)
def bin_files(rng):
    """.bin files: labels, images, dtypes, protocols, damage, crafted pickles."""
    labels = [rng.random() < 0.5 for _ in range(rng.randint(1, 3))]
    images = [coloured_png(rng) for _ in range(2 * len(labels))]
    first, right, given, protocol = images[0], False, (images, labels), rng.randint(0, 5)
    kind = rng.choice(["plain", "label", "image", "structure", "damage", "insert", "soup", "program", "payload"])
    what = kind
    if kind == "plain":
        arrays = [np.frombuffer(image, np.uint8) for image in images]
        forms = {
            "bytes": (images, labels),
            "arrays": (arrays, labels),
            "lists": [images, labels],
            "bytearrays": (list(map(bytearray, images)), labels),
            "numpy's bools": (images, list(np.array(labels))),
        }
        what, given, right = form(rng, forms)
    elif kind == "label":
        many = [True]
        for _ in range(40):
            many = [many, many]  # its repr has 2⁴⁰ words
        labels[-1] = rng.choice([*LABELS, many])
        right = isinstance(labels[-1], (int, float)) and labels[-1] in (0, 1)
        given, what = (images, labels), f"label {'many' if labels[-1] is many else short(labels[-1])}"
    elif kind == "image":
        padded = np.frombuffer(first + bytes(-len(first) % 4), "i4")
        images[0] = rng.choice(
            [
                None,
                "",
                "text",
                b"",
                5,
                np.zeros(5),
                np.zeros((4, 4), "u1"),
                [first],
                first[:60],
                padded,
                np.array([1, "a"], object),
                b"GIF89a" + bytes(30),
            ]
        )
        what = f"image {short(images[0])}"
    elif kind == "structure":
        given = rng.choice(
            [
                (images[1:], labels),
                (images, labels * 2),
                (images, []),
                ([], []),
                (images,),
                (images, labels, labels),
                images,
                {},
                None,
                5,
                "text",
                {"images": images},
                (tuple(images), tuple(labels)),
                (labels, images),
                ([images], [labels]),
            ]
        )
        right = None if isinstance(given, tuple) and given and isinstance(given[0], tuple) else False
    elif kind == "payload":
        one = rng.choice(
            [
                Payload(os.system, "touch harm"),
                Payload(open, "harm", "w"),
                Payload(eval, "1/0"),
                np.dtype("u1"),
                np.ndarray,
                Payload(bytearray, 3 * 10**9),
                Payload(np.ndarray, (5,), "u1"),
                Payload(bytes, 2 * 10**9),
                Payload(getattr, "a", "upper"),
            ]
        )
        given = rng.choice([(images, [*labels[1:], one]), ([one, *images[1:]], labels), one])
    data = pickle.dumps(given, protocol)
    if kind == "program":
        what, data = rng.choice(list(PROGRAMS.items()))
        if rng.random() < 0.4 and data.endswith(b"."):  # in the place of the labels of a whole file
            what, data = (
                f"{what} beside images",
                pickle.dumps(images, 0)[:-1] + data[2 * (data[:1] == b"\x80") : -1] + b"\x86.",
            )
    elif kind == "soup":
        data = b"".join(rng.choice(SOUP) for _ in range(rng.randint(3, 40))) + b"."
    elif kind == "insert":
        place, right = rng.randrange(len(data)), None
        data = data[:place] + rng.choice(SOUP) + data[place:]
    elif kind == "damage":
        what, data = damaged(rng, data)
        right = None if what == "flipped" else False
    elif kind == "plain" and rng.random() < 0.3:
        data += b"something behind"
    Path("lfw.bin").write_bytes(data)
    name = rng.choice(["lfw", "calfw"])

    def read():
        pairs = xfv.load_pairs(name, bin="lfw.bin", model=TINY)
        return pairs.labels, [pairs[i].a for i in range(len(pairs))]

    def check(result):
        found, crops = result
        if found.dtype != bool or len(found) != len(crops) or not all(torch.isfinite(crop).all() for crop in crops):
            return f"labels {found}, {len(crops)} crops"
        wanted = np.asarray(Image.open(io.BytesIO(first)).convert("RGB")).transpose(2, 0, 1) / 255
        return None if right is None else equal(np.array(labels, float))(found) or equal(wanted, 1e-3)(crops[0])

    return Input(f"{what}, protocol {protocol}", read, refuse if right is False else check)


@area("tables", 450)
def tables(rng):
    """CSV tables, LFW's pairs.txt, and folders."""
    return rng.choice([csv_table, csv_table, lfw_folder, folder_of_people])(rng)


def folder_of_people(rng):
    names = ["ann", "bob", "NA", "ü", "001", " lee", ".hidden", "a'b", "p [1]", "*"]
    people, made, photo = rng.sample(names, rng.randint(0, 4)), {}, Path(orl_photo_path("s1/1"))
    for person in people:
        Path(person).mkdir()
        for i in range(rng.randint(0, 3)):
            ending = rng.choice([".pgm", ".jpg", ".PNG", ".txt", "", ".jpg.part", ".gif"])
            shutil.copy(photo, f"{person}/{i}{ending}")
            made[person] = made.get(person, 0) + (ending in (".pgm", ".jpg", ".PNG") and person[0] != ".")
    tricks = {
        "loop": lambda one: Path(one, "again").symlink_to(Path().resolve()),
        "loose file": lambda one: shutil.copy(photo, "loose.jpg"),
        "nested": lambda one: shutil.copytree(one, f"deep/{one}"),
        "folder called .jpg": lambda one: Path(one, "album.jpg").mkdir(),
        "pipe": lambda one: os.mkfifo(Path(one, "pipe.jpg")),
    }
    trick = rng.choice(["", "", *tricks, "file as root", "no root"])
    if people and trick in tricks:
        tricks[trick](people[0])
    root = {"file as root": photo, "no root": "absent"}.get(trick, rng.choice([".", Path(), Path().resolve()]))

    def check(pairs):
        for row in pairs.table.itertuples():
            if row.same != (row.name_a.rsplit("/", 1)[0] == row.name_b.rsplit("/", 1)[0]) or row.name_a == row.name_b:
                return f"{row.name_a} and {row.name_b} are same={row.same}"
        genuine, found = sum(n * (n - 1) // 2 for n in made.values()), int(pairs.labels.sum())
        return None if found == genuine or trick else f"{found} genuine pairs of {genuine}"

    return case(xfv.load_pairs, "folder", root=root, check=check, what=f"{made} {trick}")


def csv_table(rng):
    """A table of pairs with something odd about it."""
    odd_names = [
        "ann/0",
        "ann/1",
        "bob/0",
        "bob/1",
        "NA/001",
        "null",
        "001",
        "1e3",
        "nan",
        "true",
        "ü/é",
        "a b/c d",
        "None",
        "-1",
        "x,y",
        'q"q',
        "ann/..//ann/2",
    ]
    names = rng.sample(odd_names, 4)
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(orl_photo_path(f"s{rng.randint(1, 9)}/1"), name)
    rows = [(a, b, rng.random() < 0.5, i % 3) for i, (a, b) in enumerate(itertools.combinations(names, 2))]
    yes, no = rng.choice(
        [("True", "False"), ("1", "0"), ("true", "false"), ("TRUE", "FALSE"), (" true", "false "), ("1.0", "0.0")]
    )
    folds = rng.choice(
        [["{}"], ["{}"], ["{}.0"], ["{}", "1.5", "1e30", "", "a", "nan", "-1", "inf", "0x1", "2e0", "True"]]
    )

    def quoted(text):
        return '"' + text.replace('"', '""') + '"' if set(',"') & set(text) or rng.random() < 0.2 else text

    cells = [[quoted(a), quoted(b), yes if same else no, rng.choice(folds).format(n)] for a, b, same, n in rows]
    changes = {
        "": ["{}"],
        "empty name": ["", " ", '""'],
        "absent": ["absent.jpg", "..", ".", "a" * 3000, "/dev/zero"],
        "empty label": [""],
        "label": ["yes", "same", "T", "NA", "None", "nan", "2", "-1", "0.5", "1e0"],
        "short row": [],
        "long row": [],
    }
    odd, row = rng.choice(list(changes)), rng.choice(cells)
    value = rng.choice(changes[odd]) if changes[odd] else ""
    if odd in ("empty name", "absent"):
        row[rng.randrange(2)] = value
    elif odd in ("empty label", "label"):
        row[2] = value
    elif odd in ("short row", "long row"):
        row[2:] = row[2 : 2 if odd == "short row" else 4] + ["more"] * (odd == "long row")
    usual = ["path_a", "path_b", "same", "fold"]
    head = rng.choice(
        [usual] * 4
        + [
            [*usual, "note"],
            ["a", "b", "same", "fold"],
            ["path_a", "path_b", "path_b", "same"],
            [f" {name}" for name in usual],
            [name.upper() for name in usual],
        ]
    )
    comma, newline = rng.choice([",", ",", ",", ", ", ";", "\t"]), rng.choice(["\n", "\n", "\r\n", "\n\n", "\r"])
    coding = rng.choice(["utf8", "utf8", "utf8", "utf-8-sig", "utf-16", "latin1"])
    text = newline.join(comma.join(line) for line in [head, *cells]) + rng.choice(["", newline])
    nonsense = [b"", b"\n", b"path_a,path_b,same\n", b"\0" * 50, rng.randbytes(50), b'path_a,path_b,same\n"open,x,1']
    data = text.encode(coding) if rng.random() < 0.95 else rng.choice(nonsense)
    Path("pairs.csv").write_bytes(data)
    wrong = len(data) < 60 or (odd and not (odd == "long row" and "note" in head) and value not in ("T", "1e0"))

    def read(file):
        pairs = xfv.load_pairs("csv", file=file, model=TINY)
        return pairs, pairs.labels, pairs.folds, pairs.names

    def check(result):
        pairs, labels, found, _ = result
        if wrong:
            return refuse(pairs.table.head(2).to_dict("list"))
        sources = [Path(pairs.images.sources[name]).resolve() for name in pairs.table.name_a]
        if sources != [Path(row[0]).resolve() for row in rows]:
            return f"reads {sources[:2]} for {[row[0] for row in rows][:2]}"
        if set(found.tolist()) != {-1}:  # which is right where there is no column of folds
            try:
                meant = [float(cell[3]) for cell in cells]
            except ValueError:
                meant = None
            if found.tolist() != meant or max(meant) > 1e9:
                return f"folds are {found.tolist()} of {[cell[3] for cell in cells]}"
        return equal(np.array([row[2] for row in rows], float))(labels)

    what = f"{odd} {value[:9]!r} {head[0]!r} {comma!r} {newline!r} {coding} {yes!r} {[cell[-1] for cell in cells][:3]}"
    return case(read, rng.choice(["pairs.csv", Path("pairs.csv")]), check=check, what=f"csv {what} {names[:2]}")


def lfw_folder(rng):
    """LFW's layout, its pairs.txt altered."""
    for person, source in (("Ann", "s1"), ("Bob", "s2")):
        Path("lfw", person).mkdir(parents=True)
        for i in (1, 2, 3):
            shutil.copy(orl_photo_path(f"{source}/{i}"), f"lfw/{person}/{person}_000{i}.jpg")
    lines = [
        "2\t2",
        "Ann\t1\t2",
        "Bob\t1\t3",
        "Ann\t1\tBob\t1",
        "Ann\t2\tBob\t3",
        "Ann\t2\t3",
        "Bob\t2\t3",
        "Bob\t1\tAnn\t3",
        "Bob\t2\tAnn\t2",
    ]
    change = rng.choice(["", "word", "drop", "double", "swap", "header", "blank", "spaces", "bytes", "absent"])
    place = rng.randrange(1, len(lines))
    if change == "word":
        words = lines[place].split("\t")
        words[rng.randrange(len(words))] = rng.choice(
            ["", "x", "-1", "0", "99", "1.5", "1e3", "../Bob", "²", "١", "Ann Bob"]
        )
        lines[place] = "\t".join(words)
    elif change == "drop":
        del lines[place]
    elif change == "double":
        lines.insert(place, lines[place])
    elif change == "swap":
        lines[1], lines[3] = lines[3], lines[1]
    elif change == "header":
        lines[0] = rng.choice(
            ["", "2", "8", "0", "-2 2", "2 2 2", "a b", "1000000000 1000000000", "²\t2", "1.0 2.0", "4", "1 4"]
        )
    elif change == "blank":
        lines.insert(place, "")
    elif change == "absent":
        Path("lfw/Ann/Ann_0002.jpg").unlink()
    text = "\n".join(lines).replace("\t", "  " if change == "spaces" else "\t").encode()
    nonsense = rng.choice([b"", rng.randbytes(300), b"\xff\xfe2\t2"])
    Path(rng.choice(["pairs.txt", "lfw/pairs.txt"])).write_bytes(nonsense if change == "bytes" else text)

    def check(pairs):
        if change in ("", "spaces", "absent"):
            return equal([1, 1, 0, 0, 1, 1, 0, 0])(pairs.labels.astype(float)) or equal([0] * 4 + [1] * 4)(pairs.folds)
        for row in pairs.table.itertuples():
            if row.same != (row.name_a.split("/")[0] == row.name_b.split("/")[0]):
                return f"{row.name_a} and {row.name_b} are same={row.same}"
        return None

    right, what = (
        change not in ("drop", "double", "swap", "bytes"),
        f"{change} {lines[place % len(lines)]!r} {lines[0]!r}",
    )
    return case(
        xfv.load_pairs, "lfw", root=rng.choice(["lfw", Path("lfw")]), model=TINY, right=right, check=check, what=what
    )


def linear_onnx(path, shape, kind, *, external=False, outputs=1, inputs=1, opset=13):
    """Write a network that maps all pixels linearly to six numbers; returns its weights."""
    weights = np.random.default_rng(0).normal(size=(6, 192)).astype(helper.tensor_dtype_to_np_dtype(kind))
    initial = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([0, -1], np.int64), "flat")]
    nodes, pixels = [], "x"
    if len(shape) == 4 and shape[3] == 3:
        nodes, pixels = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])], "t"
    nodes.append(helper.make_node("Reshape", [pixels, "flat"], ["f"]))
    nodes.append(helper.make_node("Gemm", ["f", "w"], ["y"], transB=1))
    nodes += [helper.make_node("Identity", ["y"], [f"y{i}"]) for i in range(1, outputs)]
    ins = [helper.make_tensor_value_info(f"x{i or ''}", kind, shape) for i in range(inputs)]
    outs = [
        helper.make_tensor_value_info(f"y{i or ''}", kind, [shape[0] if shape else None, 6]) for i in range(outputs)
    ]
    graph = helper.make_graph(nodes, "linear", ins, outs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    location = "weights.bin" if external else None
    onnx.save(model, path, save_as_external_data=external, location=location, size_threshold=0)
    return torch.from_numpy(weights.astype(np.float32))


@area("onnx", 170)
def onnx_files(rng):
    """ONNX files: layouts, fixed batches, types, external data, damage."""
    shapes = [
        ("batch", 3, 8, 8),
        (1, 3, 8, 8),
        (2, 3, 8, 8),
        (4, 3, 8, 8),
        (None, 3, 8, 8),
        ("n", 8, 8, 3),
        (1, 8, 8, 3),
        ("n", 3, "h", "w"),
        ("n", "c", 8, 8),
        (0, 3, 8, 8),
        (-1, 3, 8, 8),
        (3, 8, 8),
        (),
        ("n", 192),
        ("n", 1, 8, 24),
        ("n", 3, 8, 3),
        ("n", 3, 3, 3),
        ("n", 3, 10**6, 10**6),
        (10**6, 3, 8, 8),
    ]
    shape = rng.choice(shapes) if rng.random() < 0.5 else shapes[0]
    kind = rng.choice([TensorProto.FLOAT] * 4 + [TensorProto.FLOAT16, TensorProto.DOUBLE])
    more = {"external": rng.random() < 0.15, "outputs": rng.choice([1, 1, 2]), "inputs": rng.choice([1, 1, 1, 2])}
    more["opset"] = rng.choice([13, 13, 13, 17, 999])
    path, weights, right = Path("net.onnx"), linear_onnx("net.onnx", shape, kind, **more), True
    damage, data = (
        rng.choice(["", "", "", "bytes", "text", "empty", "moved", "lost", "folder", "outside"]),
        path.read_bytes(),
    )
    if damage == "bytes":
        how, data = damaged(rng, data, 400)
        right = None if how == "flipped" else False
    elif damage in ("text", "empty"):
        data, right = b"not a network" * (damage == "text"), False
    elif damage == "outside" and more["external"]:
        data, right = data.replace(b"weights.bin", b"/etc/passwd"), False
    elif damage == "lost" and more["external"]:
        Path("weights.bin").unlink()
        right = False
    path.write_bytes(data)
    if damage == "moved":
        Path("sub").mkdir()
        path = path.rename("sub/net.onnx")
        if more["external"]:
            Path("weights.bin").rename("sub/weights.bin")
    elif damage == "folder":
        path.unlink()
        path.mkdir()
        right = False
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(3))

    def load(weights):
        model = xfv.load_model(rng.choice(["onnx", None]), weights=weights)
        return model.embed(images) if model.size == (8, 8) else None

    def check(rows):
        raw = (2 * images - 1).flatten(1) @ weights.T
        return None if rows is None else equal(raw / raw.norm(dim=1, keepdim=True), 2e-2)(rows)

    return case(load, rng.choice([path, str(path)]), right=right, check=check, what=f"{shape} {kind} {more} {damage}")


@area("checkpoints", 180)
def checkpoints(rng):
    """Checkpoints: wrappers, types, formats, missing and extra keys, objects, damage."""
    torch.manual_seed(0)
    ours = mobilefacenet.MobileFaceNet(64).state_dict()
    told = {"conv_6_dw.conv.weight": (512, 1, 7, 7), "linear.weight": (64, 512), "conv1.conv.weight": (64, 3, 3, 3)}
    _, published, _ = mobilefacenet.recognise({key: torch.empty(shape) for key, shape in told.items()})
    state = {published[key]: value for key, value in ours.items()}
    key = rng.choice([key for key, value in state.items() if value.dim() > 1])
    one, torch_only = state[key], torch.ones(1)
    values = {
        "flat": one.flatten(),
        "nan": one * NAN,
        "complex": one + 0j,
        "meta": one.to("meta"),
        "numpy": one.numpy(),
        "list": one.tolist(),
        "number": 5,
        "object": Payload(open, "harm", "w"),
        "uint8": one.byte(),
        "sparse": one.to_sparse(),
        "strides 0": torch_only.expand(20_000, 50_000),
        "shared": torch_only.expand(one.shape),
    }
    fine, lenient = ["", "", "half", "double"], ["uint8", "sparse", "strides 0", "shared", "extra"]
    change = rng.choice([*fine, *values, "missing", "extra", "payload", "nested", "empty", "not text"])
    if change in values:
        state[key] = values[change]
    elif change in ("half", "double"):
        state = {k: v.to(getattr(torch, change)) if v.is_floating_point() else v for k, v in state.items()}
    elif change == "missing":
        del state[key]
    elif change == "extra":
        state[rng.choice(["more.weight", 5, ""])] = torch.ones(3)
    elif change in ("empty", "not text"):
        state = {} if change == "empty" else {(k, 1): v for k, v in state.items()}
    wrappers = [
        lambda s: s,
        lambda s: {"state_dict": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"model": {f"backbone.{k}": v for k, v in s.items()}, "epoch": 3},
    ]
    content = rng.choice(wrappers)(state)
    if change == "payload":
        content = {"state_dict": state, "callback": Payload(os.system, "touch harm")}
    for _ in range(100 * (change == "nested")):
        content = {"state_dict": content}
    shape = rng.choice(["zip", "zip", "legacy", "pickle", "script"])
    path = Path(rng.choice(["net.pt", "net.pth", "net.ckpt", "net.bin", "net.tar"]))
    if shape == "script":
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    elif shape == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=shape == "zip")
    right = None if change in lenient else change in fine
    right = right if shape in ("zip", "legacy") else False
    damage = rng.choice(["", "", "", "bytes", "bomb", "safetensors"])
    if damage == "bytes":
        how, data = damaged(rng, path.read_bytes(), 2000)
        path.write_bytes(data)
        right = None if how == "flipped" else False
    elif damage == "bomb" and shape == "zip":
        with (
            zipfile.ZipFile(path) as old,
            zipfile.ZipFile("bomb.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
        ):
            for name in old.namelist():
                new.writestr(name, old.read(name) + bytes(300_000_000 * name.endswith("data/0")))
        path, right = Path("bomb.pt"), False
    elif damage == "safetensors":
        path, right = Path("net.safetensors"), False
        huge = b'{"w":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,4]}}'
        sizes = [(2**62, b"{}"), (10, b"not json  "), (2, b"{}"), (len(huge), huge + bytes(4)), (5, b"")]
        size, body = rng.choice(sizes)
        path.write_bytes(struct.pack("<Q", size) + body)

    def load(weights):
        model = xfv.load_model(rng.choice([None, "mobilefacenet"]), weights=weights)
        return model.embed(torch.full((1, 3, *model.size), 0.3))

    def check(row):
        model = mobilefacenet.MobileFaceNet(64).eval()
        model.load_state_dict(ours)
        raw = model(torch.full((1, 3, 112, 112), -0.4)).detach()
        return equal(raw / raw.norm(), 2e-2 if change == "half" else 1e-3)(row)

    return case(load, path, right=right, check=check, what=f"{shape}, {change}, {damage}")


@area("special files", 150)
def special_files(rng):
    """Pipes, devices, folders, links, huge files in the place of every file; damage in the cache."""
    devices = ["/dev/zero", "/dev/random", "/dev/null", "/dev/full", "/dev/tty", "/proc/self/environ"]
    kinds = {
        "pipe": os.mkfifo,
        "folder": Path.mkdir,
        "empty": Path.touch,
        "none": lambda path: None,
        "3 GB": lambda path: path.open("wb").truncate(3 * 10**9),
        "loop": lambda path: path.symlink_to(path.name),
        "dangling link": lambda path: path.symlink_to("absent"),
        "device": lambda path: path.symlink_to(rng.choice(devices)),
        "socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    }
    readers = {
        "a.csv": lambda path: xfv.load_pairs("csv", file=path, model=TINY),
        "a.bin": lambda path: xfv.load_pairs("lfw", bin=path, model=TINY),
        "lfw/pairs.txt": lambda path: xfv.load_pairs("lfw", root="lfw", model=TINY),
        "people": lambda path: xfv.load_pairs("folder", root=path),
        "a.pth": lambda path: xfv.load_model(weights=path),
        "a.safetensors": lambda path: xfv.load_model(weights=path),
        "a.onnx": lambda path: xfv.load_model("onnx", weights=path),
        "a.jpg": xfv.align,
        "a.parquet": read_table,
        "sweep": xfv.read_sweep,
        "costs": read_costs,
        "maps": lambda path: read_maps(path, "gradient", [0]),
        "out/blocks/000000.parquet": lambda path: xfv.read_sweep("out"),
        "out/manifest.json": lambda path: swept(),
        "saved.parquet": lambda path: save_table(KEPT.table, path, {}),
        "out": lambda path: swept(out=path),
        "cache": None,
    }
    (name, reader), kind = rng.choice(list(readers.items())), rng.choice(list(kinds))
    if reader is None:
        return damaged_cache(rng)
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds[kind](path)
    return case(reader, path, right=None if name.startswith(("out", "saved")) else False, what=kind)


def damaged_cache(rng):
    """A crop from landmarks that were kept and then damaged."""
    load = two_people()
    before, kind = (
        load().image("ann/0"),
        rng.choice(
            ["nan", "shape", "number", "objects", "complex", "words", "empty", "cut", "text", "huge", "folder", "pipe"]
        ),
    )
    for path in Path("landmarks").glob("*.npy"):
        row, file = np.load(path), io.BytesIO()
        altered = {
            "nan": row * NAN,
            "shape": row[:7],
            "number": np.array(3.0),
            "objects": np.array([None, "x"], object),
            "complex": row + 1j,
            "words": row.astype(str),
        }
        np.save(file, altered.get(kind, row))
        data, size = file.getvalue(), f"({len(row)},)".encode()
        path.unlink()
        if kind in ("folder", "pipe"):
            (os.mkdir if kind == "folder" else os.mkfifo)(path)
        else:
            altered = {
                "empty": b"",
                "cut": data[:-20],
                "text": b"landmarks",
                "huge": data.replace(size, b"(9999999999999,)"),
            }
            path.write_bytes(altered.get(kind, data))
    return case(lambda: load().image("ann/0"), check=equal(before, 0.02), what=f"kept landmarks: {kind}")


@area("tables read", 100)
def tables_read(rng):
    """read_table of foreign files; save_table and back."""
    path, table, way = (
        Path("table.parquet"),
        KEPT.table,
        rng.choice(["back", "bytes", "parquet", "metadata", "path", "save"]),
    )
    if way == "back":
        settings = rng.choice([{}, {"seed": 1}, {"name": "ü", "list": [1, 2]}, {"nan": NAN}])

        def back(settings):
            save_table(table, path, settings)
            return read_table(path)

        check = lambda found: (
            equal(table.area)(found[0].area) or (None if str(found[1]) == str(settings) else str(found[1]))
        )
        return case(back, settings, check=check)
    if way == "save":
        wrong = [table.drop(columns="area"), table.assign(area="x"), None, [], table[:0], table]
        given, settings = rng.choice(wrong), rng.choice([{}, None, "x", {1: object}, {"a": np.int64(1)}])
        fine = given is table and settings == {}
        right = True if fine else None if given is wrong[4] or settings in (None, "x") else False
        return case(save_table, given, path, settings, right=right)
    if way == "bytes":
        tail = struct.pack("<i", rng.choice([10**9, -5, 40])) + b"PAR1"
        path.write_bytes(rng.choice([b"", b"PAR1PAR1", rng.randbytes(500), b"a,b\n1,2\n", b"PAR1" + bytes(50) + tail]))
    elif way in ("parquet", "metadata"):
        foreign = [
            pd.DataFrame({"a": [1]}),
            table.drop(columns="steps"),
            table.assign(steps=1.5),
            table.assign(steps="many"),
            table.rename(columns={"area": "Area"}),
            table[:0].drop(columns="scores"),
        ]
        (table if way == "metadata" else rng.choice(foreign)).to_parquet(path)
    if way == "metadata":
        said = {"xfvlib": rng.choice([b"{", b"\xff", b"[]", b"5", b"null"])}
        pq.write_table(pq.read_table(path).replace_schema_metadata(said), path)
    given = (
        path
        if way != "path"
        else rng.choice(["absent.parquet", ".", None, 5, "", Path("/dev/zero"), Path("/dev/null")])
    )
    return case(read_table, given, right=None if way == "metadata" else False, what=way)
