"""What a table of deletion and insertion says: areas, comparisons, gains over orders that have not seen the picture.

Intervals are of people: those in the pairs are drawn again, on both sides of a pair, since pairs that share somebody do
not vary by themselves.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from xfvlib.evaluation import mean_interval, right_decisions, weights_by_person
from xfvlib.faithfulness.curves import FIXED_ORDERS, REVERSED
from xfvlib.faithfulness.stand_ins import people_of
from xfvlib.faithfulness.table import SETTING
from xfvlib.perturb import check_known

PAIR, _WAY = ["name_a", "name_b"], [*SETTING, "method"]
_GAIN = ["pairs", "people", "gain", "low", "high", "p"]
LEVEL = 0.05  # of a comparison, or of a family of them
_FEW = 5  # pairs on one side of a share: with fewer, the bootstrap sees too little of what could be there


def areas(table: pd.DataFrame, pairs: str = "matching", *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Area of every method under every setting, with the 95 % bootstrap interval over people.

    Args:
        table: from :func:`deletion_table` or a sweep; choose rows with pandas first where it holds more than is asked.
            Several tables may be put together: a pair, known by its names, counts once.
        pairs: which count: "matching" (similarity maps on genuine, dissimilarity maps on impostor pairs), "genuine",
            "impostor" or "all".
        draws, seed: of the bootstrap.

    Returns:
        A table: the setting, ``method``, ``map``, ``pairs`` and ``people`` (their numbers), ``area, low, high`` in
        percent; the interval is NaN where all areas are one or show one person, which says nothing about others.

    Raises:
        ValueError: another kind of table, no row that counts, a method on one pair only, several thresholds, or a pair
            with two areas by one method under one setting.
    """
    ways, columns = (
        counted(table, pairs).groupby([*_WAY, "map"], sort=False),
        ["pairs", "people", "area", "low", "high"],
    )
    found = [(*way, *area_interval(rows, draws, seed)) for way, rows in ways]
    return pd.DataFrame(found, columns=[*_WAY, "map", *columns])


def area_interval(rows: pd.DataFrame, draws: int, seed: int) -> tuple:
    """``pairs, people, area, low, high`` of the rows of one way."""
    people = people_of(rows.name_a, rows.name_b)
    count = len(np.unique(people))
    # for one person the pairs are drawn again, which finds their mistakes
    mean, *interval = mean_interval(rows.area, people if count > 1 else None, draws=draws, seed=seed)
    interval = interval if rows.area.nunique() > 1 and count > 1 else [np.nan] * 2
    return len(rows), count, mean, *interval


def share_interval(
    hits: ArrayLike, people: ArrayLike, *, draws: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of pairs with its 95 % interval: people are drawn again, and near the ends Wilson's interval is the least.

    Where fewer than five pairs are on one side, or all show one person, the interval reaches at least as far as
    Wilson's of as many pairs as there are people, if these are fewer.

    Args:
        hits: bool ``(P, …)``, one row a pair, P ≥ 2.
        people, draws, seed: as for :func:`xfvlib.evaluation.mean_interval`.

    Returns:
        ``(share, low, high)``, each ``(…)``, in [0, 1].

    Raises as :func:`xfvlib.evaluation.mean_interval`.

    Example:
        >>> share, low, high = share_interval([True] * 10, list("abcdefghij"))
        >>> print(share, low.round(2), high)
        1.0 0.72 1.0
    """
    from scipy.stats import binomtest  # here: it takes long to import

    hits, persons = np.asarray(hits, bool), len(np.unique(people))
    share, low, high = map(np.array, mean_interval(hits, people if persons > 1 else None, draws=draws, seed=seed))
    few, count = np.minimum(hits.sum(axis=0), (~hits).sum(axis=0)) < _FEW, min(len(hits), persons)
    few |= persons < 2
    for place in map(tuple, np.argwhere(few)):
        wilson = binomtest(round(share[place] * count), count).proportion_ci(method="wilson")
        low[place], high[place] = min(low[place], wilson.low), max(high[place], wilson.high)
    return share, low, high


def curve(rows: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Accuracy against the fraction of pixels, for rows of one method, map and setting, with :func:`share_interval`.

    Returns:
        ``(fractions, accuracy, low, high)``, each ``(steps + 1,)``, in [0, 1].

    Raises ValueError for rows of several methods, maps or settings, and as :func:`areas`.
    """
    rows = counted(rows, "all", ["scores"])
    if len(rows.groupby([*_WAY, "map"])) != 1:
        raise ValueError(f"the {len(rows)} rows are of several methods or settings; a curve is drawn for one of each")
    right = right_decisions(np.stack(rows.scores), rows.same, rows.threshold)
    people = people_of(rows.name_a, rows.name_b)
    return np.linspace(0, 1, right.shape[1]), *share_interval(right, people, draws=draws, seed=seed)


def holm(p: ArrayLike) -> np.ndarray:
    """P-values of a family of comparisons, corrected so that one false verdict in the whole family is as rare as it
    should be in one comparison: ``(n,)`` in [0, 1].

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    given = np.asarray(p, float)
    order = np.argsort(given, kind="stable")
    found = np.empty_like(given)
    found[order] = np.minimum(np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1)), 1)
    return found


def gain_interval(gain: pd.Series, draws: int, seed: int) -> tuple:
    """``pairs, people, gain, low, high, p`` of gains that have the names of their pairs as index.

    ``p`` is twice the share of draws in which the gain is not above 0, or not below; never less than a coin that falls
    on one side as often as there are pairs, or people if they are fewer.
    """
    people = people_of(*map(gain.index.get_level_values, PAIR))
    count, values = len(np.unique(people)), gain.to_numpy()
    weights = weights_by_person(people if count > 1 else np.arange(len(gain)), draws=draws, seed=seed)
    means = weights @ values / weights.sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975)) if gain.nunique() > 1 and count > 1 else (np.nan, np.nan)
    p = 2 * (1 + min((means <= 0).sum(), (means >= 0).sum())) / (draws + 1)
    return len(gain), count, values.mean(), low, high, min(1.0, max(p, 2.0 ** (1 - min(len(gain), count))))


def corrected(found: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    """A table of gains with its ``p`` corrected by :func:`holm` over the rows that agree in the columns ``family``, and
    ``verdict``."""
    p = found.groupby(family, sort=False, dropna=False).p.transform(holm)
    words = np.select(
        [(p < LEVEL) & (found.gain > 0), (p < LEVEL) & (found.gain < 0)], ["better", "worse"], "no difference found"
    )
    return found.assign(p=p, verdict=words)


def compare(
    table: pd.DataFrame, method: str, other: str | Iterable[str], pairs: str = "matching", **how: int
) -> pd.DataFrame:
    """Is ``method`` better than ``other`` on the pairs that both explain? People are drawn again, each pair with both
    its areas.

    Args:
        table, pairs, draws, seed: as for :func:`areas`; only the pairs' own maps count.
        other: one or more methods.

    Returns:
        A table, one row a setting × other: ``method, other``, ``pairs`` and ``people``, ``gain`` in percentage points
        (> 0 where ``method`` is the better one: lower deletion or higher insertion), ``low, high`` (95 %, for this row
        alone; NaN as for :func:`areas`), ``p``, corrected over all ``other`` of a setting by :func:`holm`, and
        ``verdict``: "better" or "worse", where p < 0.05, or "no difference found".

    Raises:
        ValueError: a method that the table does not hold under each setting, fewer than two common pairs, and as
            :func:`areas`.
    """
    others = [other] if isinstance(other, str) else [*other]
    return _gains(table, pairs, [method, *others], lambda wide: [(method, one) for one in others], **how)


def gains(table: pd.DataFrame, pairs: str = "matching", *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """What every method adds to the best order that has not seen the picture: its control-adjusted score.

    A method that ranks no better than a blob in the middle of every image has shown nothing about this image. The best
    of ``FIXED_ORDERS`` is chosen for each setting by its mean area over the method's own pairs, and stays chosen when
    people are drawn again.

    Args:
        table, pairs, draws, seed: as for :func:`areas`.

    Returns:
        A table as that of :func:`compare`; ``other`` is the control that was chosen, and verdicts are corrected over
        the methods of a setting.

    Raises:
        ValueError: the table lacks a control, or holds nothing else, and as :func:`compare`.
    """
    controls = lambda wide: [(x, _best(wide[wide[x].notna()][FIXED_ORDERS])) for x in explanations(wide)]
    return _gains(table, pairs, FIXED_ORDERS, controls, draws, seed)


def compare_all(table: pd.DataFrame, pairs: str = "matching", *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Which explanation is the more faithful one, by how much, and is it more than chance: the answers of all three in
    one table.

    Args:
        table: from :func:`deletion_table` or a sweep with its controls.
        pairs, draws, seed: as for :func:`areas`.

    Returns:
        A table, one row a setting × method or control, the best area first: the setting, ``method, pairs, people, area,
        low, high`` (percent, 95 %); ``control``, the best order that has not seen the picture, ``gain`` over it in
        percentage points with ``gain low, gain high``, and ``than control``; ``to best``, the gain over the best method
        (< 0: behind it), with ``to best low, to best high``, and ``than best``. The best is that on the pairs that all
        methods explained. Verdicts are those of :func:`gains`, and of :func:`compare` over the methods behind the best;
        controls have none. Only the pairs' own maps count.

    Raises as :func:`gains`.
    """

    def best(wide):
        own_mean_first = wide.mean().sort_values(ascending=False, kind="stable").index  # which decides between equals
        explained = wide[explanations(own_mean_first)]
        common = explained.dropna()
        return [(method, _best(explained if common.empty else common)) for method in explained]

    chance = gains(table, pairs, draws=draws, seed=seed).drop(columns=["pairs", "people", "p"])
    chance.columns = [*_WAY, "control", "gain", "gain low", "gain high", "than control"]
    behind = _gains(table, pairs, [], best, draws, seed)
    behind["verdict"] = behind.verdict.mask(behind.method == behind.pop("other"), "best")
    behind = behind.drop(columns=["pairs", "people", "p"])
    behind.columns = [*_WAY, "to best", "to best low", "to best high", "than best"]
    own = areas(counted(table, pairs, which="own"), pairs, draws=draws, seed=seed).drop(columns="map")
    found = own.merge(chance, how="left").merge(behind, how="left")
    found = found[found.method.isin(FIXED_ORDERS) | ~found.method.str.endswith(REVERSED)]
    ways = found.groupby(SETTING, sort=False)
    ways = [x.sort_values("area", ascending=way[0] == "deletion", kind="stable") for way, x in ways]
    return pd.concat(ways, ignore_index=True)


def check_columns(table: pd.DataFrame, needed: list[str], source: str) -> None:
    """Raise a ValueError unless a table has rows, and the columns that one of ``source`` has."""
    missing = [name for name in needed if name not in getattr(table, "columns", ())]
    if missing or table.empty:
        raise ValueError(f"{type(table).__name__} has no {', '.join(missing) or 'row'}; a table of {source} is needed")


def counted(table: pd.DataFrame, pairs: str, others: Iterable[str] = (), which: str | None = None) -> pd.DataFrame:
    """Rows with an area, of the pairs that count and of that map, each once; errors as :func:`areas`."""
    check_known("pairs", pairs, ("matching", "genuine", "impostor", "all"))
    check_columns(table, [*PAIR, *_WAY, "map", "same", "threshold", "area", *others], "deletion_table or of a sweep")
    rows = table[table.area.notna() & (True if which is None else table["map"] == which)]
    wanted = {"matching": rows.ranking == "similarity", "genuine": True, "impostor": False, "all": rows.same}[pairs]
    way = [*PAIR, *_WAY, "map"]
    rows = rows[rows.same == wanted].drop_duplicates([*way, "threshold", "area"])
    check_columns(rows, [], f"areas of {pairs} pairs")
    if len(several := rows.threshold.unique()) > 1:
        raise ValueError(f"the table holds {len(several)} thresholds, {sorted(several)}; compare one at a time")
    for twice in rows[rows.duplicated(way)].itertuples():
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
    for key, rows in counted(table, pairs, which="own").groupby(SETTING, sort=False):
        if missing := [name for name in needed if name not in set(rows.method)]:
            held = f"{', '.join(map(str, key))}: {', '.join(map(repr, rows.method.unique()))}"
            raise ValueError(f"the table has no {missing[0]!r} under {held} are all it has")
        # tables of several sweeps number their pairs each in its own way: the names tell which are the same
        wide = rows.pivot(index=PAIR, columns="method", values="area")[rows.method.unique()]
        wide = -wide if key[0] == "deletion" else wide
        for method, other in rivals(wide):
            gain = (wide[method] - wide[other]).dropna()
            if len(gain) < 2:
                raise ValueError(f"{method!r} and {other!r} have {len(gain)} pairs in common; two or more are needed")
            found.append((*key, method, other, *gain_interval(gain, draws, seed)))
    if not found:
        raise ValueError("the table holds no method beside the controls; a comparison needs one or more")
    found = pd.DataFrame(found, columns=[*_WAY, "other", *_GAIN])
    # the best method against itself is no comparison, and enlarges no family
    return corrected(found.assign(itself=found.method == found.other), [*SETTING, "itself"]).drop(columns="itself")


def explanations(methods: Iterable[str]) -> list[str]:
    """Those that are neither controls nor reversed."""
    return [name for name in methods if name not in FIXED_ORDERS and not name.endswith(REVERSED)]


def _best(wide):
    """Name of the column of the highest mean; the first one where no column has any."""
    return wide.mean().fillna(-np.inf).idxmax()
