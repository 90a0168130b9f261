"""What every explanation method is: a function of two images, or two stages of which the first serves every partner."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature

import torch

from xfvlib.models import FaceModel

Prepared = dict[str, torch.Tensor]
_SUPPLIED = {"model", "image", "reference", "prepared", "partner", "threshold"}


@dataclass(frozen=True)
class Method:
    """One explanation method, callable as ``method(model, image, reference, threshold=…, **options)`` → signed map ``(H, W)``.

    Either ``pair`` is given, or ``prepare`` and ``finish``. A stage asks for the threshold by having a parameter of that name;
    every parameter that is not handed to it is an option of the method.

    Attributes:
        pair: ``pair(model, image, reference, **options)`` → map ``(H, W)`` on the CPU, for a method without a first stage.
        prepare: ``prepare(model, image, **options)`` → what follows from one image ``(3, H, W)`` alone: a dict of tensors on
            the CPU, among them ``"embedding"``, the unit-length ``(N,)``.
        finish: ``finish(prepared, partner, **options)`` → map ``(H, W)``, where ``partner`` is a dict that holds at least the
            partner's ``"embedding"``. No network runs, unless it asks for ``model`` and ``image`` too.
        gradients: the method needs a differentiable model.
        of_partner: called with the options: whether ``finish`` needs the whole preparation of the partner.

    Example:
        >>> brightness = Method(pair=lambda model, image, reference: image.mean(dim=0))
        >>> brightness(None, torch.ones(3, 2, 2), torch.ones(3, 2, 2))
        tensor([[1., 1.],
                [1., 1.]])
    """

    pair: Callable[..., torch.Tensor] | None = None
    prepare: Callable[..., Prepared] | None = None
    finish: Callable[..., torch.Tensor] | None = None
    gradients: bool = False
    of_partner: Callable[[dict], bool] = lambda options: False

    @property
    def options(self) -> list[str]:
        """Names of the options."""
        stages = [stage for stage in (self.pair, self.prepare, self.finish) if stage]
        return sorted({name for stage in stages for name in signature(stage).parameters} - _SUPPLIED)

    def first(self, model: FaceModel, image: torch.Tensor, options: dict | None = None) -> Prepared:
        """What follows from one image alone, on the CPU: :attr:`prepare`, or just the embedding for a method without that stage."""
        if self.prepare is None:
            return embedding_of(model, image)
        with torch.inference_mode(False), torch.enable_grad():
            return self.prepare(model, image, **self.of_prepare(options or {}))

    def of_prepare(self, options: dict) -> dict:
        """The options that the first stage takes: two calls that agree in them share their preparations."""
        taken = signature(self.prepare).parameters if self.prepare else ()
        return {name: value for name, value in sorted(options.items()) if name in taken}

    def second(self, prepared: Prepared, partner: Prepared, options: dict | None = None, **supplied) -> torch.Tensor:
        """The map ``(H, W)`` that follows, on the CPU; ``supplied``: ``threshold``, and ``model``, ``image``, ``reference`` for a method that runs the network."""
        stage, given = self.finish or self.pair, {"prepared": prepared, "partner": partner} | supplied | (options or {})
        with torch.inference_mode(False), torch.enable_grad():
            return stage(**{name: given[name] for name in signature(stage).parameters if name in given})

    def __call__(
        self, model: FaceModel, image: torch.Tensor, reference: torch.Tensor, *, threshold: float | None = None, **options
    ) -> torch.Tensor:
        return self.maps(model, image, reference, threshold=threshold, **options)[0]
