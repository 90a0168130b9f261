"""FAME: walk the image towards and away from its partner and see which pixels had to move (Zhang, Günther, CVPRW 2026,
arXiv 2605.12017)."""

import torch

from xfvlib.gradients import FaceModel, Image, Map, cosine_to
from xfvlib.methods.fggb import Part, blurred

_GREY = (0.2989, 0.587, 0.114)  # weights of red, green and blue in brightness


def fame(
    model: FaceModel,
    image: Image,
    reference: Image,
    *,
    part: Part = "both",
    steps: int = 500,
    step: float = 1 / 255,
    stop: float = 0.01,
    blur: float = 7.7,
) -> Map:
    """FAME's similarity map minus its dissimilarity map.

    The similarity map shows the pixels that change while the image is moved until it is no longer like the partner, the
    dissimilarity map those that change until it is like it. It needs no threshold.

    Args:
        model: a differentiable FaceModel.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        part: "both" for the difference of the two maps, "similarity" or "dissimilarity" for one, the latter with its
            sign turned.
        steps: along the gradient at most; by the paper 75 to 200 give much the same map.
        step: by which the pixel of the largest gradient moves, in units of pixel value.
        stop: a walk ends when its loss, the cosine or 1 − cosine, is below it.
        blur: sigma of a Gaussian blur in pixels of a 112-pixel image, scaled with the image; 0 for none.

    Returns:
        ``(H, W)`` on the CPU, in [−1, 1]: each map is stretched to [0, 1] by its minimum and maximum, as in the paper;
        > 0 where the similarity map is the brighter one. A walk that is at its end from the start moves nothing: its
        map is 0.

    Raises:
        ValueError: an unknown part, steps < 1, step ≤ 0, blur < 0.

    Source: the paper and the authors' code (github.com/AIML-IfI/fame), which keeps the two maps apart: their difference
        is ours,
    as are pixels in [0, 1] to walk in; the authors walk in the network's units.
    """
    image, score, total = image.to(model.device), cosine_to(model, reference), torch.tensor(0.0)
    for name, sign, loss in (("similarity", 1, score), ("dissimilarity", -1, lambda x: 1 - score(x))):
        if part in ("both", name):
            moved = _walked(image, loss, steps, step, stop) - image
            moved = blurred(torch.einsum("c,chw->hw", image.new_tensor(_GREY), moved).abs(), blur)
            total = total + sign * (moved - moved.min()) / (moved.max() - moved.min()).clamp(min=1e-12)
    return total


def _walked(image, loss, steps, step, stop):
    """The image ``(3, H, W)`` after at most so many steps down the loss's gradient, whose largest entry makes a whole
    step."""
    x = image.detach()[None]
    for _ in range(steps):
        value = loss(x.requires_grad_(True))
        if value.item() < stop:
            break
        gradient = torch.autograd.grad(value, x)[0]
        x = x.detach() - step * gradient / gradient.abs().max().clamp(min=1e-12)
    return x.detach()[0]
