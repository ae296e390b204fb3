"""The recorded studies as one table, and the stage `compare`: results/summary.md and all.csv."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from paragon.data.describe import filters_of
from paragon.errors import ParagonError
from paragon.evaluation.methods import METHODS, methods_of
from paragon.metrics.statistics import is_real
from paragon.rivals.baselines import MARGIN
from paragon.storage import write_text
from paragon_study.report.style import look
from paragon_study.report.tables import as_markdown, in_form, plus_minus, share_cell
from paragon_study.report.trainings import (
    first_trainings,
    joined_differences,
    joined_metrics,
    load_results,
    trainings_of,
)

HV_OF_TUNED = "set_hv_of_tuned_full"
REGRET = "regret_mean_full"
DIFFERENCE = "set_hv_full_minus_generated"
REFERENCES_SHOWN = ("constant", "backbone")
# Only in all.csv: baselines, checks and variants.
NOT_LISTED = [
    *(method for method in methods_of("reference") if method not in REFERENCES_SHOWN),
    "paragon_no_cfg",
    "interpolation",
    "rbf",
    "ridge",
    "ridge_log",
    "cmr",
    "linear_subspace",
]
# Tables of control: measures, with title and digits.
CONTROL = {
    REGRET: ("Regret, %", 1),
    "asked_acc": ("Asked − got, accuracy", 3),
    "asked_div": ("Asked − got, diversity", 3),
    "moves": ("Moves", 2),
    "r_acc_full": ("r acc", 3),
    "r_div_full": ("r div", 3),
}
# Their rows.
IN_CONTROL = [
    "tuned",
    "tuned_alone",
    "paragon",
    "paragon_no_cfg",
    "paragon_transformer",
    "generated",
    "hypernetwork",
    "nearest",
    "interpolation_log",
    "soup",
    "category_bias",
    "xquad",
]
# Columns of the table of methods, with digits.
MEANS = {
    HV_OF_TUNED: ("of tuned", 2),
    "r_acc_full": ("r acc", 2),
    "r_div_full": ("r div", 2),
    "asked_acc": ("asked − got, accuracy", 2),
    "asked_div": ("asked − got, diversity", 2),
    "moves": ("moves", 1),
    "outcome_error_full": ("distance from tuned", 2),
    "outcome_error_alone_full": ("from tuned alone", 2),
    "even_ild_full": ("distance", 2),
    "even_items_full": ("items", 0),
    REGRET: ("regret %", 1),
}
# Columns of the table of shares.
IN_SHARES = [
    "backbone",
    "tuned",
    "paragon",
    "paragon_transformer",
    "generated",
    "interpolation_log",
    "hypernetwork",
    "category_bias",
    "xquad",
    "generated_xquad",
]
SHARES = ("98", "95", "90", "80")
PASSES = {
    "without a second step": ("generated", "mixture", "end_to_end"),
    "with a second step": ("reranked",),
}  # kinds of methods
FIELDS = {"ml-100k": "films", "lastfm": "music", "journey": "groceries"}  # of studies
SUMMARY = """\
# Results

Lists are of the whole catalogue, as they would be served. Sampled lists (the target among 99 random
negatives) are for comparison with published numbers. [docs/results.md](../docs/results.md) explains
every measure, and `all.csv` has all of them: one row for each study, method and measure.
`python -m paragon compare` writes both.

- **Tuned**: the best tuned adapter for the weights asked for, the yardstick. **Of tuned**: set HV,
  the area below all points (NDCG@10, α-nDCG@10) of a method, as a share of that of *tuned*.
- **r acc, r div**: correlation of accuracy and diversity with their weights.
- **Distance from tuned**: that of both from *tuned* at the same weights, in its ranges. **From
  tuned alone**: from the adapter tuned for exactly these weights; the order of methods can differ.
- **Regret**: the loss beyond that of *tuned*; 100 %: always the middle adapter.
- **Asked − got**: how far test users are from what was asked for, if each method's settings are
  labelled by the same rule on validation users: a share of the accuracy, a place on the way to the
  method's most diverse lists. **Moves**: how many a simulated person makes until the list has as
  many categories as wanted, five at most.
- **±**: half of the 95 % interval over trainings of the recommender where there are several, else
  over seeds of adapters. **↑ ↓**: more or less than *generated* beyond chance, for the users of
  each training (paired bootstrap, Holm's correction) and over trainings or seeds (t interval).

{data}
{weak}{odd}
## What giving up accuracy buys

α-nDCG@10 of lists that should keep a share of the backbone's NDCG@10. Settings are chosen on
validation users ("–": out of reach); `all.csv` has what test users kept.

{shares}

## Methods

Means over all studies that have the method, planted data apart; of two studies of the same data and
backbone, the one with more trainings. *Ahead, behind*: in how many of them a method is better or
worse than *generated* beyond chance. Distance and items are under equal weights.

{methods}

## The recommenders

NDCG@10 of the backbone alone, and of two rules that learn nothing.

{accuracy}

## Control

{control}
"""

WEAK = """
**WARNING: not 2 % better than a rule without parameters**, by NDCG@10 of test events: {}. Try
another loss (`backbones.loss: softmax`) or rate, or another backbone, before you read what controls
it. More epochs help only if the last ones were still better.
"""
ODD = """
**WARNING: a diversity that counts categories**: α-nDCG@10 rises, but the mean distance within lists
falls in {}. Items with many categories can do this: compare `ild@10` in `curve.csv`, too.
"""
RULES = ("popularity", "item_knn")  # that learn nothing


def study_folders(results: Path) -> list[Path]:
    """List folders ``<study>/<backbone>`` under ``results`` with metrics, sorted."""
    folders = sorted(path.parent for path in results.glob("*/*/metrics.json"))
    if not folders:
        raise ParagonError(f"{results}: no metrics.json in it; run `dvc repro` first")
    return folders


def all_results(folders: Iterable[Path], joined: bool = True) -> pd.DataFrame:
    """Tabulate studies, methods and measures: means, limits, and differences.

    ``joined``: of studies with several trainings, over these; else of each training, over seeds.
    Measures of a front (hypervolume, evenness) are left out for a method with a single point.
    """
    rows: list[tuple] = []
    for folder in folders:
        dataset, backbone = folder.parts[-2:]
        trainings = len(trainings_of(folder)) if joined else 1
        study = dataset, backbone, trainings
        metrics = joined_metrics(folder) if joined else load_results(folder / "metrics.json")
        single = set()  # methods with one point: they have no correlation
        for method, measures in metrics.items():
            if "there is one" in measures.get("r_acc_full_note", ""):
                single.add(method)

        for method, measures in metrics.items():
            for name, value in measures.items():
                if not isinstance(value, int | float) or name.endswith(("_sd", "_low", "_high")):
                    continue
                if method in single and name.startswith(("set_hv", "even_")):
                    continue
                low = measures.get(f"{name}_low")
                high = measures.get(f"{name}_high")
                rows.append((*study, method, name, value, low, high, None))

        path = folder / "differences.json"
        differences = joined_differences(folder) if joined else load_results(path)
        for method, measures in differences.items():
            compared = sorted(name for name in measures if f"{name}_p_holm" in measures)
            for name in compared:
                if method in single and name.startswith("set_hv"):
                    continue
                value = measures[name]
                low = measures[f"{name}_low"]
                high = measures[f"{name}_high"]
                real = is_real(measures, name)
                measure = f"{name}_minus_generated"
                rows.append((*study, method, measure, value, low, high, real))
                if measures.get(f"{name}_seeds_low") is not None:
                    half = (measures[f"{name}_seeds_high"] - measures[f"{name}_seeds_low"]) / 2
                    measure = f"{name}_seeds_half"
                    rows.append((*study, method, measure, half, None, None, None))
    columns = "dataset backbone trainings method measure value low high beyond_chance".split()
    return pd.DataFrame(rows, columns=columns)


def all_trainings(folders: Sequence[Path]) -> pd.DataFrame:
    """Tabulate each training, then the studies with several of them, over these."""
    several = [folder for folder in folders if len(trainings_of(folder)) > 1]
    return pd.concat([all_results(folders, joined=False), all_results(several)])


def without_repeats(folders: Iterable[Path]) -> list[Path]:
    """Keep the study with the most trainings for each pair of data and backbone."""
    best: dict[tuple, tuple[int, Path]] = {}
    for folder in folders:
        description = load_results(folder.parent / "data.json", "data")
        description["dataset"] = None  # a copy of the data may have another name
        trainings = len(trainings_of(folder))
        key = json.dumps(description), folder.name
        if key not in best or trainings > best[key][0]:
            best[key] = trainings, folder
    return sorted(folder for _, folder in best.values())


def write_comparison(results: Path) -> None:
    """Write summary.md and all.csv to ``results``; print which backbones are too weak."""
    folders = study_folders(results)
    write_text(results / "all.csv", all_trainings(folders).to_csv(index=False))
    write_text(results / "summary.md", summary(results))
    for words in weak_backbones(folders):
        print(f"WARNING: not 2 % better than a rule without parameters: {words}", file=sys.stderr)
    for words in odd_diversity(folders):
        print(f"WARNING: diversity rises, distances within lists fall: {words}", file=sys.stderr)


def weak_backbones(folders: Iterable[Path]) -> list[str]:
    """Name studies whose backbone is not 2 % better than both rules on test events."""
    weak = []
    for folder in folders:
        metrics = load_results(folder / "metrics.json")
        found = {m: metrics.get(m, {}).get("best_acc_full") for m in ("backbone", *RULES)}
        own, *of_rules = found.values()
        least = MARGIN * max((x for x in of_rules if x is not None), default=0)
        if own is not None and own < least:
            numbers = ", ".join(f"{m} {x:.4f}" for m, x in found.items() if x is not None)
            weak.append(f"{', '.join(folder.parts[-2:])} ({numbers})")
    return weak


def odd_diversity(folders: Iterable[Path]) -> list[str]:
    """Name the studies whose diversity counts categories: where it rises, items come closer.

    The most diverse lists of `tuned` have smaller distances within them than those under equal
    weights. (A popular list or a diversity near 1 is no sign: most studies have both.)
    """
    odd = []
    for folder in folders:
        metrics = load_results(folder / "metrics.json")
        middle = metrics.get("tuned", {}).get("even_ild_full")
        if middle is None:
            continue
        curve = pd.read_csv(folder / "curve.csv")
        if not {"ild@10", "w_diversity"} <= {*curve}:  # other cut-offs, or other objectives
            continue
        curve = curve.query("method == 'tuned' and protocol == 'full'")
        end = curve.groupby("w_diversity")["ild@10"].mean().iloc[-1]
        if end < middle:
            odd.append(f"{', '.join(folder.parts[-2:])} (from {middle:.3f} to {end:.3f})")
    return odd


def summary(results: Path) -> str:
    """Write the text of results/summary.md."""
    recorded = study_folders(results)
    folders = first_trainings(recorded)
    weak = weak_backbones(recorded)
    odd = odd_diversity(recorded)
    not_planted = [f for f in without_repeats(folders) if f.parent.name != "planted"]
    datasets = dict.fromkeys(folder.parent for folder in folders)  # without repeats, in order
    measured = {folder: joined_metrics(folder) for folder in folders}
    return SUMMARY.format(
        weak=WEAK.format("; ".join(weak)) if weak else "",
        odd=ODD.format("; ".join(odd)) if odd else "",
        data="\n".join(data_line(dataset) for dataset in datasets),
        shares="\n\n".join(f"### At {share} %\n\n{shares(measured, share)}" for share in SHARES),
        methods=as_markdown(method_means(all_results(not_planted))),
        accuracy=by_study(measured, ["backbone", *RULES], "best_acc_full", 4),
        control="\n\n".join(
            f"### {title}\n\n{by_study(measured, IN_CONTROL, measure, digits)}"
            for measure, (title, digits) in CONTROL.items()
        ),
    )


def label_of(folder: Path) -> str:
    """Name a study, with the number of its trainings if there are several."""
    trainings = len(trainings_of(folder))
    label = ", ".join(folder.parts[-2:])
    return f"{label}, {trainings} trainings" if trainings > 1 else label


def data_line(folder: Path) -> str:
    """Describe a dataset: source, split, sizes."""
    data = load_results(folder / "data.json", "data")
    counts = {name: f"{count:,}" for name, count in data["counts"].items()}
    splits = {"leave_one_out": "leave-one-out", "global_time": "split by time"}
    return (
        f"- **{folder.name}**: {data['source']}; {splits[data['split']]}{filters_of(data)}; "
        f"{counts['train']} training, {counts['valid']} validation and {counts['test']} test "
        f"events, {counts['items']} items, {counts['test_users']} users in the test."
    )


def shares(measured: Mapping[Path, dict], share: str) -> str:
    """Tabulate α-nDCG@10 at a share of the accuracy, methods by study.

    ``measured``: of each study `joined_metrics`.
    """
    columns = {}
    for folder, metrics in measured.items():
        differences = joined_differences(folder)
        cells = {}
        for method in IN_SHARES:
            row = metrics.get(method, {})
            cell = share_cell(row, differences.get(method, {}), share)
            cells[look(method).label] = cell.replace("0.", ".", 1)
        columns[label_of(folder)] = cells
    table = pd.DataFrame(columns)
    return as_markdown(table[table.ne("–").any(axis=1)].rename_axis("method"))


def best_by_field(table: pd.DataFrame) -> str:
    """Tabulate the most diverse method of each field of data at two shares of the accuracy.

    One without a second step over many items, and one with it: by α-nDCG@10, in the mean over the
    backbones of a field, among methods that reach the share with all of them. ``table``: of
    `all_results`.
    """
    recorded = set(table["dataset"])
    rows = []
    for study, field in FIELDS.items():
        for share in ("95", "80") if study in recorded else ():
            means = {}
            for method in IN_SHARES:
                values = in_field(table, field, method, f"alpha_ndcg_{share}")["value"]
                if len(values):
                    means[method] = values.mean()
            row = {"field": field, "share": f"{share} %"}
            for title, kinds in PASSES.items():
                of_kinds = [name for name in means if METHODS[name].kind in kinds]
                best = max(of_kinds, key=lambda name: means[name], default=None)
                row[title] = f"{look(best).label} {means[best]:.2f}" if best else "–"
            rows.append(row)
    return as_markdown(pd.DataFrame(rows).set_index("field"), left=4)


def method_means(table: pd.DataFrame) -> pd.DataFrame:
    """Tabulate methods by set HV: means over studies, and studies ahead and behind."""
    means = table.pivot_table("value", "method", "measure").reindex(columns=[*MEANS])
    means = means.sort_values(HV_OF_TUNED, ascending=False, kind="stable")
    means = means[means[HV_OF_TUNED].notna() & ~means.index.isin(NOT_LISTED)]

    def studies(rows: pd.DataFrame) -> pd.Series:
        """Count the studies in the rows, by method."""
        counts = rows["method"].value_counts()
        return counts.reindex(means.index, fill_value=0).astype(str)

    real = table[table["measure"].eq(DIFFERENCE) & table["beyond_chance"].eq(True)]
    ahead = studies(real[real["value"] > 0])
    behind = studies(real[real["value"] < 0])
    sides = (ahead + ", " + behind).where(means.index != "generated", "–")
    measured = studies(table[table["measure"] == HV_OF_TUNED])
    cells = pd.DataFrame({"studies": measured, "ahead, behind": sides})
    for name, (title, digits) in MEANS.items():
        cells[title] = [plus_minus(mean, None, digits, name) for mean in means[name]]
    return cells.rename(lambda method: look(method).label).rename_axis("method")


def by_study(
    measured: Mapping[Path, dict], methods: Iterable[str], measure: str, digits: int
) -> str:
    """Tabulate a measure, methods by study, ± half of the 95 % interval over trainings or seeds.

    ``measured``: of each study `joined_metrics`.
    """
    columns = {}
    for folder, metrics in measured.items():
        cells = {}
        for method in methods:
            row = metrics.get(method, {})
            low = row.get(f"{measure}_low")
            cells[look(method).label] = plus_minus(row.get(measure), low, digits, measure)
        columns[label_of(folder)] = cells
    table = pd.DataFrame(columns)
    return as_markdown(table[table.ne("–").any(axis=1)].rename_axis("method"))


def in_field(table: pd.DataFrame, field: str, method: str, measure: str) -> pd.DataFrame:
    """Return the rows of `all_results` for a field: one for each backbone, or none if one lacks."""
    of_field = table[table["dataset"].map(FIELDS) == field]
    rows = of_field[of_field["method"].eq(method) & of_field["measure"].eq(measure)]
    complete = len(rows) == of_field["backbone"].nunique()
    return rows if complete else rows.iloc[:0]


def by_field(
    table: pd.DataFrame, methods: Iterable[str], columns: Mapping[str, tuple[str, str, str]]
) -> str:
    """Tabulate methods by fields of data, from a ``table`` of `all_results`.

    ``columns``: field, measure and form (see `in_form`) of each heading. "–" where a method has no
    value with one of the field's backbones. An arrow marks a difference from `generated` that is
    beyond chance with every backbone of the field.
    """
    cells = pd.DataFrame(index=list(methods), columns=list(columns))
    for heading, (field, measure, form) in columns.items():
        for method in cells.index:
            values = in_field(table, field, method, measure)["value"]
            if values.empty:
                continue
            differences = in_field(table, field, method, f"{measure}_minus_generated")
            arrow = ""
            if len(differences) and differences["beyond_chance"].eq(True).all():
                sides = (differences["value"] > 0).unique()
                arrow = ("↑" if sides[0] else "↓") if len(sides) == 1 else ""
            cells.loc[method, heading] = in_form(values, form) + arrow
    cells = cells[cells.notna().any(axis=1)].fillna("–")
    return as_markdown(cells.rename(lambda method: look(method).label).rename_axis("method"))
