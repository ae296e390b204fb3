"""Everything that is written from results: docs/findings.md, a figure, blocks of other documents.

Blocks are between markers.  All numbers follow from the committed files of results/ and
ablations/, so a test can compare the documents with those.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from paragon.errors import ParagonError
from paragon.storage import require, write_text
from paragon_study.report import figures, findings, published, transport
from paragon_study.report import markdown as md
from paragon_study.report.results import load_metrics, study_folders
from paragon_study.report.style import look

SHOWN = ("ml-100k", "sasrec")  # the study whose methods the README shows
METHODS = (
    "tuned", "generated", "generated_xquad", "hypernetwork", "interpolation_log", "category_bias",
    "xquad", "backbone",
)  # fmt: skip
COLUMNS = {
    "set HV": ("set_hv_full", 4),
    "r acc": ("r_acc_full", 2),
    "r div": ("r_div_full", 2),
    "distance": ("even_ild_full", 2),
    "items": ("even_items_full", 0),
    "set HV, sampled": ("set_hv_sampled", 4),
}
EVALUATE = "dvc repro --single-item --force evaluation@ml-100k-sasrec"
STUDY = "results/*/*/"
# Page and section, file, its keys or columns, and the one command that computes them anew; a record
# has none.
SOURCES = (
    ("README, results", "results/ml-100k/sasrec/metrics.json", [k for k, _ in COLUMNS.values()],
     EVALUATE),
    ("summary, a study", STUDY + "metrics.json",
     [f"{name}_{protocol}" for protocol in ("full", "sampled") for _, name, _ in md.COLUMNS]
     + [name for _, name, _ in (*md.SERVED, *md.LOSSES)], EVALUATE),
    ("summary, differences; findings, ahead and behind, re-ranking", STUDY + "differences.json",
     [f"set_hv_full{end}" for end in ("", "_low", "_high", "_p_holm", "_seeds_low", "_seeds_high")],
     EVALUATE),
    ("findings, who is ahead, control", STUDY + "metrics.json",
     [name for name, _ in findings.COLUMNS.values()], EVALUATE),
    ("findings, the lists that are served", STUDY + "curve.csv",
     ["ndcg@10", "alpha_ndcg@10", "ild@10", "items@10"], EVALUATE),
    ("findings, regret seed by seed", STUDY + "curve.csv", ["loss_accuracy", "loss_diversity"],
     EVALUATE),
    ("findings, time; what it costs", "results/*/timing.json",
     ["generate", "tune", "retrain", "prepare", "pays_after"], "make bench"),
    ("findings, few anchors", "ablations/results/point-*.csv", ["regret_mean", "choice"],
     "dvc repro --single-item --force ablations/dvc.yaml:point@anchors-10"),
    ("findings, few anchors", "ablations/results/collection-*.csv", ["regret_mean", "set_hv"],
     "dvc repro --single-item --force ablations/dvc.yaml:collection@anchors-10"),
    ("findings, drawn lists", "ablations/drawn-lists/*/*/curve.csv",
     ["ndcg@10", "alpha_ndcg@10"], ""),
    ("reproduction, backbones", STUDY + "curve.csv", ["ndcg@10", "hr@10"], EVALUATE),
    ("transport, tables", "transport/results/move-*.csv",
     ["set_hv_of_tuned", "r_acc", "r_div", "regret_mean", "fit"],
     "dvc repro --single-item --force transport/dvc.yaml:move@seed-0"),
    ("reproduction, curves", "ablations/drawn-lists/ml-1m-time/*/curve.csv",
     [published.NDCG, published.ALPHA], ""),
)  # fmt: skip
# The rows of the record of defects in words.
DEFECTS = {
    "tuned": "as it should be: `tuned`",
    "below": "diversity loss counts the categories *below* an item as seen",
    "once": "negatives drawn once for all epochs",
}
REACHED = (("full", "ndcg@10"), ("full", "hr@10"), ("sampled", "ndcg@10"))
MEASURES = {
    "set_hv": "set HV",
    "set_hv_of_tuned": "of tuned",
    "r_acc": "r acc",
    "r_div": "r div",
    "range_ratio_acc": "range acc",
    "range_ratio_div": "range div",
}


def main_results(folder: Path) -> str:
    """Markdown: the main methods of one study, the whole catalogue first.

    Means, of set HV ± half of the 95 % interval over seeds, ordered by it; what was not run is
    left out.
    """
    metrics = load_metrics(folder)
    shown = [m for m in METHODS if metrics.get(m, {}).get("set_hv_full") is not None]
    shown.sort(key=lambda m: -metrics[m]["set_hv_full"])
    first, *others = COLUMNS.values()
    rows = []
    for method in shown:
        row = metrics[method]
        means = (md.plus_minus(row.get(name), None, digits) for name, digits in others)
        rows.append([look(method).label, md.cell(row, *first), *means])
    return md.markdown_table(["method", *COLUMNS], rows)


def published_ends(recorded: Path) -> str:
    """Markdown: where the published curves begin and end, and where ours do."""
    rows = []
    for backbone, curve in published.our_curves(recorded).items():
        sampled, metrics = curve[curve["protocol"] == "sampled"], (published.NDCG, published.ALPHA)
        for run, name in enumerate(("published", "published, second run")):
            values = [published.CURVES[backbone][m][run] for m in metrics]
            rows.append([backbone, name, *(f"{v[0]:.4f} → {v[-1]:.4f}" for v in values)])
        for method in ("tuned", "generated"):
            part = sampled[sampled["method"] == method]
            rows.append([backbone, f"`{method}`", *(_ends(part, metric) for metric in metrics)])
    titles = ["backbone", "run or method", "NDCG@10", "α-nDCG@10 on the published scale"]
    return md.markdown_table(titles, rows, left=2)


def _ends(rows: pd.DataFrame, metric: str) -> str:
    """Where a method's curve begins and ends, ± half of the 95 % interval over seeds."""
    by_weight = dict(list(rows.groupby("w_accuracy")[metric]))
    return " → ".join(md.interval_cell(by_weight[end(by_weight)], 4) for end in (min, max))


def defects(recorded: Path) -> str:
    """Markdown: what each defect costs, as it was recorded with drawn lists."""
    parts = []
    for path in sorted(recorded.glob("*/defects.json")):
        for backbone, record in json.loads(path.read_text(encoding="utf-8")).items():
            rows = [
                [words, *(md.cell(record[row], f"{name}_sampled", 3) for name in MEASURES)]
                for row, words in DEFECTS.items()
            ]
            titles = [f"{path.parent.name}, {backbone}", *MEASURES.values()]
            parts.append(md.markdown_table(titles, rows))
    return "\n\n".join(parts)


def sources() -> str:
    """Markdown: where the numbers of every page are from, and the command that makes them anew."""
    rows = [
        [
            place,
            f"`{file}`",
            ", ".join(f"`{key}`" for key in keys),
            f"`{command}`" if command else "none: a record",
        ]
        for place, file, keys, command in SOURCES
    ]
    return md.markdown_table(["page, section", "file", "keys", "command"], rows, left=4)


def with_block(document: str, text: str, name: str, block: str) -> str:
    """The ``text`` of a ``document`` with what is between the markers ``name`` replaced."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ParagonError(f"{document}: the markers {begin} and {end} are missing")
    return pattern.sub(lambda _: "\n\n".join([begin, block, end]), text)


def backbones(results: Path, drawn: Path) -> str:
    """Markdown: how accurate each backbone is over the whole catalogue, without any adapter.

    Of MovieLens-1M, which others report, also what was recorded before; nobody else has the
    planted data.
    """
    folders = {f"{f.parent.name}, {f.name}": f for f in study_folders(results, planted=False)}
    for before in sorted((drawn / "ml-1m").glob("*/curve.csv")):
        folders[f"ml-1m, {before.parent.name} (before)"] = before.parent
    rows = []
    for study, folder in folders.items():
        curve = pd.read_csv(folder / "curve.csv")
        own = curve[curve["method"] == "backbone"].groupby("protocol").mean(numeric_only=True)
        rows.append([study, *(f"{own.loc[cell]:.3f}" for cell in REACHED)])
    titles = ["dataset, backbone", "NDCG@10", "HR@10", "NDCG@10, sampled lists"]
    return md.markdown_table(titles, rows)


def documents(root: Path) -> dict[Path, str]:
    """Every document that is written from results, whole, with its blocks up to date."""
    results, drawn = root / "results", root / "ablations" / "drawn-lists"
    trials = root / "transport"
    moved = trials if (trials / "results").is_dir() else None  # nothing has to move
    recorded = (results, root / "ablations" / "results", drawn, moved)
    blocks = {
        "README.md": {
            "results": main_results(results.joinpath(*SHOWN)),
            "findings": findings.render_findings(*recorded, block="short"),
        },
        "docs/reproduction.md": {
            "curves": published_ends(drawn),
            "backbones": backbones(results, drawn),
            "defects": defects(drawn),
        },
        "docs/results.md": {
            "sources": sources(),
            "costs": md.costs(results),
            "data": md.data_lines(results),
        },
    }
    if moved:
        blocks["docs/transport.md"] = {"moves": transport.tables(moved)}
    texts = {root / "docs" / "findings.md": findings.render_findings(*recorded)}
    for name, contents in blocks.items():
        text = (root / name).read_text(encoding="utf-8")
        for marker, block in contents.items():
            text = with_block(name, text, marker, block)
        texts[root / name] = text
    return texts


def write_documents(root: Path) -> None:
    """Write all documents and their figures."""
    for path, text in documents(root).items():
        write_text(path, text)
    curve = require(root.joinpath("results", *SHOWN) / "curve.csv", "evaluation")
    figures.save_figure(figures.lead(pd.read_csv(curve)), root / "docs" / "lead.png")
    ours = published.our_curves(root / "ablations" / "drawn-lists")
    compared = figures.published_curves(ours, published.CURVES)
    figures.save_figure(compared, root / "docs" / "published.png")
    if (moved := root / "transport").joinpath("results").is_dir():
        drawn = figures.moved_adapters(transport.load_moves(moved))
        figures.save_figure(drawn, root / "docs" / "transport.png")
