"""Deletion and insertion: how much an explanation's ranking of the pixels matters to the decision.

The lowest functions take one image or pair; :func:`deletion_table` scores many methods on many pairs, one row each,
from which :func:`areas`, :func:`compare`, :func:`gains`, :func:`compare_all` and :func:`ladder` read their answers.
:func:`xfvlib.sweep` makes the same table on many cores.
"""

from xfvlib.faithfulness.curves import *
from xfvlib.faithfulness.ladder import *
from xfvlib.faithfulness.stand_ins import *
from xfvlib.faithfulness.statistics import *
from xfvlib.faithfulness.table import *

__all__ = ["CONTROLS", "FIXED_ORDERS", "LADDER", "MAPS", "REVERSED", "RUNGS", "SCHEMA", "SETTING",
    "WHERE_DECISIONS_FALL", "area_of", "areas", "as_frame", "blob", "compare", "compare_all", "curve", "deletion_area",
    "deletion_rows", "deletion_scores", "deletion_table", "faithfulness", "first_pixels", "gains", "holm", "ladder",
    "methods_of", "people_of", "progressively", "random_order", "read_table", "save_table", "setting", "settings_of",
    "share_interval", "sides_wanted", "stand_ins", "without_own_blur"]  # fmt: skip
