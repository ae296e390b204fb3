"""Confidence intervals, differences between methods and correction for many comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

from paragon.errors import ParagonError
from paragon.metrics.checks import check_array

CONFIDENCE = 0.95  # of all intervals
REAL = 0.05  # adjusted p-values below this are called beyond chance
_BLOCK = 1 << 22  # resampled values held at once
_SAME = 1e-12  # relative difference of sums in another order, at most
Statistic = Callable[[np.ndarray], np.ndarray]  # means [B, S] of B resamples -> numbers [B]


class Interval(NamedTuple):
    """A mean with its confidence limits, or None and a reason."""

    mean: float
    low: float | None
    high: float | None
    reason: str | None = None


class Difference(NamedTuple):
    """A difference with confidence limits and p-value, or None and a reason."""

    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    reason: str | None = None


def mean_interval(values: np.ndarray) -> Interval:
    """Mean and 95 % Student t interval of ``values [S]`` over seeds; undefined for one value."""
    values = check_array("values", values)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, None, None, "an interval needs two values, there is one")
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values)
    return Interval(mean, float(mean - half), float(mean + half))


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    clusters: np.ndarray,
    statistic: Statistic,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Difference of two methods on the same events, by a paired bootstrap over users.

    ``a``, ``b``: metrics per event, ``[N]`` or ``[S, N]``; S may differ. ``clusters [N]``: the user
    of each event; whole users are resampled, means are over events. ``statistic``: from means
    ``[B, S]`` of B resamples to ``[B]``, such as ``set_hv``.

    Returns ``statistic(a) - statistic(b)``, its percentile interval and a two-sided p-value: twice
    the share of resamples on the far side of 0, counting the sample itself, so at least 2 /
    (resamples + 1). With a single user limits and p-value are None. Raise ``ParagonError`` for
    non-finite entries and different shapes. Source: Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapters 8 and 13; Davison and Hinkley, 1997, chapter 4 (p-values).
    """
    check_array("resamples", resamples, "", "integers", low=100)
    a = check_array("a", np.atleast_2d(a), "SN")
    b = check_array("b", np.atleast_2d(b), "SN", N=a.shape[1])
    tail = (1 - CONFIDENCE) / 2
    sums, sizes = _per_cluster(np.concatenate([a, b]), clusters)
    observed = float(_difference((sums.sum(axis=1) / sizes.sum())[None], len(a), statistic)[0])
    if len(sizes) < 2:
        return Difference(observed, None, None, None, "one user: there is nothing to resample")
    differences = _difference(_resampled(sums, sizes, resamples, seed), len(a), statistic)
    low, high = np.quantile(differences, [tail, 1 - tail])
    far = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    p_value = float(min(1.0, 2 * (far + 1) / (resamples + 1)))
    return Difference(observed, float(low), float(high), p_value)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust ``p_values [P]``, each 0..1, for P comparisons; float64 ``[P]``, 0..1, same order.

    Rejecting results up to α keeps the probability of any false rejection at α, whatever the
    dependence. Source: Holm, Scandinavian Journal of Statistics 6(2), 1979.
    """
    # Imported here because it takes over a second.
    from statsmodels.stats.multitest import multipletests

    p_values = check_array("p-values", p_values, low=0, high=1)
    return multipletests(p_values, method="holm")[1]


def is_real(row: Mapping[str, float | None], name: str) -> bool:
    """Whether the difference ``name`` in a row of ``differences.json`` is beyond chance.

    It must be so over users, adjusted for the number of methods, and over seeds. Unknown is no.
    """
    p_value = row.get(f"{name}_p_holm")
    return p_value is not None and p_value < REAL and beyond_seeds(row, name)


def beyond_seeds(row: Mapping[str, float | None], name: str) -> bool:
    """Whether the interval over seeds of the difference ``name`` is known and excludes 0."""
    low, high = (row.get(f"{name}_seeds_{end}") for end in ("low", "high"))
    return low is not None and high is not None and (low > 0 or high < 0)


def _per_cluster(rows: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sums ``[R, U]`` of ``rows [R, N]`` over each cluster, and cluster sizes ``[U]``."""
    if len(clusters) != rows.shape[1]:
        raise ParagonError(f"clusters: {len(clusters)} labels for {rows.shape[1]} events")
    _, label = np.unique(clusters, return_inverse=True)
    sums = np.stack([np.bincount(label, weights=row) for row in rows])
    return sums, np.bincount(label).astype(np.float64)


def _resampled(sums: np.ndarray, sizes: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return means ``[B, R]`` over events in B resamples of users, the same for all R rows."""
    users = len(sizes)

    def means(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        # Counts of the drawn users turn the means into matrix products.
        cells = drawn + np.arange(len(drawn))[:, None] * users
        times = np.bincount(cells.ravel(), minlength=drawn.size).reshape(drawn.shape)
        return (sums @ times.T) / (sizes @ times.T)

    return stats.bootstrap(
        (np.arange(users),),
        means,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _BLOCK // users),
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).bootstrap_distribution.T


def _difference(means: np.ndarray, number: int, statistic: Statistic) -> np.ndarray:
    """Statistic of the first ``number`` columns of ``means [B, R]`` minus the others': ``[B]``."""
    of_a, of_b = statistic(means[:, :number]), statistic(means[:, number:])
    gap = check_array("the difference of the statistic", of_a - of_b, "B", B=len(means))
    # Differences in the last bits come from the order of summation: set them to 0.
    return np.where(np.abs(gap) <= _SAME * np.maximum(np.abs(of_a), np.abs(of_b)), 0.0, gap)
