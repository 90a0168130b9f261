"""Recognisers in ONNX files: a black box through onnxruntime, or differentiable where an ONNX-to-PyTorch converter is installed."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn


class OnnxNetwork(nn.Module):
    """An ONNX file as a module without gradients; input layout and batch size are read from the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ONNX file, or its input is not one batch of images with three channels.
    """

    def __init__(self, path):
        import onnxruntime  # here, since only users of ONNX files wait for it

        super().__init__()
        path = self.path = Path(path).resolve()
        if not path.is_file():
            raise FileNotFoundError(f"there is no ONNX file {path}")
        content = path.read_bytes()
        self.hash = hashlib.sha256(content).hexdigest()
        try:
            self.session = onnxruntime.InferenceSession(content, providers=onnxruntime.get_available_providers())
        except Exception as error:  # onnxruntime's own exceptions share no public base class
            raise ValueError(f"{path.name} cannot be read as an ONNX network: {str(error).splitlines()[0]}") from error
        first = self.session.get_inputs()[0]
        if len(first.shape) != 4 or 3 not in (first.shape[1], first.shape[3]):
            raise ValueError(f"the input of {path.name} is {first.name} {first.shape}; images (B, 3, H, W) or (B, H, W, 3) are needed")
        self.input = first.name
        self.channels_last = first.shape[1] != 3
        self.one_by_one = first.shape[0] == 1
        side = first.shape[1:3] if self.channels_last else first.shape[2:4]
        self.size = tuple(n if isinstance(n, int) else 112 for n in side)  # a side left open: the field's usual size

    def __reduce__(self):
        return OnnxNetwork, (self.path,)  # a session cannot be pickled; another process reads the file again

    def extra_repr(self):
        return f"sha256={self.hash}"

    def forward(self, x):
        pixels = x.detach().cpu().float().numpy()
        if self.channels_last:
            pixels = pixels.transpose(0, 2, 3, 1)
        batches = np.split(pixels, len(pixels)) if self.one_by_one else [pixels]
        rows = [self.session.run(None, {self.input: np.ascontiguousarray(batch)})[0] for batch in batches]
        return torch.from_numpy(np.concatenate(rows)).flatten(1).to(x.device)


class OneByOne(nn.Module):
    """A network whose file was exported for a single image, run on every image of a batch."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return torch.cat([self.network(row).flatten(1) for row in x.split(1)])


def load_network(path):
    """``(network, known)``: a differentiable module when onnx2torch is installed and can convert the file, else the black box."""
    box = OnnxNetwork(path)
    known = {"name": Path(path).stem, "size": box.size, "differentiable": False}
    try:
        from onnx2torch import convert
    except ImportError:
        return box, known
    images = torch.rand(2, 3, *box.size, generator=torch.Generator().manual_seed(0))
    try:
        network = convert(str(path)).eval()
        network = OneByOne(network) if box.one_by_one else network
        expected, found = box(images), network(images).flatten(1)
        if torch.allclose(found, expected, rtol=1e-3, atol=1e-3):
            return network, known | {"differentiable": True}
        raise ValueError(f"its outputs differ from onnxruntime's by up to {(found - expected).abs().max():.3g}")
    except Exception as error:  # the converter does not know every layer, nor every batch size
        warnings.warn(f"{Path(path).name} could not be converted to PyTorch ({error}); it has no gradients", stacklevel=3)
    return box, known
