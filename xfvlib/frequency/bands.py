"""Bands of spatial frequency: where they lie, an image with or without them, their energy."""

import torch

from xfvlib.perturb import check_known, check_real


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
    check_known("shape", shape, ("ring", "square"))
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
    check_real(image)
    return torch.fft.fft2(image)


def keep_frequencies(image, chosen):
    """An image ``(3, H, W)`` seen through a mask of its frequencies, ``(…, H, W)``, bool or in [0, 1]: ``(…, 3, H, W)``, not clipped."""
    if chosen.shape[-2:] != image.shape[-2:]:
        raise ValueError(f"a mask of {tuple(chosen.shape[-2:])} frequencies does not fit an image of {tuple(image.shape[-2:])}")
    return torch.fft.ifft2(spectrum(image) * chosen[..., None, :, :]).real


def split_bands(image, **bands):
    """All bands of an image ``(3, H, W)``: ``(B, 3, H, W)``, band 0 its mean; they add up to the image. Options: :func:`band_numbers`."""
    return keep_frequencies(image, band_masks(image, **bands))


def band_masks(image, **bands):
    """Where each band lies in the spectrum of an image ``(3, H, W)``: bool ``(B, H, W)``. Options: :func:`band_numbers`."""
    numbers = band_numbers(image.shape[-2:], **bands)
    return numbers == torch.arange(int(numbers.max()) + 1)[:, None, None]


def mask_bands(image, removed, **bands):
    """The image ``(3, H, W)`` without the bands in the list ``removed``; not clipped. Options: :func:`band_numbers`."""
    numbers = band_numbers(image.shape[-2:], **bands)
    return keep_frequencies(image, ~torch.isin(numbers, torch.as_tensor(removed)))


def band_energy(image, **bands):
    """Share of each band in the image's spectral energy: ``(B,)``, adding up to 1. Options: :func:`band_numbers`."""
    numbers = band_numbers(image.shape[-2:], **bands)
    energy = spectrum(image).abs().square().sum(dim=0)
    return torch.bincount(numbers.flatten(), energy.flatten()) / energy.sum()


def energy_matched_masks(image, energy, generator):
    """Masks that take out frequencies drawn at random, wherever they lie, until given shares of the energy are gone.

    Args:
        image: ``(3, H, W)``.
        energy: ``(B,)``, shares of the image's spectral energy.
        generator: a torch.Generator. One order of the frequencies is drawn for all B masks.

    Returns:
        float ``(B, H, W)`` in [0, 1], symmetric; the last frequency drawn is only weakened, so that the energy is met exactly. DC
        is never taken, so a share above what the other frequencies hold takes all of those.
    """
    power = spectrum(image).abs().square().sum(dim=0).double()
    place = torch.arange(power.numel()).view(power.shape)
    couple = torch.minimum(place, place.flip(0, 1).roll((1, 1), (0, 1))).flatten()  # a frequency and its mirror go together
    of_couple = torch.bincount(couple, (power / power.sum()).flatten(), minlength=power.numel())
    order = 1 + torch.randperm(power.numel() - 1, generator=generator)
    gone = of_couple[order].cumsum(dim=0)
    left = ((gone - energy.double()[:, None]) / of_couple[order].clamp(min=1e-30)).clamp(0, 1)
    masks = torch.ones(len(energy), power.numel(), dtype=torch.float64)
    masks[:, order] = left.sqrt()
    return masks[:, couple].view(-1, *power.shape).float()
