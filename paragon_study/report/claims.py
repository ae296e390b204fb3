"""Check the sentences with numbers on the pages against results, as listed in claims.yaml.

A claim is text with ``{}`` for numbers, each ``[source, method, measure, form]``.  A condition adds
a relation and a limit.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from paragon.errors import ParagonError
from paragon_study.ablations import contrasts
from paragon_study.report.results import (
    all_results,
    leaders,
    regret_against_generated,
    study_folders,
    without_repeats,
)

PAGES = ("README.md", "docs/findings.md")
RELATIONS = {"is": operator.eq, "below": operator.lt, "above": operator.gt}
Sources = dict[str, pd.DataFrame]


def broken_claims(root: Path) -> list[str]:
    """List the claims that the pages do not say, or that do not follow from results."""
    sources, broken = load_sources(root), []
    for claim in load_claims(root):
        words = claim["says"].format(*(value_of(sources, *one) for one in claim.get("of", [])))
        for page in [claim["page"]] if "page" in claim else PAGES:
            if words not in one_line((root / page).read_text(encoding="utf-8")):
                broken.append(f"{page} should say: {words}")
        for *one, relation, limit in claim.get("if", []):
            value = float(value_of(sources, *one))
            if not RELATIONS[relation](value, limit):
                broken.append(f"{words}: needs {' '.join(one)} {relation} {limit}, it is {value:g}")
    return broken


def load_claims(root: Path) -> list[dict]:
    """Load the claims, each text on one line."""
    claims = yaml.safe_load((root / "claims.yaml").read_text(encoding="utf-8"))
    return [claim | {"says": one_line(claim["says"])} for claim in claims]


def one_line(text: str) -> str:
    """Replace all whitespace by single spaces."""
    return " ".join(text.split())


def value_of(sources: Sources, source: str, method: str, measure: str, form: str) -> str:
    """Format a number by ``FORMS``; ``source`` may name a study: ``studies/ml-1m/sasrec``."""
    name, _, study = source.partition("/")
    table = sources[name]
    if study:
        table = table[(table["dataset"] + "/" + table["backbone"]).str.strip("/") == study]
    if method != "any":
        table = table[table["method"] == method]
    table = table[table["measure"] == measure]
    kind, _, digits = form.partition(" ")
    if table.empty and kind not in ("ahead", "behind"):
        raise ParagonError(f"claims.yaml: {source} has no {measure} of {method}")
    return FORMS[kind](table, digits)


def _span(table: pd.DataFrame, digits: str, scale: float = 1) -> str:
    ends = (f"{scale * end:z{digits}}" for end in (table["value"].min(), table["value"].max()))
    return " to ".join(dict.fromkeys(ends))


def _count(rows: pd.Series) -> str:
    return str(int(rows.sum()))


FORMS: dict[str, Callable[[pd.DataFrame, str], str]] = {
    "span": _span,  # smallest to largest value
    "percent": lambda table, digits: _span(table, digits, 100) + " %",
    "mean": lambda table, digits: f"{table['value'].mean():z{digits}}",
    "max": lambda table, digits: f"{table['value'].max():{digits}}",
    "min": lambda table, digits: f"{table['value'].min():{digits}}",
    "studies": lambda table, _: _count(~table.duplicated(["dataset", "backbone"])),
    "ahead": lambda table, _: _count(table["beyond_chance"].eq(True) & (table["value"] > 0)),
    "behind": lambda table, _: _count(table["beyond_chance"].eq(True) & (table["value"] < 0)),
}


def load_sources(root: Path) -> Sources:
    """Load the tables that claims refer to, with the columns of `all_results`.

    ``studies``: studies on real data, with served lists, regret against `generated`, and leaders;
    ``planted``: the others; ``drawn``: studies tuned on drawn lists; ``times``: of `make bench`.
    """
    folders = study_folders(root / "results")
    planted = [folder for folder in folders if folder.parent.name == "planted"]
    real = without_repeats(folder for folder in folders if folder not in planted)
    studies, record = all_results(real), pd.read_csv(root / "ablations/results/drawn-lists.csv")
    drawn = {study: curve for study, curve in record.groupby(["dataset", "backbone"])}
    same = [study for study in (folder.parts[-2:] for folder in real) if study in drawn]
    parts = [studies, leaders(studies).assign(measure="first")]
    parts += [served_lists(pd.read_csv(own / "curve.csv"), *own.parts[-2:]) for own in real]
    parts += [
        regret_against_generated(real, method)
        for method in ("nearest", "interpolation_log", "hypernetwork", "paragon")
    ]
    return {
        "studies": pd.concat(parts),
        "planted": all_results(planted),
        "drawn": pd.concat(served_lists(drawn[study], *study) for study in same),
        "ablations": _few_anchors(root / "ablations" / "results"),
        "times": times(root / "results"),
    }


def served_lists(curve: pd.DataFrame, dataset: str, backbone: str) -> pd.DataFrame:
    """Compute mean metrics of full-catalogue lists at three weights: ``ndcg@10 at 0.5``."""
    curve = curve[curve["protocol"] == "full"]
    curve = curve[np.isclose(curve["w_accuracy"].to_numpy()[:, None], [0, 0.5, 1]).any(1)]
    metrics = [m for m in ("ndcg@10", "hr@10", "alpha_ndcg@10", "ild@10") if m in curve]
    means = curve.groupby(["method", "w_accuracy"])[metrics].mean().stack()
    table = means.rename_axis(["method", "weight", "metric"]).rename("value").reset_index()
    names = table["metric"] + " at " + table["weight"].map("{:g}".format)
    return table.assign(dataset=dataset, backbone=backbone, measure=names)


def _few_anchors(folder: Path) -> pd.DataFrame:
    """Average the ablations over seeds; the name of the entry becomes the backbone."""
    collections, points = contrasts.load_tables(folder)
    rows = pd.concat([collections, contrasts.usual(points)], ignore_index=True)
    means = rows.groupby(["name", "method"])[["regret_mean", "set_hv"]].mean().stack()
    table = means.rename_axis(["backbone", "method", "measure"]).rename("value").reset_index()
    return table.assign(dataset="")


def times(results: Path) -> pd.DataFrame:
    """Read milliseconds, seconds and shares from the records of `make bench`."""
    rows = []
    for path in sorted(results.glob("*/timing.json")):
        for backbone, record in json.loads(path.read_text(encoding="utf-8")).items():
            median = {m: record[m]["p50"] for m in ("generate", "tune", "retrain")}
            measures = {
                ("generate", "milliseconds"): 1000 * median["generate"],
                ("generate", "milliseconds, p99"): 1000 * record["generate"]["p99"],
                ("generate", "saved"): 100 - 100 * median["generate"] / median["retrain"],
            }
            if record.get("paragon"):
                measures["paragon", "seconds"] = record["paragon"]["p50"]
            for other, change in record["pays_after"].items():
                measures[other, "pays after"] = np.inf if change is None else change
            rows += [(path.parent.name, backbone, *key, value) for key, value in measures.items()]
    return pd.DataFrame(rows, columns="dataset backbone method measure value".split())
