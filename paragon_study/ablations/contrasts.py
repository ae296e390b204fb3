"""Compare the recorded ablations in tables and figures, for notebook 07 and docs/findings.md."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from paragon.metrics.statistics import mean_interval
from paragon.params import ROOT
from paragon.storage import require
from paragon_study.ablations.factorial import DEFAULT
from paragon_study.report import style
from paragon_study.report.style import GREY, look, metric_label
from paragon_study.report.tables import interval_table

MEASURES = ("regret_mean", "outcome_error")  # by loss, and by what is served
# Methods of the figure `anchor_law`.
SHOWN = [
    "generated_best",
    "hypernetwork_best",
    "best",
    "generated",
    "paragon",
    "hypernetwork",
    "nearest",
    "interpolation_log",
    "greedy_1000",
    "tuned_alone",
    "conditioned",
    "category_bias",
    "greedy_50",
]
TABLES = ROOT / "ablations" / "results"


def load_table(kind: str, folder: Path = TABLES) -> pd.DataFrame:
    """Read the recorded rows of a kind: ``factorial``, ``law`` or ``tuning``."""
    return pd.read_csv(require(folder / f"{kind}.csv", f"python -m paragon trial {kind}"))


def load_factorial(folder: Path = TABLES) -> pd.DataFrame:
    """Read the rows of ``factorial``, with the column ``regret`` in percent; none if no file."""
    if not (folder / "factorial.csv").exists():
        columns = ["name", "generator", "factor", "option", "guidance", "seed", "regret"]
        return pd.DataFrame(columns=columns)
    rows = load_table("factorial", folder)
    return rows.assign(regret=100 * rows["regret_mean"])


def not_recorded(factorial: pd.DataFrame, entries: Iterable[str]) -> str:
    """Say which of the ``entries`` have no rows yet, and which command records them."""
    missing = [name for name in entries if name not in factorial["name"].unique()]
    if not missing:
        return "All entries are recorded."
    return f"Not recorded yet: {', '.join(missing)}. Run `python -m paragon trial factorial`."


def factor_table(factorial: pd.DataFrame, factor: str) -> pd.DataFrame:
    """Tabulate by how much regret changes, in percent, with each option of a ``factor``.

    Rows are generators (or other methods) with an option, columns are entries. A cell is the mean
    difference from the default, seed by seed, ± half of its 95 % interval over seeds. For the
    factor ``default``, it is the regret itself. No rows: none are recorded.
    """
    rows = factorial[factorial["factor"] == factor]
    if rows.empty:
        return pd.DataFrame()
    if factor == DEFAULT:
        return interval_table(rows, "regret", "generator", "name")
    pair = ["name", "generator", "seed"]  # what a row shares with the row of the default
    default = factorial[factorial["factor"] == DEFAULT].set_index(pair)["regret"]
    rows = rows.join(default.rename("default"), on=pair)
    change = rows["regret"] - rows["default"]
    option = rows["option"].astype(str).str.replace("_", " ")
    label = rows["generator"] + ", " + option
    return interval_table(rows.assign(change=change, label=label), "change", "label", "name")


def chosen_guidance(factorial: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the guidance that validation users chose for each seed: generators by entries."""
    rows = factorial[factorial["factor"] == DEFAULT].dropna(subset="guidance")
    if rows.empty:
        return pd.DataFrame()
    text = rows["guidance"].map("{:g}".format)
    chosen = text.groupby([rows["generator"], rows["name"]], sort=False).agg(", ".join)
    return chosen.unstack().rename_axis(index=None, columns=None)


def at_anchors(law: pd.DataFrame, number: int = 10) -> pd.DataFrame:
    """Select methods with this number of tuned adapters, or none; add the column ``setting``."""
    rows = law[law["anchors"].isna() | (law["anchors"] == number)]
    objectives = rows["objectives"].map("{} objectives, ".format)
    dataset = (", " + rows["dataset"]).mask(rows["dataset"] == "ml-100k", "")
    setting = objectives + rows["backbone"] + dataset
    return rows.assign(setting=setting, regret=100 * rows["regret_mean"])


def paired(rows: pd.DataFrame, one: str, other: str, measure: str) -> pd.DataFrame:
    """Compute ``one`` minus ``other`` by setting: mean and 95 % interval over shared seeds."""
    wide = rows.pivot(index=["setting", "seed"], columns="method", values=measure)
    differences = (wide[one] - wide[other]).dropna()
    intervals = {}
    for setting, by_seed in differences.groupby("setting", sort=False):
        mean, low, high, _ = mean_interval(by_seed.to_numpy(float))
        intervals[setting] = {"difference": mean, "low": low, "high": high, "seeds": len(by_seed)}
    return pd.DataFrame.from_dict(intervals, orient="index")


def paired_table(
    rows: pd.DataFrame, pairs: Iterable[tuple[str, str]], measure: str, digits: int
) -> pd.DataFrame:
    """Tabulate `paired`, ± half of the interval: pairs of methods by settings."""
    tables = {f"{one} minus {other}": paired(rows, one, other, measure) for one, other in pairs}
    table = pd.concat(tables).dropna()
    half = table["high"] - table["difference"]
    mean_text = table["difference"].round(digits).astype(str)
    half_text = half.round(digits).astype(str)
    cells = mean_text + " ± " + half_text
    return cells.unstack(sort=False).fillna("–").sort_index(axis=1)


@style.drawn
def anchor_law(law: pd.DataFrame, methods: Sequence[str] = SHOWN) -> Figure:
    """Plot regret up to 200 % and distance from `tuned` over the tuned adapters, by study."""
    several = law.groupby("name", sort=False)["anchors"].nunique() > 1
    names = several.index[several].tolist()
    figure, axes = style.panels(7.2, 4.4, 2, len(names), **style.SHARED)
    for (measure, name), ax in zip(product(MEASURES, names), axes.flat, strict=True):
        rows = law[law["name"] == name]
        for method in methods:
            rows_of_method = rows[rows["method"] == method]
            if rows_of_method.empty:
                continue
            kind = look(method)
            line: dict[str, Any] = {"label": kind.label, "color": kind.colour, "ls": kind.line}
            if rows_of_method["anchors"].isna().all():
                ends = rows["anchors"].min(), rows["anchors"].max()
                level = rows_of_method[measure].mean()
                ax.plot(ends, [level, level], linewidth=1.2, **line)
                continue
            numbers, mean, low, high = style.limits_by("anchors", rows_of_method, measure)
            ax.plot(numbers, mean, marker=kind.marker, markersize=4, linewidth=1.2, **line)
            ax.vlines(numbers, low, high, color=kind.colour, linewidth=0.7)
        ax.set_xscale("log")
        ticks = sorted(law["anchors"].dropna().unique())
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
    studies = law.groupby("name").first().loc[names]
    for ax, study in zip(axes[0], studies.itertuples(), strict=True):
        title = f"{study.objectives} objectives,\n{look(study.backbone).label}, {study.dataset}"
        ax.set_title(title, fontsize=8)
    axes[0, 0].set_ylim(top=min(2, axes[0, 0].get_ylim()[1]))  # of all columns
    axes[0, 0].yaxis.set_major_formatter(ticker.PercentFormatter(1, symbol=""))
    axes[0, 0].set_ylabel("regret, %\n(0 = tuned)", fontsize=8)
    axes[1, 0].set_ylabel("distance from tuned\n(0 = tuned)", fontsize=8)
    for ax in axes[1]:
        ax.set_xlabel("tuned adapters", fontsize=8)
    style.method_legend(figure, axes[0, 0], columns=3)
    note = style.seeds_note((rows for _, rows in law.groupby("name")), "Vertical lines")
    style.small_print(figure, note, "Methods without markers do not learn from them.")
    return figure


@style.drawn
def ternary(weights: np.ndarray, values: np.ndarray, labels: Sequence[str], metric: str) -> Figure:
    """Plot values ``[W]`` over weights ``[W, 3]`` of three objectives; rows sum to 1."""
    corners = np.array([[0.5, np.sqrt(0.75)], [0, 0], [1, 0]])  # [3, 2]
    outline = corners[[0, 1, 2, 0]]
    x, y = (weights @ corners).T
    figure, ax = style.panels(4.2, 3.3)
    filled = ax.tricontourf(Triangulation(x, y), values, levels=12, cmap=style.WEIGHT_COLOURS)
    ax.plot(x, y, "o", color="white", mec="black", mew=0.4, markersize=2.2, clip_on=False)
    ax.plot(outline[:, 0], outline[:, 1], color="black", linewidth=0.8)
    outward = corners - corners.mean(0)
    centred: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center"}
    for number, name in enumerate(labels):
        ax.annotate(f"{name} = 1", corners[number], 20 * outward[number], **centred, weight="bold")
        # The edge that leads from the next corner to the one after it shows the weight there.
        start = corners[(number + 1) % 3]
        end = corners[(number + 2) % 3]
        for share in (0.2, 0.4, 0.6, 0.8):
            point = (1 - share) * start + share * end
            ax.annotate(f"{share:g}", point, -13 * outward[number], **centred, fontsize=6, c=GREY)
    ax.set_aspect("equal")
    ax.set_axis_off()
    style.colour_bar(ax, filled, metric_label(metric), pad=0.08, shrink=0.85)
    right, left, below = labels
    note = f"Weights on the edges: right, of {right}; left, of {left}; below, of {below}."
    style.small_print(figure, note)
    return figure
