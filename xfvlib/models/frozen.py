"""A trained network as an equal one that back-propagates to the pixels faster, for weights that will not change.

Autograd's batch norm and PReLU also compute what only training needs; here both become multiplications by constants. Wide
convolutions back-propagate by tiles (Winograd), with fewer multiplications.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.experimental.optimization import fuse


class Affine(nn.Module):
    """A batch norm in evaluation mode: scale and shift of every channel."""

    def __init__(self, norm):
        super().__init__()
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shape = (-1, 1, 1) if isinstance(norm, nn.BatchNorm2d) else (-1,)
        self.register_buffer("scale", scale.detach().view(shape))
        self.register_buffer("shift", (norm.bias - norm.running_mean * scale).detach().view(shape))

    def forward(self, x):
        return x * self.scale + self.shift


class Shift(nn.Module):
    """What is left of a batch norm whose scale went into the convolution behind it; it costs a backward pass nothing."""

    def __init__(self, shift):
        super().__init__()
        self.register_buffer("shift", shift)

    def forward(self, x):
        return x + self.shift


class Slopes(nn.Module):
    """A PReLU whose slopes stay as they are: each value times 1 or its channel's slope."""

    def __init__(self, act):
        super().__init__()
        self.register_buffer("slope", act.weight.detach().view(-1, 1, 1))

    def forward(self, x):
        return x * torch.where(x.detach() > 0, torch.ones_like(self.slope), self.slope)


def tile_matrices(points=(0, 2 / 3, -2 / 3, 3 / 2, -3 / 2), side=4):
    """Winograd's matrices (on filter, on tile, on product) that make side × side results of a 3×3 convolution from a tile of 2 more.

    The transpose of multiplying two polynomials by their values at the points and at infinity: the filter is read at the points,
    and the other two matrices are those of interpolation and evaluation turned round. These points keep the rounding below
    2e-6 of the result; with the usual 0, ±1, ±2 it is twice as large.

    Source: Lavin and Gray, CVPR 2016; both axes at once by the Kronecker product.
    """
    at_infinity = np.eye(side)[:, -1:]
    others = [[q for q in points if q != p] for p in points]
    scale = [[np.prod(np.subtract(p, rest))] for p, rest in zip(points, others)]
    on_product = np.hstack([np.vander(points, side, increasing=True).T, at_infinity])
    on_filter = np.vstack([np.vander(points, 3, increasing=True) / scale, [0, 0, 1]])
    on_tile = np.vstack([*([*np.poly(rest)[::-1], 0] for rest in others), np.poly(points)[::-1]])
    return [torch.from_numpy(np.kron(one, one)) for one in (on_filter, on_tile, on_product)]


ON_FILTER, ON_TILE, ON_PRODUCT = tile_matrices()


class BackwardByTiles(torch.autograd.Function):
    """A 3×3 convolution, padding 1, whose backward pass goes by 6×6 tiles: 36 products for 16 sums of 9. Its filters get no gradient."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        turned = weight.flip(2, 3).permute(2, 3, 0, 1)  # a convolution's backward pass is one with its filters turned
        ctx.filters = (ON_FILTER.to(weight) @ turned.reshape(9, -1)).view(36, *turned.shape[2:])
        return F.conv2d(x, weight, bias, padding=1)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.permute(0, 2, 3, 1)
        batch, height, width, channels = gradient.shape
        padded = F.pad(gradient, (0, 0, 1, 1 + -width % 4, 1, 1 + -height % 4))
        tiles = padded.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3)
        rows, columns = tiles.shape[3:5]
        product = (ON_TILE.to(gradient) @ tiles.reshape(36, -1)).view(36, -1, channels) @ ctx.filters
        found = (ON_PRODUCT.to(gradient) @ product.view(36, -1)).view(4, 4, batch, rows, columns, -1)
        found = found.permute(2, 3, 0, 4, 1, 5).reshape(batch, 4 * rows, 4 * columns, -1)
        return found[:, :height, :width].permute(0, 3, 1, 2), None, None


class ByTiles(nn.Module):
    """A wide 3×3 convolution whose backward pass goes by tiles where that is faster: on a CPU, for a batch.

    With eight images one pass gains what transforming the filters costs, and every further pass through the graph is a gain.
    """

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        if torch.is_grad_enabled() and x.requires_grad and x.device.type == "cpu" and len(x) >= 8:
            return BackwardByTiles.apply(x, self.conv.weight, self.conv.bias)
        return self.conv(x)


def wide(conv):
    """Whether going by tiles pays: a plain 3×3 convolution of so many channels that its products outweigh making the tiles."""
    plain = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
    return plain and conv.padding_mode == "zeros" and min(conv.in_channels, conv.out_channels) >= 128


def frozen(network):
    """An equal copy of a network for evaluation: norms after convolutions folded into them, the others and PReLUs as multiplications.

    Args:
        network: a module that torch.fx can trace, with PReLUs on (B, C, H, W) only.

    Returns:
        A new module with the same outputs to rounding. Its weights are not those of the checkpoint any more, and not for
        training: wide convolutions give theirs no gradient.
    """
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d) and module.weight is None:  # which torch.fx's fuse cannot read
            module.weight = nn.Parameter(torch.ones_like(module.running_var))
            module.bias = nn.Parameter(torch.zeros_like(module.running_mean))
    network = fuse(network, inplace=True)
    modules = dict(network.named_modules())
    for node in network.graph.nodes:  # a norm before a convolution: its scale goes into the filters, its shift stays
        norm, conv = (modules.get(x.target) if x.op == "call_module" else None for x in (node, next(iter(node.users), node)))
        if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d) and len(node.users) == 1 and conv.groups == 1:
            affine = Affine(norm)
            if affine.scale.abs().min() > 1e-4:
                conv.weight.data *= affine.scale.view(1, -1, 1, 1)
                put(network, node.target, Shift(affine.shift / affine.scale))
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.PReLU):
            put(network, name, Slopes(module))
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            put(network, name, Affine(module))
        elif isinstance(module, nn.Conv2d) and wide(module):
            put(network, name, ByTiles(module))
    return network


def put(network, name, module):
    """Replace the submodule called ``name``."""
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)
