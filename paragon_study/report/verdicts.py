"""What the paper says about Paragon, and whether recorded studies reproduce it.

A claim is *reproduced* if its condition holds in all studies that have the method, *partly
reproduced* if it holds in some, and *not reproduced* if it holds in none. The rule is the same for
all methods, and no condition was changed after the results were known.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from paragon.evaluation.summary import control_measures
from paragon.metrics.checks import Measure
from paragon.metrics.statistics import mean_interval
from paragon_study.report.trainings import trainings_of

SAVED = 0.946  # share of the time of retraining that the paper saves
METHODS = ("paragon", "paragon_transformer", "generated")
OBJECTIVES = ["accuracy", "diversity"]


class Recorded:
    """One recorded study: measures by training of the recommender, and times if measured.

    With one training, by seed of its adapters.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        curves = []
        for training in trainings_of(folder):
            curve = pd.read_csv(training / "curve.csv").query("protocol == 'full'")
            by_seed = curve.groupby("seed", sort=False)
            curves.append([rows.set_index("method") for _, rows in by_seed])
        if len(curves) == 1:
            curves = [[of_seed] for of_seed in curves[0]]
        self._tables = curves  # by training, then by seed
        self._control: dict[str, list[list[dict[str, Measure]]]] = {}  # by method
        self.times: dict[str, dict] = {}
        path = folder.parent / "timing.json"
        if path.exists():
            by_backbone = json.loads(path.read_text(encoding="utf-8"))
            self.times = by_backbone.get(folder.name, {})

    def has(self, method: str) -> bool:
        """Return whether the study measured a method."""
        return any(method in table.index for tables in self._tables for table in tables)

    def _control_of(self, method: str) -> list[list[dict[str, Measure]]]:
        """Return all measures by training and seed; computed once, for several claims ask."""
        if method not in self._control:
            self._control[method] = [
                [control_measures(t, method, OBJECTIVES) for t in tables if method in t.index]
                for tables in self._tables
            ]
        return self._control[method]

    def values(self, method: str, measure: str) -> np.ndarray:
        """Return a measure of ``control_measures`` by training, or by seed: ``[T]``."""
        means = []
        for by_seed in self._control_of(method):
            found = [row[measure].value for row in by_seed]
            values = [np.nan if value is None else value for value in found]
            if values:
                means.append(np.mean(values))
        return np.array(means)


class Form(NamedTuple):
    """How a number of a finding is written: times ``scale``, with ``digits``, then its ``unit``."""

    scale: float
    digits: str
    unit: str = ""


FORMS = {
    "share": Form(100, ".2g", " %"),
    "accuracy": Form(1, ".2f"),
    "diversity": Form(1, ".2f"),
    "covered": Form(100, ".0f", " %"),
    "regret": Form(100, ".0f", " %"),
    "regret_of_other": Form(100, ".0f", " %"),
}


class Finding(NamedTuple):
    """Whether the condition of a claim holds in one study, and the numbers that it looks at."""

    holds: bool
    numbers: dict[str, float]  # keys of FORMS


@dataclass(frozen=True)
class PaperClaim:
    """A sentence of the paper, and the condition that a study has to meet."""

    says: str
    needs: str  # the condition in words
    finds: str  # what the studies find, with keys of FORMS
    look: Callable[[Recorded, str], Finding | None]  # None: it does not apply to this method


def _is_ready_soon(study: Recorded, method: str) -> Finding | None:
    name_in_times = "generate" if method == "generated" else method
    time = study.times.get(name_in_times)
    if time is None:
        return None
    share = time["p50"] / study.times["retrain"]["p50"]
    return Finding(share <= 1 - SAVED, {"share": share})


def _follows(study: Recorded, method: str) -> Finding:
    accuracy = study.values(method, "r_acc").mean()
    diversity = study.values(method, "r_div").mean()
    holds = accuracy >= 0.95 and diversity >= 0.98
    return Finding(bool(holds), {"accuracy": accuracy, "diversity": diversity})


def _is_close_to_tuned(study: Recorded, method: str) -> Finding:
    covered = study.values(method, "set_hv_of_tuned").mean()
    regret = study.values(method, "regret_mean").mean()
    holds = covered >= 0.98 and regret <= 0.2
    return Finding(bool(holds), {"covered": covered, "regret": regret})


def _has_less_regret(study: Recorded, method: str, than: str) -> Finding | None:
    """Compare two methods; None with one training and one seed, which say nothing of chance."""
    regrets = study.values(method, "regret_mean")  # [T]
    of_other = study.values(than, "regret_mean")
    difference = mean_interval(of_other[: len(regrets)] - regrets)
    if difference.low is None:
        return None
    numbers = {"regret": regrets.mean(), "regret_of_other": of_other.mean()}
    return Finding(difference.low > 0, numbers)


def _guidance_helps(study: Recorded, method: str) -> Finding | None:
    if method != "paragon":
        return None
    return _has_less_regret(study, method, "paragon_no_cfg")


def _beats_soup(study: Recorded, method: str) -> Finding | None:
    return _has_less_regret(study, method, "soup")


def _beats_fixed_weights(study: Recorded, method: str) -> Finding | None:
    return _has_less_regret(study, method, "constant")


CLAIMS = (
    PaperClaim(
        "a model for new weights takes at most 5.4 % of the time of retraining",
        "median time at most 5.4 % of that of retraining",
        "generation takes {share} (films only)",
        _is_ready_soon,
    ),
    PaperClaim(
        "accuracy and diversity follow the weights",
        "correlation with the weight: accuracy at least .95, diversity at least .98",
        "*r* of accuracy {accuracy} (needs .95), of diversity {diversity} (needs .98)",
        _follows,
    ),
    PaperClaim(
        "it is close to a model optimised for the weights",
        "set HV at least 98 % of that of *tuned*, regret at most 20 %",
        "set HV {covered} (needs 98 %), regret {regret} (at most 20 %)",
        _is_close_to_tuned,
    ),
    PaperClaim(
        "classifier-free guidance helps",
        "less regret than without guidance, by more than trainings vary",
        "regret {regret} with guidance, {regret_of_other} without",
        _guidance_helps,
    ),
    PaperClaim(
        "it is better than a soup of two extreme models",
        "less regret than the soup, by more than trainings vary",
        "regret {regret}, the soup's {regret_of_other}",
        _beats_soup,
    ),
    PaperClaim(
        "it is better than one model for all weights",
        "less regret than always the middle adapter, by more than trainings vary",
        "regret {regret}, the one adapter's {regret_of_other}",
        _beats_fixed_weights,
    ),
)


def verdict(holds: Sequence[bool | None]) -> str:
    """Apply the rule to the studies in which a condition holds (True) or not (False)."""
    known = [value for value in holds if value is not None]
    if not known:
        return "–"
    if all(known):
        word = "reproduced"
    elif any(known):
        word = "partly"
    else:
        word = "not reproduced"
    return f"{word} ({sum(known)} of {len(known)})"


def verdicts(folders: Sequence[Path], released: Sequence[Path] = ()) -> pd.DataFrame:
    """Tabulate the paper's claims, their conditions and the verdict on each method.

    ``released``: studies of their own in which the released architecture was trained.
    """
    studies = [Recorded(folder) for folder in folders]
    by_method = {method: [s for s in studies if s.has(method)] for method in METHODS}
    by_method["paragon_transformer"] += [Recorded(folder) for folder in released]
    rows = []
    for claim in CLAIMS:
        row = {"the paper says": claim.says, "condition": claim.needs}
        for method, of_method in by_method.items():
            if of_method:
                found = [claim.look(study, method) for study in of_method]
                row[method] = verdict_on(found)
        rows.append(row)
    return pd.DataFrame(rows)


def short_verdicts(folders: Sequence[Path], method: str = METHODS[0]) -> pd.DataFrame:
    """Tabulate the paper's claims, what the studies find with one method, and the verdict."""
    studies = [Recorded(folder) for folder in folders]
    rows = []
    for claim in CLAIMS:
        found = [claim.look(study, method) for study in studies]
        row = {"the paper says": claim.says, "we find": write_numbers(claim.finds, found)}
        rows.append(row | {"verdict": verdict_on(found)})
    return pd.DataFrame(rows)


def verdict_table(folders: Sequence[Path], method: str = METHODS[0]) -> pd.DataFrame:
    """Tabulate for each study and claim whether its condition holds (1) or not (0)."""
    rows = []
    for folder in folders:
        study = Recorded(folder)
        for claim in CLAIMS:
            found = claim.look(study, method)
            if found is not None:
                key = folder.parent.name, folder.name, method, claim.look.__name__.strip("_")
                rows.append((*key, float(found.holds)))
    return pd.DataFrame(rows, columns="dataset backbone method measure value".split())


def verdict_on(findings: Sequence[Finding | None]) -> str:
    """Apply the rule to the findings of the studies."""
    return verdict([finding.holds for finding in findings if finding is not None])


def write_numbers(text: str, findings: Sequence[Finding | None]) -> str:
    """Fill ``text`` with the numbers of the findings, each from the smallest to the largest."""
    known = [finding.numbers for finding in findings if finding is not None]
    if not known:
        return "–"
    spans = {}
    for name in known[0]:
        form = FORMS[name]
        values = sorted(form.scale * numbers[name] for numbers in known)
        ends = [f"{value:z{form.digits}}" for value in (values[0], values[-1])]
        spans[name] = " to ".join(dict.fromkeys(ends)) + form.unit
    return text.format(**spans)
