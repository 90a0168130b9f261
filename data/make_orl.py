"""Make the kept files of the ORL data set: landmarks, the fixed pair protocol, thresholds of the bundled models.

Run from the project folder: ``.venv/bin/python data/make_orl.py`` (about a minute). The results are in the repository,
so that nobody needs to; a test compares them with what this script computes.
"""

import csv
import random
from itertools import combinations, product

import numpy as np
import pandas as pd

import xfvlib as xfv
from xfvlib import alignment
from xfvlib.files import DATA, write_whole
from xfvlib.pairs import orl_photo_path

SEED = 20240304
PEOPLE, PHOTOS, FOLDS, PAIRS_PER_KIND = 40, 10, 10, 30


KINDS = ("arcface", "dlib")
LANDMARKS = [f"{kind} {column}" for kind in KINDS for column in [*(a + i for i in "12345" for a in "xy"), "supposed"]]


def landmark_row(path, digits=3):
    """Landmarks of one photograph for both alignments; dlib misses two of 400 faces, supposed in the middle."""
    rows = [alignment.landmark_row(path, kind, centred=True) for kind in KINDS]
    return [number for row in rows for number in (*np.round(row[:10], digits), int(row[10]))]


def protocol():
    """Rows name_a, name_b, same, fold: 10 folds of 4 people, 30 genuine and 30 impostor pairs in each."""
    draw, rows = random.Random(SEED), []
    people = [f"s{i}" for i in range(1, PEOPLE + 1)]
    draw.shuffle(people)
    for fold in range(FOLDS):
        members = people[fold * PEOPLE // FOLDS : (fold + 1) * PEOPLE // FOLDS]
        photos = {p: [f"{p}/{j}" for j in range(1, PHOTOS + 1)] for p in members}
        genuine = [pair for p in members for pair in combinations(photos[p], 2)]
        impostor = [pair for p, q in combinations(members, 2) for pair in product(photos[p], photos[q])]
        rows += [(a, b, True, fold) for a, b in draw.sample(genuine, PAIRS_PER_KIND)]
        rows += [(a, b, False, fold) for a, b in draw.sample(impostor, PAIRS_PER_KIND)]
    return rows


def write_csv(path, header, rows):
    def write(temporary):
        with temporary.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])

    write_whole(path, write)


if __name__ == "__main__":
    names = [f"s{i}/{j}" for i in range(1, PEOPLE + 1) for j in range(1, PHOTOS + 1)]
    rows = [[name, *landmark_row(orl_photo_path(name))] for name in names]
    write_csv(DATA / "orl_landmarks.csv", ["name", *LANDMARKS], rows)
    write_csv(DATA / "orl_pairs.csv", ["name_a", "name_b", "same", "fold"], protocol())
    thresholds = []
    for model in map(xfv.load_model, ("sface", "dlib-resnet")):
        pairs = xfv.load_pairs("orl", model=model).all_pairs()
        eer, threshold = xfv.calibrate(model, pairs)
        thresholds.append([model.name, threshold, f"{eer:.5f}", model.threshold_source])
        print(f"{model.name}: equal error rate {eer:.4%} at {threshold} over {len(pairs):,} pairs")
    write_csv(DATA / "thresholds.csv", ["model", "threshold", "eer", "source"], thresholds)
    print(pd.read_csv(DATA / "orl_pairs.csv").groupby(["fold", "same"]).size().unstack())
