"""Reading published checkpoints: the family is recognised from the keys, every tensor must fit, no pickled object runs.

A family's file offers ``recognise(state)``: None, or ``(network, published, known)`` with the network to fill, the
published key of each of its keys where that differs, and what is known of it: ``name``, ``families``, preprocessing.
"""

import zipfile
from collections import defaultdict
from os import PathLike
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from xfvlib.extras import reworded
from xfvlib.models import ir, iresnet, mobilefacenet
from xfvlib.models.frozen import frozen


def existing_file(path: str | PathLike) -> Path:
    """The path of a file that can be read; FileNotFoundError where there is none, or a folder or pipe."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} {'is no file' if path.exists() else 'is absent'}: a file of weights is needed")
    return path


def _read_state(path: str | PathLike) -> dict[str, Tensor]:
    """State dict of a checkpoint: plain, DataParallel or Lightning, ``.safetensors`` or any that torch saves.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, not a checkpoint, or with Python objects beside the tensors, which are never executed.
    """
    path = existing_file(path)
    wrong = f"{path.name} is no checkpoint, damaged, or holds Python objects beside the weights, which are not run"
    advice = "save its state dict alone, where you trust it; for TorchScript, xfv.FaceModel(torch.jit.load(path))"
    with reworded(Exception, ValueError, f"{wrong}: {advice}"):  # a damaged file makes the readers raise anything
        found = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
        content: dict = found if isinstance(found, dict) else {}
        for key in ("state_dict", "model_state_dict", "net_state_dict", "net", "model", "backbone"):
            content = content[key] if isinstance(content.get(key), dict) else content
        state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if not state:
            raise ValueError(f"a {type(found).__name__} without tensors, where a state dict is needed")
        _check_claim(path, sum(value.numel() * value.element_size() for value in state.values()))
    for prefix in ("module.", "model.", "backbone.", "network.") * 3:  # of DataParallel, Lightning, and the like
        # where only some keys have a wrapper's prefix (Lightning), the others are the training head
        inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        state = inner if len(inner) > len(state) / 2 else state
    return state


def _load_torch(path):
    """What a file of torch's holds, with nothing but tensors made of it."""
    named = []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            _check_claim(path, sum(entry.file_size for entry in archive.infolist()))
        # before Lightning's version 1.5 (AdaFace's files), callbacks are kept under their classes
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    with torch.serialization.safe_globals([(_Inert, name) for name in named if "lightning" in name.split(".")[0]]):
        return torch.load(path, map_location="cpu", weights_only=True)


class _Inert:
    """Stands for whatever a checkpoint names beside its weights, and does nothing."""

    def __init__(self, *_, **__):
        pass


def _check_claim(path, claimed):
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
        FileNotFoundError, ValueError: see :func:`_read_state`; also an unknown layout, another family than was named,
            and missing, extra or misshapen keys, which are listed, and NaN. Nothing is loaded partly.
    """
    state, file = _read_state(path), Path(path).name
    wrong = f"{file} has no known layout (IResNet, IR, MobileFaceNet), or tensors of other shapes"
    advice = f"use xfv.FaceModel(module). Keys: {', '.join([*state][:5])} …"
    # the file says how large the network is: nothing takes memory before its tensors fit
    with reworded(Exception, ValueError, f"{wrong}; {advice}"), torch.device("meta"):
        network, published, known = next(filter(None, (x.recognise(state) for x in (iresnet, ir, mobilefacenet))))
    families, name = known.pop("families"), known["name"]
    if family and family not in families:
        raise ValueError(f"{file} has the layout of {name} ({' or '.join(families)}), not of {family}")
    keys = {key: published.get(key, key) for key in network.state_dict()}
    wanted = {keys[key]: value.shape for key, value in network.state_dict().items()}
    state |= {key: torch.tensor(0.0) for key in wanted if key.endswith("num_batches_tracked")}  # not in all files
    problems = defaultdict(list, missing=sorted(wanted.keys() - state), extra=sorted(state.keys() - wanted))
    for key in sorted(wanted.keys() & state):
        value, shape = state[key], wanted[key]
        floats = value.is_floating_point() and value.layout == torch.strided and not value.is_meta
        if value.shape != shape:
            problems["misshapen"].append(f"{key} {tuple(value.shape)} for {tuple(shape)}")
        elif not floats or not value.float().isfinite().all():
            problems["not of finite float numbers"].append(f"{key} {value.dtype}")
    if listed := [f"{len(x)} {kind}: {', '.join(x[:8])}{' …' * (len(x) > 8)}" for kind, x in problems.items() if x]:
        raise ValueError(f"{file} does not fit its layout. {'; '.join(listed)}")
    network.to_empty(device="cpu").load_state_dict({key: state[theirs] for key, theirs in keys.items()})
    return frozen(network), known | {"name": name if (family or "") in name else f"{family}-{name}"}
