"""results/report.html: what `verify` found, on one page that needs nothing else.

The executed notebooks are rendered beside it.  The page holds times and the machine, so it is
neither committed nor an output of a stage.
"""

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

from paragon.params import load_params
from paragon.storage import write_text
from paragon_study.checking.verify import Comparison
from paragon_study.report import figures, markdown
from paragon_study.report.documents import SHOWN
from paragon_study.report.results import study_folders
from paragon_study.running.times import load_times, pipeline

WORST = 12  # metrics that are shown
# Code or formula, the first of which is left alone.
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
    """Write the page and the rendered notebooks; returns its path."""
    verdict = "Reproduced" if found.passed else "Not reproduced"
    bad = found.table["verdict"].isin(["outside", "missing"])
    differ = (found.table["dataset"] + ", " + found.table["backbone"])[bad].unique()
    links = [f"- [{name}]({link})" for name, link in render_notebooks(root).items()]
    parts = [
        f"# {verdict}",
        f"{found.summary()}. What may differ: [tolerances](../docs/reproduction.md#tolerances).",
        *([f"They differ in: **{'**, **'.join(differ)}**."] if len(differ) else []),
        _html(found.unequal[:WORST])
        if len(found.unequal)
        else "Every number is equal, digit by digit.",
        "## What the results say",
        _lead(root / "results"),
        markdown.overview(root / "results"),
        "Means ± half of the 95 % interval over seeds. All tables are in "
        "[results/summary.md](summary.md), what they mean in "
        "[docs/findings.md](../docs/findings.md).",
        "## From which data",
        _html(_data(root / "results")),
        "## On which machine, with which versions",
        _html(_machine(root)),
        "## How long it took",
        _html(_times(root)),
        "## The notebooks, as they were executed",
        "\n".join(links) or "None was executed here.",
    ]
    path = root / "results" / "report.html"
    write_text(path, _SHELL.format(title=verdict, body=markdown2html("\n\n".join(parts))))
    return path


def render_notebooks(root: Path) -> dict[str, str]:
    """Render every executed notebook under results/report; ``{name: link from the page}``."""
    folder, links = root / "artifacts" / "notebooks", {}
    for path in sorted(folder.rglob("*.ipynb")):
        if path.name.endswith(".failed.ipynb"):
            continue
        name = path.relative_to(folder).with_suffix(".html")
        target = root / "results" / "report" / name
        if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
            write_text(target, rendered(path))
        links[name.with_suffix("").as_posix()] = f"report/{name.as_posix()}"
    return links


def rendered(path: Path) -> str:
    """An executed notebook as a page, with its formulas as MathML: nothing asks the network."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _FORMULA.sub(_mathml, cell.source)
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    return _SHELL.format(title=path.stem, body=body)


def _mathml(match: re.Match) -> str:
    code, block, inline = match.groups()
    if code is not None:
        return code
    return convert(block or inline, display="block" if block else "inline")


def _html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, border=0, na_rep="–", float_format="{:.6g}".format)


def _data(results: Path) -> pd.DataFrame:
    """Where the data of each dataset are from, and how many events are tested."""
    rows = [json.loads(path.read_text("utf-8")) for path in sorted(results.glob("*/data.json"))]
    table = pd.DataFrame(rows)[["dataset", "source", "fingerprint", "split"]]
    return table.assign(**{"test events": [row["counts"]["test"] for row in rows]})


def _times(root: Path) -> pd.DataFrame:
    """How long each stage of the study took here."""
    times = load_times(root)
    names = pipeline(load_params(root / "params.yaml"))
    rows = [times[n].model_dump() if n in times else {"finished": "not run here"} for n in names]
    return pd.DataFrame(rows, columns=["seconds", "finished"]).assign(stage=names).iloc[:, ::-1]


def _machine(root: Path) -> pd.DataFrame:
    """The processor and system, and installed versions beside those of constraints.txt."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    rows = [
        ("processor", f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores"),
        ("system", f"{platform.platform()}, Python {platform.python_version()}"),
    ]
    pinned = dict(re.findall(r"^(\S+?)[=>]=(\S+)", (root / "constraints.txt").read_text(), re.M))
    for name in ("torch", "numpy", "scipy", "pandas", "statsmodels", "safetensors", "dvc"):
        rows.append((name, f"{version(name)}, recorded with {pinned[name]}"))
    return pd.DataFrame(rows, columns=["", "here"])


def _lead(results: Path) -> str:
    """The figure of the README as an image of this page: of that study, if it was run."""
    folders = study_folders(results)
    folder = next((f for f in folders if f.parts[-2:] == SHOWN), folders[0])
    image = io.BytesIO()
    figures.lead(pd.read_csv(folder / "curve.csv")).savefig(image, format="png", dpi=200)
    code = base64.b64encode(image.getvalue()).decode("ascii")
    return (
        f'<figure><img width="374" src="data:image/png;base64,{code}" alt="Control curves">'
        f"<figcaption>Accuracy and diversity of the list that is served against the weight of "
        f"accuracy: {folder.parent.name}, {folder.name}.</figcaption></figure>"
    )
