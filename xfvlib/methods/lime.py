"""LIME: a linear model of the cosine over superpixels that are there or not (Ribeiro et al. 2016)."""

import torch
from scipy.cluster.vq import kmeans2

from xfvlib.perturb import Embed, Fill, Image, Map, Prepared, check_count, filled

_KERNEL = 0.25  # width of the weights, exp(−d² / (2 · width²))


def prepare(
    embed: Embed,
    image: Image,
    *,
    samples: int = 500,
    superpixels: int = 64,
    compactness: float = 0.3,
    fill: Fill = "black",
    seed: int = 0,
) -> Prepared:
    """First stage: embeddings ``"masked"`` ``(samples, N)`` of the image without some of its superpixels, which are
    ``"kept"`` ``(samples, count)``; ``"labels"`` ``(H, W)``: the number of each pixel's superpixel.

    Args:
        embed: from versions of the image to their embeddings; no gradients are needed.
        image: ``(3, H, W)``, RGB in [0, 1].
        samples: images in which each superpixel is kept with probability ½; more than there are superpixels.
        superpixels: about how many.
        compactness: weight of place against colour in making them; see :func:`_segments`.
        fill: what is seen in place of a superpixel, one of :data:`xfvlib.perturb.FILLS`.
        seed: of the samples, and of noise as the fill.

    Raises:
        ValueError: an unknown fill, not more samples than superpixels, superpixels < 1, compactness < 0.
    """
    labels = _segments(image, superpixels, compactness)
    count = int(labels.max()) + 1
    check_count("samples", samples, count + 1)
    kept = torch.randint(2, (samples, count), generator=torch.Generator().manual_seed(int(seed))).float()
    other = filled(image, fill, seed)
    masked = embed(lambda some: torch.lerp(other, image, kept[some][:, None, labels]), samples)
    return {"masked": masked, "kept": kept, "labels": labels}


def finish(prepared: Prepared, partner: Prepared) -> Map:
    """Second stage: the coefficient of each superpixel in a linear regression of the cosine on which superpixels are
    there.

    Returns:
        ``(H, W)`` on the CPU, in units of cosine, one value in each superpixel: > 0 where its presence raises the
        cosine.

    Source: published ports to verification: a plain linear regression, weights √exp(−d²/0.25²) with d the cosine
        distance of
    what is kept, a vector of 0 and 1, to all of it. The superpixels are ours.
    """
    from sklearn.linear_model import LinearRegression  # here: it takes two seconds to import

    kept, cosines = prepared["kept"], prepared["masked"] @ partner["embedding"]
    distance = 1 - kept.mean(dim=1).sqrt()  # of vectors of 0 and 1
    weights = torch.exp(-(distance**2) / (2 * _KERNEL**2))
    fitted = LinearRegression().fit(*(x.double().numpy() for x in (kept, cosines, weights)))
    return torch.from_numpy(fitted.coef_).float()[prepared["labels"]]


def _segments(image: Image, count: int, compactness: float = 0.3) -> Map:
    """Superpixels: k-means of the pixels by colour and place, begun from a regular grid.

    Args:
        image: ``(3, H, W)``, RGB in [0, 1].
        count: of the superpixels, about: the nearest square number, less those that stay empty.
        compactness: a distance of one cell of the grid weighs as much as this difference of colour, ≥ 0; large values
            leave the grid nearly as it was.

    Returns:
        int64 ``(H, W)``, numbers 0, 1, … without a gap.

    Raises:
        ValueError: more superpixels than pixels.

    Example:
        >>> _segments(torch.zeros(3, 8, 8), 4).unique()
        tensor([0, 1, 2, 3])
    """
    side, size = max(1, round(count**0.5)), torch.tensor(image.shape[-2:])
    if side > size.min():
        raise ValueError(f"{count} superpixels are asked of {size.prod()} pixels; fewer superpixels are needed")
    place = torch.cartesian_prod(*(torch.arange(n) for n in size))
    features = torch.cat([image.flatten(1).T, compactness * side * place / size], dim=1).double()
    middles = (torch.cartesian_prod(*[torch.arange(side) + 0.5] * 2).view(-1, 2) / side * size).long()
    starts = features[middles[:, 0] * size[1] + middles[:, 1]]
    _, labels = kmeans2(features.numpy(), starts.numpy(), iter=10, minit="matrix")
    return torch.from_numpy(labels).unique(return_inverse=True)[1].view(*size)
