"""Training a backbone, alone or from scratch together with an adapter."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.backbones.base import Backbone, cached_states, context_of
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.metrics.ranking import ndcg_at, target_ranks
from paragon.objectives.lists import Catalogue
from paragon.objectives.table import objective_losses
from paragon.progress import progress


@dataclass(frozen=True)
class Fitted:
    """A trained model and its curves: one number an epoch, lower ``validation`` is better."""

    epochs: int
    best_epoch: int
    training: list[float]
    validation: list[float]


def fit(
    backbone: Backbone,
    sequences: Sequences,
    settings: params.BackboneSettings,
    seed: int,
    *,
    adapter: nn.Module | None = None,
    objectives: Sequence[str] = ("accuracy",),
    weights: Sequence[float] = (1.0,),
) -> Fitted:
    """Train in place until validation stops improving; the best epoch's parameters remain.

    Plain training minimises accuracy and stops on validation NDCG@10.  With an
    ``adapter`` behind the state and preference ``weights`` over ``objectives``
    it is the `retrain` rival: everything from scratch for one balance, stopped
    on the validation task loss.
    """
    rng = np.random.default_rng([seed, 0])
    torch.manual_seed(seed)  # dropout draws from the global generator
    device = backbone.item_vectors().device
    sampler, catalogue = NegativeSampler(sequences), Catalogue.of(sequences).to(device)
    groups = torch.from_numpy(sequences.groups).to(device)
    # An objective without weight changes nothing, but would cost as much as the others.
    wanted = {name: w for name, w in zip(objectives, weights, strict=True) if w != 0}
    preference = torch.tensor(list(wanted.values()), device=device)
    model = nn.ModuleList([backbone, nn.Identity() if adapter is None else adapter])
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)

    def score(states: Tensor, candidates: Tensor) -> Tensor:
        return backbone.score(states, candidates, model[1])

    def task_loss(scores: Tensor, users: Tensor, candidates: Tensor) -> Tensor:
        lists = catalogue.lists(candidates, groups[users])
        return objective_losses(list(wanted), scores.unsqueeze(-2), lists)[0] @ preference

    held_out = sequences.valid
    context = context_of(sequences, held_out.users, held_out.positions, backbone.history, device)
    stored = torch.from_numpy(held_out.candidates).to(device)

    @torch.no_grad()
    def validate() -> float:
        model.eval()
        scores = score(cached_states(backbone, context), stored)
        if adapter is None:
            return -float(ndcg_at(target_ranks(scores.cpu().numpy()), 10).mean())
        short = slice(0, 1 + settings.negatives)  # lists as long as those of training
        return task_loss(scores[:, short], context.users, stored[:, short]).item()

    best_state, training, validation = None, [], []
    for epoch in progress(range(settings.epochs), "epochs"):
        model.train()
        total, count = 0.0, 0
        for states, users, targets in backbone.training_states(sequences, settings.batch, rng):
            drawn = np.column_stack([targets, sampler.draw(users, settings.negatives, rng)])
            candidates = torch.from_numpy(drawn).to(device)
            users = torch.from_numpy(users).to(device)
            loss = task_loss(score(states, candidates), users, candidates)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + loss.item() * len(users), count + len(users)
        training.append(total / count)
        validation.append(validate())
        best_epoch = int(np.argmin(validation))
        if best_epoch == epoch:
            best_state = copy.deepcopy(model.state_dict())
        elif epoch - best_epoch >= settings.patience:
            break
    model.load_state_dict(best_state)
    model.eval()
    return Fitted(len(validation), best_epoch + 1, training, validation)
