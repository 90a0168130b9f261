"""With the model on a GPU and the pairs on the CPU, everything gives what the CPU gives, on the CPU."""

import copy

import numpy as np
import pytest
import torch
from make_frequency import local_influence
from test_methods import QUICK
from torch import nn

import xfvlib as xfv
from xfvlib.faithfulness import deletion_table
from xfvlib.frequency import gradient_influence, influence_table, prepare_bands
from xfvlib.gradients import channel_gradients, cosine_to, input_gradient
from xfvlib.models.frozen import frozen
from xfvlib.sanity import weight_randomisation

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")


@pytest.fixture(scope="module")
def on_gpu(tiny):
    precise = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield copy.deepcopy(tiny).to("cuda")
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = precise


def near(found, expected, share=1e-2):
    assert found.device.type == "cpu"
    found, expected = found.nan_to_num(), expected.nan_to_num()  # a band that an estimate leaves out is NaN
    return (found - expected).norm() <= share * expected.norm()


def test_embeddings(tiny, on_gpu, crops):
    assert on_gpu.device.type == "cuda"
    for images in (crops, crops.cuda(), crops.double(), crops.half().float()):
        assert near(on_gpu.embed(images).cpu(), tiny.embed(images.cpu()), 1e-4)


def test_a_network_on_the_gpu_is_wrapped_there(tiny, on_gpu, crops):
    for weights in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        model = xfv.FaceModel(copy.deepcopy(tiny.network).to("cuda", weights), size=20)
        assert model.device.type == "cuda" and model.differentiable
        assert near(model.embed(crops).cpu(), tiny.embed(crops), 0.05 if weights.itemsize == 2 else 1e-4)


def test_a_frozen_network(on_gpu):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 128, 3), nn.BatchNorm2d(128), nn.PReLU(128), nn.Conv2d(128, 128, 3, padding=1), nn.Flatten()
    )
    model = xfv.FaceModel(frozen(network), size=8)
    images = torch.rand(16, 3, 8, 8)
    score = cosine_to(model, images[0])
    expected = torch.stack([input_gradient(score, image) for image in images])
    model.to("cuda")
    score = cosine_to(model, images[0])
    assert near(torch.stack([input_gradient(score, image).cpu() for image in images]), expected)


@pytest.mark.parametrize("method", xfv.METHODS)
def test_every_method(tiny, on_gpu, crops, method):
    pair, options = xfv.Pair(*crops), QUICK.get(method, {})
    expected, found = (xfv.explain(model, pair, method, **options) for model in (tiny, on_gpu))
    assert near(found.map_a, expected.map_a) and near(found.map_b, expected.map_b)
    assert found.score == pytest.approx(expected.score, abs=1e-5) and found.accepted == expected.accepted


def test_kept_gradients(tiny, on_gpu, crops):
    found, expected = (channel_gradients(model, crops[0]) for model in (on_gpu, tiny))
    assert near(found.maps.cpu(), expected.maps) and near(found.embedding.cpu(), expected.embedding)


def test_frequency(tiny, on_gpu, crops, tiny_pairs):
    pair = xfv.Pair(*crops)
    for influence in (xfv.frequency_influence, gradient_influence):
        found, expected = (influence(model, pair, width=2) for model in (on_gpu, tiny))
        assert near(found.a, expected.a) and near(found.b, expected.b)
    assert {x.device.type for x in prepare_bands(on_gpu, crops[0]).values()} == {"cpu"}
    halves = torch.zeros(2, 20, 20)
    halves[0, :10], halves[1, 10:] = 1, 1
    for model in (tiny, on_gpu):
        local_influence(model, *crops, dict(zip(("upper", "lower"), halves)), 2)
    found, expected = (influence_table(model, tiny_pairs[:4], width=2) for model in (on_gpu, tiny))
    assert list(found.columns) == list(expected.columns) and len(found) == len(expected)


def test_deletion(tiny, on_gpu, tiny_pairs):
    found, expected = (
        deletion_table(model, tiny_pairs[:6], ["fggb", "occlusion"], threshold=0.945) for model in (on_gpu, tiny)
    )
    assert np.allclose(found["area"], expected["area"], atol=0.05)


def test_a_sweep(tiny, on_gpu, tiny_pairs, tmp_path):
    found, expected = (
        xfv.sweep(
            model, tiny_pairs[:6], ["fggb"], ["deletion"], threshold=0.945, block=3, workers=1, out=tmp_path / name
        )
        for model, name in ((on_gpu, "gpu"), (tiny, "cpu"))
    )
    assert np.allclose(found["score"], expected["score"], atol=1e-4)


def test_thresholds_and_sanity(tiny, on_gpu, tiny_pairs):
    found, expected = (xfv.scores(model, tiny_pairs) for model in (on_gpu, tiny))
    assert np.allclose(found, expected, atol=1e-4)
    assert len(weight_randomisation(on_gpu, tiny_pairs[0], "gradient", threshold=0.945)) == 4


def test_an_onnx_file_takes_images_from_the_gpu(tmp_path):
    from test_onnx import expected_of, write_onnx

    model, images = xfv.load_model(weights=write_onnx(tmp_path / "linear.onnx")).to("cuda"), torch.rand(3, 3, 8, 8)
    assert near(model(images).cpu(), expected_of(images)) and near(model(images.cuda()).cpu(), expected_of(images))
