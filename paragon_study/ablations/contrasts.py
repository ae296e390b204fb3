"""Compare the recorded ablations, for notebook 07 and docs/findings.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from scipy.stats import ttest_1samp

from paragon.metrics.statistics import holm, mean_interval
from paragon.params import ROOT, Params
from paragon.storage import require

# Settings in which generation is compared with its rivals.
CORE = {
    "anchors-10": "10 anchors",
    "anchors-4": "4 anchors",
    "anchors-3": "3 anchors",
    "three-objectives": "3 objectives",
}
# Ten anchors of one random start, and of three pooled.
STARTS = {
    "anchors-10": "one start",
    "starts-aligned": "three starts, aligned",
    "starts-pooled": "three starts, as they are",
}
ALONE = "-no-behaviour"  # suffix of points without the behavioural loss
DEFAULT = "anchors-10"  # the point with the settings of the study
# Collections of the same adapters, with comparable validation losses.
SAME_ADAPTERS = (DEFAULT, "snapshots-0")
BESIDE = {"behavioural loss (3 anchors)": "anchors-3"}  # baselines other than DEFAULT
# Labels for variables and values of ablations/params.yaml.
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
    """Label a variable or value for figures and tables."""
    return WORDS.get(str(name), str(name))


def usual(points: pd.DataFrame) -> pd.DataFrame:
    """Select the rows sampled as the point's settings say."""
    ways = ["guidance", "steps"]
    first = points.groupby("name")[ways].transform("first")
    return points[(points[ways] == first).all(axis=1)]


def core(collections: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of the settings ``CORE``, in order, with a label ``setting``."""
    both = pd.concat([collections, points], ignore_index=True)
    both = both.assign(setting=both["name"].map(CORE)).dropna(subset="setting")
    order = list(CORE.values()).index
    return both.sort_values("setting", key=lambda column: column.map(order), kind="stable")


def starts(collections: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Select rivals and unguided generation on ``STARTS``, labelled by ``start`` and ``way``."""
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
    """Compute ``one`` minus ``other`` by setting: mean and 95 % interval over shared seeds."""
    intervals = {}
    both = (rows[rows["method"] == method] for method in (one, other))
    merged = pd.merge(*both, on=["setting", "seed"], suffixes=("", "_other"))
    for name, group in merged.groupby("setting", sort=False):
        change = (group[measure] - group[f"{measure}_other"]).to_numpy(float)
        mean, low, high, _ = mean_interval(change)
        intervals[name] = {"difference": mean, "low": low, "high": high, "seeds": len(change)}
    return pd.DataFrame.from_dict(intervals, orient="index")


def points_of(rows: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Compute means and limits over seeds, in the format of ``figures.all_studies``."""
    points = []
    keys = ["setting", "backbone", "method"]
    for key, group in rows.groupby(keys, sort=False):
        for measure in measures:
            if group[measure].notna().all():  # no mean over a part of the seeds
                points.append((*key, measure, *mean_interval(group[measure].to_numpy(float))[:3]))
    return pd.DataFrame(points, columns="dataset backbone method measure mean low high".split())


def defaults(settings: Params) -> dict[str, object]:
    """Return the study's default for each variable that is changed."""
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
    """Select the rows of some variables, with the default point of the same seeds."""
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
    """Compare single changes of the generator or its collection with the study's settings.

    ``change`` of `choice` (above 0 is worse): mean over seeds, as a share of the lead of the
    study over the middle adapter.  ``p (Holm)``: paired t test over seeds.
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
