"""Train a backbone and its collection on several processes: docs/scale.md has the command.

All processes draw the same batches; process r of n takes the rows r, r + n, ..., and gradients are
averaged over events.  Tuning is divided by seed.  Results go to ``artifacts/.../parallel``.
"""

import dataclasses
import os
import sys
from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist
import typer
from torch import Tensor

from paragon.adapters.collection import collect, save_collection
from paragon.backbones import build, load_backbone, origin, save_backbone
from paragon.backbones.base import Backbone, Rng
from paragon.backbones.training import Checkpoint, Training
from paragon.errors import ParagonError
from paragon.progress import QUIET
from paragon.storage import check_match
from paragon_study.pipeline.study import Study, open_study

BY_SEED = ("anchor_vectors", "oracle_vectors", "snapshots", "validation")


class SharedTraining(Training):
    """Training in which this process computes its share of each batch."""

    def random_batches(self, count: int, size: int, rng: Rng) -> Iterator[np.ndarray]:
        """Yield this process's rows of each batch; without rows it takes part with weight 0."""
        for batch in Backbone.random_batches(self.backbone, count, size, rng):
            rows = batch[dist.get_rank() :: dist.get_world_size()]
            self.idle = not len(rows)
            yield batch if self.idle else rows

    def epoch(self, rng: Rng) -> float:
        """Train on all training events once; return the mean loss over all processes."""
        self.own = np.random.default_rng([int(rng.integers(2**31)), dist.get_rank()])
        torch.manual_seed(int(self.own.integers(2**31)))  # dropout
        self.sums = np.zeros(2)  # of the losses of this process's events, and their number
        super().epoch(rng)
        sums = torch.from_numpy(self.sums).to(self.device)
        dist.all_reduce(sums)
        return (sums[0] / sums[1]).item()

    def loss(self, states: Tensor, users: np.ndarray, targets: np.ndarray, rng: Rng) -> Tensor:
        """Compute the mean loss of this process's events, with its own negatives."""
        self.events = 0 if self.idle else len(users)
        loss = super().loss(states, users, targets, self.own)
        self.sums += self.events * loss.item(), self.events
        return loss

    def share_gradients(self, *_: object) -> None:
        """Replace the gradients by their mean over the events of all processes."""
        grads = [part.grad for part in self.model.parameters() if part.grad is not None]
        flat = torch.cat([*(grad.flatten() for grad in grads), grads[0].new_ones(1)]) * self.events
        dist.all_reduce(flat)
        means = (flat[:-1] / flat[-1]).split([grad.numel() for grad in grads])
        for grad, mean in zip(grads, means, strict=True):
            grad.copy_(mean.view_as(grad))


def run(study: Study) -> None:
    """Train the backbone, unless it is stored, and tune its collection."""
    rank = dist.get_rank()
    processes = dist.get_world_size()
    sequences = study.load_sequences()
    settings = study.params.backbones
    folder = study.folder / "parallel"
    if not (folder / "backbone.json").exists():
        backbone = build(study.backbone, sequences, settings, settings.seed).to(study.device)
        training = SharedTraining(backbone, sequences, settings)
        # No bound method: `fit` copies the backbone, and would copy the data with it.
        backbone.random_batches = lambda *args: training.random_batches(*args)  # type: ignore
        training.optimizer.register_step_pre_hook(training.share_gradients)
        about = origin(study.backbone, sequences, settings) | {"processes": processes}
        # The state is the same everywhere; the first process writes it.
        path = folder / "backbone.checkpoint.safetensors"
        fitted = training.fit(settings.seed, Checkpoint(path, about, writes=rank == 0))
        if rank == 0:
            save_backbone(backbone, sequences, settings, fitted, folder / "backbone")
            path.unlink(missing_ok=True)
    dist.barrier()
    backbone, about = load_backbone(folder / "backbone", sequences)
    made_with = f"{folder}: made with other settings; delete this folder"
    check_match({"settings": settings.model_dump()}, about, made_with)
    seeds = study.params.run.seeds
    asked = study.params.adapters
    mine = seeds[rank::processes] or seeds[:1]  # without a seed, take part and drop the result
    backbone = backbone.to(study.device)
    about = {"backbone": about["sha256"]}
    parts: list = [None] * processes
    dist.all_gather_object(parts, collect(backbone, sequences, asked, mine, about))
    if rank == 0:
        rows = [(parts[n % processes], n // processes) for n in range(len(seeds))]
        whole = {name: torch.stack([getattr(p, name)[i] for p, i in rows]) for name in BY_SEED}
        whole["description"] = parts[0].description | {"seeds": seeds}
        save_collection(dataclasses.replace(parts[0], **whole), folder / "collection")
    dist.barrier()


def main(name: str, backbone: str) -> None:
    """Train the backbone of a study and tune its collection."""
    if "RANK" not in os.environ:
        raise ParagonError("start this with torchrun, as docs/scale.md shows")
    study = open_study(name, backbone)
    if study.device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # one GPU per process
    dist.init_process_group("nccl" if study.device.type == "cuda" else "gloo")
    if dist.get_rank():
        os.environ[QUIET] = "1"
    run(study)
    dist.destroy_process_group()


if __name__ == "__main__":
    try:
        typer.run(main)
    except ParagonError as error:
        sys.exit(f"error: {error}")
