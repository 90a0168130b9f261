"""How well a recogniser verifies – scores, error rates, thresholds – and how much an explanation's ranking of pixels matters."""

import numpy as np
import torch
from scipy.stats import bootstrap
from sklearn.metrics import auc as area_under
from sklearn.metrics import roc_curve

from xfvlib.perturb import filled


def embeddings(model, pairs, batch=32):
    """Unit-length embedding of every image that the pairs use, each computed once: ``{name: (N,)}``, on the CPU."""
    names, rows = pairs.names, []
    with torch.no_grad():
        for start in range(0, len(names), batch):
            images = torch.stack([pairs.image(name) for name in names[start : start + batch]])
            rows.append(model.embed(images).cpu())
    return dict(zip(names, torch.cat(rows)))


def scores(model, pairs, batch=32):
    """Cosine similarity of every pair: float64 ``(P,)`` in [−1, 1], in the order of ``pairs``."""
    known = embeddings(model, pairs, batch)
    place = {name: i for i, name in enumerate(known)}
    stacked = torch.stack(list(known.values())).double().numpy()
    a = stacked[pairs.table.name_a.map(place)]
    b = stacked[pairs.table.name_b.map(place)]
    return np.einsum("pn,pn->p", a, b)


def error_rates(scores, labels):
    """False match rate and false non-match rate at every threshold that occurs.

    Args:
        scores: ``(P,)`` cosine similarities.
        labels: bool ``(P,)``, True for genuine pairs; both kinds must occur.

    Returns:
        ``(fmr, fnmr, thresholds)``, arrays in [0, 1] over falling thresholds; a pair is accepted at score ≥ threshold.

    Raises:
        ValueError: genuine or impostor pairs are missing, lengths differ, or a score is NaN.
    """
    scores, labels = np.asarray(scores, float), np.asarray(labels, bool)
    if scores.shape != labels.shape or scores.ndim != 1:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must be two arrays of one length")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN")
    if labels.all() or not labels.any():
        raise ValueError("error rates need genuine and impostor pairs; all given pairs are of one kind")
    fmr, tar, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    return fmr, 1 - tar, thresholds


def auc(scores, labels):
    """Area under the ROC curve, in [0, 1]: the share of (genuine, impostor) couples in the right order."""
    fmr, fnmr, _ = error_rates(scores, labels)
    return float(area_under(fmr, 1 - fnmr))


def equal_error_rate(scores, labels):
    """Error rate and threshold where the false match rate and the false non-match rate are nearest.

    Returns:
        ``(eer, threshold)``: the mean of the two rates there, and the middle between the last score accepted and the next.
    """
    fmr, fnmr, thresholds = error_rates(scores, labels)
    i = int(np.argmin(np.abs(fmr - fnmr)))
    return float(fmr[i] + fnmr[i]) / 2, middle_below(thresholds, i)


def tar_at_far(scores, labels, far):
    """Share of genuine pairs accepted at the lowest threshold whose false match rate is at most ``far``.

    Args:
        far: in [0, 1]; fewer than 1/far impostor pairs cannot show it, and a rate of 0 is then what is met.

    Returns:
        ``(tar, threshold)``
    """
    if not 0 <= far <= 1:
        raise ValueError(f"far is {far}; it must lie in [0, 1]")
    fmr, fnmr, thresholds = error_rates(scores, labels)
    i = int(np.flatnonzero(fmr <= far)[-1])
    return float(1 - fnmr[i]), middle_below(thresholds, i)


def middle_below(thresholds, i):
    """Middle between threshold i and the next lower one: the same decisions, and no score lies on it."""
    above = min(thresholds[i], 1.0)
    return float((above + thresholds[i + 1]) / 2) if i + 1 < len(thresholds) else float(above)


def accuracy(scores, labels, threshold):
    """Share of right decisions, in [0, 1], when pairs at or above the threshold are accepted."""
    return float(np.mean((np.asarray(scores) >= threshold) == np.asarray(labels)))


def best_threshold(scores, labels):
    """The threshold of the highest accuracy; of several equally good, the middle one."""
    fmr, fnmr, thresholds = error_rates(scores, labels)
    share = np.mean(labels)
    wrong = fmr * (1 - share) + fnmr * share
    best = np.flatnonzero(np.isclose(wrong, wrong.min()))
    return middle_below(thresholds, int(best[len(best) // 2]))


def cross_validated_accuracy(scores, labels, folds):
    """Accuracy of every fold at the best threshold of the *other* folds (the LFW protocol).

    Returns:
        ``(accuracies, thresholds)``, one a fold, in the order of the sorted fold numbers.

    Raises:
        ValueError: fewer than two folds.
    """
    scores, labels, folds = np.asarray(scores), np.asarray(labels), np.asarray(folds)
    if len(np.unique(folds)) < 2:
        raise ValueError("cross-validation needs at least two folds")
    results = []
    for fold in np.unique(folds):
        here = folds == fold
        threshold = best_threshold(scores[~here], labels[~here])
        results.append((accuracy(scores[here], labels[here], threshold), threshold))
    accuracies, thresholds = np.array(results).T
    return accuracies, thresholds


def calibrate(model, pairs):
    """Set the model's threshold to that of the equal error rate on ``pairs``, and note where it comes from.

    Returns:
        ``(eer, threshold)``

    Example:
        >>> calibrate(model, load_pairs("orl"))  # doctest: +SKIP
    """
    eer, threshold = equal_error_rate(scores(model, pairs), pairs.labels)
    model.threshold = round(threshold, 4)
    model.threshold_source = f"equal error rate on {pairs.name} ({len(pairs):,} pairs)"
    return eer, model.threshold


def mean_interval(values, *, draws=2000, seed=0):
    """Mean over pairs with its 95 % bootstrap interval: pairs are drawn again, with replacement.

    Args:
        values: ``(P, …)``, one row a pair, P ≥ 2.
        draws, seed: of the bootstrap.

    Returns:
        ``(mean, low, high)``, each of shape ``(…)``.

    Raises:
        ValueError: fewer than two pairs, or NaN.

    Example:
        >>> mean_interval(np.array([0.0, 1.0, 1.0, 0.0]))[0]
        0.5
    """
    values = np.asarray(values, float)
    if len(values) < 2 or np.isnan(values).any():
        raise ValueError(
            f"{len(values)} rows, {int(np.isnan(values).sum())} of their values NaN; an interval needs two pairs or more, without NaN"
        )
    found = bootstrap((values,), np.mean, axis=0, n_resamples=draws, batch=50, method="percentile", rng=seed).confidence_interval
    return values.mean(axis=0), found.low, found.high


def progressively(image, ranking, kind, *, steps=10, fill="black"):
    """An image while its pixels go, or come, in the order of a map: ``(steps + 1, 3, H, W)``.

    Args:
        image: ``(3, H, W)``, RGB in [0, 1].
        ranking: ``(H, W)``; the highest pixels come first, equal ones in reading order.
        kind: "deletion", from the image to the fill, or "insertion", from the fill to the image.
        steps: 0, 1, …, steps of equal numbers of pixels; the first and the last are exact.
        fill: one of :data:`xfvlib.perturb.FILLS`.
    """
    if kind not in ("deletion", "insertion"):
        raise ValueError(f"kind is {kind!r}; it must be 'deletion' or 'insertion'")
    if ranking.shape != image.shape[-2:]:
        raise ValueError(f"a map of {tuple(ranking.shape)} does not fit an image of {tuple(image.shape[-2:])}")
    order = torch.argsort(ranking.flatten(), descending=True, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    counts = torch.linspace(0, len(order), steps + 1).round()
    chosen = (place[None] < counts[:, None]).view(-1, 1, *ranking.shape)
    other = filled(image, fill)
    return torch.where(chosen, other, image) if kind == "deletion" else torch.where(chosen, image, other)


def deletion_scores(model, pair, map_a, map_b=None, *, kind="deletion", steps=10, fill="black"):
    """Cosine similarity while the pixels of a pair go, or come, in the order of its maps.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        map_a, map_b: ``(H, W)``, the ranking of each image's pixels; without ``map_b`` the reference stays untouched.
            To follow a dissimilarity map, pass the signed maps with their sign turned.
        kind, steps, fill: as for :func:`progressively`.

    Returns:
        float ``(steps + 1,)`` in [−1, 1].
    """
    with torch.no_grad():
        a = model.embed(progressively(pair.a, map_a, kind, steps=steps, fill=fill))
        b = model.embed(pair.b[None] if map_b is None else progressively(pair.b, map_b, kind, steps=steps, fill=fill))
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
