"""An image while its pixels go or come in the order of a map, and the orders that have not seen the picture."""

import zlib

import numpy as np
import torch

from xfvlib.perturb import check_known, filled


def progressively(image, ranking, kind, *, steps=10, fill="black", seed=0):
    """An image while its pixels go, or come, in the order of a map: ``(steps + 1, 3, H, W)``.

    Args:
        image: ``(3, H, W)``, RGB in [0, 1].
        ranking: ``(H, W)``; the highest pixels come first, equal ones in reading order.
        kind: "deletion", from the image to the fill, or "insertion", from the fill to the image.
        steps: 0, 1, …, steps of equal numbers of pixels; the first and the last are exact.
        fill, seed: as for :func:`xfvlib.perturb.filled`.
    """
    check_known("kind", kind, ("deletion", "insertion"))
    check_ranking(ranking, image)
    chosen = first_pixels(ranking, steps)
    other = filled(image, fill, seed)
    return torch.where(chosen, other, image) if kind == "deletion" else torch.where(chosen, image, other)


def check_ranking(ranking, image):
    """Raise a ValueError unless every pixel of ``image`` ``(3, H, W)`` has its number in ``ranking`` ``(H, W)``."""
    if ranking.shape != image.shape[-2:]:
        raise ValueError(f"a map of {tuple(ranking.shape)} does not fit an image of {tuple(image.shape[-2:])}")
    if ranking.isnan().any():
        raise ValueError(f"{int(ranking.isnan().sum())} of the map's {ranking.numel()} pixels are NaN and have no place in an order")


def first_pixels(ranking, steps):
    """Where the first 0, 1/steps, …, 1 of the pixels of a ranking ``(H, W)`` lie: bool ``(steps + 1, 1, H, W)``."""
    falling = -ranking.detach().flatten().double().numpy()
    order = np.argsort(falling)  # equal pixels follow below, by their place: a quarter of the time of a stable sort
    number = np.concatenate([[0], np.cumsum(falling[order][1:] != falling[order][:-1])])
    order = np.sort(number * len(order) + order) % len(order)
    place = torch.empty(len(order))
    place[torch.from_numpy(order)] = torch.arange(len(order), dtype=place.dtype)
    counts = torch.linspace(0, len(order), steps + 1).round()
    return (place[None] < counts[:, None]).view(-1, 1, *ranking.shape)


def deletion_scores(model, pair, map_a, map_b=None, *, kind="deletion", steps=10, fill="black", seed=0):
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
    """
    changed = [
        image[None] if ranking is None else progressively(image, ranking, kind, steps=steps, fill=fill, seed=noise_seed(name, seed))
        for image, ranking, name in ((pair.a, map_a, pair.name_a), (pair.b, map_b, pair.name_b))
    ]
    with torch.no_grad():
        a, b = map(model.embed, changed)
    return (a * b).sum(dim=1).cpu().numpy()


def deletion_area(scores, labels, threshold):
    """Accuracy while pixels go or come, and the area under it.

    Args:
        scores: ``(P, steps + 1)`` from :func:`deletion_scores`, one row a pair.
        labels: bool ``(P,)``, True for genuine pairs.
        threshold: of the untouched data.

    Returns:
        ``(accuracy, area)``: ``(steps + 1,)`` in [0, 1], and its mean height in percent (trapezoid), which does not grow
        with the number of steps. Deletion: lower is better; insertion: higher.
    """
    right = (np.asarray(scores) >= threshold) == np.asarray(labels, bool)[:, None]
    accuracy_at = right.mean(axis=0)
    return accuracy_at, float(100 * np.trapezoid(accuracy_at, dx=1 / (len(accuracy_at) - 1)))


def both_ways(model, image, other, ranking, *, steps, ends):
    """Embeddings along the deletion and the insertion curve of one image.

    Args:
        other: its fill, ``(3, H, W)``.
        ends: unit-length embeddings ``(N,)`` of the image and of its fill, where every curve begins or ends.

    Returns:
        ``{"deletion": (steps + 1, N), "insertion": (steps + 1, N)}``, both from 0 to 100 %.
    """
    check_ranking(ranking, image)
    chosen = first_pixels(ranking, steps)[1:-1]
    middles = torch.lerp(image, other, torch.cat([chosen, ~chosen]).float())  # exact, and faster than torch.where
    with torch.no_grad():
        inner = model.embed(middles) if steps > 1 else ends[0][:0].view(0, len(ends[0]))
    whole, gone = (end[None] for end in ends)
    deleted, inserted = inner[: steps - 1], inner[steps - 1 :]
    return {"deletion": torch.cat([whole, deleted, gone]), "insertion": torch.cat([gone, inserted, whole])}


def backwards(curves):
    """The curves of the reversed order: what is deleted last is inserted first."""
    return {"deletion": curves["insertion"].flip(0), "insertion": curves["deletion"].flip(0)}


def noise_seed(name, seed):
    """Seed of the noise in the place of an image's pixels: two images of a pair must not share it."""
    return zlib.crc32(f"{seed} noise {name}".encode())


def random_order(image, name, seed=0):
    """Control: a ranking ``(H, W)`` drawn with the seed and the image's name, the same on every machine and in every run."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    return torch.rand(image.shape[-2:], generator=generator)


def blob(image, name=None, seed=0):
    """Control: a Gaussian in the middle of the image, ``(H, W)``, sigma a quarter of each side; it has not seen the picture."""
    y, x = (torch.linspace(-2, 2, side) for side in image.shape[-2:])
    return torch.exp(-(y[:, None] ** 2 + x[None] ** 2) / 2)


CONTROLS = {"random": random_order, "blob": blob}

FIXED_ORDERS = ("random", "blob", "blob reversed")  # what can be had without looking at the picture

REVERSED = " reversed"
