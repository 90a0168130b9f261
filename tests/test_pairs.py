import numpy as np
import pytest
import torch

import xfvlib as xfv
from xfvlib import files
from xfvlib.pairs import Crops, orl_photo_path, person


def test_protocol_is_balanced_and_people_stay_in_one_fold(pairs):
    assert len(pairs) == 600 and len(pairs.names) <= 400
    seen = {}
    for fold in range(10):
        part = pairs[pairs.folds == fold]
        assert part.labels.sum() == 30 and len(part) == 60
        assert len(set(zip(part.table.name_a, part.table.name_b))) == 60
        for name in part.names:
            assert seen.setdefault(person(name), fold) == fold
    assert len(seen) == 40


def test_labels_say_who_is_who(pairs):
    same = [person(a) == person(b) for a, b in zip(pairs.table.name_a, pairs.table.name_b)]
    assert np.array_equal(pairs.labels, same)


def test_kept_protocol_is_what_the_script_draws(pairs, monkeypatch):
    monkeypatch.syspath_prepend(str(files.DATA))
    import make_orl

    assert pairs.table.values.tolist() == [list(row) for row in make_orl.protocol()]


def test_a_pair_holds_two_crops(pairs):
    pair = pairs[0]
    assert pair.a.shape == pair.b.shape == (3, 150, 150) and pair.a.dtype == torch.float32
    assert 0 <= pair.a.min() and pair.a.max() <= 1 and pair.a.std() > 0.05
    assert (pair.name_a, pair.name_b) == tuple(pairs.table.iloc[0][["name_a", "name_b"]])


def test_indexing(pairs):
    assert len(pairs[10:14]) == 4 and len(pairs[[3, 5]]) == 2 and len(pairs[pairs.labels]) == 300
    assert pairs[-1].name_a == pairs.table.name_a.iloc[-1]
    assert sum(1 for _ in pairs[:5]) == 5
    with pytest.raises(IndexError):
        pairs[600]


def test_any_two_images_by_hand(pairs):
    assert pairs.pair("s1/1", "s1/2").same is True
    assert pairs.pair("s1/1", "s11/1").same is False
    with pytest.raises(KeyError, match="near it"):
        pairs.pair("s1/1", "s1/11")


def test_all_pairs(pairs):
    everything = pairs.all_pairs()
    assert len(everything) == 79_800 and everything.labels.sum() == 40 * 45


def test_supposed_faces_are_known(pairs):
    assert all(pairs.images[name].isfinite().all() for name in ("s33/4", "s37/4", "s1/1"))
    assert {"s33/4", "s37/4"} == pairs.images.supposed


def test_what_is_handed_out_is_a_copy(pairs):
    for give in (lambda: pairs.image("s1/1"), lambda: pairs.images["s1/1"], lambda: pairs.pair("s1/1", "s1/2").a):
        before = give().clone()
        give().zero_()
        give()[0] += 1
        assert torch.equal(give(), before)


def test_unknown_data_set_lists_the_known_ones():
    with pytest.raises(ValueError, match="'orl'"):
        xfv.load_pairs("olr")


good = torch.full((3, 8, 8), 0.5)


@pytest.mark.parametrize(
    "other, error, words",
    [
        (torch.full((3, 9, 8), 0.5), ValueError, "differ in size"),
        (good * 300, ValueError, "divide"),
        (good - 1, ValueError, "outside"),
        (good * float("nan"), ValueError, "NaN"),
        (good[0], ValueError, "shape"),
        (good.byte(), TypeError, "uint8"),
        (good.numpy(), TypeError, "ndarray"),
    ],
)
def test_wrong_pairs_are_refused_in_words(other, error, words):
    with pytest.raises(error, match=words):
        xfv.Pair(good, other)


def test_interrupted_write_leaves_nothing(tmp_path):
    target = tmp_path / "deep" / "file.txt"

    def interrupted(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(target, interrupted)
    assert list(target.parent.iterdir()) == []
    files.write_whole(target, lambda temporary: temporary.write_text("whole"))
    assert [p.name for p in target.parent.iterdir()] == ["file.txt"]


def test_interrupted_write_keeps_the_former_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("former")
    with pytest.raises(ZeroDivisionError):
        files.write_whole(target, lambda temporary: 1 / 0)
    assert target.read_text() == "former"


def test_read_only_cache_says_what_to_set(monkeypatch):
    monkeypatch.setenv("XFV_CACHE", "/proc/xfv")  # cannot be written to, not even by root
    with pytest.raises(PermissionError, match="XFV_CACHE"):
        Crops({"one": orl_photo_path("s1/1")})["one"]


def test_draw_gives_as_many_of_each_kind_and_the_same_again(pairs):
    drawn = pairs.draw(7, seed=3)
    assert drawn.labels.sum() == 7 and len(drawn) == 14
    assert drawn.table.equals(pairs.draw(7, seed=3).table) and not drawn.table.equals(pairs.draw(7).table)
    rows = pairs.table.merge(drawn.table.reset_index(), how="inner")
    assert len(rows) == 14 and rows["index"].is_monotonic_increasing
    with pytest.raises(ValueError, match="300 impostor pairs; 301 of each"):
        pairs.draw(301)
