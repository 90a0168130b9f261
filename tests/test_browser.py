"""What readers click, in a real browser: ``make test-browser`` runs these, with playwright and Debian's chromium."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

import xfvlib as xfv
from xfvlib.live import show_interaction_live

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium: install it, or name one in CHROMIUM")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """A page that notes its errors, and every request that leaves the disk."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.wrong = []
    opened.on("console", lambda message: message.type == "error" and opened.wrong.append(message.text))
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    yield opened
    opened.close()


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


def test_an_interaction_is_explored_in_the_page_of_its_notebook(page, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "notebooks"))
    import build

    notebook = nbformat.read(ROOT / "notebooks" / "04b_which_part_with_which.ipynb", as_version=4)
    (tmp_path / "page.html").write_text(build.page(notebook), encoding="utf8")
    page.goto((tmp_path / "page.html").as_uri())
    explore(page)
    assert not page.wrong


CELL = """
import xfvlib as xfv
from xfvlib.live import show_interaction_live
model = xfv.load_model()
show_interaction_live(xfv.interaction(model, xfv.load_pairs("orl", model=model)[0], "regions"))
"""


def test_an_interaction_is_explored_in_jupyterlab(page, tmp_path):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata=kernel)
    nbformat.write(notebook, tmp_path / "one.ipynb")
    port = "8917"
    options = [
        "--ServerApp.token=",
        "--no-browser",
        "--allow-root",
        "--LabApp.expose_app_in_browser=True",
        "--port",
        port,
    ]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_DATA_DIR": str(tmp_path / "data")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options, "--ServerApp.port_retries=0", str(tmp_path)],
        stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api").read()
                break
            except OSError:
                time.sleep(0.5)
        page.goto(f"http://127.0.0.1:{port}/lab/tree/one.ipynb")
        page.wait_for_selector(".jp-CodeCell", timeout=120_000)
        page.wait_for_function(
            "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel", timeout=120_000
        )
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_selector("[class^=xfv-] canvas", timeout=180_000)
        explore(page)
    finally:
        server.terminate()
        server.wait(20)
