"""The plain gradient of the cosine similarity, and gradient × input."""

from xfvlib.gradients import check_differentiable, cosine_to, input_gradient


def gradient(model, image, reference, *, threshold=None):
    """Gradient of the cosine similarity with respect to the image's pixels, averaged over colour.

    Args:
        model: a differentiable FaceModel.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        threshold: not used; the gradient does not know where the decision lies.

    Returns:
        ``(H, W)`` on the CPU, signed: > 0 where a brighter pixel would raise the similarity.

    Source: Simonyan, Vedaldi, Zisserman 2014 (saliency), for the cosine in place of a class score.
    """
    check_differentiable(model)
    return input_gradient(cosine_to(model, reference), image).mean(dim=0).cpu()


def gradient_times_input(model, image, reference, *, threshold=None):
    """Gradient × input: a first-order guess of what each pixel adds to the cosine over a black one, summed over colour.

    Arguments and result as for :func:`gradient`, in units of cosine similarity.

    Source: Shrikumar et al. 2016.
    """
    check_differentiable(model)
    return (input_gradient(cosine_to(model, reference), image).cpu() * image.cpu()).sum(dim=0)
