"""Many methods on many pairs, scored by deletion and insertion: a table with one row each."""

import json
from inspect import signature

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xfvlib.evaluation import decision_threshold
from xfvlib.faithfulness.curves import CONTROLS, REVERSED, backwards, both_ways, deletion_area, noise_seed
from xfvlib.files import write_whole
from xfvlib.methods import METHODS, both_maps, options_of
from xfvlib.perturb import FILLS, check_count, check_known, filled


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
