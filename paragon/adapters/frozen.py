"""Cached states of a frozen backbone, and the losses of many adapters on them at once.

Shapes: N events, B in a batch, L items that are searched, A adapters, P parameters, O objectives,
d item vector, M categories, z cached state, n items. Seeds may lead.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from paragon.adapters.adapter import Adapter, AdapterForm, adapt, item_table
from paragon.backbones.base import Backbone
from paragon.data.sequences import Met, Sequences
from paragon.objectives.kernels import Retrieval, matmul
from paragon.objectives.losses import divergence
from paragon.objectives.table import (
    OBJECTIVES,
    Catalogue,
    Diverge,
    Reference,
    Scored,
    check_served,
    fewest_unmet,
    history_shares,
    served,
)
from paragon.params import AdapterSettings

# Items of the lists, their scores, and a function from a reference to divergences.
Searched = tuple[Tensor, Tensor, Diverge]


@dataclass(frozen=True)
class FrozenEvents:
    """Cached states and item features of a frozen backbone, for tuning and evaluation."""

    backbone: Backbone
    form: AdapterForm
    states: Tensor  # [N, z]
    targets: Tensor  # [N]
    groups: Tensor  # [N]
    history: Tensor  # [N, M], shares of the categories in what the user has met
    items: Tensor  # [n + 1, d + M], `adapter.item_table`
    catalogue: Catalogue
    met: Met  # the items that are not served, by event
    served: int  # length of a served list
    searched: int  # L; items below the list, which could enter it, give a gradient, too

    def losses(self, vectors: Tensor, rows: Tensor, objectives: Sequence[str]) -> Tensor:
        """Compute mean losses ``[..., A, O]`` of vectors ``[..., A, P]`` on events ``[..., B]``."""
        lists, diverge = self.search(vectors, rows)
        return lists.losses(objectives, self.groups[rows], diverge)

    def search(self, vectors: Tensor, rows: Tensor) -> tuple[Scored, Diverge]:
        """Search the catalogue for events ``rows [..., B]`` under vectors ``[..., A, P]``.

        Return the lists of the L best unmet items of each event with their scores
        ``[..., A, B, L]``, and a function from a reference to divergences ``[..., A, B]``.
        """
        met = self.met[rows.reshape(-1)].mask().view(*rows.shape, -1)  # [..., B, n + 1]
        search = self._search_states if self.backbone.is_dot_product else self._search_pairs
        items, scores, diverge = search(vectors, rows, met)
        history = self.history[rows].unsqueeze(-3)  # [..., 1, B, M]
        return Scored(scores, self.catalogue.lists(items, history, self.served)), diverge

    def _search_states(self, vectors: Tensor, rows: Tensor, met: Tensor) -> Searched:
        """Search with one adapted state for all items: a score is a dot product."""
        states = self.states[rows]  # [..., B, z]
        adapted = self.adapted(states.unsqueeze(-3), vectors)  # [..., A, B, d + M]
        log_sum, lists = Retrieval.apply(adapted, self.items, met, self.searched)
        of_lists = F.embedding(lists, self.items)  # [..., A, B, L, d + M]
        scores = (of_lists @ adapted.unsqueeze(-1)).squeeze(-1)  # [..., A, B, L]

        def diverge(reference: Reference) -> Tensor:
            p = self.reference(reference, rows).unsqueeze(-3)  # [..., 1, B, n]
            # With scores z_i = adapted . [e_i, g_i]:
            # sum_i p_i z_i = adapted . sum_i p_i [e_i, g_i]
            expected = (adapted * matmul(p, self.items[1:])).sum(-1)  # [..., A, B]
            return log_sum - expected - torch.special.entr(p).sum(-1)

        return lists, scores, diverge

    def _search_pairs(self, vectors: Tensor, rows: Tensor, met: Tensor) -> Searched:
        """Search with an adapted state for each pair of event and item, as DeepFM has."""
        states = self.states[rows]  # [..., B, z]
        every = torch.arange(len(self.items), device=rows.device)  # [n + 1]

        def adapter(hidden: Tensor) -> Tensor:  # [..., B, n + 1, d]
            pairs = self.adapted(hidden.flatten(-3, -2).unsqueeze(-3), vectors)
            return pairs.unflatten(-2, hidden.shape[-3:-1])  # [..., A, B, n + 1, d + M]

        of_all = self.backbone.score(states, every, adapter, self.items)  # [..., A, B, n + 1]
        lists = served(of_all.detach(), met.unsqueeze(-3), self.searched)  # [..., A, B, L]
        scores = of_all.gather(-1, lists)  # [..., A, B, L]

        def diverge(reference: Reference) -> Tensor:
            p = self.reference(reference, rows).unsqueeze(-3)  # [..., 1, B, n]
            return divergence(of_all[..., 1:], p)  # [..., A, B]

        return lists, scores, diverge

    def adapted(self, states: Tensor, vectors: Tensor) -> Tensor:
        """Adapt states ``[..., 1, B, d]`` by vectors ``[..., A, P]``: ``[..., A, B, d + M]``."""
        return adapt(states, vectors, self.form)

    @torch.no_grad()
    def reference(self, name: Reference, rows: Tensor) -> Tensor:
        """Return the backbone's probabilities, or 1 for the `next item`: ``[..., B, n]``."""
        if name == "next item":
            return F.one_hot(self.targets[rows] - 1, len(self.items) - 1).to(self.states.dtype)
        everything = torch.arange(1, len(self.items), device=rows.device)
        return self.backbone.score(self.states[rows], everything).softmax(-1)

    @torch.no_grad()
    def catalogue_scores(self, vector: Tensor, rows: slice = slice(None)) -> Tensor:
        """Score all items under one adapter ``vector [P]``: ``[N, n + 1]``."""
        return torch.cat(list(self.catalogue_blocks(vector, rows)))

    @torch.no_grad()
    def catalogue_blocks(self, vector: Tensor, rows: slice = slice(None)) -> Iterator[Tensor]:
        """Yield the rows of :meth:`catalogue_scores` in blocks ``[R, n + 1]``."""
        adapter = Adapter.from_vector(vector, self.form).to(self.states.device)
        yield from self.backbone.catalogue_blocks(self.states[rows], adapter, self.items)


def adapter_form(backbone: Backbone, data: Sequences, settings: AdapterSettings) -> AdapterForm:
    """Return the sizes of the adapters that ``settings`` asks for."""
    categories = data.categories.shape[1] if settings.item_side else 0
    return AdapterForm(backbone.dim, settings.width, categories)


def frozen_events(
    backbone: Backbone,
    sequences: Sequences,
    events: str,
    settings: AdapterSettings,
    states: Tensor | None = None,
) -> FrozenEvents:
    """Cache the states and item features of ``train``, ``valid`` or ``test`` events.

    At most ``settings.events`` training events are used, spread evenly. Up to
    ``settings.searched`` items are searched for each, and ``settings.served`` for held-out events.
    ``states [N, z]`` are computed if None. Raise ``ParagonError`` if a user has too few unmet
    items.
    """
    device = backbone.device
    form = adapter_form(backbone, sequences, settings)
    if events == "train":
        users, positions = sequences.train_events()
        if settings.events is not None and settings.events < len(users):
            rows = np.arange(settings.events) * len(users) // settings.events  # [N]
            users, positions = users[rows], positions[rows]
        # A row for each user: as in serving, all that the user met.
        met = sequences.met_in_training()
        of_events = torch.from_numpy(users)  # [N]
    else:
        evaluation = sequences.evaluation(events)
        users, positions = evaluation.users, evaluation.positions
        met = sequences.met_before(evaluation)
        of_events = torch.arange(len(users))  # [N]
    check_served(met, settings.served)
    searched = settings.served
    if events == "train":
        searched = fewest_unmet(met, most=max(settings.searched, searched))
    history = history_shares(met, sequences.categories)[of_events]  # [N, M]
    if states is None:
        states = backbone.states_before(sequences, users, positions)  # [N, z]
    catalogue = Catalogue.of(sequences, settings.served, device)
    return FrozenEvents(
        backbone=backbone,
        form=form,
        states=states.to(device),
        targets=torch.from_numpy(sequences.targets(users, positions)).to(device),
        groups=torch.from_numpy(sequences.groups[users]).to(device),
        history=history.float().to(device),
        items=item_table(backbone.item_vectors().detach(), catalogue.categories, form),
        catalogue=catalogue,
        met=met[of_events].to(device),  # N rows
        served=settings.served,
        searched=searched,
    )


@torch.no_grad()
def held_out_losses(held_out: FrozenEvents, vectors: Tensor, objectives: Sequence[str]) -> Tensor:
    """Compute losses ``[..., A, O]`` of adapters ``[..., A, P]`` on all held-out events.

    Held-out lists have a sharp end after ``served`` items, those of tuning a soft one. The events
    are searched in blocks. Most losses are means over events, so over blocks, too; one that
    compares groups of users needs the divergences of all events first.
    """
    sums: dict[str, Tensor | int] = {}  # of losses over events, [..., A] each
    divergences: dict[str, list[Tensor]] = {}  # by block, [..., A, B] each
    # A backbone with a state for each pair of event and item holds d numbers for each: fewer rows.
    scores_per_event = vectors[..., 0].numel() * len(held_out.items)
    chunk = held_out.backbone.rows_at_a_time(128, scores_per_event)
    for rows in torch.arange(len(held_out.states), device=held_out.states.device).split(chunk):
        lists, diverge = held_out.search(vectors, rows)
        for name in objectives:
            objective = OBJECTIVES[name]
            if objective.by_group:
                assert objective.reference is not None
                divergences.setdefault(name, []).append(diverge(objective.reference))
            else:
                loss = lists.losses([name], held_out.groups[rows], diverge)[..., 0]  # [..., A]
                sums[name] = sums.get(name, 0) + loss * len(rows)

    means: list[Tensor] = []  # [..., A] each
    for name in objectives:
        if name in divergences:
            of_all = torch.cat(divergences[name], -1)  # [..., A, N]
            means.append(OBJECTIVES[name].loss(of_all, held_out.groups))
        else:
            means.append(torch.as_tensor(sums[name] / len(held_out.states)))
    return torch.stack(means, -1)


def best_of(
    valid: FrozenEvents, vectors: Tensor, names: Sequence[str]
) -> Callable[[Tensor], Tensor]:
    """Return a function that takes the best of ``vectors [A, P]`` for each of ``weights [W, O]``.

    The best has the smallest task loss on validation events.
    """
    losses = held_out_losses(valid, vectors.to(valid.states.device), names).cpu()  # [A, O]

    def best(weights: Tensor) -> Tensor:
        task_losses = losses @ weights.T  # [A, W]
        return vectors[task_losses.argmin(0)]  # [W, P]

    return best
