import pytest
import torch
from scipy.ndimage import gaussian_filter

import xfvlib as xfv
from xfvlib.methods.fggb import fggb, fggb_from_kept, fggb_weights


def test_weights_sum_to_cosine_minus_threshold(model, pairs):
    a, b = model.embed(torch.stack([pairs[0].a, pairs[0].b]))
    for threshold in (-1.0, 0.0, 0.93, 1.0):
        assert fggb_weights(a, b, threshold).sum().item() == pytest.approx((a @ b).item() - threshold, abs=1e-5)


def test_fggb_equals_its_definition(tiny, crops):
    a, b = tiny.embed(crops)
    expected = torch.zeros(20, 20)
    for k in range(tiny.dim):
        x = crops[:1].clone().requires_grad_(True)
        gradient = torch.autograd.grad(tiny.embed(x)[0, k], x)[0][0].abs().mean(0)
        expected += gradient / gradient.norm() * (a[k] * b[k] - 0.3 / tiny.dim)
    assert torch.allclose(fggb(tiny, *crops, threshold=0.3, blur=0), expected, atol=1e-6)
    blurred = gaussian_filter(expected.numpy(), 5 * 20 / 112)
    assert torch.allclose(fggb(tiny, *crops, threshold=0.3), torch.from_numpy(blurred), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"gradient": "signed"}, {"embedding": "raw"}, {"normalise": False}])
def test_kept_gradients_give_the_same_map_for_any_partner_and_threshold(tiny, crops, options):
    kept = xfv.channel_gradients(tiny, crops[0], **options)
    partners = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(2))
    for partner in partners:
        for threshold in (0.0, 0.5):
            map_kept = fggb_from_kept(kept, tiny.embed(partner[None])[0], threshold=threshold)
            assert torch.allclose(map_kept, fggb(tiny, crops[0], partner, threshold=threshold, **options), atol=1e-6)


def test_identical_images_have_no_dissimilarity(model, pairs):
    image = pairs[0].a
    e = xfv.explain(model, xfv.Pair(image, image))
    assert e.score == pytest.approx(1, abs=1e-5) and e.accepted
    assert e.dissimilarity_a.sum() <= 1e-3 * e.similarity_a.sum()
    assert torch.allclose(e.map_a, e.map_b, atol=1e-6 * float(e.map_a.max()))


def test_the_sign_follows_the_decision(model, pairs):
    for index in (0, 40):
        e = xfv.explain(model, pairs[index])
        assert e.accepted == bool(pairs.labels[index])
        assert (e.map_a.sum() > 0) == e.accepted and (e.map_b.sum() > 0) == e.accepted


def test_a_higher_threshold_only_takes_away(tiny, crops):
    low, high = (fggb(tiny, *crops, threshold=t) for t in (0.2, 0.4))
    assert (high < low).all()


def test_halves_make_the_map(tiny, crops):
    e = xfv.explain(tiny, xfv.Pair(*crops))
    for signed, plus, minus in ((e.map_a, e.similarity_a, e.dissimilarity_a), (e.map_b, e.similarity_b, e.dissimilarity_b)):
        assert (plus >= 0).all() and (minus >= 0).all() and torch.equal(plus - minus, signed)


@pytest.mark.parametrize("method", xfv.METHODS)
def test_every_method_explains_both_images(tiny, crops, method):
    e = xfv.explain(tiny, xfv.Pair(*crops, name_a="left", name_b="right"), method)
    assert e.map_a.shape == e.map_b.shape == (20, 20)
    assert torch.isfinite(e.map_a).all() and e.map_a.abs().max() > 0
    assert not torch.allclose(e.map_a, e.map_b)
    swapped = xfv.explain(tiny, xfv.Pair(crops[1], crops[0]), method)
    assert torch.allclose(swapped.map_a, e.map_b, atol=1e-6)
    assert "left – right" in repr(e) and method in repr(e)


def test_gradient_times_input_of_a_linear_score_is_exact():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2, bias=False))
    model = xfv.FaceModel(network, size=4, mean=0, std=1, threshold=0)
    a, b = torch.rand(2, 3, 4, 4)
    # the cosine does not change with the length of the embedding, so gradient × input sums to 0 (Euler)
    assert xfv.METHODS["gradient × input"](model, a, b).sum().abs() < 1e-5


@pytest.mark.parametrize("threshold", [-1.01, 1.5, float("nan")])
def test_thresholds_outside_the_cosines_range_are_refused(tiny, crops, threshold):
    with pytest.raises(ValueError, match="−1, 1"):
        xfv.explain(tiny, xfv.Pair(*crops), threshold=threshold)


def test_other_mistakes_are_answered_in_words(tiny, crops):
    pair = xfv.Pair(*crops)
    with pytest.raises(ValueError, match="'fggb'"):
        xfv.explain(tiny, pair, method="fgbg")
    with pytest.raises(ValueError, match="calibrate"):
        xfv.explain(xfv.FaceModel(tiny.network, size=20), pair)
    with pytest.raises(ValueError, match="20, 20"):
        xfv.explain(tiny, xfv.Pair(torch.rand(3, 8, 8), torch.rand(3, 8, 8)))
    with pytest.raises(TypeError, match="colour"):
        xfv.explain(tiny, pair, colour="red")
