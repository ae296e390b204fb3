"""Measure how far generated adapters are from tuned ones (Zeng et al. 2025, arXiv 2506.07998).

Shapes: W weight vectors, O objectives, A anchors, N collected vectors, P parameters.
"""

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.collection import Collection


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
        "anchor to another anchor": torch.cat(between),
    }


def to_nearest(vectors: Tensor, collected: Tensor) -> Tensor:
    """Compute the L2 distance ``[W]`` of ``vectors [W, P]`` to the nearest ``collected [N, P]``."""
    # Not torch.cdist: the last digit of its roots depends on the processor.
    squares = (vectors.double()[:, None] - collected.double()).square().sum(-1)  # [W, N]
    return torch.from_numpy(np.sqrt(squares.amin(1).numpy()))
