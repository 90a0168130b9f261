"""Which part of one face was matched with which part of the other: the cosine without both, beside without either.

Taking a part out of one image says what the cosine loses with it, whatever it was matched with. Taking parts out of
both says whether they were matched with each other: the loss is then not the sum of the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from xfvlib.alignment import face_regions
from xfvlib.frequency import band_masks, keep_frequencies
from xfvlib.methods import Prepared, embedding_of
from xfvlib.models import FaceModel
from xfvlib.pairs import Pair
from xfvlib.perturb import Fill, Map, check_count, check_known, check_least, embed_versions, filled, scaled

__all__ = ["PLACES", "Interaction", "Places", "interaction", "matrix_of", "places_of", "prepare_places"]


@dataclass(frozen=True, eq=False)
class Places:
    """Parts of an image that can be taken out of it: R of them, all of one kind.

    Attributes:
        names: what figures and tables call them.
        weights: ``(R, H, W)`` in [0, 1], how much of each pixel goes; None: all pixels, of a band.
        masks: bool ``(R, H, W)``, the frequencies that go, in the order of ``torch.fft.fft2``; None: the pixels go, and
            a fill takes their place.
        centres: ``(R, 2)``, x and y in pixels; None where ``weights`` is.
    """

    names: list[str]
    weights: Any = None  # a Tensor or None, as the others: which of them is there, the kind of places says
    masks: Any = None

    @property
    def centres(self) -> Any:
        if self.weights is None:
            return None
        grid = torch.stack(torch.meshgrid(*map(torch.arange, self.weights.shape[1:]), indexing="ij")[::-1])
        return torch.einsum("rhw,chw->rc", self.weights, grid.float()) / self.weights.sum(dim=(1, 2))[:, None]

    def number(self, place: int | str | Sequence[float]) -> int:
        """Number of a place from its number, its name, or ``(x, y)`` in pixels, to which the nearest centre counts.

        Raises ValueError for what is none of these.
        """
        if isinstance(place, (tuple, list)) and len(place) == 2 and self.centres is not None:
            return int((self.centres - torch.tensor(place)).norm(dim=1).argmin())
        number = self.names.index(place) if place in self.names else place
        if not isinstance(number, int) or not 0 <= number < len(self.names):
            known = f"a number below {len(self.names)}, a name such as {self.names[0]!r}"
            raise ValueError(f"place is {place!r}; {known}, or (x, y) in pixels of an image is needed")
        return number

    def spread(self, values: Tensor) -> Map:
        """A value of each place ``(R,)`` as a map ``(H, W)``: at every pixel the mean of the places there.

        Raises ValueError for bands, which lie nowhere.
        """
        if self.weights is None:
            raise ValueError("bands lie nowhere in the image; a map needs places that are windows or regions")
        return torch.einsum("r,rhw->hw", values, self.weights) / self.weights.sum(dim=0).clamp(min=1e-3)


def _windows(model: FaceModel, *, step: float = 8, sigma: float = 7) -> Places:
    """Gaussian windows of height 1 on a grid; lengths in pixels of a 112-pixel image, scaled with the image."""
    blank = torch.zeros(3, *model.size)
    for name, value in (("step", step), ("sigma", sigma)):
        check_least(name, value, 0, above=True)
    apart, wide = scaled(step, blank), sigma * model.size[0] / 112
    grid = [torch.arange((n - 1) / 2 % apart, n - 1, apart) for n in model.size]
    inside = [at[(at >= (apart - 1) / 2) & (at <= n - (apart + 1) / 2)] for at, n in zip(grid, model.size)]
    along = [torch.exp(-(((torch.arange(n) - at[:, None]) / wide) ** 2) / 2) for at, n in zip(inside, model.size)]
    if not all(map(len, inside)):
        raise ValueError(f"step is {step}; it leaves no window in an image of {model.size}: make it smaller")
    names = [f"x {x:.0f}, y {y:.0f}" for y in inside[0] for x in inside[1]]
    return Places(names, torch.einsum("yh,xw->yxhw", *along).flatten(0, 1))


def _regions(model: FaceModel) -> Places:
    """The regions of :func:`xfvlib.alignment.face_regions`, those that lie on both sides as two: left in the image."""
    found: dict[str, Tensor] = {}
    left = torch.arange(model.size[1]) < model.size[1] / 2
    for name, weights in face_regions(model).items():
        sides = {"left ": left, "right ": ~left} if name in ("eyes", "cheeks", "margins") else {"": True}
        found |= {f"{side}{name.removesuffix('s') if side else name}": weights * there for side, there in sides.items()}
    return Places(list(found), torch.stack([*found.values()]))


def _bands(model: FaceModel, *, width: float = 1, edges: Any = None, shape: str = "ring") -> Places:
    """Bands of spatial frequency, as :func:`xfvlib.frequency.band_numbers` makes them; band 0 is DC."""
    masks = band_masks(torch.zeros(3, *model.size), width=width, edges=edges, shape=shape)
    return Places([f"band {k}" if k else "DC" for k in range(len(masks))], masks=masks)


def _bands_in_windows(
    model: FaceModel, *, step: float = 20, sigma: float = 12, edges: Any = (4, 8, 16), shape: str = "ring"
) -> Places:
    """Each band but DC within each window."""
    where, masks = _windows(model, step=step, sigma=sigma), _bands(model, edges=edges, shape=shape).masks[1:]
    names = [f"band {k} at {window}" for k in range(1, 1 + len(masks)) for window in where.names]
    return Places(names, where.weights.repeat(len(masks), 1, 1), masks.repeat_interleave(len(where.names), 0))


PLACES: dict[str, Callable[..., Places]] = {
    "windows": _windows, "regions": _regions, "bands": _bands, "bands in windows": _bands_in_windows
}  # fmt: skip


def places_of(model: FaceModel, kind: str = "windows", **options: Any) -> Places:
    """The places of one kind in a model's images.

    Args:
        model: a FaceModel, which says size and alignment.
        kind: "windows", soft ones on a grid; "regions" of the face; "bands" of frequency; or "bands in windows".
        options: of windows ``step`` between them and ``sigma`` in pixels of a 112-pixel image; of bands ``edges``,
            ``shape`` and, outside windows, ``width``, as for :func:`xfvlib.frequency.band_numbers`.

    Returns:
        :class:`Places`

    Raises:
        ValueError: an unknown kind; lengths that are not above 0 or leave no window; bands out of range.
        TypeError: an option that these places do not have.

    Example:
        >>> from xfvlib import load_model
        >>> len(places_of(load_model(), "windows", step=16).names)
        49
    """
    check_known("places", kind, PLACES)
    known = [name for name in signature(PLACES[kind]).parameters if name != "model"]
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(f"{kind} have no option {unknown[0]!r}; they have {', '.join(known) or 'none'}")
    return PLACES[kind](model, **options)


def prepare_places(
    model: FaceModel, image: Tensor, places: Places, *, fill: Fill = "blur", seed: int = 0, batch: int = 32
) -> Prepared:
    """First stage: what follows from one image alone, whoever its partner. Needs no gradients.

    Args:
        model: a FaceModel.
        image: ``(3, H, W)`` in the model's size, RGB in [0, 1].
        places: from :func:`places_of`.
        fill, seed: what takes the place of pixels, as for :func:`xfvlib.perturb.filled`; bands leave 0.
        batch: images in a forward pass.

    Returns:
        On the CPU, unit-length: ``"embedding"`` ``(N,)`` of the image, and ``"without"`` ``(R, N)``, those of the image
        without each place.

    Raises:
        ValueError: places of another size than the image; an unknown fill.
    """
    other = filled(image, fill, seed)
    given = next(x for x in (places.weights, places.masks) if x is not None)
    if given.shape[1:] != image.shape[1:]:
        raise ValueError(f"places are of {tuple(given.shape[1:])}, the image {tuple(image.shape)}: use one model's")

    def without(some):
        gone = image - other if places.masks is None else keep_frequencies(image, places.masks[some])
        return image - (gone if places.weights is None else places.weights[some, None] * gone)

    found = embed_versions(model, without, len(places.names), batch=batch)
    return embedding_of(model, image) | {"without": found}


def matrix_of(prepared: Prepared, partner: Prepared) -> Tensor:
    """Second stage: the interaction of each place of an image with each of its partner's, ``(R, S)``, in units of
    cosine.

    I(r, s) = cos(A, B) − cos(A∖r, B) − cos(A, B∖s) + cos(A∖r, B∖s) = (F_A − F_A(r)) · (F_B − F_B(s)): what both places
    give to the cosine together, and neither without the other.

    Args:
        prepared, partner: of the two images, from :func:`prepare_places`.

    Source: the second difference of the cosine, which is bilinear in both embeddings, so that the last step is exact.
    """
    a, b = (one["embedding"] - one["without"] for one in (prepared, partner))
    return a @ b.T


@dataclass(frozen=True, eq=False)
class Interaction:
    """Which part of the probe was matched with which part of the reference.

    Attributes:
        pair, score: what was explained, and its cosine similarity.
        places_a, places_b: R places of the probe and S of the reference.
        matrix: ``(R, S)`` in units of cosine: > 0, losing both places costs less than the two losses add up to, as
            it would where one was compared with the other; < 0, it costs more.
        a, b: ``(R,)`` and ``(S,)``, what the cosine loses with a place of one image alone: the occlusion maps.
    """

    pair: Pair
    score: float
    places_a: Places
    places_b: Places
    matrix: Tensor
    a: Tensor
    b: Tensor

    def from_a(self, place: int | str | Sequence[float]) -> Tensor:
        """What a place of the probe, given as for :meth:`Places.number`, finds in the reference: ``(S,)``."""
        return self.matrix[self.places_a.number(place)]

    def from_b(self, place: int | str | Sequence[float]) -> Tensor:
        """What a place of the reference finds in the probe: ``(R,)``."""
        return self.matrix[:, self.places_b.number(place)]

    def strongest(self, count: int = 5, apart: float = 16) -> pd.DataFrame:
        """The strongest couples, the highest first.

        Args:
            count: how many at most.
            apart: pixels of a 112-pixel image. A couple is left out when both its places lie nearer than this to those
                of a stronger one: windows overlap, and their couples would fill the table. Bands have no distance.

        Returns:
            A table with columns ``probe, reference`` (names), ``interaction, a, b`` (numbers of the places in ``row,
            column``).

        Raises ValueError for a count that is no whole number of at least 1.
        """
        check_count("count", count)
        near = []
        for places in (self.places_a, self.places_b):
            at, size = places.centres, self.pair.a.shape[-2]
            same = torch.eye(len(places.names)) > 0
            near.append(same if at is None else same | (torch.cdist(at, at) < apart * size / 112))
        left, rows = self.matrix.clone(), list[tuple]()
        while len(rows) < count and left.max() > -torch.inf:
            r, s = divmod(int(left.argmax()), left.shape[1])
            names = self.places_a.names[r], self.places_b.names[s]
            rows.append((*names, float(self.matrix[r, s]), float(self.a[r]), float(self.b[s]), r, s))
            left[near[0][r][:, None] & near[1][s]] = -torch.inf
        return pd.DataFrame(rows, columns=["probe", "reference", "interaction", "a", "b", "row", "column"])


def interaction(
    model: FaceModel,
    pair: Pair,
    places: str | Places | Sequence = "windows",
    *,
    fill: Fill = "blur",
    seed: int = 0,
    batch: int = 32,
    **options: Any,
) -> Interaction:
    """Take places out of both images of a pair, and see which were matched with each other. Needs no gradients.

    R + S forward passes give all R × S couples. What one image's cost serves every partner: see
    :func:`prepare_places`.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        places: a kind that :func:`places_of` knows, :class:`Places`, or two of these for probe and reference, such as
            ("bands", "windows").
        fill, seed, batch: as for :func:`prepare_places`.
        options: of the places, as for :func:`places_of`; with two kinds each gets those that it has.

    Returns:
        :class:`Interaction`

    Raises:
        TypeError: no Pair, or an option that no places have.
        ValueError: unknown places or fill.

    Example:
        >>> from xfvlib import load_model, load_pairs
        >>> model = load_model()
        >>> i = interaction(model, load_pairs("orl", model=model)[0], "regions")
        >>> i.matrix.shape, i.places_a.names[0], len(i.strongest(3))
        (torch.Size([10, 10]), 'forehead', 3)
    """
    if not isinstance(pair, Pair):
        raise TypeError(f"pair is a {type(pair).__name__}; a Pair is needed: xfv.Pair(a, b), or one of a PairSet")
    both = [places, places] if isinstance(places, (str, Places)) else list(places)
    if len(both) != 2:
        raise ValueError(f"places are {len(both)}; one kind, or two for probe and reference, are needed")
    taken = [{*signature(PLACES[kind]).parameters} if kind in [*PLACES] else set() for kind in both]
    if unknown := sorted(set(options) - set().union(*taken)):
        raise TypeError(f"the places {' and '.join(map(str, both))} have no option {unknown[0]!r}")
    chosen: list[Any] = [
        kind if isinstance(kind, Places) else places_of(model, kind, **{x: options[x] for x in known & set(options)})
        for kind, known in zip(both, taken)
    ]
    a, b = (
        prepare_places(model, image, where, fill=fill, seed=seed, batch=batch)
        for image, where in zip((pair.a, pair.b), chosen)
    )
    of_a, of_b = ((one["embedding"] - one["without"]) @ other["embedding"] for one, other in ((a, b), (b, a)))
    score = float(a["embedding"] @ b["embedding"])
    return Interaction(pair, score, chosen[0], chosen[1], matrix_of(a, b), of_a, of_b)
