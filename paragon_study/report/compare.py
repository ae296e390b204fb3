"""The recorded studies as one table, and the stage `compare`: results/summary.md and all.csv."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from paragon.data.describe import filters_of
from paragon.errors import ParagonError
from paragon.evaluation.methods import methods_of
from paragon.metrics.statistics import is_real
from paragon.storage import require, write_text
from paragon_study.report.style import look
from paragon_study.report.tables import as_markdown, plus_minus, shares_table

HV_OF_TUNED, REGRET = "set_hv_of_tuned_full", "regret_mean_full"
DIFFERENCE = "set_hv_full_minus_generated"
# Only in all.csv: baselines, checks and variants.
NOT_LISTED = [m for m in methods_of("reference") if m not in ("constant", "backbone")]
NOT_LISTED += ["paragon_no_cfg", "interpolation", "rbf", "ridge"]
NOT_LISTED += ["ridge_log", "cmr", "linear_subspace"]
# Columns of the tables of methods and of studies, with digits.
CONTROL = {"r_acc_full": "r acc", "r_div_full": "r div", "outcome_error_full": "control error"}
MEANS = {HV_OF_TUNED: ("of tuned", 2)} | {name: (title, 2) for name, title in CONTROL.items()}
MEANS |= {"even_ild_full": ("distance", 2), "even_items_full": ("items", 0)}
MEANS |= {REGRET: ("regret %", 1)}
IN_SHARES = ["backbone", "tuned", "paragon", "paragon_transformer", "generated"]
IN_SHARES += ["interpolation_log", "hypernetwork", "category_bias", "xquad", "generated_xquad"]
CONTROLLED = {"paragon": "Paragon", "generated": "with task loss"}  # columns of the last table
SUMMARY = """\
# Results

Lists are of the whole catalogue, as they would be served. Sampled lists (the target among 99 random
negatives) are for comparison with published numbers. [docs/results.md](../docs/results.md) explains
every measure, and `all.csv` has all of them: one row for each study, method and measure.
`python -m paragon compare` writes both.

- **Tuned**: the best tuned adapter for the weights asked for, the yardstick. **Of tuned**: set HV,
  the area below all points (NDCG@10, α-nDCG@10) of a method, as a share of that of *tuned*.
- **r acc, r div**: correlation of accuracy and diversity with their weights.
- **Control error**: distance of both from those of *tuned* at the same weights, in its ranges.
- **Regret**: the loss beyond that of *tuned*; 100 %: always the middle adapter.
- **±**: half of the 95 % interval over seeds. **↑ ↓**: more or less than *generated* beyond chance,
  for users (paired bootstrap, Holm's correction) and for seeds (t interval).

{data}
{earlier}
## What giving up accuracy buys

From top to bottom: α-nDCG@10 of lists that keep 98, 95, 90 and 80 % of the backbone's NDCG@10.
Settings are chosen on validation users ("–": out of reach); `all.csv` has what test users kept.

{shares}

## Methods

Means over all studies that have the method, planted data apart; of two studies of the same data and
backbone, the one with more seeds. *Ahead, behind*: in how many of them a method is better or worse
than *generated* beyond chance. Distance and items are under equal weights.

{methods}

## Control by generated adapters

*Paragon*: the paper's recipe. *With task loss*: the same network, also trained by the task loss
(ours).

{control}
"""

EARLIER = """
In `all.csv` only, since their adapters were tuned in an earlier way, from an untrained start: {}.
"""

WEAK = """
**WARNING: no better than a rule without parameters**, by NDCG@10 of test events: {}. Train the
backbone longer or at another rate, or take another, before you read what controls it.
"""
RULES = ("popularity", "item_knn")  # that learn nothing


def study_folders(results: Path) -> list[Path]:
    """List folders ``<study>/<backbone>`` under ``results`` with metrics, sorted."""
    folders = sorted(path.parent for path in results.glob("*/*/metrics.json"))
    if not folders:
        raise ParagonError(f"{results}: no metrics.json in it; run `dvc repro` first")
    return folders


def is_current(folder: Path) -> bool:
    """Return whether a study was made with today's adapters: it has the paper's recipe."""
    row = load_results(folder / "metrics.json").get("paragon", {})
    return any(name.startswith("possible_") for name in row)


def load_results(path: Path, stage: str = "evaluation") -> dict[str, Any]:
    """Read a JSON file that a stage wrote."""
    try:
        return json.loads(require(path, stage).read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8 or not JSON
        raise ParagonError(f"{path} cannot be read ({error}); run `dvc repro` again") from error


def all_results(folders: Iterable[Path]) -> pd.DataFrame:
    """Tabulate studies, methods and measures: means over seeds, limits, and differences."""
    rows: list[tuple] = []
    for folder in folders:
        study, metrics = folder.parts[-2:], load_results(folder / "metrics.json")
        notes = {method: row.get("r_acc_full_note", "") for method, row in metrics.items()}
        single = {method for method, note in notes.items() if "there is one" in note}
        for method, row in metrics.items():
            for name, value in row.items():
                of_front = name.startswith(("set_hv", "even_")) and method in single
                ending = name.endswith(("_sd", "_low", "_high"))
                if isinstance(value, int | float) and not ending and not of_front:
                    limits = row.get(f"{name}_low"), row.get(f"{name}_high")
                    rows.append((*study, method, name, value, *limits, None))
        for method, row in load_results(folder / "differences.json").items():
            for name in sorted(name for name in row if f"{name}_p_holm" in row):
                if method in single and name.startswith("set_hv"):
                    continue
                limits = row[f"{name}_low"], row[f"{name}_high"]
                difference = f"{name}_minus_generated", row[name], *limits, is_real(row, name)
                rows.append((*study, method, *difference))
                if row.get(f"{name}_seeds_low") is not None:
                    half = (row[f"{name}_seeds_high"] - row[f"{name}_seeds_low"]) / 2
                    rows.append((*study, method, f"{name}_seeds_half", half, None, None, None))
    columns = "dataset backbone method measure value low high beyond_chance".split()
    return pd.DataFrame(rows, columns=columns)


def without_repeats(folders: Iterable[Path]) -> list[Path]:
    """Keep the study with the most seeds for each pair of data and backbone."""
    best: dict[tuple, tuple[int, Path]] = {}
    for folder in folders:
        about = load_results(folder.parent / "data.json", "data") | {"dataset": None}
        seeds = pd.read_csv(folder / "curve.csv", usecols=["seed"])["seed"].nunique()
        key = json.dumps(about), folder.name
        if key not in best or seeds > best[key][0]:
            best[key] = seeds, folder
    return sorted(folder for _, folder in best.values())


def write_comparison(results: Path) -> None:
    """Write summary.md and all.csv to ``results``; print which backbones are too weak."""
    folders = study_folders(results)
    write_text(results / "all.csv", all_results(folders).to_csv(index=False))
    write_text(results / "summary.md", summary(results))
    for words in weak_backbones(_listed(folders)):
        print(f"WARNING: no better than a rule without parameters: {words}", file=sys.stderr)


def weak_backbones(folders: Iterable[Path]) -> list[str]:
    """Name the studies whose backbone is no better on test events than `popularity`, `item_knn`."""
    weak = []
    for folder in folders:
        metrics = load_results(folder / "metrics.json")
        found = {m: metrics.get(m, {}).get("best_acc_full") for m in ("backbone", *RULES)}
        own, *of_rules = found.values()
        if own is not None and own <= max((x for x in of_rules if x is not None), default=-1):
            numbers = ", ".join(f"{m} {x:.4f}" for m, x in found.items() if x is not None)
            weak.append(f"{', '.join(folder.parts[-2:])} ({numbers})")
    return weak


def _listed(recorded: list[Path]) -> list[Path]:
    """Return the studies that summary.md lists: those made with today's adapters, if there are."""
    return [folder for folder in recorded if is_current(folder)] or recorded


def summary(results: Path) -> str:
    """Write the text of results/summary.md."""
    recorded = study_folders(results)
    folders = _listed(recorded)
    weak = weak_backbones(folders)
    table = all_results(folders)
    main = all_results(f for f in without_repeats(folders) if f.parent.name != "planted")
    earlier = "; ".join(", ".join(f.parts[-2:]) for f in recorded if f not in folders)
    return SUMMARY.format(
        earlier=(EARLIER.format(earlier) if earlier else "")
        + (WEAK.format("; ".join(weak)) if weak else ""),
        data="\n".join(map(data_line, dict.fromkeys(folder.parent for folder in folders))),
        shares=shares(folders),
        methods=as_markdown(method_means(main)),
        control=as_markdown(control(table)),
    )


def data_line(folder: Path) -> str:
    """Describe a dataset: source, split, sizes."""
    about = load_results(folder / "data.json", "data")
    counts = {key: f"{number:,}" for key, number in about["counts"].items()}
    split = {"leave_one_out": "leave-one-out", "global_time": "split by time"}[about["split"]]
    return (
        f"- **{folder.name}**: {about['source']}; {split}{filters_of(about)}; {counts['train']} "
        f"training, {counts['valid']} validation and {counts['test']} test events, "
        f"{counts['items']} items, {counts['test_users']} users in the test."
    )


def shares(folders: Iterable[Path]) -> str:
    """Tabulate α-nDCG@10 at shares of accuracy by study and method."""
    cells = {}
    for folder in folders:
        names = "metrics.json", "differences.json"
        table = shares_table(*(load_results(folder / name) for name in names))
        if table.empty:
            continue
        texts = table.iloc[:, 1:].agg("<br>".join, axis=1).str.replace("0.", ".", regex=False)
        cells[", ".join(folder.parts[-2:])] = {look(m).label: texts.get(m) for m in IN_SHARES}
    table = pd.DataFrame.from_dict(cells, orient="index").dropna(axis=1, how="all").fillna("–")
    return as_markdown(table.rename_axis("study"))


def method_means(table: pd.DataFrame) -> pd.DataFrame:
    """Tabulate methods by set HV: means over studies, and studies ahead and behind."""
    means = table.pivot_table("value", "method", "measure").reindex(columns=[*MEANS])
    means = means.sort_values(HV_OF_TUNED, ascending=False, kind="stable")
    means = means[means[HV_OF_TUNED].notna() & ~means.index.isin(NOT_LISTED)]
    real = table[table["measure"].eq(DIFFERENCE) & table["beyond_chance"].eq(True)]
    parts = table[table["measure"] == HV_OF_TUNED], real[real["value"] > 0], real[real["value"] < 0]
    counts = (rows["method"].value_counts().reindex(means.index, fill_value=0) for rows in parts)
    studies, up, down = (count.astype(str) for count in counts)
    sides = (up + ", " + down).where(means.index != "generated", "–")
    cells = pd.DataFrame({"studies": studies, "ahead, behind": sides})
    for name, (title, digits) in MEANS.items():
        cells[title] = [plus_minus(mean, None, digits, name) for mean in means[name]]
    return cells.rename(lambda method: look(method).label).rename_axis("method")


def control(table: pd.DataFrame) -> pd.DataFrame:
    """Tabulate by study the backbone's accuracy, and the control by generators, with intervals."""
    parts = {"NDCG@10 of the backbone": cells_of(table, "backbone", "best_acc_full", 4)}
    for method, words in CONTROLLED.items():
        for name, title in CONTROL.items():
            parts[f"{words}: {title}"] = cells_of(table, method, name, 3)
        parts[f"{words}: regret %"] = cells_of(table, method, REGRET, 1)
    return pd.DataFrame(parts).fillna("–").rename_axis("study")


def cells_of(table: pd.DataFrame, method: str, measure: str, digits: int) -> pd.Series:
    """Format a measure of a method, with half of its interval over seeds, by study."""
    rows = table[table["method"].eq(method) & table["measure"].eq(measure)]
    ends = zip(rows["value"], rows["low"], strict=True)
    cells = [plus_minus(*pair, digits, measure) for pair in ends]
    return pd.Series(cells, rows["dataset"] + ", " + rows["backbone"], dtype=str)
