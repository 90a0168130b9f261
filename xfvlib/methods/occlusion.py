"""Occlusion: what the cosine loses under a sliding square (Zeiler, Fergus 2014), by captum."""

import torch

from xfvlib.gradients import cosine_to
from xfvlib.perturb import FILLS, check_count, check_known, check_side, filled, scaled


def occlusion(model, image, reference, *, threshold=None, size=14, stride=7, fill="black", seed=0, batch=32, progress=False):
    """Occlusion map: mean loss of cosine over the squares that cover a pixel.

    Args:
        model: a FaceModel; no gradients are needed.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        threshold: not used.
        size, stride: side of the square and the step between squares, ≤ size, in pixels of a 112-pixel image; scaled with the image.
        fill, seed: what the square shows, as for :func:`xfvlib.perturb.filled`.
        batch: images in a forward pass.
        progress: show a progress bar.

    Returns:
        ``(H, W)`` on the CPU, in units of cosine: > 0 where occlusion lowers the similarity.

    Raises:
        ValueError: an unknown fill, a square larger than the image, a stride larger than the square, lengths ≤ 0, batch < 1.

    Source: the paper, with the cosine in place of a class score; size and stride are ours.
    """
    from captum.attr import Occlusion  # here: captum imports matplotlib

    check_known("fill", fill, FILLS)
    check_count("batch", batch)
    side, step = scaled(size, image), scaled(stride, image)
    check_side("size", side, image)
    if step > side:
        raise ValueError(f"stride is {stride} and size {size}: pixels between the squares would be missed; stride must be ≤ size")
    image, other, score = image.to(model.device), filled(image.cpu(), fill, seed).to(model.device), cosine_to(model, reference)
    seen = torch.ones(1, 1, *image.shape[-2:], device=image.device)  # of which captum takes squares away
    losses = Occlusion(lambda seen: score(torch.lerp(other, image, seen))).attribute(
        seen, (1, side, side), (1, step, step), 0, perturbations_per_eval=batch, show_progress=progress
    )
    return losses[0, 0].float().cpu()
