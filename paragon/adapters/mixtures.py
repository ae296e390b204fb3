"""What generation is compared with: other ways from preference weights to an adapter.

The simple rivals are linear in the collected vectors.  Each is a function

    method(anchor_weights [A, O], weights [W, O]) -> coefficients [W, A]

and its adapters are ``coefficients @ anchor_vectors``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator, RBFInterpolator
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.objectives.weights import LOG_OFFSET

Coefficients = Callable[[np.ndarray, np.ndarray], np.ndarray]


def nearest(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The anchor closest to the weights; of two equally close ones the first."""
    distance = np.linalg.norm(weights[:, None] - anchors, axis=-1).round(9)
    return np.eye(len(anchors))[distance.argmin(1)]


def averaged(method: Coefficients) -> Coefficients:
    """The same method on the means of anchors that have the same weights."""

    @functools.wraps(method)
    def on_means(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
        distinct, which, count = np.unique(anchors, axis=0, return_inverse=True, return_counts=True)
        which = which.ravel()
        return method(distinct, weights)[:, which] / count[which]

    return on_means


@averaged
def interpolation(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Piecewise linear between the anchors: on segments, or on triangles of the simplex.

    Weights outside the region that the anchors span take the nearest anchor.
    """
    identity = np.eye(len(anchors))
    if anchors.shape[1] == 2:
        order = np.argsort(anchors[:, 0])
        columns = [np.interp(weights[:, 0], anchors[order, 0], row[order]) for row in identity]
        return np.stack(columns, 1)
    inside = LinearNDInterpolator(anchors[:, :-1], identity)(weights[:, :-1])
    outside = np.isnan(inside).any(1, keepdims=True)
    return np.where(outside, nearest(anchors, weights), inside)


@averaged
def rbf(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Thin-plate spline through the anchors: smooth, exact at each of them, not confined
    to what lies between them (Duchon 1977)."""
    spline = RBFInterpolator(anchors[:, :-1], np.eye(len(anchors)), kernel="thin_plate_spline")
    return spline(weights[:, :-1])


def ridge(
    anchors: np.ndarray, weights: np.ndarray, degree: int = 3, strength: float = 1e-4
) -> np.ndarray:
    """Polynomial regression with a penalty on all coefficients but the constant."""
    powers = [
        p
        for total in range(1, degree + 1)
        for p in combinations_with_replacement(range(anchors.shape[1] - 1), total)
    ]

    def terms(points: np.ndarray) -> np.ndarray:
        return np.column_stack([points[:, list(power)].prod(1) for power in powers])

    known, wanted = terms(anchors), terms(weights)
    mean = known.mean(0)
    gram = (known - mean).T @ (known - mean) + strength * np.eye(len(powers))
    slope = np.linalg.solve(gram, (known - mean).T)
    return 1 / len(anchors) + (wanted - mean) @ slope


def log_ratios(weights: np.ndarray) -> np.ndarray:
    """``log w_o / w_O``, ``[W, O]``, the last column 0 (additive log-ratios, Aitchison 1982).

    Beside a corner of the simplex the best adapter follows the order of magnitude of the
    vanishing weight, not the weight; the generator's condition has logarithms, too
    (`generator.denoiser.WeightEmbedding`).
    """
    logarithms = np.log(weights + LOG_OFFSET)
    return logarithms - logarithms[:, -1:]


def in_log_ratios(method: Coefficients) -> Coefficients:
    """The same method with log-ratios as the coordinates of the weights."""

    @functools.wraps(method)
    def transformed(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return method(log_ratios(anchors), log_ratios(weights))

    return transformed


def soup(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average of the extreme models, one an objective, in proportion to the weights.

    "Rewarded soups" (Ramé et al., NeurIPS 2023).
    """
    return weights @ np.eye(len(anchors))[anchors.argmax(0)]


def constant(anchors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Always the anchor nearest to equal weights: shows which metrics can be gamed."""
    return nearest(anchors, np.full_like(weights, 1 / weights.shape[1]))


LINEAR: dict[str, Coefficients] = {
    "interpolation": interpolation,
    "rbf": rbf,
    "ridge": ridge,
    "interpolation_log": in_log_ratios(interpolation),
    "rbf_log": in_log_ratios(rbf),
    "ridge_log": in_log_ratios(ridge),
    "nearest": nearest,
    "soup": soup,
    "constant": constant,
}


# What follows the weights between the anchors: not `constant`, and not the two ends alone.
MIXTURES = tuple(name for name in LINEAR if name not in ("soup", "constant"))


def mixed(collection: Collection, method: str, seed_index: int, weights: Tensor) -> Tensor:
    """The vectors ``[W, P]`` of a method that is linear in the anchors, at weights ``[W, O]``."""
    mix = LINEAR[method](collection.anchors.double().numpy(), weights.double().numpy())
    return torch.from_numpy(mix).float() @ collection.anchor_vectors[seed_index]
