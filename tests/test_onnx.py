import pickle
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import xfvlib as xfv
from xfvlib.models.onnx import OnnxNetwork

WEIGHTS = np.random.default_rng(0).normal(size=(6, 3 * 8 * 8)).astype(np.float32)


def write_onnx(path, shape=("batch", 3, 8, 8)):
    """A linear map of all pixels to six numbers, exact to check, with an input of the given shape."""
    initial = [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(np.array([0, -1], np.int64), "flat")]
    nodes, pixels = [], "x"
    if shape[1] != 3:
        nodes, pixels = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])], "t"
    nodes += [helper.make_node("Reshape", [pixels, "flat"], ["f"]), helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], 6])]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize("shape", [("batch", 3, 8, 8), (1, 3, 8, 8), ("batch", 8, 8, 3), (1, 8, 8, 3)])
def test_layout_and_size_are_read_from_the_file(tmp_path, shape):
    model = xfv.load_model("onnx", weights=write_onnx(tmp_path / "linear.onnx", shape))
    images = torch.rand(5, 3, 8, 8)
    expected = ((images - 0.5) / 0.5).flatten(1) @ torch.from_numpy(WEIGHTS).T
    assert model.size == (8, 8) and model.dim == 6 and model.name == "linear"
    assert torch.allclose(model(images), expected, atol=1e-4)


def test_gradient_methods_say_which_others_work(tmp_path):
    model = xfv.load_model(weights=write_onnx(tmp_path / "linear.onnx"), mean=0, std=1)
    pair = xfv.Pair(torch.rand(3, 8, 8), torch.rand(3, 8, 8))
    if model.differentiable:
        assert xfv.explain(model, pair, threshold=0).map_a.abs().max() > 0
    else:
        with pytest.raises(TypeError, match="methods that need none"):
            xfv.explain(model, pair, threshold=0)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_converted_file_is_used_where_it_agrees(tmp_path, monkeypatch, factor):
    """A double of onnx2torch, whose network gives ``factor`` times what the file's does."""
    linear = torch.nn.Linear(3 * 8 * 8, 6, bias=False)
    linear.weight.data = factor * torch.from_numpy(WEIGHTS)
    converted = torch.nn.Sequential(torch.nn.Flatten(), linear)
    monkeypatch.setitem(sys.modules, "onnx2torch", SimpleNamespace(convert=lambda path: converted))
    pair, path = xfv.Pair(*torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))), write_onnx(tmp_path / "linear.onnx")
    if factor == 1:
        model = xfv.load_model(weights=path)
        assert model.differentiable and xfv.explain(model, pair, threshold=0).map_a.abs().max() > 0
    else:
        with pytest.warns(UserWarning, match="differ from onnxruntime"):
            assert not xfv.load_model(weights=path).differentiable


def test_other_files_are_answered_in_words(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.onnx"):
        xfv.load_model("onnx", weights=tmp_path / "absent.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(ValueError, match="noise.onnx"):
        xfv.load_model("onnx", weights=tmp_path / "noise.onnx")
    with pytest.raises(ValueError, match="three|3, H, W"):
        xfv.load_model("onnx", weights=write_onnx(tmp_path / "flat.onnx", (1, 192, 1, 1)))


class FRBenchError(Exception):
    """frbench's errors are its own, and neither KeyError nor ValueError."""


class NoSuchModel(FRBenchError):
    pass


class Zoo:
    """What this project uses of frbench's public interface, on a linear network."""

    def __init__(self, backbone, loss, data, eager_load):
        if backbone != "irse-50":
            raise NoSuchModel(f"no {backbone} in the manifest")
        self.backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 12 * 12, 7))
        self.input_size = (12, 12)
        self.preprocessor = SimpleNamespace(mean=torch.full((1, 3, 1, 1), 0.4), std=torch.full((1, 3, 1, 1), 0.3), channel="bgr")


def test_frbench_is_asked_for_network_and_preprocessing(monkeypatch):
    monkeypatch.setitem(sys.modules, "frbench", SimpleNamespace(FR=Zoo, FRBenchError=FRBenchError))
    model = xfv.load_model("frbench:irse-50/arcface/ms1m")
    assert (model.size, model.dim, model.channels) == ((12, 12), 7, "bgr")
    assert model.mean.flatten().tolist() == pytest.approx([0.4] * 3) and model.std[0].item() == pytest.approx(0.3)
    with pytest.raises(ValueError, match="irse-51"):
        xfv.load_model("frbench:irse-51/arcface/ms1m")


def test_frbench_absent_or_asked_wrongly_is_answered_in_words():
    with pytest.raises((FileNotFoundError, ValueError), match="frbench"):
        xfv.load_model("frbench:irse-50/arcface")


def test_a_black_box_can_be_sent_to_another_process(tmp_path):
    box = OnnxNetwork(write_onnx(tmp_path / "linear.onnx"))
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(pickle.loads(pickle.dumps(box))(images), box(images))
    assert box.hash in repr(box)
