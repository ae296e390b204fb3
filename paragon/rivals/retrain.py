"""The rival `retrain`: train backbone and adapter from scratch for one weight vector.

Shapes: N events, B with a served list, C candidates, L items of a served list, n items, R weight
vectors, O objectives, z numbers of a state.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.adapters.adapter import Adapter, initial_vector, item_table
from paragon.adapters.frozen import adapter_form
from paragon.backbones import build
from paragon.backbones.base import Backbone
from paragon.backbones.training import Checkpoint, Fitted, Training
from paragon.data.sequences import Evaluation, Met, Sequences
from paragon.objectives.table import Catalogue, Scored, objective_losses, served
from paragon.objectives.weights import simplex_weights
from paragon.storage import loading


class Retrained(nn.Module):
    """A backbone and an adapter that were trained together for one weight vector."""

    def __init__(self, backbone: Backbone, adapter: Adapter) -> None:
        super().__init__()
        self.backbone, self.adapter = backbone, adapter

    @torch.no_grad()
    def scores(self, sequences: Sequences, evaluation: Evaluation) -> Tensor:
        """Score the whole catalogue, ``[N, n + 1]``."""
        events = evaluation.users, evaluation.positions
        states = self.backbone.states_before(sequences, *events)  # [N, z]
        categories = torch.from_numpy(sequences.categories).float().to(self.backbone.device)
        table = item_table(self.backbone.item_vectors(), categories, self.adapter.form)
        return self.backbone.score_catalogue(states, self.adapter, table)


class Retraining(Training):
    """Train a backbone and an adapter on a weighted sum of objectives."""

    def __init__(
        self,
        backbone: Backbone,
        adapter: Adapter,
        sequences: Sequences,
        settings: params.Params,
        weights: Tensor,
    ) -> None:
        limits = {"epochs": settings.rivals.epochs, "patience": settings.rivals.patience}
        super().__init__(backbone, sequences, settings.backbones.model_copy(update=limits), adapter)
        self.adapter, self.lists = adapter, settings.adapters
        # Skip objectives of weight 0, which would only cost time.
        named = zip(self.lists.objectives, weights.tolist(), strict=True)
        wanted = {name: w for name, w in named if w != 0}
        self.objectives = list(wanted)
        self.weights = torch.tensor(list(wanted.values()), device=self.device)  # [O]
        longest = max(self.lists.served, 1 + self.lists.negatives)
        self.catalogue = Catalogue.of(sequences, longest, self.device)
        self.groups = torch.from_numpy(sequences.groups).to(self.device)  # [users]
        self.met = sequences.met_in_training().to(self.device)  # users rows

    def task_loss(
        self, states: Tensor, users: Tensor, candidates: Tensor, to: Tensor, met: Met
    ) -> Tensor:
        """Return the weighted loss of states ``[N, z]``; lists are served ``to`` events ``[B]``."""
        backbone, adapter = self.backbone, self.adapter

        def table() -> Tensor:
            return item_table(backbone.item_vectors(), self.catalogue.categories, adapter.form)

        def serve() -> Scored:
            few, parts, end = states[to], [], 0  # [B, z]
            with torch.no_grad():
                for block in backbone.catalogue_blocks(few, adapter, table()):
                    start, end = end, end + len(block)
                    parts.append(served(block, met[start:end].mask(), self.lists.served))
            best = torch.cat(parts)  # [B, L]
            scores = backbone.score(few, best, adapter, table())  # [B, L]
            lists = self.catalogue.lists(best.unsqueeze(0), self.groups[users[to]])
            return Scored(scores[None, :, None], lists)  # [1, B, 1, L]

        scores = backbone.score(states, candidates, adapter, table())  # [N, C]
        lists = self.catalogue.lists(candidates, self.groups[users])
        losses = objective_losses(self.objectives, Scored(scores.unsqueeze(-2), lists), serve)
        return losses[0] @ self.weights  # [1, O] -> []

    def loss(
        self, states: Tensor, users: np.ndarray, targets: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """Return the task loss of training events with newly drawn negatives."""
        drawn = np.column_stack([targets, self.sampler.draw(users, self.lists.negatives, rng)])
        candidates = torch.from_numpy(drawn).to(self.device)  # [N, C]
        index = torch.from_numpy(users).to(self.device)  # [N]
        step = max(1, self.lists.batch // self.lists.served_rows)
        to = torch.arange(0, len(users), step, device=self.device)  # [B]
        return self.task_loss(states, index, candidates, to, self.met[index[to]])

    @torch.no_grad()
    def validate(self) -> float:
        """Return the task loss on validation events."""
        self.model.eval()
        valid = self.sequences.valid
        states = self.backbone.states_before(self.sequences, valid.users, valid.positions)  # [N, z]
        candidates = torch.from_numpy(valid.candidates[:, : 1 + self.lists.negatives])  # [N, C]
        met = self.sequences.met_before(valid).to(self.device)  # N rows
        to = torch.arange(len(states), device=self.device)
        users = torch.from_numpy(valid.users).to(self.device)  # [N]
        return self.task_loss(states, users, candidates.to(self.device), to, met).item()


def retrain(
    name: str,
    sequences: Sequences,
    settings: params.Params,
    weights: Tensor,
    seed: int,
    device: str | torch.device = "cpu",
    checkpoint: Path | None = None,
) -> tuple[Retrained, Fitted]:
    """Train backbone and adapter from scratch on the task loss of ``weights [O]``."""
    backbone = build(name, sequences, settings.backbones, seed).to(device)
    form = adapter_form(backbone, sequences, settings.adapters)
    start = initial_vector(form, seed)
    adapter = Adapter.from_vector(start, form).to(device)
    training = Retraining(backbone, adapter, sequences, settings, weights)
    origin = {"backbone": name, "data": sequences.description}
    state = Checkpoint(checkpoint, {**origin, **retrain_origin(settings, weights, seed)})
    return Retrained(backbone, adapter), training.fit(seed, state)


def retrain_weights(settings: params.Params) -> Tensor:
    """Return the weights at which `retrain` is trained, ``[R, O]``."""
    return simplex_weights(settings.rivals.retrain_weights, settings.adapters.objectives)


def retrain_seeds(settings: params.Params) -> list[int]:
    """Return the seeds with which `retrain` is trained."""
    return settings.run.seeds[: settings.rivals.seeds]


def retrain_origin(settings: params.Params, weights: Tensor, seed: int) -> dict:
    """Describe what a retrained model depends on, besides backbone and data."""
    sections = settings.model_dump(include={"backbones", "adapters", "rivals"})
    return {"kind": "retrain", "weights": weights.tolist(), "seed": seed, "settings": sections}


def retrain_stem(folder: Path, weights: Tensor, seed: int) -> Path:
    """Return the path without ending of the files of a retrained model."""
    label = "-".join(f"{w:g}" for w in np.round(weights.tolist(), 4))
    return folder / f"retrain-{label}-seed{seed}"


def load_retrained(
    name: str,
    sequences: Sequences,
    settings: params.Params,
    folder: Path,
    weights: Tensor,
    seed: int,
    device: str | torch.device = "cpu",
) -> Retrained:
    """Read a saved model; raise ``ParagonError`` for other weights, seeds or settings."""
    stem = retrain_stem(folder, weights, seed)
    with loading(stem, "rivals", retrain_origin(settings, weights, seed)) as (tensors, _):
        backbone = build(name, sequences, settings.backbones, seed)
        model = Retrained(backbone, Adapter(adapter_form(backbone, sequences, settings.adapters)))
        model.load_state_dict(tensors)
        return model.eval().requires_grad_(False).to(device)
