"""An image while its pixels go or come in the order of a map, and the orders that have not seen the picture."""

import zlib
from collections.abc import Sequence

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
    image: Tensor, ranking: Tensor, kind: str, *, steps: int = 10, fill: str = "black", seed: int = 0
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
    chosen, other = first_pixels(as_ranking(ranking, image), steps), filled(image, fill, seed)
    return torch.where(chosen, other, image) if kind == "deletion" else torch.where(chosen, image, other)


def as_ranking(ranking: Tensor, image: Tensor | None = None) -> Tensor:
    """``ranking`` as float64 ``(H, W)`` on the CPU, once every pixel, of ``image`` if given, is seen to have a place.

    Raises:
        TypeError: neither tensor nor array.
        ValueError: another shape, complex numbers, or NaN.
    """
    if not isinstance(ranking, (Tensor, np.ndarray)):
        raise TypeError(f"a map is a {type(ranking).__name__}; a tensor (H, W) is needed")
    found = torch.as_tensor(ranking).detach().cpu()
    size = "(H, W)" if image is None else tuple(image.shape[-2:])
    if found.dim() != 2 or found.is_complex() or (image is not None and found.shape != image.shape[-2:]):
        raise ValueError(f"a map {tuple(found.shape)} of {found.dtype} does not fit: real numbers {size} are needed")
    if found.isnan().any():
        raise ValueError(f"{int(found.isnan().sum())} of the map's {found.numel()} pixels are NaN and have no place in an order")
    return found.double()


def first_pixels(ranking: Tensor, steps: int) -> Tensor:
    """Where the first 0, 1/steps, …, 1 of the pixels of a ranking ``(H, W)`` lie: bool ``(steps + 1, 1, H, W)``.

    Raises what :func:`as_ranking` raises, and a ValueError for steps below 1.
    """
    check_count("steps", steps)
    falling = -as_ranking(ranking).flatten().numpy()
    order = np.argsort(falling)  # equal pixels follow below, by their place: a quarter of the time of a stable sort
    number = np.concatenate([[0], np.cumsum(falling[order][1:] != falling[order][:-1])])
    order = np.sort(number * len(order) + order) % len(order)
    place = torch.empty(len(order))
    place[torch.from_numpy(order)] = torch.arange(len(order), dtype=place.dtype)
    counts = torch.linspace(0, len(order), int(steps) + 1).round()
    return (place[None] < counts[:, None]).view(-1, 1, *ranking.shape)


def embed_each(model: FaceModel, images: Tensor | Sequence[Tensor]) -> Tensor:
    """Unit-length embeddings ``(n, N)`` of n images ``(3, H, W)``, on the CPU, without gradients."""
    return embed_versions(model, lambda some: torch.stack(tuple(images[some])), len(images))


def deletion_scores(
    model: FaceModel,
    pair: Pair,
    map_a: Tensor,
    map_b: Tensor | None = None,
    *,
    kind: str = "deletion",
    steps: int = 10,
    fill: str = "black",
    seed: int = 0,
) -> np.ndarray:
    """Cosine similarity while the pixels of a pair go, or come, in the order of its maps.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        map_a, map_b: ``(H, W)``, the ranking of each image's pixels; without ``map_b`` the reference stays untouched.
            To follow a dissimilarity map, pass the signed maps with their sign turned.
        kind, steps, fill: as for :func:`progressively`.
        seed: of noise as the fill, which depends on the image's name besides.

    Returns:
        float ``(steps + 1,)`` in [−1, 1].

    Raises what :func:`progressively` raises.
    """
    a, b = (
        embed_each(model, progressively(image, ranking, kind, steps=steps, fill=fill, seed=noise_seed(name, seed)))
        for image, ranking, name in ((pair.a, map_a, pair.name_a), (pair.b, map_b, pair.name_b))
    )
    return (a * b).sum(dim=1).numpy()
