"""Make ``lfw_landmarks.csv``: the ten landmarks of photographs of Labeled Faces in the Wild, by the hash of their files.

Run from the project folder: ``.venv/bin/python data/make_lfw_landmarks.py folder/lfw-deepfunneled`` (0.1 s a photograph).
"""

import csv
import hashlib
import sys
from pathlib import Path

from xfvlib.alignment import find_landmarks
from xfvlib.files import DATA, write_whole


def row(path):
    landmarks = find_landmarks(path, centred=True).ravel()
    return [hashlib.sha256(path.read_bytes()).hexdigest()[:24], *landmarks.round(2)]


def write(temporary):
    with open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sha256", *(f"{axis}{i}" for i in range(1, 11) for axis in "xy")])
        writer.writerows(sorted(row(path) for path in Path(sys.argv[1]).glob("*/*.jpg")))


write_whole(DATA / "lfw_landmarks.csv", write)
