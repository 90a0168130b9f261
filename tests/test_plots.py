import io

import numpy as np
import PIL.Image
import pytest
import torch

import xfvlib as xfv
from xfvlib import plots
from xfvlib.frequency import frequency_influence


@pytest.fixture
def shown(monkeypatch):
    pictures = []
    monkeypatch.setattr(plots, "display", pictures.append)
    return pictures


@pytest.fixture(scope="module")
def explanations(tiny):
    crops = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    pair = xfv.Pair(*crops, same=True, name_a="anna/1", name_b="anna/2")
    return [xfv.explain(tiny, pair, method) for method in xfv.METHODS]


def every_figure(explanations, tiny):
    e = explanations[0]
    scores, labels = np.linspace(0, 1, 20), np.arange(20) > 8
    return {
        "pair": lambda: plots.show_pair(e),
        "method grid": lambda: plots.show_method_grid([explanations, explanations]),
        "images": lambda: plots.show_images([e.pair.a], ["anna/1"]),
        "maps": lambda: plots.show_maps([e.map_a, e.map_b], ["one", "two"], image=e.pair.a),
        "magnitudes": lambda: plots.show_maps([e.similarity_a], ["one"], signed=False, each_scaled=False, label="unit"),
        "frequency": lambda: plots.show_frequency_influence(frequency_influence(tiny, e.pair, width=2)),
        "scores": lambda: plots.show_scores(scores, labels, 0.5),
        "roc": lambda: plots.show_roc({"model": scores}, labels),
        "curves": lambda: plots.show_curves(
            [1, 2], {"a": [0.5, 0.2], "b": ([1, 2], [0, 1], [2, 3])}, xlabel="x", ylabel="y", line=(1, "t")
        ),
        "chart": lambda: plots.show_chart([[0.5, -0.25]], ["r"], ["c", "d"], label="lost"),
    }


def test_every_figure_is_shown_with_alternative_text_and_returns_nothing(shown, explanations, tiny):
    figures = every_figure(explanations, tiny)
    assert len(figures) >= len([name for name in dir(plots) if name.startswith("show_")])
    for name, draw in figures.items():
        assert draw() is None, name
    assert len(shown) == len(figures)
    for picture in shown:
        assert len(picture.alt) > 8
        image = PIL.Image.open(io.BytesIO(picture.data)).convert("RGB")
        assert len(image.getcolors(1 << 24)) > 8  # not an empty page


def test_alt_text_says_the_decision(shown, explanations):
    plots.show_pair(explanations[0])
    assert "anna/1" in shown[0].alt and f"{explanations[0].score:.4f}" in shown[0].alt
    assert ("accepted" if explanations[0].accepted else "rejected") in shown[0].alt


def test_blend_keeps_the_face_where_the_map_is_silent_and_colours_the_sign():
    image = torch.full((3, 1, 3), 0.4)
    out = plots.blend(image, torch.tensor([[-1.0, 0.0, 1.0]]), 1.0)
    assert np.allclose(out[0, 1], 0.4)
    assert out[0, 0, 0] > out[0, 0, 2] and out[0, 2, 2] > out[0, 2, 0]  # red against, blue for


def test_palettes_are_symmetric_and_monotonous():
    grey = plots.mpl.colormaps[plots.SIGNED](np.linspace(0, 1, 101))[:, :3] @ [0.3, 0.59, 0.11]
    assert grey.argmax() == 50 and plots.SIGNED != "jet"
    magnitude = plots.mpl.colormaps[plots.MAGNITUDE](np.linspace(0, 1, 101))[:, :3] @ [0.3, 0.59, 0.11]
    assert (np.diff(magnitude) > 0).all()


def test_maps_without_any_value_can_be_drawn():
    assert plots.full_colour(torch.zeros(4, 4)) == 1.0
    assert plots.full_colour(torch.eye(100)) == 1.0


def test_the_library_hands_out_raw_maps(explanations):
    before = explanations[0].map_a.clone()
    plots.draw_pair(explanations[0])
    assert torch.equal(before, explanations[0].map_a)


def test_no_images_make_no_figure(shown):
    plots.show_images([], [])
    assert shown == []
