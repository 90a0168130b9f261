"""IResNet of ArcFace (Deng et al. 2019) and ElasticFace (Boutros et al. 2022), in insightface's key names."""

from fnmatch import filter as keys_like
from itertools import pairwise

from torch import Tensor, nn

_DEPTHS = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34, (3, 4, 14, 3): 50, (3, 13, 30, 3): 100, (6, 26, 60, 6): 200}


def convolution(channels_in: int, channels: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size of its input, but for the stride."""
    return nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)


def projection(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    """The shortcut of a block that changes channels or size."""
    return nn.Sequential(convolution(channels_in, channels, 1, stride), nn.BatchNorm2d(channels))


class IBasicBlock(nn.Module):
    """Norm – conv – norm – PReLU – conv (strided) – norm, plus the shortcut; nothing after the sum."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels_in), convolution(channels_in, channels)
        self.bn2, self.prelu = nn.BatchNorm2d(channels), nn.PReLU(channels)
        self.conv2, self.bn3 = convolution(channels, channels, stride=stride), nn.BatchNorm2d(channels)
        self.downsample = projection(channels_in, channels, stride) if stride > 1 else nn.Sequential()

    def forward(self, x):
        return self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x)))))) + self.downsample(x)


class IResNet(nn.Sequential):
    """(B, 3, 112, 112) pixels as ``(RGB − 0.5) / 0.5`` → (B, dim) raw embeddings.

    Args:
        counts: blocks in each of the four stages, such as (3, 4, 14, 3).
        dim: N, channels of the embedding.
    """

    def __init__(self, counts: tuple, dim: int = 512):
        super().__init__()
        self.conv1, self.bn1, self.prelu = convolution(3, 64), nn.BatchNorm2d(64), nn.PReLU(64)
        for stage, (before, channels) in enumerate(pairwise((64, 64, 128, 256, 512))):
            following = (IBasicBlock(channels, channels, stride=1) for _ in range(counts[stage] - 1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(IBasicBlock(before, channels, stride=2), *following))
        self.bn2, self.flatten = nn.BatchNorm2d(512), nn.Flatten()
        self.fc, self.features = nn.Linear(512 * 7 * 7, dim), nn.BatchNorm1d(dim)


def recognise(state: dict[str, Tensor]) -> tuple[nn.Module, dict, dict] | None:
    """The network for a checkpoint of this layout and what is known of it; see :mod:`xfvlib.models.checkpoints`."""
    if not {"layer1.0.bn1.weight", "layer1.0.conv1.weight", "layer1.0.prelu.weight"} <= state.keys():
        return None
    counts: tuple = tuple(len(keys_like(state, f"layer{stage}.*.conv1.weight")) for stage in (1, 2, 3, 4))
    network = IResNet(counts, dim=len(state.get("fc.bias", ())) or 512)
    return network, {}, {"name": f"iresnet-{_DEPTHS.get(counts, counts)}", "families": ("arcface", "elasticface")}
