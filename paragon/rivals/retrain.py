"""The rival `retrain`: backbone and adapter, trained from scratch for one weight vector.

In this file: what generation has to compete with.  Nothing is frozen, so this rival can fit the
whole recommender to the weights; but each new weight vector costs a new training.

Shapes: N events, n items, R weight vectors, O objectives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paragon import params
from paragon.adapters.adapter import Adapter, initial_vector
from paragon.backbones import Backbone, Fitted, build, cached_states, context_of, fit
from paragon.data.sequences import Evaluation, Sequences
from paragon.objectives.weights import simplex_weights
from paragon.storage import check_match, load_tensors, save_tensors


@dataclass(frozen=True)
class Retrained:
    """A backbone and an adapter that were trained together for one weight vector."""

    backbone: Backbone
    adapter: Adapter

    def to(self, device: torch.device | str) -> Retrained:
        """The same model on another device."""
        return Retrained(self.backbone.to(device), self.adapter.to(device))

    @torch.no_grad()
    def scores(self, sequences: Sequences, evaluation: Evaluation) -> Tensor:
        """Scores of the whole catalogue, ``[N, n + 1]``."""
        device = self.backbone.item_vectors().device
        events = evaluation.users, evaluation.positions
        context = context_of(sequences, *events, self.backbone.history, device)
        states = cached_states(self.backbone, context)  # [N, z], z numbers per state
        return self.backbone.score_catalogue(states, self.adapter)


def retrain(
    name: str,
    sequences: Sequences,
    settings: params.Params,
    weights: Tensor,
    seed: int,
    device: str | torch.device = "cpu",
) -> tuple[Retrained, Fitted]:
    """Train backbone and adapter from scratch on the task loss of ``weights [O]``.

    Lists are as long as in tuning; epochs and patience are those of ``settings.rivals``.
    """
    backbone = build(name, sequences, settings.backbones, seed).to(device)
    draw = torch.Generator().manual_seed(seed)
    start = initial_vector(backbone.dim, settings.adapters.width, draw)
    adapter = Adapter.from_vector(start, backbone.dim).to(device)
    schedule = {
        "epochs": settings.rivals.epochs,
        "patience": settings.rivals.patience,
        "negatives": settings.adapters.negatives,
    }
    fitted = fit(
        backbone,
        sequences,
        settings.backbones.model_copy(update=schedule),
        seed,
        adapter=adapter,
        objectives=settings.adapters.objectives,
        weights=weights.tolist(),
    )
    return Retrained(backbone, adapter), fitted


def retrain_weights(settings: params.Params) -> Tensor:
    """The weights at which `retrain` is trained, ``[R, O]``."""
    return simplex_weights(settings.rivals.retrain_weights, settings.adapters.objectives)


def retrain_seeds(settings: params.Params) -> list[int]:
    """The seeds with which `retrain` is trained."""
    return settings.run.seeds[: settings.rivals.seeds]


def _stem(folder: Path, weights: Tensor, seed: int) -> Path:
    label = "-".join(f"{w:g}" for w in np.round(weights.tolist(), 4))
    return folder / f"retrain-{label}-seed{seed}"


def save_retrained(
    retrained: Retrained, description: dict, folder: Path, weights: Tensor, seed: int
) -> None:
    """Write one retrained model."""
    tensors = {f"backbone.{k}": v for k, v in retrained.backbone.state_dict().items()}
    tensors |= {f"adapter.{k}": v for k, v in retrained.adapter.state_dict().items()}
    save_tensors(_stem(folder, weights, seed), tensors, description)


def load_retrained(
    name: str,
    sequences: Sequences,
    settings: params.Params,
    folder: Path,
    weights: Tensor,
    seed: int,
) -> Retrained:
    """What :func:`save_retrained` wrote; ``ParagonError`` for other weights or another seed."""
    stem = _stem(folder, weights, seed)
    tensors, description = load_tensors(stem, "rivals")
    expected = {"kind": "retrain", "weights": weights.tolist(), "seed": seed}
    check_match(expected, description, f"{stem}.json")
    backbone = build(name, sequences, settings.backbones, seed)
    adapter = Adapter(backbone.dim, settings.adapters.width)
    for module, prefix in ((backbone, "backbone."), (adapter, "adapter.")):
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(state)
    return Retrained(backbone.eval().requires_grad_(False), adapter.requires_grad_(False))
