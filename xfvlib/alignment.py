"""From a photograph to the aligned face crop that a recogniser was trained on."""

import warnings
from functools import lru_cache
from importlib import resources
from pathlib import Path

import dlib
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

SHORTER_SIDE = 276  # pixels: smaller photographs are enlarged, since dlib's detector needs faces of about 80
LONGER_SIDE = 1600  # larger photographs are reduced, or detection takes seconds
BORDER = 60  # edge pixels repeated around the photograph, for faces that touch its border
PADDING = 0.25  # margin around the face in dlib's crop, as a share of it: what its recogniser was trained with


def align(photo, size=150):
    """Aligned crop of the largest face in a photograph, as dlib's recogniser was trained with.

    Args:
        photo: path, PIL image or uint8 array ``(H, W)``, ``(H, W, 3)``. The rotation noted by cameras (EXIF) is applied.
        size: height and width of the crop in pixels.

    Returns:
        float32 ``(3, size, size)``, RGB in [0, 1].

    Raises:
        ValueError: no face is found, or the file is not an image.
        TypeError: the photograph is none of the above.

    Example:
        >>> crop = align("holiday.jpg")  # doctest: +SKIP
    """
    photo = read_photo(photo)
    return crop(photo, find_landmarks(photo), size)


def read_photo(photo):
    """RGB PIL image, upright, of a path, PIL image or uint8 array; errors as in :func:`align`."""
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim not in (2, 3) or (photo.ndim == 3 and photo.shape[2] != 3):
            raise TypeError(f"photo is a {photo.dtype} array of shape {photo.shape}; it must be uint8 (H, W) or (H, W, 3), RGB")
        photo = Image.fromarray(photo)
    elif isinstance(photo, (str, Path)):
        try:
            with Image.open(photo) as file:
                file.load()
                photo = file
        except UnidentifiedImageError as error:
            raise ValueError(f"{photo} is not an image that can be read; save it as JPEG or PNG") from error
    elif not isinstance(photo, Image.Image):
        raise TypeError(f"photo is a {type(photo).__name__}; it must be a path, a PIL image or a uint8 array")
    return ImageOps.exif_transpose(photo).convert("RGB")


def find_landmarks(photo, fallback=False):
    """Five landmarks of the largest face: the corners of both eyes and the base of the nose.

    Args:
        photo: as for :func:`align`.
        fallback: True to suppose a face in the middle of the photograph when none is detected.

    Returns:
        float ``(5, 2)``: x and y in pixels of the photograph, in dlib's order.

    Raises:
        ValueError: no face is found and ``fallback`` is False. Several faces: a warning says that the largest was taken.
    """
    photo = read_photo(photo)
    pixels, scale = prepare(photo)
    faces = detector()(pixels, 0)
    if len(faces) == 0 and not fallback:
        raise ValueError(
            f"no face was found in the photograph ({photo.width}×{photo.height}): use one that shows a face from the "
            "front, upright, and at least a fifth of the picture high"
        )
    if len(faces) > 1:
        warnings.warn(f"{len(faces)} faces were found in the photograph; the largest was taken", stacklevel=2)
    if len(faces) == 0:
        face = middle_box(*pixels.shape[:2])
    else:
        face = max(faces, key=lambda box: box.area())
    points = landmark_model()(pixels, face).parts()
    return (np.array([(p.x, p.y) for p in points], dtype=float) - BORDER) / scale


def crop(photo, landmarks, size=150):
    """Aligned crop of a photograph whose landmarks are known: no detector runs.

    Args:
        photo: as for :func:`align`.
        landmarks: ``(5, 2)``, x and y in pixels of the photograph, as from :func:`find_landmarks`.
        size: height and width of the crop in pixels.

    Returns:
        float32 ``(3, size, size)``, RGB in [0, 1].
    """
    landmarks = np.asarray(landmarks, dtype=float)
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"landmarks have shape {landmarks.shape}; five finite (x, y) points are needed")
    pixels, scale = prepare(read_photo(photo))
    points = [dlib.point(int(x), int(y)) for x, y in np.rint(landmarks * scale + BORDER)]
    face = dlib.full_object_detection(middle_box(*pixels.shape[:2]), points)
    chip = dlib.get_face_chip(pixels, face, size, PADDING)
    return torch.from_numpy(chip).permute(2, 0, 1).contiguous().float() / 255


def prepare(photo):
    """Pixels of a photograph at a size that the detector can work with, a border around them, and the scale."""
    shorter, longer = sorted(photo.size)
    scale = max(1, int(np.ceil(SHORTER_SIDE / shorter)))
    if longer * scale > LONGER_SIDE:
        scale = LONGER_SIDE / longer
    if scale != 1:
        photo = photo.resize([round(side * scale) for side in photo.size], Image.Resampling.BICUBIC)
    return np.pad(np.asarray(photo), ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="edge"), scale


def middle_box(height, width):
    """Square in the middle, half as high as the shorter side of the picture within its border."""
    half = (min(height, width) - 2 * BORDER) // 4
    y, x = height // 2, width // 2
    return dlib.rectangle(x - half, y - half, x + half, y + half)


@lru_cache(1)
def detector():
    return dlib.get_frontal_face_detector()


@lru_cache(1)
def landmark_model():
    path = resources.files("face_recognition_models") / "models" / "shape_predictor_5_face_landmarks.dat"
    return dlib.shape_predictor(str(path))
