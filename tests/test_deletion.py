from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch

import xfvlib as xfv

dl = import_module("xfvlib.faithfulness")  # of the same name as the function xfv.faithfulness
RANKING = torch.rand(20, 20, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("fill", dl.FILLS)
def test_the_first_and_last_steps_are_exact(crops, fill):
    deleted = dl.progressively(crops[0], RANKING, "deletion", fill=fill)
    inserted = dl.progressively(crops[0], RANKING, "insertion", fill=fill)
    assert torch.equal(deleted[0], crops[0]) and torch.equal(inserted[-1], crops[0])
    assert torch.equal(deleted[-1], dl.filled(crops[0], fill)) and torch.equal(inserted[0], deleted[-1])


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
    with pytest.raises(ValueError, match="does not fit"):
        dl.progressively(crops[0], RANKING[:10], "deletion")


THRESHOLD = 0.945
METRICS = [{"metric": kind, "masked": masked, "fill": "mean"} for kind in ("deletion", "insertion") for masked in ("probe", "both")]


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
        maps = [xfv.METHODS["gradient"](tiny, a, b, threshold=THRESHOLD) for a, b in ((pair.a, pair.b), (pair.b, pair.a))]
        scores.append(dl.deletion_scores(tiny, pair, *maps, fill="mean"))
    accuracy_at, area = dl.deletion_area(scores, [True] * len(genuine), THRESHOLD)
    assert np.allclose(np.stack(rows.scores), scores, atol=1e-6)
    assert rows.area.mean() == pytest.approx(area)
    found = only(dl.areas(table), metric="deletion", method="gradient", masked="both", ranking="similarity").iloc[0]
    assert found.area == pytest.approx(area) and found.low <= area <= found.high and found.pairs == len(genuine)
    fractions, mean, low, high = dl.curve(rows)
    assert np.allclose(mean, accuracy_at) and (low <= mean).all() and (mean <= high).all() and fractions[[0, -1]].tolist() == [0, 1]


def test_every_pair_has_each_method_once_beside_the_controls(table):
    assert len(table) == 24 * len(METRICS) * 7
    assert set(table.method) == {"fggb", "fggb reversed", "gradient", "gradient reversed", "random", "blob", "blob reversed"}
    assert not table.duplicated(["pair", "method", *dl.SETTING]).any()
    assert (table.same == (table.ranking == "similarity")).all()
    assert table.area.between(0, 100).all() and table.error.isna().all()


def test_both_ends_of_every_curve_are_exact(tiny, tiny_pairs, table):
    first, last = (np.array([scores[i] for scores in table.scores]) for i in (0, -1))
    deletion, probe = table.metric == "deletion", table.masked == "probe"
    assert (first[deletion] == table.score[deletion].astype(np.float32)).all()
    assert (last[~deletion] == table.score[~deletion].astype(np.float32)).all()
    pair = tiny_pairs[0]
    gone = float((tiny.embed(dl.filled(pair.a, "mean")[None]) * tiny.embed(pair.b[None])).sum())
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
    means = [only(random, method="random", metric=kind).groupby("pair").area.mean() for kind in ("deletion", "insertion")]
    spread = only(random, method="random").groupby(["pair", "metric"]).area.std().max() / np.sqrt(25)
    assert (means[0] - means[1]).abs().max() < 5 * spread
    tops = torch.stack([dl.random_order(torch.zeros(3, 20, 20), "p", seed) > 0.7 for seed in range(200)]).float().mean(dim=0)
    assert tops.mean() == pytest.approx(0.3, abs=0.01) and tops.min() > 0.1 and tops.max() < 0.5


def test_controls_see_a_name_or_nothing(crops):
    assert torch.equal(dl.blob(crops[0]), dl.blob(crops[1])) and torch.equal(dl.blob(crops[0]), dl.blob(crops[0]).flip(0, 1))
    assert torch.equal(dl.random_order(crops[0], "p"), dl.random_order(crops[1], "p"))
    assert not torch.equal(dl.random_order(crops[0], "p"), dl.random_order(crops[0], "q"))


def test_finer_steps_hardly_move_the_area(tiny, tiny_pairs):
    coarse, fine = (
        dl.areas(dl.deletion_table(tiny, tiny_pairs[::10], "fggb", {"metric": "deletion", "steps": steps}, threshold=THRESHOLD))
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
    assert len(only(table, metric="scores")) == 4 and np.allclose(only(table, metric="scores").score, xfv.scores(tiny, some))
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
    rows = [{"pair": i, "name_a": f"a{i}", "name_b": "b", "same": True, "threshold": 0.5, "method": method, "metric": "deletion",
             "ranking": "similarity", "masked": "probe", "fill": "black", "steps": 10, "area": float(area)}
            for method, values in areas.items() for i, area in enumerate(values)]  # fmt: skip
    return dl.as_table(rows)


def test_the_verdict_is_in_words_and_goes_with_the_direction():
    noise = np.random.default_rng(0).normal(50, 20, 60)
    better = np.random.default_rng(1).normal(3, 4, 60)
    table = made_up(old=noise, new=noise - better, same=noise + np.random.default_rng(2).normal(0, 4, 60))
    for method, verdict in (("new", "better"), ("same", "no difference found"), ("old", "no difference found")):
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


def test_the_standing_answers_which_how_much_and_more_than_chance():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5, 50)
    few = 24 + noise[:20]
    table = made_up(poor=40 + noise + rng.normal(0, 1, 50), good=25 + noise + rng.normal(0, 1, 50), few=few, random=60 + noise, blob=30 + noise,
                    **{"blob reversed": 80 + noise, "good reversed": 70 + noise})  # fmt: skip
    table = pd.concat([table, table.assign(metric="insertion")])
    found = dl.compare_all(table)
    deleted, inserted = (only(found, metric=metric) for metric in ("deletion", "insertion"))
    assert set(deleted.method[:2]) == {"few", "good"} and deleted.method[2:].tolist() == ["blob", "poor", "random", "blob reversed"]
    row = deleted.set_index("method").loc["good"]
    assert row.control == "blob" and row["than control"] == "better" and row.gain == pytest.approx(5, abs=0.5)
    assert row.area == pytest.approx(25, abs=2) and row.low < row.area < row.high and row["gain low"] < row.gain < row["gain high"]
    verdicts = deleted.set_index("method")["than best"]
    assert verdicts["few"] == "best" and verdicts["good"] == verdicts["poor"] == "worse"  # on the 20 pairs that all have
    compared = dl.compare(only(table, metric="deletion"), "good", "few").iloc[0]
    assert row[["to best", "to best low", "to best high"]].tolist() == compared[["gain", "low", "high"]].tolist()
    assert verdicts[["blob", "random", "blob reversed"]].isna().all()
    assert inserted.method.iloc[0] == "blob reversed" and inserted.set_index("method")["than best"]["poor"] == "best"


def test_one_call_says_which_explanation_is_more_faithful(tiny, tiny_pairs):
    found = xfv.faithfulness(tiny, tiny_pairs[::8], ["fggb", "gradient"], threshold=THRESHOLD)
    table = dl.deletion_table(tiny, tiny_pairs[::8], ["fggb", "gradient"], dl.WHERE_DECISIONS_FALL, threshold=THRESHOLD)
    assert found.equals(dl.compare_all(table)) and len(found) == 4 * 5
    assert set(zip(found.ranking, found.masked)) == {("similarity", "probe"), ("dissimilarity", "both")}
    assert set(found["than best"].dropna()) <= {"best", "better", "worse", "no difference found"}


def test_a_map_that_knows_what_the_network_reads_is_better_than_chance_and_a_wrong_one_is_not(monkeypatch):
    corner = (slice(0, 8), slice(12, 20))  # all that this network reads

    class Corner(torch.nn.Module):
        def forward(self, x):
            return x[:, :, *corner].flatten(1)

    truth = torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    truth[corner] += 1
    for name, saliency in (("right", truth), ("wrong", -truth)):
        monkeypatch.setitem(dl.METHODS, name, lambda model, image, reference, *, threshold=None, saliency=saliency: saliency)
    images = torch.rand(12, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    names = [f"p{i}/{j}" for i in range(6) for j in range(2)]
    listed = pd.DataFrame({"name_a": names[::2], "name_b": names[1::2], "same": True})
    pairs = xfv.PairSet("corners", listed, {name: (images[i // 2 * 2] + 0.2 * images[i]) / 1.2 for i, name in enumerate(names)})
    model = xfv.FaceModel(Corner(), size=20, mean=0, std=1, threshold=0.5)
    found = dl.compare_all(dl.deletion_table(model, pairs, ["right", "wrong"], ["deletion", "insertion"])).set_index(["metric", "method"])
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


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda t: dl.settings_of({"metric": "deletion", "fil": "black"}), "'fill'"),
        (lambda t: dl.settings_of({"fill": "black"}), "needs the key 'metric'"),
        (lambda t: dl.settings_of({"metric": "scores", "fill": "black"}), "no other"),
        (lambda t: dl.methods_of({"raw": {"embedding": "raw"}}), "key 'method'"),
        (lambda t: dl.methods_of({"raw": "fggb"}), "key 'method'"),
        (lambda t: dl.compare(pd.concat([t, t.assign(threshold=0.5)]), "fggb", "gradient"), "2 thresholds"),
        (lambda t: dl.compare(t[(t.method != "gradient") | (t.metric == "deletion")], "fggb", "gradient"), "under metric insertion"),
        (lambda t: dl.compare(t[t.pair == 0], "fggb", "gradient"), "pairs in common"),
        (lambda t: dl.compare(t[:0], "fggb", "gradient"), "no row"),
        (lambda t: dl.setting("erasure"), "'insertion'"),
        (lambda t: dl.setting("deletion", fill="white"), "'blur'"),
        (lambda t: dl.setting("deletion", masked="reference"), "'both'"),
        (lambda t: dl.setting("deletion", ranking="signed"), "'dissimilarity'"),
        (lambda t: dl.setting("deletion", steps=0), "at least 1"),
        (lambda t: dl.methods_of(["fgbg"]), "'fggb'"),
        (lambda t: dl.methods_of({"blob": {"method": "fggb"}}), "control"),
        (lambda t: dl.compare(t, "fggb", "lime"), "'gradient'"),
        (lambda t: dl.areas(t, "same"), "'genuine'"),
        (lambda t: dl.curve(t), "several"),
    ],
)
def test_wrong_tables_and_settings_are_refused_in_words(table, call, words):
    with pytest.raises(ValueError, match=words):
        call(table)


def test_a_map_with_nan_has_no_order(crops):
    with pytest.raises(ValueError, match="1 of the map's 400"):
        dl.progressively(crops[0], torch.where(RANKING == RANKING.max(), torch.nan, RANKING), "deletion")


def test_a_pair_without_a_label_has_no_right_decision(tiny, crops):
    with pytest.raises(ValueError, match="set same"):
        dl.deletion_table(tiny, [xfv.Pair(*crops)], ["gradient"], threshold=THRESHOLD)
    assert len(dl.deletion_table(tiny, [xfv.Pair(*crops)], ["gradient"], "scores", threshold=THRESHOLD)) == 1
