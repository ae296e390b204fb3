"""Preference weights: one number per objective, none negative, with the sum 1.

In this file: how weights are checked, read from params.yaml, put on a grid and drawn at random,
and why they are raised to a floor.  Shapes: W weight vectors, O objectives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from paragon.errors import ParagonError, shown

# Added to a weight before its logarithm is taken: a weight may be 0.
LOG_OFFSET = 1e-3


def check_weights(weights: object, names: Sequence[str], normalise: bool = False) -> Tensor:
    """Preference weights as a float tensor ``[W, O]``, or an error that says what is wrong.

    Accepts one vector, several, or a mapping by name, in which what is missing is 0.  Each must
    have one finite, non-negative number per objective and, unless they are divided by it, the sum
    1 (within 1e-4).
    """
    if isinstance(weights, Mapping):
        for name in weights:
            if name not in names:
                known = ", ".join(names)
                raise ParagonError(f"weights: objective {shown(name)} is unknown; known: {known}")
        weights = [weights.get(name, 0.0) for name in names]
    try:
        w = np.asarray(weights)
        if w.dtype.kind not in "fiu":
            raise TypeError(f"{w.dtype.name} is no kind of number")
    except (TypeError, ValueError) as error:
        raise ParagonError(
            f"weights: {shown(weights)} is not a table of numbers ({error})"
        ) from error
    w = np.atleast_2d(w.astype(np.float64))
    if w.ndim != 2 or w.shape[1] != len(names) or not len(w):
        raise ParagonError(
            f"weights: {len(names)} numbers are needed, one for each of {', '.join(names)}; "
            f"found shape {w.shape}"
        )
    with np.errstate(over="ignore"):
        total = w.sum(1)
    reasons = {
        "every weight must be a finite number": ~np.isfinite(w).all(1),
        "no weight may be negative": (w < 0).any(1),
        "they must sum to 1, not {:g}": total <= 0 if normalise else np.abs(total - 1) > 1e-4,
    }
    for reason, wrong in reasons.items():
        for row in np.flatnonzero(wrong):
            found = ", ".join(f"{x:g}" for x in w[row])
            where = f"row {row}: " if len(w) > 1 else ""
            raise ParagonError(f"weights ({found}): {where}{reason.format(total[row])}")
    if normalise:
        # Of huge weights the sum is infinite; division by 1 leaves the others as they are.
        w = w / np.where(np.isinf(total), w.max(1), 1)[:, None]
        w = w / w.sum(1)[:, None]
    return torch.from_numpy(w).float()


def simplex_weights(values: Sequence[float | Sequence[float]], names: Sequence[str]) -> Tensor:
    """Weights ``[W, O]`` from params.yaml: whole vectors or, for two objectives, the first number.

    Raises ``ParagonError`` as :func:`check_weights` does.
    """
    if len(names) == 2:
        values = [[v, 1 - v] if isinstance(v, int | float) else v for v in values]
    return check_weights(values, names)


def simplex_lattice(objectives: int, steps: int) -> Tensor:
    """All weights that are multiples of 1/``steps``, ``[W, O]``, ordered by the first weight."""
    grid = np.stack(np.meshgrid(*[np.arange(steps + 1)] * (objectives - 1), indexing="ij"), -1)
    grid = grid.reshape(-1, objectives - 1)  # all but the last weight, in steps
    grid = grid[grid.sum(1) <= steps]  # [W, O - 1]
    return torch.from_numpy(np.column_stack([grid, steps - grid.sum(1)]) / steps).float()  # [W, O]


def lift(weights: Tensor, floor: Tensor) -> Tensor:
    """Raise every weight to at least its floor; the others give up a share of what exceeds theirs.

    The corners of the simplex are singular: nothing limits the loss of an objective without
    weight.  So no adapter is made for less than the smallest weights of the anchors, the floor.
    ``weights [..., O]`` sum to 1, ``floor [O]`` to less; the result ``[..., O]`` sums to 1.
    """
    spare = (weights - floor).clamp(min=0)  # [..., O]
    return floor + spare * (1 - floor.sum()) / spare.sum(-1, keepdim=True)  # [..., O]


def random_weights(count: int, floor: Tensor, rng: np.random.Generator) -> Tensor:
    """Weights ``[count, O]`` drawn uniformly from the simplex and lifted to ``floor [O]``."""
    uniform = torch.from_numpy(rng.dirichlet(np.ones(len(floor)), count)).float()  # [count, O]
    return lift(uniform, floor)
