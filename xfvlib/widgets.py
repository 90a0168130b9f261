"""Controls of the notebooks, built on ``observe`` and an Image widget, so that they run wherever a notebook does."""

import html
import warnings
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from xfvlib import evaluation
from xfvlib.alignment import align, read_photo
from xfvlib.extras import extra
from xfvlib.frequency import keep_frequencies
from xfvlib.frequency.bands import numbers_in
from xfvlib.methods import Explanation, embedding_of, method_called
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import Pair, PairSet, person
from xfvlib.plots import draw_cutoff, draw_pair, to_png

with extra("notebooks"):
    import ipywidgets as w

_EVERYBODY = "everybody"
_WIDE = {"layout": {"width": "34em"}, "style": {"description_width": "7em"}}


def _panel(controls: dict, draw: Callable[[], tuple[bytes, str]], watched: tuple = ()) -> w.VBox:
    """Controls over a figure and a status line, which ``draw`` gives anew, as PNG and words, whenever one changes.

    Args:
        controls: by the names that they have as attributes of the VBox.
        draw: without arguments; errors are said in the status line.
        watched: names of those that draw; all where none is named.
    """
    layout = {"width": "820px", "height": "330px"}
    parts = controls | {"figure": w.Image(format="png", layout=layout), "status": w.HTML()}

    def redraw(_=None):
        parts["status"].value = "Computing …"
        try:
            parts["figure"].value, said = draw()
        except Exception as error:  # an exception in a callback would vanish unseen
            parts["figure"].value, said = b"", f"{type(error).__name__}: {error}"
        parts["status"].value = html.escape(said)

    for name in watched or controls:
        controls[name].observe(redraw, "value")
    redraw()
    box = w.VBox(list(parts.values()))
    for name, part in parts.items():
        setattr(box, name, part)
    return box


def _threshold_slider(start, low):
    looks = {"readout_format": ".4f", "description": "Threshold", "continuous_update": False}
    return w.FloatSlider(start, min=low, max=1, step=0.0005, **looks, **_WIDE)


def _explanation(model, pair, method, prepared, threshold):
    """Explanation of a pair whose two images have been prepared."""
    (a, b), how, maps = prepared, method_called(method, model), []
    for own, partner, image, reference in ((a, b, pair.a, pair.b), (b, a, pair.b, pair.a)):
        supplied = {"model": model, "image": image, "reference": reference, "threshold": threshold}
        maps.append(how.second(own, partner, {}, **supplied))
    return Explanation(pair, method, float(a["embedding"] @ b["embedding"]), threshold, *maps)


def _pair_groups(scores: ArrayLike, labels: ArrayLike, threshold: float) -> dict[str, np.ndarray]:
    """Rows of the pairs in each group, in words: ``{group: indices}``, the pairs nearest the threshold first.

    Args:
        scores: ``(P,)`` cosine similarities.
        labels: bool ``(P,)``, True for genuine pairs.
        threshold: pairs at or above it are accepted.
    """
    scores, labels = np.asarray(scores), np.asarray(labels, bool)
    order, accepted = np.argsort(np.abs(scores - threshold), kind="stable"), scores >= threshold
    wanted = {
        "same person": labels,
        "different people": ~labels,
        "mistakes: different people accepted": ~labels & accepted,
        "mistakes: same person rejected": labels & ~accepted,
    }
    groups = {name: order[chosen[order]] for name, chosen in wanted.items()}
    return groups | {"closest calls, right or wrong": order[:20]}


def _set_options(dropdown, options):
    """Set a dropdown's options and choose the first; ipywidgets leaves a dropdown that was empty without a choice."""
    dropdown.options = options
    dropdown.index = 0 if options else None


def pair_picker(model: FaceModel, pairs: PairSet, method: str = "fggb") -> w.VBox:
    """Choose a pair in words and move the threshold; the figure is redrawn.

    What a method computes from one image alone is kept for the last images, so a new threshold is redrawn at once.

    Args:
        model: a FaceModel with a threshold.
        pairs: a PairSet.
        method: one of ``METHODS``.

    Returns:
        A VBox with the controls ``group``, ``person``, ``pair``, ``threshold``, the ``figure`` and a ``status`` line as
        attributes.

    Raises:
        ValueError: the model has no threshold, there are no pairs, or no method has that name.
        TypeError: the method needs gradients and the model has none.
    """
    start, how = decision_threshold(model), method_called(method, model)
    scores, names = evaluation.scores(model, pairs), list(zip(pairs.table.name_a, pairs.table.name_b))
    groups = _pair_groups(scores, pairs.labels, start)
    kinds = [(f"{kind} ({len(rows)})", kind) for kind, rows in groups.items()]
    group = w.Dropdown(description="Kind of pair", options=kinds, **_WIDE)
    somebody, chosen = (w.Dropdown(description=text, **_WIDE) for text in ("Person", "Pair"))
    threshold = _threshold_slider(start, min(float(np.floor(10 * scores.min()) / 10), start))
    prepared = lru_cache(8)(lambda name: how.first(model, pairs.image(name), {}))

    def draw():
        if chosen.value is None:
            return b"", "No such pair: choose another kind or person."
        pair, t = pairs[chosen.value], decision_threshold(model, threshold.value)
        e = _explanation(model, pair, method, [prepared(pair.name_a), prepared(pair.name_b)], t)
        decision = f"{'rightly' if e.accepted == pair.same else 'wrongly'} {'accepted' if e.accepted else 'rejected'}"
        own = " (the model's own)" if t == start else ""
        return to_png(draw_pair(e)), f"{decision}: cosine {e.score:.4f}, threshold {t:.4f}{own}"

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
    controls = {"group": group, "person": somebody, "pair": chosen, "threshold": threshold}
    return _panel(controls, draw, watched=("pair", "threshold"))


def cutoff_slider(model: FaceModel, pair: Pair) -> w.VBox:
    """Move a cut-off through the probe's frequencies; image, spectrum and decision are redrawn.

    Args:
        model: a FaceModel with a threshold.
        pair: a Pair in the model's size.

    Returns:
        A VBox with the controls ``kept`` ("up to" | "beyond" the cut-off; DC always stays) and ``cutoff`` in cycles,
        the ``figure`` and a ``status`` line as attributes.

    Raises:
        ValueError: the model has no threshold, or the pair does not fit it.
    """
    threshold, numbers = decision_threshold(model), numbers_in(pair.a)
    partner = embedding_of(model, pair.b)["embedding"]
    ways = [("frequencies up to the cut-off", "up to"), ("frequencies beyond it", "beyond")]
    kept = w.Dropdown(description="Keep", options=ways, **_WIDE)
    looks = {"description": "Cut-off", "continuous_update": False}
    cutoff = w.IntSlider(10, min=0, max=int(numbers.max()), **looks, **_WIDE)

    def draw():
        inside = numbers <= cutoff.value
        chosen = inside if kept.value == "up to" else ~inside | (numbers == 0)
        filtered = keep_frequencies(pair.a, chosen)
        score = float(embedding_of(model, filtered)["embedding"] @ partner)
        decision = f"cosine {score:.4f}, {'accepted' if score >= threshold else 'rejected'}"
        figure = draw_cutoff(pair, filtered, chosen, score, threshold)
        return to_png(figure), f"{kept.value} {cutoff.value} cycles: {decision}"

    return _panel({"kept": kept, "cutoff": cutoff}, draw)


def photo_pair(model: FaceModel, method: str = "fggb") -> w.VBox:
    """Two photographs in, decision and maps out. Nothing leaves the machine, and nothing is written to its disk.

    What a method computes from one photograph alone is kept, so a new threshold is redrawn at once.

    Args:
        model: a FaceModel with a threshold.
        method: one of ``METHODS``.

    Returns:
        A VBox with the controls ``probe``, ``reference``, ``threshold``, the ``figure`` and a ``status`` line as
        attributes.

    Raises:
        ValueError: the model has no threshold, or no method has that name.
        TypeError: the method needs gradients and the model has none.
    """
    start, how = decision_threshold(model), method_called(method, model)
    looks = {"accept": "image/*", "multiple": False, "layout": {"width": "16em"}}
    probe, reference = (w.FileUpload(description=f"{side} photograph", **looks) for side in ("Probe", "Reference"))
    threshold = _threshold_slider(start, -1)

    @lru_cache(8)
    def looked_at(data, name):
        """The face, its preparation, and what there is to say, such as that the photograph shows several."""
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always", UserWarning)
            face = align(read_photo(data, name), model)
        said = [str(note.message) for note in notes if issubclass(note.category, UserWarning)]
        return face, how.first(model, face, {}), said

    def draw():
        files = [upload.value[0] for upload in (probe, reference) if upload.value]
        if len(files) < 2:
            return b"", f"{len(files)} of 2 photographs chosen: JPEG or PNG, one face each."
        faces, prepared, said = zip(*(looked_at(bytes(file["content"]), file["name"]) for file in files))
        pair = Pair(*faces, name_a=files[0]["name"], name_b=files[1]["name"])
        e = _explanation(model, pair, method, prepared, decision_threshold(model, threshold.value))
        return to_png(draw_pair(e)), "; ".join([repr(e), *said[0], *said[1]])

    return _panel({"probe": probe, "reference": reference, "threshold": threshold}, draw)
