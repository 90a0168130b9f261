"""Gradients of an image: of one score, and of every channel of its embedding."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

CHANNELS_AT_ONCE = 16  # a batch large enough to keep the cores busy; memory grows with it


def check_differentiable(model):
    """Raise a TypeError that names the methods that do work when the model has no gradients."""
    if not model.differentiable:
        from xfvlib.methods import GRADIENT_METHODS, METHODS  # here, since the methods import this module

        others = sorted(set(METHODS) - set(GRADIENT_METHODS))
        raise TypeError(f"{model.name} has no gradients; methods that need none: {', '.join(others) or 'none so far'}")


def input_gradient(score, image):
    """Gradient of a score with respect to the pixels.

    Args:
        score: callable, ``(1, 3, H, W)`` → a tensor of one element.
        image: ``(3, H, W)``.

    Returns:
        ``(3, H, W)``, in score per unit of pixel value.

    Example:
        >>> input_gradient(lambda x: (x * x).sum(), torch.ones(3, 2, 2))[0, 0]
        tensor([2., 2.])
    """
    return input_gradients(score, image[None])[0]


def input_gradients(score, images):
    """The same for a batch ``(B, 3, H, W)``, each image's own score: ``(B, 3, H, W)``."""
    x = images.detach().requires_grad_(True)
    return torch.autograd.grad(score(x).sum(), x)[0]


def cosine_to(model, reference):
    """The score that is explained: a callable, ``(B, 3, H, W)`` crops → ``(B,)`` cosine similarities to the reference ``(3, H, W)``."""
    with torch.no_grad():
        target = model.embed(reference[None])[0]
    return lambda images: model.embed(images) @ target


@dataclass(frozen=True)
class ChannelGradients:
    """What one image's embedding is sensitive to, channel by channel. It serves every partner and every threshold.

    Attributes:
        embedding: unit-length ``(N,)``.
        maps: ``(N, H, W)``, map k = the gradient of channel k reduced over colour and, unless switched off, of L2 norm 1.
    """

    embedding: torch.Tensor
    maps: torch.Tensor

    def weighted(self, weights):
        """Sum of the maps with weights ``(N,)``: ``(H, W)``."""
        return torch.einsum("n,nhw->hw", weights.to(self.maps), self.maps)


def channel_gradients(model, image, **options):
    """The gradient map of every embedding channel, kept: :class:`ChannelGradients` of ``N × H × W`` numbers.

    Args:
        options: as for :func:`each_channel_gradient`.

    Example:
        >>> kept = channel_gradients(model, pair.a)  # once an image  # doctest: +SKIP
        >>> kept.weighted(weights)  # for any partner and threshold  # doctest: +SKIP
    """
    with torch.no_grad():
        embedding = model.embed(image[None])[0]
    return ChannelGradients(embedding, torch.cat([maps for _, maps in each_channel_gradient(model, image, **options)]))


def each_channel_gradient(model, image, *, gradient="absolute", embedding="unit", normalise=True,
                          channels_at_once=CHANNELS_AT_ONCE):  # fmt: skip
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
    if gradient not in ("absolute", "signed") or embedding not in ("unit", "raw"):
        raise ValueError(f"gradient={gradient!r}, embedding={embedding!r}; known: 'absolute' | 'signed' and 'unit' | 'raw'")
    rows = min(channels_at_once, model.dim)
    batch = image.detach().to(model.device).expand(rows, -1, -1, -1)
    batch = batch.contiguous(memory_format=torch.channels_last).requires_grad_(True)
    output = model.embed(batch) if embedding == "unit" else model(batch)
    for first in range(0, model.dim, rows):
        count = min(rows, model.dim - first)
        one_hot = torch.zeros_like(output)
        one_hot[range(count), range(first, first + count)] = 1
        colours = torch.autograd.grad(output, batch, one_hot, retain_graph=True)[0][:count]
        maps = (colours.abs() if gradient == "absolute" else colours).mean(dim=1)
        yield first, F.normalize(maps.flatten(1), dim=1).view_as(maps) if normalise else maps
