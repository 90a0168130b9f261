"""What the cosine loses with a band of frequencies (Huber, Damer, WACV 2025, arXiv 2407.11941)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from xfvlib.evaluation import decision_threshold, embed_images, mean_interval
from xfvlib.frequency.bands import band_energy, band_masks, band_numbers, energy_matched_masks, keep_frequencies, spectrum, split_bands
from xfvlib.gradients import check_differentiable, cosine_to, input_gradients
from xfvlib.pairs import Pair
from xfvlib.perturb import check_known, embed_versions


def band_embeddings(model, image, *, batch=32, **bands):
    """Unit-length embeddings of an image ``(3, H, W)`` without each of its bands: ``(B, N)``. One image's serve every partner.

    Options: ``batch`` images in a forward pass, and those of :func:`band_numbers`.
    """
    return masked_embeddings(model, image, ~band_masks(image, **bands), batch)


def masked_embeddings(model, image, masks, batch=32):
    """Unit-length embeddings ``(M, N)`` of an image ``(3, H, W)`` seen through masks ``(M, H, W)`` of its frequencies."""
    return embed_versions(model, lambda some: keep_frequencies(image, masks[some]), len(masks), batch=batch)


@dataclass(frozen=True, eq=False)
class FrequencyInfluence:
    """What the cosine loses with each band.

    Attributes:
        pair: that was explained.
        score: cosine of the untouched pair, cs_ref.
        numbers: ``(H, W)``, the band of each frequency.
        a, b: directed, ``(B,)``: d_B = cs_ref − cs_B with band B taken out of image a, or b; > 0: the band helped the match.
        energy_a, energy_b: ``(B,)``, the band's share in the image's spectral energy.
        control_a, control_b: ``(draws, B)``, the same loss when random frequencies of the band's energy go; None where no
            control was asked for; NaN for DC, whose energy the other frequencies do not hold.
    """

    pair: Pair
    score: float
    numbers: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    energy_a: torch.Tensor
    energy_b: torch.Tensor
    control_a: torch.Tensor | None = None
    control_b: torch.Tensor | None = None


def frequency_influence(model, pair, *, masked="one", control=0, seed=0, batch=32, **bands):
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
        ValueError: see :func:`band_numbers`; an unknown ``masked``; complex or not finite images.

    Source: the paper's h_B = |cs_ref − cs_B|, here with its sign.

    Example:
        >>> f = frequency_influence(model, pairs[0], width=5, control=20)  # doctest: +SKIP
        >>> f.a.shape, f.control_a.shape  # doctest: +SKIP
        (torch.Size([17]), torch.Size([20, 17]))
    """
    check_known("masked", masked, ("one", "both"))
    numbers = band_numbers(pair.a.shape[-2:], **bands)
    energy_a, energy_b = band_energy(pair.a, **bands), band_energy(pair.b, **bands)
    with torch.no_grad():
        a, b = model.embed(torch.stack([pair.a, pair.b])).cpu()
    score = a @ b

    def lost(masked_a, masked_b):
        if masked == "both":
            return [score - (masked_a * masked_b).sum(dim=1)] * 2
        return score - masked_a @ b, score - masked_b @ a

    lost_a, lost_b = lost(*(band_embeddings(model, image, batch=batch, **bands) for image in (pair.a, pair.b)))
    draws = []
    for number in range(control):
        sides = (
            (image, energy, torch.Generator().manual_seed(seed + number)) for image, energy in ((pair.a, energy_a), (pair.b, energy_b))
        )
        draws.append(torch.stack(lost(*(masked_embeddings(model, side[0], energy_matched_masks(*side), batch) for side in sides))))
    control_a = control_b = None
    if draws:
        control_a, control_b = torch.stack(draws, dim=1).index_fill(2, torch.tensor([0]), float("nan"))
    return FrequencyInfluence(pair, float(score), numbers, lost_a, lost_b, energy_a, energy_b, control_a, control_b)


def gradient_influence(model, pair, *, groups=16, steps=1, batch=16, **bands):
    """An estimate of :func:`frequency_influence` from gradients: bands are faded, in groups of neighbours, not taken out one by one.

    d_B is the integral of the gradient's Fourier transform times the image's over the frequencies of B, along the path that fades B
    out. Neighbouring bands share the path that fades their group, so it costs ``groups × steps`` gradients for any number of bands.

    Args:
        model: a differentiable FaceModel.
        pair: a Pair in the model's size.
        groups: paths, over groups of bands that widen with frequency. With one group a band the integral is exact as ``steps`` grow,
            and costs more than taking the bands out; with one group in all the path fades the whole image.
        steps: midpoints of a path.
        batch: images in a backward pass.
        bands: as for :func:`band_numbers`.

    Returns:
        :class:`FrequencyInfluence` with estimates as ``a`` and ``b``; DC, which is not faded, is NaN.

    Raises:
        ValueError: ``groups`` or ``steps`` < 1, and as :func:`frequency_influence`.
        TypeError: the model is not differentiable.
    """
    if groups < 1 or steps < 1:
        raise ValueError(f"groups={groups}, steps={steps}; both must be 1 or more")
    check_differentiable(model)
    numbers = band_numbers(pair.a.shape[-2:], **bands)
    count = int(numbers.max()) + 1
    edges = np.unique(np.geomspace(1, count, groups + 1).round().astype(int)) if groups < count - 1 else np.arange(1, count + 1)
    group_of = torch.bucketize(torch.arange(count), torch.from_numpy(edges), right=True) - 1  # DC: −1
    group_masks = torch.stack([group_of[numbers] == g for g in range(len(edges) - 1)])

    def estimate(image, partner):
        cosine, transformed, found = cosine_to(model, partner), spectrum(image), torch.full((count,), float("nan"))
        parts = keep_frequencies(image, group_masks)
        points = torch.cat([image - (i + 0.5) / steps * parts for i in range(steps)])
        gradients = torch.cat([input_gradients(cosine, some).cpu() for some in points.split(batch)])
        mean_gradient = gradients.view(steps, len(parts), *image.shape).mean(dim=0)
        # gradient times image summed over a band's pixels is the same over its frequencies: Parseval's theorem
        shares = (torch.fft.fft2(mean_gradient).conj() * transformed).real.sum(dim=1) / numbers.numel()
        for g, share in enumerate(shares):
            inside = group_of == g
            found[inside] = torch.bincount(numbers.flatten(), share.flatten(), minlength=count)[inside]
        return found

    with torch.no_grad():
        a, b = model.embed(torch.stack([pair.a, pair.b])).cpu()
    energies = band_energy(pair.a, **bands), band_energy(pair.b, **bands)
    return FrequencyInfluence(pair, float(a @ b), numbers, estimate(pair.a, pair.b), estimate(pair.b, pair.a), *energies)


def local_influence(model, image, reference, regions, *, batch=32, **bands):
    """Take each band out of one region of the image at a time and see what the cosine loses: where × which frequency.

    Args:
        model: a FaceModel.
        image, reference: ``(3, H, W)``; the reference stays untouched.
        regions: ``{name: (H, W)}``, weights in [0, 1], such as :func:`xfvlib.alignment.face_regions`.
        batch, bands: as for :func:`frequency_influence`.

    Returns:
        ``(R, B)``, directed, in the order of ``regions``.

    Raises:
        ValueError: see :func:`band_numbers`; a region of another size than the image.
    """
    for name, weights in regions.items():
        if weights.shape != image.shape[-2:]:
            raise ValueError(f"region {name!r} of {tuple(weights.shape)} does not fit an image of {tuple(image.shape[-2:])}")
    with torch.no_grad():
        whole, partner = model.embed(torch.stack([image, reference])).cpu()
    parts, rows = split_bands(image, **bands), []
    for weights in regions.values():
        without = embed_versions(model, lambda some, weights=weights: image - weights * parts[some], len(parts), batch=batch)
        rows.append(whole @ partner - without @ partner)
    return torch.stack(rows)


OUTCOMES = {(True, True): "true accept", (True, False): "false reject", (False, True): "false accept", (False, False): "true reject"}


def influence_table(model, pairs, *, batch=32, **bands):
    """Directed influence of every band on every pair, one image masked: a table with one row a pair, side and band.

    An image's masked embeddings serve all its pairs, so many pairs over few images cost little.

    Args:
        model: a FaceModel with a threshold.
        pairs: a PairSet.
        batch, bands: as for :func:`frequency_influence`.

    Returns:
        pandas table with columns ``pair`` (row number in ``pairs``), ``side`` ("probe" | "reference": the masked image), ``outcome``
        (one of ``OUTCOMES``), ``score``, ``band``, ``influence`` (d_B) and ``energy`` (the band's share).
    """
    threshold = decision_threshold(model)
    whole = embed_images(model, pairs, batch)
    without, energy = {}, {}
    for name in pairs.names:
        without[name] = band_embeddings(model, pairs.image(name), batch=batch, **bands)
        energy[name] = band_energy(pairs.image(name), **bands)
    blocks = []
    for number, row in enumerate(pairs.table.itertuples()):
        score = float(whole[row.name_a] @ whole[row.name_b])
        for side, image, partner in (("probe", row.name_a, row.name_b), ("reference", row.name_b, row.name_a)):
            blocks.append(pd.DataFrame({
                "pair": number, "side": side, "outcome": OUTCOMES[bool(row.same), score >= threshold], "score": score,
                "band": range(len(energy[image])), "influence": score - (without[image] @ whole[partner]).numpy(),
                "energy": energy[image].numpy(),
            }))  # fmt: skip
    return pd.concat(blocks, ignore_index=True).astype({"side": "category", "outcome": "category", "band": "int16", "influence": "float32"})


def average_influence(table):
    """Mean influence of every band with its 95 % bootstrap interval over pairs, by outcome.

    Args:
        table: as from :func:`influence_table`; both sides of a pair are averaged.

    Returns:
        pandas table with columns ``outcome, band, mean, low, high, energy, pairs``; outcomes of fewer than two pairs are left out.
    """
    rows = []
    for outcome, some in table.groupby("outcome", observed=True):
        wide = some.groupby(["pair", "band"]).influence.mean().unstack()
        if len(wide) >= 2:
            mean, low, high = mean_interval(wide, draws=1000)
            energy = some.groupby("band").energy.mean()
            columns = {"band": wide.columns, "mean": mean, "low": low, "high": high, "energy": energy, "pairs": len(wide)}
            rows.append(pd.DataFrame({"outcome": outcome} | columns))
    return pd.concat(rows, ignore_index=True)
