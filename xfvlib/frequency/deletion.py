"""Deletion and insertion of bands."""

import numpy as np
import torch

from xfvlib.frequency.bands import band_energy, band_numbers, keep_frequencies
from xfvlib.perturb import check_known, embed_versions


BAND_ORDERS = ("influence", "reverse", "low first", "high first", "random")


def order_bands(influence, by, seed=0):
    """Order in which bands go or come.

    Args:
        influence: ``(B,)``, as from :func:`frequency_influence`; with its sign turned, bands against the match come first.
        by: one of ``BAND_ORDERS``: the most influential first, last, the lowest or the highest frequency first, or drawn.
        seed: of the draw.

    Returns:
        list of the bands 1 … B − 1; DC, the mean brightness, has no place in it and always stays.
    """
    check_known("by", by, BAND_ORDERS)
    influence = torch.as_tensor(influence)[1:]
    if by in ("influence", "reverse"):
        order = torch.argsort(influence, descending=True, stable=True)
        return (1 + (order if by == "influence" else order.flip(0))).tolist()
    if by == "random":
        return (1 + torch.randperm(len(influence), generator=torch.Generator().manual_seed(seed))).tolist()
    low_first = list(range(1, len(influence) + 1))
    return low_first if by == "low first" else low_first[::-1]


def progressive_bands(image, order, kind, **bands):
    """An image while its bands go, or come, in an order: ``(B, 3, H, W)``; the first and the last are exact.

    Args:
        image: ``(3, H, W)``.
        order: each of the bands 1 … B − 1 once, as from :func:`order_bands`.
        kind: "deletion", from the image to its mean colour (DC), or "insertion", from there to the image.
        bands: as for :func:`band_numbers`.
    """
    check_known("kind", kind, ("deletion", "insertion"))
    numbers = band_numbers(image.shape[-2:], **bands)
    if sorted(order) != list(range(1, int(numbers.max()) + 1)):
        raise ValueError(f"the order must name each of the bands 1 … {int(numbers.max())} once; given: {list(order)}")
    place = torch.empty(len(order) + 1, dtype=torch.long)
    place[torch.tensor([0, *order])] = torch.arange(-1, len(order))
    steps = torch.arange(len(order) + 1)[:, None, None]
    chosen = place[numbers] >= steps if kind == "deletion" else place[numbers] < steps
    return keep_frequencies(image, chosen | (numbers == 0))


def band_deletion_scores(model, pair, order_a, order_b=None, *, kind="deletion", batch=32, **bands):
    """Cosine similarity while the bands of a pair go, or come.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        order_a, order_b: of each image's bands; without ``order_b`` the reference stays untouched.
        kind, bands: as for :func:`progressive_bands`.
        batch: images in a forward pass.

    Returns:
        ``(scores, energy)``, two arrays ``(B,)``: cosine in [−1, 1], and the share of the energy beyond DC that has gone, or
        come, from 0 to 1 (of the probe, or the mean of both images).
    """

    def run(image, order):
        images = progressive_bands(image, order, kind, **bands)
        rows = embed_versions(model, lambda some: images[some], len(images), batch=batch)
        energy = band_energy(image, **bands)[order].double()
        return rows, torch.cat([torch.zeros(1), energy.cumsum(dim=0) / energy.sum()])

    a, energy = run(pair.a, order_a)
    if order_b is None:
        with torch.no_grad():
            b = model.embed(pair.b[None]).cpu()
    else:
        b, other = run(pair.b, order_b)
        energy = (energy + other) / 2
    return (a * b).sum(dim=1).numpy(), energy.numpy()


def band_areas(scores, labels, threshold, share=None):
    """Area in percent under every pair's right (1) or wrong (0) decisions: their mean is the area under the accuracy.

    Args:
        scores: ``(P, B)`` from :func:`band_deletion_scores`.
        labels: bool ``(P,)``, True for genuine pairs.
        threshold: of the untouched data.
        share: ``(P, B)``, of the energy, as the axis to integrate over; None for the share of bands.

    Returns:
        float ``(P,)`` in [0, 100], for :func:`xfvlib.evaluation.mean_interval`. Deletion: lower is better; insertion: higher.
    """
    right = (np.asarray(scores) >= threshold) == np.asarray(labels, bool)[:, None]
    share = np.linspace(0, 1, right.shape[1])[None] if share is None else np.asarray(share)
    return 100 * np.trapezoid(right.astype(float), share, axis=1)
