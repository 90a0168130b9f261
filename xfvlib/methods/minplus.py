"""MinPlus: blacken Gaussian regions of a face, or show them, one by one and greedily (Mery, CVPRW 2022)."""

from functools import partial

import torch

from xfvlib.perturb import check_count, check_known, embed_versions

PARTS = ("H0-", "H1-", "H0+", "H1+")
CANVAS = 0.01  # brightness of the near-black canvas, as a share of the image's


def minplus(model, image, reference, *, threshold=None, part="mean", quick=False, sigma=161 / 8.5, step=None, tmax=None, th=0.01,
            seed=0, batch=32, progress=False):  # fmt: skip
    """MinPlus map of what makes ``image`` like ``reference``. The method knows similarity only; little of its map is below 0.

    The regions are Gaussians of height 1 on a grid. Four experiments give each region an effect on the cosine: H0−, what is
    lost when the region is blackened; H1−, the same while regions go greedily, the largest loss first; H0+, what is gained
    when the region is shown on a near-black canvas; H1+, the same while regions come greedily. The mean of the effects of the
    regions around a pixel, weighted with their Gaussians, is its value.

    Args:
        model: a FaceModel; no gradients are needed.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        threshold: not used.
        part: "H0-", "H1-", "H0+" or "H1+" for one of the four maps, in units of cosine; "mean" for the mean of all, each
            divided by its largest absolute value.
        quick: twice the step between regions and 5 greedy steps, 6 % of the work, where ``step`` and ``tmax`` are None.
        sigma, step: of the Gaussian, and between regions, in pixels of a 256-pixel image; scaled with the image. None: 16.
        tmax: greedy steps at most. None: 20.
        th: regions go until the cosine is ≤ th, and come until it is within th of the whole image's.
        seed: not used, since nothing is drawn.
        batch: images in a forward pass.
        progress: show progress bars.

    Returns:
        ``(H, W)`` on the CPU: > 0 speaks for a match.

    Raises:
        ValueError: an unknown part, sigma or step ≤ 0, tmax or batch < 1.

    Source: the paper's four experiments, with parameters from ports of its code. Ours: regions in the middle of the grid's
    cells, the canvas's brightness, none chosen twice, the smoothing and the scaling before the mean, and when adding ends.
    """
    step = (32 if quick else 16) if step is None else step
    tmax = (5 if quick else 20) if tmax is None else tmax
    check_known("part", part, ("mean", *PARTS))
    check_count("tmax", tmax)
    if not (sigma > 0 and step > 0):
        raise ValueError(f"sigma is {sigma} and step {step}; both must be above 0, in pixels of a 256-pixel image")
    image = image.to(model.device)
    rows, columns = gaussians(image, sigma * image.shape[-2] / 256, step * image.shape[-2] / 256)
    with torch.no_grad():
        whole, partner = model.embed(torch.stack([image, reference.to(image.device)])).cpu()

    def cosines(seen, count):
        return embed_versions(model, lambda some: image * seen(some)[:, None], count, batch=batch, progress=progress) @ partner

    def remove(seen, some):
        return seen * (1 - rows[some, :, None] * columns[some, None, :])

    def add(seen, some):
        return 1 - remove(1 - seen, some)

    wanted, effects, everything = PARTS if part == "mean" else (part,), {}, torch.ones(image.shape[-2:], device=image.device)
    for sign, change, start, last in (("-", remove, everything, th), ("+", add, CANVAS * everything, float(whole @ partner) - th)):
        steps = tmax if f"H1{sign}" in wanted else int(f"H0{sign}" in wanted)
        effects[f"H0{sign}"], effects[f"H1{sign}"] = search(cosines, change, start, len(rows), sign, steps, last)
    rows, columns = rows.cpu(), columns.cpu()
    maps = [rows.T @ (effects[name][:, None] * columns) / (rows.T @ columns) for name in wanted]
    return maps[0] if len(maps) == 1 else sum(m / m.abs().max().clamp(min=1e-12) for m in maps) / len(maps)


def search(cosines, change, seen, count, sign, steps, last):
    """Effects of ``count`` regions on the cosine: of each alone, and of those that are chosen greedily, 0 for the others.

    Args:
        cosines: callable of (slice → ``(B, H, W)`` shares of the image that are seen, how many) → ``(count,)``.
        change: callable of (``seen``, slice of regions) → what is seen once each has gone or come, ``(B, H, W)``.
        seen: at the start, ``(H, W)`` in [0, 1].
        sign: "-", an effect is a loss of cosine, or "+", a gain.
        steps, last: end after so many steps, or when the cosine has come to ``last``.
    """
    alone, greedy, chosen = None, torch.zeros(count), torch.zeros(count, dtype=torch.bool)
    cosine = float(cosines(lambda some: seen[None], 1)) if steps else 0
    for _ in range(min(steps, count)):
        after = cosines(partial(change, seen), count)
        effects = cosine - after if sign == "-" else after - cosine
        alone = effects if alone is None else alone
        best = int(effects.masked_fill(chosen, -torch.inf).argmax())
        greedy[best], chosen[best], cosine = effects[best], True, float(after[best])
        seen = change(seen, slice(best, best + 1))[0]
        if (cosine <= last) if sign == "-" else (cosine >= last):
            break
    return alone, greedy


def gaussians(image, sigma, step):
    """Gaussians of height 1 in the middle of the cells of a grid: ``(rows, columns)``, ``(count, H)`` and ``(count, W)``; their product is the region."""
    size = image.shape[-2:]
    middles = [torch.arange(0, n, step, device=image.device) + (step - 1) / 2 for n in size]
    middles = torch.cartesian_prod(*middles)
    places = [torch.arange(n, device=image.device) for n in size]
    return [torch.exp(-((place - middles[:, axis, None]) ** 2) / (2 * sigma**2)) for axis, place in enumerate(places)]
