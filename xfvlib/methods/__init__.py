"""Explanation methods: plain functions of one signature, and :func:`explain` around them.

A method is ``method(model, image, reference, *, threshold, **options)`` → signed map ``(H, W)`` of ``image`` judged
against ``reference``: > 0 speaks for a match, < 0 against it. To add one, write the function and list it here.
"""

from dataclasses import dataclass
from inspect import signature

import torch

from xfvlib.evaluation import decision_threshold
from xfvlib.gradients import each_channel_gradient
from xfvlib.methods.corrrise import corrrise
from xfvlib.methods.fame import fame
from xfvlib.methods.fggb import fggb
from xfvlib.methods.grad_cam import grad_cam
from xfvlib.methods.gradient import gradient, gradient_times_input
from xfvlib.methods.integrated_gradients import integrated_gradients
from xfvlib.methods.lime import lime
from xfvlib.methods.minplus import minplus
from xfvlib.methods.occlusion import occlusion
from xfvlib.methods.smoothgrad import smoothgrad
from xfvlib.methods.xface import xface
from xfvlib.methods.xssab import xssab
from xfvlib.pairs import Pair

METHODS = {
    "fggb": fggb, "gradient": gradient, "gradient × input": gradient_times_input, "xssab": xssab,
    "integrated_gradients": integrated_gradients, "smoothgrad": smoothgrad, "grad_cam": grad_cam, "fame": fame,
    "xface": xface, "corrrise": corrrise, "minplus": minplus, "lime": lime, "occlusion": occlusion,
}  # fmt: skip
GRADIENT_METHODS = ["fggb", "gradient", "gradient × input", "xssab", "integrated_gradients", "smoothgrad", "grad_cam", "fame"]


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
    map_a: torch.Tensor
    map_b: torch.Tensor

    @property
    def accepted(self):
        return self.score >= self.threshold

    @property
    def similarity_a(self):
        return self.map_a.clamp(min=0)

    @property
    def similarity_b(self):
        return self.map_b.clamp(min=0)

    @property
    def dissimilarity_a(self):
        return (-self.map_a).clamp(min=0)

    @property
    def dissimilarity_b(self):
        return (-self.map_b).clamp(min=0)

    def __repr__(self):
        decision = "accepted" if self.accepted else "rejected"
        names = f"{self.pair.name_a} – {self.pair.name_b}"
        return f"Explanation by {self.method}: {names} {decision}, cosine {self.score:.3f}, threshold {self.threshold:.3f}"


def explain(model, pair, method="fggb", threshold=None, **options):
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
        TypeError: a gradient method on a model without gradients, or an option that the method does not have.

    Example:
        >>> e = explain(model, pairs[0])  # doctest: +SKIP
        >>> e.accepted, e.map_a.shape  # doctest: +SKIP
        (True, torch.Size([150, 150]))
    """
    if method not in METHODS:
        raise ValueError(f"no method is called {method!r}; known methods: {', '.join(map(repr, METHODS))}")
    threshold = decision_threshold(model, threshold)
    with torch.no_grad():
        a, b = model.embed(torch.stack([pair.a, pair.b]))
    map_a, map_b = both_maps(METHODS[method], model, pair.a, pair.b, threshold=threshold, **options)
    return Explanation(pair, method, float(a @ b), threshold, map_a, map_b)


def both_maps(method, model, a, b, *, sides=2, **options):
    """Maps of ``a`` judged against ``b`` and of ``b`` against ``a``, None with one side; xFace's come together, at the price of one."""
    if sides == 1:
        return method(model, a, b, **options), None
    if method is xface:
        return xface(model, a, b, both=True, **options)
    return method(model, a, b, **options), method(model, b, a, **options)


def options_of(method):
    """Names of the options that a method of ``METHODS`` has."""
    known = set(signature(METHODS[method]).parameters)
    if method == "fggb":  # which hands some on
        known |= set(signature(each_channel_gradient).parameters)
    return sorted(known - {"model", "image", "reference", "threshold", "options", "both"})
