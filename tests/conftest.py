import io
import itertools
import os
import shutil
from contextlib import redirect_stderr
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from torch import nn

import xfvlib as xfv

SAMPLES = Path(__file__).parents[2] / "shared" / "fixtures"

if "PYTEST_XDIST_WORKER" in os.environ:  # test processes side by side: one core each
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def build():
    """The program that makes the site, ``notebooks/build.py``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "notebooks"))
        import build

        yield build


@pytest.fixture(scope="session")
def site(build, tmp_path_factory):
    """The site of the stored notebooks, which are not executed."""
    folder = tmp_path_factory.mktemp("site")
    paths = {path.stem: path for path in sorted(build.HERE.glob("*.ipynb"))}
    paths |= {f"solutions/{path.stem}": path for path in sorted(build.HERE.glob("solutions/*.ipynb"))}
    with redirect_stderr(io.StringIO()) as warned:
        build.site({name: nbformat.read(path, as_version=4) for name, path in paths.items()}, folder)
    assert not warned.getvalue()
    return folder


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium; ``make test-browser`` installs what is needed to drive it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium: install it, or name one in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """A page that notes its errors."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.wrong = []
    opened.on("console", lambda message: message.type == "error" and opened.wrong.append(message.text))
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def model():
    return xfv.load_model()


@pytest.fixture(scope="session")
def pairs():
    return xfv.load_pairs("orl")


@pytest.fixture(scope="session")
def dlib_model():
    return xfv.load_model("dlib-resnet")


@pytest.fixture(scope="session")
def dlib_pairs(dlib_model):
    return xfv.load_pairs("orl", model=dlib_model)


@pytest.fixture(scope="session")
def on_lfw():
    """A trained MobileFaceNet at its threshold and official LFW pairs; None where the real samples are not at hand."""
    if not SAMPLES.is_dir():
        return None
    mobilefacenet = xfv.load_model(weights=SAMPLES / "mobilefacenet" / "mobilefacenet.pt")
    found = xfv.load_pairs("lfw", root=SAMPLES / "lfw", model=mobilefacenet)
    xfv.calibrate(mobilefacenet, found)
    return mobilefacenet, found


@pytest.fixture(scope="session")
def tiny():
    """A small smooth-and-kinked network of fixed weights: fast enough for loops over every channel."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 6, 5, stride=2), nn.Conv2d(6, 8, 3)
    network = nn.Sequential(first, nn.PReLU(), second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 11))
    return xfv.FaceModel(network, size=20, name="tiny", threshold=0.3)


@pytest.fixture
def crops():
    """Two reproducible 20×20 crops for the tiny network."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, 20, 20, generator=generator)


@pytest.fixture(scope="session")
def tiny_pairs():
    """All 190 pairs of 20 crops for the tiny network: 5 people of 4 alike images."""
    generator = torch.Generator().manual_seed(2)
    faces = torch.rand(5, 3, 20, 20, generator=generator)
    noise = torch.rand(5, 4, 3, 20, 20, generator=generator)
    images = {f"p{i}/{j}": 0.6 * faces[i] + 0.4 * noise[i, j] for i in range(5) for j in range(4)}
    table = pd.DataFrame(itertools.combinations(images, 2), columns=["name_a", "name_b"])
    table["same"] = table.name_a.str[:2] == table.name_b.str[:2]
    return xfv.PairSet("tiny", table.assign(fold=-1), images)
