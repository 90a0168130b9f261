from io import BytesIO

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
        assert np.allclose([*found.ravel(), 0], kept.loc[name], atol=1e-3)


def test_crop_at_kept_landmarks_is_the_crop_of_align(pairs):
    crop = alignment.align(orl_photo_path("s1/1"))
    assert crop.dtype == torch.float32 and crop.shape == (3, 150, 150)
    assert torch.allclose(crop, pairs.image("s1/1"), atol=1 / 255)


def test_template_crop_puts_the_landmarks_on_the_template():
    """White dots painted at the landmarks of a turned, scaled and shifted face come out on the template."""
    turn = 1.3 * np.exp(0.4j)
    points = (alignment.TEMPLATE @ [1, 1j]) * turn + (140 + 60j)
    points = np.stack([points.real, points.imag], axis=1)
    y, x = np.mgrid[:300, :400]
    dots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points)
    photo = np.repeat((255 * dots / dots.max()).astype(np.uint8)[..., None], 3, axis=2)
    crop = alignment.crop(photo, np.concatenate([points, points]), size=(112, 112), kind="arcface")[0].numpy()
    for px, py in alignment.TEMPLATE:
        near = crop[int(py) - 6 : int(py) + 8, int(px) - 6 : int(px) + 8]
        yy, xx = np.mgrid[int(py) - 6 : int(py) + 8, int(px) - 6 : int(px) + 8]
        assert abs((near * xx).sum() / near.sum() - px) < 0.3 and abs((near * yy).sum() / near.sum() - py) < 0.3


def test_a_large_photograph_and_its_reduction_give_the_same_template_crop():
    small = Image.open(orl_photo_path("s1/1")).convert("RGB").resize((276, 336), Image.Resampling.BICUBIC)
    large = small.resize((1380, 1680), Image.Resampling.BICUBIC)
    landmarks = alignment.find_landmarks(small)
    crops = [alignment.crop(photo, points, size=(112, 112), kind="arcface")
             for photo, points in ((small, landmarks), (large, (landmarks + 0.5) * 5 - 0.5))]  # fmt: skip
    assert (crops[0] - crops[1]).abs().mean() < 0.01


def test_a_narrower_crop_is_the_middle_of_the_square():
    landmarks = alignment.find_landmarks(orl_photo_path("s1/1"))
    square, narrow = (alignment.crop(orl_photo_path("s1/1"), landmarks, size=(112, w), kind="arcface") for w in (112, 96))
    assert torch.equal(square[:, :, 8:104], narrow)


def test_the_person_in_the_middle_is_taken_or_supposed():
    small = Image.open(orl_photo_path("s1/1")).convert("RGB").resize((184, 224))
    large = Image.open(orl_photo_path("s2/1")).convert("RGB").resize((276, 336))
    both = Image.new("RGB", (760, 360), "grey")
    both.paste(small, (288, 60))
    both.paste(large, (484, 10))
    points = alignment.find_landmarks(both, centred=True)
    assert (points[:, 0] > 288).all() and (points[:, 0] < 472).all()
    nobody = alignment.find_landmarks(Image.new("RGB", (300, 300), "grey"), centred=True)
    assert (nobody > 50).all() and (nobody < 250).all()


def test_too_large_and_heic_files_are_refused_in_words(tmp_path):
    (tmp_path / "photo.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(100))
    with pytest.raises(ValueError, match="HEIC"):
        alignment.align(tmp_path / "photo.heic")
    with pytest.raises(ValueError, match="MB"):
        alignment.read_photo(bytes(41_000_000), "large.jpg")


def test_crop_refuses_other_landmarks():
    with pytest.raises(ValueError, match="ten"):
        alignment.crop(Image.new("RGB", (100, 100)), np.zeros((68, 2)))


def test_photo_errors(tmp_path):
    with pytest.raises(ValueError, match="no face"):
        alignment.align(np.full((200, 200, 3), 128, np.uint8))
    for pixels in (np.zeros((200, 200, 3), np.int64), np.zeros((200, 200, 4), np.uint8), np.zeros((0, 9, 3), np.uint8)):
        with pytest.raises(TypeError, match="uint8"):
            alignment.align(pixels)
    with pytest.raises(TypeError, match="path"):
        alignment.align(7)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(ValueError, match="JPEG or PNG"):
        alignment.align(broken)


def test_a_photograph_that_pil_opens_and_cannot_decode_is_refused_in_words():
    whole = BytesIO()
    Image.open(orl_photo_path("s1/1")).save(whole, "png")
    with pytest.raises(ValueError, match="damaged"):
        alignment.align(Image.open(BytesIO(whole.getvalue()[:3000])))


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
