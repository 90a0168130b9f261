"""How a live figure gets into a page: its pictures and numbers packed, each kept once, and the scripts that draw it."""

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor, nn

from xfvlib import extras, plots

with extras.extra("notebooks"):
    import matplotlib as mpl
    from IPython.display import HTML

GREY, DASHED = "#222", "5 3"


class Sheet:
    """The pictures and the maps of one figure. Each method keeps what it is given and returns its number."""

    def __init__(self):
        self.pictures, self.maps = {}, {}

    def picture(self, image: Tensor, side: int | None = None) -> int:
        """An image ``(3, H, W)``, RGB in [0, 1], in grey; made smaller where a side in pixels is given."""
        if side:
            image = nn.functional.interpolate(image[None], (side, side), mode="bilinear", antialias=True)[0]
        return self.coloured(image.mean(dim=0, keepdim=True).expand(3, -1, -1))

    def coloured(self, image: Tensor) -> int:
        """An image ``(3, H, W)``, RGB in [0, 1]; all of one figure have one size."""
        pixels = (255 * image.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
        return self.pictures.setdefault((pixels.shape, pixels.tobytes()), len(self.pictures))

    def signed(self, saliency: Tensor, side: int) -> int:
        """A signed map ``(H, W)``, by its means in ``side`` × ``side`` fields, in steps of 1/127 of its largest."""
        size = [min(side, pixels) for pixels in saliency.shape]
        small = nn.functional.interpolate(saliency[None, None].double(), size, mode="area")[0, 0]
        scale = float(f"{float(small.abs().max()) / 127 or 1:.5g}")
        values = (small / scale).round().clamp(-127, 127).to(torch.int8).numpy()
        return self.maps.setdefault((*size, scale, values.tobytes()), len(self.maps))

    def hidden(self, mask: Tensor) -> int:
        """What is painted black: bool ``(H, W)``."""
        return self.maps.setdefault((*mask.shape, 1, mask.to(torch.int8).numpy().tobytes()), len(self.maps))

    def _photographs(self):
        """All pictures side by side as one JPEG: their tables and headers would outweigh small ones."""
        shape = next(iter(self.pictures))[0]
        cell, columns = [-(-n // 16) * 16 for n in shape[:2]], int(np.ceil(np.sqrt(len(self.pictures))))
        whole = np.zeros((-(-len(self.pictures) // columns), cell[0], columns, cell[1], 3), np.uint8)
        for (_, pixels), number in self.pictures.items():
            padded = [(0, n - m) for n, m in zip(cell, shape)] + [(0, 0)]
            one = np.pad(np.frombuffer(pixels, np.uint8).reshape(shape), padded, "edge")
            whole[number // columns, :, number % columns] = one
        whole, file = whole.reshape(len(whole) * cell[0], columns * cell[1], 3), BytesIO()
        Image.fromarray(whole).save(file, "jpeg", quality=80, optimize=True)
        uri = f"data:image/jpeg;base64,{text_of(file.getvalue())}"
        return {"uri": uri, "columns": columns, "cell": cell, "size": shape[:2]}

    def packed(self) -> dict[str, Any]:
        """What :func:`figure` puts into the page."""
        numbers = np.frombuffer(b"".join(values for *_, values in self.maps), np.int8)
        steps = np.diff(numbers, prepend=np.int8(0))  # a sum of bytes undoes it, whatever has overflown
        ends = np.cumsum([0, *(rows * columns for rows, columns, *_ in self.maps)]).tolist()
        return {
            "sheet": self._photographs() if self.pictures else None,
            "maps": [[*known[:3], start] for known, start in zip(self.maps, ends)],
            "numbers": text_of(zlib.compress(steps.tobytes(), 9)),
        }


def text_of(data: bytes) -> str:
    """Bytes as a page holds them."""
    return base64.b64encode(data).decode()


def page(view: str, given: dict[str, Any], label: str) -> HTML:
    """A figure in a page: what it is given, the scripts that draw it, and words for those who run none or see none.

    Args:
        view: "figure" or "interaction", the name of its script.
        given: what the script needs, but for the palette.
        label: what the figure shows.
    """
    palette = (255 * mpl.colormaps[plots.SIGNED](np.linspace(0, 1, 255))[:, :3]).astype(int).ravel().tolist()
    data = json.dumps(given | {"palette": palette}, separators=(",", ":"))
    name = f"xfv-{hashlib.sha256(data.encode()).hexdigest()[:12]}"
    scripts = [files("xfvlib").joinpath(f"{one}.js").read_text(encoding="utf8") for one in ("live", f"live_{view}")]
    data = data.replace("<", "\\u003c")  # no name can end the script
    return HTML(
        f'<div class="{name}" role="group" aria-label="{html.escape(label)}"></div>'
        "<noscript>This figure needs JavaScript.</noscript>"
        f"<script>(() => {{\n{''.join(scripts)}\n"
        f'document.querySelectorAll(".{name}:empty").forEach((root) => {view}View(root, {data}));\n}})();</script>'
    )


def figure(
    sheet: Sheet,
    label: str,
    controls: Sequence[dict],
    panels: Sequence[dict],
    status: Sequence,
    charts: Sequence[dict] = (),
    *,
    shown: dict | None = None,
    width: int = 150,
    each: bool = False,
) -> HTML:
    """A figure of controls, panels that they choose, a sentence and charts.

    Args:
        sheet: holds the pictures and maps that the panels name by number.
        label: what the figure shows.
        controls: of :func:`slider` and :func:`select`.
        panels: ``{"title": …, "photos": …}``, with ``"map"``, ``"hidden"`` or ``"frame"``; each may be a table of
            :func:`by`. A map is ``{"first": number}``, or with ``second``, ``score`` and ``level``, first + (score −
            level) · second.
        status: pieces of the sentence: words, tables of words, ``{"line": number}`` for the marker's value on a line of
            the first chart, or ``{"reached": score, "level": …, "words": [below, else]}``.
        charts: of :func:`chart`.
        shown: table of lists of panels; None for all.
        width: of a picture, in pixels of the page.
        each: every map has a full colour of its own; else those shown together share one.
    """
    given = {"controls": controls, "panels": panels, "status": status, "charts": charts, "shown": shown}
    return page("figure", given | sheet.packed() | {"width": width, "each": each}, label)


def by(controls: Iterable[int], entries: Iterable) -> dict[str, Any]:
    """A table: one entry for each state of the controls with these numbers, the last control running fastest."""
    return {"by": [*controls], "of": [*entries]}


def slider(label: str, options: Sequence[str], start: int) -> dict[str, Any]:
    """A slider over named steps."""
    return {"label": label, "options": [*options], "start": start, "slider": True}


def select(label: str, options: Iterable[str], start: int = 0) -> dict[str, Any]:
    """A list to choose from."""
    return {"label": label, "options": [*options], "start": start}


def line(x: ArrayLike, y: Any, name: str = "", colour: str = GREY, **looks) -> dict[str, Any]:
    """A line of a chart: ``x`` and ``y`` of one length, or a table of such for ``y``; looks are ``dash``, ``fill``."""
    y = y if isinstance(y, dict) else short(y)
    return {"x": short(x), "y": y, "name": name, "colour": colour} | looks


def level(value: Any, name: str, colour: str = "#777", *, upright: bool = False) -> dict[str, Any]:
    """A dashed line across a chart, or upright; the value may be a table."""
    return {"value": value, "name": name, "colour": colour, "dash": DASHED, "upright": upright}


def chart(
    at: int,
    marks: ArrayLike,
    lines: Sequence[dict],
    xlabel: str,
    ylabel: str,
    xrange: Sequence,
    yrange: Sequence,
    *,
    xticks: Iterable | None = None,
    levels: Sequence[dict] = (),
    dots: bool = True,
) -> dict[str, Any]:
    """Lines with a marker that one of the controls moves.

    Args:
        at: the control.
        marks: where its steps lie on the axis.
        lines: of :func:`line`; with ``dots`` they have a value for each mark.
        xlabel, ylabel: with units.
        xrange, yrange: (low, high), and True for a logarithmic axis.
        xticks: values, or (value, text); None for some by themselves.
        levels: of :func:`level`.
        dots: the marker is a dot on each line, too.
    """
    ticks = [xticks if xticks is not None else _ticks(*xrange[:2]), _ticks(*yrange[:2])]
    ticks = [[one if isinstance(one, tuple) else (float(one), f"{one:g}") for one in some] for some in ticks]
    return {
        "at": at, "marks": short(marks), "lines": lines, "levels": levels, "dots": dots,
        "xlabel": xlabel, "ylabel": ylabel, "xrange": xrange, "yrange": yrange, "xticks": ticks[0], "yticks": ticks[1],
    }  # fmt: skip


def _ticks(low, high):
    found = mpl.ticker.MaxNLocator(5).tick_values(low, high).round(10)
    return found[(found >= low) & (found <= high)]


def short(values: ArrayLike) -> list[float]:
    """Numbers in five digits, as many as a chart can show."""
    return [float(f"{value:.5g}") for value in np.asarray(values, float)]
