"""What is done to photographs: taken resolution, and morphs of two people."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates
from scipy.spatial import Delaunay

from xfvlib.alignment import find_68_landmarks
from xfvlib.perturb import check_real


def reduced(image, factor):
    """An image ``(3, H, W)`` as a smaller one enlarged again: 1/factor of its size and back, antialiased, bicubic; in [0, 1].

    Raises ValueError for a factor below 1, or one that leaves less than four pixels, and for complex or not finite images.
    """
    check_real(image)
    size = [round(n / factor) for n in image.shape[-2:]] if factor >= 1 else [0]
    if min(size) < 4:
        raise ValueError(f"factor is {factor}; it must be at least 1 and leave 4 pixels or more of {tuple(image.shape[-2:])}")
    small = F.interpolate(image[None], size=size, mode="bicubic", antialias=True)
    return F.interpolate(small, size=image.shape[-2:], mode="bicubic")[0].clamp(0, 1)


def morph(image_a, image_b, share=0.5):
    """Landmark morph of two aligned faces: both are warped to the shape between them, triangle by triangle, and blended.

    Args:
        image_a, image_b: crops ``(3, H, W)`` of one size, RGB in [0, 1].
        share: of ``image_b`` in shape and colour, in [0, 1]; 0 gives ``image_a``, 1 ``image_b``.

    Returns:
        float32 ``(3, H, W)``.

    Raises:
        ValueError: no landmarks are found in an image, two sizes, or a share outside [0, 1].

    Source: the 68 landmarks and the border, Delaunay triangles, affine warps: the usual recipe of morphing attacks.
    """
    if image_a.shape != image_b.shape or not 0 <= share <= 1:
        raise ValueError(
            f"images of {tuple(image_a.shape)} and {tuple(image_b.shape)}, share {share}; one size and a share in [0, 1] are needed"
        )
    height, width = image_a.shape[-2:]
    x, y = np.meshgrid(np.linspace(0, width - 1, 5), np.linspace(0, height - 1, 5))
    border = np.stack([x, y], axis=-1)[(x % (width - 1) == 0) | (y % (height - 1) == 0)]
    shape_a, shape_b = (np.concatenate([face_landmarks(image), border]) for image in (image_a, image_b))
    between = (1 - share) * shape_a + share * shape_b
    triangles = Delaunay(between)
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
    inside = triangles.find_simplex(pixels, tol=1e-9)
    first = np.einsum("pij,pj->pi", triangles.transform[inside, :2], pixels - triangles.transform[inside, 2])
    weights = np.concatenate([first, 1 - first.sum(axis=1, keepdims=True)], axis=1)
    corners = triangles.simplices[inside]

    def warped(image, points):
        x, y = np.einsum("pi,pid->dp", weights, points[corners])
        return np.stack([map_coordinates(colour, (y, x), order=1, mode="nearest") for colour in image.numpy()])

    mixed = (1 - share) * warped(image_a, shape_a) + share * warped(image_b, shape_b)
    return torch.from_numpy(mixed.reshape(3, height, width).astype(np.float32)).clamp(0, 1)


def face_landmarks(image):
    """The 68 landmarks of a crop ``(3, H, W)``, held inside it: ``(68, 2)``; ValueError when no face is found."""
    check_real(image)
    pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    return find_68_landmarks(pixels).clip(1, np.array(image.shape[:0:-1]) - 2)
