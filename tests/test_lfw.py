"""Real photographs and a trained MobileFaceNet, where they lie beside the project."""

from pathlib import Path

import pytest
import torch

import xfvlib as xfv
from xfvlib import evaluation, frequency, plots
from xfvlib.faithfulness import deletion_area, deletion_scores
from xfvlib.files import DATA

SAMPLES = Path(__file__).parents[2] / "shared" / "fixtures"
real = pytest.mark.skipif(not SAMPLES.is_dir(), reason="real samples are not at hand")


@real
@pytest.mark.parametrize(
    "given, least",
    [
        ({"weights": SAMPLES / "mobilefacenet" / "mobilefacenet.pt"}, 0.985),
        ({"name": "sface"}, 0.99),
        ({"name": "dlib-resnet"}, 0.98),
    ],
    ids=["mobilefacenet", "sface", "dlib"],
)
def test_real_models_on_real_lfw(given, least):
    model = xfv.load_model(**given)
    pairs = xfv.load_pairs("lfw", root=SAMPLES / "lfw", model=model)
    assert len(pairs) == 1200
    scores = xfv.scores(model, pairs)
    accuracies, _ = evaluation.cross_validated_accuracy(scores, pairs.labels, pairs.folds)
    assert accuracies.mean() >= least and (model.alignment == "dlib" or not pairs.images.supposed)


@real
def test_explanations_run_on_the_real_mobilefacenet_unchanged(monkeypatch):
    model = xfv.load_model(weights=SAMPLES / "mobilefacenet" / "mobilefacenet.pt")
    model.threshold = 0.3
    pairs = xfv.load_pairs("lfw", root=SAMPLES / "lfw", model=model)
    genuine = pairs[pairs.labels][::200]
    maps = [xfv.METHODS["fggb"](model, pair.a, pair.b, threshold=model.threshold) for pair in genuine]
    random = torch.rand(112, 112, generator=torch.Generator().manual_seed(0))
    areas = {}
    for name, rankings in (("fggb", maps), ("random", [random] * len(maps))):
        for kind in ("deletion", "insertion"):
            scores = [deletion_scores(model, pair, m, kind=kind, fill="mean") for pair, m in zip(genuine, rankings)]
            areas[name, kind] = deletion_area(scores, genuine.labels, model.threshold)[1]
    assert (
        areas["fggb", "deletion"] < areas["random", "deletion"]
        and areas["fggb", "insertion"] > areas["random", "insertion"]
    )
    influence = frequency.frequency_influence(model, genuine[0])
    assert len(influence.a) == 57 and influence.a[1:16].abs().sum() > influence.a[40:].abs().sum()
    monkeypatch.setattr(plots, "display", lambda picture: None)
    plots.show_frequency_influence(influence)
    plots.show_maps(maps, genuine.table.name_a)


@real
def test_a_notebook_runs_whole_on_other_models_and_pairs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DATA.parent / "notebooks"))
    import build

    choice = tmp_path / "mine.py"
    choice.write_text(
        f"model = xfv.load_model(weights={str(SAMPLES / 'mobilefacenet' / 'mobilefacenet.pt')!r})\n"
        f"pairs = xfv.load_pairs('lfw', root={str(SAMPLES / 'lfw')!r}, model=model)\n"
        "model.threshold = 0.23\n"
    )
    monkeypatch.setattr(build, "OUT", tmp_path)
    monkeypatch.setenv("PYTHONOPTIMIZE", "")
    build.main(["05_frequency_decomposition"], False, choice)
    written = (tmp_path / "mine" / "05_frequency_decomposition.html").read_text()
    assert "PairSet 'lfw': 1200 pairs" in written and "(3, 112, 112)" in written
