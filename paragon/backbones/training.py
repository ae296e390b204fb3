"""Train a backbone for accuracy, with early stopping and a checkpoint after each epoch.

A checkpoint is one file, replaced as a whole. Training that goes on from it gives the same bits as
training without a break. Shapes: N events, n items, S negatives, R rows of a block, z numbers of a
state, d of an item vector.
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
# The subpackages whose code a training may depend on.
METHOD = ("metrics", "data", "objectives", "backbones", "adapters", "generator", "rivals")


@dataclass(frozen=True)
class Fitted:
    """The course of a training."""

    epochs: int
    best_epoch: int  # counted from 1
    training: list[float]  # mean loss of each epoch
    validation: list[float]  # of each epoch, minus NDCG@10: lower is better


class Training:
    """The training of a backbone for next-item accuracy, perhaps with an ``adapter``."""

    def __init__(
        self,
        backbone: Backbone,
        sequences: Sequences,
        settings: params.BackboneSettings,
        adapter: nn.Module | None = None,
    ) -> None:
        self.backbone = backbone
        self.sequences = sequences
        self.settings = settings
        self.device = backbone.device
        self.adapter = adapter or nn.Identity()
        self.model = nn.ModuleList([backbone, self.adapter])
        rate = settings.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, fused=True)
        self.sampler = NegativeSampler(sequences)

    def fit(self, seed: int, checkpoint: "Checkpoint | None" = None) -> Fitted:
        """Train until validation stops improving, and keep the parameters of the best epoch.

        ``checkpoint``: training goes on from it, and each epoch is stored in it.
        """
        rng = np.random.default_rng([seed, 0])  # batches and negatives
        torch.manual_seed(seed)  # dropout draws from the global generator
        losses: list[float] = []
        validation: list[float] = []
        best = copy.deepcopy(self.model)
        best_epoch = 0  # counted from 0
        changing: dict[str, Part] = {
            "model": self.model,
            "optimizer": self.optimizer,
            "best": best,
        }

        # Resume after the last complete epoch.
        record = checkpoint.load(changing) if checkpoint else None
        if record:
            losses = record["losses"]
            validation = record["validation"]
            best_epoch = record["best"]
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
                record = {
                    "losses": losses,
                    "validation": validation,
                    "best": best_epoch,
                    "rng": rng.bit_generator.state,
                }
                checkpoint.save(changing, record)

        self.model.load_state_dict(best.state_dict())
        self.model.eval()
        return Fitted(
            epochs=len(validation),
            best_epoch=best_epoch + 1,
            training=losses,
            validation=validation,
        )

    def epoch(self, rng: Rng) -> float:
        """Train on all training events once; return the mean loss."""
        self.model.train()
        total = 0.0
        count = 0
        batches = self.backbone.training_states(self.sequences, self.settings.batch, rng)
        for states, users, targets in batches:  # [N, z], [N], [N]
            loss = self.loss(states, users, targets, rng)  # []
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(users)
            count += len(users)
        return total / count

    def table(self) -> Tensor:
        """Return the rows that adapted states are multiplied with, ``[n + 1, d]``."""
        return self.backbone.item_vectors()

    def loss(self, states: Tensor, users: np.ndarray, targets: np.ndarray, rng: Rng) -> Tensor:
        """Compute the mean loss of ``states [N, z]`` of ``users [N]`` for ``targets [N]``.

        ``bpr_max`` draws S items that the user has not met for each event. ``softmax`` is the
        cross-entropy over the whole catalogue, or over the target and S uniform negatives, which
        all events of the batch share and which a user may have met. Raises ``ParagonError`` if
        ``bpr_max`` has no number of negatives.
        """
        table = self.table()  # [n + 1, d]
        score = partial(self.backbone.score, adapter=self.adapter, table=table)
        n_items = self.sequences.n_items
        negatives = self.settings.negatives
        target = torch.from_numpy(targets).to(self.device)  # [N]

        if self.settings.loss == "bpr_max":
            if negatives is None:
                needed = "the loss `bpr_max` needs a number, not null"
                raise ParagonError(f"params.yaml: backbones.negatives: {needed}")
            drawn = np.column_stack([targets, self.sampler.draw(users, negatives, rng)])
            scores = score(states, torch.from_numpy(drawn).to(self.device))  # [N, 1 + S]
            return BprMax.apply(scores).mean()  # []

        if negatives is None or negatives >= n_items:
            if self.backbone.is_dot_product:
                return CatalogueSoftmax.apply(self.adapter(states), table[1:], target - 1)
            items = torch.arange(1, n_items + 1, device=self.device)
            return F.cross_entropy(score(states, items), target - 1)

        shared = 1 + rng.choice(n_items, negatives, replace=False)  # [S]
        items = torch.from_numpy(shared).to(self.device)
        scores = score(states, items)  # [N, S]
        scores = scores.masked_fill(items == target.unsqueeze(1), -torch.inf)
        of_target = score(states, target.unsqueeze(1))  # [N, 1]
        first = torch.zeros_like(target)  # [N], the place of the target
        return F.cross_entropy(torch.cat([of_target, scores], 1), first)

    @torch.no_grad()
    def validate(self) -> float:
        """Return minus the mean ``NDCG@10`` on validation events.

        The target is ranked among all items that the user has not met yet.
        """
        valid = self.sequences.valid
        states = self.backbone.states_before(self.sequences, valid.users, valid.positions)  # [N, z]
        ranks = []
        start = 0
        for block in self.backbone.catalogue_blocks(states):  # [R, n + 1]
            events = valid[start : start + len(block)]
            start += len(block)
            excluded = self.sequences.excluded(events)  # [R, n + 1]
            ranks.append(target_ranks(block.cpu().numpy(), events.targets, excluded))
        return -float(ndcg_at(np.concatenate(ranks), 10).mean())


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training, and all that the training depends on."""

    path: Path | None  # None: nothing is stored
    origin: dict[str, Any]  # what the training depends on, beside the code and the version of torch
    writes: bool = True  # False: it is only read

    def save(self, changing: Mapping[str, Part], record: dict[str, Any]) -> None:
        """Store the state of a training.

        ``changing``: modules and optimizers, by name. ``record``: what else is needed, as JSON. The
        states of torch's random generators are stored too.
        """
        if self.path is None or not self.writes:
            return
        tensors = {}
        for name, part in changing.items():
            for key, tensor in _state(part).items():
                tensors[f"{name}/{key}"] = tensor
        tensors["random/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        text = json.dumps({**self._description(), "record": record})
        metadata = {"text": text, "sha256": _checksum(tensors, text)}
        with atomic_path(self.path) as path:
            path.write_bytes(save(tensors, metadata))

    def load(self, changing: Mapping[str, Part]) -> dict[str, Any] | None:
        """Restore the modules and optimizers that were stored, and return the record.

        None if there is no file; then nothing changes. Raises ``ParagonError`` if the file was
        altered, or if it is of another training.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = metadata.get("text", "")
            if _checksum(tensors, text) != metadata.get("sha256"):
                raise ParagonError("its checksum is wrong: the file was altered")
            description = json.loads(text)
            check_match(self._description(), description, "its description")
        except (SafetensorError, OSError, ParagonError) as error:
            found = f"training cannot go on from the checkpoint {self.path}: {error}"
            again = f"to begin anew, delete the folder {self.path.parent}"
            raise ParagonError(f"{found}; {again}") from error
        for name, part in changing.items():
            prefix = f"{name}/"
            stored = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            if isinstance(part, torch.optim.Optimizer):
                state = part.state_dict()
                for key, tensor in stored.items():
                    number, _, field = key.partition(".")
                    state["state"].setdefault(int(number), {})[field] = tensor
                part.load_state_dict(state)
            else:
                part.load_state_dict(stored)
        torch.set_rng_state(tensors["random/cpu"])
        if "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"])
        return description["record"]

    def _description(self) -> dict[str, Any]:
        """Return all that the training depends on."""
        return {**self.origin, "torch": torch.__version__, "code": _code()}


def _state(part: Part) -> dict[str, Tensor]:
    """Return the tensors of a module by name, or those of an optimizer by ``number.name``."""
    if isinstance(part, nn.Module):
        return part.state_dict()
    by_number = part.state_dict()["state"]  # of the parameter
    tensors = {}
    for number, values in by_number.items():
        for name, tensor in values.items():
            tensors[f"{number}.{name}"] = tensor
    return tensors


def _checksum(tensors: dict[str, Tensor], text: str) -> str:
    """Return the SHA-256 of tensors and a text."""
    return hashlib.sha256(save(tensors) + text.encode()).hexdigest()


@cache
def _code() -> str:
    """Return the SHA-256 of the method's code: a change of it may change the training."""
    package = Path(__file__).parents[1]
    files: list[Path] = []
    for folder in METHOD:
        files += (package / folder).rglob("*.py")
    contents = [path.read_bytes() for path in sorted(files)]
    return hashlib.sha256(b"".join(contents)).hexdigest()
