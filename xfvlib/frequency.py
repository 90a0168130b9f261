"""Explanations in the frequency domain (Huber, Damer, WACV 2025, arXiv 2407.11941): an image as a sum of bands of
spatial frequency, what the cosine loses without one, and bands that go or come one after the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from xfvlib import evaluation, gradients, methods, perturb
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import Pair, PairSet

BAND_ORDERS = ("influence", "reverse", "low first", "high first", "random")

# --- bands: where they lie, an image with or without them, their energy ---


def band_numbers(size: Sequence, *, width: float = 1, edges: ArrayLike | None = None, shape: str = "ring") -> Tensor:
    """Number of the band that each frequency belongs to.

    Args:
        size: (H, W) of the image in pixels.
        width: of a band, in cycles per image side, from 1 to half the image. Band 0 is DC alone, the others are the
            rings floor(r / width) around it.
        edges: in place of ``width``, increasing radii > 0 in cycles between bands 1, 2, …
        shape: "ring", r = Euclidean distance from DC, or "square", the larger of both distances.

    Returns:
        int64 ``(H, W)`` in the order of ``torch.fft.fft2``; the corners beyond the largest whole ring belong to the
        last band.

    Raises:
        ValueError: a width outside its range, edges that do not increase, an unknown shape, a size of less than 2 × 2.

    Example:
        >>> band_numbers((150, 150)).max() + 1
        tensor(76)
    """
    perturb.check_known("shape", shape, ("ring", "square"))
    if not isinstance(size, (tuple, list)) or [isinstance(n, Integral) and int(n) > 1 for n in size] != [True, True]:
        raise ValueError(f"size is {size!r}; (height, width) in pixels, whole numbers of at least 2, is needed")
    limit = min(size) / 2
    if edges is None and not (isinstance(width, Real) and 1 <= width <= limit):
        raise ValueError(f"width is {width!r}; a band is 1 cycle wide or more, and at most {limit:g}, half the image")
    cuts = np.asarray(width * np.arange(1, limit // width + 1) if edges is None else edges)
    cuts = cuts.astype(np.float32) if cuts.dtype.kind in "iuf" else np.empty(0)
    if cuts.ndim != 1 or not len(cuts) or not (np.diff(cuts, prepend=0) > 0).all() or cuts[-1] > limit:
        raise ValueError(f"edges are {edges!r:.80}; they must increase, from above 0 to at most {limit:g} cycles")
    y, x = (torch.fft.fftfreq(n, 1 / n).abs() for n in size)
    r = torch.hypot(y[:, None], x[None]) if shape == "ring" else torch.maximum(y[:, None], x[None])
    ring = torch.bucketize(r, torch.from_numpy(cuts), right=True)
    return torch.where(r > 0, ring - ring[r > 0].min() + 1, 0)


def spectrum(image: Tensor) -> Tensor:
    """2-D DFT of each colour of an image ``(3, H, W)``: complex, of the same shape.

    Raises a TypeError for what is no float tensor, and a ValueError for another shape and for pixels that are not
    finite, as all functions here do.
    """
    return torch.fft.fft2(perturb.checked_image(image))


def _as_mask(name, mask, image):
    """A mask on the CPU; ValueError unless it is a tensor ``(…, H, W)`` of bool or of numbers in [0, 1] that fits."""
    size, given = tuple(image.shape[-2:]), f"a {type(mask).__name__} {tuple(getattr(mask, 'shape', ()))}"
    fits = isinstance(mask, Tensor) and mask.shape[-2:] == size and not mask.is_complex()
    if not fits or not ((mask > -0.001) & (mask < 1.001)).all():  # soft masks may be rounded beyond
        raise ValueError(f"{name}, {given}, does not fit an image of {size}: (…, H, W) with values in [0, 1] is needed")
    return mask.cpu()


def keep_frequencies(image: Tensor, chosen: Tensor) -> Tensor:
    """An image ``(3, H, W)`` seen through masks of its frequencies.

    Args:
        image: ``(3, H, W)``.
        chosen: ``(…, H, W)``, bool or in [0, 1], in the order of ``torch.fft.fft2``.

    Returns:
        float32 ``(…, 3, H, W)`` on the CPU, not clipped.

    Raises:
        ValueError: a mask that does not fit, and as for :func:`spectrum`.

    Example:
        >>> image = torch.rand(3, 8, 8)
        >>> torch.allclose(keep_frequencies(image, torch.ones(8, 8)), image, atol=1e-6)
        True
    """
    transformed = spectrum(image)
    return torch.fft.ifft2(transformed * _as_mask("the mask", chosen, transformed)[..., None, :, :]).real


def band_masks(image: Tensor, **bands: Any) -> Tensor:
    """Where each band lies in the spectrum of an image ``(3, H, W)``: bool ``(B, H, W)``.

    Options and errors as for :func:`band_numbers`.
    """
    numbers = band_numbers(perturb.checked_image(image).shape[-2:], **bands)
    return numbers == torch.arange(int(numbers.max()) + 1)[:, None, None]


def split_bands(image: Tensor, **bands: Any) -> Tensor:
    """All bands of an image ``(3, H, W)``: ``(B, 3, H, W)``, band 0 its mean; they add up to the image.

    Options and errors as for :func:`band_numbers`.
    """
    return keep_frequencies(image, band_masks(image, **bands))


def mask_bands(image: Tensor, removed: ArrayLike, **bands: Any) -> Tensor:
    """An image ``(3, H, W)`` without some of its bands, not clipped.

    Args:
        image: ``(3, H, W)``.
        removed: the numbers of the bands, one or a list.
        bands: as for :func:`band_numbers`.

    Raises:
        ValueError: there is no such band; see also :func:`band_numbers`.

    Example:
        >>> bool(mask_bands(torch.rand(3, 8, 8), [0]).mean().abs() < 1e-6)  # without DC
        True
    """
    masks, found = band_masks(image, **bands), np.atleast_1d(np.asarray(removed))
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu") or not np.isin(found, range(len(masks))).all():
        raise ValueError(f"removed is {removed!r:.80}; whole numbers of bands, 0 to {len(masks) - 1}, are needed")
    return keep_frequencies(image, ~masks[found.astype(int)].any(dim=0))


def band_energy(image: Tensor, **bands: Any) -> Tensor:
    """Share of each band in an image's spectral energy: ``(B,)``, adding up to 1; all 0 for a black image.

    Options and errors as for :func:`band_numbers`.
    """
    power = _power(image)
    return torch.bincount(band_numbers(power.shape, **bands).flatten(), power.flatten())


def _power(image):
    """Share of each frequency in the image's spectral energy: ``(H, W)``."""
    power = spectrum(image).abs().square().sum(dim=0)
    return power / power.sum().clamp(min=1e-30)


def energy_matched_masks(image: Tensor, energy: Tensor, generator: torch.Generator) -> Tensor:
    """Masks that take out frequencies drawn at random, wherever they lie, until given shares of the energy are gone.

    Args:
        image: ``(3, H, W)``.
        energy: ``(B,)``, shares of the image's spectral energy.
        generator: a torch.Generator. One order of the frequencies is drawn for all B masks.

    Returns:
        float ``(B, H, W)`` in [0, 1], symmetric; the last frequency drawn is only weakened, so that the energy is met
        exactly. DC is never taken, so a share above what the other frequencies hold takes all of those.
    """
    power = _power(image).double()
    place = torch.arange(power.numel()).view(power.shape)
    couple = torch.minimum(place, place.flip(0, 1).roll((1, 1), (0, 1))).flatten()  # a frequency and its mirror
    order = 1 + torch.randperm(power.numel() - 1, generator=generator)
    taken = torch.bincount(couple, power.flatten(), minlength=power.numel())[order]
    left = ((taken.cumsum(dim=0) - energy.double()[:, None]) / taken.clamp(min=1e-30)).clamp(0, 1)
    masks = torch.ones(len(energy), power.numel(), dtype=torch.float64).index_copy(1, order, left.sqrt())
    return masks[:, couple].view(-1, *power.shape).float()


# --- influence: what the cosine loses with a band ---


def prepare_bands(
    model: FaceModel, image: Tensor, *, width: float = 1.0, edges: Any = None, shape: str = "ring", batch: int = 32
) -> methods.Prepared:
    """First stage: what follows from one image alone, whoever its partner.

    Args:
        model: a FaceModel.
        image: ``(3, H, W)`` in the model's size.
        width, edges, shape: of the bands, as for :func:`band_numbers`.
        batch: images in a forward pass.

    Returns:
        On the CPU: ``"embedding"`` ``(N,)`` of the image, ``"without"`` ``(B, N)``, those of the image without each of
        its bands, all unit-length, and ``"energy"`` ``(B,)``, the bands' shares of the image's energy.

    Raises:
        ValueError: see :func:`band_numbers`; an image that does not fit the model.
    """
    bands = {"width": width, "edges": edges, "shape": shape}
    without = masked_embeddings(model, image, ~band_masks(image, **bands), batch)
    return methods.embedding_of(model, image) | {"without": without, "energy": band_energy(image, **bands)}


def lost_by_band(prepared: methods.Prepared, partner: methods.Prepared) -> Tensor:
    """Second stage: what the cosine loses with each band, d_B = cs_ref − cs_B, ``(B,)``.

    Args:
        prepared: of the image, from :func:`prepare_bands`.
        partner: holds the partner's ``"embedding"``.
    """
    return (prepared["embedding"] - prepared["without"]) @ partner["embedding"]


BAND_INFLUENCE = methods.Method(prepare=prepare_bands, finish=lost_by_band)


def masked_embeddings(model: FaceModel, image: Tensor, masks: Tensor, batch: int = 32) -> Tensor:
    """Unit-length embeddings ``(M, N)`` of an image ``(3, H, W)`` seen through masks ``(M, H, W)`` of its frequencies.

    Raises a ValueError for masks that do not fit the image, and an image that does not fit the model.
    """
    return perturb.embed_versions(model, lambda some: keep_frequencies(image, masks[some]), len(masks), batch=batch)


@dataclass(frozen=True, eq=False)
class FrequencyInfluence:
    """What the cosine loses with each band.

    Attributes:
        pair: that was explained.
        score: cosine of the untouched pair, cs_ref.
        numbers: ``(H, W)``, the band of each frequency.
        a, b: directed, ``(B,)``: d_B = cs_ref − cs_B with band B taken out of image a, or b; > 0: the band helped the
            match.
        energy_a, energy_b: ``(B,)``, the band's share in the image's spectral energy.
        control_a, control_b: ``(draws, B)``, the same loss when random frequencies of the band's energy go; None where
            no control was asked for; NaN for DC, whose energy the other frequencies do not hold.
    """

    pair: Pair
    score: float
    numbers: Tensor
    a: Tensor
    b: Tensor
    energy_a: Tensor
    energy_b: Tensor
    control_a: Tensor | None = None
    control_b: Tensor | None = None


def frequency_influence(
    model: FaceModel, pair: Pair, *, masked: str = "one", control: int = 0, seed: int = 0, batch: int = 32, **bands: Any
) -> FrequencyInfluence:
    """Take each band out of each image of a pair and see what the cosine loses. Needs no gradients.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        masked: "one" image at a time against its untouched partner, or "both" in the same band.
        control: draws of random frequencies of the same energy in place of each band; 20 or more show their spread.
        seed: of the control.
        batch: images in a forward pass.
        bands: as for :func:`band_numbers`.

    Returns:
        :class:`FrequencyInfluence`; with masked="both", ``a`` and ``b`` are equal.

    Raises:
        ValueError: see :func:`band_numbers`; an unknown ``masked``; control, seed or batch that is no whole number.

    Source: the paper's h_B = |cs_ref − cs_B|, here with its sign.

    Example:
        >>> model = FaceModel(torch.nn.Flatten(), size=8)
        >>> pair = Pair(*torch.rand(2, 3, 8, 8))
        >>> f = frequency_influence(model, pair, width=2, control=20)
        >>> f.a.shape, f.control_a.shape
        (torch.Size([4]), torch.Size([20, 4]))
    """
    perturb.check_known("masked", masked, ("one", "both"))
    perturb.check_count("control", control, 0)
    perturb.check_count("seed", seed, 0)
    a, b = (prepare_bands(model, image, batch=batch, **bands) for image in (pair.a, pair.b))
    score = a["embedding"] @ b["embedding"]

    def lost(a, b):
        both = score - (a["without"] * b["without"]).sum(dim=1)
        return torch.stack([both, both] if masked == "both" else [lost_by_band(a, b), lost_by_band(b, a)])

    def drawn(image, prepared, number):
        masks = energy_matched_masks(image, prepared["energy"], torch.Generator().manual_seed(number))
        return prepared | {"without": masked_embeddings(model, image, masks, batch)}

    draws = [lost(drawn(pair.a, a, number), drawn(pair.b, b, number)) for number in range(seed, seed + control)]
    controls = torch.stack(draws, dim=1).index_fill(2, torch.tensor([0]), float("nan")) if draws else (None, None)
    found = [band_numbers(pair.a.shape[-2:], **bands), *lost(a, b), a["energy"], b["energy"], *controls]
    return FrequencyInfluence(pair, float(score), *found)


def gradient_influence(
    model: FaceModel, pair: Pair, *, groups: int = 16, steps: int = 1, batch: int = 16, **bands: Any
) -> FrequencyInfluence:
    """An estimate of :func:`frequency_influence` from gradients: bands are faded, in groups of neighbours, not taken
    out one by one.

    d_B is the integral of the gradient's Fourier transform times the image's over the frequencies of B, along the path
    that fades B out. Neighbouring bands share the path that fades their group, so it costs ``groups × steps`` gradients
    for any number of bands.

    Args:
        model: a differentiable FaceModel.
        pair: a Pair in the model's size.
        groups: paths, over groups of bands that widen with frequency. With one group a band the integral is exact as
            ``steps`` grow, and costs more than taking the bands out; with one group in all the path fades the whole
            image.
        steps: midpoints of a path.
        batch: images in a backward pass.
        bands: as for :func:`band_numbers`.

    Returns:
        :class:`FrequencyInfluence` with estimates as ``a`` and ``b``; DC, which is not faded, is NaN.

    Raises:
        ValueError: ``groups``, ``steps`` or ``batch`` is no whole number of at least 1; see also :func:`band_numbers`.
        TypeError: the model is not differentiable.
    """
    for name, value in {"groups": groups, "steps": steps, "batch": batch}.items():
        perturb.check_count(name, value)
    gradients.check_differentiable(model)
    numbers = band_numbers(pair.a.shape[-2:], **bands)
    count = int(numbers.max()) + 1
    edges = np.geomspace(1, count, groups + 1).round() if groups < count - 1 else np.arange(1, count + 1)
    group = torch.from_numpy(np.digitize(numbers, np.unique(edges))) - 1  # DC: −1
    group_masks = group == torch.arange(int(group.max()) + 1)[:, None, None]

    def estimate(image, partner):
        cosine, parts = gradients.cosine_to(model, partner), keep_frequencies(image, group_masks)
        points = torch.cat([image - (i + 0.5) / steps * parts for i in range(steps)])
        found = torch.cat([gradients.input_gradients(cosine, some).cpu() for some in points.split(int(batch))])
        mean_gradient = found.view(steps, len(parts), *image.shape).mean(dim=0)
        # gradient times image summed over a band's pixels is the same over its frequencies: Parseval's theorem
        shares = (torch.fft.fft2(mean_gradient).conj() * torch.fft.fft2(image)).real.sum(dim=1) / numbers.numel()
        of_its_group = shares.gather(0, group.clamp(min=0)[None])[0]
        return torch.bincount(numbers.flatten(), of_its_group.flatten()).index_fill(0, torch.tensor(0), float("nan"))

    a, b = (methods.embedding_of(model, image)["embedding"] for image in (pair.a, pair.b))
    found = [estimate(pair.a, pair.b), estimate(pair.b, pair.a), *(band_energy(x, **bands) for x in (pair.a, pair.b))]
    return FrequencyInfluence(pair, float(a @ b), numbers, *found)


def local_influence(
    model: FaceModel, image: Tensor, reference: Tensor, regions: Mapping[str, Tensor], *, batch: int = 32, **bands: Any
) -> Tensor:
    """Take each band out of one region of the image at a time and see what the cosine loses: where × which frequency.

    Args:
        model: a FaceModel.
        image, reference: ``(3, H, W)``; the reference stays untouched.
        regions: ``{name: (H, W)}``, weights in [0, 1], such as :func:`xfvlib.alignment.face_regions`.
        batch, bands: as for :func:`frequency_influence`.

    Returns:
        ``(R, B)``, directed, in the order of ``regions``.

    Raises:
        ValueError: see :func:`band_numbers`; no regions, or one that does not fit the image.
    """
    if not isinstance(regions, Mapping) or not regions:
        raise ValueError(f"regions is {regions!r:.80}; {{name: weights (H, W)}} is needed, as from face_regions(model)")
    image, parts = perturb.checked_image(image), keep_frequencies(image, band_masks(image, **bands))
    whole, partner = (methods.embedding_of(model, x)["embedding"] for x in (image, reference))
    masks = [_as_mask(f"region {name!r}", x, image).float() for name, x in regions.items()]
    without = [perturb.embed_versions(model, (image - x * parts).__getitem__, len(parts), batch=batch) for x in masks]
    return (whole - torch.stack(without)) @ partner


def influence_table(model: FaceModel, pairs: PairSet, *, batch: int = 32, **bands: Any) -> pd.DataFrame:
    """Directed influence of every band on every pair, one image masked: a table with one row a pair, side and band.

    Each image is prepared once for all its pairs, so many pairs over few images cost little.

    Args:
        model: a FaceModel with a threshold.
        pairs: a PairSet.
        batch, bands: as for :func:`frequency_influence`.

    Returns:
        pandas table with columns ``pair`` (row number in ``pairs``), ``outcome`` ("true accept", "false reject", "false
        accept" or "true reject"), ``score``, ``side`` ("probe" | "reference": the masked image), ``band``,
        ``influence`` (d_B) and ``energy`` (the band's share).

    Raises:
        ValueError: no PairSet, or an empty one; the model has no threshold; see also :func:`band_numbers`.
    """
    evaluation.check_set(pairs)
    threshold, blocks = decision_threshold(model), []
    prepared = {name: prepare_bands(model, pairs.image(name), batch=batch, **bands) for name in pairs.names}
    for number, row in enumerate(pairs.table.itertuples()):
        a, b = prepared[row.name_a], prepared[row.name_b]
        accepted = (score := float(a["embedding"] @ b["embedding"])) >= threshold
        outcome = f"{str(accepted == row.same).lower()} {'accept' if accepted else 'reject'}"
        known = {"pair": number, "outcome": outcome, "score": score}
        for side, own, partner in (("probe", a, b), ("reference", b, a)):
            found = {"influence": lost_by_band(own, partner).numpy(), "energy": own["energy"].numpy()}
            blocks.append(pd.DataFrame(known | {"side": side, "band": range(len(own["energy"]))} | found))
    return pd.concat(blocks, ignore_index=True).astype({"side": "category", "outcome": "category", "band": "int16"})


def average_influence(table: pd.DataFrame) -> pd.DataFrame:
    """Mean influence of every band with its 95 % bootstrap interval over pairs, by outcome.

    Args:
        table: as from :func:`influence_table`; both sides of a pair are averaged.

    Returns:
        pandas table with columns ``outcome, band, mean, low, high, energy, pairs``; outcomes of fewer than two pairs
        are left out.

    Raises:
        ValueError: no outcome has two pairs, a pair is in the table twice, or NaN.
    """
    rows = []
    for outcome, some in table.groupby("outcome", observed=True):
        wide = some.groupby(["pair", "band"]).influence.mean().unstack()
        if len(wide) >= 2:
            found = {"outcome": outcome, "band": wide.columns}
            found |= zip(("mean", "low", "high"), evaluation.mean_interval(wide, draws=1000))
            rows.append(pd.DataFrame(found).assign(energy=some.groupby("band").energy.mean().array, pairs=len(wide)))
    if not rows or table.duplicated(["pair", "side", "band"]).any():
        raise ValueError(f"{table.pair.nunique()} pairs; two pairs or more of an outcome are needed, and no rows twice")
    return pd.concat(rows, ignore_index=True)


# --- deletion and insertion: bands that go or come one after the other ---


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
