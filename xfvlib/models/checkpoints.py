"""Reading published checkpoints: the family is recognised from the keys, every tensor must fit, no pickled object runs.

A family's file offers ``recognise(state)``: None, or ``(network, published, known)`` with the network to fill, the
published key of each of its keys where that differs, and what is known of it: ``name``, ``families``, preprocessing.
"""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from xfvlib.models import ir, iresnet, mobilefacenet
from xfvlib.models.frozen import frozen

LIGHTNING = ("pytorch_lightning", "lightning", "lightning_fabric")
PREFIXES = ("module.", "model.", "backbone.", "network.")  # DataParallel, Lightning, and the like


def read_state(path):
    """State dict ``{key: float32 tensor}`` of a checkpoint: plain, DataParallel or Lightning, ``.safetensors`` or any that torch saves.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, not a checkpoint, or with Python objects beside the tensors, which are never executed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name} is empty")
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with torch.serialization.safe_globals([(Inert, name) for name in lightning_names(path)]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path.name} is no checkpoint, or holds Python objects beside the weights, which are not executed. Where you trust it, save "
            "its state dict alone: torch.save(torch.load(path, weights_only=False)['state_dict'], 'weights.pt'). "
            f"torch says: {str(error).splitlines()[0]}"
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = f"damaged or no checkpoint: {str(error).splitlines()[0]}"
        if "TorchScript" in reason:
            reason = "a TorchScript archive, a network and no checkpoint: xfv.FaceModel(torch.jit.load(path))"
        raise ValueError(f"{path.name} is {reason}") from error
    for key in ("state_dict", "model_state_dict", "net_state_dict", "net", "model", "backbone"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError(f"{path.name} holds a {type(content).__name__} without tensors; a state dict is needed")
    state = {str(key): value.float() for key, value in content.items() if isinstance(value, torch.Tensor)}
    return without_prefix(state)


class Inert:
    """Stands for whatever a checkpoint names beside its weights, and does nothing."""

    def __init__(self, *_, **__):
        pass

    def __setstate__(self, state):
        pass


def lightning_names(path):
    """Classes of PyTorch Lightning that a checkpoint names: before its version 1.5 (AdaFace's files), callbacks are kept under theirs."""
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError):  # a file older than torch's zip format, or none of torch's
        return []
    return [name for name in named if name.partition(".")[0] in LIGHTNING]


def without_prefix(state):
    """The state dict with wrappers' prefixes taken off; where only some keys have one (Lightning), the others are the training head."""
    for prefix in PREFIXES:
        inner = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        if len(inner) > len(state) / 2:
            return without_prefix(inner)
    return state


def load_checkpoint(path, family=None):
    """The network of a published checkpoint, filled, and what is known of it.

    Args:
        path: of the file.
        family: "arcface", "elasticface", "curricularface", "adaface" or "mobilefacenet"; None to recognise it.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_state`; also an unknown layout, another family than was named, and
            missing, extra or misshapen keys, which are listed. Nothing is loaded partly.
    """
    state = read_state(path)
    found = next((match for match in (module.recognise(state) for module in (iresnet, ir, mobilefacenet)) if match), None)
    if found is None:
        raise ValueError(
            f"{Path(path).name}: no known layout has its keys ({', '.join(list(state)[:5])} …). Known: IResNet, IR, MobileFaceNet. "
            "For another network: xfv.FaceModel(module)"
        )
    network, published, known = found
    families = known.pop("families")
    if family and family not in families:
        raise ValueError(f"{Path(path).name} has the layout of {known['name']} ({' or '.join(families)}), not of {family}")
    fill(network, state, published, Path(path).name)
    network = frozen(network)
    return network, known | ({"name": f"{family}-{known['name']}"} if family and family not in known["name"] else {})


def fill(network, state, published, file):
    """Load every tensor of ``state`` into the network, or none: ValueError with all keys that do not fit."""
    names = {published.get(key, key): key for key in network.state_dict()}
    counter = {name for name in names if name.endswith("num_batches_tracked")}  # not in files older than torch 0.4.1
    shapes = {name: tuple(network.state_dict()[key].shape) for name, key in names.items()}
    problems = {
        "missing": sorted(set(names) - set(state) - counter),
        "extra": sorted(set(state) - set(names)),
        "misshapen": [
            f"{name} {tuple(state[name].shape)} for {shapes[name]}"
            for name in names
            if name in state and tuple(state[name].shape) != shapes[name] and name not in counter
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{len(keys)} {kind}: {', '.join(keys[:8])}{' …' * (len(keys) > 8)}" for kind, keys in problems.items() if keys)
        raise ValueError(f"{file} does not fit its layout. {listed}")
    tensors = {key: state[name] for name, key in names.items() if name in state and name not in counter}
    network.load_state_dict(tensors, strict=False)
