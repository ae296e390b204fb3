"""Write results/report.html, with times and machine; it is not committed."""

from __future__ import annotations

import base64
import io
import json
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
from paragon_study.running.times import load_times, pipeline

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


def write_page(found: Comparison, root: Path) -> Path:
    """Write the page, and the executed notebooks to results/report; return its path."""
    results, folder = root / "results", root / "artifacts" / "notebooks"
    links = []
    for path in sorted(folder.rglob("*.ipynb")):
        if not path.name.endswith(".failed.ipynb"):
            name = path.relative_to(folder).with_suffix(".html").as_posix()
            write_text(results / "report" / name, rendered(path))
            links.append(f"- [{name.removesuffix('.html')}](report/{name})")
    verdict = "Reproduced" if found.passed else "Not reproduced"
    bad = found.table["verdict"].isin(["outside", "missing"])
    differ = (found.table["dataset"] + ", " + found.table["backbone"])[bad].unique()
    tables = {name: _html(table) for name, table in _tables(root).items()}
    parts = [
        f"# {verdict}",
        f"{found.summary()}. What may differ: [tolerances](../docs/reproduction.md#tolerances).",
        f"They differ in: **{'**, **'.join(differ)}**." if len(differ) else "",
        _html(found.unequal[:WORST]) if len(found.unequal) else "Every number is equal.",
        "## What the results say",
        _lead(results),
        as_markdown(compare.volumes(compare.all_results(compare.study_folders(results)))),
        "Means ± half of the 95 % interval over seeds. All tables are in "
        "[results/summary.md](summary.md), what they mean in "
        "[docs/findings.md](../docs/findings.md).",
        *(part for name, table in tables.items() for part in (f"## {name}", table)),
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
    if code is not None:
        return code
    return convert(block or inline, display="block" if block else "inline")


def _html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, border=0, na_rep="–", float_format="{:.6g}".format)


def _tables(root: Path) -> dict[str, pd.DataFrame]:
    """Return tables of the machine, the data and the times."""
    rows = [json.loads(p.read_text("utf-8")) for p in sorted(root.glob("results/*/data.json"))]
    data = pd.DataFrame(rows)[["dataset", "source", "fingerprint", "split"]]
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    system = f"{platform.platform()}, Python {platform.python_version()}"
    machine = [(model[1] if model else platform.machine(), f"{os.cpu_count()} cores, {system}")]
    pinned = dict(re.findall(r"^(\S+?)[=>]=(\S+)", (root / "constraints.txt").read_text(), re.M))
    for name in ("torch", "numpy", "scipy", "pandas", "statsmodels", "safetensors", "dvc"):
        machine.append((name, f"{version(name)}, recorded with {pinned[name]}"))
    times, stages = load_times(root), pipeline(load_params(root / "params.yaml"))
    runs = [times[s].model_dump() if s in times else {"finished": "not run here"} for s in stages]
    return {
        "From which data": data.assign(tested=[row["counts"]["test"] for row in rows]),
        "On which machine, with which versions": pd.DataFrame(machine, columns=["", "here"]),
        "How long it took": pd.DataFrame(runs, stages, ["finished", "seconds"]).reset_index(),
    }


def _lead(results: Path) -> str:
    """Draw the README figure as an inline image, of the README's study or else of the first."""
    folders = compare.study_folders(results)
    folder = next((f for f in folders if f.parts[-2:] == MAIN), folders[0])
    image = io.BytesIO()
    figures.lead(pd.read_csv(folder / "curve.csv")).savefig(image, format="png", dpi=200)
    code = base64.b64encode(image.getvalue()).decode("ascii")
    return (
        f'<figure><img width="374" src="data:image/png;base64,{code}" alt="Control curves">'
        f"<figcaption>Accuracy and diversity of the list that is served against the weight of "
        f"accuracy: {folder.parent.name}, {folder.name}.</figcaption></figure>"
    )
