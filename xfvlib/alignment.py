"""From a photograph to the aligned face crop that a recogniser was trained on."""

import io
import warnings
from functools import lru_cache
from importlib import resources
from pathlib import Path

import dlib
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy.ndimage import gaussian_filter

SHORTER_SIDE = 276  # pixels: smaller photographs are enlarged, since dlib's detector needs faces of about 80
LONGER_SIDE = 1600  # larger photographs are reduced, or detection takes seconds
BORDER = 60  # edge pixels repeated around the photograph, for faces that touch its border
PADDING = 0.25  # margin around the face in dlib's crop, as a share of it: what its recogniser was trained with
LARGEST_FILE = 40_000_000  # bytes
# centres of the eyes, tip of the nose, corners of the mouth in a 112×112 crop: the template of ArcFace and its kin
TEMPLATE = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])

# in a crop, as shares of its height: rows of the eyes, the tip of the nose and the mouth, and the distance between the eyes;
# for dlib's alignment the mean over the ORL photographs
FEATURES = {"dlib": (0.313, 0.487, 0.671, 0.363), "arcface": (0.461, 0.641, 0.824, 0.315)}


def align(photo, model=None):
    """Crop of the largest face in a photograph, aligned as the model was trained with.

    Args:
        photo: path, PIL image or uint8 array ``(H, W)``, ``(H, W, 3)``. The rotation noted by cameras (EXIF) is applied.
        model: a FaceModel, which says size and alignment; None for the default model's 150×150.

    Returns:
        float32 ``(3, H, W)``, RGB in [0, 1].

    Raises:
        ValueError: no face is found, or the file is too large or not an image that can be read.
        TypeError: the photograph is none of the above.

    Example:
        >>> crop = align("holiday.jpg", model)  # doctest: +SKIP
    """
    photo = read_photo(photo)
    size, kind = wanted(model)
    return crop(photo, find_landmarks(photo), size=size, kind=kind)


def read_photo(photo):
    """RGB PIL image, upright, of a path, PIL image or uint8 array; errors as in :func:`align`."""
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim not in (2, 3) or (photo.ndim == 3 and photo.shape[2] != 3):
            raise TypeError(f"photo is a {photo.dtype} array of shape {photo.shape}; it must be uint8 (H, W) or (H, W, 3), RGB")
        photo = Image.fromarray(photo)
    elif isinstance(photo, (str, Path)):
        photo = decode(Path(photo).read_bytes(), Path(photo).name)
    elif not isinstance(photo, Image.Image):
        raise TypeError(f"photo is a {type(photo).__name__}; it must be a path, a PIL image or a uint8 array")
    try:
        return ImageOps.exif_transpose(photo).convert("RGB")
    except OSError as error:  # PIL decodes when it is asked for pixels
        raise ValueError(f"the photograph is damaged ({error}); save it anew as JPEG or PNG") from error


def decode(data, name):
    """RGB PIL image, upright, of an image file's bytes; ``name`` is for the ValueError when it cannot be read."""
    if len(data) > LARGEST_FILE:
        raise ValueError(f"{name} has {len(data) / 1e6:.0f} MB; at most {LARGEST_FILE / 1e6:.0f} MB are read: save it smaller")
    try:
        return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        heic = data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc", b"ftypmsf1")
        reason = "a HEIC photograph, which cannot be read here" if heic else "not an image that can be read, or a damaged one"
        raise ValueError(f"{name} is {reason}; save it as JPEG or PNG") from error


def find_landmarks(photo, centred=False):
    """Landmarks of the largest face, for both alignments.

    Args:
        photo: as for :func:`align`.
        centred: True for data sets that put the person in the middle: of several faces the one nearest to it is taken,
            and where none is detected, one is supposed there.

    Returns:
        float ``(10, 2)``: x and y in pixels of the photograph. The first five are those of dlib's alignment (corners of
        the eyes, base of the nose), the others those of ``TEMPLATE``.

    Raises:
        ValueError: no face is found and ``centred`` is False. Several faces: a warning says that the largest was taken.
    """
    pixels, scale, face = find_face(photo, centred)
    few, many = ([(p.x, p.y) for p in landmark_model(count)(pixels, face).parts()] for count in (5, 68))
    eyes = [np.mean(many[36:42], axis=0), np.mean(many[42:48], axis=0)]
    points = [*few, *eyes, many[30], many[48], many[54]]
    return (np.array(points, dtype=float) - BORDER) / scale


def find_shape(photo):
    """The 68 landmarks of the largest face – jaw, brows, nose, eyes, mouth: float ``(68, 2)``, x and y in pixels of the photograph.

    Argument and errors as for :func:`find_landmarks`.
    """
    pixels, scale, face = find_face(photo)
    return (np.array([(p.x, p.y) for p in landmark_model(68)(pixels, face).parts()], dtype=float) - BORDER) / scale


def find_face(photo, centred=False):
    """Pixels of a photograph as from :func:`prepare`, their scale, and the box of its face; see :func:`find_landmarks`."""
    photo = read_photo(photo)
    pixels, scale = prepare(photo)
    faces = detector()(pixels, 0)
    if len(faces) == 0 and not centred:
        raise ValueError(
            f"no face was found in the photograph ({photo.width}×{photo.height}): use one that shows a face from the "
            "front, upright, and at least a fifth of the picture high"
        )
    if len(faces) > 1 and not centred:
        warnings.warn(f"{len(faces)} faces were found in the photograph; the largest was taken", stacklevel=3)
    middle = middle_box(*pixels.shape[:2])
    if centred:
        face = min(faces, key=lambda box: (box.center() - middle.center()).x ** 2 + (box.center() - middle.center()).y ** 2, default=middle)
        return pixels, scale, face
    return pixels, scale, max(faces, key=lambda box: box.area())


def crop(photo, landmarks, *, size=(150, 150), kind="dlib"):
    """Aligned crop of a photograph whose landmarks are known: no detector runs.

    Args:
        photo: as for :func:`align`.
        landmarks: ``(10, 2)``, x and y in pixels of the photograph, as from :func:`find_landmarks`.
        size, kind: height and width in pixels, and "dlib" or "arcface"; see :func:`wanted`.

    Returns:
        float32 ``(3, H, W)``, RGB in [0, 1].
    """
    landmarks, photo = np.asarray(landmarks, dtype=float), read_photo(photo)
    if landmarks.shape != (10, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"landmarks have shape {landmarks.shape}; ten finite (x, y) points are needed: see find_landmarks")
    pixels = dlib_crop(photo, landmarks[:5], size[0]) if kind == "dlib" else template_crop(photo, landmarks[5:], size[0])
    left = (size[0] - size[1]) // 2  # of the template's square, a narrower crop is the middle
    pixels = pixels[:, left : left + size[1]]
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float() / 255


def wanted(model):
    """Size (H, W) and kind of alignment of a model's crops."""
    return ((150, 150), "dlib") if model is None else (model.size, model.alignment)


def face_regions(model=None):
    """Seven regions of an aligned crop, by where the landmarks of the model's alignment lie.

    Args:
        model: a FaceModel, which says size and alignment; None for the default model's.

    Returns:
        ``{name: (H, W)}``, weights in [0, 1] with soft borders; at every pixel they add up to 1.
    """
    (height, width), kind = wanted(model)
    eyes_y, nose_y, mouth_y, between = np.array(FEATURES[kind]) * height
    y, x = np.arange(height)[:, None], np.abs(np.arange(width) - (width - 1) / 2)[None]
    eyes_end, nose_end, mouth_end = eyes_y + 0.3 * between, (nose_y + mouth_y) / 2, mouth_y + 0.35 * between
    middle_rows, mouth_rows = (y >= eyes_end) & (y < nose_end), (y >= nose_end) & (y < mouth_end)
    outer = x > 0.95 * between
    inside = {
        "forehead": (y < eyes_y - 0.4 * between) & ~outer,
        "eyes": (y >= eyes_y - 0.4 * between) & (y < eyes_end) & ~outer,
        "nose": middle_rows & (x <= 0.35 * between),
        "cheeks": ((middle_rows & (x > 0.35 * between)) | (mouth_rows & (x > 0.6 * between))) & ~outer,
        "mouth": mouth_rows & (x <= 0.6 * between),
        "chin": (y >= mouth_end) & ~outer,
        "margins": np.broadcast_to(outer, (height, width)),
    }
    return {name: torch.from_numpy(gaussian_filter(place.astype(np.float32), height / 56)) for name, place in inside.items()}


def dlib_crop(photo, landmarks, size):
    """dlib's own crop: uint8 ``(size, size, 3)``."""
    pixels, scale = prepare(photo)
    points = [dlib.point(int(x), int(y)) for x, y in np.rint(landmarks * scale + BORDER)]
    face = dlib.full_object_detection(middle_box(*pixels.shape[:2]), points)
    return dlib.get_face_chip(pixels, face, size, PADDING)


def template_crop(photo, landmarks, size):
    """Crop whose five landmarks lie on ``TEMPLATE`` as nearly as turning, scaling and shifting allows: uint8 ``(size, size, 3)``."""
    # as complex numbers a similarity is z → turn·z + shift, and least squares is one division
    target = (TEMPLATE + 0.5) * size / 112 - 0.5
    z, w = landmarks @ [1, 1j], target @ [1, 1j]
    turn = np.vdot(w - w.mean(), z - z.mean()) / np.vdot(w - w.mean(), w - w.mean())  # crop → photograph
    if abs(turn) > 1.5:  # reduce first, with antialiasing: the affine sampling below has none
        small = photo.resize([max(1, round(side / abs(turn))) for side in photo.size], Image.Resampling.BICUBIC)
        return template_crop(small, (landmarks + 0.5) * np.divide(small.size, photo.size) - 0.5, size)
    shift = z.mean() - turn * w.mean()
    # PIL samples at pixel centres, half a pixel from the corner
    shift += (1 + 1j) / 2 - turn * (1 + 1j) / 2
    coefficients = (turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag)
    return np.array(photo.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC))


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


@lru_cache(2)
def landmark_model(count):
    path = resources.files("face_recognition_models") / "models" / f"shape_predictor_{count}_face_landmarks.dat"
    return dlib.shape_predictor(str(path))
