"""The rival `retrain`: train backbone and adapter from scratch for one weight vector.

Shapes: N events, B with a served list, L items of a served list, n items, R weight vectors, O
objectives, z numbers of a state, M categories.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon.adapters.adapter import Adapter, initial_vector, item_table
from paragon.adapters.frozen import adapter_form
from paragon.backbones import build
from paragon.backbones.base import Rng
from paragon.backbones.training import Checkpoint, Fitted, Training
from paragon.data.sequences import Evaluation, Sequences
from paragon.objectives.table import (
    Catalogue,
    Reference,
    Scored,
    fewest_unmet,
    history_shares,
    served,
)
from paragon.objectives.weights import simplex_weights
from paragon.params import Params
from paragon.storage import loading

LISTS = 8  # every eighth event is served a list


class Retrained(nn.Module):
    """A backbone and an adapter that were trained together for one weight vector."""

    def __init__(self, name: str, sequences: Sequences, settings: Params, seed: int) -> None:
        super().__init__()
        self.backbone = build(name, sequences, settings.backbones, seed)
        form = adapter_form(self.backbone, sequences, settings.adapters)
        self.adapter = Adapter.from_vector(initial_vector(form, seed), form)

    @torch.no_grad()
    def scores(self, sequences: Sequences, evaluation: Evaluation) -> Tensor:
        """Score the whole catalogue, ``[N, n + 1]``."""
        states = self.backbone.states_before(sequences, evaluation.users, evaluation.positions)
        categories = torch.from_numpy(sequences.categories).float().to(self.backbone.device)
        table = item_table(self.backbone.item_vectors(), categories, self.adapter.form)
        return self.backbone.score_catalogue(states, self.adapter, table)


class Retraining(Training):
    """Train a backbone and an adapter on a weighted sum of objectives."""

    adapter: Adapter

    def __init__(
        self, model: Retrained, sequences: Sequences, settings: Params, weights: Tensor
    ) -> None:
        limits = {"epochs": settings.rivals.epochs, "patience": settings.rivals.patience}
        changed = settings.backbones.model_copy(update=limits)
        super().__init__(model.backbone, sequences, changed, model.adapter)
        self.served = settings.adapters.served
        # Skip objectives of weight 0, which would only cost time.
        named = zip(settings.adapters.objectives, weights.tolist(), strict=True)
        self.weights = {name: w for name, w in named if w != 0}
        self.catalogue = Catalogue.of(sequences, self.served, self.device)
        self.groups = torch.from_numpy(sequences.groups).to(self.device)  # [users]
        met = sequences.met_in_training()  # users rows
        self.searched = fewest_unmet(met, most=max(settings.adapters.searched, self.served))
        history = history_shares(met, sequences.categories)  # [users, M]
        self.met = met.to(self.device)
        self.history = history.float().to(self.device)  # [users, M]

    def table(self) -> Tensor:
        """Return the vectors and categories of the items, ``[n + 1, d + M]``."""
        vectors = self.backbone.item_vectors()  # [n + 1, d]
        return item_table(vectors, self.catalogue.categories, self.adapter.form)

    def loss(self, states: Tensor, users: np.ndarray, targets: np.ndarray, rng: Rng) -> Tensor:
        """Return the task loss: accuracy is the loss that the backbone is trained with."""
        others = dict(self.weights)
        total = states.new_zeros(())
        weight = others.pop("accuracy", 0)
        if weight:
            total = total + weight * super().loss(states, users, targets, rng)
        if others:
            few = torch.arange(0, len(users), LISTS, device=self.device)  # [B]
            user, target = (torch.from_numpy(x).to(self.device)[few] for x in (users, targets))
            scores = self.backbone.score_catalogue(states[few], self.adapter, self.table())
            best = served(scores.detach(), self.met[user].mask(), self.searched)  # [B, L]
            features = self.catalogue.lists(best[None], self.history[user], self.served)
            lists = Scored(scores.gather(1, best)[None], features)

            def diverge(_: Reference) -> Tensor:  # there is no frozen backbone
                return F.cross_entropy(scores[:, 1:], target - 1, reduction="none").unsqueeze(0)

            losses = lists.losses(list(others), self.groups[user], diverge)  # [1, O]
            total = total + losses[0] @ losses.new_tensor(list(others.values()))
        return total

    @torch.no_grad()
    def validate(self) -> float:
        """Return the task loss on validation events."""
        self.model.eval()
        valid = self.sequences.valid
        states = self.backbone.states_before(self.sequences, valid.users, valid.positions)  # [N, z]
        return self.loss(states, valid.users, valid.targets, np.random.default_rng(0)).item()


def retrain(
    name: str,
    sequences: Sequences,
    settings: Params,
    weights: Tensor,
    seed: int,
    device: str | torch.device = "cpu",
    checkpoint: Path | None = None,
) -> tuple[Retrained, Fitted]:
    """Train backbone and adapter from scratch on the task loss of ``weights [O]``."""
    model = Retrained(name, sequences, settings, seed).to(device)
    origin = {"backbone": name, "data": sequences.description}
    state = Checkpoint(checkpoint, {**origin, **retrain_origin(settings, weights, seed)})
    return model, Retraining(model, sequences, settings, weights).fit(seed, state)


def retrain_weights(settings: Params) -> Tensor:
    """Return the weights at which `retrain` is trained, ``[R, O]``."""
    return simplex_weights(settings.rivals.retrain_weights, settings.adapters.objectives)


def retrain_origin(settings: Params, weights: Tensor, seed: int) -> dict:
    """Describe what a retrained model depends on, besides backbone and data."""
    sections = settings.model_dump(include={"backbones", "adapters", "rivals"})
    return {"kind": "retrain", "weights": weights.tolist(), "seed": seed, "settings": sections}


def retrain_stem(folder: Path, weights: Tensor, seed: int) -> Path:
    """Return the path without ending of the files of a retrained model."""
    label = "-".join(f"{w:g}" for w in np.round(weights.tolist(), 4))
    return folder / f"retrain-{label}-seed{seed}"


def load_retrained(
    name: str, sequences: Sequences, settings: Params, folder: Path, weights: Tensor, seed: int
) -> Retrained:
    """Read a saved model; raise ``ParagonError`` for other weights, seeds or settings."""
    stem = retrain_stem(folder, weights, seed)
    with loading(stem, "rivals", retrain_origin(settings, weights, seed)) as (tensors, _):
        model = Retrained(name, sequences, settings, seed)
        model.load_state_dict(tensors)
        return model.eval().requires_grad_(False)
