"""Tests of an explanation whose outcome is known beforehand: what must change it, and places where the truth was put
by hand."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from pandas import DataFrame
from scipy.stats import spearmanr
from torch import Tensor

from xfvlib import evaluation, perturb
from xfvlib.faithfulness.curves import FIXED_ORDERS, as_ranking, blob, embed_each, first_pixels, random_order
from xfvlib.faithfulness.stand_ins import people_of
from xfvlib.faithfulness.statistics import check_columns, share_interval
from xfvlib.faithfulness.table import Methods, methods_of
from xfvlib.methods import method_called
from xfvlib.methods.fggb import blurred
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import Pair, PairSet, person

Seed = int | list[int]
FRACTIONS = np.arange(20) / 20  # of the pixels put back: 0 shows where the curves begin
_PATCH_TEST = ["pair", "name_a", "name_b", "same", "donor", "threshold", "accepted", "method", "scores", "localisation"]


def map_similarity(one: Tensor, other: Tensor) -> float:
    """Spearman rank correlation of two maps ``(H, W)``, in [−1, 1]; NaN where one of them is constant.

    Raises TypeError and ValueError for what is no map, holds NaN, or differs in shape.

    Example:
        >>> map_similarity(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 4.0, 9.0]]))
        1.0
    """
    first, second = as_ranking(one).flatten(), as_ranking(other, one).flatten()
    constant = len(first.unique()) == 1 or len(second.unique()) == 1
    return float("nan") if constant else float(spearmanr(first, second).statistic)


def cascading_randomisation(model: FaceModel, *, seed: int = 0) -> Iterator[tuple[str, FaceModel]]:
    """Copies of a model in which the layers lose what they have learnt, one more in each, from the embedding back to
    the pixels.

    A layer's numbers are shuffled, so that their distribution and the scale of the activations stay as they are. Layers
    of one number a channel, norms and PReLUs, are shuffled together with the convolution or matrix before them.

    Yields:
        ``(layer, model)``: name of the layer shuffled last, and the copy, which the next step alters further.

    Source: Adebayo et al. 2018, cascading randomisation; they draw weights anew.
    """
    perturb.check_count("seed", seed, 0)
    randomised, generator = copy.deepcopy(model), torch.Generator().manual_seed(int(seed))
    for name, layer in reversed([*randomised.network.named_modules()]):
        tensors = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        tensors = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel() > 1]
        for tensor in tensors:
            tensor.data = tensor.detach().flatten()[torch.randperm(tensor.numel(), generator=generator)].view_as(tensor)
        if any(tensor.dim() > 1 for tensor in tensors):
            yield name, randomised


def weight_randomisation(model: FaceModel, pair: Pair, method: str = "fggb", *, seed: int = 0, **options) -> DataFrame:
    """How much of a map is left when the network forgets, layer by layer: it must go, or the map does not show what was
    learnt.

    Args:
        model: a FaceModel.
        pair: a Pair in the model's size.
        method: one of ``METHODS``.
        seed: of the shuffled weights.
        options: of the method, and its ``threshold``, in [−1, 1]; without one the model's own.

    Returns:
        A table: ``layers`` randomised, from 0; ``layer``, the one added; ``similarity``, Spearman correlation with the
        trained model's map of the probe.

    Raises:
        ValueError: an unknown method, or a network without weights to randomise, as a black box is.
        TypeError: an option that the method does not have, or gradients that the model does not have.
    """
    how, found = method_called(method, model), [("none", 1.0)]
    trained = how(model, pair.a, pair.b, **options)
    for layer, randomised in cascading_randomisation(model, seed=seed):
        found.append((layer, map_similarity(trained, how(randomised, pair.a, pair.b, **options))))
    if len(found) == 1:
        raise ValueError(f"{model.name} shows no weights that could be randomised")
    return DataFrame(found, columns=["layer", "similarity"]).rename_axis("layers").reset_index()


def patched(pair: Pair, donor: Tensor, *, patches: int = 27, side: float = 16, seed: Seed = 0) -> tuple[Tensor, Tensor]:
    """The probe with square patches of another image in the places where they were there.

    Args:
        pair: a Pair.
        donor: ``(3, H, W)``, where the patches come from.
        patches: how many; they may overlap.
        side: of a patch in pixels of a 112-pixel image, scaled with the image.
        seed: of the places.

    Returns:
        ``(image, places)``: ``(3, H, W)`` and bool ``(H, W)``.

    Raises:
        ValueError: no patches, patches that cover the whole image, or a donor of another size.
    """
    replace(pair, b=donor)  # which refuses a donor that is no image of this size
    perturb.check_count("patches", patches)
    side = perturb.scaled(side, pair.a)
    perturb.check_side("side", side, pair.a)
    rng, places = np.random.default_rng(seed), torch.zeros(pair.a.shape[-2:], dtype=torch.bool)
    ys, xs = (rng.integers(0, length - side + 1, patches) for length in places.shape)
    for y, x in zip(ys, xs):
        places[y : y + side, x : x + side] = True
    if places.all():
        raise ValueError(f"{patches} patches of {side} pixels cover the whole image; ask for fewer or smaller ones")
    return torch.where(places, donor, pair.a), places


def patch_test(
    model: FaceModel,
    pairs: PairSet,
    methods: Methods = "fggb",
    *,
    threshold: float | None = None,
    blur: float = 0,
    seed: int = 0,
    **how,
) -> DataFrame:
    """Spoil probes with patches of other people, let each map say which pixels to put back, and watch the errors go.

    An impostor pair's probe gets patches of its partner, a genuine pair's patches of somebody else. Where the spoilt
    pair is accepted, pixels are put back from the highest value of the map down, where it is rejected from the lowest
    up. A pixel outside the patches changes nothing.

    Args:
        model: a FaceModel.
        pairs: a PairSet with pairs of both kinds.
        methods: as for :func:`xfvlib.faithfulness.deletion_table`; "random", "blob" and "blob reversed" are always
            added.
        threshold: in [−1, 1]; None for the model's own.
        blur: of all maps and of the fixed orders alike, σ in pixels of a 112-pixel image.
        seed, how: ``seed``, ``patches`` and ``side`` as for :func:`patched`; every pair has places of its own.

    Returns:
        A table, one row a pair × method: ``pair, name_a, name_b, same, donor, threshold, accepted`` (with all patches),
        ``method``, ``scores`` at each of ``FRACTIONS``, and ``localisation``: the chance that the map puts a pixel of a
        patch before one outside, lowest first in a genuine pair, whose patches speak against a match, highest first in
        an impostor pair.

    Raises:
        ValueError: ``pairs`` is no PairSet, which holds the images of other people; no image of another person is at
            hand; an unknown method; a blur below 0; patches that cover nothing or everything.

    Source: Patch-LFW of xSSAB (Huber et al. 2024); which people the patches come from and where they lie is drawn here.
    """
    evaluation.check_set(pairs)
    perturb.check_least("blur", blur, 0)
    threshold, rng, rows = decision_threshold(model, threshold), np.random.default_rng(seed), []
    chosen = {label: (method_called(name, model), given) for label, (name, given) in methods_of(methods).items()}
    people = {name: person(name) or name for name in pairs.names}  # where names tell no person, each is its own
    for number, pair in enumerate(pairs):
        others = [name for name, who in people.items() if who not in (people[pair.name_a], people[pair.name_b])]
        if pair.same and not others:
            raise ValueError(f"no image of another person than {pair.name_a!r} is at hand; pairs of several are needed")
        donor = others[rng.integers(len(others))] if pair.same else pair.name_b
        spoilt, places = patched(pair, pairs.image(donor), seed=[seed, number], **how)
        target, start = embed_each(model, torch.stack([pair.b, spoilt]))
        accepted = float(start @ target) >= threshold
        known = number, pair.name_a, pair.name_b, pair.same, donor, threshold, accepted
        maps = {x: how(model, spoilt, pair.b, threshold=threshold, **given) for x, (how, given) in chosen.items()}
        maps |= zip(FIXED_ORDERS, (random_order(spoilt, f"patches {pair.name_a}", seed), blob(spoilt), -blob(spoilt)))
        for label, sharp in maps.items():
            x = blurred(sharp, blur)
            # what errs by accepting is put right by the highest pixels, what errs by rejecting by the lowest; the
            # patches themselves speak for a match in an impostor pair, against it in a genuine one
            first, of_patches = (x, x) if label in FIXED_ORDERS else (x if accepted else -x, -x if pair.same else x)
            scores = embed_each(model, torch.where(first_pixels(first, 20)[:-1], pair.a, spoilt)) @ target
            rows.append((*known, label, scores.numpy(), evaluation.auc(of_patches.flatten(), places.flatten())))
    return DataFrame(rows, columns=_PATCH_TEST)


def planted(pair: Pair, donor: Tensor, u: Sequence[float], v: Sequence[float], *, side: float = 28) -> Pair:
    """A pair into both images of which the same square was put: a piece of a third face, around its left eye.

    Args:
        pair: a Pair.
        donor: ``(3, H, W)``, where the square comes from.
        u, v: ``(x, y)`` of its middle in the probe and in the reference, in pixels; it is cut at the edge of an image.
        side: of the square in pixels of a 112-pixel image, scaled with the image.

    Returns:
        The Pair with both images changed.

    Raises:
        ValueError: a donor of another size, or a square that does not fit into it.
    """
    donor = replace(pair, b=donor).b  # which refuses what is no image of this size
    half = perturb.check_side("side", perturb.scaled(side, donor), donor) // 2
    y, x = (int(n * at) for n, at in zip(donor.shape[1:], (0.46, 0.34)))
    piece, (height, width), images = donor[:, y - half : y + half, x - half : x + half], donor.shape[1:], []
    for image, (middle_x, middle_y) in ((pair.a, u), (pair.b, v)):
        top, left = round(middle_y) - half, round(middle_x) - half
        rows, columns = (
            slice(max(top, 0), min(top + 2 * half, height)),
            slice(max(left, 0), min(left + 2 * half, width)),
        )
        changed = image.clone()
        changed[:, rows, columns] = piece[
            :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        images.append(changed)
    return replace(pair, a=images[0], b=images[1])


def patch_rates(table: DataFrame, *, draws: int = 2000, seed: int = 0) -> DataFrame:
    """False match and false non-match rate of every method while pixels are put back, with intervals over people,
    as of :func:`xfvlib.faithfulness.share_interval`.

    Returns:
        A table, one row a method × fraction: ``method, rate`` ("FMR" over impostor, "FNMR" over genuine pairs),
        ``pairs`` and ``people`` (their numbers), ``fraction``, ``value, low, high`` in [0, 1]. Lower is better at every
        fraction.

    Raises ValueError for another kind of table, and for fewer than two pairs of a kind.
    """
    check_columns(table, _PATCH_TEST, "patch_test")
    found = []
    for (method, same), rows in table.groupby(["method", "same"], sort=False, dropna=False):
        wrong = ~evaluation.right_decisions(np.stack(rows.scores), rows.same, rows.threshold)
        people = people_of(rows.name_a, rows.name_b)
        known = method, "FNMR" if same else "FMR", len(rows), len(np.unique(people))
        found += [(*known, *point) for point in zip(FRACTIONS, *share_interval(wrong, people, draws=draws, seed=seed))]
    return DataFrame(found, columns=["method", "rate", "pairs", "people", "fraction", "value", "low", "high"])
