"""Labeled Faces in the Wild in its official layout."""

import re
from pathlib import Path

from xfvlib.alignment import HasAlignment
from xfvlib.files import read_text
from xfvlib.pairs.crops import Crops
from xfvlib.pairs.pair import PairSet

_IMAGE = r"\s+([^\s./\\][^\s/\\]*)\s+(\d{1,9})"  # a name, which cannot lead out of the folder, and a number
_LINES = {True: _IMAGE + r"\s+(\d{1,9})\s*", False: _IMAGE * 2 + r"\s*"}


def lfw_pairs(root: Path, model: HasAlignment | None = None) -> PairSet:
    """LFW's View 2 in its official layout: ``pairs.txt`` and ``Name/Name_0001.jpg``."""
    lists = [path for path in (root / "pairs.txt", root.parent / "pairs.txt") if path.is_file()]
    if not lists or not root.is_dir():
        raise FileNotFoundError(f"there is no pairs.txt in the folder {root} or beside it; it comes with LFW")
    rows = _read_pairs_txt(lists[0])
    first = _photo_name(rows[0][0])
    folders = [path for path in (root, *sorted(root.iterdir())) if (path / first).is_file()]
    if not folders:
        raise FileNotFoundError(f"{lists[0]} names {first}, which is not in {root} or a folder in it")
    photos = {name: folders[0] / _photo_name(name) for row in rows for name in row[:2]}
    return PairSet("lfw", rows, Crops(dict(sorted(photos.items())), model, centred=True))


def _photo_name(name):
    """LFW's path of the image called ``Name/0001``."""
    return f"{name.split('/')[0]}/{name.replace('/', '_')}.jpg"


def _read_pairs_txt(path):
    """Rows name_a, name_b, same, fold of LFW's ``pairs.txt``; ValueError names the line that does not fit."""
    first, *lines = read_text(path, 10_000_000, "list of pairs").strip().split("\n")
    if not (header := re.fullmatch(r"(?:(\d{1,4})\s+)?(\d{1,7})\s*", first, re.ASCII)):
        raise ValueError(f"{path.name} begins with {first!r:.40}; the number of folds and of pairs a fold is expected")
    folds, count = (int(number or 1) for number in header.groups())
    if len(lines) != 2 * folds * count or not lines:
        raise ValueError(f"{path.name} announces {2 * folds * count} pairs and holds {len(lines)}: it is truncated")
    rows = []
    for i, line in enumerate(lines):
        genuine = i % (2 * count) < count
        if not (found := re.fullmatch(_LINES[genuine], " " + line, re.ASCII)):
            expected = "name i j" if genuine else "name1 i name2 j"
            raise ValueError(f"line {i + 2} of {path.name} is {line!r:.80}; {expected} is expected")
        somebody, number, *other, last = found.groups()
        other = other[0] if other else somebody
        rows.append((f"{somebody}/{int(number):04d}", f"{other}/{int(last):04d}", genuine, i // (2 * count)))
    return rows


def fetched_lfw_pairs(_: Path, model: HasAlignment | None = None) -> PairSet:
    """The same from the folder where scikit-learn keeps LFW, which it fetches once."""
    from sklearn.datasets import fetch_lfw_pairs, get_data_home

    try:
        fetch_lfw_pairs(subset="10_folds", resize=0.1)
    except OSError as error:
        raise FileNotFoundError(f"LFW could not be fetched ({error}); give root=its folder, or bin=its file") from error
    return lfw_pairs(Path(get_data_home()) / "lfw_home", model)
