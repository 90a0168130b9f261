"""How well a recogniser verifies: scores, error rates, thresholds, and intervals over pairs."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike

from xfvlib.models.facemodel import FaceModel
from xfvlib.pairs import PairSet
from xfvlib.perturb import check_options, embed_versions

# scikit-learn and scipy.stats are imported where they are used: they take two seconds, for which every worker of a
# sweep would wait


def embed_images(model: FaceModel, pairs: PairSet, batch: int = 32) -> dict[str, torch.Tensor]:
    """Unit-length embedding of every image that the pairs use, each computed once: ``{name: (N,)}``, on the CPU.

    Raises a ValueError for an empty PairSet, and for a list of pairs, which does not say which images are the same.
    """
    check_set(pairs)
    names = pairs.names
    rows = embed_versions(model, lambda some: torch.stack([*map(pairs.image, names[some])]), len(names), batch=batch)
    return dict(zip(names, rows))


def check_set(pairs: PairSet) -> None:
    """Raise a ValueError unless ``pairs`` is a PairSet of one pair or more."""
    if not isinstance(pairs, PairSet) or not len(pairs):
        raise ValueError(f"pairs is {pairs!r:.80}; a PairSet with a pair or more is needed, as from xfv.load_pairs")


def scores(model: FaceModel, pairs: PairSet, batch: int = 32) -> np.ndarray:
    """Cosine similarity of every pair: float64 ``(P,)`` in [−1, 1], in the order of ``pairs``.

    Raises what :func:`embed_images` raises.
    """
    known = embed_images(model, pairs, batch)
    stacked = torch.stack(list(known.values())).double().numpy()
    rows = np.searchsorted(list(known), pairs.table[["name_a", "name_b"]].to_numpy(str))
    parts = np.array_split(rows, -(-len(rows) // 65_536))  # the embeddings of a million pairs would take gigabytes
    return np.concatenate([np.einsum("pn,pn->p", *stacked[part.T]) for part in parts])


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
    (scores, labels), threshold = _checked(scores, labels), _numbers("threshold", threshold)
    if threshold.shape not in ((), labels.shape) or not (np.abs(threshold) <= 1).all():
        raise ValueError(f"threshold is {threshold}; a cosine similarity in [−1, 1] is needed, or one for each pair")
    return ((threshold <= scores.T) == labels).T


def _checked(scores, labels):
    """Scores ``(P, …)`` as floats and labels ``(P,)`` as bool; ValueError where they are none, or of other lengths."""
    scores, labels = _numbers("scores", scores), np.asarray(labels)
    if not scores.size or labels.shape != scores.shape[:1] or np.isnan(scores).any():
        given = f"scores {scores.shape}, {np.isnan(scores).sum()} NaN, labels {labels.shape}"
        raise ValueError(f"{given}; one length, at least 1, is needed")
    if not {*labels.tolist()} <= {True, False}:
        raise ValueError(f"labels are { ({*labels.tolist()}) }; True (genuine) and False (impostor) are needed")
    return scores, labels.astype(bool)


def _numbers(name, values):
    """``values`` as an array of floats; ValueError where they are anything but real numbers."""
    found = np.asarray(values)
    found = np.asarray(found.tolist()) if found.dtype == object else found
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{name} is {values!r:.80}; real numbers are needed")
    return found.astype(float)


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
    if scores.ndim > 1 or labels.all() or not labels.any():
        raise ValueError(f"scores {scores.shape}, {labels.sum()} genuine pairs; one a pair, of both kinds, are needed")
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
    i = np.argmin(np.abs(fmr - fnmr))
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
    if not 0 <= _numbers("far", far) <= 1:
        raise ValueError(f"far is {far}; it must lie in [0, 1]")
    fmr, fnmr, thresholds = error_rates(scores, labels)
    i = np.flatnonzero(fmr <= far)[-1]
    return float(1 - fnmr[i]), _middle_below(thresholds, i)


def _middle_below(thresholds, i):
    """Middle between threshold i and the next lower one: the same decisions, and no score lies on it."""
    return float(np.mean([min(thresholds[i], 1.0), *thresholds[i + 1 : i + 2]]))


def accuracy(scores: ArrayLike, labels: ArrayLike, threshold: float) -> float:
    """Share of :func:`right_decisions`, in [0, 1]."""
    return float(right_decisions(scores, labels, threshold).mean())


def best_threshold(scores: ArrayLike, labels: ArrayLike) -> float:
    """The threshold of the highest accuracy; of several equally good, the middle one.

    Raises what :func:`error_rates` raises.
    """
    fmr, fnmr, thresholds = error_rates(scores, labels)
    share = np.mean(np.asarray(labels))
    wrong = fmr * (1 - share) + fnmr * share
    best = np.flatnonzero(np.isclose(wrong, wrong.min()))
    return _middle_below(thresholds, best[len(best) // 2])


def cross_validated_accuracy(scores: ArrayLike, labels: ArrayLike, folds: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
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
    here = [np.asarray(folds) == fold for fold in np.unique(folds)]
    if len(here) < 2 or here[0].shape != labels.shape:
        raise ValueError(f"folds {np.shape(folds)} name {len(here)} folds; two folds at least, one a pair, are needed")
    thresholds = [best_threshold(scores[~some], labels[~some]) for some in here]
    accuracies = [accuracy(scores[some], labels[some], threshold) for some, threshold in zip(here, thresholds)]
    return np.array(accuracies), np.array(thresholds)


def calibrate(model: FaceModel, pairs: PairSet) -> tuple[float, float]:
    """Set the model's threshold to that of the equal error rate on ``pairs``, and note where it comes from.

    Returns:
        ``(eer, threshold)``

    Raises a ValueError for what is no PairSet, and for one without genuine or without impostor pairs.

    Example:
        >>> calibrate(model, load_pairs("orl"))  # doctest: +SKIP
    """
    eer, threshold = equal_error_rate(scores(model, pairs), pairs.labels)
    model.threshold = round(threshold, 4)
    model.threshold_source = f"equal error rate on {pairs.name} ({len(pairs):,} pairs)"
    return eer, model.threshold


def weights_by_person(people: ArrayLike, *, draws: int = 2000, seed: int = 0) -> np.ndarray:
    """How often each pair counts when people are drawn again, with replacement.

    A pair of two people counts as often as the product of both says. Pairs that share a person so rise and fall
    together. Where few do, intervals from these weights are rather too wide: up to √3 times where no two pairs share
    anybody.

    Args:
        people: ``(P,)`` or ``(P, 2)``, the names of the people in each pair; a name twice in a row counts once.
        draws, seed: of the bootstrap.

    Returns:
        float ``(draws, P)``, with a positive sum in each row.

    Raises:
        ValueError: another shape, fewer than two people, draws below 1, or a seed that is no whole number of at least
            0.

    Source: Owen, The pigeonhole bootstrap, Annals of Applied Statistics 2007.

    Example:
        >>> weights_by_person([("ann", "bob"), ("ann", "eve"), ("cat", "cat")], draws=5).shape
        (5, 3)
    """
    check_options(weights_by_person, locals())
    return np.concatenate([*_drawn_weights(people, draws, seed)])


def _drawn_weights(people, draws, seed):
    """The rows of :func:`weights_by_person`, a few at a time: of all pairs of a data set the whole does not fit."""
    given = np.asarray(people)
    if given.ndim not in (1, 2) or not given.size or given.dtype.kind not in "OUSiu":
        raise ValueError(f"people is {people!r:.80}; names (P,) or (P, 2), of those in each pair, are needed")
    names, codes = np.unique(given.astype(str), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"all pairs show {names[0]!r}; an interval over people needs two or more")
    codes = codes.reshape(len(given), -1)
    if draws * len(codes) > 4e6:  # 32 MB
        return _draw(codes, draws, seed)
    return [_drawn_once(codes.tobytes(), codes.dtype.str, codes.shape, draws, seed)]


@lru_cache(maxsize=4)
def _drawn_once(codes, kind, shape, draws, seed):
    """The weights of few pairs: a table asks for them again with every method."""
    return np.concatenate([*_draw(np.frombuffer(codes, kind).reshape(shape), draws, seed)])


def _draw(codes, draws, seed):
    persons, rng, left = codes.max() + 1, np.random.default_rng(seed), draws
    while left:
        counts = rng.multinomial(persons, np.full(persons, 1 / persons), min(left, 50))
        weights = counts[:, codes[:, 0]].astype(float)
        for one, column in enumerate(codes.T[1:], 1):
            weights *= np.where((codes[:, :one] == column[:, None]).any(axis=1), 1, counts[:, column])
        weights = weights[weights.sum(axis=1) > 0]
        left -= len(weights)
        yield weights


def mean_interval(
    values: ArrayLike, people: ArrayLike | None = None, *, draws: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over pairs with its 95 % bootstrap interval: people are drawn again, or pairs where no people are given.

    Args:
        values: ``(P, …)``, one row a pair, P ≥ 2.
        people: of each pair, as for :func:`weights_by_person`.
        draws, seed: of the bootstrap.

    Returns:
        ``(mean, low, high)``, each of shape ``(…)``.

    Raises:
        ValueError: fewer than two pairs, NaN, and as :func:`weights_by_person`.

    Example:
        >>> mean, low, high = mean_interval([0, 1, 1, 0])
        >>> bool(low < mean < high)
        True
    """
    values = np.atleast_1d(_numbers("values", values))
    if (missing := np.isnan(values).sum()) or len(values) < 2:
        raise ValueError(f"{len(values)} pairs, {missing} values NaN: an interval needs two pairs or more, without NaN")
    if len(people := np.arange(len(values)) if people is None else np.asarray(people)) != len(values):
        raise ValueError(f"{len(values)} values and people of {len(people)} pairs; one length is needed")
    check_options(weights_by_person, {"draws": draws, "seed": seed})
    parts = _drawn_weights(people, draws, seed)
    means = np.concatenate([some @ values.reshape(len(values), -1) / some.sum(axis=1, keepdims=True) for some in parts])
    low, high = np.quantile(means, (0.025, 0.975), axis=0).reshape(2, *values.shape[1:])
    return values.mean(axis=0), low[()], high[()]


def auc_by_person(
    values: ArrayLike, labels: ArrayLike, people: ArrayLike, *, draws: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve of each column: how well a band, a cut-off or a detector tells genuine from impostor.

    Args:
        values: ``(P, C)``, one row a pair; higher speaks for label True.
        labels: bool ``(P,)``, both kinds must occur.
        people: of each pair, as for :func:`weights_by_person`.
        draws, seed: of the bootstrap over people; all columns see the same draws.

    Returns:
        ``(auc, drawn)``: ``(C,)`` in [0, 1], of which ties count a half, and ``(draws, C)``, the same over people drawn
        again; NaN where a draw lost all pairs of a kind. ``np.nanquantile(drawn, (0.025, 0.975), axis=0)`` are the
        95 % intervals, and those of ``drawn[:, 1] - drawn[:, 0]`` the interval of a difference.

    Raises:
        ValueError: values that are not ``(P, C)``, NaN, one kind of pair only, other lengths; see also
            :func:`weights_by_person`.

    Example:
        >>> values, people = [[0.9], [0.4], [0.5], [0.1]], ["ann", "bob", "cat", "eve"]
        >>> auc, drawn = auc_by_person(values, [True, True, False, False], people, draws=5)
        >>> auc, drawn.shape
        (array([0.75]), (5, 1))
    """
    values, labels, people = np.asarray(values, float), np.asarray(labels), np.asarray(people)
    if values.ndim != 2 or values.shape[:1] != labels.shape or len(people) != len(labels) or np.isnan(values).any():
        given = f"values {values.shape}, {np.isnan(values).sum()} NaN, labels {labels.shape}, people of {len(people)}"
        raise ValueError(f"{given}; (P, C) without NaN, and P of the others, are needed")
    if {*labels.tolist()} != {True, False}:
        raise ValueError(f"labels are { ({*labels.tolist()}) }; True and False, both, are needed")
    same = labels.astype(bool)
    weights = weights_by_person(people, draws=draws, seed=seed)
    weights = np.concatenate([np.ones((1, len(same))), weights]).astype(np.float32)
    found = []
    for column in values.T:
        # share of the impostor pairs that each genuine pair lies above, weighted, for all draws at once
        above = np.sign(column[same, None] - column[~same]) / 2 + 0.5
        found.append(((weights[:, same] @ above.astype(np.float32)) * weights[:, ~same]).sum(axis=1))
    couples = weights[:, same].sum(axis=1, dtype=float) * weights[:, ~same].sum(axis=1, dtype=float)
    areas = np.stack(found, axis=1) / np.where(couples > 0, couples, np.nan)[:, None]
    return areas[0], areas[1:]
