"""Ask for an outcome instead of weights: the most diverse balance within a loss of accuracy.

A promise about new users needs more than the mean over the validation users.  For one balance: a
one-sided Student interval of the users' paired differences, with room for the chance in the new
users' own mean, ``mean + t sd sqrt(1 / N + 1 / users)``.  For many: *fixed-sequence testing*
(Angelopoulos et al., "Learn then Test", 2021, section 3.2).  They are tried from accuracy alone on,
and the first that fails ends the search; no correction for their number is needed.

Shapes: G balances, N validation users, O objectives.
"""

from __future__ import annotations

import math
from dataclasses import InitVar, dataclass

import numpy as np
from pydantic import Field
from scipy import stats

from paragon.params import Section, checked


class _Asked(Section):
    accuracy_loss_at_most: float = Field(gt=0, lt=1)
    confidence: float = Field(gt=0, lt=1)
    users: float | None = Field(ge=1, allow_inf_nan=True)


@dataclass(eq=False, repr=False)
class Balance(dict[str, float]):
    """Weights by objective, ready for ``recommend``, and what is expected of them.

    ``loss``: the share of ``NDCG@10`` lost on validation; ``bound``: what it stays under for
    ``users`` new users with this ``confidence``; ``diversity``: ``α-nDCG@10``, or the metric of
    the other objective, on validation; ``before``: the same for accuracy alone.
    """

    weights: InitVar[dict[str, float]]
    loss: float
    bound: float
    diversity: float
    before: float
    confidence: float
    users: float

    def __post_init__(self, weights: dict[str, float]) -> None:
        self.update(weights)

    def __repr__(self) -> str:
        weights = ", ".join(f"{name} {weight:.3g}" for name, weight in self.items())
        people = "in the long run" if math.isinf(self.users) else f"for {self.users:g} new users"
        return (
            f"{weights}: costs {self.loss:.1%} of NDCG@10 on validation, at most {self.bound:.1%} "
            f"{people} ({self.confidence:.0%} confidence); diversity {self.before:.3f} -> "
            f"{self.diversity:.3f}"
        )


@dataclass(frozen=True)
class Outcomes:
    """What every balance did to the validation users.

    ``weights [G, O]``, from accuracy alone on; ``ndcg [G, N]``: ``NDCG@10`` of each user, sorted by
    their values; ``diversity [G]``: the mean of the other objective's metric.
    """

    objectives: list[str]
    weights: np.ndarray
    ndcg: np.ndarray
    diversity: np.ndarray

    def weights_for(
        self, accuracy_loss_at_most: float, confidence: float = 0.95, users: float | None = None
    ) -> Balance:
        """See :meth:`paragon.serving.recommender.Recommender.weights_for`."""
        given = {"accuracy_loss_at_most": accuracy_loss_at_most, "confidence": confidence}
        checked(_Asked, given | {"users": users}, "weights_for")
        users, means = self.ndcg.shape[1] if users is None else users, self.ndcg.mean(1)
        # Of nothing no share can be promised.
        row = furthest(self.ndcg, accuracy_loss_at_most, confidence, users) if means[0] else 0
        return Balance(
            dict(zip(self.objectives, self.weights[row].round(6).tolist(), strict=True)),
            loss=float(1 - means[row] / means[0]) if row else 0.0,
            bound=float(loss_bounds(self.ndcg[[0, row]], confidence, users)[1]),
            diversity=float(self.diversity[row]),
            before=float(self.diversity[0]),
            confidence=confidence,
            users=users,
        )


def furthest(ndcg: np.ndarray, loss: float, confidence: float, users: float) -> int:
    """The last row of ``ndcg [G, N]`` before the first whose loss may be larger than ``loss``."""
    within = _within(ndcg, loss, confidence, users)
    within[0] = True  # accuracy alone loses nothing
    return len(within) - 1 if within.all() else int(within.argmin()) - 1


def loss_bounds(ndcg: np.ndarray, confidence: float, users: float) -> np.ndarray:
    """The least ``loss`` that could be promised for each row of ``ndcg [G, N]`` alone: ``[G]``."""
    low, high = np.zeros(len(ndcg)), np.ones(len(ndcg))
    for _ in range(40):
        middle = (low + high) / 2  # [G]
        within = _within(ndcg, middle[:, None], confidence, users)
        low, high = np.where(within, low, middle), np.where(within, middle, high)
    return np.where((ndcg == ndcg[0]).all(1), 0, high)


def _within(
    ndcg: np.ndarray, loss: float | np.ndarray, confidence: float, users: float
) -> np.ndarray:
    """Whether it can be promised that a row of ``ndcg [G, N]`` loses at most ``loss``: ``[G]``.

    Its mean of ``(1 - loss) ndcg[0] - ndcg[row]`` has to be at most 0, with room for chance.
    """
    excess = (1 - loss) * ndcg[0] - ndcg  # [G, N]
    count = ndcg.shape[1]
    quantile = stats.t.ppf(confidence, count - 1)
    # How far a mean of new users may lie above that of these.
    room = quantile * excess.std(1, ddof=1) * math.sqrt(1 / count + 1 / users)  # [G]
    return excess.mean(1) + room <= 0
