from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.stats import pearsonr, spearmanr
from torch import nn

import xfvlib as xfv
from xfvlib.gradients import cosine_to, input_gradient
from xfvlib.methods import METHODS, Method, embedding_of, method_called
from xfvlib.methods.fame import _walked
from xfvlib.methods.fggb import fggb_weights
from xfvlib.methods.grad_cam import _spatial_layers
from xfvlib.methods.lime import _segments
from xfvlib.methods.xssab import _partial_gradients
from xfvlib.models.frozen import frozen
from xfvlib.models.iresnet import IResNet
from xfvlib.models.mobilefacenet import MobileFaceNet

# the methods that take long by default, at settings for images of 20 × 20
QUICK = {
    "fame": {"steps": 20},
    "corrrise": {"masks": 60},
    "minplus": {"quick": True},
    "lime": {"samples": 60, "superpixels": 16},
    "integrated_gradients": {"steps": 20},
    "smoothgrad": {"samples": 20},
    "xface": {"sizes": (17, 34), "stride": 11, "blur": 12},
}

fggb = METHODS["fggb"]
TWO_STAGES = [name for name, method in METHODS.items() if method.prepare]


def quick(method, model, a, b, **options):
    return METHODS[method](model, a, b, threshold=0.3, **{**QUICK.get(method, {}), **options})


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


@pytest.mark.parametrize("method", TWO_STAGES)
def test_all_pairs_of_ten_images_cost_ten_preparations(tiny, tiny_pairs, method, monkeypatch):
    found, prepared, options = METHODS[method], {}, QUICK.get(method, {})
    with monkeypatch.context() as context:
        for name in list(tiny_pairs.images)[:10]:
            prepared[name] = found.first(tiny, tiny_pairs.images[name], options)
        if method != "minplus":  # its greedy parts run the network again
            context.setattr(xfv.FaceModel, "embed", None)
        supplied = {"model": tiny, "threshold": 0.3}
        maps = {
            (a, b): found.second(prepared[a], prepared[b], options, image=tiny_pairs.images[a], **supplied)
            for a in prepared
            for b in prepared
        }
    for (a, b), saliency in maps.items():
        alone = quick(method, tiny, tiny_pairs.images[a], tiny_pairs.images[b])
        assert torch.allclose(saliency, alone, atol=1e-6 * float(alone.abs().max()))


@pytest.mark.parametrize("method", TWO_STAGES)
def test_a_preparation_is_of_the_cpu_and_has_no_graph(tiny, crops, method):
    prepared = METHODS[method].first(tiny, crops[0], QUICK.get(method, {}))
    assert torch.allclose(prepared["embedding"], embedding_of(tiny, crops[0])["embedding"], atol=1e-6)
    assert all(x.device.type == "cpu" and not x.requires_grad for x in prepared.values())


@pytest.mark.parametrize("options", [{}, {"gradient": "signed"}, {"embedding": "raw"}, {"normalise": False}])
def test_one_preparation_of_fggb_serves_every_threshold(tiny, crops, options):
    prepared, partner = fggb.first(tiny, crops[0], options), embedding_of(tiny, crops[1])
    for threshold in (0.0, 0.5):
        kept = fggb.second(prepared, partner, options, threshold=threshold)
        assert torch.allclose(kept, fggb(tiny, *crops, threshold=threshold, **options), atol=1e-6)


def test_halves_clipped_before_the_blur_add_up_to_the_signed_map(tiny, crops):
    whole = fggb(tiny, *crops, threshold=0.3)
    similarity, dissimilarity = (
        fggb(tiny, *crops, threshold=0.3, part=part) for part in ("similarity", "dissimilarity")
    )
    assert torch.allclose(similarity + dissimilarity, whole, atol=1e-6)
    assert (similarity >= 0).all() and (dissimilarity <= 0).all()
    assert float((similarity * dissimilarity).abs().max()) > 0  # unlike the halves that are clipped after the blur
    sharp = [fggb(tiny, *crops, threshold=0.3, blur=0, part=part) for part in ("similarity", "dissimilarity")]
    assert torch.equal(sharp[0], fggb(tiny, *crops, threshold=0.3, blur=0).clamp(min=0))
    assert torch.equal(sharp[1], fggb(tiny, *crops, threshold=0.3, blur=0).clamp(max=0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_methods_do_not_mind_the_callers_gradient_mode(tiny, crops, method, mode):
    expected = quick(method, tiny, *crops)
    with mode():
        assert torch.equal(quick(method, tiny, *crops), expected)
        found = quick(method, tiny, *(crop.clone() for crop in crops))  # images made in that mode
    assert torch.equal(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_threads_may_share_a_model(tiny, crops, method):
    pairs = [(crops[0], crops[1]), (crops[1], crops[0])] * 3
    alone = [quick(method, tiny, *pair) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pair: quick(method, tiny, *pair), pairs))
    assert all(torch.allclose(one, other, atol=1e-6 * float(one.abs().max())) for one, other in zip(alone, together))


@pytest.mark.parametrize("method", METHODS)
def test_options_may_be_numpy_numbers(tiny, crops, method):
    given = {
        "batch": np.int64(7),
        "seed": np.int64(3),
        "blur": np.float32(2),
        "samples": np.int64(70),
        "masks": np.int32(40),
    }
    options = {name: value for name, value in given.items() if name in METHODS[method].options}
    plain = {name: value.item() for name, value in options.items()}
    assert torch.allclose(quick(method, tiny, *crops, **options), quick(method, tiny, *crops, **plain))


@pytest.mark.parametrize("method", METHODS)
def test_images_of_any_float_type_are_explained_in_single_precision(tiny, crops, method):
    found = quick(method, tiny, *crops.double())
    assert found.dtype == torch.float32
    assert torch.equal(found, quick(method, tiny, *crops))
    for wrong in (None, (crops[0] * 255).byte()):
        with pytest.raises(TypeError, match="float tensor"):
            quick(method, tiny, wrong, crops[1])


def test_what_is_no_pair_is_refused_in_words(tiny, crops):
    with pytest.raises(TypeError, match="a Pair is needed"):
        xfv.explain(tiny, crops)


def test_a_method_is_added_in_one_entry(tiny, crops, monkeypatch):
    """Either kind: a function of both images, also a plain one, and two stages."""

    def brightness(model, image, reference, *, scale=1.0):
        return scale * (image - reference).mean(dim=0)

    def prepare(model, image):
        return {"grey": image.mean(dim=0)}

    def finish(prepared, partner, *, threshold):
        return prepared["grey"] * (prepared["embedding"] @ partner["embedding"] - threshold)

    for name, entry in (
        ("plain", brightness),
        ("pair", Method(pair=brightness)),
        ("stages", Method(prepare=prepare, finish=finish)),
    ):
        monkeypatch.setitem(METHODS, name, entry)
    plain, pair, stages = (xfv.explain(tiny, xfv.Pair(*crops), name) for name in ("plain", "pair", "stages"))
    assert torch.equal(plain.map_a, pair.map_a) and torch.equal(plain.map_a, -plain.map_b)
    assert torch.allclose(stages.map_b, crops[1].mean(dim=0) * (stages.score - 0.3), atol=1e-6)
    assert method_called("plain").options == ["scale"] and method_called("stages").options == []
    with pytest.raises(TypeError, match="no option 'colour'; it has 'scale'"):
        xfv.explain(tiny, xfv.Pair(*crops), "plain", colour=1)


def test_options_of_a_method_that_is_added_are_checked_by_hint_and_by_name(tiny, crops):
    """But not its defaults, whatever they are."""

    def method(image, *, colour: Literal["red", "blue"] = "red", steps: int | None = None, size: str = "large"):
        return image.mean(dim=0)

    added = Method(pair=method)
    for options in ({}, {"colour": "blue"}, {"steps": None}, {"steps": np.int64(3)}, {"size": "small"}):
        assert torch.equal(added(tiny, *crops, **options), crops[0].mean(dim=0))
    with pytest.raises(ValueError, match="colour is 'green'; it must be one of 'red', 'blue'"):
        added(tiny, *crops, colour="green")
    with pytest.raises(ValueError, match="steps is 0; it must be a whole number of at least 1"):
        added(tiny, *crops, steps=0)


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
    for signed, plus, minus in (
        (e.map_a, e.similarity_a, e.dissimilarity_a),
        (e.map_b, e.similarity_b, e.dissimilarity_b),
    ):
        assert (plus >= 0).all() and (minus >= 0).all() and torch.equal(plus - minus, signed)


@pytest.mark.parametrize("method", xfv.METHODS)
def test_every_method_explains_both_images(tiny, crops, method):
    options = QUICK.get(method, {})
    e = xfv.explain(tiny, xfv.Pair(*crops, name_a="left", name_b="right"), method, **options)
    assert e.map_a.shape == e.map_b.shape == (20, 20)
    assert torch.isfinite(e.map_a).all() and e.map_a.abs().max() > 0
    assert e.map_a.device.type == "cpu" and e.map_a.dtype == torch.float32 and not e.map_a.requires_grad
    assert not torch.allclose(e.map_a, e.map_b)
    swapped = xfv.explain(tiny, xfv.Pair(crops[1], crops[0]), method, **options)
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


def cosine(model, a, b):
    with torch.no_grad():
        return float(model.embed(a[None])[0] @ model.embed(b[None])[0])


@pytest.mark.parametrize("threshold", [-1.0, 0.3, 0.9])
def test_xssab_equals_its_definition(tiny, crops, threshold):
    a, b = tiny.embed(crops)
    sums = {True: torch.zeros(3, 20, 20), False: torch.zeros(3, 20, 20)}
    for k in range(tiny.dim):
        x = crops[:1].clone().requires_grad_(True)
        sums[bool(a[k] * b[k] >= threshold / tiny.dim)] += torch.autograd.grad(tiny.embed(x)[0, k], x)[0][0] * b[k]
    expected = sums[True].abs().mean(0) - sums[False].abs().mean(0)
    assert torch.allclose(METHODS["xssab"](tiny, *crops, threshold=threshold), expected, atol=1e-6)


def test_the_two_gradients_of_xssab_add_up_to_that_of_the_cosine(model, pairs):
    pair = pairs[0]
    positive, negative = _partial_gradients(model, pair.a, pair.b, 0.93)
    whole = input_gradient(cosine_to(model, pair.b), pair.a)
    assert torch.allclose(positive + negative, whole, atol=1e-4 * float(whole.abs().max()))
    assert positive.abs().max() > 0 and negative.abs().max() > 0


def kernel_blur(picture, width):
    radius = width // 2
    line = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * width**2))
    kernel = np.outer(line, line) / line.sum() ** 2
    padded = np.pad(picture, radius, mode="reflect")
    return np.array(
        [[(padded[y : y + len(line), x : x + len(line)] * kernel).sum() for x in range(20)] for y in range(20)]
    )


@pytest.mark.parametrize("scoring", [1, 2, 3])
def test_xface_equals_its_definition(tiny, crops, scoring):
    sizes, stride, width, maps = (3, 6), 2, 2, []  # 17, 34, 11 and 12 on an image of 112 pixels, rounded
    a, b = tiny.embed(crops)
    for size in sizes:
        places = [(y, x) for y in range(0, 20 - size, stride) for x in range(0, 20 - size, stride)]
        occluded = []
        for image in crops:
            versions = [image.clone() for _ in places]
            for version, (y, x) in zip(versions, places):
                version[:, y : y + size, x : x + size] = 0
            occluded.append([tiny.embed(version[None])[0] for version in versions])
        total = np.zeros((20, 20))
        for i, (y, x) in enumerate(places):
            e = occluded[0][i]
            if scoring == 1:
                distance = np.mean([1 - float(e @ other) for other in occluded[1]])
            else:
                distance = 1 - float(e @ (b if scoring == 2 else occluded[1][i]))
            total[y : y + size, x : x + size] += (distance - (1 - float(a @ b))) / size**2
        maps.append(kernel_blur(total / len(places), width))
    expected = np.mean(maps, axis=0)
    assert np.allclose(quick("xface", tiny, *crops, scoring=scoring), expected, atol=1e-4 * np.abs(expected).max())


def test_xface_occludes_an_image_once_for_both_maps(tiny, crops):
    model = xfv.FaceModel(Box(tiny.network), size=20, differentiable=False)
    counts = []
    for sides, scoring in ((1, 1), (1, 2), (2, 1), (2, 2)):
        model.network.batches.clear()
        METHODS["xface"].maps(model, *crops, sides, scoring=scoring, **QUICK["xface"])
        counts.append(sum(model.network.batches))
    assert counts[0] == counts[2] == counts[3] > 1.9 * counts[1]


@pytest.mark.parametrize("correlation, function", [("pearson", pearsonr), ("rank", spearmanr)])
@pytest.mark.parametrize("fill", ["noise", "black"])
def test_corrrise_equals_its_definition(tiny, crops, correlation, function, fill):
    random, masks = np.random.default_rng(3), np.ones((60, 20, 20))
    for mask, corners in zip(masks, random.integers(0, 16, (60, 4, 2))):  # patches of 28 / 112 · 20 = 5 pixels
        for y, x in corners:
            mask[y : y + 5, x : x + 5] = 0
    scores = []
    for mask in masks:
        version, seen = crops[0].clone(), torch.from_numpy(mask) > 0
        other = np.frombuffer(random.bytes(1200), np.uint8) / 255 if fill == "noise" else np.zeros(1200)
        version[:, ~seen] = torch.from_numpy(other.reshape(3, 20, 20)).float()[:, ~seen]
        scores.append(cosine(tiny, version, crops[1]))
    expected = np.zeros((20, 20))
    for y, x in np.argwhere(masks.std(axis=0) > 0):
        expected[y, x] = function(masks[:, y, x], scores).statistic
    options = {"masks": 60, "patches": 4, "patch": 28, "fill": fill, "correlation": correlation, "seed": 3}
    assert np.allclose(METHODS["corrrise"](tiny, *crops, **options), expected, atol=1e-4)


def test_minplus_equals_its_definition(tiny, crops):
    places = [(y, x) for y in np.arange(2, 20, 5) for x in np.arange(2, 20, 5)]  # a step of 64 / 256 · 20 = 5 pixels
    y, x = np.mgrid[:20, :20]
    regions = [torch.from_numpy(np.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * 2.5**2))).float() for v, u in places]
    whole = cosine(tiny, *crops)
    lost = [whole - cosine(tiny, crops[0] * (1 - region), crops[1]) for region in regions]
    effects = {"H0-": lost, "H1-": [0.0] * len(places), "H1+": [0.0] * len(places)}
    canvas = cosine(tiny, 0.01 * crops[0], crops[1])
    effects["H0+"] = [cosine(tiny, crops[0] * (1 - 0.99 * (1 - region)), crops[1]) - canvas for region in regions]
    for sign, seen in (("-", torch.ones(20, 20)), ("+", torch.full((20, 20), 0.01))):
        chosen = set()
        for _ in range(3):
            now, after = cosine(tiny, crops[0] * seen, crops[1]), {}
            for i, region in enumerate(regions):
                if i not in chosen:
                    after[i] = seen * (1 - region) if sign == "-" else 1 - (1 - seen) * (1 - region)
            change = {i: cosine(tiny, crops[0] * some, crops[1]) - now for i, some in after.items()}
            best = min(change, key=change.get) if sign == "-" else max(change, key=change.get)
            effects[f"H1{sign}"][best], seen = abs(change[best]), after[best]
            chosen.add(best)
    options, maps = {"step": 64, "sigma": 32, "tmax": 3, "th": -2}, []
    for part, values in effects.items():
        expected = sum(value * region for value, region in zip(values, regions)) / sum(regions)
        result = METHODS["minplus"](tiny, *crops, part=part, **options)
        assert torch.allclose(result, expected, atol=1e-5)
        maps.append(result / result.abs().max())
    assert torch.allclose(METHODS["minplus"](tiny, *crops, **options), sum(maps) / 4, atol=1e-6)


@pytest.mark.parametrize("part", ["H1-", "H1+"])
def test_minplus_stops_when_the_cosine_is_where_it_should_be(tiny, crops, part):
    minplus = partial(METHODS["minplus"], tiny, *crops, part=part, step=64, sigma=32)
    at_once = minplus(tmax=3, th=2)  # both ends are reached by the first step
    assert torch.equal(at_once, minplus(tmax=1, th=-2)) and not torch.allclose(at_once, minplus(tmax=3, th=-2))


def test_lime_equals_its_definition(tiny, crops):
    labels = _segments(crops[0], 16)
    count = int(labels.max()) + 1
    random, rows, scores, weights = torch.Generator().manual_seed(5), [], [], []
    for _ in range(60):
        kept = torch.randint(2, (1, count), generator=random)[0]
        image = crops[0].clone()
        for number in range(count):
            if not kept[number]:
                image[:, labels == number] = 0
        distance = 1 - kept.sum().item() / (kept.float().norm().item() * count**0.5)
        (
            rows.append([1, *kept.tolist()]),
            scores.append(cosine(tiny, image, crops[1])),
            weights.append(np.exp(-(distance**2) / 0.25**2) ** 0.5),
        )
    root = np.sqrt(weights)
    coefficients = np.linalg.lstsq(np.array(rows) * root[:, None], np.array(scores) * root, rcond=None)[0][1:]
    expected = torch.from_numpy(coefficients).float()[labels]
    assert torch.allclose(quick("lime", tiny, *crops, seed=5), expected, atol=1e-4 * float(expected.abs().max()))


def test_superpixels_follow_colour_or_the_grid():
    image = torch.zeros(3, 24, 24)
    image[:, :, 10:] = 1
    assert not set(_segments(image, 16)[:, :10].flatten().tolist()) & set(
        _segments(image, 16)[:, 10:].flatten().tolist()
    )
    grid = _segments(torch.rand(3, 28, 28), 16, compactness=1e6)
    assert torch.equal(grid, torch.arange(16).view(4, 4).repeat_interleave(7, 0).repeat_interleave(7, 1))


def test_occlusion_equals_its_definition(tiny, crops):
    whole, total, count = cosine(tiny, *crops), torch.zeros(20, 20), torch.zeros(20, 20)
    for y in range(0, 18, 3):  # squares of 28 / 112 · 20 = 5 pixels; the last ones are cut at the edge
        for x in range(0, 18, 3):
            version, covered = crops[0].clone(), (slice(y, y + 5), slice(x, x + 5))
            version[:, *covered] = crops[0].mean(dim=(1, 2))[:, None, None]
            total[covered] += whole - cosine(tiny, version, crops[1])
            count[covered] += 1
    assert torch.allclose(METHODS["occlusion"](tiny, *crops, size=28, stride=17, fill="mean"), total / count, atol=1e-6)


def test_integrated_gradients_are_complete(tiny, model, pairs, crops):
    for network, a, b, baseline in (
        (tiny, *crops, "black"),
        (tiny, *crops, "blur"),
        (model, pairs[0].a, pairs[0].b, "black"),
    ):
        start = torch.zeros_like(a) if baseline == "black" else torch.from_numpy(gaussian_filter(a.numpy(), (0, 2, 2)))
        difference = cosine(network, a, b) - cosine(network, start, b)
        parts = METHODS["integrated_gradients"](network, a, b, steps=200 if network is tiny else 300, baseline=baseline)
        assert float(parts.sum()) == pytest.approx(difference, abs=0.02 * abs(difference) + 1e-3)


def test_integrated_gradients_of_the_blurred_image_stay_complete_as_regions(model, pairs, crops, tiny):
    """The blur moves the parts and keeps their sum; SFace needs few steps on the way from the blurred image."""
    for network, a, b in ((tiny, *crops), (model, pairs[0].a, pairs[0].b)):
        side = a.shape[-1]
        start = torch.from_numpy(gaussian_filter(a.numpy(), (0, side / 10, side / 10)))
        difference = cosine(network, a, b) - cosine(network, start, b)
        sharp = METHODS["integrated_gradients"](network, a, b, baseline="blur")
        regions = METHODS["integrated_gradients"](network, a, b, baseline="blur", blur=5)
        assert float(sharp.sum()) == pytest.approx(difference, abs=0.02 * abs(difference) + 1e-3)
        assert float(regions.sum()) == pytest.approx(float(sharp.sum()), abs=1e-5)
        assert torch.allclose(regions, torch.from_numpy(gaussian_filter(sharp.numpy(), 5 * side / 112)), atol=1e-7)


def test_smoothgrad_without_noise_is_the_gradient(tiny, crops):
    state = torch.get_rng_state()
    assert torch.allclose(
        METHODS["smoothgrad"](tiny, *crops, noise=0, samples=3), METHODS["gradient"](tiny, *crops), atol=1e-7
    )
    assert torch.equal(state, torch.get_rng_state())


def test_smoothgrad_equals_its_definition(tiny, crops):
    sigma = 0.2 * float(crops[0].max() - crops[0].min())
    torch.manual_seed(
        3
    )  # captum draws all copies at once; their rows are as long as the image, 1,200 values being whole sixteens
    noise = torch.normal(0.0, torch.full((7, 1200), sigma))
    copies = [crops[0] + one.view(3, 20, 20) for one in noise]
    expected = torch.stack([METHODS["gradient"](tiny, copy, crops[1]) for copy in copies]).mean(dim=0)
    assert torch.allclose(METHODS["smoothgrad"](tiny, *crops, samples=7, noise=0.2, seed=3), expected, atol=1e-7)
    assert noise.std() == pytest.approx(sigma, rel=0.05)


def test_grad_cam_equals_its_definition(tiny, crops):
    body, head = tiny.network[:5], tiny.network[5:]
    activations = body((crops[:1] - 0.5) / 0.5).detach().requires_grad_(True)
    score = F.normalize(head(activations), dim=1)[0] @ tiny.embed(crops[1:])[0]
    weights = torch.autograd.grad(score, activations)[0].mean(dim=(2, 3), keepdim=True)
    coarse = (weights * activations).sum(dim=1, keepdim=True)
    expected = F.interpolate(coarse, (20, 20), mode="bilinear")[0, 0]
    assert _spatial_layers(tiny) == ["0", "1", "2", "3", "4"]
    assert torch.allclose(METHODS["grad_cam"](tiny, *crops), expected, atol=1e-6)


def test_grad_cam_keeps_both_signs():
    network = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])[..., None, None])
    model, red_and_blue, red = xfv.FaceModel(network, size=8, mean=0, std=1), torch.zeros(3, 8, 8), torch.zeros(3, 8, 8)
    red_and_blue[0, :, :4], red_and_blue[2, :, 4:], red[0] = 1, 1, 1
    saliency = METHODS["grad_cam"](model, red_and_blue, red)
    assert (saliency[:, :3] > 0).all() and (saliency[:, 5:] < 0).all()


@pytest.mark.parametrize(
    "network", [MobileFaceNet, lambda: frozen(IResNet((1, 1, 1, 1)))], ids=["mobilefacenet", "frozen iresnet"]
)
def test_grad_cam_finds_the_last_feature_map(network):
    torch.manual_seed(0)
    model = xfv.FaceModel(network(), threshold=0.3)
    a, b = torch.rand(2, 3, 112, 112)
    shapes = {}
    layer = _spatial_layers(model)[-1]
    model.network.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: shapes.update({layer: output.shape[2:]})
    )
    saliency = METHODS["grad_cam"](model, a, b)
    assert shapes[layer] == (7, 7) and saliency.shape == (112, 112) and saliency.abs().max() > 0


def test_grad_cam_on_the_default_model(model, pairs):
    layers = _spatial_layers(model)
    last, finer = (METHODS["grad_cam"](model, pairs[0].a, pairs[0].b, layer=layer) for layer in (None, layers[-9]))
    assert last.shape == finer.shape == (112, 112) and not torch.allclose(last, finer)


def test_fame_walks_away_from_the_partner_and_towards_it(tiny, crops):
    score, whole = cosine_to(tiny, crops[1]), cosine(tiny, *crops)
    for loss, sign in ((score, -1), (lambda x: 1 - score(x), 1)):
        moved = _walked(crops[0], loss, 10, 1 / 255, 0.01)
        assert sign * (cosine(tiny, moved, crops[1]) - whole) > 0
        assert (moved - crops[0]).abs().max() <= 10 / 255 + 1e-6
    halves = [METHODS["fame"](tiny, *crops, part=part, steps=10) for part in ("similarity", "dissimilarity")]
    assert halves[0].min() == 0 and halves[0].max() == 1 and halves[1].min() == -1 and halves[1].max() == 0
    assert torch.allclose(METHODS["fame"](tiny, *crops, steps=10), halves[0] + halves[1])


def test_fame_shows_the_brightness_that_moved(tiny, crops):
    x = crops[0].clone()
    for _ in range(10):
        slope = input_gradient(cosine_to(tiny, crops[1]), x)
        x -= slope / slope.abs().max() / 255
    moved = (x - crops[0]).numpy()
    grey = np.abs(0.2989 * moved[0] + 0.587 * moved[1] + 0.114 * moved[2])
    smooth = gaussian_filter(grey, 7.7 * 20 / 112)
    expected = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    assert np.allclose(METHODS["fame"](tiny, *crops, part="similarity", steps=10), expected, atol=1e-5)


def test_noise_differs_between_the_images_and_with_the_seed(tiny, crops):
    for method in ("xface", "occlusion"):
        one, other = (METHODS[method](tiny, *crops, seed=seed, fill="noise") for seed in (0, 1))
        assert not torch.equal(one, other)
    black, noise = (
        METHODS["xface"](tiny, crops[0], 0.999 * crops[0], scoring=3, fill=fill, sizes=(14,)).abs().max()
        for fill in ("black", "noise")
    )
    assert noise > 10 * black  # the same in the same places would cost next to nothing


def test_fame_stops_at_once_where_there_is_nothing_to_change(tiny, crops):
    assert METHODS["fame"](tiny, crops[0], crops[0], part="dissimilarity").abs().max() == 0
    assert torch.equal(_walked(crops[0], cosine_to(tiny, crops[1]), 50, 1 / 255, stop=1.1), crops[0])


@pytest.mark.parametrize("method", ["xssab", "xface", "occlusion", "lime"])
def test_identical_images_speak_for_a_match(model, pairs, method):
    image = pairs[0].a
    options = {
        "xface": {"sizes": (28,), "stride": 14, "scoring": 2},
        "occlusion": {"size": 28, "stride": 28},
        "lime": {"samples": 40, "superpixels": 16},
    }
    saliency = METHODS[method](model, image, image, threshold=model.threshold, **options.get(method, {}))
    if method in ("xface", "occlusion"):  # nothing can be more alike than equal
        assert saliency.min() >= -1e-6
    if method != "xssab":
        assert saliency.sum() > 0
    else:  # the gradient of the cosine is 0 at its maximum, so that both parts are equal and opposite
        positive, negative = _partial_gradients(model, image, image, model.threshold)
        assert (positive + negative).abs().max() < 1e-3 * positive.abs().max()
        assert saliency.abs().max() < 1e-3 * positive.abs().max()


@pytest.mark.parametrize("method", METHODS)
def test_two_runs_with_one_seed_are_equal_and_leave_the_global_generators_alone(tiny, crops, method):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = quick(method, tiny, *crops)
    assert torch.equal(first, quick(method, tiny, *crops))
    assert torch.equal(states[0], torch.get_rng_state()) and np.array_equal(states[1], np.random.get_state()[1])
    if method in ("smoothgrad", "corrrise", "lime"):  # the others draw nothing but noise as a fill
        assert not torch.equal(first, quick(method, tiny, *crops, seed=1))


@pytest.mark.parametrize("method", [name for name in METHODS if "batch" in METHODS[name].options])
def test_the_result_does_not_depend_on_the_batch(crops, method):
    torch.manual_seed(0)
    model = xfv.FaceModel(
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.PReLU(), nn.Flatten(), nn.Linear(4 * 81, 7)), size=(20, 19)
    )
    a, b = (crop[:, :, :19] for crop in crops)  # 1,140 values, no multiple of sixteen
    one, few, all_at_once = (quick(method, model, a, b, batch=batch) for batch in (1, 7, 1000))
    assert torch.allclose(one, few, atol=1e-5) and torch.allclose(one, all_at_once, atol=1e-5)


class Box(nn.Module):
    """A network that autograd cannot see through, and that notes how many images it is given at once."""

    def __init__(self, network):
        super().__init__()
        self.network, self.batches = network, []

    def forward(self, x):
        self.batches.append(len(x))
        return torch.from_numpy(self.network(x).detach().numpy())


@pytest.mark.parametrize("method", METHODS)
def test_methods_without_gradients_explain_black_boxes_a_batch_at_a_time(tiny, crops, method):
    model = xfv.FaceModel(Box(tiny.network), size=20, name="box", threshold=0.3, differentiable=False)
    if METHODS[method].gradients:
        with pytest.raises(
            TypeError, match="box has no gradients; methods that need none: corrrise, lime, minplus, occlusion, xface"
        ):
            xfv.explain(model, xfv.Pair(*crops), method)
    else:
        assert torch.allclose(quick(method, model, *crops, batch=5), quick(method, tiny, *crops), atol=1e-5)
        assert max(model.network.batches) == 5


@pytest.mark.parametrize("method", [name for name in METHODS if "progress" in METHODS[name].options])
def test_progress_is_shown_only_when_asked(tiny, crops, capfd, method):
    quick(method, tiny, *crops)
    assert capfd.readouterr().err == ""
    quick(method, tiny, *crops, progress=True)
    assert "%" in capfd.readouterr().err


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", METHODS)
def test_methods_warn_of_nothing(tiny, crops, method):
    quick(method, tiny, *crops)


@pytest.mark.parametrize(
    "method, options, words",
    [
        ("xface", {"scoring": 4}, "scoring is 4; it must be one of 1, 2, 3"),
        ("xface", {"sizes": (7, 112)}, "size 112 .* 20 pixels"),
        ("xface", {"fill": "red"}, "'black', 'mean', 'blur', 'noise'"),
        ("xface", {"batch": 0}, "batch is 0"),
        ("corrrise", {"masks": 1}, "masks is 1; .* at least 2"),
        ("corrrise", {"patches": 2.5}, "patches is 2.5; .* whole number"),
        ("corrrise", {"patch": 112}, "patch .* smaller"),
        ("corrrise", {"fill": "mean"}, "'noise', 'black'"),
        ("corrrise", {"correlation": "kendall"}, "'pearson', 'rank'"),
        ("minplus", {"part": "H2-"}, "'mean', 'H0-', 'H1-'"),
        ("minplus", {"sigma": 0}, "sigma is 0"),
        ("minplus", {"step": 0}, "step is 0"),
        ("minplus", {"tmax": 0}, "tmax is 0"),
        ("xface", {"sizes": ()}, "sizes is \\(\\)"),
        ("xface", {"stride": 0}, "above 0"),
        ("xface", {"sizes": 7}, "sizes is 7"),
        ("corrrise", {"seed": "3"}, "seed is '3'"),
        ("smoothgrad", {"seed": [1]}, "seed is"),
        ("xface", {"blur": -5}, "blur is -5; it must be a number of at least 0"),
        ("occlusion", {"stride": -7}, "above 0"),
        ("lime", {"samples": 64}, "samples is 64; .* at least 65"),
        ("lime", {"superpixels": 0}, "superpixels is 0"),
        ("occlusion", {"stride": 20}, "stride is 20 and size 14"),
        ("occlusion", {"size": 120}, "size .* smaller"),
        ("occlusion", {"batch": 0}, "batch is 0"),
        ("integrated_gradients", {"baseline": "white"}, "baseline is 'white'"),
        ("integrated_gradients", {"steps": 0}, "steps is 0"),
        ("integrated_gradients", {"blur": -1}, "blur is -1"),
        ("smoothgrad", {"noise": -1}, "noise is -1"),
        ("smoothgrad", {"samples": 0}, "samples is 0"),
        ("grad_cam", {"layer": "9"}, "layer is '9'; it must be one of '0', '1'"),
        ("fame", {"part": "all"}, "'similarity'"),
        ("fame", {"steps": 0}, "steps is 0"),
        ("fame", {"step": 0}, "step is 0"),
        ("fggb", {"blur": -1}, "blur is -1; it must be a number of at least 0"),
        ("fggb", {"blur": float("nan")}, "blur is nan"),
        ("fggb", {"part": "positive"}, "'dissimilarity'"),
        ("fggb", {"channels_at_once": 0}, "channels_at_once is 0"),
        ("lime", {"superpixels": 1000}, "fewer superpixels"),
        ("lime", {"compactness": -1}, "compactness is -1"),
        ("corrrise", {"patch": float("inf")}, "above 0"),
        ("xface", {"sizes": (np.str_("7"),)}, "above 0"),
    ],
)
def test_options_outside_their_range_are_answered_in_words(tiny, crops, method, options, words):
    with pytest.raises(ValueError, match=words):
        METHODS[method](tiny, *crops, threshold=0.3, **options)


def test_grad_cam_needs_a_feature_map(crops):
    model = xfv.FaceModel(nn.Sequential(nn.Flatten(), nn.Linear(1200, 5)), size=20, name="flat")
    with pytest.raises(ValueError, match="no layer of flat"):
        METHODS["grad_cam"](model, *crops)


def test_what_no_option_can_mean_is_refused_in_both_stages(tiny, crops):
    fggb = METHODS["fggb"]
    kept, partner = (fggb.first(tiny, crop, {}) for crop in crops)
    for call, error, words in (
        (lambda: fggb.first(tiny, crops[0], {"nonsense": 1}), TypeError, "'nonsense'"),
        (lambda: fggb.second(kept, partner, {"blurr": 1}, threshold=0.3), TypeError, "'blurr'"),
        (lambda: fggb.second(kept, partner, {}, threshold=5.0), ValueError, "threshold is 5.0"),
        (lambda: xfv.explain(tiny, xfv.Pair(*crops), "gradient", sides=1), TypeError, "'sides'"),
        (lambda: METHODS["fggb"](tiny, *crops, normalise="False"), ValueError, "normalise is 'False'"),
        (lambda: METHODS["minplus"](tiny, *crops, quick="no"), ValueError, "quick is 'no'"),
        (lambda: METHODS["fame"](tiny, *crops, stop=float("nan")), ValueError, "stop is nan"),
        (lambda: METHODS["minplus"](tiny, *crops, th="a"), ValueError, "th is 'a'"),
        (xfv.Method, TypeError, "no method"),
        (lambda: xfv.Method(prepare=lambda image: {}), TypeError, "no method"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_what_a_method_gives_in_the_place_of_a_map_is_refused_in_words(tiny, crops, monkeypatch):
    good = crops[0].mean(dim=0)
    for given in (None, 1.0, "map", good[:5], good + 0j, crops[0], good * float("nan"), good / 0, (good, good)):
        monkeypatch.setitem(METHODS, "own", xfv.Method(pair=lambda image, given=given: given))
        with pytest.raises(ValueError, match="a map of finite numbers"):
            xfv.explain(tiny, xfv.Pair(*crops), "own", threshold=0.3)


@pytest.mark.parametrize("name", METHODS)
def test_maps_do_not_depend_on_the_default_float_type(tiny, crops, name):
    options = {"minplus": {"quick": True, "tmax": 2}, "fame": {"steps": 5}}.get(name, {})
    before = METHODS[name](tiny, *crops, threshold=0.3, **options)
    torch.set_default_dtype(torch.float64)
    try:
        again = METHODS[name](tiny, *crops, threshold=0.3, **options)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.allclose(again.float(), before, atol=1e-4)
