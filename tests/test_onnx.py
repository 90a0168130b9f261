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


def save(path, nodes, initial, shape, *, kind=TensorProto.FLOAT, rows=None, **options):
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, rows or [shape[0], 6])]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path, **options)
    return path


def write_onnx(path, shape=("batch", 3, 8, 8), *, kind=TensorProto.FLOAT, weights=WEIGHTS, **options):
    """A linear map of all pixels to six numbers, exact to check, with an input of the given shape and type."""
    flat = np.array([shape[0] if isinstance(shape[0], int) else 0, -1], np.int64)
    initial = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(flat, "flat")]
    nodes, pixels = [], "x"
    if kind != TensorProto.FLOAT:
        nodes, pixels = [helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT)], "c"
    if shape[1] == 8:
        nodes, pixels = [*nodes, helper.make_node("Transpose", [pixels], ["t"], perm=[0, 3, 1, 2])], "t"
    nodes += [
        helper.make_node("Reshape", [pixels, "flat"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    return save(path, nodes, initial, shape, kind=kind, **options)


def expected_of(images, mean=0.5, std=0.5):
    return ((images - mean) / std).flatten(1) @ torch.from_numpy(WEIGHTS).T


LAYOUTS = [
    ("batch", 3, 8, 8),
    (1, 3, 8, 8),
    (4, 3, 8, 8),
    (16, 3, 8, 8),
    ("batch", 8, 8, 3),
    (1, 8, 8, 3),
    (4, 8, 8, 3),
]


@pytest.mark.parametrize("shape", LAYOUTS)
def test_layout_size_and_batch_are_read_from_the_file(tmp_path, shape):
    model = xfv.load_model("onnx", weights=write_onnx(tmp_path / "linear.onnx", shape))
    images = torch.rand(5, 3, 8, 8)
    assert model.size == (8, 8) and model.dim == 6 and model.name == "linear" and not model.differentiable
    assert torch.allclose(model(images), expected_of(images), atol=1e-4)
    assert torch.allclose(model.embed(images)[3:4], model.embed(images[3:4]), atol=1e-6)


def test_sides_left_open_may_be_said(tmp_path):
    path = write_onnx(tmp_path / "open.onnx", ("b", "c", "h", "w"))
    assert xfv.load_model("onnx", weights=path, size=8).dim == 6
    with pytest.raises(ValueError, match="112×112"):  # the field's usual size, which does not fit these weights
        xfv.load_model("onnx", weights=path)


def test_weights_in_a_file_beside_the_network_are_found_and_hashed(tmp_path):
    beside = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 1000}
    (tmp_path / "beside").mkdir()
    path = write_onnx(tmp_path / "beside" / "linear.onnx", **beside)
    assert (tmp_path / "beside" / "weights.bin").stat().st_size >= WEIGHTS.nbytes
    images, model = torch.rand(2, 3, 8, 8), xfv.load_model(weights=path)
    assert torch.allclose(model(images), expected_of(images), atol=1e-4)
    assert torch.equal(pickle.loads(pickle.dumps(model))(images), model(images))
    (tmp_path / "other").mkdir()
    other = OnnxNetwork(write_onnx(tmp_path / "other" / "linear.onnx", weights=2 * WEIGHTS, **beside))
    assert path.read_bytes() == other.path.read_bytes() and other.hash != OnnxNetwork(path).hash
    (tmp_path / "beside" / "weights.bin").unlink()
    with pytest.raises(ValueError, match="linear.onnx cannot be read"):
        xfv.load_model(weights=path)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8])
def test_other_types_of_pixels(tmp_path, kind):
    images = torch.randint(0, 256, (3, 3, 8, 8)) / 255
    model = xfv.load_model(weights=write_onnx(tmp_path / "linear.onnx", kind=kind))
    expected = expected_of(images, 0, 1 / 255) if kind == TensorProto.UINT8 else expected_of(images)
    assert (model(images) - expected).norm() < 1e-3 * expected.norm()
    assert model.embed(images).dtype == torch.float32


def test_a_network_of_another_form_is_answered_in_words(tmp_path):
    def written(name, nodes, shape=("b", 3, 8, 8), rows=("b", 6), extra=(), kind=TensorProto.FLOAT):
        inputs = [helper.make_tensor_value_info("x", kind, shape), *extra]
        graph = helper.make_graph(nodes, name, inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, rows)])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / name)
        return tmp_path / name

    node, image = helper.make_node, ("b", 3, 8, 8)
    second = helper.make_tensor_value_info("z", TensorProto.FLOAT, image)
    for path, words in (
        (written("two", [node("Add", ["x", "z"], ["y"])], rows=image, extra=[second]), "takes x .* z .*one input"),
        (written("ints", [node("Cast", ["x"], ["y"], to=1)], rows=image, kind=TensorProto.INT64), "int64"),
        (written("huge", [node("Flatten", ["x"], ["y"])], (10**6, 3, 8, 8), (10**6, 192)), "1000000"),
        (written("picture", [node("Relu", ["x"], ["y"])], rows=image), r"tensor \(2, 3, 8, 8\).*\(B, N"),
        (written("one", [node("ReduceMean", ["x"], ["y"])], rows=[1, 1, 1, 1]), r"of 2 images"),
        (
            written(
                "nan", [node("Sub", ["x", "x"], ["a"]), node("Div", ["a", "a"], ["b"]), node("Flatten", ["b"], ["y"])]
            ),
            "NaN",
        ),
        (written("black", [node("Sub", ["x", "x"], ["a"]), node("Flatten", ["a"], ["y"])]), "zero vector"),
    ):
        with pytest.raises(ValueError, match=words):
            xfv.load_model("onnx", weights=path)
    tall = written("tall", [node("GlobalAveragePool", ["x"], ["y"])], rows=("b", 3, 1, 1))
    assert xfv.load_model("onnx", weights=tall).dim == 3  # axes of length 1 are let go


def test_a_session_takes_no_more_threads_than_torch(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        session = OnnxNetwork(write_onnx(tmp_path / "linear.onnx")).session
    finally:
        torch.set_num_threads(before)
    assert session.get_session_options().intra_op_num_threads == 1


def test_onnxruntime_absent_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'xfvlib\[onnx\]'"):
        xfv.load_model(weights=write_onnx(tmp_path / "linear.onnx"))


def test_gradient_methods_say_which_others_work(tmp_path):
    model = xfv.load_model(weights=write_onnx(tmp_path / "linear.onnx"), mean=0, std=1)
    pair = xfv.Pair(torch.rand(3, 8, 8), torch.rand(3, 8, 8))
    if model.differentiable:
        assert xfv.explain(model, pair, threshold=0).map_a.abs().max() > 0
    else:
        with pytest.raises(TypeError, match="methods that need none"):
            xfv.explain(model, pair, threshold=0)


@pytest.mark.parametrize("batch", ["batch", 1, 4])
@pytest.mark.parametrize("factor", [1, 2])
def test_a_converted_file_is_used_where_it_agrees(tmp_path, monkeypatch, factor, batch):
    """A double of onnx2torch, whose network gives ``factor`` times what the file's does."""
    linear = torch.nn.Linear(3 * 8 * 8, 6, bias=False)
    linear.weight.data = factor * torch.from_numpy(WEIGHTS)
    converted = torch.nn.Sequential(torch.nn.Flatten(), linear, torch.nn.Unflatten(1, (6, 1, 1)))
    monkeypatch.setitem(sys.modules, "onnx2torch", SimpleNamespace(convert=lambda path: converted))
    pair = xfv.Pair(*torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    path = write_onnx(tmp_path / "linear.onnx", (batch, 3, 8, 8))
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
        self.preprocessor = SimpleNamespace(
            mean=torch.full((1, 3, 1, 1), 0.4), std=torch.full((1, 3, 1, 1), 0.3), channel="bgr"
        )


def test_frbench_is_asked_for_network_and_preprocessing(monkeypatch):
    monkeypatch.setitem(sys.modules, "frbench", SimpleNamespace(FR=Zoo, FRBenchError=FRBenchError))
    model = xfv.load_model("frbench:irse-50/arcface/ms1m")
    assert (model.size, model.dim, model.channels) == ((12, 12), 7, "bgr")
    assert model.mean.flatten().tolist() == pytest.approx([0.4] * 3) and model.std[0].item() == pytest.approx(0.3)
    with pytest.raises(ValueError, match="irse-51"):
        xfv.load_model("frbench:irse-51/arcface/ms1m")


def test_frbench_absent_or_asked_wrongly_is_answered_in_words():
    with pytest.raises((ImportError, ValueError), match="frbench"):
        xfv.load_model("frbench:irse-50/arcface")


def test_a_black_box_can_be_sent_to_another_process(tmp_path):
    box = OnnxNetwork(write_onnx(tmp_path / "linear.onnx"))
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(pickle.loads(pickle.dumps(box))(images), box(images))
    assert box.hash in repr(box)
