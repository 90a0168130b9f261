"""MobileFaceNet (Chen et al. 2018) in the variants in wide use, told apart by their keys.

One network serves all: the repositories differ in names, activation, width and head. Each entry of ``VARIANTS`` says which
published module is which part of ours.
"""

import torch
from torch import nn

# expansion, channels, blocks; the first block of each row with "halve" has stride 2
ROWS = ((128, 64, 1, True), (128, 64, 4, False), (256, 128, 1, True), (256, 128, 6, False), (512, 128, 1, True), (256, 128, 2, False))
COUNT = sum(row[2] for row in ROWS)


class Unit(nn.Module):
    """Convolution, norm, and an activation or none."""

    def __init__(self, channels_in, channels, kernel=1, stride=1, padding=0, groups=1, act=None):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.act = act(channels) if act else nn.Identity()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """1×1 expansion, 3×3 depthwise, 1×1 projection; added to its input where sizes allow."""

    def __init__(self, channels_in, inside, channels, stride, act):
        super().__init__()
        self.expand = Unit(channels_in, inside, act=act)
        self.depthwise = Unit(inside, inside, 3, stride, 1, groups=inside, act=act)
        self.project = Unit(inside, channels)
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x):
        branch = self.project(self.depthwise(self.expand(x)))
        return x + branch if self.residual else branch


class MobileFaceNet(nn.Module):
    """(B, 3, H, W) preprocessed pixels → (B, dim) raw embeddings.

    Args:
        dim: N, channels of the embedding.
        scale: width of the stages in units of 64 and 128 channels.
        kernel: (h, w) of the last depthwise convolution, 7×7 for 112×112 crops.
        relu: ReLU and ReLU6 in place of PReLU, and a 1×1 unit after the first depthwise one (foamliu's network).
        head: "linear", "conv" (1×1), or "conv+bias".
    """

    def __init__(self, dim=512, scale=1, kernel=(7, 7), relu=False, head="linear"):
        super().__init__()
        act = (lambda channels: nn.ReLU6()) if relu else nn.PReLU
        first_act = (lambda channels: nn.ReLU()) if relu else nn.PReLU
        width = 64 * scale
        self.stem = Unit(3, width, 3, 2, 1, act=act)
        self.first = Unit(width, width, 3, 1, 1, groups=64, act=first_act)
        self.pointwise = Unit(width, width, act=first_act) if relu else nn.Identity()
        blocks = []
        for inside, channels, count, halve in ROWS:
            for _ in range(count):
                blocks.append(Bottleneck(width, inside, channels * scale, 2 if halve else 1, act))
                width = channels * scale
        self.blocks = nn.Sequential(*blocks)
        self.last = Unit(width, 512, act=act)
        self.whole = Unit(512, 512, kernel, groups=512)
        self.linear = nn.Linear(512, dim, bias=False) if head == "linear" else nn.Conv2d(512, dim, 1, bias=head == "conv+bias")
        self.bn = nn.BatchNorm1d(dim)

    def forward(self, x):
        x = self.whole(self.last(self.blocks(self.pointwise(self.first(self.stem(x))))))
        x = self.linear(x.flatten(1) if isinstance(self.linear, nn.Linear) else x)
        return self.bn(torch.flatten(x, 1))


def named(*parts):
    """Published names of a unit's convolution, norm and activation."""
    return dict(zip(("conv", "bn", "act"), parts))


def block_names(first, following):
    """The 15 blocks' published names where rows alternate between one block and a numbered sequence."""
    names = []
    for row, (_, _, count, halve) in enumerate(ROWS):
        names += [first[row // 2]] if halve else [f"{following[row // 2]}.{i}" for i in range(count)]
    return names


def insightface_pytorch(tail=""):
    """TreB1eN's InsightFace_Pytorch, face.evoLVe; with tail "output_layer." cavaface."""

    def unit(x):
        return named(f"{x}.conv", f"{x}.bn", f"{x}.prelu")

    blocks = block_names(["conv_23", "conv_34", "conv_45"], ["conv_3.model", "conv_4.model", "conv_5.model"])
    parts = {"stem": unit("conv1"), "first": unit("conv2_dw"), "last": unit("conv_6_sep"), "whole": unit(f"{tail}conv_6_dw")}
    parts |= {f"blocks.{i}.{ours}": unit(f"{x}.{theirs}") for i, x in enumerate(blocks)
              for ours, theirs in (("expand", "conv"), ("depthwise", "conv_dw"), ("project", "project"))}  # fmt: skip
    return parts | {"": {"linear": f"{tail}linear", "bn": f"{tail}bn"}}


def arcface_torch():
    """insightface's arcface_torch, "mbf"."""

    def unit(x):
        return named(f"{x}.layers.0", f"{x}.layers.1", f"{x}.layers.2")

    blocks = block_names(["layers.2", "layers.4", "layers.6"], ["layers.3.layers", "layers.5.layers", "layers.7.layers"])
    parts = {"stem": unit("layers.0"), "first": unit("layers.1"), "last": unit("conv_sep"), "whole": unit("features.layers.0")}
    parts |= {f"blocks.{i}.{ours}": unit(f"{x}.layers.{k}") for i, x in enumerate(blocks)
              for k, ours in enumerate(("expand", "depthwise", "project"))}  # fmt: skip
    return parts | {"": {"linear": "features.layers.2", "bn": "features.layers.3"}}


def xiaoccer():
    """Xiaoccer's MobileFaceNet_Pytorch, 112×96 crops."""

    def unit(x):
        return named(f"{x}.conv", f"{x}.bn", f"{x}.prelu")

    parts = {"stem": unit("conv1"), "first": unit("dw_conv1"), "last": unit("conv2"), "whole": unit("linear7")}
    for i in range(COUNT):
        for k, ours in enumerate(("expand", "depthwise", "project")):
            parts[f"blocks.{i}.{ours}"] = named(*(f"blocks.{i}.conv.{3 * k + j}" for j in range(3)))
    return parts | {"": {"linear": "linear1.conv", "bn": "linear1.bn"}}


def foamliu():
    """foamliu's MobileFaceNet: ReLU6, ImageNet mean and standard deviation."""
    parts = {
        "stem": named("conv1.0", "conv1.1"),
        "first": named("dw_conv.depthwise", "dw_conv.bn1"),
        "pointwise": named("dw_conv.pointwise", "dw_conv.bn2"),
        "last": named("conv2.0", "conv2.1"),
        "whole": named("gdconv.depthwise", "gdconv.bn"),
    }
    for i in range(COUNT):
        x = f"features.{i}.conv"
        parts[f"blocks.{i}.expand"] = named(f"{x}.0.0", f"{x}.0.1")
        parts[f"blocks.{i}.depthwise"] = named(f"{x}.1.0", f"{x}.1.1")
        parts[f"blocks.{i}.project"] = named(f"{x}.2", f"{x}.3")
    return parts | {"": {"linear": "conv3", "bn": "bn"}}


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# key that tells the variant, its published names, its head, what is known of it
VARIANTS = (
    ("gdconv.depthwise.weight", foamliu(), "conv+bias", IMAGENET),
    ("conv_6_dw.conv.weight", insightface_pytorch(), "linear", {}),
    ("output_layer.conv_6_dw.conv.weight", insightface_pytorch("output_layer."), "linear", {}),
    ("features.layers.0.layers.0.weight", arcface_torch(), "linear", {}),
    ("linear7.conv.weight", xiaoccer(), "conv", {"size": (112, 96), "mean": 127.5 / 255, "std": 128 / 255}),
)


def recognise(state):
    """The network for a checkpoint of one of these layouts and what is known of it, or None; see :mod:`xfvlib.models.checkpoints`."""
    for key, parts, head, known in VARIANTS:
        if key in state:
            stem, linear = (state.get(f"{parts[x][y]}.weight", ()) for x, y in (("stem", "conv"), ("", "linear")))
            scale, dim = max(1, len(stem) // 64), len(linear) or 512
            network = MobileFaceNet(dim, scale, tuple(state[key].shape[-2:]), relu=parts is VARIANTS[0][1], head=head)
            return network, published_keys(network, parts), {"name": "mobilefacenet", "families": ("mobilefacenet",)} | known
    return None


def published_keys(network, parts):
    """``{our key: published key}`` of every tensor of the network."""
    keys = {}
    for key in network.state_dict():
        part, module, tensor = ("", *key.split(".")) if key.count(".") == 1 else key.rsplit(".", 2)
        keys[key] = f"{parts[part][module]}.{tensor}"
    return keys
