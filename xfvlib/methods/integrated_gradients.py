"""Integrated Gradients of the cosine (Sundararajan, Taly, Yan 2017), by captum."""

from torch import Tensor

from xfvlib.gradients import cosine_to
from xfvlib.models import FaceModel
from xfvlib.perturb import FILLS, check_count, check_known, filled


def integrated_gradients(
    model: FaceModel, image: Tensor, reference: Tensor, *, steps: int = 50, baseline: str = "black", batch: int = 16
) -> Tensor:
    """What each pixel adds to the cosine on the straight way from a baseline image to ``image``, summed over colour.

    Args:
        model: a differentiable FaceModel.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        steps: points of the Gauss–Legendre rule on the way.
        baseline: where it begins, one of :data:`xfvlib.perturb.FILLS`.
        batch: points in a forward and backward pass; memory grows with it.

    Returns:
        ``(H, W)`` on the CPU, in units of cosine: with enough steps the pixels add up to the cosine of the image minus
        that of the baseline. > 0 speaks for a match.

    Raises:
        ValueError: an unknown baseline, steps or batch < 1.

    Source: the paper's equation 3, with the cosine in place of a class score.
    """
    from captum.attr import IntegratedGradients  # here: captum imports matplotlib

    check_known("baseline", baseline, FILLS)
    check_count("steps", steps)
    check_count("batch", batch)
    start = filled(image, baseline).to(model.device)
    method = IntegratedGradients(cosine_to(model, reference))
    parts = method.attribute(
        image[None].to(model.device), start[None], n_steps=int(steps), internal_batch_size=int(batch)
    )
    return parts[0].sum(dim=0).float().cpu()
