"""The stage `compare`: write results/summary.md, all.csv and a figure over all studies."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from paragon.evaluation.methods import methods_of
from paragon.storage import require, write_text
from paragon_study.report import figures
from paragon_study.report.results import (
    DIFFERENCE,
    HV,
    HV_OF_TUNED,
    REGRET,
    all_results,
    leaders,
    study_folders,
    without_repeats,
)
from paragon_study.report.style import look
from paragon_study.report.tables import as_markdown, plus_minus

# Only in all.csv: baselines, checks and variants.
NOT_DRAWN = [*methods_of("reference"), "generated_best", "generated_cfg", "generated_no_cfg"]
NOT_DRAWN += ["paragon_no_cfg", "interpolation", "rbf", "ridge", "ridge_log", "cmr"]
NOT_SHOWN = [m for m in NOT_DRAWN if m not in ("constant", "backbone")] + ["linear_subspace"]
# Columns of the table of methods, with digits.
MEANS = {
    HV_OF_TUNED: ("of tuned", 2),
    "r_acc_full": ("r acc", 2),
    "r_div_full": ("r div", 2),
    "r_div_inner_full": ("inner", 2),
    "even_ild_full": ("distance", 2),
    "even_items_full": ("items", 0),
    REGRET: ("regret %", 1),
}
# Tables of studies: methods compared with `tuned`, and measures of `generated`.
OF_TUNED = ("generated", "interpolation_log", "hypernetwork", "category_bias", "xquad", "retrain")
CONTROL = {
    "r_acc_full": ("r acc", 3),
    "r_div_full": ("r div", 3),
    "r_div_inner_full": ("inner", 3),
    REGRET: ("regret %", 1),
}
SUMMARY = """\
# Results

The headline is the whole catalogue, the list that is served. Sampled lists (the target among 99
random negatives) stand beside it for comparison with published numbers.
[docs/results.md](../docs/results.md) explains every measure, and `all.csv` has all of them: one row
for each study, method and measure. `python -m paragon compare` writes both.

- **Tuned**: an adapter tuned for exactly the weights asked for, the yardstick. **Set HV**: the area
  below all points (NDCG@10, α-nDCG@10) of a method.
- **r acc, r div**: correlation of accuracy and diversity with their weights; *inner*: without the
  corners, where one objective has weight 0.
- **Regret**: the loss beyond that of *tuned*; 100 %: always the middle adapter.
- **±**: half of the 95 % interval over seeds. **\\***: differs from *generated* beyond chance, for
  users (paired bootstrap, Holm's correction) and for seeds (t interval).

{data}

![Set HV relative to tuned, and regret, of every method](summary.png)

## Methods

Means over all studies that have the method, planted data apart; of two studies of the same data and
backbone, the one with more seeds. *Ahead, behind*: in how many of them a method is better or worse
than *generated* beyond chance. Distance and items are under equal weights.

{methods}

## Who is ahead

By set HV, among methods that need no tuning or training for new weights. The best of many leads
partly by chance. *By*: the lead over *generated*, or that of *generated* over the next, with its
95 % interval over users.

{ahead}

## Set HV of each study

That of *tuned*, and of others relative to it.

{volumes}

## Control by generated adapters

{control}
"""


def write_comparison(results: Path) -> None:
    """Write summary.md, all.csv and summary.png to ``results``."""
    table = all_results(study_folders(results))
    write_text(results / "all.csv", table.to_csv(index=False))
    write_text(results / "summary.md", summary(results))
    drawn = table[table["measure"].isin([HV_OF_TUNED, REGRET]) & ~table["method"].isin(NOT_DRAWN)]
    drawn = drawn.assign(measure=drawn["measure"].str.removesuffix("_full"))
    figure = figures.all_studies(in_few_panels(drawn.rename(columns={"value": "mean"})))
    figures.save_figure(figure, results / "summary.png")


def in_few_panels(frame: pd.DataFrame) -> pd.DataFrame:
    """Join datasets with one backbone into one panel, with a marker per dataset."""
    alone = frame.groupby("dataset")["backbone"].transform("nunique") == 1
    if alone.all():
        return frame
    title = frame["backbone"].map(lambda name: f"{look(name).label}, other studies")
    return frame.assign(
        dataset=frame["dataset"].where(~alone, title),
        backbone=frame["backbone"].where(~alone, frame["dataset"]),
    )


def summary(results: Path) -> str:
    """Write the text of results/summary.md."""
    folders = study_folders(results)
    table = all_results(folders)
    main = all_results(f for f in without_repeats(folders) if f.parent.name != "planted")
    return SUMMARY.format(
        data="\n".join(map(data_line, dict.fromkeys(folder.parent for folder in folders))),
        methods=as_markdown(method_means(main)),
        ahead=as_markdown(ahead(table), left=2),
        volumes=as_markdown(volumes(table)),
        control=as_markdown(control(table)),
    )


def data_line(folder: Path) -> str:
    """Describe a dataset: source, split, sizes."""
    about = json.loads(require(folder / "data.json", "data").read_text(encoding="utf-8"))
    counts = {key: f"{number:,}" for key, number in about["counts"].items()}
    split = {"leave_one_out": "leave-one-out", "global_time": "split by time"}[about["split"]]
    rules = [
        f", {key} {about[key]:g}" for key in ("min_rating", "k_core", "midnight") if about[key]
    ]
    return (
        f"- **{folder.name}**: {about['source']}; {split}{''.join(rules)}; {counts['train']} "
        f"training, {counts['valid']} validation and {counts['test']} test events, "
        f"{counts['items']} items, {counts['test_users']} users in the test."
    )


def method_means(table: pd.DataFrame) -> pd.DataFrame:
    """Tabulate methods by set HV: means over studies, and studies ahead and behind."""
    means = table.pivot_table("value", "method", "measure").reindex(columns=[*MEANS])
    means = means.sort_values(HV_OF_TUNED, ascending=False, kind="stable")
    having = table[table["measure"] == HV_OF_TUNED]["method"].value_counts()
    real = table[table["measure"].eq(DIFFERENCE) & table["beyond_chance"].eq(True)]
    rows = {}
    for method in [m for m in means.index if m in having and m not in NOT_SHOWN]:
        gaps = real.loc[real["method"] == method, "value"]
        sides = f"{(gaps > 0).sum()}, {(gaps < 0).sum()}" if method != "generated" else "–"
        cells = {"studies": str(having[method]), "ahead, behind": sides}
        for name, (title, digits) in MEANS.items():
            cells[title] = plus_minus(means.loc[method, name], None, digits, name)
        rows[look(method).label] = cells
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def ahead(table: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the leader of each study by set HV, for the whole catalogue and sampled lists."""
    parts = {}
    for measure, words in {HV: "whole catalogue", "set_hv_sampled": "sampled lists"}.items():
        first = by_study(leaders(table, measure))
        parts[words] = first["method"].map(lambda name: look(name).label)
        parts["by" + " " * len(parts)] = first.apply(difference_cell, axis=1)
    return pd.DataFrame(parts)


def volumes(table: pd.DataFrame) -> pd.DataFrame:
    """Tabulate by study the set HV of `tuned`, and other methods relative to it."""
    parts = {"tuned": with_half_width(table, "tuned", HV, 4)}
    for method in OF_TUNED:
        rows = table[table["method"] == method]
        share = by_study(rows[rows["measure"] == HV_OF_TUNED])["value"].map("{:.3f}".format)
        real = by_study(rows[rows["measure"] == DIFFERENCE])["beyond_chance"].eq(True)
        star = real.reindex(share.index, fill_value=False).map({True: " \\*", False: ""})
        parts[look(method).label] = share + star
    return pd.DataFrame(parts).fillna("–").rename_axis("study")


def control(table: pd.DataFrame) -> pd.DataFrame:
    """Tabulate by study the backbone's accuracy, and the control by `generated`."""
    parts = {"NDCG@10 of the backbone": with_half_width(table, "backbone", "best_acc_full", 4)}
    for name, (title, digits) in CONTROL.items():
        parts[title] = with_half_width(table, "generated", name, digits)
    return pd.DataFrame(parts).fillna("–").rename_axis("study")


def with_half_width(table: pd.DataFrame, method: str, measure: str, digits: int) -> pd.Series:
    """Format a measure by study, ± half of its interval."""
    rows = by_study(table[table["method"].eq(method) & table["measure"].eq(measure)])
    ends = zip(rows["value"], rows["low"], strict=True)
    return pd.Series([plus_minus(*one, digits, measure) for one in ends], rows.index, dtype=str)


def by_study(rows: pd.DataFrame) -> pd.DataFrame:
    """Index the rows of one method and measure by "dataset, backbone"."""
    return rows.set_index((rows["dataset"] + ", " + rows["backbone"]).rename("study"))


def difference_cell(row: pd.Series) -> str:
    """Format a difference with its interval over users, starred if beyond chance."""
    text = f"{row['value']:+z.4f}"
    if pd.notna(row["low"]):
        text += f" [{row['low']:+z.4f}, {row['high']:+z.4f}]"
    return f"{text} \\*" if row["beyond_chance"] else text
