import copy

import pytest
import torch
import torch.nn.functional as F

import xfvlib as xfv
from xfvlib.gradients import cosine_to, each_channel_gradient, input_gradient

OPTIONS = [
    {"gradient": gradient, "embedding": embedding, "normalise": normalise}
    for gradient in ("absolute", "signed")
    for embedding in ("unit", "raw")
    for normalise in (True, False)
]


def looped(model, image, gradient, embedding, normalise):
    """One backward pass a channel, as plainly as the definition reads."""
    maps = []
    for k in range(model.dim):
        x = image[None].clone().requires_grad_(True)
        output = model.network((x - model.mean) / model.std)
        if embedding == "unit":
            output = output / output.norm()
        output[0, k].backward()
        reduced = x.grad[0].abs().mean(0) if gradient == "absolute" else x.grad[0].mean(0)
        maps.append(reduced / reduced.norm() if normalise else reduced)
    return torch.stack(maps)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_streamed_equals_looped(tiny, crops, options):
    expected = looped(tiny, crops[0], **options)
    for rows in (1, 4, 11, 16):
        maps = xfv.channel_gradients(tiny, crops[0], channels_at_once=rows, **options).maps
        assert (maps - expected).norm() <= 1e-5 * expected.norm()


def test_streamed_equals_looped_on_the_default_model(model, pairs):
    image = pairs[0].a
    expected = looped(model, image, "absolute", "unit", True)
    maps = xfv.channel_gradients(model, image).maps
    # in a batch an activation within rounding of 0 may take a PReLU's other slope
    assert (maps - expected).norm() <= 1e-3 * expected.norm()


def test_the_stream_holds_a_few_channels_at_a_time(tiny, crops):
    pieces = list(each_channel_gradient(tiny, crops[0], channels_at_once=4))
    assert [first for first, _ in pieces] == [0, 4, 8]
    assert [len(maps) for _, maps in pieces] == [4, 4, 3]


def test_normalised_maps_have_length_one(tiny, crops):
    maps = xfv.channel_gradients(tiny, crops[0]).maps
    assert torch.allclose(maps.flatten(1).norm(dim=1), torch.ones(11))


def test_a_channel_without_gradient_gives_a_map_of_zeros():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 4))
    network[1].weight.data[2] = 0
    model = xfv.FaceModel(network, size=4)
    maps = xfv.channel_gradients(model, torch.rand(3, 4, 4), embedding="raw").maps
    assert (maps[2] == 0).all() and torch.isfinite(maps).all() and maps[1].norm() > 0


def test_channels_add_up_to_the_gradient_of_the_cosine(tiny, crops):
    kept = xfv.channel_gradients(tiny, crops[0], gradient="signed", normalise=False)
    target = tiny.embed(crops[1:])[0]
    whole = input_gradient(cosine_to(tiny, crops[1]), crops[0]).mean(0)
    assert torch.allclose(kept.weighted(target), whole, atol=1e-7)


def test_gradient_predicts_a_small_change(tiny, crops):
    network, image = copy.deepcopy(tiny.network).double(), crops[0].double()  # a model's embeddings are float32
    target = F.normalize(network((crops[1:].double() - 0.5) / 0.5))[0]

    def score(images):
        return F.normalize(network((images - 0.5) / 0.5)) @ target

    gradient = input_gradient(score, image)
    assert torch.allclose(gradient.float(), input_gradient(cosine_to(tiny, crops[1]), crops[0]), atol=1e-6)
    step = 1e-6
    for place in [(0, 3, 4), (2, 10, 11)]:
        moved = image.clone()
        moved[place] += step
        change = (score(moved[None]) - score(image[None])).item() / step
        assert change == pytest.approx(gradient[place].item(), rel=1e-3, abs=1e-8)


def test_the_image_is_left_alone(tiny, crops):
    image = crops[0].clone()
    xfv.channel_gradients(tiny, image)
    assert torch.equal(image, crops[0]) and not image.requires_grad and image.grad is None


def test_the_kept_embedding_is_the_models(tiny, crops):
    assert torch.allclose(xfv.channel_gradients(tiny, crops[0]).embedding, F.normalize(tiny(crops[:1]))[0])


def test_wrong_options_and_models_are_refused_in_words(tiny, crops):
    with pytest.raises(ValueError, match="'absolute'"):
        xfv.channel_gradients(tiny, crops[0], gradient="abs")
    with pytest.raises(ValueError, match="'raw'"):
        xfv.channel_gradients(tiny, crops[0], embedding="logits")
    with pytest.raises(ValueError, match="20"):
        xfv.channel_gradients(tiny, torch.rand(3, 8, 8))
    black_box = xfv.FaceModel(tiny.network, size=20, differentiable=False, threshold=0.3)
    with pytest.raises(TypeError, match="no gradients, which are needed here"):
        xfv.channel_gradients(black_box, crops[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_same_maps_on_cuda(tiny, crops):
    here = xfv.channel_gradients(tiny, crops[0]).maps
    there = xfv.channel_gradients(tiny.to("cuda"), crops[0]).maps.cpu()
    tiny.to("cpu")
    assert (here - there).norm() <= 1e-3 * here.norm()


def test_a_score_without_a_finite_gradient_is_answered_in_words(crops):
    for score in (lambda x: x.sum() * float("nan"), lambda x: (x - x).sqrt().sum()):
        with pytest.raises(ValueError, match="the gradient is .*NaN or infinite"):
            input_gradient(score, crops[0])
