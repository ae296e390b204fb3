"""Adapters for a recommender that was trained anew: rotated into its coordinates, not tuned again.

A score is a product s . e_i and stays the same when states and item vectors are rotated together,
(s R) . (e_i R).  So each training ends in coordinates of its own.  If an orthogonal R brings the
old item vectors e_i close to the new ones f_i, an adapter of old states works on new ones after the
same rotation (Schönemann, Psychometrika 1966)::

    R = argmin sum_i c_i ||e_i R - f_i||^2 = U V^T,      sum_i c_i e_i f_i^T = U S V^T

with c_i the root of the number of events of the item.  Both tables are centred first: what all
items have in common adds the same to every score.  Where new item vectors are k times as long, new
states are 1 / k times as long for the same scores.  moves/README.md says when this works.

Shapes: n items, d numbers of an old state, e of a new one, P and Q parameters of adapters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.adapter import AdapterForm
from paragon.errors import ParagonError

LEAST_FIT = 0.1  # of the variance of held-out item vectors; tables without a relation have less


@dataclass(frozen=True)
class ItemTable:
    """``ids [n]``; ``vectors [n + 1, d]``, row 0 is padding; ``popularity [n + 1]``: events."""

    ids: Sequence[str]
    vectors: Tensor
    popularity: np.ndarray


@dataclass(frozen=True)
class AdapterMap:
    """A linear map of adapters: ``read`` and ``offset`` bring new states to old coordinates,
    ``write`` brings what an adapter adds back.  ``fit``: the share of the variance of new item
    vectors that is explained where the map was not fitted; ``shared``: how many items are common.
    """

    read: Tensor  # [e, d]
    offset: Tensor  # [d]
    write: Tensor  # [d, e]
    fit: float
    shared: int

    def vectors(self, vectors: Tensor, form: AdapterForm, gain: float = 1.0) -> Tensor:
        """Move adapters ``[..., P]`` of a ``form``: ``[..., Q]``, their effect times ``gain``."""
        if form.dim != len(self.write):
            raise ParagonError(
                f"adapters of states with {form.dim} numbers cannot move from a recommender with "
                f"{len(self.write)}; they belong to another one"
            )
        w1, b1, w2, b2, v, u = form.unflatten(vectors.double())
        parts = (
            (w1 @ self.read.T).flatten(-2),  # [..., h e]
            b1 + w1 @ self.offset,
            gain * (self.write.T @ w2).flatten(-2),  # [..., e h]
            gain * b2 @ self.write,
            gain * (v @ self.read.T).flatten(-2),  # [..., M e]
            gain * (u + v @ self.offset),
        )
        return torch.cat(parts, -1).float()

    def form(self, form: AdapterForm) -> AdapterForm:
        """The form that adapters of a ``form`` have afterwards."""
        return dataclasses.replace(form, dim=self.write.shape[1])

    @property
    def description(self) -> dict:
        """How well the two recommenders fit, to be stored beside what was moved."""
        return {"fit": float(f"{self.fit:.6g}"), "shared": self.shared}


def fit_rotation(old: ItemTable, new: ItemTable) -> AdapterMap:
    """Rotate and scale by the vectors of the items that both recommenders know.

    Raises ``ParagonError`` for too few common items, tables that say nothing, and a bad fit.
    """
    first, second = shared_items(old.ids, new.ids)
    if len(first) < (needed := 2 * max(old.vectors.shape[1], new.vectors.shape[1])):
        raise ParagonError(
            f"the recommenders have {len(first)} items in common; to move adapters {needed} are "
            "needed, two for each number of a state"
        )
    a, b = _checked(old.vectors, "old")[first], _checked(new.vectors, "new")[second]
    events = old.popularity[first] + new.popularity[second]  # [n]
    weights = torch.from_numpy(np.sqrt(events))  # [n], float64
    a, b = _centred(a, weights), _centred(b, weights)
    half = torch.arange(len(a)) % 2 == 0
    trial = procrustes(a[half], b[half], weights[half])  # [d, e]
    fit = explained(a[~half] @ trial, b[~half], weights[~half])
    if not fit >= LEAST_FIT:
        raise ParagonError(
            f"the item vectors of the two recommenders have too little in common: a map fitted to "
            f"one half of their {len(first)} common items explains {fit:.0%} of the other half, "
            f"{LEAST_FIT:.0%} are needed; tune adapters on the new recommender"
        )
    rotation = procrustes(a, b, weights)  # [d, e]
    lengths = [(weights.unsqueeze(1) * table**2).sum() for table in (a @ rotation, b)]
    scale = math.sqrt(lengths[1] / lengths[0])  # k; of states it is the inverse
    offset = torch.zeros(len(rotation)).double()
    return AdapterMap(scale * rotation.T, offset, rotation / scale, fit, len(first))


def procrustes(old: Tensor, new: Tensor, weights: Tensor) -> Tensor:
    """The orthogonal map ``[d, e]`` that brings rows ``old [n, d]`` closest to ``new [n, e]``.

    With ``weights [n]`` of the rows.  Where d and e differ, its shorter side is orthonormal.
    """
    u, _, vh = torch.linalg.svd((old * weights.unsqueeze(1)).T @ new, full_matrices=False)
    return u @ vh


def shared_items(old: Sequence[str], new: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Row numbers, in tables whose row 0 is padding, of the items that both lists of ids have."""
    rows = {name: row for row, name in enumerate(new, start=1)}
    pairs = [(row, rows[name]) for row, name in enumerate(old, start=1) if name in rows]
    first, second = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    return first, second


def explained(guess: Tensor, truth: Tensor, weights: Tensor) -> float:
    """R^2 of ``guess [n, d]`` for ``truth [n, d]``, best shift and scale first; weighted rows."""
    w, guess, truth = weights.unsqueeze(1), _centred(guess, weights), _centred(truth, weights)
    size = (w * guess**2).sum()
    scale = (w * guess * truth).sum() / size if size > 0 else 0.0
    rest = (w * (truth - scale * guess) ** 2).sum() / (w * truth**2).sum()
    return float(1 - rest)


def _centred(vectors: Tensor, weights: Tensor) -> Tensor:
    """Rows ``[n, d]`` minus their mean, in which they have ``weights [n]``."""
    return vectors - (weights.unsqueeze(1) * vectors).sum(0) / weights.sum()


def _checked(vectors: Tensor, which: str) -> Tensor:
    """Item vectors ``[n + 1, d]`` in double precision, if they are finite and not all alike."""
    vectors = vectors.detach().cpu().double()
    if not vectors[1:].std(0).max() > 1e-9 * vectors.abs().max():  # nor where one is NaN
        raise ParagonError(f"item vectors of the {which} recommender: not finite, or all alike")
    return vectors
