"""Photographs: one in many forms, what is none, and what harms; arrays, PIL images and landmarks."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import xfvlib as xfv
from odd.base import INF, KEPT, NAN, PHOTO, PIXELS, TINY, area, case, equal, finite_of, form, is_count, two_people
from xfvlib import alignment


def raw_png(width, height, depth, colour, row=None, rows=None, text=0):
    """A PNG of any size, its rows zeros unless given."""
    packer, bits = zlib.compressobj(1), depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    blank = bytes(-(-width * bits // 8))
    parts = [packer.compress(b"\0" + (row(i) if row else blank)) for i in range(height if rows is None else rows)]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    chunks += [(b"zTXt", b"a\0\0" + zlib.compress(bytes(text), 1))] * bool(text)
    chunks += [(b"IDAT", b"".join(parts) + packer.flush()), (b"IEND", b"")]
    packed = (struct.pack(">I", len(x)) + kind + x + struct.pack(">I", zlib.crc32(kind + x)) for kind, x in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def enormous(kind):
    """A small image file whose header says that it is enormous."""
    file, frames = io.BytesIO(), [Image.new("RGB", (16, 16), "white")]
    Image.new("RGB", (16, 16)).save(
        file, kind, **({"save_all": True, "append_images": frames} if kind == "webp" else {})
    )
    data = bytearray(file.getvalue())
    changes = {
        "jpeg": lambda: [(data.index(b"\xff\xc0") + 5, struct.pack(">HH", 65_000, 65_000))],
        "bmp": lambda: [(18, struct.pack("<ii", 40_000, 40_000))],
        "gif": lambda: [(place, struct.pack("<HH", 65_000, 65_000)) for place in (6, data.index(b",") + 5)],
        "webp": lambda: [(data.index(b"VP8X") + 12, (20_000).to_bytes(3, "little") * 2)],
    }
    for place, size in changes[kind]():
        data[place : place + len(size)] = size
    return bytes(data)


def looks_like(expected, tolerance):
    """Check: an image of the same size and, within a mean absolute difference, the same; with tolerance None a brighter
    or darker one, and with more than 0.1 one of the same brightness on the whole, as a dithered one is."""

    def check(result):
        one, other = np.asarray(result, float), np.asarray(expected, float)
        if one.shape != other.shape:
            return f"shape {one.shape}, not {other.shape}"
        if tolerance is None:
            alike = np.corrcoef(one.ravel(), other.ravel())[0, 1]
            return None if alike > 0.95 else f"correlation {alike:.2f} with the photograph, mean {one.mean():.3f}"
        far = abs(one.mean() - other.mean()) if tolerance > 0.1 else np.abs(one - other).mean()
        return None if far < tolerance else f"mean difference {far:.3f}, mean {one.mean():.3f}, not {other.mean():.3f}"

    return check


def form_of_photograph(rng):
    """The same photograph in some form: ``(name, path, tolerance)``."""
    rgb, frames, name = PHOTO.convert("RGB"), [Image.new("RGB", PHOTO.size)] * 3, "photo"
    grey, deep, turn, exif = np.asarray(PHOTO), np.asarray(PHOTO, np.uint16) * 257, rng.randint(2, 8), Image.Exif()
    exif[0x0112] = turn
    turned = rgb.transpose({2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[turn])  # which the tag undoes
    deep_row = lambda i: np.repeat(deep[i], 3).astype(">u2").tobytes()
    forms = {
        "png": (PHOTO, "png", {}),
        "rgb jpeg": (rgb, "jpeg", {"quality": 95}),
        "la png": (PHOTO.convert("LA"), "png", {}),
        "rgba png": (PHOTO.convert("RGBA"), "png", {}),
        "palette png": (PHOTO.convert("P"), "png", {}),
        "palette gif": (rgb.quantize(128), "gif", {}),
        "animated gif": (rgb, "gif", {"save_all": True, "append_images": frames}),
        "animated webp": (rgb, "webp", {"save_all": True, "append_images": frames}),
        "bmp": (PHOTO, "bmp", {}),
        "cmyk jpeg": (rgb.convert("CMYK"), "jpeg", {"quality": 95}),
        "cmyk tiff": (rgb.convert("CMYK"), "tiff", {}),
        "ycbcr tiff": (rgb.convert("YCbCr"), "tiff", {}),
        "16-bit png": (Image.fromarray(deep), "png", {}),
        "16-bit tiff": (Image.fromarray(deep), "tiff", {}),
        "16-bit pgm": (Image.fromarray(deep), "ppm", {}),
        "12 of 16-bit png": (Image.fromarray(deep >> 4), "png", {}),
        "webp": (rgb, "webp", {"quality": 95}),
        "32-bit tiff": (Image.fromarray(deep.astype(np.int32)), "tiff", {}),
        "1-bit png": (PHOTO.convert("1"), "png", {}),
        "float tiff to 1": (Image.fromarray((grey / 255).astype(np.float32)), "tiff", {}),
        "float tiff to 255": (Image.fromarray(grey.astype(np.float32)), "tiff", {}),
        "16-bit rgb png": None,
        "exif jpeg": (turned, "jpeg", {"quality": 95, "exif": exif}),
        "exif png": (turned, "png", {"exif": exif}),
    }
    kind = rng.choice(list(forms))
    path = Path(rng.choice(["photo", "a.jpg", "A.JPG", "a.png", "mein Foto ü.tif", "a.b.c"]))
    if forms[kind] is None:
        path.write_bytes(raw_png(*PHOTO.size, 16, 2, deep_row))
    else:
        image, format, options = forms[kind]
        image.save(path, format, **options)
    tolerance = 0.2 if kind == "1-bit png" else None if kind.startswith("12 of") or kind.endswith("to 255") else 0.03
    return f"{kind}, {turn}" if name and "exif" in kind else kind, path, tolerance


def hostile_file(rng):
    """Something that is no photograph, or a dangerous one: ``(name, path, whether a crop may be made of it)``."""
    path, saved = Path("photo.jpg"), io.BytesIO()
    PHOTO.save(saved, rng.choice(["png", "jpeg", "gif", "tiff", "webp"]))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(harm) (w) file closefile\nshowpage\n%%EOF\n"
    pictures = {
        "bomb of 1 bit": lambda: raw_png(13_000, 13_000, 1, 0),
        "bomb with a palette": lambda: raw_png(13_300, 13_300, 1, 3),
        "bomb of 16 bits": lambda: raw_png(6_500, 13_000, 16, 0),
        "bomb beyond PIL's limit": lambda: raw_png(20_000, 20_000, 1, 0),
        "bomb by header": lambda: raw_png(60_000, 60_000, 8, 2, rows=1),
        "wide bomb": lambda: raw_png(150_000_000, 1, 1, 0),
        "one pixel": lambda: raw_png(1, 1, 8, 0),
        "thin": lambda: raw_png(5000, 1, 8, 0),
        "tall": lambda: raw_png(1, 5000, 8, 0),
        "very thin": lambda: raw_png(45_000_000, 1, 1, 0),
        "very tall": lambda: raw_png(1, 1_000_000, 1, 0),
        "black": lambda: raw_png(300, 300, 8, 2),
        "long text": lambda: raw_png(20, 20, 8, 0, text=200_000_000),
        "cut": lambda: saved.getvalue()[: rng.randrange(len(saved.getvalue()))],
    }
    others = {
        "jpeg header": lambda: enormous("jpeg"),
        "bmp header": lambda: enormous("bmp"),
        "gif header": lambda: enormous("gif"),
        "webp header": lambda: enormous("webp"),
        "eps": lambda: eps,
        "pdf": lambda: b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF",
        "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
        "heic": lambda: b"\0\0\0\x18ftypheic" + bytes(200),
        "html": lambda: b"<html>404</html>",
        "empty": lambda: b"",
        "noise": lambda: rng.randbytes(5000),
        "no pixels": lambda: raw_png(0, 0, 8, 0),
    }
    devices = ["/dev/zero", "/dev/random", "/dev/stdin", "/dev/null", "/dev/full", "/proc/self/mem"]
    no_files = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "file of 3 GB": lambda: path.open("wb").truncate(3 * 10**9),
        "loop": lambda: path.symlink_to(path),
        "device": lambda: path.symlink_to(rng.choice(devices)),
        "none": lambda: None,
    }
    name = rng.choice([*pictures, *others, *no_files])
    if name in no_files:
        no_files[name]()
    else:
        path.write_bytes({**pictures, **others}[name]())
    return name, path, name in pictures


@area("photographs", 450)
def photographs(rng):
    """Files: forms of one photograph, and what is none or harms; read, aligned, in folders and tables."""
    if rng.random() < 0.5:
        name, path, tolerance = form_of_photograph(rng)
        path = rng.choice([path, str(path), path.resolve(), path.read_bytes()])
        if rng.random() < 0.7:
            read = lambda path: np.asarray(alignment.read_photo(path)) / 255
            return case(read, path, check=looks_like(PIXELS / 255, tolerance), what=f"read {name}")
        return case(xfv.align, path, check=looks_like(KEPT.crop, tolerance and 2 * tolerance), what=name)
    name, path, picture = hostile_file(rng)
    way = rng.choice(["align", "crop", "bytes", "folder", "csv"])
    if way == "align":
        return case(xfv.align, rng.choice([path, str(path)]), right=False, what=name)
    if way == "crop":
        return case(alignment.crop, path, KEPT.landmarks, right=None if picture else False, what=name)
    if way == "bytes" and path.is_file() and path.stat().st_size < 10**8:
        small = lambda photo: None if photo.width * photo.height < 10**8 else f"{photo.size} pixels were decoded"
        return case(alignment.read_photo, path.read_bytes(), check=small, what=name)
    load = two_people()
    if path.exists() or path.is_symlink():
        path.rename("ann/odd.jpg")
    Path("pairs.csv").write_text("path_a,path_b,same\nann/odd.jpg,ann/0.pgm,1\nann/0.pgm,bob/0.pgm,0\n")

    def seen(way):
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            pairs = xfv.load_pairs("csv", file="pairs.csv") if way == "csv" else load()
            odd = [one for one in pairs.images if "odd" in one]
            return pairs.image(odd[0]) if odd else None, [str(note.message) for note in notes]

    def said(result):
        crop, notes = result
        known = crop is None or any("odd" in note or "face" in note for note in notes)
        return None if known else f"it was taken for a face, and what was said is {notes}"

    return case(seen, way, check=said, what=name)


@area("arrays", 350)
def arrays(rng):
    """Arrays and PIL images to align, read_photo and crop; landmarks, sizes and kinds."""
    return rng.choice([odd_array, odd_array, odd_mode, odd_size, odd_landmarks])(rng)


def odd_array(rng):
    base, grey = PIXELS.copy(), PIXELS[..., 0].copy()
    good = {
        "rgb": base,
        "grey": grey,
        "fortran": np.asfortranarray(base),
        "slices": np.repeat(base, 2, axis=1)[:, ::2],
        "flipped twice": base[::-1].copy()[::-1],
        "channels turned": base[..., ::-1],
        "float32 to 1": (base / 255).astype("f4"),
        "float64 to 1": base / 255,
        "float to 255": base.astype("f4"),
        "uint16": base.astype("u2") * 257,
        "int64": base.astype(int),
        "one channel": base[..., :1],
        "rgba": np.dstack([base, np.full_like(grey, 255)]),
        "list": base.tolist(),
        "tensor": torch.from_numpy(base),
        "memory": memoryview(base),
        "masked": np.ma.array(base),
    }
    bad = {
        "chw": base.transpose(2, 0, 1),
        "empty": base[:0],
        "no columns": base[:, :0],
        "a line": grey[0],
        "4-d": base[None],
        "objects": base.astype(object),
        "complex": base + 0j,
        "bool": base > 100,
        "two channels": base[..., :2],
        "words": np.array(["face"]),
        "0-d": np.array(5, np.uint8),
        "nan": base * NAN,
        "number": 5,
        "none": None,
        "name in bytes": b"photo.jpg",
        "no name": "",
        "nul": "a\0b",
        "here": ".",
        "long name": "a" * 5000,
        "file": io.BytesIO(b"x"),
        "one pixel": base[:1, :1],
        "thin": base[:1],
        "wall": np.full((200, 200, 3), 128, "u1"),
        "noise": np.frombuffer(rng.randbytes(30_000), np.uint8).reshape(100, 100, 3),
        "huge view": np.broadcast_to(np.uint8(7), (60_000, 60_000, 3)),
    }
    name, given, right = form(rng, good, bad)
    if right and rng.random() < 0.6:
        read = lambda given: np.asarray(alignment.read_photo(given)) / 255
        return case(read, given, check=looks_like(base / 255, 0.01), what=name)
    model = None if right else rng.choice([None, TINY])
    return case(xfv.align, given, model, right=right, check=looks_like(KEPT.crop, 0.03), what=name)


def odd_mode(rng):
    mode = rng.choice(
        ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "LA", "La", "RGBa", "RGBX", "PA", "I;16"]
    )
    first = {"I": "L", "F": "L", "LA": "L", "PA": "L", "La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
    image = PHOTO.convert(first).convert(mode) if mode != "I;16" else Image.fromarray(PIXELS[..., 0].astype("u2") * 257)
    read = lambda image: np.asarray(alignment.read_photo(image)) / 255
    return case(read, image, check=looks_like(PIXELS / 255, 0.2 if mode in ("1", "P", "PA") else 0.03), what=mode)


def odd_size(rng):
    size = rng.choice(
        [
            20,
            (20,),
            (0, 0),
            (-1, 20),
            (20, -1),
            (1, 1),
            (20, 40),
            (40, 20),
            (20.5, 20),
            (NAN, 20),
            "20",
            None,
            (10**5, 10**5),
            (20, 20, 3),
            (True, True),
            [20, 20],
            (np.int64(20), 20),
        ]
    )
    kind = rng.choice(["dlib", "arcface", "dlib", "arcface", "banana", None, "", 5, "DLIB"])
    fits = isinstance(size, (tuple, list)) and len(size) == 2 and all(is_count(n) for n in size) and size[0] < 10**4
    right = fits and kind in ("dlib", "arcface")
    check = finite_of(3, *size) if fits else None
    return case(alignment.crop, PIXELS, KEPT.landmarks, size=size, kind=kind, right=right, check=check)


def odd_landmarks(rng):
    points, kind = KEPT.landmarks, rng.choice(["dlib", "arcface"])
    good = {
        "list": points.tolist(),
        "tensor": torch.from_numpy(points),
        "float32": points.astype("f4"),
        "words of numbers": points.astype(str).tolist(),
        "objects": points.astype(object),
    }
    odd = {
        "far": points + 1e7,
        "in a line": points * [[1, 0]],
        "tiny": points * 1e-9,
        "huge": points * 1e5,
        "negative": -points,
        "x for y": points[:, ::-1],
    }
    bad = {
        "nan": points + np.where(np.arange(5) == rng.randrange(5), NAN, 0)[:, None],
        "infinite": points + [[INF, 0]],
        "one place": points * 0 + 50,
        "ten": np.tile(points, (2, 1)),
        "flat": points.ravel(),
        "empty": points[:0],
        "none": None,
        "words": [["a", "b"]] * 5,
        "complex": points + 1j,
        "very far": points * 1e300,
    }
    name, given, right = form(rng, good | odd, bad)
    cut = lambda given: alignment.crop(PIXELS, given, size=(20, 20), kind=kind)
    if name not in good:
        return case(cut, given, right=right, check=finite_of(3, 20, 20), what=f"{name}, {kind}")
    return case(cut, given, check=lambda crop: equal(cut(points), 0.02)(crop), what=f"{name}, {kind}")
