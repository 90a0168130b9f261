"""The exercises of the notebooks: what is right, what helps, and the change that solves each."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple


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


EXERCISES = {
    # 1 · Face verification
    "1.1": Exercise(
        right=lambda guess, least: guess == least,
        hint="Glasses, pose and expression all lower the cosine. One man was photographed with much of each.",
        says="The photographs of {1} have the lowest mean cosine with each other.",
        solution={"guess = ...": 'guess = "s1"'},
    )
    # 2 · Gradient backpropagation
    # 3 · FGGB maps
    # 4 · Other explanations
    # 4b · Which part with which
    # 5 · Frequency decomposition
    # 6 · Frequency heat plots
    # 7 · Deletion and insertion
    # 8 · Low resolution and morphs
    # 9 · Your models and photographs
    # 10 · Many pairs
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
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        print(f"Exercise {number} cannot read that answer: {error}")
        return
    _tries[number] += 1
    if right:
        print(f"Exercise {number} is solved. {exercise.says.format(*answers)}")
        return
    print(f"Exercise {number}: not yet. " + ("Try again." if _tries[number] == 1 else f"Hint: {exercise.hint}"))
    if _tries[number] > 2:
        print("The solution stands in the notebook's page of solutions.")
