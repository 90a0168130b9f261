"""What readers click, in a real browser: ``make test-browser`` runs these, with playwright and Debian's chromium."""

import re

import pytest

import xfvlib as xfv
from xfvlib.live import show_interaction_live


def explore(page):
    """Move over both faces by mouse and by keys, and see the answers change."""
    view = page.locator("[class^=xfv-]").first
    probe, reference = view.locator("canvas").all()
    said, picture = view.locator("p"), "one => one.toDataURL()"
    probe.scroll_into_view_if_needed()
    seen, pictures = set(), set()
    for x, y in ((0.35, 0.45), (0.65, 0.45), (0.5, 0.65)):
        box = probe.bounding_box()
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        seen.add(said.inner_text())
        pictures.add(reference.evaluate(picture))
        assert re.search(
            r"of the probe .+ finds .+ of the reference .+: [+−]\d\.\d{3} of the cosine", said.inner_text()
        )
    assert len(seen) == len(pictures) == 3
    reference.focus()
    page.keyboard.press("ArrowUp")
    first, shown = said.inner_text(), probe.evaluate(picture)
    page.keyboard.press("ArrowUp")
    assert "of the reference" in first.split(" finds ")[0] and said.inner_text() != first
    assert probe.evaluate(picture) != shown and said.get_attribute("aria-live") == "polite"
    where = page.evaluate("window.scrollY")
    page.keyboard.press("ArrowDown")
    assert said.inner_text() == first and page.evaluate("window.scrollY") == where


@pytest.mark.parametrize("kind", ["windows", "regions"])
def test_an_interaction_is_explored_in_a_page_without_a_kernel(page, tmp_path, model, pairs, kind):
    options = {"step": 16, "sigma": 10} if kind == "windows" else {}
    text = show_interaction_live(xfv.interaction(model, pairs[0], kind, **options)).data
    assert len(text) < 400_000
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{text}", encoding="utf8")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "page.html").as_uri())
    explore(page)
    assert not page.wrong and all(url.startswith(("file:", "data:")) for url in asked)


def test_an_interaction_is_explored_in_the_page_of_its_notebook(page, site):
    page.goto((site / "04b_which_part_with_which.html").as_uri())
    explore(page)
    assert not page.wrong


CUT = """() => [...document.querySelectorAll("article *")].filter((one) => {
  const style = getComputedStyle(one), wide = one.scrollWidth > one.clientWidth + 1 && one.clientWidth;
  return wide && !/auto|scroll/.test(style.overflowX) && style.display != "inline" && !one.querySelector("h1, h2, h3")
    && !one.parentElement.closest("pre, .cell_output, .table-wrapper");
}).map((one) => one.outerHTML.slice(0, 80))"""
LINES = """() => [...document.querySelectorAll("article > section > p, article section section > p")]
  .filter((one) => one.innerText.length > 300).map((one) => {
    const style = getComputedStyle(one);
    return one.innerText.length / Math.round(one.clientHeight / parseFloat(style.lineHeight));
  })"""
CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((one) => one / 255)
    .map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return (numbers(colour)[3] ?? 1) > 0.9 || !one.parentElement ? colour : ground(one.parentElement);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !one.getClientRects().length) continue;
    const [dark, bright] = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => a - b);
    found.push([(bright + 0.05) / (dark + 0.05), texts.currentNode.data.slice(0, 30)]);
  }
  return found;
}"""


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (390, "light"), (800, "dark")])
def test_every_page_is_whole_readable_and_asks_for_nothing(browser, site, width, theme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    for path in sorted([*site.glob("*.html"), *site.glob("solutions/*.html")]):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.stem
        assert not page.evaluate(CUT), path.stem
        contrasts = page.evaluate(CONTRAST)
        assert contrasts and min(contrasts)[0] >= 4.5, (path.stem, min(contrasts))  # WCAG 2, AA
        lines = page.evaluate(LINES)
        if width == 1280 and len(lines) > 5:  # solutions are nearly all code
            assert 62 < sum(lines) / len(lines) < 78, path.stem
    assert not wrong and all(url.startswith(("file:", "data:")) for url in asked)
    page.close()


def test_a_formula_is_drawn_where_it_stands(page, site):
    page.goto((site / "glossary.html").as_uri())
    formula = page.locator("math", has_text="∑").filter(has=page.locator("mover"))
    box, letter = formula.first.bounding_box(), page.locator("math").first.bounding_box()
    assert box["width"] > 5 * letter["width"] and box["height"] > letter["height"] > 5
    assert formula.first.text_content().startswith("∑")


def test_code_folds_and_a_word_is_found(page, site):
    page.goto((site / "05_frequency_decomposition.html").as_uri())
    fold = page.locator("details.code").first
    assert fold.locator("pre").is_visible()
    fold.locator("summary").click()
    assert not fold.locator("pre").is_visible()
    page.locator("input.sidebar-search").fill("lumigraph")
    page.keyboard.press("Enter")
    page.wait_for_selector("ul.search a")
    assert "1 · Face verification" in page.locator("ul.search").inner_text()
    assert not page.wrong


def test_code_wraps_on_paper(page, site):
    page.goto((site / "05_frequency_decomposition.html").as_uri())
    page.set_viewport_size({"width": 700, "height": 900})
    page.emulate_media(media="print")
    assert page.evaluate("[...document.querySelectorAll('pre')].every((one) => one.scrollWidth <= one.clientWidth + 1)")
    assert not page.locator(".sidebar-drawer, .related-pages, summary").locator("visible=true").count()
