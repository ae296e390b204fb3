"""Compare methods with `generated`, over the same users and the same seeds.

Shapes: N events, W evaluation weights, R of them for a method, O objectives, S seeds, B resamples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from paragon.errors import ParagonError
from paragon.evaluation.protocol import ByEvent, Measured, rows_of_weights
from paragon.evaluation.summary import Summary, significant
from paragon.metrics import control
from paragon.metrics.statistics import Interval, Pair, holm, mean_interval, paired_bootstrap

REFERENCE = "generated"
ONE_SEED = "one seed of it: what another would change is unknown"
NO_MEAN = "an objective's metric is no mean over events: users cannot be resampled"
OfPoints = Callable[[np.ndarray], np.ndarray | float]  # a measure of points [..., W, O]


def _only(points: np.ndarray) -> np.ndarray:
    """Return the one number of ``points [..., 1, 1]``, as ``with_shares`` gives them: ``[...]``."""
    return points[..., 0, 0]


COMPARED: dict[str, OfPoints] = {"set_hv": control.set_hv, "alpha_ndcg": _only}


@dataclass(frozen=True)
class Difference:
    """A measure of a method minus that of `generated`."""

    users: Interval  # from resampled users
    p_value: float | None
    adjusted: float | None  # the p-value after Holm, for all methods
    seeds: Interval

    def row(self, name: str) -> dict[str, float | str | None]:
        """Return the numbers by their names in results; undefined ones are None, with a note."""
        numbers = {
            name: self.users.mean,
            f"{name}_low": self.users.low,
            f"{name}_high": self.users.high,
            f"{name}_p": self.p_value,
            f"{name}_p_holm": self.adjusted,
            f"{name}_seeds_low": self.seeds.low,
            f"{name}_seeds_high": self.seeds.high,
        }
        row: dict[str, float | str | None] = {
            key: None if value is None else significant(value) for key, value in numbers.items()
        }
        if self.users.reason:
            row[f"{name}_note"] = self.users.reason
        if self.seeds.reason:
            row[f"{name}_seeds_note"] = self.seeds.reason
        return row


class Matched(NamedTuple):
    """The rows of a method, beside those of `generated` to compare them with."""

    of_method: list[ByEvent]  # S, a row for each seed
    of_reference: list[ByEvent]  # the same seeds; all of them, if the method has one
    at: np.ndarray  # [R], where the method's weights are in the reference


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
        for method, difference in _differences(rows, users, resamples, COMPARED[measure]).items():
            out.setdefault(method, {}).update(difference.row(f"{measure}_{protocol}"))
    return out


def shares_from_generated(by_share: Measured, users: np.ndarray, resamples: int) -> Summary:
    """Compare α-nDCG@10, as :func:`from_generated`, at the shares that `generated` reaches."""
    reached = {share: rows for share, rows in by_share.items() if REFERENCE in rows}
    return from_generated(reached, users, resamples, "alpha_ndcg")


def _differences(
    rows: Mapping[str, Mapping[int, ByEvent]], users: np.ndarray, resamples: int, measure: OfPoints
) -> dict[str, Difference]:
    """Compare all methods of a protocol (or share) with `generated`."""
    reference = rows[REFERENCE]
    matched = {
        method: _matched(method, by_seed, reference)
        for method, by_seed in rows.items()
        if method != REFERENCE
    }
    seeds = {method: _over_seeds(both, measure) for method, both in matched.items()}
    pairs: dict[str, Pair] = {}
    for method, both in matched.items():
        pair = _by_event(both, measure)
        if pair is not None:
            pairs[method] = pair
    tested = paired_bootstrap([*pairs.values()], users, resamples)
    over_users = {method: interval for method, (interval, _) in zip(pairs, tested, strict=True)}
    p_values = {method: p for method, (_, p) in zip(pairs, tested, strict=True) if p is not None}
    adjusted: dict[str, float] = {}
    if p_values:
        corrected = holm(np.array([*p_values.values()]))
        adjusted = dict(zip(p_values, corrected.tolist(), strict=True))
    return {
        method: Difference(
            users=over_users.get(method, Interval(seeds[method].mean, None, None, NO_MEAN)),
            p_value=p_values.get(method),
            adjusted=adjusted.get(method),
            seeds=seeds[method],
        )
        for method in matched
    }


def _matched(
    method: str, by_seed: Mapping[int, ByEvent], reference: Mapping[int, ByEvent]
) -> Matched:
    """Put the rows of a method beside those of `generated` for the same seeds."""
    rows = [*by_seed.values()]
    missing = sorted(set(by_seed) - set(reference))
    if len(rows) == 1:
        others = [*reference.values()]
    elif missing:
        raise ParagonError(f"method {method}: `{REFERENCE}` has no seed {missing[0]}")
    else:
        others = [reference[seed] for seed in by_seed]
    at = rows_of_weights(method, rows[0].weights, others[0].weights)
    return Matched(rows, others, at)


def _over_seeds(both: Matched, measure: OfPoints) -> Interval:
    """Compute the mean difference over seeds, with its limits."""
    of_method = np.array([measure(row.points) for row in both.of_method])  # [S]
    of_reference = np.array([measure(row.points[both.at]) for row in both.of_reference])  # [S]
    seeds = mean_interval(of_method - of_reference)
    if len(both.of_method) == 1 and both.of_method[0].random:
        return Interval(seeds.mean, None, None, ONE_SEED)
    return seeds


def _by_event(both: Matched, measure: OfPoints) -> Pair | None:
    """Return the metrics by event of both sides, and the measure of their means.

    Return None if a metric is no mean over events.
    """
    if any(row.events is None for row in (*both.of_method, *both.of_reference)):
        return None
    shape = both.of_method[0].points.shape  # [R, O]

    def statistic(means: np.ndarray) -> np.ndarray:
        """Map means ``[B, S * R * O]`` to the mean of the measure over seeds, ``[B]``."""
        points = means.reshape(len(means), -1, *shape)  # [B, S, R, O]
        return np.asarray(measure(points)).mean(axis=1)

    of_method = [part for row in both.of_method for part in row.events or ()]
    of_reference = [row.events[n] for row in both.of_reference for n in both.at if row.events]
    return np.concatenate(of_method), np.concatenate(of_reference), statistic  # [S * R * O, N]
