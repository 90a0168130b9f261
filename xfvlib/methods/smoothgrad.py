"""SmoothGrad of the cosine (Smilkov et al. 2017)."""

import torch

from xfvlib.gradients import FaceModel, Image, Map, cosine_to, input_gradients


def smoothgrad(
    model: FaceModel,
    image: Image,
    reference: Image,
    *,
    samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    batch: int = 16,
) -> Map:
    """Mean gradient of the cosine over noisy copies of ``image``, averaged over colour.

    Args:
        model: a differentiable FaceModel.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        samples: noisy copies.
        noise: standard deviation of the Gaussian noise, as a share of the range of the image's values; 0 gives the
            gradient.
        seed: of the noise.
        batch: copies in a forward and backward pass; memory grows with it.

    Returns:
        ``(H, W)`` on the CPU, signed: > 0 where a brighter pixel would raise the similarity.

    Raises:
        ValueError: noise < 0, samples or batch < 1.

    Source: the paper, whose figures show 10 to 20 % noise and 50 samples, and absolute values; the sign is kept here.
    """
    score, generator, total = cosine_to(model, reference), torch.Generator().manual_seed(int(seed)), torch.tensor(0.0)
    sigma = float(noise * (image.max() - image.min()))
    # torch draws normal numbers in sixteens: rows of whole sixteens make the noise the same in batches of any size
    length = image.numel() + -image.numel() % 16
    for first in range(0, samples, batch):
        drawn = torch.randn(min(batch, samples - first), length, generator=generator, dtype=torch.float32)[
            :, : image.numel()
        ]
        total = total + input_gradients(score, image + sigma * drawn.unflatten(1, image.shape)).sum(dim=0)
    return (total / samples).mean(dim=0)
