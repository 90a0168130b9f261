"""Figures that move without a kernel: arrays and plain JavaScript in the page, for JupyterLab and for pages of a
notebook.

A live figure shows what was computed when its cell ran. It needs no kernel, loads nothing, and moves by mouse, touch
and the arrow keys. Faces are drawn grey.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import chain, product
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from scipy.stats import rankdata
from torch import Tensor, nn

from xfvlib import conditions, evaluation, extras, frequency, methods, plots
from xfvlib.gradients import channel_gradients, cosine_to, input_gradient
from xfvlib.interaction import Interaction, Places
from xfvlib.livepage import DASHED, Sheet, by, chart, figure, level, line, page, select, short, slider, text_of
from xfvlib.methods.fggb import blurred
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import Pair, PairSet
from xfvlib.perturb import check_count, embed_versions

with extras.extra("notebooks"):
    import matplotlib as mpl
    from IPython.display import HTML

FACTORS = (1, 1.5, 2, 3, 4, 6, 8, 12, 16)  # by which width and height are divided
KEPT = ("low-pass: frequencies up to the cut-off", "high-pass: frequencies beyond it")  # in the order of CUTOFFS
_GRID = 28  # numbers a side of a blurred map, and of a place's weights, in the page
_SHOWN = 3  # mistakes of each kind beside a threshold, at most
_DECIDED = {  # rejected, accepted
    True: ["wrongly rejected", "rightly accepted"],
    False: ["rightly rejected", "wrongly accepted"],
    None: ["rejected", "accepted"],
}
_CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "no blur": {"blur": 0},
    "signed gradient": {"gradient": "signed"},
    "raw embedding": {"embedding": "raw"},
    "not normalised": {"normalise": False},
}


def show_interaction_live(i: Interaction) -> HTML:
    """An interaction to explore: point at a place of either face, and the other face shows what it finds there.

    169 windows take about 300 KB.

    Args:
        i: from :func:`xfvlib.interaction`, with places that lie in the image: windows or regions.

    Raises:
        ValueError: places that are bands.

    Example:
        >>> show_interaction_live(interaction(model, pair))  # doctest: +SKIP
    """
    largest = float(i.matrix.abs().max()) or 1.0
    told = [f"probe {i.pair.name_a}", f"reference {i.pair.name_b}"]
    sides = [_side(*one) for one in zip(told, (i.pair.a, i.pair.b), (i.places_a, i.places_b))]
    if sides[0]["weights"] == sides[1]["weights"]:  # half of the page
        del sides[1]["weights"]
    given = {
        "sides": sides,
        "matrix": text_of(np.round(i.matrix.numpy() / largest * 32767).astype("<i2").tobytes()),
        "largest": largest / 32767,
        "score": i.score,
        "grid": _GRID,
    }
    return page("interaction", given, f"{told[0]} and {told[1]}: which part of one was matched with which of the other")


def _side(title: str, image: Tensor, places: Places) -> dict[str, Any]:
    """What the page needs of one image."""
    if places.weights is None:
        raise ValueError("bands lie nowhere in the image; the live figure needs windows or regions: see show_chart")
    picture = BytesIO()
    grey = (255 * image.mean(dim=0).clamp(0, 1)).round().byte().numpy()
    Image.fromarray(grey).save(picture, "png", optimize=True)
    weights = nn.functional.interpolate(places.weights[None], (_GRID, _GRID), mode="area")[0]
    size = places.centres.new_tensor(image.shape[:0:-1])
    return {
        "title": title,
        "names": places.names,
        "image": f"data:image/png;base64,{text_of(picture.getvalue())}",
        "weights": text_of((255 * weights).round().byte().numpy().tobytes()),
        "centres": (places.centres / size).round(decimals=4).flatten().tolist(),
    }


def show_threshold_live(scores: ArrayLike, labels: ArrayLike, threshold: float, pairs: PairSet | None = None) -> HTML:
    """A threshold to move over the histogram of the scores and the ROC curve, with the mistakes that it makes.

    Args:
        scores: ``(P,)`` cosine similarities; the slider runs over their range.
        labels: bool ``(P,)``, True for genuine pairs; both kinds must occur.
        threshold: where the slider starts.
        pairs: the PairSet that was scored, for pictures of the mistakes; None for none. 400 images take about 300 KB.

    Raises:
        ValueError: what :func:`xfvlib.evaluation.error_rates` raises, a threshold outside [−1, 1], another number of
            pairs.

    Example:
        >>> show_threshold_live(scores(model, pairs), pairs.labels, model.threshold, pairs)  # doctest: +SKIP
    """
    evaluation.error_rates(scores, labels)
    evaluation.right_decisions(scores, labels, threshold)
    scores, labels = np.asarray(scores, float), np.asarray(labels, bool)
    if pairs is not None and len(pairs) != len(scores):
        raise ValueError(
            f"{len(pairs)} pairs and {len(scores)} scores were given; the pairs that were scored are needed"
        )
    low, high = np.floor(100 * min(scores.min(), threshold)) / 100, np.ceil(100 * max(scores.max(), threshold)) / 100
    steps = np.union1d(np.linspace(low, high, 201).round(4), threshold)
    genuine, impostor = (np.flatnonzero(kind)[np.argsort(scores[kind])] for kind in (labels, ~labels))
    rejected, passed = (np.searchsorted(scores[rows], steps) for rows in (genuine, impostor))
    accepted = len(impostor) - passed
    fnmr, fmr = rejected / len(genuine), accepted / len(impostor)
    told = [
        f"FMR {fmr[k]:.2%}: {accepted[k]:,} of {len(impostor):,} impostor pairs accepted. "
        f"FNMR {fnmr[k]:.2%}: {rejected[k]:,} of {len(genuine):,} genuine pairs rejected. TAR {1 - fnmr[k]:.2%}."
        for k in range(len(steps))
    ]
    sheet, panels, near = Sheet(), [], None
    if pairs is not None:
        rows = [[*impostor[p : p + _SHOWN], *genuine[max(0, r - _SHOWN) : r]] for p, r in zip(passed, rejected)]
        numbers = {row: n for n, row in enumerate(dict.fromkeys(chain.from_iterable(rows)))}
        near = by([0], [[numbers[row] for row in some] for some in rows])
        for row in numbers:
            one, same = pairs.table.loc[row], bool(labels[row])
            photos = [sheet.picture(pairs.image(name), 56) for name in (one.name_a, one.name_b)]
            decision = f"{'rejected' if same else 'accepted'}: {scores[row]:.4f}"
            title = f"{one.name_a} and {one.name_b}\n{plots.TRUTH[same]}\n{decision}"
            panels.append({"title": title, "photos": photos, "frame": "#92c5de" if same else "#f4a582"})  # as in plots
    edges, hills = np.linspace(low, high, 61), []
    for name, rows, colour in (("genuine", genuine, plots.GENUINE), ("impostor", impostor, plots.IMPOSTOR)):
        heights = np.histogram(scores[rows], edges, density=True)[0]
        hills.append(line(np.repeat(edges, 2)[1:-1], np.repeat(heights, 2), name, colour, fill=True))
    top, digits = max(max(one["y"]) for one in hills), len(str(len(impostor)))
    least, powers = 10.0**-digits, 10.0 ** np.arange(1 - digits, 1)  # below 1/n, the lowest FMR but 0
    rates = np.maximum(fmr, least)
    ticks = [(least, "0"), *((float(x), f"{100 * x:g} %") for x in powers)]
    charts = [
        chart(0, steps, hills, "cosine similarity", "density", (low, high), (0, 1.05 * top), dots=False),
        chart(0, rates, [line(rates, 1 - fnmr)], "FMR", "TAR = 1 − FNMR", (least, 1, True), (0, 1.02), xticks=ticks),
    ]
    control = slider("Threshold", [f"{step:.4f}" for step in steps], int(np.searchsorted(steps, threshold)))
    label = "A threshold on the histogram of scores and on the ROC curve, and the mistakes nearest to it"
    status = [by([0], told), " The pictures show the mistakes nearest to the threshold." if near else ""]
    return figure(sheet, label, [control], panels, status, charts, shown=near, width=64)


def show_gradients_live(
    model: FaceModel,
    pair: Pair,
    *,
    channels: Sequence[int] = (0, 1),
    levels: Sequence[float] = (0, 1, 2, 4, 8, 16),
    blurs: Sequence[float] = (0, 2, 5),
) -> HTML:
    """Gradients of the probe under noise: of the cosine, of single channels, and the mean of all absolute ones.

    Args:
        model: a differentiable FaceModel.
        pair: a Pair in the model's size.
        channels: of the embedding.
        levels: standard deviations of the noise, in grey levels of 255; the first is what the others are held against.
        blurs: sigmas in pixels of a 112-pixel image, 0 for none.

    Raises:
        TypeError: the model has no gradients.
        ValueError: the pair does not fit the model, a channel that the embedding does not have, fewer than two levels,
            or no blur.

    Example:
        >>> show_gradients_live(model, pair)  # doctest: +SKIP
    """
    if unknown := [k for k in channels if k not in range(model.dim)]:
        raise ValueError(f"there is no channel {unknown[0]}; the embedding has channels 0 to {model.dim - 1}")
    if len(levels) < 2 or not len(blurs):
        raise ValueError(f"levels are {levels}, blurs are {blurs}; two levels and one blur, at least, are needed")
    noise = torch.randn(pair.a.shape, generator=torch.Generator().manual_seed(0)) / 255
    cosine, sheet, scores = cosine_to(model, pair.b), Sheet(), []
    maps: dict[tuple, Tensor] = {}
    channel = lambda k: lambda images: model.embed(images)[:, k]
    sources = {"the cosine": cosine} | {f"channel {k}": channel(k) for k in channels}
    noisy = [pair.a + strength * noise for strength in levels]
    for n, image in enumerate(noisy):
        scores.append(float(cosine(image[None]).detach()))
        found = [input_gradient(source, image).mean(dim=0) for source in sources.values()]
        found.append(channel_gradients(model, image).maps.mean(dim=0))
        maps |= {(s, b, n): blurred(one, blur) for (s, one), (b, blur) in product(enumerate(found), enumerate(blurs))}
    names = [*sources, "all channels: mean of the absolute gradients"]
    states = [*product(range(len(names)), range(len(blurs)), range(len(levels)))]
    agreement = {(s, b, n): _correlation(maps[s, b, 0], maps[s, b, n]) for s, b, n in states}
    numbers = {(s, b, n): sheet.signed(one, _fields(blurs[b])) for (s, b, n), one in maps.items()}
    faces = by([2], [sheet.picture(image) for image in noisy])
    panels = [
        {"title": f"probe {pair.name_a},\nwith the noise", "photos": faces},
        {
            "title": "gradient with the noise",
            "photos": faces,
            "map": {"first": by([0, 1, 2], [numbers[state] for state in states])},
        },
        {
            "title": f"gradient with noise of {levels[0]:g}" if levels[0] else "gradient without noise",
            "photos": [faces["of"][0]],
            "map": {"first": by([0, 1], [numbers[s, b, 0] for s, b, n in states if n == 0])},
        },
    ]
    lines = by([0, 1], [short([agreement[s, b, n] for n in range(len(levels))]) for s, b, first in states if not first])
    charts = [
        chart(
            2,
            levels,
            [line(levels, lines, "correlation of the two maps"), line(levels, scores, "cosine", "#777", dash=DASHED)],
            "noise, grey levels of 255",
            "correlation, cosine",
            (min(levels), max(levels)),
            (min(0, *scores, *agreement.values()), 1.02),
        )
    ]
    controls = [
        select("Gradient of", names),
        select("Blur", [f"sigma {blur:g} pixels" if blur else "none" for blur in blurs]),
        slider("Noise", [f"{strength:g} grey levels" for strength in levels], len(levels) // 2),
    ]
    status = [
        "The two maps correlate at ",
        by([0, 1, 2], [f"{agreement[state]:.2f}" for state in states]),
        by([2], [f". The cosine is {score:.3f}; it was {scores[0]:.3f}. " for score in scores]),
        "Each map is drawn to its own full colour.",
    ]
    label = f"Gradients of {pair.name_a} under noise"
    return figure(sheet, label, controls, panels, status, charts, width=200, each=True)


def _correlation(one, other):
    return float(np.corrcoef(one.flatten(), other.flatten())[0, 1])


def show_fggb_live(
    model: FaceModel, pairs: Sequence[Pair], choices: Mapping[str, dict[str, Any]] | None = None
) -> HTML:
    """FGGB's maps of several pairs, at any threshold and by the choices that its formulas leave open.

    In the threshold t the map is a straight line, S(t) = S(cos) + (cos − t)·Ḡ: the page holds two
    arrays for each image, and the slider computes the map.

    Args:
        model: a differentiable FaceModel with a threshold, where the slider starts.
        pairs: in the model's size; an image that occurs in several is prepared once for each choice.
        choices: ``{name: options}`` of :func:`xfvlib.explain` with "fggb"; None for the default, no blur, the signed
            gradient, the raw embedding, and maps that are not normalised. Unblurred maps take most of the page.

    Raises:
        ValueError: no pairs or choices, no threshold, pairs that do not fit the model, or a choice whose ``part`` is
            not "both": a half that is clipped is no straight line.
        TypeError: the model has no gradients; an option that FGGB does not have.

    Example:
        >>> show_fggb_live(model, [pairs[0], pairs[300]])  # doctest: +SKIP
    """
    own, how = decision_threshold(model), methods.method_called("fggb", model)
    choices = _CHOICES if choices is None else choices
    if not len(pairs) or not choices:
        raise ValueError(f"there are {len(pairs)} pairs and {len(choices)} choices; one of each, at least, is needed")
    if halves := [name for name, options in choices.items() if options.get("part", "both") != "both"]:
        raise ValueError(f"{halves[0]!r} has a part of the map, which is no straight line in t; leave out that option")
    keys = [[image.numpy().tobytes() for image in (pair.a, pair.b)] for pair in pairs]
    images = {key: image for pair, two in zip(pairs, keys) for key, image in zip(two, (pair.a, pair.b))}
    embeddings = {key: methods.embedding_of(model, image) for key, image in images.items()}
    scores = [float(embeddings[a]["embedding"] @ embeddings[b]["embedding"]) for a, b in keys]
    parts: dict[tuple, tuple[Tensor, Tensor]] = {}  # S(cos) and Ḡ of a pair, a choice and a side
    for key, image in images.items():
        prepared: dict[str, Any] = {}
        for c, options in enumerate(choices.values()):
            kind = str(how.of_prepare(options))
            prepared[kind] = prepared.get(kind) or how.first(model, image, options)
            for p, side in product(range(len(pairs)), (0, 1)):
                if keys[p][side] == key:
                    partner = embeddings[keys[p][1 - side]]
                    known, low, high = (
                        how.second(prepared[kind], partner, options, threshold=t) for t in (scores[p], 0, 1)
                    )
                    parts[p, c, side] = known, low - high
    low = min(0, np.floor(10 * min(*scores, own)) / 10)
    steps, sheet = np.union1d(np.linspace(low, 1, 201).round(4), own), Sheet()
    states = [*product(range(len(pairs)), range(len(choices)))]
    shares, lengths = [], []
    for p, c in states:
        known, mean = (np.stack([parts[p, c, side][part] for side in (0, 1)]) for part in (0, 1))
        maps = [known + (scores[p] - step) * mean for step in steps]
        shares.append([round(100 * float(one.clip(min=0).sum() / np.abs(one).sum())) for one in maps])
        sizes = np.array([np.linalg.norm(one) for one in maps])
        lengths.append((100 * sizes / sizes.max()).round().astype(int).tolist())
    fields = [_fields(options.get("blur", 5)) for options in choices.values()]
    cosine, threshold = by([0], scores), by([2], steps.tolist())
    panels: list[dict] = []
    for side, told in enumerate(("probe", "reference")):
        faces = by([0], [sheet.picture((pair.a, pair.b)[side]) for pair in pairs])
        named = [f"{told} {(pair.name_a, pair.name_b)[side]}" for pair in pairs]
        first, second = (by([0, 1], [sheet.signed(parts[p, c, side][n], fields[c]) for p, c in states]) for n in (0, 1))
        panels.append({"title": by([0], named), "photos": faces})
        drawn = {"first": first, "second": second, "score": cosine, "level": threshold}
        panels.append({"title": f"FGGB on the {told}", "photos": faces, "map": drawn})
    places = (cosine, "cosine", plots.GENUINE), (own, "the model's own threshold", "#777")
    upright = [level(*place, upright=True) for place in places]
    lines = [
        line(steps, by([0, 1], shares), "similarity, share of both maps"),
        line(steps, by([0, 1], lengths), "length of both maps, share of the longest", "#999"),
    ]
    charts = [chart(2, steps, lines, "threshold", "%", (low, 1), (0, 102), levels=upright)]
    controls = [
        select("Pair", [f"{_told(pair)}, cosine {score:.4f}" for pair, score in zip(pairs, scores)]),
        select("Choice", choices),
        slider("Threshold", [f"{step:.4f}" for step in steps], int(np.searchsorted(steps, own))),
    ]
    status = [
        {"reached": cosine, "level": threshold, "words": by([0], [_DECIDED[pair.same] for pair in pairs])},
        by([0], [f" ({plots.TRUTH[pair.same]}): cosine {score:.4f}, " for pair, score in zip(pairs, scores)]),
        by([2], [f"threshold {step:.4f}. " for step in steps]),
        "Similarity makes ",
        {"line": 0},
        " % of both maps, which are ",
        {"line": 1},
        " % as long as at the threshold where they are longest. Blue speaks for a match, red against it.",
    ]
    return figure(sheet, "FGGB maps of several pairs at a threshold that moves", controls, panels, status, charts)


def _told(pair):
    return f"{pair.name_a} and {pair.name_b}, {plots.TRUTH[pair.same]}"


def _fields(blur):
    """Fields a side that hold all there is to see of a map blurred with sigma ``blur``, in pixels of 112."""
    return int(140 / max(blur, 0.1))


def show_methods_live(model: FaceModel, pairs: Sequence[Pair], maps: Mapping[str, Sequence[Tensor]]) -> HTML:
    """Two methods side by side on the probes of several pairs, with the rank correlation of their maps.

    Args:
        model: a FaceModel with a threshold, for the decisions.
        pairs: in the model's size.
        maps: ``{method: maps}``, signed ``(H, W)``, one for the probe of each pair. The page keeps 28 fields a side, so
            they should be blurred alike, with a sigma of about 5 pixels of 112.

    Raises:
        ValueError: no pairs, fewer than two methods, another number of maps, a map of another size than its image, or
            no threshold.

    Example:
        >>> show_methods_live(model, pairs, {"fggb": maps, "occlusion": others})  # doctest: +SKIP
    """
    own, sheet = decision_threshold(model), Sheet()
    for method, some in maps.items():
        if [tuple(one.shape) for one in some] != [tuple(pair.a.shape[1:]) for pair in pairs]:
            shapes = [tuple(one.shape) for one in some]
            raise ValueError(f"{method} has maps {shapes}; one for each pair, of its probe's size, is needed")
    if not len(pairs) or len(maps) < 2:
        raise ValueError(f"there are {len(pairs)} pairs and {len(maps)} methods; a pair and two methods are needed")
    names, options = [*maps], []
    for pair in pairs:
        a, b = (methods.embedding_of(model, image)["embedding"] for image in (pair.a, pair.b))
        options.append(f"{_told(pair)}, {verdict(float(a @ b), own)}")
    ranked = np.stack([_correlations([some[p] for some in maps.values()]) for p in range(len(pairs))], axis=-1)
    numbers = [sheet.signed(one, _GRID) for some in maps.values() for one in some]
    titles = []
    for method, some in maps.items():
        strength = np.array([plots.full_colour(one) for one in some])
        titles += [f"{method}\nstrength {share:.2f}" for share in strength / strength.max()]
    probes, references = ([sheet.picture(image) for image in some] for some in zip(*((x.a, x.b) for x in pairs)))
    panels = [
        {"title": by([2], [f"probe {pair.name_a}" for pair in pairs]), "photos": by([2], probes)},
        {"title": by([0, 2], titles), "photos": by([2], probes), "map": {"first": by([0, 2], numbers)}},
        {"title": by([1, 2], titles), "photos": by([2], probes), "map": {"first": by([1, 2], numbers)}},
        {"title": by([2], [f"reference {pair.name_b}" for pair in pairs]), "photos": by([2], references)},
    ]
    status = [
        "Rank correlation of the two maps: ",
        by([0, 1, 2], [f"{value:+.2f}" for value in ranked.ravel()]),
        by([0, 1], [f"; mean of the {len(pairs)} pairs {value:+.2f}. " for value in ranked.mean(axis=-1).ravel()]),
        "Each map is drawn to its own full colour; the strength compares that with the method's strongest map here. "
        "Blue speaks for a match, red against it.",
    ]
    controls = [select("Left", names), select("Right", names, 1), select("Pair", options)]
    return figure(sheet, "Maps of two methods side by side", controls, panels, status, each=True)


def _correlations(maps):
    """Rank correlation of each map with each: ``(M, M)``."""
    return np.corrcoef(rankdata(torch.stack(maps).flatten(1).double().numpy(), axis=1))


def verdict(score: float, threshold: float) -> str:
    """A cosine and the decision, in words.

    Example:
        >>> verdict(0.5, 0.3)
        'cosine 0.5000, accepted'
    """
    return f"cosine {score:.4f}, {'accepted' if score >= threshold else 'rejected'}"


def show_cutoff_live(model: FaceModel, pair: Pair, cutoffs: Sequence[int] | None = None) -> HTML:
    """A cut-off to move through the probe's frequencies: what is left of it, its spectrum, and the cosine.

    Args:
        model: a FaceModel with a threshold.
        pair: a Pair in the model's size.
        cutoffs: increasing, in cycles per image side, from 1 on; None for some up to the highest frequency.

    Raises:
        ValueError: the model has no threshold, the pair does not fit it, or cut-offs below 1 or that do not increase.

    Example:
        >>> show_cutoff_live(model, pair)  # doctest: +SKIP
    """
    size = pair.a.shape[-2:]
    highest = int(np.ceil(np.hypot(*size) / 2))
    some = [c for c in (*range(1, 21), 24, 28, 32, 40, 48, 56, 64) if c < highest]
    cuts = _increasing("cutoffs", [*some, highest] if cutoffs is None else cutoffs)
    masks = [[frequency.cutoff_mask(size, cutoff, kind) for cutoff in cuts] for kind in frequency.CUTOFFS]
    versions = [[frequency.keep_frequencies(pair.a, mask) for mask in some] for some in masks]
    controls = [
        select("Keep", KEPT),
        slider("Cut-off", [f"{cutoff} cycles" for cutoff in cuts], int(np.argmin(np.abs(np.subtract(cuts, 10))))),
    ]
    label = f"A cut-off that moves through the frequencies of {pair.name_a}"
    kinds = {kind: f"{kind} at" for kind in frequency.CUTOFFS}
    return _filtered(model, pair, kinds, cuts, versions, masks, controls, label, "cut-off, cycles")


def show_resolution_live(model: FaceModel, pair: Pair, factors: Sequence[float] = FACTORS) -> HTML:
    """Resolution to take from the probe: what is left of it, the frequencies that its pixels hold, and the cosine.

    Args:
        model: a FaceModel with a threshold.
        pair: a Pair in the model's size.
        factors: increasing, from 1 on; width and height are divided by them.

    Raises:
        ValueError: the model has no threshold, the pair does not fit it, or factors below 1, that do not increase, or
            that leave fewer than four pixels.

    Example:
        >>> show_resolution_live(model, pair)  # doctest: +SKIP
    """
    size, factors = pair.a.shape[-2:], _increasing("factors", factors)
    distance = frequency.distance_from_dc(size, "square")
    masks = [[distance <= min(size) / 2 / factor for factor in factors]]
    versions = [[conditions.reduced(pair.a, factor) for factor in factors]]
    steps = [f"1/{factor:g}, {size[0] / factor:.0f} pixels" for factor in factors]
    controls = [slider("Reduced to", steps, len(factors) // 2)]
    label, kinds = f"Resolution taken from {pair.name_a}", {"probe reduced": "probe reduced to"}
    return _filtered(model, pair, kinds, factors, versions, masks, controls, label, "width and height divided by")


def _increasing(name, values):
    """Steps of a slider on a logarithmic axis, as a list; ValueError where they are none."""
    values = np.asarray(values).tolist()
    if not values or values[0] < 1 or not (np.diff(values) > 0).all():
        raise ValueError(f"{name} are {values}; numbers that increase, from 1 on, are needed")
    return values


def _filtered(model, pair, kinds, steps, versions, masks, controls, label, xlabel):
    """Figure of a pair whose probe is filtered, by kinds (the line's name and the sentence's words) and steps:
    ``versions[kind][step]``, frequencies left ``masks[kind][step]``; the last control chooses the step."""
    own, sheet, every = decision_threshold(model), Sheet(), [*range(len(controls))]
    flat, left = torch.stack([*chain.from_iterable(versions)]), chain.from_iterable(masks)
    partner = methods.embedding_of(model, pair.b)["embedding"]
    scores = embed_versions(model, lambda some: flat[some], len(flat)) @ partner
    power = torch.log10(1 + torch.fft.fftshift(torch.fft.fft2(pair.a).abs().mean(dim=0)))
    coloured = mpl.colormaps[plots.MAGNITUDE]((power / power.max()).numpy())[..., :3]
    hidden = [sheet.hidden(~torch.fft.fftshift(mask)) for mask in left]
    panels = [
        {"title": f"probe {pair.name_a}", "photos": sheet.picture(pair.a)},
        {"title": "what is left of it", "photos": by(every, [sheet.picture(one.clamp(0, 1)) for one in flat])},
        {
            "title": "its spectrum, DC in the middle",
            "photos": sheet.coloured(torch.from_numpy(coloured).permute(2, 0, 1)),
            "hidden": by(every, hidden),
        },
        {"title": f"reference {pair.name_b}", "photos": sheet.picture(pair.b)},
    ]
    looks, rows = zip(kinds, ({}, {"dash": DASHED})), scores.reshape(len(versions), -1)
    lines = [line(steps, row, name, **look) for (name, look), row in zip(looks, rows)]
    names = [f"{words} {controls[-1]['options'][n]}" for words in kinds.values() for n in range(len(steps))]
    said = [f"{name}: {verdict(x, own)} ({plots.TRUTH[pair.same]})." for name, x in zip(names, scores.tolist())]
    axis = (steps[0], max(steps[-1], steps[0] + 1), True)
    ticks = [x for x in (1, 2, 4, 8, 16, 32, 64) if axis[0] <= x <= axis[1]]
    drawn = chart(
        every[-1], steps, lines, xlabel, "cosine", axis, (min(0, float(scores.min())), 1),
        xticks=ticks, levels=[level(own, f"threshold {own:.4f}")],
    )  # fmt: skip
    return figure(sheet, label, controls, panels, [by(every, said)], [drawn])


def show_morph_live(model: FaceModel, one: Pair, two: Pair, steps: int = 20) -> HTML:
    """A morph that moves from one person to another, and whom it passes as.

    Args:
        model: a FaceModel with a threshold.
        one, two: of each person the photograph that is morphed, ``a``, and another one that the morph is held against,
            ``b``.
        steps: from the one to the other.

    Raises:
        ValueError: the model has no threshold, the pairs do not fit it, a face has no landmarks, or fewer than one
            step.

    Example:
        >>> show_morph_live(model, one, two)  # doctest: +SKIP
    """
    check_count("steps", steps)
    own, sheet, shares = decision_threshold(model), Sheet(), np.linspace(0, 1, steps + 1)
    mixed = torch.stack([conditions.morph(one.a, two.a, float(share)) for share in shares])
    claims = torch.stack([methods.embedding_of(model, pair.b)["embedding"] for pair in (one, two)])
    scores = embed_versions(model, lambda some: mixed[some], len(mixed)) @ claims.T
    panels: list[dict] = [
        {"title": one.name_a, "photos": sheet.picture(one.a)},
        {"title": "the morph", "photos": by([0], [sheet.picture(face) for face in mixed])},
        {"title": two.name_a, "photos": sheet.picture(two.a)},
        {"title": f"held against\n{one.name_b}", "photos": sheet.picture(one.b)},
        {"title": f"held against\n{two.name_b}", "photos": sheet.picture(two.b)},
    ]
    said = []
    for share, row in zip(shares, scores.tolist()):
        claim = [f"{'passes' if s >= own else 'fails'} as {p.name_b}, cosine {s:.4f}" for s, p in zip(row, (one, two))]
        said.append(f"{share:.0%} of {two.name_a}: the morph {' and '.join(claim)}.")
    looks = [{"colour": "#0173b2"}, {"colour": "#de8f05", "dash": DASHED}]  # as show_curves draws two lines
    lines = [line(shares, y, f"cosine to {p.name_b}", **look) for y, p, look in zip(scores.T, (one, two), looks)]
    axes = f"share of {two.name_a}", "cosine", (0, 1), (min(0, float(scores.min())), 1)
    charts = [chart(0, shares, lines, *axes, levels=[level(own, f"threshold {own:.4f}")])]
    control = slider("Share", [f"{share:.0%}" for share in shares], steps // 2)
    label = f"A morph from {one.name_a} to {two.name_a}"
    return figure(sheet, label, [control], panels, [by([0], said)], charts, width=130)
