"""Many methods on many pairs, scored by deletion and insertion: a table with one row each."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial, wraps
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
from xfvlib.faithfulness.stand_ins import BY_PARTNER, MAPS, OF_OTHERS, TURNED, Maps, StandIns, stand_ins
from xfvlib.files import read_bytes, write_whole
from xfvlib.methods import Method, Prepared, embedding_of, method_called
from xfvlib.methods.fggb import blurred
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import Pair, PairSet
from xfvlib.perturb import FILLS, check_count, check_known, check_least, check_options, embed_versions, filled

Pairs = PairSet | Sequence[Pair] | Pair
Methods = str | Iterable[str] | Mapping[str, dict]
Metrics = str | dict | Iterable[str | dict]
Cosine = float | None

SETTING = ["metric", "ranking", "masked", "fill", "steps", "blur"]
SCHEMA = pa.schema([("pair", "int64"), ("name_a", "string"), ("name_b", "string"), ("same", "bool"),
    ("score", "double"), ("threshold", "double"), ("method", "string"), ("map", "string"), ("metric", "string"),
    ("ranking", "string"), ("masked", "string"), ("fill", "string"), ("steps", "int64"), ("blur", "double"),
    ("scores", pa.list_(pa.float32())), ("area", "double"), ("error", "string")])  # fmt: skip
_KNOWN = {"ranking": ("matching", "similarity", "dissimilarity"), "pairs": ("all", "genuine", "impostor"),
          "masked": ("probe", "both"), "fill": FILLS, "map": MAPS}  # fmt: skip
_ADDED = {"map": "own", "blur": 0.0}  # columns that former tables lack, and what was true of them


def setting(metric: str, **options) -> dict:
    """One way of scoring a map, checked, with all its options: a dict.

    Args:
        metric: "deletion", "insertion", or "scores" for the cosine alone, which has no options.
        ranking: which map is followed: the "similarity" map (S, highest first), the "dissimilarity" map (−S), or
            "matching", similarity on genuine pairs and dissimilarity on impostor pairs; the default.
        pairs: "all", the default, "genuine" or "impostor".
        masked: "probe", the reference stays whole, the default, or "both".
        fill: one of ``FILLS``; "black".
        map: one of ``MAPS``: the pair's "own", or what stands in for it, chosen as :func:`stand_ins` says: the method's
            map of the image with "another partner", whose decision is the same, or of the "other decision", the map's
            sign turned then; "another person", the own map of a pair of other people; or "mean", of all such maps.
        steps: ≥ 1, of the curve; 10.
        blur: sigma of a Gaussian blur of the signed map, or of a control's order, before it is followed, in pixels of a
            112-pixel image, scaled with the image; 0, for none.

    Raises ValueError, naming the known values.

    Example:
        >>> setting("deletion", masked="both", blur=5)  # doctest: +NORMALIZE_WHITESPACE
        {'metric': 'deletion', 'ranking': 'matching', 'pairs': 'all', 'masked': 'both', 'fill': 'black', 'map': 'own',
         'steps': 10, 'blur': 5}
    """
    check_known("metric", metric, (*KINDS, "scores"))
    defaults = {} if metric == "scores" else {key: known[0] for key, known in _KNOWN.items()}
    defaults |= {"steps": 10, "blur": 0} if defaults else {}
    if unknown := [key for key in options if key not in defaults]:
        raise ValueError(f"{metric} has no option {unknown[0]!r}; it has {', '.join(map(repr, defaults)) or 'none'}")
    found = {"metric": metric} | defaults | _plain(options)
    for key in _KNOWN if defaults else ():
        check_known(key, found[key], _KNOWN[key])
    check_count("steps", found.get("steps", 1))
    check_least("blur", found.get("blur", 0), 0)
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


def without_own_blur(methods: Methods) -> dict[str, dict]:
    """The same methods for :func:`methods_of`, those that blur their maps themselves with ``blur=0``, so that a
    setting's blur is the only one; not where a method's options say another.

    Example:
        >>> without_own_blur(["fggb", "gradient"])
        {'fggb': {'method': 'fggb', 'blur': 0}, 'gradient': {'method': 'gradient'}}
    """
    blurs = lambda name: {"blur": 0} if "blur" in method_called(name).options else {}
    return {label: {"method": name} | blurs(name) | given for label, (name, given) in methods_of(methods).items()}


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
    others: Mapping[str, Maps] = {},
) -> list[dict]:
    """Score the maps of one pair by deletion and insertion, beside the controls.

    The reversed order needs no network: its deletion curve is the method's insertion curve read backwards.

    Args:
        model: a FaceModel.
        pair: a Pair whose ``same`` is known.
        maps: ``{method: (map_a, map_b)}``, the pair's own, signed ``(H, W)``; ``map_b`` may be None where only the
            probe is masked.
        settings: from :func:`settings_of`.
        threshold: cosine similarity at and above which the pair is accepted.
        controls: False to leave out "random" and "blob", which are the same whatever the methods; never the reversed
            order.
        seed: of the random order, and of noise as the fill.
        clean: ``(2, N)``, embeddings of the untouched pair where they are known.
        others: ``{map: maps}`` that stand in for the own ones where a setting says so; one that is missing gives no
            row. The map of the "other decision" comes with its sign turned; its reversed order is the map as it was.

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
    for (fill, steps, ranking, blur), asked in wanted.items():
        every = dict.fromkeys(one for some in asked.values() for one in some)
        sides = range(max(1 + (masked == "both") for _, masked in every))
        fills = [filled(images[i], fill, curves.noise_seed(names[i], seed)) for i in sides]
        ends = list(zip(clean, curves.embed_each(model, torch.stack(fills))))
        named = [(x, *way) for x in asked for way in ({"own": maps} | dict(others)).get(x, {}).items()]
        followed = named + [("", *way) for way in fixed.items()]
        if not followed:
            continue
        signs = [-1 if ranking == "dissimilarity" and which else 1 for which, *_ in followed]
        orders = [[x * _order(way[-1][i], images[i], blur) for x, way in zip(signs, followed)] for i in sides]
        found = [_both_ways(model, images[i], fills[i], orders[i], ends[i], steps) for i in sides]
        for (which, label, _), there in zip(followed, torch.stack(found, dim=1)):
            turns = which in ("own", "other decision", "")
            for called, along in ((label, there), (label + REVERSED, there.flip(1, 2)))[: 1 + turns]:
                for metric, masked in asked.get(which, every) if called != "random reversed" else ():
                    a, *b = along[:, KINDS.index(metric)]
                    scores = (a * (b[0] if masked == "both" else clean[1])).sum(dim=1).numpy()
                    row = dict(zip(SETTING, (metric, ranking, masked, fill, steps, blur)))
                    row |= {"method": called, "map": which or "own", "scores": scores}
                    rows.append(known | row | {"area": area_of(scores, pair.same, threshold)})
    return rows


def _order(ranking, image, blur):
    """The ranking as it is followed: checked, and blurred where that is asked for."""
    ranking = curves.as_ranking(ranking, image)
    return blurred(ranking, blur) if blur else ranking


def _both_ways(model, image, other, rankings, ends, steps):
    """Embeddings along the deletion and the insertion curve of one image, both from 0 to 100 %, by each of R rankings:
    ``(R, 2, steps + 1, N)``.

    Turned round in the axes of the curve and of its steps they are those of the reversed order: what is deleted last is
    inserted first.

    Args:
        image, other: the image and its fill, ``(3, H, W)``.
        rankings: R times ``(H, W)``, highest pixels first.
        ends: unit-length embeddings ``(N,)`` of the image and of its fill, where every curve begins or ends.
    """
    chosen = torch.stack([curves.first_pixels(ranking, steps)[1:-1] for ranking in rankings])
    masks = torch.stack([chosen, ~chosen], dim=1).flatten(0, 2)
    changed = lambda some: torch.lerp(image, other, masks[some].float())  # exact, and faster than torch.where
    first, last = (torch.stack(two).expand(len(rankings), 2, -1)[:, :, None] for two in (ends, ends[::-1]))
    if steps == 1:
        return torch.cat([first, last], dim=2)
    between = embed_versions(model, changed, len(masks)).view(len(rankings), 2, steps - 1, -1)
    return torch.cat([first, between, last], dim=2)


def _wanted(settings, same):
    """``{(fill, steps, ranking, blur): {map: {(metric, masked): None}}}`` that apply to a genuine (``same``) or
    impostor pair, each once; settings that agree in the first four and the map share their curves."""
    found = {}
    for one in [given for given in settings if given["metric"] != "scores"]:
        if same is None:
            raise ValueError("a pair does not say whether it shows one person, so no decision is right: set same")
        ranking = {"matching": "similarity" if same else "dissimilarity"}.get(one["ranking"], one["ranking"])
        if one["pairs"] in ("all", "genuine" if same else "impostor"):
            of_way = found.setdefault((one["fill"], one["steps"], ranking, one["blur"]), {})
            of_way.setdefault(one["map"], {})[one["metric"], one["masked"]] = None
    return found


def sides_wanted(settings: list[dict], same: bool | None, which: str | None = None) -> int:
    """How many images of a genuine (``same``) or impostor pair are masked, and so need a map, or one of that kind: 0,
    1 (the probe) or 2."""
    ways = [one for asked in _wanted(settings, same).values() for x, one in asked.items() if which in (None, x)]
    return max((1 + (masked == "both") for asked in ways for _, masked in asked), default=0)


def maps_wanted(settings: list[dict]) -> set[str]:
    """Which of ``MAPS`` the settings ask for."""
    return {one["map"] for one in settings if one["metric"] != "scores"}


def area_of(scores: Sequence[float] | np.ndarray, same: bool | None, threshold: float) -> float:
    """Area of one pair in percent: the share of the curve on the right side of the threshold. Its mean over pairs is
    :func:`deletion_area`'s.

    Example:
        >>> area_of([0.9, 0.6, 0.1], True, 0.5)
        75.0
    """
    return curves.deletion_area(np.asarray([scores]), np.asarray([same]), threshold)[1]


def as_frame(content: pa.Table) -> pd.DataFrame:
    """A pyarrow table of ``SCHEMA`` in pandas; ``steps``, which some rows lack, stays whole numbers. Of a former table
    every map is the pair's own and unblurred."""
    found = content.to_pandas()
    for name, value in _ADDED.items():
        if name not in found:
            found[name] = pd.Series(value, found.index).where(found.metric.isin(KINDS))
    return found[SCHEMA.names].astype({"steps": "Int64"})


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
        of the untouched images), ``threshold``, ``method`` (also "random", "blob", "… reversed"), ``map`` (one of
        ``MAPS``), ``metric, ranking, masked, fill, steps, blur``, ``scores`` (the cosine at each step), ``area``
        (percent; deletion: lower is better; insertion: higher), and ``error`` (empty; see :func:`xfvlib.sweep`). A pair
        for which a stand-in's map cannot be had has no row of that map.

    Raises:
        ValueError: no pairs, a pair whose ``same`` is not known, an unknown method, metric or option; where stand-ins
            are asked for, one name of two images.
        TypeError: a method needs gradients that the model does not have.

    Example:
        >>> areas(deletion_table(model, pairs[:100], ["fggb"], ["deletion"]))  # doctest: +SKIP
    """
    settings, chosen, rows = settings_of(metrics), methods_of(methods), []
    how["threshold"] = threshold = decision_threshold(model, threshold)
    listed = _checked(pairs if isinstance(pairs, Iterable) else [pairs])
    records = {name: remembering(method_called(name, model)) for name, _ in chosen.values()}
    called = {
        x: partial(records[name].maps, model, threshold=threshold, **given) for x, (name, given) in chosen.items()
    }
    wanted, plan = maps_wanted(settings), None
    if wanted - {"own"} and (listed := [*listed]):
        pool = pairs.images if isinstance(pairs, PairSet) else _pool(listed)
        named = [(pair.name_a, pair.name_b, pair.same) for pair in listed]
        plan = plan_of(model, named, pool, threshold, how.get("seed", 0))

    def explained():
        for number, pair in enumerate(listed):
            sides = sides_wanted(settings, pair.same)
            maps = {"own": {label: call(pair.a, pair.b, sides) for label, call in called.items() if sides}}
            for which in wanted.intersection(BY_PARTNER):
                if partners := plan.partners_of(number, which, sides_wanted(settings, pair.same, which)):
                    both, sign = [*zip((pair.a, pair.b), map(pool.__getitem__, partners))], TURNED.get(which, 1)
                    maps[which] = {label: [sign * call(*one, 1)[0] for one in both] for label, call in called.items()}
            yield number, pair, maps

    every = explained()
    if plan and wanted.intersection(OF_OTHERS):
        kept = [*every]
        lend = plan.lender(wanted, lambda number: kept[number][2]["own"], range(len(kept)))
        every = ((n, pair, maps | lend(n, sides_wanted(settings, pair.same))) for n, pair, maps in kept)
    for number, pair, maps in every:
        found = deletion_rows(model, pair, maps["own"], settings, others=maps, **how)
        rows += [{"pair": number} | row for row in found]
    if not rows:
        raise ValueError("no pair gives a row: one pair or more, and metrics for their kind, are needed")
    return as_frame(pa.Table.from_pylist(rows, schema=SCHEMA))


def _checked(pairs):
    """The pairs, one by one; TypeError at what is none."""
    for pair in pairs:
        if not isinstance(pair, Pair):
            raise TypeError(f"pairs hold a {type(pair).__name__}; a PairSet or a list of Pairs is needed")
        yield pair


def _pool(pairs):
    """Images of a list of pairs by their names; ValueError where one name is that of two images."""
    found: dict[str, Tensor] = {}
    for pair in pairs:
        for name, image in ((pair.name_a, pair.a), (pair.name_b, pair.b)):
            if not torch.equal(found.setdefault(name, image), image):
                raise ValueError(f"two images are called {name!r}; name the images of your own pairs apart")
    return found


def plan_of(
    model: FaceModel, pairs: Sequence[tuple], pool: Mapping[str, Tensor], threshold: float, seed: int = 0
) -> StandIns:
    """Who stands in for whom, as :func:`xfvlib.faithfulness.stand_ins.stand_ins` chooses, among a pool of images by
    their names."""

    @cache
    def embedding(name):
        with suppress(Exception):  # whatever a decoder finds wrong with one file, the others can go on
            return embedding_of(model, pool[name])["embedding"]
        return None

    return stand_ins(pairs, embedding, pool, threshold, seed=seed)


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
        known = [name for name in SCHEMA.names if name not in _ADDED or name in content.column_names]
        return as_frame(content.select(known)), json.loads(content.schema.metadata[b"xfvlib"])
