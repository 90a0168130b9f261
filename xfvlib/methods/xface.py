"""xFace: how far a sliding square moves two faces apart (Knoche et al., WACVW 2023, arXiv 2211.13735)."""

import torch
from scipy.ndimage import gaussian_filter

from xfvlib.perturb import FILLS, check_known, check_side, embed_versions, occluding, scaled, squares


def xface(model, image, reference, *, threshold=None, scoring=1, sizes=(7, 14, 28), stride=5, blur=5, fill="black",
          seed=0, batch=32, progress=False, both=False):  # fmt: skip
    """Signed xFace map: what an occluding square adds to the cosine distance, per pixel of the square.

    A pixel gets the sum over the squares that cover it, divided by the number of all squares; then comes a blur, then the
    mean over the sizes. Lengths are in pixels of a 112-pixel image and scaled with the image.

    Args:
        model: a FaceModel; no gradients are needed.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        threshold: not used.
        scoring: what the occluded image is compared with: 1, all occluded versions of the partner, by the mean distance; 2, the
            clean partner; 3, the partner occluded at the same place. 1 and 3 embed twice as many images.
        sizes, stride: sides of the squares and the step between them. As in the authors' code every square ends before the
            lower and the right edge, where up to ``stride`` pixels are never covered.
        blur: sigma and width of the Gaussian kernel; 0 for none.
        fill, seed: what a square shows, as for :func:`xfvlib.perturb.filled`; noise differs between the two images.
        batch: images in a forward pass.
        progress: show progress bars.
        both: return two maps, of the image and of the reference; scorings 1 and 3 occlude both anyway.

    Returns:
        ``(H, W)`` on the CPU, cosine distance a pixel: > 0 where the faces are alike. The authors divide by the largest
        absolute value in the end, which is left to the display.

    Raises:
        ValueError: an unknown scoring or fill, no sizes, lengths ≤ 0, squares larger than the image, batch < 1.

    Source: the paper and the authors' code (github.com/Martlgap/x-face-verification), methods 1 to 3, whose
    squares are a pixel wider than their size says; ours are not.
    """
    check_known("scoring", scoring, (1, 2, 3))
    check_known("fill", fill, FILLS)
    if not sizes:
        raise ValueError("sizes is empty; give the side of one square or more, such as (7, 14, 28)")
    images, sides, step = torch.stack([image, reference]).to(model.device), 1 + both, scaled(stride, image)
    with torch.no_grad():
        clean = model.embed(images).cpu()
    totals = [0] * sides
    for size in sizes:
        side = scaled(size, image)
        check_side(f"size {size}", side, image)
        starts = [torch.arange(0, length - side, step, device=model.device) for length in image.shape[-2:]]
        rows, columns = squares(torch.cartesian_prod(*starts), side, image.shape[-2:])
        occluded = [
            embed_versions(model, occluding(one, rows, columns, fill, seed + i), len(rows), batch=batch, progress=progress)
            for i, one in enumerate(images[: sides if scoring == 2 else 2])
        ]
        rows, columns = rows.cpu(), columns.cpu()
        for i in range(sides):
            # the mean of cosines to many embeddings is the product with their mean
            other = clean[1 - i] if scoring == 2 else occluded[1 - i].mean(dim=0) if scoring == 1 else occluded[1 - i]
            added = clean[0] @ clean[1] - (occluded[i] * other).sum(dim=1)
            summed = rows.T @ (added[:, None] * columns) / (side**2 * len(rows))
            totals[i] = totals[i] + kernel_blurred(summed, scaled(blur, image) if blur else 0)
    maps = tuple(total / len(sizes) for total in totals)
    return maps if both else maps[0]


def kernel_blurred(saliency, width):
    """Gaussian blur of ``(H, W)`` with a kernel of ``width`` pixels (the next odd number) and a sigma as large."""
    if not width:
        return saliency
    return torch.from_numpy(gaussian_filter(saliency.numpy(), width, mode="mirror", radius=width // 2))
