"""Many methods on many pairs, scored by deletion and insertion: a table with one row each."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from xfvlib.extras import reworded
from xfvlib.faithfulness import curves
from xfvlib.faithfulness.curves import CONTROLS, KINDS, REVERSED
from xfvlib.files import read_bytes, write_whole
from xfvlib.methods import Method, Prepared, method_called
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import Pair, PairSet
from xfvlib.perturb import FILLS, check_count, check_known, check_options, filled

Pairs = PairSet | Sequence[Pair] | Pair
Methods = str | Iterable[str] | Mapping[str, dict]
Metrics = str | dict | Iterable[str | dict]
Cosine = float | None

SETTING = ["metric", "ranking", "masked", "fill", "steps"]
SCHEMA = pa.schema([("pair", "int64"), ("name_a", "string"), ("name_b", "string"), ("same", "bool"),
    ("score", "double"), ("threshold", "double"), ("method", "string"), ("metric", "string"), ("ranking", "string"),
    ("masked", "string"), ("fill", "string"), ("steps", "int64"), ("scores", pa.list_(pa.float32())),
    ("area", "double"), ("error", "string")])  # fmt: skip
_KNOWN = {"ranking": ("matching", "similarity", "dissimilarity"), "pairs": ("all", "genuine", "impostor"),
          "masked": ("probe", "both"), "fill": FILLS}  # fmt: skip


def setting(metric: str, **options) -> dict:
    """One way of scoring a map, checked, with all its options: a dict.

    Args:
        metric: "deletion", "insertion", or "scores" for the cosine alone, which has no options.
        ranking: which map is followed: the "similarity" map (S, highest first), the "dissimilarity" map (−S), or
            "matching", similarity on genuine pairs and dissimilarity on impostor pairs; the default.
        pairs: "all", the default, "genuine" or "impostor".
        masked: "probe", the reference stays whole, the default, or "both".
        fill: one of ``FILLS``; "black".
        steps: ≥ 1, of the curve; 10.

    Raises ValueError, naming the known values.

    Example:
        >>> setting("deletion", masked="both")
        {'metric': 'deletion', 'ranking': 'matching', 'pairs': 'all', 'masked': 'both', 'fill': 'black', 'steps': 10}
    """
    check_known("metric", metric, (*KINDS, "scores"))
    defaults = {} if metric == "scores" else {key: known[0] for key, known in _KNOWN.items()} | {"steps": 10}
    if unknown := [key for key in options if key not in defaults]:
        raise ValueError(f"{metric} has no option {unknown[0]!r}; it has {', '.join(map(repr, defaults)) or 'none'}")
    found = {"metric": metric} | defaults | _plain(options)
    for key in _KNOWN if defaults else ():
        check_known(key, found[key], _KNOWN[key])
    check_count("steps", found.get("steps", 1))
    return found


def settings_of(metrics: Metrics) -> list[dict]:
    """Checked settings from ``"deletion"``, or a list of names and of dicts such as ``{"metric": "deletion", "fill":
    "mean"}``.

    Raises ValueError for what is neither, and for unknown options and values.

    Example:
        >>> settings_of(["scores", {"metric": "deletion", "pairs": "genuine"}])[0]
        {'metric': 'scores'}
    """
    listed = [metrics] if isinstance(metrics, (str, dict)) else metrics
    with reworded(TypeError, ValueError, f"metrics is {metrics!r}; a name, a dict with 'metric', or a list is needed"):
        return [setting(**(one if isinstance(one, dict) else {"metric": one})) for one in listed]


def methods_of(methods: Methods) -> dict[str, tuple[str, dict]]:
    """``{label: (name, options)}`` from a name, a list of names, or a dict such as ``{"raw": {"method": "fggb",
    "embedding": "raw"}}``.

    Raises ValueError for an unknown method or option, and for a label that a control has.

    Example:
        >>> methods_of({"raw": {"method": "fggb", "embedding": "raw"}})
        {'raw': ('fggb', {'embedding': 'raw'})}
    """
    listed = methods if isinstance(methods, Iterable) and not isinstance(methods, str) else [methods]
    found = {}
    for label, given in (listed if isinstance(listed, Mapping) else {x: {"method": x} for x in listed}).items():
        if not isinstance(given, Mapping) or "method" not in given:
            raise ValueError(f"{label!r} is {given!r}; a dict with the key 'method' is needed: {{'method': 'fggb'}}")
        options = _plain(given)
        known = method_called(name := options.pop("method")).options
        if unknown := sorted({*options} - {*known}):
            raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(map(repr, known)) or 'none'}")
        if not isinstance(label, str) or label in CONTROLS or label.endswith(REVERSED):
            raise ValueError(f"{label!r} is no text, or what a control is called; give the method another label")
        found[label] = name, options
    return found


def _plain(options):
    """Options as the settings of a table keep them: numpy's numbers as Python's."""
    return {key: x.item() if isinstance(x, np.generic) else x for key, x in options.items()}


def remembering(method: Method, keep_bytes: float = 1e9) -> Method:
    """The same method, which prepares an image that comes again only once, while ``keep_bytes`` hold the last ones.

    For calls with one model.
    """
    if not method.prepare:
        return method
    kept: dict[tuple, Prepared] = {}

    @wraps(method.prepare)
    def prepare(**given):
        options = {name: x for name, x in given.items() if name not in ("model", "image", "embed")}
        key = given["image"].numpy().tobytes(), str(options)
        kept[key] = kept.pop(key, None) or method.prepare(**given)
        while len(kept) > 2 and sum(x.nbytes for one in kept.values() for x in one.values()) > keep_bytes:
            del kept[next(iter(kept))]
        return kept[key]

    return replace(method, prepare=prepare)


def deletion_rows(
    model: FaceModel,
    pair: Pair,
    maps: Mapping[str, Sequence[Tensor | None]],
    settings: list[dict],
    *,
    threshold: float,
    controls: bool = True,
    seed: int = 0,
    clean: Tensor | None = None,
) -> list[dict]:
    """Score the maps of one pair by deletion and insertion, beside the controls.

    The reversed order needs no network: its deletion curve is the method's insertion curve read backwards.

    Args:
        model: a FaceModel.
        pair: a Pair whose ``same`` is known.
        maps: ``{method: (map_a, map_b)}``, signed ``(H, W)``; ``map_b`` may be None where only the probe is masked.
        settings: from :func:`settings_of`.
        threshold: cosine similarity at and above which the pair is accepted.
        controls: False to leave out "random" and "blob", which are the same whatever the methods; never the reversed
            order.
        seed: of the random order, and of noise as the fill.
        clean: ``(2, N)``, embeddings of the untouched pair where they are known.

    Returns:
        A list of dicts, columns as in :func:`deletion_table`.

    Raises:
        ValueError: ``same`` is not known; a map of another size than the image, or with NaN.
        TypeError: a map is none, or is missing.
    """
    check_options(deletion_rows, locals())
    images, names, wanted = (pair.a, pair.b), (pair.name_a, pair.name_b), _wanted(settings, pair.same)
    clean = curves.embed_each(model, torch.stack(images)) if clean is None else clean.cpu()
    known = {"name_a": pair.name_a, "name_b": pair.name_b, "same": pair.same, "threshold": threshold}
    known["score"] = float((clean[0] * clean[1]).sum())
    rows = [known | one for one in settings if one["metric"] == "scores"]
    fixed = {x: [order(*both, seed) for both in zip(images, names)] for x, order in CONTROLS.items() if controls}
    for (fill, steps, ranking), asked in wanted.items():
        sides = range(max(1 + (masked == "both") for _, masked in asked))
        others = [filled(images[i], fill, curves.noise_seed(names[i], seed)) for i in sides]
        ends = list(zip(clean, curves.embed_each(model, torch.stack(others))))
        for label, both in {**maps, **fixed}.items():
            sign = -1 if ranking == "dissimilarity" and label in maps else 1
            there = torch.stack([_both_ways(model, images[i], others[i], both[i], ends[i], steps, sign) for i in sides])
            for called, along in ((label, there), (label + REVERSED, there.flip(1, 2))):
                for metric, masked in asked if called != "random reversed" else ():
                    a, *b = along[:, KINDS.index(metric)]
                    scores = (a * (b[0] if masked == "both" else clean[1])).sum(dim=1).numpy()
                    row = dict(zip(SETTING, (metric, ranking, masked, fill, steps)))
                    row |= {"method": called, "scores": scores, "area": area_of(scores, pair.same, threshold)}
                    rows.append(known | row)
    return rows


def _both_ways(model, image, other, ranking, ends, steps, sign):
    """Embeddings along the deletion and the insertion curve of one image, both from 0 to 100 %: ``(2, steps + 1, N)``.

    Turned round in both of the first axes they are those of the reversed order: what is deleted last is inserted first.

    Args:
        image, other: the image and its fill, ``(3, H, W)``.
        ranking: ``(H, W)``, highest pixels first, or lowest first where ``sign`` is −1.
        ends: unit-length embeddings ``(N,)`` of the image and of its fill, where every curve begins or ends.
    """
    chosen = curves.first_pixels(sign * curves.as_ranking(ranking, image), steps)[1:-1]
    middles = torch.lerp(image, other, torch.cat([chosen, ~chosen]).float())  # exact, and faster than torch.where
    whole, gone = (end[None] for end in ends)
    deleted, inserted = (curves.embed_each(model, middles) if steps > 1 else whole[:0]).tensor_split(2)
    return torch.stack([torch.cat([whole, deleted, gone]), torch.cat([gone, inserted, whole])])


def _wanted(settings, same):
    """``{(fill, steps, ranking): [(metric, masked), …]}`` that apply to a genuine (``same``) or impostor pair, each
    once; settings that agree in the first three share their curves."""
    found = {}
    for one in [given for given in settings if given["metric"] != "scores"]:
        if same is None:
            raise ValueError("a pair does not say whether it shows one person, so no decision is right: set same")
        ranking = {"matching": "similarity" if same else "dissimilarity"}.get(one["ranking"], one["ranking"])
        if one["pairs"] in ("all", "genuine" if same else "impostor"):
            found.setdefault((one["fill"], one["steps"], ranking), {})[one["metric"], one["masked"]] = None
    return found


def sides_wanted(settings: list[dict], same: bool | None) -> int:
    """How many images of a genuine (``same``) or impostor pair are masked, and so need a map: 0, 1 (the probe) or 2."""
    return max((1 + (masked == "both") for asked in _wanted(settings, same).values() for _, masked in asked), default=0)


def area_of(scores: Sequence[float] | np.ndarray, same: bool | None, threshold: float) -> float:
    """Area of one pair in percent: the share of the curve on the right side of the threshold. Its mean over pairs is
    :func:`deletion_area`'s.

    Example:
        >>> area_of([0.9, 0.6, 0.1], True, 0.5)
        75.0
    """
    return curves.deletion_area(np.asarray([scores]), np.asarray([same]), threshold)[1]


def as_frame(content: pa.Table) -> pd.DataFrame:
    """A pyarrow table of ``SCHEMA`` in pandas; ``steps``, which some rows lack, stays whole numbers."""
    return content.to_pandas().astype({"steps": "Int64"})


def deletion_table(
    model: FaceModel, pairs: Pairs, methods: Methods = "fggb", metrics: Metrics = KINDS, threshold: Cosine = None, **how
) -> pd.DataFrame:
    """Explain every pair by every method and score the maps, in this process.

    Args:
        model: a FaceModel.
        pairs: a PairSet in the model's size, or a list of pairs.
        methods: names of ``METHODS``, or ``{label: {"method": name, option: value}}``.
        metrics: "deletion", "insertion", "scores", or dicts with the options of :func:`setting`.
        threshold: in [−1, 1], of the untouched data; None for the model's own.
        how: ``controls`` and ``seed`` as for :func:`deletion_rows`.

    Returns:
        A table, one row a pair × method × setting: ``pair`` (its number), ``name_a, name_b, same``, ``score`` (cosine
        of the untouched images), ``threshold``, ``method`` (also "random", "blob", "… reversed"), ``metric, ranking,
        masked, fill, steps``, ``scores`` (the cosine at each step), ``area`` (percent; deletion: lower is better;
        insertion: higher), and ``error`` (empty; see :func:`xfvlib.sweep`).

    Raises:
        ValueError: no pairs, a pair whose ``same`` is not known, or an unknown method, metric or option.
        TypeError: a method needs gradients that the model does not have.

    Example:
        >>> areas(deletion_table(model, pairs[:100], ["fggb"], ["deletion"]))  # doctest: +SKIP
    """
    settings, chosen, rows = settings_of(metrics), methods_of(methods), []
    how["threshold"] = decision_threshold(model, threshold)
    records = {name: remembering(method_called(name, model)) for name, _ in chosen.values()}
    for number, pair in enumerate(pairs if isinstance(pairs, Iterable) else [pairs]):
        if not isinstance(pair, Pair):
            raise TypeError(f"pairs hold a {type(pair).__name__}; a PairSet or a list of Pairs is needed")
        shown, t = (model, pair.a, pair.b, sides_wanted(settings, pair.same)), how["threshold"]
        maps = {x: records[name].maps(*shown, threshold=t, **given) for x, (name, given) in chosen.items() if shown[3]}
        rows += [{"pair": number} | row for row in deletion_rows(model, pair, maps, settings, **how)]
    if not rows:
        raise ValueError("no pair gives a row: one pair or more, and metrics for their kind, are needed")
    return as_frame(pa.Table.from_pylist(rows, schema=SCHEMA))


def save_table(table: pd.DataFrame, path: str | Path, settings: dict) -> None:
    """Write a table as Parquet, with the settings that made it (a dict for JSON) in its schema."""
    content = pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False)
    content = content.replace_schema_metadata({"xfvlib": json.dumps(settings, ensure_ascii=False)})
    write_whole(path, lambda temporary: pq.write_table(content, temporary, compression="zstd"))


def read_table(path: str | Path) -> tuple[pd.DataFrame, dict]:
    """``(table, settings)`` as :func:`save_table` wrote them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not whole, or another kind of file.
    """
    data = read_bytes(path, 1_000_000_000, "table")
    with reworded(Exception, ValueError, f"{path} is no whole file of save_table, with settings: make it again"):
        content = pq.read_table(pa.BufferReader(data))
        return as_frame(content.select(SCHEMA.names)), json.loads(content.schema.metadata[b"xfvlib"])
