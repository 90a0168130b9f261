"""Crops made for a model when they are asked for, and the landmarks they need."""

import hashlib
from collections.abc import Mapping
from functools import cache, cached_property, lru_cache

import numpy as np
import pandas as pd
import torch

from xfvlib import alignment
from xfvlib.alignment import HasAlignment
from xfvlib.files import DATA, kept_array, read_bytes

CROPS_KEPT = 512  # decoded crops held in memory: 77 MB at 112×112


class Crops(Mapping[str, torch.Tensor]):
    """Crops by name, made for a model when asked for; the last few hundred stay in memory, and copies are handed out.

    Args:
        sources: ``{name: path or bytes}`` of image files.
        model: the FaceModel that says size and alignment; None for the default model's.
        aligned: True for files that are crops of the ArcFace template already, as in the field's ``.bin`` files.
        centred: True for data that put one person's face in the middle: of several the one nearest to it is taken, and
            where none is detected, one is supposed there. False to take the largest, and to refuse a photograph
            without any.
        landmarks: ``{name: landmarks}``, as from :func:`alignment.landmark_row` or ``(10, 2)``, where known; others are
            found once and kept in the cache folder by the file's hash.

    Attributes:
        supposed: names of the crops made so far in which no face was detected, and one was supposed in the middle.

    Raises, when a crop is asked for: KeyError, FileNotFoundError, or ValueError for a file that is no photograph or
    shows no face.
    """

    def __init__(
        self,
        sources: Mapping,
        model: HasAlignment | None = None,
        aligned: bool = False,
        centred: bool = False,
        landmarks: Mapping | None = None,
    ):
        self.sources, self.aligned, self.centred, self.landmarks = sources, aligned, centred, landmarks or {}
        self.want = alignment.wanted(model)
        self.supposed: set[str] = set()

    def __len__(self):
        return len(self.sources)

    def __iter__(self):
        return iter(self.sources)

    def __contains__(self, name):
        return name in self.sources

    def __getitem__(self, name):
        return self._kept(name).clone()

    def __getstate__(self):
        return {key: value for key, value in vars(self).items() if key != "_kept"}  # another process decodes anew

    @cached_property
    def _kept(self):
        return lru_cache(CROPS_KEPT)(self._made)

    def _made(self, name):
        source, (size, kind) = self.sources[name], self.want
        data = source if isinstance(source, bytes) else read_bytes(source, alignment.LARGEST_FILE, "photograph")
        photo = alignment.read_photo(data, f"image {name}")
        if self.aligned and kind == "arcface":
            if photo.size != (size[1], size[0]):
                left = (112 - round(112 * size[1] / size[0])) / 2 * photo.width / 112
                photo = photo.resize((size[1], size[0]), box=(left, 0, photo.width - left, photo.height))
            return alignment.to_tensor(photo)
        row = np.ravel(self.landmarks[name] if name in self.landmarks else self._landmarks(data, photo))
        if row[20:].any():
            self.supposed.add(name)
        return alignment.crop(photo, row[:20].reshape(-1, 2), size=size, kind=kind)

    def _landmarks(self, data, photo):
        """Landmarks kept in the repository, or found once and kept in the cache folder."""
        key = hashlib.sha256(data).hexdigest()[:24]
        if self.centred and key in _lfw_landmarks():
            return _lfw_landmarks()[key]
        rule = "middle" if self.centred else "largest"
        return kept_array(f"landmarks/{key}-{rule}", lambda: alignment.landmark_row(photo, self.centred))


@cache
def _lfw_landmarks():
    """Rows of landmarks kept in the repository for photographs of LFW, by the file's hash: they need no detector."""
    table = pd.read_csv(DATA / "lfw_landmarks.csv", index_col="sha256")
    return dict(zip(table.index, table.to_numpy()))
