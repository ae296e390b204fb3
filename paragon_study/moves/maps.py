"""Other maps than the rotation, and what makes more of moved adapters: a choice, a correction.

Shapes: d numbers of an old state, e of a new one, P and Q parameters of an old and a new adapter,
N histories, W weight vectors, O objectives, C candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from paragon.adapters import mixtures
from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask, held_out_losses
from paragon.adapters.rotation import AdapterMap

RIDGE = 0.01  # of the mean variance, what least squares adds to each
GRID = 21  # weights at which moved adapters are tried on validation users
GAINS = (1.0, 1.25, 1.5)  # how much stronger each may be made


def with_means(way: AdapterMap, old: Tensor, new: Tensor) -> AdapterMap:
    """Set the offset so that the mean states of the same histories agree.

    States ``old [N, d]`` and ``new [N, e]``, of any users: no target is used.
    """
    return dataclasses.replace(way, offset=old.double().mean(0) - new.double().mean(0) @ way.read)


def least_squares(way: AdapterMap, old: Tensor, new: Tensor) -> AdapterMap:
    """Map the states of the same histories, ``old [N, d]`` and ``new [N, e]``, onto each other.

    One linear map for each direction, not orthogonal; fit and shared items stay as they are.
    """
    old, new = old.double(), new.double()
    read = _ridge(new - new.mean(0), old - old.mean(0))  # [e, d]
    write = _ridge(old - old.mean(0), new - new.mean(0))  # [d, e]
    return with_means(dataclasses.replace(way, read=read, write=write), old, new)


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    gram = x.T @ x
    strength = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + strength, x.T @ y)


def candidates(way: AdapterMap, old: Collection) -> Tensor:
    """Move adapters of one start to choose from, ``[C, Q]``: at ``GRID`` weights, every gain."""
    given = torch.cat([old.anchors, old.oracles]).double().numpy()  # [A, 2]
    vectors = torch.cat([old.anchor_vectors[0], old.oracle_vectors[0]])  # [A, P]
    first = np.linspace(0, 1, GRID)
    grid = np.stack([first, 1 - first], 1)  # [GRID, 2]
    mix = mixtures.in_log_ratios(mixtures.interpolation)(given, grid)  # [GRID, A]
    dense = torch.from_numpy(mix).float() @ vectors  # [GRID, P]
    return torch.cat([way.vectors(dense, old.form, gain) for gain in GAINS])


def calibrate(
    valid: FrozenTask, moved: Tensor, weights: Tensor, objectives: Sequence[str]
) -> Tensor:
    """For each of the ``weights [W, O]`` the best of ``moved [C, Q]`` on validation users."""
    losses = held_out_losses(valid, moved, objectives).cpu()  # [C, O]
    return moved[(losses @ weights.T).argmin(0)]  # [C, W] -> [W, Q]


def corrected(moved: Tensor, weights: Tensor, anchors: Tensor, differences: Tensor) -> Tensor:
    """Correct adapters ``[W, Q]`` at ``weights [W, O]`` by a few that were tuned further.

    ``differences [K, Q]``: what tuning changed at the weights ``anchors [K, O]``; between them it
    is interpolated in log-ratios, beyond them it stays as it is at the nearest.
    """
    mix = mixtures.in_log_ratios(mixtures.interpolation)
    coefficients = mix(anchors.double().numpy(), weights.double().numpy())  # [W, K]
    return moved + torch.from_numpy(coefficients).float() @ differences
