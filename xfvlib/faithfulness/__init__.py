"""Deletion and insertion: how much an explanation's ranking of the pixels matters to the decision.

The lowest functions take one image or pair; :func:`deletion_table` scores many methods on many pairs, one row each,
from which :func:`areas`, :func:`compare`, :func:`gains` and :func:`compare_all` read their answers.
:func:`xfvlib.sweep` makes the same table on many cores.
"""

from xfvlib.faithfulness.curves import *
from xfvlib.faithfulness.statistics import *
from xfvlib.faithfulness.table import *

__all__ = ["CONTROLS", "FIXED_ORDERS", "REVERSED", "SCHEMA", "SETTING", "WHERE_DECISIONS_FALL", "area_of", "areas",
    "as_frame", "blob", "compare", "compare_all", "curve", "deletion_area", "deletion_rows", "deletion_scores",
    "deletion_table", "faithfulness", "first_pixels", "gains", "methods_of", "progressively", "random_order",
    "read_table", "save_table", "setting", "settings_of", "sides_wanted"]  # fmt: skip
