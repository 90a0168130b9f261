"""MobileFaceNet (Chen et al. 2018) in the variants in wide use, told apart by their keys.

One network serves all: the repositories differ in names, activation, width and head. Each entry of ``_VARIANTS`` says
which published module is which part of ours.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

# expansion, channels, blocks, stride of the first of them
_ROWS = ((128, 64, 1, 2), (128, 64, 4, 1), (256, 128, 1, 2), (256, 128, 6, 1), (512, 128, 1, 2), (256, 128, 2, 1))


class Unit(nn.Sequential):
    """Convolution, norm, and an activation or none."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: Any = 1,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        act: Callable | None = None,
    ):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.act = act(channels) if act else nn.Identity()


class Bottleneck(nn.Module):
    """1×1 expansion, 3×3 depthwise, 1×1 projection; added to its input where sizes allow."""

    def __init__(self, channels_in: int, inside: int, channels: int, stride: int, act: Callable):
        super().__init__()
        self.expand = Unit(channels_in, inside, act=act)
        self.depthwise = Unit(inside, inside, 3, stride, 1, groups=inside, act=act)
        self.project = Unit(inside, channels)
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x):
        branch = self.project(self.depthwise(self.expand(x)))
        return x + branch if self.residual else branch


class MobileFaceNet(nn.Sequential):
    """(B, 3, H, W) preprocessed pixels → (B, dim) raw embeddings.

    Args:
        dim: N, channels of the embedding.
        scale: width of the stages in units of 64 and 128 channels.
        kernel: (h, w) of the last depthwise convolution, 7×7 for 112×112 crops.
        relu: ReLU and ReLU6 in place of PReLU, and a 1×1 unit after the first depthwise one (foamliu's network).
        head: "linear", "conv" (1×1), or "conv+bias".
    """

    def __init__(
        self, dim: int = 512, scale: int = 1, kernel: tuple = (7, 7), relu: bool = False, head: str = "linear"
    ):
        super().__init__()
        act = (lambda channels: nn.ReLU6()) if relu else nn.PReLU
        first_act = (lambda channels: nn.ReLU()) if relu else nn.PReLU
        width = 64 * scale
        self.stem = Unit(3, width, 3, 2, 1, act=act)
        self.first = Unit(width, width, 3, 1, 1, groups=64, act=first_act)
        self.pointwise = Unit(width, width, act=first_act) if relu else nn.Identity()
        blocks = []
        for inside, channels, count, stride in _ROWS:
            for _ in range(count):
                blocks.append(Bottleneck(width, inside, channels * scale, stride, act))
                width = channels * scale
        self.blocks = nn.Sequential(*blocks)
        self.last = Unit(width, 512, act=act)
        self.whole = Unit(512, 512, kernel, groups=512)
        flat = head == "linear"
        self.flatten = nn.Flatten() if flat else nn.Identity()
        self.linear = nn.Linear(512, dim, bias=False) if flat else nn.Conv2d(512, dim, 1, bias=head == "conv+bias")
        self.flat = nn.Flatten()
        self.bn = nn.BatchNorm1d(dim)


def _units(parts, *units):
    """Published (conv, bn, act) of units that call these parts alike."""
    return [[f"{unit}.{part}" for part in parts] for unit in units]


def _blocks(first, following):
    """Published names of the 15 blocks, where one block alternates with a numbered sequence of 4, 6 and 2."""
    return [x for one, more, n in zip(first, following, (4, 6, 2)) for x in (one, *(f"{more}.{i}" for i in range(n)))]


_PARTS, _LAYERS = ("conv", "bn", "prelu"), ("layers.0", "layers.1", "layers.2")
_MODELS = _blocks(("conv_23", "conv_34", "conv_45"), ("conv_3.model", "conv_4.model", "conv_5.model"))
_INSIDE = _units(_PARTS, "conv", "conv_dw", "project")

# The key that tells the variant → published (conv, bn, act) of the first, second, last but one and last unit (and of
# "pointwise"); names of the blocks; (conv, bn, act) of a block's three units, within the block; names of the linear map
# and the last norm; the head; what is known of it.
_VARIANTS: dict[str, tuple] = {
    # foamliu's MobileFaceNet: ReLU6
    "gdconv.depthwise.weight": (
        [*_units("01", "conv1"), ["dw_conv.depthwise", "dw_conv.bn1"], *_units("01", "conv2"),
         ["gdconv.depthwise", "gdconv.bn"], ["dw_conv.pointwise", "dw_conv.bn2"]],
        [f"features.{i}.conv" for i in range(15)], [*_units("01", "0", "1"), "23"], ("conv3", "bn"),
        "conv+bias", {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}),
    # TreB1eN's InsightFace_Pytorch, face.evoLVe
    "conv_6_dw.conv.weight": (
        _units(_PARTS, "conv1", "conv2_dw", "conv_6_sep", "conv_6_dw"), _MODELS, _INSIDE,
        ("linear", "bn"), "linear", {}),
    # cavaface
    "output_layer.conv_6_dw.conv.weight": (
        _units(_PARTS, "conv1", "conv2_dw", "conv_6_sep", "output_layer.conv_6_dw"), _MODELS, _INSIDE,
        ("output_layer.linear", "output_layer.bn"), "linear", {}),
    # insightface's arcface_torch, "mbf"
    "features.layers.0.layers.0.weight": (
        _units(_LAYERS, "layers.0", "layers.1", "conv_sep", "features.layers.0"),
        _blocks(("layers.2", "layers.4", "layers.6"), ("layers.3.layers", "layers.5.layers", "layers.7.layers")),
        _units(_LAYERS, *_LAYERS), ("features.layers.2", "features.layers.3"), "linear", {}),
    # Xiaoccer's MobileFaceNet_Pytorch, 112×96 crops
    "linear7.conv.weight": (
        _units(_PARTS, "conv1", "dw_conv1", "conv2", "linear7"), [f"blocks.{i}.conv" for i in range(15)],
        ["012", "345", "678"], ("linear1.conv", "linear1.bn"),
        "conv", {"size": (112, 96), "mean": 127.5 / 255, "std": 128 / 255}),
}  # fmt: skip


def _published_modules(outer, blocks, inside, head):
    """``{our module: published module}`` from an entry of ``_VARIANTS``."""
    units = dict(zip(("stem", "first", "last", "whole", "pointwise"), outer))
    for i, block in enumerate(blocks):
        for unit, parts in zip(("expand", "depthwise", "project"), inside):
            units[f"blocks.{i}.{unit}"] = [f"{block}.{part}" for part in parts]
    parts = {f"{unit}.{ours}": x for unit, found in units.items() for ours, x in zip(("conv", "bn", "act"), found)}
    return parts | dict(zip(("linear", "bn"), head))


def recognise(state: dict[str, Tensor]) -> tuple[nn.Module, dict, dict] | None:
    """The network for a checkpoint of such a layout and what is known of it; see :mod:`xfvlib.models.checkpoints`."""
    key = next((key for key in _VARIANTS if key in state), None)
    if key is None:
        return None
    *names, head, known = _VARIANTS[key]
    modules = _published_modules(*names)
    stem, linear = (state.get(f"{modules[ours]}.weight", ()) for ours in ("stem.conv", "linear"))
    kernel = tuple(state[key].shape[-2:])
    network = MobileFaceNet(len(linear) or 512, max(1, len(stem) // 64), kernel, relu=head == "conv+bias", head=head)
    ours = {key: key.rpartition(".") for key in network.state_dict()}
    published = {key: f"{modules[module]}.{tensor}" for key, (module, _, tensor) in ours.items()}
    return network, published, {"name": "mobilefacenet", "families": ("mobilefacenet",)} | known
