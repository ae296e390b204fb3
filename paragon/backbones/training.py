"""Training a backbone, alone or from scratch together with an adapter.

In this file: one epoch of training (states, negatives, scores, loss, a step of Adam), what is
watched on validation events, and when training stops.

Shapes: N events, C candidates of a list (the target first), z numbers of a state, O objectives.
"""

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
    """How training went: its curves have one number per epoch, lower ``validation`` is better."""

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

    Plain training minimises the accuracy loss and stops on validation NDCG@10.  With an
    ``adapter`` behind the state and preference ``weights`` over ``objectives`` it is the rival
    `retrain`: everything from scratch for one balance, stopped on the validation task loss.
    """
    rng = np.random.default_rng([seed, 0])
    torch.manual_seed(seed)  # dropout draws from the global generator
    training = _Training(backbone, adapter, sequences, settings, objectives, weights)
    best_state, losses, validation = training.model.state_dict(), [], []
    for epoch in progress(range(settings.epochs), "epochs"):
        losses.append(training.epoch(rng))
        validation.append(training.validate())
        best_epoch = int(np.argmin(validation))
        if best_epoch == epoch:
            best_state = copy.deepcopy(training.model.state_dict())
        elif epoch - best_epoch >= settings.patience:
            break
    training.model.load_state_dict(best_state)
    training.model.eval()
    return Fitted(len(validation), best_epoch + 1, losses, validation)


class _Training:
    """A backbone (and adapter) in training, with the lists it sees and the loss it minimises."""

    def __init__(
        self,
        backbone: Backbone,
        adapter: nn.Module | None,
        sequences: Sequences,
        settings: params.BackboneSettings,
        objectives: Sequence[str],
        weights: Sequence[float],
    ) -> None:
        device = backbone.item_vectors().device
        self.backbone, self.sequences, self.settings = backbone, sequences, settings
        self.adapted = adapter is not None
        self.model = nn.ModuleList([backbone, nn.Identity() if adapter is None else adapter])
        rate = settings.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, fused=True)
        # An objective without weight changes nothing, but would cost as much as the others.
        wanted = {name: w for name, w in zip(objectives, weights, strict=True) if w != 0}
        self.objectives = list(wanted)
        self.weights = torch.tensor(list(wanted.values()), device=device)  # [O]
        self.sampler = NegativeSampler(sequences)
        self.catalogue = Catalogue.of(sequences).to(device)
        self.groups = torch.from_numpy(sequences.groups).to(device)  # [users]
        valid, history = sequences.valid, backbone.history
        self.context = context_of(sequences, valid.users, valid.positions, history, device)
        self.candidates = torch.from_numpy(valid.candidates).to(device)  # [N, C]

    def scores(self, states: Tensor, candidates: Tensor) -> Tensor:
        """Scores ``[N, C]`` of candidates ``[N, C]`` for states ``[N, z]``."""
        return self.backbone.score(states, candidates, self.model[1])

    def task_loss(self, scores: Tensor, users: Tensor, candidates: Tensor) -> Tensor:
        """The weighted sum of the objectives' losses, for scores ``[N, C]`` of ``users [N]``."""
        lists = self.catalogue.lists(candidates, self.groups[users])
        losses = objective_losses(self.objectives, scores.unsqueeze(-2), lists)  # [1, O]
        return losses[0] @ self.weights  # []

    def epoch(self, rng: np.random.Generator) -> float:
        """Train on every training event once; the mean loss of the epoch."""
        self.model.train()
        device, negatives = self.candidates.device, self.settings.negatives
        total, count = 0.0, 0
        batches = self.backbone.training_states(self.sequences, self.settings.batch, rng)
        for states, users, targets in batches:  # [N, z], [N], [N]
            # Candidate lists: the target and negatives that are drawn anew.
            drawn = np.column_stack([targets, self.sampler.draw(users, negatives, rng)])
            candidates = torch.from_numpy(drawn).to(device)  # [N, C]
            index = torch.from_numpy(users).to(device)
            # The loss of these lists, and one step of Adam.
            loss = self.task_loss(self.scores(states, candidates), index, candidates)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total, count = total + loss.item() * len(users), count + len(users)
        return total / count

    @torch.no_grad()
    def validate(self) -> float:
        """Minus NDCG@10 on validation events or, with an adapter, the task loss."""
        self.model.eval()
        scores = self.scores(cached_states(self.backbone, self.context), self.candidates)  # [N, C]
        if not self.adapted:
            return -float(ndcg_at(target_ranks(scores.cpu().numpy()), 10).mean())
        short = slice(0, 1 + self.settings.negatives)  # lists as long as those of training
        candidates = self.candidates[:, short]
        return self.task_loss(scores[:, short], self.context.users, candidates).item()
