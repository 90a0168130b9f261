import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from xfvlib import alignment
from xfvlib.files import DATA
from xfvlib.pairs import orl_photo_path


def test_kept_landmarks_are_the_detectors():
    kept = pd.read_csv(DATA / "orl_landmarks.csv", index_col="name")
    for name in ("s1/1", "s7/3", "s40/10"):
        found = alignment.find_landmarks(Image.open(orl_photo_path(name)))
        assert np.allclose(found.ravel(), kept.loc[name], atol=1e-3)


def test_crop_at_kept_landmarks_is_the_crop_of_align(pairs):
    crop = alignment.align(orl_photo_path("s1/1"))
    assert crop.dtype == torch.float32 and crop.shape == (3, 150, 150)
    assert torch.allclose(crop, pairs.image("s1/1"), atol=1 / 255)


def test_crop_refuses_other_landmarks():
    with pytest.raises(ValueError, match="five"):
        alignment.crop(Image.new("RGB", (100, 100)), np.zeros((68, 2)))


def test_photo_errors(tmp_path):
    with pytest.raises(ValueError, match="no face"):
        alignment.align(np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(TypeError, match="uint8"):
        alignment.align(np.zeros((200, 200, 3)))
    with pytest.raises(TypeError, match="path"):
        alignment.align(7)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(ValueError, match="JPEG or PNG"):
        alignment.align(broken)


def test_largest_of_several_faces_is_taken_and_said_so():
    small = Image.open(orl_photo_path("s1/1")).convert("RGB").resize((184, 224))
    large = Image.open(orl_photo_path("s2/1")).convert("RGB").resize((368, 448))
    both = Image.new("RGB", (600, 460), "grey")
    both.paste(small, (20, 120))
    both.paste(large, (220, 6))
    with pytest.warns(UserWarning, match="2 faces"):
        points = alignment.find_landmarks(both)
    assert (points[:, 0] > 220).all()


def test_rotation_noted_by_the_camera_is_applied(tmp_path):
    upright = Image.open(orl_photo_path("s1/1")).convert("RGB").resize((368, 448))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(alignment.align(tmp_path / "turned.png"), alignment.align(upright))
