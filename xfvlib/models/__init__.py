"""Face recognisers behind one interface: RGB crops in, unit-length embeddings out."""

from os import PathLike
from typing import Any

import pandas as pd
import torch

from xfvlib.extras import extra, reworded
from xfvlib.files import DATA
from xfvlib.models import checkpoints, dlib_resnet, onnx, sface
from xfvlib.models.facemodel import FaceModel

__all__ = ["FaceModel", "load_model"]

# what needs no file: name → the function that gives ``(network, what is known of it)``; the first is the default
BUNDLED = {"sface": sface.load_network, "dlib-resnet": dlib_resnet.load_network}
FROM_FILE = ("arcface", "elasticface", "curricularface", "adaface", "mobilefacenet", "onnx")


@torch.inference_mode(False)  # weights made in that mode could not be used outside it
def load_model(name: str | None = None, weights: str | PathLike | None = None, **preprocessing: Any) -> FaceModel:
    """A face recogniser by its name, or from a file of weights.

    Args:
        name: without weights, one of the two that come along, "sface", the default (112×112 crops → 128 numbers), or
            "dlib-resnet" (150×150 → 128); or "frbench:…", a key of the package frbench such as
            "frbench:irse-50/arcface/ms1m". With weights, the family: "arcface", "elasticface", "curricularface",
            "adaface", "mobilefacenet" or "onnx"; None to recognise it from the file.
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
    if weights is None and name in BUNDLED:
        network, known = BUNDLED[name]()
    elif weights is None and name.startswith("frbench:"):
        network, known = _from_frbench(name.removeprefix("frbench:"))
    elif weights is not None and name in ("", *FROM_FILE):
        is_onnx = name == "onnx" or str(weights).lower().endswith(".onnx")
        network, known = onnx.load_network(weights) if is_onnx else checkpoints.load_checkpoint(weights, name)
    else:
        known = f"{', '.join(BUNDLED)}, frbench:…; with the path of a file {', '.join(FROM_FILE)}; or FaceModel(module)"
        raise ValueError(f"no model {name!r} {'with' if weights else 'without'} weights=; without: {known}")
    table = pd.read_csv(
        DATA / "thresholds.csv", index_col="model", usecols=["model", "threshold", "source"], encoding="utf8"
    )
    kept = {} if preprocessing else table.rename(columns={"source": "threshold_source"}).to_dict("index").get(name, {})
    return FaceModel(network, **({"name": name} | kept | known | preprocessing))


def _from_frbench(key):
    """``(network, known)`` for a key "backbone/loss/data" of frbench's zoo, such as "irse-50/arcface/ms1m".

    frbench fetches the weights from its own release page the first time, and keeps them.

    Raises:
        ImportError: frbench is not installed.
        ValueError: the key has not three parts, frbench does not know it, or could not fetch its weights.
    """
    with extra("frbench"):
        import frbench
    wrong = f"frbench has no {key!r}; give backbone/loss/data, as irse-50/arcface/ms1m"
    with reworded((KeyError, ValueError, frbench.FRBenchError), ValueError, wrong):
        backbone, loss, data = key.split("/")
        zoo = frbench.FR(backbone, loss, data, eager_load=True)
    made = zoo.preprocessor
    return zoo.backbone, {"size": tuple(zoo.input_size), "mean": made.mean, "std": made.std, "channels": made.channel}
