"""Deletion and insertion: how much an explanation's ranking of the pixels matters to the decision.

The lowest functions take one image or pair; :func:`deletion_table` scores many methods on many pairs, one row each, from
which :func:`areas`, :func:`compare`, :func:`gains` and :func:`compare_all` read their answers. :func:`xfvlib.sweep` makes the same table on many cores.
"""

from xfvlib.faithfulness.curves import (
    CONTROLS, FIXED_ORDERS, REVERSED, blob, deletion_area, deletion_scores, first_pixels, progressively, random_order,
)  # fmt: skip
from xfvlib.faithfulness.statistics import areas, compare, curve, gains, scored, compare_all
from xfvlib.faithfulness.table import SCHEMA, area_of, as_frame, deletion_rows, deletion_table, methods_of, read_table, save_table, settings_of, sides_wanted
from xfvlib.perturb import FILLS, filled


# an impostor pair with one changed image stays rejected, a genuine pair with two black images is accepted, whatever the order
WHERE_DECISIONS_FALL = [
    {"metric": metric, "pairs": pairs, "masked": masked}
    for pairs, masked in (("genuine", "probe"), ("impostor", "both"))
    for metric in ("deletion", "insertion")
]


def faithfulness(model, pairs, methods=("fggb",), metrics=WHERE_DECISIONS_FALL, *, threshold=None, seed=0):
    """Explain pairs by several methods and say which is the more faithful one, by how much, and whether it is more than chance.

    Arguments as for :func:`deletion_table`, with two pairs or more of each kind asked for; the answer as of :func:`compare_all`,
    which also reads a sweep's table. By default similarity maps are judged on genuine pairs with the probe masked, dissimilarity
    maps on impostor pairs with both images masked.

    Example:
        >>> faithfulness(model, pairs.draw(20), ["fggb", "occlusion"])  # doctest: +SKIP
    """
    return compare_all(deletion_table(model, pairs, methods, metrics, threshold=threshold, seed=seed))
