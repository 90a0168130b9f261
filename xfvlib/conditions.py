"""What is done to photographs: taken resolution, and morphs of two people."""

from numbers import Real

import numpy as np
import torch
from scipy import interpolate, ndimage, spatial
from torch import Tensor, nn

from xfvlib.alignment import find_68_landmarks
from xfvlib.pairs import Pair
from xfvlib.perturb import check_least, checked_image


def reduced(image: Tensor, factor: float) -> Tensor:
    """An image ``(3, H, W)`` as a smaller one enlarged again: 1/factor of its size and back, antialiased, bicubic.

    Returns float32 ``(3, H, W)`` in [0, 1]. Raises a ValueError for a factor below 1, or one that leaves less than four
    pixels, and for images that are not finite.

    Example:
        >>> reduced(torch.rand(3, 32, 32), 4).shape
        torch.Size([3, 32, 32])
    """
    image = checked_image(image)[None]
    check_least("factor", factor, 1)
    size = [round(n / factor) for n in image.shape[-2:]]
    if min(size) < 4:
        raise ValueError(f"factor is {factor}; it must leave 4 pixels or more of {tuple(image.shape[-2:])}")
    small = nn.functional.interpolate(image, size=size, mode="bicubic", antialias=True)
    return nn.functional.interpolate(small, size=image.shape[-2:], mode="bicubic")[0].clamp(0, 1)


def morph(image_a: Tensor, image_b: Tensor, share: float = 0.5) -> Tensor:
    """Landmark morph of two aligned faces: both are warped to the shape between them, triangle by triangle, and
    blended.

    Args:
        image_a, image_b: crops ``(3, H, W)`` of one size, RGB in [0, 1].
        share: of ``image_b`` in shape and colour, in [0, 1]; 0 gives ``image_a``, 1 ``image_b``.

    Returns:
        float32 ``(3, H, W)``.

    Raises:
        ValueError: no landmarks are found in an image, two sizes, or a share outside [0, 1].

    Source: the 68 landmarks and the border, Delaunay triangles, affine warps: the usual recipe of morphing attacks.
    """
    if not (isinstance(share, Real) and 0 <= share <= 1):
        raise ValueError(f"share is {share}; it must lie in [0, 1]")
    pair = Pair(image_a, image_b)  # which says what is wrong with them
    h, w = pair.a.shape[-2:]
    x, y = np.meshgrid(np.linspace(0, w - 1, 5), np.linspace(0, h - 1, 5))
    border = np.stack([x, y], axis=-1)[(x % (w - 1) == 0) | (y % (h - 1) == 0)]
    points_a, points_b = (np.concatenate([face_landmarks(image), border]) for image in (pair.a, pair.b))
    triangles = spatial.Delaunay((1 - share) * points_a + share * points_b)

    def warped(image, points):
        x, y = np.moveaxis(interpolate.LinearNDInterpolator(triangles, points)(*np.indices((h, w))[::-1]), -1, 0)
        return np.stack([ndimage.map_coordinates(colour, (y, x), order=1, mode="nearest") for colour in image.numpy()])

    mixed = (1 - share) * warped(pair.a, points_a) + share * warped(pair.b, points_b)
    return torch.from_numpy(mixed).float().clamp(0, 1)


def face_landmarks(image: Tensor) -> np.ndarray:
    """The 68 landmarks of a crop ``(3, H, W)``, RGB in [0, 1], held inside it: ``(68, 2)``, x and y in pixels.

    Raises a ValueError when no face is found, and what :class:`xfvlib.Pair` raises for an image.
    """
    image = Pair(image, image).a
    return find_68_landmarks(image.permute(1, 2, 0).numpy()).clip(1, np.array(image.shape[:0:-1]) - 2)
