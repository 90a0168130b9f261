import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import mannwhitneyu

import xfvlib as xfv
from xfvlib import evaluation as ev
from xfvlib.files import DATA

rng = np.random.default_rng(0)
LABELS = np.repeat([True, False], 200)
SCORES = np.concatenate([rng.normal(0.6, 0.2, 200), rng.normal(0.2, 0.2, 200)]).clip(-1, 1)


def test_auc_is_the_share_of_couples_in_order():
    share = mannwhitneyu(SCORES[LABELS], SCORES[~LABELS]).statistic / 200**2
    assert ev.auc(SCORES, LABELS) == pytest.approx(share)


def test_error_rates_count_the_decisions():
    fmr, fnmr, thresholds = ev.error_rates(SCORES, LABELS)
    for i in (1, 50, 200, 399):
        accepted = thresholds[i] <= SCORES
        assert fmr[i] == pytest.approx(accepted[~LABELS].mean())
        assert fnmr[i] == pytest.approx((~accepted)[LABELS].mean())


def test_equal_error_rate_is_where_both_rates_meet():
    eer, threshold = ev.equal_error_rate(SCORES, LABELS)
    accepted = threshold <= SCORES
    assert accepted[~LABELS].mean() == pytest.approx(eer, abs=0.005)
    assert (~accepted)[LABELS].mean() == pytest.approx(eer, abs=0.005)


def test_separable_scores_have_no_errors():
    scores, labels = [0.9, 0.8, 0.2, 0.1], [True, True, False, False]
    eer, threshold = ev.equal_error_rate(scores, labels)
    assert eer == 0 and threshold == pytest.approx(0.5)
    assert ev.best_threshold(scores, labels) == pytest.approx(0.5)
    assert ev.auc(scores, labels) == 1


def test_tar_at_far_keeps_the_far():
    for far in (0.0, 0.01, 0.1, 1.0):
        tar, threshold = ev.tar_at_far(SCORES, LABELS, far)
        accepted = threshold <= SCORES
        assert accepted[~LABELS].mean() <= far
        assert accepted[LABELS].mean() == pytest.approx(tar)
    with pytest.raises(ValueError, match="far"):
        ev.tar_at_far(SCORES, LABELS, 1.5)


def test_best_threshold_is_best():
    best = ev.accuracy(SCORES, LABELS, ev.best_threshold(SCORES, LABELS))
    assert best == max(ev.accuracy(SCORES, LABELS, t) for t in SCORES)


def test_a_folds_threshold_ignores_the_fold():
    folds = np.tile(np.arange(10), 40)
    _, thresholds = ev.cross_validated_accuracy(SCORES, LABELS, folds)
    changed = SCORES.copy()
    changed[folds == 3] = -changed[folds == 3]
    _, after = ev.cross_validated_accuracy(changed, LABELS, folds)
    assert thresholds[3] == after[3]


@pytest.mark.parametrize(
    "scores, labels, words",
    [
        ([0.1, 0.2], [True, True], "both kinds"),
        ([0.1, np.nan], [True, False], "NaN"),
        ([0.1, 0.2, 0.3], [True, False], "length"),
    ],
)
def test_wrong_scores_are_refused_in_words(scores, labels, words):
    with pytest.raises(ValueError, match=words):
        ev.auc(scores, labels)
    with pytest.raises(ValueError, match="two folds"):
        ev.cross_validated_accuracy(SCORES, LABELS, np.zeros(400))


def test_the_default_model_on_the_default_pairs(model, pairs):
    scores = xfv.scores(model, pairs)
    assert ev.auc(scores, pairs.labels) >= 0.999
    assert ev.equal_error_rate(scores, pairs.labels)[0] <= 0.01
    accuracies, _ = ev.cross_validated_accuracy(scores, pairs.labels, pairs.folds)
    assert accuracies.mean() >= 0.99


def test_scores_are_the_cosines_of_the_pairs(model, pairs):
    some = pairs[[0, 40, 599]]
    expected = [float((model.embed(p.a[None]) * model.embed(p.b[None])).sum()) for p in some]
    assert np.allclose(xfv.scores(model, some), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["sface", "dlib-resnet"])
def test_kept_threshold_is_the_computed_one(name):
    model = xfv.load_model(name)
    pairs = xfv.load_pairs("orl", model=model)
    kept, source = model.threshold, model.threshold_source
    eer, threshold = xfv.calibrate(model, pairs.all_pairs())
    assert threshold == pytest.approx(kept, abs=2e-4) and model.threshold_source == source
    table = pd.read_csv(DATA / "thresholds.csv", index_col="model")
    assert eer == pytest.approx(table.eer[name], abs=1e-4) and eer < 0.005


def test_intervals_over_people_hold_the_mean_where_those_over_pairs_do_not():
    rng, held = np.random.default_rng(0), []
    for _ in range(100):
        people = np.array([rng.choice(20, 2, replace=False) for _ in range(80)])
        values = rng.normal(size=20)[people].sum(axis=1) + 0.5 * rng.normal(size=80)
        intervals = (ev.mean_interval(values, who, draws=200) for who in (people, None))
        held.append([low <= 0 <= high for _, low, high in intervals])
    by_person, by_pair = np.mean(held, axis=0)
    assert by_person > 0.9 and by_pair < 0.75
    weights = ev.weights_by_person([["a", "b"], ["b", "a"], ["a", "a"], ["b", "b"]], draws=500)
    assert np.array_equal(weights[:, 0], weights[:, 1]) and np.array_equal(weights[:, 0], weights[:, 2] * weights[:, 3])
    assert np.array_equal(weights[:, 2], ev.weights_by_person(["a", "b"], draws=500)[:, 0])
    for wrong, said in (([], "names"), ([0.5, 0.1], "names"), (["a", "a"], "two or more"), ([[["a"]]], "names")):
        with pytest.raises(ValueError, match=said):
            ev.weights_by_person(wrong)
    with pytest.raises(ValueError, match="2 values and people of 3 pairs"):
        ev.mean_interval([0.1, 0.2], ["a", "b", "c"])


def test_mean_interval_holds_the_mean_as_often_as_it_promises():
    draws = np.random.default_rng(0).normal(0.3, 1, (200, 40))
    mean, low, high = np.array([ev.mean_interval(sample, draws=400) for sample in draws]).T
    assert np.allclose(mean, draws.mean(axis=1)) and 0.88 < np.mean((low <= 0.3) & (high >= 0.3)) < 0.98
    many = ev.mean_interval(draws)
    assert many[0].shape == many[1].shape == (40,) and (many[1] < many[2]).all()
    again = ev.mean_interval(draws)
    assert all(np.array_equal(x, y) for x, y in zip(many, again))
    with pytest.raises(ValueError, match="two pairs"):
        ev.mean_interval([0.5])
    for wrong in ([], 0.5, [0.1, np.nan], [[0.1, 0.2], [0.3, np.nan]]):
        with pytest.raises(ValueError, match="two pairs or more, without NaN"):
            ev.mean_interval(wrong)
    for name, wrong in (("draws", 0), ("draws", -1), ("draws", 1.5), ("seed", "x"), ("seed", -1), ("seed", None)):
        with pytest.raises(ValueError, match=f"{name} is {wrong!r}"):
            ev.mean_interval([0.1, 0.2], **{name: wrong})
    assert ev.mean_interval([0.1, 0.2], draws=np.int64(50), seed=np.int32(3)) == ev.mean_interval(
        [0.1, 0.2], draws=50, seed=3
    )


EVERYTHING = {
    "error_rates": ev.error_rates,
    "auc": ev.auc,
    "equal_error_rate": ev.equal_error_rate,
    "tar_at_far": lambda scores, labels: ev.tar_at_far(scores, labels, 0.1),
    "best_threshold": ev.best_threshold,
    "accuracy": lambda scores, labels: ev.accuracy(scores, labels, 0.5),
    "right_decisions": lambda scores, labels: ev.right_decisions(scores, labels, 0.5),
    "cross_validated_accuracy": lambda scores, labels: ev.cross_validated_accuracy(
        scores, labels, np.arange(len(labels)) % 2
    ),
}


@pytest.mark.parametrize("call", EVERYTHING.values(), ids=EVERYTHING)
@pytest.mark.parametrize(
    "scores, labels, words",
    [
        ([], [], "at least 1"),
        ([0.1, 0.2, 0.3, 0.4], [True, False, True], "one length"),
        ([0.1, 0.2, 0.3, np.nan], [True, False, True, False], "1 NaN"),
        ([0.1, 0.2, 0.3, 0.4], [True, False, None, False], "True .genuine. and False"),
        ([0.1, 0.2, 0.3, 0.4], [True, False, np.nan, False], "True .genuine. and False"),
        ([0.1, 0.2, 0.3, 0.4], pd.array([True, False, None, False], dtype="boolean"), "True .genuine. and False"),
        ([0.1, 0.2, 0.3, 0.4], ["yes", "no", "yes", "no"], "True .genuine. and False"),
        ([0.1, 0.2, 0.3, 0.4], [1, 2, 1, 2], "True .genuine. and False"),
        ([0.1 + 1j, 0.2, 0.3, 0.4], [True, False, True, False], "real numbers"),
        (["0.1", "0.2", "0.3", "0.4"], [True, False, True, False], "real numbers"),
        ([0.1, None, 0.3, 0.4], [True, False, True, False], "real numbers"),
        (None, [], "real numbers"),
    ],
    ids=[
        "none",
        "lengths",
        "nan",
        "None",
        "NaN label",
        "NA label",
        "words",
        "numbers",
        "complex",
        "text",
        "no score",
        "nothing",
    ],
)
def test_what_is_not_known_of_the_pairs_is_never_guessed(call, scores, labels, words):
    with pytest.raises(ValueError, match=words):
        call(scores, labels)


def test_labels_of_any_kind_that_say_true_or_false_are_read():
    for labels in (
        LABELS,
        LABELS.astype(int),
        LABELS.astype(float),
        LABELS.tolist(),
        pd.Series(LABELS),
        LABELS.astype(object),
    ):
        assert ev.auc(SCORES, labels) == ev.auc(SCORES, LABELS) and ev.accuracy(SCORES, labels, 0.4) == ev.accuracy(
            SCORES, LABELS, 0.4
        )
    assert ev.accuracy(SCORES.astype(np.float32), LABELS, np.float32(0.4)) == pytest.approx(
        ev.accuracy(SCORES, LABELS, 0.4), abs=0.01
    )


def test_right_decisions_are_those_of_each_pair_at_its_threshold():
    curves = rng.uniform(-1, 1, (5, 7))
    labels, thresholds = np.array([True, False, True, True, False]), rng.uniform(-1, 1, 5)
    expected = [[(score >= t) == same for score in row] for row, same, t in zip(curves, labels, thresholds)]
    assert np.array_equal(ev.right_decisions(curves, labels, thresholds), expected)
    assert np.array_equal(ev.right_decisions(curves[:, 2], labels, 0.1), (curves[:, 2] >= 0.1) == labels)


def test_scores_and_labels_of_every_common_type_give_the_same_rates():
    expected = [call(SCORES, LABELS) for call in EVERYTHING.values()]
    for kind in (list, pd.Series, torch.from_numpy, lambda x: x.astype(object)):
        for call, one in zip(EVERYTHING.values(), expected):
            assert all(
                np.array_equal(x, y)
                for x, y in zip(np.atleast_1d(call(kind(SCORES), kind(LABELS))), np.atleast_1d(one))
            )


def test_curves_are_no_scores():
    for call in (ev.error_rates, ev.auc, ev.best_threshold):
        with pytest.raises(ValueError, match="one a pair"):
            call(SCORES[:, None] * np.ones(3), LABELS)


@pytest.mark.parametrize("threshold", [1.2, -1.2, np.nan, np.inf, None, "0.2", [0.2, 0.3], 0.2j])
def test_no_decision_without_a_threshold_that_is_a_cosine(threshold):
    with pytest.raises(ValueError, match="threshold is"):
        ev.accuracy(SCORES, LABELS, threshold)


@pytest.mark.parametrize("far", [np.nan, -0.1, np.inf, None, "0.1"])
def test_a_rate_lies_between_0_and_1(far):
    with pytest.raises(ValueError, match="far is"):
        ev.tar_at_far(SCORES, LABELS, far)


def test_wrong_folds_are_refused_in_words():
    for folds in (np.zeros(400), np.arange(399) % 10, np.zeros((400, 2)), []):
        with pytest.raises(ValueError, match="two folds at least, one a pair"):
            ev.cross_validated_accuracy(SCORES, LABELS, folds)
    with pytest.raises(ValueError, match="0 genuine pairs"):  # what is outside the first fold
        ev.cross_validated_accuracy(SCORES, LABELS, (~LABELS).astype(int))


def test_pairs_that_are_none_are_refused_in_words(tiny, tiny_pairs):
    for wrong in (tiny_pairs[:0], [tiny_pairs[0], tiny_pairs[1]], [], None):
        for call in (ev.embed_images, ev.scores, ev.calibrate):
            with pytest.raises(ValueError, match="a PairSet with a pair or more is needed"):
                call(tiny, wrong)
    before = tiny.threshold
    for same in (True, False):
        with pytest.raises(ValueError, match="of both kinds"):
            ev.calibrate(tiny, tiny_pairs[tiny_pairs.labels == same])
    with pytest.raises(ValueError, match="batch is 0"):
        ev.scores(tiny, tiny_pairs, batch=0)
    assert tiny.threshold == before


def test_every_image_is_embedded_once_and_pairs_keep_their_order(tiny, tiny_pairs):
    known = ev.embed_images(tiny, tiny_pairs[::-3], batch=7)
    assert list(known) == tiny_pairs[::-3].names
    some = tiny_pairs[[100, 3, 3, 57]]
    expected = [float(known[pair.name_a] @ known[pair.name_b]) for pair in some]
    assert np.allclose(ev.scores(tiny, some), expected, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_on_the_gpu_scores_pairs_on_the_cpu(tiny, tiny_pairs):
    from copy import deepcopy

    model = deepcopy(tiny).to("cuda")
    assert np.allclose(ev.scores(model, tiny_pairs), ev.scores(tiny, tiny_pairs), atol=1e-3)
    assert all(row.device.type == "cpu" for row in ev.embed_images(model, tiny_pairs).values())


def test_weights_are_the_callers_own_and_the_same_for_few_pairs_as_for_many():
    people = [(f"p{i % 7}", f"p{(3 * i + 1) % 7}") for i in range(30)]
    first = ev.weights_by_person(people, draws=60)
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(ev.weights_by_person(people, draws=60), kept)
    many = ev.weights_by_person(people * 3000, draws=60)  # too many to keep
    assert np.array_equal(many[:, :30], kept)


def test_auc_of_columns_is_that_of_each_and_draws_repeat_people():
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(60, 3)).round(1), np.arange(60) % 3 == 0
    values[:, 1] += labels
    people = np.array([f"p{i}" for i in range(20)]).repeat(3)
    found, drawn = ev.auc_by_person(values, labels, people, draws=8, seed=3)
    assert found == pytest.approx([ev.auc(column, labels) for column in values.T], abs=1e-6)
    weights = ev.weights_by_person(people, draws=8, seed=3).astype(int)
    for area, times in zip(drawn, weights):
        again = [ev.auc(column.repeat(times), labels.repeat(times)) for column in values.T]
        assert area == pytest.approx(again, abs=1e-5)
    one_of_a_kind = ev.auc_by_person(values[:4, :1], [True, False, False, False], list("abcd"), draws=50)[1]
    assert 0 < np.isnan(one_of_a_kind).sum() < 50


def test_auc_of_what_is_no_table_of_scores_is_refused_in_words():
    values, labels, people = np.ones((4, 2)), [True, False, True, False], list("abcd")
    for wrong in ((values[0], labels, people), (values * np.nan, labels, people), (values, labels[:3], people[:3])):
        with pytest.raises(ValueError, match=r"\(P, C\)"):
            ev.auc_by_person(*wrong)
    with pytest.raises(ValueError, match="both"):
        ev.auc_by_person(values, [True] * 4, people)
