"""MobileFaceNet (Chen et al. 2018) in the variants in wide use, told apart by their keys.

One network serves all: the repositories differ in names, activation, width and head. Each entry of ``_VARIANTS`` names
the published modules in the order of ours.
"""

import re
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

# expansion, channels and stride of the 15 blocks
_BLOCKS = [(128, 64, 2), *4 * [(128, 64, 1)], (256, 128, 2), *6 * [(256, 128, 1)], (512, 128, 2), *2 * [(256, 128, 1)]]


def _unit(channels_in, channels, kernel=1, stride=1, padding=0, groups=1, act=nn.Identity):
    """Convolution, norm, and an activation or none."""
    conv = nn.Conv2d(channels_in, channels, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels), act=act(channels)))


class Bottleneck(nn.Module):
    """1×1 expansion, 3×3 depthwise, 1×1 projection; added to its input where sizes allow."""

    def __init__(self, channels_in: int, inside: int, channels: int, stride: int, act: Any):
        super().__init__()
        self.expand = _unit(channels_in, inside, act=act)
        self.depthwise = _unit(inside, inside, 3, stride, 1, groups=inside, act=act)
        self.project = _unit(inside, channels)
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

    def __init__(self, dim: int = 512, scale: int = 1, kernel: Any = (7, 7), relu: bool = False, head: str = "linear"):
        super().__init__()
        act, first_act = [lambda channels: nn.ReLU6(), lambda channels: nn.ReLU()] if relu else [nn.PReLU] * 2
        width = 64 * scale
        self.stem = _unit(3, width, 3, 2, 1, act=act)
        self.first = _unit(width, width, 3, 1, 1, groups=64, act=first_act)
        self.pointwise = _unit(width, width, act=first_act) if relu else nn.Identity()
        self.blocks = nn.Sequential()
        for inside, channels, stride in _BLOCKS:
            self.blocks.append(Bottleneck(width, inside, channels * scale, stride, act))
            width = channels * scale
        self.last, self.whole = _unit(width, 512, act=act), _unit(512, 512, kernel, groups=512)
        flat = head == "linear"
        self.flatten = nn.Flatten() if flat else nn.Identity()
        self.linear = nn.Linear(512, dim, bias=False) if flat else nn.Conv2d(512, dim, 1, bias=head == "conv+bias")
        self.flat, self.bn = nn.Flatten(), nn.BatchNorm1d(dim)


def _spelled_out(names):
    """The names that ``a.{b,c}.d e`` stands for: a.b.d, a.c.d and e."""
    parts = (re.fullmatch(r"([^{]*){?([^}]*)}?(.*)", name).groups() for name in names.split())
    return [f"{before}{one}{after}" for before, inside, after in parts for one in inside.split(",")]


_TREB1EN = ("conv1.{conv,bn,prelu} conv2_dw.{conv,bn,prelu}",
    "conv_23 conv_3.model.{0,1,2,3} conv_34 conv_4.model.{0,1,2,3,4,5} conv_45 conv_5.model.{0,1}",
    "conv.{conv,bn,prelu} conv_dw.{conv,bn,prelu} project.{conv,bn}")  # fmt: skip

# The key that tells the variant → the head; what is known of it; the published modules that have weights, in the order
# of ours: those before the blocks, the blocks and what is within each of them, those after the blocks.
_VARIANTS: dict[str, tuple] = {
    # foamliu's MobileFaceNet: ReLU6
    "gdconv.depthwise.weight": ("conv+bias", {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        "conv1.{0,1} dw_conv.{depthwise,bn1,pointwise,bn2}", "features.{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14}.conv",
        "0.{0,1} 1.{0,1} {2,3}", "conv2.{0,1} gdconv.{depthwise,bn} conv3 bn"),
    # TreB1eN's InsightFace_Pytorch, face.evoLVe
    "conv_6_dw.conv.weight": ("linear", {}, *_TREB1EN, "conv_6_sep.{conv,bn,prelu} conv_6_dw.{conv,bn} linear bn"),
    # cavaface
    "output_layer.conv_6_dw.conv.weight": ("linear", {}, *_TREB1EN,
        "conv_6_sep.{conv,bn,prelu} output_layer.conv_6_dw.{conv,bn} output_layer.{linear,bn}"),
    # insightface's arcface_torch, "mbf"
    "features.layers.0.layers.0.weight": ("linear", {}, "layers.0.layers.{0,1,2} layers.1.layers.{0,1,2}",
        "layers.2 layers.3.layers.{0,1,2,3} layers.4 layers.5.layers.{0,1,2,3,4,5} layers.6 layers.7.layers.{0,1}",
        "layers.0.layers.{0,1,2} layers.1.layers.{0,1,2} layers.2.layers.{0,1}",
        "conv_sep.layers.{0,1,2} features.layers.0.layers.{0,1} features.layers.{2,3}"),
    # Xiaoccer's MobileFaceNet_Pytorch, 112×96 crops
    "linear7.conv.weight": ("conv", {"size": (112, 96), "mean": 127.5 / 255, "std": 128 / 255},
        "conv1.{conv,bn,prelu} dw_conv1.{conv,bn,prelu}", "blocks.{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14}.conv",
        "{0,1,2,3,4,5,6,7}", "conv2.{conv,bn,prelu} linear7.{conv,bn} linear1.{conv,bn}"),
}  # fmt: skip


def recognise(state: dict[str, Tensor]) -> tuple[nn.Module, dict, dict] | None:
    """The network for a checkpoint of such a layout and what is known of it; see :mod:`xfvlib.models.checkpoints`."""
    key = next((key for key in _VARIANTS if key in state), None)
    if key is None:
        return None
    head, known, *patterns = _VARIANTS[key]
    before, blocks, inside, after = map(_spelled_out, patterns)
    names = [*before, *(f"{block}.{part}" for block in blocks for part in inside), *after]
    width, dim = (len(state.get(f"{name}.weight", ())) for name in (names[0], names[-2]))
    network = MobileFaceNet(dim or 512, max(1, width // 64), tuple(state[key].shape[-2:]), head == "conv+bias", head)
    modules = dict(zip(dict.fromkeys(key.rsplit(".", 1)[0] for key in network.state_dict()), names, strict=True))
    published = {key: f"{modules[ours]}.{x}" for key in network.state_dict() for ours, x in [key.rsplit(".", 1)]}
    return network, published, {"name": "mobilefacenet", "families": ("mobilefacenet",)} | known
