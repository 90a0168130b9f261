"""Deletion and insertion: how much an explanation's ranking of the pixels matters to the decision.

The lowest functions take one image or pair; :func:`deletion_table` scores many methods on many pairs, one row each, from
which :func:`areas`, :func:`compare`, :func:`gains` and :func:`standing` read their answers. :func:`xfvlib.sweep` makes the same table on many cores.
"""

import json
import zlib
from inspect import signature

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xfvlib.evaluation import mean_interval
from xfvlib.files import write_whole
from xfvlib.methods import METHODS, both_maps, decision_threshold, options_of
from xfvlib.perturb import FILLS, check_count, check_known, filled


def progressively(image, ranking, kind, *, steps=10, fill="black", seed=0):
    """An image while its pixels go, or come, in the order of a map: ``(steps + 1, 3, H, W)``.

    Args:
        image: ``(3, H, W)``, RGB in [0, 1].
        ranking: ``(H, W)``; the highest pixels come first, equal ones in reading order.
        kind: "deletion", from the image to the fill, or "insertion", from the fill to the image.
        steps: 0, 1, …, steps of equal numbers of pixels; the first and the last are exact.
        fill, seed: as for :func:`xfvlib.perturb.filled`.
    """
    check_known("kind", kind, ("deletion", "insertion"))
    check_ranking(ranking, image)
    chosen = first_pixels(ranking, steps)
    other = filled(image, fill, seed)
    return torch.where(chosen, other, image) if kind == "deletion" else torch.where(chosen, image, other)


def check_ranking(ranking, image):
    """Raise a ValueError unless every pixel of ``image`` ``(3, H, W)`` has its number in ``ranking`` ``(H, W)``."""
    if ranking.shape != image.shape[-2:]:
        raise ValueError(f"a map of {tuple(ranking.shape)} does not fit an image of {tuple(image.shape[-2:])}")
    if ranking.isnan().any():
        raise ValueError(f"{int(ranking.isnan().sum())} of the map's {ranking.numel()} pixels are NaN and have no place in an order")


def first_pixels(ranking, steps):
    """Where the first 0, 1/steps, …, 1 of the pixels of a ranking ``(H, W)`` lie: bool ``(steps + 1, 1, H, W)``."""
    falling = -ranking.detach().flatten().double().numpy()
    order = np.argsort(falling)  # equal pixels follow below, by their place: a quarter of the time of a stable sort
    number = np.concatenate([[0], np.cumsum(falling[order][1:] != falling[order][:-1])])
    order = np.sort(number * len(order) + order) % len(order)
    place = torch.empty(len(order))
    place[torch.from_numpy(order)] = torch.arange(len(order), dtype=place.dtype)
    counts = torch.linspace(0, len(order), steps + 1).round()
    return (place[None] < counts[:, None]).view(-1, 1, *ranking.shape)


def deletion_scores(model, pair, map_a, map_b=None, *, kind="deletion", steps=10, fill="black", seed=0):
    """Cosine similarity while the pixels of a pair go, or come, in the order of its maps.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        map_a, map_b: ``(H, W)``, the ranking of each image's pixels; without ``map_b`` the reference stays untouched.
            To follow a dissimilarity map, pass the signed maps with their sign turned.
        kind, steps, fill: as for :func:`progressively`.
        seed: of noise as the fill, which depends on the image's name besides.

    Returns:
        float ``(steps + 1,)`` in [−1, 1].
    """
    changed = [
        image[None] if ranking is None else progressively(image, ranking, kind, steps=steps, fill=fill, seed=noise_seed(name, seed))
        for image, ranking, name in ((pair.a, map_a, pair.name_a), (pair.b, map_b, pair.name_b))
    ]
    with torch.no_grad():
        a, b = map(model.embed, changed)
    return (a * b).sum(dim=1).cpu().numpy()


def deletion_area(scores, labels, threshold):
    """Accuracy while pixels go or come, and the area under it.

    Args:
        scores: ``(P, steps + 1)`` from :func:`deletion_scores`, one row a pair.
        labels: bool ``(P,)``, True for genuine pairs.
        threshold: of the untouched data.

    Returns:
        ``(accuracy, area)``: ``(steps + 1,)`` in [0, 1], and its mean height in percent (trapezoid), which does not grow
        with the number of steps. Deletion: lower is better; insertion: higher.
    """
    right = (np.asarray(scores) >= threshold) == np.asarray(labels, bool)[:, None]
    accuracy_at = right.mean(axis=0)
    return accuracy_at, float(100 * np.trapezoid(accuracy_at, dx=1 / (len(accuracy_at) - 1)))


def both_ways(model, image, other, ranking, *, steps, ends):
    """Embeddings along the deletion and the insertion curve of one image.

    Args:
        other: its fill, ``(3, H, W)``.
        ends: unit-length embeddings ``(N,)`` of the image and of its fill, where every curve begins or ends.

    Returns:
        ``{"deletion": (steps + 1, N), "insertion": (steps + 1, N)}``, both from 0 to 100 %.
    """
    check_ranking(ranking, image)
    chosen = first_pixels(ranking, steps)[1:-1]
    middles = torch.lerp(image, other, torch.cat([chosen, ~chosen]).float())  # exact, and faster than torch.where
    with torch.no_grad():
        inner = model.embed(middles) if steps > 1 else ends[0][:0].view(0, len(ends[0]))
    whole, gone = (end[None] for end in ends)
    deleted, inserted = inner[: steps - 1], inner[steps - 1 :]
    return {"deletion": torch.cat([whole, deleted, gone]), "insertion": torch.cat([gone, inserted, whole])}


def noise_seed(name, seed):
    """Seed of the noise in the place of an image's pixels: two images of a pair must not share it."""
    return zlib.crc32(f"{seed} noise {name}".encode())


def random_order(image, name, seed=0):
    """Control: a ranking ``(H, W)`` drawn with the seed and the image's name, the same on every machine and in every run."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    return torch.rand(image.shape[-2:], generator=generator)


def blob(image, name=None, seed=0):
    """Control: a Gaussian in the middle of the image, ``(H, W)``, sigma a quarter of each side; it has not seen the picture."""
    y, x = (torch.linspace(-2, 2, side) for side in image.shape[-2:])
    return torch.exp(-(y[:, None] ** 2 + x[None] ** 2) / 2)


CONTROLS = {"random": random_order, "blob": blob}
FIXED_ORDERS = ("random", "blob", "blob reversed")  # what can be had without looking at the picture
REVERSED = " reversed"

SCHEMA = pa.schema(
    [("pair", pa.int64()), ("name_a", pa.string()), ("name_b", pa.string()), ("same", pa.bool_()), ("score", pa.float64()),
     ("threshold", pa.float64()), ("method", pa.string()), ("metric", pa.string()), ("ranking", pa.string()), ("masked", pa.string()),
     ("fill", pa.string()), ("steps", pa.int64()), ("scores", pa.list_(pa.float32())), ("area", pa.float64()), ("error", pa.string())]
)  # fmt: skip
SETTING = ["metric", "ranking", "masked", "fill", "steps"]
CHOICES = {
    "ranking": ("matching", "similarity", "dissimilarity"),
    "pairs": ("all", "genuine", "impostor"),
    "masked": ("probe", "both"),
    "fill": FILLS,
}


def setting(metric, *, ranking="matching", pairs="all", masked="probe", fill="black", steps=10):
    """One way of scoring a map, checked: a dict of the arguments.

    Args:
        metric: "deletion", "insertion", or "scores" for the cosine alone, which has no options.
        ranking: which map is followed: the "similarity" map (S, highest first), the "dissimilarity" map (−S), or "matching",
            similarity on genuine pairs and dissimilarity on impostor pairs.
        pairs: "all", "genuine" or "impostor".
        masked: "probe", the reference stays whole, or "both".
        fill: one of ``FILLS``.
        steps: ≥ 1, of the curve.

    Raises ValueError, naming the known values.
    """
    if metric == "scores":
        return {"metric": "scores"}
    if metric not in ("deletion", "insertion"):
        raise ValueError(f"no metric is called {metric!r}; known metrics: 'deletion', 'insertion', 'scores'")
    given = {"metric": metric, "ranking": ranking, "pairs": pairs, "masked": masked, "fill": fill, "steps": steps}
    for key, known in CHOICES.items():
        check_known(key, given[key], known)
    check_count("steps", steps)
    return given


def settings_of(metrics):
    """Checked settings from ``"deletion"``, or a list of names and of dicts such as ``{"metric": "deletion", "fill": "mean"}``."""
    listed = [metrics] if isinstance(metrics, (str, dict)) else list(metrics)
    listed = [metric if isinstance(metric, dict) else {"metric": metric} for metric in listed]
    for given in listed:
        known = ["metric"] if given.get("metric") == "scores" else list(signature(setting).parameters)
        if "metric" not in given or set(given) - set(known):
            raise ValueError(
                f"{given} is no metric; it needs the key 'metric' and may have {', '.join(map(repr, known[1:])) or 'no other'}"
            )
    return [setting(**given) for given in listed]


def methods_of(methods):
    """``{label: (name, options)}`` from a name, a list of names, or a dict such as ``{"raw": {"method": "fggb", "embedding": "raw"}}``.

    Raises ValueError for an unknown method or option, and for a label that a control has.
    """
    if not isinstance(methods, dict):
        methods = {name: {"method": name} for name in ([methods] if isinstance(methods, str) else methods)}
    for label, given in methods.items():
        if not isinstance(given, dict) or "method" not in given:
            raise ValueError(f"{label!r} is given as {given!r}; a dict with the key 'method' is needed, such as {{'method': 'fggb'}}")
    named = {label: (given["method"], {k: v for k, v in given.items() if k != "method"}) for label, given in methods.items()}
    for label, (name, given) in named.items():
        if name not in METHODS:
            raise ValueError(f"no method is called {name!r}; known methods: {', '.join(map(repr, METHODS))}")
        if unknown := sorted(set(given) - set(options_of(name))):
            raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(map(repr, options_of(name))) or 'none'}")
        if label in CONTROLS or label.endswith(REVERSED):
            raise ValueError(f"{label!r} is what a control is called; give the method another label")
    return named


def deletion_rows(model, pair, maps, settings, *, threshold, controls=True, seed=0, clean=None):
    """Score the maps of one pair by deletion and insertion, beside the controls.

    The reversed order needs no network: its deletion curve is the method's insertion curve read backwards.

    Args:
        model: a FaceModel.
        pair: a Pair whose ``same`` is known.
        maps: ``{method: (map_a, map_b)}``, signed ``(H, W)``; ``map_b`` may be None where only the probe is masked.
        settings: from :func:`settings_of`.
        threshold: cosine similarity at and above which the pair is accepted.
        controls: False to leave out "random" and "blob", which are the same whatever the methods; never the reversed order.
        seed: of the random order, and of noise as the fill.
        clean: ``(2, N)``, embeddings of the untouched pair where they are known.

    Returns:
        A list of dicts, columns as in :func:`deletion_table`.
    """
    images, names = (pair.a, pair.b), (pair.name_a, pair.name_b)
    if pair.same is None and any(wanted["metric"] != "scores" for wanted in settings):
        raise ValueError(
            f"whether {pair.name_a} and {pair.name_b} show one person is not known, and so not which decision is right: set same"
        )
    curves_of = curves_wanted(settings, pair.same)
    others = {fill: [filled(image, fill, noise_seed(called, seed)) for image, called in zip(images, names)] for fill, _, _ in curves_of}
    unknown = [*(images if clean is None else ()), *(one for both in others.values() for one in both)]
    with torch.no_grad():
        ends = [*model.embed(torch.stack(unknown)).split(2)] if unknown else []
    clean = ends.pop(0) if clean is None else clean
    gone = dict(zip(others, ends))
    known = {"name_a": pair.name_a, "name_b": pair.name_b, "same": pair.same, "threshold": threshold}
    known["score"] = float((clean[0] * clean[1]).sum())
    rows = [known | {"metric": "scores"} for wanted in settings if wanted["metric"] == "scores"]
    fixed = {name: [order(image, called, seed) for image, called in zip(images, names)] for name, order in CONTROLS.items() if controls}
    for (fill, steps, ranking), group in curves_of.items():
        ends = list(zip(clean, gone[fill]))
        sides = 2 if any(wanted["masked"] == "both" for wanted in group) else 1
        signed = {name: both if ranking == "similarity" else [-one for one in both[:sides]] for name, both in maps.items()}
        for name, orders in (signed | fixed).items():
            forward = [both_ways(model, images[i], others[fill][i], orders[i], steps=steps, ends=ends[i]) for i in range(sides)]
            turned = {name + REVERSED: [backwards(one) for one in forward]} if name != "random" else {}
            for label, curves in ({name: forward} | turned).items():
                for wanted in group:
                    partner = curves[1][wanted["metric"]] if wanted["masked"] == "both" else clean[1]
                    scores = (curves[0][wanted["metric"]] * partner).sum(dim=1).cpu().numpy()
                    result = {"method": label, "scores": scores, "area": area_of(scores, pair.same, threshold)}
                    rows.append(known | {key: wanted[key] for key in SETTING} | result)
    return rows


def curves_wanted(settings, same):
    """The settings that apply to a genuine (``same``) or impostor pair, each once, under (fill, steps, ranking): one key, one set of curves."""
    wanted = {}
    for given in settings:
        if given["metric"] != "scores" and given["pairs"] in ("all", "genuine" if same else "impostor"):
            ranking = {"matching": "similarity" if same else "dissimilarity"}.get(given["ranking"], given["ranking"])
            one = {key: given[key] for key in SETTING} | {"ranking": ranking}
            group = wanted.setdefault((one["fill"], one["steps"], ranking), [])
            group += [one] if one not in group else []
    return wanted


def sides_wanted(settings, same):
    """How many images of a genuine (``same``) or impostor pair are masked, and so need a map: 0, 1 (the probe) or 2."""
    masked = {wanted["masked"] for group in curves_wanted(settings, same).values() for wanted in group}
    return 2 if "both" in masked else len(masked)


def backwards(curves):
    """The curves of the reversed order: what is deleted last is inserted first."""
    return {"deletion": curves["insertion"].flip(0), "insertion": curves["deletion"].flip(0)}


def area_of(scores, same, threshold):
    """Area of one pair in percent: the share of the curve on the right side of the threshold. Its mean over pairs is :func:`deletion_area`'s."""
    return deletion_area(scores[None], [same], threshold)[1]


def as_table(rows):
    """Rows as a table with every column of ``SCHEMA``, empty where a row has nothing to say."""
    return as_frame(pa.Table.from_pylist(rows, schema=SCHEMA))


def as_frame(content):
    """A pyarrow table of ``SCHEMA`` in pandas; ``steps``, which some rows lack, stays whole numbers."""
    return content.to_pandas().astype({"steps": "Int64"})


def deletion_table(model, pairs, methods=("fggb",), metrics=("deletion", "insertion"), *, threshold=None, controls=True, seed=0):
    """Explain every pair by every method and score the maps, in this process.

    Args:
        model: a FaceModel.
        pairs: a PairSet in the model's size.
        methods: names of ``METHODS``, or ``{label: {"method": name, option: value}}``.
        metrics: "deletion", "insertion", "scores", or dicts with the options of :func:`setting`.
        threshold: in [−1, 1], of the untouched data; None for the model's own.
        controls: False to leave out "random" and "blob".
        seed: of the random order.

    Returns:
        A table, one row a pair × method × setting: ``pair`` (its number), ``name_a, name_b, same``, ``score`` (cosine of the
        untouched images), ``threshold``, ``method`` (also "random", "blob", "… reversed"), ``metric, ranking, masked, fill,
        steps``, ``scores`` (the cosine at each step), ``area`` (percent; deletion: lower is better; insertion: higher),
        and ``error`` (empty; see :func:`xfvlib.sweep`).

    Raises:
        ValueError: an unknown method, metric or option.

    Example:
        >>> areas(deletion_table(model, pairs[:100], ["fggb"], ["deletion"]))  # doctest: +SKIP
    """
    methods, settings, threshold = methods_of(methods), settings_of(metrics), decision_threshold(model, threshold)
    rows = []
    for number, pair in enumerate(pairs):
        sides = sides_wanted(settings, pair.same)
        maps = {
            label: both_maps(METHODS[name], model, pair.a, pair.b, sides=sides, threshold=threshold, **options)
            for label, (name, options) in methods.items()
            if sides
        }
        found = deletion_rows(model, pair, maps, settings, threshold=threshold, controls=controls, seed=seed)
        rows += [{"pair": number} | row for row in found]
    return as_table(rows)


def save_table(table, path, settings):
    """Write a table as Parquet, with the settings that made it (a dict for JSON) in its schema."""
    content = pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False)
    content = content.replace_schema_metadata({"xfvlib": json.dumps(settings, ensure_ascii=False)})
    write_whole(path, lambda temporary: pq.write_table(content, temporary, compression="zstd"))


def read_table(path):
    """``(table, settings)`` as :func:`save_table` wrote them."""
    content = pq.read_table(path)
    return as_frame(content), json.loads((content.schema.metadata or {}).get(b"xfvlib", b"{}"))


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


def standing(table, pairs="matching", *, draws=2000, seed=0):
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


# an impostor pair with one changed image stays rejected, a genuine pair with two black images is accepted, whatever the order
WHERE_DECISIONS_FALL = [
    {"metric": metric, "pairs": pairs, "masked": masked}
    for pairs, masked in (("genuine", "probe"), ("impostor", "both"))
    for metric in ("deletion", "insertion")
]


def faithfulness(model, pairs, methods=("fggb",), metrics=WHERE_DECISIONS_FALL, *, threshold=None, seed=0):
    """Explain pairs by several methods and say which is the more faithful one, by how much, and whether it is more than chance.

    Arguments as for :func:`deletion_table`, with two pairs or more of each kind asked for; the answer as of :func:`standing`,
    which also reads a sweep's table. By default similarity maps are judged on genuine pairs with the probe masked, dissimilarity
    maps on impostor pairs with both images masked.

    Example:
        >>> faithfulness(model, pairs.draw(20), ["fggb", "occlusion"])  # doctest: +SKIP
    """
    return standing(deletion_table(model, pairs, methods, metrics, threshold=threshold, seed=seed))


PAIRED = ["method", "other", "pairs", "gain", "low", "high", "verdict"]


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
