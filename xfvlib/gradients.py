"""Gradients of an image: of one score, and of every channel of its embedding."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xfvlib.models import FaceModel
from xfvlib.perturb import Image, Map, check_options, checked_image


def check_differentiable(model: FaceModel) -> None:
    """Raise a TypeError when the model has no gradients."""
    if not model.differentiable:
        raise TypeError(f"{model.name} has no gradients, which are needed here: use one that autograd sees through")


def input_gradient(score: Callable[[Tensor], Tensor], image: Image) -> Image:
    """Gradient of a score with respect to the pixels.

    Args:
        score: callable, ``(1, 3, H, W)`` → a tensor of one element.
        image: ``(3, H, W)``.

    Returns:
        ``(3, H, W)`` on the CPU, in score per unit of pixel value.

    Raises ValueError for a gradient with NaN or infinite values.

    Example:
        >>> input_gradient(lambda x: (x * x).sum(), torch.ones(3, 2, 2))[0, 0]
        tensor([2., 2.])
    """
    return checked_image(input_gradients(score, image[None])[0], "the gradient")


@torch.enable_grad()
def input_gradients(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The same for a batch ``(B, 3, H, W)``, each image's own score: ``(B, 3, H, W)``."""
    x = images.detach().requires_grad_(True)
    return torch.autograd.grad(score(x).sum(), x)[0]


def cosine_to(model: FaceModel, reference: Image) -> Callable[[Tensor], Tensor]:
    """The score that is explained: a callable, ``(B, 3, H, W)`` crops → ``(B,)`` cosine similarities to the reference
    ``(3, H, W)``."""
    target = model.embed(reference[None])[0].detach()
    return lambda images: model.embed(images) @ target


@dataclass(frozen=True)
class ChannelGradients:
    """What one image's embedding is sensitive to, channel by channel. It serves every partner and every threshold.

    Attributes:
        embedding: unit-length ``(N,)``.
        maps: ``(N, H, W)``, map k = the gradient of channel k reduced over colour and, unless switched off, of L2 norm
            1.
    """

    embedding: Tensor
    maps: Tensor

    def weighted(self, weights: Tensor) -> Map:
        """Sum of the maps with weights ``(N,)``: ``(H, W)``."""
        return torch.einsum("n,nhw->hw", weights.to(self.maps), self.maps)


def channel_gradients(model: FaceModel, image: Image, **options) -> ChannelGradients:
    """The gradient map of every embedding channel, kept on the CPU: :class:`ChannelGradients` of ``N × H × W`` numbers.

    Arguments, ``options`` and errors as for :func:`each_channel_gradient`.

    Example:
        >>> from torch import nn
        >>> kept = channel_gradients(FaceModel(nn.Flatten(), size=2), torch.rand(3, 2, 2))  # once an image
        >>> kept.weighted(torch.ones(12)).shape  # for any partner and threshold
        torch.Size([2, 2])
    """
    maps = torch.cat([some.cpu() for _, some in each_channel_gradient(model, image, **options)])
    return ChannelGradients(model.embed(image[None])[0].detach().cpu(), maps)


@torch.enable_grad()
def each_channel_gradient(
    model: FaceModel,
    image: Image,
    *,
    gradient: Literal["absolute", "signed"] = "absolute",
    embedding: Literal["unit", "raw"] = "unit",
    normalise: bool = True,
    channels_at_once: int = 16,  # enough to keep the cores busy
) -> Iterator[tuple[int, Tensor]]:
    """Stream the gradient maps of all embedding channels, a few at a time, so that memory does not grow with N.

    The image is repeated in a batch; its graph is kept, and in every backward pass each row of the batch
    back-propagates another channel: the same numbers as one backward pass a channel, in larger pieces.

    Args:
        model: a differentiable FaceModel, on any device.
        image: ``(3, H, W)``, RGB in [0, 1].
        gradient: reduction over colour, "absolute" (mean of absolute values) or "signed" (mean).
        embedding: what is differentiated, the "unit"-length embedding or the "raw" one.
        normalise: divide every channel's map by its L2 norm.
        channels_at_once: rows of the batch; memory grows with it, and the result does not depend on it.

    Yields:
        ``(first, maps)``: number of the first channel, and the maps ``(n, H, W)`` of channels first … first + n − 1.

    Raises:
        TypeError: the model is not differentiable.
        ValueError: an unknown option value, or an image that does not fit the model.

    Source: FGGB (Lu, Xu, Ebrahimi, 2024), gradient backpropagation and normalisation steps.
    """
    check_differentiable(model)
    check_options(each_channel_gradient, locals())
    rows = min(channels_at_once, model.dim)
    batch = checked_image(image).detach().to(model.device).expand(rows, -1, -1, -1)
    batch = batch.contiguous(memory_format=torch.channels_last).requires_grad_(True)
    output = model.embed(batch) if embedding == "unit" else model(batch)
    for first, one_hot in zip(range(0, model.dim, rows), torch.eye(model.dim).to(output).split(rows)):
        colours = torch.autograd.grad(output[: len(one_hot)], batch, one_hot, retain_graph=True)[0][: len(one_hot)]
        maps = (colours.abs() if gradient == "absolute" else colours).mean(dim=1)
        yield first, torch.nn.functional.normalize(maps.flatten(1), dim=1).view_as(maps) if normalise else maps
