"""Every figure of the workbook. A ``show_…`` function displays a PNG with alternative text and returns nothing.

Signed maps are drawn in one diverging palette with 0 in the middle (blue speaks for a match, red against it),
magnitudes in one sequential palette. Maps are scaled here, for the eye only; what the methods return stays as it is.
"""

import io
import textwrap

import matplotlib as mpl
import numpy as np
import PIL.Image
import seaborn as sns
import torch
from IPython.display import Image, display
from matplotlib.figure import Figure

from xfvlib.evaluation import auc, equal_error_rate, error_rates

SIGNED, MAGNITUDE = "RdBu", "magma"
GENUINE, IMPOSTOR = "#2166ac", "#b2182b"
TITLE_WIDTH = 22  # letters over a picture; longer titles are broken at a space, or made smaller

mpl.rcParams.update({
    "figure.facecolor": "white",  # transparent figures are unreadable on dark themes
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
})  # fmt: skip


def to_png(figure):
    """The figure as PNG bytes, 100 pixels an inch, in 256 colours: a third of the size, so that notebooks stay small."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=100)
    pixels = PIL.Image.open(full).convert("RGB")
    # maximum coverage keeps rare colours, such as the ends of the colour bar, where the default would dull them
    pixels.quantize(256, method=PIL.Image.Quantize.MAXCOVERAGE, dither=PIL.Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def show(figure, alt):
    """Display a figure as PNG with alternative text."""
    display(Image(to_png(figure), alt=alt))


def blend(image, saliency, limit):
    """A signed map laid over the grey image: ``(H, W, 3)`` in [0, 1]; the face stays visible where the map is near 0.

    Args:
        image: ``(3, H, W)``, RGB in [0, 1].
        saliency: signed ``(H, W)``.
        limit: the value drawn in full colour, > 0.
    """
    grey = image.mean(dim=0).numpy()[..., None]
    share = np.clip(saliency.numpy() / limit, -1, 1)
    alpha = 0.8 * np.abs(share)[..., None] ** 0.7
    return (1 - alpha) * grey + alpha * mpl.colormaps[SIGNED]((share + 1) / 2)[..., :3]


def full_colour(*maps):
    """The absolute value drawn in full colour: the 99.5th percentile, so that single pixels do not blank the rest; 1 for empty maps."""
    values = torch.cat([m.abs().flatten() for m in maps])
    return float(values.quantile(0.995)) or float(values.max()) or 1.0


def picture(ax, image, title=""):
    """One picture without axes: a crop ``(3, H, W)`` or an array ``(H, W, 3)``."""
    ax.imshow(image.permute(1, 2, 0).numpy() if hasattr(image, "permute") else image)
    lines = [part for line in title.split("\n") for part in textwrap.wrap(line, TITLE_WIDTH, break_long_words=False) or [""]]
    ax.set_title("\n".join(lines))
    if (longest := max(map(len, lines))) >= TITLE_WIDTH:
        ax.title.set_fontsize(ax.title.get_fontsize() * 19 / longest)
    ax.set_axis_off()


def signed_bar(figure, axes):
    """Colour bar of the signed palette, in words."""
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(-1, 1), SIGNED)
    bar = figure.colorbar(scale, ax=axes, ticks=[-1, 0, 1], fraction=0.05, pad=0.02)
    bar.ax.set_yticklabels(["against\na match", "0", "for\na match"])


def decision_line(ax, score, threshold):
    """Score and threshold on one line, rejected side and accepted side shaded."""
    low = np.floor(10 * (min(score, threshold) - 0.03)) / 10
    ax.axvspan(low, threshold, color=IMPOSTOR, alpha=0.12, lw=0)
    ax.axvspan(threshold, 1, color=GENUINE, alpha=0.12, lw=0)
    ax.axvline(threshold, color="0.2")
    ax.plot([score], [0.3], "o", ms=8, color=GENUINE if score >= threshold else IMPOSTOR, clip_on=False, zorder=3)
    ax.set(xlim=(low, 1), ylim=(0, 1), yticks=[], xlabel="cosine similarity")
    ax.spines.left.set_visible(False)
    ax.text(low, 0.75, " rejected", va="center", color=IMPOSTOR)
    ax.text(1, 0.75, "accepted ", va="center", ha="right", color=GENUINE)


def truth(pair):
    return {True: "same person", False: "different people", None: "truth unknown"}[pair.same]


def verdict(e):
    """One line for a title: decision, truth, score and threshold."""
    decision = "accepted" if e.accepted else "rejected"
    return f"{decision} ({truth(e.pair)}): cosine {e.score:.4f}, threshold {e.threshold:.4f}"


def draw_pair(e):
    """Figure of one Explanation: both images, both maps blended over them, score and threshold on a line."""
    figure = Figure(figsize=(8.2, 3.3))
    grid = figure.subplot_mosaic([["a", "map_a", "b", "map_b"], ["line"] * 4], height_ratios=[1, 0.2])
    limit = full_colour(e.map_a, e.map_b)
    picture(grid["a"], e.pair.a, f"probe {e.pair.name_a}")
    on = "\non" if len(e.method) > 10 else " on"
    picture(grid["map_a"], blend(e.pair.a, e.map_a, limit), f"{e.method}{on} the probe")
    picture(grid["b"], e.pair.b, f"reference {e.pair.name_b}")
    picture(grid["map_b"], blend(e.pair.b, e.map_b, limit), f"{e.method}{on} the reference")
    signed_bar(figure, [grid[key] for key in ("a", "map_a", "b", "map_b")])
    decision_line(grid["line"], e.score, e.threshold)
    figure.suptitle(verdict(e), fontsize=11)
    return figure


def show_pair(e):
    """Show one :class:`~xfvlib.methods.Explanation`; see :func:`draw_pair`."""
    balance = float(sum(m.sum() for m in (e.map_a, e.map_b)))
    side = "for" if balance > 0 else "against"
    show(draw_pair(e), f"Pair {e.pair.name_a} and {e.pair.name_b}, {verdict(e)}. {e.method} maps over both faces; on the whole they speak {side} a match.")  # fmt: skip


def show_images(images, titles, *, columns=6, suptitle=None, inches=1.45):
    """Crops ``(3, H, W)`` with a title each, in rows of ``columns``, ``inches`` wide; nothing where there are none."""
    if len(images) == 0:
        return
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(inches * columns, (inches + 0.3) * rows + (0.3 if suptitle else 0)))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, image, title in zip(axes, images, titles):
        picture(ax, image, title)
        ax.title.set_fontsize(ax.title.get_fontsize() * inches / 1.45)
    for ax in axes[len(images) :]:
        ax.set_axis_off()
    figure.suptitle(suptitle)
    show(figure, f"{suptitle or 'Faces'}: " + "; ".join(str(t).replace("\n", ", ") for t in titles if t))


def show_maps(maps, titles, *, image=None, signed=True, each_scaled=True, columns=5, label=""):
    """Maps ``(H, W)`` with a title each.

    Args:
        image: ``(3, H, W)``, shown first, and under signed maps when given.
        signed: diverging palette centred on 0; False for magnitudes ≥ 0 in the sequential palette.
        each_scaled: scale each map to its own largest absolute value; False for one scale, so that maps can be compared.
        label: unit of the colour bar.
    """
    count = len(maps) + (image is not None)
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.6 * columns + 0.8, 1.8 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    cells = iter(axes.flat)
    if image is not None:
        picture(next(cells), image, "image")
    limit = full_colour(*maps)
    for ax, saliency, title in zip(cells, maps, titles):
        scale = full_colour(saliency) if each_scaled else limit
        if signed and image is not None:
            picture(ax, blend(image, saliency, scale), title)
        else:
            ax.imshow(saliency, cmap=SIGNED if signed else MAGNITUDE, vmin=-scale if signed else 0, vmax=scale)
            ax.set_title(title)
    top = 1 if each_scaled else limit
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(-top if signed else 0, top), SIGNED if signed else MAGNITUDE)
    figure.colorbar(scale, ax=axes, label=label or ("share of largest" if each_scaled else ""), fraction=0.05)
    show(figure, "Maps: " + "; ".join(str(t).replace("\n", ", ") for t in titles))


def show_method_grid(explanations):
    """Pairs in rows, methods in columns: both maps of each, blended over the images.

    Args:
        explanations: list of rows; a row is one pair explained by several methods in the same order.
    """
    methods = [e.method for e in explanations[0]]
    figure = Figure(figsize=(1.25 * (2 + 2 * len(methods)) + 0.5, 1.5 * len(explanations)))
    axes = figure.subplots(len(explanations), 2 + 2 * len(methods), squeeze=False)
    for ax, method in zip(axes[0, 2::2], methods):
        ax.text(1.05, 1.06, method, transform=ax.transAxes, ha="center", in_layout=False)
    for row, line in zip(axes, explanations):
        pair, first = line[0].pair, line[0]
        decision = "accepted" if first.accepted else "rejected"
        picture(row[0], pair.a, pair.name_a)
        picture(row[1], pair.b, pair.name_b)
        row[0].text(-0.08, 0.5, f"{decision}\n{truth(pair)}\n{first.score:.4f}", transform=row[0].transAxes, va="center", ha="right",
                    rotation=90, multialignment="center", fontsize=8, color=GENUINE if first.accepted else IMPOSTOR)  # fmt: skip
        for e, ax_a, ax_b in zip(line, row[2::2], row[3::2]):
            limit = full_colour(e.map_a, e.map_b)
            picture(ax_a, blend(pair.a, e.map_a, limit))
            picture(ax_b, blend(pair.b, e.map_b, limit))
    signed_bar(figure, axes)
    show(figure, f"Maps of the methods {', '.join(methods)} over both images of {len(explanations)} pairs: "
         + "; ".join(f"{line[0].pair.name_a} and {line[0].pair.name_b}, {verdict(line[0])}" for line in explanations))  # fmt: skip


def show_scores(scores, labels, threshold=None):
    """Histogram of cosine similarities, genuine and impostor pairs apart, each of area 1, with the threshold."""
    scores, labels = np.asarray(scores), np.asarray(labels, bool)
    figure = Figure(figsize=(7, 2.9))
    ax = figure.subplots()
    kinds = np.where(labels, "genuine", "impostor")
    sns.histplot(x=scores, hue=kinds, hue_order=["genuine", "impostor"], palette=[GENUINE, IMPOSTOR], stat="density",
                 common_norm=False, bins=60, element="step", alpha=0.35, ax=ax)  # fmt: skip
    ax.set(xlabel="cosine similarity", ylabel="density")
    alt = f"Histogram of {len(scores)} cosine similarities: genuine pairs around {np.median(scores[labels]):.3f}, impostor pairs around {np.median(scores[~labels]):.3f}"
    if threshold is not None:
        ax.axvline(threshold, color="0.2", ls="--")
        ax.annotate(f"threshold {threshold:.4f}", (threshold, 0.97), xycoords=("data", "axes fraction"), ha="right", va="top", rotation=90)
        alt += f"; threshold {threshold:.4f}"
    show(figure, alt + ".")


def show_roc(curves, labels):
    """ROC curves, false match rate on a logarithmic axis, with the point of the equal error rate.

    Args:
        curves: ``{name: scores}``, scores of ``(P,)``.
        labels: bool ``(P,)``, True for genuine pairs.
    """
    figure = Figure(figsize=(5.2, 3.4))
    ax = figure.subplots()
    described, lowest = [], 1.0
    for (name, scores), colour in zip(curves.items(), sns.color_palette("colorblind")):
        fmr, fnmr, _ = error_rates(scores, labels)
        eer, _ = equal_error_rate(scores, labels)
        text = f"{name}: AUC {auc(scores, labels):.4f}, EER {eer:.2%}"
        ax.plot(fmr, 1 - fnmr, color=colour, drawstyle="steps-post", label=text)
        ax.plot([eer], [1 - eer], "o", color=colour)
        described.append(text)
        lowest = min(lowest, float((1 - fnmr)[fmr > 0][0]))
    impostors = int((~np.asarray(labels, bool)).sum())
    ax.set(
        xscale="log",
        xlim=(1 / impostors, 1),
        xlabel=f"false match rate (FMR), down to 1 in {impostors}",
        ylabel="true accept rate (1 − FNMR)",
    )
    ax.set_ylim(max(0, lowest - 0.05), 1.005)
    ax.legend(loc="lower right", frameon=False)
    show(figure, "ROC curves: " + "; ".join(described))


def show_curves(x, curves, *, xlabel, ylabel, logx=False, logy=False, line=None):
    """Lines over an axis, each named in a legend.

    Args:
        x: ``(P,)``.
        curves: ``{name: (P,)}``, or ``{name: (mean, low, high)}``, three of ``(P,)``, for a line in its interval.
        xlabel, ylabel: with units.
        logx, logy: logarithmic axes.
        line: a horizontal line, ``(value, name)``.
    """
    figure = Figure(figsize=(5.8, 3.2))
    ax = figure.subplots()
    ends = []
    for (name, y), colour in zip(curves.items(), sns.color_palette("colorblind")):
        y, *interval = y if isinstance(y, tuple) else (y,)
        ax.plot(x, y, marker="o", ms=3, color=colour, label=name)
        if interval:
            ax.fill_between(x, *interval, color=colour, alpha=0.2, lw=0)
        ends.append(f"{name} from {float(y[0]):.3g} to {float(y[-1]):.3g}")
    if line is not None:
        ax.axhline(line[0], color="0.2", ls="--", lw=1, label=line[1])
        ends.append(f"{line[1]} at {line[0]:.3g}")
    ax.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if logx else "linear", yscale="log" if logy else "linear")
    ax.legend(frameon=False, fontsize=9)
    show(figure, f"{ylabel} against {xlabel}: {'; '.join(ends)}")


def show_chart(values, rows, columns, *, label, xlabel="", ylabel=""):
    """A table of signed numbers as colours, each number written in its field.

    Args:
        values: ``(R, C)``.
        rows, columns: names.
        label: of the colour bar, with its unit.
    """
    values = np.asarray(values)
    figure = Figure(figsize=(1.6 + 0.62 * len(columns), 1.1 + 0.36 * len(rows)))
    limit = float(np.abs(values).max()) or 1.0
    ax = figure.subplots()
    sns.heatmap(values, ax=ax, cmap=SIGNED, vmin=-limit, vmax=limit, annot=True, fmt=".3f",
                annot_kws={"size": 8}, xticklabels=columns, yticklabels=rows, cbar_kws={"label": label})  # fmt: skip
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    top = np.unravel_index(np.abs(values).argmax(), values.shape)
    show(figure, f"{label} by {ylabel} and {xlabel}: largest {values[top]:.3f} at {rows[top[0]]}, {columns[top[1]]}")


def draw_cutoff(pair, filtered, chosen, score, threshold):
    """Figure of a pair whose probe has lost frequencies: what is left of it, its spectrum, the reference, and the decision.

    Args:
        pair: the untouched Pair.
        filtered: ``(3, H, W)``, the probe with the chosen frequencies only; drawn from its own lowest to its own highest value.
        chosen: bool ``(H, W)`` in the order of ``torch.fft.fft2``.
        score, threshold: cosine of ``filtered`` and the reference, and the decision's threshold.
    """
    figure = Figure(figsize=(8.2, 3.3))
    grid = figure.subplot_mosaic([["probe", "left", "spectrum", "reference"], ["line"] * 4], height_ratios=[1, 0.2])
    picture(grid["probe"], pair.a, f"probe {pair.name_a}")
    span = filtered.max() - filtered.min()
    picture(grid["left"], (filtered - filtered.min()) / (span if span > 1e-6 else 1), "what is left of it")
    power = torch.log10(1 + torch.fft.fft2(pair.a).abs().mean(dim=0))
    grid["spectrum"].imshow(torch.fft.fftshift(torch.where(chosen, power, 0)), cmap=MAGNITUDE, vmin=0, vmax=float(power.max()))
    grid["spectrum"].set_title("its spectrum, DC in the middle")
    grid["spectrum"].set_axis_off()
    picture(grid["reference"], pair.b, f"reference {pair.name_b}")
    decision_line(grid["line"], score, threshold)
    decision = "accepted" if score >= threshold else "rejected"
    figure.suptitle(f"{decision} ({truth(pair)}): cosine {score:.4f}, threshold {threshold:.4f}", fontsize=11)
    return figure


def show_frequency_influence(influence):
    """Heat plots of a :class:`~xfvlib.frequency.FrequencyInfluence`: each frequency painted with its band's value, DC in the middle.

    For both images the absolute value, as a share of the larger one's maximum, the directed value, symmetric about 0, and
    beside them the band's share of the image's energy.
    """
    figure = Figure(figsize=(11, 4.2))
    axes = figure.subplots(2, 4)
    limit = float(max(influence.a.abs().max(), influence.b.abs().max())) or 1.0
    rows = zip(
        axes,
        ("probe", "reference"),
        (influence.pair.a, influence.pair.b),
        (influence.a, influence.b),
        (influence.energy_a, influence.energy_b),
    )
    for row, side, image, values, energy in rows:
        painted = torch.fft.fftshift(values[influence.numbers])
        shares = torch.fft.fftshift(energy.clamp(min=1e-6).log10()[influence.numbers])
        picture(row[0], image, side)
        for ax, shown, palette, low, high, title in (
            (row[1], painted.abs() / limit, MAGNITUDE, 0, 1, "absolute, share of largest"),
            (row[2], painted, SIGNED, -limit, limit, "directed, cosine lost"),
            (row[3], shares, MAGNITUDE, -6, 0, "log10 of the band's energy share"),
        ):
            drawn = ax.imshow(shown, cmap=palette, vmin=low, vmax=high)
            ax.set_title(title)
            ax.set_axis_off()
            figure.colorbar(drawn, ax=ax, fraction=0.05)
    bands = [int(values.abs().argmax()) for values in (influence.a, influence.b)]
    show(figure, f"Frequency heat plots of both images, cosine {influence.score:.4f}: most is lost with band {bands[0]} of the probe and band {bands[1]} of the reference.")  # fmt: skip
