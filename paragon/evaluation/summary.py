"""Summarise the measurements of methods: averages over seeds, and how well each is controlled.

Shapes: N events, U users, W evaluation weights, R of them for a method, O objectives, S seeds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from paragon.evaluation.protocol import PROTOCOLS, ByEvent, Measured, rows_of_weights
from paragon.metrics import control
from paragon.metrics.checks import Measure
from paragon.metrics.statistics import mean_interval
from paragon.objectives.table import OBJECTIVES, metrics_of

IN_UNITS = ("regret_mean", "regret_median", "regret_max")  # in units of the loss of `constant`
OF_LISTS = ("ild@10", "items@10")  # at even weights; no method is tuned for them
Summary = dict[str, dict[str, float | str | None]]  # {method: {measure: number or reason}}


def summarise(curve: pd.DataFrame, objectives: Sequence[str]) -> Summary:
    """Average over seeds (see :func:`over_seeds`), with the protocol as suffix of each measure."""
    summary: Summary = {method: {} for method in curve["method"].unique()}
    for protocol in PROTOCOLS:
        of_protocol = curve[curve["protocol"] == protocol]
        groups = of_protocol.groupby("seed", sort=False)
        tables = [table.set_index("method") for _, table in groups]
        no_unit = lacks_unit(of_protocol, objectives)
        for method, row in summary.items():
            by_seed: dict[str, list[Measure]] = {}
            for table in tables:
                if method not in table.index:
                    continue
                for name, measure in control_measures(table, method, objectives).items():
                    by_seed.setdefault(f"{name}_{protocol}", []).append(measure)
            row |= over_seeds(by_seed, no_unit)
    return summary


def control_measures(
    table: pd.DataFrame, method: str, objectives: Sequence[str]
) -> dict[str, Measure]:
    """Compute the control measures of a method, from a ``table`` of one seed and protocol.

    ``even_``: at the weights closest to equal; ``_alone``: compared with the adapters that were
    tuned for exactly the weights; regrets: only if losses were measured.
    """
    columns = [f"w_{o}" for o in objectives]
    metrics = metrics_of(objectives)
    rows = table.loc[[method]]
    tuned = table.loc[["tuned"]]
    weights = rows[columns].to_numpy()  # [R, O]
    grid = tuned[columns].to_numpy()  # [W, O]
    at = rows_of_weights(method, weights, grid)  # [R]
    points = rows[metrics].to_numpy()  # [R, O]
    best = tuned.iloc[at][metrics].to_numpy()  # [R, O]
    even = int(np.abs(weights - 1 / len(objectives)).sum(1).argmin())

    volume = float(control.set_hv(points))
    reference = float(control.set_hv(best))
    reason = "the hypervolume of `tuned` is 0: it never ranks a target among the first"
    share = Measure(volume / reference) if reference > 0 else Measure(None, reason)
    measures = {
        "set_hv": Measure(volume),
        "mean_hv": Measure(control.mean_hv(points)),
        "set_hv_of_tuned": share,
        "outcome_error": control.outcome_error(points, best),
    }
    if "tuned_alone" in table.index:  # a second yardstick
        alone = table.loc[["tuned_alone"]].iloc[at][metrics].to_numpy()  # [R, O]
        measures["outcome_error_alone"] = control.outcome_error(points, alone)
    for column, objective in enumerate(objectives):
        short = OBJECTIVES[objective].short
        values = points[:, column]  # [R]
        measures |= {
            f"r_{short}": control.correlation(values, weights[:, column]),
            f"range_ratio_{short}": control.range_ratio(values, best[:, column]),
            f"violations_{short}": control.violations(weights, values, column),
            f"best_{short}": Measure(float(values.max())),
            f"even_{short}": Measure(float(values[even])),
        }
    for metric in OF_LISTS:
        if metric in rows:  # a study with other cut-offs has none
            name = metric.partition("@")[0]
            measures[f"even_{name}"] = Measure(float(rows[metric].iloc[even]))
    loss = task_losses(rows, objectives)  # [R]
    if np.isfinite(loss).all():  # else losses were not measured
        regrets = control.regret(
            loss,
            task_losses(tuned, objectives),  # [W]
            task_losses(table.loc[["constant"]], objectives),  # [W]
            (grid <= 0).any(1),  # [W]
            at,
        )
        measures |= {f"regret_{name}": measure for name, measure in regrets.items()}
    return measures


def task_losses(rows: pd.DataFrame, objectives: Sequence[str]) -> np.ndarray:
    """Return the weighted sum of losses of each row, ``[R]``; NaN if they were not measured."""
    weighted = [rows.get(f"loss_{o}", np.nan) * rows[f"w_{o}"] for o in objectives]
    return np.sum(weighted, axis=0)


def lacks_unit(curve: pd.DataFrame, objectives: Sequence[str]) -> str | None:
    """Explain why regret has no unit: `constant` is within noise of `tuned`; else return None."""
    units = []
    for _, table in curve.groupby("seed"):
        constant = table[table["method"] == "constant"]
        tuned = table[table["method"] == "tuned"]
        inner = (tuned[[f"w_{o}" for o in objectives]] > 0).to_numpy().all(1)  # [W]
        if len(constant) == len(tuned) and inner.any():
            gap = task_losses(constant, objectives) - task_losses(tuned, objectives)  # [W]
            units.append(gap[inner])
    if not units or not np.isfinite(units).all():
        return None
    mean, low, _, _ = mean_interval(np.mean(units, axis=1))
    if low is None or low > 0:
        return None
    lost = f"it loses {mean:.3g} on average, from {low:.3g} on at 95 % over seeds"
    return f"`constant` is within noise of `tuned`: {lost}"


def over_seeds(
    measures: Mapping[str, list[Measure]], no_unit: str | None = None
) -> dict[str, float | str | None]:
    """Average one measure for each seed, with sd and 95 % limits; None and a note if undefined."""
    out: dict[str, float | str | None] = {}
    for name, by_seed in measures.items():
        if no_unit and name.startswith(IN_UNITS):
            by_seed = [Measure(None, no_unit)]
        undefined = [measure.reason for measure in by_seed if measure.value is None]
        if undefined:
            out[name] = None
            out[f"{name}_note"] = undefined[0]
            continue
        values = np.array([measure.value for measure in by_seed])  # [S]
        mean, low, high, _ = mean_interval(values)
        out[name] = significant(mean)
        if low is not None and high is not None:
            out[f"{name}_sd"] = significant(float(np.std(values, ddof=1)))
            out[f"{name}_low"] = significant(low)
            out[f"{name}_high"] = significant(high)
    return out


def significant(value: float, digits: int = 6) -> float:
    """Round ``value`` to that number of significant digits."""
    return float(f"{value:.{digits}g}")


def per_user_control(measured: Measured, users: np.ndarray, objectives: Sequence[str]) -> Summary:
    """Measure how far each user's list follows the weights: ``{method: {measure: number}}``.

    ``users_div``: share of users whose list is more diverse at the largest weight of diversity than
    at the smallest; ``steps_div``: share of steps between weights that raise it; the same for other
    objectives but accuracy, since a user has one target. ``_low``, ``_high``: 95 % t limits over
    users.
    """
    out: Summary = {}
    _, user, count = np.unique(users, return_inverse=True, return_counts=True)
    for protocol, by_method in measured.items():
        for method, by_seed in by_method.items():
            seeds = [row for row in by_seed.values() if row.events and len(row.weights) > 1]
            for column, objective in enumerate(objectives):
                if objective == "accuracy" or not seeds:
                    continue
                followed = [_followed(row, column) for row in seeds]
                ends, steps = zip(*followed, strict=True)  # of [N]
                for name, shares in (("users", ends), ("steps", steps)):
                    by_user = np.bincount(user, np.mean(shares, axis=0)) / count  # [U]
                    mean, low, high, _ = mean_interval(by_user)
                    key = f"{name}_{OBJECTIVES[objective].short}_{protocol}"
                    limits = {key: mean, f"{key}_low": low, f"{key}_high": high}
                    known = {k: significant(x) for k, x in limits.items() if x is not None}
                    out.setdefault(method, {}).update(known)
    return out


def _followed(row: ByEvent, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Say for each event whether the list rises from end to end, and at which share of steps."""
    assert row.events is not None
    order = np.argsort(row.weights[:, column], kind="stable")
    values = np.stack([row.events[at][column] for at in order])  # [W, N]
    different = np.diff(row.weights[order, column]) > 0  # [W - 1]; ties do not count
    rises = np.diff(values, axis=0) > 0  # [W - 1, N]
    return values[-1] > values[0], rises[different].mean(0)
