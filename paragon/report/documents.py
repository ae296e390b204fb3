"""Everything that is written from results: docs/findings.md, a figure, blocks of other documents.

Blocks are between markers.  All numbers follow from the committed files of results/ and
ablations/results/, so a test can compare the documents with those.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from paragon.errors import ParagonError
from paragon.report import figures, findings, published
from paragon.report import markdown as md
from paragon.report.results import load_metrics
from paragon.report.style import look
from paragon.report.tables import interval_table
from paragon.storage import require, write_text

SHOWN = ("ml-100k-paper", "sasrec")  # the study whose methods the README shows
METHODS = ("tuned", "generated", "hypernetwork", "interpolation_log", "mmr", "backbone")
COLUMNS = {
    "set HV, whole catalogue": ("set_hv_full", 4),
    "set HV, sampled lists": ("set_hv_sampled", 4),
    "regret %": ("regret_mean_sampled", 1),
}
# benchmarks/defects.py: the rows of its record in words.
DEFECTS = {
    "tuned": "as it should be: `tuned`",
    "below": "diversity loss counts the categories *below* an item as seen",
    "once": "negatives drawn once for all epochs",
    "retrain": "as it should be: `retrain`, three weights, each with its own backbone",
    "elsewhere": "adapters used on a backbone they were not tuned for",
}
MEASURES = {
    "set_hv": "set HV",
    "set_hv_of_tuned": "of tuned",
    "r_acc": "r acc",
    "r_div": "r div",
    "range_ratio_acc": "range acc",
    "range_ratio_div": "range div",
}


def main_results(folder: Path) -> str:
    """Markdown: the main methods of one study, means ± half of the 95 % interval over seeds."""
    metrics = load_metrics(folder)
    rows = [
        [look(method).label, *(md.cell(metrics[method], *column) for column in COLUMNS.values())]
        for method in METHODS
    ]
    return md.markdown_table(["method", *COLUMNS], rows)


def published_ends(results: Path) -> str:
    """Markdown: where the published curves begin and end, and where ours do."""
    rows = []
    for backbone, curve in published.our_curves(results).items():
        sampled, metrics = curve[curve["protocol"] == "sampled"], (published.NDCG, published.ALPHA)
        for run, name in enumerate(("published", "published, second run")):
            values = [published.CURVES[backbone][m][run] for m in metrics]
            rows.append([backbone, name, *(f"{v[0]:.4f} → {v[-1]:.4f}" for v in values)])
        for method in ("tuned", "generated"):
            part = sampled[sampled["method"] == method]
            rows.append([backbone, f"`{method}`", *(_ends(part, metric) for metric in metrics)])
    if not rows:
        return f"Ours is still to be measured on their scale: `make add NAME={published.STUDY}`."
    titles = ["backbone", "", "NDCG@10", "α-nDCG@10 on the published scale"]
    return md.markdown_table(titles, rows, left=2)


def _ends(rows: pd.DataFrame, metric: str) -> str:
    """Where a method's curve begins and ends, ± half of the 95 % interval over seeds."""
    ends = rows["w_accuracy"].agg(["min", "max"])
    rows = rows[rows["w_accuracy"].isin(ends)].assign(metric=metric)
    cells = interval_table(rows, metric, "w_accuracy", "metric", digits=4)
    return " → ".join(cells[metric].sort_index())


def defects(results: Path) -> str:
    """Markdown: what each defect costs, from the record of benchmarks/defects.py."""
    parts = []
    for path in sorted(results.glob("*/defects.json")):
        for backbone, record in json.loads(path.read_text(encoding="utf-8")).items():
            rows = [
                [words, *(md.cell(record[row], f"{name}_sampled", 3) for name in MEASURES)]
                for row, words in DEFECTS.items()
            ]
            titles = [f"{path.parent.name}, {backbone}", *MEASURES.values()]
            parts.append(md.markdown_table(titles, rows))
    return "\n\n".join(parts) or "Still to be measured: `python benchmarks/defects.py`."


def with_block(document: str, text: str, name: str, block: str) -> str:
    """The ``text`` of a ``document`` with what is between the markers ``name`` replaced."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ParagonError(f"{document}: the markers {begin} and {end} are missing")
    return pattern.sub(lambda _: "\n\n".join([begin, block, end]), text)


def documents(root: Path) -> dict[Path, str]:
    """Every document that is written from results, whole, with its blocks up to date."""
    results = root / "results"
    committed = (results, root / "ablations" / "results")
    blocks = {
        "README.md": {
            "results": main_results(results.joinpath(*SHOWN)),
            "findings": findings.render_findings(*committed, block="short"),
        },
        "docs/reproduction.md": {"curves": published_ends(results), "defects": defects(results)},
        "docs/results.md": {"costs": md.costs(results), "data": md.data_lines(results)},
    }
    texts = {root / "docs" / "findings.md": findings.render_findings(*committed)}
    for name, contents in blocks.items():
        text = (root / name).read_text(encoding="utf-8")
        for marker, block in contents.items():
            text = with_block(name, text, marker, block)
        texts[root / name] = text
    return texts


def write_documents(root: Path) -> None:
    """Write all documents, and the figure of the README."""
    for path, text in documents(root).items():
        write_text(path, text)
    curve = require(root.joinpath("results", *SHOWN) / "curve.csv", "evaluation")
    figures.save_figure(figures.lead(pd.read_csv(curve)), root / "docs" / "lead.png")
