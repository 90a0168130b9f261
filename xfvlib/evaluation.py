"""How well a recogniser verifies: scores, error rates, thresholds, and intervals over pairs."""

from numbers import Real

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from xfvlib.models import FaceModel
from xfvlib.pairs import PairSet
from xfvlib.perturb import check_count, embed_versions

# scikit-learn and scipy.stats are imported where they are used: they take two seconds, for which every worker of a
# sweep would wait


def decision_threshold(model: FaceModel, threshold: float | None = None) -> float:
    """``threshold``, or the model's own when None, once it is seen to lie in [−1, 1]; ValueError otherwise."""
    threshold = model.threshold if threshold is None else threshold
    if threshold is None:
        raise ValueError(f"{model.name} has no threshold: pass threshold=…, or set it with xfv.calibrate(model, pairs)")
    if not isinstance(threshold, Real) or not -1 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}; a cosine similarity is needed, a number in [−1, 1]")
    return float(threshold)


def embed_images(model: FaceModel, pairs: PairSet, batch: int = 32) -> dict[str, Tensor]:
    """Unit-length embedding of every image that the pairs use, each computed once: ``{name: (N,)}``, on the CPU.

    Raises:
        TypeError: a list of pairs, which does not say which images are the same.
        ValueError: no pairs, or a batch below 1.
    """
    if not isinstance(pairs, PairSet):
        given = f"pairs is a {type(pairs).__name__}"
        raise TypeError(f"{given}; a PairSet is needed, as from xfv.load_pairs: xfv.PairSet(name, table, images)")
    if not len(pairs):
        raise ValueError(f"{pairs.name} holds no pairs; one or more are needed")
    names = pairs.names
    return dict(
        zip(
            names,
            embed_versions(
                model, lambda some: torch.stack([pairs.image(x) for x in names[some]]), len(names), batch=batch
            ),
        )
    )


def scores(model: FaceModel, pairs: PairSet, batch: int = 32) -> np.ndarray:
    """Cosine similarity of every pair: float64 ``(P,)`` in [−1, 1], in the order of ``pairs``.

    Raises what :func:`embed_images` raises.
    """
    known = embed_images(model, pairs, batch)
    place = {name: i for i, name in enumerate(known)}
    stacked = torch.stack(list(known.values())).double().numpy()
    rows = pairs.table[["name_a", "name_b"]].apply(lambda names: names.map(place)).to_numpy()
    # all at once, the embeddings of a million pairs would take gigabytes
    parts = np.array_split(rows, -(-len(rows) // 65_536))
    return np.concatenate([np.einsum("pn,pn->p", stacked[part[:, 0]], stacked[part[:, 1]]) for part in parts])


def right_decisions(scores: ArrayLike, labels: ArrayLike, threshold: ArrayLike) -> np.ndarray:
    """Whether each pair is decided rightly when it is accepted at score ≥ threshold.

    Args:
        scores: ``(P, …)`` cosine similarities, one row a pair.
        labels: bool ``(P,)``, True for genuine pairs.
        threshold: in [−1, 1], one number or ``(P,)``.

    Returns:
        bool, of the shape of the scores.

    Raises:
        ValueError: no scores, other lengths, NaN, labels that are not known, a threshold outside [−1, 1].

    Example:
        >>> right_decisions([0.9, 0.1, 0.8], [True, True, False], 0.5)
        array([ True, False, False])
    """
    scores, labels = _checked(scores, labels)
    threshold, shape = np.asarray(threshold, float), (-1, *[1] * (scores.ndim - 1))
    if not (np.abs(threshold) <= 1).all():
        raise ValueError(f"threshold is {threshold}; a cosine similarity is needed, in [−1, 1]")
    return (scores >= threshold.reshape(shape)) == labels.reshape(shape)


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Scores ``(P, …)`` as floats and labels ``(P,)`` as bool; ValueError in words where they are none."""
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    if not scores.size or labels.shape != scores.shape[:1]:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must be arrays of one length, at least 1")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN")
    if wrong := [x for x in labels.tolist() if pd.isna(x) or x not in (True, False)]:
        raise ValueError(f"{len(wrong)} labels, such as {wrong[0]!r}, are neither True (genuine) nor False (impostor)")
    return scores, labels.astype(bool)


def error_rates(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False match rate and false non-match rate at every threshold that occurs.

    Args:
        scores: ``(P,)`` cosine similarities.
        labels: bool ``(P,)``, True for genuine pairs; both kinds must occur.

    Returns:
        ``(fmr, fnmr, thresholds)``, arrays in [0, 1] over falling thresholds; a pair is accepted at score ≥ threshold.

    Raises:
        ValueError: genuine or impostor pairs are missing, lengths differ, a score is NaN, or a label is not known.

    Example:
        >>> fmr, fnmr, thresholds = error_rates([0.9, 0.1], [True, False])
        >>> fmr, fnmr
        (array([0., 0., 1.]), array([1., 0., 0.]))
    """
    from sklearn.metrics import roc_curve

    scores, labels = _checked(scores, labels)
    if labels.all() or not labels.any():
        raise ValueError(f"error rates need genuine and impostor pairs; all {len(labels)} given pairs are of one kind")
    fmr, tar, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    return fmr, 1 - tar, thresholds


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve, in [0, 1]: the share of (genuine, impostor) couples in the right order.

    Raises what :func:`error_rates` raises.

    Example:
        >>> auc([0.9, 0.4, 0.5, 0.1], [True, True, False, False])
        0.75
    """
    fmr, fnmr, _ = error_rates(scores, labels)
    return float(np.trapezoid(1 - fnmr, fmr))


def equal_error_rate(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Error rate and threshold where the false match rate and the false non-match rate are nearest.

    Returns:
        ``(eer, threshold)``: the mean of the two rates there, and the middle between the last score accepted and the
        next.

    Raises what :func:`error_rates` raises.

    Example:
        >>> equal_error_rate([0.75, 0.25], [True, False])
        (0.0, 0.5)
    """
    fmr, fnmr, thresholds = error_rates(scores, labels)
    i = int(np.argmin(np.abs(fmr - fnmr)))
    return float(fmr[i] + fnmr[i]) / 2, _middle_below(thresholds, i)


def tar_at_far(scores: ArrayLike, labels: ArrayLike, far: float) -> tuple[float, float]:
    """Share of genuine pairs accepted at the lowest threshold whose false match rate is at most ``far``.

    Args:
        scores, labels: as for :func:`error_rates`.
        far: in [0, 1]; fewer than 1/far impostor pairs cannot show it, and a rate of 0 is then what is met.

    Returns:
        ``(tar, threshold)``

    Raises:
        ValueError: ``far`` outside [0, 1], and what :func:`error_rates` raises.
    """
    if not 0 <= far <= 1:
        raise ValueError(f"far is {far}; it must lie in [0, 1]")
    fmr, fnmr, thresholds = error_rates(scores, labels)
    i = int(np.flatnonzero(fmr <= far)[-1])
    return float(1 - fnmr[i]), _middle_below(thresholds, i)


def _middle_below(thresholds: np.ndarray, i: int) -> float:
    """Middle between threshold i and the next lower one: the same decisions, and no score lies on it."""
    above = min(thresholds[i], 1.0)
    return float((above + thresholds[i + 1]) / 2) if i + 1 < len(thresholds) else float(above)


def accuracy(scores: ArrayLike, labels: ArrayLike, threshold: float) -> float:
    """Share of :func:`right_decisions`, in [0, 1]."""
    return float(right_decisions(scores, labels, threshold).mean())


def best_threshold(scores: ArrayLike, labels: ArrayLike) -> float:
    """The threshold of the highest accuracy; of several equally good, the middle one.

    Raises what :func:`error_rates` raises.
    """
    fmr, fnmr, thresholds = error_rates(scores, labels)
    share = np.mean(labels)
    wrong = fmr * (1 - share) + fnmr * share
    best = np.flatnonzero(np.isclose(wrong, wrong.min()))
    return _middle_below(thresholds, int(best[len(best) // 2]))


def cross_validated_accuracy(
    scores: ArrayLike, labels: ArrayLike, folds: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of every fold at the best threshold of the *other* folds (the LFW protocol).

    Args:
        scores, labels: as for :func:`error_rates`.
        folds: ``(P,)``, the fold of each pair.

    Returns:
        ``(accuracies, thresholds)``, one a fold, in the order of the sorted fold numbers.

    Raises:
        ValueError: fewer than two folds, another length, and what :func:`error_rates` raises for the other folds.
    """
    scores, labels = _checked(scores, labels)
    numbers, fold = np.unique(np.asarray(folds), return_inverse=True)
    if len(fold) != len(labels) or len(numbers) < 2:
        raise ValueError(f"{len(fold)} folds, {len(numbers)} of them different, for {len(labels)} pairs; cross-validation needs one for each, and at least two folds")
    found = []
    for i in range(len(numbers)):
        threshold = best_threshold(scores[fold != i], labels[fold != i])
        found.append((accuracy(scores[fold == i], labels[fold == i], threshold), threshold))
    accuracies, thresholds = np.array(found).T
    return accuracies, thresholds


def calibrate(model: FaceModel, pairs: PairSet) -> tuple[float, float]:
    """Set the model's threshold to that of the equal error rate on ``pairs``, and note where it comes from.

    Returns:
        ``(eer, threshold)``

    Raises:
        TypeError: ``pairs`` is no PairSet.
        ValueError: it holds no genuine or no impostor pairs.

    Example:
        >>> calibrate(model, load_pairs("orl"))  # doctest: +SKIP
    """
    eer, threshold = equal_error_rate(scores(model, pairs), pairs.labels)
    model.threshold = round(threshold, 4)
    model.threshold_source = f"equal error rate on {pairs.name} ({len(pairs):,} pairs)"
    return eer, model.threshold


def mean_interval(values: ArrayLike, *, draws: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over pairs with its 95 % bootstrap interval: pairs are drawn again, with replacement.

    Args:
        values: ``(P, …)``, one row a pair, P ≥ 2.
        draws, seed: of the bootstrap.

    Returns:
        ``(mean, low, high)``, each of shape ``(…)``.

    Raises:
        ValueError: fewer than two pairs, NaN, draws below 1, or a seed that is no whole number of at least 0.

    Example:
        >>> mean_interval(np.array([0.0, 1.0, 1.0, 0.0]))[0]
        np.float64(0.5)
    """
    from scipy.stats import bootstrap

    check_count("draws", draws)
    check_count("seed", seed, 0)
    values = np.atleast_1d(np.asarray(values, float))
    if len(values) < 2 or np.isnan(values).any():
        given = f"{len(values)} pairs, {int(np.isnan(values).sum())} of their values NaN"
        raise ValueError(f"{given}; an interval needs two pairs or more, without NaN")
    found = bootstrap((values,), np.mean, axis=0, n_resamples=draws, batch=50, method="percentile", rng=seed)
    return values.mean(axis=0), found.confidence_interval.low, found.confidence_interval.high
