"""The numbers behind docs/findings.md.

People write the words, in findings.md.j2.  `numbers` computes every number in them from the
committed files, and tests/report/test_findings.py holds the condition of every finding.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paragon.errors import ParagonError
from paragon.metrics.statistics import REAL, beyond_seeds, is_real
from paragon.report import ablations as ab
from paragon.report import templates
from paragon.report.markdown import cell
from paragon.report.results import DATA, OBJECTIVES, Studies, study_folders

FAILED = 0.1  # a generator with more regret did not learn: its study is reported separately
NEXT_TO_CORNER = 0.1  # the evaluation weight of accuracy between the first two anchors
REPEATED = "-paper"  # a dataset's name with this is the same data with more seeds and rivals
FEW = (5, 4, 3)  # numbers of anchors
LOGS = ("interpolation_log", "rbf_log")
REGRET, HV, HV_OF_TUNED = "regret_mean_sampled", "set_hv_sampled", "set_hv_of_tuned_sampled"


def render_findings(results: Path, ablations: Path, block: str | None = None) -> str:
    """The text of docs/findings.md, or of one block of it."""
    return templates.fill_template("findings.md.j2", numbers(results, ablations), block)


def numbers(results: Path, ablations: Path) -> dict[str, Any]:
    """Every number of the findings; those of one section together."""
    every = Studies(study_folders(results))
    failed = [s for s in every.folders if every.value(s, "generated", REGRET) > FAILED]
    good = every.only(s for s in every.folders if s not in failed)
    if not len(good):
        raise ParagonError(f"{results}: no study whose generator follows the weights")
    small = DATA["ml-100k"]
    return {
        "studies": list(every.folders),
        "combinations": len({name.replace(REPEATED, "") for name in every.folders}),
        "good": list(good.folders),
        "failed": [_failed(every.only([study])) for study in failed],
        "follows": _follows(good),
        "mixtures": _mixtures(good),
        "logs": _logs(good.having("interpolation_log")),
        "hypernetwork": _hypernetwork(good.having("hypernetwork")),
        "subspace": every.having("linear_subspace").values("linear_subspace", REGRET),
        "catalogue": _catalogue(every.by_data().get(small, every.only([]))),
        "mmr": _mmr(every, small),
        "retrain": {d: _retrain(part) for d, part in every.having("retrain").by_data().items()},
        "costs": _costs(results),
        "guidance": _guidance(every),
        "noise": list(np.subtract(*_pair(every, "nearest_noise", "nearest", REGRET))),
        "mean_hv": list(np.divide(*_pair(every, "constant", "tuned", "mean_hv_sampled"))),
        **_ablations(ablations),
    }


def _pair(every: Studies, one: str, other: str, measure: str) -> tuple[list[float], list[float]]:
    """A measure of two methods in all studies."""
    return every.values(one, measure), every.values(other, measure)


def _follows(good: Studies) -> dict:
    """How close `generated` is to the adapters tuned for the weights."""
    violations = [
        v for o in ("acc", "div") for v in good.values("generated", f"violations_{o}_sampled")
    ]
    return {
        "hv": good.values("generated", HV_OF_TUNED),
        "range_acc": good.values("generated", "range_ratio_acc_sampled"),
        "range_div": good.values("generated", "range_ratio_div_sampled"),
        "violations": max(violations),
        "regret": good.values("generated", REGRET),
        "shuffled": good.values("generated_shuffled", REGRET),
    }


def _failed(one: Studies) -> dict:
    """A study whose generator failed, and whether its seeds show more than that."""
    tests = one.against_generated(["interpolation", "nearest"], ["regret_mean"])
    ((study, metrics),) = one.metrics.items()
    shown = ("generated", "interpolation", "nearest")
    return {
        "study": study,
        "regret": {m: cell(metrics[m], REGRET, 0) for m in shown},
        "seeds": int(tests["seeds"].max()),
        "differ": list(tests.loc[tests["p"] < REAL, "method"]),
    }


def _mixtures(good: Studies) -> dict:
    """Interpolation in proportion to the weights."""
    gaps = {s: table["interpolation"] for s, table in good.differences.items()}
    differ = [s for s, row in gaps.items() if is_real(row, HV)]
    others = ("interpolation", "rbf", "ridge")
    return {
        "median": good.values("interpolation", "regret_median_sampled"),
        "mean": good.values("interpolation", REGRET),
        "differ": differ,
        "gap": max((abs(gaps[s][HV]) for s in differ), default=0.0),
        "share": [_share_of_regret(good.curve(s), "interpolation") for s in good.folders],
        "soup_worst": all(
            good.value(s, "soup", REGRET) > max(good.value(s, m, REGRET) for m in others)
            for s in good.folders
        ),
    }


def _share_of_regret(curve: pd.DataFrame, method: str) -> float:
    """How much of a method's regret off the corners comes from the weight beside the corner."""
    rows = curve[curve["w_accuracy"].between(0, 1, "neither")]
    losses = sum(rows[f"w_{o}"] * rows[f"loss_{o}"] for o in OBJECTIVES)
    means = losses.groupby([rows["method"], rows["w_accuracy"]]).mean()
    excess = means[method] - means["tuned"]
    return excess[NEXT_TO_CORNER] / excess.sum()


def _logs(tried: Studies) -> dict:
    """Mixtures by the logarithms of the weights, and how many anchors they need."""
    gaps = {s: table["interpolation_log"] for s, table in tried.differences.items()}
    users = [s for s, row in gaps.items() if row[f"{HV}_p_holm"] < REAL]
    tests = tried.against_generated(LOGS, ["regret_mean"])
    few = {n: f"regret_mean_{n}_anchors" for n in FEW}
    return {
        "studies": list(tried.folders),
        "regret": {m: tried.values(m, REGRET) for m in (*LOGS, "generated")},
        "differ": [s for s, row in gaps.items() if is_real(row, HV)],
        "users": users,
        "users_gap": max((abs(gaps[s][HV]) for s in users), default=0.0),
        "seeds": {m: _sides(tests[tests["method"] == m]) for m in LOGS},
        "few": {n: tried.values("rbf_log", name) for n, name in few.items()},
        "least": {n: _least(tried, name) for n, name in few.items()},
    }


def _sides(tests: pd.DataFrame) -> dict:
    """The studies where the method has less and more than `generated`, and by how much."""
    real = tests[tests["p"] < REAL]
    sides = {"less": real[real["difference"] < 0], "more": real[real["difference"] > 0]}
    return {
        side: table.set_index("study")["difference"].abs().to_dict()
        for side, table in sides.items()
    }


def _least(tried: Studies, measure: str) -> str:
    """The mixture with the least mean of a measure over studies."""
    methods = {m for table in tried.metrics.values() for m, row in table.items() if measure in row}
    return min(methods, key=lambda m: np.mean(tried.values(m, measure)), default="")


def _hypernetwork(trained: Studies) -> dict:
    """Generator and hypernetwork, seed by seed."""
    tests = trained.against_generated(["hypernetwork"], ["regret_mean", "regret_corner_mean"])
    gaps = {s: table["hypernetwork"] for s, table in trained.differences.items()}
    return {
        "studies": list(trained.folders),
        "regret": trained.values("hypernetwork", REGRET),
        "off_corners": _sides(tests[tests["measure"] == "regret_mean"]),
        "corners": _sides(tests[tests["measure"] == "regret_corner_mean"]),
        "seeds": sorted(set(tests["seeds"])),
        "hv_less": [s for s, row in gaps.items() if row[HV] < 0],
        "hv_gap": max((abs(row[HV]) for row in gaps.values()), default=0.0),
        "hv_users": [s for s, row in gaps.items() if row[f"{HV}_p_holm"] < REAL],
        "hv_seeds": [s for s, row in gaps.items() if beyond_seeds(row, HV)],
    }


def _catalogue(small: Studies) -> dict:
    """How closely the oracle's diversity follows its weight: the whole catalogue and samples."""
    return {p: small.values("tuned", f"r_div_{p}") for p in ("full", "sampled")}


def _mmr(every: Studies, small: str) -> dict:
    """Re-ranking: on sampled lists, and over the whole catalogue by data."""
    sides: dict[str, list[str]] = {}
    for study, table in every.differences.items():
        for protocol in ("sampled", "full"):
            if is_real(table["mmr"], name := f"set_hv_{protocol}"):
                side = "better" if table["mmr"][name] > 0 else "worse"
                sides.setdefault(f"{protocol}_{side}", []).append(study)
    groups = every.by_data()
    one = groups.get(small, every.only([]))
    return {
        "reach": every.values("mmr", "range_ratio_div_sampled"),
        "median_reach": float(np.median(every.values("mmr", "range_ratio_div_sampled"))),
        "sampled": {side: sides.get(f"sampled_{side}", []) for side in ("better", "worse")},
        "small": {
            side: [s for s in sides.get(f"full_{side}", []) if s in one.folders]
            for side in ("better", "worse")
        },
        "small_studies": list(one.folders),
        "full": {d: part.values("mmr", "set_hv_of_tuned_full") for d, part in groups.items()},
        "r_div": {m: one.values(m, "r_div_full") for m in ("mmr", "generated")},
    }


def _retrain(part: Studies) -> dict:
    """Retraining against adapters tuned at the same weights."""
    return {
        "range": part.values("retrain", "range_ratio_div_sampled"),
        "hv": part.values("retrain", HV_OF_TUNED),
    }


def _guidance(every: Studies) -> list[str]:
    """The studies where guidance makes a difference."""
    methods = ("generated_cfg", "generated_no_cfg")
    return [
        study
        for study, table in every.differences.items()
        if any(is_real(table.get(method, {}), HV) for method in methods)
    ]


def _costs(results: Path) -> dict:
    """What the recorded times say; nothing without a record."""
    records = [json.loads(p.read_text(encoding="utf-8")) for p in results.glob("*/timing.json")]
    times = [timing for record in records for timing in record.values()]
    if not times:
        return {}
    pays = {m: max(t["pays_after"][m] or np.inf for t in times) for m in ("tune", "retrain")}
    return {
        "median": max(t["generate"]["p50"] for t in times),
        "p99": max(t["generate"]["p99"] for t in times),
        "saved": min(1 - t["generate"]["p50"] / t["retrain"]["p50"] for t in times),
        "pays_after": pays,
    }


def _ablations(folder: Path) -> dict:
    """The generator beside its rivals, single changes of it, and several random starts."""
    collections, points = (ab.load_tables(kind, folder) for kind in ("collection", "point"))
    usual = ab.usual(points)
    rows = ab.core(collections, usual)
    pairs = ab.paired(rows, "generated_best", "hypernetwork", "regret_mean", "study")
    rows = rows[rows["study"].isin(pairs.index)]
    regret = rows.groupby(["method", "study"], sort=False)["regret_mean"].mean()
    mixed = rows[rows["method"] == "interpolation"].groupby(["setting", "study"], sort=False)
    by_setting = mixed["regret_mean"].mean().groupby("setting", sort=False).agg(list)
    generated = usual[usual["method"] == "generated"].groupby("name")["regret_mean"].mean()
    starts = ab.starts(collections, points)
    starts = starts[starts["way"] != "tuned"]
    pooled = starts[starts["name"] == "starts-pooled"].groupby("way")["regret_median"].mean()
    changes = ab.single_changes(collections, usual)
    return {
        "core": {
            "table": ab.core_table(rows, pairs),
            "regret": {m: list(regret[m]) for m in ("generated", "hypernetwork", "interpolation")},
            "interpolation": dict(by_setting),
            "studies": len(pairs),
            "differ": list(pairs.index[(pairs["low"] > 0) | (pairs["high"] < 0)]),
        },
        "no_behaviour": {n: generated[f"anchors-{n}-no-behaviour"] for n in (3, 10)},
        "changes": {
            "number": len(changes),
            "better": list(changes.index[(changes["p (Holm)"] < REAL) & (changes["change"] < 0)]),
            "worse": list(changes.index[(changes["p (Holm)"] < REAL) & (changes["change"] > 0)]),
        },
        "form": _form(points),
        "starts": {"table": ab.starts_table(starts), "median": dict(pooled)},
    }


def _form(points: pd.DataFrame) -> dict:
    """The denoiser of the paper by its conditioning, and sampling in one step and in two."""
    rows = points[(points["method"] == "generated") & (points["guidance"] == 1)]
    tokens = rows[rows["name"].str.startswith("tokens-")].groupby("value")["regret_mean"].mean()
    steps = rows[rows["name"] == "anchors-10"].groupby("steps")["regret_mean"].mean()
    return {"tokens": dict(tokens), "steps": dict(steps)}
