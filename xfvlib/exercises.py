"""The exercises of the notebooks: what is right, what helps, and the change that solves each."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from xfvlib import frequency as fq
from xfvlib.evaluation import tar_at_far


class Exercise(NamedTuple):
    """One exercise; its task stands in the notebook.

    Attributes:
        right: whether the answers are right, from those that the cell gives to :func:`check`.
        hint: what is said at the second try.
        says: what is said when it is solved; ``{0}`` and so on stand for the answers.
        solution: lines of the exercise's cell, each with the line that solves it.
    """

    right: Callable[..., bool]
    hint: str
    says: str
    solution: dict[str, str]


def _is_of_two(mixed, coarse, fine):
    """Whether an image is the one up to 10 cycles, and the other beyond."""
    low = fq.cutoff_mask(mixed.shape[1:], 10, "low-pass")
    kept = (
        (fq.keep_frequencies(mixed, mask), fq.keep_frequencies(x, mask)) for x, mask in ((coarse, low), (fine, ~low))
    )
    return all(torch.allclose(one, other, atol=1e-4) for one, other in kept)


def _same(map_, known):
    """Whether two maps are equal, to a thousandth of the largest value."""
    return torch.allclose(map_, known, atol=1e-3 * float(known.abs().max()))


def _positive_share(saliency):
    """What values above 0 make of a map."""
    return float(saliency.clamp(min=0).sum() / saliency.abs().sum())


EXERCISES = {
    # 1 · Face verification
    "1.1": Exercise(
        right=lambda guess, least: guess == least,
        hint="One of the three turns his head to both sides.",
        says="The photographs of {1} have the lowest mean cosine with each other.",
        solution={'guess = ...  # "s1", "s5" or "s20"': 'guess = "s1"'},
    ),
    "1.2": Exercise(
        right=lambda guess, cosine: abs(guess - cosine) <= 0.15,
        hint="The alignment puts the eyes of every face at the same place. Upside down, the mouth comes near it.",
        says="The cosine is {1:.2f}. Compare it with those of a stranger and of the same man further up.",
        solution={"guess = ...": "guess = 0.1"},
    ),
    "1.3": Exercise(
        right=lambda threshold, scores, labels: (
            (scores[~labels] >= threshold).mean() <= 0.001 and threshold <= tar_at_far(scores, labels, 0.001)[1] + 0.02
        ),
        hint="In the table of thresholds the FMR falls below 0.1 % between 0.32 and 0.42. Search there.",
        says="At {0:.2f} it lets in one impostor in a thousand at most, and a much lower threshold would let in more.",
        solution={"threshold = ...": "threshold = 0.40"},
    ),
    "1.4": Exercise(
        right=lambda auc, known: abs(auc - known) < 1e-6,
        hint="Compare every genuine score with every impostor score: (genuine[:, None] > impostor[None]) is a table.",
        says="Your area is {0:.3f}, as the library's. No curve is needed for it: AUC is a statement about couples.",
        solution={"    return ...": "    return (genuine[:, None] > impostor[None]).mean()"},
    ),
    # 2 · Gradient backpropagation
    "2.1": Exercise(
        right=lambda guess, lost: abs(guess - lost) <= lost / 3,
        hint="The curve of the cosine falls faster and faster. At 16 grey levels it still stands at 0.75.",
        says="Of the levels tried, {1} is the first at which the pair is rejected. Long before that the gradient map"
        " was another one.",
        solution={"guess = ...": "guess = 30"},
    ),
    "2.2": Exercise(
        right=lambda guess, man, stranger: guess == ("more" if stranger > man else "less"),
        hint="What remains comes from the part of the reference's embedding that stands across the probe's.",
        says="With the man {1:.1%} of the lengths are left, with the stranger {2:.1%}.",
        solution={'guess = ...  # "more" or "less"': 'guess = "more"'},
    ),
    "2.3": Exercise(
        right=lambda derivative, gradient: abs(derivative / gradient - 1) < 0.02,
        hint="The two images are pair.a + shift and pair.a - shift. They lie 2 * h apart.",
        says="Two scores give {0:.4f}, the library {1:.4f}. One backward pass gives the other pixels as well.",
        solution={"derivative = ...": "derivative = (cosine(pair.a + shift) - cosine(pair.a - shift)) / (2 * h)"},
    ),
    "2.4": Exercise(
        right=lambda single, mean, one, of_8: single + 0.2 < mean < 0.99 and of_8.norm() < one.norm(),
        hint="torch.stack([noisy(generator) for _ in range(8)]) are eight gradients, each with noise of its own.",
        says="Two single gradients correlate at {0:.2f}, two means of eight at {1:.2f}: what they share is the signal,"
        " and a mean holds more of it.",
        solution={"    return ...": "    return torch.stack([noisy(generator) for _ in range(8)]).mean(dim=0)"},
    ),
    # 3 · FGGB maps
    "3.1": Exercise(
        right=lambda guess, share: guess == ("blue" if share > 0.5 else "red"),
        hint="The pair is accepted, so cosine − threshold is above 0, and the weights sum to that.",
        says="Similarity makes {1:.0%} of it. Cosine − threshold sets the colour, whether the decision is right"
        " or wrong.",
        solution={'guess = ...  # "blue" or "red"': 'guess = "blue"'},
    ),
    "3.2": Exercise(
        right=lambda threshold, cosine, at_0, at_1: 0.45 <= _positive_share(at_0 + threshold * (at_1 - at_0)) <= 0.55,
        hint="Where the weights sum to 0, at the cosine, similarity is still somewhat ahead (the fourth map of the"
        " lesson). Go a few thousandths higher.",
        says="At {0:.3f} the two are in balance. The cosine is {1:.3f}: the map turns near it, not exactly there.",
        solution={"threshold = ...": "threshold = 0.744"},
    ),
    "3.3": Exercise(
        right=lambda part, t, maps, a, b: (
            abs(float(t) - float(a @ b)) < 1e-3
            and _same(part, torch.einsum("k,khw->hw", a * b, maps - maps.mean(dim=0)))
        ),
        hint="torch.einsum('k,khw->hw', weights, maps) is a weighted sum. The first part is 0 where t is the cosine.",
        says="At t = cosine the first part is 0, and what is left of the library's map is yours.",
        solution={
            "second_part = ...": 'second_part = torch.einsum("k,khw->hw", F_A * F_B, maps - maps.mean(dim=0))',
            "threshold = ...": "threshold = float(F_A @ F_B)",
        },
    ),
    "3.4": Exercise(
        right=lambda nobody, alike: nobody.ndim == 1 and abs(float(nobody.norm()) - 1) < 1e-3 and 0.9 < alike < 0.9999,
        hint="torch.randn(model.dim, generator=generator) are random numbers. Divide them by their .norm().",
        says="The two maps correlate at {1:.2f}. This map hardly knows who was rejected.",
        solution={
            "nobody = ...": "nobody = torch.randn(model.dim, generator=generator)\nnobody = nobody / nobody.norm()"
        },
    ),
    # 4 · Other explanations
    "4.1": Exercise(
        right=lambda guess, order: list(guess) == order,
        hint="One of them has spots of both signs side by side, one is strong even where there is no face.",
        says="The order is {1[0]}, {1[1]}, {1[2]}. One pair, one recogniser, and three different pictures.",
        solution={"guess = ...": 'guess = ["occlusion", "gradient", "grad_cam"]'},
    ),
    "4.2": Exercise(
        right=lambda fewer, more, missed, then: 10 <= fewer < more <= 30 and then > missed + 0.01,
        hint="Try 15 steps: they come very near. Then look for a larger number that does not.",
        says="{0} steps miss the sum by {2:.3f}, {1} steps by {3:.3f}. One sum that comes out may do so by chance.",
        solution={"fewer, more = 10, 20": "fewer, more = 15, 25"},
    ),
    "4.3": Exercise(
        right=lambda partner, score, alike: abs(alike) < 0.4,
        hint="Most of FGGB's map is proportional to cos − t. Which photograph brings that close to 0?",
        says="{0} has a cosine of {1:.3f}. So near to the threshold, the part that all partners share is nearly gone.",
        solution={'partner = "s2/1"': 'partner = "s2/6"'},
    ),
    "4.4": Exercise(
        right=lambda first, losses, known, most: (
            most > 0.01 and len(losses) == len(known) and np.allclose([*map(float, losses)], known, atol=1e-3, rtol=0)
        ),
        hint="Copy pair.a, set the square to 0 in all three colours, and embed the original, the copy and pair.b.",
        says="These are the library's numbers. The square that costs most takes {3:.3f} off the cosine.",
        solution={
            "    return ...": "    covered = pair.a.clone()\n"
            "    covered[:, y : y + 28, x : x + 28] = 0\n"
            "    whole, without, partner = model.embed(torch.stack([pair.a, covered, pair.b]))\n"
            "    return float((whole - without) @ partner)"
        },
    ),
    # 4b · Which part with which
    "4b.1": Exercise(
        right=lambda guess, genuine, *alike: guess == genuine,
        hint="Every one of them has something of the diagonal. Look for the one that has little else.",
        says="It is number {1}. The strangers' matrices correlate with it at {2:.2f}, {3:.2f} and {4:.2f}.",
        solution={"guess = ...": "guess = 2"},
    ),
    "4b.2": Exercise(
        right=lambda guess, fill, most, change: fill == "mean" and guess == most,
        hint='Is the fill "mean"? What changes most is among the largest numbers of the diagonal.',
        says="The {2} changes by {3:.3f}. Whatever is taken out of a picture, something else is put in.",
        solution={"guess = ...": 'guess = "forehead"', 'fill = "blur"': 'fill = "mean"'},
    ),
    "4b.3": Exercise(
        right=lambda angles, a, b: torch.allclose(angles * a.norm(dim=1)[:, None] * b.norm(dim=1), a @ b.T, atol=1e-5),
        hint="Divide each move by its length (torch.nn.functional.normalize does), and multiply as before.",
        says="Mouth with mouth {0[6][6]:.2f}, nose with nose {0[3][3]:.2f}: no longer small. The mouth's entry was "
        "small because its moves are shorter.",
        solution={
            "angles = ...": "unit_a, unit_b = map(torch.nn.functional.normalize, (moves_a, moves_b))\n"
            "angles = unit_a @ unit_b.T"
        },
    ),
    # 5 · Frequency decomposition
    "5.1": Exercise(
        right=lambda guess, arrives: guess == arrives,
        hint="The finest bands are faint. The live figure shows how high the cosine is without the lowest frequencies.",
        says="Band {1} brings the decision from above as well; all finer bands together were not enough.",
        solution={"guess = ...": "guess = 2"},
    ),
    "5.2": Exercise(
        right=lambda guess, mean, accepted: abs(guess - mean) <= 0.1,
        hint="In the table with both images filtered, more than half of the strangers are accepted at this cut-off.",
        says="It is {1:.2f} on average, and {2} of the 30 pairs are accepted: blurs are more alike than photographs. "
        "With a threshold of their own, most genuine pairs are still told apart.",
        solution={"guess = ...": "guess = 0.5"},
    ),
    "5.3": Exercise(
        right=lambda cutoff, before, score, threshold: 5 <= cutoff <= 20 and score >= threshold > before,
        hint="Look where the dashed curve of the live figure crosses the threshold upwards.",
        says="High-pass at {0} the cosine is {2:.2f}, a cycle lower only {1:.2f}: less is left, and it is more alike.",
        solution={"cutoff = 8": "cutoff = 11"},
    ),
    "5.4": Exercise(
        right=_is_of_two,
        hint="Add two pictures. The fine one loses its DC with its mean: .mean(dim=(1, 2), keepdim=True).",
        says="Up to 10 cycles it is one person, beyond them another. Step back from the screen, and look at it again. "
        "The cosines below say whom the recogniser sees.",
        solution={
            "mixed = ...": "fine_waves = fq.keep_frequencies(stranger, fine)\n"
            "mixed = fq.keep_frequencies(pair.a, coarse) + fine_waves - fine_waves.mean(dim=(1, 2), keepdim=True)"
        },
    ),
    # 6 · Frequency heat plots
    "6.1": Exercise(
        right=lambda guess, lost: guess == max(range(len(lost)), key=lost.__getitem__),
        hint="Not DC: without it both pictures are dark in the same way. Nor the one that costs the probe alone most.",
        says="Band {0} costs the most. DC, the most costly band of one picture, costs {1[0]:.2f} when both lose it.",
        solution={"guess = ...": "guess = 2"},
    ),
    "6.2": Exercise(
        right=lambda first, mean, number, costs: (
            number == 2
            and first == max(costs, key=lambda kind: costs[kind][0])
            and mean == max(costs, key=lambda kind: sum(costs[kind]) / len(costs[kind]))
        ),
        hint="Change the 1 behind number first. The cell prints what each swap costs.",
        says="By the first photograph the phases of the {0} cost more, by the mean of eight those of the {1}. One draw"
        " is an anecdote.",
        solution={
            "number = 1": "number = 2",
            "first = ...": 'first = "same person"',
            "mean_of_eight = ...": 'mean_of_eight = "stranger"',
        },
    ),
    "6.3": Exercise(
        right=lambda _, mine, library: np.allclose(mine, library, atol=1e-4),
        hint="Both spectra times (ring != k), back with torch.fft.ifft2, and the real part of that.",
        says="All your numbers are those of the library.",
        solution={
            "    return ...": """\
    both = torch.stack([pair.a, pair.b])
    changed = torch.fft.ifft2(torch.fft.fft2(both) * (ring != k)).real
    with torch.no_grad():
        (a, b), (a_without, b_without) = model.embed(both), model.embed(changed)
    return float(a @ b - a_without @ b_without)"""
        },
    ),
    "6.4": Exercise(
        right=lambda _, order, usual, means: sorted(order) == sorted(usual) and means[0] < means[1],
        hint="fq.mask_bands(pair.a, [*gone, k], width=5) is the probe without those bands and without band k.",
        says="On the way the mean cosine is {3[0]:.3f}, and {3[1]:.3f} in the order of influence. What a band costs"
        " depends on what is still there.",
        solution={
            "    return ...": """\
    pictures = torch.stack([fq.mask_bands(pair.a, [*gone, k], width=5) for k in left])
    with torch.no_grad():
        cosines = model.embed(pictures) @ model.embed(pair.b[None])[0]
    return left[int(cosines.argmin())]"""
        },
    ),
    # 7 · Deletion and insertion
    "7.1": Exercise(
        right=lambda guess, own, turned: guess == ("sooner" if turned < own else "later"),
        hint="Which pixels does FGGB rank last on this photograph: the nose, or the margin?",
        says="It is rejected at step {1} of 20 in FGGB's order, at step {2} in the order turned round.",
        solution={"guess = ...": 'guess = "later"'},
    ),
    "7.2": Exercise(
        right=lambda fill, area: area >= 50,
        hint="Which fill leaves between the dots what a face looks like from afar?",
        says="With {0} the area is {1:.0f} %. Nothing but the fill has changed: an area says nothing without it.",
        solution={'fill = "black"': 'fill = "blur"'},
    ),
    "7.3": Exercise(
        right=lambda mine, library: abs(mine - library) < 0.01,
        hint="np.trapezoid(right, dx=1 / steps) is a mean height, of numbers: True + True is True to numpy, not 2.",
        says="Your area is the library's: {0:.1f} %.",
        solution={
            "    return ...": "    right = (scores >= threshold).astype(float)\n"
            "    return 100 * np.trapezoid(right, dx=1 / (len(right) - 1))"
        },
    ),
    # 7b · Checks of the ranking
    "7b.1": Exercise(
        right=lambda guess, same, different: guess == ("same places" if same < different else "different places"),
        hint="What have two black pictures in common? And a face without its middle with a middle without its face?",
        says="They are accepted at step {1} of 20 with the same places, at step {2} with different ones; 21 is never.",
        solution={"guess = ...": 'guess = "same places"'},
    ),
    "7b.2": Exercise(
        right=lambda fill, blur, fggb, random: random < fggb,
        hint="What does a blur of 5 pixels make of single dots? Ask without it.",
        says="With {0} and a blur of {1} FGGB has {2:.1f} %, the dots {3:.1f} %. The order of the two was the blur's.",
        solution={'fill, blur = "black", 5': 'fill, blur = "black", 0'},
    ),
    "7b.3": Exercise(
        right=lambda mine, library: np.allclose(np.asarray(mine, float), library),
        hint="order = np.argsort(p); p[order] * np.arange(len(p), 0, -1), then np.maximum.accumulate and np.minimum.",
        says="Corrected they are {1}. Four of the six were below 0.05; after the correction none is.",
        solution={
            "    return ...": """\
    order, corrected = np.argsort(p), np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected"""
        },
    ),
    # 8 · Low resolution and morphs
    "8.1": Exercise(
        right=lambda guess, lost, cosine, pixels: lost - 1 <= guess <= lost,
        hint="At 1/6 the live figure still says accepted.",
        says="Reduced to 1/{1} it is lost for the first time, with {2:.3f}. {3:.0f} pixels across are left.",
        solution={"guess = ...": "guess = 8"},
    ),
    "8.2": Exercise(
        right=lambda share, cosines, threshold: 0 < share < 1 and min(cosines) >= threshold,
        hint="Half and half the morph is too much like the second person. Take a little less of that person.",
        says="With a share of {0} it passes as both, with {1[0]:.3f} and {1[1]:.3f}. One picture, two people.",
        solution={"share = 0.5": "share = 0.4"},
    ),
    "8.3": Exercise(
        right=lambda better, first, areas: first == 4 and better == (areas[1] > areas[0]),
        hint="Let first be 4 and read what the cell prints.",
        says="With all bands the AUC is {2[0]:.3f}, beyond 20 cycles {2[1]:.3f}. The proportions differ there, but most"
        " of what a morph loses less lies below.",
        solution={"better = ...": "better = False", "first = 0": "first = 4"},
    ),
    "8.4": Exercise(
        right=lambda _, mine, known: np.allclose(mine, known),
        hint="The best photograph: cosines.max(axis=2). Every person: .all(axis=1). The share: .mean().",
        says="With the best photograph {1[0]:.0%} pass at the model's threshold, {1[1]:.0%} at 0.50, {1[2]:.0%} at 0.60"
        " and {1[3]:.0%} at 0.70.",
        solution={"    return ...": "    return (cosines.max(axis=2) >= threshold).all(axis=1).mean()"},
    ),
    # 9 · Your models and photographs
    "9.1": Exercise(
        right=lambda guess, cosine: abs(guess - cosine) <= 0.1,
        hint="The alignment turns the face back, but not exactly: the pixels are new, and the corners are grey.",
        says="The cosine is {1:.2f}. A crop of the same photograph twice would have 1.",
        solution={"guess = ...": "guess = 0.8"},
    ),
    "9.2": Exercise(
        right=lambda threshold, impostors, genuine: impostors.max() < threshold <= impostors.max() + 0.0101,
        hint="Look at the highest of the impostors' scores.",
        says="None of these pairs is no promise: of all the data set's impostor pairs, some score above {0}.",
        solution={"threshold = ...": "threshold = 0.29"},
    ),
    "9.3": Exercise(
        right=lambda tint, cosine: cosine < 0.9 and all(0 <= x <= 1 for x in tint),
        hint="Red and blue must differ, or turning the colours round changes nothing.",
        says="The cosine is {1:.2f}. Grey photographs could not have told that the order was wrong.",
        solution={"tint = [1.0, 1.0, 1.0]": "tint = [1.0, 0.5, 0.1]"},
    ),
    "9.4": Exercise(
        right=lambda turned, plain: torch.allclose(turned, plain, atol=1e-4),
        hint="x has the shape (B, 3, H, W); x.flip(1) turns the colours round.",
        says="Turned round twice, the colours are as before, and so is the embedding.",
        solution={"        return self.network(x)": "        return self.network(x.flip(1))"},
    ),
    # 10 · Many pairs
    "10.1": Exercise(
        right=lambda guess, rejected, highest: rejected / 2 <= guess <= 2 * rejected,
        hint="At the model's threshold one is rejected, and every mistake lies within 0.04 of it.",
        says="Above {2:.3f} nobody is accepted wrongly, and {1} genuine pairs are rejected. It costs little, since"
        " hardly any genuine pair has so low a cosine.",
        solution={"guess = ...": "guess = 8"},
    ),
    "10.2": Exercise(
        right=lambda block, times: block >= 5 and times >= 190,
        hint="The last round should be full: let the number of blocks be 200, 400, 600 and so on.",
        says="With blocks of {0} hardly a core waits: {1:.0f} times as fast, before what each block costs by itself.",
        solution={"block = 12": "block = 10"},
    ),
    "10.3": Exercise(
        right=lambda found, wanted, own, count: np.allclose(np.asarray(found), wanted, atol=1e-3),
        hint="torch.corrcoef takes rows, and both halves one below the other: torch.cat. A quarter of it is wanted.",
        says="The most alike second half is the same person's for {2} of {3}. Average photographs alone find"
        " people again. That average maps do so is little evidence for the maps.",
        solution={
            "    return ...": """\
    both = torch.cat([first - first.mean(dim=0), second - second.mean(dim=0)])
    return torch.corrcoef(both)[: len(first), len(first) :]"""
        },
    ),
}
_tries: Counter[str] = Counter()


def check(number: str, *answers: Any) -> None:
    """Say whether an exercise is solved, and give a hint from the second try on.

    Args:
        number: the exercise, such as ``"3.1"``.
        answers: what the exercise asks for. While one of them is ``...`` or None, the exercise waits, and nothing is
            counted as a try.

    Raises:
        ValueError: there is no such exercise.

    Example:
        >>> check("1.1", ...)
        Exercise 1.1 waits for you: put your answer in place of the three dots, then run the cell again.
    """
    if number not in EXERCISES:
        raise ValueError(f"there is no exercise {number!r}; those with a check are {', '.join(EXERCISES)}")
    exercise = EXERCISES[number]
    if any(answer is None or answer is ... for answer in answers):
        print(f"Exercise {number} waits for you: put your answer in place of the three dots, then run the cell again.")
        return
    try:
        right = bool(exercise.right(*answers))
        says = exercise.says.format(*answers) if right else ""
    except Exception as error:  # an answer can be anything
        said = f"cannot read that answer ({error}). Give one of the kind that the cell asks for, then run it again."
        print(f"Exercise {number} {said}")
        return
    _tries[number] += 1
    if right:
        print(f"Exercise {number} is solved. {says}")
        return
    print(f"Exercise {number}: not yet. " + ("Try again." if _tries[number] == 1 else f"Hint: {exercise.hint}"))
    if _tries[number] > 2:
        print("The solution stands in the notebook's page of solutions.")
