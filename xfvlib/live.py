"""Figures that move without a kernel: arrays and plain JavaScript in the page, for JupyterLab and for pages of a
notebook."""

import base64
import hashlib
import html
import json
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from xfvlib import extras, plots
from xfvlib.interaction import Interaction, Places

with extras.extra("notebooks"):
    import matplotlib as mpl
    from IPython.display import HTML

_GRID = 28  # numbers a side of a place's weights in the page


def show_interaction_live(i: Interaction) -> HTML:
    """An interaction to explore: point at a place of either face, and the other face shows what it finds there.

    Mouse, touch, or the arrow keys. It needs no kernel and loads nothing; 169 windows take about 300 KB.

    Args:
        i: from :func:`xfvlib.interaction`, with places that lie in the image: windows or regions.

    Raises:
        ValueError: places that are bands.

    Example:
        >>> show_interaction_live(interaction(model, pair))  # doctest: +SKIP
    """
    largest = float(i.matrix.abs().max()) or 1.0
    told = [f"probe {i.pair.name_a}", f"reference {i.pair.name_b}"]
    sides = [_side(*one) for one in zip(told, (i.pair.a, i.pair.b), (i.places_a, i.places_b))]
    if sides[0]["weights"] == sides[1]["weights"]:  # half of the page
        del sides[1]["weights"]
    given = {
        "sides": sides,
        "matrix": _packed(np.round(i.matrix.numpy() / largest * 32767).astype("<i2")),
        "largest": largest / 32767,
        "score": i.score,
        "grid": _GRID,
        "palette": (255 * mpl.colormaps[plots.SIGNED](np.linspace(0, 1, 255))[:, :3]).astype(int).ravel().tolist(),
    }
    data = json.dumps(given, separators=(",", ":"))
    name = f"xfv-{hashlib.sha256(data.encode()).hexdigest()[:12]}"
    script = files("xfvlib").joinpath("live.js").read_text(encoding="utf8")
    label = html.escape(f"{told[0]} and {told[1]}: which part of one was matched with which part of the other")
    data = data.replace("<", "\\u003c")  # no name can end the script
    return HTML(
        f'<div class="{name}" role="group" aria-label="{label}"></div>'
        "<noscript>This figure needs JavaScript.</noscript>"
        f"<script>(() => {{\n{script}\n"
        f'document.querySelectorAll(".{name}:empty").forEach((root) => interactionView(root, {data}));\n}})();</script>'
    )


def _side(title: str, image: Tensor, places: Places) -> dict[str, Any]:
    """What the page needs of one image."""
    if places.weights is None:
        raise ValueError("bands lie nowhere in the image; the live figure needs windows or regions: see show_chart")
    picture = BytesIO()
    grey = (255 * image.mean(dim=0).clamp(0, 1)).round().byte().numpy()
    Image.fromarray(grey).save(picture, "png", optimize=True)
    weights = nn.functional.interpolate(places.weights[None], (_GRID, _GRID), mode="area")[0]
    size = places.centres.new_tensor(image.shape[:0:-1])
    return {
        "title": title,
        "names": places.names,
        "image": f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}",
        "weights": _packed((255 * weights).round().byte().numpy()),
        "centres": (places.centres / size).round(decimals=4).flatten().tolist(),
    }


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
