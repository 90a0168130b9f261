"""Make ``lfw_landmarks.csv``: landmarks of photographs of Labeled Faces in the Wild, by their files' hash.

Run in the project folder (0.1 s a photograph): ``.venv/bin/python data/make_lfw_landmarks.py folder/lfw-deepfunneled``
"""

import hashlib
import sys
from pathlib import Path

from make_orl import LANDMARKS, landmark_row, write_csv

from xfvlib.files import DATA

paths = Path(sys.argv[1]).glob("*/*.jpg")
rows = sorted([hashlib.sha256(path.read_bytes()).hexdigest()[:24], *landmark_row(path, digits=2)] for path in paths)
write_csv(DATA / "lfw_landmarks.csv", ["sha256", *LANDMARKS], rows)
