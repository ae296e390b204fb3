"""Ask for an outcome instead of weights: the most diverse balance within a loss of accuracy.

In this file: how a promise about people who were not there is made.  The mean over the validation
users is not enough: it is as often too small as too large, and the best of many balances is the
best by luck as well.

* For one balance, a one-sided Student interval of the paired differences of the users, with room
  for the chance in the new users' own mean: ``mean + t sd sqrt(1 / N + 1 / users)``.  A user's
  NDCG is between 0 and 1 and N is hundreds, so the mean is close to normal.
* For many balances, *fixed-sequence testing* (Angelopoulos et al., "Learn then Test", 2021,
  section 3.2): they are tried from accuracy alone on, and the first that fails ends the search.
  No correction for their number is needed, as there is for the best of all.

Shapes: G balances, N validation users, O objectives.
"""

from __future__ import annotations

import math
from dataclasses import InitVar, dataclass

import numpy as np
from scipy import stats

from paragon.errors import ParagonError, shown


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
        shown = ", ".join(f"{name} {weight:.3g}" for name, weight in self.items())
        people = "in the long run" if math.isinf(self.users) else f"for {self.users:g} new users"
        return (
            f"{shown}: costs {self.loss:.1%} of NDCG@10 on validation, at most {self.bound:.1%} "
            f"{people} ({self.confidence:.0%} confidence); diversity {self.before:.3f} -> "
            f"{self.diversity:.3f}"
        )


@dataclass(frozen=True)
class Outcomes:
    """What every balance did to the validation users.

    ``weights [G, O]``, from accuracy alone on, in the order of ``objectives``; ``ndcg [G, N]``:
    ``NDCG@10`` over the whole catalogue of each user, the users sorted by their values;
    ``diversity [G]``: the mean of the other objective's metric.
    """

    objectives: list[str]
    weights: np.ndarray
    ndcg: np.ndarray
    diversity: np.ndarray

    def weights_for(
        self, accuracy_loss_at_most: float, confidence: float = 0.95, users: float | None = None
    ) -> Balance:
        """The most diverse balance whose loss is within bounds.

        The promise: with this ``confidence``, the mean ``NDCG@10`` of ``users`` new users is at
        most the share ``accuracy_loss_at_most`` (0..1) below that of accuracy alone.  ``users``:
        None for as many as there were validation users, ``math.inf`` for the long run.  The users
        have to be like those of the validation.  Where nothing can be promised, accuracy alone
        comes back.
        Raises ``ParagonError`` for numbers out of range.
        """
        shares = {"accuracy_loss_at_most": accuracy_loss_at_most, "confidence": confidence}
        for name, value in shares.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise ParagonError(
                    f"{name}: {shown(value)} is out of range; give a share, 0.03 say"
                )
        users = self.ndcg.shape[1] if users is None else users
        if isinstance(users, bool) or not isinstance(users, int | float) or not users >= 1:
            raise ParagonError(f"users: {shown(users)} is out of range; give a number, or math.inf")
        means = self.ndcg.mean(1)
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
