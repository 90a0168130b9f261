"""Published checkpoints: each family against a plain writing of its network on the published key names."""

import copy
import os
import pickle
import resource
import sys
import types
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import xfvlib as xfv
from xfvlib import models
from xfvlib.gradients import each_channel_gradient
from xfvlib.models.dlib_resnet import DlibResNet
from xfvlib.models.frozen import ByTiles, _is_wide, frozen
from xfvlib.models.ir import IR
from xfvlib.models.iresnet import IResNet
from xfvlib.models.mobilefacenet import MobileFaceNet
from xfvlib.models.sface import SFace

# --- published layouts, as key → shape, and the same networks written plainly on those keys ---


class Layout(dict):
    """Shapes by published key."""

    def bn(self, key, channels, affine=True):
        for name in ("weight", "bias") * affine + ("running_mean", "running_var"):
            self[f"{key}.{name}"] = (channels,)
        self[f"{key}.num_batches_tracked"] = ()

    def state(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        values = {}
        for key, shape in self.items():
            value = torch.randn(shape, generator=generator)
            fan = max(1, value[0].numel()) if value.dim() > 1 else 1
            values[key] = value.abs() + 0.5 if "running_var" in key else value / fan**0.5
            if key.endswith("num_batches_tracked"):
                values[key] = torch.tensor(7)
        return values


def bn(s, key, x):
    return F.batch_norm(
        x, s[f"{key}.running_mean"], s[f"{key}.running_var"], s.get(f"{key}.weight"), s.get(f"{key}.bias"), eps=1e-5
    )


def conv(s, key, x, stride=1, padding=0):
    weight = s[f"{key}.weight"]
    return F.conv2d(x, weight, s.get(f"{key}.bias"), stride, padding, groups=x.shape[1] // weight.shape[1])


def prelu(s, key, x):
    return F.prelu(x, s[f"{key}.weight"])


def iresnet_layout(counts):
    shapes = Layout(
        {"conv1.weight": (64, 3, 3, 3), "prelu.weight": (64,), "fc.weight": (512, 25088), "fc.bias": (512,)}
    )
    for key, channels in (("bn1", 64), ("bn2", 512), ("features", 512)):
        shapes.bn(key, channels)
    before = 64
    for layer, (count, width) in enumerate(zip(counts, (64, 128, 256, 512)), 1):
        for i in range(count):
            block = f"layer{layer}.{i}"
            shapes |= {f"{block}.conv1.weight": (width, before, 3, 3), f"{block}.conv2.weight": (width, width, 3, 3)}
            shapes[f"{block}.prelu.weight"] = (width,)
            for key, channels in (("bn1", before), ("bn2", width), ("bn3", width)):
                shapes.bn(f"{block}.{key}", channels)
            if i == 0:
                shapes[f"{block}.downsample.0.weight"] = (width, before, 1, 1)
                shapes.bn(f"{block}.downsample.1", width)
            before = width
    return shapes


def iresnet_plain(s, x, counts):
    x = prelu(s, "prelu", bn(s, "bn1", conv(s, "conv1", x, padding=1)))
    for layer, count in enumerate(counts, 1):
        for i in range(count):
            block, stride = f"layer{layer}.{i}", 2 if i == 0 else 1
            y = bn(s, f"{block}.bn2", conv(s, f"{block}.conv1", bn(s, f"{block}.bn1", x), padding=1))
            y = bn(s, f"{block}.bn3", conv(s, f"{block}.conv2", prelu(s, f"{block}.prelu", y), stride, 1))
            x = y + (bn(s, f"{block}.downsample.1", conv(s, f"{block}.downsample.0", x, 2)) if i == 0 else x)
    x = bn(s, "bn2", x).flatten(1)
    return bn(s, "features", x @ s["fc.weight"].T + s["fc.bias"])


def ir_layout(counts, adaface):
    shapes = Layout({"input_layer.0.weight": (64, 3, 3, 3), "input_layer.2.weight": (64,)})
    shapes |= {"output_layer.3.weight": (512, 25088), "output_layer.3.bias": (512,)}
    shapes.bn("input_layer.1", 64)
    shapes.bn("output_layer.0", 512)
    shapes.bn("output_layer.4", 512, affine=False)
    before, n = 64, 0
    for count, width in zip(counts, (64, 128, 256, 512)):
        for _ in range(count):
            block = f"body.{n}.res_layer"
            shapes.bn(f"{block}.0", before)
            act, second, last = (3, 4, 5) if adaface else (2, 3, 4)
            shapes |= {f"{block}.1.weight": (width, before, 3, 3), f"{block}.{second}.weight": (width, width, 3, 3)}
            shapes[f"{block}.{act}.weight"] = (width,)
            shapes.bn(f"{block}.{last}", width)
            if adaface:
                shapes.bn(f"{block}.2", width)
            if before != width:
                shapes[f"body.{n}.shortcut_layer.0.weight"] = (width, before, 1, 1)
                shapes.bn(f"body.{n}.shortcut_layer.1", width)
            before, n = width, n + 1
    return shapes


def ir_plain(s, x, counts, adaface):
    x = prelu(s, "input_layer.2", bn(s, "input_layer.1", conv(s, "input_layer.0", x, padding=1)))
    n = 0
    for count in counts:
        for i in range(count):
            block, stride = f"body.{n}.res_layer", 2 if i == 0 else 1
            y = conv(s, f"{block}.1", bn(s, f"{block}.0", x), padding=1)
            if adaface:
                y = prelu(s, f"{block}.3", bn(s, f"{block}.2", y))
                y = bn(s, f"{block}.5", conv(s, f"{block}.4", y, stride, 1))
            else:
                y = bn(s, f"{block}.4", conv(s, f"{block}.3", prelu(s, f"{block}.2", y), stride, 1))
            shortcut = f"body.{n}.shortcut_layer"
            known = f"{shortcut}.0.weight" in s
            x = y + (
                bn(s, f"{shortcut}.1", conv(s, f"{shortcut}.0", x, stride)) if known else x[:, :, ::stride, ::stride]
            )
            n += 1
    x = bn(s, "output_layer.0", x).flatten(1)
    return bn(s, "output_layer.4", x @ s["output_layer.3.weight"].T + s["output_layer.3.bias"])


# (inside, channels, stride) of the fifteen blocks, as the paper's table gives them
MOBILE_BLOCKS = (
    [(128, 64, 2)] + 4 * [(128, 64, 1)] + [(256, 128, 2)] + 6 * [(256, 128, 1)] + [(512, 128, 2)] + 2 * [(256, 128, 1)]
)


def conv_bn_prelu(key):
    return f"{key}.conv", f"{key}.bn", f"{key}.prelu"


def in_layers(key):
    return f"{key}.layers.0", f"{key}.layers.1", f"{key}.layers.2"


def mobile_names(variant):
    """Published (conv, bn, act) of every unit in order, and of the head (linear, bn)."""
    if variant == "foamliu":
        units = [("conv1.0", "conv1.1"), ("dw_conv.depthwise", "dw_conv.bn1"), ("dw_conv.pointwise", "dw_conv.bn2")]
        for i in range(15):
            f = f"features.{i}.conv"
            units += [(f"{f}.0.0", f"{f}.0.1"), (f"{f}.1.0", f"{f}.1.1"), (f"{f}.2", f"{f}.3")]
        return units + [("conv2.0", "conv2.1"), ("gdconv.depthwise", "gdconv.bn")], ("conv3", "bn")
    if variant == "xiaoccer":
        units = [conv_bn_prelu("conv1"), conv_bn_prelu("dw_conv1")]
        for i in range(15):
            units += [tuple(f"blocks.{i}.conv.{k + j}" for j in range(3)) for k in (0, 3, 6)]
        return units + [conv_bn_prelu("conv2"), conv_bn_prelu("linear7")], ("linear1.conv", "linear1.bn")
    if variant == "arcface_torch":
        blocks = [
            "layers.2",
            *(f"layers.3.layers.{i}" for i in range(4)),
            "layers.4",
            *(f"layers.5.layers.{i}" for i in range(6)),
        ]
        blocks += ["layers.6", "layers.7.layers.0", "layers.7.layers.1"]
        units = [in_layers("layers.0"), in_layers("layers.1")] + [
            in_layers(f"{b}.layers.{k}") for b in blocks for k in range(3)
        ]
        return units + [in_layers("conv_sep"), in_layers("features.layers.0")], (
            "features.layers.2",
            "features.layers.3",
        )
    blocks = [
        "conv_23",
        *(f"conv_3.model.{i}" for i in range(4)),
        "conv_34",
        *(f"conv_4.model.{i}" for i in range(6)),
        "conv_45",
    ]
    blocks += ["conv_5.model.0", "conv_5.model.1"]
    units = [conv_bn_prelu("conv1"), conv_bn_prelu("conv2_dw")]
    units += [conv_bn_prelu(f"{b}.{part}") for b in blocks for part in ("conv", "conv_dw", "project")]
    tail = "output_layer." if variant == "cavaface" else ""
    return units + [conv_bn_prelu("conv_6_sep"), conv_bn_prelu(f"{tail}conv_6_dw")], (f"{tail}linear", f"{tail}bn")


def mobile_units(variant):
    """(names, shape of the convolution, stride, padding, activation) of every unit in order."""
    names, _ = mobile_names(variant)
    relu = variant == "foamliu"
    scale, kernel = (2 if variant == "arcface_torch" else 1), ((7, 6) if variant == "xiaoccer" else (7, 7))
    act = "relu6" if relu else "prelu"
    width = 64 * scale
    sizes = [((width, 3, 3, 3), 2, 1, act), ((width, width // 64, 3, 3), 1, 1, "relu" if relu else act)]
    sizes += [((width, width, 1, 1), 1, 0, "relu")] if relu else []
    for inside, channels, stride in MOBILE_BLOCKS:
        sizes += [
            ((inside, width, 1, 1), 1, 0, act),
            ((inside, 1, 3, 3), stride, 1, act),
            ((channels * scale, inside, 1, 1), 1, 0, None),
        ]
        width = channels * scale
    sizes += [((512, width, 1, 1), 1, 0, act), ((512, 1, *kernel), 1, 0, None)]
    return [(unit, *size) for unit, size in zip(names, sizes, strict=True)]


def mobile_layout(variant, dim):
    shapes = Layout()
    for (c, b, *a), shape, _, _, act in mobile_units(variant):
        shapes[f"{c}.weight"] = shape
        shapes.bn(b, shape[0])
        if act == "prelu":
            shapes[f"{a[0]}.weight"] = (shape[0],)
    linear, norm = mobile_names(variant)[1]
    shapes[f"{linear}.weight"] = (dim, 512, 1, 1) if variant in ("foamliu", "xiaoccer") else (dim, 512)
    if variant == "foamliu":
        shapes[f"{linear}.bias"] = (dim,)
    shapes.bn(norm, dim)
    return shapes


def mobile_plain(s, x, variant):
    units = mobile_units(variant)
    first_block = 3 if variant == "foamliu" else 2

    def run(unit, x):
        (c, b, *a), _, stride, padding, act = unit
        x = bn(s, b, conv(s, c, x, stride, padding))
        return {"relu": F.relu, "relu6": F.relu6, None: lambda v: v}.get(act, lambda v: prelu(s, a[0], v))(x)

    for unit in units[:first_block]:
        x = run(unit, x)
    for i, (_, _, stride) in enumerate(MOBILE_BLOCKS):
        y = x
        for unit in units[first_block + 3 * i : first_block + 3 * i + 3]:
            y = run(unit, y)
        x = x + y if stride == 1 and x.shape == y.shape else y
    for unit in units[-2:]:
        x = run(unit, x)
    linear, norm = mobile_names(variant)[1]
    x = x.flatten(1) @ s[f"{linear}.weight"].flatten(1).T + s.get(f"{linear}.bias", 0)
    return bn(s, norm, x)


# --- the tests ---

SMALL = (2, 2, 2, 2)
FAMILIES = {
    "arcface": (lambda: iresnet_layout(SMALL), lambda s, x: iresnet_plain(s, x, SMALL)),
    "curricularface": (lambda: ir_layout(SMALL, False), lambda s, x: ir_plain(s, x, SMALL, False)),
    "adaface": (lambda: ir_layout(SMALL, True), lambda s, x: ir_plain(s, x, SMALL, True)),
} | {
    f"mobilefacenet {variant}": (
        lambda v=variant, d=dim: mobile_layout(v, d),
        lambda s, x, v=variant: mobile_plain(s, x, v),
    )
    for variant, dim in (
        ("foamliu", 128),
        ("insightface_pytorch", 512),
        ("cavaface", 512),
        ("arcface_torch", 512),
        ("xiaoccer", 128),
    )
}


@pytest.mark.parametrize("family", FAMILIES)
def test_output_equals_a_plain_writing_on_the_published_keys(tmp_path, family):
    layout, plain = FAMILIES[family]
    state = layout().state()
    torch.save(state, tmp_path / "weights.pt")
    model = xfv.load_model(weights=tmp_path / "weights.pt")
    assert family.split()[0].replace("arcface", "iresnet") in model.name
    images = torch.rand(2, 3, *model.size, generator=torch.Generator().manual_seed(3))
    pixels = (images - model.mean) / model.std
    expected = plain(state, pixels.flip(1) if family == "adaface" else pixels)
    assert torch.allclose(model(images), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_adaface_sees_bgr_and_the_others_rgb(tmp_path):
    for family, channels in (("adaface", "bgr"), ("curricularface", "rgb"), ("arcface", "rgb")):
        torch.save(FAMILIES[family][0]().state(), tmp_path / "weights.pt")
        assert xfv.load_model(weights=tmp_path / "weights.pt").channels == channels


@pytest.mark.parametrize(
    "network, layout, keys",
    [
        (lambda: IResNet((3, 4, 6, 3)), lambda: iresnet_layout((3, 4, 6, 3)), 331),
        (lambda: IResNet((3, 4, 14, 3)), lambda: iresnet_layout((3, 4, 14, 3)), 475),
        (lambda: IResNet((3, 13, 30, 3)), lambda: iresnet_layout((3, 13, 30, 3)), 925),
        (lambda: IR((3, 4, 14, 3), False), lambda: ir_layout((3, 4, 14, 3), False), 347),
        (lambda: IR((3, 13, 30, 3), False), lambda: ir_layout((3, 13, 30, 3), False), 672),
        (lambda: IR((3, 4, 14, 3), True), lambda: ir_layout((3, 4, 14, 3), True), 467),
        (lambda: IR((3, 13, 30, 3), True), lambda: ir_layout((3, 13, 30, 3), True), 917),
    ],
    ids=[
        "iresnet-34",
        "iresnet-50",
        "iresnet-100",
        "curricularface-50",
        "curricularface-101",
        "adaface-50",
        "adaface-101",
    ],
)
def test_keys_and_shapes_of_the_deep_networks(network, layout, keys):
    with torch.device("meta"):
        ours = {key: tuple(value.shape) for key, value in network().state_dict().items()}
    assert ours == layout() and len(ours) == keys


@pytest.fixture(scope="module")
def state():
    return FAMILIES["mobilefacenet insightface_pytorch"][0]().state()


IMAGES = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def expected(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "plain.pt"
    torch.save(state, path)
    return xfv.load_model(weights=path).embed(IMAGES)


def wrapped(kind, state):
    if kind == "DataParallel":
        return {f"module.{key}": value for key, value in state.items()}
    if kind == "Lightning":
        inner = {f"model.{key}": value for key, value in state.items()} | {
            "head.kernel": torch.rand(512, 10),
            "head.t": torch.zeros(1),
        }
        return {"state_dict": inner, "epoch": 3, "hyper_parameters": {"arch": "x", "lr": 0.1}}
    if kind == "no counters":
        return {key: value for key, value in state.items() if "num_batches" not in key}
    return (
        {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
        if kind == "half"
        else state
    )


@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt", ".tar", ".safetensors"])
@pytest.mark.parametrize("kind", ["plain", "DataParallel", "Lightning", "no counters", "half"])
def test_every_wrapping_and_ending_loads(tmp_path, state, expected, kind, ending):
    content, path = wrapped(kind, state), tmp_path / f"weights{ending}"
    if ending == ".safetensors":
        save_file(content.get("state_dict", content), path)
    else:
        torch.save(content, path)
    model = xfv.load_model("mobilefacenet", weights=path)
    assert torch.allclose(model.embed(IMAGES), expected, atol=1e-2 if kind == "half" else 1e-6)


def test_lightning_files_that_name_their_callbacks_classes_load(tmp_path, state, expected, monkeypatch):
    """Before version 1.5, as in AdaFace's files, the state of a callback was kept under its class."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    content = wrapped("Lightning", state) | {
        "callbacks": {module.ModelCheckpoint: {"monitor": "val_acc", "best_model_score": torch.tensor(0.9)}},
        "lr_schedulers": [{"milestones": Counter([12, 20])}],
    }
    with monkeypatch.context() as patch:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
            patch.setitem(sys.modules, name, module)
        torch.save(content, tmp_path / "adaface.ckpt")
    assert module.__name__ not in sys.modules
    assert torch.allclose(xfv.load_model(weights=tmp_path / "adaface.ckpt").embed(IMAGES), expected, atol=1e-6)


def test_a_scripted_network_is_told_from_a_checkpoint(tmp_path):
    torch.jit.script(torch.nn.Flatten()).save(tmp_path / "scripted.pt")
    with pytest.raises(ValueError, match="torch.jit.load"):
        xfv.load_model(weights=tmp_path / "scripted.pt")


@pytest.mark.parametrize(
    "make, lost",
    [(lambda: IResNet((2, 2, 2, 2)), "fc.weight"), (lambda: IR((2, 2, 2, 2), True), "output_layer.3.weight")],
)
def test_a_lost_key_of_the_head_is_named(tmp_path, make, lost):
    content = make().state_dict()
    del content[lost]
    torch.save(content, tmp_path / "lost.pt")
    with pytest.raises(ValueError, match=f"1 missing: {lost}"):
        xfv.load_model(weights=tmp_path / "lost.pt")


def test_old_torch_files_load(tmp_path, state, expected):
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.allclose(xfv.load_model(weights=tmp_path / "old.pth").embed(IMAGES), expected, atol=1e-6)


def test_keys_that_do_not_fit_are_listed(tmp_path, state):
    broken = {key: value for key, value in state.items() if key != "conv_3.model.1.conv.bn.bias"}
    broken["conv_34.conv.conv.weight"] = torch.rand(9, 9)
    broken["surplus.weight"] = torch.rand(2)
    torch.save(broken, tmp_path / "broken.pt")
    with pytest.raises(ValueError) as error:
        xfv.load_model(weights=tmp_path / "broken.pt")
    for words in (
        "1 missing: conv_3.model.1.conv.bn.bias",
        "1 extra: surplus.weight",
        "1 misshapen: conv_34.conv.conv.weight (9, 9)",
    ):
        assert words in str(error.value)


class Attack:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickled_objects_are_refused_and_not_run(tmp_path, state):
    torch.save({"state_dict": state, "extra": Attack(tmp_path / "run")}, tmp_path / "attack.pt")
    (tmp_path / "attack.pth").write_bytes(pickle.dumps(Attack(tmp_path / "run")))
    for name in ("attack.pt", "attack.pth"):
        with pytest.raises(ValueError, match="not run"):
            xfv.load_model(weights=tmp_path / name)
    assert not (tmp_path / "run").exists()


def test_damaged_and_foreign_files_are_answered_in_words(tmp_path, state):
    torch.save(state, tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    for name, content in (
        ("cut.pt", data[:5000]),
        ("noise.pth", b"noise" * 100),
        ("cut.safetensors", data[:100]),
        ("empty.pt", b""),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name) as refused:
            xfv.load_model(weights=tmp_path / name)
        assert "\n" not in str(refused.value)  # torch goes on for lines, and advises to run what is in the file
    torch.save({"some.weight": torch.rand(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="some.weight"):
        xfv.load_model(weights=tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="without tensors"):
        xfv.load_model(weights=tmp_path / "list.pt")
    with pytest.raises(FileNotFoundError, match="absent.pt"):
        xfv.load_model(weights=tmp_path / "absent.pt")


def packed(source, path):
    """The same archive, its entries compressed."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as smaller:
        for entry in archive.infolist():
            smaller.writestr(entry.filename, archive.read(entry))


@pytest.mark.parametrize("kind", ["spread by strides", "repeated", "packed", "old and declared"])
def test_a_small_file_cannot_ask_for_much_memory(tmp_path, kind):
    path, one = tmp_path / "bomb.pt", torch.zeros(100)
    if kind == "spread by strides":
        torch.save({"conv1.weight": torch.zeros(1).expand(10**6, 10**6)}, path)
    elif kind == "repeated":
        torch.save({f"layer1.{i}.conv1.weight": one for i in range(1000)}, path)
    elif kind == "packed":
        torch.save({"conv1.weight": torch.zeros(10**6)}, tmp_path / "large.pt")
        packed(tmp_path / "large.pt", path)
        assert path.stat().st_size < 10**5
    else:
        torch.save({"conv1.weight": one}, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes().replace(b"Kd", b"\x8a\x05\0\0\0\0\x10"))  # 100 numbers become 2**36
    with pytest.raises(ValueError, match="bomb.pt"):
        xfv.load_model(weights=path)


def test_the_network_takes_no_memory_before_its_tensors_fit(tmp_path):
    """A head of a million rows is declared by a bias of 4 MB; its weights would be 100 GB."""
    state = {"layer1.0.bn1.weight": torch.ones(64), "layer1.0.prelu.weight": torch.ones(64)}
    state |= {"layer1.0.conv1.weight": torch.ones(64, 64, 3, 3), "fc.bias": torch.zeros(10**6)}
    torch.save(state, tmp_path / "wide.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="missing"):
        xfv.load_model(weights=tmp_path / "wide.pt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500e3  # kB


@pytest.mark.parametrize(
    "value, words",
    [
        (torch.full((512,), float("nan")), "1 not of finite float numbers: bn.bias"),
        (torch.full((512,), float("inf")), "1 not of finite float numbers: bn.bias"),
        (torch.zeros(512, dtype=torch.complex64), "not of finite float numbers: bn.bias torch.complex64"),
        (torch.zeros(512, dtype=torch.int8), "not of finite float numbers: bn.bias torch.int8"),
        (torch.zeros(512).to_sparse(), "not of finite float numbers: bn.bias"),
        (torch.zeros(()), r"1 misshapen: bn.bias \(\) for \(512,\)"),
        (torch.zeros(512, device="meta"), "not of finite float numbers: bn.bias"),
    ],
    ids=["nan", "inf", "complex", "integer", "sparse", "scalar", "meta"],
)
def test_tensors_that_are_no_weights_are_named(tmp_path, state, value, words):
    torch.save(state | {"bn.bias": value}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=words):
        xfv.load_model(weights=tmp_path / "weights.pt")


def test_half_precision_files_are_read_in_single(tmp_path, state, expected):
    torch.save(
        {key: value.half() if value.is_floating_point() else value for key, value in state.items()},
        tmp_path / "half.pt",
    )
    model = xfv.load_model(weights=tmp_path / "half.pt")
    assert model.dtype == torch.float32 and torch.allclose(model.embed(IMAGES), expected, atol=1e-2)


@pytest.mark.parametrize(
    "known",
    [
        {
            "input_layer.0.weight": torch.zeros(()),
            "body.0.res_layer.0.weight": torch.zeros(()),
            "body.0.res_layer.1.weight": torch.zeros(()),
        },
        {"linear7.conv.weight": torch.zeros(3)},
        {"conv_6_dw.conv.weight": torch.zeros(()), "conv1.conv.weight": torch.zeros(())},
        {"gdconv.depthwise.weight": torch.zeros(1, 1, 0, 0)},
    ],
    ids=["ir", "xiaoccer", "insightface", "foamliu"],
)
def test_known_keys_with_other_shapes_are_answered_in_words(tmp_path, known):
    torch.save(known, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="weights.pt"):
        xfv.load_model(weights=tmp_path / "weights.pt")


def test_what_is_no_file_is_answered_in_words(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    for path in (tmp_path, tmp_path / "pipe.pt", "/dev/zero", "", "nul\0.pt"):
        for name in (None, "arcface", "onnx"):
            with pytest.raises(FileNotFoundError, match="a file of weights is needed"):
                xfv.load_model(name, weights=path)
    with pytest.raises(TypeError, match="PathLike"):
        xfv.load_model(weights=5)


def test_other_peoples_archives_are_answered_in_words(tmp_path):
    for name, entries in (
        ("letter.pt", {"word/document.xml": b"<w/>"}),
        ("data.pt", {"archive/data.pkl": b"\x80\x02K\x01."}),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)
        with pytest.raises(ValueError, match=name):
            xfv.load_model(weights=tmp_path / name)
    (tmp_path / "npz.pt").write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(ValueError, match="npz.pt"):
        xfv.load_model(weights=tmp_path / "npz.pt")


def test_damage_anywhere_in_a_file_is_answered_in_words(tmp_path, state):
    """300 files with bytes changed or cut away, which even whole would lack some keys."""
    small = {key: value for key, value in state.items() if value.numel() < 300}
    random = np.random.default_rng(0)
    for new in (True, False):
        torch.save(small, tmp_path / "whole.pt", _use_new_zipfile_serialization=new)
        whole = (tmp_path / "whole.pt").read_bytes()
        for _ in range(150):
            data = bytearray(whole)
            for place in random.integers(0, len(data) // (1 if random.random() < 0.3 else 20), 3):
                data[place] = random.integers(256)
            (tmp_path / "damaged.pt").write_bytes(data[: random.integers(len(data))] if random.random() < 0.2 else data)
            with pytest.raises(ValueError, match="damaged.pt"):
                xfv.load_model(weights=tmp_path / "damaged.pt")


def test_prefixes_in_any_number_come_off(tmp_path, state, expected):
    torch.save({f"module.model.module.{key}": value for key, value in state.items()}, tmp_path / "wrapped.pt")
    assert torch.allclose(xfv.load_model(weights=tmp_path / "wrapped.pt").embed(IMAGES), expected, atol=1e-6)
    torch.save({"module." * 5000 + "x": torch.zeros(1)}, tmp_path / "deep.pt")
    with pytest.raises(ValueError, match="no known layout"):
        xfv.load_model(weights=tmp_path / "deep.pt")


def test_another_family_than_named_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="layout of mobilefacenet"):
        xfv.load_model("adaface", weights=tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="without weights=.*path of a file"):
        xfv.load_model("arcface")
    with pytest.raises(ValueError, match="'archface' with weights=.*curricularface"):
        xfv.load_model("archface", weights=tmp_path / "weights.pt")


def test_elasticface_has_arcfaces_layout(tmp_path):
    torch.save(FAMILIES["arcface"][0]().state(), tmp_path / "weights.pt")
    assert xfv.load_model("elasticface", weights=tmp_path / "weights.pt").name == "elasticface-iresnet-18"


def test_preprocessing_can_be_overruled(tmp_path, state):
    torch.save(state, tmp_path / "weights.pt")
    model = xfv.load_model(weights=tmp_path / "weights.pt", channels="bgr", mean=0.4)
    assert model.channels == "bgr" and model.mean[0].item() == pytest.approx(0.4)


def test_explanations_work_on_every_family_alike(tmp_path):
    torch.save(FAMILIES["mobilefacenet foamliu"][0]().state(), tmp_path / "weights.pt")
    model = xfv.load_model(weights=tmp_path / "weights.pt")
    pair = xfv.load_pairs("orl", model=model)[0]
    assert pair.a.shape == (3, 112, 112)
    assert xfv.explain(model, pair, threshold=0.3).map_a.shape == (112, 112)


DOCUMENTED = {
    "sface": (SFace, (112, 112)),
    "dlib-resnet": (DlibResNet, (150, 150)),
    "IResNet-18": (lambda: IResNet((2, 2, 2, 2)), (112, 112)),
    "IResNet-34": (lambda: IResNet((3, 4, 6, 3)), (112, 112)),
    "IResNet-50": (lambda: IResNet((3, 4, 14, 3)), (112, 112)),
    "IResNet-100": (lambda: IResNet((3, 13, 30, 3)), (112, 112)),
    "IR-101 (CurricularFace)": (lambda: IR((3, 13, 30, 3), False), (112, 112)),
    "IR-50 (AdaFace)": (lambda: IR((3, 4, 14, 3), True), (112, 112)),
    "IR-101 (AdaFace)": (lambda: IR((3, 13, 30, 3), True), (112, 112)),
    "MobileFaceNet (foamliu)": (lambda: MobileFaceNet(128, relu=True, head="conv+bias"), (112, 112)),
    "MobileFaceNet (InsightFace_Pytorch, cavaface)": (lambda: MobileFaceNet(512), (112, 112)),
    "MobileFaceNet (arcface_torch mbf)": (lambda: MobileFaceNet(512, 2), (112, 112)),
    "MobileFaceNet (Xiaoccer)": (lambda: MobileFaceNet(128, 1, (7, 6), head="conv"), (112, 96)),
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_documented_sizes_are_the_computed_ones(name):
    make, size = DOCUMENTED[name]
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        network = make().eval()
        dim = network(torch.rand(1, 3, *size)).shape[1]
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    row = f"| {name} | {size[0]}×{size[1]} | {dim} | {millions:.2f} | {counter.get_total_flops() / 2e9:.2f} |"
    assert row in (Path(models.__file__).parent / "README.md").read_text(encoding="utf8")


def test_the_frozen_network_is_equal_in_values_and_gradients():
    torch.manual_seed(0)
    network = IR((1, 1, 1, 1), inner_norm=True).eval()
    for module in network.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    results, keys = [], list(network.state_dict())
    for candidate in (network, frozen(network)):
        x = IMAGES.repeat(8, 1, 1, 1).requires_grad_(True)  # a batch that goes by tiles
        y = candidate(x)
        results.append((y.detach(), torch.autograd.grad(y[0, 3], x)[0]))
    for plain, fast in zip(*results):
        assert (plain - fast).norm() <= 1e-5 * plain.norm()
    assert keys == list(network.state_dict())  # the network that was given stays as it was


@pytest.mark.parametrize("height, width", [(14, 14), (7, 7), (1, 5), (9, 4)])
def test_a_convolution_by_tiles_has_the_gradient_of_the_plain_one(height, width):
    torch.manual_seed(0)
    conv, upstream = (
        torch.nn.Conv2d(128, 160, 3, padding=1).double(),
        torch.randn(16, 160, height, width, dtype=torch.float64),
    )
    x = torch.randn(16, 128, height, width, dtype=torch.float64, requires_grad=True)
    assert _is_wide(conv)
    plain, tiled = conv(x), ByTiles(conv)(x)
    assert tiled.grad_fn.name() == "BackwardByTilesBackward" and torch.equal(plain, tiled)
    expected, found = (torch.autograd.grad(y, x, upstream)[0] for y in (plain, tiled))
    assert (expected - found).norm() <= 1e-13 * expected.norm()


def test_rounding_by_tiles_stays_near_that_of_single_precision():
    torch.manual_seed(0)
    conv, upstream = torch.nn.Conv2d(256, 256, 3, padding=1), torch.randn(16, 256, 14, 14)
    x = torch.randn(16, 256, 14, 14, requires_grad=True)
    tiled = torch.autograd.grad(ByTiles(conv)(x), x, upstream)[0]
    precise = x.detach().double().requires_grad_(True)
    exact = torch.autograd.grad(conv.double()(precise), precise, upstream.double())[0]
    assert (tiled - exact).norm() < 2e-6 * exact.norm()  # with the usual points 3e-6


def test_frozen_networks_of_other_forms_are_equal_or_refused():
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(27, 6), nn.PReLU(6), nn.Linear(6, 5), nn.BatchNorm1d(5, affine=False))
    rows = nn.Sequential(nn.Flatten(2), nn.BatchNorm1d(3), nn.PReLU(3), nn.Conv1d(3, 4, 3))
    first, last = nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(4, track_running_stats=False)
    plain = nn.Sequential(first, nn.Conv2d(3, 4, 3), nn.PReLU(), last)
    for network in (flat, rows, plain):
        for module in network.modules():
            if getattr(module, "running_var", None) is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        x = torch.rand(2, 3, 3, 3)
        expected = network.eval()(x)
        assert torch.allclose(frozen(network)(x), expected, atol=1e-5), network

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()

        def forward(self, x):
            return self.act(self.norm(self.conv(self.act(self.conv(x)))))

    class Asks(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match="Twice cannot be frozen, it runs conv more than once"):
        frozen(Twice())
    with pytest.raises(ValueError, match="Asks cannot be frozen, torch.fx"):
        frozen(Asks())


def test_tiles_under_autocast_and_not_in_half_precision():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(128, 128, 3, padding=1).requires_grad_(False), torch.rand(8, 128, 6, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = (torch.autograd.grad(run(x).float().square().sum(), x)[0] for run in (ByTiles(conv), conv))
    assert (found - expected).norm() < 0.02 * expected.norm()
    half = ByTiles(conv.half())(x.half())
    assert half.grad_fn.name() != "BackwardByTilesBackward"


def test_what_goes_by_tiles():
    network, tiled = frozen(IR((1, 1, 1, 1), inner_norm=True).eval()), []
    for name, module in network.named_modules():
        if isinstance(module, ByTiles):
            tiled.append(name)
            assert module.conv.stride == (1, 1) and module.conv.in_channels >= 128
    assert (
        len(tiled) == 2
    )  # of stages of one block each, those convolutions that neither halve the image nor are narrow
    assert not any(isinstance(module, ByTiles) for module in frozen(MobileFaceNet().eval()).modules())


def test_channels_of_a_frozen_network_equal_the_loop():
    torch.manual_seed(0)
    network = IResNet((1, 1, 2, 2)).eval()
    model, image = xfv.FaceModel(frozen(copy.deepcopy(network))), torch.rand(3, 112, 112)
    _, found = next(each_channel_gradient(model, image))
    assert any(isinstance(module, ByTiles) for module in model.network.modules()) and len(found) == 16
    x = image[None].double().requires_grad_(True)
    embedding = torch.nn.functional.normalize(network.double()((x - 0.5) / 0.5))[0]
    for k in range(16):
        loop = torch.autograd.grad(embedding[k], x, retain_graph=True)[0][0].abs().mean(dim=0)
        assert (found[k] - loop / loop.norm()).norm() <= 1e-5
