"""The field's data formats, written here from ORL photographs, and real samples where they lie beside the project."""

import io
import os
import pickle
import struct
import tracemalloc
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch

import xfvlib as xfv
from xfvlib.faithfulness import deletion_scores
from xfvlib.notebook import examples
from xfvlib.pairs import Crops, binfile, crops, datasets, orl_photo_path
from xfvlib.pairs.binfile import read_bin

SAMPLES = Path(__file__).parents[2] / "shared" / "fixtures"
real = pytest.mark.skipif(not SAMPLES.is_dir(), reason="real samples do not lie beside the project")


@pytest.fixture(scope="module")
def arcface():
    """A network of the 112×112 alignment; its weights do not matter to the reading of files."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Flatten(), torch.nn.Linear(147, 8))
    return xfv.FaceModel(network, size=112, name="small")


def encoded(pairs, name, kind="JPEG"):
    pixels = (pairs.image(name).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def content(arcface):
    """Twenty pairs of aligned ORL crops, as in a verification file."""
    orl = xfv.load_pairs("orl", model=arcface)[::30]
    images = [encoded(orl, name) for row in orl.table.itertuples() for name in (row.name_a, row.name_b)]
    return images, [bool(label) for label in orl.labels]


def python2_pickle(images, same):
    """What Python 2 wrote: its byte strings are the opcode BINSTRING, which no Python 3 writes any more."""
    parts = [b"\x80\x02(]("]
    parts += [b"T" + struct.pack("<i", len(image)) + image for image in images]
    parts += [b"e](", *(b"\x88" if label else b"\x89" for label in same), b"et."]
    return b"".join(parts)


WRITERS = {
    "protocol 4": lambda images, same: pickle.dumps((images, same), 4),
    "protocol 2 by Python 3": lambda images, same: pickle.dumps((images, same), 2),
    "Python 2": python2_pickle,
    "numpy arrays": lambda images, same: pickle.dumps(([np.frombuffer(image, np.uint8) for image in images], same), 4),
    "numpy arrays, protocol 5": lambda images, same: pickle.dumps(
        ([np.frombuffer(image, np.uint8).copy() for image in images], same), 5
    ),
    "numpy arrays, protocol 3": lambda images, same: pickle.dumps(
        ([np.frombuffer(i, np.uint8).copy() for i in images], same), 3
    ),
    "numpy arrays by numpy 1": lambda images, same: pickle.dumps(
        ([np.frombuffer(image, np.uint8).copy() for image in images], same), 4
    ).replace(b"\x16numpy._core.multiarray", b"\x15numpy.core.multiarray"),
    "protocol 0": lambda images, same: pickle.dumps((images, same), 0),
    "numpy arrays, protocol 2": lambda images, same: pickle.dumps(
        ([np.frombuffer(image, np.uint8).copy() for image in images], same), 2
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_verification_files_of_all_writers(tmp_path, arcface, content, writer):
    path = tmp_path / "calfw.bin"
    path.write_bytes(WRITERS[writer](*content))
    pairs = xfv.load_pairs("calfw", bin=path, model=arcface)
    assert len(pairs) == 20 and list(pairs.labels) == content[1] and set(pairs.folds) == set(range(10))
    expected = np.asarray(PIL.Image.open(io.BytesIO(content[0][7])).convert("RGB"))
    assert pairs.pair("0003a", "0003b").same is content[1][3] and pairs.pair("0003a", "0004b").same is None
    assert torch.equal((pairs[3].b * 255).round().byte(), torch.from_numpy(expected.copy()).permute(2, 0, 1))


def test_aligned_crops_are_aligned_anew_for_a_model_of_the_other_alignment(tmp_path, content):
    (tmp_path / "lfw.bin").write_bytes(WRITERS["protocol 4"](*content))
    model = xfv.load_model("dlib-resnet")
    pairs = xfv.load_pairs("lfw", bin=tmp_path / "lfw.bin", model=model)
    scores = xfv.scores(model, pairs)
    assert pairs[0].a.shape == (3, 150, 150)
    assert scores[pairs.labels].min() > scores[~pairs.labels].max()


def test_verification_files_do_not_say_who_is_who(tmp_path, arcface, content):
    (tmp_path / "lfw.bin").write_bytes(WRITERS["protocol 4"](*content))
    pairs = xfv.load_pairs("lfw", bin=tmp_path / "lfw.bin", model=arcface)
    assert pairs.pair("0000a", "0001a").same is None
    with pytest.raises(ValueError, match="who is in"):
        pairs.all_pairs()


class Attack:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda i, s, t: pickle.dumps((i + [Attack(t / "run")], s)), "mkdir"),
        (lambda i, s, t: pickle.dumps((i, [np.float64(1)])), "numpy"),
        (lambda i, s, t: pickle.dumps(([np.zeros(3)], s)), "dtype 'f8'"),
        (lambda i, s, t: pickle.dumps((i, s))[:-500], "truncated"),
        (lambda i, s, t: b"", "truncated"),
        (lambda i, s, t: b"\xff\xd8 a picture", "truncated or not"),
        (lambda i, s, t: pickle.dumps((i[:-1], s)), "39 images for 20 labels"),
        (lambda i, s, t: pickle.dumps(i), "list of labels"),
        (lambda i, s, t: pickle.dumps((i[:5] + ["text"] + i[6:], s)), "image 5"),
        (lambda i, s, t: pickle.dumps((i, s[:5] + [3] + s[6:])), "label 5"),
    ],
)
def test_other_contents_are_refused_by_name_and_nothing_runs(tmp_path, content, make, words):
    path = tmp_path / "lfw.bin"
    path.write_bytes(make(*content, tmp_path))
    with pytest.raises(ValueError, match=words):
        read_bin(path)
    assert not (tmp_path / "run").exists()


def image_of(reduce):
    """An object that a pickle makes in this way."""
    return type("Other", (), {"__reduce__": lambda self: reduce})()


TEXT = b"X" + struct.pack("<I", 1_000_000) + b"a" * 1_000_000
FLOODS = {
    "strides 0": pickle.dumps(([image_of((np.ndarray, ((3 * 10**9,), np.dtype("u1"), b"a", 0, (0,))))] * 2, [True])),
    "shape": pickle.dumps(([image_of((np.ndarray, ((2**50,),)))] * 2, [True])),
    "memo": b"\x80\x02]r\0\0\0\x10.",
    "memo in text": b"]p268435456\n.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"].",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.",
    "number of bytes": b"\x80\x02(](" + b"c_codecs\nencode\nJ\xff\xff\xff\x7fX\6\0\0\0latin1\x86R" * 2 + b"e](\x88et.",
    "deep label": b"\x80\x02(](C\x01aC\x01be](" + b"]" * 100_000 + b"a" * 99_999 + b"et.",
    "deep dtype": b"\x80\x02(](cnumpy.core.multiarray\n_reconstruct\n)R(K\x01)cnumpy\ndtype\n("
    + b"]" * 100_000
    + b"a" * 99_999
    + b"tRK\0C\x01atbC\x01be](\x88et.",
    "dictionary": b"\x80\x02}(K\x01K\x02u.",
    "number": b"I" + b"9" * 100_000 + b"\n.",
}


@pytest.mark.parametrize("flood", FLOODS)
def test_files_that_ask_for_memory_are_refused(tmp_path, flood):
    path = tmp_path / "lfw.bin"
    path.write_bytes(FLOODS[flood])
    tracemalloc.start()
    with pytest.raises(ValueError, match="truncated or not a verification"):
        read_bin(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_a_text_that_stands_for_many_images_is_encoded_once(tmp_path):
    encode = b"c_codecs\nencode\nh\0h\1\x86R"
    start = b"\x80\x02" + TEXT + b"q\0X\6\0\0\0latin1q\x01"
    (tmp_path / "lfw.bin").write_bytes(start + b"](" + encode * 2000 + b"e](" + b"\x88" * 1000 + b"e\x86.")
    tracemalloc.start()
    images, _ = read_bin(tmp_path / "lfw.bin")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(images) == 2000 and images[0] is images[-1] and peak < 20e6


def test_no_more_steps_are_taken_than_a_file_can_need(tmp_path, monkeypatch):
    monkeypatch.setattr(binfile, "_MOST_STEPS", 1000)
    (tmp_path / "lfw.bin").write_bytes(b"\x80\x02(" + b"]" * 2000 + b"l.")
    with pytest.raises(ValueError, match="step 1,001"):
        read_bin(tmp_path / "lfw.bin")


@pytest.mark.parametrize("seed", range(100))
def test_damaged_verification_files_are_read_or_refused(tmp_path, seed):
    random = np.random.default_rng(seed)
    images = [bytes(random.integers(0, 256, 40, np.uint8)) for _ in range(4)]
    writer = list(WRITERS.values())[seed % len(WRITERS)]
    damaged = bytearray(writer(images, [True, False]))
    for place in random.integers(0, len(damaged), 3):
        damaged[place] = random.integers(0, 256)
    (tmp_path / "lfw.bin").write_bytes(damaged)
    try:
        read, same = read_bin(tmp_path / "lfw.bin")
    except ValueError:
        return
    assert len(read) == 2 * len(same) and all(isinstance(image, bytes) for image in read)


def test_an_undecodable_image_is_named(tmp_path, arcface, content):
    images = [*content[0]]
    images[5] = images[5][:50]
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((images, content[1])))
    pairs = xfv.load_pairs("lfw", bin=tmp_path / "lfw.bin", model=arcface)
    assert pairs[0].a.shape == (3, 112, 112)
    with pytest.raises(ValueError, match="0002b"):
        pairs[2]


def test_opening_6000_pairs_decodes_nothing_and_stays_small(tmp_path, arcface, content):
    images = [content[0][i % 40] + bytes(3000) for i in range(12_000)]  # about the size of lfw.bin
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((images, [True, False] * 3000)))
    del images
    tracemalloc.start()
    pairs = xfv.load_pairs("lfw", bin=tmp_path / "lfw.bin", model=arcface)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(pairs) == 6000 and peak < 300e6 and pairs.images._kept.cache_info().currsize == 0
    assert pairs[5999].b.shape == (3, 112, 112) and pairs.images._kept.cache_info().currsize == 2


def test_only_the_last_crops_stay_in_memory(monkeypatch, tmp_path, arcface, content):
    monkeypatch.setattr(crops, "_CROPS_KEPT", 4)
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(content))
    pairs = xfv.load_pairs("lfw", bin=tmp_path / "lfw.bin", model=arcface)
    assert len(list(pairs)) == 20 and pairs.images._kept.cache_info().currsize == 4


def lfw_folder(root, photos="lfw-deepfunneled"):
    """Two folds of LFW's layout with the photographs of four ORL people."""
    for person in range(1, 5):
        folder = root / photos / f"Person_{person}"
        folder.mkdir(parents=True)
        for photo in (1, 2, 3):
            PIL.Image.open(orl_photo_path(f"s{person}/{photo}")).convert("RGB").resize((230, 280)).save(
                folder / f"Person_{person}_{photo:04d}.jpg"
            )
    lines = ["2\t2"]
    for a, b in ((1, 2), (3, 4)):
        lines += [
            f"Person_{a}\t1\t2",
            f"Person_{b}\t1\t3",
            f"Person_{a}\t1\tPerson_{b}\t1",
            f"Person_{a}\t2\tPerson_{b}\t3",
        ]
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("photos", ["lfw-deepfunneled", "lfw", "."])
def test_lfw_in_its_official_layout(tmp_path, own_cache, arcface, photos):
    lfw_folder(tmp_path / "data", photos)
    pairs = xfv.load_pairs("lfw", root=tmp_path / "data", model=arcface)
    assert list(pairs.labels) == [True, True, False, False] * 2 and list(pairs.folds) == [0] * 4 + [1] * 4
    assert (pairs[3].name_a, pairs[3].name_b) == ("Person_1/0002", "Person_2/0003")
    assert pairs[0].a.shape == (3, 112, 112)


def test_landmarks_are_found_once(tmp_path, own_cache, arcface, monkeypatch):
    lfw_folder(tmp_path / "data")
    first = xfv.load_pairs("lfw", root=tmp_path / "data", model=arcface)[0]
    assert len(list((own_cache / "landmarks").iterdir())) == 2
    monkeypatch.setattr(crops.alignment, "landmark_row", lambda *_: pytest.fail("detected twice"))
    again = xfv.load_pairs("lfw", root=tmp_path / "data", model=arcface)[0]
    assert torch.equal(first.a, again.a)


def test_lfw_as_scikit_learn_keeps_it(tmp_path, own_cache, arcface, monkeypatch):
    home = tmp_path / "home"
    lfw_folder(home / "lfw_home", "lfw_funneled")
    (home / "lfw_home" / "pairsDevTrain.txt").write_text("0\n")
    (home / "lfw_home" / "pairsDevTest.txt").write_text("0\n")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(home))
    pairs = xfv.load_pairs("lfw", model=arcface)
    assert len(pairs) == 8 and pairs[0].a.shape == (3, 112, 112)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda text: text[: len(text) // 2], "truncated"),
        (lambda text: "photographs\n" + text, "number of folds"),
        (lambda text: "", "number of folds"),
        (lambda text: "\n\n", "number of folds"),
        (lambda text: "0\n", "0 pairs and holds 0"),
        (lambda text: text.replace("2\t2", "²\t2"), "number of folds"),
        (lambda text: text.replace("2\t2", "2\t" + "9" * 5000), "number of folds"),
        (lambda text: text.replace("Person_1\t1\t2", "Person_1\t1\t" + "9" * 5000), "line 2"),
        (lambda text: text.replace("Person_1\t1\t2", "Person_1\t-1\t2"), "line 2"),
        (lambda text: text.replace("Person_1\t1\t2", "../../Person_1\t1\t2"), "line 2"),
        (lambda text: text.replace("Person_1\t1\t2", "..\t1\t2"), "line 2"),
        (lambda text: text.replace("Person_1\t1\t2", "Person_1\t1"), "line 2"),
        (lambda text: text.replace("Person_1\t1\tPerson_2\t1", "Person_1\t1\t2"), "name1 i name2 j"),
    ],
)
def test_altered_pair_lists_are_answered_with_the_line(tmp_path, change, words):
    lfw_folder(tmp_path)
    path = tmp_path / "pairs.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=words):
        xfv.load_pairs("lfw", root=tmp_path)


def test_pair_lists_of_other_systems_are_read(tmp_path):
    lfw_folder(tmp_path)
    text = (tmp_path / "pairs.txt").read_text()
    table = xfv.load_pairs("lfw", root=tmp_path).table
    for other in ("\ufeff" + text, text.replace("\n", "\r\n"), text.replace("\t", "  ")):
        (tmp_path / "pairs.txt").write_bytes(other.encode())
        assert xfv.load_pairs("lfw", root=tmp_path).table.equals(table)
    (tmp_path / "pairs.txt").write_bytes(text.replace("Person_1", "Pérson").encode("latin-1"))
    with pytest.raises(ValueError, match="UTF-8"):
        xfv.load_pairs("lfw", root=tmp_path)


def test_what_is_no_file_or_folder_is_refused_in_words(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name, error in (("pipe", ValueError), (".", ValueError), ("/dev/zero", ValueError), ("no", FileNotFoundError)):
        for given in ({"name": "csv", "file": tmp_path / name}, {"name": "lfw", "bin": tmp_path / name}):
            with pytest.raises(error, match=r"table of pairs|verification file"):
                xfv.load_pairs(**given)
    for name in ("pipe", "file", "no"):
        for given in ("folder", "lfw"):
            with pytest.raises(FileNotFoundError, match=r"no folder|pairs\.txt"):
                xfv.load_pairs(given, root=tmp_path / name)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pairs\.txt"):
        xfv.load_pairs("lfw", root=tmp_path)
    (tmp_path / "pairs.txt").write_text("1\t1\nA\t1\t2\nA\t1\tB\t1\n")
    with pytest.raises(FileNotFoundError, match=r"A_0001\.jpg"):
        xfv.load_pairs("lfw", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="verification file"):
        xfv.load_pairs("cplfw", bin=tmp_path / "cplfw.bin")
    for name, words in (("calfw", "bin="), ("csv", "file="), ("folder", "root=")):
        with pytest.raises(ValueError, match=words):
            xfv.load_pairs(name)


def test_csv_of_pairs(tmp_path, own_cache, arcface):
    lfw_folder(tmp_path)
    rows = [
        ("lfw-deepfunneled/Person_1/Person_1_0001.jpg", f"lfw-deepfunneled/Person_{p}/Person_{p}_0002.jpg", p == 1)
        for p in (1, 2)
    ]
    table = pd.DataFrame(rows, columns=["path_a", "path_b", "same"])
    table.to_csv(tmp_path / "pairs.csv", index=False)
    pairs = xfv.load_pairs("csv", file=tmp_path / "pairs.csv", model=arcface)
    assert list(pairs.labels) == [True, False] and list(pairs.folds) == [-1, -1] and pairs[1].b.shape == (3, 112, 112)
    table.assign(fold=[4, 5]).to_csv(tmp_path / "pairs.csv", index=False)
    assert list(xfv.load_pairs("csv", file=tmp_path / "pairs.csv", model=arcface).folds) == [4, 5]
    for broken, error, words in (
        (table.drop(columns="same"), ValueError, "needed are path_a, path_b, same"),
        (table.assign(same=["yes", "no"]), ValueError, "line 2"),
        (table.assign(path_b="absent.jpg"), FileNotFoundError, "absent.jpg"),
    ):
        broken.to_csv(tmp_path / "broken.csv", index=False)
        with pytest.raises(error, match=words):
            xfv.load_pairs("csv", file=tmp_path / "broken.csv")


def table_of(tmp_path, text):
    """The pairs of a table beside three images of two people, and three at its side."""
    for name in ("one/a", "one/b", "two/a", "001", "NA", "with blank"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.open(orl_photo_path("s1/1")).save(tmp_path / name, "png")
    (tmp_path / "pairs.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return xfv.load_pairs("csv", file=tmp_path / "pairs.csv")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffpath_a,path_b,same,fold\none/a,one/b,true,1\none/a,two/a,false,2\n",
        "path_a, path_b , same, fold\none/a, one/b, True , 1\n one/a ,two/a, FALSE, 2\n",
        "path_a;path_b;same;fold\r\none/a;one/b;1;1\r\none/a;two/a;0;2\r\n",
        "fold\tsame\tpath_b\tpath_a\n1\t1\tone/b\tone/a\n\n\n2.0\t0\ttwo/a\tone/a\n\n",
        'path_a,path_b,same,fold,note\n"one/a","one/b",1,1,\n"one/a","two/a",0,2,"so, so"\n',
    ],
)
def test_tables_of_all_writers(tmp_path, text):
    rows = [["one/a", "one/b", True, 1], ["one/a", "two/a", False, 2]]
    assert table_of(tmp_path, text).table.to_numpy().tolist() == rows


def test_names_stay_text(tmp_path):
    pairs = table_of(tmp_path, "path_a,path_b,same\n001,NA,0\nwith blank,001,0\n001,NA,0\n")
    assert pairs.table.to_numpy().tolist()[:2] == [["001", "NA", False, -1], ["with blank", "001", False, -1]]
    assert len(pairs) == 3 and pairs[0].name_b == "NA"


@pytest.mark.parametrize(
    "row, words",
    [
        ("one/a,,1,0", "line 4.*path_b is ''"),
        ("one/a", "line 4.*path_b is ''"),
        ("one,two/a,0,0", "line 4.*path_a is 'one'"),
        ("one/a,two/a\0,0,0", "line 4.*path_b is 'two/a"),
        ("x" * 5000 + ",two/a,0,0", "line 4.*path_a is 'xxx"),
        ("one/a,two/a,,0", "line 4.*same is ''"),
        ("one/a,two/a,nan,0", "line 4.*same is 'nan'"),
        ("one/a,two/a,0,1.5", "line 4.*fold is '1.5'"),
        ("one/a,two/a,0,1e30", "line 4.*fold is '1e30'"),
        ("one/a,two/a,0,", "line 4.*fold is ''"),
        ("one/a,one/b,0,1", "line 2.*as same and as not the same"),
        ("one/a,two/a,0,0,1", "line 4"),
        ('"one/a,two/a,0,0', "not a table"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, row, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        table_of(tmp_path, f"path_a,path_b,same,fold\none/a,one/b,1,0\n\n{row}\n")


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "not a table"),
        ("path_a,path_b,same\n", "then pairs"),
        ("path_a,path_b\none/a,one/b\n", "needed are path_a, path_b, same"),
        ("path_a,path_b,path_b ,same\none/a,one/b,one/b,1\n", "each once"),
        ("path_a,path_b,same\none/a,one/b,1,2\n", "as many cells"),
        ("path_a,path_b,same\nä,one/b,1\n".encode("latin-1"), "UTF-8"),
        ("path_a,path_b,same\none/a,one/b,1\n".encode("utf-16"), "UTF-8"),
        (bytes(range(256)), "UTF-8"),
    ],
)
def test_other_texts_are_not_tables_of_pairs(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        table_of(tmp_path, text)


def test_a_photograph_without_a_face_is_refused_unless_the_data_set_is_known_to_show_one(tmp_path, own_cache):
    lfw_folder(tmp_path)
    grey = tmp_path / "lfw-deepfunneled" / "Person_1" / "Person_1_0001.jpg"
    PIL.Image.new("RGB", (230, 280), "grey").save(grey)
    (tmp_path / "pairs.csv").write_text(f"path_a,path_b,same\n{grey},{grey.with_name('Person_1_0002.jpg')},1\n")
    for given in ({"name": "folder", "root": grey.parents[1]}, {"name": "csv", "file": tmp_path / "pairs.csv"}):
        pairs = xfv.load_pairs(**given)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"no face was found in image .*Person_1_0001"):
                pairs.image(next(name for name in pairs.names if "Person_1_0001" in name))
        assert not own_cache.exists() and not pairs.images.supposed
    for _ in range(2):  # found, and kept
        pairs = xfv.load_pairs("lfw", root=tmp_path)
        assert pairs[0].a.shape == (3, 112, 112) and pairs.images.supposed == {"Person_1/0001"}
    assert len(list((own_cache / "landmarks").iterdir())) == 2


def test_a_face_supposed_for_one_data_set_is_not_taken_for_another(tmp_path, own_cache):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (230, 280), "grey").save(buffer, "png")
    assert Crops({"wall": buffer.getvalue()}, centred=True)["wall"].shape == (3, 112, 112)
    with pytest.raises(ValueError, match="no face was found in image wall"):
        Crops({"wall": buffer.getvalue()})["wall"]


def test_copies_are_handed_out(tmp_path, content):
    images = Crops(dict(enumerate(content[0])), SimpleNamespace(size=(112, 112), alignment="arcface"), aligned=True)
    before = images[0].clone()
    images[0].zero_()
    assert torch.equal(images[0], before) and images._kept.cache_info().hits == 2


def test_crops_wider_than_high_are_refused(arcface):
    with pytest.raises(ValueError, match="wider than high"):
        Crops({}, SimpleNamespace(size=(96, 112), alignment="arcface"))


def test_only_a_csv_whose_folders_are_people_says_who_is_in_its_images(tmp_path):
    for name in ("one/a", "one/b", "two/a", "two/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.open(orl_photo_path("s1/1")).save(tmp_path / f"{name}.png")

    def read(*rows):
        pd.DataFrame(rows, columns=["path_a", "path_b", "same"]).to_csv(tmp_path / "pairs.csv", index=False)
        return xfv.load_pairs("csv", file=tmp_path / "pairs.csv")

    people = read(("one/a.png", "one/b.png", True), ("one/a.png", "two/a.png", False))
    assert (
        people.all_pairs().labels.tolist() == [True, False, False]
        and people.pair("two/a.png", "one/b.png").same is False
    )
    for rows in (
        [("one/a.png", "two/a.png", True), ("one/a.png", "two/b.png", False)],
        [("one/a.png", "one/b.png", True)],
    ):
        pairs = read(*rows)
        assert pairs.pair(*pairs.names[1::-1]).same is None and pairs[0].same
        with pytest.raises(ValueError, match="does not say who"):
            pairs.all_pairs()


def test_pairs_are_numbered_as_two_of_all_names():
    names = [f"{person}/{photo}" for person in "abc" for photo in range(3)]
    rows = datasets._two_of(names, np.arange(36)).tolist()
    assert len(rows) == 36 and {tuple(row) for row in rows} == set(combinations(names, 2))
    many = [*map(str, range(9000))]  # the first and last partner of each, and roots that are nearly whole numbers
    first = np.array([later * (later - 1) // 2 for later in range(1, 9000)])
    assert datasets._two_of(many, first).tolist() == [["0", str(later)] for later in range(1, 9000)]
    assert datasets._two_of(many, first[1:] - 1).tolist() == [[str(n - 2), str(n - 1)] for n in range(2, 9000)]


def test_two_photographs_of_one_name_and_two_endings_are_both_kept(tmp_path):
    for person, name in (("one", "a.png"), ("one", "a.bmp"), ("two", "a.png")):
        (tmp_path / person).mkdir(exist_ok=True)
        PIL.Image.open(orl_photo_path("s1/1")).save(tmp_path / person / name)
    assert xfv.load_pairs("folder", root=tmp_path).names == ["one/a.bmp", "one/a.png", "two/a"]


def test_a_folder_is_read_for_its_photographs_alone(tmp_path):
    for name in ("one/a.png", "one/b.PNG", "two/a.jpg", "two/._a.jpg", ".hidden/a.png", "two/list.txt", "top.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "two" / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "two" / "pipe.jpg")
    (tmp_path / "two" / "loop.jpg").symlink_to(tmp_path / "two" / "loop.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    pairs = xfv.load_pairs("folder", root=tmp_path)
    assert pairs.names == ["one/a", "one/b", "two/a"]
    with pytest.raises(ValueError, match="image one/a"):
        pairs[0]


def test_no_photograph_takes_the_name_of_another(tmp_path):
    for name in ("one/a.png", "one/a.jpg", "one/a.png.png", "two/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert xfv.load_pairs("folder", root=tmp_path).names == ["one/a.jpg", "one/a.png", "one/a.png.png", "two/a"]


def test_a_folder_of_too_many_pairs_is_refused_before_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MOST_PAIRS", 5)
    lfw_folder(tmp_path, "people")
    with pytest.raises(ValueError, match="12 genuine pairs; needed"):
        xfv.load_pairs("folder", root=tmp_path / "people")


def test_a_large_folder_does_not_make_all_its_pairs(tmp_path):
    for number in range(1500):  # 1.1 million pairs of any two, 1 genuine
        (tmp_path / f"{number:04d}").mkdir()
        (tmp_path / f"{number:04d}" / "1.png").touch()
    (tmp_path / "0000" / "2.png").touch()
    tracemalloc.start()
    pairs = xfv.load_pairs("folder", root=tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs.labels.tolist() == [True, False] and peak < 20e6


def test_one_folder_a_person(tmp_path, own_cache, arcface):
    lfw_folder(tmp_path, "people")
    pairs = xfv.load_pairs("folder", root=tmp_path / "people", model=arcface)
    assert pairs.labels.sum() == 12 and len(pairs) == 24
    same = pairs.table.name_a.str.split("/").str[0] == pairs.table.name_b.str.split("/").str[0]
    assert (same == pairs.table.same).all()
    assert pairs.table.equals(xfv.load_pairs("folder", root=tmp_path / "people").table)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="two people"):
        xfv.load_pairs("folder", root=tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="absent"):
        xfv.load_pairs("folder", root=tmp_path / "absent")


@real
def test_real_mobilefacenet_and_its_onnx_twin_agree():
    model = xfv.load_model(weights=SAMPLES / "mobilefacenet" / "mobilefacenet.pt")
    twin = xfv.load_model(
        "onnx", SAMPLES / "mobilefacenet" / "MobileFaceNet.onnx", mean=model.mean.flatten(), std=model.std.flatten()
    )
    pair = xfv.load_pairs("orl", model=model)[0]
    images = torch.stack([pair.a, pair.b])
    assert torch.allclose(model(images), twin(images), atol=1e-4)
    maps = [xfv.explain(candidate, pair, "occlusion", 0.3).map_a for candidate in (model, twin)]
    assert torch.allclose(*maps, atol=1e-4)
    bands = [xfv.frequency_influence(candidate, pair).a for candidate in (model, twin)]
    assert torch.allclose(*bands, atol=1e-4)
    curves = [deletion_scores(candidate, pair, maps[0]) for candidate in (model, twin)]
    assert np.allclose(*curves, atol=1e-4)


def test_examples_are_chosen_by_rule_from_any_format(content, arcface, tmp_path, pairs, model, monkeypatch):
    (tmp_path / "calfw.bin").write_bytes(pickle.dumps(content))
    monkeypatch.setattr(arcface, "threshold", None)
    for data, network in (
        (pairs, model),
        (xfv.load_pairs("calfw", bin=tmp_path / "calfw.bin", model=arcface), arcface),
    ):
        if network.threshold is None:
            with pytest.raises(ValueError, match="calibrate"):
                examples(network, data)
            xfv.calibrate(network, data)
        found = examples(network, data)
        one, second, high, stranger, low, lost = found["six"]
        assert (
            one is found["pair"]
            and one.same
            and second.same
            and lost.same
            and not high.same
            and not low.same
            and not stranger.same
        )
        assert stranger is found["impostor"] and stranger.name_a == one.name_a
        scores = [
            float((network.embed(two.a[None]) * network.embed(two.b[None])).sum())
            for two in (second, one, lost, high, low, found["close"])
        ]
        assert scores[0] >= scores[1] >= scores[2] and scores[3] >= scores[4]
        distances = [abs(score - network.threshold) for score in scores]
        assert min(distances) == distances[-1]
        assert len(found["people"]) == 2 and all(
            name in data.images for names in found["people"].values() for name in names
        )
        assert all(name in data.images for name in found["shown"])
        photo = PIL.Image.open(found["photograph"](one.name_a))
        assert photo.size == ((92, 112) if data is pairs else (112, 112))
