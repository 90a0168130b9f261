"""Execute the notebooks in order; write them and their HTML pages, with an index, into ``build/``.

``--in-place`` writes the executed notebooks back to this folder instead, as they are committed: outputs kept, no widget
state and no timings. Names of notebooks as arguments choose some of them.
"""

import argparse
import html
import os
import sys
import time
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CellExecutionError, ExecutePreprocessor

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build"
PAGE = "<!doctype html><meta charset=utf-8><title>Explain face verification</title><body style='font:16px sans-serif;max-width:42em;margin:3em auto'><h1>Explain face verification</h1><ol>{items}</ol>"


def execute(notebook):
    """Run all cells in a fresh kernel; returns the error as text, or None."""
    runner = ExecutePreprocessor(timeout=600, kernel_name="python3", store_widget_state=False, record_timing=False,
                               extra_arguments=["--log-level=40"])  # fmt: skip
    try:
        runner.preprocess(notebook, {"metadata": {"path": HERE}})
    except CellExecutionError as error:
        return str(error)


def write(path, text):
    """Write a text file whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf8")
    os.replace(temporary, path)


def page(notebook):
    """The notebook as one HTML page that loads nothing from elsewhere."""
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", widget_renderer_url="")
    return exporter.from_notebook_node(notebook)[0]


def main(names, in_place):
    OUT.mkdir(exist_ok=True)
    items, failed = [], []
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        print(f"{path.stem:32}", end="", flush=True)
        start, notebook = time.perf_counter(), nbformat.read(path, as_version=4)
        error = execute(notebook)
        seconds = time.perf_counter() - start
        print(f"{seconds:6.1f} s{'   FAILED' if error else ''}", flush=True)
        if error:
            failed.append(f"{path.name}:\n{error}")
        if not in_place:
            write(OUT / f"{path.stem}.html", page(notebook))
            items.append(f"<li><a href='{path.stem}.html'>{html.escape(title(notebook))}</a> ({seconds:.0f} s)</li>")
        if not in_place or not error:
            notebook.metadata.pop("widgets", None)
            write((HERE if in_place else OUT) / path.name, nbformat.writes(notebook) + "\n")
    if not in_place:
        write(OUT / "index.html", PAGE.format(items="".join(items)))
        print(f"Open {OUT / 'index.html'}")
    if failed:
        sys.exit("\n".join(failed))


def title(notebook):
    """First line of the first cell without the hash signs."""
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="notebooks to run, without .ipynb; all when none is named")
    parser.add_argument("--in-place", action="store_true")
    arguments = parser.parse_args()
    main(arguments.names, arguments.in_place)
