"""Pairs of aligned face crops: one pair, and the data sets the workbook knows."""

from xfvlib.pairs.crops import Crops
from xfvlib.pairs.datasets import load_pairs, orl_photo_path
from xfvlib.pairs.pair import Pair, PairSet, person

__all__ = ["Crops", "Pair", "PairSet", "load_pairs", "orl_photo_path", "person"]
