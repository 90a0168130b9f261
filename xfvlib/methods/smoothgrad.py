"""SmoothGrad of the cosine (Smilkov et al. 2017), by captum."""

import torch
import torch.nn.functional as F

from xfvlib.gradients import check_differentiable, cosine_to
from xfvlib.perturb import check_count


def smoothgrad(model, image, reference, *, threshold=None, samples=50, noise=0.15, seed=0, batch=16):
    """Mean gradient of the cosine over noisy copies of ``image``, averaged over colour.

    Args:
        model: a differentiable FaceModel.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        threshold: not used.
        samples: noisy copies.
        noise: standard deviation of the Gaussian noise, as a share of the range of the image's values; 0 gives the gradient.
        seed: of the noise.
        batch: copies in a forward and backward pass; memory grows with it.

    Returns:
        ``(H, W)`` on the CPU, signed: > 0 where a brighter pixel would raise the similarity.

    Raises:
        TypeError: the model is not differentiable.
        ValueError: noise < 0, samples or batch < 1.

    Source: the paper, whose figures show 10 to 20 % noise and 50 samples, and absolute values; the sign is kept here.
    """
    from captum.attr import NoiseTunnel, Saliency  # here: captum imports matplotlib

    check_differentiable(model)
    check_count("samples", samples)
    check_count("batch", batch)
    if not noise >= 0:
        raise ValueError(f"noise is {noise}; a standard deviation is at least 0")
    image, score = image.detach().to(model.device), cosine_to(model, reference)
    # torch draws normal numbers in sixteens: rows of whole sixteens make the noise the same in batches of any size
    row = F.pad(image.flatten(), (0, -image.numel() % 16))[None]

    def score_of_rows(rows):
        return score(rows[:, : image.numel()].unflatten(1, image.shape))

    with torch.random.fork_rng([image.device] if image.is_cuda else []):  # captum draws from the global generator
        torch.manual_seed(seed)
        sigma = float(noise * (image.max() - image.min()))
        mean = NoiseTunnel(Saliency(score_of_rows)).attribute(row, nt_samples=samples, nt_samples_batch_size=batch, stdevs=sigma, abs=False)
    return mean[0, : image.numel()].view(image.shape).mean(dim=0).cpu()
