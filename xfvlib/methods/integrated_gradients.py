"""Integrated Gradients of the cosine (Sundararajan, Taly, Yan 2017), by captum."""

from xfvlib.gradients import FaceModel, Image, Map, cosine_to
from xfvlib.methods.fggb import blurred
from xfvlib.perturb import Fill, filled


def integrated_gradients(
    model: FaceModel,
    image: Image,
    reference: Image,
    *,
    steps: int = 50,
    baseline: Fill = "black",
    blur: float = 0,
    batch: int = 16,
) -> Map:
    """What each pixel adds to the cosine on the straight way from a baseline image to ``image``, summed over colour.

    Args:
        model: a differentiable FaceModel.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        steps: points of the Gauss–Legendre rule on the way. SFace from black needs some 300 for the sum below, for its
            cosine does nine tenths of its way in the first eighth; from the blurred image the default is enough.
        baseline: where it begins, one of :data:`xfvlib.perturb.FILLS`.
        blur: sigma of a Gaussian blur of the signed map in pixels of a 112-pixel image, scaled with the image; 0 for
            none. It gathers the grain of single pixels into regions and leaves their sum as it is.
        batch: points in a forward and backward pass; memory grows with it.

    Returns:
        ``(H, W)`` on the CPU, in units of cosine: with enough steps the pixels add up to the cosine of the image minus
        that of the baseline. > 0 speaks for a match.

    Raises:
        ValueError: an unknown baseline, steps or batch < 1, blur < 0.

    Source: the paper's equation 3, with the cosine in place of a class score; the blur is ours.
    """
    from captum.attr import IntegratedGradients  # here: captum imports matplotlib

    ends = [end[None].to(model.device) for end in (image, filled(image, baseline))]
    parts = IntegratedGradients(cosine_to(model, reference)).attribute(*ends, n_steps=steps, internal_batch_size=batch)
    return blurred(parts[0].sum(dim=0).float(), blur)
