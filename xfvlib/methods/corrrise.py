"""CorrRISE: correlation of hiding a pixel with the score (Lu, Xu, Ebrahimi, WACV 2024, arXiv 2305.08546)."""

import numpy as np
import torch
from scipy.stats import rankdata

from xfvlib.perturb import check_count, check_known, check_side, embed_versions, scaled, squares


def corrrise(model, image, reference, *, threshold=None, masks=500, patches=10, patch=30, fill="noise", correlation="pearson",
             seed=0, batch=32, progress=False):  # fmt: skip
    """Signed CorrRISE map: per pixel, the correlation over random masks of "the pixel is seen" and the cosine to the partner.

    Args:
        model: a FaceModel; no gradients are needed.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        threshold: not used.
        masks: how many masked images, ≥ 2; sources differ between 500 and 5,000.
        patches: hidden squares in a mask, 10 or 3 by source; they may overlap and lie wholly in the image.
        patch: their side in pixels of a 112-pixel image, scaled with the image.
        fill: "noise", uniform over the 256 values of a pixel and new for every mask, or "black".
        correlation: "pearson", or "rank", which puts the cosines' ranks in their place.
        seed: of the masks and the noise.
        batch: images in a forward pass.
        progress: show a progress bar.

    Returns:
        ``(H, W)`` on the CPU, in [−1, 1]: > 0 where seeing the pixel goes with a higher cosine. A pixel that all masks
        hide, or none, gets 0.

    Raises:
        ValueError: an unknown fill or correlation, a patch larger than the image, masks < 2, patches or batch < 1.

    Source: the paper; the defaults are ours where its versions differ.
    """
    check_known("fill", fill, ("noise", "black"))
    check_known("correlation", correlation, ("pearson", "rank"))
    check_count("masks", masks, 2)
    check_count("patches", patches)
    side, size = scaled(patch, image), image.shape[-2:]
    check_side("patch", side, image)
    image, random = image.to(model.device), np.random.default_rng(seed)
    corners = torch.from_numpy(random.integers(0, [n - side + 1 for n in size], (masks, patches, 2))).to(image.device)
    words = -(-image.numel() // 8)  # of 64 bits, whole for each image, so that the batch does not change what is drawn
    hidden = []  # a byte a pixel and mask

    def masked(some):
        rows, columns = squares(corners[some], side, size)
        hidden.append(rows.transpose(1, 2) @ columns > 0)
        holes = hidden[-1][:, None].float()
        if fill == "black":
            return image * (1 - holes)
        # 8-bit noise, as pixels are: to draw floats would take up to a tenth of a small network's forward pass
        drawn = random.bit_generator.random_raw((len(holes), words)).view(np.uint8)[:, : image.numel()]
        noise = torch.from_numpy(drawn).to(image.device).view(len(holes), *image.shape).float().div_(255)
        return torch.lerp(image, noise, holes)

    with torch.no_grad():
        partner = model.embed(reference[None])[0].cpu()
    cosines = (embed_versions(model, masked, masks, batch=batch, progress=progress) @ partner).double()
    if correlation == "rank":
        cosines = torch.from_numpy(rankdata(cosines))
    centred, covariance, seen = cosines - cosines.mean(), 0, 0
    for some, holes in zip(torch.arange(masks).split(batch), hidden):
        visible = (~holes).cpu().float()
        covariance = covariance + torch.einsum("b,bhw->hw", centred[some].float(), visible).double()
        seen = seen + visible.sum(dim=0)
    scale = (seen * (1 - seen / masks) * centred.square().sum()).sqrt()
    return torch.where(scale > 0, covariance / scale, 0).float()
