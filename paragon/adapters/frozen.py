"""Cached states of a frozen backbone, and the losses of many adapters on them at once.

Shapes: N events, B in a batch, C candidates, L items of a served list, A adapters, P parameters, O
objectives, d item vector, M categories, z cached state, n items. Seeds may lead.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paragon import params
from paragon.adapters.adapter import Adapter, AdapterForm, adapt, item_table
from paragon.backbones.base import Backbone
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Met, Sequences
from paragon.objectives.table import Catalogue, Scored, check_served, objective_losses, served

# Scores computed at once for served lists: 16 MB. Larger blocks are slower.
CELLS = 4 << 20


@dataclass(frozen=True)
class FrozenTask:
    """Cached states and item features of a frozen backbone, for tuning and evaluation."""

    backbone: Backbone
    form: AdapterForm
    states: Tensor  # [N, z]
    users: np.ndarray  # [N]
    targets: np.ndarray  # [N]
    groups: Tensor  # [N]
    items: Tensor  # [n + 1, d + M], `adapter.item_table`
    catalogue: Catalogue
    met: Met  # the items that are not served, by event
    served: int  # L
    served_rows: int | None = None  # serve lists to the first events of a batch only
    candidates: Tensor | None = None  # stored lists [N, C], target first; None for training

    def losses(
        self, vectors: Tensor, rows: Tensor, candidates: Tensor, objectives: Sequence[str]
    ) -> Tensor:
        """Compute mean losses ``[..., A, O]`` on ``candidates [..., B, C]`` of events ``rows``."""
        lists = self.catalogue.lists(candidates, self.groups[rows])
        drawn = Scored(self.scores(vectors, rows, candidates), lists)
        few = rows[..., : self.served_rows]
        return objective_losses(objectives, drawn, lambda: self.serve(vectors, few))

    def scores(self, vectors: Tensor, rows: Tensor, candidates: Tensor) -> Tensor:
        """Score candidates ``[..., B, C]`` under vectors ``[..., A, P]``: ``[..., B, A, C]``."""
        return self._score(self.states[rows], candidates, vectors).transpose(-2, -3)

    def serve(self, vectors: Tensor, rows: Tensor) -> Scored:
        """Serve each of ``rows [..., B]`` its L best unmet items: scores ``[..., A, B, 1, L]``."""
        states = self.states[rows]  # [..., B, z]
        with torch.no_grad():
            items = torch.arange(len(self.items), device=rows.device)
            met = self.met[rows.reshape(-1)].mask().view(*rows.shape, -1)  # [..., B, n + 1]
            # Take a few adapters at a time, of all seeds.
            cells = vectors.shape[:-2].numel() * met.shape[-2:].numel()  # of one adapter
            parts = vectors.split(max(1, CELLS // cells), -2)
            scores = (self._score(states, items, part) for part in parts)
            best = [served(of_all, met.unsqueeze(-3), self.served) for of_all in scores]
            lists = torch.cat(best, -3)  # [..., A, B, L]
        # Score the served items again, with a gradient.
        states = states.unsqueeze(-3).expand(*lists.shape[:-1], -1)  # [..., A, B, z]
        again = self._score(states, lists, vectors).unsqueeze(-2)  # [..., A, B, 1, L]
        return Scored(again, self.catalogue.lists(lists, self.groups[rows].unsqueeze(-2)))

    def _score(self, states: Tensor, candidates: Tensor, vectors: Tensor) -> Tensor:
        """Score candidates ``[..., B, C]``, or one list per adapter: ``[..., A, B, C]``."""

        def adapter(hidden: Tensor) -> Tensor:  # [..., B, 1 or C, d] or [..., A, B, 1 or C, d]
            if candidates.ndim <= vectors.ndim:  # shared
                hidden = hidden.unsqueeze(-4)
            adapted = adapt(hidden.flatten(-3, -2), vectors, self.form)
            return adapted.unflatten(-2, hidden.shape[-3:-1])  # [..., A, B, 1 or C, d + M]

        return self.backbone.score(states, candidates, adapter, self.items)

    @torch.no_grad()
    def catalogue_scores(self, vector: Tensor, rows: slice = slice(None)) -> Tensor:
        """Score all items under one adapter ``vector [P]``: ``[N, n + 1]``."""
        return torch.cat(list(self.catalogue_blocks(vector, rows)))

    @torch.no_grad()
    def catalogue_blocks(self, vector: Tensor, rows: slice = slice(None)) -> Iterator[Tensor]:
        """Yield the rows of :meth:`catalogue_scores` in blocks ``[R, n + 1]``."""
        adapter = Adapter.from_vector(vector, self.form).to(self.states.device)
        yield from self.backbone.catalogue_blocks(self.states[rows], adapter, self.items)

    def draw(
        self, sampler: NegativeSampler, batch: int, negatives: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw random events ``[B]`` and candidates ``[B, 1 + negatives]``, target first."""
        rows = rng.integers(len(self.states), size=batch)  # [B]
        drawn = sampler.draw(self.users[rows], negatives, rng)  # [B, C - 1]
        candidates = np.column_stack([self.targets[rows], drawn])  # [B, C]
        device = self.states.device
        return torch.from_numpy(rows).to(device), torch.from_numpy(candidates).to(device)


def adapter_form(
    backbone: Backbone, sequences: Sequences, settings: params.AdapterSettings
) -> AdapterForm:
    """Return the sizes of the adapters that ``settings`` asks for."""
    categories = sequences.categories.shape[1] if settings.item_side else 0
    return AdapterForm(backbone.dim, settings.width, categories)


def frozen_task(
    backbone: Backbone,
    sequences: Sequences,
    events: str,
    settings: params.AdapterSettings,
    states: Tensor | None = None,
) -> FrozenTask:
    """Cache the states and item features of ``train``, ``valid`` or ``test`` events.

    Stored lists are cut to the length of training lists. At most ``settings.events`` training
    events are used, spread evenly. ``states [N, z]`` are computed if None. Raise ``ParagonError``
    if a user has too few unmet items.
    """
    device, form = backbone.device, adapter_form(backbone, sequences, settings)
    stored = None
    if events == "train":
        users, positions = sequences.train_events()
        if settings.events is not None and settings.events < len(users):
            rows = np.arange(settings.events) * len(users) // settings.events  # [N]
            users, positions = users[rows], positions[rows]
        met = sequences.met_in_training()  # U rows: as in serving, all that the user met
        check_served(met, settings.served)
        met = met[torch.from_numpy(users)]  # N rows
    else:
        evaluation = sequences.evaluation(events)
        users, positions = evaluation.users, evaluation.positions
        stored = torch.from_numpy(evaluation.candidates[:, : 1 + settings.negatives]).to(device)
        met = sequences.met_before(evaluation)  # N rows
        check_served(met, settings.served)
    if states is None:
        states = backbone.states_before(sequences, users, positions)  # [N, z]
    catalogue = Catalogue.of(sequences, max(settings.served, 1 + settings.negatives), device)
    return FrozenTask(
        backbone=backbone,
        form=form,
        states=states.to(device),
        users=users,
        targets=sequences.targets(users, positions),
        groups=torch.from_numpy(sequences.groups[users]).to(device),
        items=item_table(backbone.item_vectors().detach(), catalogue.categories, form),
        catalogue=catalogue,
        met=met.to(device),
        served=settings.served,
        served_rows=settings.served_rows if events == "train" else None,
        candidates=stored,
    )


@torch.no_grad()
def held_out_losses(task: FrozenTask, vectors: Tensor, objectives: Sequence[str]) -> Tensor:
    """Compute losses ``[..., A, O]`` of adapters ``[..., A, P]`` on all held-out events."""
    assert task.candidates is not None
    total: Tensor | int = 0
    # A backbone with a representation of each pair needs d times the memory.
    pairs = vectors[..., 0].numel() * len(task.items)
    chunk = task.backbone.rows_at_a_time(128, pairs)
    for rows in torch.arange(len(task.states), device=task.states.device).split(chunk):
        losses = task.losses(vectors, rows, task.candidates[rows], objectives)  # [..., A, O]
        total = total + losses * len(rows)
    return torch.as_tensor(total / len(task.states))
