"""Seconds from new preference weights to a ready model: generate, tune, retrain, in one run.

Run by `make bench` once the pipeline has been through.  Writes
results/<dataset>/timing.json and results/<dataset>/<backbone>/timing.png.  Times
belong to a machine and change from run to run, so `dvc repro` takes none and
nothing here is an output of the pipeline.  The libraries choose the kernels that suit
the processor, as in a service, not the pipeline's, which are the same on all processors.

* generate: condition, sampling, decoding, and the adapter installed as a module;
* tune: one adapter for one weight vector on cached states, as in notebook 03;
* retrain: backbone and adapter from scratch, as in notebook 05;
* paragon: one adapter by the generator as published, with guidance; null where it was not trained;
* prepare: what generation needs first, for one seed: the adapters of all anchors, tuned
  together (03), and the generator (04).  `pays_after`: the number of changes of the
  weights from which on generation, this included, has taken less time than the others.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable

import numpy as np
import torch
import typer

from paragon.adapters import tuning
from paragon.adapters.adapter import Adapter, start_vectors
from paragon.adapters.frozen import frozen_task
from paragon.data.negatives import NegativeSampler
from paragon.generator.training import behaviour, train_generator
from paragon.objectives.weights import check_weights
from paragon.params import RESULTS, load_params
from paragon.progress import progress
from paragon.rivals.retrain import retrain as train_anew
from paragon.storage import write_json
from paragon_study.pipeline.study import open_study
from paragon_study.report import style
from paragon_study.report.figures import time_to_model


def seconds(action: Callable[[], object], runs: int, name: str) -> dict[str, float]:
    """p50 and p99 of ``runs`` calls, in seconds, after one call that is not counted."""
    if runs > 3:
        action()
    taken = []
    for _ in progress(range(runs), name):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    p50, p99 = np.percentile(taken, [50, 99])
    return {"p50": float(f"{p50:.4g}"), "p99": float(f"{p99:.4g}"), "runs": runs}


def pays_after(first: float, generate: float, other: float) -> int | None:
    """From which change of the weights on generation has taken no longer; None: from none.

    Seconds: ``first`` before the first change, then ``generate`` a change, against ``other``.
    """
    gap = other - generate
    return math.ceil(first / gap) if gap > 0 else None


def machine() -> dict[str, object]:
    """What the times belong to."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    facts = {"cpu": model, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return {**facts, "python": platform.python_version(), "torch": torch.__version__}


def main(
    dataset: str = "ml-100k",
    backbone: str | None = None,
    tunes: int = 3,
    retrains: int = 2,
) -> None:
    """Measure and record, for one backbone or for all of params.yaml."""
    for name in [backbone] if backbone else load_params().studies.backbones:
        measure(dataset, name, tunes, retrains)


def measure(dataset: str, backbone: str, tunes: int, retrains: int) -> None:
    """Times of one backbone, on an otherwise idle machine."""
    study = open_study(dataset, backbone)
    sequences = study.load_sequences()
    frozen, about = study.load_backbone(sequences)
    collection = study.load_collection(about)
    generator = study.load_generators(collection)[0]
    settings = study.params.adapters
    alone = settings.model_copy(update={"checks": 1, "snapshots": 0})
    rng = np.random.default_rng(0)
    names = settings.objectives
    fresh = rng.dirichlet(np.ones(len(names)), 20_000)

    draws = iter(fresh)

    def make() -> Adapter:
        return Adapter.from_vector(generator.generate(next(draws))[0], generator.form)

    generate = seconds(make, 500, "generate")
    batch = torch.from_numpy(fresh[:5000])
    many = seconds(lambda: generator.generate(batch), 5, "batches")

    train, valid = (frozen_task(frozen, sequences, e, settings) for e in ("train", "valid"))
    sampler = NegativeSampler(sequences)
    starts = start_vectors(train.form, len(settings.anchors), [0])

    def tune() -> None:
        weights = check_weights(next(draws), names)
        tuning.tune(train, valid, sampler, weights, starts[:, :1], alone, seeds=[0])

    def collect() -> None:
        tuning.tune(train, valid, sampler, collection.anchors, starts, settings, seeds=[0])

    def learn() -> None:
        own, seed = study.params.generator, collection.description["seeds"][0]
        extra = behaviour(train, sampler, collection, seed, own.behaviour_rows)
        train_generator(collection, own, seed, extra, study.device)

    def retrain() -> None:
        weights = check_weights(next(draws), names)[0]
        train_anew(backbone, sequences, study.params, weights, 0, study.device)

    published = study.load_published(collection)[:1]
    taken = {
        "tune": seconds(tune, tunes, "tune"),
        "retrain": seconds(retrain, retrains, "retrain"),
    }
    prepare = {
        "collection": seconds(collect, 1, "collection")["p50"],
        "generator": seconds(learn, 1, "generator")["p50"],
    }
    first = sum(prepare.values())
    path = RESULTS / dataset / "timing.json"
    timing = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    timing[backbone] = {
        "machine": machine(),
        "generate": generate,
        **taken,
        "paragon": seconds(lambda: published[0].generate(next(draws)), 3, "paragon")
        if published
        else None,
        "prepare": prepare,
        "pays_after": {
            name: pays_after(first, generate["p50"], own["p50"]) for name, own in taken.items()
        },
        "adapters_per_second": float(f"{len(batch) / many['p50']:.4g}"),
    }
    write_json(path, timing)
    shown = ("generate", "paragon", "tune", "retrain")
    times = {name: own for name in shown if (own := timing[backbone][name])}
    figure = time_to_model(times, timing[backbone]["machine"])
    style.save_figure(figure, study.results / "timing.png")
    typer.echo(json.dumps(timing[backbone], indent=2))


if __name__ == "__main__":
    typer.run(main)
