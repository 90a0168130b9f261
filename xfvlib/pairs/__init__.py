"""Pairs of aligned face crops: one pair, and the data sets the workbook knows."""

from pathlib import Path

import numpy as np
import pandas as pd

from xfvlib import alignment
from xfvlib.files import DATA
from xfvlib.pairs.binfile import read_bin
from xfvlib.pairs.crops import Crops
from xfvlib.pairs.lfw import fetched_lfw, lfw_pairs
from xfvlib.pairs.orl import orl_images, orl_photo_path
from xfvlib.pairs.pair import Pair, PairSet, pair_table, person
from xfvlib.pairs.tables import csv_pairs, folder_pairs

__all__ = ["Crops", "Pair", "PairSet", "load_pairs", "orl_photo_path", "person"]

BIN_SETS = ("lfw", "cplfw", "calfw", "agedb_30", "cfp_fp")
KNOWN = ("orl", *BIN_SETS, "csv", "folder")


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


def bin_pairs(name, path, model):
    """A verification ``.bin`` file: two aligned crops a pair, ten folds in its order; it does not say who is in the images."""
    images, same = read_bin(path)
    names = [f"{i // 2:04d}{'ab'[i % 2]}" for i in range(len(images))]
    folds = np.arange(len(same)) * 10 // len(same)
    rows = list(zip(names[::2], names[1::2], same, folds))
    return PairSet(name, pair_table(rows), Crops(dict(zip(names, images)), model, aligned=True))
