"""How well a method follows the preference weights.

Shapes: W evaluation weights, O objectives. ``points [W, O]``: a metric per objective at each
weight, larger is better. Wrong shapes and non-finite input raise ``ParagonError``.
"""

import numpy as np
from scipy.stats import pearsonr

from paragon.metrics.checks import Measure, check_array

_EQUAL_WITHIN = 1e-9  # weights closer than this are equal, and values, relative to the largest


def set_hv(points: np.ndarray) -> float | np.ndarray:
    """Exact hypervolume of ``points [..., W, O]``: the headline measure over all weights.

    The volume of the union of the boxes between the origin and the points. Dominated, duplicate
    and non-positive points add nothing. It rewards the range over all weights: serving one balance
    for all weights does not pay. Source: Zitzler and Thiele, IEEE Trans. Evol. Comput. 3(4), 1999.
    """
    points = np.maximum(check_array("points", points, "*WO"), 0.0)
    volume = _volume(points)
    return float(volume) if points.ndim == 2 else volume


def _volume(points: np.ndarray) -> np.ndarray:
    """Volume ``[...]`` of the union of the boxes from the origin to ``points [..., P, O]``."""
    flat = points.shape[-1] == 2
    order = np.argsort(-points[..., 0 if flat else -1], axis=-1, kind="stable")
    points = np.take_along_axis(points, order[..., None], axis=-2)  # the largest first
    if flat:
        height = np.maximum.accumulate(points[..., 1], axis=-1)
        return (points[..., 0] * np.diff(height, prepend=0.0)).sum(axis=-1)
    # Between two levels of the last axis, the volume of the points above in the others is constant.
    thickness = -np.diff(points[..., -1], append=0.0)  # [..., P]
    slices = [_volume(points[..., : n + 1, :-1]) for n in range(points.shape[-2])]
    return (thickness * np.stack(slices, -1)).sum(-1)


def mean_hv(points: np.ndarray) -> float:
    """Mean over the weights of the product of the metrics in ``points [W, O]``.

    A reading of the "Avg. HV" of Shen et al., RecSys 2025. Secondary to ``set_hv``: serving a
    middle balance for all weights scores higher than retraining for each weight.
    """
    return float(check_array("points", points, "WO").prod(axis=1).mean())


def correlation(values: np.ndarray, other: np.ndarray) -> Measure:
    """Pearson correlation of ``values [W]`` with ``other [W]``; undefined if one is constant."""
    values = check_array("values", values, "W")
    other = check_array("other", other, "W", W=len(values))
    if len(values) < 2:
        return Measure(None, "a correlation needs two weights, there is one")
    for series in (values, other):
        if np.ptp(series) <= _EQUAL_WITHIN * np.abs(series).max():
            return Measure(None, f"constant series: every value is {series[0]:.6g}")
    return Measure(float(pearsonr(values, other).statistic))


def range_ratio(values: np.ndarray, tuned: np.ndarray) -> Measure:
    """Range (max - min) of ``values [W]`` over that of ``tuned``, 0..inf; undefined if it is 0."""
    values = check_array("values", values, "W")
    tuned = check_array("tuned", tuned, "W", W=len(values))
    span = np.ptp(tuned)
    if span <= _EQUAL_WITHIN * np.abs(tuned).max():
        return Measure(None, f"`tuned` does not move: every value is {tuned[0]:.6g}")
    return Measure(float(np.ptp(values) / span))


def outcome_error(points: np.ndarray, tuned: np.ndarray) -> Measure:
    """Mean distance of the outcome from what the weights ask for, in ranges of ``tuned``; 0..inf.

    ``tuned [W, O]`` reached what was asked for. The distance between its metrics and those of
    ``points [W, O]`` is divided by its range of each metric. Undefined if a range is 0.
    """
    points = check_array("points", points, "WO")
    tuned = check_array("tuned", tuned, "WO")
    span = np.ptp(tuned, axis=0)  # [O]
    if (span <= _EQUAL_WITHIN * np.abs(tuned).max(0)).any():
        return Measure(None, "`tuned` does not move one of the metrics")
    return Measure(float((np.abs(points - tuned) / span).mean()))


def violations(
    weights: np.ndarray, values: np.ndarray, objective: int = 0, tolerance: float = 0.002
) -> Measure:
    """Count the neighbouring weights between which the metric moves the wrong way.

    ``values [W]``: the metric that the column ``objective`` of ``weights [W, O]`` controls. A pair
    counts if the weight rises and the metric falls by more than ``tolerance``. Neighbours: adjacent
    weights for O = 2, else the closest pairs whose weight differs; undefined if there are none.
    """
    weights = check_array("weights", weights, "WO")
    values = check_array("values", values, "W", W=len(weights))
    if weights.shape[1] == 2:
        order = np.argsort(weights[:, 0], kind="stable")
        first, second = order[:-1], order[1:]
    else:
        first, second = np.triu_indices(len(weights), 1)
        distance = np.abs(weights[first] - weights[second]).sum(axis=1)
        close = distance <= distance.min(initial=np.inf) * (1 + 1e-6)
        first, second = first[close], second[close]
    rise = weights[second, objective] - weights[first, objective]
    moves = np.abs(rise) > _EQUAL_WITHIN
    if not moves.any():
        return Measure(None, f"no two neighbouring weights among the {len(weights)} given")
    fall = (values[first] - values[second]) * np.sign(rise)
    # The slack allows for rounding of a fall of exactly the tolerance.
    return Measure(float(np.count_nonzero(fall[moves] > tolerance + 1e-12)))


def regret(
    losses: np.ndarray,
    tuned: np.ndarray,
    constant: np.ndarray,
    corners: np.ndarray | None = None,
    rows: np.ndarray | None = None,
) -> dict[str, Measure]:
    """Held-out task loss in excess of that of ``tuned``: 0 is ``tuned``, 1 always the middle model.

    ``tuned``, ``constant [W]``: task losses of the model tuned for each weight and of the middle
    one. ``losses [R]``: the method's, at weights ``rows [R]`` (None: all). Returns mean, median and
    maximum of (losses - tuned) over the mean of (constant - tuned): ``mean``, ``median``, ``max``
    without ``corners [W]`` (bool: an objective has weight 0), ``corner_mean`` and so on for corners
    only. Undefined without weights, or if ``constant`` is on average no worse than ``tuned``.
    """
    tuned = check_array("tuned", tuned, "W")
    constant = check_array("constant", constant, "W", W=len(tuned))
    corners = np.zeros(len(tuned), bool) if corners is None else corners
    corners = check_array("corners", corners, "W", "booleans", W=len(tuned))
    rows = np.arange(len(tuned)) if rows is None else np.asarray(rows)
    losses = check_array("losses", losses, "R", R=len(rows))
    regrets = {}
    for prefix, chosen in (("", ~corners), ("corner_", corners)):
        excess = (losses - tuned[rows])[chosen[rows]]
        unit = 0.0
        reason = None
        if not len(excess):
            reason = "no weight is a corner" if prefix else "every weight is a corner"
        else:
            unit = (constant - tuned)[chosen].mean()
            if unit <= _EQUAL_WITHIN * np.abs(tuned[chosen]).max():
                reason = f"the constant model is no worse than `tuned` (mean excess {unit:.6g})"
        for name, summary in (("mean", np.mean), ("median", np.median), ("max", np.max)):
            value = None if reason else float(summary(excess) / unit)
            regrets[prefix + name] = Measure(value, reason)
    return regrets
