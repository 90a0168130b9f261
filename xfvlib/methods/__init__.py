"""Explanation methods, each a :class:`Method` in a file of its own, and :func:`explain` around them.

A map ``(H, W)`` of an image judged against its partner is signed: > 0 speaks for a match, < 0 against it. To add a
method, write its file and list it here; ``METHODS["mine"] = Method(pair=my_function)`` does for a notebook.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from xfvlib.methods import corrrise, fggb, lime, minplus, occlusion, xface
from xfvlib.methods.fame import fame
from xfvlib.methods.grad_cam import grad_cam
from xfvlib.methods.gradient import gradient, gradient_times_input
from xfvlib.methods.integrated_gradients import integrated_gradients
from xfvlib.methods.method import Map, Method, Prepared, Threshold, embedding_of
from xfvlib.methods.smoothgrad import smoothgrad
from xfvlib.methods.xssab import xssab
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import Pair

__all__ = [
    "METHODS", "Explanation", "Method", "Prepared", "embedding_of", "explain", "explain_prepared", "method_called",
]  # fmt: skip

METHODS = {  # how far FAME and MinPlus walk, the photographs decide
    "fggb": Method(prepare=fggb.prepare, finish=fggb.finish, gradients=True, passes=292),
    "gradient": Method(pair=gradient, gradients=True, passes=8),
    "gradient × input": Method(pair=gradient_times_input, gradients=True, passes=8),
    "xssab": Method(pair=xssab, gradients=True, passes=10),
    "integrated_gradients": Method(pair=integrated_gradients, gradients=True, passes=204),
    "smoothgrad": Method(pair=smoothgrad, gradients=True, passes=204),
    "grad_cam": Method(pair=grad_cam, gradients=True, passes=10),
    "fame": Method(pair=fame, gradients=True, passes=4000),
    "xface": Method(
        prepare=xface.prepare, finish=xface.finish, of_partner=lambda options: options.get("scoring") != 2, passes=2264
    ),
    "corrrise": Method(prepare=corrrise.prepare, finish=corrrise.finish, passes=1004),
    "minplus": Method(prepare=minplus.prepare, finish=minplus.finish, passes=15000),
    "lime": Method(prepare=lime.prepare, finish=lime.finish, passes=1004),
    "occlusion": Method(prepare=occlusion.prepare, finish=occlusion.finish, passes=454),
}


def _half(name: str, sign: int) -> Any:
    """Property: what in the map of that name has the sign 1 or −1, as numbers ≥ 0."""

    def half(self: Any) -> Map:
        return (sign * getattr(self, name)).clamp(min=0)

    return property(half)


@dataclass(frozen=True, eq=False)
class Explanation:
    """A decision about a pair and the maps that explain it.

    Attributes:
        pair, method: what was explained, and how.
        score: cosine similarity of the two embeddings, in [−1, 1].
        threshold: the pair is accepted when score ≥ threshold.
        map_a, map_b: signed ``(H, W)``: > 0 speaks for a match, < 0 against it.
        similarity_a, similarity_b: the positive halves, ≥ 0.
        dissimilarity_a, dissimilarity_b: the negative halves, sign turned, ≥ 0.
    """

    pair: Pair
    method: str
    score: float
    threshold: float
    map_a: Map
    map_b: Map

    @property
    def accepted(self) -> bool:
        return self.score >= self.threshold

    similarity_a, similarity_b = _half("map_a", 1), _half("map_b", 1)
    dissimilarity_a, dissimilarity_b = _half("map_a", -1), _half("map_b", -1)

    def __repr__(self) -> str:
        decision = f"{self.pair.name_a} – {self.pair.name_b} {'accepted' if self.accepted else 'rejected'}"
        return f"Explanation by {self.method}: {decision}, cosine {self.score:.3f}, threshold {self.threshold:.3f}"


def explain(model: FaceModel, pair: Pair, method: str = "fggb", threshold: Threshold = None, **options) -> Explanation:
    """Decide about a pair, and explain the decision on both of its images.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        method: one of ``METHODS``.
        threshold: in [−1, 1]; None for the model's own.
        options: passed on to the method.

    Returns:
        :class:`Explanation`

    Raises:
        ValueError: unknown method, threshold outside [−1, 1] or missing, images of the wrong size.
        TypeError: no Pair, a gradient method on a model without gradients, or an option that the method does not have.

    Example:
        >>> from xfvlib import load_model, load_pairs
        >>> model = load_model()
        >>> e = explain(model, load_pairs("orl", model=model)[0], "gradient")
        >>> e.accepted, tuple(e.map_a.shape) == model.size
        (True, True)
    """
    if not isinstance(pair, Pair):
        raise TypeError(f"pair is a {type(pair).__name__}; a Pair is needed: xfv.Pair(a, b), or one of a PairSet")
    how, threshold = method_called(method, model), decision_threshold(model, threshold)
    a, b = (embedding_of(model, image)["embedding"] for image in (pair.a, pair.b))
    maps = how.maps(model, pair.a, pair.b, threshold=threshold, **options)
    return Explanation(pair, method, float(a @ b), threshold, *maps)


def explain_prepared(
    model: FaceModel, pair: Pair, method: str, a: Prepared, b: Prepared, threshold: float
) -> Explanation:
    """What :func:`explain` gives without options, from what :meth:`Method.first` gave for both images.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        method: one of ``METHODS``.
        a, b: the preparations of ``pair.a`` and ``pair.b``.
        threshold: in [−1, 1].

    Raises:
        ValueError: unknown method, or what its second stage refuses.
        TypeError: the method needs gradients and the model has none.

    Example:
        >>> from xfvlib import load_model, load_pairs
        >>> model = load_model()
        >>> pair = load_pairs("orl", model=model)[0]
        >>> a, b = (METHODS["gradient"].first(model, image, {}) for image in (pair.a, pair.b))
        >>> explain_prepared(model, pair, "gradient", a, b, 0.5).accepted
        True
    """
    finish = partial(method_called(method, model).second, options={}, model=model, threshold=threshold)
    maps = finish(a, b, image=pair.a, reference=pair.b), finish(b, a, image=pair.b, reference=pair.a)
    return Explanation(pair, method, float(a["embedding"] @ b["embedding"]), threshold, *maps)


def method_called(name: str, model: FaceModel | None = None) -> Method:
    """The entry of ``METHODS``; a plain function of both images, which somebody put there, as a :class:`Method`.

    Raises:
        ValueError: no method has that name.
        TypeError: it needs gradients and ``model`` has none; those that need none are listed.
    """
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(f"no method is called {name!r}; known methods: {', '.join(map(repr, METHODS))}")
    found = METHODS[name] if isinstance(METHODS[name], Method) else Method(pair=METHODS[name])
    if model is not None and found.gradients and not model.differentiable:
        others = sorted(other for other in METHODS if not method_called(other).gradients)
        raise TypeError(f"{model.name} has no gradients; methods that need none: {', '.join(others)}")
    return found
