"""Feature-guided gradient backpropagation (Lu, Xu, Ebrahimi, FG 2024, arXiv 2403.04549)."""

import torch
from scipy.ndimage import gaussian_filter

from xfvlib.gradients import each_channel_gradient


def fggb_weights(embedding, reference_embedding, threshold):
    """Weight of every channel: its part in the cosine minus its share of the threshold, w_k = F_A[k]·F_B[k] − t/N.

    Args:
        embedding, reference_embedding: unit-length ``(N,)``.
        threshold: t, in [−1, 1].

    Returns:
        ``(N,)``; they sum to cosine − t.

    Example:
        >>> fggb_weights(torch.tensor([0.6, 0.8]), torch.tensor([1.0, 0.0]), 0.5)
        tensor([ 0.3500, -0.2500])
    """
    return embedding * reference_embedding - threshold / len(embedding)


def fggb(model, image, reference, *, threshold, blur=5.0, **options):
    """Signed FGGB map of ``image`` judged against ``reference``: S = Σ_k Ĝ_k (w_k − t/N), blurred.

    Args:
        model: a differentiable FaceModel with embeddings of N channels.
        image, reference: ``(3, H, W)``, RGB in [0, 1].
        threshold: cosine similarity at and above which the pair is accepted, t in [−1, 1].
        blur: sigma of a Gaussian blur in pixels of a 112-pixel image, scaled with the image; 0 for none.
        options: gradient="absolute" | "signed", embedding="unit" | "raw", normalise=True | False: the choices that the
            paper leaves open, see :func:`xfvlib.gradients.each_channel_gradient`.

    Returns:
        ``(H, W)`` on the CPU: > 0 speaks for a match, < 0 against it.

    Raises:
        TypeError, ValueError: as :func:`xfvlib.gradients.each_channel_gradient`.
    """
    with torch.no_grad():
        weights = fggb_weights(*model.embed(torch.stack([image, reference])), threshold)
    total = 0
    for first, maps in each_channel_gradient(model, image, **options):
        total = total + torch.einsum("n,nhw->hw", weights[first : first + len(maps)], maps)
    return blurred(total, blur)


def fggb_from_kept(gradients, reference_embedding, *, threshold, blur=5.0):
    """The same map from kept :class:`~xfvlib.gradients.ChannelGradients`: a weighted sum, no network runs.

    Args:
        gradients: ChannelGradients of the image.
        reference_embedding: unit-length ``(N,)`` of the partner.
        threshold, blur: as for :func:`fggb`.

    Returns:
        ``(H, W)``, equal to :func:`fggb` with the options that the gradients were computed with.
    """
    weights = fggb_weights(gradients.embedding, reference_embedding.to(gradients.embedding), threshold)
    return blurred(gradients.weighted(weights), blur)


def blurred(saliency, blur):
    """Gaussian blur of a map ``(H, W)``, sigma in pixels of a 112-pixel image; on the CPU.

    It reaches four sigmas; the kernels of the FGGB port and of FAME's authors, 25 and 49 pixels wide, end at 2.4 and 3.1.
    """
    saliency = saliency.cpu()
    return torch.from_numpy(gaussian_filter(saliency.numpy(), blur * saliency.shape[0] / 112)) if blur else saliency
