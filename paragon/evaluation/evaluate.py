"""Evaluate a study, as notebook 06 does: summarise the measurements of all methods.

Shapes: N events, U users, W evaluation weights, R of them for a method, O objectives, S seeds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from paragon.errors import ParagonError, shown
from paragon.evaluation.methods import METHODS, Method, Trained, all_rows
from paragon.evaluation.protocol import PROTOCOLS, ByEvent, Measured, measure_rows, rows_of_weights
from paragon.evaluation.shares import MEASURES, with_shares
from paragon.metrics import control
from paragon.metrics.checks import Measure
from paragon.metrics.statistics import Interval, Pair, holm, mean_interval, paired_bootstrap
from paragon.objectives.table import OBJECTIVES, metrics_of
from paragon.params import EvaluationSettings
from paragon.storage import write_json, write_text

IN_UNITS = ("regret_mean", "regret_median", "regret_max")  # in units of the loss of `constant`
SHARED = r"(kept|alpha_ndcg|possible)_[\d.]+"  # in headline.json, the metrics of DVC
OF_LISTS = ("ild@10", "items@10")  # at even weights; no method is tuned for them
REFERENCE = "generated"
ONE_SEED = "one seed of it: what another would change is unknown"
Summary = dict[str, dict[str, float | str | None]]  # {method: {measure: number or reason}}
OfPoints = Callable[[np.ndarray], np.ndarray | float]  # a measure of points [..., W, O]
COMPARED: dict[str, OfPoints] = {"set_hv": control.set_hv, "alpha_ndcg": lambda p: p[..., 0, 0]}


@dataclass(frozen=True)
class Results:
    """The measurements of all methods."""

    curve: pd.DataFrame  # a row for each method, seed, protocol and evaluation weight
    summary: Summary
    differences: Summary

    def write(self, folder: Path) -> None:
        """Write curve.csv, metrics.json, differences.json and headline.json, with six digits."""
        write_text(folder / "curve.csv", self.curve.to_csv(index=False, float_format="%.6g"))
        write_json(folder / "metrics.json", self.summary)
        write_json(folder / "differences.json", self.differences)
        write_json(folder / "headline.json", headline(self.summary))


def evaluate(trained: Trained, settings: EvaluationSettings) -> Results:
    """Measure all methods at all evaluation weights, and summarise the results."""
    objectives, users = trained.test_set.objectives, trained.test_set.evaluation.users
    curve, measured = measure_rows(trained.test_set, all_rows(trained))
    summary = summarise(curve, objectives)
    for method, control_of in per_user_control(measured, users, objectives).items():
        summary[method] |= control_of
    kept, at_shares = with_shares(trained, settings.shares)
    for method, measures in kept.items():
        summary[method] |= over_seeds(measures)
    # Few for the hypervolume, which takes far longer.
    differences = from_generated(measured, users, min(settings.resamples, 2000))
    for method, more in shares_from_generated(at_shares, users, settings.resamples).items():
        differences[method] = differences.get(method, {}) | more
    return Results(curve, summary, differences)


def evaluate_method(
    trained: Trained, name: str, method: Method, recorded: Results, settings: EvaluationSettings
) -> Results:
    """Add a new method to the ``recorded`` results of its study; train and write nothing.

    It becomes an entry of ``METHODS``. Of the others, `generated` alone is measured again, at
    shares of accuracy, to compare users. Raise ``ParagonError`` for an unknown kind.
    """
    if method.kind not in (kinds := sorted({entry.kind for entry in METHODS.values()})):
        raise ParagonError(f"method {name}: kind {shown(method.kind)}; known: {', '.join(kinds)}")
    METHODS[name] = method
    objectives, users = trained.test_set.objectives, trained.test_set.evaluation.users
    curve, _ = measure_rows(trained.test_set, all_rows(trained, (name,)))
    curve = pd.concat([recorded.curve, curve])
    compared = curve[curve["method"].isin(("tuned", "constant", name))]
    row = summarise(compared, objectives)[name]
    kept, at_shares = with_shares(trained, settings.shares, (name, REFERENCE))
    none = Measure(None, "a method of `rows` has no settings to choose from")
    unknown = {f"{m}_{100 * s:g}": [none] for m in MEASURES for s in settings.shares}
    row |= over_seeds(kept.get(name, unknown))
    change = shares_from_generated(at_shares, users, settings.resamples).get(name, {})
    for measure in [key for key in change if key.endswith("_p") and change[key] is not None]:
        p_values = [of.get(measure) for of in (change, *recorded.differences.values())]
        adjusted = holm(np.array([p for p in p_values if p is not None]))  # for all methods
        change[f"{measure}_holm"] = significant(adjusted[0])
    summary, differences = recorded.summary | {name: row}, recorded.differences | {name: change}
    return Results(curve, summary, differences)


def headline(summary: Mapping[str, Mapping]) -> dict[str, dict[str, float]]:
    """Select what :func:`with_shares` measured first for each method, without undefined numbers."""
    out = {}
    for method, row in summary.items():
        out[method] = {k: v for k, v in row.items() if v is not None and re.fullmatch(SHARED, k)}
    return {method: row for method, row in out.items() if row}


def summarise(curve: pd.DataFrame, objectives: Sequence[str]) -> Summary:
    """Average over seeds (see :func:`over_seeds`), with the protocol as suffix of each measure."""
    summary: Summary = {method: {} for method in curve["method"].unique()}
    for protocol in PROTOCOLS:
        part = curve[curve["protocol"] == protocol]
        tables = [table.set_index("method") for _, table in part.groupby("seed", sort=False)]
        no_unit = lacks_unit(part, objectives)
        for method, row in summary.items():
            by_seed: dict[str, list[Measure]] = {}
            for table in tables:
                if method in table.index:
                    for name, measure in control_measures(table, method, objectives).items():
                        by_seed.setdefault(f"{name}_{protocol}", []).append(measure)
            row |= over_seeds(by_seed, no_unit)
    return summary


def control_measures(
    table: pd.DataFrame, method: str, objectives: Sequence[str]
) -> dict[str, Measure]:
    """Compute the control measures of a method, from a ``table`` of one seed and protocol.

    ``even_``: at the weights closest to equal; regrets: only if losses were measured.
    """
    columns = [f"w_{o}" for o in objectives]
    rows, tuned = table.loc[[method]], table.loc[["tuned"]]
    weights, grid = rows[columns].to_numpy(), tuned[columns].to_numpy()  # [R, O], [W, O]
    at = rows_of_weights(method, weights, grid)  # [R]
    points, best = (p[metrics_of(objectives)].to_numpy() for p in (rows, tuned.iloc[at]))
    volume, reference = float(control.set_hv(points)), float(control.set_hv(best))
    even = int(np.abs(weights - 1 / len(objectives)).sum(1).argmin())
    reason = "the oracle's hypervolume is 0: it never ranks a target among the first"
    share = Measure(volume / reference) if reference > 0 else Measure(None, reason)
    measures = {"set_hv": Measure(volume), "mean_hv": Measure(control.mean_hv(points))}
    measures |= {"set_hv_of_tuned": share, "outcome_error": control.outcome_error(points, best)}
    for column, objective in enumerate(objectives):
        short, weight = OBJECTIVES[objective].short, weights[:, column]
        values, of_tuned = points[:, column], best[:, column]
        measures |= {
            f"r_{short}": control.correlation(values, weight),
            f"range_ratio_{short}": control.range_ratio(values, of_tuned),
            f"violations_{short}": control.violations(weights, values, column),
            f"best_{short}": Measure(float(values.max())),
            f"even_{short}": Measure(float(values[even])),
        }
    for metric in OF_LISTS:
        if metric in rows:  # a study with other cut-offs has none
            measures[f"even_{metric.partition('@')[0]}"] = Measure(float(rows[metric].iloc[even]))
    loss = task_losses(rows, objectives)  # [R]
    if np.isfinite(loss).all():  # else losses were not measured
        middle, corners = task_losses(table.loc[["constant"]], objectives), (grid <= 0).any(1)
        parts = loss, task_losses(tuned, objectives), middle, corners, at
        measures |= {f"regret_{name}": m for name, m in control.regret(*parts).items()}
    return measures


def task_losses(rows: pd.DataFrame, objectives: Sequence[str]) -> np.ndarray:
    """Return the weighted sum of losses of each row, ``[R]``; NaN if they were not measured."""
    return np.sum([rows.get(f"loss_{o}", np.nan) * rows[f"w_{o}"] for o in objectives], axis=0)


def lacks_unit(curve: pd.DataFrame, objectives: Sequence[str]) -> str | None:
    """Explain why regret has no unit: `constant` is within noise of `tuned`; else return None."""
    units = []
    for _, table in curve.groupby("seed"):
        constant, tuned = (table[table["method"] == name] for name in ("constant", "tuned"))
        inner = (tuned[[f"w_{o}" for o in objectives]] > 0).to_numpy().all(1)  # [W]
        if len(constant) == len(tuned) and inner.any():
            units.append(
                (task_losses(constant, objectives) - task_losses(tuned, objectives))[inner]
            )
    if not units or not np.isfinite(units).all():
        return None
    mean, low, _, _ = mean_interval(np.mean(units, axis=1))
    if low is None or low > 0:
        return None
    lost = f"it loses {mean:.3g} on average, from {low:.3g} on at 95 % over seeds"
    return f"`constant` is within noise of the oracle: {lost}"


def over_seeds(
    measures: Mapping[str, list[Measure]], no_unit: str | None = None
) -> dict[str, float | str | None]:
    """Average one measure for each seed, with sd and 95 % limits; None and a note if undefined."""
    out: dict[str, float | str | None] = {}
    for name, by_seed in measures.items():
        if no_unit and name.startswith(IN_UNITS):
            by_seed = [Measure(None, no_unit)]
        if undefined := [m.reason for m in by_seed if m.value is None]:
            out |= {name: None, f"{name}_note": undefined[0]}
            continue
        values = np.array([m.value for m in by_seed])
        mean, low, high, _ = mean_interval(values)
        out[name] = significant(mean)
        if low is not None and high is not None:
            limits = {"sd": float(np.std(values, ddof=1)), "low": low, "high": high}
            out |= {f"{name}_{end}": significant(x) for end, x in limits.items()}
    return out


def significant(value: float, digits: int = 6) -> float:
    """Round ``value`` to that number of significant digits."""
    return float(f"{value:.{digits}g}")


def per_user_control(measured: Measured, users: np.ndarray, objectives: Sequence[str]) -> Summary:
    """Measure how far each user's list follows the weights: ``{method: {measure: number}}``.

    ``users_div``: share of users whose list is more diverse at the largest weight of diversity than
    at the smallest; ``steps_div``: share of steps between weights that raise it; the same for other
    objectives but accuracy (one item cannot tell). ``_low``, ``_high``: 95 % t limits over users.
    """
    out: Summary = {}
    _, user, count = np.unique(users, return_inverse=True, return_counts=True)
    for protocol, method in ((p, method) for p, rows in measured.items() for method in rows):
        rows = measured[protocol][method].values()
        seeds = [row for row in rows if row.events and len(row.weights) > 1]
        for column, objective in enumerate(objectives):
            if objective == "accuracy" or not seeds:
                continue
            ends, steps = [], []
            for row in seeds:
                order = np.argsort(row.weights[:, column], kind="stable")
                values = np.stack([row.events[at][column] for at in order])  # type: ignore[index]
                different = np.diff(row.weights[order, column]) > 0  # [W - 1]; ties do not count
                ends.append(values[-1] > values[0])  # [N]
                steps.append((np.diff(values, axis=0) > 0)[different].mean(0))  # [N]
            for name, shares in (("users", ends), ("steps", steps)):
                by_user = np.bincount(user, np.mean(shares, axis=0)) / count  # [U]
                mean, low, high, _ = mean_interval(by_user)
                name = f"{name}_{OBJECTIVES[objective].short}_{protocol}"
                limits = {name: mean, f"{name}_low": low, f"{name}_high": high}
                found = {key: significant(x) for key, x in limits.items() if x is not None}
                out.setdefault(method, {}).update(found)
    return out


def from_generated(
    measured: Measured, users: np.ndarray, resamples: int, measure: str = "set_hv"
) -> Summary:
    """Subtract a measure of `generated` from each method's: ``{method: {measure: number}}``.

    The protocol (or share) is a suffix. Beside the difference: its 95 % interval over ``users [N]``
    (``_low``, ``_high``), p-value (``_p``), the same after Holm (``_p_holm``), interval over seeds
    (``_seeds_low``, ``_seeds_high``). Undefined numbers are None, with ``_note``, ``_seeds_note``.
    """
    out: Summary = {}
    for protocol, rows in measured.items():
        if REFERENCE not in rows:
            raise ParagonError(f"no rows of `{REFERENCE}`: nothing to compare methods with")
        parts = rows[REFERENCE], COMPARED[measure]
        sides = {m: _sides(m, seeds, *parts) for m, seeds in rows.items() if m != REFERENCE}
        pairs = {method: pair for method, (pair, _) in sides.items() if pair}
        found = dict(zip(pairs, paired_bootstrap([*pairs.values()], users, resamples), strict=True))
        p_values = [p for _, p in found.values() if p is not None]
        adjusted = iter(holm(np.array(p_values or [1.0])))
        reason = "an objective's metric is no mean over events: users cannot be resampled"
        for method, (_, seeds) in sides.items():
            unknown = Interval(seeds.mean, None, None, reason), None
            (difference, low, high, note), p_value = found.get(method, unknown)
            values = {"": difference, "_low": low, "_high": high, "_p": p_value}
            values["_p_holm"] = None if p_value is None else next(adjusted)
            values |= {"_seeds_low": seeds.low, "_seeds_high": seeds.high}
            name, row = f"{measure}_{protocol}", out.setdefault(method, {})
            row |= {name + k: None if v is None else significant(v) for k, v in values.items()}
            notes = {"_note": note, "_seeds_note": seeds.reason}
            row |= {name + k: words for k, words in notes.items() if words}
    return out


def shares_from_generated(at_shares: Measured, users: np.ndarray, resamples: int) -> Summary:
    """Subtract as :func:`from_generated` α-nDCG@10 at the shares that `generated` reaches."""
    reached = {share: rows for share, rows in at_shares.items() if REFERENCE in rows}
    return from_generated(reached, users, resamples, "alpha_ndcg")


def _sides(
    method: str, by_seed: Mapping[int, ByEvent], reference: Mapping[int, ByEvent], of: OfPoints
) -> tuple[Pair | None, Interval]:
    """Set a method against `generated`, if it has one seed against all: by event, and by seed."""
    one_seed, rows = len(by_seed) == 1, list(by_seed.values())
    missing = sorted(set(by_seed) - set(reference))
    if missing and not one_seed:
        raise ParagonError(f"method {method}: `{REFERENCE}` has no seed {missing[0]}")
    others = [reference[seed] for seed in (reference if one_seed else by_seed)]
    weights = rows[0].weights  # [R, O]
    at = rows_of_weights(method, weights, others[0].weights)  # [R]
    ours = np.array([of(row.points) for row in rows])  # [S]
    seeds = mean_interval(ours - np.array([of(row.points[at]) for row in others]))
    if one_seed and rows[0].random:
        seeds = Interval(seeds.mean, None, None, ONE_SEED)
    if any(row.events is None for row in (*rows, *others)):
        return None, seeds
    shape = rows[0].points.shape  # [R, O]

    def statistic(means: np.ndarray) -> np.ndarray:
        """Map means ``[B, S * R * O]`` to the mean of the measure over seeds, ``[B]``."""
        return np.asarray(of(means.reshape(len(means), -1, *shape))).mean(axis=1)

    a = np.concatenate([part for row in rows for part in row.events or ()])
    b = np.concatenate([row.events[n] for row in others for n in at if row.events])
    return (a, b, statistic), seeds
