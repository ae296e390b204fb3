"""The rival `category_bias`: one number for each category and preference weight, no adapter.

In this file: the simplest thing that could follow the weights.  Every item gets what its
categories are worth at these weights, the same for all users::

    score_i = s . e_i + g_i . u(w)

It is the constant part of an adapter's item side, tuned on the same lists by the same losses.
What an adapter adds to it is what is personal in the control.

Shapes: S seeds, W weights, O objectives, M categories, N events, B of them in a batch, C candidates
of a list, L items of a served list, n items.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from paragon import params
from paragon.adapters.frozen import CELLS, FrozenTask
from paragon.adapters.tuning import tune
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.objectives.lists import served
from paragon.objectives.table import Scored
from paragon.objectives.weights import simplex_lattice


class BiasTask(FrozenTask):
    """Scores of the frozen backbone with a bias ``u [..., W, M]`` in the place of adapters.

    The backbone's own scores are the same for all weights, and computed once for all of them.
    """

    def scores(self, vectors: Tensor, rows: Tensor, candidates: Tensor) -> Tensor:
        """Scores ``[..., B, W, C]`` of candidates ``[..., B, C]``."""
        with torch.no_grad():
            plain = self.backbone.score(self.states[rows], candidates)  # [..., B, C]
        categories = self.catalogue.categories[candidates]  # [..., B, C, M]
        return plain.unsqueeze(-2) + vectors.unsqueeze(-3) @ categories.mT

    def serve(self, vectors: Tensor, rows: Tensor) -> Scored:
        """The lists ``[..., W, B, 1, L]`` that are served to events ``rows [..., B]``."""
        table = self.catalogue.categories  # [n + 1, M]
        with torch.no_grad():
            plain = self.backbone.score_catalogue(self.states[rows].flatten(0, -2))
            plain = plain.view(*rows.shape, -1).unsqueeze(-3)  # [..., 1, B, n + 1]
            met = self.met[self.who[rows].reshape(-1)].mask().view_as(plain)
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
    """Tune a bias for every evaluation weight and seed on training events, ``[S, W, M]``.

    At ten times the learning rate of adapters: a few numbers do what there many do together, and
    with the same rate they do not get where they want to be.
    """
    change = {"learning_rate": 10 * settings.learning_rate, "checks": 1, "snapshots": 0}
    settings, task = settings.model_copy(update=change), BiasTask(**vars(train))
    weights = simplex_lattice(len(settings.objectives), settings.oracles).to(task.states.device)
    count = task.catalogue.categories.shape[1]
    start = torch.zeros(len(seeds), len(weights), count, device=weights.device)  # [S, W, M]
    sampler = NegativeSampler(sequences)
    return tune(task, None, sampler, weights, start, settings, seeds).vectors.cpu()


def biased_scores(scores: np.ndarray, categories: np.ndarray, bias: Tensor) -> np.ndarray:
    """Catalogue scores ``[N, n + 1]`` with what ``bias [M]`` gives to ``categories [n + 1, M]``."""
    return scores + (categories @ bias.numpy()).astype(scores.dtype)  # [N, n + 1] + [n + 1]
