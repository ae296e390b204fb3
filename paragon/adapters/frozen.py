"""A frozen backbone as tuning sees it: cached states, and losses of many adapters at once.

In this file: why tuning an adapter costs so little.  The backbone never changes, so the states
of all events are computed once and kept.  From a state to the losses there are only an adapter and
a product with item vectors, and these are computed for all adapters together.

Shapes: N events, B of them in a batch, C candidates of a list, A adapters (tasks), P parameters of
an adapter, O objectives, d numbers of an item vector, z numbers of a cached state (z = d for most
backbones), n items.  Where tuning has a dimension for seeds, it comes first.
"""

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
from paragon.errors import ParagonError
from paragon.objectives.lists import Catalogue
from paragon.objectives.table import objective_losses


@dataclass(frozen=True)
class FrozenTask:
    """All that tuning needs of a frozen backbone: cached states and candidate features.

    ``states [N, z]``, ``users [N]``, ``targets [N]`` and ``groups [N]`` belong to the events;
    ``items [n + 1, d]`` are the item vectors.  ``candidates [N, C]`` are the stored lists
    (target first) of validation or test events; ``None`` for training events, for which
    :meth:`draw` draws new negatives in every step.
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
        """The loss of every objective ``[..., A, O]``, as the mean over events ``rows [..., B]``.

        Of adapters ``vectors [..., A, P]`` on lists ``candidates [..., B, C]``.
        """
        scores = self.scores(vectors, rows, candidates)  # [..., B, A, C]
        lists = self.catalogue.lists(candidates, self.groups[rows])
        return objective_losses(objectives, scores, lists)  # [..., A, O]

    def scores(self, vectors: Tensor, rows: Tensor, candidates: Tensor) -> Tensor:
        """Scores ``[..., B, A, C]`` of candidates ``[..., B, C]`` under vectors ``[..., A, P]``."""
        hidden, offset = self.backbone.expand(self.states[rows], candidates)
        items = self.items[candidates]  # [..., B, C, d]
        if hidden.shape[-2] == 1:  # hidden [..., B, 1, d]: one state for all candidates
            adapted = adapt(hidden.squeeze(-2), vectors)  # [..., A, B, d]
            scores = adapted.transpose(-2, -3) @ items.mT  # [..., B, A, C]
        else:  # hidden [..., B, C, d]: one representation for each candidate
            adapted = adapt(hidden.flatten(-3, -2), vectors)  # [..., A, B * C, d]
            adapted = adapted.unflatten(-2, hidden.shape[-3:-1])  # [..., A, B, C, d]
            scores = (adapted * items.unsqueeze(-4)).sum(-1).transpose(-2, -3)  # [..., B, A, C]
        if isinstance(offset, Tensor):
            offset = offset.unsqueeze(-2)  # [..., B, 1, C]
        return scores + offset  # [..., B, A, C]

    @torch.no_grad()
    def catalogue_scores(self, vector: Tensor, rows: slice = slice(None)) -> Tensor:
        """Scores ``[N, n + 1]`` of the whole catalogue under one adapter ``vector [P]``."""
        adapter = Adapter.from_vector(vector, self.backbone.dim).to(self.states.device)
        return self.backbone.score_catalogue(self.states[rows], adapter)

    def draw(
        self, sampler: NegativeSampler, batch: int, negatives: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Random events ``[batch]`` and candidates ``[batch, 1 + negatives]``, target first."""
        rows = rng.integers(len(self.states), size=batch)  # [B]
        drawn = sampler.draw(self.users[rows], negatives, rng)  # [B, C - 1]
        candidates = np.column_stack([self.targets[rows], drawn])  # [B, C]
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

    ``length``: the number of candidates kept of the stored lists of validation and test events,
    the target and the first ``length - 1`` negatives.  As long as the lists of training, they
    have losses that can be compared with those of training.  ``most``: at most this number of
    training events is used, spread evenly over users and time.  ``states [N, z]``: the states
    of these events, if they are known already.
    """
    if events == "train":
        users, positions = sequences.train_events()
        if most is not None and most < len(users):
            rows = np.arange(most) * len(users) // most  # [N]
            users, positions = users[rows], positions[rows]
        candidates = None
    else:
        evaluation = sequences.evaluation(events)
        users, positions = evaluation.users, evaluation.positions
        candidates = torch.from_numpy(evaluation.candidates[:, :length])  # [N, C]
    items = backbone.item_vectors().detach()  # [n + 1, d]
    if states is None:
        context = context_of(sequences, users, positions, backbone.history, items.device)
        states = cached_states(backbone, context)  # [N, z]
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
    """Losses ``[..., A, O]`` of adapters ``[..., A, P]`` on all events of validation or test.

    They are not weighted; the events are taken in chunks to save memory.
    Raises ``ParagonError`` for a task of training events.
    """
    if task.candidates is None:
        raise ParagonError("the task has no stored lists: give one of validation or test events")
    total: Tensor | int = 0
    for rows in torch.arange(len(task.states), device=task.states.device).split(chunk):
        candidates = task.candidates[rows]  # [B, C]
        losses = task.losses(vectors, rows, candidates, objectives)  # [..., A, O]
        total = total + losses * len(rows)
    return torch.as_tensor(total / len(task.states))
