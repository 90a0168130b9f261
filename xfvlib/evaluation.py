"""How well a recogniser verifies: scores, error rates, thresholds, and intervals over pairs."""

import numpy as np
import torch

# scikit-learn and scipy.stats are imported where they are used: they take two seconds, which every worker of a sweep would wait for


def decision_threshold(model, threshold=None):
    """``threshold``, or the model's own when None, once it is seen to lie in [−1, 1]; ValueError otherwise."""
    if threshold is None:
        threshold = model.threshold
    if threshold is None:
        raise ValueError(f"{model.name} has no threshold: pass threshold=…, or set it with xfv.calibrate(model, pairs)")
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; a cosine similarity lies in [−1, 1]")
    return float(threshold)


def embed_images(model, pairs, batch=32):
    """Unit-length embedding of every image that the pairs use, each computed once: ``{name: (N,)}``, on the CPU."""
    names, rows = pairs.names, []
    with torch.no_grad():
        for start in range(0, len(names), batch):
            images = torch.stack([pairs.image(name) for name in names[start : start + batch]])
            rows.append(model.embed(images).cpu())
    return dict(zip(names, torch.cat(rows)))


def scores(model, pairs, batch=32):
    """Cosine similarity of every pair: float64 ``(P,)`` in [−1, 1], in the order of ``pairs``."""
    known = embed_images(model, pairs, batch)
    place = {name: i for i, name in enumerate(known)}
    stacked = torch.stack(list(known.values())).double().numpy()
    rows = pairs.table[["name_a", "name_b"]].apply(lambda names: names.map(place)).to_numpy()
    parts = np.array_split(rows, -(-len(rows) // 65_536))  # all at once, the embeddings of a million pairs would take gigabytes
    return np.concatenate([np.einsum("pn,pn->p", stacked[part[:, 0]], stacked[part[:, 1]]) for part in parts])


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
    from sklearn.metrics import roc_curve

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
    return float(np.trapezoid(1 - fnmr, fmr))


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
    from scipy.stats import bootstrap

    values = np.asarray(values, float)
    if len(values) < 2 or np.isnan(values).any():
        raise ValueError(
            f"{len(values)} rows, {int(np.isnan(values).sum())} of their values NaN; an interval needs two pairs or more, without NaN"
        )
    found = bootstrap((values,), np.mean, axis=0, n_resamples=draws, batch=50, method="percentile", rng=seed).confidence_interval
    return values.mean(axis=0), found.low, found.high
