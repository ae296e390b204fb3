"""What one adapter of a collection costs, against one tuned alone with full forward passes.

Run by `make bench` once the pipeline has been through; prints the ratio of the two,
measured in one run in alternation, and writes results/<dataset>/collection_cost.json.

* joint: all weights of all seeds tuned together on cached states, as in notebook 03, divided
  by their number, with the one pass through the backbone that fills the cache;
* alone: one adapter, the same batches, every history sent through the frozen backbone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import typer

from paragon.adapters import tuning
from paragon.adapters.adapter import shared_starts
from paragon.adapters.frozen import FrozenTask, frozen_task
from paragon.backbones import context_of
from paragon.data.negatives import NegativeSampler
from paragon.objectives.weights import check_weights, simplex_lattice, simplex_weights
from paragon.params import RESULTS
from paragon.storage import write_json
from paragon.study.study import open_study


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main(
    dataset: str = "ml-100k", backbone: str = "sasrec", steps: int = 40, rounds: int = 5
) -> None:
    """Measure and record."""
    study = open_study(dataset, backbone)
    sequences = study.load_sequences()
    frozen, _ = study.load_backbone(sequences)
    settings = study.params.adapters.model_copy(
        update={"steps": steps, "checks": 1, "snapshots": 0}
    )
    names, seeds = settings.objectives, study.params.run.seeds
    tasks: dict[str, FrozenTask] = {}

    def cache() -> None:
        for part in ("train", "valid"):
            tasks[part] = frozen_task(frozen, sequences, part, settings)

    caching = seconds(cache)
    train, sampler = tasks["train"], NegativeSampler(sequences)
    weights = torch.cat(
        [simplex_weights(settings.anchors, names), simplex_lattice(len(names), settings.oracles)]
    )
    starts = shared_starts(train.form, len(weights), seeds)

    def joint() -> None:
        tuning.tune(train, tasks["valid"], sampler, weights, starts, settings, seeds)

    positions = sequences.train_events()[1]
    one = check_weights([1 / len(names)] * len(names), names)

    def alone() -> None:
        vector = starts[0, :1].clone().requires_grad_(True)  # [1, P]
        optimizer = torch.optim.Adam([vector], lr=settings.learning_rate)
        all_rows = torch.arange(settings.batch)
        rng = np.random.default_rng(0)
        for _ in range(steps):
            rows, candidates = train.draw(sampler, settings.batch, settings.negatives, rng)
            numbers = rows.cpu().numpy()
            context = context_of(
                sequences,
                train.users[numbers],
                positions[numbers],
                frozen.history,
                train.states.device,
            )
            with torch.no_grad():
                states = frozen.states(context)
            batch = replace(train, states=states, groups=train.groups[rows], who=train.who[rows])
            losses = batch.losses(vector, all_rows, candidates, names)  # [1, O]
            loss = (losses * one.to(losses.device)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    if len(positions) != len(train.users):
        raise typer.BadParameter("events are thinned for this dataset: the batches would differ")
    joint(), alone()
    pairs = np.array([(seconds(joint), seconds(alone)) for _ in range(rounds)])
    count = len(seeds) * len(weights)
    whole = study.params.adapters.steps
    # A whole tuning: measured steps scaled up, and the cache filled once for everybody.
    each = (np.median(pairs[:, 0]) * whole / steps + caching) / count
    single = np.median(pairs[:, 1]) * whole / steps
    record = {
        "adapters": count,
        "steps": whole,
        "seconds_joint_each": float(f"{each:.4g}"),
        "seconds_alone": float(f"{single:.4g}"),
        "ratio": float(f"{single / each:.3g}"),
        "threads": torch.get_num_threads(),
    }
    write_json(RESULTS / dataset / "collection_cost.json", {backbone: record})
    typer.echo(record)


if __name__ == "__main__":
    typer.run(main)
