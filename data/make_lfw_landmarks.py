"""Make ``lfw_landmarks.csv``: the ten landmarks of photographs of Labeled Faces in the Wild, by their files' hash.

Run in the project folder (0.1 s a photograph): ``.venv/bin/python data/make_lfw_landmarks.py folder/lfw-deepfunneled``
"""

import csv
import hashlib
import sys
from pathlib import Path

import numpy as np

from xfvlib.alignment import landmark_row
from xfvlib.files import DATA, write_whole


def row(path):
    *numbers, supposed = landmark_row(path, centred=True)
    return [hashlib.sha256(path.read_bytes()).hexdigest()[:24], *np.round(numbers, 2), int(supposed)]


def write(temporary):
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sha256", *(f"{axis}{i}" for i in range(1, 11) for axis in "xy"), "supposed"])
        writer.writerows(sorted(row(path) for path in Path(sys.argv[1]).glob("*/*.jpg")))


write_whole(DATA / "lfw_landmarks.csv", write)
