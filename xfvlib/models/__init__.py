"""Face recognisers behind one interface: RGB crops in, unit-length embeddings out."""

from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import Any

import pandas as pd
import torch
from torch import nn

from xfvlib.files import DATA
from xfvlib.models import checkpoints, dlib_resnet, frbench, onnx
from xfvlib.models.facemodel import FaceModel

__all__ = ["FaceModel", "load_model"]

# what needs no file: name → the function that gives ``(network, what is known of it)``; the first is the default
BUNDLED = {"dlib-resnet": dlib_resnet.load_network}
FROM_FILE = ("arcface", "elasticface", "curricularface", "adaface", "mobilefacenet", "onnx")


@torch.inference_mode(False)  # weights made in that mode could not be used outside it
def load_model(name: str | None = None, weights: str | PathLike | None = None, **preprocessing: Any) -> FaceModel:
    """A face recogniser by its name, or from a file of weights.

    Args:
        name: without weights, "dlib-resnet", the offline default (150×150 crops → 128 numbers), or "frbench:…", a key
            of the package frbench such as "frbench:irse-50/arcface/ms1m". With weights, the family: "arcface",
            "elasticface", "curricularface", "adaface", "mobilefacenet" or "onnx"; None to recognise it from the file.
        weights: path of a checkpoint (plain, DataParallel or Lightning; anything that torch saves, or safetensors) or
            ONNX file. Nothing in it is executed.
        preprocessing: ``size``, ``mean``, ``std``, ``channels`` or ``alignment`` where the file differs from what its
            family was published with; see :class:`FaceModel`. With any of it, the kept threshold does not hold.

    Returns:
        :class:`FaceModel`; one from a file has no threshold yet, see ``xfv.calibrate``.

    Raises:
        ValueError: unknown name (the known ones are listed), a file of another layout, missing, extra or misshapen
            keys; what :class:`FaceModel` refuses.
        FileNotFoundError: a file is missing.
        ImportError: a package is missing; which one, and how to install it.

    Example:
        >>> load_model().dim
        128
        >>> load_model(weights="backbone.pth")  # doctest: +SKIP
    """
    name = ("" if weights is not None else next(iter(BUNDLED))) if name is None else str(name)
    load: Callable[[], tuple[nn.Module, dict]]
    if weights is None and name in BUNDLED:
        load = BUNDLED[name]
    elif weights is None and name.startswith("frbench:"):
        load = partial(frbench.load_network, name.removeprefix("frbench:"))
    elif weights is not None and name in ("", *FROM_FILE):
        onnx_file = name == "onnx" or str(weights).lower().endswith(".onnx")
        load = partial(onnx.load_network, weights) if onnx_file else partial(checkpoints.load_checkpoint, weights, name)
    else:
        raise ValueError(
            f"there is no model {name!r} {'without' if weights is None else 'with'} weights=. Without: "
            f"{', '.join(BUNDLED)}, frbench:…; with the path of a file (see xfvlib/models/README.md): "
            f"{', '.join(FROM_FILE)}; your own network: xfv.FaceModel(module)"
        )
    network, known = load()
    kept = {} if preprocessing else _kept_threshold(name)
    return FaceModel(network, **({"name": name} | kept | known | preprocessing))


def _kept_threshold(name: str) -> dict:
    """The kept threshold of a model and its source as keyword arguments of FaceModel, or nothing."""
    kept = pd.read_csv(DATA / "thresholds.csv", encoding="utf8").rename(columns={"source": "threshold_source"})
    return next(iter(kept[kept.pop("model") == name].to_dict("records")), {})
