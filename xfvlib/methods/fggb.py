"""Feature-guided gradient backpropagation (Lu, Xu, Ebrahimi, FG 2024, arXiv 2403.04549)."""

from functools import wraps
from typing import Any, Literal

import torch
from scipy.ndimage import gaussian_filter

from xfvlib.gradients import FaceModel, Image, Map, each_channel_gradient
from xfvlib.perturb import Prepared

Part = Literal["both", "similarity", "dissimilarity"]


def fggb_weights(embedding: torch.Tensor, reference_embedding: torch.Tensor, threshold: float) -> torch.Tensor:
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


@wraps(each_channel_gradient, assigned=())  # its options are the method's
def prepare(model: FaceModel, image: Image, **options: Any) -> Prepared:
    """FGGB's first stage: the gradient map Ĝ_k of every channel, ``"maps"`` ``(N, H, W)``.

    Arguments and errors as for :func:`xfvlib.gradients.each_channel_gradient`: ``gradient``, ``embedding`` and
    ``normalise`` are choices that the published formulas leave open or that can be switched off.
    """
    return {"maps": torch.cat([maps.cpu() for _, maps in each_channel_gradient(model, image, **options)])}


def finish(prepared: Prepared, partner: Prepared, *, threshold: float, blur: float = 5, part: Part = "both") -> Map:
    """FGGB's second stage, a weighted sum: S = Σ_k Ĝ_k (w_k − t/N), blurred.

    Args:
        prepared: of the image, from :func:`prepare`.
        partner: holds the partner's ``"embedding"``.
        threshold: cosine similarity at and above which the pair is accepted, t in [−1, 1].
        blur: sigma of a Gaussian blur in pixels of a 112-pixel image, scaled with the image; 0 for none.
        part: "both" for S; "similarity" or "dissimilarity" for one half of S that is clipped before it is blurred, as a
            public port does; "dissimilarity" is ≤ 0 then. Of "both", halves are clipped after the blur. The two
            orders give the same signed map, since a blur is linear, but other halves: the weaker one changes much.

    Returns:
        ``(H, W)`` on the CPU: > 0 speaks for a match, < 0 against it.

    Raises:
        ValueError: blur < 0, or an unknown part.

    Source: Lu, Xu, Ebrahimi, FG 2024: S⁺ and S⁻ as weighted sums of normalised channel gradients. Choices that the
    formulas leave open: the sign of the gradients, which embedding is differentiated, the blur, and whether it comes
    before or after a half is clipped. A public port clips first; here the whole map is blurred unless ``part`` asks
    for a half.
    """
    weights = fggb_weights(prepared["embedding"], partner["embedding"], threshold)
    total = torch.einsum("n,nhw->hw", weights, prepared["maps"])
    halves = {"similarity": total.clamp(min=0), "dissimilarity": total.clamp(max=0)}
    return blurred(halves.get(part, total), blur)


def blurred(saliency: Map, blur: float) -> Map:
    """Gaussian blur of a map ``(H, W)``, sigma in pixels of a 112-pixel image; on the CPU.

    It reaches four sigmas; the kernels of the FGGB port and of FAME's authors, 25 and 49 pixels wide, end at 2.4 and
    3.1.
    """
    return torch.from_numpy(gaussian_filter(saliency.cpu().numpy(), blur * saliency.shape[0] / 112))
