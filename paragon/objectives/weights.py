"""Preference weights ``[W, O]``: one number per objective, non-negative, with sum 1."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from paragon.errors import ParagonError, shown

LOG_OFFSET = 1e-3  # added to a weight before its logarithm, since a weight may be 0
# Of `refined`:
FAR = 0.01  # difference of two accuracies, as a share of the best
HALVINGS = 6  # of an interval, at most


def check_weights(weights: object, names: Sequence[str], normalise: bool = False) -> Tensor:
    """Convert preference weights to a float tensor ``[W, O]``, or raise ``ParagonError``.

    Accepts one vector, several, or a mapping or Series by name (missing names are 0). Weights must
    be finite, non-negative and sum to 1 within 1e-4; ``normalise`` divides them by their sum.
    """
    if isinstance(weights, pd.Series | pd.DataFrame):  # a DataFrame is refused: no table of numbers
        weights = weights.to_dict()
    if isinstance(weights, Mapping):
        unknown = [name for name in weights if name not in names]
        if unknown:
            known = f"is unknown; known: {', '.join(names)}"
            raise ParagonError(f"weights: objective {shown(unknown[0])} {known}")
        weights = [weights.get(name, 0.0) for name in names]
    try:
        given = isinstance(weights, list | tuple)  # in which a bool would become a number
        if given and any(isinstance(x, bool | np.bool_) for x in np.array(weights, object).flat):
            raise TypeError("a bool is not numeric")
        w = np.asarray(weights)
        if w.dtype.kind not in "fiu":
            raise TypeError(f"{w.dtype.name} is not numeric")
    except (TypeError, ValueError, RuntimeError) as error:
        reason = f"is not a table of numbers ({error})"
        raise ParagonError(f"weights: {shown(weights)} {reason}") from error
    w = np.atleast_2d(w.astype(np.float64))
    if w.ndim != 2 or w.shape[1] != len(names) or not len(w):
        needed = f"{len(names)} numbers are needed, one for each of {', '.join(names)}"
        raise ParagonError(f"weights: {needed}; found shape {w.shape}")
    with np.errstate(over="ignore"):
        total = w.sum(1)
    unsummed = total <= 0 if normalise else np.abs(total - 1) > 1e-4
    advice = "" if normalise else " (or set `normalise`)"
    reasons = {
        "every weight must be a finite number": ~np.isfinite(w).all(1),
        "no weight may be negative": (w < 0).any(1),
        f"they must sum to 1, not {{:g}}{advice}": unsummed,
    }
    for reason, wrong in reasons.items():
        for row in np.flatnonzero(wrong):
            listed = ", ".join(f"{x:g}" for x in w[row])
            where = f"row {row}: " if len(w) > 1 else ""
            raise ParagonError(f"weights ({listed}): {where}{reason.format(total[row])}")
    if normalise:
        # The sum of huge weights is infinite: divide those by their maximum first.
        w = w / np.where(np.isinf(total), w.max(1), 1)[:, None]
        w = w / w.sum(1)[:, None]
    return torch.from_numpy(w).float()


def simplex_weights(values: Sequence[float | Sequence[float]], names: Sequence[str]) -> Tensor:
    """Read weights ``[W, O]`` of params.yaml: vectors or, for two objectives, the first number."""
    if len(names) == 2:
        values = [[v, 1 - v] if isinstance(v, int | float) else v for v in values]
    return check_weights(values, names)


def simplex_lattice(objectives: int, steps: int) -> Tensor:
    """List all weights ``[W, O]`` in multiples of 1/``steps``, ordered by the first weight."""
    grid = np.indices([steps + 1] * (objectives - 1)).reshape(objectives - 1, -1).T
    grid = grid[grid.sum(1) <= steps]  # [W, O - 1]: all but the last weight, in steps
    return torch.from_numpy(np.column_stack([grid, steps - grid.sum(1)]) / steps).float()  # [W, O]


def lift(weights: Tensor, floor: Tensor) -> Tensor:
    """Raise each weight to at least its floor; the others give up a share of their excess.

    With weight 0, nothing would limit the loss of an objective. The floor is the smallest weight
    of the anchors. ``weights [..., O]`` sum to 1, ``floor [O]`` to less than 1.
    """
    spare = (weights - floor).clamp(min=0)  # [..., O]
    return floor + spare * (1 - floor.sum()) / spare.sum(-1, keepdim=True)  # [..., O]


def random_weights(count: int, floor: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw weights ``[count, O]`` uniformly from the simplex and lift them to ``floor [O]``."""
    uniform = torch.from_numpy(rng.dirichlet(np.ones(len(floor)), count)).float()  # [count, O]
    return lift(uniform, floor)


def refined(
    weights: Sequence[float], measure: Callable[[np.ndarray], np.ndarray], least: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Measure ``weights [W]``, and more between two whose accuracy differs by more than ``FAR``.

    ``measure`` returns two numbers of each weight, ``[W, 2]``, accuracy first. Such an interval is
    halved, up to ``HALVINGS`` times, if at least one end has the share ``least`` of the best
    accuracy. Return all weights, in order, with their numbers.
    """
    w = np.sort(weights)  # [W]
    points = measure(w)  # [W, 2]
    for _ in range(HALVINGS):
        share = points[:, 0] / max(points[:, 0].max(), 1e-12)  # [W]
        apart = np.abs(np.diff(share)) > FAR
        accurate = np.maximum(share[1:], share[:-1]) >= least  # [W - 1]
        between = ((w[1:] + w[:-1]) / 2)[apart & accurate]
        if not len(between):
            break
        w = np.append(w, between)
        order = w.argsort()
        w = w[order]
        points = np.concatenate([points, measure(between)])[order]
    return w, points
