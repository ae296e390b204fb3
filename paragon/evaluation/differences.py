"""Test whether methods differ from `generated` in hypervolume, by resampling users in pairs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from paragon.errors import ParagonError
from paragon.evaluation.protocol import ByEvent, Measured, rows_of_weights
from paragon.evaluation.summary import significant
from paragon.metrics.control import set_hv
from paragon.metrics.statistics import Interval, holm, mean_interval, paired_bootstrap

REFERENCE = "generated"
ONE_SEED = "one seed of it: what another would change is unknown"


def from_generated(
    measured: Measured, users: np.ndarray, resamples: int = 2000
) -> dict[str, dict[str, float | str | None]]:
    """Subtract the `set_hv` of `generated` from each method's: ``{method: {measure: number}}``.

    The protocol is a suffix.  ``users [N]`` of the events are resampled, the same for all methods.
    Beside the difference: its 95 % interval (``_low``, ``_high``), p-value (``_p``), p-value after
    Holm (``_p_holm``), and 95 % Student t interval over seeds (``_seeds_low``, ``_seeds_high``).
    Undefined numbers are None, with a ``_note`` or ``_seeds_note``.  Raises ``ParagonError``
    without rows of `generated`.
    """
    out: dict[str, dict[str, float | str | None]] = {}
    for protocol, rows in measured.items():
        if REFERENCE not in rows:
            raise ParagonError(f"no rows of `{REFERENCE}`: nothing to compare methods with")
        compared = {
            method: _difference(method, seeds, rows[REFERENCE], users, resamples)
            for method, seeds in rows.items()
            if method != REFERENCE
        }
        p_values = [p for _, p, _ in compared.values() if p is not None]
        adjusted = iter(holm(np.array(p_values or [1.0])))
        for method, ((difference, low, high, reason), p_value, seeds) in compared.items():
            values = {"": difference, "_low": low, "_high": high, "_p": p_value}
            values["_p_holm"] = None if p_value is None else next(adjusted)
            values |= {"_seeds_low": seeds.low, "_seeds_high": seeds.high}
            name = f"set_hv_{protocol}"
            row = out.setdefault(method, {})
            row |= {name + k: None if v is None else significant(v) for k, v in values.items()}
            if reason:
                row[f"{name}_note"] = reason
            if seeds.reason:
                row[f"{name}_seeds_note"] = seeds.reason
    return out


def _difference(
    method: str,
    own: Mapping[int, ByEvent],
    reference: Mapping[int, ByEvent],
    users: np.ndarray,
    resamples: int,
) -> tuple[Interval, float | None, Interval]:
    """Compare a method with `generated`; if it has one seed, with all seeds of `generated`."""
    if len(own) > 1 and not set(own) <= set(reference):
        missing = sorted(set(own) - set(reference))
        raise ParagonError(f"method {method}: `{REFERENCE}` has no seed {missing[0]}")
    weights = next(iter(own.values())).weights
    shape = weights.shape

    def at_weights(row: ByEvent) -> ByEvent:
        rows = rows_of_weights(method, weights, row.weights)
        events = None if row.events is None else [row.events[number] for number in rows]
        return ByEvent(weights, row.points[rows], events, row.random)

    against = [reference[seed] for seed in (own if len(own) > 1 else reference)]
    sides = [[at_weights(row) for row in side] for side in (own.values(), against)]
    volumes = [np.array([set_hv(row.points) for row in side]) for side in sides]  # [S] each
    seeds = mean_interval(volumes[0] - volumes[1])  # of one against many by broadcasting
    if len(own) == 1 and next(iter(own.values())).random:
        seeds = Interval(seeds.mean, None, None, ONE_SEED)
    events = [[part for row in side for part in row.events or ()] for side in sides]
    if any(row.events is None for side in sides for row in side):
        reason = "an objective's metric is no mean over events: users cannot be resampled"
        return Interval(seeds.mean, None, None, reason), None, seeds

    def mean_set_hv(means: np.ndarray) -> np.ndarray:
        """Map means ``[B, S * W * O]`` to the mean `set_hv` over seeds, ``[B]``."""
        return np.asarray(set_hv(means.reshape(len(means), -1, *shape))).mean(axis=1)

    a, b = (np.concatenate(side) for side in events)
    return *paired_bootstrap(a, b, users, mean_set_hv, resamples=resamples), seeds
