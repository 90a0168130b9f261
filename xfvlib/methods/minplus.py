"""MinPlus: blacken Gaussian regions of a face, or show them, one by one and greedily (Mery, CVPRW 2022)."""

from typing import Literal

import torch

from xfvlib.perturb import Embed, Image, Map, Prepared

Part = Literal["mean", "H0-", "H1-", "H0+", "H1+"]
Step = float | None  # None: 16, or 32 when quick
_CANVAS = 0.01  # brightness of the near-black canvas, as a share of the image's


def prepare(
    embed: Embed, image: Image, *, part: Part = "mean", quick: bool = False, sigma: float = 161 / 8.5, step: Step = None
) -> Prepared:
    """First stage: embeddings ``(R, N)`` of the image with each of R regions blackened, ``"H0-"``, and of the
    near-black canvas with each region shown, ``"H0+"``; of the ``"canvas"`` alone; and the regions' ``"rows"`` and
    ``"columns"``.

    The regions are Gaussians of height 1 on a grid.

    Args:
        embed: from versions of the image to their embeddings; no gradients are needed.
        image: ``(3, H, W)``, RGB in [0, 1].
        part: as for :func:`finish`, which needs what one part needs.
        quick: twice the step between regions, and 5 greedy steps, 6 % of the work, where ``step`` and ``tmax`` are
            None.
        sigma, step: of the Gaussian, and between regions, in pixels of a 256-pixel image; scaled with the image. None:
            16.

    Raises:
        ValueError: an unknown part, sigma or step ≤ 0.
    """
    step = (32 if quick else 16) if step is None else step
    rows, columns = _gaussians(image.shape[-2:], sigma * image.shape[-2] / 256, step * image.shape[-2] / 256)
    found = {"rows": rows, "columns": columns, "canvas": embed(lambda some: _CANVAS * image[None], 1)[0]}
    for end, sign, seen in (("-", -1, 1.0), ("+", 1, _CANVAS)):
        if part == "mean" or part[-1] == end:
            found[f"H0{end}"] = _embeddings(embed, image, seen, sign, rows, columns)
    return found


def finish(
    prepared: Prepared,
    partner: Prepared,
    *,
    embed: Embed,
    image: Image,
    part: Part = "mean",
    quick: bool = False,
    tmax: int | None = None,
    th: float = 0.01,
) -> Map:
    """Second stage, the MinPlus map of what makes ``image`` like its partner; the greedy parts run the network again.

    Four experiments give each region an effect on the cosine: H0−, what is lost when the region is blackened; H1−, the
    same while regions go greedily, the largest loss first; H0+, what is gained when the region is shown on a near-black
    canvas; H1+, the same while regions come greedily. The mean of the effects of the regions around a pixel, weighted
    with their Gaussians, is its value. The method knows similarity only; little of its map is below 0.

    Args:
        prepared: of the image, from :func:`prepare`.
        partner: holds the partner's ``"embedding"``.
        embed, image: as for :func:`prepare`.
        part: "H0-", "H1-", "H0+" or "H1+" for one of the four maps, in units of cosine; "mean" for the mean of all,
            each divided by its largest absolute value.
        tmax: greedy steps at most. None: 20, or 5 when quick.
        th: regions go until the cosine is ≤ th, and come until it is within th of the whole image's.

    Returns:
        ``(H, W)`` on the CPU: > 0 speaks for a match.

    Raises:
        ValueError: tmax < 1.

    Source: the paper's four experiments, with parameters from ports of its code. Ours: regions in the middle of the
    grid's cells, the canvas's brightness, none chosen twice, the smoothing and the scaling before the mean, and when
    adding ends.
    """
    tmax = (5 if quick else 20) if tmax is None else tmax
    rows, columns, embedding, effects = prepared["rows"], prepared["columns"], partner["embedding"], Prepared()
    whole, canvas = (float(prepared[name] @ embedding) for name in ("embedding", "canvas"))
    for end, sign, seen, cosine, last in (("-", -1, 1.0, whole, th), ("+", 1, _CANVAS, canvas, whole - th)):
        if part == "mean" or part[-1] == end:
            after, taken = prepared[f"H0{end}"] @ embedding, torch.full((len(rows),), torch.nan)
            effects |= {f"H0{end}": sign * (after - cosine), f"H1{end}": taken}
            for number in range(min(tmax, len(rows)) if part[:2] != "H0" else 0):
                after = _embeddings(embed, image, seen, sign, rows, columns) @ embedding if number else after
                change = sign * (after - cosine)
                best = int(change.where(taken.isnan(), -torch.inf).argmax())
                taken[best], cosine = change[best], float(after[best])
                seen = _changed(seen, sign, rows[[best]], columns[[best]])[0]
                if sign * (cosine - last) >= 0:
                    break
    maps = {name: rows.T @ (x.nan_to_num()[:, None] * columns) / (rows.T @ columns) for name, x in effects.items()}
    shares = [saliency / saliency.abs().max().clamp(min=1e-12) for saliency in maps.values()]
    return torch.stack(shares).mean(dim=0) if part == "mean" else maps[part]


def _changed(seen, sign, rows, columns):
    """What is seen, ``(R, H, W)``, once each region has gone from ``seen`` ``(H, W)`` (sign −1) or come to it
    (1)."""
    hole = 1 - rows[:, :, None] * columns[:, None, :]
    return seen * hole if sign < 0 else 1 - (1 - seen) * hole


def _embeddings(embed, image, seen, sign, rows, columns):
    """Embeddings ``(R, N)`` of the image with each region gone, or come."""
    return embed(lambda some: image * _changed(seen, sign, rows[some], columns[some])[:, None], len(rows))


def _gaussians(size, sigma, step):
    """Gaussians of height 1 in the middle of the cells of a grid: rows ``(R, H)`` and columns ``(R, W)``; their product
    is the region."""
    middles = torch.cartesian_prod(*[torch.arange(0, n, step) + (step - 1) / 2 for n in size])
    return [torch.exp(-((torch.arange(n) - at[:, None]) ** 2) / (2 * sigma**2)) for n, at in zip(size, middles.T)]
