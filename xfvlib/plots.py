"""Every figure of the workbook. A ``show_…`` function displays a PNG with alternative text and returns nothing.

Signed maps are drawn in one diverging palette with 0 in the middle (blue speaks for a match, red against it),
magnitudes in one sequential palette. Maps are scaled here, for the eye only; what the methods return stays as it is.
"""

import io
import re
import textwrap
from collections import Counter
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import torch
from numpy.typing import ArrayLike
from scipy.spatial import KDTree
from torch import Tensor

from xfvlib import evaluation, extras, frequency, methods, pairs, perturb
from xfvlib.faithfulness import RUNGS
from xfvlib.interaction import Interaction

with extras.extra("notebooks"):
    import matplotlib as mpl
    import seaborn as sns
    from IPython.display import Image, display
    from matplotlib.figure import Figure

SIGNED, MAGNITUDE = "RdBu", "magma"
GENUINE, IMPOSTOR = "#2166ac", "#b2182b"
_COLOURS = {  # of lines by name, in every figure: blue and red belong to pairs, pale where wrong; no method has either
    "genuine": GENUINE, "true accept": GENUINE, "false reject": "#92c5de",
    "impostor": IMPOSTOR, "true reject": IMPOSTOR, "false accept": "#f4a582",
    "blob": "0.15", "random": "0.55", "fggb": "#6a3d9a", "gradient": "#ff7f0e", "gradient × input": "#b15928",
    "xssab": "#8c564b", "integrated_gradients": "#d4a6c8", "IG from the blur": "#e7298a", "smoothgrad": "#e377c2",
    "grad_cam": "#17becf", "fame": "#bcbd22", "xface": "#66a61e", "corrrise": "#00838f", "minplus": "#33691e",
    "lime": "#b8860b", "occlusion": "#1b9e77",
}  # fmt: skip
_TITLE_WIDTH = 22  # letters over a picture; longer titles are broken
TRUTH = {True: "same person", False: "different people", None: "truth unknown"}

mpl.rcParams.update({
    "axes.spines.right": False, "axes.spines.top": False, "axes.titlesize": 10, "figure.constrained_layout.use": True,
    "figure.facecolor": "white", "font.size": 10,  # transparent figures are unreadable on dark themes
})  # fmt: skip


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes, 100 pixels an inch, in 256 colours: a third of the size, so that notebooks stay small.

    Example:
        >>> to_png(Figure(figsize=(1, 1)))[1:4]
        b'PNG'
    """
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=100)
    _few_colours(PIL.Image.open(full).convert("RGB")).save(small, "png", optimize=True)
    return small.getvalue()


def _few_colours(picture):
    """The picture in 256 colours: the 64 most frequent ones, so that even areas keep theirs, and with it the sign of
    what is nearly white; 52 greys, so that grey photographs stay grey; the others cover the rest, rare ones such as the
    ends of a colour bar among them."""
    packed, where, times = np.unique(
        np.asarray(picture, np.int32) @ [65536, 256, 1], return_inverse=True, return_counts=True
    )
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)
    often = colours[times.argsort()[-64:]]
    greys = np.repeat(np.arange(0, 256, 5)[:, None], 3, axis=1)
    rest = picture.quantize(256 - len(often) - len(greys), PIL.Image.Quantize.MAXCOVERAGE).getpalette()
    palette = np.concatenate([often, greys, np.reshape(rest, (-1, 3))])
    nearest = KDTree(palette).query(colours)[1].astype(np.uint8)  # Pillow's own search is off by a few shades
    is_grey = [(some == some[:, :1]).all(axis=1) for some in (colours, palette)]
    nearest[is_grey[0]] = np.flatnonzero(is_grey[1])[KDTree(palette[is_grey[1]]).query(colours[is_grey[0]])[1]]
    few = PIL.Image.fromarray(nearest[where.reshape(picture.size[::-1])])
    few.putpalette(palette.ravel().tolist())
    return few


def show(figure: Figure, alt: str) -> None:
    """Display a figure as PNG with alternative text."""
    display(Image(to_png(figure), alt=alt))


def full_colour(*maps: Tensor) -> float:
    """The absolute value drawn in full colour: the 99.5th percentile, so that single pixels do not blank the rest.

    Maps are ``(H, W)``; values that are not finite do not count; 1 where all others are 0.

    Example:
        >>> full_colour(torch.tensor([[-2.0, 0.0]]))
        1.99
    """
    values = np.abs(np.concatenate([np.zeros(0), *(_values(saliency).ravel() for saliency in maps)]))
    values = values[np.isfinite(values)]
    return float(np.quantile(values, 0.995)) or float(values.max()) or 1.0 if len(values) else 1.0


def _values(saliency, image=None):
    """A map as an array of floats; ValueError unless ``(H, W)``, of the size of the image where one is given."""
    values = torch.as_tensor(saliency).detach().cpu().double().numpy()
    if values.ndim != 2 or not values.size or (image is not None and values.shape != image.shape[-2:]):
        raise ValueError(f"a map has shape {values.shape}; (H, W) is needed, that of its image where it lies over one")
    return values


def blend(image: Tensor, saliency: Tensor, limit: float | None = None) -> np.ndarray:
    """A signed map laid over the grey image; the face stays visible where the map is near 0, or has no value (NaN).

    Args:
        image: ``(3, H, W)``, RGB in [0, 1].
        saliency: signed ``(H, W)``.
        limit: the value drawn in full colour, > 0; None for :func:`full_colour` of the map.

    Returns:
        ``(H, W, 3)`` in [0, 1].

    Raises:
        ValueError: the map is not of the image's size.

    Example:
        >>> blend(torch.full((3, 1, 1), 0.25), torch.zeros(1, 1))
        array([[[0.25, 0.25, 0.25]]])
    """
    limit = limit or full_colour(saliency)
    share = np.clip(np.nan_to_num(_values(saliency, image)), -limit, limit) / limit
    alpha = 0.8 * np.abs(share)[..., None] ** 0.7
    grey = image.detach().cpu().float().mean(dim=0).numpy()[..., None]
    return (1 - alpha) * grey + alpha * mpl.colormaps[SIGNED]((share + 1) / 2)[..., :3]


def _coloured(values, palette, low, high):
    """A map ``(H, W)`` in a palette, as a picture; transparent where it has no value (NaN)."""
    return mpl.colormaps[palette](mpl.colors.Normalize(low, high)(_values(values)))


def _plain(text):
    """A name as it is: dollars would start a formula, which may be a wrong one."""
    return str(text).replace("$", r"\$")


def _picture(ax, image, title, inches=1.45):
    """One picture without axes: a crop ``(3, H, W)`` or an array ``(H, W, 3 or 4)``."""
    if isinstance(image, Tensor):
        image = image.detach().cpu().float().nan_to_num().clamp(0, 1).permute(1, 2, 0).numpy()
    ax.imshow(image)
    lines = "\n".join(textwrap.fill(line, _TITLE_WIDTH) for line in str(title).split("\n"))
    ax.set_title(_plain(lines), fontsize=max(9, 10 * min(1, inches / 1.45)))
    ax.set_axis_off()


def _pictures(cells, columns, inches=1.45, suptitle="", beside=0.0):
    """Figure of ``(picture, title)`` in rows, ``inches`` wide each, with room ``beside`` them."""
    perturb.check_count("columns", columns)
    rows, columns = -(-len(cells) // columns), min(columns, len(cells))
    figure = Figure(figsize=(inches * columns + beside, (inches + 0.3) * rows + (0.3 if suptitle else 0)))
    for number, cell in enumerate(cells, 1):
        _picture(figure.add_subplot(rows, columns, number), *cell, inches)
    figure.suptitle(_plain(suptitle or ""))
    return figure


def _bar(figure, axes, palette, low, high, **options):
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(low, high), palette)
    return figure.colorbar(scale, ax=axes, fraction=0.05, pad=0.02, **options)


def _signed_bar(figure, axes):
    """Colour bar of the signed palette, in words."""
    _bar(figure, axes, SIGNED, -1, 1, ticks=[-1, 0, 1]).ax.set_yticklabels(["against\na match", "0", "for\na match"])


def _told(titles):
    """Titles in a row, for alternative texts."""
    return "; ".join(str(title).replace("\n", ", ") for title in titles if title)


def _verdict(pair, score, threshold):
    """Decision, truth, score and threshold."""
    decision = "accepted" if score >= threshold else "rejected"
    return f"{decision} ({TRUTH[pair.same]}): cosine {score:.4f}, threshold {threshold:.4f}"


def _named(e):
    return f"{e.pair.name_a} and {e.pair.name_b}, {_verdict(e.pair, e.score, e.threshold)}"


def _over_a_line(pair, score, threshold, images, titles):
    """Figure of four pictures over a line with score and threshold."""
    if not np.isfinite(score):
        raise ValueError(f"the score is {score}; a cosine similarity is needed")
    figure = Figure(figsize=(8.2, 3.3))
    *axes, line = figure.subplot_mosaic("abcd;eeee", height_ratios=[1, 0.2]).values()
    for cell in zip(axes, images, titles):
        _picture(*cell)
    low = np.floor(10 * (min(score, threshold) - 0.03)) / 10
    bars = line.barh(0.7, [threshold - low, 1 - threshold], 0.6, [low, threshold], color=[IMPOSTOR, GENUINE], alpha=0.2)
    line.bar_label(bars, ["rejected", "accepted"], label_type="center")
    line.axvline(threshold, color="0.2")
    line.plot(score, 0.2, "o", ms=8, color=GENUINE if score >= threshold else IMPOSTOR, clip_on=False)
    line.set(xlim=(low, 1), ylim=(0, 1), yticks=[], xlabel="cosine similarity", frame_on=False)
    figure.suptitle(_verdict(pair, score, threshold), fontsize=11)
    return figure


def blended(e: methods.Explanation) -> tuple[np.ndarray, np.ndarray]:
    """Both maps of an Explanation over their images, on one scale: two arrays ``(H, W, 3)``, RGB in [0, 1]."""
    limit = full_colour(e.map_a, e.map_b)
    return blend(e.pair.a, e.map_a, limit), blend(e.pair.b, e.map_b, limit)


def draw_pair(e: methods.Explanation) -> Figure:
    """Figure of one Explanation: both images, both maps blended over them, score and threshold on a line."""
    pair, on, (map_a, map_b) = e.pair, e.method + ("\non" if len(e.method) > 10 else " on"), blended(e)
    titles = f"probe {pair.name_a}", f"{on} the probe", f"reference {pair.name_b}", f"{on} the reference"
    figure = _over_a_line(pair, e.score, e.threshold, [pair.a, map_a, pair.b, map_b], titles)
    _signed_bar(figure, figure.axes[:4])
    return figure


def told_pair(e: methods.Explanation) -> str:
    """Alternative text of :func:`draw_pair`."""
    side = "for" if sum(np.nansum(_values(saliency)) for saliency in (e.map_a, e.map_b)) > 0 else "against"
    return f"Pair {_named(e)}. {e.method} maps over both faces; on the whole they speak {side} a match."


def show_pair(e: methods.Explanation) -> None:
    """Show one :class:`~xfvlib.methods.Explanation`; see :func:`draw_pair`."""
    show(draw_pair(e), told_pair(e))


def show_images(images: Seq, titles: Seq, *, columns: int = 6, suptitle: str = "", inches: float = 1.45) -> None:
    """Crops ``(3, H, W)`` with a title each, in rows of ``columns``, ``inches`` wide; nothing where there are none."""
    if len(images):
        show(_pictures([*zip(images, titles)], columns, inches, suptitle), f"{suptitle or 'Pictures'}: {_told(titles)}")


def show_maps(
    maps: Seq[Tensor],
    titles: Seq,
    *,
    image: Tensor | None = None,
    signed: bool = True,
    each_scaled: bool = True,
    columns: int = 5,
    label: str = "",
    inches: float = 1.5,
) -> None:
    """Maps ``(H, W)`` with a title each; nothing where there are none.

    Args:
        maps, titles: of one length.
        image: ``(3, H, W)``, shown first, and under signed maps when given.
        signed: diverging palette centred on 0; False for magnitudes ≥ 0 in the sequential palette.
        each_scaled: scale each map to its own 99.5th percentile, in full colour; False for one scale, so that maps can
            be compared.
        columns: maps in a row, ``inches`` wide each.
        label: unit of the colour bar.

    Raises:
        ValueError: a map that is not ``(H, W)``, or not of the image's size.
    """
    if not len(maps):
        return
    palette, low, on = (SIGNED, -1, image) if signed else (MAGNITUDE, 0, None)
    limits = [full_colour(x) for x in maps] if each_scaled else [full_colour(*maps)] * len(maps)
    drawn = [_coloured(x, palette, low * top, top) if on is None else blend(on, x, top) for x, top in zip(maps, limits)]
    cells = [(image, "image")] * (image is not None) + [*zip(drawn, titles)]
    figure = _pictures(cells, columns, inches, beside=1)
    top, unit = (1, "1: full colour") if each_scaled else (limits[0], "")
    _bar(figure, figure.axes, palette, low * top, top, label=_plain(label or unit))
    show(figure, f"Maps: {_told(titles)}")


def show_method_grid(explanations: Seq[Seq[methods.Explanation]]) -> None:
    """Pairs in rows, methods in columns: both maps of each, blended over the images.

    Args:
        explanations: list of rows; a row is one pair explained by several methods in the same order.

    Raises:
        ValueError: no explanations, or rows of different methods.
    """
    orders = [[e.method for e in line] for line in explanations]
    if not orders or not orders[0] or any(order != orders[0] for order in orders):
        raise ValueError(f"methods by rows are {orders}; one row or more of the same methods is needed")
    cells: list[tuple[Any, str]] = []
    for line in explanations:
        pair, decision = line[0].pair, f"{'accepted' if line[0].accepted else 'rejected'}, {line[0].score:.4f}"
        cells += [(pair.a, f"{pair.name_a}\n{decision}"), (pair.b, f"{pair.name_b}\n{TRUTH[pair.same]}")]
        for e in line:
            cells += zip(blended(e), (f"{e.method}\n" if line is explanations[0] else "", ""))
    figure = _pictures(cells, 2 + 2 * len(orders[0]), 1.25, beside=0.5)
    _signed_bar(figure, figure.axes)
    told = _told(_named(e) for e, *_ in explanations)
    show(figure, f"Maps of the methods {', '.join(orders[0])} over both images of {len(orders)} pairs: {told}")


def show_scores(scores: ArrayLike, labels: ArrayLike, threshold: float | None = None) -> None:
    """Histogram of cosine similarities, genuine and impostor pairs apart, each of area 1, with the threshold.

    Raises a ValueError for no scores, NaN, labels of another length, and a threshold outside [−1, 1].
    """
    evaluation.right_decisions(scores, labels, threshold or 0)  # which says what is wrong with them
    scores, kinds = np.asarray(scores), np.where(np.asarray(labels, bool), "genuine", "impostor")
    figure, colours = Figure(figsize=(7, 2.9)), {"genuine": GENUINE, "impostor": IMPOSTOR}
    ax, xlabel = figure.subplots(), "cosine similarity"
    looks = {"stat": "density", "common_norm": False, "bins": 60, "element": "step", "alpha": 0.35}
    sns.histplot(x=scores, hue=kinds, hue_order=list(colours), palette=colours, ax=ax, **looks)
    if threshold is not None:
        ax.axvline(threshold, color="0.2", ls="--")
        xlabel += f", threshold {threshold:.4f}"
    ax.set(xlabel=xlabel, ylabel="density")
    middles = ", ".join(f"{kind} pairs around {np.median(scores[kinds == kind]):.3f}" for kind in np.unique(kinds))
    show(figure, f"Histogram of {len(scores)} pairs by {xlabel}: {middles}.")


def _axes(curves, size):
    """A figure and its axes; ValueError where there are no curves."""
    if not curves:
        raise ValueError("there are no curves: {name: values} is needed")
    return Figure(figsize=size).subplots()


def _looks(names):
    """Colour and dashes of each line: a known name's own colour, before a comma, a bracket or "reversed", dashed the
    second time; others by their place."""
    used, others = Counter(), sns.color_palette("colorblind", len(names))
    for name, other in zip(names, others):
        colour = _COLOURS.get(re.split(r",| \(| reversed", name)[0], other)
        yield {"color": colour, "linestyle": ("-", "--", ":")[used[colour] % 3]}
        used[colour] += 1


def show_roc(curves: dict, labels: ArrayLike) -> None:
    """ROC curves, false match rate on a logarithmic axis, with the point of the equal error rate.

    Args:
        curves: ``{name: scores}``, scores of ``(P,)``.
        labels: bool ``(P,)``, True for genuine pairs.

    Raises:
        ValueError: no curves, and see :func:`xfvlib.evaluation.error_rates`.
    """
    ax, described, lowest = _axes(curves, (5.2, 3.4)), [], 1.0
    for (name, scores), looks in zip(curves.items(), _looks(curves)):
        (fmr, fnmr, _), (eer, _) = evaluation.error_rates(scores, labels), evaluation.equal_error_rate(scores, labels)
        described.append(f"{name}: AUC {evaluation.auc(scores, labels):.4f}, EER {eer:.2%}")
        ax.plot(fmr, 1 - fnmr, drawstyle="steps-post", label=_plain(described[-1]), **looks)
        ax.plot([eer], [1 - eer], "o", color=looks["color"])
        lowest = min(lowest, float((1 - fnmr)[fmr > 0][0]))
    impostors = int((~np.asarray(labels, bool)).sum())
    ax.set(xscale="log", xlim=(1 / impostors, 1), ylim=(max(0, lowest - 0.05), 1.005))
    ax.set(xlabel=f"false match rate (FMR), down to 1 in {impostors}", ylabel="true accept rate (1 − FNMR)")
    ax.legend(loc="lower right", frameon=False)
    show(ax.figure, "ROC curves: " + "; ".join(described))


def show_curves(
    x: ArrayLike, curves: dict, *, xlabel: str, ylabel: str, logx: bool = False, logy: bool = False, line: tuple = ()
) -> None:
    """Lines over an axis, each named in a legend. Kinds of pairs, methods and fixed orders have colours of their own.

    Args:
        x: ``(P,)``.
        curves: ``{name: (P,)}``, or ``{name: (mean, low, high)}``, three of ``(P,)``, for a line in its interval.
        xlabel, ylabel: with units.
        logx, logy: logarithmic axes.
        line: a horizontal line, ``(value, name)``.

    Raises:
        ValueError: no curves, or one of another length than ``x``, or of none.
    """
    ax, ends = _axes(curves, (5.8 if len(curves) < 4 else 7.6, 3.2)), []
    for (name, y), looks in zip(curves.items(), _looks(curves)):
        y, *interval = y if isinstance(y, tuple) else (y,)
        if np.shape(y) != np.shape(x) or not np.size(y):
            raise ValueError(f"{name} has {np.shape(y)} values for {np.shape(x)} places; (P,) of both are needed")
        ax.plot(x, y, marker="o", ms=3, label=_plain(name), **looks)
        if interval:
            ax.fill_between(x, *interval, color=looks["color"], alpha=0.2, lw=0)
        ends.append(f"{name} from {float(y[0]):.3g} to {float(y[-1]):.3g}")
    if line:
        ax.axhline(line[0], color="0.2", ls="--", lw=1, label=_plain(line[1]))
        ends.append(f"{line[1]} at {line[0]:.3g}")
    ax.set(xlabel=_plain(xlabel), ylabel=_plain(ylabel))
    ax.set(xscale="log" if logx else "linear", yscale="log" if logy else "linear")
    beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if len(curves) > 3 else {}  # it would cover them
    ax.legend(frameon=False, fontsize=9, **beside)
    show(ax.figure, f"{ylabel} against {xlabel}: {'; '.join(ends)}")


def show_chart(values: ArrayLike, rows: Seq, columns: Seq, *, label: str, xlabel: str = "", ylabel: str = "") -> None:
    """A table of signed numbers as colours, each number written in its field; NaN leaves it empty.

    Args:
        values: ``(R, C)``.
        rows, columns: names.
        label: of the colour bar, with its unit.
        xlabel, ylabel: of the columns and the rows.

    Raises:
        ValueError: the table does not fit the names.
    """
    table = pd.DataFrame(np.asarray(values), map(_plain, rows), map(_plain, columns), float)  # which checks the shape
    size = table.abs().fillna(0).to_numpy()
    figure, limit = Figure(figsize=(1.6 + 0.62 * len(columns), 1.1 + 0.36 * len(rows))), float(size.max()) or 1.0
    ax, looks = figure.subplots(), {"cmap": SIGNED, "vmin": -limit, "vmax": limit, "annot": True, "fmt": ".3f"}
    sns.heatmap(table, ax=ax, annot_kws={"size": 9}, cbar_kws={"label": _plain(label)}, **looks)
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel=_plain(xlabel), ylabel=_plain(ylabel))
    i, j = np.unravel_index(size.argmax(), size.shape)
    show(figure, f"{label} by {ylabel} and {xlabel}: largest {table.iloc[i, j]:.3f} at {rows[i]}, {columns[j]}")


def draw_cutoff(pair: pairs.Pair, filtered: Tensor, chosen: Tensor, score: float, threshold: float) -> Figure:
    """Figure of a pair whose probe has lost frequencies: what is left of it, its spectrum, the reference, the decision.

    Args:
        pair: the untouched Pair.
        filtered: ``(3, H, W)``, the probe with the chosen frequencies only; drawn in the probe's own contrast, clipped.
        chosen: bool ``(H, W)`` in the order of ``torch.fft.fft2``.
        score, threshold: cosine of ``filtered`` and the reference, and the decision's threshold.
    """
    power = torch.log10(1 + torch.fft.fft2(pair.a).abs().mean(dim=0))
    kept = _coloured(torch.fft.fftshift(torch.where(chosen, power, 0)), MAGNITUDE, 0, float(power.max()))
    titles = f"probe {pair.name_a}", "what is left of it", "its spectrum, DC in the middle", f"reference {pair.name_b}"
    return _over_a_line(pair, score, threshold, [pair.a, filtered, kept, pair.b], titles)


def draw_morph(one: pairs.Pair, two: pairs.Pair, mixed: Tensor, scores: Seq, threshold: float) -> Figure:
    """Figure of a morph: both photographs, the morph between them, and the decision on the harder of its two claims.

    Args:
        one, two: of each person the morphed photograph, ``a``, and another one, ``b``, that the morph is held against.
        mixed: ``(3, H, W)``, the morph.
        scores: its cosines with ``one.b`` and ``two.b``; the lower one is drawn, for a morph is to pass as both.
        threshold: of the decision.
    """
    harder = one if scores[0] < scores[1] else two
    claim = pairs.Pair(mixed, harder.b, None, "morph", harder.name_b)  # a morph is neither person, or both
    titles = one.name_a, "morph", two.name_a, f"held against {harder.name_b}"
    return _over_a_line(claim, float(min(scores)), threshold, [one.a, mixed, two.a, harder.b], titles)


def draw_frequency_influence(
    influence: frequency.FrequencyInfluence, cycles: float | None = None
) -> tuple[Figure, str]:
    """Heat plots of a :class:`~xfvlib.frequency.FrequencyInfluence`, and their alternative text: each frequency painted
    with its band's value, DC in the middle.

    For both images the absolute value, as a share of the larger one's maximum, the directed value, symmetric about 0,
    and beside them the band's share of the image's energy. DC, which would set every scale, is left white where
    influence is drawn, as is a band without a value, NaN.

    Args:
        influence: what is drawn.
        cycles: from DC to the rim of the plots; None to where a band of either image reaches a twentieth of the largest
            value.
    """
    found, energies = torch.stack([influence.a, influence.b]), torch.stack([influence.energy_a, influence.energy_b])
    found = found.index_fill(1, torch.tensor([0]), torch.nan)
    sizes, size = found.abs().nan_to_num(), influence.numbers.shape
    limit = float(sizes.max()) or 1.0
    there = frequency.distance_from_dc(size)[(sizes >= limit / 20).any(dim=0)[influence.numbers]]
    reach = min(cycles or float(there.max() if len(there) else torch.inf) + 2, min(size) / 2)
    scales = [(MAGNITUDE, 0, 1), (SIGNED, -limit, limit), (MAGNITUDE, -6, 0)]
    titles: tuple = ("absolute, share of largest", "directed, cosine lost", "log10 of the band's energy share")
    values = torch.stack([found.abs() / limit, found, energies.clamp(min=1e-6).log10()], dim=1)
    cells, images = [], [(influence.pair.a, "probe"), (influence.pair.b, "reference")]
    for image, heats in zip(images, torch.fft.fftshift(values[..., influence.numbers], dim=(-2, -1))):
        cells += [image, *((_coloured(x, *scale), title) for x, scale, title in zip(heats, scales, titles))]
        titles = "", "", ""  # the first row's hold for both
    figure = _pictures(cells, 4, 1.9, beside=2.5)
    (top, left), (bottom, right) = [-(n // 2) - 0.5 for n in size], [n - n // 2 - 0.5 for n in size]
    for number, ax in enumerate(figure.axes):
        if number % 4:
            ax.images[0].set_extent((left, right, bottom, top))
            ax.set_axis_on()
            ax.set(xlim=(-reach, reach), ylim=(reach, -reach), xlabel="cycles across")
            ax.set_ylabel("cycles down" if number % 4 == 1 else "")
            ax.tick_params(labelsize=9)
    for column, scale in enumerate(scales, 1):
        _bar(figure, figure.axes[column:8:4], *scale)
    bands = "band {} of the probe and band {} of the reference".format(*sizes.argmax(dim=1).tolist())
    said = f"cosine {influence.score:.4f}: most is lost with {bands}; shown to {reach:.0f} cycles"
    return figure, f"Frequency heat plots of both images, {said}."


def show_frequency_influence(influence: frequency.FrequencyInfluence, cycles: float | None = None) -> None:
    """Show a :class:`~xfvlib.frequency.FrequencyInfluence`; see :func:`draw_frequency_influence`."""
    show(*draw_frequency_influence(influence, cycles))


def show_ladder(found: pd.DataFrame) -> None:
    """What each rung of the ladder adds to the one below it: a row a method, a panel a step, dots with intervals.

    Blue is similarity maps on genuine pairs, red dissimilarity maps on impostor pairs; filled dots are insertion,
    hollow ones deletion. To the right of 0 the higher rung is the better order. Each panel has a scale of its own.
    Methods are sorted by what the own map adds in the mean.

    Args:
        found: from :func:`xfvlib.faithfulness.ladder`, rows of one fill, blur and number of steps. The blob's gain over
            the random order and rows beside the ladder, which have no panel, may be among them.

    Raises:
        ValueError: no gain over a rung, or rows of several fills, blurs or numbers of steps.
    """
    steps = [both for both in zip(RUNGS[2:], RUNGS[1:]) if both in set(zip(found.rung, found.over))]
    ways = found[["fill", "blur", "steps"]].drop_duplicates()
    if not steps or len(ways) > 1:
        held = "none that adds to a rung" if not steps else f"of {len(ways)} settings, {ways.to_dict('records')}"
        raise ValueError(f"rows are {held}; those of one fill and blur from ladder() are needed")
    shown = {both: found[(found.rung == both[0]) & (found.over == both[1])] for both in steps}
    order = shown[steps[-1]].groupby("method").gain.mean().sort_values().index
    figure, told = Figure(figsize=(7.8, 1.2 + 0.4 * len(order))), []
    axes = figure.subplots(1, len(steps), sharey=True, squeeze=False)[0]
    for ax, (both, rows) in zip(axes, shown.items()):
        for place, ((ranking, metric), some) in enumerate(rows.groupby(["ranking", "metric"], sort=False)):
            y = order.get_indexer(some.method) + 0.18 * (1.5 - place)
            colour = GENUINE if ranking == "similarity" else IMPOSTOR
            ax.hlines(y, some["gain low"], some["gain high"], color=colour, lw=1)
            face = colour if metric == "insertion" else "white"
            ax.scatter(some.gain, y, s=16, color=colour, facecolor=face, zorder=3, label=f"{ranking}, {metric}")
        ax.axvline(0, color="0.2", lw=0.8)
        ax.set(title="\nover\n".join(both), xlabel="points")
        ax.yaxis.grid(True, color="0.9")
        told.append(f"{both[0]} over {both[1]} from {rows.gain.min():+.1f} to {rows.gain.max():+.1f} points")
    ax.set_yticks(range(len(order)), [textwrap.fill(_plain(name), 26) for name in order])
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    show(figure, f"Gains of {len(order)} methods, each dot in its interval: {'; '.join(told)}.")


def show_interaction(i: Interaction, chosen: Seq | None = None) -> None:
    """Places of the probe, each with what it finds in the reference: blue interacts with it, red speaks against it.

    Args:
        i: an :class:`~xfvlib.interaction.Interaction` with places that lie in the image: windows or regions.
        chosen: places of the probe, as for :meth:`Interaction.from_a`; None for those of the three strongest couples.

    Raises:
        ValueError: an unknown place, or places that are bands.
    """
    rows = i.strongest(3).row.tolist() if chosen is None else [i.places_a.number(place) for place in chosen]
    cells, told = [], []
    for row in rows:
        answers = i.matrix[row]
        best, found = int(answers.argmax()), i.places_b.spread(answers)
        names, most = (i.places_a.names[row], i.places_b.names[best]), f"{float(answers[best]):+.3f}"
        told.append(f"{names[0]} finds {names[1]}, {most}")
        clear = i.places_a.weights[row] / i.places_a.weights[row].max()  # the rest is pale
        pale = 1 - (1 - i.pair.a) * (0.3 + 0.7 * clear)
        cells += [(pale, names[0]), (blend(i.pair.b, found), f"finds {names[1]}\n{most}")]
    figure = _pictures(cells, 6, beside=1)
    _bar(figure, figure.axes, SIGNED, -1, 1, label="1: full colour")
    show(figure, f"{i.pair.name_a} and {i.pair.name_b}, cosine {i.score:.3f}: {'; '.join(told)}.")
