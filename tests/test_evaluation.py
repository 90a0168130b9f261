import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

import xfvlib as xfv
from xfvlib import evaluation as ev
from xfvlib.perturb import FILLS, filled

rng = np.random.default_rng(0)
LABELS = np.repeat([True, False], 200)
SCORES = np.concatenate([rng.normal(0.6, 0.2, 200), rng.normal(0.2, 0.2, 200)]).clip(-1, 1)


def test_auc_is_the_share_of_couples_in_order():
    share = mannwhitneyu(SCORES[LABELS], SCORES[~LABELS]).statistic / 200**2
    assert ev.auc(SCORES, LABELS) == pytest.approx(share)


def test_error_rates_count_the_decisions():
    fmr, fnmr, thresholds = ev.error_rates(SCORES, LABELS)
    for i in (1, 50, 200, 399):
        accepted = SCORES >= thresholds[i]
        assert fmr[i] == pytest.approx(accepted[~LABELS].mean())
        assert fnmr[i] == pytest.approx((~accepted)[LABELS].mean())


def test_equal_error_rate_is_where_both_rates_meet():
    eer, threshold = ev.equal_error_rate(SCORES, LABELS)
    accepted = SCORES >= threshold
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
        accepted = SCORES >= threshold
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
        ([0.1, 0.2], [True, True], "one kind"),
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


def test_kept_threshold_is_the_computed_one(pairs):
    model = xfv.load_model()
    kept, source = model.threshold, model.threshold_source
    eer, threshold = xfv.calibrate(model, pairs.all_pairs())
    assert threshold == pytest.approx(kept, abs=2e-4) and model.threshold_source == source
    assert eer < 0.005


RANKING = torch.rand(20, 20, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("fill", FILLS)
def test_the_first_and_last_steps_are_exact(crops, fill):
    deleted = ev.progressively(crops[0], RANKING, "deletion", fill=fill)
    inserted = ev.progressively(crops[0], RANKING, "insertion", fill=fill)
    assert torch.equal(deleted[0], crops[0]) and torch.equal(inserted[-1], crops[0])
    assert torch.equal(deleted[-1], filled(crops[0], fill)) and torch.equal(inserted[0], deleted[-1])


def test_the_highest_pixels_go_first_and_equal_ones_in_reading_order(crops):
    image = crops[0] / 2 + 0.25
    third = ev.progressively(image, RANKING, "deletion")[3]
    gone = (third == 0).all(dim=0)
    assert gone.sum() == 120 and RANKING[gone].min() >= RANKING[~gone].max()
    tied = ev.progressively(image, torch.zeros(20, 20), "deletion")[5]
    assert (tied[:, :10] == 0).all() and torch.equal(tied[:, 10:], image[:, 10:])


def test_deletion_and_insertion_are_each_others_reverse(crops):
    deleted = ev.progressively(crops[0], RANKING, "deletion")
    inserted = ev.progressively(crops[0], -RANKING, "insertion")
    assert torch.equal(deleted, inserted.flip(0))


def test_deletion_scores_begin_at_the_cosine(tiny, crops):
    pair = xfv.Pair(*crops)
    cosine = xfv.explain(tiny, pair).score
    assert ev.deletion_scores(tiny, pair, RANKING)[0] == pytest.approx(cosine, abs=1e-6)
    assert ev.deletion_scores(tiny, pair, RANKING, RANKING, kind="insertion")[-1] == pytest.approx(cosine, abs=1e-6)
    assert ev.deletion_scores(tiny, pair, RANKING, RANKING)[-1] == pytest.approx(1)  # two black images are equal


def test_the_area_is_a_mean_height_whatever_the_number_of_steps():
    labels = np.ones(1000, bool)
    for steps in (10, 50):
        share = np.linspace(1, 0, steps + 1)
        scores = (np.linspace(0.0005, 0.9995, 1000)[:, None] < share).astype(float)  # accuracy falls in a straight line
        accuracy_at, area = ev.deletion_area(scores, labels, 0.5)
        assert accuracy_at[0] == 1 and accuracy_at[-1] == 0 and area == pytest.approx(50, abs=0.2)


def test_wrong_deletions_are_refused_in_words(crops):
    for change, words in (({"kind": "erasure"}, "'insertion'"), ({"kind": "deletion", "fill": "white"}, "'blur'")):
        with pytest.raises(ValueError, match=words):
            ev.progressively(crops[0], RANKING, **change)
    with pytest.raises(ValueError, match="does not fit"):
        ev.progressively(crops[0], RANKING[:10], "deletion")


def test_mean_interval_holds_the_mean_as_often_as_it_promises():
    draws = np.random.default_rng(0).normal(0.3, 1, (200, 40))
    mean, low, high = np.array([ev.mean_interval(sample, draws=400) for sample in draws]).T
    assert np.allclose(mean, draws.mean(axis=1)) and 0.88 < np.mean((low <= 0.3) & (0.3 <= high)) < 0.98
    many = ev.mean_interval(draws)
    assert many[0].shape == many[1].shape == (40,) and (many[1] < many[2]).all()
    again = ev.mean_interval(draws)
    assert all(np.array_equal(x, y) for x, y in zip(many, again))
    with pytest.raises(ValueError, match="two pairs"):
        ev.mean_interval([0.5])
