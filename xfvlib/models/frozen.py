"""A trained network as an equal one that back-propagates to the pixels faster, for weights that will not change.

Autograd's batch norm and PReLU also compute what only training needs; here both become multiplications by constants.
"""

import torch
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


def frozen(network):
    """An equal network for evaluation: norms after convolutions folded into them, the others and PReLUs as multiplications.

    Args:
        network: a module that torch.fx can trace, with PReLUs on (B, C, H, W) only.

    Returns:
        A new module with the same outputs to rounding. Its weights are not those of the checkpoint any more.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d) and module.weight is None:  # which torch.fx's fuse cannot read
            module.weight = nn.Parameter(torch.ones_like(module.running_var))
            module.bias = nn.Parameter(torch.zeros_like(module.running_mean))
    network = fuse(network.eval())
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
    return network


def put(network, name, module):
    """Replace the submodule called ``name``."""
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)
