"""Whose map stands in for a pair's own: that of the image with another partner, of another person, of all other
people."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xfvlib.pairs import person

# the maps that a pair can be scored with; BY_PARTNER are the method's answer for the image and somebody else, OF_OTHERS
# are other pairs' own maps
MAPS = ("own", "another partner", "other decision", "another person", "mean")
BY_PARTNER, OF_OTHERS = MAPS[1:3], MAPS[3:]
TURNED = {"other decision": -1}  # a map against a partner of the other decision fits with its sign turned
_FINE = 2.0**40
Both = Sequence[Tensor | None]  # maps of the probe and, where it is asked for, of the reference
Maps = Mapping[str, Both]  # of each method


@dataclass(frozen=True)
class StandIns:
    """Who stands in for whom, for each pair of a set by its number.

    Attributes:
        partners: for the probe and for the reference, ``{map: name}`` of the image that takes the partner's place, for
            each of ``BY_PARTNER``; without the map where there is none.
        kinds: int ``(P,)``; pairs of one label and one decision have one number, and those that cannot be read −1.
        people: text ``(P, 2)``.
        seed: of what is drawn.
    """

    partners: list[tuple[dict[str, str], dict[str, str]]]
    kinds: np.ndarray
    people: np.ndarray
    seed: int

    def partners_of(self, number: int, which: str, sides: int) -> list[str]:
        """Who takes the partner's place on one side of a pair or on both, for one of ``BY_PARTNER``; nobody where one
        of them is missing."""
        found = [chosen.get(which) for chosen in self.partners[number][:sides]]
        return [name for name in found if name is not None] if None not in found else []

    def names(self, numbers: Iterable[int]) -> set[str]:
        """Everybody who takes a partner's place in some pairs."""
        return {name for n in numbers for chosen in self.partners[n] for name in chosen.values()}

    def lender(
        self, wanted: Collection[str], own: Callable[[int], Maps], numbers: Iterable[int]
    ) -> Callable[[int, int], dict[str, dict[str, Both]]]:
        """Those of ``OF_OTHERS`` that are ``wanted``: a function of a pair's number and of how many sides need a map,
        → ``{map: {method: (map_a, map_b)}}``, where there are any.

        Args:
            own: from a pair's number to its own maps; the mean asks for those of all ``numbers``.
        """
        mean = self.means((number, own(number)) for number in numbers) if "mean" in wanted else None

        def lend(number, sides):
            if self.kinds[number] < 0 or not sides:
                return {}
            other = self._another(number) if "another person" in wanted else None
            found = {"another person": own(other) if other is not None else {}, "mean": mean(number) if mean else {}}
            whole = lambda both: all(both[side] is not None for side in range(sides))
            return {which: {x: both for x, both in maps.items() if whole(both)} for which, maps in found.items()}

        return lend

    def _another(self, number):
        """A pair of the same label and decision that shows none of the pair's people, drawn; None where there is
        none."""
        apart = ~np.isin(self.people, self.people[number]).any(axis=1) & (self.kinds == self.kinds[number])
        others = np.flatnonzero(apart)
        return int(_drawn(f"{self.seed} another {number}", others)[0]) if len(others) else None

    def means(self, own: Iterable[tuple[int, Maps]]) -> Callable[[int], dict[str, Both]]:
        """The mean map of each method over all pairs with none of a pair's people: a function of the pair's number.

        Pairs of one label and one decision count, probes for probes, each map divided by its L2 norm.

        Args:
            own: numbers of pairs and their own maps, each once, in any order.
        """
        # what a mean leaves out are couples of people, of whom there are far fewer than pairs
        sums: dict[tuple, dict] = defaultdict(lambda: defaultdict(lambda: (0, 0)))
        for number, maps in own:
            of_couple = sums[self._couple(number)]
            for label, both in maps.items():
                for side, saliency in enumerate(both):
                    if saliency is not None:
                        unit = torch.nn.functional.normalize(saliency.double().flatten(), dim=0).view_as(saliency)
                        # whole numbers, whose sum is the same in any order: a sweep's is another than a loop's
                        total, count = of_couple[label, side]
                        of_couple[label, side] = total + (unit * _FINE).round().long(), count + 1
        known: dict[tuple, dict[str, Both]] = {}

        def mean(number):
            kind, couple = key = self._couple(number)
            if key not in known:
                found: dict = defaultdict(lambda: (0, 0))
                for (other_kind, other), parts in sums.items():
                    if other_kind == kind and not couple & other:
                        for place, (total, count) in parts.items():
                            found[place] = found[place][0] + total, found[place][1] + count
                labels = dict.fromkeys(label for label, _ in found)
                place = lambda label, side: found[label, side][0].double() / (_FINE * found[label, side][1])
                known[key] = {x: [place(x, s) if (x, s) in found else None for s in (0, 1)] for x in labels}
            return known[key]

        return mean

    def _couple(self, number):
        """Kind and people of a pair."""
        return int(self.kinds[number]), frozenset(self.people[number].tolist())


def people_of(names_a: Iterable[str], names_b: Iterable[str]) -> np.ndarray:
    """Who is in each pair, text ``(P, 2)``: :func:`xfvlib.pairs.person` of both names; a name that tells no person is
    its own.

    Example:
        >>> people_of(["ann/1", "probe"], ["bob/1", "reference"]).tolist()
        [['ann', 'bob'], ['probe', 'reference']]
    """
    return np.array([[person(name) or name for name in both] for both in zip(names_a, names_b)], str).reshape(-1, 2)


def stand_ins(
    pairs: Sequence[tuple[str, str, bool | None]],
    embedding: Callable[[str], Tensor | None],
    pool: Collection[str],
    threshold: float,
    *,
    seed: int = 0,
) -> StandIns:
    """Choose who stands in for whom.

    The partner of "another partner" leaves the decision as it is: in a genuine pair it is a third photograph of the
    person, in an impostor pair one of somebody who is neither, accepted or rejected as the pair was. The partner of
    "other decision" turns it: a rejected stranger for an accepted genuine pair, an accepted photograph of the image's
    own person for a rejected impostor pair. Where the images at hand hold none, the pair goes without.

    Args:
        pairs: ``(name_a, name_b, same)`` of each.
        embedding: from a name to the unit-length embedding ``(N,)``, None where the image cannot be read.
        pool: names of all images at hand, in whose order those of the pairs themselves come first.
        threshold: in [−1, 1].
        seed: of what is drawn.
    """
    names_a, names_b, _ = zip(*pairs)
    people = people_of(names_a, names_b)
    used = dict.fromkeys([*names_a, *names_b])
    who = {name: person(name) or name for name in (*used, *pool)}
    album: dict[str, list[str]] = defaultdict(list)  # of each person, the pairs' own photographs first
    for name, one in who.items():
        album[one].append(name)
    drawn_from, partners, kinds = np.array([*used]), [], []

    def accepted(one, other):
        both = embedding(one), embedding(other)
        return None if both[0] is None or both[1] is None else float(both[0] @ both[1]) >= threshold

    for *names, same in pairs:
        decision = accepted(*names)
        found: tuple[dict[str, str], dict[str, str]] = {}, {}
        kinds.append(-1 if decision is None else 2 * bool(same) + decision)
        for (image, partner), chosen in zip((names, names[::-1]), found):
            if decision is None:
                continue
            text = f"{seed} {image} {partner}"
            mates = sorted(_drawn(text, album[who[image]]), key=lambda name: name not in used)
            strangers = (x for x in _drawn(text, drawn_from) if who[x] not in (who[image], who[partner]))
            first, second = (mates, strangers) if same else (strangers, mates)
            for label, some, wanted in zip(BY_PARTNER, (first, second), (decision, not decision)):
                right = (x for x in some if x not in names and accepted(image, x) == wanted)
                if stand_in := next(right, None):
                    chosen[label] = str(stand_in)
        partners.append(found)
    return StandIns(partners, np.array(kinds), people, seed)


def _drawn(text, names):
    """The names in an order that depends on a text."""
    return np.random.default_rng(zlib.crc32(text.encode())).permutation(names)
