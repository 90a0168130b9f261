"""Occlusion: what the cosine loses under a sliding square (Zeiler, Fergus 2014)."""

import torch

from xfvlib.perturb import Embed, Fill, Image, Map, Prepared, check_side, occluded, scaled, spread


def prepare(
    embed: Embed, image: Image, *, size: float = 14, stride: float = 7, fill: Fill = "black", seed: int = 0
) -> Prepared:
    """First stage: embeddings of the image under every square, ``"occluded"`` ``(M, N)``, and where the squares lie.

    Args:
        embed: from versions of the image to their embeddings; no gradients are needed.
        image: ``(3, H, W)``, RGB in [0, 1].
        size, stride: side of the square and the step between squares, ≤ size, in pixels of a 112-pixel image; scaled
            with the image. The last squares may be cut at the edge.
        fill, seed: what the square shows, as for :func:`xfvlib.perturb.filled`.

    Raises:
        ValueError: an unknown fill, a square larger than the image, a stride larger than the square, lengths ≤ 0.
    """
    side, step = check_side("size", scaled(size, image), image), scaled(stride, image)
    if step > side:
        raise ValueError(f"stride is {stride} and size {size}: pixels would be missed; stride must be ≤ size")
    starts = [torch.arange(0, length - side + step, step) for length in image.shape[-2:]]
    return occluded(embed, image, torch.cartesian_prod(*starts), side, fill, seed)


def finish(prepared: Prepared, partner: Prepared) -> Map:
    """Second stage: the mean loss of cosine over the squares that cover a pixel.

    Returns:
        ``(H, W)`` on the CPU, in units of cosine: > 0 where occlusion lowers the similarity.

    Source: the paper, with the cosine in place of a class score; size and stride are ours.
    """
    losses = (prepared["embedding"] - prepared["occluded"]) @ partner["embedding"]
    return spread(losses, prepared) / spread(torch.ones_like(losses), prepared)
