"""What a table of deletion and insertion says: areas, comparisons, gains over orders that have not seen the picture."""

import numpy as np
import pandas as pd

from xfvlib.evaluation import mean_interval, right_decisions
from xfvlib.faithfulness.curves import FIXED_ORDERS, KINDS, REVERSED
from xfvlib.faithfulness.table import SETTING, Methods, Metrics, Pairs, deletion_table
from xfvlib.models import FaceModel
from xfvlib.perturb import check_known

_PAIR, _WAY = ["name_a", "name_b"], [*SETTING, "method"]


def areas(table: pd.DataFrame, pairs: str = "matching", *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Area of every method under every setting, with the 95 % bootstrap interval over pairs.

    Args:
        table: from :func:`deletion_table` or a sweep; choose rows with pandas first where it holds more than is asked.
            Several tables may be put together: a pair, known by its names, counts once.
        pairs: which count: "matching" (similarity maps on genuine, dissimilarity maps on impostor pairs), "genuine",
            "impostor" or "all".
        draws, seed: of the bootstrap.

    Returns:
        A table: the setting, ``method``, ``pairs`` (their number), ``area, low, high`` in percent.

    Raises:
        ValueError: another kind of table, no row that counts, a method on one pair only, several thresholds, or a pair
            with two areas by one method under one setting.
    """
    ways = _counted(table, pairs).groupby(_WAY, sort=False)
    found = [(*way, len(rows), *mean_interval(rows.area, draws=draws, seed=seed)) for way, rows in ways]
    return pd.DataFrame(found, columns=[*_WAY, "pairs", "area", "low", "high"])


def curve(rows: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Accuracy against the fraction of pixels, for rows of one method and setting, with its bootstrap interval over
    pairs.

    Returns:
        ``(fractions, accuracy, low, high)``, each ``(steps + 1,)``, in [0, 1].

    Raises ValueError for rows of several methods or settings, and as :func:`areas`.
    """
    rows = _counted(rows, "all", ["scores"])
    if len(rows.groupby(_WAY)) != 1:
        raise ValueError(f"the {len(rows)} rows are of several methods or settings; a curve is drawn for one of each")
    right = right_decisions(np.stack(rows.scores), rows.same, rows.threshold)
    return np.linspace(0, 1, right.shape[1]), *mean_interval(right, draws=draws, seed=seed)


def compare(table: pd.DataFrame, method: str, other: str, pairs: str = "matching", **how: int) -> pd.DataFrame:
    """Is ``method`` better than ``other`` on the pairs that both explain? Pairs are drawn again, each with both its
    areas.

    Args:
        table, pairs, draws, seed: as for :func:`areas`.

    Returns:
        A table, one row a setting: ``method, other``, ``pairs``, ``gain`` in percentage points (> 0 where ``method`` is
        the better one: lower deletion or higher insertion), ``low, high`` (95 %), and ``verdict``: "better", "worse",
        or "no difference found".

    Raises:
        ValueError: a method that the table does not hold under each setting, fewer than two common pairs, and as
            :func:`areas`.
    """
    return _gains(table, pairs, [method, other], lambda wide: [(method, other)], **how)


def gains(table: pd.DataFrame, pairs: str = "matching", *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """What every method adds to the best order that has not seen the picture: its control-adjusted score.

    A method that ranks no better than a blob in the middle of every image has shown nothing about this image. The best
    of ``FIXED_ORDERS`` is chosen for each setting by its mean area over the method's own pairs, and stays chosen when
    pairs are drawn again.

    Args:
        table, pairs, draws, seed: as for :func:`areas`.

    Returns:
        A table as that of :func:`compare`; ``other`` is the control that was chosen.

    Raises:
        ValueError: the table lacks a control, or holds nothing else, and as :func:`compare`.
    """
    controls = lambda wide: [(x, _best(wide[wide[x].notna()][FIXED_ORDERS])) for x in _explanations(wide)]
    return _gains(table, pairs, FIXED_ORDERS, controls, draws, seed)


def compare_all(table: pd.DataFrame, pairs: str = "matching", *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Which explanation is the more faithful one, by how much, and is it more than chance: the answers of all three in
    one table.

    Args:
        table: from :func:`deletion_table` or a sweep with its controls.
        pairs, draws, seed: as for :func:`areas`.

    Returns:
        A table, one row a setting × method or control, the best area first: the setting, ``method, pairs, area, low,
        high`` (percent, 95 %); ``control``, the best order that has not seen the picture, ``gain`` over it in
        percentage points with ``gain low, gain high``, and ``than control``; ``to best``, the gain over the best method
        (< 0: behind it), with ``to best low, to best high``, and ``than best``. The best is that on the pairs that all
        methods explained. Verdicts are those of :func:`compare`; controls have none.

    Raises as :func:`gains`.
    """

    def best(wide):
        own_mean_first = wide.mean().sort_values(ascending=False, kind="stable").index  # which decides between equals
        explained = wide[_explanations(own_mean_first)]
        common = explained.dropna()
        return [(method, _best(explained if common.empty else common)) for method in explained]

    chance = gains(table, pairs, draws=draws, seed=seed).drop(columns="pairs")
    chance.columns = [*_WAY, "control", "gain", "gain low", "gain high", "than control"]
    behind = _gains(table, pairs, [], best, draws, seed)
    behind["verdict"] = behind.verdict.mask(behind.method == behind.pop("other"), "best")
    behind = behind.drop(columns="pairs")
    behind.columns = [*_WAY, "to best", "to best low", "to best high", "than best"]
    found = areas(table, pairs, draws=draws, seed=seed).merge(chance, how="left").merge(behind, how="left")
    found = found[found.method.isin(FIXED_ORDERS) | ~found.method.str.endswith(REVERSED)]
    ways = found.groupby(SETTING, sort=False)
    ways = [x.sort_values("area", ascending=way[0] == "deletion", kind="stable") for way, x in ways]
    return pd.concat(ways, ignore_index=True)


# an impostor pair with one changed image stays rejected, a genuine pair with two black images is accepted, whatever the
# order
_FALL = (("genuine", "probe"), ("impostor", "both"))
WHERE_DECISIONS_FALL = [{"metric": metric, "pairs": pairs, "masked": side} for pairs, side in _FALL for metric in KINDS]


def faithfulness(
    model: FaceModel, pairs: Pairs, methods: Methods = "fggb", metrics: Metrics = WHERE_DECISIONS_FALL, **how
) -> pd.DataFrame:
    """Explain pairs by several methods and say which is the more faithful one, by how much, and whether it is more than
    chance.

    Arguments as for :func:`deletion_table`, with two pairs or more of each kind asked for; the answer as of
    :func:`compare_all`, which also reads a sweep's table. By default similarity maps are judged on genuine pairs with
    the probe masked, dissimilarity maps on impostor pairs with both images masked.

    Example:
        >>> faithfulness(model, pairs.draw(20), ["fggb", "occlusion"])  # doctest: +SKIP
    """
    return compare_all(deletion_table(model, pairs, methods, metrics, **how))


def check_columns(table: pd.DataFrame, needed: list[str], source: str) -> None:
    """Raise a ValueError unless a table has rows, and the columns that one of ``source`` has."""
    missing = [name for name in needed if name not in getattr(table, "columns", ())]
    if missing or table.empty:
        raise ValueError(f"{type(table).__name__} has no {', '.join(missing) or 'row'}; a table of {source} is needed")


def _counted(table, pairs, others=()):
    """Rows with an area, of the pairs that count, each once, as :func:`areas` says."""
    check_known("pairs", pairs, ("matching", "genuine", "impostor", "all"))
    check_columns(table, [*_PAIR, *_WAY, "same", "threshold", "area", *others], "deletion_table or of a sweep")
    rows = table[table.area.notna()]
    wanted = {"matching": rows.ranking == "similarity", "genuine": True, "impostor": False, "all": rows.same}[pairs]
    rows = rows[rows.same == wanted].drop_duplicates([*_PAIR, *_WAY, "threshold", "area"])
    check_columns(rows, [], f"areas of {pairs} pairs")
    if len(several := rows.threshold.unique()) > 1:
        raise ValueError(f"the table holds {len(several)} thresholds, {sorted(several)}; compare one at a time")
    for twice in rows[rows.duplicated([*_PAIR, *_WAY])].itertuples():
        what = f"{twice.name_a} – {twice.name_b} has several areas of {twice.metric} by {twice.method!r}"
        raise ValueError(f"{what}; keep one model and seed, and name the images of your own pairs apart")
    return rows


def _gains(table, pairs, needed, rivals, draws=2000, seed=0):
    """Gains of methods over others, as :func:`compare` returns them.

    Args:
        needed: methods that must be there under each setting.
        rivals: from areas with a row a pair and a column a method, where higher is better, to couples (method, other).
    """
    found = []
    for key, rows in _counted(table, pairs).groupby(SETTING, sort=False):
        if missing := [name for name in needed if name not in set(rows.method)]:
            held = f"{', '.join(map(str, key))}: {', '.join(map(repr, rows.method.unique()))}"
            raise ValueError(f"the table has no {missing[0]!r} under {held} are all it has")
        # tables of several sweeps number their pairs each in its own way: the names tell which are the same
        wide = rows.pivot(index=_PAIR, columns="method", values="area")[rows.method.unique()]
        wide = -wide if key[0] == "deletion" else wide
        for method, other in rivals(wide):
            gain = (wide[method] - wide[other]).dropna()
            if len(gain) < 2:
                raise ValueError(f"{method!r} and {other!r} have {len(gain)} pairs in common; two or more are needed")
            mean, low, high = map(float, mean_interval(gain, draws=draws, seed=seed))
            verdict = "better" if low > 0 else "worse" if high < 0 else "no difference found"
            found.append((*key, method, other, len(gain), mean, low, high, verdict))
    if not found:
        raise ValueError("the table holds no method beside the controls; a comparison needs one or more")
    return pd.DataFrame(found, columns=[*_WAY, "other", "pairs", "gain", "low", "high", "verdict"])


def _explanations(wide):
    """Columns that are neither controls nor reversed."""
    return [name for name in wide if name not in FIXED_ORDERS and not name.endswith(REVERSED)]


def _best(wide):
    """Name of the column of the highest mean; the first one where no column has any."""
    return wide.mean().fillna(-np.inf).idxmax()
