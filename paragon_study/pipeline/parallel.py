"""A backbone and its collection on several processes, started by PyTorch's own launcher::

    torchrun --nproc-per-node 2 -m paragon_study.pipeline.parallel ml-1m sasrec

Beside the pipeline: the results lie in ``artifacts/DATASET/BACKBONE/parallel``.

All processes draw the same batches.  Of each, process r of n takes the rows r, r + n, r + 2n, ...;
the gradients are averaged over all events.  That is the gradient of one process, but for rounding,
and for dropout and negatives, which every process draws for its own rows.  Adapters do not depend
on those of other seeds: every process tunes some of the seeds.
"""

from __future__ import annotations

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
from paragon.backbones.base import Backbone
from paragon.backbones.checkpoint import Checkpoint
from paragon.backbones.training import Training
from paragon.errors import ParagonError
from paragon.progress import QUIET
from paragon.storage import check_match
from paragon_study.pipeline.study import Study, open_study

BY_SEED = ("anchor_vectors", "oracle_vectors", "snapshots", "validation")


class SharedTraining(Training):
    """Training of which this process does its share of every batch."""

    def random_batches(
        self, count: int, size: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """This process's rows of every batch; one without rows joins in, and does not count."""
        for batch in Backbone.random_batches(self.backbone, count, size, rng):
            rows = batch[dist.get_rank() :: dist.get_world_size()]
            self.idle = not len(rows)
            yield batch if self.idle else rows

    def epoch(self, rng: np.random.Generator) -> float:
        """Train on every training event once; the mean loss of the epoch, the same everywhere."""
        self.own = np.random.default_rng([int(rng.integers(2**31)), dist.get_rank()])
        torch.manual_seed(int(self.own.integers(2**31)))  # dropout
        self.seen = 0
        total = torch.tensor([super().epoch(rng), 1.0], device=self.device) * self.seen
        dist.all_reduce(total)
        return (total[0] / total[1]).item()

    def loss(
        self, states: Tensor, users: np.ndarray, targets: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """The mean loss of this process's events, with negatives of its own."""
        self.events = 0 if self.idle else len(users)
        self.seen += self.events
        return super().loss(states, users, targets, self.own)

    def share_gradients(self, *_: object) -> None:
        """Put the mean over the events of all processes in the place of the gradients."""
        grads = [part.grad for part in self.model.parameters() if part.grad is not None]
        flat = torch.cat([*(grad.flatten() for grad in grads), grads[0].new_ones(1)]) * self.events
        dist.all_reduce(flat)
        means = (flat[:-1] / flat[-1]).split([grad.numel() for grad in grads])
        for grad, mean in zip(grads, means, strict=True):
            grad.copy_(mean.view_as(grad))


def run(study: Study) -> None:
    """Train the backbone, unless it is there, and tune its collection."""
    rank, processes, sequences = dist.get_rank(), dist.get_world_size(), study.load_sequences()
    settings, folder = study.params.backbones, study.folder / "parallel"
    if not (folder / "backbone.json").exists():
        backbone = build(study.backbone, sequences, settings, settings.seed).to(study.device)
        training = SharedTraining(backbone, sequences, settings)
        backbone.random_batches = training.random_batches  # type: ignore[method-assign]
        training.optimizer.register_step_pre_hook(training.share_gradients)
        about = origin(study.backbone, sequences, settings) | {"processes": processes}
        # All have the same state, which the first one writes.
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
    mine = seeds[rank::processes] or seeds[:1]  # who has none joins in, and it is left out
    asked = study.params.adapters, mine, {"backbone": about["sha256"]}
    made = collect(backbone.to(study.device), sequences, *asked)
    whole = {}
    for name in BY_SEED:
        part = getattr(made, name).to(study.device)
        rows = part.new_zeros(len(seeds), *part.shape[1:])
        rows[rank::processes] = part[: len(seeds[rank::processes])]
        dist.all_reduce(rows)  # each row is of one process, and 0 in the others
        whole[name] = rows.cpu()
    if rank == 0:
        description = made.description | {"seeds": seeds}
        made = dataclasses.replace(made, **whole, description=description)
        save_collection(made, folder / "collection")
    dist.barrier()


def main(dataset: str, backbone: str) -> None:
    """Train the backbone of a study and tune its collection."""
    if "RANK" not in os.environ:
        raise ParagonError("start this with torchrun, as docs/scale.md shows")
    study = open_study(dataset, backbone)
    if study.device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # a process, a GPU
    dist.init_process_group("nccl" if study.device.type == "cuda" else "gloo")
    if dist.get_rank():
        os.environ[QUIET] = "1"  # one bar is enough
    run(study)
    dist.destroy_process_group()


if __name__ == "__main__":
    try:
        typer.run(main)
    except ParagonError as error:
        sys.exit(f"error: {error}")
