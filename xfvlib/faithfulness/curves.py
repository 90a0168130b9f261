"""An image while its pixels go or come in the order of a map, and the orders that have not seen the picture."""

import zlib

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from xfvlib.evaluation import right_decisions
from xfvlib.models import FaceModel
from xfvlib.pairs import Pair
from xfvlib.perturb import check_count, check_known, embed_versions, filled

KINDS = ("deletion", "insertion")


def progressively(
    image: Tensor, ranking: Tensor, kind: str = "deletion", *, steps: int = 10, fill: str = "black", seed: int = 0
) -> Tensor:
    """An image while its pixels go, or come, in the order of a map: ``(steps + 1, 3, H, W)``.

    Args:
        image: ``(3, H, W)``, RGB in [0, 1].
        ranking: ``(H, W)``; the highest pixels come first, equal ones in reading order.
        kind: "deletion", from the image to the fill, or "insertion", from the fill to the image.
        steps: 0, 1, …, steps of equal numbers of pixels; the first and the last are exact.
        fill, seed: as for :func:`xfvlib.perturb.filled`.

    Raises:
        TypeError: the ranking is no tensor.
        ValueError: an unknown kind or fill, steps below 1, a ranking of another size than the image, or with NaN.

    Example:
        >>> progressively(torch.ones(3, 1, 2), torch.tensor([[1, 2]]), "deletion", steps=2)[:, 0, 0]
        tensor([[1., 1.],
                [1., 0.],
                [0., 0.]])
    """
    check_known("kind", kind, KINDS)
    chosen = first_pixels(as_ranking(ranking, image), steps)
    return torch.where(chosen == (kind == "deletion"), filled(image, fill, seed), image)


def as_ranking(ranking: Tensor, image: Tensor | None = None) -> Tensor:
    """``ranking`` as float64 ``(H, W)`` on the CPU, once every pixel, of ``image`` if given, is seen to have a place.

    Raises:
        TypeError: neither tensor nor array.
        ValueError: another shape, complex numbers, or NaN.
    """
    if not isinstance(ranking, (Tensor, np.ndarray)):
        raise TypeError(f"a map is a {type(ranking).__name__}; a tensor (H, W) is needed")
    found = torch.as_tensor(ranking).detach().cpu()
    size, missing = found.shape if image is None else image.shape[-2:], int(found.isnan().sum())
    if found.dim() != 2 or found.shape != size or found.is_complex() or missing:
        raise ValueError(f"a map is {found.dtype} {tuple(found.shape)}, {missing} NaN; real {tuple(size)} is needed")
    return found.double()


def first_pixels(ranking: Tensor, steps: int) -> Tensor:
    """Where the first 0, 1/steps, …, 1 of the pixels of a ranking ``(H, W)`` lie: bool ``(steps + 1, 1, H, W)``.

    Raises what :func:`as_ranking` raises, and a ValueError for steps below 1.
    """
    check_count("steps", steps)
    ranking = as_ranking(ranking)
    place = ranking.flatten().argsort(descending=True, stable=True).argsort()
    counts = torch.linspace(0, len(place), int(steps) + 1).round()
    return (place < counts[:, None]).view(-1, 1, *ranking.shape)


def embed_each(model: FaceModel, images: Tensor) -> Tensor:
    """Unit-length embeddings ``(n, N)`` of images ``(n, 3, H, W)``, on the CPU, without gradients."""
    return embed_versions(model, images.__getitem__, len(images))


def deletion_scores(
    model: FaceModel, pair: Pair, map_a: Tensor, map_b: Tensor | None = None, *, seed: int = 0, **how
) -> np.ndarray:
    """Cosine similarity while the pixels of a pair go, or come, in the order of its maps.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        map_a, map_b: ``(H, W)``, the ranking of each image's pixels; without ``map_b`` the reference stays untouched.
            To follow a dissimilarity map, pass the signed maps with their sign turned.
        seed: of noise as the fill, which depends on the image's name besides.
        how: ``kind``, ``steps`` and ``fill`` as for :func:`progressively`.

    Returns:
        float ``(steps + 1,)`` in [−1, 1].

    Raises what :func:`progressively` raises.
    """
    a = progressively(pair.a, map_a, seed=noise_seed(pair.name_a, seed), **how)
    b = pair.b[None] if map_b is None else progressively(pair.b, map_b, seed=noise_seed(pair.name_b, seed), **how)
    return (embed_each(model, a) * embed_each(model, b)).sum(dim=1).numpy()


def deletion_area(scores: ArrayLike, labels: ArrayLike, threshold: float) -> tuple[np.ndarray, float]:
    """Accuracy while pixels go or come, and the area under it.

    Args:
        scores: ``(P, steps + 1)`` from :func:`deletion_scores`, one row a pair.
        labels: bool ``(P,)``, True for genuine pairs.
        threshold: in [−1, 1], of the untouched data.

    Returns:
        ``(accuracy, area)``: ``(steps + 1,)`` in [0, 1], and its mean height in percent (trapezoid), which does not
        grow with the number of steps. Deletion: lower is better; insertion: higher.

    Raises what :func:`xfvlib.evaluation.right_decisions` raises, and a ValueError for scores that are no curves.

    Example:
        >>> deletion_area([[0.9, 0.6, 0.1]], [True], 0.5)
        (array([1., 1., 0.]), 75.0)
    """
    accuracy_at = right_decisions(scores, labels, threshold).mean(axis=0)
    if accuracy_at.ndim != 1 or len(accuracy_at) < 2:
        raise ValueError(f"scores have shape {np.shape(scores)}; (pairs, steps + 1) is needed, with a step or more")
    return accuracy_at, float(100 * np.trapezoid(accuracy_at, dx=1 / (len(accuracy_at) - 1)))


def noise_seed(name: str, seed: int) -> int:
    """Seed of the noise in the place of an image's pixels: two images of a pair must not share it."""
    return zlib.crc32(f"{seed} noise {name}".encode())


def random_order(image: Tensor, name: str, seed: int = 0) -> Tensor:
    """Control: a ranking ``(H, W)`` drawn with the seed and the image's name, the same on every machine and in every
    run."""
    return torch.rand(image.shape[-2:], generator=torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode())))


def blob(image: Tensor, name: str | None = None, seed: int = 0) -> Tensor:
    """Control: a Gaussian in the middle of the image, ``(H, W)``, sigma a quarter of each side; it has not seen the
    picture."""
    y, x = (torch.linspace(-2, 2, side) for side in image.shape[-2:])
    return torch.exp(-(y[:, None] ** 2 + x[None] ** 2) / 2)


# orders that have not seen the picture, and what a table adds to the name of an order that is followed backwards
CONTROLS = {"random": random_order, "blob": blob}
REVERSED = " reversed"
FIXED_ORDERS = ["random", "blob", "blob reversed"]  # random backwards is random
