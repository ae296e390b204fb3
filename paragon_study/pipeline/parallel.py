"""A backbone and its collection on several processes, started by PyTorch's own launcher::

    torchrun --nproc-per-node 2 -m paragon_study.pipeline.parallel ml-1m sasrec

Beside the pipeline: the results lie in ``artifacts/DATASET/BACKBONE/parallel``.

In this file: how a batch is shared.  All processes draw the same batches.  Of each, process r of n
takes the windows r, r + n, r + 2n, ..., and the gradients of the sums are added up over all
processes and divided by the number of events.  That is the gradient of one process, but for
rounding, and for dropout and negatives, which every process draws for its own windows.  Adapters do
not depend on those of other seeds: every process tunes some of the seeds.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import typer

from paragon.adapters.collection import Collection, collect, load_collection, save_collection
from paragon.backbones import build, fit, load_backbone, save_backbone, training_record
from paragon.backbones.checkpoint import Checkpoint
from paragon.backbones.sequential import SequentialBackbone, windows
from paragon.backbones.training import Training
from paragon.errors import ParagonError
from paragon.progress import QUIET
from paragon.storage import check_match
from paragon_study.pipeline.study import Study, open_study

BY_SEED = ("anchor_vectors", "oracle_vectors", "snapshots", "validation")


class SharedTraining(Training):
    """Training of which this process does its share of every batch."""

    def epoch(self, rng: np.random.Generator) -> float:
        """Train on every training event once; the mean loss of the epoch, the same everywhere."""
        backbone, rank, processes = self.backbone, dist.get_rank(), dist.get_world_size()
        if not isinstance(backbone, SequentialBackbone):
            raise ParagonError(
                f"{backbone.name}: on several processes only sequential backbones are trained "
                "(sasrec, gru4rec, tisasrec)"
            )
        own = np.random.default_rng([int(rng.integers(2**31)), rank])
        torch.manual_seed(int(own.integers(2**31)))  # dropout
        self.model.train()
        losses, count = torch.zeros((), device=self.device), 0
        parts = windows(self.sequences, backbone.history, rng)
        targets = parts[-1]  # [W, L]
        order, batch = rng.permutation(len(targets)), self.settings.batch
        for whole in np.split(order, range(batch, len(order), batch)):
            rows = whole[rank::processes]
            self.optimizer.zero_grad()
            if len(rows):
                states, users, items = backbone.window_states(parts, rows)
                loss = self.loss(states, users, items, own) * len(users)
                loss.backward()
                losses += loss.detach()
            events = int((targets[whole] > 0).sum())
            self._add_gradients(events)
            self.optimizer.step()
            count += events
        dist.all_reduce(losses)
        return float(losses) / count

    def _add_gradients(self, events: int) -> None:
        """Put the sum over all processes, divided by the events, in the place of the gradients."""
        parts = list(self.model.parameters())
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parts]
        flat = torch.cat([grad.flatten() for grad in own])
        dist.all_reduce(flat)
        for part, grad in zip(
            parts, flat.div_(events).split([p.numel() for p in parts]), strict=True
        ):
            part.grad = grad.view_as(part)


class Reader(Checkpoint):
    """The checkpoint that the first process writes, for the others."""

    def save(self, parts: object, record: object) -> None:
        """Nothing: all processes have the same state."""


def train_in_parallel(study: Study, folder: Path) -> None:
    """Train the backbone, unless it is there; an interrupted training goes on from its epoch."""
    sequences, settings, rank = study.load_sequences(), study.params.backbones, dist.get_rank()
    stem, path = folder / "backbone", folder / "backbone.checkpoint.safetensors"
    if not stem.with_suffix(".json").exists():
        backbone = build(study.backbone, sequences, settings, settings.seed).to(device())
        about: dict[str, object] = {"settings": settings.model_dump()}
        about |= {"data": sequences.description}
        about |= {"backbone": study.backbone, "processes": dist.get_world_size()}
        state = (Reader if rank else Checkpoint)(path, about)
        fitted = fit(SharedTraining(backbone, sequences, settings), settings, settings.seed, state)
        if not rank:
            record = training_record(study.backbone, sequences, settings, fitted)
            save_backbone(backbone, record, stem)
            path.unlink(missing_ok=True)
    dist.barrier()


def tune_in_parallel(study: Study, folder: Path) -> None:
    """Tune the collection: every process some of the seeds, the first one puts them together."""
    sequences, rank, processes = study.load_sequences(), dist.get_rank(), dist.get_world_size()
    backbone, about = load_backbone(folder / "backbone", sequences)
    expected = {"settings": study.params.backbones.model_dump()}
    check_match(expected, about, f"{folder}: made with other settings; delete this folder")
    seeds, settings = study.params.run.seeds, study.params.adapters
    provenance, parts = {"backbone": about["sha256"]}, min(processes, len(seeds))
    if rank < parts:
        own = collect(backbone.to(device()), sequences, settings, seeds[rank::parts], provenance)
        save_collection(own, folder / f"collection-{rank}")
    dist.barrier()
    if not rank:
        stems = [folder / f"collection-{number}" for number in range(parts)]
        save_collection(
            merged([load_collection(stem, about) for stem in stems]), folder / "collection"
        )
        for stem in stems:
            stem.with_suffix(".safetensors").unlink()
            stem.with_suffix(".json").unlink()
    dist.barrier()


def merged(parts: list[Collection]) -> Collection:
    """The collection of all seeds, of parts that have every n-th of them."""
    count = sum(len(part.anchor_vectors) for part in parts)
    places = [(parts[seed % len(parts)], seed // len(parts)) for seed in range(count)]
    tensors = {
        name: torch.stack([getattr(part, name)[row] for part, row in places]) for name in BY_SEED
    }
    seeds = [part.description["seeds"][row] for part, row in places]
    description = {**parts[0].description, "seeds": seeds}
    del description["sha256"]
    return dataclasses.replace(parts[0], **tensors, description=description)


def device() -> torch.device:
    """This process's own GPU, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def main(dataset: str, backbone: str) -> None:
    """Train the backbone of a study and tune its collection."""
    if "RANK" not in os.environ:
        raise ParagonError("start this with torchrun, as docs/scale.md shows")
    if device().type == "cuda":
        torch.cuda.set_device(device())
    dist.init_process_group("nccl" if device().type == "cuda" else "gloo")
    if dist.get_rank():
        os.environ[QUIET] = "1"  # one bar is enough
    study = open_study(dataset, backbone)
    folder = study.folder / "parallel"
    try:
        train_in_parallel(study, folder)
        tune_in_parallel(study, folder)
    except RuntimeError as error:
        if "onnection" not in str(error):
            raise
        raise ParagonError(
            f"process {dist.get_rank()}: another process has ended; start the same command again, "
            "and training goes on from its last epoch"
        ) from error
    dist.destroy_process_group()


if __name__ == "__main__":
    try:
        typer.run(main)
    except ParagonError as error:
        sys.exit(f"error: {error}")
