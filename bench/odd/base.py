"""What all areas use: how an input is written down, oracles, a tiny network, pairs and a photograph."""

import inspect
import itertools
import math
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

import xfvlib as xfv
from xfvlib import alignment, plots
from xfvlib.faithfulness import deletion_table
from xfvlib.pairs import orl_photo_path

NAN, INF = float("nan"), float("inf")
ODD = [
    -1,
    0,
    1,
    2,
    3,
    0.5,
    -0.5,
    1e-9,
    1e6,
    1e30,
    10**30,
    NAN,
    INF,
    -INF,
    True,
    False,
    None,
    "",
    "3",
    "many",
    b"x",
    1j,
    [],
    [1],
    (),
    (2, 3),
    {},
    np.int64(2),
    np.float32(1.5),
    np.float64(NAN),
    np.bool_(True),
    np.str_("mean"),
    np.array(2),
    np.array([1, 2]),
    torch.tensor(2),
    torch.tensor([1.0, 2.0]),
    object,
]
SMALL = [value for value in ODD if not (isinstance(value, Integral) and value > 100)]  # what may be a number of steps
AREAS = {}


@dataclass
class Input:
    """``what`` in words, the ``call``, and a ``check`` of its result: None, or what is wrong with it."""

    what: str
    call: Callable[[], Any]
    check: Callable[[Any], str | None]


@dataclass
class Area:
    make: Callable[[random.Random], Input]
    weight: int


def area(name, weight):
    return lambda make: AREAS.setdefault(name, Area(make, weight)).make


def short(value):
    if isinstance(value, torch.Tensor) and value.is_nested:
        return "<nested>"
    if isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim:
        return f"<{value.dtype} {tuple(value.shape)}>"
    if isinstance(value, (xfv.FaceModel, xfv.Pair)):
        return f"<{type(value).__name__}>"
    return " ".join(repr(value).split())[:60]


def case(function, *given, right=True, check=None, what="", **options):
    """The input that is a call. ``right``: True where ``check`` judges the answer, False where it must be refused, None
    where both will do."""
    name = getattr(function, "__name__", type(function).__name__)
    listed = ", ".join([*map(short, given), *(f"{key}={short(value)}" for key, value in options.items())])
    judge = {True: check or anything, False: refuse, None: anything}[right if right is None else bool(right)]
    return Input(f"{what} {name}({listed})".strip(), lambda: function(*given, **options), judge)


def form(rng, good, bad=()):
    """One of the values of two dicts: ``(its name, value, whether it is a good one)``."""
    name = rng.choice([*good, *bad])
    return name, (good | dict(bad))[name], name in good


def is_number(value):
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) and math.isfinite(value)


def is_count(value, least=1):
    return is_number(value) and isinstance(value, Integral) and value >= least


# --- oracles ---


def refuse(result):
    return f"was accepted: {short(result)}"


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


def finite_of(*shape):
    return lambda result: finite(result, shape)


# --- what is tried ---


def network():
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 6, 5, stride=2), nn.PReLU(), nn.Conv2d(6, 8, 3), nn.ReLU()]
    return nn.Sequential(*first, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 11))


def some_pairs(people=4, images=3):
    generator = torch.Generator().manual_seed(2)
    faces = torch.rand(people, 3, 20, 20, generator=generator)
    noise = torch.rand(people, images, 3, 20, 20, generator=generator)
    crops = {f"p{i}/{j}": 0.6 * faces[i] + 0.4 * noise[i, j] for i in range(people) for j in range(images)}
    table = pd.DataFrame(itertools.combinations(crops, 2), columns=["name_a", "name_b"])
    table["same"] = table.name_a.str[:2] == table.name_b.str[:2]
    return xfv.PairSet("tiny", table.assign(fold=np.arange(len(table)) % 3), crops)


TINY = xfv.FaceModel(network(), size=20, name="tiny", threshold=0.3)
PAIRS = some_pairs()
PAIR, FEW = PAIRS[0], PAIRS[[0, 1, 2, 5, 6, 7]]
PHOTO = Image.open(orl_photo_path("s1/1")).resize((184, 224))  # grey
PIXELS = np.asarray(PHOTO.convert("RGB"))
KEPT = SimpleNamespace()  # landmarks and crop of the photograph, a table: from warm_up
SHOWN = []  # figures


def warm_up():
    """Make what every process uses before they are forked; nothing that starts threads."""
    torch.set_num_threads(1)
    KEPT.landmarks, KEPT.crop = alignment.find_landmarks(PHOTO), alignment.align(PHOTO)
    KEPT.table = deletion_table(TINY, PAIRS[:24], ["occlusion", "lime"], [{"metric": "deletion", "steps": 4}])
    plots.display = lambda *shown: SHOWN.extend(shown)
    plots.to_png(plots.draw_pair(xfv.explain(TINY, PAIR, "occlusion")))


def two_people():
    """Write a folder of photographs of each of two people; returns a function that loads it."""
    for person, source in (("ann", "s1"), ("bob", "s2")):
        Path(person).mkdir()
        for i in range(2):
            shutil.copy(orl_photo_path(f"{source}/{i + 1}"), f"{person}/{i}.pgm")
    return lambda: xfv.load_pairs("folder", root=".", model=TINY)


def odd_image(rng):
    """``(name, image, whether it is one)``; whether it fits the network is another question."""
    x = PAIR.a
    good = {
        "plain": x,
        "double": x.double(),
        "view": x.flip(2).flip(2),
        "black": x * 0,
        "constant": x * 0 + 0.5,
        "one pixel": x[:, :1, :1],
        "wide": torch.rand(3, 9, 20),
        "half": x.half(),
    }
    bad = {
        "nan": x * NAN,
        "infinite": x / 0,
        "complex": x + 0j,
        "uint8": (x * 255).byte(),
        "array": x.numpy(),
        "none": None,
        "2-d": x[0],
        "batch": x[None],
        "empty": x[:, :0],
    }
    return form(rng, good, bad)


def options_of(function):
    """Keyword-only options of a function that have defaults."""
    found = inspect.signature(function).parameters.items()
    return {key: one.default for key, one in found if one.kind is one.KEYWORD_ONLY and one.default is not one.empty}
