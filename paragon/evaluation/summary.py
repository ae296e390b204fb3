"""The sum of what was measured, as in metrics.json.

It is computed from the long table of :func:`paragon.evaluation.testbed.run` and from
nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from paragon.adapters.collection import Collection, subset
from paragon.adapters.frozen import FrozenTask, held_out_losses
from paragon.adapters.mixtures import MIXTURES, mixed
from paragon.errors import ParagonError
from paragon.evaluation.testbed import METRIC, PROTOCOLS
from paragon.metrics import control
from paragon.metrics.checks import Measure
from paragon.metrics.control import regret
from paragon.metrics.statistics import mean_interval
from paragon.storage import write_json, write_text

# Short names of the objectives in results.
SHORT = {"accuracy": "acc", "diversity": "div", "novelty": "nov", "fairness": "fair"}


def summarise(curve: pd.DataFrame, objectives: Sequence[str]) -> dict[str, dict]:
    """{method: {measure: number}}: mean over seeds, protocol as suffix.

    With several seeds ``_sd`` is their standard deviation, and ``_low`` and ``_high`` are
    the limits of the mean's 95 % Student t interval.  A measure that is undefined is null,
    its reason beside it under ``_note``.
    """
    summary: dict[str, dict] = {}
    for method in curve["method"].unique():
        measures: dict[str, list[Measure]] = {}
        for protocol in PROTOCOLS:
            for found in seed_measures(curve, method, protocol, objectives).values():
                for name, measure in found.items():
                    measures.setdefault(f"{name}_{protocol}", []).append(measure)
        summary[method] = over_seeds(measures)
    return summary


def seed_measures(
    curve: pd.DataFrame, method: str, protocol: str, objectives: Sequence[str]
) -> dict[int, dict[str, Measure]]:
    """The control measures of one method and protocol: {seed: {measure: value}}."""
    table = curve[curve["protocol"] == protocol]
    return {
        int(seed): control_measures(
            table[table["seed"] == seed].set_index("method"), method, objectives
        )
        for seed in table.loc[table["method"] == method, "seed"].unique()
    }


def control_measures(
    table: pd.DataFrame, method: str, objectives: Sequence[str]
) -> dict[str, Measure]:
    """The control measures of one method, seed and protocol."""
    named, lost = ([f"{kind}_{o}" for o in objectives] for kind in ("w", "loss"))
    own, tuned, constant = (table.loc[[m]] for m in (method, "tuned", "constant"))
    weights, grid = own[named].to_numpy(), tuned[named].to_numpy()
    rows = places(method, weights, grid)
    aligned = tuned.iloc[rows]
    points = own[[METRIC[o] for o in objectives]].to_numpy()
    out = {
        "set_hv": Measure(control.set_hv(points)),
        "mean_hv": Measure(control.mean_hv(points)),
    }
    reference = control.set_hv(aligned[[METRIC[o] for o in objectives]].to_numpy())
    out["set_hv_of_tuned"] = (
        Measure(out["set_hv"].value / reference)
        if reference > 0
        else Measure(None, "the oracle's hypervolume is 0: it never ranks a target among the first")
    )
    for column, objective in enumerate(objectives):
        short = SHORT[objective]
        values, oracle = (part[METRIC[objective]].to_numpy() for part in (own, aligned))
        out[f"r_{short}"] = control.correlation(values, weights[:, column])
        out[f"r_{short}_tuned"] = control.correlation(values, oracle)
        out[f"range_ratio_{short}"] = control.range_ratio(values, oracle)
        out[f"violations_{short}"] = control.violations(weights, values, column)
        out[f"best_{short}"] = Measure(float(values.max()))
    if set(lost) <= set(own) and own[lost].notna().all(axis=None):
        losses = [
            (part[lost] * part[named].to_numpy()).sum(axis=1).to_numpy()
            for part in (own, tuned, constant)
        ]
        corners = (grid <= 0).any(1)
        regret = control.regret(*losses, corners, rows)
        out |= {f"regret_{name}": measure for name, measure in regret.items()}
    return out


def places(method: str, weights: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Where a method's weights ``[W, O]`` are in the evaluation weights (`retrain` has few)."""
    place = {tuple(w): row for row, w in enumerate(grid)}
    for w in weights:
        if tuple(w) not in place:
            raise ParagonError(
                f"method {method}: weights {tuple(w.round(4).tolist())} are not among the "
                "evaluation weights (adapters.oracles in params.yaml); it cannot be compared"
            )
    return np.array([place[tuple(w)] for w in weights])


def over_seeds(measures: dict[str, list[Measure]]) -> dict[str, float | str | None]:
    """Mean, ``_sd``, ``_low`` and ``_high`` of measures ``{name: a value a seed}``."""
    out: dict[str, float | str | None] = {}
    for name, found in measures.items():
        values = [m.value for m in found if m.value is not None]
        if len(values) < len(found):
            out[name] = None
            out[f"{name}_note"] = next(m.reason for m in found if m.value is None)
            continue
        mean, low, high, _ = mean_interval(np.array(values))
        out[name] = significant(mean)
        if len(values) > 1:
            out[f"{name}_sd"] = significant(np.std(values, ddof=1))
            out |= {f"{name}_low": significant(low), f"{name}_high": significant(high)}
    return out


def significant(value: float, digits: int = 6) -> float:
    """``value`` rounded to so many significant digits."""
    return float(f"{value:.{digits}g}")


def write_results(
    curve: pd.DataFrame, summary: dict[str, dict], differences: dict[str, dict], folder: Path
) -> None:
    """Write ``curve.csv``, ``metrics.json`` and ``differences.json``, six significant digits each.

    ``differences`` are those of `paragon.differences.from_generated`.
    """
    write_text(folder / "curve.csv", curve.to_csv(index=False, float_format="%.6g"))
    write_json(folder / "metrics.json", summary)
    write_json(folder / "differences.json", differences)


def few_anchors(
    collection: Collection, test: FrozenTask, subsets: Sequence[Sequence[float]]
) -> dict[str, dict[str, list[Measure]]]:
    """{method: {measure: a value a seed}}: regret of every mixture of a subset of the anchors.

    ``regret_mean_3_anchors`` and ``regret_median_3_anchors``, for each subset with the number of
    its anchors, over the evaluation weights off the corners: on the lists of ``test``, in units
    of what `constant` has with all anchors, so that they compare with those of all anchors.
    """
    objectives, weights = collection.description["objectives"], collection.oracles
    corners = (weights <= 0).any(1).numpy()

    def losses(vectors: Tensor) -> np.ndarray:
        found = held_out_losses(test, vectors.to(test.states.device), objectives).cpu()
        return (found * weights).sum(1).double().numpy()

    parts = [subset(collection, first) for first in subsets]
    out: dict[str, dict[str, list[Measure]]] = {method: {} for method in MIXTURES}
    for index in range(len(collection.description["seeds"])):
        oracle = losses(collection.oracle_vectors[index])
        constant = losses(mixed(collection, "constant", index, weights))
        for part, method in product(parts, MIXTURES):
            own = losses(mixed(part, method, index, weights))
            found = regret(own, oracle, constant, corners)
            for name in ("mean", "median"):
                key = f"regret_{name}_{len(part.anchors)}_anchors"
                out[method].setdefault(key, []).append(found[name])
    return out
