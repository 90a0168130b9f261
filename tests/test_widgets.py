import base64
import io
import re
from datetime import datetime

import numpy as np
import PIL.Image
import pytest
import torch

import xfvlib as xfv
from xfvlib import plots, widgets
from xfvlib.pairs import orl_photo_path
from xfvlib.plots import draw_pair


@pytest.fixture(scope="module")
def picker(model, pairs):
    return widgets.pair_picker(model, pairs[:120])


def png(control):
    """The figure's PNG; empty where there is none."""
    found = re.search(r'src="data:image/png;base64,(.+?)"', control.figure.value)
    return base64.b64decode(found[1]) if found else b""


def alt(control):
    return re.search(r' alt="(.*?)"', control.figure.value)[1]


def pixels(png):
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"), float)


def test_groups_hold_what_they_say():
    scores, labels = np.array([0.9, 0.4, 0.6, 0.1]), np.array([True, True, False, False])
    groups = widgets._pair_groups(scores, labels, 0.5)
    assert list(groups["same person"]) == [1, 0] and list(groups["different people"]) == [2, 3]
    assert list(groups["mistakes: different people accepted"]) == [2]
    assert list(groups["mistakes: same person rejected"]) == [1]


def test_it_starts_with_a_picture_and_a_status(picker):
    assert png(picker)[:4] == b"\x89PNG" and "cosine" in picker.status.value


def test_every_control_redraws(picker):
    def after(change):
        before = png(picker)
        change()
        return png(picker) != before

    assert after(lambda: setattr(picker.pair, "index", 1))
    assert after(lambda: setattr(picker.threshold, "value", 0.99))
    assert "rejected" in picker.status.value
    assert after(lambda: setattr(picker.group, "value", "different people"))
    assert all(name.count("and") == 1 for name, _ in picker.pair.options)
    assert after(lambda: setattr(picker.person, "index", 2))
    assert all(f"{picker.person.value}/" in name for name, _ in picker.pair.options)


def test_an_empty_choice_is_said_in_words(picker):
    picker.group.value = "mistakes: different people accepted"
    assert "No such pair" in picker.status.value and picker.pair.value is None
    picker.group.value = "same person"
    assert "cosine" in picker.status.value


def test_errors_reach_the_status_line(tiny, tiny_pairs, monkeypatch):
    picker = widgets.pair_picker(tiny, tiny_pairs[:3])
    monkeypatch.setattr(widgets.plots, "draw_pair", lambda e: 1 / 0)
    picker.threshold.value = 0.95
    assert "ZeroDivisionError" in picker.status.value


def test_the_figure_is_the_libraries(model, pairs):
    picker = widgets.pair_picker(model, pairs[:60], "xssab")
    row = picker.pair.value
    e = xfv.explain(model, pairs[row], "xssab")
    expected, drawn = (pixels(data) for data in (plots.to_png(plots.draw_pair(e)), png(picker)))
    assert drawn.shape == expected.shape and np.abs(drawn - expected).mean() < 0.5  # grey levels of 255


def upload(path, name="photo.pgm", content=None):
    content = path.read_bytes() if content is None else content
    return (
        {
            "name": name,
            "type": "image/*",
            "size": len(content),
            "content": memoryview(content),
            "last_modified": datetime.now(),
        },
    )


def test_two_photographs_in_decision_and_maps_out(model):
    control = widgets.photo_pair(model)
    control.probe.value = upload(orl_photo_path("s1/1"), "one.pgm")
    assert "1 of 2" in control.status.value and not png(control)
    control.reference.value = upload(orl_photo_path("s1/2"), "two.pgm")
    assert "one.pgm – two.pgm accepted" in control.status.value and len(png(control)) > 10_000
    control.threshold.value = 0.99
    assert "rejected" in control.status.value


def test_what_was_said_of_a_photograph_stays_when_the_threshold_moves(model):
    one, two = (PIL.Image.open(orl_photo_path(name)) for name in ("s1/1", "s5/1"))
    both, file = PIL.Image.new("L", (2 * one.width, one.height)), io.BytesIO()
    both.paste(one), both.paste(two, (one.width, 0))
    both.save(file, "png")
    control = widgets.photo_pair(model, "gradient")
    control.probe.value, control.reference.value = (
        upload(orl_photo_path("s1/2")),
        upload(None, "both.png", file.getvalue()),
    )
    assert "2 faces" in control.status.value
    control.threshold.value = 0.99
    assert "2 faces" in control.status.value


def test_photographs_that_cannot_be_used_are_answered_in_words(model):
    control = widgets.photo_pair(model)
    control.probe.value = upload(orl_photo_path("s1/1"))
    for content, words in (
        (b"\x00\x00\x00\x18ftypheic" + bytes(50), "HEIC"),
        (b"<b>", "not an image"),
        (bytes(41_000_000), "MB"),
    ):
        control.reference.value = upload(None, "other.jpg", content)
        assert words in control.status.value and not png(control)
    grey = io.BytesIO()
    PIL.Image.new("RGB", (200, 200), "grey").save(grey, "png")
    control.reference.value = upload(None, "grey.png", grey.getvalue())
    assert "reference photograph: no face was found in grey.png" in control.status.value
    control.probe.value = upload(None, "empty.png", grey.getvalue())
    assert "probe photograph: no face was found in empty.png" in control.status.value
    assert "in grey.png" in control.status.value and "0 of 2" in control.status.value


def forward_passes(model, monkeypatch):
    calls, forward = [], type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda self, images: calls.append(len(images)) or forward(self, images))
    return calls


@pytest.mark.parametrize("method", ["fggb", "occlusion", "xface", "lime"])
def test_a_new_threshold_does_not_run_the_network(tiny, tiny_pairs, monkeypatch, method):
    picker = widgets.pair_picker(tiny, tiny_pairs[:20], method)
    calls = forward_passes(tiny, monkeypatch)
    before = picker.status.value
    picker.threshold.value = 0.9
    assert calls == [] and picker.status.value != before and "threshold 0.9000" in picker.status.value
    picker.pair.index = 1
    assert len(calls) > 0


@pytest.mark.parametrize("method", xfv.METHODS)
def test_the_picker_takes_any_method(tiny, tiny_pairs, monkeypatch, method):
    seen = []
    monkeypatch.setattr(widgets.plots, "draw_pair", lambda e: seen.append(e) or draw_pair(e))
    picker = widgets.pair_picker(tiny, tiny_pairs[:3], method)
    assert "cosine" in picker.status.value, picker.status.value
    expected = xfv.explain(tiny, tiny_pairs[picker.pair.value], method)
    assert seen[0].method == method and torch.allclose(seen[0].map_a, expected.map_a, atol=1e-6)
    assert torch.allclose(seen[0].map_b, expected.map_b, atol=1e-6)


def test_unknown_methods_and_models_without_gradients_are_refused(tiny, tiny_pairs):
    blind = xfv.FaceModel(tiny.network, size=20, differentiable=False, threshold=0.3)
    for make in (lambda *given: widgets.pair_picker(given[0], tiny_pairs, given[1]), widgets.photo_pair):
        with pytest.raises(ValueError, match="known methods"):
            make(tiny, "fgb")
        with pytest.raises(TypeError, match="no gradients"):
            make(blind, "fggb")
    assert "cosine" in widgets.pair_picker(blind, tiny_pairs[:3], "occlusion").status.value


def test_photographs_are_prepared_once(model, monkeypatch):
    control = widgets.photo_pair(model)
    control.probe.value, control.reference.value = (
        upload(orl_photo_path("s1/1")),
        upload(orl_photo_path("s1/2"), "two.pgm"),
    )
    assert "accepted" in control.status.value
    calls = forward_passes(model, monkeypatch)
    control.threshold.value = 0.99
    assert calls == [] and "rejected" in control.status.value
    control.reference.value = upload(orl_photo_path("s1/3"), "three.pgm")
    again = len(calls)
    assert again > 0 and "three.pgm" in control.status.value
    control.reference.value = upload(orl_photo_path("s1/2"), "two.pgm")
    assert len(calls) == again and "two.pgm" in control.status.value


def test_odd_thresholds_are_said_in_words(tiny, tiny_pairs):
    picker = widgets.pair_picker(tiny, tiny_pairs[:3])
    picker.threshold.value = float("nan")
    assert "threshold is nan" in picker.status.value and not png(picker) and not alt(picker)
    picker.threshold.value = 0.9
    assert "cosine" in picker.status.value and png(picker)


def test_names_cannot_bring_markup_into_the_status(model):
    control = widgets.photo_pair(model, "gradient")
    control.probe.value = upload(orl_photo_path("s1/1"), "<script>x</script>.pgm")
    control.reference.value = upload(orl_photo_path("s1/2"), "$\\frac{.pgm")
    assert png(control)[:4] == b"\x89PNG"
    control.reference.value = upload(orl_photo_path("s1/2"), '"><b>.pgm')
    for text in (control.status.value, control.figure.value):
        assert "&lt;script&gt;" in text and "<script" not in text and "<b>" not in text
    assert png(control)[:4] == b"\x89PNG"


def test_a_model_without_threshold_is_refused(tiny, pairs):
    with pytest.raises(ValueError, match="calibrate"):
        widgets.pair_picker(xfv.FaceModel(tiny.network, size=20), pairs)


def test_resolution_slider_redraws_and_says_what_is_left(model, pairs):
    box = widgets.resolution_slider(model, pairs[0])
    before = png(box)
    box.factor.value = 1
    with torch.no_grad():
        score = float(model.embed(pairs[0].a[None])[0] @ model.embed(pairs[0].b[None])[0])
    assert f"112 pixels high: cosine {score:.4f}, accepted" in box.status.value and png(box) != before
    box.factor.value = 16
    assert "1/16, 7 pixels high" in box.status.value and "rejected" in box.status.value


def test_morph_slider_leads_from_one_person_to_the_other(model, pairs):
    one, two = pairs.pair("s1/1", "s1/2"), pairs.pair("s5/1", "s5/2")
    box, said = widgets.morph_slider(model, one, two), {}
    for share in (0, 1):
        box.share.value = share
        said[share] = box.status.value
        assert png(box)[:4] == b"\x89PNG"
    assert "passes as s1/2" in said[0] and "fails as s5/2" in said[0]
    assert "fails as s1/2" in said[1] and "passes as s5/2" in said[1]
    empty = xfv.Pair(torch.full_like(one.a, 0.5), one.b)
    assert "no face" in widgets.morph_slider(model, empty, two).status.value


def test_cutoff_slider_redraws_image_spectrum_and_score(model, pairs):
    box = widgets.cutoff_slider(model, pairs[0])
    before, said = box.figure.value, box.status.value
    box.cutoff.value = 3
    assert box.figure.value != before and "low-pass at 3 cycles" in box.status.value and "rejected" in box.status.value
    box.kept.value = "high-pass"
    assert "high-pass at 3 cycles" in box.status.value
    box.kept.value, box.cutoff.value = "low-pass", box.cutoff.max
    with torch.no_grad():
        score = float(model.embed(pairs[0].a[None])[0] @ model.embed(pairs[0].b[None])[0])
    assert f"cosine {score:.4f}, accepted" in box.status.value
    box.kept.value, box.cutoff.value = "low-pass", 10
    assert (box.figure.value, box.status.value) == (before, said)


def test_reset_brings_every_control_and_the_figure_back(picker):
    def state():
        return {name: getattr(picker, name).value for name in ("group", "person", "pair", "threshold")}, png(picker)

    picker.reset.click()
    first = state()
    picker.group.value, picker.threshold.value = "different people", 0.9
    picker.person.index, picker.pair.index = 2, 0
    assert state() != first
    picker.reset.click()
    assert state() == first and "(the model&#x27;s own)" in picker.status.value


def test_reset_forgets_the_photographs(model, monkeypatch):
    control = widgets.photo_pair(model, "gradient")
    control.probe.value = control.reference.value = upload(orl_photo_path("s1/1"), "one.pgm")
    control.threshold.value = 0.9
    assert "one.pgm – one.pgm accepted" in control.status.value
    control.reset.click()
    assert control.probe.value == control.reference.value == () and control.threshold.value == model.threshold
    assert "0 of 2" in control.status.value and not png(control)
    calls = forward_passes(model, monkeypatch)
    control.probe.value = upload(orl_photo_path("s1/1"), "one.pgm")
    assert calls


def test_the_figure_says_what_it_shows(model, pairs, picker):
    picker.reset.click()
    e = xfv.explain(model, pairs[:120][picker.pair.value])
    assert alt(picker) == plots.told_pair(e)
    one, two = pairs.pair("s1/1", "s1/2"), pairs.pair("s5/1", "s5/2")
    for box in (widgets.cutoff_slider(model, one), widgets.resolution_slider(model, one)):
        assert box.status.value in alt(box) and "s1/1" in alt(box) and "s1/2" in alt(box)
    morph = widgets.morph_slider(model, one, two)
    assert morph.status.value in alt(morph) and "s1/1, the morph, s5/1" in alt(morph)


@pytest.mark.parametrize(("start", "lowest"), [(0.4174, -0.2), (0.9285, 0.857), (0.3, 0.5), (1, 0.2), (-1, -1)])
def test_the_threshold_moves_between_the_lowest_score_and_one_and_stops_at_the_models_own(start, lowest):
    slider = widgets._threshold_slider(start, lowest)
    steps = (start - slider.min) / slider.step
    assert slider.value == start and slider.max == 1 and slider.min <= min(lowest, start)
    assert slider.min > min(lowest, start) - slider.step and abs(steps - round(steps)) < 1e-6


def test_the_threshold_of_two_photographs_reaches_below_their_score(model):
    control = widgets.photo_pair(model, "gradient")
    control.probe.value = upload(orl_photo_path("s17/4"))
    for person in range(1, 4):
        control.reference.value = upload(orl_photo_path(f"s{person}/1"))
        score = float(re.search(r"cosine (-?[\d.]+)", control.status.value)[1])
        assert control.threshold.min < score


def test_a_moved_threshold_is_not_hidden_by_a_word_of_waiting(tiny, tiny_pairs):
    picker, seen = widgets.pair_picker(tiny, tiny_pairs[:3]), []
    picker.status.observe(lambda change: seen.append(change["new"]), "value")
    picker.threshold.value = 0.9
    picker.pair.index = 1
    assert "threshold 0.9" in seen[0] and seen[1] == "Computing …"


def test_a_stored_notebook_says_what_to_do_in_place_of_the_controls(tiny, tiny_pairs):
    picker = widgets.pair_picker(tiny, tiny_pairs[:3])
    assert picker._repr_mimebundle_()["text/plain"] == widgets.NOT_RUN and "Run this cell" in widgets.NOT_RUN
