"""Simple rivals of the generator: adapters as linear mixtures of the anchors' adapters.

Methods map anchor weights ``[A, O]`` and weights ``[W, O]`` to coefficients ``[W, A]``; the
adapters ``[W, P]`` are ``coefficients @ anchor_vectors``.
"""

import functools
from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.errors import ParagonError
from paragon.objectives.weights import LOG_OFFSET

Coefficients = Callable[[np.ndarray, np.ndarray], np.ndarray]


def nearest(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Take the anchor closest to the weights, of several the first."""
    distance = np.linalg.norm(weights[:, None] - anchors, axis=-1).round(6)  # [W, A]
    return np.eye(len(anchors))[distance.argmin(1)]


def averaged(method: Coefficients) -> Coefficients:
    """Make a method average the anchors that coincide: those of the same weights."""

    @functools.wraps(method)
    def on_means(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
        distinct, which, count = np.unique(anchors, axis=0, return_inverse=True, return_counts=True)
        which = which.ravel()  # [A], the row of each anchor in `distinct`
        return method(distinct, weights)[:, which] / count[which]

    return on_means


@averaged
def interpolation(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Interpolate linearly on segments or triangles of anchors; outside, take the nearest one."""
    identity = np.eye(len(anchors))
    if anchors.shape[1] == 2:  # sorted by `averaged`
        return np.stack([np.interp(weights[:, 0], anchors[:, 0], row) for row in identity], 1)
    from scipy.interpolate import LinearNDInterpolator  # slow to import

    between = LinearNDInterpolator(anchors[:, :-1], identity)
    points = weights[:, :-1]  # [W, O - 1]
    middle = anchors[:, :-1].mean(0)  # [O - 1]
    mix = between(points)
    # Rounding can put weights on an edge just outside it: try a little inward.
    for other in (between(points + 1e-5 * (middle - points)), nearest(anchors, weights)):
        mix = np.where(np.isnan(mix).any(1, keepdims=True), other, mix)
    return mix


@averaged
def rbf(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fit a thin-plate spline through the anchors (Duchon 1977); it also extrapolates."""
    from scipy.interpolate import RBFInterpolator

    spline = RBFInterpolator(anchors[:, :-1], np.eye(len(anchors)), kernel="thin_plate_spline")
    return spline(weights[:, :-1])


def ridge(anchors: np.ndarray, weights: np.ndarray, strength: float = 1e-4) -> np.ndarray:
    """Fit a cubic regression with a penalty on all coefficients but the constant."""
    columns = range(anchors.shape[1] - 1)
    powers = [p for total in (1, 2, 3) for p in combinations_with_replacement(columns, total)]

    def terms(points: np.ndarray) -> np.ndarray:
        return np.column_stack([points[:, list(power)].prod(1) for power in powers])

    at_anchors = terms(anchors)  # [A, powers]
    at_weights = terms(weights)  # [W, powers]
    mean = at_anchors.mean(0)
    centred = at_anchors - mean
    gram = centred.T @ centred + strength * np.eye(len(powers))
    slope = np.linalg.solve(gram, centred.T)  # [powers, A]
    intercept = 1 / len(anchors)  # at the mean of the terms, the mean of all anchors
    return intercept + (at_weights - mean) @ slope


def in_log_ratios(method: Coefficients) -> Coefficients:
    """Make a method use ``log(w_o / w_O)``, in which corners are far away (Aitchison 1982)."""

    def log_ratios(weights: np.ndarray) -> np.ndarray:
        logarithms = np.log(weights + LOG_OFFSET)
        return logarithms - logarithms[:, -1:]

    @functools.wraps(method)
    def transformed(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return method(log_ratios(anchors), log_ratios(weights))

    return transformed


def soup(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mix the extreme anchors by the weights (rewarded soups, Ramé et al., NeurIPS 2023)."""
    extreme = anchors.argmax(0)  # [O], for each objective the anchor with most weight on it
    return weights @ np.eye(len(anchors))[extreme]


def constant(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Take the anchor nearest to equal weights for all weights.

    Nothing follows the weights, so no measure of control should reward it.
    """
    return nearest(anchors, np.full_like(weights, 1 / weights.shape[1]))


def mixed(collection: Collection, method: Coefficients, seed_index: int, weights: Tensor) -> Tensor:
    """Mix the anchors' vectors by ``method`` at weights ``[W, O]``: ``[W, P]``."""
    mix = method(collection.anchors.double().numpy(), weights.double().numpy())
    needed = (len(weights), len(collection.anchors))
    if mix.shape != needed:
        raise ParagonError(f"a mixture must return coefficients [W, A] = {needed}, not {mix.shape}")
    return torch.from_numpy(mix).float() @ collection.anchor_vectors[seed_index]
