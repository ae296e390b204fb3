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
from paragon.metrics.statistics import mean_interval

SAVED = 0.946  # share of the time of retraining that the paper saves
METHODS = ("paragon", "paragon_transformer", "generated")
OBJECTIVES = ["accuracy", "diversity"]


class Recorded:
    """One recorded study: measures by seed, and times if they were measured."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        curve = pd.read_csv(folder / "curve.csv").query("protocol == 'full'")
        by_seed = dict(tuple(curve.groupby("seed", sort=False)))
        self._tables = {seed: table.set_index("method") for seed, table in by_seed.items()}
        path = folder.parent / "timing.json"
        times = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.times: dict[str, dict] = times.get(folder.name, {})

    def has(self, method: str) -> bool:
        """Return whether the study measured a method."""
        return any(method in table.index for table in self._tables.values())

    def values(self, method: str, measure: str) -> np.ndarray:
        """Return a measure of ``control_measures`` by seed, ``[S]``."""
        tables = [table for table in self._tables.values() if method in table.index]
        measures = [control_measures(table, method, OBJECTIVES)[measure] for table in tables]
        return np.array([np.nan if m.value is None else m.value for m in measures])

    def less(self, method: str, other: str, measure: str) -> tuple[float, bool]:
        """Return how much less of a measure a method has, and whether seeds agree on less."""
        ours = self.values(method, measure)  # [S]
        difference = mean_interval(self.values(other, measure)[: len(ours)] - ours)
        return difference.mean, difference.low is not None and difference.low > 0


class Found(NamedTuple):
    """Whether the condition of a claim holds in one study, and the numbers that it looks at."""

    holds: bool
    numbers: dict[str, str]


@dataclass(frozen=True)
class PaperClaim:
    """A sentence of the paper, and the condition that a study has to meet."""

    says: str
    needs: str  # the condition in words
    look: Callable[[Recorded, str], Found | None]  # None: it cannot be said of this method


def _is_ready_soon(study: Recorded, method: str) -> Found | None:
    ready = study.times.get({"generated": "generate"}.get(method, method))
    if ready is None:
        return None
    share = ready["p50"] / study.times["retrain"]["p50"]
    return Found(share <= 1 - SAVED, {"share of the time": f"{100 * share:.2g} %"})


def _follows(study: Recorded, method: str) -> Found:
    accuracy, diversity = (study.values(method, f"r_{short}").mean() for short in ("acc", "div"))
    numbers = {"r acc": f"{accuracy:.3f}", "r div": f"{diversity:.3f}"}
    return Found(bool(accuracy >= 0.95 and diversity >= 0.98), numbers)


def _is_close_to_tuned(study: Recorded, method: str) -> Found:
    covered = study.values(method, "set_hv_of_tuned").mean()
    regret = study.values(method, "regret_mean").mean()
    numbers = {"set HV": f"{covered:.1%}", "regret": f"{regret:.1%}"}
    return Found(bool(covered >= 0.98 and regret <= 0.2), numbers)


def _has_less_regret(study: Recorded, method: str, than: str) -> Found:
    difference, agreed = study.less(method, than, "regret_mean")
    return Found(agreed, {"less regret by": f"{difference:.1%}"})


def _guidance_helps(study: Recorded, method: str) -> Found | None:
    return _has_less_regret(study, method, "paragon_no_cfg") if method == "paragon" else None


def _beats_soup(study: Recorded, method: str) -> Found:
    return _has_less_regret(study, method, "soup")


def _beats_fixed_weights(study: Recorded, method: str) -> Found:
    return _has_less_regret(study, method, "constant")


CLAIMS = (
    PaperClaim(
        "a model for new weights is ready in 5.4 % of the time of retraining, or less",
        "median time at most 5.4 % of that of retraining",
        _is_ready_soon,
    ),
    PaperClaim(
        "accuracy and diversity follow the weights",
        "correlation with the weight: accuracy at least .95, diversity at least .98",
        _follows,
    ),
    PaperClaim(
        "it is close to a model optimised for each choice of weights",
        "set HV at least 98 % of that of *tuned*, regret at most 20 %",
        _is_close_to_tuned,
    ),
    PaperClaim(
        "classifier-free guidance helps",
        "less regret than without guidance, beyond seeds",
        _guidance_helps,
    ),
    PaperClaim(
        "it is better than a soup of two extreme models",
        "less regret than the soup, beyond seeds",
        _beats_soup,
    ),
    PaperClaim(
        "it is better than one model for all weights",
        "less regret than always the middle adapter, beyond seeds",
        _beats_fixed_weights,
    ),
)


def verdict(holds: Sequence[bool | None]) -> str:
    """Apply the rule to the studies in which a condition holds (True) or not (False)."""
    known = [one for one in holds if one is not None]
    if not known:
        return "–"
    word = "not reproduced"
    if any(known):
        word = "reproduced" if all(known) else "partly"
    return f"{word} ({sum(known)} of {len(known)})"


def verdicts(folders: Sequence[Path]) -> pd.DataFrame:
    """Tabulate the paper's claims, their conditions and the verdict on each method."""
    studies = [Recorded(folder) for folder in folders]
    methods = [m for m in METHODS if any(study.has(m) for study in studies)]
    rows = []
    for claim in CLAIMS:
        row = {"the paper says": claim.says, "condition": claim.needs}
        for method in methods:
            row[method] = _cell([claim.look(s, method) for s in studies if s.has(method)])
        rows.append(row)
    return pd.DataFrame(rows)


def _cell(found: Sequence[Found | None]) -> str:
    """Format the verdict over studies, and the numbers of each study in their order."""
    known = [one for one in found if one is not None]
    words = verdict([one.holds for one in known])
    for name in known[0].numbers if known else ():
        words += f"<br>{name} {', '.join(one.numbers[name] for one in known)}"
    return words
