"""Grad-CAM of the cosine on a feature map (Selvaraju et al. 2017), by captum."""

import copy

import torch

from xfvlib.gradients import FaceModel, Image, Map, cosine_to
from xfvlib.perturb import check_known


def grad_cam(model: FaceModel, image: Image, reference: Image, *, layer: str | None = None) -> Map:
    """Grad-CAM map of ``image``: the channels of a feature map, weighted with the mean gradient of the cosine, without
    a ReLU.

    Args:
        model: a differentiable FaceModel.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        layer: name of the module of ``model.network`` that makes the feature map, one of :func:`_spatial_layers`; None
            for the last one, which may be coarse: 7×7 for sface and most others, 2×2 for dlib-resnet, whose
            ``"blocks.9"`` makes 8×8.

    Returns:
        ``(H, W)`` on the CPU, interpolated bilinearly: > 0 speaks for a match.

    Raises:
        ValueError: no module of that name makes a feature map, or none does.

    Source: the paper's equations 1 and 2, with the cosine in place of a class score; its ReLU would remove what speaks
        against a match.
    """
    from captum.attr import LayerGradCam  # here: captum imports matplotlib

    if not (layers := _spatial_layers(model)):
        raise ValueError(f"no layer of {model.name} makes a feature map larger than 1×1, which Grad-CAM needs")
    layer = layers[-1] if layer is None else layer
    check_known("layer", layer, layers)
    own = copy.deepcopy(model)  # captum puts hooks into it, which other threads must not meet
    coarse = LayerGradCam(cosine_to(own, reference), own.network.get_submodule(layer)).attribute(image[None]).detach()
    return torch.nn.functional.interpolate(coarse, tuple(image.shape[-2:]), mode="bilinear")[0, 0].cpu()


def _spatial_layers(model: FaceModel) -> list[str]:
    """Names of the modules of ``model.network`` that make a feature map ``(B, C, h, w)`` larger than 1×1, in the order
    they finish."""
    own, finished = copy.deepcopy(model), []
    for name, module in own.network.named_modules():
        module.register_forward_hook(lambda *call, name=name: finished.append((name, getattr(call[-1], "shape", ()))))
    own(torch.zeros(1, 3, *model.size))
    return [name for name, shape in finished if len(shape) == 4 and min(shape[2:]) > 1]
