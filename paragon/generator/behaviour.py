"""The behavioural loss: what generated adapters do to the frozen recommender."""

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
    """The behavioural loss: what decoded vectors do to the frozen recommender.

    ``task_losses(vectors [B, P], rng) -> [B, O]`` are the objectives' losses on a
    random mini-batch of training events; ``reference(weights [B, O], rng) -> [B, P]``
    gives a plausible vector for any weights, which is noised to serve as the
    denoiser's input.
    """

    task_losses: Callable[[Tensor, np.random.Generator], Tensor]
    reference: Callable[[Tensor, np.random.Generator], Tensor]


def behaviour(
    train: FrozenTask, sampler: NegativeSampler, collection: Collection, seed: int, batch: int
) -> Behaviour:
    """The behavioural loss on training events, its references interpolated between anchors.

    Of a collection pooled from several starts each reference is of one start, drawn at random.
    """
    about = collection.description
    starts = about.get("starts", 1)
    anchors = collection.anchors[: len(collection.anchors) // starts].double().numpy()
    vectors = collection.anchor_vectors[about["seeds"].index(seed)].unflatten(0, (starts, -1))

    def task_losses(decoded: Tensor, rng: np.random.Generator) -> Tensor:
        rows, candidates = train.draw(sampler, batch, about["negatives"], rng)
        return train.losses(decoded, rows, candidates, about["objectives"])

    def reference(weights: Tensor, rng: np.random.Generator) -> Tensor:
        mix = torch.from_numpy(interpolation(anchors, weights.double().numpy())).float()
        if starts == 1:
            return mix @ vectors[0]
        chosen = vectors[torch.from_numpy(rng.integers(starts, size=len(weights)))]
        return (mix.unsqueeze(1) @ chosen).squeeze(1)

    return Behaviour(task_losses, reference)
