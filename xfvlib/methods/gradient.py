"""The plain gradient of the cosine similarity, and gradient × input."""

from xfvlib.gradients import FaceModel, Image, Map, cosine_to, input_gradient


def gradient(model: FaceModel, image: Image, reference: Image) -> Map:
    """Gradient of the cosine similarity with respect to the image's pixels, averaged over colour.

    Args:
        model: a differentiable FaceModel.
        image, reference: ``(3, H, W)``, RGB in [0, 1].

    Returns:
        ``(H, W)`` on the CPU, signed: > 0 where a brighter pixel would raise the similarity.

    Source: Simonyan, Vedaldi, Zisserman 2014 (saliency), for the cosine in place of a class score.
    """
    return input_gradient(cosine_to(model, reference), image).mean(dim=0)


def gradient_times_input(model: FaceModel, image: Image, reference: Image) -> Map:
    """Gradient × input: a first-order guess of what each pixel adds to the cosine over a black one, summed over colour.

    Arguments and result as for :func:`gradient`, in units of cosine similarity.

    Source: Shrikumar et al. 2016.
    """
    return (input_gradient(cosine_to(model, reference), image) * image.cpu()).sum(dim=0)
