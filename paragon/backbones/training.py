"""Train a backbone for accuracy, with early stopping and checkpoints of each epoch.

A checkpoint is one file, replaced as a whole; training resumes from it with identical bits. Shapes:
N events, n items, S negatives, z numbers of a state.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Backbone, Rng
from paragon.data.negatives import NegativeSampler
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.metrics.ranking import ndcg_at, target_ranks
from paragon.objectives.kernels import BprMax, CatalogueSoftmax
from paragon.progress import progress
from paragon.storage import atomic_path, check_match

Part = nn.Module | torch.optim.Optimizer  # what changes in training
METHOD = ("metrics", "data", "objectives", "backbones", "adapters", "generator", "rivals")


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
        self.device, self.adapter = backbone.device, adapter or nn.Identity()
        self.model = nn.ModuleList([backbone, self.adapter])
        rate = settings.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, fused=True)
        self.sampler = NegativeSampler(sequences)

    def fit(self, seed: int, checkpoint: "Checkpoint | None" = None) -> Fitted:
        """Train until validation stops improving, from ``checkpoint`` on; keep the best epoch."""
        rng = np.random.default_rng([seed, 0])  # batches and negatives
        torch.manual_seed(seed)  # dropout draws from the global generator
        losses, validation = [], []
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

    def epoch(self, rng: Rng) -> float:
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

    def table(self) -> Tensor:
        """Return the rows that adapted states are multiplied with, ``[n + 1, d]``."""
        return self.backbone.item_vectors()

    def loss(self, states: Tensor, users: np.ndarray, targets: np.ndarray, rng: Rng) -> Tensor:
        """Compute the mean loss of ``states [N, z]`` of ``users [N]`` for ``targets [N]``.

        ``bpr_max`` takes S unmet items per event. ``softmax`` is the cross-entropy over the whole
        catalogue, or over the target and S uniform negatives, perhaps met, that the batch shares.
        """
        table, count = self.table(), self.sequences.n_items
        score = partial(self.backbone.score, adapter=self.adapter, table=table)
        target, negatives = torch.from_numpy(targets).to(self.device), self.settings.negatives
        if self.settings.loss == "bpr_max":
            if negatives is None:
                needed = "the loss `bpr_max` needs a number, not null"
                raise ParagonError(f"params.yaml: backbones.negatives: {needed}")
            drawn = np.column_stack([targets, self.sampler.draw(users, negatives, rng)])
            scores = score(states, torch.from_numpy(drawn).to(self.device))  # [N, 1 + S]
            return BprMax.apply(scores).mean()  # []
        if negatives is None or negatives >= count:
            if self.backbone.is_dot_product:
                return CatalogueSoftmax.apply(self.adapter(states), table[1:], target - 1)
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
        ranks, start = [], 0
        for block in self.backbone.catalogue_blocks(states):  # [R, n + 1]
            events = valid[start : start + len(block)]
            left_out, start = self.sequences.excluded(events), start + len(block)
            ranks.append(target_ranks(block.cpu().numpy(), events.targets, left_out))
        return -float(ndcg_at(np.concatenate(ranks), 10).mean())


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training (None: store nothing) and all that the training depends on."""

    path: Path | None
    about: dict[str, Any]
    writes: bool = True

    def save(self, parts: Mapping[str, Part], record: dict[str, Any]) -> None:
        """Store ``parts``, the state of torch's random generators, and a JSON ``record``."""
        if self.path is None or not self.writes:
            return
        tensors = {f"{name}/{key}": t for name in parts for key, t in _state(parts[name]).items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        text = json.dumps({**self._about(), "record": record})
        with atomic_path(self.path) as path:
            path.write_bytes(save(tensors, {"text": text, "sha256": _checksum(tensors, text)}))

    def load(self, parts: Mapping[str, Part]) -> dict[str, Any] | None:
        """Restore ``parts``; return the record (None: no file); ``ParagonError`` if altered."""
        if self.path is None or not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = metadata.get("text", "")
            if _checksum(tensors, text) != metadata.get("sha256"):
                raise ParagonError("its checksum is wrong: the file was altered")
            about = json.loads(text)
            check_match(self._about(), about, "its description")
        except (SafetensorError, OSError, ParagonError) as error:
            found = f"training cannot go on from the checkpoint {self.path}: {error}"
            again = f"to begin anew, delete the folder {self.path.parent}"
            raise ParagonError(f"{found}; {again}") from error
        for name, part in parts.items():
            prefix = f"{name}/"
            own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            state: dict[str, Any] = own
            if isinstance(part, torch.optim.Optimizer):
                state = part.state_dict()
                for key, tensor in own.items():
                    number, _, field = key.partition(".")
                    state["state"].setdefault(int(number), {})[field] = tensor
            part.load_state_dict(state)
        torch.set_rng_state(tensors["random/cpu"])
        if "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"])
        return about["record"]

    def _about(self) -> dict[str, Any]:
        return {**self.about, "torch": torch.__version__, "code": _code()}


def _state(part: Part) -> dict[str, Tensor]:
    """Return the tensors of a module or, as ``number.key``, of an optimizer."""
    if isinstance(part, nn.Module):
        return part.state_dict()
    state = part.state_dict()["state"]
    return {f"{i}.{key}": value for i, values in state.items() for key, value in values.items()}


def _checksum(tensors: dict[str, Tensor], text: str) -> str:
    return hashlib.sha256(save(tensors) + text.encode()).hexdigest()


@cache
def _code() -> str:
    """SHA-256 of the method's modules, since a change of code may change the training."""
    package = Path(__file__).parents[1]
    files = sorted(path for folder in METHOD for path in (package / folder).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
