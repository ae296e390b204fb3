"""How far does each user follow?  A mean over users may move although many lists stay.

What a single list shows of an objective is followed from weight to weight, user by user.
Accuracy is left out: one held-out item says nothing about one list.
"""

from __future__ import annotations

import numpy as np

from paragon.evaluation.summary import significant
from paragon.evaluation.testbed import PROTOCOLS, Kept, TestBed
from paragon.metrics.statistics import mean_interval
from paragon.objectives.table import OBJECTIVES


def following(bed: TestBed) -> dict[str, dict[str, float]]:
    """{method: {measure: number}}, protocol as suffix, of what ``bed`` kept.

    ``users_div``: the share of users whose own list has more diversity under the largest weight
    of it than under the smallest; ``steps_div``: the share of the steps between neighbouring
    weights at which it has more; the same for every objective but accuracy.  Means over seeds;
    ``_low`` and ``_high`` are limits of the 95 % Student t interval over users.  A method whose
    weights or metrics do not allow it has none: one weight, or a metric that is no mean over
    events.
    """
    out: dict[str, dict[str, float]] = {}
    for protocol in PROTOCOLS:
        rows: dict[str, list[Kept]] = {}
        for (method, _, of), kept in bed.kept.items():
            if of == protocol and kept.events is not None and len(kept.weights) > 1:
                rows.setdefault(method, []).append(kept)
        for method, seeds in rows.items():
            measures = out.setdefault(method, {})
            for column, objective in enumerate(bed.objectives):
                if objective == "accuracy":
                    continue
                for name, shares in _of_users(seeds, column, bed.evaluation.users).items():
                    name = f"{name}_{OBJECTIVES[objective].short}_{protocol}"
                    mean, low, high, _ = mean_interval(shares)
                    measures[name] = significant(mean)
                    if low is not None and high is not None:
                        limits = {f"{name}_low": low, f"{name}_high": high}
                        measures |= {end: significant(limit) for end, limit in limits.items()}
    return out


def _of_users(seeds: list[Kept], column: int, users: np.ndarray) -> dict[str, np.ndarray]:
    """Both shares of each user, [U] each, over the seeds."""
    ends, steps = [], []
    for kept in seeds:
        order = np.argsort(kept.weights[:, column], kind="stable")
        values = np.stack([kept.events[row][column] for row in order])  # type: ignore[index]
        different = np.diff(kept.weights[order, column]) > 0  # [W - 1]; with three objectives
        ends.append(values[-1] > values[0])  # [N]
        steps.append((np.diff(values, axis=0) > 0)[different].mean(0))  # [N]
    _, own = np.unique(users, return_inverse=True)
    count = np.bincount(own)
    shares = {"users": np.mean(ends, axis=0), "steps": np.mean(steps, axis=0)}
    return {name: np.bincount(own, share) / count for name, share in shares.items()}
