"""Crops made for a model when they are asked for, and the landmarks they need."""

import hashlib
from collections import UserDict
from collections.abc import Mapping
from functools import cache, cached_property, lru_cache

import numpy as np
import pandas as pd
from PIL import ImageOps
from torch import Tensor

from xfvlib import alignment, files
from xfvlib.alignment import Model

_CROPS_KEPT = 512  # decoded crops held in memory: 77 MB at 112×112


class Crops(UserDict[str, Tensor]):
    """Crops by name, made for a model when asked for; the last few hundred stay in memory, and copies are handed out.

    Args:
        sources: ``{name: path or bytes}`` of image files.
        model: the FaceModel that says size and alignment; None for the default model's.
        aligned: True for files that are crops of the ArcFace template already, as in the field's ``.bin`` files.
        centred: True for data that put one person's face in the middle: of several the one nearest to it is taken, and
            where none is detected, one is supposed there. False to take the largest, and to refuse a photograph
            without any.
        landmarks: ``{name: landmarks}`` for the model's alignment, as from :func:`alignment.landmark_row` or
            ``(5, 2)``, where known; others are found once and kept in the cache folder by the file's hash.

    Attributes:
        supposed: names of the crops made so far in which no face was detected, and one was supposed in the middle.

    Raises, when a crop is asked for: KeyError, FileNotFoundError, or ValueError for a file that is no photograph or
    shows no face.
    """

    def __init__(
        self, sources: dict, model: Model = None, aligned: bool = False, centred: bool = False, landmarks: Mapping = {}
    ):
        self.data = self.sources = sources
        self.aligned, self.centred, self.landmarks = aligned, centred, landmarks
        self.want, self.supposed = alignment.wanted(model), set[str]()

    __repr__ = object.__repr__  # the sources can be megabytes

    def __getitem__(self, name):
        return self._kept(name).clone()

    def __getstate__(self):
        return {key: value for key, value in vars(self).items() if key != "_kept"}  # another process decodes anew

    @cached_property
    def _kept(self):
        return lru_cache(_CROPS_KEPT)(self._made)

    def _made(self, name):
        source, (size, kind) = self.sources[name], self.want
        data = source if isinstance(source, bytes) else files.read_bytes(source, alignment.LARGEST_FILE, "photograph")
        photo = alignment.read_photo(data, f"image {name}")
        if self.aligned and kind == "arcface":  # of a narrower crop it is the middle
            return alignment.to_tensor(ImageOps.fit(photo, size[::-1]))
        key, rule = hashlib.sha256(data).hexdigest()[:24], "middle" if self.centred else "largest"
        row = self.landmarks.get(name, kept_landmarks("lfw", kind).get(key) if self.centred else None)
        if row is None:
            find = lambda: alignment.landmark_row(photo, kind, self.centred)
            row = files.kept_array(f"landmarks/{key}-{kind}-{rule}", find, 11)
        if (row := np.ravel(row))[10:].any():
            self.supposed.add(name)
        return alignment.crop(photo, row[:10].reshape(-1, 2), size=size, kind=kind)


@cache
def kept_landmarks(name: str, kind: str) -> dict[str, list[float]]:
    """Rows of landmarks for an alignment, "arcface" or "dlib", kept in the repository, which need no detector: of "orl"
    by the photograph's name, of "lfw" by the file's hash."""
    table = pd.read_csv(files.DATA / f"{name}_landmarks.csv", index_col=0)
    return table.filter(regex=f"^{kind} ").T.to_dict("list")
