"""Explain face verification: which pixels and which frequencies made two photographs match, or not."""

from xfvlib.alignment import align
from xfvlib.faithfulness import faithfulness
from xfvlib.evaluation import calibrate, scores
from xfvlib.frequency import frequency_influence
from xfvlib.gradients import channel_gradients
from xfvlib.methods import METHODS, explain
from xfvlib.models import FaceModel, load_model
from xfvlib.notebook import notebook_setup
from xfvlib.pairs import Pair, PairSet, load_pairs
from xfvlib.sweep import read_sweep, sweep

__all__ = ["METHODS", "FaceModel", "Pair", "PairSet", "align", "calibrate", "channel_gradients", "explain",
           "faithfulness", "frequency_influence", "load_model", "load_pairs", "notebook_setup", "read_sweep",
           "scores", "sweep"]  # fmt: skip
