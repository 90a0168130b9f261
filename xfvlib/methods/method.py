"""What every explanation method is: a function of two images, or two stages of which the first serves every partner."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xfvlib.evaluation import decision_threshold
from xfvlib.models import FaceModel
from xfvlib.perturb import check_count, embed_versions

Prepared = dict[str, Tensor]
Embed = Callable[[Callable[[slice], Tensor], int], Tensor]
_SUPPLIED = {"model", "image", "reference", "prepared", "partner", "threshold", "embed"}


def embedding_of(model: FaceModel, image: Tensor) -> Prepared:
    """The least that follows from one image ``(3, H, W)``: ``{"embedding": (N,)}``, unit-length, on the CPU."""
    with torch.no_grad():
        return {"embedding": model.embed(image[None])[0].cpu()}


@dataclass(frozen=True)
class Method:
    """One explanation method, callable as ``method(model, image, reference, threshold=…, **options)`` → signed map
    ``(H, W)``.

    Either ``pair`` is given, or ``prepare`` and ``finish``. A stage gets what it has a parameter for, by name;
    parameters of other names are the method's options. Offered are ``model``; ``image`` and ``reference`` ``(3, H,
    W)``; the ``threshold``; and ``embed``, :func:`xfvlib.perturb.embed_versions` of the model, for methods that change
    pixels: they get the options ``batch``, images in a forward pass, and ``progress``, to show a bar.

    Attributes:
        pair: ``pair(model, image, reference, **options)`` → map ``(H, W)`` on the CPU.
        prepare: ``prepare(model, image, **options)`` → what follows from one image alone: a dict of tensors on the CPU.
            The image's ``"embedding"``, unit-length ``(N,)``, is added to it.
        finish: ``finish(prepared, partner, **options)`` → map ``(H, W)``. ``partner`` holds the partner's
            ``"embedding"``.
        gradients: whether the model must be differentiable.
        of_partner: from the options, whether ``finish`` needs all of the partner's preparation.

    Example:
        >>> difference = Method(pair=lambda model, image, reference: (image - reference).mean(dim=0))
        >>> difference(None, torch.ones(3, 1, 2), torch.zeros(3, 1, 2))
        tensor([[1., 1.]])
    """

    pair: Callable[..., Tensor] | None = None
    prepare: Callable[..., Prepared] | None = None
    finish: Callable[..., Tensor] | None = None
    gradients: bool = False
    of_partner: Callable[[dict], bool] = lambda options: False

    @property
    def options(self) -> list[str]:
        """Names of the method's options."""
        return sorted(set().union(*map(_names, filter(None, (self.pair, self.prepare, self.finish)))) - _SUPPLIED)

    def of_prepare(self, options: dict) -> dict:
        """Those of the options that the first stage takes: calls that agree in them can share a preparation."""
        return {name: options[name] for name in sorted(options) if self.prepare and name in _names(self.prepare)}

    def first(self, model: FaceModel, image: Tensor, options: dict) -> Prepared:
        """The first stage, or just the embedding where the method has none."""
        found = _run(self.prepare, options | {"model": model, "image": image}) if self.prepare else {}
        return found | embedding_of(model, image)

    def second(self, prepared: Prepared, partner: Prepared, options: dict, **supplied) -> Tensor:
        """The map ``(H, W)`` of an image from its preparation and its partner's.

        Supply ``threshold``, and ``model``, ``image``, ``reference``, which some methods ask for.
        """
        return _run(self.finish or self.pair, options | {"prepared": prepared, "partner": partner} | supplied)

    def maps(
        self, model: FaceModel, a: Tensor, b: Tensor, *, sides: int = 2, threshold: float | None = None, **options
    ) -> tuple[Tensor, Any]:
        """Maps of ``a`` judged against ``b`` and, unless ``sides`` is 1, of ``b`` against ``a``.

        Raises:
            TypeError: the model has no gradients and the method needs them; an option that the method does not have.
            ValueError: the threshold is missing where it is needed, or outside [−1, 1]; what the stages refuse.
        """
        if self.gradients and not model.differentiable:
            raise TypeError(f"{model.name} has no gradients, which this method needs; others of xfv.METHODS need none")
        if unknown := sorted(set(options) - set(self.options)):
            known = ", ".join(map(repr, self.options)) or "none"
            raise TypeError(f"the method has no option {unknown[0]!r}; it has {known}")
        if threshold is not None or "threshold" in _names(self.finish or self.pair):
            threshold = decision_threshold(model, threshold)
        own = other = {}
        if self.prepare:
            own = self.first(model, a, options)
            other = self.first(model, b, options) if sides == 2 or self.of_partner(options) else embedding_of(model, b)
        supplied = {"model": model, "threshold": threshold}
        map_a = self.second(own, other, options, image=a, reference=b, **supplied)
        map_b = self.second(other, own, options, image=b, reference=a, **supplied) if sides == 2 else None
        return map_a, map_b

    def __call__(
        self, model: FaceModel, image: Tensor, reference: Tensor, threshold: float | None = None, **options
    ) -> Tensor:
        return self.maps(model, image, reference, sides=1, threshold=threshold, **options)[0]


def _names(stage):
    """What a stage has a parameter for."""
    names = set(signature(stage).parameters)
    return names | {"batch", "progress"} if "embed" in names else names


def _run(stage, given):
    """Call a stage with what it has a parameter for, whatever the caller's gradient mode; numpy's numbers are
    Python's."""
    with torch.inference_mode(False), torch.enable_grad():
        given = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        for name in {"image", "reference"} & set(given):
            if not isinstance(given[name], Tensor) or not given[name].is_floating_point():
                raise TypeError(
                    f"the {name} is {given[name]!r:.80}; a float tensor (3, H, W), RGB in [0, 1], is needed"
                )
            given[name] = given[name].detach().to(torch.float32, copy=True)
        if "seed" in given:
            check_count("seed", given["seed"], 0)
        forward = {name: given[name] for name in ("batch", "progress") if name in given}
        given["embed"] = partial(embed_versions, given.get("model"), **forward)
        return stage(**{name: given[name] for name in signature(stage).parameters if name in given})
