"""xSSAB: gradients of the channels that argue for a match, and of those that argue against it (Huber et al., WACV
2024)."""

import torch

from xfvlib.gradients import FaceModel, Image, Map


def xssab(model: FaceModel, image: Image, reference: Image, *, threshold: float) -> Map:
    """Signed xSSAB map of ``image`` judged against ``reference``: mean over colour of |gradient|, positive part −
    negative part.

    Args:
        model: a differentiable FaceModel with embeddings of N channels.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        threshold: cosine similarity at and above which the pair is accepted, t in [−1, 1].

    Returns:
        ``(H, W)`` on the CPU, in cosine per unit of pixel value: > 0 where the channels that speak for a match are the
        more sensitive ones.

    Source: the authors' code (github.com/marcohuber/xSSAB), the combined map; it blurs nothing.
    """
    positive, negative = _partial_gradients(model, image, reference, threshold)
    return positive.abs().mean(dim=0) - negative.abs().mean(dim=0)


def _partial_gradients(model: FaceModel, image: Image, reference: Image, threshold: float) -> list[torch.Tensor]:
    """Gradients of the two parts of the cosine: of the channels with F_A[k]·F_B[k] ≥ t/N, and of the others.

    Arguments as for :func:`xssab`.

    Returns:
        ``(positive, negative)``, each ``(3, H, W)``; they add up to the gradient of the cosine.
    """
    x = image.detach()[None].requires_grad_(True)
    shares = model.embed(x)[0] * model.embed(reference[None])[0].detach()
    speaks_for = shares.detach() >= threshold / model.dim
    parts = (shares * speaks_for).sum(), (shares * ~speaks_for).sum()
    return [torch.autograd.grad(part, x, retain_graph=True)[0][0] for part in parts]
