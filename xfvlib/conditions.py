"""What is done to photographs: taken resolution, and morphs of two people; and how far morphs get."""

from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import interpolate, ndimage, spatial
from torch import Tensor, nn

from xfvlib.alignment import TEMPLATE, find_68_landmarks
from xfvlib.pairs import Pair
from xfvlib.perturb import check_known, check_least, checked_image


def reduced(image: Tensor, factor: float) -> Tensor:
    """An image ``(3, H, W)`` as a smaller one enlarged again: 1/factor of its size and back, antialiased, bicubic.

    Returns float32 ``(3, H, W)`` in [0, 1]. Raises a ValueError for a factor below 1, or one that leaves less than four
    pixels, and for images that are not finite.

    Example:
        >>> reduced(torch.rand(3, 32, 32), 4).shape
        torch.Size([3, 32, 32])
    """
    image = checked_image(image)[None]
    check_least("factor", factor, 1)
    size = [round(n / factor) for n in image.shape[-2:]]
    if min(size) < 4:
        raise ValueError(f"factor is {factor}; it must leave 4 pixels or more of {tuple(image.shape[-2:])}")
    small = nn.functional.interpolate(image, size=size, mode="bicubic", antialias=True)
    return nn.functional.interpolate(small, size=image.shape[-2:], mode="bicubic")[0].clamp(0, 1)


def native_scale(landmarks: ArrayLike, size: int = 112) -> np.ndarray:
    """Pixels of the photograph for each pixel of its crop, along a side: below 1 the crop was enlarged.

    A crop of 112 pixels whose scale is 0.5 holds nothing beyond 28 of its 56 cycles, so reducing it to 1/2 takes
    nothing away.

    Args:
        landmarks: ``(…, 10)``, of the alignment "arcface", x1, y1, … y5 in pixels of the photograph, or longer rows
            that begin so, as those of :func:`xfvlib.pairs.crops.kept_landmarks`.
        size: height of the crop in pixels.

    Returns:
        float ``(…)``, the scale of the similarity that carries the crop's landmarks nearest to the photograph's.

    Raises:
        ValueError: another shape, or landmarks that are not finite.

    Example:
        >>> float(native_scale(2 * TEMPLATE.ravel()))
        2.0
    """
    rows = np.asarray(landmarks, float)[..., :10]
    if rows.shape[-1:] != (10,) or not np.isfinite(rows).all():
        raise ValueError(f"landmarks are {np.shape(landmarks)}, or not finite; rows (…, 10) are needed")
    crop = TEMPLATE * size / 112 @ [1, 1j]  # a similarity is one complex factor, and a shift
    crop, photo = crop - crop.mean(), rows[..., ::2] + 1j * rows[..., 1::2]
    return np.abs(photo @ crop.conj()) / np.sum(np.abs(crop) ** 2)


def morph(image_a: Tensor, image_b: Tensor, share: float = 0.5) -> Tensor:
    """Landmark morph of two aligned faces: both are warped to the shape between them, triangle by triangle, and
    blended.

    Args:
        image_a, image_b: crops ``(3, H, W)`` of one size, RGB in [0, 1].
        share: of ``image_b`` in shape and colour, in [0, 1]; 0 gives ``image_a``, 1 ``image_b``.

    Returns:
        float32 ``(3, H, W)``.

    Raises:
        ValueError: no landmarks are found in an image, two sizes, or a share outside [0, 1].

    Source: the 68 landmarks and the border, Delaunay triangles, affine warps: the usual recipe of morphing attacks.
    """
    if not (isinstance(share, Real) and 0 <= share <= 1):
        raise ValueError(f"share is {share}; it must lie in [0, 1]")
    pair = Pair(image_a, image_b)  # which says what is wrong with them
    h, w = pair.a.shape[-2:]
    x, y = np.meshgrid(np.linspace(0, w - 1, 5), np.linspace(0, h - 1, 5))
    border = np.stack([x, y], axis=-1)[(x % (w - 1) == 0) | (y % (h - 1) == 0)]
    points_a, points_b = (np.concatenate([face_landmarks(image), border]) for image in (pair.a, pair.b))
    triangles = spatial.Delaunay((1 - share) * points_a + share * points_b)

    def warped(image, points):
        x, y = np.moveaxis(interpolate.LinearNDInterpolator(triangles, points)(*np.indices((h, w))[::-1]), -1, 0)
        return np.stack([ndimage.map_coordinates(colour, (y, x), order=1, mode="nearest") for colour in image.numpy()])

    mixed = (1 - share) * warped(pair.a, points_a) + share * warped(pair.b, points_b)
    return torch.from_numpy(mixed).float().clamp(0, 1)


def face_landmarks(image: Tensor) -> np.ndarray:
    """The 68 landmarks of a crop ``(3, H, W)``, RGB in [0, 1], held inside it: ``(68, 2)``, x and y in pixels.

    Raises a ValueError when no face is found, and what :class:`xfvlib.Pair` raises for an image.
    """
    image = Pair(image, image).a
    return find_68_landmarks(image.permute(1, 2, 0).numpy()).clip(1, np.array(image.shape[:0:-1]) - 2)


def mmpmr(scores: ArrayLike, threshold: float, photographs: str = "minmax") -> np.ndarray:
    """Does each morph pass as all its contributors? The mean is the mated morph presentation match rate, MMPMR.

    Args:
        scores: ``(M, N, I)``, cosine of each morph with I other photographs of each of its N contributors.
        threshold: of the recogniser: a cosine at or above it is accepted.
        photographs: "minmax", a contributor passes with the best of the photographs; "all", with each of them;
            "prodavg", the shares of photographs that each contributor passes with are multiplied.

    Returns:
        float ``(M,)`` in [0, 1], for :func:`xfvlib.evaluation.mean_interval`; higher is the stronger attack.

    Raises:
        ValueError: another shape, NaN, or an unknown rule.

    Source: Scherhag et al., Biometric systems under morphing attacks, BIOSIG 2017: MinMax-MMPMR and ProdAvg-MMPMR, here
    with ≥ as everywhere in this library; "all" is the strictest reading.

    Example:
        >>> scores = [[[0.9, 0.9], [0.9, 0.1]]]  # with the second photograph of the second person it is rejected
        >>> [mmpmr(scores, 0.5, rule).item() for rule in ("minmax", "all", "prodavg")]
        [1.0, 0.0, 0.5]
    """
    rules: dict[str, Any] = {"minmax": np.max, "all": np.min, "prodavg": np.mean}
    check_known("photographs", photographs, rules)
    scores = np.asarray(scores, float)
    if scores.ndim != 3 or not scores.size or np.isnan(scores).any():
        raise ValueError(f"scores are {scores.shape}, or NaN; (morphs, contributors, photographs) is needed")
    return rules[photographs](scores >= threshold, axis=2).prod(axis=1).astype(float)


def apcer(values: ArrayLike, threshold: float, kinds: ArrayLike | None = None) -> float:
    """Attack presentation classification error rate: the share of attacks taken for bona fide, of the worst kind.

    Args:
        values: ``(P,)`` of attacks, from a detector; at or above the threshold it calls them an attack.
        threshold: of the detector.
        kinds: ``(P,)``, of attack; the rate is that of the kind that gets through most often. None: all are one kind.

    Returns:
        In [0, 1]; lower is better.

    Raises:
        ValueError: no values, NaN, or kinds of another length.

    Source: ISO/IEC 30107-3, where a kind is a species of attack instruments.

    Example:
        >>> apcer([0.9, 0.2, 0.8, 0.7], 0.5, ["lookalike", "lookalike", "random", "random"])
        0.5
    """
    missed = 1 - _called_attacks(values, threshold)
    kinds = np.zeros(len(missed)) if kinds is None else np.asarray(kinds)
    if kinds.shape != missed.shape:
        raise ValueError(f"kinds are {kinds.shape} for {len(missed)} values; one each is needed")
    return float(max(missed[kinds == kind].mean() for kind in np.unique(kinds)))


def bpcer(values: ArrayLike, threshold: float) -> float:
    """Bona fide presentation classification error rate: the share of bona fide presentations taken for attacks.

    Arguments, range and errors as for :func:`apcer`, with values ``(P,)`` of bona fide presentations.

    Source: ISO/IEC 30107-3.

    Example:
        >>> bpcer([0.1, 0.2, 0.3, 0.9], 0.5)
        0.25
    """
    return float(_called_attacks(values, threshold).mean())


def _called_attacks(values, threshold):
    """1 where a detector's value reaches the threshold, else 0; ValueError for no values, and NaN."""
    values = np.asarray(values, float)
    if values.ndim != 1 or not values.size or np.isnan(values).any():
        raise ValueError(f"values are {values.shape}, or NaN; (P,), at least one, is needed")
    return (values >= threshold).astype(float)


def detector_scores(features: ArrayLike, attack: ArrayLike, people: ArrayLike) -> np.ndarray:
    """Scores of attacks by a logistic regression that has seen none of the people in the row it scores.

    Args:
        features: ``(P, F)``, such as the cosine and the influence of each band.
        attack: bool ``(P,)``.
        people: ``(P,)`` or ``(P, 2)``, names of the people in each row.

    Returns:
        float ``(P,)``, the higher the likelier an attack; 0 is even odds at the share of attacks seen.

    Raises:
        ValueError: other lengths, NaN, or a row whose people leave only attacks, or only bona fide, to learn from.

    Example:
        >>> features, people = [[0.1], [0.9], [0.2], [0.8]], ["ann", "bob", "cat", "eve"]
        >>> (detector_scores(features, [False, True, False, True], people) > 0).tolist()
        [False, True, False, True]
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, attack, people = np.asarray(features, float), np.asarray(attack, bool), np.asarray(people).astype(str)
    if features.ndim != 2 or not len(features) == len(attack) == len(people) or np.isnan(features).any():
        given = f"features {features.shape}, attack {attack.shape}, people {people.shape}"
        raise ValueError(f"{given}, or NaN; (P, F), (P,) and (P,) or (P, 2) are needed")
    people = np.sort(people.reshape(len(people), -1), axis=1)
    groups, group = np.unique(people, axis=0, return_inverse=True)
    found = np.empty(len(features))
    for number, shown in enumerate(groups):
        others, rows = ~np.isin(people, shown).any(axis=1), group.ravel() == number
        if len({*attack[others].tolist()}) < 2:
            raise ValueError(f"rows without {', '.join(shown)} are all of one kind; attacks and bona fide are needed")
        detector = make_pipeline(StandardScaler(), LogisticRegression()).fit(features[others], attack[others])
        found[rows] = detector.decision_function(features[rows])
    return found
