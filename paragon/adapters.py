"""Adapters, tuned together: many preference weights (and seeds) in one computation.

An adapter is a residual bottleneck on the frozen backbone's user state,

    s' = s + W2 relu(W1 s + b1) + b2,      W1 in R^{h x d},

1,096 numbers at d = 64, h = 8.  Its parameters live as one flat vector
``[W1, b1, W2, b2]``: the form in which a diffusion model can learn them.

The backbone never changes, so its states are computed once and cached; what is
left of an adapter's training is small enough to run all tasks of all seeds as
one batched computation (:func:`tune`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.backbones.base import Backbone, cached_states, context_of
from paragon.errors import ParagonError
from paragon.negatives import NegativeSampler
from paragon.objectives import Catalogue, check_objectives, objective_losses
from paragon.preferences import simplex_lattice, simplex_weights
from paragon.progress import progress
from paragon.sequences import Sequences
from paragon.storage import check_match, load_tensors, save_tensors

if TYPE_CHECKING:
    from paragon.study import Study


def vector_size(dim: int, width: int) -> int:
    """Length of the parameter vector of an adapter of bottleneck ``width``."""
    return 2 * dim * width + width + dim


def unflatten(vectors: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Views ``W1 [..., h, d], b1 [..., h], W2 [..., d, h], b2 [..., d]`` of ``[..., P]``."""
    width, rest = divmod(vectors.shape[-1] - dim, 2 * dim + 1)
    if rest or width < 1:
        raise ParagonError(
            f"adapter vector: {vectors.shape[-1]} numbers found; with states of {dim} numbers and "
            f"a bottleneck of width h there are {dim} + {2 * dim + 1} h"
        )
    w1, b1, w2, b2 = vectors.split([width * dim, width, dim * width, dim], -1)
    return w1.unflatten(-1, (width, dim)), b1, w2.unflatten(-1, (dim, width)), b2


def adapt(states: Tensor, vectors: Tensor) -> Tensor:
    """Adapted states ``[..., A, B, d]`` of states ``[..., B, d]`` under vectors ``[..., A, P]``."""
    w1, b1, w2, b2 = unflatten(vectors, states.shape[-1])
    states = states.unsqueeze(-3)
    hidden = torch.relu(states @ w1.mT + b1.unsqueeze(-2))
    return states + hidden @ w2.mT + b2.unsqueeze(-2)


def initial_vector(dim: int, width: int, generator: torch.Generator) -> Tensor:
    """A random start ``[P]``: W1 as in ``nn.Linear``, all else zero, so that s' = s."""
    vector = torch.zeros(vector_size(dim, width))
    bound = 1 / math.sqrt(dim)
    vector[: width * dim].uniform_(-bound, bound, generator=generator)
    return vector


def shared_starts(dim: int, width: int, tasks: int, seeds: Sequence[int]) -> Tensor:
    """A random start a seed, the same for each of its tasks, ``[S, A, P]``.

    That is what makes the end points of a seed comparable.
    """
    vectors = [initial_vector(dim, width, torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(vectors).unsqueeze(1).repeat(1, tasks, 1)


class Adapter(nn.Module):
    """One adapter as a module, to install behind a backbone and to check the vector form."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(dim, width), nn.Linear(width, dim)

    @classmethod
    def from_vector(cls, vector: Tensor, dim: int) -> Adapter:
        """The module whose parameters are ``vector [P]``."""
        w1, b1, w2, b2 = unflatten(vector, dim)
        adapter = cls(dim, len(b1))
        with torch.no_grad():
            for parameter, value in zip(adapter.parameters(), (w1, b1, w2, b2), strict=True):
                parameter.copy_(value)
        return adapter

    def vector(self) -> Tensor:
        """The flat parameter vector ``[P]``."""
        return torch.cat([p.detach().flatten() for p in self.parameters()])

    def forward(self, states: Tensor) -> Tensor:
        """Adapted states, same shape as ``states [..., d]``."""
        return states + self.up(torch.relu(self.down(states)))


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


def training_states(study: Study) -> np.ndarray:
    """States ``[N, dim]`` of the training events that tuning sees, to be given to processes
    that train side by side: to compute them takes about as long as one such training."""
    sequences, own = study.load_sequences(), study.params.adapters
    backbone, _ = study.load_backbone(sequences)
    task = frozen_task(backbone, sequences, "train", 1 + own.negatives, own.events)
    return task.states.cpu().numpy()


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


@dataclass(frozen=True)
class Tuned:
    """Result of :func:`tune` for S seeds and A weights.

    ``vectors [S, A, P]``: where tuning ended; ``snapshots [S, A, K, P]``: the last
    checkpoints before it; ``validation [S, A, T]``: validation task loss at
    ``steps [T]``, the evidence of convergence.
    """

    vectors: Tensor
    snapshots: Tensor
    validation: Tensor
    steps: Tensor


def tune(
    train: FrozenTask,
    valid: FrozenTask,
    sampler: NegativeSampler,
    weights: Tensor,
    start: Tensor,
    settings: params.Adapters,
    seeds: Sequence[int],
) -> Tuned:
    """Tune S x A adapters jointly: weights ``[A, O]``, start ``[S, A, P]``.

    Every seed draws its own rows and negatives; within a seed all tasks see the
    same lists.  Each task's gradient reaches only its own vector and Adam works
    number by number, so the result is what tuning each task alone would give.
    The learning rate falls to zero along a cosine, and the end point is the
    result: picking the checkpoint with the lowest validation loss instead was
    measurably worse on test events, since it picks noise.
    """
    steps, checks, snapshots = settings.steps, settings.checks, settings.snapshots
    if snapshots >= checks:
        raise ParagonError(
            f"params.yaml: adapters.snapshots: {snapshots} have to be fewer than the "
            f"{checks} checks (adapters.checks), the last of which is the result"
        )
    objectives = settings.objectives
    vectors = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([vectors], lr=settings.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rngs = [np.random.default_rng([seed, 1]) for seed in seeds]
    checkpoints = np.unique(np.linspace(0, steps, checks + 1).round().astype(int))[1:]
    kept, history = [], []
    for step in progress(range(1, steps + 1), "steps"):
        drawn = [train.draw(sampler, settings.batch, settings.negatives, rng) for rng in rngs]
        rows, candidates = (torch.stack(part) for part in zip(*drawn, strict=True))
        losses = (train.losses(vectors, rows, candidates, objectives) * weights).sum(-1)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        schedule.step()
        if step in checkpoints:
            current = vectors.detach().clone()
            history.append((held_out_losses(valid, current, objectives) * weights).sum(-1))
            kept = [*kept, current][-snapshots - 1 :]
    return Tuned(
        kept[-1],
        torch.stack(kept, 2)[:, :, :-1],
        torch.stack(history, -1),
        torch.from_numpy(checkpoints),
    )


@dataclass(frozen=True)
class Collection:
    """Tuned adapters with their weights: what the generator learns from and is judged by.

    ``anchors [A, O]`` and ``oracles [W, O]`` are weights; ``anchor_vectors
    [S, A, P]``, ``oracle_vectors [S, W, P]`` where tuning ended; ``snapshots
    [S, A, K, P]`` the anchors' last checkpoints before that;
    ``validation [S, A + W, T]`` the validation task loss at ``steps [T]``.
    No generator or rival may see the oracles.
    """

    anchors: Tensor
    oracles: Tensor
    anchor_vectors: Tensor
    oracle_vectors: Tensor
    snapshots: Tensor
    validation: Tensor
    steps: Tensor
    description: dict

    def training_set(self, seed_index: int) -> tuple[Tensor, Tensor]:
        """All collected vectors ``[A * (K + 1), P]`` of one seed and their weights, row by row.

        ``seed_index`` is the seed's place in ``description["seeds"]``, not its value.
        """
        ends = self.anchor_vectors[seed_index].unsqueeze(1)
        vectors = torch.cat([self.snapshots[seed_index], ends], 1)
        return vectors.flatten(0, 1), self.anchors.repeat_interleave(vectors.shape[1], 0)


def collect(
    backbone: Backbone,
    sequences: Sequences,
    settings: params.Adapters,
    seeds: Sequence[int],
    description: dict | None = None,
) -> Collection:
    """Tune every anchor and every oracle for every seed, all in one computation.

    They begin at :func:`shared_starts`.
    """
    objectives = settings.objectives
    check_objectives(objectives, sequences)
    anchors = simplex_weights(settings.anchors, objectives)
    oracles = simplex_lattice(len(objectives), settings.oracles)
    train, valid = (
        frozen_task(backbone, sequences, events, 1 + settings.negatives, settings.events)
        for events in ("train", "valid")
    )
    weights = torch.cat([anchors, oracles]).to(train.states.device)
    starts = shared_starts(backbone.dim, settings.width, len(weights), seeds)
    tuned = tune(
        train,
        valid,
        NegativeSampler(sequences),
        weights,
        starts.to(weights.device),
        settings,
        seeds,
    )
    a = len(anchors)
    return Collection(
        anchors,
        oracles,
        tuned.vectors[:, :a].cpu(),
        tuned.vectors[:, a:].cpu(),
        tuned.snapshots[:, :a].cpu(),
        tuned.validation.cpu(),
        tuned.steps,
        {
            "objectives": objectives,
            "dim": backbone.dim,
            "width": settings.width,
            "negatives": settings.negatives,
            "seeds": list(seeds),
            **(description or {}),
        },
    )


_TENSORS = tuple(f.name for f in fields(Collection) if f.name != "description")


def save_collection(collection: Collection, stem: Path) -> None:
    """Write ``stem.safetensors`` and ``stem.json``."""
    tensors = {name: getattr(collection, name) for name in _TENSORS}
    save_tensors(stem, tensors, collection.description)


def load_collection(stem: Path, backbone: dict | None = None) -> Collection:
    """Read what :func:`save_collection` wrote, and check that its numbers are finite.

    ``backbone``: the description of the backbone that it has to belong to.
    """
    tensors, description = load_tensors(stem, "adapters")
    if backbone is not None:
        check_match({"backbone": backbone["sha256"]}, description, f"{stem}.json")
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ParagonError(f"{stem}.safetensors: `{name}` holds numbers that are not finite")
    return Collection(**tensors, description=description)
