"""One interface to every face recogniser: RGB crops in, unit-length embeddings out."""

from contextlib import suppress
from itertools import chain
from numbers import Integral, Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfvlib.extras import reworded


class FaceModel(nn.Module):
    """Any PyTorch face network together with the preprocessing it was trained with.

    The network is tried once, with two unlike images, together and alone.

    Args:
        network: module of any float type on any device, from ``(B, 3, H, W)`` preprocessed crops to ``(B, N)``
            embeddings of any length, alone or first in a tuple. In place, it is put into evaluation mode, and its
            weights are frozen and their memory ordered channels last; their values stay.
        size: height and width of the crops in pixels, one number for a square; 1 to 1024.
        mean, std: the network sees ``(pixel − mean) / std`` with pixels in [0, 1]; one number or one for each
            channel, in the network's own channel order. Where they are published for 0..255, divide them by 255.
        channels: "rgb" or "bgr", the order that the network was trained with. Callers always pass RGB.
        name: what figures and error messages call the model.
        threshold: cosine similarity at and above which a pair is accepted, in [−1, 1]; see ``calibrate``.
        threshold_source: in words, the data and the criterion that the threshold comes from.
        differentiable: False to treat the network as a black box. One that autograd cannot see through is found out.
        alignment: of the crops it was trained with: "arcface", five points on the template of that family, or "dlib".

    Raises:
        TypeError: the network is no module.
        ValueError: an argument out of range; a network that raises, that gives anything but a finite row of N ≥ 2 an
            image, the zero vector, or one embedding for both images, or whose answer depends on the other or on chance.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
        >>> model = FaceModel(network, size=8, mean=0.5, std=0.5, channels="rgb")
        >>> model.embed(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 5])
    """

    @torch.inference_mode(False)  # a tensor made in that mode could not be used outside it
    def __init__(
        self,
        network: nn.Module,
        *,
        size: Any = 112,
        mean: Any = 0.5,
        std: Any = 0.5,
        channels: str = "rgb",
        name: str | None = None,
        threshold: float | None = None,
        threshold_source: str = "not calibrated",
        differentiable: bool = True,
        alignment: str = "arcface",
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module) or isinstance(network, FaceModel):
            raise TypeError(f"network is {_described(network)}; an instance of a torch.nn.Module is needed")
        if channels not in ("rgb", "bgr") or alignment not in ("arcface", "dlib"):
            raise ValueError(f"{channels=}, {alignment=}; 'rgb' or 'bgr', and 'arcface' or 'dlib' are needed")
        sides: Any = size if isinstance(size, (tuple, list)) else (size, size)
        # no recogniser sees larger crops, and a slip of the keyboard should not fill the memory
        if len(sides) != 2 or not all(isinstance(side, Integral) and side in range(1, 1025) for side in sides):
            raise ValueError(f"size is {size!r}; whole pixels are needed, 1 to 1024: one number or (height, width)")
        self.size = (int(sides[0]), int(sides[1]))
        self.name = type(network).__name__ if name is None else str(name)
        self.network, self.differentiable = network, bool(differentiable)
        self.channels, self.alignment = channels, alignment
        self.threshold, self.threshold_source = threshold, threshold_source
        device = next(chain(network.parameters(), network.buffers()), torch.empty(0)).device
        self.mean, self.std = _three("mean", mean, -1, 2, device), _three("std", std, 0.001, 10, device)
        self._prepare()

    @property
    def device(self) -> torch.device:
        """Where the model computes; move it with ``model.to(device)``."""
        return self.mean.device

    @property
    def dtype(self) -> torch.dtype:
        """The float type that the network computes in; ``float32`` where it has no weights."""
        tensors = chain(self.network.parameters(), self.network.buffers())
        return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)

    @property
    def threshold(self) -> float | None:
        """Cosine similarity from which on a pair is accepted, in [−1, 1], or None; ValueError when set to another."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float | None) -> None:
        self._threshold = None if value is None else decision_threshold(self, value)

    def forward(self, images: Tensor) -> Tensor:
        """Raw float32 embeddings ``(B, N)``, of any length, of ``(B, 3, H, W)`` RGB crops, which are not checked.

        Raises:
            ValueError: the network gave something else, NaN or infinite values, or was put back into training mode.
        """
        if self.network.training:
            raise ValueError(f"{self.name} is in training mode, where images change each other: call model.eval()")
        pixels = ((images.flip(1) if self.channels == "bgr" else images).to(self.device) - self.mean) / self.std
        y = self.network(pixels.to(self.dtype))
        y = y[0] if isinstance(y, (tuple, list)) and y else y
        if not torch.is_tensor(y) or not y.is_floating_point() or y.shape[:-1] != images.shape[:1] or y.shape[-1] < 2:
            raise ValueError(
                f"{self.name} made {_described(y)} of {len(images)} images, not float embeddings (B, N ≥ 2)"
            )
        if not (y := y.float()).isfinite().all():
            raise ValueError(f"{self.name} gave NaN or infinite values: look at its weights, mean= and std=")
        return y

    def embed(self, images: Tensor) -> Tensor:
        """Unit-length embeddings of aligned face crops.

        Args:
            images: ``(B, 3, H, W)`` of any float type on any device, RGB in [0, 1], with (H, W) = ``size``. Values
                somewhat outside the range are let through, since masking a frequency band makes them.

        Returns:
            float32 ``(B, N)`` embeddings of Euclidean length 1, on the model's device: the cosine similarity of two is
            their dot product. Where the network gives zeros, as one without biases does for a black image, the row
            stays zero, and its cosine to any other is 0.

        Raises:
            TypeError: not a float tensor.
            ValueError: another shape, no image, NaN or infinite values, or pixels in 0..255; see also :meth:`forward`.
        """
        if not isinstance(images, Tensor) or not images.is_floating_point():
            raise TypeError(f"images are {_described(images)}; {self.name} needs a float tensor (B, 3, H, W) in [0, 1]")
        if images.dim() != 4 or images.shape[1:] != (3, *self.size) or not len(images):
            given = f"images have shape {tuple(images.shape)}, not (B, 3, {self.size[0]}, {self.size[1]}), B ≥ 1"
            raise ValueError(f"{given}: crop photographs with xfv.align(photo, model), add a batch axis by image[None]")
        low, high = images.detach().float().aminmax()
        if not -16 <= low <= high <= 16:
            raise ValueError(f"pixels are {low:.4g} to {high:.4g}; finite ones in [0, 1] are needed: divide by 255")
        return F.normalize(self(images), dim=1)

    def _prepare(self):
        """Make the network ready and see with two images that it can be used; ValueError otherwise."""
        noise = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), device="cpu", dtype=torch.float32)
        images, rounding = F.interpolate(noise, self.size, mode="bilinear"), torch.finfo(self.dtype).eps
        with reworded(Exception, ValueError, f"{self.name} failed with {self.size[0]}×{self.size[1]} pixels"):
            self.network.eval()
            for weights in self.network.parameters():
                weights.requires_grad_(False)
                if weights.dim() == 4:
                    weights.data = weights.data.contiguous(memory_format=torch.channels_last)
            with torch.set_grad_enabled(self.differentiable):
                one, other = F.normalize(self(images), dim=1)
                alone = F.normalize(self(images[1:].requires_grad_(self.differentiable)), dim=1)[0]
            self.dim, self.differentiable = len(one), alone.requires_grad
            if min(one.norm(), other.norm(), (one - other).norm()) <= 8 * rounding:
                raise ValueError("zero vector, or two unlike images one embedding: look at its weights, mean= and std=")
            if len(alone) != len(other) or (alone - other).norm() > max(0.01, 20 * rounding):
                raise ValueError("an embedding depends on its batch or on chance: batch norm or dropout stay on")

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.network.eval()  # one that is made anew from its file is not

    def __repr__(self) -> str:
        at = "no threshold" if self.threshold is None else f"threshold {self.threshold:.4f}"
        return f"FaceModel {self.name!r}: {self.size[0]}×{self.size[1]} → {self.dim}, {at} ({self.threshold_source})"


def _described(value):
    """What something is, for an error message."""
    kind = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
    return f"a {value.dtype} tensor {tuple(value.shape)}" if isinstance(value, Tensor) else kind


def _three(what, value, low, high, device):
    """One number or three as a buffer ``(3, 1, 1)`` for the three channels."""
    with suppress(TypeError, ValueError, RuntimeError):
        values = torch.as_tensor(value, dtype=torch.float32).detach().flatten().expand(3)
        if ((values >= low) & (values <= high)).all():
            return nn.Buffer(values.reshape(3, 1, 1).clone().to(device))
    raise ValueError(f"{what} is {value!r}, not 1 or 3 values in [{low}, {high}]: divide those of 0..255 pixels by 255")


def decision_threshold(model: FaceModel, threshold: float | None = None) -> float:
    """``threshold``, or the model's own when None, once it is seen to lie in [−1, 1]; ValueError otherwise."""
    threshold = model.threshold if threshold is None else threshold
    if threshold is None:
        raise ValueError(f"{model.name} has no threshold: pass threshold=…, or set it with xfv.calibrate(model, pairs)")
    if not isinstance(threshold, Real) or not -1 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}; a cosine similarity is needed, a number in [−1, 1]")
    return float(threshold)
