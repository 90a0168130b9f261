"""Pairs of aligned face crops: one pair, and the data sets the workbook knows."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from xfvlib.alignment import HasAlignment
from xfvlib.pairs.binfile import read_bin
from xfvlib.pairs.crops import Crops
from xfvlib.pairs.lfw import fetched_lfw_pairs, lfw_pairs
from xfvlib.pairs.orl import orl_pairs, orl_photo_path
from xfvlib.pairs.pair import Pair, PairSet, person
from xfvlib.pairs.tables import csv_pairs, folder_pairs

__all__ = ["Crops", "Pair", "PairSet", "load_pairs", "orl_photo_path", "person"]

Place = str | Path | None


def load_pairs(
    name: str = "orl", *, root: Place = None, bin: Place = None, file: Place = None, model: HasAlignment | None = None
) -> PairSet:
    """A data set of pairs by its name, its crops aligned for a model. Images are decoded when they are asked for.

    Args:
        name: "orl", the AT&T Database of Faces: 40 people × 10 photographs; 10 folds of 30 genuine and 30 impostor
            pairs, no person in two folds (``data/orl_pairs.csv``). Or one of the following.
        root: with "lfw", the folder that holds ``pairs.txt`` and the photographs (``Name/Name_0001.jpg``, directly or
            in a folder such as ``lfw-deepfunneled``); without ``root`` and ``bin``, scikit-learn fetches LFW once. With
            "folder", a folder with one folder of photographs for each person: all genuine pairs, and as many impostor
            pairs, drawn.
        bin: with "lfw", "cplfw", "calfw", "agedb_30" or "cfp_fp", the field's verification file of aligned crops.
        file: with "csv", a table with columns ``path_a, path_b, same`` and, where there are folds, ``fold``; paths from
            its own folder.
        model: the FaceModel that the crops are for; None for the default model.

    Returns:
        :class:`PairSet`. "orl", "lfw" and the ``.bin`` files are known to show a face in the middle: where none is
        detected (in two photographs of ORL, s33/4 and s37/4, and nine of the 1,583 of LFW whose landmarks are kept) one
        is supposed there, and ``pairs.images.supposed`` names those made so far. "csv" and "folder" refuse such a
        photograph when it is asked for.

    Raises:
        ValueError: no data set of that name or from such a path (the known ones are listed), or a file that does not
            hold what it should.
        FileNotFoundError: a file, a folder or the package with the photographs is missing.
        PermissionError: when a crop is asked for, its landmarks cannot be kept, for the cache folder is not writable.

    Example:
        >>> load_pairs("orl")
        PairSet 'orl': 600 pairs (300 genuine), 390 images
        >>> load_pairs("lfw", root="lfw", model=model)  # doctest: +SKIP
        >>> load_pairs("calfw", bin="calfw.bin", model=model)  # doctest: +SKIP
    """
    given = {key: path for key, path in (("root", root), ("bin", bin), ("file", file)) if path is not None}
    source, path = next(iter(given.items()), (None, ""))
    if not all(isinstance(a, (str, Path)) for a in (name, path)) or len(given) > 1 or (name, source) not in _READERS:
        known = ", ".join(f"{known!r} with {key}=path" if key else repr(known) for known, key in _READERS)
        asked = f"{name!r} with {given or 'no path'}"
        raise ValueError(f"there is no data set {asked}; known: {known}. For two images: xfv.Pair(a, b)")
    return _READERS[name, source](Path(path), model)


def _bin_pairs(path, model, name):
    """A verification ``.bin`` file: two aligned crops a pair, ten folds in its order; nobody in it is named."""
    images, same = read_bin(path)
    names = [f"{i // 2:04d}{'ab'[i % 2]}" for i in range(len(images))]
    rows = list(zip(names[::2], names[1::2], same, np.arange(len(same)) * 10 // len(same)))
    return PairSet(name, rows, Crops(dict(zip(names, images)), model, aligned=True, centred=True))


_READERS: dict[tuple[str, str | None], Callable] = {
    ("orl", None): orl_pairs, ("lfw", None): fetched_lfw_pairs, ("lfw", "root"): lfw_pairs,
    ("csv", "file"): csv_pairs, ("folder", "root"): folder_pairs,
}  # fmt: skip
_READERS |= {(name, "bin"): partial(_bin_pairs, name=name) for name in ("lfw", "cplfw", "calfw", "agedb_30", "cfp_fp")}
