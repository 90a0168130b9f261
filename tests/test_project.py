"""The repository's own promises: one list of dependencies, notebooks as they are to be committed."""

import html
import re
import tomllib
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONDA_NAMES = {"pytorch-cpu": "torch"}


def name(requirement):
    found = re.match(r"[A-Za-z0-9_.-]+", requirement).group().lower()
    return CONDA_NAMES.get(found, found)


def test_pyproject_environment_and_lock_name_the_same_packages():
    project = {name(line) for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]}
    listed = re.findall(r"^ +- ([\w.-]+)", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    environment = {name(line) for line in listed} - {"conda-forge", "python", "pip"}
    pinned = re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    lock = {pin.lower().replace("_", "-") for pin in pinned}
    assert project == environment
    assert project <= lock


def test_every_package_is_pinned_and_torch_is_never_open():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in lines)
    assert "torch==2.13.0" in lines and '"torch==2.13.0"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_as_promised(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "widgets" not in notebook.metadata and notebook.metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 1.5e6
    assert all(cell.execution_count for cell in code) and sum(bool(cell.outputs) for cell in code) > len(code) / 2
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for cell in code for output in cell.outputs)
    assert max(len(cell.source.splitlines()) for cell in code) <= 20
    named = [cell for cell in code if "notebook_setup()" in cell.source]  # these print the machine, which is another elsewhere
    assert len(named) == 1 and "nbval-ignore-output" in named[0].metadata.get("tags", [])
    text = "\n".join(cell.source for cell in notebook.cells)
    assert all(
        word in text for word in ("**You will**", "**Before:**", "**Time:**", "## What was found", "**Try it yourself**", "**References.**")
    )
    for cell in code:
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert output.metadata["image/png"]["alt"]


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if not path.stem.startswith("09")], ids=lambda path: path.stem)
def test_only_the_choice_cell_names_recogniser_and_photographs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    chosen = [cell for cell in cells if "choice" in cell.metadata.get("tags", [])]
    assert len(chosen) == 1 and "\nmodel = " in chosen[0].source and "\npairs = " in chosen[0].source
    rest = "\n".join(cell.source for cell in cells if cell is not chosen[0])
    assert not re.search(r'"s\d+/\d+"|\(150|\bmodel = |\bpairs = ', rest)


def test_pages_hold_the_alternative_text_of_every_figure(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "notebooks"))
    import build

    notebook = nbformat.read(ROOT / "notebooks" / "05_frequency_decomposition.ipynb", as_version=4)
    texts = [
        output.metadata["image/png"]["alt"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    written = re.findall(r'<img alt="([^"]*)"', build.page(notebook))
    assert len(texts) > 5 and [html.unescape(text) for text in written] == texts
