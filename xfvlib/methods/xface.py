"""xFace: how far a sliding square moves two faces apart (Knoche et al., WACVW 2023, arXiv 2211.13735)."""

import zlib
from typing import Literal

import torch
from scipy.ndimage import gaussian_filter

from xfvlib.perturb import Embed, Fill, Image, Map, Prepared, check_side, occluded, scaled, spread


def prepare(
    embed: Embed, image: Image, *, sizes: tuple = (7, 14, 28), stride: float = 5, fill: Fill = "black", seed: int = 0
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
    if not hasattr(sizes, "__len__") or not len(sizes):
        raise ValueError(f"sizes is {sizes!r}; give the sides of one square or more, such as (7, 14, 28)")
    if fill == "noise":  # which must not be the same behind the same place of two images
        seed = zlib.crc32(image.numpy().tobytes(), seed)
    step, parts = scaled(stride, image), []
    for size in sizes:
        side = check_side(f"size {size}", scaled(size, image), image)
        corners = torch.cartesian_prod(*(torch.arange(0, length - side, step) for length in image.shape[-2:]))
        parts.append(occluded(embed, image, corners, side, fill, seed))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def finish(prepared: Prepared, partner: Prepared, *, scoring: Literal[1, 2, 3] = 1, blur: float = 5) -> Map:
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
    clean, sides, maps = prepared["embedding"] @ partner["embedding"], prepared["rows"].sum(dim=1), []
    for side in sides.unique():
        some = sides == side
        # the mean of cosines to many embeddings is the product with their mean
        other = partner["embedding"] if scoring == 2 else partner["occluded"][some]
        other = other.mean(dim=0) if scoring == 1 else other
        added = clean - (prepared["occluded"][some] * other).sum(dim=1)
        summed = spread(added, prepared, some) / (side**2 * len(added))
        width = scaled(blur, summed) if blur else 0
        maps.append(torch.from_numpy(gaussian_filter(summed.numpy(), width, mode="mirror", radius=width // 2)))
    return sum(maps, torch.tensor(0.0)) / len(maps)
