import json
from dataclasses import replace
from functools import wraps
from importlib import import_module
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.ndimage import gaussian_filter

import xfvlib as xfv
from xfvlib.evaluation import mean_interval
from xfvlib.faithfulness.table import remembering
from xfvlib.methods import Method, method_called
from xfvlib.perturb import FILLS, filled

dl = import_module("xfvlib.faithfulness")  # of the same name as the function xfv.faithfulness
RANKING = torch.rand(20, 20, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("fill", FILLS)
def test_the_first_and_last_steps_are_exact(crops, fill):
    deleted = dl.progressively(crops[0], RANKING, "deletion", fill=fill)
    inserted = dl.progressively(crops[0], RANKING, "insertion", fill=fill)
    assert torch.equal(deleted[0], crops[0]) and torch.equal(inserted[-1], crops[0])
    assert torch.equal(deleted[-1], filled(crops[0], fill)) and torch.equal(inserted[0], deleted[-1])


def test_the_highest_pixels_go_first_and_equal_ones_in_reading_order(crops):
    image = crops[0] / 2 + 0.25
    third = dl.progressively(image, RANKING, "deletion")[3]
    gone = (third == 0).all(dim=0)
    assert gone.sum() == 120 and RANKING[gone].min() >= RANKING[~gone].max()
    tied = dl.progressively(image, torch.zeros(20, 20), "deletion")[5]
    assert (tied[:, :10] == 0).all() and torch.equal(tied[:, 10:], image[:, 10:])


def test_deletion_and_insertion_are_each_others_reverse(crops):
    deleted = dl.progressively(crops[0], RANKING, "deletion")
    inserted = dl.progressively(crops[0], -RANKING, "insertion")
    assert torch.equal(deleted, inserted.flip(0))


def test_deletion_scores_begin_at_the_cosine(tiny, crops):
    pair = xfv.Pair(*crops)
    cosine = xfv.explain(tiny, pair).score
    assert dl.deletion_scores(tiny, pair, RANKING)[0] == pytest.approx(cosine, abs=1e-6)
    assert dl.deletion_scores(tiny, pair, RANKING, RANKING, kind="insertion")[-1] == pytest.approx(cosine, abs=1e-6)
    assert dl.deletion_scores(tiny, pair, RANKING, RANKING)[-1] == pytest.approx(1)  # two black images are equal


def test_the_area_is_a_mean_height_whatever_the_number_of_steps():
    labels = np.ones(1000, bool)
    for steps in (10, 50):
        share = np.linspace(1, 0, steps + 1)
        scores = (np.linspace(0.0005, 0.9995, 1000)[:, None] < share).astype(float)  # accuracy falls in a straight line
        accuracy_at, area = dl.deletion_area(scores, labels, 0.5)
        assert accuracy_at[0] == 1 and accuracy_at[-1] == 0 and area == pytest.approx(50, abs=0.2)


def test_wrong_deletions_are_refused_in_words(crops):
    for change, words in (({"kind": "erasure"}, "'insertion'"), ({"kind": "deletion", "fill": "white"}, "'blur'")):
        with pytest.raises(ValueError, match=words):
            dl.progressively(crops[0], RANKING, **change)
    hole = torch.where(RANKING.max() == RANKING, torch.nan, RANKING)
    bad = {r"real \(20, 20\)": RANKING[:10], r"\(1, 20, 20\)": RANKING[None], "complex64": RANKING * 1j, "1 NaN": hole}
    for words, wrong in bad.items():
        for call in (dl.progressively, lambda image, ranking: dl.deletion_scores(None, xfv.Pair(*crops), ranking)):
            with pytest.raises(ValueError, match=words):
                call(crops[0], wrong)
    for wrong in (None, "map", [[1.0]]):
        with pytest.raises(TypeError, match="tensor \\(H, W\\) is needed"):
            dl.deletion_scores(None, xfv.Pair(*crops), wrong)
    for steps in (0, -1, 2.5, float("nan"), True, "10"):
        with pytest.raises(ValueError, match="steps is"):
            dl.first_pixels(RANKING, steps)


def test_whole_numbers_and_infinite_values_have_an_order():
    grey = (255 * RANKING).to(torch.uint8)
    assert torch.equal(dl.first_pixels(grey, 7), dl.first_pixels(grey.double(), 7))
    assert torch.equal(dl.first_pixels(RANKING > 0.5, np.int64(7)), dl.first_pixels((RANKING > 0.5).double(), 7))
    endless = torch.where(RANKING > 0.9, torch.inf, torch.where(RANKING < 0.1, -torch.inf, RANKING))
    third = dl.first_pixels(endless, 400)[int((RANKING > 0.9).sum())]
    assert torch.equal(third[0], RANKING > 0.9)
    assert torch.equal(dl.first_pixels(RANKING.numpy(), 7), dl.first_pixels(RANKING, 7))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float16])
def test_a_map_of_any_real_type_is_followed_in_both_directions(tiny, tiny_pairs, dtype):
    impostor = next(pair for pair in tiny_pairs if not pair.same)
    saliency = (3 * RANKING).to(dtype)
    settings = dl.settings_of(["deletion"])
    given, plain = (
        dl.deletion_rows(tiny, impostor, {"m": (one, None)}, settings, threshold=0.5)
        for one in (saliency, saliency.double())
    )
    assert all(np.array_equal(x["scores"], y["scores"]) for x, y in zip(given, plain))
    with pytest.raises(TypeError, match="NoneType"):
        dl.deletion_rows(
            tiny,
            impostor,
            {"m": (saliency, None)},
            dl.settings_of({"metric": "deletion", "masked": "both"}),
            threshold=0.5,
        )


THRESHOLD = 0.945
METRICS = [
    {"metric": kind, "masked": masked, "fill": "mean"}
    for kind in ("deletion", "insertion")
    for masked in ("probe", "both")
]


@pytest.fixture(scope="module")
def table(tiny, tiny_pairs):
    return dl.deletion_table(tiny, tiny_pairs[::8], ["fggb", "gradient"], METRICS, threshold=THRESHOLD)


def only(table, **values):
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def test_the_tables_mean_area_is_the_area_of_the_curves(tiny, tiny_pairs, table):
    rows = only(table, metric="deletion", method="gradient", masked="both", same=True)
    genuine = [pair for pair in tiny_pairs[::8] if pair.same]
    scores = []
    for pair in genuine:
        maps = [
            xfv.METHODS["gradient"](tiny, a, b, threshold=THRESHOLD) for a, b in ((pair.a, pair.b), (pair.b, pair.a))
        ]
        scores.append(dl.deletion_scores(tiny, pair, *maps, fill="mean"))
    accuracy_at, area = dl.deletion_area(scores, [True] * len(genuine), THRESHOLD)
    assert np.allclose(np.stack(rows.scores), scores, atol=1e-6)
    assert rows.area.mean() == pytest.approx(area)
    found = only(dl.areas(table), metric="deletion", method="gradient", masked="both", ranking="similarity").iloc[0]
    assert found.area == pytest.approx(area) and found.low <= area <= found.high and found.pairs == len(genuine)
    fractions, mean, low, high = dl.curve(rows)
    assert (
        np.allclose(mean, accuracy_at)
        and (low <= mean).all()
        and (mean <= high).all()
        and fractions[[0, -1]].tolist() == [0, 1]
    )


def test_every_pair_has_each_method_once_beside_the_controls(table):
    assert len(table) == 24 * len(METRICS) * 7
    assert set(table.method) == {
        "fggb",
        "fggb reversed",
        "gradient",
        "gradient reversed",
        "random",
        "blob",
        "blob reversed",
    }
    assert not table.duplicated(["pair", "method", *dl.SETTING]).any()
    assert (table.same == (table.ranking == "similarity")).all()
    assert table.area.between(0, 100).all() and table.error.isna().all()


def test_both_ends_of_every_curve_are_exact(tiny, tiny_pairs, table):
    first, last = (np.array([scores[i] for scores in table.scores]) for i in (0, -1))
    deletion, probe = table.metric == "deletion", table.masked == "probe"
    assert (first[deletion] == table.score[deletion].astype(np.float32)).all()
    assert (last[~deletion] == table.score[~deletion].astype(np.float32)).all()
    pair = tiny_pairs[0]
    gone = float((tiny.embed(filled(pair.a, "mean")[None]) * tiny.embed(pair.b[None])).sum())
    assert last[deletion & probe & (table.pair == 0)] == pytest.approx(gone, abs=1e-6)


def test_the_reversed_order_is_the_map_with_its_sign_turned(tiny, tiny_pairs, table):
    row = only(table, pair=0, metric="deletion", masked="probe", method="gradient reversed").iloc[0]
    saliency = xfv.METHODS["gradient"](tiny, tiny_pairs[0].a, tiny_pairs[0].b)
    assert np.allclose(row.scores, dl.deletion_scores(tiny, tiny_pairs[0], -saliency, fill="mean"), atol=1e-6)


def test_impostor_pairs_follow_the_dissimilarity_map(tiny, tiny_pairs, table):
    number = 8 * int(np.flatnonzero(~tiny_pairs[::8].labels)[0])
    pair = tiny_pairs[number]
    row = only(table, pair=number // 8, metric="insertion", masked="probe", method="gradient").iloc[0]
    saliency = xfv.METHODS["gradient"](tiny, pair.a, pair.b)
    assert row.ranking == "dissimilarity"
    assert np.allclose(row.scores, dl.deletion_scores(tiny, pair, -saliency, kind="insertion", fill="mean"), atol=1e-6)


def test_a_random_order_is_as_good_forwards_as_backwards(tiny, tiny_pairs):
    tables = [dl.deletion_table(tiny, tiny_pairs[:30:6], [], threshold=THRESHOLD, seed=seed) for seed in range(25)]
    random = pd.concat(tables)
    means = [
        only(random, method="random", metric=kind).groupby("pair").area.mean() for kind in ("deletion", "insertion")
    ]
    spread = only(random, method="random").groupby(["pair", "metric"]).area.std().max() / np.sqrt(25)
    assert (means[0] - means[1]).abs().max() < 5 * spread
    tops = (
        torch.stack([dl.random_order(torch.zeros(3, 20, 20), "p", seed) > 0.7 for seed in range(200)])
        .float()
        .mean(dim=0)
    )
    assert tops.mean() == pytest.approx(0.3, abs=0.01) and tops.min() > 0.1 and tops.max() < 0.5


def test_controls_see_a_name_or_nothing(crops):
    assert torch.equal(dl.blob(crops[0]), dl.blob(crops[1])) and torch.equal(
        dl.blob(crops[0]), dl.blob(crops[0]).flip(0, 1)
    )
    assert torch.equal(dl.random_order(crops[0], "p"), dl.random_order(crops[1], "p"))
    assert not torch.equal(dl.random_order(crops[0], "p"), dl.random_order(crops[0], "q"))


def test_finer_steps_hardly_move_the_area(tiny, tiny_pairs):
    coarse, fine = (
        dl.areas(
            dl.deletion_table(
                tiny, tiny_pairs[::10], "fggb", {"metric": "deletion", "steps": steps}, threshold=THRESHOLD
            )
        )
        for steps in (20, 100)
    )
    assert np.allclose(coarse.area, fine.area, atol=4)


def test_settings_choose_pairs_and_rankings(tiny, tiny_pairs):
    some = tiny_pairs[[0, 1, 4, 5]]  # two of each kind
    metrics = [
        "scores",
        {"metric": "deletion", "ranking": "similarity"},
        {"metric": "deletion"},
        {"metric": "deletion", "pairs": "impostor"},
    ]
    table = dl.deletion_table(tiny, some, "gradient", metrics, threshold=THRESHOLD, controls=False)
    assert set(table.method.dropna()) == {"gradient", "gradient reversed"}
    assert len(only(table, metric="scores")) == 4 and np.allclose(
        only(table, metric="scores").score, xfv.scores(tiny, some)
    )
    genuine, impostor = (only(table, same=same, method="gradient") for same in (True, False))
    assert genuine.ranking.tolist() == ["similarity"] * 2  # asked for twice, computed once
    assert sorted(impostor.ranking) == ["dissimilarity"] * 2 + ["similarity"] * 2
    assert only(dl.areas(table, "all"), ranking="similarity", method="gradient").pairs.item() == 4
    assert only(dl.areas(table), ranking="similarity", method="gradient").pairs.item() == 2


def test_tables_and_their_settings_survive_the_disk(tmp_path, table):
    dl.save_table(table, tmp_path / "table.parquet", {"model": "tiny", "seed": 0})
    again, settings = dl.read_table(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(again, table)
    assert settings == {"model": "tiny", "seed": 0}
    pd.testing.assert_frame_equal(dl.areas(again), dl.areas(table))


def made_up(**areas):
    """A table of one setting with the given areas, one a pair."""
    way = {"metric": "deletion", "ranking": "similarity", "masked": "probe", "fill": "black", "steps": 10, "blur": 0.0}
    known = way | {"map": "own", "same": True, "threshold": 0.5}
    rows = [
        known | {"pair": i, "name_a": f"a{i}/1", "name_b": f"a{i}/2", "method": method, "area": float(area)}
        for method, values in areas.items()
        for i, area in enumerate(values)
    ]
    return dl.as_frame(pa.Table.from_pylist(rows, schema=dl.SCHEMA))


def test_the_verdict_is_in_words_and_goes_with_the_direction():
    noise = np.random.default_rng(0).normal(50, 20, 60)
    better = np.random.default_rng(1).normal(3, 4, 60)
    table = made_up(old=noise, new=noise - better, same=noise + np.random.default_rng(2).normal(0, 4, 60))
    assert dl.compare(table, "old", "old").verdict.item() == "no difference found"
    for method, verdict in (("new", "better"), ("same", "no difference found")):
        found = dl.compare(table, method, "old").iloc[0]
        assert found.verdict == verdict and found.low <= found.gain <= found.high
    assert dl.compare(table, "old", "new").verdict.item() == "worse"
    assert dl.compare(table, "new", "old").gain.item() == pytest.approx(better.mean())
    turned = table.assign(metric="insertion")  # the same numbers, where higher is better
    assert dl.compare(turned, "new", "old").verdict.item() == "worse"
    # pairing finds what the two intervals, which overlap, do not show
    wide = dl.areas(table).set_index("method")
    assert wide.low["old"] < wide.high["new"]


def test_the_gain_is_over_the_best_order_that_has_not_seen_the_picture():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5, 50)
    controls = {"random": 60 + noise, "blob": 30 + noise, "blob reversed": 80 + noise}
    table = made_up(good=25 + noise + rng.normal(0, 1, 50), poor=40 + noise + rng.normal(0, 1, 50), **controls)
    found = dl.gains(table).set_index("method")
    assert (found.other == "blob").all()
    assert found.gain["good"] == pytest.approx(5, abs=0.5) and found.verdict["good"] == "better"
    assert found.verdict["poor"] == "worse"
    assert set(dl.gains(table.assign(metric="insertion")).other) == {"blob reversed"}


def test_only_common_pairs_are_compared():
    table = made_up(one=[10, 20, 30, 40], two=[20, 30])
    found = dl.compare(table, "one", "two").iloc[0]
    assert found.pairs == 2 and found.gain == pytest.approx(10)


def test_pairs_are_told_by_their_names_in_tables_that_number_them_differently():
    table = made_up(one=[10, 20, 30, 40], two=[12, 25, 30, 47])
    numbered = table.assign(pair=np.where(table.method == "two", 3 - table.pair, table.pair))
    assert dl.compare(numbered, "one", "two").equals(dl.compare(table, "one", "two"))


def test_one_table_answers_which_how_much_and_more_than_chance():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5, 50)
    near, fixed = rng.normal(0, 1, (2, 50)), {"random": 60 + noise, "blob": 30 + noise, "blob reversed": 80 + noise}
    methods = {"poor": 40 + noise + near[0], "good": 25 + noise + near[1], "few": 24 + noise[:20]}
    table = made_up(**methods, **fixed, **{"good reversed": 70 + noise})
    table = pd.concat([table, table.assign(metric="insertion")])
    found = dl.compare_all(table)
    deleted, inserted = (only(found, metric=metric) for metric in ("deletion", "insertion"))
    assert set(deleted.method[:2]) == {"few", "good"} and deleted.method[2:].tolist() == [
        "blob",
        "poor",
        "random",
        "blob reversed",
    ]
    row = deleted.set_index("method").loc["good"]
    assert row.control == "blob" and row["than control"] == "better" and row.gain == pytest.approx(5, abs=0.5)
    assert (
        row.area == pytest.approx(25, abs=2)
        and row.low < row.area < row.high
        and row["gain low"] < row.gain < row["gain high"]
    )
    verdicts = deleted.set_index("method")["than best"]
    assert (
        verdicts["few"] == "best" and verdicts["good"] == verdicts["poor"] == "worse"
    )  # on the 20 pairs that all have
    compared = dl.compare(only(table, metric="deletion"), "good", "few").iloc[0]
    assert row[["to best", "to best low", "to best high"]].tolist() == compared[["gain", "low", "high"]].tolist()
    assert verdicts[["blob", "random", "blob reversed"]].isna().all()
    assert inserted.method.iloc[0] == "blob reversed" and inserted.set_index("method")["than best"]["poor"] == "best"


def test_one_call_says_what_maps_know(tiny, tiny_pairs):
    found = xfv.faithfulness(tiny, tiny_pairs[::8], ["fggb", "gradient"], threshold=THRESHOLD)
    methods = {"fggb": {"method": "fggb", "blur": 0}, "gradient": {"method": "gradient"}}
    table = dl.deletion_table(tiny, tiny_pairs[::8], methods, dl.LADDER, threshold=THRESHOLD)
    pd.testing.assert_frame_equal(found, dl.ladder(table))
    assert set(zip(found.ranking, found.masked)) == {("similarity", "probe"), ("dissimilarity", "both")}
    assert set(found.verdict.dropna()) <= {"better", "worse", "no difference found"}
    assert (found.blur == 5).all() and set(found.method) == {"fggb", "gradient"}


def test_a_map_that_knows_what_the_network_reads_is_better_than_chance_and_a_wrong_one_is_not(monkeypatch):
    corner = (slice(0, 8), slice(12, 20))  # all that this network reads

    class Corner(torch.nn.Module):
        def forward(self, x):
            return x[:, :, *corner].flatten(1)

    truth = torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    truth[corner] += 1
    for name, saliency in (("right", truth), ("wrong", -truth)):
        monkeypatch.setitem(
            xfv.METHODS, name, lambda model, image, reference, *, threshold=None, saliency=saliency: saliency
        )
    images = torch.rand(20, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    names = [f"p{i}/{j}" for i in range(10) for j in range(2)]  # of six no verdict over two methods would be possible
    listed = pd.DataFrame({"name_a": names[::2], "name_b": names[1::2], "same": True, "fold": -1})
    pairs = xfv.PairSet(
        "corners", listed, {name: (images[i // 2 * 2] + 0.2 * images[i]) / 1.2 for i, name in enumerate(names)}
    )
    model = xfv.FaceModel(Corner(), size=20, mean=0, std=1, threshold=0.5)
    found = dl.compare_all(dl.deletion_table(model, pairs, ["right", "wrong"], ["deletion", "insertion"])).set_index(
        ["metric", "method"]
    )
    for metric in ("deletion", "insertion"):
        assert found["than control"][metric, "right"] == "better" and found["than control"][metric, "wrong"] == "worse"
        assert found["than best"][metric, "right"] == "best"


def test_noise_is_not_the_same_in_both_images(tiny, tiny_pairs):
    pair = tiny_pairs[0]
    both = dl.deletion_scores(tiny, pair, RANKING, RANKING, fill="noise")
    other = dl.deletion_scores(tiny, pair, RANKING, RANKING, fill="noise", seed=1)
    assert both[-1] < 0.9999 and both[-1] != other[-1] and both[0] == other[0]
    settings = dl.settings_of({"metric": "deletion", "masked": "both", "fill": "noise"})
    rows = dl.deletion_rows(tiny, pair, {"m": (RANKING, RANKING)}, settings, threshold=0.5)
    assert np.allclose(next(row for row in rows if row["method"] == "m")["scores"], both, atol=1e-6)


# --- stand-ins and the ladder ---

ONE_WAY = {"metric": "deletion", "masked": "both", "fill": "mean", "steps": 5}
ALL_MAPS = [ONE_WAY | {"map": which} for which in dl.MAPS]
of_image, of_partner = (lambda image, reference: image.mean(dim=0)), (lambda image, reference: reference.mean(dim=0))
of_nothing = lambda image, reference: torch.arange(400.0).view(20, 20)
of_both = lambda image, reference: (image * reference.flip(1)).mean(dim=0)


@pytest.fixture(scope="module")
def climbed(tiny, tiny_pairs):
    """Rows of methods whose maps depend on the image, the partner, both or nothing, for every map."""
    known = {"image": of_image, "partner": of_partner, "nothing": of_nothing, "both": of_both}
    with pytest.MonkeyPatch.context() as patch:
        for name, method in known.items():
            patch.setitem(xfv.METHODS, name, method)
        return dl.deletion_table(tiny, tiny_pairs[::6], list(known), ALL_MAPS, threshold=THRESHOLD)


def same_curves(table, method, which, other="own"):
    """For each pair that has both maps of a method: is the curve the same?"""
    rows = table[(table.method == method) & table["map"].isin([which, other])].pivot(
        index="pair", columns="map", values="scores"
    )
    return np.array([np.array_equal(one, two) for one, two in rows.dropna()[[which, other]].to_numpy()])


def test_every_rung_gives_away_what_a_method_looks_at(climbed):
    assert set(climbed["map"]) == set(dl.MAPS)
    for which in dl.MAPS[1:]:
        assert len(same_curves(climbed, "nothing", which)) > 4
    assert same_curves(climbed, "image", "another partner").all()
    assert not same_curves(climbed, "image", "another person").any()
    assert not same_curves(climbed, "image", "mean").any()
    for method in ("partner", "both"):
        for which in ("another partner", "another person", "mean"):
            assert same_curves(climbed, method, which).mean() < 0.1
    for which in ("another partner", "another person", "mean"):
        assert same_curves(climbed, "nothing", which).all()
    # turned, and turned back
    assert not same_curves(climbed, "nothing", "other decision").any()
    turned = climbed[(climbed.method == "nothing reversed") & (climbed["map"] == "other decision")].set_index("pair")
    own = climbed[(climbed.method == "nothing") & (climbed["map"] == "own")].set_index("pair")
    kinds = turned.index[turned.ranking == "similarity"]
    assert len(kinds) and np.allclose(np.stack(turned.scores[kinds]), np.stack(own.scores[kinds]), atol=1e-6)


def test_a_stand_in_keeps_or_turns_the_decision_and_shows_whom_it_must(tiny, tiny_pairs):
    named = list(tiny_pairs.table[["name_a", "name_b", "same"]].itertuples(index=False, name=None))[::3]
    known = {name: tiny.embed(tiny_pairs.image(name)[None])[0].detach() for name in tiny_pairs.names}
    plan = dl.stand_ins(named, known.get, tiny_pairs.images, THRESHOLD)
    assert plan.partners == dl.stand_ins(named, known.get, tiny_pairs.images, THRESHOLD).partners
    assert plan.partners != dl.stand_ins(named, known.get, tiny_pairs.images, THRESHOLD, seed=1).partners
    accepted = lambda a, b: float(known[a] @ known[b]) >= THRESHOLD
    found = {"another partner": 0, "other decision": 0}
    for (*names, same), both in zip(named, plan.partners):
        for image, partner, chosen in ((*names, both[0]), (*names[::-1], both[1])):
            who = lambda name: name.split("/")[0]
            for which, name in chosen.items():
                found[which] += 1
                assert name not in names
                assert (accepted(image, name) == accepted(*names)) == (which == "another partner")
                own_person = same == (which == "another partner")
                assert (who(name) == who(image)) == own_person
                assert own_person or who(name) != who(partner)
    assert min(found.values()) > 20
    for number, (a, b, same) in enumerate(named):
        other = plan._another(number)
        if other is not None:
            assert not {x.split("/")[0] for x in named[other][:2]} & {x.split("/")[0] for x in (a, b)}
            assert named[other][2] == same and accepted(*named[other][:2]) == accepted(a, b)


def test_without_anybody_to_stand_in_there_is_no_row(tiny, tiny_pairs):
    genuine = [pair for pair in tiny_pairs if pair.same][:1]  # no other person is at hand
    table = dl.deletion_table(tiny, genuine, "gradient", ALL_MAPS, threshold=-1)
    assert set(table["map"]) == {"own"}
    unreadable = dl.stand_ins([("a/1", "a/2", True), ("b/1", "b/2", True)], lambda name: None, [], 0.5)
    assert unreadable.partners == [({}, {})] * 2 and (unreadable.kinds == -1).all()
    assert unreadable.lender({"mean", "another person"}, lambda number: {}, range(2))(0, 1) == {}
    with pytest.raises(ValueError, match="two images are called 'probe'"):
        dl.deletion_table(
            tiny,
            [xfv.Pair(*pair.a[None], pair.b, True) for pair in genuine] + [xfv.Pair(genuine[0].b, genuine[0].a, True)],
            "gradient",
            ALL_MAPS,
            threshold=0.5,
        )


def test_the_mean_leaves_people_out_and_weighs_maps_alike():
    names = [
        ("a/1", "a/2", True),
        ("b/1", "b/2", True),
        ("b/1", "b/3", True),
        ("c/1", "c/2", True),
        ("a/1", "b/1", False),
    ]
    ones = dict.fromkeys("abc", torch.tensor([1.0, 0.0]))
    plan = dl.stand_ins(names, lambda name: ones[name[0]], [], 0.5)
    maps = {
        0: 3.0 * torch.eye(2),
        1: torch.ones(2, 2),
        2: 100 * torch.ones(2, 2),
        3: torch.tensor([[0.0, 7.0], [0.0, 0.0]]),
    }
    own = lambda number: {"m": [maps[number], None]} if number in maps else {"m": [torch.full((2, 2), 9.0)] * 2}
    lend = plan.lender({"mean"}, own, [3, 1, 4, 0, 2])
    unit = {number: saliency / saliency.norm() for number, saliency in maps.items()}
    for number, others in {0: (1, 2, 3), 1: (0, 3), 2: (0, 3), 3: (0, 1, 2)}.items():
        found = lend(number, 1)["mean"]["m"]
        assert torch.allclose(found[0], sum(unit[n] for n in others).double() / len(others)) and found[1] is None
        assert "mean" not in lend(number, 2) or not lend(number, 2)["mean"]  # of the references no map is there
    assert not lend(4, 1).get("mean")  # the only impostor pair
    assert torch.equal(lend(1, 1)["mean"]["m"][0], plan.lender({"mean"}, own, [0, 1, 2, 3, 4])(1, 1)["mean"]["m"][0])


def test_a_blur_is_that_of_the_signed_map(tiny, tiny_pairs):
    pair = next(pair for pair in tiny_pairs if not pair.same)
    saliency = torch.randn(20, 20, generator=torch.Generator().manual_seed(3))
    blurred = torch.from_numpy(gaussian_filter(saliency.double().numpy(), 5 * 20 / 112))
    rows = dl.deletion_rows(
        tiny, pair, {"m": (saliency, None)}, dl.settings_of([{"metric": "deletion", "blur": 5}]), threshold=0.5
    )
    found = next(row for row in rows if row["method"] == "m")
    assert np.allclose(found["scores"], dl.deletion_scores(tiny, pair, -blurred), atol=1e-6) and found["blur"] == 5
    plain = dl.deletion_rows(tiny, pair, {"m": (saliency, None)}, dl.settings_of(["deletion"]), threshold=0.5)
    assert plain[0]["blur"] == 0 and not np.allclose(plain[0]["scores"], found["scores"], atol=1e-3)


def test_the_ladder_names_the_gains_between_rungs(climbed):
    found = dl.ladder(climbed).set_index(["ranking", "method", "rung", "over"])
    for ranking in ("similarity", "dissimilarity"):
        rows = found.loc[ranking, "image"]
        assert rows.index.tolist()[1:6] == [*zip(dl.RUNGS[1:], dl.RUNGS)]
        assert rows.index.tolist()[6:] == [("own", "other decision"), ("other decision", "other decision, not turned")]
        same = rows.loc["own", "another partner"]
        assert same.gain == 0 and np.isnan(same["gain low"]) and same.verdict == "no difference found"
    assert found.pairs.between(2, 32).all() and found.people.between(2, 5).all()
    own = dl.areas(climbed).query("method == 'both' and map == 'own'").set_index("ranking").area
    for ranking, area in own.items():
        assert found.loc[ranking, "both", "own", "another partner"].area == area
    one = climbed[(climbed.method == "both") & (climbed.ranking == "similarity")]
    wide = one.pivot(index="pair", columns="map", values="area")
    gain = (wide["another person"] - wide["own"]).dropna()  # deletion: lower is better
    without = dl.ladder(climbed[climbed["map"] != "another partner"]).set_index(["ranking", "method", "rung", "over"])
    row = without.loc["similarity", "both", "own", "another person"]
    assert row.gain == pytest.approx(gain.mean()) and row.common == len(gain)
    with pytest.raises(ValueError, match="no method beside the controls"):
        dl.ladder(climbed[climbed.method.isin(dl.FIXED_ORDERS)])


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never below the one before, never above 1
    assert dl.holm([0.03, 0.01, 0.04, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert dl.holm([0.5, 0.9]).tolist() == [1, 1] and dl.holm([0.2]).tolist() == [0.2]


def test_a_family_of_comparisons_is_corrected():
    """One gain that is barely there alone is not there among many; each verdict follows from the corrected p."""
    noise = np.random.default_rng(0).normal(0, 1, 40)
    barely = noise - noise.mean() + 0.38
    others = {f"m{i}": 50 + np.random.default_rng(i).normal(0, 1, 40) for i in range(1, 12)}
    table = made_up(base=np.full(40, 50.0), barely=50 + barely, **others)
    alone = dl.compare(table, "base", "barely").iloc[0]
    family = dl.compare(table, "base", ["barely", *others]).set_index("other")
    assert alone.verdict == "better" and alone.low > 0
    assert family.verdict["barely"] == "no difference found" and family.p["barely"] > alone.p
    assert (family.low["barely"], family.pairs["barely"], family.people["barely"]) == (alone.low, 40, 40)
    assert ((family.verdict != "no difference found") == (family.p < 0.05)).all()


def test_intervals_are_of_people_not_of_pairs():
    """Ten pairs of each person that agree are hardly more than one."""
    values = np.repeat(np.random.default_rng(0).normal(50, 10, 12), 10)
    table = made_up(one=values, two=np.zeros(120))
    people = np.repeat([f"p{i}" for i in range(12)], 10)
    shared = table.assign(
        name_a=[f"{p}/{i}" for i, p in enumerate(people)] * 2, name_b=[f"{p}/x{i}" for i, p in enumerate(people)] * 2
    )
    few, many = (dl.areas(t).set_index("method").loc["one"] for t in (shared, table))
    assert (few.pairs, few.people, many.people) == (120, 12, 120) and few.area == many.area
    assert few.high - few.low > 2.5 * (many.high - many.low)
    assert dl.compare(shared, "two", "one").low.item() < dl.compare(table, "two", "one").low.item()


def test_where_all_values_are_one_there_is_no_interval():
    table = made_up(one=[100.0] * 8, two=[90.0] * 8)
    assert dl.areas(table)[["low", "high"]].isna().all(axis=None) and dl.areas(table).area.tolist() == [100, 90]
    found = dl.compare(table, "two", "one").iloc[0]
    assert np.isnan(found.low) and found.p == 2.0**-7 and found.verdict == "better"
    assert dl.compare(made_up(one=[100.0] * 4, two=[90.0] * 4), "two", "one").verdict.item() == "no difference found"
    one_person = table.assign(name_a=table.name_a.str.replace("a", "a0/"), name_b=table.name_b.str.replace("a", "a0/"))
    one_person = one_person.assign(
        name_a="p/" + table.name_a.str.replace("/", ""), name_b="p/" + table.name_b.str.replace("/", "")
    )
    assert dl.areas(one_person).people.tolist() == [1, 1] and dl.areas(one_person).low.isna().all()


def test_shares_near_the_ends_are_wilsons():
    people = [f"p{i}" for i in range(20)]
    share, low, high = dl.share_interval(np.ones((20, 2), bool), people)
    assert share.tolist() == high.tolist() == [1, 1] and low == pytest.approx(1 / (1 + 1.959964**2 / 20))
    _, few, _ = dl.share_interval(np.ones((20, 2), bool), [f"p{i // 4}" for i in range(20)])
    assert few == pytest.approx(1 / (1 + 1.959964**2 / 5))  # of five people
    middle = np.arange(20) % 2 == 0
    assert dl.share_interval(middle, people) == tuple(pytest.approx(x) for x in mean_interval(middle, people))


def test_a_former_table_is_of_own_unblurred_maps(tmp_path, table):
    dl.save_table(table, tmp_path / "now.parquet", {"model": "tiny"})
    former = pq.read_table(tmp_path / "now.parquet")
    pq.write_table(former.drop_columns(["map", "blur"]), tmp_path / "former.parquet")
    again, _ = dl.read_table(tmp_path / "former.parquet")
    pd.testing.assert_frame_equal(again, table)


ASK = {
    "areas": dl.areas,
    "compare": lambda t, **how: dl.compare(t, "fggb", "gradient", **how),
    "gains": dl.gains,
    "compare_all": dl.compare_all,
    "curve": lambda t, **how: dl.curve(one_way(t) if isinstance(t, pd.DataFrame) and "ranking" in t else t, **how),
}


def one_way(table):
    """Rows of one method and setting."""
    return only(table, metric="deletion", method="fggb", masked="probe", ranking="similarity")


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda t: dl.settings_of({"metric": "deletion", "fil": "black"}), "'fill'"),
        (lambda t: dl.settings_of({"fill": "black"}), "with 'metric'"),
        (lambda t: dl.settings_of({"metric": "scores", "fill": "black"}), "it has none"),
        (lambda t: dl.methods_of({"raw": {"embedding": "raw"}}), "key 'method'"),
        (lambda t: dl.methods_of({"raw": "fggb"}), "key 'method'"),
        (lambda t: dl.compare(pd.concat([t, t.assign(threshold=0.5)]), "fggb", "gradient"), "2 thresholds"),
        (
            lambda t: dl.compare(t[(t.method != "gradient") | (t.metric == "deletion")], "fggb", "gradient"),
            "under insertion",
        ),
        (lambda t: dl.compare(t[t.pair == 0], "fggb", "gradient"), "pairs in common"),
        (lambda t: dl.compare(t[:0], "fggb", "gradient"), "no row"),
        (lambda t: dl.setting("erasure"), "'insertion'"),
        (lambda t: dl.setting("deletion", fill="white"), "'blur'"),
        (lambda t: dl.setting("deletion", masked="reference"), "'both'"),
        (lambda t: dl.setting("deletion", ranking="signed"), "'dissimilarity'"),
        (lambda t: dl.setting("deletion", steps=0), "at least 1"),
        (lambda t: dl.setting("deletion", map="other"), "'another partner'"),
        (lambda t: dl.setting("deletion", blur=-1), "blur is -1"),
        (lambda t: dl.methods_of(["fgbg"]), "'fggb'"),
        (lambda t: dl.methods_of({"blob": {"method": "fggb"}}), "control"),
        (lambda t: dl.methods_of({"fggb reversed": {"method": "fggb"}}), "control"),
        (lambda t: dl.methods_of({"raw": {"method": "fggb", "embeding": "raw"}}), "'embedding'"),
        (lambda t: dl.methods_of(3), "no method is called 3"),
        (lambda t: dl.methods_of([3]), "no method is called 3"),
        (lambda t: dl.methods_of({5: {"method": "fggb"}}), "5 is no text"),
        (lambda t: dl.settings_of(5), "metrics is 5"),
        (lambda t: dl.settings_of(["deletion", None]), "metric is None"),
        (lambda t: dl.settings_of([{"metric": ["deletion"]}]), "metric is"),
        (lambda t: dl.settings_of([{1: "deletion"}]), "with 'metric'"),
        (lambda t: dl.setting("deletion", steps=float("nan")), "steps is nan"),
        (lambda t: dl.setting("deletion", fill=None), "fill is None"),
        (lambda t: dl.compare(t, "fggb", "lime"), "'gradient'"),
        (lambda t: dl.areas(t, "same"), "'genuine'"),
        (lambda t: dl.curve(t), "several"),
        *[
            (lambda t, ask=ask, wrong=wrong, how=how: ask(t if wrong is None else wrong(t), **how), words)
            for ask in ASK.values()
            for wrong, how, words in (
                (lambda t: t[:0], {}, "no row"),
                (lambda t: t.assign(area=np.nan), {}, "no row"),
                (lambda t: pd.DataFrame(), {}, "DataFrame has no name_a, name_b"),
                (lambda t: pd.DataFrame({"x": [1]}), {}, "table of deletion_table or of a sweep is needed"),
                (lambda t: None, {}, "NoneType has no"),
                (lambda t: [{"area": 3}], {}, "list has no"),
                (lambda t: t.drop(columns="steps"), {}, "has no steps"),
                (lambda t: pd.concat([t, t.assign(area=t.area + 1)]), {}, "several areas of (deletion|insertion) by"),
                (lambda t: pd.concat([t, t.assign(threshold=0.5)]), {}, "2 thresholds"),
                (None, {"draws": 0}, "draws is 0"),
                (None, {"draws": -1}, "draws is -1"),
                (None, {"draws": 2.5}, "draws is 2.5"),
                (None, {"seed": "x"}, "seed is 'x'"),
                (None, {"seed": -1}, "seed is -1"),
            )
        ],
    ],
)
def test_wrong_tables_and_settings_are_refused_in_words(table, call, words):
    with pytest.raises(ValueError, match=words):
        call(table)


def test_a_pair_without_a_label_has_no_right_decision(tiny, crops):
    with pytest.raises(ValueError, match="set same"):
        dl.deletion_table(tiny, [xfv.Pair(*crops)], ["gradient"], threshold=THRESHOLD)
    assert len(dl.deletion_table(tiny, [xfv.Pair(*crops)], ["gradient"], "scores", threshold=THRESHOLD)) == 1


def test_a_list_of_pairs_and_a_single_pair_are_answered_too(tiny, tiny_pairs):
    some = tiny_pairs[[0, 1, 4, 5]]
    pd.testing.assert_frame_equal(
        dl.deletion_table(tiny, list(some), "gradient", threshold=THRESHOLD),
        dl.deletion_table(tiny, some, "gradient", threshold=THRESHOLD),
    )
    one = dl.deletion_table(tiny, some[0], "gradient", threshold=THRESHOLD)
    assert one.pair.unique().tolist() == [0] and len(one) == 2 * 5
    with pytest.raises(ValueError, match="two pairs or more"):
        dl.areas(one)
    for none in ([], some[:0]):
        with pytest.raises(ValueError, match="one pair or more"):
            dl.deletion_table(tiny, none, "gradient", threshold=THRESHOLD)
    for wrong in (None, "orl", [1, 2], [*some, None], some.table, {"a": some[0]}):
        with pytest.raises(TypeError, match="a PairSet or a list of Pairs is needed"):
            dl.deletion_table(tiny, wrong, "gradient", threshold=THRESHOLD)
    unnamed = [replace(pair, name_a="probe", name_b="reference") for pair in some]
    with pytest.raises(ValueError, match="name the images of your own pairs apart"):
        dl.compare(dl.deletion_table(tiny, unnamed, "gradient", threshold=THRESHOLD), "gradient", "random")


def test_rows_that_come_twice_count_once(table):
    """A pair that two tables hold is one pair, in every answer."""
    twice = pd.concat([table, table.assign(pair=table.pair + 100)], ignore_index=True)
    for ask in (*[ask for name, ask in ASK.items() if name != "curve"], lambda t: dl.areas(t, "all")):
        pd.testing.assert_frame_equal(ask(twice), ask(table))
    for once, again in zip(dl.curve(one_way(table)), dl.curve(one_way(twice))):
        assert np.array_equal(once, again)


def test_a_table_of_controls_alone_has_areas_and_no_comparison(tiny, tiny_pairs):
    table = dl.deletion_table(tiny, tiny_pairs[::8], [], threshold=THRESHOLD)
    assert set(dl.areas(table).method) == set(dl.FIXED_ORDERS)
    for ask in (dl.gains, dl.compare_all):
        with pytest.raises(ValueError, match="no method beside the controls"):
            ask(table)


def test_gains_and_gaps_to_the_best_are_recomputed_by_hand():
    rng = np.random.default_rng(0)
    controls = {name: rng.normal(50, 5, 30) for name in dl.FIXED_ORDERS}
    values = {"one": rng.normal(45, 9, 30), "two": rng.normal(44, 9, 30)} | controls
    found = dl.compare_all(made_up(**values)).set_index("method")
    control = min(controls, key=lambda name: controls[name].mean())
    best = min(("one", "two"), key=lambda name: values[name].mean())
    other = {"one": "two", "two": "one"}[best]
    people = sorted(f"a{i}" for i in range(30))  # each of one pair, in the order of whose names they are drawn again
    by_name = np.argsort([f"a{i}/1" for i in range(30)])
    for row, (gain, low, high) in (
        (
            found.loc[other, ["to best", "to best low", "to best high"]],
            mean_interval((values[best] - values[other])[by_name], people),
        ),
        (
            found.loc[best, ["gain", "gain low", "gain high"]],
            mean_interval((controls[control] - values[best])[by_name], people),
        ),
    ):
        assert row.tolist() == pytest.approx([gain, low, high])
    assert (found.control.dropna() == control).all() and found.loc[best, "than best"] == "best"
    assert found.loc[best, "to best"] == 0 and found.loc[best, ["to best low", "to best high"]].isna().all()


def test_numpys_numbers_are_options_and_settings_like_any_other(tiny, tiny_pairs):
    given = {"blurred": {"method": np.str_("fggb"), "blur": np.float32(2), "normalise": np.bool_(True)}}
    metrics = [{"metric": np.str_("deletion"), "steps": np.int64(5), "fill": np.str_("mean")}]
    json.dumps([dl.methods_of(given), dl.settings_of(metrics)])
    plain = (
        {"blurred": {"method": "fggb", "blur": 2.0, "normalise": True}},
        [{"metric": "deletion", "steps": 5, "fill": "mean"}],
    )
    pd.testing.assert_frame_equal(
        dl.deletion_table(tiny, tiny_pairs[:2], given, metrics, threshold=np.float64(0.5), seed=np.int64(3)),
        dl.deletion_table(tiny, tiny_pairs[:2], *plain, threshold=0.5, seed=3),
    )


@pytest.mark.parametrize("kind", ["empty", "another table", "no settings", "half of it", "text"])
def test_a_file_that_is_no_table_is_refused_in_words(tmp_path, table, kind):
    path = tmp_path / "table.parquet"
    dl.save_table(table, path, {"model": "tiny"})
    if kind == "another table":
        pd.DataFrame({"x": [1]}).to_parquet(path)
    elif kind == "no settings":
        table.to_parquet(path)
    else:
        path.write_bytes(
            {"empty": b"", "half of it": path.read_bytes()[: path.stat().st_size // 2], "text": b"a,b\n1,2\n"}[kind]
        )
    with pytest.raises(ValueError, match=r"table\.parquet is no whole file of save_table"):
        dl.read_table(path)
    with pytest.raises(FileNotFoundError, match="missing"):
        dl.read_table(tmp_path / "missing.parquet")


@pytest.mark.parametrize("threshold", [1.5, -1.01, float("nan"), "0.5", [0.5, 0.6]])
def test_a_threshold_is_a_cosine(tiny, tiny_pairs, threshold):
    with pytest.raises(ValueError, match="threshold is"):
        dl.deletion_table(tiny, tiny_pairs[:2], "gradient", threshold=threshold)
    if isinstance(threshold, float):
        with pytest.raises(ValueError, match="threshold is"):
            dl.deletion_area([[0.9, 0.1]], [True], threshold)


@pytest.mark.parametrize(
    "scores, labels",
    [
        ([], []),
        ([[0.5, 0.4]], [True, False]),
        ([[0.5, np.nan]], [True]),
        ([[0.5, 0.4]], [None]),
        ([0.5, 0.4], [True, False]),
        ([[0.5]], [True]),
    ],
)
def test_an_area_needs_curves_of_known_pairs(scores, labels):
    with pytest.raises(ValueError, match="needed"):
        dl.deletion_area(scores, labels, 0.5)


def every_pair(tiny_pairs, count=10):
    """All pairs, with themselves too, of so many images: 55 of 10."""
    names = tiny_pairs.names[:count]
    return [tiny_pairs.pair(*both) for both in combinations_with_replacement(names, 2)]


def counting(method, calls):
    """The method, which notes every call of its first stage in a list."""

    @wraps(method.prepare)
    def prepare(**given):
        calls.append(1)
        return method.prepare(**given)

    return replace(method, prepare=prepare)


TWO_STAGES = [name for name in xfv.METHODS if method_called(name).prepare]
CHEAP = {"corrrise": {"masks": 20}, "lime": {"samples": 70}, "xface": {"sizes": (30,)}, "minplus": {"quick": True}}


@pytest.mark.parametrize("name", TWO_STAGES)
def test_all_pairs_of_ten_images_cost_ten_preparations_and_have_the_same_maps(tiny, tiny_pairs, monkeypatch, name):
    method, calls, kept = method_called(name), [], {}
    options = {key: x for key, x in CHEAP.get(name, {}).items() if key in method.options}
    pairs = every_pair(tiny_pairs)
    monkeypatch.setitem(xfv.METHODS, name, counting(method, calls))

    def noted(model, pair, maps, *args, **kwargs):
        kept[pair.name_a, pair.name_b] = maps["m"]
        return [{"pair": 0}]

    monkeypatch.setattr(import_module("xfvlib.faithfulness.table"), "deletion_rows", noted)
    metrics = {"metric": "deletion", "masked": "both"}
    dl.deletion_table(tiny, pairs, {"m": {"method": name, **options}}, metrics, threshold=THRESHOLD)
    assert len(pairs) == len(kept) == 55 and len(calls) == 10
    for pair in pairs[::6]:
        alone = method.maps(tiny, pair.a, pair.b, threshold=THRESHOLD, **options)
        assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(kept[pair.name_a, pair.name_b], alone))


def test_versions_of_a_method_share_what_they_prepare_alike(tiny, tiny_pairs, monkeypatch):
    calls, versions = [], {f"blur {blur}": {"method": "fggb", "blur": blur} for blur in (0, 2, 5)}
    monkeypatch.setitem(xfv.METHODS, "fggb", counting(method_called("fggb"), calls))
    metrics = {"metric": "deletion", "masked": "both", "steps": 1}
    dl.deletion_table(tiny, tiny_pairs[:3], versions, metrics, threshold=THRESHOLD)
    assert len(calls) == len(tiny_pairs[:3].names)
    raw = {"raw": {"method": "fggb", "embedding": "raw"}, "unit": {"method": "fggb", "embedding": "unit"}}
    dl.deletion_table(tiny, tiny_pairs[:3], raw, metrics, threshold=THRESHOLD)
    assert len(calls) == 3 * len(tiny_pairs[:3].names)


def test_preparations_are_forgotten_when_they_grow_too_large(tiny, tiny_pairs):
    calls = []
    count = counting(method_called("fggb"), calls)
    one = 4 * (11 * 400 + 11)  # bytes: channel gradients and embedding
    method = remembering(count, keep_bytes=3.5 * one)
    images = [tiny_pairs.image(name) for name in tiny_pairs.names[:4]]
    for number in (0, 1, 2, 0, 1, 2, 3, 1, 2, 3, 0):  # three fit: 0 goes for 3, and is made again
        method(tiny, images[number], images[number].clone(), threshold=0.5)
    assert len(calls) == 5


def test_a_method_without_a_first_stage_is_left_alone():
    pair_only = Method(pair=lambda image, reference: (image - reference).mean(dim=0))
    assert remembering(pair_only) is pair_only


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", xfv.METHODS)
def test_pairs_on_the_cpu_are_scored_by_a_model_on_the_gpu(tiny, tiny_pairs, name):
    from copy import deepcopy

    model, metrics = (
        deepcopy(tiny).to("cuda"),
        [{"metric": "deletion", "masked": "both", "fill": fill} for fill in FILLS],
    )
    options = (
        {"layer": "3"}
        if name == "grad_cam"
        else {key: x for key, x in CHEAP.get(name, {}).items() if key in method_called(name).options}
    )
    here, there = (
        dl.deletion_table(m, tiny_pairs[:2], {"m": {"method": name, **options}}, metrics, threshold=0.9)
        for m in (tiny, model)
    )
    assert np.allclose(here.score, there.score, atol=1e-3) and here.method.tolist() == there.method.tolist()
    clean = model.embed(torch.stack([tiny_pairs[0].a, tiny_pairs[0].b]))
    maps = {"m": (RANKING.to("cuda"), RANKING.to("cuda"))}
    rows = dl.deletion_rows(model, tiny_pairs[0], maps, dl.settings_of("deletion"), threshold=0.9, clean=clean)
    assert all(isinstance(row["scores"], np.ndarray) for row in rows)
