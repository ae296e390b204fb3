"""Confidence intervals, differences between methods and correction for many comparisons."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from paragon.errors import ParagonError
from paragon.metrics.checks import check_array

CONFIDENCE = 0.95  # of all intervals
REAL = 0.05  # adjusted p-values below this are called beyond chance
_BLOCK = 1 << 22  # resampled values held at once
_EQUAL_WITHIN = 1e-12  # relative; sums in another order differ by less
Statistic = Callable[[np.ndarray], np.ndarray]  # means [B, S] of B resamples -> numbers [B]
Pair = tuple[np.ndarray, np.ndarray, Statistic]


class Interval(NamedTuple):
    """A mean or a difference with its confidence limits, or None and a reason."""

    mean: float
    low: float | None
    high: float | None
    reason: str | None = None


def mean_interval(values: np.ndarray) -> Interval:
    """Mean and 95 % Student t interval of ``values [S]`` over seeds; undefined for one value."""
    values = check_array("values", values)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, None, None, "an interval needs two values, there is one")
    standard_error = values.std(ddof=1) / len(values) ** 0.5
    half = _student_factor(len(values) - 1) * standard_error
    return Interval(mean, float(mean - half), float(mean + half))


@cache
def _student_factor(freedom: int) -> float:
    """Return how many standard errors half of an interval is, with these degrees of freedom."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def paired_bootstrap(
    pairs: Sequence[Pair], clusters: np.ndarray, resamples: int = 2000, seed: int = 0
) -> list[tuple[Interval, float | None]]:
    """Difference of two methods on the same events and its p-value, by a bootstrap over users.

    A pair has the metrics per event of both, ``[N]`` or ``[S, N]``, where S may differ, and a
    statistic of their means such as ``set_hv``; all pairs share the resamples. ``clusters [N]``:
    the user of each event; whole users are resampled. Limits are percentiles. The two-sided p-value
    is ``2 (far + 1) / (resamples + 1)``, at most 1, where ``far`` is the smaller of two numbers: of
    resampled differences up to 0, and from 0 on. One user has neither.
    Source: Efron and Tibshirani, 1993, chapters 8 and 13; Davison and Hinkley, 1997, chapter 4.
    """
    check_array("resamples", resamples, "", "integers", low=100)
    _, user = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(user).astype(np.float64)  # [U]
    sides = []  # sums [R, U] of all rows of both methods, and how many rows the first has
    for of_a, of_b, _ in pairs:
        a = check_array("a", np.atleast_2d(of_a), "SN")
        b = check_array("b", np.atleast_2d(of_b), "SN", N=a.shape[1])
        if len(clusters) != a.shape[1]:
            raise ParagonError(f"clusters: {len(clusters)} labels for {a.shape[1]} events")
        sides.append((np.stack([np.bincount(user, weights=row) for row in (*a, *b)]), len(a)))

    def differences(times: np.ndarray) -> np.ndarray:
        """Compute the differences ``[pairs, B]`` where users count ``times [B, U]``."""
        total = sizes @ times.T  # [B]
        out = np.empty((len(pairs), len(times)))
        for row, (sums, length), (_, _, statistic) in zip(out, sides, pairs, strict=True):
            means = (sums @ times.T / total).T  # [B, R]
            of_a = statistic(means[:, :length])  # [B]
            of_b = statistic(means[:, length:])  # [B]
            gap = check_array("the difference of the statistic", of_a - of_b, "B", B=len(means))
            # Differences in the last bits come from the order of summation: set them to 0.
            same = np.abs(gap) <= _EQUAL_WITHIN * np.maximum(np.abs(of_a), np.abs(of_b))
            row[:] = np.where(same, 0.0, gap)
        return out

    users = len(sizes)
    observed = differences(np.ones((1, users)))[:, 0].tolist()
    if users < 2:
        reason = "one user: there is nothing to resample"
        return [(Interval(gap, None, None, reason), None) for gap in observed]
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // users)
    resampled: list[np.ndarray] = []  # [pairs, B] each
    for start in range(0, resamples, step):
        drawn = rng.integers(users, size=(min(step, resamples - start), users))  # [B, U]
        # Counts of the drawn users turn the means into matrix products.
        cells = drawn + np.arange(len(drawn))[:, None] * users
        times = np.bincount(cells.ravel(), minlength=drawn.size).astype(np.float64)
        resampled.append(differences(times.reshape(drawn.shape)))
    out: list[tuple[Interval, float | None]] = []
    for gap, row in zip(observed, np.concatenate(resampled, axis=1), strict=True):
        low, high = np.quantile(row, [(1 - CONFIDENCE) / 2, 1 - (1 - CONFIDENCE) / 2])
        far = min(np.count_nonzero(row <= 0), np.count_nonzero(row >= 0))
        p_value = float(min(1.0, 2 * (far + 1) / (resamples + 1)))
        out.append((Interval(gap, float(low), float(high)), p_value))
    return out


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust ``p_values [P]``, each 0..1, for P comparisons; float64 ``[P]``, 0..1, same order.

    Rejecting results up to α keeps the probability of any false rejection at α, whatever the
    dependence. Source: Holm, Scandinavian Journal of Statistics 6(2), 1979.
    """
    p_values = check_array("p-values", p_values, low=0, high=1).astype(np.float64)
    order = p_values.argsort(kind="stable")
    comparisons = np.arange(len(p_values), 0, -1)  # those that are left at each rank
    adjusted = np.maximum.accumulate(p_values[order] * comparisons)
    out = np.empty_like(adjusted)
    out[order] = adjusted.clip(max=1)
    return out


def is_real(row: Mapping[str, float | None], name: str) -> bool:
    """Whether a difference is beyond chance over users (after Holm) and seeds; unknown is no."""
    p_value, low, high = (row.get(f"{name}_{end}") for end in ("p_holm", "seeds_low", "seeds_high"))
    if p_value is None or low is None or high is None:
        return False
    return p_value < REAL and (low > 0 or high < 0)
