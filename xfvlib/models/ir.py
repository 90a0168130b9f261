"""The IR networks of CurricularFace (Huang et al. 2020) and AdaFace (Kim et al. 2022), in their published key names."""

from fnmatch import filter as keys_like
from itertools import pairwise

from torch import Tensor, nn

from xfvlib.models.iresnet import convolution, projection

_DEPTHS = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34, (3, 4, 14, 3): 50, (3, 13, 30, 3): 101}


class IRBlock(nn.Module):
    """Norm – conv – (norm) – PReLU – conv (strided) – norm, plus the shortcut.

    AdaFace has the norm in brackets, CurricularFace has not. The shortcut is a strided 1×1 convolution where the number
    of channels changes, and else takes every stride-th pixel.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, inner_norm: bool):
        super().__init__()
        norm = [nn.BatchNorm2d(channels)] if inner_norm else []
        first = [nn.BatchNorm2d(channels_in), convolution(channels_in, channels), *norm, nn.PReLU(channels)]
        self.res_layer = nn.Sequential(*first, convolution(channels, channels, stride=stride), nn.BatchNorm2d(channels))
        same = channels_in == channels
        self.shortcut_layer = nn.MaxPool2d(1, stride) if same else projection(channels_in, channels, stride)

    def forward(self, x):
        return self.res_layer(x) + self.shortcut_layer(x)


class IR(nn.Sequential):
    """(B, 3, 112, 112) pixels as ``(x − 0.5) / 0.5``, RGB (CurricularFace) or BGR (AdaFace) → (B, dim) raw embeddings.

    Args:
        counts: blocks in each of the four stages, such as (3, 4, 14, 3).
        inner_norm: True for AdaFace, False for CurricularFace.
        affine: whether the last norm has weights.
        dim: N, channels of the embedding.
    """

    def __init__(self, counts: tuple, inner_norm: bool, affine: bool = False, dim: int = 512):
        super().__init__()
        self.input_layer = nn.Sequential(convolution(3, 64), nn.BatchNorm2d(64), nn.PReLU(64))
        self.body = nn.Sequential()
        for count, (before, channels) in zip(counts, pairwise((64, 64, 128, 256, 512))):
            self.body.append(IRBlock(before, channels, 2, inner_norm))
            self.body.extend(IRBlock(channels, channels, 1, inner_norm) for _ in range(count - 1))
        head = [nn.BatchNorm2d(512), nn.Dropout(0.4), nn.Flatten(), nn.Linear(512 * 7 * 7, dim)]
        self.output_layer = nn.Sequential(*head, nn.BatchNorm1d(dim, affine=affine))


def recognise(state: dict[str, Tensor]) -> tuple[nn.Module, dict, dict] | None:
    """The network for a checkpoint of this layout and what is known of it; see :mod:`xfvlib.models.checkpoints`."""
    if not {"input_layer.0.weight", "body.0.res_layer.0.weight"} <= state.keys():
        return None
    widths = [len(state[key]) for key in keys_like(state, "body.*.res_layer.1.weight")]
    counts: tuple = tuple(widths.count(width) for width in (64, 128, 256, 512))
    inner_norm = "body.0.res_layer.2.running_mean" in state
    network = IR(counts, inner_norm, "output_layer.4.weight" in state, len(state.get("output_layer.3.bias", ())) or 512)
    family, channels = ("adaface", "bgr") if inner_norm else ("curricularface", "rgb")
    known = {"name": f"{family}-ir-{_DEPTHS.get(counts, counts)}", "families": (family,), "channels": channels}
    return network, {}, known
