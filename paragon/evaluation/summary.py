"""Summarise the measurements of all methods, as in metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from torch import Tensor

from paragon.adapters.collection import Collection, subset
from paragon.adapters.frozen import FrozenTask, held_out_losses
from paragon.adapters.mixtures import constant, mixed
from paragon.evaluation.methods import methods_of, mixture_of
from paragon.evaluation.protocol import PROTOCOLS, ByEvent, Measured, rows_of_weights
from paragon.metrics import control
from paragon.metrics.checks import Measure
from paragon.metrics.statistics import mean_interval
from paragon.objectives.table import OBJECTIVES, metrics_of

IN_UNITS = ("regret_mean", "regret_median", "regret_max")  # in units of the loss of `constant`
# Method and measure of each number in headline.json, the metrics of DVC.
HEADLINE = {
    "ndcg_backbone": ("backbone", "best_acc_full"),
    "set_hv_tuned": ("tuned", "set_hv_full"),
    "set_hv_generated": ("generated", "set_hv_full"),
    "set_hv_interpolation": ("interpolation_log", "set_hv_full"),
    "set_hv_category_bias": ("category_bias", "set_hv_full"),
    "set_hv_xquad": ("xquad", "set_hv_full"),
    "r_acc": ("generated", "r_acc_full"),
    "r_div": ("generated", "r_div_full"),
    "r_div_inner": ("generated", "r_div_inner_full"),
    "regret": ("generated", "regret_mean_full"),
}
OF_LISTS = ("ild@10", "items@10")  # at even weights; no method is tuned for them


def summarise(curve: pd.DataFrame, objectives: Sequence[str]) -> dict[str, dict]:
    """Average over seeds (see :func:`over_seeds`), with the protocol as suffix of each measure."""
    tables = [
        (protocol, table.set_index("method"))
        for protocol in PROTOCOLS
        for _, table in curve[curve["protocol"] == protocol].groupby("seed", sort=False)
    ]
    no_unit = {protocol: lacks_unit(curve, protocol, objectives) for protocol in PROTOCOLS}
    summary = {}
    for method in curve["method"].unique():
        by_seed: dict[str, list[Measure]] = {}
        for protocol, table in tables:
            if method in table.index:
                for name, measure in control_measures(table, method, objectives).items():
                    if name in IN_UNITS and no_unit[protocol]:
                        measure = Measure(None, no_unit[protocol])
                    by_seed.setdefault(f"{name}_{protocol}", []).append(measure)
        summary[method] = over_seeds(by_seed)
    return summary


def control_measures(
    table: pd.DataFrame, method: str, objectives: Sequence[str]
) -> dict[str, Measure]:
    """Compute the control measures of a method, from a ``table`` of one seed and protocol.

    ``_inner``: over weights that are not corners; ``even_``: at the weights closest to equal.
    """
    columns = [f"w_{o}" for o in objectives]
    rows, tuned = table.loc[[method]], table.loc[["tuned"]]
    weights, grid = rows[columns].to_numpy(), tuned[columns].to_numpy()  # [R, O], [W, O]
    oracle = tuned.iloc[rows_of_weights(method, weights, grid)]  # at the method's weights
    points, best = (part[metrics_of(objectives)].to_numpy() for part in (rows, oracle))
    inner = (weights > 0).all(1)  # [R]: no corner
    volume, reference = float(control.set_hv(points)), float(control.set_hv(best))
    even = int(np.abs(weights - 1 / len(objectives)).sum(1).argmin())
    measures = {"set_hv": Measure(volume), "mean_hv": Measure(control.mean_hv(points))}
    measures["set_hv_of_tuned"] = (
        Measure(volume / reference)
        if reference > 0
        else Measure(None, "the oracle's hypervolume is 0: it never ranks a target among the first")
    )
    for column, objective in enumerate(objectives):
        short, weight = OBJECTIVES[objective].short, weights[:, column]
        values, of_tuned = points[:, column], best[:, column]
        measures |= {
            f"r_{short}": control.correlation(values, weight),
            f"r_{short}_inner": control.correlation(values[inner], weight[inner])
            if inner.any()
            else Measure(None, "every weight is a corner"),
            f"r_{short}_tuned": control.correlation(values, of_tuned),
            f"range_ratio_{short}": control.range_ratio(values, of_tuned),
            f"violations_{short}": control.violations(weights, values, column),
            f"best_{short}": Measure(float(values.max())),
            f"even_{short}": Measure(float(values[even])),
        }
    for metric in OF_LISTS:
        if metric in rows:  # a study with other cut-offs has none
            measures[f"even_{metric.partition('@')[0]}"] = Measure(float(rows[metric].iloc[even]))
    return measures | regret_measures(table, method, objectives)


def regret_measures(
    table: pd.DataFrame, method: str, objectives: Sequence[str]
) -> dict[str, Measure]:
    """Compute the regrets of a method; return nothing if losses were not measured."""
    columns = [f"w_{o}" for o in objectives]
    rows, tuned = table.loc[[method]], table.loc[["tuned"]]
    loss, grid = task_loss(rows, objectives), tuned[columns].to_numpy()  # [R], [W, O]
    if not np.isfinite(loss).all():
        return {}
    regret = control.regret(
        loss,
        task_loss(tuned, objectives),
        task_loss(table.loc[["constant"]], objectives),
        (grid <= 0).any(1),  # the corners
        rows_of_weights(method, rows[columns].to_numpy(), grid),
    )
    return {f"regret_{name}": measure for name, measure in regret.items()}


def task_loss(rows: pd.DataFrame, objectives: Sequence[str]) -> np.ndarray:
    """Return the weighted sum of losses of each row, ``[R]``; NaN if they were not measured."""
    if not {f"loss_{o}" for o in objectives} <= set(rows):
        return np.full(len(rows), np.nan)
    parts = [rows[f"loss_{o}"].to_numpy() * rows[f"w_{o}"].to_numpy() for o in objectives]
    return np.sum(parts, axis=0)


def lacks_unit(curve: pd.DataFrame, protocol: str, objectives: Sequence[str]) -> str | None:
    """Explain why regret has no unit; return None if it has one.

    The unit is the mean loss of `constant` minus that of `tuned`, at weights off the corners.
    With several seeds, its 95 % Student t interval must be above 0.
    """
    units = []
    for _, table in curve[curve["protocol"] == protocol].groupby("seed"):
        constant, tuned = (table[table["method"] == name] for name in ("constant", "tuned"))
        inner = (tuned[[f"w_{o}" for o in objectives]] > 0).to_numpy().all(1)  # [W]
        if len(constant) == len(tuned) and inner.any():
            units.append((task_loss(constant, objectives) - task_loss(tuned, objectives))[inner])
    if not units or not np.isfinite(units).all():
        return None
    mean, low, _, _ = mean_interval(np.mean(units, axis=1))
    if low is None or low > 0:
        return None
    return (
        f"`constant` is within noise of the oracle: it loses {mean:.3g} on average, from {low:.3g}"
        " on at 95 % over seeds"
    )


def over_seeds(measures: dict[str, list[Measure]]) -> dict[str, float | str | None]:
    """Average ``{name: one measure for each seed}``; None, with a ``_note``, if undefined.

    ``_sd``: standard deviation; ``_low``, ``_high``: 95 % Student t interval of the mean.
    """
    out: dict[str, float | str | None] = {}
    for name, by_seed in measures.items():
        values = [m.value for m in by_seed if m.value is not None]
        if len(values) < len(by_seed):
            out[name] = None
            out[f"{name}_note"] = next(m.reason for m in by_seed if m.value is None)
            continue
        mean, low, high, _ = mean_interval(np.array(values))
        out[name] = significant(mean)
        if low is not None and high is not None:
            out[f"{name}_sd"] = significant(float(np.std(values, ddof=1)))
            out |= {f"{name}_low": significant(low), f"{name}_high": significant(high)}
    return out


def significant(value: float, digits: int = 6) -> float:
    """Round ``value`` to that number of significant digits."""
    return float(f"{value:.{digits}g}")


def few_anchors(
    collection: Collection, test: FrozenTask, subsets: Sequence[Sequence[float]]
) -> dict[str, dict[str, list[Measure]]]:
    """Compute regrets for subsets of the anchors, in units of the loss of `constant` with all."""
    objectives, weights = collection.description["objectives"], collection.oracles
    corners = (weights <= 0).any(1).numpy()

    def losses(vectors: Tensor) -> np.ndarray:
        of_all = held_out_losses(test, vectors.to(test.states.device), objectives).cpu()
        return (of_all * weights).sum(1).double().numpy()

    parts = [subset(collection, first) for first in subsets]
    out: dict[str, dict[str, list[Measure]]] = {method: {} for method in methods_of("mixture")}
    for index in range(len(collection.description["seeds"])):
        oracle = losses(collection.oracle_vectors[index])
        middle = losses(mixed(collection, constant, index, weights))
        for part, method in product(parts, out):
            loss = losses(mixed(part, mixture_of(method), index, weights))
            regret = control.regret(loss, oracle, middle, corners)
            for name in ("mean", "median"):
                key = f"regret_{name}_{len(part.anchors)}_anchors"
                out[method].setdefault(key, []).append(regret[name])
    return out


def per_user_control(
    measured: Measured, users: np.ndarray, objectives: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Measure how far each user's list follows the weights: ``{method: {measure: number}}``.

    ``users_div``: the share of users whose list is more diverse at the largest weight of diversity
    than at the smallest; ``steps_div``: the share of steps between neighbouring weights that raise
    it; likewise for other objectives but accuracy, which one held-out item cannot measure.
    ``_low``, ``_high``: 95 % Student t interval over users.  Methods with one weight, or metrics
    that are not means over events, have none.
    """
    out: dict[str, dict[str, float]] = {}
    for protocol, (method, by_seed) in (
        (protocol, row) for protocol, rows in measured.items() for row in rows.items()
    ):
        seeds = [own for own in by_seed.values() if own.events and len(own.weights) > 1]
        for column, objective in enumerate(objectives):
            if objective == "accuracy" or not seeds:
                continue
            for name, shares in _shares_of_users(seeds, column, users).items():
                name = f"{name}_{OBJECTIVES[objective].short}_{protocol}"
                mean, low, high, _ = mean_interval(shares)
                limits = {"": mean, "_low": low, "_high": high}
                out.setdefault(method, {}).update(
                    {name + end: significant(x) for end, x in limits.items() if x is not None}
                )
    return out


def _shares_of_users(
    seeds: Sequence[ByEvent], column: int, users: np.ndarray
) -> dict[str, np.ndarray]:
    """Return both shares of each user, ``[U]`` each, averaged over seeds."""
    ends, steps = [], []
    for own in seeds:
        order = np.argsort(own.weights[:, column], kind="stable")
        values = np.stack([own.events[row][column] for row in order])  # type: ignore[index]
        different = np.diff(own.weights[order, column]) > 0  # [W - 1]; ties do not count
        ends.append(values[-1] > values[0])  # [N]
        steps.append((np.diff(values, axis=0) > 0)[different].mean(0))  # [N]
    _, user = np.unique(users, return_inverse=True)
    count = np.bincount(user)
    shares = {"users": np.mean(ends, axis=0), "steps": np.mean(steps, axis=0)}
    return {name: np.bincount(user, share) / count for name, share in shares.items()}


def headline(summary: Mapping[str, Mapping]) -> dict[str, float]:
    """Select the numbers of ``HEADLINE`` from a summary, without undefined ones."""
    values = {name: summary.get(m, {}).get(measure) for name, (m, measure) in HEADLINE.items()}
    return {name: value for name, value in values.items() if value is not None}
