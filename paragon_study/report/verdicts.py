"""What the paper says about Paragon, and whether recorded studies reproduce it.

A claim is *reproduced* if its condition holds in all studies that have the method, *partly
reproduced* if it holds in some, and *not reproduced* if it holds in none. The rule is the same for
all methods, and no condition was changed after the results were known.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from paragon.evaluation.evaluate import control_measures
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

    def below(self, method: str, other: str, measure: str) -> bool:
        """Return whether a method has less of a measure than another, beyond its seeds."""
        ours = self.values(method, measure)  # [S]
        high = mean_interval(ours - self.values(other, measure)[: len(ours)]).high
        return high is not None and high < 0


@dataclass(frozen=True)
class PaperClaim:
    """A sentence of the paper, and the condition that a study has to meet."""

    says: str
    needs: str  # the condition in words
    holds: Callable[[Recorded, str], bool | None]  # None: it cannot be said of this method


def _is_ready_soon(study: Recorded, method: str) -> bool | None:
    ready = study.times.get(method)
    if ready is None:
        return None
    return ready["p50"] <= (1 - SAVED) * study.times["retrain"]["p50"]


def _follows(study: Recorded, method: str) -> bool:
    accuracy, diversity = (study.values(method, f"r_{short}").mean() for short in ("acc", "div"))
    return bool(accuracy >= 0.95 and diversity >= 0.98)


def _is_close_to_tuned(study: Recorded, method: str) -> bool:
    covered = study.values(method, "set_hv_of_tuned").mean()
    return bool(covered >= 0.98 and study.values(method, "regret_mean").mean() <= 0.2)


def _guidance_helps(study: Recorded, method: str) -> bool | None:
    without = {"paragon": "paragon_no_cfg"}.get(method)
    return None if without is None else study.below(method, without, "regret_mean")


def _beats_soup(study: Recorded, method: str) -> bool:
    return study.below(method, "soup", "regret_mean")


def _beats_fixed_weights(study: Recorded, method: str) -> bool:
    return study.below(method, "constant", "regret_mean")


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
            row[method] = verdict([claim.holds(s, method) for s in studies if s.has(method)])
        rows.append(row)
    return pd.DataFrame(rows)
