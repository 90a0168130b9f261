"""Controls of the notebooks, built on ``observe`` and an Image widget, so that they run wherever a notebook does."""

import html
import warnings
from functools import lru_cache

import ipywidgets as w
import numpy as np
import torch

from xfvlib.alignment import align, read_photo
from xfvlib.evaluation import decision_threshold, embed_images
from xfvlib.frequency import band_numbers, keep_frequencies
from xfvlib.gradients import channel_gradients, cosine_to
from xfvlib.methods import Explanation, explain
from xfvlib.methods.fggb import fggb_from_kept
from xfvlib.pairs import Pair, person
from xfvlib.plots import draw_cutoff, draw_pair, to_png

EVERYBODY = "everybody"


def pair_groups(scores, labels, threshold):
    """Rows of the pairs in each group, in words: ``{group: indices}``, the pairs nearest the threshold first.

    Args:
        scores: ``(P,)`` cosine similarities.
        labels: bool ``(P,)``, True for genuine pairs.
        threshold: pairs at or above it are accepted.
    """
    scores, labels = np.asarray(scores), np.asarray(labels, bool)
    order = np.argsort(np.abs(scores - threshold), kind="stable")
    accepted = scores >= threshold
    wanted = {
        "same person": labels,
        "different people": ~labels,
        "mistakes: different people accepted": ~labels & accepted,
        "mistakes: same person rejected": labels & ~accepted,
    }
    groups = {name: order[chosen[order]] for name, chosen in wanted.items()}
    return groups | {"closest calls, right or wrong": order[:20]}


def fill(dropdown, options):
    """Set a dropdown's options and choose the first; ipywidgets leaves a dropdown that was empty without a choice."""
    dropdown.options = options
    if options and dropdown.index is None:
        dropdown.index = 0


def pair_picker(model, pairs):
    """Choose a pair in words and move the threshold; the FGGB figure is redrawn.

    The channel gradients of the last images are kept: a new threshold is redrawn at once, a new image takes about a second.

    Args:
        model: a differentiable FaceModel with a threshold.
        pairs: a PairSet.

    Returns:
        A VBox with the controls ``group``, ``person``, ``pair``, ``threshold``, the ``figure`` and a ``status`` line as attributes.

    Raises:
        ValueError: the model has no threshold.
    """
    start = decision_threshold(model)
    known = embed_images(model, pairs)
    names = list(zip(pairs.table.name_a, pairs.table.name_b))
    scores = np.array([float(known[a] @ known[b]) for a, b in names])
    groups = pair_groups(scores, pairs.labels, start)
    wide = {"layout": w.Layout(width="34em"), "style": {"description_width": "7em"}}

    group = w.Dropdown(description="Kind of pair", options=[(f"{k} ({len(v)})", k) for k, v in groups.items()], **wide)
    somebody = w.Dropdown(description="Person", **wide)
    pair = w.Dropdown(description="Pair", **wide)
    low = min(float(np.floor(10 * scores.min()) / 10), start)
    threshold = w.FloatSlider(start, min=low, max=1, step=0.0005, readout_format=".4f", description="Threshold",
                              continuous_update=False, **wide)  # fmt: skip
    figure = w.Image(format="png", layout=w.Layout(width="820px", height="330px"))
    status = w.HTML()

    @lru_cache(8)
    def gradients(name):
        return channel_gradients(model, pairs.image(name))

    def explanation(row, t):
        a, b = names[row]
        map_a = fggb_from_kept(gradients(a), known[b], threshold=t)
        map_b = fggb_from_kept(gradients(b), known[a], threshold=t)
        return Explanation(pairs[int(row)], "fggb", float(scores[row]), t, map_a, map_b)

    def redraw(_=None):
        try:
            if pair.value is None:
                figure.value, status.value = b"", "No such pair: choose another kind or person."
                return
            status.value = "Computing …"
            e = explanation(pair.value, threshold.value)
            figure.value = to_png(draw_pair(e))
            right = "rightly" if e.accepted == e.pair.same else "wrongly"
            status.value = f"{right} {'accepted' if e.accepted else 'rejected'}: cosine {e.score:.4f}, threshold {t_text(e.threshold)}"
        except Exception as error:  # an exception in a callback would vanish unseen
            status.value = f"<b>{type(error).__name__}</b>: {html.escape(str(error))}"

    def t_text(t):
        return f"{t:.4f}" + (" (the model's own)" if t == start else "")

    def list_pairs(_=None):
        rows = [i for i in groups[group.value] if somebody.value in (EVERYBODY, *map(person, names[i]))]
        fill(pair, [(f"{names[i][0]} and {names[i][1]}, cosine {scores[i]:.4f}", int(i)) for i in rows])

    def list_people(_=None):
        people = {person(name) for i in groups[group.value] for name in names[i]} - {None}
        fill(somebody, [EVERYBODY, *sorted(people, key=lambda p: (len(p), p))])
        list_pairs()

    group.observe(list_people, "value")
    somebody.observe(list_pairs, "value")
    pair.observe(redraw, "value")
    threshold.observe(redraw, "value")
    list_people()
    box = w.VBox([group, somebody, pair, threshold, figure, status])
    box.group, box.person, box.pair, box.threshold, box.figure, box.status = group, somebody, pair, threshold, figure, status
    return box


def cutoff_slider(model, pair):
    """Move a cut-off through the probe's frequencies; image, spectrum and decision are redrawn.

    Args:
        model: a FaceModel with a threshold.
        pair: a Pair in the model's size.

    Returns:
        A VBox with the controls ``kept`` ("up to" | "beyond" the cut-off; DC always stays) and ``cutoff`` in cycles, the ``figure`` and
        a ``status`` line as attributes.

    Raises:
        ValueError: the model has no threshold.
    """
    threshold, numbers = decision_threshold(model), band_numbers(pair.a.shape[-2:])
    cosine = cosine_to(model, pair.b)
    kept = w.Dropdown(description="Keep", options=[("frequencies up to the cut-off", "up to"), ("frequencies beyond it", "beyond")])
    cutoff = w.IntSlider(10, min=0, max=int(numbers.max()), description="Cut-off", continuous_update=False, layout=w.Layout(width="34em"))
    figure = w.Image(format="png", layout=w.Layout(width="820px", height="330px"))
    status = w.HTML()

    def redraw(_=None):
        try:
            inside = numbers <= cutoff.value
            chosen = inside if kept.value == "up to" else ~inside | (numbers == 0)
            filtered = keep_frequencies(pair.a, chosen)
            with torch.no_grad():
                score = float(cosine(filtered[None])[0])
            figure.value = to_png(draw_cutoff(pair, filtered, chosen, score, threshold))
            status.value = f"{kept.value} {cutoff.value} cycles: cosine {score:.4f}, {'accepted' if score >= threshold else 'rejected'}"
        except Exception as error:  # an exception in a callback would vanish unseen
            status.value = f"<b>{type(error).__name__}</b>: {html.escape(str(error))}"

    for control in (kept, cutoff):
        control.observe(redraw, "value")
    redraw()
    box = w.VBox([kept, cutoff, figure, status])
    box.kept, box.cutoff, box.figure, box.status = kept, cutoff, figure, status
    return box


def photo_pair(model, method="fggb"):
    """Two photographs in, decision and maps out. Nothing leaves the machine, and nothing is written to its disk.

    Args:
        model: a FaceModel with a threshold.
        method: one of ``METHODS``.

    Returns:
        A VBox with the controls ``probe``, ``reference``, ``threshold``, the ``figure`` and a ``status`` line as attributes.

    Raises:
        ValueError: the model has no threshold.
    """
    start = decision_threshold(model)
    buttons = {"layout": w.Layout(width="16em")}
    probe = w.FileUpload(accept="image/*", multiple=False, description="Probe photograph", **buttons)
    reference = w.FileUpload(accept="image/*", multiple=False, description="Reference photograph", **buttons)
    threshold = w.FloatSlider(start, min=-1, max=1, step=0.0005, readout_format=".4f", description="Threshold", continuous_update=False)
    figure = w.Image(format="png", layout=w.Layout(width="820px", height="330px"))
    status = w.HTML("Choose two photographs: JPEG or PNG, one face each.")

    @lru_cache(8)
    def crop(data, name):
        """The face, and what there is to say about it, such as that the photograph shows several."""
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always", UserWarning)
            face = align(read_photo(data, name), model)
        return face, [str(note.message) for note in notes if issubclass(note.category, UserWarning)]

    def redraw(_=None):
        chosen = [upload.value[0] for upload in (probe, reference) if upload.value]
        if len(chosen) < 2:
            status.value = f"{len(chosen)} of 2 photographs chosen."
            return
        try:
            status.value = "Computing …"
            (a, said_a), (b, said_b) = (crop(bytes(file["content"]), file["name"]) for file in chosen)
            pair = Pair(a, b, name_a=chosen[0]["name"], name_b=chosen[1]["name"])
            e = explain(model, pair, method, threshold.value)
            figure.value = to_png(draw_pair(e))
            status.value = html.escape("; ".join([repr(e), *said_a, *said_b]))
        except Exception as error:  # an exception in a callback would vanish unseen
            figure.value = b""
            status.value = f"<b>{type(error).__name__}</b>: {html.escape(str(error))}"

    for control in (probe, reference, threshold):
        control.observe(redraw, "value")
    box = w.VBox([w.HBox([probe, reference]), threshold, figure, status])
    box.probe, box.reference, box.threshold, box.figure, box.status = probe, reference, threshold, figure, status
    return box
