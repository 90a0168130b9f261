"""Execute the notebooks in order; write them, and one site of their pages with an API reference, into ``build/``.

Each notebook's exercises, solved, make one more, in ``solutions/``: the cells tagged ``exercise``, with the changes
that ``xfvlib.exercises`` knows.

``--in-place`` writes the executed notebooks back to this folder instead, as they are committed: outputs kept, no widget
state and no timings. Names of notebooks as arguments choose some of them.

``--choice mine.py`` runs those that have a cell tagged ``choice`` on another recogniser and other pairs, and writes
them into ``build/mine/``. The lines of the file take the place of that cell: they define ``model``, with its threshold,
and ``pairs``, and paths in them are relative to the file. Exercises and the cells tagged ``claims``, which hold what is
said of the stored results, are left out.
"""

import argparse
import copy
import html
import os
import pkgutil
import re
import shutil
import sys
import time
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pdoc
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert.preprocessors import CellExecutionError, ExecutePreprocessor
from sphinx.cmd.build import build_main

import xfvlib
from xfvlib.exercises import EXERCISES
from xfvlib.extras import reworded
from xfvlib.files import write_whole
from xfvlib.widgets import NOT_RUN

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build"
EXAMPLES = """
from xfvlib.notebook import examples

globals().update(examples(model, pairs))  # in place of the pairs that this notebook names: others, chosen by rule
print(model, pairs, sep="\\n")
"""
NOTE = """**Run on another recogniser or other pairs.** What is computed from `model` and `pairs` is that of `{name}`.
The text was written for sface on ORL, and the numbers in it are of that run. Tables read from `data/results`, and what
is computed for comparison with them, are of the recognisers and the data that the text names."""
CONTROL = "*Here stands a control. It moves in JupyterLab: `make lab`.*"
START = """# Explain face verification

{about}

{picture}

## Lessons

{lessons}

The [glossary](glossary.md) has the symbols and the main terms, the [references](references.md)
whose ideas these are, and the [teaching guide](teaching.md) what to project in 45 minutes, 90 minutes and half a
day.{api}

## Run it

{run}

```{{toctree}}
:hidden:
:caption: Lessons

{pages}
```

```{{toctree}}
:hidden:
:caption: To look up

{lists}
```
{solutions}"""
SOLUTIONS = """
```{{toctree}}
:hidden:
:caption: Solutions

{pages}
```
"""
LISTS = ["teaching", "glossary", "references"]


def tagged(cell, *tags):
    return not {*tags}.isdisjoint(cell.metadata.get("tags", []))


def choose(notebook, path):
    """Put the lines of a file in place of the notebook's own choice; False where it has none."""
    notebook.cells = [cell for cell in notebook.cells if not tagged(cell, "claims", "exercise")]
    for cell in notebook.cells:
        if tagged(cell, "choice"):
            cell.source = path.read_text(encoding="utf8").rstrip() + "\n" + EXAMPLES.rstrip()
            notebook.cells.insert(1, nbformat.v4.new_markdown_cell(NOTE.format(name=path.name)))
            return True
    return False


def solved(notebook, stem):
    """The notebook's exercises with their solutions, behind its set-up and its choice; None where it has none."""
    made = copy.deepcopy(notebook)
    title = made.cells[0].source.partition("\n")[0].removeprefix("# ")
    opening = f"# Solutions to {title}\n\nEach exercise of [the lesson](../{stem}.ipynb), and a cell that solves it."
    set_up = lambda cell: cell.cell_type == "code" and "notebook_setup()" in cell.source
    made.cells = [cell for cell in made.cells if set_up(cell) or tagged(cell, "choice", "exercise")]
    if not any(tagged(cell, "exercise") for cell in made.cells):
        return None
    for cell in made.cells:
        if cell.cell_type == "code" and tagged(cell, "exercise"):
            number = re.search(r'check\("(.+?)"', cell.source)[1]
            lines = cell.source.splitlines()
            for line, better in EXERCISES[number].solution.items():
                advice = "write it into that cell, or change the solution in xfvlib/exercises.py"
                with reworded(ValueError, ValueError, f"exercise {number} of {stem}.ipynb lacks {line!r}: {advice}"):
                    lines[lines.index(line)] = better
            cell.source, cell.outputs = "\n".join(lines), []
    made.cells.insert(0, nbformat.v4.new_markdown_cell(opening, id="opening"))
    return made


def execute(notebook, folder, seconds_a_cell):
    """Run all cells in a fresh kernel that works in a folder; returns the error as text, or None."""
    stored = {"store_widget_state": False, "record_timing": False}
    quiet = ["--log-level=40"]
    runner = ExecutePreprocessor(timeout=seconds_a_cell, kernel_name="python3", extra_arguments=quiet, **stored)
    try:
        runner.preprocess(notebook, {"metadata": {"path": folder}})
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return str(error)
    # those cells may raise, so that a reader who changes something is not stopped by what was said of it
    outputs = [output for cell in notebook.cells if tagged(cell, "claims") for output in cell.outputs]
    return "\n".join("\n".join(output.traceback) for output in outputs if output.output_type == "error") or None


def figure(output):
    """A figure with its alternative text, as a page holds it; empty where the output is none."""
    if "image/png" not in output.get("data", {}):
        return ""
    text = html.escape(output.metadata.get("image/png", {}).get("alt", ""))
    return f'<img alt="{text}" src="data:image/png;base64,{output.data["image/png"].strip()}">'


def linked(text, stems):
    """Markdown with a link wherever it names one of these notebooks by its number."""
    pages = {stem.split("_")[0].lstrip("0"): f"{stem}.ipynb" for stem in stems}
    link = lambda number, words: f"[{words}]({pages[number]})" if number in pages else words
    text = re.sub(r"\b[Nn]otebook (\d+b?)", lambda one: link(one[1], one[0]), text)
    several = r"(?<=\b[Nn]otebooks) \d+b?(?:(?:, | and | to )\d+b?)*"
    return re.sub(several, lambda found: re.sub(r"\d+b?", lambda one: link(one[0], one[0]), found[0]), text)


def anchor(term):
    return "term-" + re.sub(r"\W+", "-", term.casefold())


def explained(text, terms):
    """Markdown whose first mention of each of some terms leads to the glossary; those found are taken from the set."""
    never = r"(```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|\[[^\]]*\]\([^)]*\)|<[^>]*>|\*\*[^*]*\*\*|^#.*?$|^\|.*?$)"
    parts = re.split(never, text, flags=re.DOTALL | re.MULTILINE)
    for i, part in [*enumerate(parts)][::2]:
        for term in sorted(terms, key=len, reverse=True):
            link = f'<a class="term" href="glossary.html#{anchor(term)}">{term}</a>'
            part, found = re.subn(rf"(?<![\w<>-]){re.escape(term)}(?![\w-])(?![^<]*</a>)", link, part, count=1)
            if found:
                terms.discard(term)
        parts[i] = part
    return "".join(parts)


def glossary(text):
    """The glossary with an anchor at each term, and its terms."""
    head, title, table = text.partition("## Terms")
    terms = {*re.findall(r"^\| (.+?) \|", table, re.MULTILINE)} - {"term"}
    table = re.sub(
        r"^\| (?!term )(.+?) \|", lambda row: f'| <span id="{anchor(row[1])}"></span>{row[1]} |', table, flags=re.M
    )
    return head + title + table, terms


def prepared(notebook, stems=(), terms=()):
    """A copy for the site: figures with their alternative texts, words for controls, code that folds, links to others
    of the notebooks and to terms of the glossary, and without what holds the claims."""
    made, terms = copy.deepcopy(notebook), {*terms}
    made.cells = [cell for cell in made.cells if not tagged(cell, "claims")]
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = explained(linked(cell.source, stems), terms)
            continue
        cell.metadata.setdefault("tags", []).append("hide-input")
        for output in cell.get("outputs", []):
            if shown := figure(output):
                output.data = {"text/html": shown}
            elif output.get("data", {}).get("text/plain") == NOT_RUN:
                output.data = {"text/markdown": CONTROL}
    return made


def reference(folder):
    """The API reference from the docstrings, a page a module, which load nothing from elsewhere; returns an index."""
    names = ["xfvlib", *(found.name for found in pkgutil.walk_packages(xfvlib.__path__, "xfvlib."))]
    pdoc.render.configure(docformat="google", show_source=False, footer_text=f"xfvlib {xfvlib.__version__}")
    with warnings.catch_warnings(action="ignore"):  # a package brings those of its modules that its __all__ names
        pdoc.pdoc(*names, output_directory=folder)
    lines = ["# Reference of the library", ""]
    for name in names:
        says = re.sub(":[a-z]+:`(.*?)`", r"\1", import_module(name).__doc__.split("\n\n")[0])
        lines.append(f'- <a href="{name.replace(".", "/")}.html">{name}</a>: {html.escape(" ".join(says.split()))}')
    return "\n".join(lines)


def start_page(notebooks, note, api):
    """The start page: what README.md says of the workbook, its lessons and how to run it, and the first picture of a
    pair."""
    readme = (HERE.parent / "README.md").read_text(encoding="utf8")
    about, *sections = re.split(r"^## (.*)$", readme, flags=re.MULTILINE)
    sections = dict(zip(sections[::2], sections[1::2]))
    lessons = sections["Notebooks"].replace("(notebooks/", "(").splitlines()
    stems = [re.findall(r"\((\w+)\.ipynb\)", line) for line in lessons]
    solutions = [name for name in notebooks if "/" in name]
    outputs = [output for one in notebooks.values() for cell in one.cells for output in cell.get("outputs", [])]
    pictures = sorted(filter(None, map(figure, outputs)), key=lambda shown: 'alt="Pair ' not in shown)
    return START.format(
        about=note or about.split("\n\n")[1],
        picture="".join(pictures[:1]),
        lessons="\n".join(
            line for line, stem in zip(lessons, stems) if line.startswith("|") and {*stem} <= {*notebooks}
        ),
        run=sections["Start"].strip(),
        api=" The [reference of the library](api/index.md) lists its functions." if api else "",
        pages="\n".join(name for name in notebooks if name not in solutions),
        lists="\n".join([*LISTS, *["api/index"] * api]),
        solutions=SOLUTIONS.format(pages="\n".join(solutions)) if solutions else "",
    )


def site(notebooks, out, note=""):
    """One site of executed notebooks, ``{stem: notebook}``, in a folder; every file comes whole or not at all. The
    stems of solutions begin with ``solutions/``.

    With a note, which then opens it, it has no API reference. A RuntimeError says that Sphinx failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out) as folder:
        source, pages, parsed = (Path(folder, name) for name in ("source", "pages", "parsed"))
        (source / "api").mkdir(parents=True)
        (source / "solutions").mkdir()
        for name in ("conf.py", "site.css"):
            shutil.copy(HERE / name, source)
        terms = ()
        for name in LISTS:
            text = (HERE / f"{name}.md").read_text(encoding="utf8")
            text, terms = glossary(text) if name == "glossary" else (text, terms)
            (source / f"{name}.md").write_text(linked(text, notebooks), encoding="utf8")
        for stem, notebook in notebooks.items():
            known = () if "/" in stem else (notebooks.keys() - {stem}, terms)
            nbformat.write(prepared(notebook, *known), source / f"{stem}.ipynb")
        if not note:
            (source / "api" / "index.md").write_text(reference(pages / "api"), encoding="utf8")
        (source / "index.md").write_text(start_page(notebooks, note, api=not note), encoding="utf8")
        if build_main(["-q", "-b", "html", "-d", str(parsed), str(source), str(pages)]):
            raise RuntimeError("Sphinx could not make the pages; what it says stands above")
        shutil.copytree(pages, out, dirs_exist_ok=True, copy_function=os.replace)


def main(names, in_place, choice=None):
    out, folder, seconds_a_cell = OUT, HERE, 600
    if choice:
        out, folder, seconds_a_cell = OUT / choice.stem, choice.resolve().parent, None
    out.mkdir(parents=True, exist_ok=True)
    executed, failed = {}, []
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        notebook = nbformat.read(path, as_version=4)
        solutions = None if choice else solved(notebook, path.stem)
        if choice and not choose(notebook, choice):
            continue
        for name, one in {path.stem: notebook, f"solutions/{path.stem}": solutions}.items():
            if not one:
                continue
            start = time.perf_counter()
            print(f"{name:42}", end="", flush=True)
            error = execute(one, folder, seconds_a_cell)
            print(f"{time.perf_counter() - start:6.1f} s{'   FAILED' if error else ''}", flush=True)
            if error:
                failed.append(f"{name}.ipynb:\n{error}")
            executed[name] = one
            if not in_place or not error:
                one.metadata.pop("widgets", None)
                for output in (output for cell in one.cells for output in cell.get("outputs", [])):
                    # without its kernel a control is an error in a box; beside it stands what to do
                    output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
                kept = (HERE if in_place else out) / f"{name}.ipynb"
                write = partial(Path.write_text, data=nbformat.writes(one) + "\n", encoding="utf8")
                write_whole(kept, write, "or copy the repository to a folder that is")
    if not in_place:
        try:
            site(executed, out, NOTE.format(name=choice.name) if choice else "")
            print(f"Open {out / 'index.html'}")
        except RuntimeError as error:
            failed.append(str(error))
    if failed:
        sys.exit("\n".join(failed))


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
