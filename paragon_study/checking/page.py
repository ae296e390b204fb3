"""Write results/report.html, with times and machine; it is not committed."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html

from paragon.params import ROOT, load_params
from paragon.storage import write_text
from paragon_study.checking.verify import Comparison
from paragon_study.report import compare, figures
from paragon_study.report.pages import MAIN
from paragon_study.report.tables import as_markdown
from paragon_study.running.studies import FOLDER, load_times, pipeline

WORST = 12  # number of metrics on the page
# Code (left unchanged) or a formula.
_FORMULA = re.compile(r"(```.*?```|`[^`\n]*`)|\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)
_SHELL = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }}
main {{ max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }}
table {{ display: block; overflow-x: auto; border-collapse: collapse; font-size: .8rem; }}
th, td {{ padding: .25rem .5rem; border-bottom: 1px solid #8888; text-align: left; }}
img, svg {{ max-width: 100%; height: auto; background: #fff; }}
pre {{ overflow-x: auto; padding: .6rem; background: #8882; font-size: .85rem; }}
.prompt, .anchor-link {{ display: none; }}
</style></head><body><main>
{body}
</main></body></html>
"""


def write_page(comparison: Comparison, root: Path) -> Path:
    """Write the page, and the executed notebooks to results/report; return its path."""
    results, folder, links = root / "results", root / FOLDER, []
    for path in sorted(folder.rglob("*.ipynb")):
        if not path.name.endswith(".failed.ipynb"):
            name = path.relative_to(folder).with_suffix("").as_posix()
            write_text(results / "report" / f"{name}.html", rendered(path))
            links.append(f"- [{name}](report/{name}.html)")
    verdict = "Reproduced" if comparison.passed else "Not reproduced"
    differ = (comparison.bad["dataset"] + ", " + comparison.bad["backbone"]).unique()
    unequal, folders = comparison.unequal[:WORST], compare.study_folders(results)
    study = results.joinpath(*MAIN) if results.joinpath(*MAIN) in folders else folders[0]
    curve = pd.read_csv(study / "curve.csv")
    figures.save_figure(figures.lead(curve), results / "report" / "lead.png")
    parts = [
        f"# {verdict}",
        f"{comparison.summary()}. May differ: [tolerances](../docs/reproduction.md#tolerances).",
        f"They differ in: **{'**, **'.join(differ)}**." if len(differ) else "",
        _html(unequal) if len(unequal) else "Every number is equal.",
        "## What the results say",
        f'<img width="374" src="report/lead.png" alt="Control curves, {study.name}">',
        as_markdown(compare.volumes(compare.all_results(folders))),
        "Means ± half of the 95 % interval over seeds. All tables are in "
        "[results/summary.md](summary.md), what they mean in "
        "[docs/findings.md](../docs/findings.md).",
        *_conditions(root),
        "## The notebooks, as they were executed",
        "\n".join(links) or "None was executed here.",
    ]
    page = _SHELL.format(title=verdict, body=markdown2html("\n\n".join(parts)))
    write_text(results / "report.html", page)
    return results / "report.html"


def rendered(path: Path) -> str:
    """Render an executed notebook as an offline page, with formulas as MathML."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = cell.source.replace("](../docs/diagrams/", "](docs/diagrams/")
            cell.source = _FORMULA.sub(_mathml, text)
    exporter = HTMLExporter(template_name="basic", embed_images=True)
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"path": str(ROOT)}})
    return _SHELL.format(title=path.stem, body=body)


def _mathml(match: re.Match) -> str:
    code, block, inline = match.groups()
    return code or convert(block or inline, display="block" if block else "inline")


def _html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, border=0, na_rep="–", float_format="{:.6g}".format)


def _conditions(root: Path) -> list[str]:
    """Return headings and tables of the data, the machine, the versions and the times."""
    paths = sorted(root.glob("results/*/data.json"))
    data = pd.json_normalize([compare.load_results(path) for path in paths])
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    system = f"{platform.platform()}, Python {platform.python_version()}"
    machine = [(model[1] if model else platform.machine(), f"{os.cpu_count()} cores, {system}")]
    pinned = dict(re.findall(r"^(\S+?)[=>]=(\S+)", (root / "constraints.txt").read_text(), re.M))
    for name in ("torch", "numpy", "scipy", "pandas", "statsmodels", "safetensors", "dvc"):
        machine.append((name, f"{version(name)}, recorded with {pinned[name]}"))
    times, stages = load_times(root), pipeline(load_params(root / "params.yaml"))
    runs = [times[s].model_dump() if s in times else {"finished": "not run here"} for s in stages]
    return [
        "## From which data",
        _html(data[["dataset", "source", "fingerprint", "split", "counts.test"]]),
        "## On which machine, with which versions",
        _html(pd.DataFrame(machine, columns=["", "here"])),
        "## How long it took",
        _html(pd.DataFrame(runs, stages, ["finished", "seconds"]).reset_index()),
    ]
