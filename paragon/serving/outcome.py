"""Choose the most diverse balance with a promised limit on the loss of accuracy.

Shapes: G balances, N validation users, O objectives.
"""

import math
from dataclasses import InitVar, dataclass
from typing import NamedTuple

import numpy as np
from pydantic import Field
from scipy import stats

from paragon.params import Section


class Promise(Section):
    """The arguments of :meth:`paragon.serving.recommender.Recommender.weights_for`."""

    accuracy_loss_at_most: float = Field(gt=0, lt=1)
    confidence: float = Field(gt=0, lt=1)
    users: float | None = Field(ge=1, allow_inf_nan=True)


@dataclass(eq=False, repr=False)
class Balance(dict[str, float]):
    """Weights by objective for ``recommend``, and what to expect of them."""

    weights: InitVar[dict[str, float]]
    loss: float  # share of NDCG@10 that is lost on validation, 0..1
    bound: float  # its limit for `users` new users with this `confidence`
    diversity: float  # α-nDCG@10, or the other objective's metric, on validation
    before: float  # the same for accuracy alone
    confidence: float
    users: float

    def __post_init__(self, weights: dict[str, float]) -> None:
        self.update(weights)

    def __repr__(self) -> str:
        weights = ", ".join(f"{name} {weight:.3g}" for name, weight in self.items())
        people = "in the long run" if math.isinf(self.users) else f"for {self.users:g} new users"
        costs = f"costs {self.loss:.1%} of NDCG@10 on validation, at most {self.bound:.1%} {people}"
        moved = f"diversity {self.before:.3f} -> {self.diversity:.3f}"
        return f"{weights}: {costs} ({self.confidence:.0%} confidence); {moved}"


class Outcomes(NamedTuple):
    """Measurements of each balance on the validation users."""

    weights: np.ndarray  # [G, O], accuracy alone first
    ndcg: np.ndarray  # [G, N], NDCG@10 of each user, sorted by value
    diversity: np.ndarray  # [G], mean metric of the other objective


def furthest(ndcg: np.ndarray, loss: float, confidence: float, users: float) -> int:
    """Return the last row of ``ndcg [G, N]`` that comes before the first failure.

    A row fails if its loss of accuracy, compared with row 0, may exceed ``loss`` (a share, 0..1).
    This is fixed-sequence testing (Angelopoulos et al., "Learn then Test", 2021, section 3.2): the
    search ends at the first failure, so no correction for multiple tests is needed.
    """
    within = _within(ndcg, loss, confidence, users)  # [G]
    within[0] = True  # accuracy alone loses nothing
    if within.all():
        return len(within) - 1
    first_failure = int(within.argmin())
    return first_failure - 1


def loss_bounds(ndcg: np.ndarray, confidence: float, users: float) -> np.ndarray:
    """Return the smallest ``loss`` that can be promised for each row of ``ndcg [G, N]``: ``[G]``.

    It is searched between 0 and 1, by halving the interval.
    """
    low = np.zeros(len(ndcg))
    high = np.ones(len(ndcg))
    for _ in range(40):
        middle = (low + high) / 2  # [G]
        within = _within(ndcg, middle[:, None], confidence, users)  # [G]
        low = np.where(within, low, middle)
        high = np.where(within, middle, high)
    same = (ndcg == ndcg[0]).all(1)  # [G]
    return np.where(same, 0, high)


def _within(
    ndcg: np.ndarray, loss: float | np.ndarray, confidence: float, users: float
) -> np.ndarray:
    """Test whether each row of ``ndcg [G, N]`` loses at most the share ``loss``: bool ``[G]``.

    Let D = (1 - loss) ndcg[0] - ndcg[row]: how much a user loses beyond ``loss``.  The upper limit
    of a one-sided Student interval for the mean of new users, mean(D) + t sd(D) sqrt(1 / N + 1 /
    users), must be at most 0.
    """
    excess = (1 - loss) * ndcg[0] - ndcg  # [G, N]: D
    count = ndcg.shape[1]
    quantile = stats.t.ppf(confidence, count - 1)
    room = quantile * excess.std(1, ddof=1) * math.sqrt(1 / count + 1 / users)  # [G]
    return excess.mean(1) + room <= 0
