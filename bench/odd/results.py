"""Results: faithfulness, error rates, sweeps and their folders, sanity tests, figures, widgets."""

import io
import json
import math
import struct
import threading
from numbers import Real
from pathlib import Path

import distributed
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

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
    SHOWN,
    SMALL,
    TINY,
    area,
    case,
    equal,
    finite,
    form,
    is_count,
    is_number,
    network,
    refuse,
    short,
)
from odd.photographs import raw_png
from xfvlib import evaluation, perturb, plots, sanity, widgets
from xfvlib.faithfulness import (
    areas,
    compare,
    compare_all,
    deletion_area,
    deletion_scores,
    deletion_table,
    gains,
    progressively,
)
from xfvlib.methods import METHODS
from xfvlib.models.facemodel import decision_threshold
from xfvlib.sweep import read_costs, read_maps

TWO_STEPS = [{"metric": "deletion", "steps": 2}]


@area("faithfulness", 350)
def faithful(rng):
    """Deletion and insertion of odd pairs, methods, metrics, maps; statistics of altered tables."""
    return rng.choice(
        [odd_pairs, odd_metrics, odd_methods, odd_statistics, odd_statistics, odd_curve, odd_area, ladder]
    )(rng)


def odd_pairs(rng):
    good = {
        "list": list(FEW),
        "tuple": tuple(FEW),
        "iterator": iter(list(FEW)),
        "generator": (pair for pair in FEW),
        "set": FEW,
        "array": np.array([*FEW, None], object)[:-1],
        "one pair": PAIR,
    }
    bad = {
        "empty list": [],
        "empty set": FEW[[]],
        "unlabelled": [xfv.Pair(PAIR.a, PAIR.b), *FEW],
        "none": None,
        "word": "orl",
        "numbers": [1, 2],
        "tensors": [PAIR.a],
        "table": FEW.table,
        "dict": {"a": PAIR},
        "with none": [*FEW, None],
        "larger": [xfv.Pair(torch.rand(3, 9, 9), torch.rand(3, 9, 9), True)],
    }
    name, pairs, right = form(rng, good, bad)
    expected = lambda: deletion_table(TINY, [PAIR] if name == "one pair" else FEW, ["occlusion"], TWO_STEPS).area
    check = lambda table: equal(expected())(table.area)
    return case(deletion_table, TINY, pairs, ["occlusion"], TWO_STEPS, right=right, check=check, what=name)


def odd_metrics(rng):
    odd = {
        "steps": SMALL,
        "fill": [*ODD, "mean", "noise"],
        "masked": [*ODD, "both"],
        "ranking": [*ODD, "similarity"],
        "map": [*ODD, "mean", "another partner"],
        "blur": SMALL,
        "pairs": [*ODD, "genuine", "impostor"],
        "step": [3],
    }
    key = rng.choice(list(odd))
    others = [
        *ODD,
        "deletions",
        {"steps": 3},
        {"metric": "scores", "steps": 3},
        {"metric": None},
        "scores",
        ["scores"],
        [[]],
    ]
    metric = {"metric": "deletion", key: rng.choice(odd[key])} if rng.random() < 0.7 else rng.choice(others)
    metrics = rng.choice([metric, [metric], ["deletion", metric]])

    def check(table):
        fine = isinstance(metric, (str, dict, list)) or (
            isinstance(metrics, list) and not isinstance(metric, (int, float))
        )
        return None if len(table) and fine and table.area.dropna().between(0, 100).all() else refuse(table.shape)

    return case(deletion_table, TINY, FEW[:3], ["occlusion"], metrics, check=check)


def odd_methods(rng):
    record = {"method": "occlusion"}
    good = [["occlusion", "occlusion"], ("lime",), {5: record}, {"x": record | {"size": np.int64(14)}}, {"": record}]
    bad = [
        *(value for value in ODD if not isinstance(value, (list, tuple, dict))),
        "fggb ",
        "random",
        {"random": record},
        {"x": "occlusion"},
        {"x": {"size": 14}},
        {"x": record | {"sizes": 3}},
        {"x reversed": record},
        [["occlusion"]],
        {"a", "b"},
    ]
    methods = rng.choice(good if rng.random() < 0.3 else bad)
    right = any(methods is one for one in good)
    return case(deletion_table, TINY, FEW[:3], methods, TWO_STEPS, right=right, check=lambda table: finite(table.area))


def odd_statistics(rng):
    """A statistic of an altered table."""
    table = KEPT.table
    same = {
        "": table,
        "twice": pd.concat([table, table]),
        "shuffled": table.sample(frac=1, random_state=1),
        "indexed": table.set_index("name_a", drop=False),
        "more columns": table.assign(note="x"),
        "categories": table.astype({"method": "category", "metric": "category"}),
    }
    fewer = {
        "one pair": table[table.pair == 0],
        "nan areas": table.assign(area=table.area.where(table.pair != 3)),
        "one method": table[table.method == "lime"],
        "no controls": table[table.method.isin(["lime", "occlusion"])],
        "no column": table.drop(columns=rng.choice(list(table.columns))),
    }
    bad = {
        "empty": table[:0],
        "two thresholds": pd.concat([table, table.assign(threshold=0.5)]),
        "words": table.assign(area="high"),
        "no labels": table.assign(same=None),
        "contradiction": pd.concat([table, table.assign(area=99.0)]),
        "list": table.to_dict("records"),
        "none": None,
    }
    name, given, _ = form(rng, same | fewer, bad)
    function = rng.choice([areas, gains, compare_all, compare])
    others = ("lime", rng.choice(["occlusion", "random", "nobody", None, 5])) if function is compare else ()
    odd = {
        "pairs": [*ODD, "genuine", "impostor", "all"],
        "draws": [1, 50, 0, -1, NAN, "9", None, 1.5],
        "seed": [5, -1, NAN, None, "3"],
    }
    key = rng.choice(["", "", *odd])
    options = {key: rng.choice(odd[key])} if key else {}
    columns = ["method", "pairs", "area" if function in (areas, compare_all) else "gain"]

    def check(found):
        if name not in same:
            return finite(found[columns[-1]]) if len(found) else "an empty table"
        two = (found, function(table, *others, **options))
        one, other = (f[columns].astype({"method": str}).sort_values(columns, ignore_index=True).round(6) for f in two)
        return None if one.equals(other) else f"{one.to_dict('list')} in place of {other.to_dict('list')}"

    return case(function, given, *others, **options, right=name not in bad, check=check, what=name)


def odd_curve(rng):
    x = torch.rand(20, 20, generator=torch.Generator().manual_seed(5))
    good = {
        "plain": x,
        "double": x.double(),
        "integers": (x * 9).long(),
        "bool": x > 0.5,
        "array": x.numpy(),
        "constant": x * 0,
        "infinite": torch.where(x > 0.9, INF, x),
        "with grad": x.clone().requires_grad_(True),
        "half": x.half(),
    }
    bad = {
        "nan": x * NAN,
        "one nan": torch.where(x > 0.99, NAN, x),
        "colour": torch.rand(3, 20, 20),
        "flat": x.flatten(),
        "small": x[:9],
        "none": None,
        "list": x.tolist(),
        "complex": x + 0j,
        "word": "fggb",
        "0-d": torch.tensor(1.0),
    }
    name, ranking, right = form(rng, good, bad)
    kind = rng.choice(["deletion", "insertion", "deletion", "cut", None])
    steps = rng.choice([1, 4, 400, 1000, np.int64(4), 0, -1, 1.5, NAN, None, "4", True])
    fill = rng.choice(["black", "mean", "blur", "noise", "white", None])
    right = (
        right and is_count(steps) and kind in ("deletion", "insertion") and fill in ("black", "mean", "blur", "noise")
    )
    options = {"kind": kind, "steps": steps, "fill": fill}
    if rng.random() < 0.5:
        check = lambda scores: finite(scores, (steps + 1,))
        return case(deletion_scores, TINY, PAIR, ranking, **options, right=right, check=check, what=name)

    def ends(images):
        first, last = (PAIR.a, perturb.filled(PAIR.a, fill))[:: 1 if kind == "deletion" else -1]
        return finite(images, (steps + 1, 3, 20, 20)) or equal(first)(images[0]) or equal(last)(images[-1])

    return case(progressively, PAIR.a, ranking, **options, right=right, check=ends, what=name)


def odd_area(rng):
    good = [np.random.default_rng(0).uniform(-1, 1, (4, 5)), [[0.9, 0.1]] * 4]
    scores = rng.choice([*good, *good, np.full((4, 5), NAN), np.ones((4, 1)), np.ones(4), [], None, np.ones((0, 5))])
    labels = rng.choice(
        [
            [True, False, True, False],
            [1, 0, 1, 0],
            np.array([1.0, 0, 1, 0]),
            [None] * 4,
            [True, NAN, 1, 0],
            [True],
            "1010",
        ]
    )
    threshold = rng.choice([0.5, -0.2, 0.5, NAN, 2, None, "0.5"])
    right = any(scores is one for one in good) and list(labels) == [1, 0, 1, 0] and threshold in (0.5, -0.2)
    brute = lambda: ((np.asarray(scores) >= threshold) == np.array([1, 0, 1, 0], bool)[:, None]).mean(axis=0)
    return case(deletion_area, scores, labels, threshold, right=right, check=lambda found: equal(brute())(found[0]))


def ladder(rng):
    pairs = rng.choice([list(PAIRS[:12]), PAIRS[:12], PAIRS[:1], [], [xfv.Pair(PAIR.a, PAIR.b)] * 3, None])
    right = pairs is not None and len(pairs) == 12
    check = lambda t: finite(t.area) or (None if set(t.rung) == {"random", "blob", "own"} else "rungs are missing")
    return case(xfv.faithfulness, TINY, pairs, ["occlusion"], TWO_STEPS, right=right, check=check)


# --- evaluation ---


@area("evaluation", 450)
def evaluations(rng):
    """Error rates, thresholds, cross-validation, intervals of odd scores and labels; thresholds of a model."""
    return rng.choice([good_scores, good_scores, bad_scores, bad_scores, scores_of])(rng)


def drawn_scores(rng):
    numbers, count = np.random.default_rng(rng.randrange(10**6)), rng.choice([2, 5, 20, 60])
    labels = numbers.random(count) < 0.5
    labels[:2] = True, False
    scores = np.clip(0.3 * labels + numbers.normal(0, 0.25, count), -1, 1).round(rng.choice([1, 2, 9]))
    return scores, labels, np.arange(count) % rng.choice([1, 2, 5])


FUNCTIONS = {
    "auc": evaluation.auc,
    "equal_error_rate": evaluation.equal_error_rate,
    "best_threshold": evaluation.best_threshold,
    "error_rates": evaluation.error_rates,
    "accuracy": lambda scores, labels: evaluation.accuracy(scores, labels, 0.2),
    "tar_at_far": lambda scores, labels: evaluation.tar_at_far(scores, labels, 0.1),
    "mean_interval": evaluation.mean_interval,
    "cross_validated_accuracy": lambda scores, labels: evaluation.cross_validated_accuracy(
        scores, labels, np.arange(np.size(scores)) % 2
    ),
}


def good_scores(rng):
    scores, labels, folds = drawn_scores(rng)
    forms = {
        "array": np.asarray,
        "list": list,
        "tuple": tuple,
        "object": lambda x: x.astype(object),
        "tensor": torch.from_numpy,
        "series": lambda x: pd.Series(x, index=range(len(x), 0, -1)),
        "narrow": lambda x: x.astype("f2" if x.dtype == float else "u1"),
    }
    kind = rng.choice(list(forms))
    given, truth = forms[kind](scores), forms[kind](labels)
    s, y = np.asarray(given, float), labels
    threshold = rng.choice([0.2, 0.2, 0.0, np.float32(0.2), NAN, None, "0.2", 2, [0.2]])
    far = rng.choice([0, 0.1, 0.5, 1, 0.01, NAN, -0.1, 1.1, None, "0.1", 1e-30])
    rates = lambda t: (float((s[~y] >= t).mean()), float((s[y] < t).mean()))
    share = lambda t, some=slice(None): ((s >= t) == y)[some].mean()
    best = lambda: max(share(t) for t in [*np.unique(s), 1.0])
    couples = lambda: np.mean([(a > b) + 0.5 * (a == b) for a in s[y] for b in s[~y]])
    of_folds = lambda found: [share(t, folds == fold) for fold, t in zip(np.unique(folds), found)]
    tar = lambda found: (
        (None if rates(found[1])[0] <= far else f"FMR {rates(found[1])[0]}") or equal(1 - rates(found[1])[1])(found[0])
    )
    within = lambda found: equal(s.mean(), 1e-3)(found[0]) or (None if found[1] <= found[0] <= found[2] else f"{found}")
    accepted = isinstance(threshold, Real) and abs(threshold) <= 1
    enough = None if labels.sum() < 2 or (~labels).sum() < 2 else len(np.unique(folds)) > 1
    cases = {
        "auc": lambda f: case(f, given, truth, check=lambda found: equal(couples(), 1e-6)(found)),
        "equal_error_rate": lambda f: case(
            f, given, truth, check=lambda found: equal(np.mean(rates(found[1])))(found[0])
        ),
        "best_threshold": lambda f: case(
            f, given, truth, check=lambda t: None if share(t) > best() - 1e-9 else f"{share(t)} of {best()}"
        ),
        "error_rates": lambda f: case(
            f, given, truth, check=lambda found: equal(rates(found[2][1]))([found[0][1], found[1][1]])
        ),
        "accuracy": lambda f: case(
            f, given, truth, threshold, right=accepted, check=lambda found: equal(share(threshold))(found)
        ),
        "tar_at_far": lambda f: case(f, given, truth, far, right=isinstance(far, Real) and 0 <= far <= 1, check=tar),
        "cross_validated_accuracy": lambda f: case(
            f, given, truth, folds, right=enough, check=lambda r: equal(of_folds(r[1]))(r[0])
        ),
        "mean_interval": lambda f: case(f, given, draws=rng.choice([50, 200]), check=within),
    }
    name = rng.choice(list(cases))
    made = cases[name](getattr(evaluation, name))
    made.what = f"{kind} {made.what}"
    return made


def bad_scores(rng):
    scores, labels, _ = drawn_scores(rng)
    values = {"unknown label": [None, NAN, "True", "False", "", 2, -1], "score": [NAN, None, "x"]}
    kind = rng.choice([*values, "one kind", "shorter", "empty", "2-d", "complex", "none", "word"])
    if kind in values:
        changed = (labels if kind == "unknown label" else scores).astype(object)
        changed[1] = rng.choice(values[kind])
        scores, labels = (scores, changed) if kind == "unknown label" else (changed, labels)
        what = f"{kind} {changed[1]!r}"
    else:
        what, truth = kind, labels | True if rng.random() < 0.5 else labels & False
        scores, labels = {
            "one kind": (scores, truth),
            "shorter": (scores, labels[:-1]),
            "empty": (scores[:0], labels[:0]),
            "2-d": (scores[:, None] * np.ones(2), labels),
            "complex": (scores + 1j, labels),
            "none": (None, labels),
            "word": ("scores", labels),
        }[kind]
    name = rng.choice(list(FUNCTIONS))
    if name == "mean_interval":
        return case(
            evaluation.mean_interval,
            scores,
            right=False if kind in ("score", "empty", "none", "word", "complex") else None,
            what=what,
        )
    return case(
        FUNCTIONS[name],
        scores,
        labels,
        right=None if name == "accuracy" and kind in ("one kind", "2-d") else False,
        what=f"{name}, {what}",
    )


def scores_of(rng):
    pairs = rng.choice([FEW, PAIRS[:30], PAIRS, [], FEW[[]], None, FEW.table, PAIR, "orl", FEW[FEW.labels]])
    right = isinstance(pairs, xfv.PairSet) and len(pairs) > 0
    way = rng.choice(["calibrate", "scores", "batch", "threshold"])
    if way == "calibrate":
        two = right and len(set(pairs.labels)) == 2
        return case(xfv.calibrate, xfv.FaceModel(network(), size=20), pairs, right=two, check=finite)
    if way == "threshold":
        value = rng.choice([*ODD, 1.0001, -1, np.float32(0.3)])
        fine = (
            value is None
            or (is_number(value) and abs(value) <= 1)
            or (None if isinstance(value, (bool, np.bool_)) else False)
        )
        check = lambda found: equal(0.3 if value is None else float(value))(found)
        return case(decision_threshold, TINY, value, right=fine, check=check)
    cosine = lambda pair: float(TINY.embed(pair.a[None])[0] @ TINY.embed(pair.b[None])[0])
    check = lambda found: equal([cosine(pair) for pair in pairs], 1e-4)(found)
    if way == "scores":
        return case(xfv.scores, TINY, pairs, rng.choice([1, 7, 32]), right=right, check=check)
    batch = rng.choice(SMALL)
    whole = None if isinstance(batch, (np.ndarray, torch.Tensor)) and batch.ndim == 0 else is_count(batch)
    return case(xfv.scores, TINY, FEW, batch, right=whole, check=finite)


# --- sweep ---


def swept(pairs=FEW, out="out", methods=("gradient",), threshold=0.3, metrics=TWO_STEPS, **options):
    """A sweep by a worker in this process."""
    how = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with distributed.Client(**how) as client:
        options = {"block": 2, "client": client, "threshold": threshold} | options
        return xfv.sweep(TINY, pairs, methods, metrics, out=out, **options)


def as_by_hand(pairs=FEW, methods=("gradient",), threshold=0.3, metrics=TWO_STEPS):
    """Check: the table that deletion_table makes."""

    def check(table):
        columns, right = (
            ["name_a", "name_b", "method", "metric", "area", "threshold"],
            deletion_table(TINY, pairs, methods, metrics, threshold=threshold),
        )
        one, other = (t[columns].sort_values(columns, ignore_index=True).round(4) for t in (table, right))
        return (
            None
            if one.equals(other)
            else f"{len(one)} rows, area {one.area.mean():.3f}; {len(other)} rows, {other.area.mean():.3f}, are right"
        )

    return check


def contents(folder):
    """Every file below a folder and its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@area("sweep", 110)
def sweeps(rng):
    """Sweeps into folders with files in them, over damaged and altered blocks, with odd arguments; their readers."""
    ways = [
        foreign_folder,
        foreign_folder,
        damaged_block,
        damaged_block,
        damaged_block,
        damaged_manifest,
        sweep_argument,
        sweep_argument,
        sweep_pairs,
        two_at_once,
        foreign_results,
        two_methods,
    ]
    return rng.choice(ways)(rng)


def foreign_folder(rng):
    out = Path("mine")
    names = [
        "gradients/a.npy",
        "gradients/notes.txt",
        "job-1.pickle",
        "job-thesis.pickle",
        ".123-draft",
        "sub/.9-x",
        "blocks/000000.parquet",
        "blocks/notes.txt",
        "photo.jpg",
        "maps.zarr/zarr.json",
        "scratch/a",
        ".lock",
        "tmp/x",
        "000000.parquet",
        "prepared/a.pt",
    ]
    for name in rng.sample(names, rng.randint(1, 5)):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(rng.randbytes(30))
    before = contents(out)

    def sweep_and_look(out):
        try:
            swept(out=out)
        finally:
            now = contents(out)
            if lost := [name for name in before if now.get(name) != before[name]]:
                return lost  # noqa: B012 – whatever was raised, this is worse

    check = lambda lost: f"changed or deleted {lost}" if lost else None
    return case(sweep_and_look, rng.choice([out, str(out)]), check=check, what=f"beside {sorted(before)}")


def sweep_argument(rng):
    Path("file").write_text("a file")
    name = rng.choice(
        [
            "block",
            "keep_bytes",
            "seed",
            "controls",
            "maps",
            "workers",
            "out",
            "client",
            "threshold",
            "methods",
            "metrics",
        ]
    )
    value = rng.choice(
        ["", None, 5, "/proc/absent", "/dev/null", "file", b"out", "a\0b"]
        if name == "out"
        else [*SMALL, "tcp://127.0.0.1:9", "zarr"]
    )
    number, empty = is_number(value), isinstance(value, (list, tuple, dict)) and not value
    right = {
        "block": is_count(value),
        "keep_bytes": number and value >= 0,
        "seed": None,
        "controls": None,
        "out": False,
        "client": value is None,
        "maps": value is None or (isinstance(value, str) and value == "zarr"),
        "workers": value is None or (is_count(value) and value < 4),
        "threshold": value is None
        or (number and abs(value) <= 1)
        or (None if isinstance(value, (bool, np.bool_)) else False),
        "methods": None if empty else False,
        "metrics": None if empty else False,
    }[name]
    if name not in ("workers", "client"):
        return case(swept, **{name: value}, right=right, check=lambda table: finite(table.area))
    options = {"out": "out", "block": 3, "workers": 1, "client": None} | {name: value}
    return case(
        xfv.sweep, TINY, FEW, ["gradient"], TWO_STEPS, **options, right=right, check=lambda table: finite(table.area)
    )


def sweep_pairs(rng):
    images = dict(FEW.images)
    good = {"twice": FEW[[0, 0, 1]]}
    damaged = {
        "an image lost": xfv.PairSet(
            "lost", FEW.table, {name: image for name, image in images.items() if name != "p0/0"}
        ),
        "bytes": xfv.PairSet("bytes", FEW.table, {name: (x * 255).byte() for name, x in images.items()}),
    }
    bad = {"empty": FEW[[]], "empty list": [], "list": list(FEW), "none": None, "table": FEW.table}
    name, pairs, right = form(rng, good | damaged, bad)
    check = lambda table: None if name in good or table.error.notna().any() else refuse(table.shape)
    return case(swept, pairs, right=right, check=check, what=name)


def foreign_results(rng):
    for folder in ("odd", "other"):
        Path(folder, "blocks").mkdir(parents=True)
    noise = b"PAR1" + rng.randbytes(40) + struct.pack("<i", 2**31 - 1) + b"PAR1"
    Path("odd/blocks/000000.parquet").write_bytes(rng.choice([b"", b"PAR1", rng.randbytes(300), noise]))
    pd.DataFrame({"x": [1]}).to_parquet("other/blocks/000000.parquet")
    KEPT.table.to_parquet("table.parquet")
    reader = rng.choice([xfv.read_sweep, read_costs, lambda out: read_maps(out, "gradient", [0])])
    return case(reader, rng.choice(["odd", "other", "absent", "table.parquet", ".", "", None, 5]), right=False)


def two_methods(rng):
    names = ["gradient", rng.choice(["fggb", "occlusion", "xface", "lime", "corrrise", "minplus"])]
    metrics = [{"metric": "deletion", "steps": 2, "masked": "both"}]
    check = as_by_hand(methods=names, metrics=metrics)
    return case(swept, methods=names, metrics=metrics, keep_bytes=rng.choice([0, 1e9]), check=check)


def two_at_once(rng):
    def both():
        found = []

        def run():
            try:
                found.append(swept(PAIRS[:20]))
            except Exception as error:
                found.append(error)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def check(found):
        tables = [one for one in found if not isinstance(one, Exception)]
        return next(filter(None, map(as_by_hand(PAIRS[:20]), tables)), None) if tables else f"both raised: {found}"

    return case(both, check=check, what="two sweeps in one folder")


def damaged_manifest(rng):
    swept()
    path = Path("out/manifest.json")
    content, trick = (
        json.loads(path.read_text()),
        rng.choice(
            [
                "lost",
                "lost, other threshold",
                "lost, other pairs",
                "empty",
                "text",
                "list",
                "altered",
                "no versions",
                "folder",
            ]
        ),
    )
    path.unlink()
    fewer = {key: value for key, value in content.items() if key != "versions"}
    new = {
        "empty": "",
        "text": "lost",
        "list": "[]",
        "altered": json.dumps(content | {"threshold": 0.9}),
        "no versions": json.dumps(fewer),
    }
    if trick in new:
        path.write_text(new[trick])
    elif trick == "folder":
        path.mkdir()
    threshold, pairs = 0.5 if "threshold" in trick else 0.3, PAIRS[list(range(30, 36))] if "pairs" in trick else FEW
    check = as_by_hand(pairs, threshold=threshold)
    return case(swept, pairs, threshold=threshold, check=check, what=f"again, the manifest {trick}")


def damaged_block(rng):
    swept()
    blocks = sorted(Path("out/blocks").glob("*.parquet"))
    block = rng.choice(blocks)
    data, place = block.read_bytes(), rng.randrange(block.stat().st_size)
    flipped = data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
    tricks = {"flipped": flipped, "flipped bit": flipped, "cut": data[:place], "empty": b"", "text": b"PAR1 block PAR1"}
    trick = rng.choice(
        [*tricks, "lost", "all lost", "swapped", "copied", "one more", "another table", "renamed column"]
    )
    if trick in tricks:
        block.write_bytes(tricks[trick])
    elif "lost" in trick:
        for path in blocks if trick == "all lost" else [block]:
            path.unlink()
    elif trick in ("swapped", "copied"):
        other = blocks[0].read_bytes()
        blocks[0].write_bytes(blocks[1].read_bytes())
        blocks[1].write_bytes(other if trick == "swapped" else blocks[1].read_bytes())
    elif trick == "one more":
        (block.parent / rng.choice(["000099.parquet", "9.parquet", "000000 (copy).parquet"])).write_bytes(data)
    elif trick == "another table":
        pd.DataFrame({"x": [1]}).to_parquet(block)
    else:
        table = pq.read_table(block)
        pq.write_table(table.rename_columns(["pairs", *table.column_names[1:]]), block)
    if rng.random() < 0.7:
        return case(swept, check=as_by_hand(), what=f"again, a block {trick}")
    if trick in ("lost", "all lost", "swapped"):
        return case(rng.choice([xfv.read_sweep, read_costs]), "out", right=None, what=f"a block {trick}")
    costs = rng.random() < 0.3
    check = (lambda table: None if len(table) == len(blocks) else refuse(table.shape)) if costs else as_by_hand()
    return case(read_costs if costs else xfv.read_sweep, "out", check=check, what=f"a block {trick}")


# --- sanity, plots, widgets ---


@area("sanity", 160)
def sanity_tests(rng):
    """Tests whose outcome is known: odd maps, patches, seeds, pairs, methods."""
    way = rng.choice(["similarity", "cascade", "weights", "patched", "patched", "patch_test", "rates"])
    one, method = (
        torch.rand(20, 20, generator=torch.Generator().manual_seed(4)),
        rng.choice(["gradient", "occlusion", "fggb", "fgb", None, 5]),
    )
    stranger = PAIRS[30].b
    if way == "similarity":
        good = {
            "itself": one,
            "negative": -one,
            "double": one.double(),
            "constant": one * 0,
            "bool": one > 0.5,
            "integers": (one * 9).long(),
            "infinite": torch.where(one > 0.9, INF, one),
        }
        bad = {
            "nan": one * NAN,
            "one nan": torch.where(one > 0.9, NAN, one),
            "flat": one.flatten(),
            "small": one[:5],
            "none": None,
            "complex": one + 0j,
        }
        name, other, right = form(rng, good, bad)
        check = lambda r: (
            (None if math.isnan(r) else f"{r} with a constant map")
            if name == "constant"
            else None
            if abs(r) < 1.0001
            else f"{r}"
        )
        return case(sanity.map_similarity, one, other, right=right, check=check, what=name)
    if way == "cascade":
        before, seed = (
            {key: value.clone() for key, value in TINY.state_dict().items()},
            rng.choice([0, 5, np.int64(3), -1, NAN, None, "3", 1.5]),
        )
        layers = lambda seed: [name for name, _ in sanity.cascading_randomisation(TINY, seed=seed)]
        kept = lambda found: (
            None
            if all(torch.equal(before[k], v) for k, v in TINY.state_dict().items()) and found
            else "the model was changed"
        )
        return case(layers, seed, right=True if is_count(seed, 0) else None, check=kept)
    if way == "weights":
        call = lambda name: sanity.weight_randomisation(TINY, PAIR, name).similarity
        return case(call, method, right=method in METHODS, check=finite, what=way)
    others = {
        "none": None,
        "batch": stranger[None],
        "nan": stranger * NAN,
        "larger": torch.rand(3, 9, 9),
        "word": "p1/0",
    }
    if way == "patched":
        options = {rng.choice(["patches", "side", "seed"]): rng.choice(SMALL) for _ in range(rng.randint(1, 2))}
        name, donor, right = form(rng, {"stranger": stranger, "the same": PAIR.b, "black": PAIR.b * 0}, others)
        fine = {"patches": is_count, "side": lambda value: is_number(value) and value > 0, "seed": lambda value: True}
        right = right and all(fine[key](value) for key, value in options.items())
        check = lambda found: finite(found[0], (3, 20, 20)) or equal(torch.where(found[1], donor, PAIR.a))(found[0])
        return case(sanity.patched, PAIR, donor, **options, right=right, check=check, what=name)
    if way == "patch_test":
        pairs = rng.choice([FEW, FEW[:1], list(FEW), [], FEW[[]], None, PAIRS[:10]])
        fine = pairs is not None and len(pairs) > 0 and method in METHODS
        right = fine and (True if isinstance(pairs, xfv.PairSet) and len(pairs) > 1 else None)
        check = lambda table: finite(np.stack(table.scores)) or finite(table.localisation)
        return case(sanity.patch_test, TINY, pairs, [method], patches=3, right=right, check=check)
    table = sanity.patch_test(TINY, PAIRS[:14], ["occlusion"], patches=3)
    bad = {
        "one row": table[:1],
        "empty": table[:0],
        "none": None,
        "no column": table.drop(columns="scores"),
        "no labels": table.assign(same=None),
    }
    name, given, right = form(rng, {"plain": table, "twice": pd.concat([table, table])}, bad)
    check = lambda r: finite(r[["value", "low", "high"]]) or equal(sanity.patch_rates(table, draws=9).value)(r.value)
    return case(sanity.patch_rates, given, draws=rng.choice([50, 9]), right=right, check=check, what=name)


@area("plots", 130)
def figures(rng):
    """Every figure with odd maps, names and numbers: a PNG, or a refusal in words."""
    e = xfv.explain(TINY, PAIR, "occlusion")
    x = e.map_a
    maps = [
        x,
        x * 0,
        x * NAN,
        torch.where(x > x.median(), NAN, x),
        x * 1e30,
        x * 1e-40,
        -x.abs(),
        x.double(),
        torch.full_like(x, INF),
        x > 0,
        torch.where(x == x.max(), -INF, x),
        (x * 1000).long(),
        x.half(),
        x.clone().requires_grad_(True),
        x[:5],
        x[None],
        x.flatten(),
        None,
        x.numpy(),
        x[:0],
    ]
    names = [
        "Ann",
        "$x^2$",
        "$\\frac{",
        "a$b",
        "ü" * 200,
        "",
        "<script>x</script>",
        "a\nb\tc",
        "名前",
        "_x_",
        "%s {}",
        "\\",
        "x" * 5000,
        "a\0b",
    ]
    given, name, score = rng.choice(maps), rng.choice(names), rng.choice([0.5, 1.0, -1.0, 0.99999, NAN])
    pair = xfv.Pair(PAIR.a, PAIR.b, rng.choice([True, False, None]), name, "p/1")
    one = type(e)(pair, rng.choice(["occlusion", name]), score, rng.choice([0.3, -1.0, 1.0]), given, x)
    line = np.linspace(-1, 1, 30)
    numbers = rng.choice(
        [line, line * 0 + 0.5, line * NAN, np.r_[NAN, line[1:]], [], [0.5], line * 1e30, np.r_[INF, line[1:]]]
    )
    labels = rng.choice([np.arange(len(numbers)) % 2 == 0, np.ones(len(numbers), bool), [None] * len(numbers), [True]])
    field = rng.choice(
        [np.eye(3), np.zeros((3, 3)), np.full((3, 3), NAN), np.eye(3) * 1e30, np.ones((0, 0)), np.ones(3), np.eye(2)]
    )
    images = rng.choice([[PAIR.a], [PAIR.a * NAN], [PAIR.a * 9 - 4], [PAIR.a.half()], [None], []])
    options = {"image": rng.choice([None, PAIR.a]), "signed": rng.random() < 0.5, "each_scaled": rng.random() < 0.5}
    frequencies, everywhere = (
        xfv.frequency_influence(TINY, pair, width=rng.choice([1, 5, 10])),
        torch.ones(20, 20, dtype=torch.bool),
    )
    cutoff = lambda image: plots.to_png(plots.draw_cutoff(pair, image, everywhere, score, 0.3))
    calls = [
        (plots.show_pair, one),
        (plots.show_maps, [given, x], [name, "b"]),
        (plots.show_maps, [], []),
        (plots.show_images, images, [name]),
        (plots.show_method_grid, rng.choice([[[one, e]], [], [[]]])),
        (plots.show_scores, numbers, labels, rng.choice([None, 0.5, NAN])),
        (plots.show_roc, {name: numbers}, labels),
        (plots.show_curves, range(len(numbers)), {name: numbers}),
        (plots.show_chart, field, list("abc"), list("xyz")),
        (plots.show_frequency_influence, frequencies),
        (cutoff, rng.choice([PAIR.a, PAIR.a * NAN, PAIR.a * 0])),
    ]
    more = {
        plots.show_maps: options,
        plots.show_images: {"columns": rng.choice([1, 6, 0, -1])},
        plots.show_chart: {"label": name},
        plots.show_curves: {"xlabel": name, "ylabel": "y", "logx": rng.random() < 0.3},
    }
    function, *arguments = rng.choice(calls)
    nothing = len(arguments[0]) == 0 if isinstance(arguments[0], list) else False

    def check(result):
        data = result if isinstance(result, bytes) else SHOWN[-1].data if SHOWN else b""
        return None if nothing or data[:4] == b"\x89PNG" else "no figure was shown"

    return case(
        function,
        *arguments,
        **more.get(function, {}),
        check=check,
        what=f"{name[:20]!r}, {short(given)}, score {score}",
    )


@area("widgets", 90)
def controls(rng):
    """Widgets: odd values and uploads in turn; nothing is raised, and the status says it in words."""
    which, file = rng.choice(["picker", "cutoff", "photo", "photo"]), io.BytesIO()
    PHOTO.save(file, "png")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    uploads = {
        "nothing": b"",
        "noise": rng.randbytes(300),
        "face": file.getvalue(),
        "wall": raw_png(300, 300, 8, 2),
        "eps": eps,
    }
    uploads["bomb"] = raw_png(13_000, 13_000, 1, 0) if which == "photo" else b""
    names = ["face.jpg", "<script>x</script>.png", "$\\frac{", "a" * 500, ""]
    some = lambda: (
        rng.choice(list(uploads)),
        rng.choice(names),
        rng.choice([-1, 1, 0.3, NAN, INF, 5, 0]),
        rng.random(),
    )
    steps, method = [some() for _ in range(rng.randint(1, 4))], rng.choice(["gradient", "occlusion"])

    def use(which):
        makers = {
            "picker": lambda: widgets.pair_picker(TINY, PAIRS),
            "cutoff": lambda: widgets.cutoff_slider(TINY, PAIR),
            "photo": lambda: widgets.photo_pair(TINY, method),
        }
        box, said = makers[which](), []
        for kind, name, number, chance in steps:
            if which == "photo" and chance < 0.8:
                content = {
                    "name": name,
                    "type": "image/png",
                    "size": len(uploads[kind]),
                    "content": memoryview(uploads[kind]),
                }
                (box.probe if chance < 0.4 else box.reference).value = (
                    content | {"last_modified": pd.Timestamp(0).to_pydatetime()},
                )
            elif which == "cutoff":
                box.cutoff.value = int(number) if math.isfinite(number) else 3
                box.kept.value = "low-pass" if chance < 0.5 else "high-pass"
            elif which == "picker" and chance < 0.6:
                control = (box.group, box.person, box.pair)[int(chance * 5)]
                control.index = int(chance * 1000) % len(control.options) if control.options and chance < 0.55 else None
            else:
                box.threshold.value = number
            said.append(box.status.value)
        return said

    def check(said):
        bad = [one for one in said if not one.strip() or "Computing" in one or "<script" in one]
        return f"status {bad[0]!r}" if bad else None

    return case(use, which, check=check, what=f"{[(kind, name[:12], number) for kind, name, number, _ in steps]}")
