"""Test whether generated adapters are more than noisy copies (Zeng et al. 2025, arXiv 2506.07998).

Shapes: W weight vectors, O objectives, A anchors, N collected vectors, P parameters.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.generator.diffusion import standard_normal

ANCHORS = "anchor to another anchor"


def distances(collection: Collection, seed_index: int, generated: Tensor) -> dict[str, Tensor]:
    """Compute L2 distances to the nearest collected vector of one seed, at unseen weights."""
    collected, weights = collection.training_set(seed_index)  # [N, P], [N, O]
    anchors, own = collection.anchors, collection.anchor_vectors[seed_index]  # [A, O], [A, P]
    unseen = (collection.oracles[:, None] != anchors).any(-1).all(1)  # [W]
    others = (anchors[:, None] != weights).any(-1)  # [A, N]
    between = [to_nearest(own[[a]], collected[other]) for a, other in enumerate(others)]
    return {
        "generated": to_nearest(generated[unseen], collected),
        "tuned": to_nearest(collection.oracle_vectors[seed_index][unseen], collected),
        ANCHORS: torch.cat(between),
    }


def to_nearest(vectors: Tensor, collected: Tensor) -> Tensor:
    """Compute the L2 distance ``[W]`` of ``vectors [W, P]`` to the nearest ``collected [N, P]``."""
    # Not torch.cdist: the last digit of its roots depends on the processor.
    squares = (vectors.double()[:, None] - collected.double()).square().sum(-1)  # [W, N]
    return torch.from_numpy(np.sqrt(squares.amin(1).numpy()))


def average(collection: Collection, seed_index: int, weights: Tensor) -> Tensor:
    """Return the mean of all anchors, ``[W, P]``, for any weights ``[W, O]``."""
    return collection.anchor_vectors[seed_index].mean(0).expand(len(weights), -1)


def gaussian(collection: Collection, seed_index: int, weights: Tensor) -> Tensor:
    """Sample ``[W, P]`` from a Gaussian: mean linear in the weights, covariance of residuals."""
    vectors, collected_weights = (part.double() for part in collection.training_set(seed_index))

    def terms(w: Tensor) -> Tensor:
        ones = torch.ones(len(w), 1, dtype=torch.float64)
        return torch.cat([ones, w[:, :-1].double()], 1)  # [W, O]; the last weight follows

    slope = torch.linalg.lstsq(terms(collected_weights), vectors).solution  # [O, P]
    residuals = vectors - terms(collected_weights) @ slope  # [N, P]
    rng = np.random.default_rng([seed_index, 6])
    draw = torch.from_numpy(rng.standard_normal((len(weights), len(residuals))))  # [W, N]
    return (terms(weights) @ slope + draw @ residuals / len(residuals) ** 0.5).float()  # [W, P]


def noisy(vectors: Tensor, distance: Tensor, rng: np.random.Generator) -> Tensor:
    """Move each of ``vectors [W, P]`` by its ``distance [W]`` in a random direction."""
    noise = standard_normal(vectors.shape, rng)  # [W, P]
    return vectors + distance.float().unsqueeze(1) * noise / noise.norm(dim=1, keepdim=True)


def verdict(distances: Mapping[str, Tensor], regret: Mapping[str, float]) -> str:
    """Say whether generated vectors are copies; ``regret`` is in percent, by method."""
    near = [distances[k].quantile(0.5).item() for k in ("generated", "tuned", ANCHORS)]
    others = {method: value for method, value in regret.items() if method != "generated"}
    best = min(others, key=others.__getitem__)
    return (
        f"{'Close to copies' if near[0] < 0.5 * near[1] else 'Not copies'}. "
        f"Median distance to the nearest collected vector: generated {near[0]:.2f},\n"
        f"tuned {near[1]:.2f}, an {ANCHORS} {near[2]:.2f}.\n"
        f"{'Better' if regret['generated'] < others[best] else 'No better'} than what needs no "
        f"learning: regret {regret['generated']:.1f} %,\n"
        f"the best of the others {others[best]:.1f} % ({best})."
    )
