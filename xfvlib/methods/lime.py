"""LIME: a linear model of the cosine over superpixels that are there or not (Ribeiro et al. 2016), by captum."""

import torch
from scipy.cluster.vq import kmeans2

from xfvlib.gradients import cosine_to
from xfvlib.perturb import FILLS, check_count, check_known, filled

KERNEL = 0.25  # width of the weights, exp(−d² / (2 · width²))


def lime(model, image, reference, *, threshold=None, samples=500, superpixels=64, compactness=0.3, fill="black", seed=0, batch=32,
         progress=False):  # fmt: skip
    """LIME map: coefficient of each superpixel in a linear regression of the cosine on which superpixels are there.

    Args:
        model: a FaceModel; no gradients are needed.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        threshold: not used.
        samples: images in which each superpixel is kept with probability ½; more than there are superpixels.
        superpixels: about how many.
        compactness: weight of place against colour in making them; see :func:`segments`.
        fill: what is seen in place of a superpixel, one of :data:`xfvlib.perturb.FILLS`.
        seed: of the samples, and of noise as the fill.
        batch: images in a forward pass.
        progress: show a progress bar.

    Returns:
        ``(H, W)`` on the CPU, in units of cosine, one value in each superpixel: > 0 where its presence raises the cosine.

    Raises:
        ValueError: an unknown fill, not more samples than superpixels, superpixels or batch < 1.

    Source: published ports to verification: a plain linear regression, weights √exp(−d²/0.25²) with d the cosine distance of
    what is kept, a vector of 0 and 1, to all of it. The superpixels are ours.
    """
    from captum._utils.models.linear_model import SkLearnLinearRegression  # here: captum imports matplotlib
    from captum.attr import LimeBase
    from captum.attr._core.lime import get_exp_kernel_similarity_function

    check_known("fill", fill, FILLS)
    check_count("superpixels", superpixels)
    check_count("batch", batch)
    labels = segments(image.cpu(), superpixels, compactness).to(model.device)
    count = int(labels.max()) + 1
    check_count("samples", samples, count + 1)
    image, other, score = image.to(model.device), filled(image.cpu(), fill, seed).to(model.device), cosine_to(model, reference)
    random = torch.Generator().manual_seed(seed)

    def draw(whole, **others):
        return torch.randint(2, whole.shape, generator=random).to(whole)

    def cosines(kept):
        return score(torch.lerp(other, image, kept[:, None, labels]))

    method = LimeBase(
        cosines, SkLearnLinearRegression(), get_exp_kernel_similarity_function("cosine", KERNEL), draw,
        perturb_interpretable_space=False, from_interp_rep_transform=None, to_interp_rep_transform=lambda kept, *others, **more: kept,
    )  # fmt: skip
    whole = torch.ones(1, count, device=model.device)
    with torch.random.fork_rng([]):  # captum's data loader draws from the global generator, a number that changes nothing
        coefficients = method.attribute(whole, n_samples=samples, perturbations_per_eval=batch, show_progress=progress)
    return coefficients[0].cpu()[labels.cpu()]


def segments(image, count, compactness=0.3):
    """Superpixels: k-means of the pixels by colour and place, begun from a regular grid.

    Args:
        image: ``(3, H, W)``, RGB in [0, 1].
        count: of the superpixels, about: the nearest square number, less those that stay empty.
        compactness: a distance of one cell of the grid weighs as much as this difference of colour; large values leave the
            grid nearly as it was.

    Returns:
        int64 ``(H, W)``, numbers 0, 1, … without a gap.
    """
    side = max(1, round(count**0.5))
    size = torch.tensor(image.shape[-2:])
    place = torch.cartesian_prod(*(torch.arange(n) for n in size))
    features = torch.cat([image.flatten(1).T, compactness * side * place / size], dim=1).double()
    middles = (torch.cartesian_prod(*[torch.arange(side) + 0.5] * 2) / side * size).long()
    starts = features[middles[:, 0] * size[1] + middles[:, 1]]
    _, labels = kmeans2(features.numpy(), starts.numpy(), iter=10, minit="matrix")
    return torch.from_numpy(labels).unique(return_inverse=True)[1].view(*size)
