"""Labeled Faces in the Wild in its official layout."""

from pathlib import Path

from xfvlib.pairs.crops import Crops
from xfvlib.pairs.pair import PairSet, pair_table


def lfw_pairs(root, model):
    """LFW's View 2 in its official layout: ``pairs.txt`` and ``Name/Name_0001.jpg``."""
    lists = [path for path in (root / "pairs.txt", root.parent / "pairs.txt") if path.is_file()]
    if not lists:
        raise FileNotFoundError(f"there is no pairs.txt in {root} or beside it; it comes with Labeled Faces in the Wild")
    rows = read_pairs_txt(lists[0])
    first = photo_name(rows[0][0])
    folders = [folder for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())) if (folder / first).is_file()]
    if not folders:
        raise FileNotFoundError(f"{lists[0]} names {first}, which is not in {root} or a folder in it")
    names = sorted({name for row in rows for name in row[:2]})
    return PairSet("lfw", pair_table(rows), Crops({name: folders[0] / photo_name(name) for name in names}, model))


def photo_name(name):
    """LFW's path of the image called ``Name/0001``."""
    somebody, number = name.split("/")
    return f"{somebody}/{somebody}_{number}.jpg"


def read_pairs_txt(path):
    """Rows name_a, name_b, same, fold of LFW's ``pairs.txt``; ValueError names the line that does not fit."""
    lines = path.read_text(encoding="utf8").strip().splitlines()
    header = lines[0].split()
    if not 1 <= len(header) <= 2 or not all(word.isdigit() for word in header):
        raise ValueError(f"{path.name} begins with {lines[0]!r}; the number of folds and of pairs a fold is expected")
    folds, count = (int(header[0]), int(header[1])) if len(header) == 2 else (1, int(header[0]))
    if len(lines) - 1 != 2 * folds * count:
        raise ValueError(f"{path.name} announces {2 * folds * count} pairs and holds {len(lines) - 1}: it is truncated or altered")
    rows = []
    for i, line in enumerate(lines[1:]):
        words, genuine = line.split(), i % (2 * count) < count
        try:
            somebody, number, other, other_number = (words[0], words[1], words[0], words[2]) if genuine else words
            rows.append((f"{somebody}/{int(number):04d}", f"{other}/{int(other_number):04d}", genuine, i // (2 * count)))
        except (ValueError, IndexError) as error:
            expected = "name i j" if genuine else "name1 i name2 j"
            raise ValueError(f"line {i + 2} of {path.name} is {line!r}; {expected} is expected") from error
    return rows


def fetched_lfw():
    """Folder of LFW as scikit-learn fetches and keeps it."""
    from sklearn.datasets import fetch_lfw_pairs, get_data_home

    try:
        fetch_lfw_pairs(subset="10_folds", resize=0.1)
    except OSError as error:
        raise FileNotFoundError(f"LFW could not be fetched ({error}); give its folder as root=… or its .bin file as bin=…") from error
    return Path(get_data_home()) / "lfw_home"
