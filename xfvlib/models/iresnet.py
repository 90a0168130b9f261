"""IResNet, the network of ArcFace (Deng et al. 2019) and ElasticFace (Boutros et al. 2022), in insightface's key names."""

import re

import torch
from torch import nn

DEPTHS = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34, (3, 4, 14, 3): 50, (3, 13, 30, 3): 100, (6, 26, 60, 6): 200}


class IBasicBlock(nn.Module):
    """Norm – conv – norm – PReLU – conv (strided) – norm, plus the shortcut; nothing after the sum."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        branch = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return branch + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """(B, 3, 112, 112) pixels as ``(RGB − 0.5) / 0.5`` → (B, dim) raw embeddings.

    Args:
        counts: blocks in each of the four stages, one of ``DEPTHS``.
        dim: N, channels of the embedding.
    """

    def __init__(self, counts, dim=512):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        channels_in = 64
        for stage, count in enumerate(counts):
            channels, blocks = 64 * 2**stage, []
            for i in range(count):
                blocks.append(IBasicBlock(channels_in, channels, stride=2 if i == 0 else 1))
                channels_in = channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, dim)
        self.features = nn.BatchNorm1d(dim)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))


def recognise(state):
    """The network for a checkpoint of this layout and what is known of it, or None; see :mod:`xfvlib.models.checkpoints`."""
    if not {"layer1.0.bn1.weight", "layer1.0.conv1.weight", "layer1.0.prelu.weight"} <= set(state):
        return None
    counts = tuple(len({k for k in state if re.fullmatch(rf"layer{s}\.\d+\.conv1\.weight", k)}) for s in (1, 2, 3, 4))
    network = IResNet(counts, dim=state["fc.bias"].numel() if "fc.bias" in state else 512)
    return network, {}, {"name": f"iresnet-{DEPTHS.get(counts, counts)}", "families": ("arcface", "elasticface")}
