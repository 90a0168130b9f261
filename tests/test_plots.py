import io
from dataclasses import replace

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from matplotlib.collections import PathCollection

import xfvlib as xfv
from xfvlib import plots
from xfvlib.frequency import frequency_influence, gradient_influence

NAN, INF = float("nan"), float("inf")


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


def climbed(**given):
    """Steps of two methods on the ladder, as the library's table has them."""
    rows = [
        (metric, ranking, "black", 4, 5.0, method, rung, over, gain, gain - 1, gain + 1)
        for metric in ("deletion", "insertion")
        for ranking in ("similarity", "dissimilarity")
        for rung, over, gain in (("another partner", "another person", -2.0), ("own", "another partner", 8.0))
        for method, gain in (("better", gain), ("worse", gain / 2))
    ]
    columns = ["metric", "ranking", "fill", "steps", "blur", "method", "rung", "over", "gain", "gain low", "gain high"]
    return pd.DataFrame(rows, columns=columns).assign(**given)


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
        "ladder": lambda: plots.show_ladder(climbed()),
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
    plots.show_maps([], [])
    assert shown == []


ODD_MAPS = {
    "constant": lambda x: x * 0 + 3,
    "zero": lambda x: x * 0,
    "NaN": lambda x: x * NAN,
    "half NaN": lambda x: torch.where(x > x.median(), NAN, x),
    "infinite": lambda x: torch.where(x == x.max(), INF, x),
    "huge": lambda x: x * 1e30,
    "tiny": lambda x: x * 1e-40,
    "double": lambda x: x.double(),
    "half": lambda x: x.half(),
    "bool": lambda x: x > 0,
    "whole": lambda x: (1000 * x).long(),
    "array": lambda x: x.numpy(),
    "with a graph": lambda x: x.clone().requires_grad_(True),
}


@pytest.mark.filterwarnings("error:.*:RuntimeWarning")
@pytest.mark.parametrize("odd", ODD_MAPS)
def test_odd_maps_are_drawn(shown, explanations, odd):
    e = explanations[0]
    odd_map = ODD_MAPS[odd](e.map_a)
    assert np.isfinite(plots.blend(e.pair.a, odd_map)).all() and 0 < plots.full_colour(odd_map) < INF
    for image in (None, e.pair.a):
        for signed in (True, False):
            for each_scaled in (True, False):
                plots.show_maps([odd_map, e.map_a], ["a", "b"], image=image, signed=signed, each_scaled=each_scaled)
    assert len(shown) == 8
    if isinstance(odd_map, torch.Tensor):
        plots.show_method_grid([[replace(e, map_a=odd_map)]])
        plots.show_pair(replace(e, map_b=odd_map))


def test_maps_without_a_value_stay_uncoloured():
    image = torch.full((3, 1, 2), 0.4)
    assert np.allclose(plots.blend(image, torch.tensor([[NAN, 0.0]]), 1.0), 0.4)


def test_pictures_of_one_pixel_are_drawn(shown):
    plots.show_images([torch.rand(3, 1, 1)], ["one"])
    plots.show_maps([torch.rand(1, 1)], ["one"], image=torch.rand(3, 1, 1))
    plots.show_maps([torch.rand(1, 1)], ["one"], signed=False)
    plots.show_chart([[0.5]], ["r"], ["c"], label="lost")
    plots.show_curves([1], {"a": [0.5]}, xlabel="x", ylabel="y")
    assert len(shown) == 5


@pytest.mark.parametrize("wrong", [lambda x: x[:5], lambda x: x[None], lambda x: x.flatten(), lambda x: x[:0]])
def test_maps_that_do_not_fit_are_refused_in_words(explanations, wrong):
    e = explanations[0]
    for draw in (
        lambda x: plots.blend(e.pair.a, x),
        lambda x: plots.show_maps([x], ["a"], image=e.pair.a),
        lambda x: plots.show_pair(replace(e, map_a=x)),
    ):
        with pytest.raises(ValueError, match="a map has shape"):
            draw(wrong(e.map_a))


def test_what_cannot_be_drawn_is_refused_in_words(explanations):
    labels = np.arange(4) > 1
    for draw, words in (
        (lambda: plots.show_method_grid([]), "one row or more"),
        (lambda: plots.show_method_grid([[]]), "one row or more"),
        (lambda: plots.show_method_grid([explanations, explanations[:2]]), "same methods"),
        (lambda: plots.show_images([explanations[0].pair.a], ["a"], columns=0), "columns is 0"),
        (lambda: plots.show_pair(replace(explanations[0], score=NAN)), "score is nan"),
        (lambda: plots.show_scores([], []), "at least 1"),
        (lambda: plots.show_scores([NAN, 0, 0, 1], labels), "NaN"),
        (lambda: plots.show_scores([0, 0, 0, 1], labels[:2]), "one length"),
        (lambda: plots.show_scores([0, 0, 0, 1], labels, NAN), "threshold is nan"),
        (lambda: plots.show_roc({}, labels), "no curves"),
        (lambda: plots.show_roc({"a": [NAN, 0, 0, 1]}, labels), "NaN"),
        (lambda: plots.show_curves([], {}, xlabel="x", ylabel="y"), "no curves"),
        (lambda: plots.show_curves([1, 2], {"a": [1]}, xlabel="x", ylabel="y"), "of both"),
        (lambda: plots.show_curves([], {"a": []}, xlabel="x", ylabel="y"), "of both"),
        (lambda: plots.show_chart(np.eye(3), ["r"], ["c"], label="l"), "hape"),
        (lambda: plots.show_ladder(climbed(over=None)), "none that adds to a rung"),
        (lambda: plots.show_ladder(pd.concat([climbed(), climbed(fill="mean")])), "of 2 settings"),
    ):
        with pytest.raises(ValueError, match=words):
            draw()


def test_scores_of_one_kind_are_drawn(shown):
    plots.show_scores([0.1, 0.2, 0.3], [True] * 3, 0.15)
    assert "genuine pairs around 0.200" in shown[0].alt and "impostor" not in shown[0].alt


def test_a_ladder_has_a_row_a_method_the_best_one_on_top_and_a_dot_a_gain(monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: drawn.append((figure, alt)))
    plots.show_ladder(climbed())
    (figure, alt), found = drawn[0], []
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["worse", "better"]  # from below
    for ax in figure.axes:
        dots = [dots for dots in ax.collections if isinstance(dots, PathCollection)]
        found.append(sorted(x for some in dots for x, _ in some.get_offsets()))
    assert found == [[-2.0] * 4 + [-1.0] * 4, [4.0] * 4 + [8.0] * 4]
    assert len({ax.get_xlim() for ax in figure.axes}) == 2  # a scale each: steps differ tenfold
    assert "own over another partner from +4.0 to +8.0 points" in alt


def test_every_curve_is_drawn_however_many(shown, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: drawn.append(figure))
    plots.show_curves([1, 2], {f"curve {i}": [i, i + 1] for i in range(15)}, xlabel="x", ylabel="y")
    plots.show_roc({f"model {i}": np.linspace(0, 1, 20) for i in range(12)}, np.arange(20) > 8)
    assert [len(figure.axes[0].get_legend().get_texts()) for figure in drawn] == [15, 12]


@pytest.mark.parametrize("name", ["$x^2$", "$\\frac{", "a$b", "%s %d {}", "\\", "", "a\nb", "ü" * 200, "<b>"])
def test_odd_names_are_drawn_as_they_are(shown, explanations, tiny, name):
    e = explanations[0]
    odd = replace(e, method=name, pair=xfv.Pair(e.pair.a, e.pair.b, None, name, name))
    plots.show_pair(odd)
    plots.show_method_grid([[odd]])
    plots.show_images([e.pair.a], [name], suptitle=name)
    plots.show_maps([e.map_a], [name], label=name)
    plots.show_curves([1, 2], {name or "a": [1, 2]}, xlabel=name, ylabel=name, line=(1, name))
    plots.show_roc({name: np.linspace(0, 1, 20)}, np.arange(20) > 8)
    plots.show_chart(np.eye(2), [name, name], [name, "b"], label=name, xlabel=name, ylabel=name)
    assert len(shown) == 7
    assert name in shown[0].alt


def figures_of(monkeypatch, draw):
    drawn = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: drawn.append((figure, alt)))
    draw()
    return drawn[0]


def test_heat_plots_have_cycles_on_their_axes_and_reach_to_where_there_is_something(monkeypatch, explanations, tiny):
    found = frequency_influence(tiny, explanations[0].pair, width=2)
    only = torch.zeros_like(found.a)
    only[2], only[4] = 0.5, 0.02  # from 2 to 4 cycles, and less than a twentieth of it from 6 to 8
    low = replace(found, a=only, b=only)
    figure, said = figures_of(monkeypatch, lambda: plots.show_frequency_influence(low))
    ax = figure.axes[2]
    reach = np.hypot(2, 3) + 2
    assert ax.get_xlim() == pytest.approx((-reach, reach)) and ax.get_xlabel() == "cycles across"
    assert "shown to 6 cycles" in said
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, right, bottom, top) == (-10.5, 9.5, 9.5, -10.5)
    colours = np.asarray(ax.images[0].get_array())
    assert colours.shape[:2] == (20, 20) and colours[10, 10, 3] == 0  # DC, in the middle of its extent, is left white
    whole, _ = figures_of(monkeypatch, lambda: plots.show_frequency_influence(low, cycles=99))
    assert whole.axes[2].get_xlim() == (-10, 10)


def test_dc_never_sets_the_scale_of_a_heat_plot(monkeypatch, explanations, tiny):
    found = frequency_influence(tiny, explanations[0].pair, width=2)
    pictures = []
    for dc in (0.0, 1e3):
        some = replace(found, a=found.a.index_fill(0, torch.tensor([0]), dc))
        figure, _ = figures_of(monkeypatch, lambda some=some: plots.show_frequency_influence(some))
        pictures.append(np.asarray(figure.axes[1].images[0].get_array()))
    assert np.array_equal(*pictures)


def test_what_a_cutoff_leaves_is_drawn_in_its_own_contrast(explanations):
    pair, everywhere = explanations[0].pair, torch.ones(20, 20, dtype=bool)
    pale = 0.5 + 0.1 * (pair.a - 0.5)
    shown = plots.draw_cutoff(pair, pale, everywhere, 0.5, 0.3).axes[1].images[0].get_array()
    assert np.allclose(np.asarray(shown), pale.permute(1, 2, 0), atol=1e-6)


def test_estimates_without_a_value_for_dc_have_a_heat_plot(shown, explanations, tiny):
    found = gradient_influence(tiny, explanations[0].pair, width=2)
    assert found.a[0].isnan()
    plots.show_frequency_influence(found)
    assert f"band {found.a[1:].abs().argmax() + 1} of the probe" in shown[0].alt
    black = xfv.Pair(*torch.zeros(2, 3, 20, 20))
    plots.show_frequency_influence(frequency_influence(tiny, black, width=2))


def test_a_line_has_the_colour_of_its_name_wherever_it_stands():
    first, second = ["fggb", "genuine"], ["another", "genuine", "fggb, signed", "fggb reversed"]
    (first, second) = (dict(zip(names, plots._looks(names))) for names in (first, second))
    assert first["fggb"] == second["fggb, signed"] and first["genuine"] == second["genuine"]
    assert second["fggb reversed"] == first["fggb"] | {"linestyle": "--"} and second["another"] not in first.values()
    names = [*xfv.METHODS, "IG from the blur", "genuine", "impostor", "blob", "random"]
    assert len({plots._COLOURS[name] for name in names}) == len(names)


def test_a_chart_keeps_the_sign_of_what_is_nearly_white(monkeypatch):
    values = np.random.default_rng(0).normal(0, 0.02, (11, 11)).round(3)
    values[3, 3], drawn, full = 0.1, [], io.BytesIO()
    monkeypatch.setattr(plots, "show", lambda figure, alt: drawn.append(figure))
    plots.show_chart(values, range(11), range(11), label="x")
    drawn[0].savefig(full, format="png", dpi=100)
    exact = PIL.Image.open(full).convert("RGB")
    few, exact = (np.asarray(one.convert("RGB")).astype(int) for one in (plots._few_colours(exact), exact))
    turned = (few[..., 0] - few[..., 2]) * (exact[..., 0] - exact[..., 2]) < 0  # blue where it was red
    assert turned[exact.min(axis=-1) > 200].mean() < 0.005 and np.abs(few - exact).max() < 40
    assert (few[exact.min(axis=-1) == 255] == 255).all()  # the page is white


def test_a_grey_photograph_stays_grey_beside_a_map():
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(0, 256, (60, 60, 1), np.uint8), 3, axis=2)
    exact = np.concatenate([grey, rng.integers(0, 256, (60, 60, 3), np.uint8)], axis=1)
    few = np.asarray(plots._few_colours(PIL.Image.fromarray(exact)).convert("RGB")).astype(int)
    assert (few[:, :60] == few[:, :60, :1]).all() and np.abs(few - exact)[:, :60].max() <= 3
    assert (few[:, 60:] != few[:, 60:, :1]).any()
