"""xFace: how far a sliding square moves two faces apart (Knoche et al., WACVW 2023, arXiv 2211.13735)."""

import zlib
from collections.abc import Iterable

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from xfvlib.methods.method import Embed, Prepared
from xfvlib.perturb import FILLS, check_known, check_side, occluded, scaled, spread


def prepare(
    embed: Embed, image: Tensor, *, sizes: tuple = (7, 14, 28), stride: float = 5, fill: str = "black", seed: int = 0
) -> Prepared:
    """First stage: embeddings of the image under every square, ``"occluded"`` ``(M, N)``, and where the squares lie.

    Lengths are in pixels of a 112-pixel image and scaled with the image.

    Args:
        embed: from versions of the image to their embeddings; no gradients are needed.
        image: ``(3, H, W)``, RGB in [0, 1].
        sizes, stride: sides of the squares and the step between them. As in the authors' code every square ends before
            the lower and the right edge, where up to ``stride`` pixels are never covered.
        fill, seed: what a square shows, as for :func:`xfvlib.perturb.filled`; noise differs between two images.

    Raises:
        ValueError: an unknown fill, no sizes, lengths ≤ 0, squares larger than the image.
    """
    check_known("fill", fill, FILLS)
    if not isinstance(sizes, Iterable) or not sizes:
        raise ValueError(f"sizes is {sizes!r}; give the sides of one square or more, such as (7, 14, 28)")
    if fill == "noise":  # which must not be the same behind the same place of two images
        seed = zlib.crc32(image.numpy().tobytes(), int(seed))
    step, parts = scaled(stride, image), []
    for size in sizes:
        side = scaled(size, image)
        check_side(f"size {size}", side, image)
        starts = [torch.arange(0, length - side, step) for length in image.shape[-2:]]
        corners = torch.cartesian_prod(*starts)
        parts.append(occluded(embed, image, corners, side, fill, seed))
    return parts[0] | {name: torch.cat([part[name] for part in parts]) for name in ("occluded", "rows", "columns")}


def finish(prepared: Prepared, partner: Prepared, *, scoring: int = 1, blur: float = 5) -> Tensor:
    """Second stage, the signed xFace map: what an occluding square adds to the cosine distance, per pixel of the
    square.

    A pixel gets the sum over the squares that cover it, divided by the number of all squares; then comes a blur, then
    the mean over the sizes.

    Args:
        prepared: of the image, from :func:`prepare`.
        partner: the partner's; for scoring 2 its ``"embedding"`` is enough.
        scoring: what the occluded image is compared with: 1, all occluded versions of the partner, by the mean
            distance; 2, the clean partner; 3, the partner occluded at the same place.
        blur: sigma and width of the Gaussian kernel in pixels of a 112-pixel image; 0 for none.

    Returns:
        ``(H, W)`` on the CPU, cosine distance a pixel: > 0 where the faces are alike. The authors divide by the largest
        absolute value in the end, which is left to the display.

    Raises:
        ValueError: an unknown scoring, blur < 0.

    Source: the paper and the authors' code (github.com/Martlgap/x-face-verification), methods 1 to 3. That code makes
        its
    squares a pixel wider than their size says; ours are as wide as they say.
    """
    check_known("scoring", scoring, (1, 2, 3))
    clean, sides, maps = prepared["embedding"] @ partner["embedding"], prepared["rows"].sum(dim=1), []
    for side in sides.unique():
        some = sides == side
        # the mean of cosines to many embeddings is the product with their mean
        other = partner["embedding"] if scoring == 2 else partner["occluded"][some]
        other = other.mean(dim=0) if scoring == 1 else other
        added = clean - (prepared["occluded"][some] * other).sum(dim=1)
        summed = spread(added, prepared, some) / (side**2 * len(added))
        maps.append(_kernel_blurred(summed, scaled(blur, summed[None]) if blur else 0))
    return sum(maps) / len(maps)


def _kernel_blurred(saliency, width):
    """Gaussian blur of ``(H, W)`` with a kernel of ``width`` pixels (the next odd number) and a sigma as large."""
    if not width:
        return saliency
    return torch.from_numpy(gaussian_filter(saliency.numpy(), width, mode="mirror", radius=width // 2))
