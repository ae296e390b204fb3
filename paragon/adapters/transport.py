"""Adapters for a recommender that was trained anew: moved from the old one, not tuned again.

In this file: why linear algebra on two item tables is enough.  A score is a product s . e_i, and
it stays the same when states and item vectors are turned together, (s R) . (e_i R).  So training
leaves the coordinates open, and each training ends in its own.  What two trainings have in common
is what the products say.  If an orthogonal R brings the old item vectors close to the new ones,
then an adapter that reads and writes old states works on new ones after the same turn::

    R = argmin sum_i c_i ||e_i R - f_i||^2 = U V^T,      sum_i c_i e_i f_i^T = U S V^T

with e_i the old item vector, f_i the new one and c_i the root of the number of events of the item
(Schönemann, Psychometrika 1966; for word embeddings Smith et al., ICLR 2017).  Both are centred
first: a part that all items have in common adds the same to every score and changes no ranking.
If the new item vectors are k times as long, the new states are 1 / k times as long for the same
scores; an adapter reads and writes with this scale.

The map of an adapter is linear in its parameters, so a collection is moved number by number, and a
generator by its latent space.  docs/transport.md says when this works and when not.

Shapes: n items, d numbers of an old state, e of a new one, P and Q parameters of an old and a new
adapter, N histories, W weight vectors, O objectives, C candidates.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paragon.adapters import mixtures
from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask, held_out_losses
from paragon.errors import ParagonError

LEAST_FIT = 0.1  # of the variance of held-out item vectors; tables without a relation have less
_RIDGE = 0.01  # of the mean variance, what least squares adds to each
GRID = 21  # weights at which moved adapters are tried on validation users
GAINS = (1.0, 1.25, 1.5)  # how much stronger each may be made


@dataclass(frozen=True)
class ItemSpace:
    """What of a recommender decides where its adapters can go.

    ``ids [n]``; ``vectors [n + 1, d]``, row 0 is padding; ``popularity [n + 1]``: training events.
    """

    ids: Sequence[str]
    vectors: Tensor
    popularity: np.ndarray


@dataclass(frozen=True)
class Transport:
    """A map of adapters from an old recommender to a new one.

    What enters an adapter is brought to old coordinates, k s R^T + offset, what leaves it to new
    ones: ``read [e, d]``, ``offset [d]``, ``write [d, e]``.  ``fit``: the share of the variance of
    new item vectors that the map explains for items that it was not fitted to, at most 1;
    ``shared``: the number of common items.
    """

    read: Tensor
    offset: Tensor
    write: Tensor
    fit: float
    shared: int

    def vectors(self, vectors: Tensor, form: AdapterForm, gain: float = 1.0) -> Tensor:
        """Adapters ``[..., P]`` of a ``form`` for the new recommender, ``[..., Q]``.

        ``gain`` multiplies the second layer and the item side.  Raises ``ParagonError`` for
        adapters of another recommender's size.
        """
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

    def collection(self, collection: Collection, backbone: dict) -> Collection:
        """A collection for the new ``backbone`` of this description; the curves stay."""
        names = ("anchor_vectors", "oracle_vectors", "snapshots")
        old = collection.form
        moved = {name: self.vectors(getattr(collection, name), old) for name in names}
        about = collection.description | {
            "form": dataclasses.asdict(self.form(old)),
            "backbone": backbone["sha256"],
            "moved": self.description | {"from": collection.description.get("backbone")},
        }
        return dataclasses.replace(collection, **moved, description=about)

    @property
    def description(self) -> dict:
        """What is stored beside whatever was moved."""
        return {"fit": float(f"{self.fit:.6g}"), "shared": self.shared}


def procrustes(old: Tensor, new: Tensor, weights: Tensor) -> Tensor:
    """The orthogonal map ``[d, e]`` that brings rows ``old [n, d]`` closest to ``new [n, e]``.

    With ``weights [n]`` of the rows.  Where d and e differ, its shorter side is orthonormal.
    """
    u, _, vh = torch.linalg.svd((old * weights.unsqueeze(1)).T @ new, full_matrices=False)
    return u @ vh


def fit_transport(old: ItemSpace, new: ItemSpace) -> Transport:
    """The map between two recommenders, from the vectors of the items that both know.

    Raises ``ParagonError``, with the figure, for fewer than two common items for each number of
    a state, tables with numbers that are not finite or rows that are all alike, and a fit below
    ``LEAST_FIT``.
    """
    first, second = shared_items(old.ids, new.ids)
    needed = 2 * max(old.vectors.shape[1], new.vectors.shape[1])
    if len(first) < needed:
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
    return Transport(scale * rotation.T, offset, rotation / scale, fit, len(first))


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
    """Item vectors ``[n + 1, d]`` in double precision, if they say anything."""
    vectors = vectors.detach().cpu().double()
    if not torch.isfinite(vectors).all():
        rows = (~torch.isfinite(vectors)).any(1).nonzero().flatten()
        raise ParagonError(
            f"item vectors of the {which} recommender: {len(rows)} rows hold numbers that are not "
            f"finite, the first is row {int(rows[0])}"
        )
    if float(vectors[1:].std(0).max()) <= 1e-9 * float(vectors.abs().max()):
        raise ParagonError(
            f"item vectors of the {which} recommender: all {len(vectors) - 1} rows are alike"
        )
    return vectors


def with_means(transport: Transport, old: Tensor, new: Tensor) -> Transport:
    """The map with the offset that makes the mean states of the same N histories agree.

    States ``old [N, d]`` and ``new [N, e]``, of any users: no target is used.
    """
    offset = old.double().mean(0) - new.double().mean(0) @ transport.read  # [d]
    return dataclasses.replace(transport, offset=offset)


def least_squares(transport: Transport, old: Tensor, new: Tensor) -> Transport:
    """Linear maps between the states ``old [N, d]``, ``new [N, e]`` of the same histories.

    One for each direction, not orthogonal; fit and shared items stay as they are.
    """
    old, new = old.double(), new.double()
    read = _ridge(new - new.mean(0), old - old.mean(0))  # [e, d]
    write = _ridge(old - old.mean(0), new - new.mean(0))  # [d, e]
    return with_means(dataclasses.replace(transport, read=read, write=write), old, new)


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    gram = x.T @ x
    strength = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + strength, x.T @ y)


def candidates(way: Transport, old: Collection) -> Tensor:
    """Moved adapters ``[C, Q]`` to choose from, of one start: at ``GRID`` weights, every gain."""
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
    """For each of the ``weights [W, O]`` the best of ``moved [C, Q]``: adapters ``[W, Q]``.

    The one with the smallest task loss on validation users.  The larger a weight, the smaller is
    the loss of its objective in what is chosen, whatever there is to choose from.
    """
    losses = held_out_losses(valid, moved, objectives).cpu()  # [C, O]
    return moved[(losses @ weights.T).argmin(0)]  # [C, W] -> [W, Q]


def corrected(moved: Tensor, weights: Tensor, anchors: Tensor, differences: Tensor) -> Tensor:
    """Moved adapters ``[W, Q]`` at ``weights [W, O]``, corrected by a few that were tuned on.

    ``differences [K, Q]``: what tuning changed at the weights ``anchors [K, O]``; between them it
    is interpolated in log-ratios, beyond them it stays as it is at the nearest.
    """
    mix = mixtures.in_log_ratios(mixtures.interpolation)
    coefficients = mix(anchors.double().numpy(), weights.double().numpy())  # [W, K]
    return moved + torch.from_numpy(coefficients).float() @ differences
