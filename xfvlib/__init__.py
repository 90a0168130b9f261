"""Explain face verification: which pixels and which frequencies made two photographs match, or not."""

from xfvlib.alignment import align
from xfvlib.evaluation import calibrate, scores
from xfvlib.faithfulness import faithfulness
from xfvlib.frequency import frequency_influence
from xfvlib.gradients import channel_gradients
from xfvlib.interaction import interaction
from xfvlib.methods import METHODS, Method, explain
from xfvlib.models import FaceModel, load_model
from xfvlib.notebook import notebook_setup
from xfvlib.pairs import Pair, PairSet, load_pairs
from xfvlib.sweep import read_sweep, sweep

__version__ = "0.2.0"
__all__ = ["METHODS", "FaceModel", "Method", "Pair", "PairSet", "align", "calibrate", "channel_gradients", "explain",
    "faithfulness", "frequency_influence", "interaction", "load_model", "load_pairs", "notebook_setup", "read_sweep",
    "scores", "sweep"]  # fmt: skip
