"""From a photograph to the aligned face crop that a recogniser was trained on."""

import io
import warnings
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Protocol

import dlib
import numpy as np
import torch
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from xfvlib.files import read_bytes

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")  # of photographs; PIL knows others that start programs
LARGEST_FILE = 40_000_000  # bytes
_MOST_PIXELS = 50_000_000
_MOST_SCANS = 200  # of a JPEG; a progressive one has about ten, and each is a pass over all pixels
_LARGEST_CROP = 2000  # pixels
_SHORTER_SIDE = 276  # pixels: smaller photographs are enlarged, since dlib's detector needs faces of about 80
_LONGER_SIDE = 1600  # larger photographs are reduced, or detection takes seconds
_BORDER = 60  # edge pixels repeated around the photograph, for faces that touch its border
_NAME = "called in xfvlib"  # where a PIL image keeps what errors call it
# centres of the eyes, tip of the nose, corners of the mouth in a 112×112 crop: the template of ArcFace and its kin
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)

# in a crop, as shares of its height: rows of the eyes, the tip of the nose and the mouth, and the distance between the
# eyes; for dlib's alignment the mean over the ORL photographs
FEATURES = {"dlib": (0.313, 0.487, 0.671, 0.363), "arcface": (0.461, 0.641, 0.824, 0.315)}

Photo = str | Path | bytes | Image.Image | np.ndarray


class HasAlignment(Protocol):
    """What says how crops are made, such as a FaceModel: ``size`` (H, W) and ``alignment``, "dlib" or "arcface"."""

    size: tuple[int, int]
    alignment: str


def align(photo: Photo, model: HasAlignment | None = None) -> torch.Tensor:
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
    photo = read_photo(photo)
    size, kind = wanted(model)
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
    try:
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
    except Exception as error:  # a damaged file can fail in any way
        reason = str(error).partition(" <")[0]  # without PIL's address of the bytes
        raise ValueError(f"{name} is damaged or not an image: {reason}; save it as JPEG or PNG, not HEIC") from error
    photo.info[_NAME] = name
    return photo


def _eight_bits(pixels):
    """uint8 pixels of those with 16 bits, or of floats in [0, 1]."""
    scale = {"u1": 1, "u2": 1 / 257, "f2": 255, "f4": 255, "f8": 255}.get(pixels.dtype.str[1:])
    shaped = pixels.ndim in (2, 3) and pixels.shape[2:] in ((), (3,)) and 0 < pixels.size <= 3 * _MOST_PIXELS
    if not scale or not shaped:
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
    eyes = [many[36:42].mean(axis=0), many[42:48].mean(axis=0)]
    return np.append([*few, *eyes, many[30], many[48], many[54]], float(supposed))


def find_68_landmarks(photo: Photo) -> np.ndarray:
    """The 68 landmarks of the largest face: jaw, brows, nose, eyes, mouth.

    Argument and errors as for :func:`find_landmarks`. Returns float ``(68, 2)``, x and y in pixels of the photograph.
    """
    return _landmarks(68, *_find_face(photo)[:3])


def _landmarks(count, pixels, scale, face):
    return (np.array([(p.x, p.y) for p in _landmark_model(count)(pixels, face).parts()], dtype=float) - _BORDER) / scale


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
    return pixels, scale, max(faces, key=lambda box: box.area()), False


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
        needed = f"ten points (x, y) in pixels, apart from each other, and within {far} pixels from the corner"
        raise ValueError(f"landmarks are {points.dtype} {points.shape}; {needed}, are needed: see find_landmarks")
    pixels = (_dlib_crop if kind == "dlib" else _template_crop)(photo, points[five], size[0])
    left = (size[0] - size[1]) // 2  # of the template's square, a narrower crop is the middle
    return to_tensor(pixels[:, left : left + size[1]])


def wanted(model: HasAlignment | None) -> tuple[tuple[int, int], str]:
    """Size (H, W) and kind of alignment of a model's crops; ValueError for those that are wider than high.

    Example:
        >>> wanted(None)
        ((150, 150), 'dlib')
    """
    return ((150, 150), "dlib") if model is None else _known_format(model.size, model.alignment)


def _known_format(size, kind):
    whole = isinstance(size, tuple) and len(size) == 2 and all(isinstance(side, (int, np.integer)) for side in size)
    if not whole or not 1 <= size[1] <= size[0] <= _LARGEST_CROP or kind not in ("dlib", "arcface"):
        needed = f"(height, width), at most {_LARGEST_CROP} pixels and not wider than high, and 'dlib' or 'arcface'"
        raise ValueError(f"size {size!r} and alignment {kind!r} were given; needed are {needed}")
    return size, kind


def face_regions(model: HasAlignment | None = None) -> dict[str, torch.Tensor]:
    """Seven regions of an aligned crop, by where the landmarks of the model's alignment lie.

    Args:
        model: a FaceModel, which says size and alignment; None for the default model's.

    Returns:
        ``{name: (H, W)}``, weights in [0, 1] with soft borders; at every pixel they add up to 1.
    """
    (height, width), kind = wanted(model)
    eyes_y, nose_y, mouth_y, between = np.array(FEATURES[kind]) * height
    y, x = np.indices((height, width))
    x = np.abs(x - (width - 1) / 2) / between  # from the middle, in distances between the eyes
    nose_end, mouth_end = (nose_y + mouth_y) / 2, mouth_y + 0.35 * between
    first_that_holds = {
        "margins": x > 0.95,
        "forehead": y < eyes_y - 0.4 * between,
        "eyes": y < eyes_y + 0.3 * between,
        "nose": (y < nose_end) & (x <= 0.35),
        "mouth": (y >= nose_end) & (y < mouth_end) & (x <= 0.6),
        "cheeks": y < mouth_end,
        "chin": y >= mouth_end,
    }
    number = np.argmax([*first_that_holds.values()], axis=0)
    places = {name: (number == i).astype(np.float32) for i, name in enumerate(first_that_holds)}
    order = ("forehead", "eyes", "nose", "cheeks", "mouth", "chin", "margins")
    return {name: torch.from_numpy(gaussian_filter(places[name], height / 56)) for name in order}


def _dlib_crop(photo, landmarks, size):
    """dlib's own crop, with the margin of a quarter that its recogniser was trained with: uint8 ``(size, size, 3)``."""
    pixels, scale = _enlarged(photo)
    points = [dlib.point(int(x), int(y)) for x, y in np.rint(landmarks * scale + _BORDER)]
    return dlib.get_face_chip(pixels, dlib.full_object_detection(dlib.rectangle(), points), size)


def _template_crop(photo, landmarks, size):
    """Crop whose five landmarks lie on ``TEMPLATE`` as nearly as turning, scaling and shifting allows.

    Returns uint8 ``(size, size, 3)``.
    """
    # as complex numbers a similarity is z → turn·z + shift, and least squares is one division
    target = (TEMPLATE + 0.5) * size / 112 - 0.5
    z, w = landmarks @ [1, 1j], target @ [1, 1j]
    turn = np.vdot(w - w.mean(), z - z.mean()) / np.vdot(w - w.mean(), w - w.mean())  # crop → photograph
    if abs(turn) > 1.5 and max(photo.size) > 1:  # reduce first, with antialiasing: the affine sampling below has none
        small = photo.resize([max(1, round(side / abs(turn))) for side in photo.size], Image.Resampling.BICUBIC)
        return _template_crop(small, (landmarks + 0.5) * np.divide(small.size, photo.size) - 0.5, size)
    shift = z.mean() - turn * w.mean()
    # PIL samples at pixel centres, half a pixel from the corner
    shift += (1 + 1j) / 2 - turn * (1 + 1j) / 2
    coefficients = (turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag)
    return np.array(photo.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC))


def _enlarged(photo):
    """Pixels of a photograph at a size that the detector can work with, a border around them, and the scale."""
    shorter, longer = sorted(photo.size)
    scale = max(1, int(np.ceil(_SHORTER_SIDE / shorter)))
    if longer * scale > _LONGER_SIDE:
        scale = _LONGER_SIDE / longer
    if scale != 1:
        photo = photo.resize([max(1, round(side * scale)) for side in photo.size], Image.Resampling.BICUBIC)
    return np.pad(np.asarray(photo), ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)), mode="edge"), scale


_detector = cache(dlib.get_frontal_face_detector)


@cache
def _landmark_model(count):
    folder = resources.files("face_recognition_models") / "models"
    return dlib.shape_predictor(str(folder / f"shape_predictor_{count}_face_landmarks.dat"))
