"""Calls: pairs, models, images to embed, methods and what is around them, frequencies, conditions."""

import itertools
import math
import random
import threading
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

import xfvlib as xfv
from odd.base import (
    FEW,
    INF,
    KEPT,
    NAN,
    ODD,
    PAIR,
    PAIRS,
    PHOTO,
    SMALL,
    TINY,
    area,
    case,
    equal,
    finite,
    finite_of,
    form,
    is_count,
    is_number,
    network,
    odd_image,
    options_of,
    refuse,
    short,
    two_people,
)
from xfvlib import alignment, conditions, frequency, gradients, notebook, perturb
from xfvlib.faithfulness import deletion_table
from xfvlib.methods import METHODS


@area("pairs", 400)
def pairs_and_sets(rng):
    """Pair and PairSet: images, labels, tables, indices, the names of data sets; crops that are handed out."""
    return rng.choice([odd_pair, odd_label, odd_table, odd_index, odd_call, odd_name, handed_out])(rng)


def odd_pair(rng):
    x = PAIR.a.clone()
    good = {
        "double": x.double(),
        "half": x.half(),
        "bfloat16": x.bfloat16(),
        "view": x.flip(2).flip(2),
        "with grad": x.clone().requires_grad_(True),
        "expanded": x[:1].expand(3, -1, -1),
        "channels last": x[None].to(memory_format=torch.channels_last)[0],
    }
    bad = {
        "uint8": (x * 255).byte(),
        "bool": x > 0.5,
        "complex": x + 0j,
        "nan": x * NAN,
        "infinite": x / 0,
        "to 255": x * 255,
        "negative": x - 1,
        "grey": x[:1],
        "batch": x[None],
        "hwc": x.permute(1, 2, 0),
        "empty": x[:, :0],
        "no width": x[..., :0],
        "array": x.numpy(),
        "list": x.tolist(),
        "none": None,
        "meta": x.to("meta"),
        "sparse": x.to_sparse(),
        "word": "a.jpg",
        "pil": PHOTO,
        "2-d": x[0],
        "larger": torch.rand(3, 21, 20),
        "one nan": x.where(torch.arange(20) != 3, NAN),
    }
    name, given, right = form(rng, good, bad)
    couple = (given, x) if rng.random() < 0.5 else (x, given)

    def check(pair):
        two = [image.detach().float().contiguous() for image in couple]
        return equal(xfv.explain(TINY, xfv.Pair(*two), "occlusion").score, 3e-3)(
            xfv.explain(TINY, pair, "occlusion").score
        )

    return case(xfv.Pair, *couple, right=right, check=check, what=name)


def odd_label(rng):
    value = rng.choice([*ODD, pd.NA, np.nan, np.bool_(False), "False", "True", pd.NaT])
    known = value is None or isinstance(value, (bool, np.bool_))

    def check(pair):
        if pair.same not in (True, False, None) or not (known or type(value) is int or pair.same is None):
            return f"same is {short(pair.same)}"
        return None if value is None or not known or pair.same == value else f"same is {pair.same}"

    return case(xfv.Pair, PAIR.a, PAIR.b, value, check=check)


def odd_index(rng):
    index = rng.choice(
        [
            *ODD,
            -1,
            -len(PAIRS),
            len(PAIRS),
            -len(PAIRS) - 1,
            slice(1, 3),
            slice(None, None, -7),
            slice(5, 2),
            [0, 0, 1],
            [-1],
            [True] * 3,
            np.arange(3),
            np.arange(3.0),
            PAIRS.labels,
            PAIRS.labels[:5],
            PAIRS.labels.tolist(),
            torch.arange(3),
            torch.tensor([True] * len(PAIRS)),
            ...,
            "name_a",
            [NAN],
            [[0, 1]],
            range(3),
            pd.Series([1, 2], index=[9, 8]),
            np.array([], int),
            {1, 2},
            slice(0.5, 2),
            [10**6],
        ]
    )

    def check(found):
        if isinstance(index, (tuple, bool, np.bool_)):
            return None
        if isinstance(found, xfv.Pair):
            names = PAIRS.table.name_a.to_numpy()
            one = isinstance(index, (Integral, torch.Tensor, np.ndarray)) and np.ndim(index) == 0
            return None if one and found.name_a == names[int(index)] else f"the Pair {found.name_a}"
        given = slice(None) if index is ... else index
        given = given if isinstance(given, slice) else np.asarray(list(given) if isinstance(given, range) else given)
        given = given if isinstance(given, slice) or given.dtype == bool else given.astype(int)
        wanted = PAIRS.table.name_a.to_numpy()[given].tolist()
        return None if found.table.name_a.tolist() == wanted else f"{found.table.name_a.tolist()[:4]}, not {wanted[:4]}"

    return case(PAIRS.__getitem__, index, check=check)


def handed_out(rng):
    load = two_people()
    spoil = rng.choice(
        [lambda x: x.zero_(), lambda x: x.mul_(9), lambda x: x.numpy().fill(NAN), lambda x: x[:, 0].fill_(5)]
    )
    way = rng.choice(
        [lambda pairs: pairs.image("ann/0"), lambda pairs: pairs[0].a, lambda pairs: pairs.images["ann/0"]]
    )

    def twice():
        pairs = load()
        before = pairs.image("ann/0").clone()
        spoil(way(pairs))
        return before, pairs.image("ann/0")

    return case(twice, check=lambda both: equal(both[0])(both[1]), what="a crop handed out is overwritten")


def odd_name(rng):
    name = rng.choice([*ODD, "ORL", "lfw ", "bin", "lfw", "cplfw", "folder", "csv", "agedb_30"])
    values = ["absent", 5, b"x", Path("absent"), object()]
    given = {key: rng.choice(values) for key in rng.sample(["root", "bin", "file"], rng.randint(0, 2))}
    given = {"bin": "absent"} if isinstance(name, str) and name == "lfw" else given  # it would be fetched
    return case(xfv.load_pairs, name, **given, model=TINY, right=False)


def odd_call(rng):
    value = rng.choice([*ODD, "p0/0", "p9/9", 3, 12])
    way = rng.choice(["draw", "draw", "pair", "image", "all_pairs"])
    if way == "all_pairs":
        right = lambda found: None if len(found) == 66 and found.labels.sum() == 12 else refuse(found)
        return case(PAIRS.all_pairs, check=right)
    if way == "draw":
        drawn = lambda found: None if len(found) == 2 * value and found.labels.sum() == value else refuse(found)
        return case(PAIRS.draw, value, right=is_count(value) and value <= 12, check=drawn)
    call = PAIRS.image if way == "image" else lambda name: PAIRS.pair(name, "p1/0")
    return case(call, value, right=isinstance(value, str) and value == "p0/0")


def odd_table(rng):
    """A PairSet of an odd table."""
    table, images, name = FEW.table.copy(), dict(FEW.images), "odd"
    value = rng.choice([None, NAN, pd.NA, "True", "False", 2, 0.5, 1, 0, np.True_, "", -1])
    fine = isinstance(value, (bool, np.bool_)) or (isinstance(value, int) and value in (0, 1))
    lenient = ["more columns", "index", "double", "numbers as names", "images", "name", "fold", "as a dict"]
    change = rng.choice([*["label"] * 4, *lenient, "no column", "absent", "empty", "no table"])
    if change == "label":
        table["same"] = [*table.same[:2], value, *table.same[3:]]
        table = table.astype(
            {"same": rng.choice([object, "boolean"] if value is None or isinstance(value, bool) else [object])}
        )
    elif change == "no column":
        table = table.drop(columns=rng.choice(["name_a", "name_b", "same", "fold"]))
    elif change == "index":
        table.index = rng.choice([[5] * 6, list("abcdef"), range(6, 0, -1)])
    elif change == "numbers as names":
        table["name_a"], images = range(6), images | dict.fromkeys(range(6), images["p0/0"])
    elif change == "absent":
        table["name_a"] = [rng.choice(["nobody", None, NAN, 5, ""]), *table.name_a[1:]]
    elif change == "fold":
        table["fold"] = rng.choice([1.5, NAN, "a", None, -1, 10**30])
    elif change == "images":
        images = rng.choice(
            [
                images,
                {},
                None,
                list(images),
                dict.fromkeys(images),
                {name: (x * 255).byte() for name, x in images.items()},
                {name: x.numpy() for name, x in images.items()},
            ]
        )
    elif change == "no table":
        table = rng.choice([None, [], table.to_numpy(), "table", table.same])
    elif change == "name":
        name = rng.choice(ODD)
    else:
        changed = {"double": lambda: pd.concat([table, table]), "empty": lambda: table[:0], "as a dict": table.to_dict}
        table = changed.get(change, lambda: table.assign(note="x"))()

    def use(table):
        pairs = xfv.PairSet(name, table, images)
        return pairs, pairs.labels, [pair.same for pair in pairs], xfv.scores(TINY, pairs), repr(pairs)

    def check(result):
        pairs, labels, each, scores, _ = result
        if change != "label":
            return finite(scores, (len(pairs),))
        unknown = not labels[2] and each[2] is None
        return (
            None if (bool(labels[2]) == each[2] == value if fine else unknown) else f"{value!r}: {labels[2]}, {each[2]}"
        )

    return case(
        use,
        table,
        right=change in ("label", *lenient),
        check=check,
        what=f"{change} {value if change == 'label' else ''}",
    )


# --- models ---


class Net(nn.Module):
    """A network and what is made of its output."""

    def __init__(self, function):
        super().__init__()
        self.inner, self.function = network(), function

    def forward(self, x):
        return self.function(self.inner(x))


CALLS = itertools.count()
FAULTY = {
    "nan": lambda y: y * NAN,
    "zero": lambda y: y * 0,
    "infinite": lambda y: y / 0,
    "empty": lambda y: y[:, :0],
    "nan beyond the first": lambda y: torch.where(torch.arange(len(y))[:, None] > 0, NAN, y),
    "one row": lambda y: y[:1],
    "batch mean": lambda y: y - y.mean(dim=0),
    "sum over the batch": lambda y: y.cumsum(dim=0),
    "dict": lambda y: {"embedding": y},
    "none": lambda y: None,
    "empty tuple": lambda y: (),
    "word": lambda y: "embedding",
    "array": lambda y: y.detach().numpy(),
    "3-d": lambda y: y[:, None],
    "flat": lambda y: y.flatten(),
    "twice the rows": lambda y: y.repeat(2, 1),
    "integers": lambda y: (y * 100).long(),
    "bool": lambda y: y > 0,
    "complex": lambda y: y + 0j,
    "raises": lambda y: 1 / 0,
    "random": lambda y: y + torch.rand_like(y),
    "counts": lambda y: y + 10.0 * next(CALLS),
    "one for all": torch.ones_like,
    "transposed": lambda y: y.T,
    "meta": lambda y: y.to("meta"),
    "sparse": lambda y: y.to_sparse(),
    "an exception": lambda y: {}["layer"],
}


@area("models", 350)
def wrapped(rng):
    """FaceModel of networks that answer wrongly, of odd arguments, and of good networks in odd forms."""
    return rng.choice([faulty_network, odd_argument, odd_argument, good_network, no_network, set_later])(rng)


def faulty_network(rng):
    name = rng.choice(list(FAULTY))
    return case(xfv.FaceModel, Net(FAULTY[name]), size=20, threshold=0.3, right=False, what=name)


def good_network(rng):
    forms = {
        "tuple": lambda: Net(lambda y: (y, None)),
        "list": lambda: Net(lambda y: [y]),
        "double": lambda: network().double(),
        "bfloat16": lambda: network().bfloat16(),
        "in place": lambda: Net(lambda y: y.mul_(2)),
        "training": lambda: network().train(),
        "scripted": lambda: torch.jit.script(network()),
        "dropout": lambda: nn.Sequential(network(), nn.Dropout(0.5)),
        "batch norm": lambda: nn.Sequential(network(), nn.BatchNorm1d(11)),
        "detached": lambda: Net(lambda y: y.detach()),
        "no weights": lambda: nn.Sequential(nn.AvgPool2d(5), nn.Flatten()),
        "parallel": lambda: nn.DataParallel(network()),
        "numpy inside": lambda: Net(lambda y: torch.from_numpy(y.detach().numpy())),
        "wide": lambda: nn.Sequential(network(), nn.Linear(11, 999)),
    }
    name, images = rng.choice(list(forms)), torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(1))

    def check(model):
        rows, alone = model.embed(images), torch.cat([model.embed(image[None]) for image in images])
        if rows.dtype != torch.float32:
            return f"embeddings are {rows.dtype}"
        return equal(np.ones(3), 1e-2)(rows.norm(dim=1)) or equal(rows, 2e-2 if name == "bfloat16" else 1e-4)(alone)

    return case(xfv.FaceModel, forms[name](), size=20, check=check, what=name)


def no_network(rng):
    thing = rng.choice(
        [
            None,
            5,
            "network",
            nn.Linear,
            lambda x: x,
            network,
            np.eye(3),
            nn.Parameter(torch.ones(3)),
            nn.Sequential(),
            {},
            network().to("meta"),
            nn.Identity(),
            nn.Linear(5, 3),
            nn.ModuleList([network()]),
        ]
    )
    fine = isinstance(thing, nn.Identity) or (isinstance(thing, nn.Sequential) and not len(thing))
    return case(xfv.FaceModel, thing, size=20, right=None if fine else False)


ARGUMENTS = {  # values, and whether the model may be as it is
    "size": (
        [*ODD, (20,), (20, 20, 3), (20, 20), [20, 20], "20", 10**6, (0, 20), (20.0, 20.0), np.int64(20), 5, 19],
        lambda value, model: model.size in ((20, 20), (19, 19)),  # with 19 the layers give as many numbers
    ),
    "mean": (
        [*ODD, 127.5, [0.5, 0.5], [0.5] * 4, [0.5] * 3, (0.1, 0.2, NAN), np.array([0.4, 0.5, 0.6]), [[0.5]]],
        lambda value, model: bool((model.mean.abs() <= 3).all()),
    ),
    "std": (
        [*ODD, 127.5, 0, -0.5, [0.5, 0.5], [0.2, 0, 0.2], [0.5] * 3, 1e-30, np.float64(0.5)],
        lambda value, model: bool(((model.std > 0) & (model.std < 20)).all()),
    ),
    "channels": ([*ODD, "RGB", "bgr", "rbg"], lambda value, model: model.channels == "bgr"),
    "alignment": ([*ODD, "ArcFace", "dlib"], lambda value, model: model.alignment == "dlib"),
    "name": ([*ODD, "x" * 10**5, "<b>"], lambda value, model: isinstance(model.name, str)),
    "threshold": (
        [*ODD, 1.0001, -1, np.float32(0.5), "0.5"],
        lambda value, model: (
            model.threshold is None or (isinstance(value, (Real, np.bool_)) and abs(model.threshold) <= 1)
        ),
    ),
}


def odd_argument(rng):
    name, (values, right) = rng.choice(list(ARGUMENTS.items()))
    value = rng.choice(values)
    images = lambda model: torch.rand(2, 3, *model.size)
    check = lambda model: (None if right(value, model) else refuse(model)) or finite(model.embed(images(model)))
    return case(xfv.FaceModel, network(), **({"size": 20} | {name: value}), check=check)


def set_later(rng):
    values, right = ARGUMENTS["threshold"]
    value = rng.choice(values)

    def set_threshold(value):
        model = xfv.FaceModel(network(), size=20, threshold=0.3)
        model.threshold = value
        return model

    return case(set_threshold, value, check=lambda model: None if right(value, model) else refuse(model))


def in_inference(x):
    with torch.inference_mode():
        return x.clone()


@area("embed", 300)
def embed(rng):
    """Images to FaceModel.embed: types, shapes, ranges, layouts, devices, gradient modes."""
    x = torch.rand(rng.randint(1, 4), 3, 20, 20, generator=torch.Generator().manual_seed(rng.randrange(100)))
    good = {
        "double": x.double(),
        "half": x.half(),
        "bfloat16": x.bfloat16(),
        "channels last": x.to(memory_format=torch.channels_last),
        "view": x.flip(0).flip(0),
        "strided": x.repeat_interleave(2, dim=3)[..., ::2],
        "with grad": x.clone().requires_grad_(True),
        "parameter": nn.Parameter(x),
        "expanded": x[:1].expand(len(x), -1, -1, -1),
        "slightly outside": x * 1.2 - 0.1,
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "black": x * 0,
        "white": x * 0 + 1,
        "subnormal": x * 1e-40,
        "one": x[:1],
        "inference": in_inference(x),
    }
    bad = {
        "uint8": (x * 255).byte(),
        "int": x.long(),
        "bool": x > 0.5,
        "complex": x + 0j,
        "to 255": x * 255,
        "nan": x * NAN,
        "one nan": torch.where(torch.arange(20) == 7, NAN, x),
        "infinite": x / 0,
        "huge": x * 1e30,
        "meta": x.to("meta"),
        "sparse": x.to_sparse(),
        "array": x.numpy(),
        "list": x.tolist(),
        "3-d": x[0],
        "5-d": x[None],
        "hwc": x.permute(0, 2, 3, 1),
        "grey": x[:, :1],
        "rgba": torch.cat([x, x[:, :1]], dim=1),
        "empty": x[:0],
        "no pixels": x[..., :0],
        "none": None,
        "larger": torch.rand(2, 3, 21, 20),
        "pair": PAIR,
        "word": "x",
        "number": 0.5,
        "flat": x.flatten(),
        "pil": PHOTO,
        "nested": torch.nested.nested_tensor([x[0]]),
        "quantized": torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
        "float8": x.to(torch.float8_e4m3fn),
        "model": TINY,
        "objects": np.array([None]),
        "tuple": (x,),
    }
    name, given, right = form(rng, good, bad)
    mode = rng.choice([torch.no_grad, torch.enable_grad, torch.inference_mode])

    def call(images):
        with mode():
            return TINY.embed(images).detach()

    def check(rows):
        with torch.no_grad():
            raw = TINY.network(2 * given.detach().float().contiguous().clone() - 1)
        expected = raw / raw.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return equal(expected, 2e-2 if name in ("half", "bfloat16") else 1e-4)(rows)

    return case(call, given, right=right if name != "float8" else None, check=check, what=f"{name}, {mode.__name__}")


# --- methods ---

QUICK = {
    "smoothgrad": {"samples": 8},
    "integrated_gradients": {"steps": 8},
    "lime": {"samples": 80, "superpixels": 16},
    "corrrise": {"masks": 40},
    "fame": {"steps": 10},
    "minplus": {"quick": True, "tmax": 2},
}
COUNTS = {"samples", "masks", "patches", "steps", "batch", "channels_at_once", "superpixels", "tmax"}
LENGTHS, NOT_NEGATIVE = {"size", "stride", "patch", "sigma", "step"}, {"blur", "noise", "compactness"}
WORDS = {"gradient", "embedding", "fill", "part", "correlation", "scoring", "baseline", "layer"}


def options_of_method(name):
    method = METHODS[name]
    found = {}
    for stage in filter(None, (method.pair, method.prepare, method.finish)):
        found |= options_of(stage)
    return found | ({"batch": 32} if "batch" in method.options else {})


def sensible(option, value):
    """Whether an odd value can be meant; None where that may be seen either way."""
    if value is None and option in ("tmax", "step", "layer"):
        return True
    if isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim == 0:
        return None
    if option == "layer" and isinstance(value, str):
        return value in ("0", "1", "2", "3", "4")  # those of TINY that make a feature map
    if option in COUNTS:
        return is_count(value)
    if option in LENGTHS | NOT_NEGATIVE:
        return is_number(value) and (value > 0 or (value == 0 and option in NOT_NEGATIVE))
    if option in WORDS:
        return (option == "scoring" and is_count(value) and value <= 3) or (isinstance(value, str) and value == "mean")
    if option in ("stop", "th"):
        return isinstance(value, Real) and not math.isnan(value)
    return None


def map_of(name, image=None, threshold=0.3, **given):
    return METHODS[name](TINY, PAIR.a if image is None else image, PAIR.b, threshold=threshold, **given)


@area("methods", 550)
def methods(rng):
    """Every method with odd options, thresholds and images; numpy's numbers; methods of one's own."""
    return rng.choice(
        [odd_options, odd_options, odd_options, as_numpy, odd_threshold, explained_image, own_method, misnamed]
    )(rng)


def odd_options(rng):
    name = rng.choice([name for name in METHODS if options_of_method(name)])
    known = options_of_method(name)
    more = [5e-324, 10**5, "H0-", (7, "x"), (0,), (7, NAN), (10**6,)]
    chosen = {
        option: rng.choice(SMALL if option in COUNTS else [*ODD, *more])
        for option in rng.sample(sorted(known), min(2, len(known)))
    }
    fine = [sensible(option, value) for option, value in chosen.items()]
    right = False if False in fine else None if None in fine else True
    return case(map_of, name, **(QUICK.get(name, {}) | chosen), right=right, check=finite_of(20, 20))


def as_numpy(rng):
    name = rng.choice(list(METHODS))
    quick, types = QUICK.get(name, {}), {int: np.int64, float: np.float64, str: np.str_, bool: np.bool_}
    plain = {key: value for key, value in (options_of_method(name) | quick).items() if type(value) in types}
    given = quick | {
        key: types[type(value)](value) for key, value in plain.items() if key in quick or rng.random() < 0.7
    }
    check = lambda found: equal(map_of(name, **plain), 1e-4)(found)
    return case(map_of, name, threshold=np.float64(0.3), **given, check=check)


def odd_threshold(rng):
    name, threshold = rng.choice(list(METHODS)), rng.choice([*ODD, 1.0001, -1, 1, np.float32(0.3), "0.3"])
    right = threshold is None or (isinstance(threshold, (Real, np.bool_)) and -1 <= threshold <= 1)

    def check(e):
        if not isinstance(e.threshold, float) or e.accepted != (e.score >= e.threshold):
            return refuse((e.threshold, e.accepted))
        return finite(e.map_a, (20, 20)) or finite(e.map_b, (20, 20))

    right = None if isinstance(threshold, (bool, np.bool_)) else right
    return case(xfv.explain, TINY, PAIR, name, threshold, **QUICK.get(name, {}), right=right, check=check)


def explained_image(rng):
    x, name = PAIR.a, rng.choice(list(METHODS))
    good = {
        "double": x.double(),
        "half": x.half(),
        "with grad": x.clone().requires_grad_(True),
        "view": x.flip(2).flip(2),
        "expanded": x[:1].expand(3, -1, -1),
        "black": x * 0,
        "the reference": PAIR.b,
    }
    bad = {
        "larger": torch.rand(3, 30, 30),
        "batch": x[None],
        "uint8": (x * 255).byte(),
        "nan": x * NAN,
        "none": None,
        "array": x.numpy(),
        "to 255": x * 255,
        "name": "p0/0",
    }
    kind, given, right = form(rng, good, bad)

    def check(found):
        if found.dtype != torch.float32 or found.requires_grad:
            return f"{found.dtype}, requires_grad {found.requires_grad}"
        plain = map_of(name, given.detach().float().contiguous(), **QUICK.get(name, {}))
        if kind != "half":
            return equal(plain, 1e-4)(found)
        return finite(found) or (
            None if plain.std() == 0 or np.corrcoef(plain.ravel(), found.ravel())[0, 1] > 0.9 else "another map"
        )

    wrong = lambda: METHODS[name](TINY, bad[kind], PAIR.b, threshold=0.3, **QUICK.get(name, {}))
    what = f"{name} of an image: {kind}"
    return (
        case(map_of, name, given, **QUICK.get(name, {}), check=check, what=what)
        if right
        else case(wrong, right=False, what=what)
    )


def own_method(rng):
    """A method that somebody adds, and what it gives in the place of a map."""
    x = PAIR.a.mean(dim=0)
    good = {"map": x, "double": x.double(), "with grad": x.clone().requires_grad_(True)}
    bad = {
        "nan": x * NAN,
        "one nan": torch.where(x == x.max(), NAN, x),
        "infinite": x / 0,
        "none": None,
        "colours": PAIR.a,
        "flat": x.flatten(),
        "small": x[:5],
        "complex": x + 0j,
        "number": 1.0,
        "tuple": (x, x),
        "word": "map",
        "empty": x[:0],
    }
    name, given, right = form(rng, good, bad)
    METHODS["own"] = rng.choice(
        [
            xfv.Method(pair=lambda model, image, reference: given),
            lambda model, image, reference, **_: given,
            xfv.Method(prepare=lambda image: {"x": image}, finish=lambda prepared, partner: given),
            xfv.Method(
                prepare=lambda embed, image: {"x": embed(lambda some: image[None], 1)}, finish=lambda partner: given
            ),
        ]
    )
    if rng.random() < 0.5:
        return case(xfv.explain, TINY, PAIR, "own", right=right, check=lambda e: equal(x)(e.map_a.detach()), what=name)
    quick = [{"metric": "deletion", "steps": 2}]
    return case(
        deletion_table, TINY, FEW, ["own"], quick, right=right, check=lambda table: finite(table.area), what=name
    )


def misnamed(rng):
    name = rng.choice(list(METHODS))
    wrong = rng.choice([*ODD, "FGGB", "fggb ", (PAIR.a, PAIR.b), PAIRS])
    return rng.choice(
        [
            case(xfv.explain, TINY, PAIR, wrong, right=False),
            case(xfv.explain, TINY, wrong, name, right=False),
            case(xfv.explain, wrong, PAIR, name, right=False),
            case(xfv.explain, TINY, PAIR, name, blurr=3, right=False),
        ]
    )


@area("contexts", 150)
def contexts(rng):
    """Gradient modes, default types, threads and global generators around explain: nothing may change."""
    name = rng.choice(list(METHODS))
    plain = lambda pair=PAIR, model=TINY, **more: xfv.explain(model, pair, name, **(QUICK.get(name, {}) | more))
    if rng.random() < 0.2:
        return in_threads(name, plain)
    before, known = plain(), options_of_method(name)

    def within(*managers):
        for manager in managers:
            manager.__enter__()
        return plain()

    def changed(call, *arguments):
        call(*arguments)
        return plain()

    def made_in_inference():
        with torch.inference_mode():
            model = xfv.FaceModel(network(), size=20, threshold=0.3)
        return plain(model=model)

    batches = {"batch": rng.choice([1, 3, 7])} if "batch" in known else {}
    batches |= {"channels_at_once": rng.choice([1, 3, 100])} if "channels_at_once" in known else {}
    ways = {
        "no_grad": lambda: within(torch.no_grad()),
        "inference_mode": lambda: within(torch.inference_mode()),
        "again": plain,
        "nested modes": lambda: within(torch.inference_mode(), torch.no_grad()),
        "model made in inference mode": made_in_inference,
        "anomalies": lambda: within(torch.autograd.set_detect_anomaly(True)),
        "another batch": lambda: plain(**batches),
        "float64 as default": lambda: changed(torch.set_default_dtype, torch.float64),
        "seeds": lambda: changed(torch.manual_seed, 5),
        "deterministic": lambda: changed(torch.use_deterministic_algorithms, True),
        "numpy's seed": lambda: changed(np.random.seed, 5),
    }
    way = rng.choice([*ways, "the global generators"])
    if way in ways:
        same = lambda e: (
            equal(before.map_a, 1e-4)(e.map_a) or equal(before.map_b, 1e-4)(e.map_b) or equal(before.score)(e.score)
        )
        return case(ways[way], check=same, what=f"{name}, {way}")

    def drawn(first):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        first()
        return torch.rand(1).item(), np.random.random(), random.random()  # noqa: NPY002

    return case(drawn, plain, check=equal(drawn(lambda: None)), what=f"{name} and {way}")


def in_threads(name, plain):
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
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return alone, found

    def check(result):
        alone, found = result
        if raised := [one for one in found.values() if isinstance(one, Exception)]:
            return f"{len(raised)} of 4 threads raised {raised[0]!r}"
        return next(filter(None, (equal(alone[i].map_a, 1e-4)(found[i].map_a) for i in range(4))), None)

    return case(together, check=check, what=f"{name} in four threads")


@area("gradients", 100)
def channels(rng):
    """Channel gradients, gradients of a score, versions of an image, the notebooks' set-up and examples."""
    way = rng.choice(
        ["gradient", "embedding", "normalise", "channels_at_once", "image", "examples", "setup", "versions", "score"]
    )
    value = rng.choice([*SMALL, "signed", "raw", False])
    if way == "image":
        name, image, real = odd_image(rng)
        right = real and name not in ("one pixel", "wide")
        return case(
            xfv.channel_gradients, TINY, image, right=right, check=lambda g: finite(g.maps, (11, 20, 20)), what=name
        )
    if way == "examples":
        pairs = rng.choice([FEW, PAIRS, PAIRS[:1], FEW[[]], [], None, list(FEW), FEW[FEW.labels]])
        return case(notebook.examples, TINY, pairs, right=pairs is PAIRS or pairs is FEW)
    if way == "setup":
        return case(
            notebook.notebook_setup, value, right=is_count(value, 0) or (None if isinstance(value, bool) else False)
        )
    if way == "versions":
        count, batch = (
            rng.choice([0, 1, 5, -1, NAN, None, "3", 2.0]),
            rng.choice([1, 2, 0, -1, None, "2", NAN, True, np.int64(2)]),
        )
        images = lambda some: PAIR.a.expand(some.stop - some.start, -1, -1, -1)
        right = is_count(count) and is_count(batch)
        check = lambda rows: finite(rows, (count, 11))
        return case(perturb.embed_versions, TINY, images, count, batch=batch, right=right, check=check)
    if way == "score":
        score = rng.choice(
            [lambda x: x.sum(), lambda x: x, lambda x: x.sum() * NAN, lambda x: None, lambda x: 5.0, "score"]
        )
        return case(gradients.input_gradient, score, PAIR.a, check=finite_of(3, 20, 20))
    allowed = {"gradient": ("absolute", "signed"), "embedding": ("unit", "raw")}
    right = (
        (isinstance(value, str) and value in allowed[way])
        if way in allowed
        else is_count(value)
        if way != "normalise"
        else None
    )
    plain = lambda: xfv.channel_gradients(TINY, PAIR.a).maps
    check = lambda g: (
        finite(g.maps, (11, 20, 20)) or (equal(plain(), 1e-4)(g.maps) if way == "channels_at_once" else None)
    )
    return case(xfv.channel_gradients, TINY, PAIR.a, **{way: value}, right=right, check=check)


# --- frequency and conditions ---

GOOD_BANDS = [
    {},
    {"width": 2},
    {"width": 3.5},
    {"width": np.float32(2)},
    {"width": np.int64(2)},
    {"edges": [1, 3, 6]},
    {"edges": np.array([2.0, 5.0])},
    {"edges": (3,)},
    {"shape": "square"},
]
BAD_BANDS = [
    *({"width": width} for width in (0, -1, NAN, INF, 11, 1e30, "2", None, [1], "wide", 1j, 10.5)),
    {"bands": 3},
    *(
        {"edges": x}
        for x in (
            [NAN],
            [],
            [0, 2],
            [3, 2],
            [2, 2],
            [1, 99],
            [1, NAN],
            [1, INF],
            "12",
            5,
            [[1, 2]],
            ["a"],
            [-1, 2],
            [1j],
        )
    ),
    *({"shape": shape} for shape in ("circle", None, 5, "", ["ring"])),
]


@area("frequency", 400)
def frequencies(rng):
    """Bands, masks, influence and its control, deletion of bands."""
    bands, fits = (rng.choice(GOOD_BANDS), True) if rng.random() < 0.6 else (rng.choice(BAD_BANDS), False)
    bands, fits = ({"width": 1e-9}, None) if rng.random() < 0.02 else (bands, fits)
    return rng.choice(
        [
            of_image,
            of_image,
            of_size,
            removed_bands,
            kept_bands,
            passed,
            rephased,
            controlled,
            influence,
            influence,
            estimate,
            table_of_bands,
            ordered,
            areas_of_bands,
            in_steps,
        ]
    )(rng, bands, fits)


def both(fits, right):
    """Whether the bands fit and the rest is right; None where that may be seen either way."""
    return False if fits is False or right is False else None if fits is None or right is None else True


def of_image(rng, bands, fits):
    name, image, real = odd_image(rng)
    real = None if name in ("one pixel", "wide", "half") else real
    if rng.random() < 0.5:
        check = lambda parts: equal(image.float(), 1e-4)(parts.sum(dim=0))
        return case(frequency.split_bands, image, **bands, right=both(fits, real), check=check, what=name)
    check = lambda energy: finite(energy) or (equal(1.0, 1e-3)(energy.sum()) if name != "black" else None)
    return case(frequency.band_energy, image, **bands, right=both(fits, real), check=check, what=name)


def of_size(rng, bands, fits):
    size = rng.choice(
        [(20, 20), (20, 21), (1, 1), (2, 2), (0, 5), (20,), 20, (20.5, 20), "20", None, (NAN, 20), (-3, 4), (20, 20, 3)]
    )
    fine = isinstance(size, tuple) and len(size) == 2 and all(is_count(n, 20) for n in size)
    right = both(fits, None if size in ((1, 1), (2, 2)) else fine)
    return case(frequency.band_numbers, size, **bands, right=right, check=lambda numbers: finite(numbers, size))


def removed_bands(rng, bands, fits):
    good = [[1], [0], [1, 2], [], (1,), [1, 1], np.array([1]), torch.tensor([1]), [np.int64(1)], range(1, 2)]
    removed = rng.choice([*good, 1, [999], [-1], [NAN], [1.5], "1", None, [True], [10**30], [[1]]])
    fine = any(removed is one for one in good)
    right = both(fits, None if isinstance(removed, int) or str(removed) == "[True]" else fine)

    def check(image):
        gone = np.unique(np.array(removed, int)).tolist()
        return equal(PAIR.a - frequency.split_bands(PAIR.a, **bands)[gone].sum(dim=0), 1e-3)(image)

    right = None if right and bands.get("edges") == (3,) and 2 in np.ravel(removed) and np.size(removed) == 2 else right
    return case(frequency.mask_bands, PAIR.a, removed, **bands, right=right, check=check)


def kept_bands(rng, bands, fits):
    ones = torch.ones(20, 20)
    good = {"ones": ones, "bool": ones.bool(), "five": torch.ones(5, 20, 20)}
    bad = {
        "larger": torch.ones(21, 20),
        "flat": torch.ones(20),
        "nan": ones * NAN,
        "twice": ones * 2,
        "none": None,
        "complex": ones * 1j,
        "row": torch.ones(1, 20),
        "negative": -ones,
        "word": "all",
    }
    name, mask, right = form(rng, good, bad)
    check = lambda image: equal(PAIR.a.expand(image.shape), 1e-3)(image)
    return case(frequency.keep_frequencies, PAIR.a, mask, right=right, check=check, what=name)


def passed(rng, bands, fits):
    good = [0, 3, 5.5, np.float32(3), 99]
    cutoff = rng.choice([*good, *good, -1, NAN, INF, "3", None, [3], True])
    kind = rng.choice([*frequency.CUTOFFS, *frequency.CUTOFFS, "low", None, 5])
    right = any(cutoff is one for one in good) and kind in frequency.CUTOFFS
    check = lambda mask: None if mask.dtype == torch.bool and mask[0, 0] else "DC does not pass"
    return case(frequency.cutoff_mask, (20, 20), cutoff, kind, right=right, check=check)


def rephased(rng, bands, fits):
    name, image, real = odd_image(rng)
    real = None if name in ("one pixel", "wide", "half") else real
    masks = frequency.band_masks(PAIR.a, width=2)
    right = real if real is not True or image.shape == PAIR.a.shape else False
    check = lambda made: (
        finite(made) or equal(frequency.spectrum(image).abs().expand(made.shape), 0.05)(torch.fft.fft2(made).abs())
    )
    return case(frequency.swap_phases, image, masks, image, right=right, check=check, what=name)


def controlled(rng, bands, fits):
    kind = rng.choice(["energy", "scrambled", "swapped", "noise", None])
    name, others, _ = form(
        rng, {"none": None, "two": torch.stack([PAIR.b, PAIR.a])}, {"one": PAIR.b[None], "word": "ab", "small": PAIR.b}
    )
    right = (kind in ("energy", "scrambled") and others is None) or (kind == "swapped" and name == "two")
    options = {"control": 2, "control_kind": kind, "others": others}
    check = lambda f: finite(f.a) or (None if f.control_a[:, 0].isnan().all() else "DC has a control")
    right = None if name == "word" else right
    return case(
        xfv.frequency_influence, TINY, PAIR, **options, **bands, right=both(fits, right), check=check, what=name
    )


def influence(rng, bands, fits):
    option, value = rng.choice(["masked", "control", "seed", "batch"]), rng.choice([*SMALL, "both", "one"])
    right = {
        "masked": isinstance(value, str) and value in ("one", "both"),
        "control": is_count(value, 0),
        "batch": is_count(value),
        "seed": None,
    }[option]

    def check(f):
        image, partner = frequency.mask_bands(PAIR.a, [1], **bands), PAIR.b
        matched = f.energy_a <= 1 - f.energy_a[0] - f.energy_a
        if f.control_a is not None and not torch.isfinite(f.control_a[:, 1:][:, matched[1:]]).all():
            return "the control is not finite"
        rows = TINY.embed(torch.stack([image, partner]))
        return (
            finite(f.a)
            or finite(f.b)
            or (equal(f.score - rows[0] @ rows[1], 1e-4)(f.a[1]) if value != "both" else None)
        )

    return case(xfv.frequency_influence, TINY, PAIR, **{option: value}, **bands, right=both(fits, right), check=check)


def estimate(rng, bands, fits):
    option, value = (
        rng.choice(["groups", "steps", "batch"]),
        rng.choice([1, 2, 5, 100, 0, -1, NAN, 1.5, "2", None, np.int64(3), True, []]),
    )
    check = lambda f: finite(f.a[1:]) or finite(f.b[1:])
    return case(
        frequency.gradient_influence,
        TINY,
        PAIR,
        **{option: value},
        **bands,
        right=both(fits, is_count(value)),
        check=check,
    )


def table_of_bands(rng, bands, fits):
    pairs = rng.choice([FEW, FEW[:1], list(FEW), [], FEW[[]], None, PAIRS[:2]])
    right = bool(len(pairs)) and (True if isinstance(pairs, xfv.PairSet) else None) if pairs is not None else False
    check = lambda t: finite(t.influence) or (None if t.pair.nunique() == len(pairs) else "pairs are missing")
    return case(frequency.influence_table, TINY, pairs, **bands, right=both(fits, right), check=check)


def ordered(rng, bands, fits):
    good = {"tensor": torch.rand(5), "array": np.linspace(0, 1, 5), "list": [0.1, 0.2, 0.3], "one": torch.rand(1)}
    bad = {
        "nan": torch.full((5,), NAN),
        "one nan": torch.tensor([0.1, NAN, 0.3]),
        "empty": [],
        "2-d": torch.rand(2, 5),
        "none": None,
        "word": "abc",
        "number": 5,
    }
    name, values, fine = form(rng, good, bad)
    by = rng.choice([*frequency.BAND_ORDERS, "high", None, 5])
    right = fine and by in frequency.BAND_ORDERS
    right = None if "nan" in name and by in ("low first", "high first", "random") else right
    check = lambda order: None if sorted(order) == list(range(1, len(values))) else short(order)
    return case(frequency.order_bands, values, by, right=right, check=check, what=name)


def areas_of_bands(rng, bands, fits):
    good = [np.random.default_rng(0).random((4, 5)), [[0.5, 0.1]] * 4]
    scores = rng.choice([*good, *good, np.full((4, 5), NAN), np.ones((0, 5)), np.ones(5), np.ones((4, 1))])
    labels = rng.choice(
        [[True, False, True, False], [1, 0, 1, 0], [True], [None] * 4, [True, NAN, True, False], "1010"]
    )
    threshold = rng.choice([0.5, 0.3, 0.5, 0.3, NAN, 2, None, "0.5"])
    right = any(scores is one for one in good) and list(labels) == [1, 0, 1, 0] and threshold in (0.5, 0.3)

    def check(areas):
        decided = (np.asarray(scores) >= threshold) == np.array([1, 0, 1, 0], bool)[:, None]
        return equal(100 * np.trapezoid(decided.astype(float), dx=1 / (decided.shape[1] - 1), axis=1))(areas)

    return case(frequency.band_areas, scores, labels, threshold, right=right, check=check)


def in_steps(rng, bands, fits):
    count = 10  # bands beyond DC of width 1 on 20 × 20
    rising = list(range(1, count + 1))
    good = [rising, rising[::-1], np.array(rising), torch.tensor(rising), tuple(rising)]
    order = rng.choice([*good, [1], [], [1, 1, 2], None, "abc", [0, *rising], [NAN] * count])
    kind = rng.choice(["deletion", "insertion", "deletion", "cut", None])
    right = both(
        fits and bool(not bands or bands.get("width") == 1),
        any(order is one for one in good) and kind in ("deletion", "insertion"),
    )
    right = None if right is False and fits else right
    if rng.random() < 0.5:
        check = lambda found: finite(found[0], (count + 1,)) or finite(found[1])
        return case(frequency.band_deletion_scores, TINY, PAIR, order, kind=kind, **bands, right=right, check=check)
    ends = [PAIR.a.mean(dim=(1, 2), keepdim=True).expand_as(PAIR.a), PAIR.a]
    check = lambda x: equal(ends[kind == "deletion"], 1e-3)(x[0]) or equal(ends[kind == "insertion"], 1e-3)(x[-1])
    return case(frequency.progressive_bands, PAIR.a, order, kind, **bands, right=right, check=check)


@area("conditions", 150)
def conditions_of(rng):
    """Low resolution, morphs, landmarks of crops, fills, regions."""
    name, image, real = odd_image(rng)
    way = rng.choice(["reduced", "reduced", "morph", "landmarks", "filled", "regions", "squares"])
    if way == "reduced":
        factor = rng.choice([*ODD, 1, 2, 4.9, 5, 6, 1.0001, np.float32(2)])
        right = real and is_number(factor) and 1 <= factor <= 5
        right = (
            None if real and (name in ("one pixel", "wide", "half") or isinstance(factor, (bool, np.bool_))) else right
        )
        check = lambda x: finite(x, image.shape) or (None if x.min() >= 0 and x.max() <= 1 else "outside [0, 1]")
        return case(conditions.reduced, image, factor, right=right, check=check, what=name)
    if way == "morph":
        crop, share = KEPT.crop, rng.choice([*ODD, 0, 1, 0.5, 0.3, 1.1, -0.1, np.float32(0.5)])
        good = {"mirrored": crop.flip(2), "itself": crop, "double": crop.double()}
        bad = {"small": PAIR.a, "black": crop * 0, "nan": crop * NAN, "none": None, "array": crop.numpy()}
        kind, other, right = form(rng, good, bad)
        right = right and isinstance(share, Real) and 0 <= share <= 1
        check = lambda x: finite(x, crop.shape) or (equal(crop, 0.05)(x) if share == 0 else None)
        right = None if right and isinstance(share, bool) else right
        return case(conditions.morph, crop, other, share, right=right, check=check, what=kind)
    if way == "landmarks":
        given, kind = rng.choice([(image, name), (KEPT.crop, "face")])
        return case(conditions.face_landmarks, given, check=finite_of(68, 2), what=kind)
    if way == "regions":
        model = rng.choice([None, TINY, 5, "dlib", xfv.FaceModel(nn.Flatten(), size=(30, 7))])
        whole = lambda regions: equal(np.ones(next(iter(regions.values())).shape), 1e-4)(sum(regions.values()))
        return case(alignment.face_regions, model, right=model not in (5, "dlib"), check=whole)
    if way == "squares":
        corners = rng.choice([[1, 2], [[0, 0], [30, 30]], [-5, 3], [0.5, 1.5]])
        check = lambda two: finite(two[0]) or finite(two[1])
        return case(perturb.squares, torch.tensor(corners), rng.choice([2, 0, 50]), (20, 20), check=check)
    fill = rng.choice(["black", "mean", "blur", "noise", "white", None, 5, np.str_("mean")])
    seed = rng.choice([0, 5, np.int64(2), -1, NAN, "3", None, 1.5])
    known = isinstance(fill, str) and fill in ("black", "mean", "blur", "noise")
    right = both(known, None if not is_count(seed, 0) or not real or name == "half" else True)
    return case(perturb.filled, image, fill, seed, right=right, check=lambda x: finite(x, image.shape), what=name)
