"""A trained network as an equal one that back-propagates to the pixels faster, for weights that will not change.

Autograd's batch norm and PReLU also compute what only training needs; here both become multiplications by constants.
Wide convolutions back-propagate by tiles (Winograd), with fewer multiplications. No module keeps anything of a pass.
"""

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.experimental.optimization import fuse

from xfvlib.extras import reworded


def _per_channel(values, x):
    """``(C,)`` values, one for each channel of ``x``, ``(B, C)`` or ``(B, C, …)``, with axes to multiply by."""
    return values.view(-1, *(1,) * (x.dim() - 2))


class Affine(nn.Module):
    """A batch norm in evaluation mode: scale and shift of every channel, or its shift alone."""

    def __init__(self, norm: Any):
        super().__init__()
        scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
        self.scale, self.shift = nn.Buffer(scale), nn.Buffer(norm.bias.detach() - norm.running_mean * scale)

    def forward(self, x):
        shift = _per_channel(self.shift, x)
        return x + shift if self.scale is None else x * _per_channel(self.scale, x) + shift


class Slopes(nn.Module):
    """A PReLU whose slopes stay as they are: each value times 1 or its channel's slope."""

    def __init__(self, act: nn.PReLU):
        super().__init__()
        self.register_buffer("slope", act.weight.detach())

    def forward(self, x):
        if not (torch.is_grad_enabled() and x.requires_grad):
            return F.prelu(x, self.slope.to(x.dtype))
        slope = _per_channel(self.slope, x)
        # lerp, whose ends are exact, is three times as fast as torch.where on processors without AVX-512
        return x * torch.lerp(slope, torch.ones_like(slope), (x.detach() > 0).to(slope.dtype))


def _tile_matrices(points=(0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)):
    """Winograd's matrices (on filter, on tile, on product) that make 4 × 4 results of a 3×3 convolution.

    They read a tile of 2 pixels more. Values at the points and the last coefficient, the value at infinity, tell a
    polynomial; two are multiplied by their values, and the transpose of that is a convolution. These points keep the
    rounding below 2e-6 of the result; the usual 0, ±1, ±2 double it.

    Source: Lavin and Gray, CVPR 2016; both axes at once by the Kronecker product.
    """
    # from 3, 4 and 6 coefficients to the values
    three, four, six = (np.vstack([np.vander(points, n, increasing=True), np.eye(n)[-1]]) for n in (3, 4, 6))
    return [torch.from_numpy(np.kron(one, one)) for one in (three, np.linalg.inv(six).T, four.T)]


_ON_FILTER, _ON_TILE, _ON_PRODUCT = _tile_matrices()


class BackwardByTiles(torch.autograd.Function):
    """A 3×3 convolution, padding 1, whose backward pass goes by 6×6 tiles: 36 products for 16 sums of 9.

    Its filters get no gradient.
    """

    @staticmethod
    def forward(ctx, x, weight, bias):
        turned = weight.flip(2, 3).permute(2, 3, 0, 1)  # a convolution's backward pass is one with its filters turned
        ctx.filters = (_ON_FILTER.to(weight) @ turned.reshape(9, -1)).view(36, *turned.shape[2:])
        return F.conv2d(x, weight, bias, padding=1)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.to(ctx.filters.dtype).permute(0, 2, 3, 1)  # under autocast they differ
        _, height, width, channels = gradient.shape
        padded = F.pad(gradient, (0, 0, 1, 1 + -width % 4, 1, 1 + -height % 4))
        tiles = padded.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3)
        product = (_ON_TILE.to(gradient) @ tiles.reshape(36, -1)).view(36, -1, channels) @ ctx.filters
        found = (_ON_PRODUCT.to(gradient) @ product.view(36, -1)).view(4, 4, *tiles.shape[2:5], -1)
        found = found.permute(2, 3, 0, 4, 1, 5).flatten(3, 4).flatten(1, 2)
        return found[:, :height, :width].permute(0, 3, 1, 2), None, None


class ByTiles(nn.Module):
    """A wide 3×3 convolution whose backward pass goes by tiles where that is faster: on a CPU, for a batch.

    With eight images one pass gains what transforming the filters costs, and every further pass through the graph is a
    gain. Half precision would lose too much in the tiles.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        pays = x.device.type == "cpu" and len(x) >= 8 and x.dtype in (torch.float32, torch.float64)
        if pays and torch.is_grad_enabled() and x.requires_grad:
            return BackwardByTiles.apply(x, self.conv.weight, self.conv.bias)
        return self.conv(x)


_PLAIN = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1,
          "padding_mode": "zeros"}  # fmt: skip


def _is_wide(conv):
    """Whether tiles pay: a plain 3×3 convolution of so many channels that its products outweigh making the tiles."""
    return isinstance(conv, nn.Conv2d) and _PLAIN.items() <= vars(conv).items() and min(conv.weight.shape[:2]) >= 128


def _is_norm(module):
    return isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_var is not None


def frozen(network: nn.Module) -> nn.Module:
    """An equal copy of a network for evaluation: norms folded into convolutions, the others and PReLUs multiplications.

    Args:
        network: a module that torch.fx can trace: its forward pass asks for no values of a tensor. It stays as it is.

    Returns:
        A new module with the same outputs to rounding. Its weights are not those of the checkpoint any more, and not
        for training: wide convolutions give theirs no gradient.

    Raises:
        ValueError: torch.fx cannot trace the network, or a layer with weights is used twice.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        >>> x = torch.rand(1, 3, 8, 8)
        >>> torch.allclose(frozen(network)(x), network(x), atol=1e-6)
        True
    """
    kind, types = type(network).__name__, {x.dtype for x in network.parameters()}
    network = copy.deepcopy(network).eval().double()  # rounded once: the same weights on every processor
    for module in network.modules():
        if _is_norm(module) and module.weight is None:  # which torch.fx's fuse cannot read
            module.weight, module.bias = (nn.Parameter(torch.full_like(module.running_var, x)) for x in (1, 0))
    with reworded(Exception, ValueError, f"{kind} cannot be frozen, torch.fx does not follow it: use it as it is"):
        traced = torch.fx.symbolic_trace(network)
    calls = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    if twice := {name for name in calls if calls.count(name) > 1 and traced.get_submodule(name).state_dict()}:
        raise ValueError(f"{kind} cannot be frozen, it runs {', '.join(sorted(twice))} more than once: use it as it is")
    fused: Any = fuse(traced, inplace=True, no_trace=True)
    modules = dict(fused.named_modules())
    for node in fused.graph.nodes:  # a norm before a convolution: its scale goes into the filters, its shift stays
        norm, conv = (modules.get(x.target) if x.op == "call_module" else None for x in (node, *node.users, node)[:2])
        if _is_norm(norm) and isinstance(conv, nn.Conv2d) and len(node.users) == 1 == conv.groups:
            affine: Any = Affine(norm)
            if affine.scale.abs().min() > 1e-4:
                conv.weight.data *= _per_channel(affine.scale, conv.weight)
                affine.shift, affine.scale = affine.shift / affine.scale, None
                fused.set_submodule(node.target, affine)
    kinds = {Slopes: lambda module: isinstance(module, nn.PReLU), Affine: _is_norm, ByTiles: _is_wide}
    for name, module in list(fused.named_modules()):
        for faster in (kind for kind, fits in kinds.items() if fits(module)):
            fused.set_submodule(name, faster(module))
    return fused.to(types.pop() if len(types) == 1 else torch.float32)
