import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_onnx import write_onnx

import xfvlib as xfv
from xfvlib import perturb
from xfvlib.frequency import keep_frequencies
from xfvlib.interaction import PLACES, Places, interaction, matrix_of, places_of, prepare_places
from xfvlib.live import show_interaction_live
from xfvlib.methods import embedding_of
from xfvlib.sanity import planted

SMALL = {"windows": {"step": 32, "sigma": 14}, "regions": {}, "bands": {"width": 14}, "bands in windows": {"step": 48}}


def cosine(model, a, b):
    a, b = (embedding_of(model, image)["embedding"] for image in (a, b))
    return float(a @ b)


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("row", [0, 1])
def test_interaction_is_the_second_difference_of_four_cosines(model, pairs, kind, row):
    pair = pairs[[0, -1][row]]
    i = interaction(model, pair, kind, **SMALL[kind])
    places, rng = i.places_a, np.random.default_rng(row)
    assert i.matrix.shape == (len(places.names),) * 2 and i.score == pytest.approx(cosine(model, pair.a, pair.b))

    def without(image, place):
        if places.masks is None:
            gone = image - perturb.filled(image, "blur")
        else:
            gone = keep_frequencies(image, places.masks[place])
        return image - (gone if places.weights is None else places.weights[place] * gone)

    for r, s in rng.integers(0, len(places.names), (4, 2)).tolist():
        a, b = without(pair.a, r), without(pair.b, s)
        four = [cosine(model, *two) for two in ((pair.a, pair.b), (a, pair.b), (pair.a, b), (a, b))]
        assert float(i.matrix[r, s]) == pytest.approx(four[0] - four[1] - four[2] + four[3], abs=1e-5)
        assert float(i.a[r]) == pytest.approx(four[0] - four[1], abs=1e-5)
        assert float(i.b[s]) == pytest.approx(four[0] - four[2], abs=1e-5)


def test_swapped_images_turn_the_matrix_over(model, pairs):
    pair = pairs[0]
    i, j = (interaction(model, one, "regions") for one in (pair, replace(pair, a=pair.b, b=pair.a)))
    assert torch.allclose(i.matrix, j.matrix.T, atol=1e-6)
    assert torch.allclose(i.a, j.b, atol=1e-6) and torch.allclose(i.b, j.a, atol=1e-6)
    assert torch.equal(i.from_a("nose"), i.matrix[i.places_a.number("nose")])
    assert torch.equal(i.from_b("nose"), i.matrix[:, i.places_a.number("nose")])


def test_places_that_change_nothing_interact_with_nothing(model, pairs):
    pair, size = pairs[0], model.size
    weights = torch.zeros(2, *size)
    weights[1, 40:60, 30:50] = 1
    i = interaction(model, pair, Places(["nothing", "an eye"], weights))
    assert i.matrix[0].abs().max() < 1e-6 and i.matrix[:, 0].abs().max() < 1e-6 and abs(float(i.a[0])) < 1e-6
    assert abs(float(i.matrix[1, 1])) > 1e-4
    same = interaction(model, replace(pair, b=pair.a), "regions")  # of an image with itself: a Gram matrix
    assert torch.allclose(same.matrix, same.matrix.T, atol=1e-6) and torch.linalg.eigvalsh(same.matrix).min() > -1e-5
    evenly_grey = replace(pair, a=torch.full_like(pair.a, 0.5))  # which its own blur does not change
    assert interaction(model, evenly_grey, "regions").matrix.abs().max() < 1e-4


def test_a_further_partner_costs_no_forward_pass(model, pairs, monkeypatch):
    places = places_of(model, "regions")
    prepared = [prepare_places(model, image, places) for image in (pairs[0].a, pairs[0].b, pairs[-1].b)]
    monkeypatch.setattr(type(model), "embed", None)
    first, second = (matrix_of(prepared[0], other) for other in prepared[1:])
    assert first.shape == second.shape == (10, 10) and not torch.allclose(first, second, atol=1e-3)


def test_places_of_two_kinds_each_take_their_options(model, pairs):
    i = interaction(model, pairs[0], ("bands", "windows"), width=14, step=32, sigma=14)
    assert i.places_a.names[:2] == ["DC", "band 1"] and i.matrix.shape == (len(i.a), len(i.b)) == (6, 9)
    assert i.places_b.number((55, 55)) == 4 == i.places_b.number("x 56, y 56") == i.places_b.number(4)
    mixed = interaction(model, pairs[0], ("bands", i.places_b), width=14)
    assert torch.equal(mixed.matrix, i.matrix)
    # the same numbers as the band influence of the frequency part
    assert torch.allclose(i.a, xfv.frequency_influence(model, pairs[0], width=14).a, atol=1e-6)


def test_windows_cover_the_image_evenly_and_spread_gives_a_value_back(model):
    places = places_of(model)
    assert len(places.names) == 169 and places.weights.max() == pytest.approx(1, abs=0.01)
    middle = places.weights.sum(dim=0)[20:-20, 20:-20]
    assert middle.std() < 0.01 * middle.mean()
    assert torch.allclose(places.spread(torch.ones(169))[10:-10, 10:-10], torch.ones(1), atol=1e-4)
    regions = places_of(model, "regions")
    assert torch.allclose(regions.weights.sum(dim=0), torch.ones(1), atol=1e-5)
    eye, other = (regions.centres[regions.number(name)] for name in ("left eye", "right eye"))
    assert eye[0] < 50 < 62 < other[0] and eye[1] == pytest.approx(float(other[1]), abs=0.1)
    larger = xfv.FaceModel(torch.nn.Flatten(), size=224)
    assert places_of(larger).names[0] == "x 16, y 16" and len(places_of(larger).names) == 169


def test_strongest_couples_lie_apart_and_fall(model, pairs):
    i = interaction(model, pairs[0])
    table = i.strongest(6, apart=20)
    assert table["interaction"].is_monotonic_decreasing and table["interaction"][0] == float(i.matrix.max())
    for one in table.itertuples():
        assert float(i.matrix[one.row, one.column]) == pytest.approx(one.interaction)
        for other in table[: one.Index].itertuples():
            ends = ((i.places_a, one.row, other.row), (i.places_b, one.column, other.column))
            assert any((places.centres[x] - places.centres[y]).norm() >= 20 for places, x, y in ends)
    everything = interaction(model, pairs[0], "regions").strongest(1000, apart=0)
    assert len(everything) == 100 and not everything.duplicated(["row", "column"]).any()


def test_black_boxes_have_interactions(tmp_path, pairs):
    weights = np.random.default_rng(0).normal(size=(6, 3 * 112 * 112)).astype(np.float32)
    box = xfv.load_model("onnx", weights=write_onnx(tmp_path / "x.onnx", ("batch", 3, 112, 112), weights=weights))
    own = xfv.FaceModel(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 112 * 112, 6, bias=False)))
    own.network[1].weight.data = torch.from_numpy(weights)
    found, expected = (interaction(one, pairs[0], "bands", width=14).matrix for one in (box, own))
    assert torch.allclose(found, expected, atol=1e-4) and not box.differentiable and found.abs().max() > 1e-2


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"places": "squares"}, ValueError, "places is 'squares'; it must be one of 'windows'"),
        ({"places": ("bands",)}, ValueError, "places are 1"),
        ({"places": "regions", "step": 8}, TypeError, "no option 'step'"),
        ({"places": ("bands", "regions"), "sigma": 8}, TypeError, "bands and regions have no option 'sigma'"),
        ({"step": 0}, ValueError, "step is 0"),
        ({"step": 500}, ValueError, "leaves no window"),
        ({"sigma": -1}, ValueError, "sigma is -1"),
        ({"fill": "pink"}, ValueError, "fill is 'pink'"),
        ({"places": "bands", "width": 0}, ValueError, "width is 0"),
        ({"places": Places(["x"], torch.ones(1, 8, 8))}, ValueError, "use one model's"),
    ],
)
def test_wrong_arguments_are_answered_in_words(model, pairs, given, error, said):
    with pytest.raises(error, match=said):
        interaction(model, pairs[0], **given)


def test_wrong_places_are_answered_in_words(model, pairs):
    with pytest.raises(TypeError, match="pair is a Tensor"):
        interaction(model, pairs[0].a)
    with pytest.raises(TypeError, match="regions have no option 'step'; they have none"):
        places_of(model, "regions", step=3)
    i = interaction(model, pairs[0], "regions")
    for place in (10, -1, "ear", 0.5, None):
        with pytest.raises(ValueError, match="a number below 10, a name such as 'forehead', or"):
            i.from_a(place)
    with pytest.raises(ValueError, match="count is 0"):
        i.strongest(0)
    with pytest.raises(ValueError, match="bands lie nowhere"):
        places_of(model, "bands").spread(torch.ones(57))


def test_a_planted_square_is_the_same_piece_in_both_images(pairs):
    pair, donor = pairs[0], pairs.image("s9/1")
    shown = planted(pair, donor, (30, 40), (80.4, 70), side=20)
    assert torch.equal(shown.a[:, 30:50, 20:40], shown.b[:, 60:80, 70:90])
    piece = shown.a[:, 30:50, 20:40]
    assert torch.equal(piece, donor[:, 41:61, 28:48])  # around the left eye
    untouched = torch.ones(112, 112, dtype=torch.bool)
    untouched[30:50, 20:40] = False
    assert torch.equal(shown.a[:, untouched], pair.a[:, untouched])
    cut = planted(pair, donor, (0, 0), (112, 112), side=20)
    assert torch.equal(cut.a[:, :10, :10], donor[:, 51:61, 38:48])
    assert torch.equal(cut.b[:, -10:, -10:], donor[:, 41:51, 28:38])
    with pytest.raises(ValueError, match="differ in size"):
        planted(pair, torch.rand(3, 8, 8), (1, 1), (2, 2))
    with pytest.raises(ValueError, match="make it smaller"):
        planted(pair, donor, (1, 1), (2, 2), side=200)


def test_the_live_figure_holds_the_matrix_and_asks_for_nothing(model, pairs):
    pair = replace(pairs[0], name_a="</script><b>x", name_b="a & b")
    i = interaction(model, pair, "regions")
    text = show_interaction_live(i).data
    given = json.loads(re.search(r"interactionView\(root, (\{.*\})\)\);\n", text)[1])
    matrix = np.frombuffer(base64.b64decode(given["matrix"]), "<i2").reshape(10, 10) * given["largest"]
    assert np.allclose(matrix, i.matrix, atol=float(i.matrix.abs().max()) / 30000)
    weights = np.frombuffer(base64.b64decode(given["sides"][0]["weights"]), np.uint8).reshape(10, 28, 28)
    assert "weights" not in given["sides"][1] and abs(int(weights.sum(axis=0, dtype=int)[14, 14]) - 255) < 5
    assert text.count("</script>") == 1 and not re.search(r"https?:|\bfetch\b|src=", text)
    assert show_interaction_live(i).data == text
    with pytest.raises(ValueError, match="bands lie nowhere"):
        show_interaction_live(interaction(model, pairs[0], "bands", width=28))
