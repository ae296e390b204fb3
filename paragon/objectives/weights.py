"""Preference weights: one number per objective, none negative, with the sum 1.

In this file: how weights are checked, read from params.yaml, put on a grid and drawn at random,
and why they are raised to a floor.  Shapes: W weight vectors, O objectives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from paragon.errors import ParagonError

# Added to a weight before its logarithm is taken: a weight may be 0.
LOG_OFFSET = 1e-3


def check_weights(weights: object, names: Sequence[str]) -> Tensor:
    """Preference weights as a float tensor ``[W, O]``, or an error that says what is wrong.

    Accepts one vector or several; each must have one finite, non-negative
    number per objective and sum to 1 (within 1e-4).
    """
    try:
        w = torch.as_tensor(weights, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ParagonError(f"weights: {weights!r} is not a table of numbers ({error})") from error
    w = w.unsqueeze(0) if w.ndim == 1 else w
    if w.ndim != 2 or w.shape[1] != len(names) or not len(w):
        raise ParagonError(
            f"weights: {len(names)} numbers are needed, one for each of {', '.join(names)}; "
            f"found shape {tuple(w.shape)}"
        )
    for row in w:
        shown = ", ".join(f"{x:g}" for x in row.tolist())
        if not torch.isfinite(row).all():
            raise ParagonError(f"weights ({shown}): every weight must be a finite number")
        if (row < 0).any():
            raise ParagonError(f"weights ({shown}): no weight may be negative")
        if abs(row.sum().item() - 1) > 1e-4:
            raise ParagonError(f"weights ({shown}): they must sum to 1, not {row.sum().item():g}")
    return w.float()


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
