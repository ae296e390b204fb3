"""The behavioural loss: what generated adapters do in the frozen recommender.

In this file: how the generator can learn from weights for which no adapter was ever tuned.  Its
predictions are decoded to adapters, put behind the frozen backbone and charged the task loss of
their weights.  The gradient goes through the recommender back into the generator.

Shapes: B weight vectors, O objectives, P parameters of an adapter, A anchors of a start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.collection import Collection
from paragon.adapters.frozen import FrozenTask
from paragon.adapters.mixtures import interpolation
from paragon.data.negatives import NegativeSampler


@dataclass(frozen=True)
class Behaviour:
    """What the behavioural loss needs, as two functions that draw from ``rng``.

    ``task_losses(vectors [B, P], rng) -> [B, O]``: the loss of every objective on a random
    mini-batch of training events.  ``reference(weights [B, O], rng) -> [B, P]``: a plausible
    vector for any weights; noise is added to it before the denoiser sees it.
    """

    task_losses: Callable[[Tensor, np.random.Generator], Tensor]
    reference: Callable[[Tensor, np.random.Generator], Tensor]

    def loss(self, vectors: Tensor, weights: Tensor, rng: np.random.Generator) -> Tensor:
        """The mean task loss of adapters ``vectors [B, P]`` under ``weights [B, O]``."""
        losses = self.task_losses(vectors, rng)  # [B, O]
        return (losses * weights).sum(-1).mean()  # []


def behaviour(
    train: FrozenTask, sampler: NegativeSampler, collection: Collection, seed: int, batch: int
) -> Behaviour:
    """The behavioural loss on ``batch`` training events; references are mixed from the anchors.

    Each reference is interpolated between the anchors around its weights.  If the collection is
    pooled from several starts, the anchors are those of one start, drawn at random.
    """
    description = collection.description
    starts, objectives = description.get("starts", 1), description["objectives"]
    of_one_start = collection.anchors[: len(collection.anchors) // starts]  # [A, O]
    anchors = of_one_start.double().numpy()
    vectors = collection.anchor_vectors[description["seeds"].index(seed)]  # [starts * A, P]
    vectors = vectors.unflatten(0, (starts, -1))  # [starts, A, P]

    def task_losses(decoded: Tensor, rng: np.random.Generator) -> Tensor:
        rows, candidates = train.draw(sampler, batch, description["settings"]["negatives"], rng)
        return train.losses(decoded, rows, candidates, objectives)  # [B, O]

    def reference(weights: Tensor, rng: np.random.Generator) -> Tensor:
        mix = torch.from_numpy(interpolation(anchors, weights.double().numpy())).float()  # [B, A]
        if starts == 1:
            return mix @ vectors[0]  # [B, P]
        chosen = vectors[torch.from_numpy(rng.integers(starts, size=len(weights)))]  # [B, A, P]
        return (mix.unsqueeze(1) @ chosen).squeeze(1)  # [B, P]

    return Behaviour(task_losses, reference)
