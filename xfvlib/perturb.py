"""Changed versions of an image: where it is changed, what takes the place of its pixels, and what the recogniser makes of it."""

from numbers import Integral

import torch
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

FILLS = ("black", "mean", "blur", "noise")


def filled(image, fill, seed=0):
    """What takes the place of deleted pixels, ``(3, H, W)``: "black", the image's "mean" colour, a "blur" of it, or uniform "noise" of a seed."""
    check_known("fill", fill, FILLS)
    if fill == "black":
        return torch.zeros_like(image)
    if fill == "mean":
        return image.mean(dim=(1, 2), keepdim=True).expand_as(image)
    if fill == "blur":
        sigma = image.shape[-1] / 10
        return torch.from_numpy(gaussian_filter(image.numpy(), (0, sigma, sigma)))
    return torch.rand(image.shape, generator=torch.Generator().manual_seed(seed))


def embed_versions(model, changed, count, *, batch=32, progress=False):
    """Embeddings of many versions of an image, of which only one batch exists at a time. Needs no gradients.

    Args:
        model: a FaceModel.
        changed: callable, a slice of ``range(count)`` → those versions ``(B, 3, H, W)``; called once a batch, in order.
        count: how many versions there are.
        batch: images in a forward pass; memory grows with it.
        progress: show a progress bar.

    Returns:
        Unit-length ``(count, N)`` on the CPU.

    Raises:
        ValueError: batch is not a whole number of at least 1.
    """
    check_count("batch", batch)
    rows = []
    with torch.no_grad():
        for first in tqdm(range(0, count, batch), disable=not progress, leave=False):
            rows.append(model.embed(changed(slice(first, min(first + batch, count)))).cpu())
    return torch.cat(rows)


def squares(corners, side, size):
    """Squares on an image, as the rows and the columns that they cover; their product is the mask.

    Args:
        corners: int ``(…, 2)``, first row and first column of each square.
        side: of the squares in pixels.
        size: (H, W) of the image.

    Returns:
        ``(rows, columns)``, float ``(…, H)`` and ``(…, W)`` of 0 and 1.

    Example:
        >>> squares(torch.tensor([1, 0]), 2, (4, 3))
        [tensor([0., 1., 1., 0.]), tensor([1., 1., 0.])]
    """
    both = []
    for axis, length in enumerate(size):
        place = torch.arange(length, device=corners.device) - corners[..., axis, None]
        both.append(((place >= 0) & (place < side)).float())
    return both


def occluding(image, rows, columns, fill="black", seed=0):
    """The image with each of many :func:`squares` filled: a callable for :func:`embed_versions`.

    Args:
        image: ``(3, H, W)``.
        rows, columns: ``(count, H)`` and ``(count, W)`` of 0 and 1, on the device of the image.
        fill, seed: as for :func:`filled`.
    """
    other = filled(image.cpu(), fill, seed).to(image.device)
    # exact where the weight is 0 or 1, and five times as fast as torch.where, which broadcasts slowly
    return lambda some: torch.lerp(image, other, rows[some, None, :, None] * columns[some, None, None, :])


def scaled(pixels, image, base=112):
    """A length on an image ``base`` pixels high as whole pixels, at least 1, of ``image`` ``(3, H, W)``; ValueError unless it is above 0."""
    if not pixels > 0:
        raise ValueError(f"a length of {pixels!r} pixels is given; it must be above 0")
    return max(1, round(pixels * image.shape[-2] / base))


def check_count(name, value, least=1):
    """Raise a ValueError unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")


def check_known(name, value, known):
    """Raise a ValueError that lists the ``known`` values unless ``value`` is one of them."""
    if value not in known:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, known))}")


def check_side(name, side, image):
    """Raise a ValueError unless a square of ``side`` pixels leaves a part of ``image`` ``(3, H, W)`` uncovered."""
    if side >= min(image.shape[-2:]):
        raise ValueError(f"{name} makes squares of {side} pixels, which cover this image of {tuple(image.shape[-2:])}; make it smaller")


def check_real(image):
    """Raise a ValueError for a complex image, or one that holds NaN or infinite values."""
    if image.is_complex() or not bool(torch.isfinite(image).all()):
        raise ValueError("the image is complex or holds NaN or infinite values; real, finite pixels are needed")
