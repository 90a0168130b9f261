"""Changed versions of an image: where it is changed, what takes the place of its pixels, and what the recogniser makes
of it."""

from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from numbers import Integral, Real
from typing import Literal, get_args, get_origin

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from tqdm import tqdm

from xfvlib.models import FaceModel

Image = Tensor  # (3, H, W), RGB in [0, 1]
Map = Tensor  # (H, W)
Prepared = dict[str, Tensor]
Change = Callable[[slice], Tensor]  # some versions of an image, (B, 3, H, W)
Embed = Callable[[Change, int], Tensor]  # of so many versions, (count, N)
Fill = Literal["black", "mean", "blur", "noise"]
FILLS = get_args(Fill)


def filled(image: Image, fill: str, seed: int = 0) -> Image:
    """What takes the place of deleted pixels, ``(3, H, W)``: "black", the image's "mean" colour, a "blur" of it, or
    uniform "noise" of a seed."""
    check_known("fill", fill, FILLS)
    image = checked_image(image)
    if fill == "mean":
        return image.mean(dim=(1, 2), keepdim=True).expand_as(image)
    if fill == "blur":
        return torch.from_numpy(gaussian_filter(image.numpy(), image.shape[-1] / 10, axes=(1, 2)))
    if fill == "noise":
        return torch.rand(image.shape, generator=torch.Generator().manual_seed(int(seed)))
    return torch.zeros_like(image)


@torch.no_grad()
def embed_versions(model: FaceModel, changed: Change, count: int, *, batch: int = 32, progress: bool = False) -> Tensor:
    """Embeddings of many versions of an image, of which only one batch exists at a time. Needs no gradients.

    Args:
        model: a FaceModel.
        changed: callable, a slice of ``range(count)`` → those versions ``(B, 3, H, W)``; called once a batch, in order.
        count: how many versions there are.
        batch: images in a forward pass; memory grows with it.
        progress: show a progress bar.

    Returns:
        Unit-length ``(count, N)`` on the CPU.

    Raises:
        ValueError: batch is not a whole number of at least 1.
    """
    check_count("batch", batch)
    starts = tqdm(range(0, count, batch), disable=not progress, leave=False)
    return torch.cat([model.embed(changed(slice(first, min(first + batch, count)))).cpu() for first in starts])


def squares(corners: Tensor, side: int, size: Sequence[int]) -> list[Tensor]:
    """Squares on an image, as the rows and the columns that they cover; their product is the mask.

    Args:
        corners: int ``(…, 2)``, first row and first column of each square.
        side: of the squares in pixels.
        size: (H, W) of the image.

    Returns:
        ``(rows, columns)``, float ``(…, H)`` and ``(…, W)`` of 0 and 1.

    Example:
        >>> squares(torch.tensor([1, 0]), 2, (4, 3))
        [tensor([0., 1., 1., 0.]), tensor([1., 1., 0.])]
    """
    places = [torch.arange(n, device=corners.device) - corners[..., axis, None] for axis, n in enumerate(size)]
    return [((place >= 0) & (place < side)).float() for place in places]


def occluded(embed: Embed, image: Image, corners: Tensor, side: int, fill: str = "black", seed: int = 0) -> Prepared:
    """What follows from an image alone when squares of it are filled.

    Args:
        embed: :func:`embed_versions` of a model.
        image: ``(3, H, W)``.
        corners, side: of M squares, as for :func:`squares`.
        fill, seed: as for :func:`filled`.

    Returns:
        On the CPU: embeddings ``"occluded"`` ``(M, N)`` of its versions, and the squares' ``"rows"`` ``(M, H)`` and
        ``"columns"`` ``(M, W)``.
    """
    (rows, columns), other = squares(corners, side, image.shape[-2:]), filled(image, fill, seed)

    def filled_in(some):
        # exact where the weight is 0 or 1, and five times as fast as torch.where, which broadcasts slowly
        return torch.lerp(image, other, rows[some, None, :, None] * columns[some, None, None, :])

    return {"occluded": embed(filled_in, len(rows)), "rows": rows, "columns": columns}


def spread(values: Tensor, placed: dict[str, Tensor], some: Tensor | slice = slice(None)) -> Map:
    """Sum at every pixel of the values ``(M,)`` of the squares, or of ``some`` of them, that cover it: ``(H, W)``.

    Example:
        >>> rows, columns = squares(torch.tensor([[0, 0], [0, 1]]), 2, (2, 3))
        >>> spread(torch.tensor([1.0, 10.0]), {"rows": rows, "columns": columns})
        tensor([[ 1., 11., 10.],
                [ 1., 11., 10.]])
    """
    return placed["rows"][some].T @ (values[:, None] * placed["columns"][some])


def scaled(pixels: float, image: Image, base: int = 112) -> int:
    """A length on an image ``base`` pixels high as whole pixels, at least 1, of ``image`` ``(3, H, W)``; ValueError
    unless it is above 0."""
    check_least("a length in pixels", pixels, 0, above=True)
    return max(1, round(pixels * image.shape[-2] / base))


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raise a ValueError unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")


def check_least(name: str, value: float, least: float, above: bool = False, most: float = torch.inf) -> None:
    """Raise a ValueError unless ``value`` is a finite number of at least ``least``, or above it."""
    number = isinstance(value, Real) and not isinstance(value, bool) and value < torch.inf
    if not number or not (value > least if above else value >= least) or value > most:
        needed = f"{'above' if above else 'a number of at least'} {least}" + f", at most {most}" * (most < torch.inf)
        raise ValueError(f"{name} is {value!r}; it must be {needed}")


def check_known(name: str, value: object, known: Iterable) -> None:
    """Raise a ValueError that lists the ``known`` values unless ``value`` is one of them."""
    if not isinstance(value, (str, int)) or value not in known:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, known))}")


def check_options(function: Callable, given: dict) -> None:
    """Raise a ValueError for an argument out of range: what the parameter's hint, a ``Literal``, does not list, or a
    number that :data:`RANGES` refuses under its name. Defaults are not looked at."""
    for name, parameter in signature(function).parameters.items():
        if name in given and given[name] is not parameter.default:
            if get_origin(parameter.annotation) is Literal or parameter.annotation is bool:
                check_known(name, given[name], get_args(parameter.annotation) or (True, False))
            elif name in RANGES:
                check, *limits = RANGES[name]
                check(name, given[name], *limits)


def check_side(name: str, side: int, image: Image) -> int:
    """``side``; ValueError unless a square of so many pixels leaves a part of ``image`` ``(3, H, W)`` uncovered."""
    if side >= min(image.shape[-2:]):
        raise ValueError(f"{name} makes squares of {side} pixels, which cover {tuple(image.shape)}; make it smaller")
    return side


def checked_image(image: Image, name: str = "the image") -> Image:
    """An image ``(3, H, W)`` as float32 on the CPU.

    Raises a TypeError for what is no float tensor, and a ValueError for another shape, NaN or infinite values.
    """
    if not isinstance(image, Tensor) or not image.is_floating_point() or image.layout != torch.strided or image.is_meta:
        given = f"{name} is a {type(image).__name__} {getattr(image, 'dtype', '')}"
        raise TypeError(f"{given}; a float tensor (3, H, W), RGB in [0, 1], is needed: see xfv.align")
    if (
        image.dim() != 3
        or image.shape[0] != 3
        or not image.numel()
        or not (image := image.cpu().float()).isfinite().all()
    ):
        raise ValueError(f"{name} is {tuple(image.shape)}, or has NaN or infinite values; (3, H, W) is needed")
    return image


# what an option of each name must be, whichever function has it
_COUNTS = ("batch", "block", "channels_at_once", "draws", "groups", "patches", "samples", "steps", "superpixels")
RANGES: dict = dict.fromkeys((*_COUNTS, "tmax", "workers"), (check_count, 1)) | {"masks": (check_count, 2)}
RANGES |= dict.fromkeys(("control", "seed"), (check_count, 0))
RANGES |= dict.fromkeys(("blur", "compactness", "keep_bytes", "noise"), (check_least, 0))
RANGES |= dict.fromkeys(("sigma", "step"), (check_least, 0, True)) | {"threshold": (check_least, -1, False, 1)}
RANGES |= dict.fromkeys(("stop", "th"), (check_least, -torch.inf))
