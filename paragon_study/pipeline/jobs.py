"""Run the trainings of a study in parallel, and store their results.

Each trains in a process of its own with one thread: the number of processes changes no result.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import BrokenProcessPool
from torch import Tensor

from paragon.adapters.collection import Collection, collect, load_collection, save_collection
from paragon.adapters.frozen import FrozenEvents, frozen_events
from paragon.backbones import Fitted
from paragon.errors import ParagonError
from paragon.generator.generator import Generator
from paragon.generator.training import losses_on, train_generator
from paragon.progress import LINE, progress
from paragon.rivals import end_to_end, retrain
from paragon.storage import load_tensors, save_tensors
from paragon_study.pipeline.determinism import KERNELS, begin_worker
from paragon_study.pipeline.study import Study

T = TypeVar("T")
CLUSTER = "PARAGON_CLUSTER"  # address of a Dask scheduler that runs the jobs


def run_in_processes(
    function: Callable[..., T], study: Study, jobs: Sequence[tuple], name: str
) -> list[T]:
    """Return ``[function(study, *job) for job in jobs]``, from processes or a cluster."""
    # Three jobs on two cores: with two at a time the third would leave a core idle.
    most = 2 * cpu_count() - 1 if study.device.type == "cpu" else 1
    count = min(len(jobs), most)
    if not jobs or (count == 1 and CLUSTER not in os.environ):
        return [function(study, *job) for job in jobs]
    with _workers(count):
        call = delayed(_run_job)
        kernels = {name: os.environ.get(name) for name in KERNELS}
        try:
            calls = (call(function, study, job, kernels) for job in jobs)
            results = Parallel(return_as="generator", batch_size=1)(calls)
            return [result for result, _ in zip(results, progress(jobs, name), strict=True)]
        except BrokenProcessPool as error:
            why = "a process was ended from outside, or the memory was full; run the stage again"
            raise ParagonError(f"{name}: {why}") from error


def _run_job(function: Callable[..., T], study: Study, job: tuple, kernels: dict) -> T:
    """Run a job; refuse if this process has other ``kernels``, which give other digits."""
    if any(os.environ.get(name) != value for name, value in kernels.items()):
        start = "python -m paragon_study.pipeline.worker ADDRESS"
        raise ParagonError(f"{CLUSTER}: a worker has other kernels; start it with `{start}`")
    try:
        return function(study, *job)
    finally:
        if line := os.environ.get(LINE):  # of this process: what it said is over
            Path(line).unlink(missing_ok=True)


@contextmanager
def _workers(count: int) -> Iterator[None]:
    """Let joblib use ``count`` processes here, or a cluster."""
    address = os.environ.get(CLUSTER)
    if not address:
        # One thread in each library, read when it loads.
        begin = {"initializer": begin_worker, "initargs": (os.getpid(),)}
        with parallel_config("loky", n_jobs=count, inner_max_num_threads=1, **begin):
            yield
        return
    try:
        from distributed import Client

        client = Client(address, timeout=30)
    except ImportError as error:
        raise ParagonError(f"{CLUSTER}: install the extra: pip install '.[cluster]'") from error
    except (OSError, ValueError) as error:
        raise ParagonError(f"{CLUSTER}={address}: no scheduler answers there: {error}") from error
    with client, parallel_config("dask"):
        if sum(client.ncores().values()) < 2:  # joblib would use this process
            raise ParagonError(f"{CLUSTER}: fewer than two workers are at {address}; start two")
        yield


def training_events(study: Study) -> tuple[FrozenEvents, dict]:
    """Return the training events, with stored states if they match, and what the backbone is."""
    sequences, backbone, about = study.load_frozen()
    states = None
    stem = study.folder / "adapters" / "states"
    settings = study.params.adapters
    if stem.with_name("states.json").exists():
        tensors, made = load_tensors(stem, "adapters")
        if made["backbone"] == about["sha256"] and made["events"] == settings.events:
            states = tensors["states"]
    return frozen_events(backbone, sequences, "train", settings, states), about


def tune_collection(study: Study) -> Collection:
    """Tune and store the collection of the study, and the states of the training events."""
    sequences, backbone, about = study.load_frozen()
    settings = study.params.adapters
    origin = {"backbone": about["sha256"]}
    folder = study.folder / "adapters"
    train = frozen_events(backbone, sequences, "train", settings)
    collection = collect(backbone, sequences, settings, study.params.run.seeds, origin, train)
    save_tensors(folder / "states", {"states": train.states}, {**origin, "events": settings.events})
    save_collection(collection, folder / "collection")
    return collection


def train_generators(
    study: Study,
    names: Sequence[str] | None = None,
    collection: Path | None = None,
    folder: Path | None = None,
) -> dict[str, list[Generator]]:
    """Train the generators ``folder/<name>-seed<n>`` from a stored collection: by name, then seed.

    ``names``: of ``generators`` in params.yaml, None: all of them.
    """
    names = list(study.params.generators if names is None else names)
    stem = collection or study.folder / "adapters" / "collection"
    folder = folder or study.folder / "generator"
    # The longest first, so that no core is left waiting for it.
    longest = sorted(names, key=lambda name: -study.params.of_generator(name).task_batch)
    jobs = [(stem, folder, name, seed) for name in longest for seed in study.params.run.seeds]
    run_in_processes(_train_generator, study, jobs, "generators")
    stored = load_collection(stem)
    return {name: study.load_generators(name, stored, folder) for name in names}


def _train_generator(study: Study, stem: Path, folder: Path, name: str, seed: int) -> None:
    settings = study.params.of_generator(name)
    adapters = study.params.adapters
    sequences, backbone, about = study.load_frozen()
    collection = load_collection(stem, about)
    valid = frozen_events(backbone, sequences, "valid", adapters)
    losses = None
    if settings.task_batch:
        train, _ = training_events(study)
        losses = losses_on(train, adapters.objectives, settings.task_rows)
    checkpoint = study.checkpoint(f"{name}-seed{seed}")
    generator = train_generator(collection, settings, seed, valid, losses, name, checkpoint)
    tensors = generator.model.state_dict()
    save_tensors(folder / f"{name}-seed{seed}", tensors, generator.description)


def train_category_bias(study: Study) -> Tensor:
    """Tune and store `category_bias` for all evaluation weights and seeds: ``[S, W, M]``."""
    train, about = training_events(study)
    oracles = study.load_collection(about).oracles
    settings = study.params.adapters
    bias = end_to_end.tune_category_bias(train, oracles, settings, study.params.run.seeds)
    stem = study.folder / "rivals" / "category_bias"
    tensors = {"bias": bias.contiguous()}
    save_tensors(stem, tensors, study.about_category_bias(about))
    return bias


def train_rivals(study: Study, folder: Path | None = None) -> list[dict[str, end_to_end.EndToEnd]]:
    """Train and store ``rivals.end_to_end`` for each seed; return them by seed, then by name."""
    folder = folder or study.folder / "rivals"
    names = study.params.rivals.end_to_end
    jobs = [(folder, name, seed) for seed in study.params.run.seeds for name in names]
    run_in_processes(_train_rival, study, jobs, "rivals")
    return study.load_rivals(study.load_frozen()[-1], folder)


def _train_rival(study: Study, folder: Path, name: str, seed: int) -> None:
    train, about = training_events(study)
    origin = {"backbone": about["sha256"]}
    rival = end_to_end.train_end_to_end(name, train, study.params, seed, origin)
    save_tensors(folder / f"{name}-seed{seed}", rival.state_dict(), rival.description)


def retrain_all(study: Study) -> dict[tuple[tuple[float, ...], int], Fitted]:
    """Train and store a model for each weight and seed: ``{(weights, seed): curves}``."""
    weights = retrain.retrain_weights(study.params)
    tasks = list(product(range(len(weights)), study.params.run.seeds[: study.params.rivals.seeds]))
    fits = run_in_processes(_retrain, study, tasks, "models")
    rows = [tuple(row) for row in weights.numpy().round(4).tolist()]
    return {(rows[index], seed): fit for (index, seed), fit in zip(tasks, fits, strict=True)}


def _retrain(study: Study, index: int, seed: int) -> Fitted:
    sequences = study.load_sequences()
    weights = retrain.retrain_weights(study.params)[index]
    checkpoint = study.checkpoint(f"retrain-{index}-seed{seed}")
    model, fitted = retrain.retrain(
        study.backbone,
        sequences,
        study.params,
        weights,
        seed,
        device=study.device,
        checkpoint=checkpoint,
    )
    origin = retrain.retrain_origin(study.params, weights, seed)
    stem = retrain.retrain_stem(study.folder / "rivals", weights, seed)
    save_tensors(stem, model.state_dict(), {**origin, "training": asdict(fitted)})
    return fitted
