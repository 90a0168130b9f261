import numpy as np
import pytest
from scipy.stats import mannwhitneyu

import xfvlib as xfv
from xfvlib import evaluation as ev

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
