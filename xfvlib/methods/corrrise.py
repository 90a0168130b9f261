"""CorrRISE: correlation of hiding a pixel with the score (Lu, Xu, Ebrahimi, WACV 2024, arXiv 2305.08546)."""

from typing import Literal

import numpy as np
import torch
from scipy.stats import rankdata

from xfvlib.perturb import Embed, Image, Map, Prepared, check_side, scaled, squares


def prepare(
    embed: Embed,
    image: Image,
    *,
    masks: int = 500,
    patches: int = 10,
    patch: float = 30,
    fill: Literal["noise", "black"] = "noise",
    seed: int = 0,
) -> Prepared:
    """First stage: embeddings of the image under random masks, ``"masked"`` ``(M, N)``, where it is ``"hidden"``, and
    how often each pixel is ``"seen"``.

    Args:
        embed: from versions of the image to their embeddings; no gradients are needed.
        image: ``(3, H, W)``, RGB in [0, 1].
        masks: how many masked images, ≥ 2; sources differ between 500 and 5,000.
        patches: hidden squares in a mask, 10 or 3 by source; they may overlap and lie wholly in the image.
        patch: their side in pixels of a 112-pixel image, scaled with the image.
        fill: "noise", uniform over the 256 values of a pixel and new for every mask, or "black".
        seed: of the masks and the noise.

    Raises:
        ValueError: an unknown fill, a patch larger than the image, masks < 2, patches < 1.
    """
    side, size, random = check_side("patch", scaled(patch, image), image), image.shape[-2:], np.random.default_rng(seed)
    corners = torch.from_numpy(random.integers(0, [n - side + 1 for n in size], (masks, patches, 2)))
    words = -(-image.numel() // 8)  # of 64 bits, whole for each image, so that the batch does not change what is drawn
    rows, columns = squares(corners, side, size)
    hidden = torch.cat([a.transpose(1, 2) @ b > 0 for a, b in zip(rows.split(64), columns.split(64))])

    def masked(some):
        holes = hidden[some, None].float()
        if fill == "black":
            return image * (1 - holes)
        # 8-bit noise, as pixels are: to draw floats would take up to a tenth of a small network's forward pass
        drawn = random.bit_generator.random_raw((len(holes), words)).view(np.uint8)[:, : image.numel()]
        noise = torch.from_numpy(drawn).view(len(holes), *image.shape).float().div_(255)
        return torch.lerp(image, noise, holes)

    return {"masked": embed(masked, masks), "hidden": hidden, "seen": (~hidden).sum(dim=0)}


def finish(prepared: Prepared, partner: Prepared, *, correlation: Literal["pearson", "rank"] = "pearson") -> Map:
    """Second stage: per pixel, the correlation over the masks of "the pixel is seen" and the cosine to the partner.

    Args:
        prepared: of the image, from :func:`prepare`.
        partner: holds the partner's ``"embedding"``.
        correlation: "pearson", or "rank", which puts the cosines' ranks in their place.

    Returns:
        ``(H, W)`` on the CPU, in [−1, 1]: > 0 where seeing the pixel goes with a higher cosine. A pixel that all masks
        hide, or none, gets 0.

    Raises:
        ValueError: an unknown correlation.

    Source: the paper; the defaults are ours where its versions differ.
    """
    cosines = (prepared["masked"] @ partner["embedding"]).double()
    if correlation == "rank":
        cosines = torch.from_numpy(rankdata(cosines))
    hidden, seen, centred = prepared["hidden"], prepared["seen"], (cosines - cosines.mean()).float()
    # centred cosines sum to 0: what is hidden covaries as what is seen, the sign turned; pieces stay in the cache
    pieces = zip(centred.split(25), hidden.flatten(1).split(25))
    covariance = -sum((some @ part.float()).double() for some, part in pieces).view_as(seen)
    scale = (seen * (1 - seen / len(hidden)) * centred.square().sum()).sqrt()
    return torch.where(scale > 0, covariance / scale, 0).float()
