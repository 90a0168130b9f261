"""The one set-up line of every notebook, examples from other data than its own, and the machine's name."""

import io
import platform
import random
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from xfvlib import evaluation
from xfvlib.conditions import face_landmarks
from xfvlib.models.facemodel import FaceModel, decision_threshold
from xfvlib.pairs import PairSet, orl_photo_path, person


def notebook_setup(seed: int = 0) -> None:
    """Seed random, numpy and torch, and print what the notebook runs on."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {device}; seed {seed}")


def examples(model: FaceModel, pairs: PairSet) -> dict[str, object]:
    """What the notebooks show of a model and data set, chosen by rule where their own choice cells name ORL
    photographs.

    Args:
        model: a FaceModel with a threshold.
        pairs: a PairSet.

    Returns:
        dict of the names that the choice cells define. Among 100 genuine and 100 impostor pairs, drawn, or fewer:
        ``pair``, the genuine one of median score; ``impostor``, its probe with a stranger; ``close``, the pair nearest
        to the threshold; ``six``, three of high score, the third an impostor pair, and three of low score, the first
        with the probe of ``pair`` and the third genuine; ``shown``, names in nine genuine pairs; ``people``, ``{name:
        names of images}`` of two people, of whose first images the landmarks are found, as a morph needs them;
        ``earlier_layer``, None; ``photograph``, a function from a name to its file, for a ``.bin`` file to the aligned
        crop in it.

    Raises:
        ValueError: the model has no threshold, or there are no genuine or no impostor pairs.

    Example:
        >>> globals().update(examples(model, pairs))  # doctest: +SKIP
    """
    threshold = decision_threshold(model)
    some = pairs.draw(max(1, min(100, pairs.labels.sum(), (~pairs.labels).sum())))
    rising = np.argsort(scores := evaluation.scores(model, some), kind="stable")
    genuine, strangers = ([some[row] for row in rising if some.labels[row] == same] for same in (True, False))
    pair, stranger = genuine[len(genuine) // 2], strangers[len(strangers) // 2]
    who = lambda name: person(name) or name  # where the name does not tell, the image itself
    other = next(name for name in (stranger.name_b, stranger.name_a) if who(name) != who(pair.name_a))
    impostor, people = pairs.pair(pair.name_a, other), {}
    for two in genuine[::-1]:
        with suppress(ValueError):  # no landmarks are found
            face_landmarks(two.a)
            people[who(two.name_a)] = [two.name_a, two.name_b]
        if len(people) == 2:
            break

    def photograph(name):
        source = getattr(pairs.images, "sources", {}).get(name) or orl_photo_path(name)
        return io.BytesIO(source) if isinstance(source, bytes) else source

    shown = [name for two in genuine[:9] for name in (two.name_a, two.name_b)]
    six, close = [pair, genuine[-1], strangers[-1], impostor, stranger, genuine[0]], np.abs(scores - threshold).argmin()
    chosen = {"pair": pair, "impostor": impostor, "close": some[int(close)], "six": six, "shown": shown}
    return chosen | {"people": people, "earlier_layer": None, "photograph": photograph}


def processor() -> str:
    """Name of this machine's processor, for tables of timings."""
    path = Path("/proc/cpuinfo")
    return (re.findall(r"model name\s*: (.+)", path.read_text() if path.exists() else "") or [platform.machine()])[0]
