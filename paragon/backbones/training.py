"""Train a backbone for accuracy, with early stopping.

Shapes: N events, n items, S negatives, z numbers of a state.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Backbone
from paragon.backbones.checkpoint import Checkpoint, Part
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.metrics.ranking import ndcg_at, target_ranks
from paragon.objectives.kernels import BprMax, CatalogueSoftmax
from paragon.progress import progress


@dataclass(frozen=True)
class Fitted:
    """The course of a training: one number per epoch; lower ``validation`` is better."""

    epochs: int
    best_epoch: int
    training: list[float]
    validation: list[float]


class Training:
    """The training of a backbone for next-item accuracy."""

    def __init__(
        self,
        backbone: Backbone,
        sequences: Sequences,
        settings: params.BackboneSettings,
        adapter: nn.Module | None = None,
    ) -> None:
        self.backbone, self.sequences, self.settings = backbone, sequences, settings
        self.device = backbone.device
        self.model = nn.ModuleList([backbone, adapter or nn.Identity()])
        rate = settings.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, fused=True)
        self.sampler = NegativeSampler(sequences)

    def fit(self, seed: int, checkpoint: Checkpoint | None = None) -> Fitted:
        """Train until validation stops improving, from ``checkpoint`` on; keep the best epoch."""
        rng = np.random.default_rng([seed, 0])  # batches and negatives
        torch.manual_seed(seed)  # dropout draws from the global generator
        losses: list[float] = []
        validation: list[float] = []
        best, best_epoch = copy.deepcopy(self.model), 0
        parts: dict[str, Part] = {"model": self.model, "optimizer": self.optimizer, "best": best}

        # Resume after the last complete epoch.
        if checkpoint and (record := checkpoint.load(parts)):
            losses, validation, best_epoch = (record[k] for k in ("losses", "validation", "best"))
            rng.bit_generator.state = record["rng"]

        for epoch in progress(range(len(validation), self.settings.epochs), "epochs"):
            if epoch - best_epoch > self.settings.patience:
                break
            losses.append(self.epoch(rng))
            validation.append(self.validate())
            if int(np.argmin(validation)) == epoch:
                best_epoch = epoch
                best.load_state_dict(self.model.state_dict())
            if checkpoint:
                curves = {"losses": losses, "validation": validation, "best": best_epoch}
                checkpoint.save(parts, {**curves, "rng": rng.bit_generator.state})

        self.model.load_state_dict(best.state_dict())
        self.model.eval()
        return Fitted(len(validation), best_epoch + 1, losses, validation)

    def epoch(self, rng: np.random.Generator) -> float:
        """Train on all training events once; return the mean loss."""
        self.model.train()
        total, count = 0.0, 0
        batches = self.backbone.training_states(self.sequences, self.settings.batch, rng)
        for states, users, targets in batches:  # [N, z], [N], [N]
            loss = self.loss(states, users, targets, rng)  # []
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total, count = total + loss.item() * len(users), count + len(users)
        return total / count

    def loss(
        self, states: Tensor, users: np.ndarray, targets: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """Compute the mean loss of ``states [N, z]`` of ``users [N]`` for ``targets [N]``.

        ``bpr_max`` takes S items per event that its user has not met. ``softmax`` is the
        cross-entropy over the whole catalogue, or over the target and S uniform negatives shared by
        the batch, possibly met by the user. ``ParagonError`` if ``bpr_max`` has no S.
        """
        score, count = self.backbone.score, self.sequences.n_items
        target, negatives = torch.from_numpy(targets).to(self.device), self.settings.negatives
        if self.settings.loss == "bpr_max":
            if negatives is None:
                raise ParagonError(
                    "params.yaml: backbones.negatives: null is for the loss `softmax`; `bpr_max` "
                    "needs a number of negatives"
                )
            drawn = np.column_stack([targets, self.sampler.draw(users, negatives, rng)])
            scores = score(states, torch.from_numpy(drawn).to(self.device))  # [N, 1 + S]
            return BprMax.apply(scores).mean()  # []
        if negatives is None or negatives >= count:
            if self.backbone.is_dot_product:
                return CatalogueSoftmax.apply(states, self.backbone.item_vectors()[1:], target - 1)
            items = torch.arange(1, count + 1, device=self.device)
            return F.cross_entropy(score(states, items), target - 1)
        items = torch.from_numpy(1 + rng.choice(count, negatives, replace=False)).to(self.device)
        scores = score(states, items)  # [N, S]
        scores = scores.masked_fill(items == target.unsqueeze(1), -torch.inf)
        of_target = score(states, target.unsqueeze(1))  # [N, 1]
        return F.cross_entropy(torch.cat([of_target, scores], 1), torch.zeros_like(target))

    @torch.no_grad()
    def validate(self) -> float:
        """Return minus the mean ``NDCG@10`` on validation events, among all items not yet met."""
        valid = self.sequences.valid
        states = self.backbone.states_before(self.sequences, valid.users, valid.positions)  # [N, z]
        ranks: list[np.ndarray] = []
        start = 0
        for block in self.backbone.catalogue_blocks(states):  # [R, n + 1]
            events = valid[start : start + len(block)]
            left_out, start = self.sequences.excluded(events), start + len(block)
            ranks.append(target_ranks(block.cpu().numpy(), events.targets, left_out))
        return -float(ndcg_at(np.concatenate(ranks), 10).mean())
