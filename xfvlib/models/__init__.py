"""Face recognisers behind one interface: RGB crops in, unit-length embeddings out."""

import csv

import torch
import torch.nn.functional as F
from torch import nn

from xfvlib.files import DATA
from xfvlib.models import checkpoints, dlib_resnet, frbench, onnx


class FaceModel(nn.Module):
    """Any PyTorch face network together with the preprocessing it was trained with.

    Args:
        network: module taking ``(B, 3, H, W)`` preprocessed crops to ``(B, N)`` embeddings of any length, alone or first
            in a tuple. It is put into evaluation mode and its weights are frozen, in place.
        size: height and width of the crops in pixels, one number for a square.
        mean, std: the network sees ``(pixel − mean) / std`` with pixels in [0, 1]; one number or one for each
            channel, in the network's own channel order.
        channels: "rgb" or "bgr", the order that the network was trained with. Callers always pass RGB.
        name: what figures and error messages call the model.
        threshold: cosine similarity at and above which a pair is accepted, in [−1, 1]; see ``calibrate``.
        threshold_source: in words, the data and the criterion that the threshold comes from.
        differentiable: False for a network that autograd cannot see through.
        alignment: of the crops it was trained with: "arcface", five points on the template of that family, or "dlib".

    Example:
        >>> model = FaceModel(my_network, size=112, mean=0.5, std=0.5, channels="rgb")
        >>> model.embed(torch.rand(2, 3, 112, 112)).shape
        torch.Size([2, 512])
    """

    def __init__(self, network, *, size=112, mean=0.5, std=0.5, channels="rgb", name=None,
                 threshold=None, threshold_source="not calibrated", differentiable=True,
                 alignment="arcface"):  # fmt: skip
        super().__init__()
        if channels not in ("rgb", "bgr"):
            raise ValueError(f"channels is {channels!r}; it must be 'rgb' or 'bgr'")
        if alignment not in ("arcface", "dlib"):
            raise ValueError(f"alignment is {alignment!r}; it must be 'arcface' or 'dlib'")
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.name = name or type(network).__name__
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.channels = channels
        self.alignment = alignment
        self.threshold = threshold
        self.threshold_source = threshold_source
        self.differentiable = differentiable
        device = next(network.parameters(), torch.empty(0)).device
        for key, value in (("mean", mean), ("std", std)):
            values = torch.as_tensor(value, dtype=torch.float32).broadcast_to(3).reshape(3, 1, 1)
            self.register_buffer(key, values.clone().to(device))
        with torch.no_grad():
            self.dim = self(torch.full((1, 3, *self.size), 0.5, device=self.device)).shape[1]

    @property
    def device(self):
        """Where the model computes; move it with ``model.to(device)``."""
        return self.mean.device

    def forward(self, images):
        """Raw embeddings ``(B, N)``, of any length, of ``(B, 3, H, W)`` RGB crops; nothing is checked."""
        if self.channels == "bgr":
            images = images.flip(1)
        output = self.network((images - self.mean) / self.std)
        return output[0] if isinstance(output, (tuple, list)) else output

    def embed(self, images):
        """Unit-length embeddings of aligned face crops.

        Args:
            images: float ``(B, 3, H, W)``, RGB in [0, 1], with (H, W) = ``size``. Values somewhat outside the range
                are let through, since masking a frequency band makes them.

        Returns:
            ``(B, N)`` embeddings of Euclidean length 1: the cosine similarity of two is their dot product.

        Raises:
            TypeError: not a float tensor.
            ValueError: another shape, NaN or infinite values, or pixels in 0..255.
        """
        check_images(images, self.size, self.name)
        return F.normalize(self(images.to(self.device)), dim=1)

    def __repr__(self):
        threshold = "no threshold" if self.threshold is None else f"threshold {self.threshold:.4f}"
        return f"FaceModel {self.name!r}: {self.size[0]}×{self.size[1]} → {self.dim}, {threshold} ({self.threshold_source})"


def check_images(images, size, name):
    """Raise a TypeError or ValueError that says what is wrong with a batch of crops."""
    if not isinstance(images, torch.Tensor) or not images.is_floating_point():
        given = f"a {images.dtype} tensor" if isinstance(images, torch.Tensor) else f"a {type(images).__name__}"
        raise TypeError(f"images are {given}; {name} needs a float tensor (B, 3, H, W), RGB in [0, 1]")
    if images.dim() != 4 or tuple(images.shape[1:]) != (3, *size):
        raise ValueError(
            f"images have shape {tuple(images.shape)}; {name} needs (B, 3, {size[0]}, {size[1]}): "
            "crop photographs with xfv.align(photo, model), load pairs with xfv.load_pairs(…, model=model), and add the batch axis to a single image with image[None]"
        )
    low, high = (float(x) for x in images.detach().aminmax())
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise ValueError("images hold NaN or infinite values; every pixel must be a number, RGB in [0, 1]")
    if high > 16 or low < -16:
        raise ValueError(f"pixels run from {low:.4g} to {high:.4g}; they must be in [0, 1]: divide 0..255 pixels by 255")


CHECKPOINTS = ("arcface", "elasticface", "curricularface", "adaface", "mobilefacenet")


def load_model(name=None, weights=None, **preprocessing):
    """A face recogniser by its name, or from a file of weights.

    Args:
        name: without weights, "dlib-resnet", the offline default (150×150 crops → 128 numbers), or "frbench:…", a key of the package
            frbench such as "frbench:irse-50/arcface/ms1m". With weights, the family: "arcface", "elasticface",
            "curricularface", "adaface", "mobilefacenet" or "onnx"; None to recognise it from the checkpoint's keys.
        weights: path of a checkpoint (plain, DataParallel or Lightning; anything that torch saves, or safetensors) or ONNX file.
        preprocessing: ``size``, ``mean``, ``std``, ``channels`` or ``alignment`` where the file differs from what its
            family was published with; see :class:`FaceModel`.

    Returns:
        :class:`FaceModel`; one from a file has no threshold yet, see ``xfv.calibrate``.

    Raises:
        ValueError: unknown name (the known ones are listed), a file of another layout, missing, extra or misshapen keys.
        FileNotFoundError: a file or a package is missing.
        PermissionError: the cache folder cannot be written.

    Example:
        >>> load_model().dim
        128
        >>> load_model(weights="backbone.pth")  # doctest: +SKIP
    """
    if weights is None:
        name = name or "dlib-resnet"
        if name == "dlib-resnet":
            mean = [value / 255 for value in dlib_resnet.MEAN_RGB]
            known = {"size": 150, "mean": mean, "std": 256 / 255, "alignment": "dlib"} | kept_threshold(name)
            return FaceModel(dlib_resnet.load_network(), **({"name": name} | known | preprocessing))
        if name.startswith("frbench:"):
            network, known = frbench.load_network(name.removeprefix("frbench:"))
            return FaceModel(network, **({"name": name} | known | preprocessing))
        if name in (*CHECKPOINTS, "onnx"):
            raise ValueError(f"{name!r} needs a file: load_model({name!r}, weights=path). xfvlib/models/README.md says where to find one")
    if name is not None and name not in (*CHECKPOINTS, "onnx"):
        known = "'dlib-resnet', 'frbench:…', and with weights= " + ", ".join(map(repr, (*CHECKPOINTS, "onnx")))
        raise ValueError(f"no model is called {name!r}; known models: {known}. For your own network: xfv.FaceModel(module)")
    if name == "onnx" or str(weights).endswith(".onnx"):
        network, known = onnx.load_network(weights)
    else:
        network, known = checkpoints.load_checkpoint(weights, family=name)
    return FaceModel(network, **(known | preprocessing))


def kept_threshold(name):
    """The kept threshold of a model and its source as keyword arguments of FaceModel, or nothing."""
    path = DATA / "thresholds.csv"
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["model"] == name:
                    return {"threshold": float(row["threshold"]), "threshold_source": row["source"]}
    return {}
