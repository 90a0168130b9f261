"""Controls of the notebooks, built on ``observe`` and HTML widgets, so that they run wherever a notebook does."""

import html
import warnings
from base64 import b64encode
from functools import lru_cache

import numpy as np

from xfvlib import alignment, conditions, evaluation, extras, frequency, live, methods, plots
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import Pair, PairSet, person

with extras.extra("notebooks"):
    import ipywidgets as w

NOT_RUN = "Controls stand here. Run this cell in JupyterLab, and the cells before it, to move them."
_EVERYBODY = "everybody"
_WIDE = {"layout": {"width": "34em"}, "style": {"description_width": "7em"}}
# run by the figure once it is loaded: ipywidgets tells screen readers neither what a slider is called nor that a text
# has changed (jupyter-widgets/ipywidgets#2650)
_NAMED = """setTimeout(() => {
  const panel = this.closest('.widget-vbox');
  panel?.querySelector('.xfv-status')?.setAttribute('role', 'status');
  panel?.querySelectorAll('.noUi-handle').forEach((handle) => handle.setAttribute(
    'aria-label', handle.closest('.widget-inline-hbox').querySelector('label').textContent));
}, 500)"""
_EMPTY = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>"
_LARGEST_MESSAGE = 10_000_000  # bytes that a photograph's way to the kernel carries, unless started by ``make lab``


class _Controls(w.VBox):
    """Controls that say, where no kernel moves them, what to do: in a stored notebook this text stands for them."""

    def __repr__(self):
        return NOT_RUN


def _image(figure, alt):
    """HTML of a Figure, or of none, that keeps its room while it is loaded."""
    width, height = (100 * figure.get_size_inches()).astype(int) if figure else (1, 1)
    data = f"data:image/png;base64,{b64encode(plots.to_png(figure)).decode()}" if figure else _EMPTY
    looks = f'width="{width}" height="{height}" style="max-width: 100%; height: auto" decoding="sync"'
    return f'<img {looks} alt="{html.escape(alt)}" onload="{_NAMED}" src="{data}">'


def _panel(draw, redrawn_by=(), **controls):
    """Controls, one that resets them, a status line and a figure, which ``draw`` gives anew whenever one changes.

    Args:
        draw: without arguments; returns a Figure or None, its alternative text, and the status. Errors are said there.
        redrawn_by: names of the controls that draw; all where none is named.
        controls: by the names that they have as attributes of the VBox.
    """
    figure, status = w.HTML(), w.HTML().add_class("xfv-status")
    reset = w.Button(description="Reset", tooltip="Set every control as it was at first", icon="undo")
    first = {name: control.value for name, control in controls.items()}
    drawing = [controls[name] for name in redrawn_by or controls]

    def redraw(change=None):
        if not (change and getattr(change["owner"], "continuous_update", False)):
            status.value = "Computing …"
        try:
            drawn, alt, said = draw()
            figure.value = _image(drawn, alt)
        except Exception as error:  # an exception in a callback would vanish unseen
            figure.value = _image(None, "")
            said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        status.value = html.escape(said)

    def as_at_first(_):
        for control in drawing:
            control.unobserve(redraw, "value")
        for name, value in first.items():
            controls[name].value = value
        for control in drawing:
            control.observe(redraw, "value")
        redraw()

    for control in drawing:
        control.observe(redraw, "value")
    reset.on_click(as_at_first)
    redraw()
    box = _Controls([*controls.values(), reset, status, figure])
    vars(box).update(controls, reset=reset, figure=figure, status=status)
    return box


def _threshold_slider(start, lowest):
    """A slider from about the lowest score to 1, which the model's own threshold is on."""
    step = max(1 - start, 0.01) / 100
    low = max(-1, start - step * np.ceil((start - min(lowest, start)) / step))
    return w.FloatSlider(start, min=low, max=1, step=step, readout_format=".4f", description="Threshold", **_WIDE)


def _pair_groups(scores, labels, threshold):
    """Rows of the pairs in each group, in words: ``{group: indices}``, the pairs nearest the threshold first.

    Args:
        scores: array ``(P,)`` of cosine similarities.
        labels: array of bool ``(P,)``, True for genuine pairs.
        threshold: pairs at or above it are accepted.
    """
    order = np.argsort(np.abs(scores - threshold), kind="stable")
    same, accepted = labels[order], scores[order] >= threshold
    return {
        "same person": order[same],
        "different people": order[~same],
        "mistakes: different people accepted": order[~same & accepted],
        "mistakes: same person rejected": order[same & ~accepted],
        "closest calls, right or wrong": order[:20],
    }


def _set_options(dropdown, options):
    """Set a dropdown's options and choose the first; ipywidgets leaves a dropdown that was empty without a choice."""
    dropdown.options, dropdown.index = options, 0 if options else None


def pair_picker(model: FaceModel, pairs: PairSet, method: str = "fggb") -> w.VBox:
    """Choose a pair in words and move the threshold; the figure is redrawn.

    What a method computes from one image alone is kept for the last images, so a new threshold is redrawn at once.

    Args:
        model: a FaceModel with a threshold.
        pairs: a PairSet.
        method: one of ``METHODS``.

    Returns:
        A VBox with the controls ``group``, ``person``, ``pair``, ``threshold`` and ``reset``, the ``figure`` and a
        ``status`` line as attributes.

    Raises:
        ValueError: the model has no threshold, there are no pairs, or no method has that name.
        TypeError: the method needs gradients and the model has none.
    """
    start, how = decision_threshold(model), methods.method_called(method, model)
    scores, names = evaluation.scores(model, pairs), list(zip(pairs.table.name_a, pairs.table.name_b))
    groups = _pair_groups(scores, pairs.labels, start)
    group, somebody, chosen = (w.Dropdown(description=text, **_WIDE) for text in ("Kind of pair", "Person", "Pair"))
    _set_options(group, [(f"{kind} ({len(rows)})", kind) for kind, rows in groups.items()])
    threshold = _threshold_slider(start, scores.min())
    prepared = lru_cache(8)(lambda name: how.first(model, pairs.image(name), {}))

    def draw():
        if chosen.value is None:
            return None, "", "No such pair: choose another kind or person."
        pair, t = pairs[chosen.value], decision_threshold(model, threshold.value)
        e = methods.explain_prepared(model, pair, method, prepared(pair.name_a), prepared(pair.name_b), t)
        decision = f"{'rightly' if e.accepted == pair.same else 'wrongly'} {'accepted' if e.accepted else 'rejected'}"
        own = " (the model's own)" if abs(t - start) < 1e-6 else ""  # JupyterLab rounds it
        return plots.draw_pair(e), plots.told_pair(e), f"{decision}: cosine {e.score:.4f}, threshold {t:.4f}{own}"

    def list_pairs(_=None):
        rows = [i for i in groups.get(group.value, []) if somebody.value in (_EVERYBODY, *map(person, names[i]))]
        _set_options(chosen, [(f"{' and '.join(names[i])}, cosine {scores[i]:.4f}", int(i)) for i in rows])

    def list_people(_=None):
        people = {person(name) for i in groups.get(group.value, []) for name in names[i]} - {None}
        _set_options(somebody, [_EVERYBODY, *sorted(people, key=lambda p: (len(p), p))])
        list_pairs()

    group.observe(list_people, "value")
    somebody.observe(list_pairs, "value")
    list_people()
    return _panel(draw, ("pair", "threshold"), group=group, person=somebody, pair=chosen, threshold=threshold)


def cutoff_slider(model: FaceModel, pair: Pair) -> w.VBox:
    """Move a cut-off through the probe's frequencies; image, spectrum and decision are redrawn.

    Args:
        model: a FaceModel with a threshold.
        pair: a Pair in the model's size.

    Returns:
        A VBox with the controls ``kept`` ("low-pass" | "high-pass", as for :func:`xfvlib.frequency.cutoff_mask`) and
        ``cutoff`` in cycles, ``reset``, the ``figure`` and a ``status`` line as attributes.

    Raises:
        ValueError: the model has no threshold, or the pair does not fit it.
    """
    threshold, size = decision_threshold(model), pair.a.shape[-2:]
    partner = methods.embedding_of(model, pair.b)["embedding"]
    kept = w.Dropdown(description="Keep", options=[*zip(live.KEPT, frequency.CUTOFFS)], **_WIDE)
    cutoff = w.IntSlider(10, min=0, max=int(np.ceil(np.hypot(*size) / 2)), description="Cut-off", **_WIDE)

    def draw():
        chosen = frequency.cutoff_mask(size, cutoff.value, kept.value)
        filtered = frequency.keep_frequencies(pair.a, chosen)
        score = float(methods.embedding_of(model, filtered)["embedding"] @ partner)
        said = f"{kept.value} at {cutoff.value} cycles: {live.verdict(score, threshold)}"
        alt = f"Probe {pair.name_a}, what is left of it, its spectrum, and reference {pair.name_b}; {said}."
        return plots.draw_cutoff(pair, filtered, chosen, score, threshold), alt, said

    return _panel(draw, kept=kept, cutoff=cutoff)


def resolution_slider(model: FaceModel, pair: Pair) -> w.VBox:
    """Take resolution from the probe; image, the frequencies that its pixels can hold, and decision are redrawn.

    Args:
        model: a FaceModel with a threshold.
        pair: a Pair in the model's size.

    Returns:
        A VBox with the controls ``factor``, by which width and height are divided, and ``reset``, the ``figure`` and a
        ``status`` line as attributes.

    Raises:
        ValueError: the model has no threshold, or the pair does not fit it.
    """
    threshold, size = decision_threshold(model), pair.a.shape[-2:]
    partner = methods.embedding_of(model, pair.b)["embedding"]
    most = [factor for factor in live.FACTORS if min(size) / factor >= 4]
    factor = w.SelectionSlider(options=most, value=most[len(most) // 2], description="Reduced to 1/", **_WIDE)

    def draw():
        small = conditions.reduced(pair.a, factor.value)
        held = frequency.distance_from_dc(size, "square") <= min(size) / 2 / factor.value
        score = float(methods.embedding_of(model, small)["embedding"] @ partner)
        said = f"1/{factor.value:g}, {size[0] / factor.value:.0f} pixels high: {live.verdict(score, threshold)}"
        alt = f"Probe {pair.name_a}, what is left of it, its spectrum, and reference {pair.name_b}; {said}."
        return plots.draw_cutoff(pair, small, held, score, threshold), alt, said

    return _panel(draw, factor=factor)


def morph_slider(model: FaceModel, one: Pair, two: Pair) -> w.VBox:
    """Move a morph from one person to another, and see whom it passes as.

    Args:
        model: a FaceModel with a threshold.
        one, two: of each person the photograph that is morphed, ``a``, and another one that the morph is held against,
            ``b``.

    Returns:
        A VBox with the controls ``share`` of the second person and ``reset``, the ``figure`` and a ``status`` line as
        attributes; a face without landmarks is said there.

    Raises:
        ValueError: the model has no threshold, or the pairs do not fit it.
    """
    threshold = decision_threshold(model)
    claims = [methods.embedding_of(model, pair.b)["embedding"] for pair in (one, two)]
    share = w.FloatSlider(0.5, min=0, max=1, step=0.05, description="Share", continuous_update=False, **_WIDE)

    def draw():
        mixed = conditions.morph(one.a, two.a, share.value)
        scores = [float(methods.embedding_of(model, mixed)["embedding"] @ claim) for claim in claims]
        told = [f"{'passes' if s >= threshold else 'fails'} as {p.name_b}, {s:.4f}" for s, p in zip(scores, (one, two))]
        said = f"{share.value:.0%} of {two.name_a}: {' and '.join(told)}; threshold {threshold:.4f}"
        alt = f"{one.name_a}, the morph, {two.name_a}, and the photograph that the morph is held against; {said}."
        return plots.draw_morph(one, two, mixed, scores, threshold), alt, said

    return _panel(draw, share=share)


def photo_pair(model: FaceModel, method: str = "fggb") -> w.VBox:
    """Two photographs in, decision and maps out. Nothing leaves the machine, and nothing is written to its disk.

    What a method computes from one photograph alone is kept, so a new threshold is redrawn at once; ``reset`` forgets
    the photographs.

    Args:
        model: a FaceModel with a threshold.
        method: one of ``METHODS``.

    Returns:
        A VBox with the controls ``probe``, ``reference``, ``threshold`` and ``reset``, the ``figure`` and a ``status``
        line as attributes.

    Raises:
        ValueError: the model has no threshold, or no method has that name.
        TypeError: the method needs gradients and the model has none.
    """
    start, how = decision_threshold(model), methods.method_called(method, model)
    looks = {"accept": "image/*", "multiple": False, "layout": {"width": "16em"}}
    probe, reference = (w.FileUpload(description=f"{side} photograph", **looks) for side in ("Probe", "Reference"))
    most, usual = (f"{size / 1e6:.0f} MB" for size in (alignment.LARGEST_FILE, _LARGEST_MESSAGE))
    limits = w.HTML(
        f"JPEG or PNG, one face each, up to {most}. If nothing happens after one of more than {usual}, start "
        "JupyterLab with <code>make lab</code>."
    )
    threshold = _threshold_slider(start, 2 * start - 1)

    @lru_cache(8)
    def looked_at(data, name):
        """The face, its preparation, and what there is to say, such as that the photograph shows several."""
        with warnings.catch_warnings(record=True, action="always", category=UserWarning) as notes:
            face = alignment.align(alignment.read_photo(data, name), model)
        return face, how.first(model, face, {}), [str(x.message) for x in notes if issubclass(x.category, UserWarning)]

    def draw():
        found, names, said = [], [], []
        for side, upload in (("probe", probe), ("reference", reference)):
            for file in upload.value:
                try:
                    face, prepared, notes = looked_at(bytes(file["content"]), file["name"])
                except ValueError as error:
                    said.append(f"{side} photograph: {error}")
                    continue
                found.append((face, prepared))
                names.append(file["name"])
                said += [f"{side} photograph: {note}" for note in notes]
        if len(found) < 2:
            return None, "", "; ".join([*said, f"{len(found)} of 2 photographs with a face chosen"])
        (face_a, first_a), (face_b, first_b) = found
        pair, t = Pair(face_a, face_b, None, *names), decision_threshold(model, threshold.value)
        e = methods.explain_prepared(model, pair, method, first_a, first_b, t)
        threshold.min = max(-1, min(threshold.min, e.score - 10 * threshold.step))
        return plots.draw_pair(e), plots.told_pair(e), "; ".join([repr(e), *said])

    drawing = ("probe", "reference", "threshold")
    box = _panel(draw, drawing, probe=probe, reference=reference, limits=limits, threshold=threshold)
    box.reset.on_click(lambda _: looked_at.cache_clear())
    return box
