"""The pages of `make docs`: Sphinx, from the same files that one reads in the repository.

Nothing is executed.  Notebooks appear as they are in docs/executed, if they are; formulas are
MathML and the search is Sphinx's own, so that the pages need no network.
"""

import json
import re
import shutil
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parent.parent
FETCHED = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^"]+"')
# Spaces at which no line may break: before a unit, between numbers, and within an interval.
UNIT = re.compile(r"(?<=\d) (?=(?:±|%|ms|s|\d+)(?!\w))|(?<=\d,) (?=[+-]\d)")
LINK = re.compile(r"\[([^\]\[]*)\]\(([^)#\s:]+)\)")
shutil.rmtree(ROOT / "docs" / "api", ignore_errors=True)  # made anew: a module may have gone

project = "Paragon, re-implemented and measured"
root_doc = "docs/index"
include_patterns = [
    *("docs/*.md", "docs/solutions/*", "docs/api/*.rst", "notebooks/*.ipynb", "results/summary.md"),
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ablations/README.md"),
    "benchmarks/README.md",
]
exclude_patterns = [".venv", "artifacts", "build", "lab", "docs/executed", "**/.ipynb_checkpoints"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
# A name that a package passes on is described where it is defined.
autodoc_default_options = {"ignore-module-all": True}
suppress_warnings = ["ref.python"]
highlight_language = "none"
default_role = "code"
html_theme = "furo"
html_title = project
html_show_copyright = False
html_math_renderer = "mathml"
# Tables of pandas like the others.  What is too wide is scrolled, not the page: a shade shows where
# more is, and the names of rows stay.  Figures are stored at twice their size: on a telephone the
# wide ones are scrolled, too.  They are white, and dimmed where the page is dark.
STYLE = """<style>
.cell_output, .cell_output .output { overflow-x: auto }
.table-wrapper, .cell_output .output {
  background:
    linear-gradient(to left, var(--color-background-primary) 50%, transparent)
      right / 3em 100% no-repeat local,
    linear-gradient(to left, #8886, transparent) right / 1em 100% no-repeat scroll
}
.table-wrapper tr > :first-child, .cell_output table:not(:has(tbody th + th)) tr > :first-child {
  background: var(--color-background-primary); left: 0; position: sticky
}
.table-wrapper :is(td, th) { padding-inline: .4em }
.cell_output .output + .output { margin-top: .6em }
.highlight pre { font-size: .8em }
.headerlink { position: absolute }
.cell_output pre { white-space: pre-wrap }
.cell_output thead th { text-align: left !important }
body div.cell > div.cell_input {
  border-color: var(--color-background-border); border-left-color: var(--mystnb-source-margin-color)
}
.related-pages a { max-width: 48%; overflow-wrap: anywhere }
math { font-family: "STIX Two Math", "Cambria Math", "DejaVu Math TeX Gyre", math }
math[display="block"] { padding: .6em 0; overflow-y: hidden }
.highlight .nn { color: inherit !important; text-decoration: none !important }
.cell_output table { border-collapse: collapse; border: 0; font-size: var(--font-size--small) }
.cell_output :is(th, td) { border: solid var(--color-table-border); border-width: 0 0 1px }
.cell_output :is(th, td) { padding: .25em .6em; vertical-align: top }
@media (max-width: 46em) {
  .cell_output img { max-width: none; zoom: .85 }
  .genindextable td { display: block }
  .table-wrapper tr > :first-child { min-width: 8em; max-width: 40vw; overflow-wrap: anywhere }
  math[display="block"] { font-size: .85em }
  article p:has(> img), .cell_output:has(img) { display: flex; overflow-x: auto }
  article p:has(> img)::after, .cell_output:has(img)::after {
    background: linear-gradient(to left, #888a, transparent);
    content: ""; flex: 0 0 1.2em; margin-left: -1.2em; position: sticky; right: 0
  }
  article p > img { max-width: none; width: auto; zoom: .46 }
  article p > img:is([src$=".svg"], [src*="one_file"]) { zoom: .9 }
}
@media (prefers-color-scheme: dark) {
  body:not([data-theme="light"]) article img { filter: brightness(.8) }
}
</style>"""
templates_path = [str(ROOT / "docs" / "templates")]  # autosummary looks from the root


def prepared(app, name, source):
    """Put the executed copy in place of a notebook, and take links to folders out."""
    copy = ROOT / "docs" / "executed" / f"{Path(name).name}.ipynb"
    if name.startswith("notebooks/") and copy.exists():
        app.env.note_dependency(copy)
        source[0] = with_alt(copy.read_text(encoding="utf-8").replace("](../../", "](../"))

    source[0] = source[0].replace("](docs/executed/", "](notebooks/")
    source[0] = UNIT.sub("\N{NO-BREAK SPACE}", source[0]).replace("± ", "±\N{NO-BREAK SPACE}")

    def link(match):
        target = (ROOT / name).parent / match[2]
        return match[1] if target.is_dir() else match[0]

    source[0] = LINK.sub(link, source[0])


def with_alt(text):
    """Give the figures of a notebook an alternative text: what is said of them below."""
    notebook, words = json.loads(text), ""
    for cell in reversed(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            words = " ".join("".join(cell["source"]).partition("\n\n")[0].split())
            words = re.sub(r"[*`$#\[]|\](\([^)]*\))?", "", words)
        elif any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            cell["metadata"]["mystnb"] = {"image": {"alt": f"Figure: {words}"}}
    return json.dumps(notebook, ensure_ascii=False)


def styled(app, page, template, context, doctree):
    """Put the style into the head of every page."""
    context["metatags"] = context.get("metatags", "") + app.config.page_style


def cleared(app, what, name, obj, options, lines):
    """Take out the words that Python gives to each field of a NamedTuple."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def checked(app, error):
    """Refuse pages that would fetch something from the network."""
    if error is None:
        for page in Path(app.outdir).rglob("*.html"):
            if found := FETCHED.findall(page.read_text(encoding="utf-8")):
                raise ExtensionError(f"{page} asks the network: {found}")


def inline(self, node):
    """A formula within a line."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(self, node):
    """A formula on lines of its own."""
    self.body.append(convert(node.astext(), display="block"))
    raise nodes.SkipNode


def setup(app):
    """Called by Sphinx."""
    app.add_config_value("page_style", STYLE, "html")  # all pages anew when it changes
    app.connect("source-read", prepared)
    app.connect("autodoc-process-docstring", cleared)
    app.connect("html-page-context", styled)
    app.connect("build-finished", checked)
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
