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


def setup(app):
    app.add_html_math_renderer("mathml", math("inline"), math("block"))
    fold = "<details open class='code'><summary>code</summary>"  # myst-nb's own is closed at first
    visitors = (lambda page, _: page.body.append(fold), lambda page, _: page.body.append("</details>"))
    app.add_node(HideCodeCellNode, override=True, html=visitors)
