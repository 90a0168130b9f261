"""An image as a sum of bands of spatial frequency: where they lie, with or without some, their energy and phases."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from xfvlib import perturb

CUTOFFS = ("low-pass", "high-pass")


def distance_from_dc(size: Sequence, shape: str = "ring") -> Tensor:
    """Distance r of each frequency from DC in cycles per image side: float ``(H, W)`` in the order of
    ``torch.fft.fft2``.

    Args:
        size: (H, W) of the image in pixels.
        shape: "ring", the Euclidean distance, or "square", the larger of the distances down and across.

    Raises:
        ValueError: an unknown shape, a size of less than 2 × 2.

    Example:
        >>> distance_from_dc((112, 112))[3, 4]
        tensor(5.)
    """
    perturb.check_known("shape", shape, ("ring", "square"))
    if not isinstance(size, (tuple, list)) or [isinstance(n, Integral) and int(n) > 1 for n in size] != [True, True]:
        raise ValueError(f"size is {size!r}; (height, width) in pixels, whole numbers of at least 2, is needed")
    y, x = (torch.fft.fftfreq(n, 1 / n).abs() for n in size)
    return torch.hypot(y[:, None], x[None]) if shape == "ring" else torch.maximum(y[:, None], x[None])


def cutoff_mask(size: Sequence, cutoff: float, kind: str) -> Tensor:
    """Where the frequencies lie that pass a cut-off: bool ``(H, W)``, for :func:`keep_frequencies`.

    Args:
        size: (H, W) of the image in pixels.
        cutoff: in cycles per image side, ≥ 0.
        kind: "low-pass", r ≤ cutoff stays, or "high-pass", r > cutoff stays. DC, the mean brightness, always stays: the
            two pictures share it and nothing else.

    Raises:
        ValueError: an unknown kind, a cut-off below 0, and as for :func:`distance_from_dc`.

    Example:
        >>> low, high = (cutoff_mask((112, 112), 5, kind) for kind in CUTOFFS)
        >>> low[0, 5], high[0, 5], (low & high).sum()
        (tensor(True), tensor(False), tensor(1))
    """
    perturb.check_known("kind", kind, CUTOFFS)
    perturb.check_least("cutoff", cutoff, 0)
    r = distance_from_dc(size)
    return (r <= cutoff) if kind == "low-pass" else (r > cutoff) | (r == 0)


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
    r = distance_from_dc(size, shape)
    limit = min(size) / 2
    if edges is None and not (isinstance(width, Real) and 1 <= width <= limit):
        raise ValueError(f"width is {width!r}; a band is 1 cycle wide or more, and at most {limit:g}, half the image")
    cuts = np.asarray(width * np.arange(1, limit // width + 1) if edges is None else edges)
    cuts = cuts.astype(np.float32) if cuts.dtype.kind in "iuf" else np.empty(0)
    if cuts.ndim != 1 or not len(cuts) or not (np.diff(cuts, prepend=0) > 0).all() or cuts[-1] > limit:
        raise ValueError(f"edges are {edges!r:.80}; they must increase, from above 0 to at most {limit:g} cycles")
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


def scramble_phases(image: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """An image ``(3, H, W)`` whose chosen frequencies keep their strength and lose their content: their phases are
    drawn at random.

    All colours of a frequency are turned by the same angle, so that a grey picture stays grey.

    Args:
        image: ``(3, H, W)``.
        chosen: ``(…, H, W)``, bool, in the order of ``torch.fft.fft2``, the same for a frequency and its mirror. DC,
            which has no phase, stays.
        generator: a torch.Generator. One angle a frequency is drawn for all masks.

    Returns:
        float32 ``(…, 3, H, W)`` on the CPU, not clipped.

    Raises:
        ValueError: a mask that does not fit, and as for :func:`spectrum`.

    Example:
        >>> image, everywhere = torch.rand(3, 8, 8), torch.ones(8, 8, dtype=bool)
        >>> scrambled = scramble_phases(image, everywhere, torch.Generator().manual_seed(0))
        >>> torch.allclose(spectrum(scrambled).abs(), spectrum(image).abs(), atol=1e-4), torch.equal(scrambled, image)
        (True, False)
    """
    own = spectrum(image)
    # the spectrum of a picture of noise: its angles are uniform, and mirrored frequencies turn against each other
    angle = torch.fft.fft2(torch.randn(own.shape[-2:], generator=generator)).angle()
    return _rephased(own, own * torch.polar(torch.ones_like(angle), angle), chosen)


def swap_phases(image: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    """An image ``(3, H, W)`` whose chosen frequencies keep their strength and get the phases of another image.

    Args:
        image, other: ``(3, H, W)`` of one size.
        chosen: as for :func:`scramble_phases`.

    Returns:
        float32 ``(…, 3, H, W)`` on the CPU, not clipped.

    Raises:
        ValueError: a mask or another image that does not fit, and as for :func:`spectrum`.

    Source: Oppenheim, Lim, The importance of phase in signals, Proceedings of the IEEE 1981.

    Example:
        >>> image, everywhere = torch.rand(3, 8, 8), torch.ones(8, 8, dtype=bool)
        >>> torch.allclose(swap_phases(image, everywhere, image), image, atol=1e-6)
        True
    """
    own, foreign = spectrum(image), spectrum(other)
    if own.shape != foreign.shape:
        raise ValueError(f"the images are {tuple(own.shape)} and {tuple(foreign.shape)}; one size is needed")
    return _rephased(own, torch.polar(own.abs(), foreign.angle()), chosen)


def _rephased(own, new, chosen):
    """Pictures ``(…, 3, H, W)`` of the spectrum ``own``, in the mask but for DC of ``new``."""
    mask = _as_mask("the mask", chosen, own)[..., None, :, :] > 0
    new[:, 0, 0] = own[:, 0, 0]
    return torch.fft.ifft2(torch.where(mask, new, own)).real


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


def energy_matched_masks(
    image: Tensor, energy: Tensor, generator: torch.Generator, spared: Tensor | None = None
) -> Tensor:
    """Masks that take out frequencies drawn at random, wherever they lie, until given shares of the energy are gone.

    ``(masks < 1).float().mean(dim=(1, 2))`` is the share of all frequencies that goes with them.

    Args:
        image: ``(3, H, W)``.
        energy: ``(B,)``, shares of the image's spectral energy.
        generator: a torch.Generator. One order of the frequencies is drawn for all B masks.
        spared: bool ``(B, H, W)``, frequencies that each mask leaves alone, such as the band whose energy is matched;
            None for no others than DC.

    Returns:
        float ``(B, H, W)`` in [0, 1], symmetric; the last frequency drawn is only weakened, so that the energy is met
        exactly. DC is never taken, so a share above what the other frequencies hold takes all of those.

    Raises:
        ValueError: ``spared`` does not fit, and as for :func:`spectrum`.
    """
    power = _power(image).double()
    place = torch.arange(power.numel()).view(power.shape)
    couple = torch.minimum(place, place.flip(0, 1).roll((1, 1), (0, 1))).flatten()  # a frequency and its mirror
    order = 1 + torch.randperm(power.numel() - 1, generator=generator)
    spared = torch.zeros(len(energy), *power.shape) if spared is None else _as_mask("what is spared", spared, image)
    there = spared.flatten(1)[:, order] > 0
    taken = torch.bincount(couple, power.flatten(), minlength=power.numel())[order].where(~there, 0)
    left = ((taken.cumsum(dim=1) - energy.double()[:, None]) / taken.clamp(min=1e-30)).clamp(0, 1)
    masks = torch.ones(len(energy), power.numel(), dtype=torch.float64).index_copy(
        1, order, left.sqrt().where(~there, 1)
    )
    return masks[:, couple].view(-1, *power.shape).float()
