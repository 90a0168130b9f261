"""The ladder: what a map knows about its pair, read from the areas of orders that know less."""

import numpy as np
import pandas as pd

from xfvlib.faithfulness.curves import KINDS, REVERSED
from xfvlib.faithfulness.stand_ins import MAPS
from xfvlib.faithfulness.statistics import PAIR, area_interval, corrected, counted, explanations, gain_interval
from xfvlib.faithfulness.table import SETTING, Methods, Metrics, Pairs, deletion_table, without_own_blur
from xfvlib.models import FaceModel

# an impostor pair with one changed image stays rejected, a genuine pair with two black images is accepted, whatever the
# order
_FALL = (("genuine", "probe"), ("impostor", "both"))
WHERE_DECISIONS_FALL = [{"metric": metric, "pairs": pairs, "masked": side} for pairs, side in _FALL for metric in KINDS]
LADDER = [way | {"map": which, "blur": 5} for way in WHERE_DECISIONS_FALL for which in MAPS]

RUNGS = ("random", "blob", "mean", "another person", "another partner", "own")  # each knows what those before it know
_UNTURNED = "other decision, not turned"
# beside the rungs: what a map against a partner of the other decision lacks, and what turning its sign adds to it
_BESIDE = (("own", "other decision"), ("other decision", _UNTURNED))
_COLUMNS = ["pairs", "people", "area", "low", "high", "over", "common", "gain", "gain low", "gain high", "p"]


def ladder(table: pd.DataFrame, pairs: str = "matching", *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How far every method's map climbs: what each rung adds to the one below it.

    The rungs are a random order; a blob in the middle; the method's mean map over people who are not in the pair, which
    knows faces; its map of another person; its map of this photograph with another partner whose decision is the same;
    and the pair's own map. A rung that the table lacks is left out. Two rows stand beside the ladder: the own map over
    the map against a partner of the other decision, its sign turned, and that over the same map as it was: what the
    sign alone does.

    Args:
        table: from :func:`deletion_table` or a sweep, best with settings such as ``LADDER``.
        pairs, draws, seed: as for :func:`areas`.

    Returns:
        A table, one row a setting × method × step: the setting, ``method``, ``rung``, ``pairs`` and ``people`` with
        that rung, ``area, low, high`` (percent, 95 %); ``over``, the rung that it is compared with; ``common``, pairs
        with both; ``gain`` in percentage points (> 0: better), ``gain low, gain high``, and ``p`` and ``verdict`` as
        for :func:`compare`, corrected over the methods that make the same step under one setting. The lowest rung has
        an area only.

    Raises:
        ValueError: the table holds no method beside the controls, and as :func:`areas`.

    Example:
        >>> table = deletion_table(model, pairs.draw(20), ["occlusion"], LADDER)  # doctest: +SKIP
        >>> ladder(table).query("rung == 'own' and over == 'another partner'")  # doctest: +SKIP
    """
    found = []
    for key, rows in counted(table, pairs).groupby(SETTING, sort=False):
        for method in explanations(rows.method.unique()):
            own = rows[rows.method == method]
            there = {x: rows[rows.method == x].merge(own[PAIR].drop_duplicates()) for x in RUNGS[:2]}
            there |= {which: own[own["map"] == which] for which in MAPS}
            there[_UNTURNED] = rows[(rows.method == method + REVERSED) & (rows["map"] == "other decision")]
            there = {x: some for x, some in there.items() if len(some) > 1}
            rungs = [x for x in RUNGS if x in there]
            steps = [*zip(rungs[1:], rungs), *(both for both in _BESIDE if {*both} <= {*there})]
            known = {x: (*key, method, x, *area_interval(some, draws, seed)) for x, some in there.items()}
            found += [(*known[x], None, None, *[np.nan] * 4) for x in rungs[:1]]
            for rung, over in steps:
                one, other = (there[x].set_index(PAIR).area for x in (rung, over))
                if len(gain := (one - other).dropna() * (-1 if key[0] == "deletion" else 1)) > 1:
                    common, _, *values = gain_interval(gain, draws, seed)
                    found.append((*known[rung], over, common, *values))
    if not found:
        raise ValueError("the table holds no method beside the controls; a ladder needs one or more, on two pairs")
    answer = pd.DataFrame(found, columns=[*SETTING, "method", "rung", *_COLUMNS])
    answer = corrected(answer, [*SETTING, "rung", "over"]).astype({"common": "Int64"})
    return answer.assign(verdict=answer.verdict.where(answer.over.notna(), None))


def faithfulness(
    model: FaceModel, pairs: Pairs, methods: Methods = "fggb", metrics: Metrics = LADDER, **how
) -> pd.DataFrame:
    """Explain pairs by several methods and say what their maps know: :func:`ladder` of :func:`deletion_table`.

    By default similarity maps are judged on genuine pairs with the probe masked, dissimilarity maps on impostor pairs
    with both images masked, black, and all maps after one blur of 5 pixels of 112. A method's own blur is switched off
    unless its options say one, so that this is the only one.

    Arguments as for :func:`deletion_table`, with two pairs or more of each kind asked for. Rungs need other pairs:
    the mean and the map of another person come from pairs of other people, other partners from all images at hand.

    Example:
        >>> faithfulness(model, pairs.draw(20), ["fggb", "occlusion"])  # doctest: +SKIP
    """
    return ladder(deletion_table(model, pairs, without_own_blur(methods), metrics, **how))
