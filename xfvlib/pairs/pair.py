"""One pair of aligned face crops, and a set of them that share a pool of images."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import torch


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


def pair_table(rows):
    return pd.DataFrame(rows, columns=["name_a", "name_b", "same", "fold"])
