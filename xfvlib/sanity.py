"""Tests of an explanation whose outcome is known beforehand: what must change it, and places where the truth was put by hand."""

import copy

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from xfvlib.faithfulness import blob, first_pixels, methods_of, random_order
from xfvlib.evaluation import auc, decision_threshold, mean_interval
from xfvlib.methods import METHODS, explain
from xfvlib.pairs import person
from xfvlib.perturb import check_count, check_side, scaled


def map_similarity(one, other):
    """Spearman rank correlation of two maps ``(H, W)``, in [−1, 1]; NaN where one of them is constant."""
    if float(one.min()) == float(one.max()) or float(other.min()) == float(other.max()):
        return float("nan")
    return float(spearmanr(one.flatten(), other.flatten()).statistic)


def cascading_randomisation(model, *, seed=0):
    """Copies of a model in which the layers lose what they have learnt, one more in each, from the embedding back to the pixels.

    A layer's numbers are shuffled, so that their distribution and the scale of the activations stay as they are.

    Yields:
        ``(layer, model)``: name of the layer shuffled last, and the copy, which the next step alters further.

    Source: Adebayo et al. 2018, cascading randomisation; they draw weights anew.
    """
    randomised, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    layers = [
        (name, [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]) for name, layer in randomised.network.named_modules()
    ]
    for name, tensors in reversed(layers):
        tensors = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel() > 1]
        if not tensors:
            continue
        for tensor in tensors:
            order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
            tensor.data = tensor.detach().flatten()[order].view(tensor.shape).contiguous()
        yield name, randomised


def weight_randomisation(model, pair, method="fggb", *, threshold=None, seed=0, **options):
    """How much of a map is left when the network forgets, layer by layer: it must go, or the map does not show what was learnt.

    Returns:
        A table: ``layers`` randomised, from 0; ``layer``, the one added; ``similarity``, Spearman correlation with the trained
        model's map of the probe.

    Raises:
        ValueError: the network has no weights to randomise, as a black box has none.
    """
    trained = explain(model, pair, method, threshold, **options).map_a
    rows = [(0, "none", 1.0)]
    for layer, randomised in cascading_randomisation(model, seed=seed):
        altered = METHODS[method](randomised, pair.a, pair.b, threshold=decision_threshold(model, threshold), **options)
        rows.append((len(rows), layer, map_similarity(trained, altered)))
    if len(rows) == 1:
        raise ValueError(f"{model.name} shows no weights that could be randomised")
    return pd.DataFrame(rows, columns=["layers", "layer", "similarity"])


def swapped_partner(model, pair, other, method="fggb", *, threshold=None, **options):
    """Spearman correlation of the probe's map with its map against another partner ``(3, H, W)``: 1 means that the partner does not matter."""
    threshold = decision_threshold(model, threshold)
    return map_similarity(*(METHODS[method](model, pair.a, partner, threshold=threshold, **options) for partner in (pair.b, other)))


def identical_images(model, image, method="fggb", *, threshold=None, **options):
    """Share of the dissimilarity map in the whole map of an image judged against itself, in [0, 1]; NaN where the map is 0.

    Nothing speaks against that match, so 0 is right. A method that follows the cosine's own gradient has nothing to follow
    there, at the cosine's maximum: its map is rounding, whatever its share.
    """
    saliency = METHODS[method](model, image, image, threshold=decision_threshold(model, threshold), **options)
    return float((-saliency).clamp(min=0).sum() / saliency.abs().sum())


def patched(pair, donor, *, patches=27, side=16, seed=0):
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
        ValueError: no patches, or patches that cover the whole image.
    """
    check_count("patches", patches)
    height, width = pair.a.shape[-2:]
    side = scaled(side, pair.a)
    check_side("side", side, pair.a)
    rng = np.random.default_rng(seed)
    places = torch.zeros(height, width, dtype=torch.bool)
    for y, x in zip(rng.integers(0, height - side + 1, patches), rng.integers(0, width - side + 1, patches)):
        places[y : y + side, x : x + side] = True
    if places.all():
        raise ValueError(f"{patches} patches of {side} pixels cover the whole image of {height} × {width}; ask for fewer or smaller ones")
    return torch.where(places, donor, pair.a), places


FRACTIONS = np.arange(20) / 20  # of the pixels put back: 0 shows where the curves begin


def patch_test(model, pairs, methods=("fggb",), *, threshold=None, patches=27, side=16, seed=0):
    """Spoil probes with patches of other people, let each map say which pixels to put back, and watch the errors go.

    An impostor pair's probe gets patches of its partner, a genuine pair's patches of somebody else. Where the spoilt pair is
    accepted, pixels are put back from the highest value of the map down, where it is rejected from the lowest up. A pixel
    outside the patches changes nothing.

    Args:
        model: a FaceModel.
        pairs: a PairSet with pairs of both kinds.
        methods: as for :func:`xfvlib.faithfulness.deletion_table`; "random", "blob" and "blob reversed" are always added.
        threshold: in [−1, 1]; None for the model's own.
        patches, side, seed: as for :func:`patched`; every pair has places of its own.

    Returns:
        A table, one row a pair × method: ``pair, name_a, name_b, same, donor, method, threshold, accepted`` (with all patches),
        ``scores`` at each of ``FRACTIONS``, and ``localisation``: the chance that the map puts a pixel of a patch before one
        outside, lowest first in a genuine pair, whose patches speak against a match, highest first in an impostor pair.

    Raises:
        ValueError: an unknown method, no image of another person is at hand, or patches that cover nothing or everything.

    Source: Patch-LFW of xSSAB (Huber et al. 2024); which people the patches come from and where they lie is drawn here.
    """
    threshold, rng, rows = decision_threshold(model, threshold), np.random.default_rng(seed), []
    methods = methods_of(methods)
    for number, pair in enumerate(pairs):
        donor = pair.name_b if not pair.same else somebody_else(pairs, pair, rng)
        spoilt, places = patched(pair, pairs.image(donor), patches=patches, side=side, seed=[seed, number])
        with torch.no_grad():
            target, start = model.embed(torch.stack([pair.b, spoilt]))
        accepted = float(start @ target) >= threshold
        maps = {label: METHODS[name](model, spoilt, pair.b, threshold=threshold, **given) for label, (name, given) in methods.items()}
        # what errs by accepting is put right by the highest pixels, what errs by rejecting by the lowest; the patches themselves
        # speak for a match in an impostor pair, against it in a genuine one
        orders = {label: (saliency if accepted else -saliency, -saliency if pair.same else saliency) for label, saliency in maps.items()}
        fixed = {"random": random_order(spoilt, f"patches {pair.name_a}", seed), "blob": blob(spoilt), "blob reversed": -blob(spoilt)}
        orders |= {name: (order, order) for name, order in fixed.items()}
        for name, (first, of_patches) in orders.items():
            with torch.no_grad():
                scores = model.embed(torch.where(first_pixels(first, 20)[:-1], pair.a, spoilt)) @ target
            rows.append({"pair": number, "name_a": pair.name_a, "name_b": pair.name_b, "same": pair.same, "donor": donor,
                         "method": name, "threshold": threshold, "accepted": accepted, "scores": scores.cpu().numpy(),
                         "localisation": auc(of_patches.flatten().numpy(), places.flatten().numpy())})  # fmt: skip
    return pd.DataFrame(rows)


def somebody_else(pairs, pair, rng):
    """Name of an image drawn from those of other people; where names tell no person, from those of other pairs."""
    taken = {person(pair.name_a) or pair.name_a, person(pair.name_b) or pair.name_b}
    others = [name for name in pairs.names if (person(name) or name) not in taken]
    if not others:
        raise ValueError(f"no image of another person than {pair.name_a!r} is among the pairs; give pairs of several people")
    return others[rng.integers(len(others))]


def patch_rates(table, *, draws=2000, seed=0):
    """False match and false non-match rate of every method while pixels are put back, with intervals over pairs.

    Returns:
        A table, one row a method × fraction: ``method, rate`` ("FMR" over impostor, "FNMR" over genuine pairs), ``fraction``,
        ``value, low, high`` in [0, 1]. Lower is better at every fraction.
    """
    found = []
    for (method, same), rows in table.groupby(["method", "same"], sort=False):
        accepted = np.stack(rows.scores) >= rows.threshold.to_numpy()[:, None]
        wrong = mean_interval(accepted != same, draws=draws, seed=seed)
        found += [(method, "FNMR" if same else "FMR", *point) for point in zip(FRACTIONS, *wrong)]
    return pd.DataFrame(found, columns=["method", "rate", "fraction", "value", "low", "high"])
