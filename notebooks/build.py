"""Execute the notebooks in order; write them, their HTML pages, the API reference and an index into ``build/``.

``--in-place`` writes the executed notebooks back to this folder instead, as they are committed: outputs kept, no widget
state and no timings. Names of notebooks as arguments choose some of them.

``--choice mine.py`` runs those that have a cell tagged ``choice`` on another recogniser and other pairs, and writes
them into ``build/mine/``. The lines of the file take the place of that cell: they define ``model``, with its threshold,
and ``pairs``, and paths in them are relative to the file. Assertions, which hold what is said of the stored results,
are switched off.
"""

import argparse
import html
import os
import pkgutil
import re
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path

import nbformat
import pdoc
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CellExecutionError, ExecutePreprocessor

import xfvlib

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build"
EXAMPLES = """
from xfvlib.notebook import examples

globals().update(examples(model, pairs))  # in place of the pairs that this notebook names: others, chosen by rule
print(model, pairs, sep="\\n")
"""
NOTE = """**Run on another recogniser or other pairs.** What is computed from `model` and `pairs` is that of `{name}`.
The text was written for sface on ORL, and the numbers in it are of that run. Tables read from `data/results`, and what
is computed for comparison with them, are of dlib-resnet on ORL, the former default, or of MobileFaceNet on LFW."""
MISSING = "No description has been provided for this image"
PAGE = (
    "<!doctype html><meta charset=utf-8><title>{title}</title>"
    "<body style='font:16px sans-serif;max-width:42em;margin:3em auto'><h1>{title}</h1>{content}"
)


def choose(notebook, path):
    """Put the lines of a file in place of the notebook's own choice; False where it has none."""
    for cell in notebook.cells:
        if "choice" in cell.metadata.get("tags", []):
            cell.source = path.read_text(encoding="utf8").rstrip() + "\n" + EXAMPLES.rstrip()
            notebook.cells.insert(1, nbformat.v4.new_markdown_cell(NOTE.format(name=path.name)))
            return True
    return False


def execute(notebook, folder, seconds_a_cell):
    """Run all cells in a fresh kernel that works in a folder; returns the error as text, or None."""
    stored = {"store_widget_state": False, "record_timing": False}
    quiet = ["--log-level=40"]
    runner = ExecutePreprocessor(timeout=seconds_a_cell, kernel_name="python3", extra_arguments=quiet, **stored)
    try:
        runner.preprocess(notebook, {"metadata": {"path": folder}})
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return str(error)


def write(path, text):
    """Write a text file whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf8")
    temporary.replace(path)


def page(notebook):
    """The notebook as one HTML page that loads nothing from elsewhere."""
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", widget_renderer_url="")
    exporter.log.setLevel("ERROR")  # it warns of the alternative texts that follow
    outputs = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    texts = iter([output.metadata.get("image/png", {}).get("alt", MISSING) for output in outputs])
    body = exporter.from_notebook_node(notebook)[0]  # its template leaves the texts out
    return re.sub(f'alt="{MISSING}"', lambda _: f'alt="{html.escape(next(texts, MISSING))}"', body)


def reference(folder):
    """The API reference from the docstrings: a page a module, which load nothing from elsewhere, and an index."""
    names = ["xfvlib", *(found.name for found in pkgutil.walk_packages(xfvlib.__path__, "xfvlib."))]
    pdoc.render.configure(docformat="google", show_source=False, footer_text=f"xfvlib {xfvlib.__version__}")
    with warnings.catch_warnings(action="ignore"):  # a package brings those of its modules that its __all__ names
        pdoc.pdoc(*names, output_directory=folder)
    lines = []
    for name in names:
        says = re.sub(":[a-z]+:`(.*?)`", r"\1", import_module(name).__doc__.split("\n\n")[0])
        lines.append(f"<li><a href='{name.replace('.', '/')}.html'>{name}</a>: {html.escape(says)}</li>")
    write(folder / "index.html", PAGE.format(title="API reference", content=f"<ul>{''.join(lines)}</ul>"))


def main(names, in_place, choice=None):
    out, folder, seconds_a_cell = OUT, HERE, 600
    if choice:
        out, folder, seconds_a_cell = OUT / choice.stem, choice.resolve().parent, None
        os.environ["PYTHONOPTIMIZE"] = "1"
    out.mkdir(parents=True, exist_ok=True)
    items, failed = [], []
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        start, notebook = time.perf_counter(), nbformat.read(path, as_version=4)
        if choice and not choose(notebook, choice):
            continue
        print(f"{path.stem:32}", end="", flush=True)
        error = execute(notebook, folder, seconds_a_cell)
        seconds = time.perf_counter() - start
        print(f"{seconds:6.1f} s{'   FAILED' if error else ''}", flush=True)
        if error:
            failed.append(f"{path.name}:\n{error}")
        if not in_place:
            write(out / f"{path.stem}.html", page(notebook))
            items.append(f"<li><a href='{path.stem}.html'>{html.escape(title(notebook))}</a> ({seconds:.0f} s)</li>")
        if not in_place or not error:
            notebook.metadata.pop("widgets", None)
            write((HERE if in_place else out) / path.name, nbformat.writes(notebook) + "\n")
    if not in_place:
        content = f"<ol>{''.join(items)}</ol>"
        if not choice:
            reference(out / "api")
            content += "<p><a href='api/index.html'>API reference</a></p>"
        write(out / "index.html", PAGE.format(title="Explain face verification", content=content))
        print(f"Open {out / 'index.html'}")
    if failed:
        sys.exit("\n".join(failed))


def title(notebook):
    """First line of the first cell without the hash signs."""
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="notebooks to run, without .ipynb; all when none is named")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--in-place", action="store_true")
    where.add_argument("--choice", type=Path, help="Python file that defines model and pairs")
    arguments = parser.parse_args()
    if arguments.choice and not arguments.choice.is_file():
        parser.error(f"there is no file {arguments.choice}")
    main(arguments.names, arguments.in_place, arguments.choice)
