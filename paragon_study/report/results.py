"""Read the recorded studies from results/ into one table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from paragon.errors import ParagonError
from paragon.evaluation.summary import regret_measures
from paragon.metrics.statistics import REAL, holm, is_real
from paragon.storage import require

OBJECTIVES = ("accuracy", "diversity")  # of all studies in results/
HV, HV_OF_TUNED, REGRET = "set_hv_full", "set_hv_of_tuned_full", "regret_mean_full"
DIFFERENCE = f"{HV}_minus_generated"
# Not ranked: tuned or trained for the tested weights, shuffled models, and one whose noise the
# hypervolume rewards.
APART = ("tuned", "category_bias", "retrain", "generated_shuffled", "nearest_noise")
COLUMNS = "dataset backbone method measure value low high beyond_chance".split()


def study_folders(results: Path) -> list[Path]:
    """List folders ``<dataset>/<backbone>`` under ``results`` with metrics, sorted."""
    folders = sorted(path.parent for path in results.glob("*/*/metrics.json"))
    if not folders:
        raise ParagonError(f"{results}: no metrics.json in it; run `dvc repro` first")
    return folders


def load_results(path: Path) -> dict[str, dict]:
    """Read a JSON file that the stage `evaluation` wrote."""
    try:
        return json.loads(require(path, "evaluation").read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8 or not JSON
        raise ParagonError(f"{path} cannot be read ({error}); run `dvc repro` again") from error


def all_results(folders: Iterable[Path]) -> pd.DataFrame:
    """Tabulate studies, methods and measures: means over seeds with 95 % intervals.

    ``*_minus_generated`` has an interval over users; ``beyond_chance``: in users and seeds.  Fronts
    with one weight get no hypervolume.
    """
    rows: list[tuple] = []
    for folder in folders:
        study, single = folder.parts[-2:], set()
        for method, row in load_results(folder / "metrics.json").items():
            one_weight = "there is one" in row.get("r_acc_full_note", "")
            single |= {method} if one_weight else set()
            for name, value in row.items():
                of_front = name.startswith("set_hv") and one_weight
                ending = name.endswith(("_sd", "_low", "_high"))
                if isinstance(value, int | float) and not ending and not of_front:
                    limits = row.get(f"{name}_low"), row.get(f"{name}_high")
                    rows.append((*study, method, name, value, *limits, None))
        for method, row in load_results(folder / "differences.json").items():
            for name in (HV, "set_hv_sampled"):
                if method not in single:
                    limits = row[f"{name}_low"], row[f"{name}_high"]
                    difference = f"{name}_minus_generated", row[name], *limits, is_real(row, name)
                    rows.append((*study, method, *difference))
    return pd.DataFrame(rows, columns=COLUMNS)


def leaders(table: pd.DataFrame, measure: str = HV) -> pd.DataFrame:
    """Return by study the largest lead over `generated`, or that of `generated` over the next."""
    rows = table[table["measure"].eq(f"{measure}_minus_generated") & ~table["method"].isin(APART)]
    first = rows.loc[rows.groupby(["dataset", "backbone"])["value"].idxmax()].copy()
    behind = first["value"] <= 0
    ends = -first.loc[behind, ["value", "high", "low"]].to_numpy(float)
    first.loc[behind, ["value", "low", "high"]] = ends
    first.loc[behind, "method"] = "generated"
    return first


def without_repeats(folders: Iterable[Path]) -> list[Path]:
    """Keep the study with the most seeds for each pair of data and backbone."""
    same: dict[tuple, list[Path]] = {}
    for folder in folders:
        data = json.loads(require(folder.parent / "data.json", "data").read_text(encoding="utf-8"))
        key = json.dumps(data | {"dataset": None}), folder.name
        same.setdefault(key, []).append(folder)

    def seeds(folder: Path) -> int:
        return pd.read_csv(folder / "curve.csv", usecols=["seed"])["seed"].nunique()

    return sorted(max(group, key=seeds) if group[1:] else group[0] for group in same.values())


def regret_against_generated(folders: Iterable[Path], method: str) -> pd.DataFrame:
    """Compute regret minus that of `generated` by study: mean, paired t test with Holm."""
    rows = []
    for folder in folders:
        curve = pd.read_csv(folder / "curve.csv").query("protocol == 'full'").set_index("method")
        if method in curve.index:
            seeds = [group for _, group in curve.groupby("seed") if method in group.index]
            change = [_regret(group, method) - _regret(group, "generated") for group in seeds]
            rows.append((*folder.parts[-2:], np.mean(change), ttest_1samp(change, 0).pvalue))
    table = pd.DataFrame(rows, columns=["dataset", "backbone", "value", "p"])
    table["beyond_chance"] = holm(table.pop("p")) < REAL if len(table) else False
    return table.assign(method=method, measure="regret_minus_generated")


def _regret(table: pd.DataFrame, method: str) -> float:
    value = regret_measures(table, method, OBJECTIVES)["regret_mean"].value
    return np.nan if value is None else value
