"""Odd inputs by area for ``campaign.py``, each with an oracle. A process makes one, in a folder of its own."""

import captum.attr  # noqa: F401 – what is slow to import comes once, and not in every process
import onnxruntime  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.metrics  # noqa: F401

from odd import calls, files, photographs, results
from odd.base import AREAS, warm_up

__all__ = ["AREAS", "calls", "files", "photographs", "results", "warm_up"]
