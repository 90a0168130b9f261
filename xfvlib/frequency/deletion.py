"""Bands that go or come one after the other (Huber, Damer, WACV 2025, arXiv 2407.11941)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from xfvlib import evaluation, methods, perturb
from xfvlib.frequency.bands import band_energy, band_numbers, keep_frequencies
from xfvlib.frequency.influence import masked_embeddings
from xfvlib.models.facemodel import FaceModel
from xfvlib.pairs import Pair

BAND_ORDERS = ("influence", "reverse", "low first", "high first", "random")


def order_bands(influence: ArrayLike, by: str, seed: int = 0) -> list[int]:
    """Order in which bands go or come.

    Args:
        influence: ``(B,)``, as from :func:`frequency_influence`; with its sign turned, bands against the match come
            first. That of DC may be NaN.
        by: one of ``BAND_ORDERS``: the most influential first, last, the lowest or the highest frequency first, or
            drawn.
        seed: of the draw.

    Returns:
        list of the bands 1 … B − 1; DC, the mean brightness, has no place in it and always stays.

    Raises:
        ValueError: an unknown order, or influence that is not ``(B,)`` finite numbers.

    Example:
        >>> order_bands([0.9, 0.1, 0.3, -0.2], "influence")
        [2, 1, 3]
    """
    perturb.check_known("by", by, BAND_ORDERS)
    values = np.asarray(influence)
    if values.dtype.kind not in "fiu" or values.ndim != 1 or not len(values) or not np.isfinite(values[1:]).all():
        raise ValueError(f"influence is {influence!r:.80}; a finite number for each band, (B,), is needed")
    falling, rising = np.argsort(-values[1:].astype(float), kind="stable"), np.arange(len(values) - 1)
    drawn = torch.randperm(len(rising), generator=torch.Generator().manual_seed(seed)).numpy()
    return (1 + (falling, falling[::-1], rising, rising[::-1], drawn)[BAND_ORDERS.index(by)]).tolist()


def progressive_bands(image: Tensor, order: ArrayLike, kind: str, **bands: Any) -> Tensor:
    """An image while its bands go, or come, in an order: ``(B, 3, H, W)``; the first and the last are exact.

    Args:
        image: ``(3, H, W)``.
        order: each of the bands 1 … B − 1 once, as from :func:`order_bands`.
        kind: "deletion", from the image to its mean colour (DC), or "insertion", from there to the image.
        bands: as for :func:`band_numbers`.

    Raises:
        ValueError: an order that lacks a band, an unknown kind; see also :func:`band_numbers`.
    """
    return keep_frequencies(image, _progressive_masks(image, order, kind, **bands))


def _progressive_masks(image, order, kind, **bands):
    """Frequencies that are there at each step: bool ``(B, H, W)``."""
    perturb.check_known("kind", kind, ("deletion", "insertion"))
    numbers, given = band_numbers(perturb.checked_image(image).shape[-2:], **bands), np.atleast_1d(np.asarray(order))
    last = int(numbers.max())
    if given.dtype.kind not in "fiu" or not np.array_equal(np.sort(given), np.arange(1, last + 1)):
        raise ValueError(f"order is {order!r:.80}; it must name each of the bands 1 … {last} once")
    place = torch.from_numpy(np.argsort([0, *given]) - 1)  # of each band in the order; DC comes before it
    come = place[numbers] < torch.arange(last + 1)[:, None, None]
    return (come if kind == "insertion" else ~come) | (numbers == 0)


def band_deletion_scores(
    model: FaceModel, pair: Pair, order_a: Any, order_b: Any = None, *, kind: str = "deletion", batch: int = 32, **bands
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine similarity while the bands of a pair go, or come.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        order_a, order_b: of each image's bands; without ``order_b`` the reference stays untouched.
        kind, bands: as for :func:`progressive_bands`.
        batch: images in a forward pass.

    Returns:
        ``(scores, energy)``, two arrays ``(B,)``: cosine in [−1, 1], and the share of the energy beyond DC that has
        gone, or come, from 0 to 1 (of the probe, or the mean of both images).

    Raises:
        ValueError: see :func:`progressive_bands`.
    """

    def run(image, order):
        rows = masked_embeddings(model, image, _progressive_masks(image, order, kind, **bands), batch)
        energy = band_energy(image, **bands)[np.asarray(order)].double().cumsum(dim=0)
        return rows, torch.cat([torch.zeros(1), energy / energy[-1].clamp(min=1e-30)])

    a, energy = run(pair.a, order_a)
    b, other = (methods.embedding_of(model, pair.b)["embedding"], energy) if order_b is None else run(pair.b, order_b)
    return (a * b).sum(dim=1).numpy(), ((energy + other) / 2).numpy()


def band_areas(scores: ArrayLike, labels: ArrayLike, threshold: float, share: ArrayLike | None = None) -> np.ndarray:
    """Area in percent under every pair's right (1) or wrong (0) decisions: their mean is the area under the accuracy.

    Args:
        scores: ``(P, B)`` from :func:`band_deletion_scores`.
        labels: bool ``(P,)``, True for genuine pairs.
        threshold: of the untouched data.
        share: ``(P, B)``, of the energy, as the axis to integrate over; None for the share of bands.

    Returns:
        float ``(P,)`` in [0, 100], for :func:`xfvlib.evaluation.mean_interval`. Deletion: lower is better; insertion:
        higher.

    Raises:
        ValueError: other shapes, NaN, labels that are not known, a threshold outside [−1, 1].

    Example:
        >>> band_areas([[0.9, 0.7, 0.1]], [True], 0.5)
        array([75.])
    """
    right = evaluation.right_decisions(scores, labels, threshold)
    share = np.linspace(0, 1, right.shape[-1])[None] if share is None else np.asarray(share)
    if right.ndim != 2 or right.shape[1] < 2 or share.shape not in (right.shape, (1, right.shape[1])):
        raise ValueError(f"scores are {right.shape} and shares {share.shape}; (P, B) of two bands or more are needed")
    return 100 * np.trapezoid(right.astype(float), share, axis=1)
