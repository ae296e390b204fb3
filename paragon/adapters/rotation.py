"""Move adapters to a retrained recommender by a rotation, instead of tuning them again.

Shapes: n items, d numbers of an old state, e of a new one, P and Q parameters of adapters.
``docs/serving.md`` says when it is refused.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.adapter import AdapterForm
from paragon.errors import ParagonError

LEAST_FIT = 0.1  # of the variance of held-out item vectors; unrelated tables have less


class ItemTable(NamedTuple):
    """Items of a recommender, to fit a map to."""

    ids: Sequence[str]  # [n]
    vectors: Tensor  # [n + 1, d], row 0 is padding
    popularity: np.ndarray  # [n + 1], events


@dataclass(frozen=True)
class AdapterMap:
    """A linear map of adapters between two recommenders."""

    read: Tensor  # [e, d], from new states to old coordinates
    write: Tensor  # [d, e], from a change of old states to one of new states
    fit: float  # explained share of the variance of held-out item vectors
    shared: int  # common items

    def vectors(self, vectors: Tensor, form: AdapterForm) -> Tensor:
        """Move adapters ``[..., P]`` of a ``form``: ``[..., Q]``."""
        needed = len(self.write)
        if form.dim != needed:
            reason = f"this map is for states with {needed}; they belong to another recommender"
            raise ParagonError(f"adapters of states with {form.dim} numbers: {reason}")
        w1, b1, w2, b2, v, u = form.unflatten(vectors.double())
        parts = (
            (w1 @ self.read.T).flatten(-2),  # [..., h e]
            b1,
            (self.write.T @ w2).flatten(-2),  # [..., e h]
            b2 @ self.write,
            (v @ self.read.T).flatten(-2),  # [..., M e]
            u,
        )
        return torch.cat(parts, -1).float()

    def form(self, form: AdapterForm) -> AdapterForm:
        """Return the form of the moved adapters."""
        return dataclasses.replace(form, dim=self.write.shape[1])


def fit_rotation(old: ItemTable, new: ItemTable) -> AdapterMap:
    """Fit a rotation and a scale on the items that both recommenders know.

    Scores s . e_i do not change when states and item vectors are rotated together, so each training
    ends in other coordinates. The orthogonal R that brings the old item vectors e_i closest to the
    new ones f_i moves adapters from old to new states (Schönemann, Psychometrika 1966)::

        R = argmin sum_i c_i ||e_i R - f_i||^2 = U V^T,      sum_i c_i e_i f_i^T = U S V^T

    c_i is the root of the number of events of the item. Both tables are centred first, since a
    vector common to all items adds the same to all scores. If new item vectors are k times as
    long, new states are 1 / k times as long. Raise ``ParagonError`` for too few common items,
    item vectors that are all alike or not finite, and a bad fit.
    """
    first, second = shared_items(old.ids, new.ids)
    needed = 2 * max(old.vectors.shape[1], new.vectors.shape[1])
    if len(first) < needed:
        reason = f"to move adapters {needed} are needed, two for each number of a state"
        raise ParagonError(f"the recommenders have {len(first)} items in common; {reason}")
    events = old.popularity[first] + new.popularity[second]  # [n]
    weights = torch.from_numpy(np.sqrt(events))  # [n], float64
    tables = []
    for name, table, rows in (("old", old, first), ("new", new, second)):
        vectors = table.vectors.detach().cpu().double()
        if not vectors[1:].std(0).max() > 1e-9 * vectors.abs().max():  # also refuses NaN
            raise ParagonError(f"item vectors of the {name} recommender: not finite, or all alike")
        tables.append(_centred(vectors[rows], weights))
    a, b = tables  # [n, d], [n, e]
    half = torch.arange(len(a)) % 2 == 0
    trial = procrustes(a[half], b[half], weights[half])  # [d, e]
    fit = explained(a[~half] @ trial, b[~half], weights[~half])
    if not fit >= LEAST_FIT:
        reason = f"fitted to half of {len(first)} items, a map explains {fit:.0%} of the other half"
        advice = f"{LEAST_FIT:.0%} are needed; tune adapters on the new recommender"
        raise ParagonError(f"the item vectors have too little in common: {reason}, {advice}")
    rotation = procrustes(a, b, weights)  # [d, e]
    lengths = [(weights.unsqueeze(1) * table**2).sum() for table in (a @ rotation, b)]
    scale = math.sqrt(lengths[1] / lengths[0])  # k; for states 1 / k
    return AdapterMap(scale * rotation.T, rotation / scale, fit, len(first))


def procrustes(old: Tensor, new: Tensor, weights: Tensor) -> Tensor:
    """Return the orthogonal map ``[d, e]`` of ``old [n, d]`` to ``new [n, e]``, rows weighted."""
    u, _, vh = torch.linalg.svd((old * weights.unsqueeze(1)).T @ new, full_matrices=False)
    return u @ vh


def shared_items(old: Sequence[str], new: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the row numbers of the common items in both tables, whose row 0 is padding."""
    rows = {name: row for row, name in enumerate(new, start=1)}
    pairs = [(row, rows[name]) for row, name in enumerate(old, start=1) if name in rows]
    first, second = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    return first, second


def explained(guess: Tensor, truth: Tensor, weights: Tensor) -> float:
    """Compute R^2 of ``guess [n, d]`` for ``truth [n, d]`` after the best shift and scale."""
    w = weights.unsqueeze(1)  # [n, 1]
    guess = _centred(guess, weights)
    truth = _centred(truth, weights)
    size = (w * guess**2).sum()
    scale = (w * guess * truth).sum() / size if size > 0 else 0.0
    rest = (w * (truth - scale * guess) ** 2).sum() / (w * truth**2).sum()
    return float(1 - rest)


def _centred(vectors: Tensor, weights: Tensor) -> Tensor:
    """Subtract the weighted mean of the rows ``[n, d]``."""
    return vectors - (weights.unsqueeze(1) * vectors).sum(0) / weights.sum()
