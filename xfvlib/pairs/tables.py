"""Pairs of one's own: a table of paths, or one folder a person."""

from collections import Counter
from itertools import combinations, groupby
from math import isqrt

import numpy as np
import pandas as pd

from xfvlib.pairs.crops import Crops
from xfvlib.pairs.pair import PairSet, pair_table, person

PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".pgm", ".bmp", ".webp")


def csv_pairs(path, model):
    """A table of pairs, ``path_a, path_b, same`` and, where there are folds, ``fold``."""
    table = pd.read_csv(path)
    if missing := {"path_a", "path_b", "same"} - set(table.columns):
        raise ValueError(f"{path.name} has no column {', '.join(sorted(missing))}; path_a, path_b and same are needed, fold may follow")
    truth = table.same.astype(str).str.strip().str.lower().map({"true": True, "1": True, "false": False, "0": False})
    if truth.isna().any():
        line = int(truth.isna().idxmax())
        raise ValueError(f"line {line + 2} of {path.name}: same is {table.same[line]!r}; true, false, 1 or 0 is needed")
    names = pd.unique(table[["path_a", "path_b"]].astype(str).to_numpy().ravel())
    if absent := [name for name in names if not (path.parent / name).is_file()]:
        raise FileNotFoundError(f"{path.name} names {len(absent)} images that are not there, the first: {path.parent / absent[0]}")
    rows = pd.DataFrame({"name_a": table.path_a.astype(str), "name_b": table.path_b.astype(str), "same": truth.astype(bool)})
    rows["fold"] = table["fold"].astype(int) if "fold" in table else -1
    called = {name: name for name in names}
    if rows.same.all() or any((person(row.name_a) == person(row.name_b)) != row.same for row in rows.itertuples()):
        called = {name: name.replace("/", " › ") for name in names}  # its folders are not people, so that no name tells one
    rows["name_a"], rows["name_b"] = rows.name_a.map(called), rows.name_b.map(called)
    return PairSet(path.stem, rows, Crops({called[name]: path.parent / name for name in names}, model))


def folder_pairs(root, model, seed=0):
    """One folder a person: all genuine pairs, and as many impostor pairs drawn with the seed, in no folds."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    paths = [path for path in sorted(root.glob("*/*")) if path.suffix.lower() in PHOTO_ENDINGS]
    stems = Counter((path.parent, path.stem) for path in paths)
    photos = {f"{p.parent.name}/{p.stem if stems[p.parent, p.stem] == 1 else p.name}": p for p in paths}
    names = list(photos)
    genuine = [(a, b, True, -1) for _, own in groupby(names, person) for a, b in combinations(own, 2)]
    total = len(names) * (len(names) - 1) // 2
    # of twice as many pairs of any two, enough show two people; only these are made, for a large folder has millions
    some = np.random.default_rng(seed).choice(total, min(total, 2 * len(genuine)), replace=False) if total else []
    impostor = [row for row in (two_of(names, int(number)) for number in some) if not row[2]][: len(genuine)]
    if not genuine or not impostor:
        raise ValueError(
            f"{root} holds {len(photos)} photographs of {len({person(n) for n in photos})} people; needed are a folder for each "
            "of at least two people, and at least two photographs of one of them"
        )
    return PairSet(root.name, pair_table([*genuine, *sorted(impostor)]), Crops(photos, model))


def two_of(names, number):
    """Row of the pair of a number, 0 to n(n − 1)/2 − 1, of those of any two of n names."""
    later = (1 + isqrt(1 + 8 * number)) // 2
    a, b = names[number - later * (later - 1) // 2], names[later]
    return a, b, person(a) == person(b), -1
