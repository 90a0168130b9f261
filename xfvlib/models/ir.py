"""The IR networks of CurricularFace (Huang et al. 2020) and AdaFace (Kim et al. 2022), in their published key names."""

import re

from torch import nn

DEPTHS = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34, (3, 4, 14, 3): 50, (3, 13, 30, 3): 101}


class IRBlock(nn.Module):
    """Norm – conv – (norm) – PReLU – conv (strided) – norm, plus the shortcut.

    AdaFace has the norm in brackets, CurricularFace has not. The shortcut is a strided 1×1 convolution where the number
    of channels changes, and else takes every stride-th pixel.
    """

    def __init__(self, channels_in, channels, stride, inner_norm):
        super().__init__()
        layers = [nn.BatchNorm2d(channels_in), nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(channels)] if inner_norm else []
        layers += [nn.PReLU(channels), nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels)]
        self.res_layer = nn.Sequential(*layers)
        if channels_in == channels:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        return self.res_layer(x) + self.shortcut_layer(x)


class IR(nn.Sequential):
    """(B, 3, 112, 112) pixels as ``(x − 0.5) / 0.5``, RGB (CurricularFace) or BGR (AdaFace) → (B, dim) raw embeddings.

    Args:
        counts: blocks in each of the four stages, one of ``DEPTHS``.
        inner_norm: True for AdaFace, False for CurricularFace.
        affine: whether the last norm has weights.
        dim: N, channels of the embedding.
    """

    def __init__(self, counts, inner_norm, affine=False, dim=512):
        super().__init__()
        blocks, channels_in = [], 64
        for stage, count in enumerate(counts):
            channels = 64 * 2**stage
            for i in range(count):
                blocks.append(IRBlock(channels_in, channels, 2 if i == 0 else 1, inner_norm))
                channels_in = channels
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        self.body = nn.Sequential(*blocks)
        head = [nn.BatchNorm2d(512), nn.Dropout(0.4), nn.Flatten(), nn.Linear(512 * 7 * 7, dim), nn.BatchNorm1d(dim, affine=affine)]
        self.output_layer = nn.Sequential(*head)


def recognise(state):
    """The network for a checkpoint of this layout and what is known of it, or None; see :mod:`xfvlib.models.checkpoints`."""
    if not {"input_layer.0.weight", "body.0.res_layer.0.weight"} <= set(state):
        return None
    widths = {}
    for key, value in state.items():
        if found := re.fullmatch(r"body\.(\d+)\.res_layer\.1\.weight", key):
            widths[int(found[1])] = len(value)
    counts = tuple(list(widths.values()).count(width) for width in (64, 128, 256, 512))
    inner_norm = "body.0.res_layer.2.running_mean" in state
    family = "adaface" if inner_norm else "curricularface"
    dim = state["output_layer.3.bias"].numel() if "output_layer.3.bias" in state else 512
    network = IR(counts, inner_norm, affine="output_layer.4.weight" in state, dim=dim)
    known = {"name": f"{family}-ir-{DEPTHS.get(counts, counts)}", "families": (family,), "channels": "bgr" if inner_norm else "rgb"}
    return network, {}, known
