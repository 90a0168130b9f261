"""Pairs of one's own: a table of paths, or one folder a person."""

import io
import os.path
from collections import Counter
from itertools import combinations, groupby
from math import comb, isqrt
from pathlib import Path

import numpy as np
import pandas as pd

from xfvlib.alignment import HasAlignment
from xfvlib.files import read_text
from xfvlib.pairs.crops import Crops
from xfvlib.pairs.pair import MOST_PAIRS, PairSet, person

_PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".tif", ".tiff")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def csv_pairs(path: Path, model: HasAlignment | None = None) -> PairSet:
    """A table of pairs, ``path_a, path_b, same`` and perhaps ``fold``, between commas, semicolons or tabs."""
    text = read_text(path, 100_000_000, "table of pairs")
    # names such as 001 and NA stay text; blank lines stay, for errors count lines
    as_written = {"dtype": str, "keep_default_na": False, "skipinitialspace": True, "skip_blank_lines": False}
    try:
        table = pd.read_csv(io.StringIO(text), sep=max(",;\t", key=text.partition("\n")[0].count), **as_written)
    except ValueError as error:
        raise ValueError(f"{path.name} is not a table of pairs ({error})") from error
    more_cells = not isinstance(table.index, pd.RangeIndex)
    table = table.rename(columns=str.strip).apply(lambda column: column.str.strip())
    table = table[(table != "").any(axis=1)]
    odd = not ({"path_a", "path_b", "same"} <= set(table.columns) and table.columns.is_unique)
    if odd or more_cells or table.empty:
        needed = "path_a, path_b, same and perhaps fold, each once; then pairs, in lines with as many cells"
        raise ValueError(f"{path.name} begins with columns {', '.join(table.columns):.200}; needed are {needed}")
    table = table.set_index(pd.Index(table.index + 2, name="line"))
    names = pd.unique(table[["path_a", "path_b"]].to_numpy().ravel())
    there = {name: os.path.isfile(path.parent / name) for name in names}  # noqa: PTH113, pathlib's raises for long names
    for column in ("path_a", "path_b"):
        if len(absent := table[column][~table[column].map(there)]):
            line = f"line {absent.index[0]} of {path.name}: {column} is {absent.iloc[0]!r:.200}"
            raise FileNotFoundError(f"{line}, no file from the table's folder; so are {len(absent) - 1} others")
    same = table.same.map(lambda word: _TRUTH.get(word.lower(), word))
    told = table.path_a.map(person) == table.path_b.map(person)
    people = (told == same).all() and not told.all()  # its folders are people; if not, no name must tell one
    called = {name: name if people else name.replace("/", " › ") for name in names}
    rows = {"name_a": table.path_a.map(called), "name_b": table.path_b.map(called), "same": same}
    rows = pd.DataFrame(rows).assign(fold=table.get("fold", -1))
    pairs = PairSet(path.name, rows, Crops({called[name]: path.parent / name for name in names}, model))
    if (both := pairs.table.groupby(["name_a", "name_b"]).same.transform("nunique").to_numpy() > 1).any():
        raise ValueError(f"line {table.index[both][0]} of {path.name}: this pair is listed as same and as not the same")
    pairs.name = path.stem
    return pairs


def folder_pairs(root: Path, model: HasAlignment | None = None, seed: int = 0) -> PairSet:
    """One folder a person: all genuine pairs, and as many impostor pairs drawn with the seed, in no folds."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    paths = sorted(p for p in root.glob("[!.]*/[!.]*") if p.suffix.lower() in _PHOTO_ENDINGS and p.is_file())
    stems = Counter((path.parent, path.stem) for path in paths)
    doubled = {folder for (folder, _), count in stems.items() if count > 1}  # there the ending tells photographs apart
    photos = {f"{p.parent.name}/{p.name if p.parent in doubled else p.stem}": p for p in paths}
    names, sizes = list(photos), Counter(map(person, photos))
    count, total = sum(comb(size, 2) for size in sizes.values()), comb(len(photos), 2)
    if not 0 < count < total or count > MOST_PAIRS // 2:
        found = f"{len(photos)} photographs of {len(sizes)} people, {count:,} genuine pairs"
        needed = f"folders of at least two people, two photographs of one, and up to {MOST_PAIRS // 2:,} genuine pairs"
        raise ValueError(f"{root} holds {found}; needed are {needed}")
    genuine = [(a, b, True, -1) for _, own in groupby(names, person) for a, b in combinations(own, 2)]
    # of twice as many pairs of any two, enough show two people; only these are made, for a large folder has millions
    some = np.random.default_rng(seed).choice(total, min(total, 2 * count), replace=False)
    impostor = [row for row in (_two_of(names, int(number)) for number in some) if not row[2]][:count]
    return PairSet(root.name, [*genuine, *sorted(impostor)], Crops(photos, model))


def _two_of(names, number):
    """Row of the pair of a number, 0 to n(n − 1)/2 − 1, of those of any two of n names."""
    later = (1 + isqrt(1 + 8 * number)) // 2
    a, b = names[number - later * (later - 1) // 2], names[later]
    return a, b, person(a) == person(b), -1
