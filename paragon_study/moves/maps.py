"""Alternatives to the rotation, and two ways to improve moved adapters: selection and correction.

Shapes: d numbers of an old state, e of a new one, P and Q parameters of an old and a new adapter, N
histories, W weight vectors, O objectives, C candidates.
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

RIDGE = 0.01  # ridge penalty, relative to the mean variance
GRID = 21  # number of weights at which candidates are made
GAINS = (1.0, 1.25, 1.5)  # factors on the strength of a candidate


def with_means(way: AdapterMap, old: Tensor, new: Tensor) -> AdapterMap:
    """Set the offset so that the mean states ``old [N, d]`` and ``new [N, e]`` agree."""
    return dataclasses.replace(way, offset=old.double().mean(0) - new.double().mean(0) @ way.read)


def least_squares(way: AdapterMap, old: Tensor, new: Tensor) -> AdapterMap:
    """Fit linear maps between states ``old [N, d]`` and ``new [N, e]`` of the same histories."""
    old, new = old.double(), new.double()
    read = _ridge(new - new.mean(0), old - old.mean(0))  # [e, d]
    write = _ridge(old - old.mean(0), new - new.mean(0))  # [d, e]
    return with_means(dataclasses.replace(way, read=read, write=write), old, new)


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    gram = x.T @ x
    strength = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + strength, x.T @ y)


def candidates(way: AdapterMap, old: Collection) -> Tensor:
    """Move candidates ``[C, Q]`` for selection: adapters at ``GRID`` weights with each gain."""
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
    """Select for each of ``weights [W, O]`` the best of ``moved [C, Q]`` on validation users."""
    losses = held_out_losses(valid, moved, objectives).cpu()  # [C, O]
    return moved[(losses @ weights.T).argmin(0)]  # [C, W] -> [W, Q]


def corrected(moved: Tensor, weights: Tensor, anchors: Tensor, differences: Tensor) -> Tensor:
    """Correct adapters ``[W, Q]`` at ``weights [W, O]`` by a few that were tuned further.

    Their changes ``differences [K, Q]`` at ``anchors [K, O]`` are interpolated in log-ratios.
    """
    mix = mixtures.in_log_ratios(mixtures.interpolation)
    coefficients = mix(anchors.double().numpy(), weights.double().numpy())  # [W, K]
    return moved + torch.from_numpy(coefficients).float() @ differences
