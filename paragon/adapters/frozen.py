"""A frozen backbone as tuning sees it: cached states, and losses of many adapters at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paragon.adapters.adapter import Adapter, adapt
from paragon.backbones.base import Backbone, cached_states, context_of
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.objectives.lists import Catalogue
from paragon.objectives.table import objective_losses


@dataclass(frozen=True)
class FrozenTask:
    """All that tuning needs of a frozen backbone: cached states and candidate features.

    ``states [N, S]``, ``users [N]``, ``targets [N]`` and ``groups [N]`` belong to events;
    ``items [n + 1, d]`` are the item vectors.  ``candidates [N, C]`` are the stored
    lists (target first) of validation or test events; ``None`` for training
    events, whose negatives are drawn anew in every step.
    """

    backbone: Backbone
    states: Tensor
    users: np.ndarray
    targets: np.ndarray
    groups: Tensor
    items: Tensor
    catalogue: Catalogue
    candidates: Tensor | None = None

    def losses(
        self, vectors: Tensor, rows: Tensor, candidates: Tensor, objectives: Sequence[str]
    ) -> Tensor:
        """Loss of every objective ``[..., A, O]``, the mean over rows ``[..., B]``."""
        scores = self.scores(vectors, rows, candidates)
        lists = self.catalogue.lists(candidates, self.groups[rows])
        return objective_losses(objectives, scores, lists)

    def scores(self, vectors: Tensor, rows: Tensor, candidates: Tensor) -> Tensor:
        """Scores ``[..., B, A, C]`` of candidates ``[..., B, C]`` under vectors ``[..., A, P]``."""
        hidden, offset = self.backbone.expand(self.states[rows], candidates)
        items = self.items[candidates]
        if hidden.shape[-2] == 1:  # one state for all candidates
            scores = adapt(hidden.squeeze(-2), vectors).transpose(-2, -3) @ items.mT
        else:
            adapted = adapt(hidden.flatten(-3, -2), vectors).unflatten(-2, hidden.shape[-3:-1])
            scores = (adapted * items.unsqueeze(-4)).sum(-1).transpose(-2, -3)
        return scores + (offset.unsqueeze(-2) if isinstance(offset, Tensor) else offset)

    @torch.no_grad()
    def catalogue_scores(self, vector: Tensor, rows: slice = slice(None)) -> Tensor:
        """Scores ``[N, n_items + 1]`` of the whole catalogue under the adapter ``vector [P]``."""
        adapter = Adapter.from_vector(vector, self.backbone.dim).to(self.states.device)
        return self.backbone.score_catalogue(self.states[rows], adapter)

    def draw(
        self, sampler: NegativeSampler, batch: int, negatives: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Random rows ``[batch]`` and candidates ``[batch, 1 + negatives]``, the target first."""
        rows = rng.integers(len(self.states), size=batch)
        drawn = sampler.draw(self.users[rows], negatives, rng)
        candidates = np.column_stack([self.targets[rows], drawn])
        device = self.states.device
        return torch.from_numpy(rows).to(device), torch.from_numpy(candidates).to(device)


def frozen_task(
    backbone: Backbone,
    sequences: Sequences,
    events: str,
    length: int,
    most: int | None = None,
    states: Tensor | None = None,
) -> FrozenTask:
    """Cache what tuning needs of ``train``, ``valid`` or ``test`` events.

    ``length`` is the number of candidates in the stored lists of validation and
    test events: the target and the first ``length - 1`` sampled negatives, so
    that the losses compare with those of training.  Of more than ``most``
    training events so many are taken, evenly spread over users and time.
    ``states [N, dim]``: those of these events, where they are known already.
    """
    if events == "train":
        users, positions = sequences.train_events()
        if most is not None and most < len(users):
            rows = np.arange(most) * len(users) // most
            users, positions = users[rows], positions[rows]
        candidates = None
    else:
        evaluation = sequences.evaluation(events)
        users, positions = evaluation.users, evaluation.positions
        candidates = torch.from_numpy(evaluation.candidates[:, :length])
    items = backbone.item_vectors().detach()
    if states is None:
        context = context_of(sequences, users, positions, backbone.history, items.device)
        states = cached_states(backbone, context)
    return FrozenTask(
        backbone=backbone,
        states=states.to(items.device),
        users=users,
        targets=sequences.targets(users, positions),
        groups=torch.from_numpy(sequences.groups[users]).to(items.device),
        items=items,
        catalogue=Catalogue.of(sequences).to(items.device),
        candidates=candidates if candidates is None else candidates.to(items.device),
    )


@torch.no_grad()
def held_out_losses(
    task: FrozenTask, vectors: Tensor, objectives: Sequence[str], chunk: int = 512
) -> Tensor:
    """Unweighted losses ``[..., A, O]`` of adapters ``[..., A, P]`` on a task with stored lists."""
    total = 0
    for rows in torch.arange(len(task.states), device=task.states.device).split(chunk):
        candidates = task.candidates[rows]
        total = total + task.losses(vectors, rows, candidates, objectives) * len(rows)
    return total / len(task.states)
