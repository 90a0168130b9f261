"""What a table of deletion and insertion says: areas, comparisons, gains over orders that have not seen the picture."""

import numpy as np
import pandas as pd

from xfvlib.evaluation import mean_interval
from xfvlib.faithfulness.curves import FIXED_ORDERS, REVERSED
from xfvlib.faithfulness.table import SETTING


PAIRED = ["method", "other", "pairs", "gain", "low", "high", "verdict"]


def scored(table, pairs="matching"):
    """Rows with an area, of the pairs that count: "matching" (similarity maps on genuine, dissimilarity maps on impostor pairs),
    "genuine", "impostor" or "all"."""
    rows = table[table.area.notna()]
    if pairs == "all":
        return rows
    if pairs == "matching":
        return rows[rows.same == (rows.ranking == "similarity")]
    if pairs in ("genuine", "impostor"):
        return rows[rows.same == (pairs == "genuine")]
    raise ValueError(f"pairs is {pairs!r}; it must be 'matching', 'genuine', 'impostor' or 'all'")


def areas(table, pairs="matching", *, draws=2000, seed=0):
    """Area of every method under every setting, with the 95 % bootstrap interval over pairs.

    Args:
        table: from :func:`deletion_table` or a sweep; choose rows with pandas first where it holds more than is asked.
        pairs: as for :func:`scored`.
        draws, seed: of the bootstrap.

    Returns:
        A table: the setting, ``method``, ``pairs`` (their number), ``area, low, high`` in percent.
    """
    found = []
    for key, rows in scored(table, pairs).groupby([*SETTING, "method"], sort=False):
        mean, low, high = mean_interval(rows.area, draws=draws, seed=seed)
        found.append((*key, len(rows), float(mean), low, high))
    return pd.DataFrame(found, columns=[*SETTING, "method", "pairs", "area", "low", "high"])


def curve(rows, *, draws=2000, seed=0):
    """Accuracy against the fraction of pixels, for rows of one method and setting, with its bootstrap interval over pairs.

    Returns:
        ``(fractions, accuracy, low, high)``, each ``(steps + 1,)``, in [0, 1].

    Raises ValueError for rows of several methods or settings.
    """
    if len(rows.groupby([*SETTING, "method"])) != 1:
        raise ValueError(f"the {len(rows)} rows are of several methods or settings, or of none; a curve is drawn for one of each")
    right = (np.stack(rows.scores) >= rows.threshold.to_numpy()[:, None]) == rows.same.to_numpy()[:, None]
    return np.linspace(0, 1, right.shape[1]), *mean_interval(right, draws=draws, seed=seed)


def compare(table, method, other, pairs="matching", *, draws=2000, seed=0):
    """Is ``method`` better than ``other`` on the pairs that both explain? Pairs are drawn again, each with both its areas.

    Returns:
        A table, one row a setting: ``method, other``, ``pairs``, ``gain`` in percentage points (> 0 where ``method`` is the
        better one: lower deletion or higher insertion), ``low, high`` (95 %), and ``verdict``: "better", "worse", or "no difference found".

    Raises:
        ValueError: a method that the table does not hold under each setting, fewer than two common pairs, or several thresholds.
    """
    found = []
    for key, wide in by_pair(table, pairs, method, other):
        common = wide.dropna(subset=[method, other])
        found.append((*key, *paired(common, method, other, key[0], draws, seed)))
    return pd.DataFrame(found, columns=[*SETTING, *PAIRED])


def gains(table, pairs="matching", *, draws=2000, seed=0):
    """What every method adds to the best order that has not seen the picture: its control-adjusted score.

    A method that ranks no better than a blob in the middle of every image has shown nothing about this image. The best of
    ``FIXED_ORDERS`` is chosen for each setting by its mean area over the method's own pairs, and stays chosen when pairs are
    drawn again.

    Returns:
        A table as that of :func:`compare`; ``other`` is the control that was chosen.
    """
    found = []
    for key, wide in by_pair(table, pairs, *FIXED_ORDERS):
        for method in wide.columns:
            if method in FIXED_ORDERS or method.endswith(REVERSED):
                continue
            common = wide.dropna(subset=[method, *FIXED_ORDERS])
            means = common[list(FIXED_ORDERS)].mean()
            best = means.idxmin() if key[0] == "deletion" else means.idxmax()
            found.append((*key, *paired(common, method, best, key[0], draws, seed)))
    return pd.DataFrame(found, columns=[*SETTING, *PAIRED])


def compare_all(table, pairs="matching", *, draws=2000, seed=0):
    """Which explanation is the more faithful one, by how much, and is it more than chance: the answers of all three in one table.

    Args:
        table: from :func:`deletion_table` or a sweep with its controls.
        pairs, draws, seed: as for :func:`areas`.

    Returns:
        A table, one row a setting × method or control, the best area first: the setting, ``method, pairs, area, low, high``
        (percent, 95 %); ``control``, the best order that has not seen the picture, ``gain`` over it in percentage points with
        ``gain low, gain high``, and ``than control``; ``to best``, the gain over the best method (< 0: behind it), with
        ``to best low, to best high``, and ``than best``. The best is that on the pairs that all methods explained. Verdicts are
        those of :func:`compare`; controls have none.
    """
    answers, chance = areas(table, pairs, draws=draws, seed=seed), gains(table, pairs, draws=draws, seed=seed)
    over = {"other": "control", "low": "gain low", "high": "gain high", "verdict": "than control"}
    chance = chance.rename(columns=over)[[*SETTING, "method", "control", "gain", "gain low", "gain high", "than control"]]
    answers = answers[~answers.method.str.endswith(REVERSED) | answers.method.isin(FIXED_ORDERS)].merge(chance, how="left")
    found, behind = [], ["method", "to best", "to best low", "to best high", "than best"]
    for key, rows in answers.groupby(SETTING, sort=False):
        rows = rows.sort_values("area", ascending=key[0] == "deletion", kind="stable")
        methods = rows.method[rows.control.notna()].tolist()
        same = table[(table[SETTING] == list(key)).all(axis=1)]
        common = next(by_pair(same, pairs))[1][methods].dropna()
        means = common.mean() * (1 if key[0] == "deletion" else -1)
        best = methods[0] if common.empty else means.idxmin()
        others = [compare(same, method, best, pairs, draws=draws, seed=seed).iloc[0] for method in methods if method != best]
        to_best = [(row.method, row.gain, row.low, row.high, row.verdict) for row in others]
        found.append(rows.merge(pd.DataFrame([(best, 0.0, 0.0, 0.0, "best"), *to_best], columns=behind), how="left"))
    return pd.concat(found, ignore_index=True)


def paired(areas, method, other, metric, draws, seed):
    """One row of :func:`compare`."""
    if len(areas) < 2:
        raise ValueError(f"{method!r} and {other!r} have {len(areas)} pairs in common; an interval needs two or more")
    difference = (areas[method] - areas[other]) * (-1 if metric == "deletion" else 1)
    gain, low, high = (float(value) for value in mean_interval(difference, draws=draws, seed=seed))
    verdict = "better" if low > 0 else "worse" if high < 0 else "no difference found"
    return method, other, len(areas), gain, low, high, verdict


def by_pair(table, pairs, *needed):
    """Areas with a row a pair and a column a method, for each setting: yields ``(setting, table)``."""
    rows = scored(table, pairs)
    if rows.empty:
        raise ValueError(f"no row of the table has an area of {pairs} pairs")
    if rows.threshold.nunique() > 1:
        raise ValueError(f"the table holds {rows.threshold.nunique()} thresholds, {sorted(rows.threshold.unique())}; compare one at a time")
    for key, group in rows.groupby(SETTING, sort=False):
        if missing := [name for name in needed if name not in set(group.method)]:
            under = ", ".join(f"{name} {value}" for name, value in zip(SETTING, key))
            raise ValueError(f"the table has no {missing[0]!r} under {under}; it holds {', '.join(map(repr, group.method.unique()))}")
        # tables of several sweeps number their pairs each in its own way: the names tell which are the same
        once = group.drop_duplicates(["name_a", "name_b", "method"])
        yield key, once.pivot(index=["name_a", "name_b"], columns="method", values="area")
