"""Live figures moved in a real browser: every control by mouse, by touch and by keys."""

import pytest
import torch
from test_browser import CONTRAST

import xfvlib as xfv
from xfvlib import live

HEAD = """<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><style>
body {background: white; color: black}
@media (prefers-color-scheme: dark) {body {background: #111; color: #ddd}}
</style>"""


@pytest.fixture(scope="module")
def figures(tiny, tiny_pairs, model, pairs):
    """One of each kind, and one of them twice."""
    scores, some = xfv.scores(tiny, tiny_pairs), [tiny_pairs[0], tiny_pairs[9]]
    noise = {name: torch.randn(2, 20, 20, generator=torch.Generator().manual_seed(len(name))) for name in ("a", "bc")}
    cutoff = live.show_cutoff_live(tiny, some[0], [1, 3, 5, 8, 12])
    made = [
        live.show_threshold_live(scores, tiny_pairs.labels, 0.95, tiny_pairs),
        live.show_gradients_live(tiny, some[0], channels=[0], levels=(0, 9, 20, 40, 80)),
        live.show_fggb_live(tiny, some),
        live.show_methods_live(tiny, some, noise),
        cutoff,
        live.show_resolution_live(model, pairs[0], (1, 2, 4, 8)),
        live.show_morph_live(model, pairs.pair("s1/1", "s1/2"), pairs.pair("s5/1", "s5/2"), 4),
        cutoff,
    ]
    return HEAD + "".join(f"<h2>{n}</h2>{one.data}" for n, one in enumerate(made))


def look(view):
    """All that is seen of a figure."""
    pictures = view.locator("canvas:visible").evaluate_all("all => all.map((one) => one.toDataURL())")
    charts = view.locator("svg").evaluate_all("all => all.map((one) => one.outerHTML)")
    return view.locator("p").inner_text(), *pictures, *charts


def changed(view, act):
    """Act on a figure, which must then look otherwise."""
    before = look(view)
    act()
    assert look(view) != before
    return look(view)


def move(view):
    """Every control of a figure, the chart, and the way back."""
    page = view.page
    view.locator("canvas").first.wait_for()
    view.scroll_into_view_if_needed()
    first = look(view)
    assert first[0] and view.locator("p").get_attribute("aria-live") == "polite"
    for field in view.locator("select").all():
        start = field.evaluate("one => one.selectedIndex")
        other, key = (0, "ArrowUp") if start else (field.locator("option").count() - 1, "ArrowDown")
        for act in (lambda: field.select_option(index=other), lambda: field.press(key)):  # noqa: B023
            changed(view, act)
            field.select_option(index=start)
            assert look(view) == first
    for field in view.locator("input[type=range]").all():
        seen, texts = [], []
        for share in (0.05, 0.4, 0.95):
            field.scroll_into_view_if_needed()
            box = field.bounding_box()
            page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
            seen.append(look(view))
            texts.append(field.get_attribute("aria-valuetext"))
            assert texts[-1] in field.locator("xpath=..").inner_text()
        assert len(set(seen)) == len(set(texts)) == 3
        where = page.evaluate("window.scrollY")
        for key in ("Home", "ArrowRight", "ArrowUp", "ArrowLeft"):
            seen.append(changed(view, lambda field=field, key=key: field.press(key)))
        assert seen[-1] == seen[-3] and page.evaluate("window.scrollY") == where
    for chart in view.locator("svg[role=img]").all():
        chart.scroll_into_view_if_needed()
        chart.click(position={"x": chart.bounding_box()["width"] / 4, "y": 100})
        box = chart.bounding_box()  # pictures that a click brings or takes away move the chart
        places = [(box["x"] + share * box["width"], box["y"] + box["height"] / 2) for share in (0.25, 0.75)]
        page.mouse.move(*places[0])
        page.mouse.down()
        changed(view, lambda places=places: page.mouse.move(*places[1], steps=5))
        page.mouse.up()
    for field in view.locator("select, input").all():
        field.press("End" if field.get_attribute("aria-valuetext") else "ArrowDown")
    reset = view.get_by_role("button", name="reset")
    changed(view, lambda: reset.press("Enter"))
    assert look(view) == first


def views(page):
    return [one for one in page.locator("[class^=xfv-]").all() if one.locator("input, select").count()]


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_every_live_figure_is_moved_and_asks_for_nothing(browser, figures, tmp_path, width, theme):
    path, asked, wrong = tmp_path / "page.html", [], []
    path.write_text(figures)
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(path.as_uri())
    found = views(page)
    assert len(found) == 8
    for view in found:
        move(view)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert min(page.evaluate(CONTRAST))[0] >= 4.5
    small = "() => [...document.querySelectorAll('[class^=xfv-] *')].filter((one) => one.childNodes[0]?.nodeType == 3)"
    assert page.evaluate(f"({small})().every((one) => parseFloat(getComputedStyle(one).fontSize) >= 12)")
    two = [found[4], found[7]]  # the same figure, twice on the page
    assert look(two[0]) == look(two[1])
    changed(two[0], lambda: two[0].locator("select").press("ArrowDown"))
    assert look(two[0]) != look(two[1])
    assert not wrong and all(url.startswith(("file:", "data:")) for url in asked)
    page.close()


def test_live_figures_are_moved_by_touch(browser, figures, tmp_path):
    (tmp_path / "page.html").write_text(figures)
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    found = views(page)
    assert len(found) == 8
    for view in found:
        view.locator("canvas").first.wait_for()
        for touched in view.locator("input[type=range], svg[role=img]").all():
            touched.scroll_into_view_if_needed()
            box = touched.bounding_box()
            for share in (0.3, 0.8):
                place = box["x"] + share * box["width"], box["y"] + box["height"] / 2
                changed(view, lambda place=place: page.touchscreen.tap(*place))
    context.close()


def test_live_figures_are_moved_in_the_pages_of_their_notebooks(page, site, build):
    moved = 0
    for path in sorted(site.glob("*.html")):
        page.goto(path.as_uri())
        found, notebook = views(page), build.HERE / f"{path.stem}.ipynb"
        stored = notebook.read_text(encoding="utf8") if notebook.exists() else ""
        assert len(found) == stored.count("forEach((root) => figureView(root, "), path.stem
        for view in found:
            move(view)
        moved += len(found)
    assert moved
    assert not page.wrong
