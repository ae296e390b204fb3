"""The blocks of README.md and docs/ that are written from results, between markers.

Nothing stands in them that does not follow from the committed files of results/ and
ablations/results/, so a test can hold the documents to those.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from paragon.errors import ParagonError
from paragon.metrics.statistics import mean_interval
from paragon.report import ablation_claims, published, tables
from paragon.report import ablations as ablation_tables
from paragon.report import markdown as md
from paragon.report.claims import claims
from paragon.storage import write_text

SHOWN = ("ml-100k-paper", "sasrec")  # the study whose methods the README shows
# What the ablations are asked for in the README.
RIVALS = ("generated", "generated_best", "hypernetwork", "interpolation", "nearest")
# benchmarks/defects.py: the rows of its record in words.
DEFECTS = {
    "tuned": "as it should be: `tuned`",
    "below": "diversity loss counts the categories *below* an item as seen",
    "once": "negatives drawn once for all epochs",
    "retrain": "as it should be: `retrain`, three weights, each with its own backbone",
    "elsewhere": "its adapters on another backbone, that of the study",
}
MEASURES = {
    "set_hv": "set HV",
    "set_hv_of_tuned": "of tuned",
    "r_acc": "r acc",
    "r_div": "r div",
    "range_ratio_acc": "range acc",
    "range_ratio_div": "range div",
}


def results_block(results: Path, dataset: str, backbone: str) -> str:
    """The README's block of results: one study, then a line for each."""
    datasets = dict.fromkeys(folder.parent for folder in md.studies(results))
    parts = [
        f"{dataset}, {backbone}:",
        md.table(results / dataset / backbone),
        "Every study, a line each:",
        md.overview(results),
    ]
    parts.append("\n".join(f"- {md.data_line(folder)}." for folder in datasets))
    return "\n\n".join([*parts, md.costs(results)]).strip()


def ablations(folder: Path) -> str:
    """Markdown: regret of generation and its rivals by setting and backbone, over all seeds."""
    collections, points = _ablations(folder)
    rows = ablation_tables.core(collections, ablation_tables.usual(points))
    apart = ablation_tables.paired(rows, "generated_best", "hypernetwork", "regret_mean", "study")
    lines = []
    for study, own in rows.groupby("study", sort=False):
        if not set(RIVALS) <= set(own["method"]):  # its points or its collection is still to run
            continue
        regret = own.groupby("method")["regret_mean"]
        found = [mean_interval(regret.get_group(m).to_numpy(float)) for m in RIVALS]
        named = [{"regret": own.mean, "regret_low": own.low} for own in found]
        cells = [md.cell(row, "regret", 1) for row in named]
        low, high = (100 * apart.loc[study, end] for end in ("low", "high"))
        cells.append(f"{100 * apart.loc[study, 'difference']:+.1f} [{low:+.1f}, {high:+.1f}]")
        lines.append([study, *cells])
    titles = [f"`{m}`" for m in RIVALS]
    return md.markdown(["regret %", *titles, "best of 8 minus hypernetwork [95 %]"], lines)


def ablation_words(folder: Path) -> str:
    """Markdown: one list item a claim about the generator and its rivals."""
    collections, points = _ablations(folder)
    usual = ablation_tables.usual(points)
    items = (
        ablation_claims.both_follow(ablation_tables.core(collections, usual)),
        ablation_claims.few_anchors(usual),
        ablation_claims.choices(collections, usual),
        ablation_claims.form(points),
    )
    return "\n".join(f"- {item}" for item in items)


def starts(folder: Path) -> str:
    """Markdown: median regret where adapters of several random starts are put together."""
    rows = ablation_tables.starts(*_ablations(folder))
    rows = rows[rows["way"] != "tuned"].assign(median=100 * rows["regret_median"])
    cells = tables.intervals(rows, "median", "way", "start")
    lines = [[f"`{way}`" if way.isidentifier() else way, *own] for way, *own in cells.itertuples()]
    table = md.markdown(["median regret %", *cells.columns], lines)
    return "\n\n".join([table, ablation_claims.starts(rows)])


def _ablations(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of all collections and of all points."""
    collections, points = (ablation_tables.load(kind, folder) for kind in ("collection", "point"))
    return collections, points


def curves(results: Path) -> str:
    """Markdown: where the published curves begin and end, and where ours do."""
    rows = []
    for backbone, curve in published.our_curves(results).items():
        own, metrics = curve[curve["protocol"] == "sampled"], (published.NDCG, published.ALPHA)
        for run, name in enumerate(("published", "published, second run")):
            values = [published.CURVES[backbone][m][run] for m in metrics]
            rows.append([backbone, name, *(f"{v[0]:.4f} → {v[-1]:.4f}" for v in values)])
        for method in ("tuned", "generated"):
            of = own[own["method"] == method]
            rows.append([backbone, f"`{method}`", *(_ends(of, metric) for metric in metrics)])
    if not rows:
        return f"Ours is still to be measured on their scale: `make add NAME={published.STUDY}`."
    titles = ["backbone", "", "NDCG@10", "α-nDCG@10 on the published scale"]
    return md.markdown(titles, rows, left=2)


def _ends(rows: pd.DataFrame, metric: str) -> str:
    """Where a method's curve begins and ends, ± half of the 95 % interval over seeds."""
    ends = rows["w_accuracy"].agg(["min", "max"])
    own = rows[rows["w_accuracy"].isin(ends)].assign(metric=metric)
    cells = tables.intervals(own, metric, "w_accuracy", "metric", digits=4)
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
            table = md.markdown([f"{path.parent.name}, {backbone}", *MEASURES.values()], rows)
            parts.append(table)
    return "\n\n".join(parts) or "Still to be measured: `python benchmarks/defects.py`."


def with_block(document: str, text: str, name: str, block: str) -> str:
    """The ``text`` of a ``document`` with what stands between the markers ``name`` replaced."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ParagonError(f"{document}: the markers {begin} and {end} are missing")
    return pattern.sub(lambda _: "\n\n".join([begin, block, end]), text)


def documents(root: Path) -> dict[Path, str]:
    """Every document that has blocks, with all of them brought up to date."""
    results, found = root / "results", root / "ablations" / "results"
    blocks = {
        "README.md": {
            "results": results_block(results, *SHOWN),
            "claims": claims(results),
            "ablations": "\n\n".join([ablations(found), ablation_words(found)]),
            "starts": starts(found),
        },
        "docs/reproduction.md": {"curves": curves(results), "defects": defects(results)},
    }
    made = {}
    for name, own in blocks.items():
        text = (root / name).read_text(encoding="utf-8")
        for marker, block in own.items():
            text = with_block(name, text, marker, block)
        made[root / name] = text
    return made


def write_documents(root: Path) -> None:
    """Bring the blocks of all documents up to date."""
    for path, text in documents(root).items():
        write_text(path, text)
