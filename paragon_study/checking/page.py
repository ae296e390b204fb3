"""results/report.html: what `verify` found, on one page that needs nothing else.

The executed notebooks are rendered beside it.  The page holds times and the machine, so it is
neither committed nor an output of a stage.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import nbformat
import pandas as pd
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html

from paragon.params import load_params
from paragon.storage import write_text
from paragon_study.checking.verify import HEADER, Comparison
from paragon_study.report import compare, figures
from paragon_study.report.pages import MAIN
from paragon_study.report.results import all_results, study_folders
from paragon_study.report.tables import as_markdown
from paragon_study.running.times import in_words, load_times, pipeline

WORST = 12  # metrics that are shown
# Code or formula, the first of which is left alone.
_FORMULA = re.compile(r"(```.*?```|`[^`\n]*`)|\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)


def write_page(found: Comparison, root: Path) -> Path:
    """Write the page and the rendered notebooks; returns its path."""
    results, params = root / "results", load_params(root / "params.yaml")
    times = load_times(root)
    stages = [(name, times.get(name, {})) for name in pipeline(params)]
    table = compare.volumes(all_results(study_folders(results)))
    values = {
        "found": found,
        "where": sorted({row.key[:2] for row in found.rows if row.bad}),
        "header": HEADER,
        "rows": [row.cells() for row in found.rows[: min(WORST, found.unequal)]],
        "lead": _lead(results),
        "table": markdown2html(html.escape(as_markdown(table), quote=False)),
        "data": [json.loads(p.read_text("utf-8")) for p in sorted(results.glob("*/data.json"))],
        "machine": machine(params.run.threads),
        "versions": versions(root),
        "stages": [
            (name, in_words(own["seconds"]) if own else "–", own.get("finished", "not run here"))
            for name, own in stages
        ],
        "total": in_words(sum(own.get("seconds", 0) for _, own in stages)),
        "notebooks": render_notebooks(root),
    }
    path = results / "report.html"
    write_text(path, fill_template("report.html.j2", values))
    return path


def fill_template(name: str, values: dict) -> str:
    """A page from its template, with its values."""
    rooms = ("checking", "running")
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(f"paragon_study.{room}", "") for room in rooms]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(values)


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
    body = body.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
    return fill_template("notebook.html.j2", {"title": path.stem, "body": body})


def _mathml(match: re.Match) -> str:
    code, block, inline = match.groups()
    if code is not None:
        return code
    return convert(block or inline, display="block" if block else "inline")


def machine(threads: int) -> dict[str, object]:
    """What computed here, in words."""
    read = {"/proc/cpuinfo": r"model name\s*: (.+)", "/proc/meminfo": r"MemTotal:\s*(\d+)"}
    lines = [
        re.search(pattern, Path(path).read_text()) if os.path.exists(path) else None
        for path, pattern in read.items()
    ]
    model = lines[0][1] if lines[0] else platform.processor() or platform.machine()
    import torch  # a second, which nothing else of `verify` needs

    facts = {
        "processor": f"{model}, {os.cpu_count()} cores, {threads} used",
        "memory": f"{int(lines[1][1]) / 2**20:.0f} GiB" if lines[1] else "",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": platform.platform(),
        "Python": platform.python_version(),
    }
    return {name: value for name, value in facts.items() if value}


def versions(root: Path) -> list[tuple[str, str, str]]:
    """Installed versions of the libraries that compute, and what constraints.txt asks for."""
    path = root / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    recorded = dict(line.split("==") for line in lines if "==" in line)
    rows = []
    for name in ("torch", "numpy", "scipy", "pandas", "statsmodels", "safetensors", "dvc"):
        own = version(name)
        other = recorded.get(name, own) != own
        rows.append((name, own, f", recorded with {recorded[name]}" if other else ""))
    return rows


def _lead(results: Path) -> dict[str, str]:
    """The figure of the README for an <img>, and its study: that of the README if it was run."""
    folders = study_folders(results)
    folder = next((f for f in folders if f.parts[-2:] == MAIN), folders[0])
    image = io.BytesIO()
    figures.lead(pd.read_csv(folder / "curve.csv")).savefig(image, format="png", dpi=200)
    code = base64.b64encode(image.getvalue()).decode("ascii")
    return {"study": f"{folder.parent.name}, {folder.name}", "data": code}
