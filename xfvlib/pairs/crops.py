"""Crops made for a model when they are asked for, and the landmarks they need."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from xfvlib import alignment
from xfvlib.files import DATA, cache_folder, write_whole

CROPS_KEPT = 512  # decoded crops held in memory: 77 MB at 112×112


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
