"""Notebooks in JupyterLab, in a real browser, as ``make lab`` starts it: as they are stored, run, and their controls
moved."""

import json
import os
import re
import shlex
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import PIL.Image
import pytest
from test_browser import explore
from test_browser_live import move

from xfvlib.pairs import orl_photo_path
from xfvlib.widgets import NOT_RUN

ROOT = Path(__file__).parents[1]
LONG = 120_000  # ms, for a machine that has much else to do
INTERACTION = """
import xfvlib as xfv
from xfvlib.live import show_interaction_live
model = xfv.load_model()
show_interaction_live(xfv.interaction(model, xfv.load_pairs("orl", model=model)[0], "regions"))
"""
RESOLUTION = """
import xfvlib as xfv
from xfvlib.live import show_resolution_live
model = xfv.load_model()
show_resolution_live(model, xfv.load_pairs("orl", model=model)[0], (1, 2, 4, 8, 16))
"""


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """A function that opens a notebook in JupyterLab, started as ``make lab`` starts it; it returns the page."""
    folder, config = (tmp_path_factory.mktemp(name) for name in ("notebooks", "config"))
    (config / "labconfig").mkdir()  # cells that are out of sight are on the page, too
    settings = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(settings))
    # run by make, make would also tell which folder it enters and leaves
    asked = ["make", "--dry-run", "--no-print-directory", "lab"]
    told = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True)
    command = shlex.split(told.stdout.splitlines()[-1])
    assert command[1:3] == ["lab", "notebooks"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    options = ["--no-browser", "--allow-root", "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    options += [f"--port={address.rpartition(':')[2]}", "--ServerApp.port_retries=0"]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(config), "JUPYTER_DATA_DIR": str(config / "data")}
    command = [command[0], "lab", str(folder), *command[3:], *options]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    pages = []

    def opened(cells):
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        name = f"{len(pages)}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / name)
        pages.append(browser.new_page(viewport={"width": 1280, "height": 1400}))
        pages[-1].goto(f"{address}/lab/tree/{name}?reset", timeout=LONG)
        pages[-1].wait_for_selector(".jp-CodeCell", timeout=LONG)
        pages[-1].wait_for_function(
            "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'", timeout=LONG
        )
        return pages[-1]

    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/api").read()
                break
            except OSError:
                time.sleep(0.2)
        yield opened
    finally:
        for one in pages:
            one.close()
        server.terminate()
        server.wait(60)


def run(page):
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")


def control(lab, number):
    """The panel of a notebook's control, whose stored output has said what to do, once the whole notebook has run."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    page = lab(nbformat.read(path, as_version=4).cells)
    page.wait_for_selector(f".jp-OutputArea-output :text-is('{NOT_RUN}')", timeout=LONG)
    assert not page.get_by_text("model not found").count() and not page.locator(".widget-vbox").count()
    run(page)
    assert not page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count()  # where errors stand, too
    panel = page.locator(".jp-OutputArea-output .widget-vbox")
    panel.locator("[role=status]").wait_for(timeout=LONG)
    panel.scroll_into_view_if_needed()
    assert not page.get_by_text(NOT_RUN).count()
    return panel


def said(panel):
    return panel.get_by_role("status").inner_text()


def shown(panel):
    return panel.locator("img").get_attribute("src")


def value(panel):
    return float(panel.get_by_role("slider").get_attribute("aria-valuetext"))


def changed(panel, act, expected):
    """Act, and wait until the figure is another and the status says what ``expected`` gives; returns the status."""
    before = shown(panel)
    act()
    for _ in range(LONG // 100):
        if shown(panel) != before and re.search(expected(), said(panel)):
            return said(panel)
        panel.page.wait_for_timeout(100)
    raise AssertionError(f"{said(panel)!r} does not say {expected()!r}, or the figure is the same")


def drag(panel, pixels):
    """Take the slider's handle by the mouse to the right."""
    box = panel.get_by_role("slider").bounding_box()
    x, y, mouse = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, panel.page.mouse
    mouse.move(x, y)
    mouse.down()
    for step in range(1, 6):
        mouse.move(x + pixels * step / 5, y)
    mouse.up()


def slide(panel, expected):
    """The slider by mouse and by keys; the number, the status and the figure follow it."""
    numbers = [value(panel)]
    changed(panel, lambda: drag(panel, 50), expected)
    numbers.append(value(panel))
    for key in ("ArrowRight", "PageUp", "ArrowLeft"):
        changed(panel, lambda key=key: panel.get_by_role("slider").press(key), expected)
        numbers.append(value(panel))
    start, dragged, right, up, left = numbers
    assert start < dragged < right < left < up


def reset(panel, first):
    """By keys: the status, and the slider, as at first."""
    panel.get_by_role("button", name="Reset").press("Enter")
    for _ in range(LONG // 100):
        if said(panel) == first:
            return
        panel.page.wait_for_timeout(100)
    raise AssertionError(f"{said(panel)!r} is not {first!r}")


def test_a_pair_is_picked_and_its_threshold_moved(lab):
    panel = control(lab, "03")
    assert panel.get_by_role("img").get_attribute("alt").startswith("Pair s")
    first, threshold = said(panel), lambda: f"threshold {value(panel):.4f}"
    assert panel.get_by_role("slider", name="Threshold").count() == 1 and "the model's own" in first
    slide(panel, threshold)
    pair = panel.get_by_role("combobox", name="Pair", exact=True)  # where JupyterLab keeps the arrows for its cells
    cosine = lambda: pair.locator("option:checked").get_attribute("value").rpartition("cosine ")[2]
    changed(panel, lambda: pair.press("End"), cosine)
    kind = panel.get_by_role("combobox", name="Kind of pair")
    changed(panel, lambda: kind.press("End"), lambda: f"cosine {cosine()}")
    reset(panel, first)


def test_a_cutoff_is_moved(lab):
    panel = control(lab, "05")
    first, cycles = said(panel), lambda: f"-pass at {value(panel):.0f} cycles"
    assert panel.get_by_role("img").get_attribute("alt").endswith(f"{first}.")
    slide(panel, cycles)
    keep = panel.get_by_role("combobox", name="Keep")
    changed(panel, lambda: keep.press("End"), lambda: f"high-pass at {value(panel):.0f} cycles")
    assert panel.get_by_role("slider", name="Cut-off").count() == 1
    reset(panel, first)


def test_two_photographs_are_brought_of_which_one_is_large(lab, tmp_path):
    face, large = PIL.Image.open(orl_photo_path("s17/4")), PIL.Image.new("RGB", (2000, 2000), "grey")
    PIL.Image.fromarray(np.full((200, 200), 128, np.uint8)).save(tmp_path / "grey.png")
    large.paste(face.resize((920, 1120)), (500, 400))
    large.save(tmp_path / "large.png", compress_level=0)
    PIL.Image.open(orl_photo_path("s17/9")).save(tmp_path / "small.png")
    assert (tmp_path / "large.png").stat().st_size >= 12_000_000
    panel = control(lab, "09")

    def bring(side, name, answer):
        with panel.page.expect_file_chooser() as chooser:
            panel.get_by_role("button", name=f"{side} photograph").click()
        chooser.value.set_files(tmp_path / name)
        panel.get_by_role("status").filter(has_text=answer).wait_for(timeout=LONG)

    first = said(panel)
    assert "40 MB" in panel.inner_text() and "0 of 2" in first
    bring("Probe", "grey.png", "probe photograph: no face was found in grey.png")
    bring("Reference", "small.png", "1 of 2")
    bring("Probe", "large.png", "large.png – small.png accepted")
    panel.locator("img[alt^='Pair large.png and small.png, accepted']").wait_for(timeout=LONG)
    slide(panel, lambda: f"threshold {value(panel):.3f}")
    bring("Reference", "grey.png", "reference photograph: no face was found in grey.png")
    reset(panel, first)
    assert not panel.get_by_role("img").count()


def test_an_interaction_is_explored_in_jupyterlab(lab):
    page = lab([nbformat.v4.new_code_cell(INTERACTION)])
    run(page)
    page.wait_for_selector("[class^=xfv-] canvas", timeout=LONG)
    explore(page)


def test_a_live_figure_is_moved_in_jupyterlab(lab):
    page = lab([nbformat.v4.new_code_cell(RESOLUTION)])
    run(page)
    page.wait_for_selector("[class^=xfv-] canvas", timeout=LONG)
    move(page.locator("[class^=xfv-]"))
