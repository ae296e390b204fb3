"""The recorded ablations side by side, for notebook 07 and docs/findings.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from scipy.stats import ttest_1samp

from paragon.metrics.statistics import holm, mean_interval
from paragon.params import ROOT, Params
from paragon.storage import require

# The settings in which generation is compared with its rivals.
CORE = {
    "anchors-10": "10 anchors",
    "anchors-4": "4 anchors",
    "anchors-3": "3 anchors",
    "three-objectives": "3 objectives",
}
# Ten anchors of one random start, and of three together.
STARTS = {
    "anchors-10": "one start",
    "starts-aligned": "three starts, aligned",
    "starts-pooled": "three starts, as they are",
}
ALONE = "-no-behaviour"  # how points without the behavioural loss are named
DEFAULT = "anchors-10"  # the point with the settings of the study
# Collections of the same adapters as this one, so that losses on validation users compare.
SAME_ADAPTERS = (DEFAULT, "snapshots-0")
BESIDE = {"behavioural loss (3 anchors)": "anchors-3"}  # points to compare such a change with
# Variables and values of ablations/params.yaml that need more words.
WORDS = {
    "latent": "latent coordinates",
    "snapshots": "snapshots of each anchor",
    "conditioning": "where the weights enter",
    "add_once": "once, at the input",
    "adaptive_norm": "in every layer",
}


def load_tables(folder: Path = ROOT / "ablations" / "results") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the recorded collections and points."""
    collections, points = (
        pd.read_csv(require(folder / f"{kind}.csv", "make ablations"))
        for kind in ("collections", "points")
    )
    return collections, points


def wording(name: object) -> str:
    """A variable or a value as figures and tables show it."""
    return WORDS.get(str(name), str(name))


def usual(points: pd.DataFrame) -> pd.DataFrame:
    """The rows sampled as the point's settings say, the best of several among them."""
    ways = ["guidance", "steps"]
    first = points.groupby("name")[ways].transform("first")
    return points[(points[ways] == first).all(axis=1)]


def core(collections: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """The rows of the settings ``CORE``, in that order; ``setting`` says each in words."""
    both = pd.concat([collections, points], ignore_index=True)
    both = both.assign(setting=both["name"].map(CORE)).dropna(subset="setting")
    order = list(CORE.values()).index
    return both.sort_values("setting", key=lambda column: column.map(order), kind="stable")


def starts(collections: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """The rows of the collections ``STARTS``: rivals, and unguided generation with its steps.

    ``start`` says the collection in words, ``way`` the method.  Of the ways of sampling those
    are kept that the pooled starts were sampled in.
    """
    of = points["collection"]
    named = (points["name"] == of) | (points["name"] == of + ALONE)
    points = points[named & of.isin(STARTS) & (points["guidance"] == 1)]
    kinds = points["name"].str.endswith(ALONE).map({False: "generated", True: "diffusion alone"})
    steps = points["steps"].map(lambda n: f", {n} step" + "s" * (n > 1))
    best = points["samples"].map(lambda n: f", best of {n}" if n > 1 else "")
    points = points.assign(kind=kinds, way=kinds + steps + best, name=points["collection"])
    pooled = points.loc[points["name"] == list(STARTS)[-1], "way"]
    points = points[points["way"].isin(pooled)].sort_values(["kind", "samples", "steps"])
    both = pd.concat([collections.assign(way=collections["method"]), points], ignore_index=True)
    return both.assign(start=both["name"].map(STARTS)).dropna(subset="start")


def paired(rows: pd.DataFrame, one: str, other: str, measure: str) -> pd.DataFrame:
    """``one`` minus ``other`` in each setting: mean and 95 % interval over shared seeds."""
    intervals = {}
    both = (rows[rows["method"] == method] for method in (one, other))
    merged = pd.merge(*both, on=["setting", "seed"], suffixes=("", "_other"))
    for name, group in merged.groupby("setting", sort=False):
        change = (group[measure] - group[f"{measure}_other"]).to_numpy(float)
        mean, low, high, _ = mean_interval(change)
        intervals[name] = {"difference": mean, "low": low, "high": high, "seeds": len(change)}
    return pd.DataFrame.from_dict(intervals, orient="index")


def points_of(rows: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Means and limits over seeds in the form that ``figures.all_studies`` draws."""
    points = []
    keys = ["setting", "backbone", "method"]
    for key, group in rows.groupby(keys, sort=False):
        for measure in measures:
            if group[measure].notna().all():  # no mean of the seeds that happen to have it
                points.append((*key, measure, *mean_interval(group[measure].to_numpy(float))[:3]))
    return pd.DataFrame(points, columns="dataset backbone method measure mean low high".split())


def defaults(settings: Params) -> dict[str, object]:
    """The study's own value of every variable that points change on its collection."""
    generator = settings.generator
    return {
        "anchors": str(len(settings.adapters.anchors)),
        "behavioural loss": "on",
        "behavioural loss (3 anchors)": "on",
        "conditioning": generator.conditioning,
        "item side": "on" if settings.adapters.item_side else "none",
        "latent": str(generator.latent),
        "snapshots": str(settings.adapters.snapshots),
    }


def one_at_a_time(rows: pd.DataFrame, settings: Params, variables: Sequence[str]) -> pd.DataFrame:
    """The rows of some variables, each beside those of the default point of the same seeds."""
    usual_values, parts = defaults(settings), []
    for variable in variables:
        changed = rows[(rows["variable"] == variable) & (rows["name"] != DEFAULT)]
        parts.append(changed)
        if variable in usual_values:
            same = rows["name"] == BESIDE.get(variable, DEFAULT)
            beside = rows[same & rows["seed"].isin(changed["seed"])]
            parts.append(beside.assign(variable=variable, value=usual_values[variable]))
    return pd.concat(parts, ignore_index=True).astype({"value": str})


def single_changes(collections: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Single changes of the generator or its collection against the study's settings.

    ``change``: mean over seeds of the change of `choice`, in units of what listening to the
    weights is worth (`choice` of the middle adapter minus that of the study's generator); above
    0 is worse.  ``p (Holm)``: paired t test over seeds, corrected for the number of changes.
    """
    points = points[points["method"] == "generated"]
    same = points["collection"].isin(SAME_ADAPTERS) & ~points["name"].str.endswith(ALONE)
    base = points[same & (points["name"] == DEFAULT)].set_index("seed")["choice"]
    middle = collections[(collections["name"] == DEFAULT) & (collections["method"] == "constant")]
    worth = middle["choice"].mean() - base.mean()
    changes = {}
    for _, rows in points[same & (points["name"] != DEFAULT)].groupby("name", sort=False):
        more = (rows.set_index("seed")["choice"] - base).dropna().to_numpy() / worth
        if len(more) > 1:
            name = ": ".join(wording(rows[key].iloc[0]) for key in ("variable", "value"))
            changes[name] = {"change": more.mean(), "p (Holm)": ttest_1samp(more, 0).pvalue}
    table = pd.DataFrame.from_dict(changes, orient="index")
    return table.assign(**{"p (Holm)": holm(table["p (Holm)"])})
