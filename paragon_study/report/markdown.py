"""results/ in Markdown tables, for results/summary.md and the documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from paragon.metrics.statistics import is_real, mean_interval
from paragon.storage import require
from paragon_study.report.results import (
    REGRET,
    has_one_weight,
    load_differences,
    load_metrics,
    study_folders,
)
from paragon_study.report.templates import fill_template

# Column title, measure, digits; the protocol is added.
COLUMNS = (
    ("set HV", "set_hv", 4),
    ("of tuned", "set_hv_of_tuned", 3),
    ("r acc", "r_acc", 3),
    ("r div", "r_div", 3),
    ("r div inner", "r_div_inner", 3),
    ("range acc", "range_ratio_acc", 2),
    ("range div", "range_ratio_div", 2),
    ("violations", "violations_acc", 1),
)
# The same of the list that is served under equal weights, for the whole catalogue.
SERVED = (
    ("NDCG", "even_acc_full", 3),
    ("α-nDCG", "even_div_full", 3),
    ("distance", "even_ild_full", 3),
    ("items", "even_items_full", 0),
)
# With the headline only: it has one protocol.
LOSSES = (
    ("regret %", REGRET, 1),
    ("median %", REGRET.replace("mean", "median"), 1),
    ("at corners %", REGRET.replace("mean", "corner_mean"), 1),
)
# Column title, method, measure, digits: one line a study.
OVERVIEW = (
    ("NDCG@10 of the backbone", "backbone", "best_acc_full", 4),
    ("set HV of `tuned`", "tuned", "set_hv_full", 4),
    *(
        (f"`{method}` / `tuned`", method, "set_hv_of_tuned_full", 3)
        for method in ("generated", "interpolation_log", "category_bias", "mmr", "retrain")
    ),
    ("r acc of `generated`", "generated", "r_acc_full", 3),
    ("r div", "generated", "r_div_full", 3),
    ("r div inner", "generated", "r_div_inner_full", 3),
    ("regret %", "generated", REGRET, 1),
)


def markdown_table(titles: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A table; the first ``left`` columns are aligned left, the others right."""
    rule = "|" + " --- |" * left + " ---: |" * (len(titles) - left)
    lines = ["| " + " | ".join(titles) + " |", rule]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def plus_minus(mean: float | None, low: float | None, digits: int, scale: float = 1) -> str:
    """A mean ± the distance to its lower limit; what never varies has none.  No negative zero."""
    if mean is None:
        return "–"
    shown = f"{scale * mean:z.{digits}f}"
    return shown if low in (None, mean) else f"{shown} ± {scale * (mean - low):.{digits}f}"


def interval_cell(values: pd.Series, digits: int) -> str:
    """Mean ± half of the 95 % interval, over seeds for instance; a dash if one is undefined."""
    if values.isna().any() or values.empty:
        return "–"
    mean, low, _, _ = mean_interval(values.to_numpy(float))
    return plus_minus(mean, low, digits)


def cell(row: Mapping, name: str, digits: int) -> str:
    """A mean with half the width of its interval over seeds, where there is one."""
    scale = 100 if name.startswith("regret") else 1
    return plus_minus(row.get(name), row.get(f"{name}_low"), digits, scale)


def difference_cell(row: dict | None, name: str) -> str:
    """A difference with its interval over users, marked with a star where it is beyond chance."""
    if row is None:  # `generated` itself
        return "–"
    known = [row[key] for key in (name, f"{name}_low", f"{name}_high") if row[key] is not None]
    shown, *limits = (f"{value:+z.4f}" for value in known)
    if len(limits) == 2:
        shown += f" [{', '.join(limits)}]"
    return f"{shown} \\*" if is_real(row, name) else shown


def turned(row: dict, name: str) -> dict:
    """A difference seen from the other side."""
    ends = {name: name}
    for kind in ("", "_seeds"):
        low, high = f"{name}{kind}_low", f"{name}{kind}_high"
        ends |= {low: high, high: low}
    return row | {new: None if row[old] is None else -row[old] for new, old in ends.items()}


def method_table(folder: Path, protocol: str = "full") -> str:
    """Markdown: a row per method, its mean ± half of the 95 % interval over seeds.

    Of the whole catalogue also what is served under equal weights, and the losses.
    """
    differences = load_differences(folder)
    columns = [(title, f"{name}_{protocol}", digits) for title, name, digits in COLUMNS]
    columns += [*SERVED, *LOSSES] if protocol == "full" else []
    rows = []
    for method, row in load_metrics(folder).items():
        cells = [cell(row, name, digits) for _, name, digits in columns]
        cells.insert(1, difference_cell(differences.get(method), f"set_hv_{protocol}"))
        rows.append([f"`{method}`", *cells])
    titles = [title for title, _, _ in columns]
    titles.insert(1, "difference from `generated` [95 %]")
    return markdown_table(["method", *titles], rows)


def overview(results: Path) -> str:
    """Markdown: a line per dataset and backbone, of the whole catalogue."""
    rows = []
    for folder in study_folders(results):
        metrics = {m: row for m, row in load_metrics(folder).items() if not has_one_weight(row)}
        cells = [
            cell(metrics.get(method, {}), name, digits) for _, method, name, digits in OVERVIEW
        ]
        rows.append([f"{folder.parent.name}, {folder.name}", *cells])
    return markdown_table(["dataset, backbone", *(title for title, *_ in OVERVIEW)], rows)


def data_lines(results: Path) -> str:
    """Markdown: what each dataset's results are from: source, split, sizes."""
    folders = dict.fromkeys(folder.parent for folder in study_folders(results))
    texts = {f.name: require(f / "data.json", "data").read_text(encoding="utf-8") for f in folders}
    data = {name: json.loads(text) for name, text in texts.items()}
    return fill_template("blocks.md.j2", {"data": data}, block="data")


def costs(results: Path) -> str:
    """Markdown: time to a ready model for new weights, as recorded; empty without a record."""
    times = {
        f"{path.parent.name}, {backbone}": record
        for path in sorted(results.glob("*/timing.json"))
        for backbone, record in json.loads(path.read_text(encoding="utf-8")).items()
    }
    for record in times.values():
        record["machine"] = {"gpu": None, **record["machine"]}
    return fill_template("blocks.md.j2", {"times": times}, block="costs")
