"""One pair of aligned face crops, and a set of them that share a pool of images."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from xfvlib.extras import reworded
from xfvlib.perturb import checked_image

MOST_PAIRS = 5_000_000  # that a function lists by itself: about 1 GB


@dataclass(frozen=True, eq=False)
class Pair:
    """Two aligned face crops: ``a`` the probe, ``b`` the reference.

    Attributes:
        a, b: float32 ``(3, H, W)`` of one size, RGB in [0, 1], on the CPU; other floats and devices are converted.
        same: True for a genuine pair (one person), False for an impostor pair, None when that is not known.
        name_a, name_b: what figures call the images.

    Raises:
        TypeError: an image is not a float tensor, or ``same`` is not a bool or None.
        ValueError: another shape, two sizes, NaN, or values outside [0, 1].

    Example:
        >>> import torch
        >>> pair = Pair(torch.rand(3, 112, 112), torch.rand(3, 112, 112), same=False)
    """

    a: torch.Tensor
    b: torch.Tensor
    same: bool | None = None
    name_a: str = "probe"
    name_b: str = "reference"

    def __post_init__(self):
        a, b = _checked(self.a, self.name_a), _checked(self.b, self.name_b)
        if a.shape != b.shape:
            raise ValueError(f"{self.name_a!r} and {self.name_b!r} differ in size, {a.shape} and {b.shape}: align both")
        if not isinstance(self.same, bool | np.bool_ | None):
            raise TypeError(f"same is {self.same!r}; True, False, or None where it is not known, is needed")
        vars(self).update(a=a, b=b, same=None if self.same is None else bool(self.same))


def _checked(image, name):
    """An image as float32 on the CPU; the errors of :class:`Pair`."""
    image = checked_image(image, f"image {name!r}").detach()
    if image.min() < 0 or image.max() > 1:
        raise ValueError(f"image {name!r} is outside [0, 1], {image.min():.4g} to {image.max():.4g}: divide by 255")
    return image


class PairSet(Sequence):
    """Pairs that share a pool of images, decoded when asked for.

    Indexing with a number gives a :class:`Pair`; with a slice, a list of numbers or a boolean array a smaller PairSet.

    Args:
        name: of the data set.
        table: one row a pair with columns ``name_a, name_b, same, fold``, or a list of such rows; fold −1 for pairs in
            no fold.
        images: ``{name: crop}``, crops float32 ``(3, H, W)``, RGB in [0, 1], of all names in the table.

    Attributes:
        name, images: as given.
        table: the four columns; its rows are numbered from 0.
        labels: bool ``(P,)``, True for genuine pairs.
        folds: int ``(P,)``, the fold each pair is scored in.
        names: the images that the pairs use.

    Raises:
        ValueError: the table holds a name that is no text, a label that is no bool, or a fold that is no whole number,
            or lacks one of them; the first such row is named.

    Example:
        >>> from xfvlib.pairs import load_pairs
        >>> pairs = load_pairs("orl")
        >>> len(pairs), pairs[0].same
        (600, True)
    """

    def __init__(self, name: str, table: pd.DataFrame | list[tuple], images: Mapping[str, torch.Tensor]):
        if not isinstance(table, (pd.DataFrame, list)) or not isinstance(images, Mapping):
            raise TypeError(f"{type(table)} and {type(images)} were given; a DataFrame and a dict of crops are needed")
        table = pd.DataFrame(table, columns=["name_a", "name_b", "same", "fold"])
        folds, fits = pd.to_numeric(table.fold, errors="coerce"), table.map(lambda cell: isinstance(cell, str))
        fits = fits.assign(same=table.same.isin([True, False]), fold=(folds % 1 == 0) & (folds.abs() < 2**31))
        for i, j in np.argwhere(~fits.to_numpy(bool)):
            cell = f"{table.index.name or 'row'} {table.index[i]} of {name}: {table.columns[j]}"
            raise ValueError(f"{cell} is {table.iat[i, j]!r:.200}; names are text, same a bool, fold whole or −1")
        self.name, self.images, self.names = name, images, sorted({*table.name_a, *table.name_b})
        self.table = table.assign(same=table.same.astype(bool), fold=folds.astype(int)).reset_index(drop=True)
        self.labels, self.folds = self.table.same.to_numpy(), self.table.fold.to_numpy()

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index):
        with reworded((IndexError, TypeError, ValueError), IndexError, f"{index!r:.80} is none of {len(self)} pairs"):
            part = self.table.iloc[np.arange(len(self))[index]]
        if part.ndim == 2:
            return PairSet(self.name, part, self.images)
        return Pair(self.image(part.name_a), self.image(part.name_b), bool(part.same), part.name_a, part.name_b)

    def __repr__(self) -> str:
        return f"PairSet {self.name!r}: {len(self)} pairs ({int(self.labels.sum())} genuine), {len(self.names)} images"

    def image(self, name: str) -> torch.Tensor:
        """The crop called ``name``: float32 ``(3, H, W)``, RGB in [0, 1].

        Raises KeyError with the nearest names, or ValueError when the image cannot be read.
        """
        if not isinstance(name, str) or name not in self.images:
            near = difflib.get_close_matches(str(name), self.images, n=3)
            raise KeyError(f"{self.name} has no image {name!r}; near it: {near or list(self.images)[:3]}")
        return self.images[name]

    def pair(self, name_a: str, name_b: str) -> Pair:
        """The pair of any two images of the data set, by their names.

        Its ``same`` is None where neither the names nor the table tell it.
        """
        images, people = (self.image(name_a), self.image(name_b)), (person(name_a), person(name_b))
        told = self.labels[(self.table.name_a == name_a) & (self.table.name_b == name_b)]
        same = people[0] == people[1] if all(people) else told[0] if len(told) else None
        return Pair(*images, same, name_a, name_b)

    def draw(self, count: int, seed: int = 0) -> "PairSet":
        """PairSet of ``count`` genuine and as many impostor pairs, drawn, in their order here.

        Raises ValueError where there are fewer.
        """
        rng, genuine, impostor = np.random.default_rng(seed), *map(np.flatnonzero, (self.labels, ~self.labels))
        if not isinstance(count, (int, np.integer)) or not 1 <= count <= min(len(genuine), len(impostor)):
            raise ValueError(f"{len(genuine)} genuine, {len(impostor)} impostor pairs; {count!r} of each are asked for")
        return self[np.sort(np.concatenate([rng.choice(rows, count, replace=False) for rows in (genuine, impostor)]))]

    def all_pairs(self) -> "PairSet":
        """PairSet of every combination of two of all the data set's images, in no folds.

        Raises ValueError where the data do not name people, and for more than five million pairs.
        """
        people = {name: person(name) for name in self.images}
        if not all(people.values()):
            raise ValueError(f"{self.name} does not say who is in its images, so pairs of any two have no label")
        if len(people) * (len(people) - 1) // 2 > MOST_PAIRS:
            raise ValueError(f"{self.name} has {len(people):,} images, too many to list {MOST_PAIRS:,} pairs or less")
        rows = [(a, b, people[a] == people[b], -1) for a, b in combinations(people, 2)]
        return PairSet(f"{self.name}, all pairs", rows, self.images)


def person(name: str) -> str | None:
    """The person in an image called ``person/image``; None for a name that tells no person.

    Example:
        >>> person("s1/10")
        's1'
    """
    return name.rsplit("/", 1)[0] if "/" in name else None
