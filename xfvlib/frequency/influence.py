"""What the cosine loses without a band (Huber, Damer, WACV 2025, arXiv 2407.11941)."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xfvlib import evaluation, gradients, methods, perturb
from xfvlib.frequency import bands as fq
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import Pair, PairSet

Sides = Literal["one", "both"]  # of a pair
Control = Literal["energy", "scrambled", "swapped"]


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
    without = masked_embeddings(model, image, ~fq.band_masks(image, **bands), batch)
    return methods.embedding_of(model, image) | {"without": without, "energy": fq.band_energy(image, **bands)}


def lost_by_band(prepared: methods.Prepared, partner: methods.Prepared) -> Tensor:
    """Second stage: what the cosine loses with each band, d_B = cs_ref − cs_B, ``(B,)``.

    Args:
        prepared: of the image, from :func:`prepare_bands`.
        partner: holds the partner's ``"embedding"``.
    """
    return (prepared["embedding"] - prepared["without"]) @ partner["embedding"]


def masked_embeddings(model: FaceModel, image: Tensor, masks: Tensor, batch: int = 32) -> Tensor:
    """Unit-length embeddings ``(M, N)`` of an image ``(3, H, W)`` seen through masks ``(M, H, W)`` of its frequencies.

    Raises a ValueError for masks that do not fit the image, and an image that does not fit the model.
    """
    return perturb.embed_versions(model, lambda some: fq.keep_frequencies(image, masks[some]), len(masks), batch=batch)


def control_embeddings(
    model: FaceModel, image: Tensor, kind: Control, source: Any, *, batch: int = 32, **bands: Any
) -> Tensor:
    """What stands beside "taken out", one band at a time: as much energy goes elsewhere, or the band keeps its energy
    and loses its content.

    Args:
        model: a FaceModel.
        image: ``(3, H, W)`` in the model's size.
        kind: "energy", the band stays and random frequencies outside of it go, which hold as much; "scrambled", the
            band's phases are drawn at random; "swapped", they are taken from another photograph.
        source: a torch.Generator for the draw; for "swapped" the other photograph, ``(3, H, W)``.
        batch: images in a forward pass.
        bands: as for :func:`band_numbers`.

    Returns:
        Unit-length ``(B, N)`` on the CPU, which :func:`lost_by_band` takes as ``"without"``. NaN for DC, which has no
        phase, and for "energy" where no match exists: a band that holds more than half of the energy beyond DC.

    Raises:
        ValueError: an unknown kind, images that do not fit; see also :func:`band_numbers`.
        TypeError: a source of another type.

    Example:
        >>> model, image = FaceModel(torch.nn.Flatten(), size=8), torch.rand(3, 8, 8)
        >>> control_embeddings(model, image, "scrambled", torch.Generator().manual_seed(0), width=2).shape
        torch.Size([4, 192])
    """
    perturb.check_options(control_embeddings, locals())
    masks, energy = fq.band_masks(image, **bands), fq.band_energy(image, **bands)
    needed: Any = Tensor if kind == "swapped" else torch.Generator
    if not isinstance(source, needed):
        raise TypeError(f"source is a {type(source).__name__}; a photograph for 'swapped', else a torch.Generator")
    if kind == "energy":
        drawn = fq.energy_matched_masks(image, energy, source, spared=masks)
        found = masked_embeddings(model, image, drawn, batch)
        none = energy > 1 - energy[0] - energy
    else:
        change = fq.scramble_phases if kind == "scrambled" else fq.swap_phases
        found = perturb.embed_versions(model, change(image, masks, source).__getitem__, len(masks), batch=batch)
        none = torch.zeros(len(masks), dtype=torch.bool)
    return found.masked_fill((none | (torch.arange(len(masks)) == 0))[:, None], float("nan"))


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
        control_a, control_b: ``(draws, B)``, the same loss with a control in place of "taken out", see
            :func:`control_embeddings`; None where none was asked for; NaN for DC, and where no match of energy exists.
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
    model: FaceModel,
    pair: Pair,
    *,
    masked: Sides = "one",
    control: int = 0,
    control_kind: Control = "energy",
    others: Tensor | None = None,
    seed: int = 0,
    batch: int = 32,
    **bands: Any,
) -> FrequencyInfluence:
    """Take each band out of each image of a pair and see what the cosine loses. Needs no gradients.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        masked: "one" image at a time against its untouched partner, or "both" in the same band.
        control: draws of the control; 20 or more show their spread.
        control_kind: what is done in place of taking a band out: "energy", "scrambled" or "swapped", as for
            :func:`control_embeddings`.
        others: ``(control, 3, H, W)``, for "swapped" the photographs, one a draw, whose phases each image gets.
        seed: of the control.
        batch: images in a forward pass.
        bands: as for :func:`band_numbers`.

    Returns:
        :class:`FrequencyInfluence`; with masked="both", ``a`` and ``b`` are equal.

    Raises:
        ValueError: see :func:`band_numbers`; an unknown ``masked`` or ``control_kind``; control, seed or batch that is
            no whole number; not one photograph a draw for "swapped".

    Source: the paper's h_B = |cs_ref − cs_B|, here with its sign; the controls are ours.

    Example:
        >>> model = FaceModel(torch.nn.Flatten(), size=8)
        >>> pair = Pair(*torch.rand(2, 3, 8, 8))
        >>> f = frequency_influence(model, pair, width=2, control=20)
        >>> f.a.shape, f.control_a.shape
        (torch.Size([4]), torch.Size([20, 4]))
    """
    perturb.check_options(frequency_influence, locals())
    if (0 if others is None else len(others)) != (control if control_kind == "swapped" else 0):
        given = "none" if others is None else f"{len(others)}"
        raise ValueError(
            f"others are {given}, control is {control}; 'swapped' needs a photograph a draw, the rest none"
        )
    a, b = (prepare_bands(model, image, batch=batch, **bands) for image in (pair.a, pair.b))
    score = a["embedding"] @ b["embedding"]

    def lost(a, b):
        both = score - (a["without"] * b["without"]).sum(dim=1)
        return torch.stack([both, both] if masked == "both" else [lost_by_band(a, b), lost_by_band(b, a)])

    def drawn(number):
        source = torch.Generator().manual_seed(int(seed) + number) if others is None else others[number]
        rows = (control_embeddings(model, x, control_kind, source, batch=batch, **bands) for x in (pair.a, pair.b))
        return lost(*(prepared | {"without": some} for prepared, some in zip((a, b), rows)))

    controls = torch.stack([drawn(number) for number in range(control)], dim=1) if control else (None, None)
    found = [fq.band_numbers(pair.a.shape[-2:], **bands), *lost(a, b), a["energy"], b["energy"], *controls]
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
    perturb.check_options(gradient_influence, locals())
    gradients.check_differentiable(model)
    numbers = fq.band_numbers(pair.a.shape[-2:], **bands)
    count = int(numbers.max()) + 1
    edges = np.geomspace(1, count, groups + 1).round() if groups < count - 1 else np.arange(1, count + 1)
    group = torch.from_numpy(np.digitize(numbers, np.unique(edges))) - 1  # DC: −1
    group_masks = group == torch.arange(int(group.max()) + 1)[:, None, None]

    def estimate(image, partner):
        cosine, parts = gradients.cosine_to(model, partner), fq.keep_frequencies(image, group_masks)
        points = torch.cat([image - (i + 0.5) / steps * parts for i in range(steps)])
        found = torch.cat([gradients.input_gradients(cosine, some).cpu() for some in points.split(int(batch))])
        mean_gradient = found.view(steps, len(parts), *image.shape).mean(dim=0)
        # gradient times image summed over a band's pixels is the same over its frequencies: Parseval's theorem
        shares = (torch.fft.fft2(mean_gradient).conj() * torch.fft.fft2(image)).real.sum(dim=1) / numbers.numel()
        of_its_group = shares.gather(0, group.clamp(min=0)[None])[0]
        return torch.bincount(numbers.flatten(), of_its_group.flatten()).index_fill(0, torch.tensor(0), float("nan"))

    a, b = (methods.embedding_of(model, image)["embedding"] for image in (pair.a, pair.b))
    energies = (fq.band_energy(image, **bands) for image in (pair.a, pair.b))
    found = estimate(pair.a, pair.b), estimate(pair.b, pair.a), *energies
    return FrequencyInfluence(pair, float(a @ b), numbers, *found)


def influence_table(model: FaceModel, pairs: PairSet, *, batch: int = 32, **bands: Any) -> pd.DataFrame:
    """Directed influence of every band on every pair, one image masked: a table with one row a pair, side and band.

    Each image is prepared once for all its pairs, so many pairs over few images cost little.

    Args:
        model: a FaceModel with a threshold.
        pairs: a PairSet.
        batch, bands: as for :func:`frequency_influence`.

    Returns:
        pandas table with columns ``pair`` (row number in ``pairs``), ``name_a, name_b``, ``outcome`` ("true accept",
        "false reject", "false accept" or "true reject"), ``score``, ``side`` ("probe" | "reference": the masked image),
        ``band``, ``influence`` (d_B) and ``energy`` (the band's share).

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
        known = {"pair": number, "name_a": row.name_a, "name_b": row.name_b, "outcome": outcome, "score": score}
        for side, own, partner in (("probe", a, b), ("reference", b, a)):
            found = {"influence": lost_by_band(own, partner).numpy(), "energy": own["energy"].numpy()}
            blocks.append(pd.DataFrame(known | {"side": side, "band": range(len(own["energy"]))} | found))
    kinds = dict.fromkeys(("name_a", "name_b", "outcome", "side"), "category") | {"band": "int16"}
    return pd.concat(blocks, ignore_index=True).astype(kinds)
