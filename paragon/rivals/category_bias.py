"""The rival `category_bias`: one number for each category and weight vector, for all users.

The score is ``s . e_i + g_i . u(w)``; an adapter adds control that depends on the user.
Shapes: S seeds, W weights, M categories, N events, B in a batch, C candidates, L items served.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from paragon import params
from paragon.adapters.collection import tune
from paragon.adapters.frozen import CELLS, FrozenTask
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.objectives.table import Scored, served
from paragon.objectives.weights import simplex_lattice


class BiasTask(FrozenTask):
    """Score with the frozen backbone and a bias ``u [..., W, M]`` instead of adapters."""

    def scores(self, vectors: Tensor, rows: Tensor, candidates: Tensor) -> Tensor:
        """Score candidates ``[..., B, C]`` under each bias: ``[..., B, W, C]``."""
        with torch.no_grad():
            plain = self.backbone.score(self.states[rows], candidates)  # [..., B, C]
        categories = self.catalogue.categories[candidates]  # [..., B, C, M]
        return plain.unsqueeze(-2) + vectors.unsqueeze(-3) @ categories.mT

    def serve(self, vectors: Tensor, rows: Tensor) -> Scored:
        """Serve lists ``[..., W, B, 1, L]`` to the events ``rows [..., B]``."""
        table = self.catalogue.categories  # [n + 1, M]
        with torch.no_grad():
            plain = self.backbone.score_catalogue(self.states[rows].flatten(0, -2))
            plain = plain.view(*rows.shape, -1).unsqueeze(-3)  # [..., 1, B, n + 1]
            met = self.met[rows.reshape(-1)].mask().view_as(plain)
            few = max(1, CELLS // plain.numel())  # weights at a time
            parts = vectors.split(few, -2)  # of [..., few, M]
            gains = ((part @ table.T).unsqueeze(-2) for part in parts)  # [..., few, 1, n + 1]
            best = torch.cat([served(plain + g, met, self.served) for g in gains], -3)
        plain = plain.expand(*best.shape[:-1], -1).gather(-1, best)  # [..., W, B, L]
        scores = plain + (table[best] @ vectors[..., None, :, None]).squeeze(-1)
        lists = self.catalogue.lists(best, self.groups[rows].unsqueeze(-2))
        return Scored(scores.unsqueeze(-2), lists)


def tune_category_bias(
    train: FrozenTask,
    sequences: Sequences,
    settings: params.AdapterSettings,
    seeds: Sequence[int],
) -> Tensor:
    """Tune a bias for each evaluation weight and seed on training events, ``[S, W, M]``."""
    # So few parameters need a larger rate to converge.
    change = {"learning_rate": 10 * settings.learning_rate, "checks": 1, "snapshots": 0}
    settings, task = settings.model_copy(update=change), BiasTask(**vars(train))
    weights = simplex_lattice(len(settings.objectives), settings.oracles).to(task.states.device)
    count = task.catalogue.categories.shape[1]
    start = torch.zeros(len(seeds), len(weights), count, device=weights.device)  # [S, W, M]
    sampler = NegativeSampler(sequences)
    return tune(task, None, sampler, weights, start, settings, seeds).vectors.cpu()


def biased_scores(scores: np.ndarray, categories: np.ndarray, bias: Tensor) -> np.ndarray:
    """Add ``bias [M]`` of the ``categories [n + 1, M]`` to catalogue scores ``[N, n + 1]``."""
    return scores + (categories @ bias.numpy()).astype(scores.dtype)  # [N, n + 1] + [n + 1]
