"""Is a method's difference from `generated` real?  Users are resampled, both methods in pairs.

The hypervolume of a set of points is compared, seed by seed averaged, on the test events.  The
trained models stay as they are; what another seed would change has an interval of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from paragon.errors import ParagonError
from paragon.evaluation.protocol import ByEvent, Measured, rows_of_weights
from paragon.evaluation.summary import significant
from paragon.metrics.control import set_hv
from paragon.metrics.statistics import Difference, Interval, holm, mean_interval, paired_bootstrap

REFERENCE = "generated"
ONE_SEED = "one seed of it: what another would change is unknown"


def from_generated(
    measured: Measured, users: np.ndarray, resamples: int = 2000
) -> dict[str, dict[str, float | str | None]]:
    """{method: {measure: number}}: its `set_hv` minus that of `generated`, protocol as suffix.

    ``users [N]``: those of the events.  Beside the difference are the limits of its 95 % interval
    (``_low``, ``_high``), the p-value (``_p``) and the same adjusted for the number of methods of
    the protocol (``_p_holm``): all of them about other users.  ``_seeds_low`` and ``_seeds_high``
    are the limits of the 95 % Student t interval of the differences of the seeds; a method that
    is random and has one seed has none.  Where these are undefined they are null, with the reason
    under ``_note`` or ``_seeds_note``.  All methods meet the same resampled users, the same ones
    in every run.
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
        p_values = [d.p_value for d, _ in compared.values() if d.p_value is not None]
        adjusted = iter(holm(np.array(p_values or [1.0])))
        for method, ((difference, low, high, p_value, reason), seeds) in compared.items():
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
) -> tuple[Difference, Interval]:
    """One method against `generated` of the same seeds, at the same weights.

    Over users and over seeds.  A method with a single seed is compared with every seed of
    `generated`.
    """
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
        return Difference(seeds.mean, None, None, None, reason), seeds

    def mean_set_hv(means: np.ndarray) -> np.ndarray:
        """The means of every seed, weight and objective [B, S * W * O], to a number each."""
        return np.asarray(set_hv(means.reshape(len(means), -1, *shape))).mean(axis=1)

    a, b = (np.concatenate(side) for side in events)
    return paired_bootstrap(a, b, users, mean_set_hv, resamples=resamples), seeds
