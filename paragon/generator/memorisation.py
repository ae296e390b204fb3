"""Are generated adapters more than copies with noise?

Zeng et al., "Generative Modeling of Weights: Generalization or Memorization?"
(arXiv 2506.07998), compare generated weights with what can be had without learning.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.collection import Collection


def distances(collection: Collection, index: int, generated: Tensor) -> dict[str, Tensor]:
    """L2 distances to the nearest collected vector of one seed.

    Of ``generated [W, P]`` and of the oracles at weights that no anchor has, and of each
    anchor to the nearest vector of *another* anchor.
    """
    collected, weights = collection.training_set(index)
    anchors = collection.anchors
    unseen = (collection.oracles[:, None] != anchors).any(-1).all(1)
    near = {"generated": generated, "tuned": collection.oracle_vectors[index]}
    near = {name: to_nearest(own[unseen], collected) for name, own in near.items()}
    others = ~(anchors[:, None] == weights).all(-1)
    apart = [
        to_nearest(vector[None], collected[other])
        for vector, other in zip(collection.anchor_vectors[index], others, strict=True)
    ]
    return {**near, "anchor to another anchor": torch.cat(apart)}


def to_nearest(vectors: Tensor, collected: Tensor) -> Tensor:
    """L2 distance of each of ``vectors [W, P]`` to the nearest of ``[N, P]``; float64 ``[W]``."""
    # Not torch.cdist, whose roots are estimated by the processor (paragon/portable.py).
    squares = (vectors.double()[:, None] - collected.double()).square().sum(-1)
    return torch.from_numpy(np.sqrt(squares.amin(1).numpy()))


def average(collection: Collection, index: int, weights: Tensor) -> Tensor:
    """The mean of all anchors, whatever the weights: ``[W, P]``."""
    return collection.anchor_vectors[index].mean(0).expand(len(weights), -1)


def gaussian(collection: Collection, index: int, weights: Tensor) -> Tensor:
    """A sample ``[W, P]`` of a Gaussian over vectors and weights, given the weights.

    Its mean is linear in the weights, its covariance that of what the line leaves over, in
    the span of the collection.
    """
    vectors, known = (part.double() for part in collection.training_set(index))

    def terms(w: Tensor) -> Tensor:
        return torch.cat([torch.ones(len(w), 1, dtype=torch.float64), w[:, :-1].double()], 1)

    slope = torch.linalg.lstsq(terms(known), vectors).solution
    rest = vectors - terms(known) @ slope
    rng = np.random.default_rng([index, 6])
    draw = torch.from_numpy(rng.standard_normal((len(weights), len(rest))))
    return (terms(weights) @ slope + draw @ rest / len(rest) ** 0.5).float()


def noisy(vectors: Tensor, distance: Tensor, rng: np.random.Generator) -> Tensor:
    """``vectors [W, P]``, each moved by its ``distance [W]`` in a random direction."""
    noise = torch.from_numpy(rng.standard_normal(vectors.shape, dtype=np.float32))
    return vectors + distance.float().unsqueeze(1) * noise / noise.norm(dim=1, keepdim=True)


def verdict(distances: Mapping[str, Tensor], regret: Mapping[str, float]) -> str:
    """What was found, in words.

    ``distances`` are those of :func:`distances`; ``regret`` in percent, of ``generated`` and
    of ways that need no learning, by name.
    """
    near = {name: own.median().item() for name, own in distances.items()}
    others = {name: value for name, value in regret.items() if name != "generated"}
    best = min(others, key=others.__getitem__)
    copies = near["generated"] < 0.5 * near["tuned"]
    better = regret["generated"] < others[best]
    return (
        f"{'Close to copies' if copies else 'Not copies'}: generated adapters at weights without "
        f"an anchor lie {near['generated']:.2f} from the nearest collected vector (median), the "
        f"oracles tuned for these weights {near['tuned']:.2f}, an anchor from the nearest other "
        f"anchor {near['anchor to another anchor']:.2f}.\n"
        f"{'Better' if better else 'No better'} than what needs no learning: regret "
        f"{regret['generated']:.1f} %, the best of the others {others[best]:.1f} % ({best})."
    )
