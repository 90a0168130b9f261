"""What every explanation method is: a function of two images, or two stages of which the first serves every partner."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import torch

from xfvlib.gradients import check_differentiable
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.perturb import Image, Map, Prepared, check_options, checked_image, embed_versions

Threshold = float | None  # None: the model's own
_SUPPLIED = {"model", "image", "reference", "prepared", "partner", "threshold", "embed"}


def embedding_of(model: FaceModel, image: Image) -> Prepared:
    """The least that follows from one image ``(3, H, W)``: ``{"embedding": (N,)}``, unit-length, on the CPU."""
    return {"embedding": embed_versions(model, lambda some: image[None], 1)[0]}


@dataclass(frozen=True)
class Method:
    """One explanation method, callable as ``method(model, image, reference, threshold=…, **options)`` → signed map
    ``(H, W)``.

    Either ``pair`` is given, or ``prepare`` and ``finish``. A stage gets what it has a parameter for, by name;
    parameters of other names are the method's options. Offered are ``model``; ``image`` and ``reference`` ``(3, H,
    W)``; the ``threshold``; and ``embed``, :func:`xfvlib.perturb.embed_versions` of the model, for methods that change
    pixels: they get the options ``batch``, images in a forward pass, and ``progress``, to show a bar. An option is
    checked before the stage sees it where its hint is a ``Literal``, or its name one of :data:`xfvlib.perturb.RANGES`.

    Attributes:
        pair: ``pair(model, image, reference, **options)`` → map ``(H, W)`` on the CPU.
        prepare: ``prepare(model, image, **options)`` → what follows from one image alone: a dict of tensors on the CPU.
            The image's ``"embedding"``, unit-length ``(N,)``, is added to it.
        finish: ``finish(prepared, partner, **options)`` → map ``(H, W)``. ``partner`` holds the partner's
            ``"embedding"``.
        gradients: whether the model must be differentiable.
        of_partner: from the options, whether ``finish`` needs all of the partner's preparation.
        passes: images through the network and back for a pair, by default; 0: not known.

    Example:
        >>> difference = Method(pair=lambda model, image, reference: (image - reference).mean(dim=0))
        >>> difference(None, torch.ones(3, 1, 2), torch.zeros(3, 1, 2))
        tensor([[1., 1.]])
    """

    pair: Callable[..., Map] | None = None
    prepare: Callable[..., Prepared] | None = None
    finish: Callable[..., Map] | None = None
    gradients: bool = False
    of_partner: Callable[[dict], bool] = lambda options: False
    passes: int = 0

    def __post_init__(self):
        if (self.pair is None) == (self.prepare is None or self.finish is None):
            raise TypeError(f"{self} is no method; pair, or both of prepare and finish, are needed")

    @property
    def options(self) -> list[str]:
        """Names of the method's options."""
        return sorted((_names(self.pair) | _names(self.prepare) | _names(self.finish)) - _SUPPLIED)

    def of_prepare(self, options: dict) -> dict:
        """Those of the options that the first stage takes: calls that agree in them can share a preparation."""
        return {name: options[name] for name in sorted(_names(self.prepare) & set(options))}

    def first(self, model: FaceModel, image: Image, options: dict) -> Prepared:
        """The first stage, or just the embedding where the method has none."""
        self._check(options)
        found = _run(self.prepare, options | {"model": model, "image": image}) if self.prepare else {}
        return found | embedding_of(model, image)

    def second(self, prepared: Prepared, partner: Prepared, options: dict, **supplied) -> Map:
        """The map ``(H, W)`` of an image from its preparation and its partner's.

        Supply ``threshold``, and ``model``, ``image``, ``reference``, which some methods ask for.
        """
        self._check(options)
        found = _run(self.finish or self.pair, options | {"prepared": prepared, "partner": partner} | supplied)
        size = supplied["image"].shape[-2:] if "image" in supplied else getattr(found, "shape", ())[-2:]
        if not torch.is_tensor(found) or found.is_complex() or found.shape != size or not found.isfinite().all():
            raise ValueError(f"the method made {found!r:.80}, where a map of finite numbers {tuple(size)} is needed")
        return found

    def _check(self, options):
        if unknown := sorted(set(options) - set(self.options)):
            raise TypeError(f"the method has no option {unknown[0]!r}; it has {str(self.options)[1:-1] or 'none'}")

    def maps(
        self, model: FaceModel, a: Image, b: Image, sides: int = 2, /, *, threshold: Threshold = None, **options
    ) -> tuple[Map, Any]:
        """Maps of ``a`` judged against ``b`` and, unless ``sides`` is 1, of ``b`` against ``a``.

        Raises:
            TypeError: the model has no gradients and the method needs them; an option that the method does not have.
            ValueError: the threshold is missing where it is needed, or outside [−1, 1]; what the stages refuse.
        """
        if self.gradients:
            check_differentiable(model)
        if threshold is not None or "threshold" in _names(self.finish or self.pair):
            threshold = decision_threshold(model, threshold)
        own = other = {}
        if self.prepare:
            own = self.first(model, a, options)
            other = self.first(model, b, options) if sides == 2 or self.of_partner(options) else embedding_of(model, b)
        supplied = {"model": model, "threshold": threshold}
        map_a = self.second(own, other, options, image=a, reference=b, **supplied)
        return map_a, self.second(other, own, options, image=b, reference=a, **supplied) if sides == 2 else None

    def __call__(self, model: FaceModel, image: Image, reference: Image, threshold: Threshold = None, **options) -> Map:
        return self.maps(model, image, reference, 1, threshold=threshold, **options)[0]


def _names(stage):
    """What a stage, if there is one, has a parameter for."""
    names = set(signature(stage).parameters) if stage else set()
    return names | {"batch", "progress"} if "embed" in names else names


def _run(stage, given):
    """Call a stage with what it has a parameter for, whatever the caller's gradient mode; numpy's numbers are
    Python's."""
    with torch.inference_mode(False), torch.enable_grad():
        given = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        for name in {"image", "reference"} & set(given):
            given[name] = checked_image(given[name], f"the {name}").detach().clone()
        check_options(stage, given)
        forward = {name: given[name] for name in ("batch", "progress") if name in given}
        given["embed"] = partial(embed_versions, given.get("model"), **forward)
        return stage(**{name: given[name] for name in signature(stage).parameters if name in given})
