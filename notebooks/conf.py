"""How Sphinx makes the site of the notebooks; ``build.py`` puts them beside a copy of this file."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from myst_nb.sphinx_ import HideCodeCellNode

project = html_title = "Explain face verification"
extensions = ["myst_nb"]
nb_execution_mode = "off"  # build.py has executed them
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
smartquotes = False

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = html_show_copyright = html_use_index = False
html_show_search_summary = False  # they are fetched, which no browser does from a disk


def math(display):
    """Visitors that write a formula as MathML, which browsers draw, and read out, without a script."""

    def visit(translator, node):
        translator.body.append(convert(node.astext(), display=display))
        raise SkipNode

    return visit, None


def fold(page, node):
    """Code that folds, and what a cell tagged hide-output shows, which is closed at first."""
    what = "output" if "below-input" in node["classes"] else "code"  # myst-nb's own are all closed
    page.body.append(f"<details{' open' * (what == 'code')} class='{what}'><summary>{what}</summary>")


def setup(app):
    app.add_html_math_renderer("mathml", math("inline"), math("block"))
    app.add_node(HideCodeCellNode, override=True, html=(fold, lambda page, _: page.body.append("</details>")))
