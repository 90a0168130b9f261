"""Bands of spatial frequency: take one out of a face and see what the cosine loses (Huber, Damer, WACV 2025, arXiv 2407.11941)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates
from scipy.spatial import Delaunay

from xfvlib.alignment import find_shape
from xfvlib.evaluation import embeddings, mean_interval
from xfvlib.gradients import check_differentiable, cosine_to, input_gradients
from xfvlib.methods import decision_threshold
from xfvlib.pairs import Pair
from xfvlib.perturb import check_known, embedded


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


def check_real(image):
    """Raise a ValueError for a complex image, or one that holds NaN or infinite values."""
    if image.is_complex() or not bool(torch.isfinite(image).all()):
        raise ValueError("the image is complex or holds NaN or infinite values; real, finite pixels are needed")


def keep(image, chosen):
    """An image ``(3, H, W)`` seen through a mask of its frequencies, ``(…, H, W)``, bool or in [0, 1]: ``(…, 3, H, W)``, not clipped."""
    if chosen.shape[-2:] != image.shape[-2:]:
        raise ValueError(f"a mask of {tuple(chosen.shape[-2:])} frequencies does not fit an image of {tuple(image.shape[-2:])}")
    return torch.fft.ifft2(spectrum(image) * chosen[..., None, :, :]).real


def split_bands(image, **bands):
    """All bands of an image ``(3, H, W)``: ``(B, 3, H, W)``, band 0 its mean; they add up to the image. Options: :func:`band_numbers`."""
    return keep(image, band_masks(image, **bands))


def band_masks(image, **bands):
    """Where each band lies in the spectrum of an image ``(3, H, W)``: bool ``(B, H, W)``. Options: :func:`band_numbers`."""
    numbers = band_numbers(image.shape[-2:], **bands)
    return numbers == torch.arange(int(numbers.max()) + 1)[:, None, None]


def mask_bands(image, removed, **bands):
    """The image ``(3, H, W)`` without the bands in the list ``removed``; not clipped. Options: :func:`band_numbers`."""
    numbers = band_numbers(image.shape[-2:], **bands)
    return keep(image, ~torch.isin(numbers, torch.as_tensor(removed)))


def band_energy(image, **bands):
    """Share of each band in the image's spectral energy: ``(B,)``, adding up to 1. Options: :func:`band_numbers`."""
    numbers = band_numbers(image.shape[-2:], **bands)
    energy = spectrum(image).abs().square().sum(dim=0)
    return torch.bincount(numbers.flatten(), energy.flatten()) / energy.sum()


def band_embeddings(model, image, *, batch=32, **bands):
    """Unit-length embeddings of an image ``(3, H, W)`` without each of its bands: ``(B, N)``. One image's serve every partner.

    Options: ``batch`` images in a forward pass, and those of :func:`band_numbers`.
    """
    return masked_embeddings(model, image, ~band_masks(image, **bands), batch)


def masked_embeddings(model, image, masks, batch=32):
    """Unit-length embeddings ``(M, N)`` of an image ``(3, H, W)`` seen through masks ``(M, H, W)`` of its frequencies."""
    return embedded(model, lambda some: keep(image, masks[some]), len(masks), batch=batch)


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
        parts = keep(image, group_masks)
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
        without = embedded(model, lambda some, weights=weights: image - weights * parts[some], len(parts), batch=batch)
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
    whole = embeddings(model, pairs, batch)
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


BAND_ORDERS = ("influence", "reverse", "low first", "high first", "random")


def order_bands(influence, by, seed=0):
    """Order in which bands go or come.

    Args:
        influence: ``(B,)``, as from :func:`frequency_influence`; with its sign turned, bands against the match come first.
        by: one of ``BAND_ORDERS``: the most influential first, last, the lowest or the highest frequency first, or drawn.
        seed: of the draw.

    Returns:
        list of the bands 1 … B − 1; DC, the mean brightness, has no place in it and always stays.
    """
    check_known("by", by, BAND_ORDERS)
    influence = torch.as_tensor(influence)[1:]
    if by in ("influence", "reverse"):
        order = torch.argsort(influence, descending=True, stable=True)
        return (1 + (order if by == "influence" else order.flip(0))).tolist()
    if by == "random":
        return (1 + torch.randperm(len(influence), generator=torch.Generator().manual_seed(seed))).tolist()
    low_first = list(range(1, len(influence) + 1))
    return low_first if by == "low first" else low_first[::-1]


def progressive_bands(image, order, kind, **bands):
    """An image while its bands go, or come, in an order: ``(B, 3, H, W)``; the first and the last are exact.

    Args:
        image: ``(3, H, W)``.
        order: each of the bands 1 … B − 1 once, as from :func:`order_bands`.
        kind: "deletion", from the image to its mean colour (DC), or "insertion", from there to the image.
        bands: as for :func:`band_numbers`.
    """
    check_known("kind", kind, ("deletion", "insertion"))
    numbers = band_numbers(image.shape[-2:], **bands)
    if sorted(order) != list(range(1, int(numbers.max()) + 1)):
        raise ValueError(f"the order must name each of the bands 1 … {int(numbers.max())} once; given: {list(order)}")
    place = torch.empty(len(order) + 1, dtype=torch.long)
    place[torch.tensor([0, *order])] = torch.arange(-1, len(order))
    steps = torch.arange(len(order) + 1)[:, None, None]
    chosen = place[numbers] >= steps if kind == "deletion" else place[numbers] < steps
    return keep(image, chosen | (numbers == 0))


def band_deletion_scores(model, pair, order_a, order_b=None, *, kind="deletion", batch=32, **bands):
    """Cosine similarity while the bands of a pair go, or come.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        order_a, order_b: of each image's bands; without ``order_b`` the reference stays untouched.
        kind, bands: as for :func:`progressive_bands`.
        batch: images in a forward pass.

    Returns:
        ``(scores, energy)``, two arrays ``(B,)``: cosine in [−1, 1], and the share of the energy beyond DC that has gone, or
        come, from 0 to 1 (of the probe, or the mean of both images).
    """

    def run(image, order):
        images = progressive_bands(image, order, kind, **bands)
        rows = embedded(model, lambda some: images[some], len(images), batch=batch)
        energy = band_energy(image, **bands)[order].double()
        return rows, torch.cat([torch.zeros(1), energy.cumsum(dim=0) / energy.sum()])

    a, energy = run(pair.a, order_a)
    if order_b is None:
        with torch.no_grad():
            b = model.embed(pair.b[None]).cpu()
    else:
        b, other = run(pair.b, order_b)
        energy = (energy + other) / 2
    return (a * b).sum(dim=1).numpy(), energy.numpy()


def band_areas(scores, labels, threshold, share=None):
    """Area in percent under every pair's right (1) or wrong (0) decisions: their mean is the area under the accuracy.

    Args:
        scores: ``(P, B)`` from :func:`band_deletion_scores`.
        labels: bool ``(P,)``, True for genuine pairs.
        threshold: of the untouched data.
        share: ``(P, B)``, of the energy, as the axis to integrate over; None for the share of bands.

    Returns:
        float ``(P,)`` in [0, 100], for :func:`xfvlib.evaluation.mean_interval`. Deletion: lower is better; insertion: higher.
    """
    right = (np.asarray(scores) >= threshold) == np.asarray(labels, bool)[:, None]
    share = np.linspace(0, 1, right.shape[1])[None] if share is None else np.asarray(share)
    return 100 * np.trapezoid(right.astype(float), share, axis=1)


def reduced(image, factor):
    """An image ``(3, H, W)`` as a smaller one enlarged again: 1/factor of its size and back, antialiased, bicubic; in [0, 1].

    Raises ValueError for a factor below 1, or one that leaves less than four pixels, and for complex or not finite images.
    """
    check_real(image)
    size = [round(n / factor) for n in image.shape[-2:]] if factor >= 1 else [0]
    if min(size) < 4:
        raise ValueError(f"factor is {factor}; it must be at least 1 and leave 4 pixels or more of {tuple(image.shape[-2:])}")
    small = F.interpolate(image[None], size=size, mode="bicubic", antialias=True)
    return F.interpolate(small, size=image.shape[-2:], mode="bicubic")[0].clamp(0, 1)


def morph(image_a, image_b, share=0.5):
    """Landmark morph of two aligned faces: both are warped to the shape between them, triangle by triangle, and blended.

    Args:
        image_a, image_b: crops ``(3, H, W)`` of one size, RGB in [0, 1].
        share: of ``image_b`` in shape and colour, in [0, 1]; 0 gives ``image_a``, 1 ``image_b``.

    Returns:
        float32 ``(3, H, W)``.

    Raises:
        ValueError: no landmarks are found in an image, two sizes, or a share outside [0, 1].

    Source: the 68 landmarks and the border, Delaunay triangles, affine warps: the usual recipe of morphing attacks.
    """
    if image_a.shape != image_b.shape or not 0 <= share <= 1:
        raise ValueError(
            f"images of {tuple(image_a.shape)} and {tuple(image_b.shape)}, share {share}; one size and a share in [0, 1] are needed"
        )
    height, width = image_a.shape[-2:]
    x, y = np.meshgrid(np.linspace(0, width - 1, 5), np.linspace(0, height - 1, 5))
    border = np.stack([x, y], axis=-1)[(x % (width - 1) == 0) | (y % (height - 1) == 0)]
    shape_a, shape_b = (np.concatenate([shape(image), border]) for image in (image_a, image_b))
    between = (1 - share) * shape_a + share * shape_b
    triangles = Delaunay(between)
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
    inside = triangles.find_simplex(pixels, tol=1e-9)
    first = np.einsum("pij,pj->pi", triangles.transform[inside, :2], pixels - triangles.transform[inside, 2])
    weights = np.concatenate([first, 1 - first.sum(axis=1, keepdims=True)], axis=1)
    corners = triangles.simplices[inside]

    def warped(image, points):
        x, y = np.einsum("pi,pid->dp", weights, points[corners])
        return np.stack([map_coordinates(colour, (y, x), order=1, mode="nearest") for colour in image.numpy()])

    mixed = (1 - share) * warped(image_a, shape_a) + share * warped(image_b, shape_b)
    return torch.from_numpy(mixed.reshape(3, height, width).astype(np.float32)).clamp(0, 1)


def shape(image):
    """The 68 landmarks of a crop ``(3, H, W)``, held inside it: ``(68, 2)``; ValueError when no face is found."""
    check_real(image)
    pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    return find_shape(pixels).clip(1, np.array(image.shape[:0:-1]) - 2)
