"""MinPlus: blacken Gaussian regions of a face, or show them, one by one and greedily (Mery, CVPRW 2022)."""

import torch
from torch import Tensor

from xfvlib.methods.method import Embed, Prepared
from xfvlib.perturb import check_above, check_count, check_known

PARTS = ("H0-", "H1-", "H0+", "H1+")
CANVAS = 0.01  # brightness of the near-black canvas, as a share of the image's


def prepare(
    embed: Embed,
    image: Tensor,
    *,
    part: str = "mean",
    quick: bool = False,
    sigma: float = 161 / 8.5,
    step: float | None = None,
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
    check_known("part", part, ("mean", *PARTS))
    check_above("sigma", sigma, 0)
    check_above("step", step, 0)
    rows, columns = _gaussians(image.shape[-2:], sigma * image.shape[-2] / 256, step * image.shape[-2] / 256)
    found = {"rows": rows, "columns": columns}
    found["canvas"] = embed(lambda some: CANVAS * image[None], 1)[0]
    for name, sign, seen in (("H0-", -1, 1.0), ("H0+", 1, CANVAS)):
        if part == "mean" or part[-1] == name[-1]:
            seen = torch.full(image.shape[-2:], seen)
            found[name] = _embeddings(embed, image, seen, sign, rows, columns)
    return found


def finish(
    prepared: Prepared,
    partner: Prepared,
    *,
    embed: Embed,
    image: Tensor,
    part: str = "mean",
    quick: bool = False,
    tmax: int | None = None,
    th: float = 0.01,
) -> Tensor:
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
    check_count("tmax", tmax)
    rows, columns, embedding = prepared["rows"], prepared["columns"], partner["embedding"]
    whole, canvas = (float(prepared[name] @ embedding) for name in ("embedding", "canvas"))
    effects, dark = {}, torch.full(image.shape[-2:], CANVAS)
    minus, plus = (-1, torch.ones_like(dark), whole, th), (1, dark, canvas, whole - th)
    for alone, greedy, (sign, seen, cosine, last) in (("H0-", "H1-", minus), ("H0+", "H1+", plus)):
        if part in ("mean", alone, greedy):
            after = prepared[alone] @ embedding
            effects[alone], effects[greedy] = sign * (after - cosine), torch.zeros(len(rows))
            left = torch.ones(len(rows))
            for number in range(min(tmax, len(rows)) if part != alone else 0):
                if number:
                    after = _embeddings(embed, image, seen, sign, rows, columns) @ embedding
                change = sign * (after - cosine)
                best = int(change.where(left > 0, -torch.inf).argmax())
                effects[greedy][best], left[best], cosine = change[best], 0, float(after[best])
                seen = _changed(seen, sign, rows[best : best + 1], columns[best : best + 1])[0]
                if sign * (cosine - last) >= 0:
                    break
    wanted = PARTS if part == "mean" else (part,)
    maps = [rows.T @ (effects[name][:, None] * columns) / (rows.T @ columns) for name in wanted]
    return maps[0] if len(maps) == 1 else torch.stack([m / m.abs().max().clamp(min=1e-12) for m in maps]).mean(dim=0)


def _changed(seen, sign, rows, columns):
    """What is seen, ``(R, H, W)``, once each region has gone from ``seen`` ``(H, W)`` (sign −1) or come to it
    (1)."""
    hole = 1 - rows[:, :, None] * columns[:, None, :]
    return seen * hole if sign < 0 else 1 - (1 - seen) * hole


def _embeddings(embed, image, seen, sign, rows, columns):
    """Embeddings ``(R, N)`` of the image with each region gone, or come."""

    def changed(some):
        return image * _changed(seen, sign, rows[some], columns[some])[:, None]

    return embed(changed, len(rows))


def _gaussians(size, sigma, step):
    """Gaussians of height 1 in the middle of the cells of a grid: rows ``(R, H)`` and columns ``(R, W)``; their product
    is the region."""
    middles = torch.cartesian_prod(*[torch.arange(0, n, step) + (step - 1) / 2 for n in size])
    return [
        torch.exp(-((torch.arange(n) - middles[:, axis, None]) ** 2) / (2 * sigma**2)) for axis, n in enumerate(size)
    ]
