"""The recorded studies, read and compared seed by seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from paragon.errors import ParagonError
from paragon.evaluation.summary import seed_measures, summarise
from paragon.metrics.statistics import holm
from paragon.storage import require

OBJECTIVES = ("accuracy", "diversity")  # of every study in results/
REGRET = "regret_mean_full"  # its losses are those of tuning: they have no other protocol
# No contenders: tuned or trained for the very weights, the same models in another order, and
# one whose noise the hypervolume rewards.
APART = ("tuned", "retrain", "generated_shuffled", "nearest_noise")
ONE_WEIGHT = "there is one"  # in the reason why the correlation of a single weight is undefined


def study_folders(results: Path) -> list[Path]:
    """Folders ``<dataset>/<backbone>`` under ``results`` that hold metrics, sorted."""
    folders = sorted(path.parent for path in results.glob("*/*/metrics.json"))
    if not folders:
        raise ParagonError(f"{results}: no metrics.json in it; run `dvc repro` first")
    return folders


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
    table = json.loads(require(path, "evaluation").read_text(encoding="utf-8"))
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


def _measured(curve: pd.DataFrame, methods: Sequence[str]) -> dict[str, dict]:
    """What metrics.json would say of some methods; `tuned` and `constant` are needed for it."""
    return summarise(curve[curve["method"].isin([*methods, "tuned", "constant"])], OBJECTIVES)


class Studies:
    """Several studies by their names, "dataset, backbone".

    ``methods``: measure these anew, from ``curve.csv``, instead of reading ``metrics.json``; so
    studies that were recorded before a measure was thought of have it too.
    """

    def __init__(self, folders: Iterable[Path], methods: Sequence[str] = ()) -> None:
        self.folders = {f"{f.parent.name}, {f.name}": f for f in folders}
        self.curves = {
            name: pd.read_csv(require(f / "curve.csv", "evaluation"))
            for name, f in self.folders.items()
        }
        self.metrics = {
            name: _measured(self.curves[name], methods) if methods else load_metrics(f)
            for name, f in self.folders.items()
        }
        self.differences = {name: load_differences(f) for name, f in self.folders.items()}

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
        rows = {name: table.get(method) for name, table in self.metrics.items()}
        return self.only(
            n for n, row in rows.items() if row is not None and not has_one_weight(row)
        )

    def value(self, study: str, method: str, measure: str) -> float:
        """A mean over seeds; what is undefined is an error, with its reason."""
        row = self.metrics[study].get(method, {})
        value = row.get(measure)
        if value is None:
            reason = row.get(f"{measure}_note", "it is not among the results")
            raise ParagonError(
                f"{study}: {measure} of `{method}` is undefined ({reason}), and docs/findings.md "
                "needs it"
            )
        return value

    def values(self, method: str, measure: str) -> list[float]:
        """`value` of all studies that have the method."""
        return [self.value(s, method, measure) for s, t in self.metrics.items() if method in t]

    def at(self, method: str, metric: str, weight: float) -> list[float]:
        """A metric of the whole catalogue's lists at a weight of accuracy, of every study."""
        found = []
        for curve in self.curves.values():
            rows = curve[(curve["method"] == method) & (curve["protocol"] == "full")]
            rows = rows[np.isclose(rows["w_accuracy"], weight)]
            if len(rows) and metric in rows:
                found.append(float(rows[metric].mean()))
        return found

    def against_generated(self, methods: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
        """Measures of methods minus those of `generated`, seed by seed: a row a study and pair.

        ``difference`` is the mean over ``seeds``; ``p`` is that of a paired t test, after Holm's
        correction for all rows.
        """
        rows = []
        for study in self.folders:
            by_seed = {m: self._seed_values(study, m, measures) for m in [*methods, "generated"]}
            for method in methods:
                pairs = by_seed[method] - by_seed["generated"]
                for name, change in pairs.dropna().items():  # the seeds that both have
                    rows.append((study, method, name, change.mean(), len(change), _p_value(change)))
        columns = "study method measure difference seeds p".split()
        table = pd.DataFrame(rows, columns=columns)
        return table.assign(p=holm(table["p"])) if len(table) else table

    def _seed_values(self, study: str, method: str, measures: Sequence[str]) -> pd.DataFrame:
        """A row a seed, a column a measure."""
        by_seed = seed_measures(self.curves[study], method, "full", OBJECTIVES)
        if len(by_seed) < 2:
            raise ParagonError(f"{study}: one seed tells nothing from luck; `seeds` needs two")
        for seed_row in by_seed.values():
            for name in measures:
                if seed_row[name].value is None:
                    raise ParagonError(
                        f"{study}: {name} of `{method}` is undefined: {seed_row[name].reason}"
                    )
        rows = {seed: {n: row[n].value for n in measures} for seed, row in by_seed.items()}
        return pd.DataFrame.from_dict(rows, orient="index")


def _p_value(change: pd.Series) -> float:
    """p-value of a paired t test; a change that is the same for all seeds is certain, or none."""
    if np.ptp(change) == 0:
        return float(change.iloc[0] == 0)
    return float(ttest_1samp(change, 0).pvalue)
