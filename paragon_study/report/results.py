"""The recorded studies, read and compared seed by seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from paragon.errors import ParagonError
from paragon.evaluation.summary import regret_measures, summarise
from paragon.metrics.statistics import holm
from paragon.storage import require

OBJECTIVES = ("accuracy", "diversity")  # of every study in results/
REGRET = "regret_mean_full"  # its losses are those of tuning: they have no other protocol
# No contenders: tuned or trained for the very weights, the same models in another order, and
# one whose noise the hypervolume rewards.
APART = ("tuned", "category_bias", "retrain", "generated_shuffled", "nearest_noise")
ONE_WEIGHT = "there is one"  # in the reason why the correlation of a single weight is undefined


def study_folders(results: Path, planted: bool | None = None) -> list[Path]:
    """Folders ``<dataset>/<backbone>`` under ``results`` that hold metrics, sorted.

    ``planted``: only those of planted data, or only the others.
    """
    folders = sorted(path.parent for path in results.glob("*/*/metrics.json"))
    if not folders:
        raise ParagonError(f"{results}: no metrics.json in it; run `dvc repro` first")
    return [f for f in folders if planted in (None, f.parent.name == "planted")]


def load_metrics(folder: Path) -> dict[str, dict]:
    """metrics.json of one dataset and backbone."""
    return _load(folder / "metrics.json", "_sd", "_low", "limits `_low` and `_high`")


def load_differences(folder: Path) -> dict[str, dict]:
    """differences.json of one dataset and backbone."""
    ending = "_seeds_low"
    return _load(
        folder / "differences.json", "_p_holm", ending, "limits over seeds, `{}_seeds_low`"
    )


def _load(path: Path, ending: str, needed: str, words: str) -> dict[str, dict]:
    """The file, unless a key with the one ending has none with the other ending beside it."""
    try:
        table = json.loads(require(path, "evaluation").read_text(encoding="utf-8"))
    except ValueError as error:  # neither UTF-8 nor JSON
        raise ParagonError(f"{path} cannot be read ({error}); run `dvc repro` again") from error
    for method, row in table.items():
        for name in row:
            stem = name.removesuffix(ending)
            if stem != name and f"{stem}{needed}" not in row:
                shown = name if ending == "_sd" else stem
                raise ParagonError(
                    f"{path}: {method}.{shown} has no {words.format(stem)}, beside it: made by "
                    "another version of the package, run `dvc repro` again"
                )
    return table


def has_one_weight(row: dict) -> bool:
    """Whether a method was run at a single weight: one rectangle is no front to compare."""
    return ONE_WEIGHT in row.get("r_acc_full_note", "")


class Studies:
    """Several studies by their names, "dataset, backbone".

    ``methods``: measure these anew, from ``curve.csv``, instead of reading ``metrics.json``; so
    studies that were recorded before a measure was thought of have it too.
    """

    def __init__(self, folders: Iterable[Path], methods: Sequence[str] = ()) -> None:
        self.folders = {f"{f.parent.name}, {f.name}": f for f in folders}
        self.curves, self.metrics, self.differences = {}, {}, {}
        needed = [*methods, "tuned", "constant"]  # the last two are what others are compared with
        for name, folder in self.folders.items():
            curve = pd.read_csv(require(folder / "curve.csv", "evaluation"))
            anew = summarise(curve[curve["method"].isin(needed)], OBJECTIVES) if methods else None
            self.curves[name], self.metrics[name] = curve, anew or load_metrics(folder)
            self.differences[name] = load_differences(folder)

    def __len__(self) -> int:
        return len(self.folders)

    def only(self, names: Iterable[str]) -> Studies:
        """Some of the studies."""
        part, names = Studies(()), list(names)
        for table in ("folders", "curves", "metrics", "differences"):
            setattr(part, table, {name: getattr(self, table)[name] for name in names})
        return part

    def having(self, method: str) -> Studies:
        """The studies with this method, at more than one weight."""
        tables = self.metrics.items()
        return self.only(n for n, t in tables if method in t and not has_one_weight(t[method]))

    def values(self, method: str, measure: str) -> list[float]:
        """A mean over seeds of every study that has the method; undefined is an error."""
        rows = {study: table[method] for study, table in self.metrics.items() if method in table}
        for study, row in rows.items():
            if row.get(measure) is None:
                reason = row.get(f"{measure}_note", "it is not among the results")
                raise ParagonError(
                    f"{study}: {measure} of `{method}` is undefined ({reason}), and "
                    "docs/findings.md needs it"
                )
        return [row[measure] for row in rows.values()]

    def known(self, method: str, measure: str) -> list[float]:
        """The same where it is defined."""
        rows = [table[method] for table in self.metrics.values() if method in table]
        return [row[measure] for row in rows if row.get(measure) is not None]

    def at(self, method: str, metric: str, weight: float) -> list[float]:
        """A metric of the whole catalogue's lists at a weight of accuracy, of every study."""
        found = []
        for curve in self.curves.values():
            rows = curve[(curve["method"] == method) & (curve["protocol"] == "full")]
            rows = rows[np.isclose(rows["w_accuracy"], weight)]
            if len(rows) and metric in rows:
                found.append(float(rows[metric].mean()))
        return found

    def regret_against_generated(self, method: str) -> pd.DataFrame:
        """A method's regret minus that of `generated`, paired by seed; one row for each study.

        ``difference`` is the mean over seeds; ``p`` is that of a paired t test, after Holm's
        correction for all rows.
        """
        rows = {}
        for study in self.folders:
            pairs = self._seed_regret(study, method) - self._seed_regret(study, "generated")
            change = pairs.dropna()  # the seeds that both have
            rows[study] = (change.mean(), _p_value(change))
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["difference", "p"])
        return table.assign(p=holm(table["p"])) if len(table) else table

    def _seed_regret(self, study: str, method: str) -> pd.Series:
        """The mean regret of each seed."""
        curve = self.curves[study]
        full = curve[curve["protocol"] == "full"].set_index("method")
        found = {
            seed: regret_measures(table, method, OBJECTIVES)["regret_mean"]
            for seed, table in full.groupby("seed")
            if method in table.index
        }
        if len(found) < 2:
            raise ParagonError(f"{study}: one seed tells nothing from luck; `seeds` needs two")
        for value, reason in found.values():
            if value is None:
                raise ParagonError(f"{study}: regret of `{method}` is undefined: {reason}")
        return pd.Series({seed: measure.value for seed, measure in found.items()}, dtype=float)


def _p_value(change: pd.Series) -> float:
    """p-value of a paired t test; a change that is the same for all seeds is certain, or none."""
    if np.ptp(change) == 0:
        return float(change.iloc[0] == 0)
    return float(ttest_1samp(change, 0).pvalue)
