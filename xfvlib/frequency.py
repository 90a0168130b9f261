"""Bands of spatial frequency: take one out of a face and see what the cosine loses (Huber, Damer, WACV 2025, arXiv 2407.11941)."""

from dataclasses import dataclass

import torch

from xfvlib.pairs import Pair


def band_numbers(size, *, width=1.0, edges=None, shape="ring"):
    """Number of the band that each frequency belongs to.

    Args:
        size: (H, W) of the image in pixels.
        width: of a band, in cycles per image side. Band 0 is DC alone, the others are the rings floor(r / width) around it.
        edges: in place of ``width``, increasing radii > 0 in cycles between bands 1, 2, …
        shape: "ring", r = Euclidean distance from DC, or "square", the larger of both distances.

    Returns:
        int64 ``(H, W)`` in the order of ``torch.fft.fft2``; the corners beyond the largest whole ring belong to the last band.

    Raises:
        ValueError: width ≤ 0 or wider than the spectrum, edges that do not increase, an unknown shape.

    Example:
        >>> band_numbers((150, 150)).max() + 1
        tensor(76)
    """
    limit = min(size) / 2
    y, x = (torch.fft.fftfreq(n, 1 / n).abs() for n in size)
    if shape not in ("ring", "square"):
        raise ValueError(f"shape is {shape!r}; it must be 'ring' or 'square'")
    r = torch.hypot(y[:, None], x[None]) if shape == "ring" else torch.maximum(y[:, None], x[None])
    if edges is not None:
        edges = torch.as_tensor(edges, dtype=torch.float32)
        if edges.dim() != 1 or len(edges) == 0 or bool((edges <= 0).any()) or bool((edges.diff() <= 0).any()) or edges[-1] > limit:
            raise ValueError(f"edges are {edges.tolist()}; they must increase, from above 0 to at most {limit:g} cycles")
        ring = torch.bucketize(r, edges, right=True)
    else:
        if not 0 < width <= limit:
            raise ValueError(f"width is {width}; a band is wider than 0 and at most {limit:g} cycles, half the image")
        ring = (r / width).floor().clamp(max=limit // width)
    ring = ring.long()
    outside = r > 0
    return torch.where(outside, ring - ring[outside].min() + 1, 0)


def spectrum(image):
    """2-D DFT of each colour of an image ``(3, H, W)``, complex; ValueError for complex or not finite images."""
    if image.is_complex() or not bool(torch.isfinite(image).all()):
        raise ValueError("the image is complex or holds NaN or infinite values; real, finite pixels are needed")
    return torch.fft.fft2(image)


def keep(image, chosen):
    """The part of an image ``(3, H, W)`` in the frequencies where ``chosen``, bool ``(…, H, W)``, is True: ``(…, 3, H, W)``, not clipped."""
    if chosen.shape[-2:] != image.shape[-2:]:
        raise ValueError(f"a mask of {tuple(chosen.shape[-2:])} frequencies does not fit an image of {tuple(image.shape[-2:])}")
    return torch.fft.ifft2(spectrum(image) * chosen[..., None, :, :]).real


def split_bands(image, **bands):
    """All bands of an image ``(3, H, W)``: ``(B, 3, H, W)``, band 0 its mean; they add up to the image. Options: :func:`band_numbers`."""
    numbers = band_numbers(image.shape[-2:], **bands)
    return torch.stack([keep(image, numbers == k) for k in range(int(numbers.max()) + 1)])


def mask_bands(image, removed, **bands):
    """The image ``(3, H, W)`` without the bands in the list ``removed``; not clipped. Options: :func:`band_numbers`."""
    numbers = band_numbers(image.shape[-2:], **bands)
    return keep(image, ~torch.isin(numbers, torch.as_tensor(removed)))


def band_energy(image, **bands):
    """Share of each band in the image's spectral energy: ``(B,)``, adding up to 1. Options: :func:`band_numbers`."""
    numbers = band_numbers(image.shape[-2:], **bands)
    energy = spectrum(image).abs().square().sum(dim=0)
    return torch.bincount(numbers.flatten(), energy.flatten()) / energy.sum()


@dataclass(frozen=True, eq=False)
class FrequencyInfluence:
    """What the cosine loses with each band.

    Attributes:
        pair: that was explained.
        score: cosine of the untouched pair, cs_ref.
        numbers: ``(H, W)``, the band of each frequency.
        a, b: directed, ``(B,)``: d_B = cs_ref − cs_B with band B taken out of image a, or b; > 0: the band helped the match.
        energy_a, energy_b: ``(B,)``, the band's share in the image's spectral energy.
    """

    pair: Pair
    score: float
    numbers: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    energy_a: torch.Tensor
    energy_b: torch.Tensor


def frequency_influence(model, pair, *, masked="one", batch=32, **bands):
    """Take each band out of each image of a pair and see what the cosine loses. Needs no gradients.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        masked: "one" image at a time against its untouched partner, or "both" in the same band.
        batch: images in a forward pass.
        bands: as for :func:`band_numbers`.

    Returns:
        :class:`FrequencyInfluence`; with masked="both", ``a`` and ``b`` are equal.

    Raises:
        ValueError: see :func:`band_numbers`; an unknown ``masked``.

    Source: the paper's h_B = |cs_ref − cs_B|, here with its sign.
    """
    if masked not in ("one", "both"):
        raise ValueError(f"masked is {masked!r}; it must be 'one' or 'both'")
    numbers = band_numbers(pair.a.shape[-2:], **bands)
    without = torch.stack([numbers != k for k in range(int(numbers.max()) + 1)])

    def embedded(image):
        with torch.no_grad():
            return torch.cat([model.embed(keep(image, some)).cpu() for some in without.split(batch)])

    with torch.no_grad():
        a, b = model.embed(torch.stack([pair.a, pair.b])).cpu()
    score, masked_a, masked_b = a @ b, embedded(pair.a), embedded(pair.b)
    if masked == "both":
        lost_a = lost_b = score - (masked_a * masked_b).sum(dim=1)
    else:
        lost_a, lost_b = score - masked_a @ b, score - masked_b @ a
    return FrequencyInfluence(pair, float(score), numbers, lost_a, lost_b, band_energy(pair.a, **bands), band_energy(pair.b, **bands))
