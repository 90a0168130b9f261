import pickle

import numpy as np
import pandas as pd
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
    assert pair.a.shape == pair.b.shape == (3, 112, 112) and pair.a.dtype == torch.float32
    assert pair.a.min() >= 0 and pair.a.max() <= 1 and pair.a.std() > 0.05
    assert (pair.name_a, pair.name_b) == tuple(pairs.table.iloc[0][["name_a", "name_b"]])


def test_indexing(pairs):
    assert len(pairs[10:14]) == 4 and len(pairs[[3, 5]]) == 2 and len(pairs[pairs.labels]) == 300
    assert pairs[-1].name_a == pairs.table.name_a.iloc[-1]
    assert sum(1 for _ in pairs[:5]) == 5
    assert pairs[np.int64(3)].name_a == pairs[3].name_a and pairs[np.array([3, 5])].table.equals(pairs[[3, 5]].table)
    assert pairs[torch.tensor([3, 5])].table.equals(pairs[[3, 5]].table)
    assert pairs[pairs.table.same].table.equals(pairs[pairs.labels].table)  # a column of pandas, too
    nothing = pairs[[]]
    assert len(nothing) == len(nothing.labels) == len(nothing.folds) == len(nothing.names) == 0
    assert len(nothing[[]]) == len(nothing[:3]) == 0 and "0 pairs" in repr(nothing)


@pytest.mark.parametrize(
    "index", [600, -601, 10**30, 1.5, "a", None, True, [600], [1.5], ["a"], [True], [[1, 2]], (1, 2), {1}]
)
def test_absurd_indices_are_refused(pairs, index):
    with pytest.raises(IndexError):
        pairs[index]


def test_any_two_images_by_hand(pairs):
    assert pairs.pair("s1/1", "s1/2").same is True
    assert pairs.pair("s1/1", "s11/1").same is False
    with pytest.raises(KeyError, match="near it"):
        pairs.pair("s1/1", "s1/11")


def test_all_pairs(pairs):
    everything = pairs.all_pairs()
    assert len(everything) == 79_800 and everything.labels.sum() == 40 * 45


def test_supposed_faces_are_known(pairs, dlib_pairs):
    for some in (pairs, dlib_pairs):
        assert all(some.images[name].isfinite().all() for name in ("s33/4", "s37/4", "s1/1"))
    assert {"s33/4", "s37/4"} == dlib_pairs.images.supposed and not pairs.images.supposed


def test_what_is_handed_out_is_a_copy(pairs):
    for give in (lambda: pairs.image("s1/1"), lambda: pairs.images["s1/1"], lambda: pairs.pair("s1/1", "s1/2").a):
        before = give().clone()
        give().zero_()
        give()[0] += 1
        assert torch.equal(give(), before)


def test_unknown_data_set_lists_the_known_ones():
    with pytest.raises(ValueError, match="'orl'"):
        xfv.load_pairs("olr")


def test_pairs_of_nothing():
    empty = xfv.PairSet("none", pd.DataFrame(columns=["name_a", "name_b", "same", "fold"]), {})
    assert len(empty) == len(empty.all_pairs()) == 0


@pytest.mark.parametrize(
    "column, values, words",
    [
        ("same", [True, None, False], "row 1 of mine: same is None"),
        ("same", [True, False, np.nan], "row 2 of mine: same is nan"),
        ("same", [True, False, "false"], "row 2 of mine: same is 'false'"),
        ("same", [2, 1, 0], "row 0 of mine: same is 2"),
        ("same", pd.array([True, None, False], dtype="boolean"), "row 1 of mine: same is <NA>"),
        ("fold", [1.5, 1, 1], "row 0 of mine: fold is 1.5"),
        ("fold", [1, 1, np.nan], "row 2 of mine: fold is nan"),
        ("fold", [1, 1e30, 1], "row 1 of mine: fold is 1e"),
        ("name_a", ["s1/1", None, "s1/1"], "row 1 of mine: name_a"),
        ("name_b", ["s1/1", "s1/1", 7], "row 2 of mine: name_b is 7"),
    ],
)
def test_tables_that_do_not_say_what_they_must_are_refused(pairs, column, values, words):
    table = pairs.table[:3].drop(columns=column)
    table[column] = pd.Series(values, dtype=None if isinstance(values, pd.api.extensions.ExtensionArray) else object)
    with pytest.raises(ValueError, match=words):
        xfv.PairSet("mine", table, pairs.images)


def test_tables_of_other_types_mean_the_same(pairs):
    table = pairs.table[:3].assign(same=[1, 0, 1.0], fold=["2", "3", "1.0"])
    table.index = [7, 7, 9]
    mine = xfv.PairSet("mine", table, pairs.images)
    assert mine.labels.tolist() == [True, False, True] and mine.folds.tolist() == [2, 3, 1]
    assert list(mine.table.columns) == list(pairs.table.columns) and mine[2].same is True
    for missing in ("name_a", "name_b", "same", "fold"):
        with pytest.raises(ValueError, match=f"row 7 of mine: {missing} is .*nan"):
            xfv.PairSet("mine", table.drop(columns=missing), pairs.images)
    with pytest.raises(ValueError, match="row 0 of mine"):
        xfv.PairSet("mine", [pairs[0]], pairs.images)
    rows = list(pairs.table.itertuples(index=False, name=None))
    assert xfv.PairSet("rows", rows, pairs.images).table.equals(pairs.table)


def test_too_many_pairs_are_refused_before_they_are_listed():
    many = {f"p/{i}": None for i in range(5000)}
    table = pd.DataFrame(columns=["name_a", "name_b", "same", "fold"])
    with pytest.raises(ValueError, match="5,000 images, too many"):
        xfv.PairSet("many", table, many).all_pairs()


@pytest.mark.parametrize(
    "given", [{"root": "x"}, {"name": "csv", "bin": "x"}, {"name": "lfw", "bin": "x", "root": "y"}]
)
def test_a_path_that_a_data_set_does_not_take_is_refused(given):
    with pytest.raises(ValueError, match="known"):
        xfv.load_pairs(**given)


def test_a_loaded_set_travels_to_other_processes(pairs):
    pairs.image("s1/1")
    sent = pickle.dumps(pairs)
    assert len(sent) < 500_000
    assert torch.equal(pickle.loads(sent).image("s1/1"), pairs.image("s1/1"))


good = torch.full((3, 8, 8), 0.5)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_of_other_sizes_are_converted(kind):
    pair = xfv.Pair(good.to(kind), good.clone().requires_grad_())
    assert pair.a.dtype == pair.b.dtype == torch.float32 and not pair.b.requires_grad
    with pytest.raises(ValueError, match="outside"):
        xfv.Pair(good, (good * 3).to(kind))


def test_labels_are_true_false_or_unknown():
    assert xfv.Pair(good, good).same is None and xfv.Pair(good, good, None).same is None
    assert xfv.Pair(good, good, np.bool_(True)).same is True and xfv.Pair(good, good, np.False_).same is False
    for same in (float("nan"), pd.NA, "false", 1, 0, []):
        with pytest.raises(TypeError, match="same is"):
            xfv.Pair(good, good, same)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_pairs_live_on_the_cpu():
    pair = xfv.Pair(good.cuda(), good)
    assert pair.a.device.type == pair.b.device.type == "cpu"


@pytest.mark.parametrize(
    "other, error, words",
    [
        (torch.full((3, 9, 8), 0.5), ValueError, "differ in size"),
        (good * 300, ValueError, "divide"),
        (good - 1, ValueError, "outside"),
        (good * float("nan"), ValueError, "NaN"),
        (good[0], ValueError, "H, W"),
        (good[:, :0], ValueError, "H, W"),
        (good * float("inf"), ValueError, "infinite"),
        (good.byte(), TypeError, "uint8"),
        (good.numpy(), TypeError, "ndarray"),
    ],
)
def test_wrong_pairs_are_refused_in_words(other, error, words):
    with pytest.raises(error, match=words):
        xfv.Pair(good, other)


def test_read_only_cache_says_what_to_set(monkeypatch):
    monkeypatch.setenv("XFV_CACHE", "/proc/xfv")  # cannot be written to, not even by root
    with pytest.raises(PermissionError, match="XFV_CACHE"):
        Crops({"one": orl_photo_path("s1/1")})["one"]


def test_draw_gives_as_many_of_each_kind_and_the_same_again(pairs):
    drawn = pairs.draw(np.int64(7), seed=3)
    assert drawn.labels.sum() == 7 and len(drawn) == 14
    assert drawn.table.equals(pairs.draw(7, seed=3).table) and not drawn.table.equals(pairs.draw(7).table)
    rows = pairs.table.merge(drawn.table.reset_index(), how="inner")
    assert len(rows) == 14 and rows["index"].is_monotonic_increasing
    with pytest.raises(ValueError, match="300 impostor pairs; 301 of each"):
        pairs.draw(301)
    for count in (-1, 0, 1.5, "many", None):
        with pytest.raises(ValueError, match=f"{count!r} of each"):
            pairs.draw(count)
