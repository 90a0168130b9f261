import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import EpsImagePlugin, Image

from xfvlib import alignment
from xfvlib.files import DATA
from xfvlib.pairs import orl_photo_path


def test_kept_landmarks_are_the_detectors():
    kept = pd.read_csv(DATA / "orl_landmarks.csv", index_col="name")
    for name in ("s1/1", "s7/3", "s40/10"):
        for kind, atol in (
            ("arcface", 0.05),
            ("dlib", 1e-3),
        ):  # YuNet is a network: its last digits differ by processor
            found = alignment.landmark_row(orl_photo_path(name), kind)
            assert np.allclose(found, kept.loc[name].filter(regex=f"^{kind} "), atol=atol)


def test_crop_at_kept_landmarks_is_the_crop_of_align(pairs):
    crop = alignment.align(orl_photo_path("s1/1"))
    assert crop.dtype == torch.float32 and crop.shape == (3, 112, 112)
    assert (crop - pairs.image("s1/1")).abs().max() < 0.05


def test_template_crop_puts_the_landmarks_on_the_template():
    """White dots painted at the landmarks of a turned, scaled and shifted face come out on the template."""
    turn = 1.3 * np.exp(0.4j)
    points = (alignment.TEMPLATE @ [1, 1j]) * turn + (140 + 60j)
    points = np.stack([points.real, points.imag], axis=1)
    y, x = np.mgrid[:300, :400]
    dots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points)
    photo = np.repeat((255 * dots / dots.max()).astype(np.uint8)[..., None], 3, axis=2)
    crop = alignment.crop(photo, points, size=(112, 112), kind="arcface")[0].numpy()
    for px, py in alignment.TEMPLATE:
        near = crop[int(py) - 6 : int(py) + 8, int(px) - 6 : int(px) + 8]
        yy, xx = np.mgrid[int(py) - 6 : int(py) + 8, int(px) - 6 : int(px) + 8]
        assert abs((near * xx).sum() / near.sum() - px) < 0.3 and abs((near * yy).sum() / near.sum() - py) < 0.3


def test_a_large_photograph_and_its_reduction_give_the_same_template_crop():
    small = Image.open(orl_photo_path("s1/1")).convert("RGB").resize((276, 336), Image.Resampling.BICUBIC)
    large = small.resize((1380, 1680), Image.Resampling.BICUBIC)
    landmarks = alignment.find_landmarks(small)
    crops = [
        alignment.crop(photo, points, size=(112, 112), kind="arcface")
        for photo, points in ((small, landmarks), (large, (landmarks + 0.5) * 5 - 0.5))
    ]
    assert (crops[0] - crops[1]).abs().mean() < 0.01


def test_a_narrower_crop_is_the_middle_of_the_square():
    landmarks = alignment.find_landmarks(orl_photo_path("s1/1"))
    square, narrow = (
        alignment.crop(orl_photo_path("s1/1"), landmarks, size=(112, w), kind="arcface") for w in (112, 96)
    )
    assert torch.equal(square[:, :, 8:104], narrow)


def test_the_person_in_the_middle_is_taken_or_supposed():
    small = Image.open(orl_photo_path("s1/1")).convert("RGB").resize((184, 224))
    large = Image.open(orl_photo_path("s2/1")).convert("RGB").resize((276, 336))
    both = Image.new("RGB", (760, 360), "grey")
    both.paste(small, (288, 60))
    both.paste(large, (484, 10))
    for kind in ("arcface", "dlib"):
        points = alignment.find_landmarks(both, kind, centred=True)
        assert (points[:, 0] > 288).all() and (points[:, 0] < 472).all()
        nobody = alignment.find_landmarks(Image.new("RGB", (300, 300), "grey"), kind, centred=True)
        assert (nobody > 50).all() and (nobody < 250).all()


def test_too_large_and_heic_files_are_refused_in_words(tmp_path):
    (tmp_path / "photo.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(100))
    with pytest.raises(ValueError, match="HEIC"):
        alignment.align(tmp_path / "photo.heic")
    with pytest.raises(ValueError, match="MB"):
        alignment.read_photo(bytes(41_000_000), "large.jpg")


def test_crop_refuses_other_landmarks():
    with pytest.raises(ValueError, match="five"):
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


FACE = Image.open(orl_photo_path("s1/1")).resize((276, 336), Image.Resampling.BICUBIC)
_GREY = np.asarray(FACE)


def written(image, kind, **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "photo",
    {
        "uint16": _GREY.astype(np.uint16) * 257,
        "uint16, most significant byte first": _GREY.astype(">u2") * 257,
        "float64": _GREY / 255,
        "float32": (_GREY / 255).astype(np.float32),
        "float16": (_GREY / 255).astype(np.float16),
        "colour": np.repeat(_GREY[..., None] / 255, 3, axis=2),
        "read-only": np.broadcast_to(_GREY[..., None], (*_GREY.shape, 3)),
        "PNG, 16 bits": written(Image.fromarray(_GREY.astype(np.uint16) * 257), "PNG"),
        "TIFF, 16 bits": written(Image.fromarray(_GREY.astype(np.uint16) * 257), "TIFF"),
        "PGM, 16 bits": b"P5 276 336 65535\n" + (_GREY.astype(">u2") * 257).tobytes(),
        "PGM, 10 bits": b"P5 276 336 1023\n" + np.round(_GREY * 1023.0 / 255).astype(">u2").tobytes(),
        "TIFF, floats": written(Image.fromarray((_GREY / 255).astype(np.float32)), "TIFF"),
        "PFM": b"Pf 276 336 -1.0\n" + (_GREY[::-1] / 255).astype("<f4").tobytes(),
        "PIL, 16 bits": Image.fromarray(_GREY.astype(np.uint16) * 257),
        "PIL, floats": Image.fromarray((_GREY / 255).astype(np.float32)),
        "LA": written(FACE.convert("LA"), "PNG"),
        "P": written(FACE.convert("P"), "PNG"),
        "GIF of several frames": written(FACE, "GIF", save_all=True, append_images=[FACE.rotate(90)]),
        "WEBP of several frames": written(
            FACE.convert("RGB"), "WEBP", save_all=True, append_images=[FACE], lossless=True
        ),
    }.items(),
    ids=lambda named: named[0],
)
def test_photographs_of_all_depths_are_the_same_picture(photo):
    pixels = np.asarray(alignment.read_photo(photo[1]), dtype=int)
    assert pixels.shape == (336, 276, 3) and np.abs(pixels - _GREY[..., None]).max() <= 1


def test_transparent_parts_become_white():
    seen = np.dstack([np.repeat(_GREY[..., None], 3, axis=2), np.full_like(_GREY, 255)])
    seen[:40, :, 3] = 0
    for kind in ("PNG", "WEBP"):
        pixels = np.asarray(
            alignment.read_photo(written(Image.fromarray(seen), kind, **({"lossless": True} if kind == "WEBP" else {})))
        )
        assert (pixels[:40] == 255).all() and (pixels[40:] == seen[40:, :, :3]).all()


def test_colours_of_print_are_read():
    crop = alignment.align(written(FACE.convert("RGB").convert("CMYK"), "JPEG", quality=95))
    assert (crop - alignment.align(FACE)).abs().mean() < 0.02


@pytest.mark.parametrize(
    "photo, error, words",
    [
        (_GREY * 1.0, ValueError, "divide"),
        (_GREY * np.nan, ValueError, "NaN"),
        (_GREY - 1.0, ValueError, "divide"),
        (_GREY.astype(np.int32), TypeError, "uint16"),
        (_GREY > 9, TypeError, "bool"),
        (_GREY[..., None], TypeError, "336, 276, 1"),
        (Image.fromarray(_GREY.astype(np.int32)), ValueError, "int32"),
        (Image.fromarray(_GREY.astype(np.float32)), ValueError, "divide"),
        (written(Image.fromarray(_GREY.astype(np.int32)), "TIFF"), ValueError, "int32"),
        (written(Image.new("1", (20_000, 20_000)), "PNG"), ValueError, "pixels"),
        (written(Image.new("1", (7_100, 7_100)), "PNG"), ValueError, "7100×7100 pixels"),
        (Image.new("1", (7_100, 7_100)), ValueError, "7100×7100 pixels"),
        (written(Image.new("1", (40_000_000, 1)), "PNG"), ValueError, "40000000×1 pixels"),
        (written(FACE, "JPEG")[:3000], ValueError, "damaged"),
        (b"", ValueError, "JPEG or PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n", ValueError, "cannot identify"),
        (written(FACE, "ICO"), ValueError, "cannot identify"),
        (torch.zeros(3, 9, 9), TypeError, "Tensor"),
        (None, TypeError, "NoneType"),
    ],
)
def test_other_pictures_are_refused_in_words(photo, error, words):
    with pytest.raises(error, match=words):
        alignment.align(photo)


def test_a_file_is_looked_at_before_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(3_000_000_000)
    for path, words in (("pipe.jpg", "pipe"), ("large.jpg", "3000 MB"), (".", "folder"), ("/dev/zero", "device")):
        with pytest.raises(ValueError, match=words):
            alignment.align(tmp_path / path)
    with pytest.raises(FileNotFoundError, match="no photograph"):
        alignment.align(str(tmp_path / "absent.jpg"))


def test_an_eps_file_starts_no_program(tmp_path, monkeypatch):
    (tmp_path / "eps.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF"
    )
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(ValueError, match="cannot identify"):
        alignment.align(tmp_path / "eps.jpg")
    with pytest.raises(ValueError, match="EPS"), Image.open(tmp_path / "eps.jpg") as opened:
        alignment.align(opened)


def test_a_jpeg_of_thousands_of_scans_is_not_decoded():
    whole = written(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)
    last = whole[whole.rfind(b"\xff\xda") : -2]
    assert alignment.read_photo(whole).size == (2000, 2000)
    with pytest.raises(ValueError, match="scans"):
        alignment.read_photo(whole[:-2] + last * 300 + whole[-2:])


@pytest.mark.filterwarnings("ignore::UserWarning")  # of PIL, on what it skips
@pytest.mark.parametrize("seed", range(70))
def test_damaged_photographs_are_read_or_refused(seed):
    random = np.random.default_rng(seed)
    kind = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")[seed % 7]
    damaged = bytearray(written(FACE.resize((46, 56)).convert("RGB"), kind))
    for place in (random.random(4) ** 3 * len(damaged)).astype(int):
        damaged[place] = random.integers(0, 256)
    with contextlib.suppress(ValueError):
        assert alignment.read_photo(bytes(damaged)).mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 3), (30_000, 3)])
def test_photographs_of_odd_sizes_show_no_face(size):
    with pytest.raises(ValueError, match="no face"):
        alignment.align(Image.new("RGB", size, "grey"))
    for kind in ("arcface", "dlib"):
        row = alignment.landmark_row(Image.new("RGB", size, "grey"), kind, centred=True)
        assert np.isfinite(row).all() and row[10] == 1


LANDMARKS = alignment.find_landmarks(FACE)


@pytest.mark.parametrize("kind", ["dlib", "arcface"])
@pytest.mark.parametrize(
    "landmarks",
    [LANDMARKS * np.nan, LANDMARKS * np.inf, LANDMARKS * 1e9, LANDMARKS * 0, LANDMARKS * 0 + 50, LANDMARKS[:4], None],
    ids=["NaN", "infinite", "far", "zero", "one place", "four", "none"],
)
def test_landmarks_that_no_photograph_has_are_refused(landmarks, kind):
    with pytest.raises(ValueError, match="five points"):
        alignment.crop(FACE, landmarks, size=(112, 112), kind=kind)


def test_of_which_photographs_no_face_was_detected():
    kept = pd.read_csv(DATA / "orl_landmarks.csv", index_col="name")
    assert kept["arcface supposed"].sum() == 0 and list(kept.index[kept["dlib supposed"] == 1]) == ["s33/4", "s37/4"]
    lfw = pd.read_csv(DATA / "lfw_landmarks.csv")
    assert lfw["arcface supposed"].sum() == 0 and lfw["dlib supposed"].sum() == 9 and len(lfw) == 1583


def test_yunets_landmarks_are_near_those_of_dlib():
    for name in ("s1/1", "s7/3", "s40/10"):
        photo = Image.open(orl_photo_path(name))
        many = alignment.find_68_landmarks(photo)
        theirs = [many[36:42].mean(axis=0), many[42:48].mean(axis=0), many[30], many[48], many[54]]
        apart = np.linalg.norm(alignment.find_landmarks(photo) - theirs, axis=1)
        assert apart.max() < 0.2 * np.linalg.norm(theirs[1] - theirs[0])


def test_beyond_the_photograph_its_colours_go_on_without_edges():
    """A grey ramp, cropped far beyond its border, holds no colour that the ramp has not, and no step."""
    ramp = np.repeat(np.linspace(60, 180, 92, dtype=np.uint8)[None, :], 112, axis=0)
    photo = Image.fromarray(np.repeat(ramp[..., None], 3, axis=2))
    landmarks = (alignment.TEMPLATE - 56) * 0.6 + [46, 40]  # the crop reaches 30 pixels above, and as far below
    crop = alignment.crop(photo, landmarks)[0].numpy() * 255
    assert crop.min() >= 55 and crop.max() <= 185
    inside, above = crop[50:60, 28:84], crop[:8, 28:84]
    assert np.abs(np.diff(crop, axis=0)).max() < 12 and np.abs(np.diff(above, axis=1)).max() < 4
    assert np.abs(above.mean(axis=0) - inside.mean(axis=0)).max() < 25


def test_the_outermost_pixels_of_a_scan_are_not_continued():
    grey = np.full((112, 92, 3), 128, np.uint8)
    grey[:, 0] = 255
    landmarks = (alignment.TEMPLATE - 56) * 0.6 + [30, 56]
    assert alignment.crop(Image.fromarray(grey), landmarks).max() < 0.6


def test_no_pixel_of_an_evenly_grey_photograph_is_left_black():
    grey = Image.new("RGB", (92, 112), (128, 128, 128))
    for row in pd.read_csv(DATA / "orl_landmarks.csv", index_col="name").filter(regex="^arcface [xy]").to_numpy():
        crop = alignment.crop(grey, row.reshape(5, 2))
        assert crop.min() == crop.max()


def test_each_thread_has_a_detector_of_its_own():
    expected = alignment.find_landmarks(orl_photo_path("s1/1"))
    with ThreadPoolExecutor(4) as threads:
        found = [*threads.map(lambda _: alignment.find_landmarks(orl_photo_path("s1/1")), range(12))]
    assert all(np.array_equal(points, expected) for points in found)


@pytest.mark.parametrize("size", [(276, 336), (2000, 1), (1, 2000), (5, 5)])
def test_landmarks_outside_of_the_photograph_give_a_crop_all_the_same(size):
    points = LANDMARKS * np.array(size).max() / 336
    for kind in ("dlib", "arcface"):
        assert alignment.crop(Image.new("RGB", size), points, size=(112, 112), kind=kind).shape == (3, 112, 112)


def test_another_kind_of_landmarks_is_refused():
    with pytest.raises(ValueError, match="'arcface'"):
        alignment.find_landmarks(FACE, "yunet")


def test_errors_name_the_photograph(tmp_path):
    Image.new("RGB", (300, 300), "grey").save(tmp_path / "wall.png")
    with pytest.raises(ValueError, match=r"no face was found in wall.png \(300, 300\)"):
        alignment.align(tmp_path / "wall.png")
    with pytest.raises(ValueError, match="no face was found in the photograph"):
        alignment.align(Image.new("RGB", (300, 300), "grey"))


def test_largest_of_several_faces_is_taken_and_said_so():
    small = Image.open(orl_photo_path("s1/1")).convert("RGB").resize((184, 224))
    large = Image.open(orl_photo_path("s2/1")).convert("RGB").resize((368, 448))
    both = Image.new("RGB", (600, 460), "grey")
    both.paste(small, (20, 120))
    both.paste(large, (220, 6))
    for kind in ("arcface", "dlib"):
        with pytest.warns(UserWarning, match="2 faces"):
            points = alignment.find_landmarks(both, kind)
        assert (points[:, 0] > 220).all()


def test_rotation_noted_by_the_camera_is_applied(tmp_path):
    upright = Image.open(orl_photo_path("s1/1")).convert("RGB").resize((368, 448))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(alignment.align(tmp_path / "turned.png"), alignment.align(upright))
