"""Reading published checkpoints: the family is recognised from the keys, every tensor must fit, no pickled object runs.

A family's file offers ``recognise(state)``: None, or ``(network, published, known)`` with the network to fill, the
published key of each of its keys where that differs, and what is known of it: ``name``, ``families``, preprocessing.
"""

import zipfile
from collections import defaultdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from xfvlib.models import ir, iresnet, mobilefacenet
from xfvlib.models.frozen import frozen

_LIGHTNING = ("pytorch_lightning", "lightning", "lightning_fabric")
_PREFIXES = ("module.", "model.", "backbone.", "network.")  # DataParallel, Lightning, and the like


def existing_file(path: str | PathLike) -> Path:
    """The path of a file that can be read; FileNotFoundError where there is none, or a folder or pipe."""
    path = Path(path).expanduser()
    if not path.is_file():
        found = "is no file" if path.exists() else "does not exist"
        raise FileNotFoundError(f"{path} {found}; a file of weights is needed")
    return path


def read_state(path: str | PathLike) -> dict[str, Tensor]:
    """State dict of a checkpoint: plain, DataParallel or Lightning, ``.safetensors`` or any that torch saves.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, not a checkpoint, or with Python objects beside the tensors, which are never executed.
    """
    path = existing_file(path)
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
        for key in ("state_dict", "model_state_dict", "net_state_dict", "net", "model", "backbone"):
            if isinstance(content, dict) and isinstance(content.get(key), dict):
                content = content[key]
        items = content.items() if isinstance(content, dict) else ()
        state = {str(key): value for key, value in items if isinstance(value, Tensor)}
        if not state:
            raise ValueError(f"a {type(content).__name__} without tensors, where a state dict is needed")
        _check_claim(path, sum(value.numel() * value.element_size() for value in state.values()))
    except Exception as error:  # a damaged file makes the readers raise anything
        raise ValueError(
            f"{path.name} is no checkpoint, damaged, or holds Python objects beside the weights, which are not run "
            f"(where you trust it, save its state dict alone): {next(iter(str(error).splitlines()), error)}"
        ) from error
    for prefix in _PREFIXES * 3:
        # where only some keys have a wrapper's prefix (Lightning), the others are the training head
        inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        state = inner if len(inner) > len(state) / 2 else state
    return state


def _load_torch(path: Path) -> Any:
    """What a file of torch's holds, with nothing but tensors made of it."""
    if not zipfile.is_zipfile(path):
        return torch.load(path, map_location="cpu", weights_only=True)
    with zipfile.ZipFile(path) as archive:
        _check_claim(path, sum(entry.file_size for entry in archive.infolist()))
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise ValueError("it is a TorchScript archive, a network: xfv.FaceModel(torch.jit.load(path))")
    # before Lightning's version 1.5 (AdaFace's files), callbacks are kept under their classes
    named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    inert: list[Any] = [(_Inert, name) for name in named if name.partition(".")[0] in _LIGHTNING]
    with torch.serialization.safe_globals(inert):
        return torch.load(path, map_location="cpu", weights_only=True)


class _Inert:
    """Stands for whatever a checkpoint names beside its weights, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _check_claim(path: Path, claimed: int) -> None:
    """ValueError where a file claims to hold more than it does: torch packs and repeats nothing, a bomb does."""
    if claimed > path.stat().st_size:
        raise ValueError(f"it claims tensors of {claimed:,} bytes, more than it has")


def load_checkpoint(path: str | PathLike, family: str | None = None) -> tuple[nn.Module, dict]:
    """The network of a published checkpoint, filled, and what is known of it.

    Args:
        path: of the file.
        family: "arcface", "elasticface", "curricularface", "adaface" or "mobilefacenet"; None to recognise it.

    Returns:
        ``(network, known)``: a frozen module, and its name and preprocessing as keyword arguments of FaceModel.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_state`; also an unknown layout, another family than was named,
            and missing, extra or misshapen keys, which are listed, and NaN. Nothing is loaded partly.
    """
    state, file = read_state(path), Path(path).name
    try:
        # the file says how large the network is: nothing takes memory before its tensors fit
        with torch.device("meta"):
            found = next(filter(None, (module.recognise(state) for module in (iresnet, ir, mobilefacenet))), None)
    except (TypeError, IndexError, ValueError, RuntimeError) as error:
        raise ValueError(f"{file}: its keys are known, but no network has tensors of such shapes ({error})") from error
    if found is None:
        keys = f"{', '.join(list(state)[:5])} …"
        raise ValueError(f"{file} has no known layout (IResNet, IR, MobileFaceNet): {keys}. Use xfv.FaceModel(module)")
    network, published, known = found
    families = known.pop("families")
    if family and family not in families:
        raise ValueError(f"{file} has the layout of {known['name']} ({' or '.join(families)}), not of {family}")
    _load_tensors(network, state, published, file)
    if family and family not in known["name"]:
        known["name"] = f"{family}-{known['name']}"
    return frozen(network), known


def _load_tensors(network: nn.Module, state: dict[str, Tensor], published: dict[str, str], file: str) -> None:
    """Load every tensor of ``state`` into the network, or none: ValueError with all keys that do not fit."""
    keys = {key: published.get(key, key) for key in network.state_dict()}
    wanted = {keys[key]: value.shape for key, value in network.state_dict().items()}
    counters = {name: torch.tensor(0.0) for name in wanted if name.endswith("num_batches_tracked")}  # not in all files
    state, problems = state | counters, defaultdict(list)
    for name in sorted(wanted.keys() | state.keys()):
        value, shape = state.get(name), wanted.get(name)
        if value is None:
            problems["missing"].append(name)
        elif shape is None:
            problems["extra"].append(name)
        elif value.shape != shape:
            problems["misshapen"].append(f"{name} {tuple(value.shape)} for {tuple(shape)}")
        elif not value.is_floating_point() or value.layout != torch.strided or value.is_meta:
            problems["not of float numbers"].append(f"{name} {value.dtype}")
        elif not value.float().isfinite().all():
            problems["with NaN or infinite values"].append(name)
    if problems:
        listed = [f"{len(x)} {kind}: {', '.join(x[:8])}{' …' * (len(x) > 8)}" for kind, x in problems.items()]
        raise ValueError(f"{file} does not fit its layout. {'; '.join(listed)}")
    network.to_empty(device="cpu").load_state_dict({key: state[name] for key, name in keys.items()})
