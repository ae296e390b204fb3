"""How cost grows: processor time and memory against the size of the data and of the study.

`python benchmarks/growth.py` measures each of its points in a process of its own, on one thread,
and writes benchmarks/growth.json and docs/growth.png; docs/scale.md explains both.  The data are
synthetic, with the statistics of MovieLens-1M: 165 events a user (log-normal), popularity of items
log-normal, 18 genres, about two an item.  Processor time is hardly changed by what else runs.

`python benchmarks/growth.py large --users 1000000 --items 1000000` shows that what holds no table
of users x items fits into memory at a size at which such a table would have 10^12 cells.
`python benchmarks/growth.py rows --millions 100` prepares data that are not read into memory.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from run import machine

from paragon.adapters.adapter import start_vectors
from paragon.adapters.collection import tune
from paragon.adapters.frozen import frozen_events
from paragon.backbones import build
from paragon.backbones.training import Training
from paragon.data.large import prepare_large
from paragon.data.negatives import NegativeSampler, draw_candidates
from paragon.data.sequences import Evaluation, Met, Sequences
from paragon.data.split import prepare
from paragon.data.table import Dataset
from paragon.evaluation.protocol import Scores, TestSet
from paragon.params import ROOT, load_params
from paragon.storage import write_json
from paragon_study.report import style

app = typer.Typer(invoke_without_command=True)
BASE = {"users": 302, "items": 3706, "events": 165, "anchors": 10, "objectives": 2}
FACTORS = {"": (1, 3, 10, 30), "objectives": (1, 1.5, 2)}  # three and four objectives
OBJECTIVES = ["accuracy", "diversity", "novelty", "fairness"]
STEPS = ("preprocessing", "training epoch", "states", "tuning", "evaluation")
GENRES = 18


def synthetic(users: int, items: int, events: int, rng: np.random.Generator) -> Dataset:
    """Make a random dataset, whose users have ``events`` events on average, and 5 at least."""
    activity = rng.lognormal(0, 1.1, users)
    lengths = np.maximum(5, activity / activity.mean() * events).astype(int)
    popular = rng.lognormal(0, 1.6, items).cumsum()
    user = np.repeat(np.arange(users), lengths)
    item = np.searchsorted(popular / popular[-1], rng.random(len(user)))
    frame = pd.DataFrame({"user_id": user, "item_id": item, "timestamp": np.arange(len(user))})
    genres = rng.random((items, GENRES)) < 2 / GENRES
    catalogue = pd.DataFrame({"item_id": np.arange(items)})
    catalogue["categories"] = [[f"g{g}" for g in np.flatnonzero(row)] for row in genres]
    groups = np.where(np.arange(users) % 2, "F", "M")
    people = pd.DataFrame({"user_id": np.arange(users), "group": groups})
    return Dataset.from_frame(frame, catalogue, people)


def measured(action: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return the result of an action, with its cost.

    The cost is its processor seconds, and by how many MB it raised the memory at most.
    """
    ctypes.CDLL(None).malloc_trim(0)  # memory that was freed before does not hide what is taken
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _memory("VmRSS")
    start = time.process_time()
    result = action()
    seconds = time.process_time() - start
    peak = _memory("VmHWM") - before
    return result, {"seconds": round(seconds, 3), "megabytes": round(peak, 1)}


def _memory(name: str) -> float:
    """Return a figure of this process, such as VmRSS, in MB; only Linux has it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


def sizes_of(sequences: Sequences) -> dict[str, int]:
    """Return the numbers of users, items and events."""
    events = len(sequences.items)
    return {"users": sequences.n_users, "items": sequences.n_items, "events": events}


@app.command()
def point(users: int, items: int, events: int, anchors: int, objectives: int) -> None:
    """Measure one size, and print it as JSON."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    settings = load_params()
    names = OBJECTIVES[:objectives]
    tuning = settings.adapters.model_copy(
        update={"steps": 100, "checks": 1, "snapshots": 0, "objectives": names, "events": 20_000}
    )
    prepare(synthetic(30, 900, 20, rng), negatives=99)  # code is loaded before anything is measured
    raw = synthetic(users, items, events, rng)
    found: dict[str, Any] = {"anchors": anchors, "objectives": objectives}
    sequences, found[STEPS[0]] = measured(lambda: prepare(raw, negatives=99))
    # What is left: of a large catalogue not every item has an event.
    found |= sizes_of(sequences)
    backbone = build("sasrec", sequences, settings.backbones, 0)
    training = Training(backbone, sequences, settings.backbones)
    _, found[STEPS[1]] = measured(lambda: training.epoch(rng))
    backbone.eval().requires_grad_(False)
    train, found[STEPS[2]] = measured(lambda: frozen_events(backbone, sequences, "train", tuning))
    valid = frozen_events(backbone, sequences, "valid", tuning)
    test = frozen_events(backbone, sequences, "test", tuning)
    weights = torch.from_numpy(rng.dirichlet(np.ones(objectives), anchors)).float()  # [A, O]
    starts = start_vectors(train.form, anchors, [0])  # [1, A, P]
    _, found[STEPS[3]] = measured(lambda: tune(train, valid, weights, starts, tuning, [0]))

    def evaluate() -> None:
        test_set = TestSet(sequences, sequences.test, names, cutoffs=[10], frozen=test)
        for vector in starts[0]:
            test_set.measure(Scores.of_adapter(test, vector))

    _, found[STEPS[4]] = measured(evaluate)
    print(json.dumps(found))


@app.command()
def large(
    users: int = 1_000_000,
    items: int = 1_000_000,
    tests: int = 128,
    memory: Annotated[float, typer.Option(help="GB beyond which allocation fails.")] = 0,
) -> None:
    """Draw, serve and evaluate without a table of users x items, and print what it took."""
    torch.set_num_threads(1)
    if memory:
        limit = int((_memory("VmSize") / 1024 + memory) * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    rng = np.random.default_rng(0)
    settings = load_params()
    each = 10  # events of a user
    ids = list(map(str, range(max(users, items))))
    item = rng.integers(1, items + 1, users * each)
    offsets = np.arange(users + 1) * each
    categories = np.zeros((items + 1, GENRES), dtype=bool)
    categories[np.arange(1, items + 1), rng.integers(GENRES, size=items)] = True
    met = Met.of(items, item, offsets[:-1], np.diff(offsets))

    def held_out(position: int, count: int) -> Evaluation:
        """Hold out the event at this position of ``count`` random users."""
        chosen = np.sort(rng.choice(users, count, replace=False))
        targets = item[offsets[chosen] + position]
        candidates = draw_candidates(chosen, targets, met, 99, rng)
        return Evaluation(chosen, np.full(count, position), candidates)

    def everything() -> None:
        sequences = Sequences(
            items=item,
            times=np.arange(len(item)),
            offsets=offsets,
            n_train=np.full(users, each - 2),
            categories=categories,
            groups=np.full(users, -1),
            valid=held_out(each - 2, tests),
            test=held_out(each - 1, tests),
            item_ids=ids[:items],
            titles=ids[:items],
            user_ids=ids[:users],
            category_names=ids[:GENRES],
            group_names=[],
            description={},
        )
        small = settings.backbones.model_copy(update={"dim": 16, "history": 10})
        backbone = build("sasrec", sequences, small, 0).eval().requires_grad_(False)
        tuning = settings.adapters.model_copy(update={"events": 2000})
        train = frozen_events(backbone, sequences, "train", tuning)
        test = frozen_events(backbone, sequences, "test", tuning)
        NegativeSampler(sequences).draw(np.arange(users), 1, rng)
        vectors = start_vectors(train.form, 4, [0])[0]  # [4, P]
        train.search(vectors, torch.arange(8))
        names = tuning.objectives
        test_set = TestSet(sequences, sequences.test, names, cutoffs=[10], frozen=test)
        test_set.measure(Scores.of_adapter(test, vectors[0]))

    _, found = measured(everything)
    sizes = {"users": users, "items": items, "events": users * each, "test_events": tests}
    print(json.dumps(sizes | found))


@app.command()
def rows(millions: int = 100, memory: str = "1GB") -> None:
    """Make sequences of that many million interactions in 20 Parquet files, and print the cost.

    Users have 165 events on average, in no order of time; there is an item for 270 events.
    """
    import duckdb  # of the extra `scale`

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    files = 20
    each = millions * 50_000  # interactions of a file
    users = each // 165  # of a file
    items = millions * 3706
    popular = rng.lognormal(0, 1.6, items).cumsum()

    def write(name: str, **columns: object) -> None:
        written = pd.DataFrame(columns)  # noqa: F841
        duckdb.sql(f"copy written to '{folder}/{name}' (format parquet)")

    with tempfile.TemporaryDirectory() as folder:
        for number in range(files):
            user = np.sort(rng.integers(users, size=each)) + number * users
            item = np.searchsorted(popular / popular[-1], rng.random(each))
            times = 10**9 + rng.permutation(each)
            write(f"{number:02}.parquet", user_id=user, item_id=item, timestamp=times)
            del user, item, times
        genres = [[f"g{g}"] for g in rng.integers(GENRES, size=items)]
        write("items", item_id=np.arange(items), categories=genres)
        del popular, genres
        duckdb.default_connection().close()
        start = time.perf_counter()
        sequences, found = measured(
            lambda: prepare_large(f"{folder}/*.parquet", f"{folder}/items", memory=memory)
        )
        found["wall_seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(sizes_of(sequences) | found | {"process_megabytes": round(_memory("VmHWM"))}))


def run_child(*arguments: object) -> dict:
    """Run a command of this program in its own process, on one thread; return what it prints."""
    command = [sys.executable, __file__, *map(str, arguments)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    variables = os.environ | one | {"PARAGON_QUIET": "1"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def exponent(sizes: list[float], costs: list[float]) -> float:
    """Return the slope of log cost over log size between the last two points.

    Of these, constant costs are the smallest share.
    """
    slope, _ = np.polyfit(np.log(sizes[-2:]), np.log(costs[-2:]), 1)
    return round(float(slope), 2)


@app.callback()
def main(
    context: typer.Context,
    at_once: Annotated[int, typer.Option(help="Points measured side by side.")] = 1,
) -> None:
    """Measure every point, write growth.json and draw docs/growth.png."""
    if context.invoked_subcommand:
        return
    torch.set_num_threads(1)
    grown: dict[str, list[tuple[int, ...]]] = {}  # by what grows: sizes, as arguments of `point`
    for name in BASE:
        variants = [
            BASE | {name: int(BASE[name] * factor)} for factor in FACTORS.get(name, FACTORS[""])
        ]
        grown[name] = [tuple(variant.values()) for variant in variants]
    distinct = list({size for sizes in grown.values() for size in sizes})
    with ThreadPoolExecutor(at_once) as pool:
        results = pool.map(lambda size: run_child("point", *size), distinct)
        measures = dict(zip(distinct, results, strict=True))
        found: dict[str, Any] = {"machine": machine(), "base": BASE, "large": run_child("large")}
    found["rows"] = {}
    for name, sizes in grown.items():
        points = [measures[size] for size in sizes]
        factors = [round(point[name] / points[0][name], 2) for point in points]
        slopes: dict[str, dict[str, float]] = {}
        for step in STEPS:
            slopes[step] = {}
            for unit in ("seconds", "megabytes"):
                costs = [max(point[step][unit], 1e-3) for point in points]
                slopes[step][unit] = exponent(factors, costs)
        found["rows"][name] = {"factors": factors, "points": points, "exponents": slopes}
    write_json(ROOT / "benchmarks" / "growth.json", found)
    style.save_figure(draw(found), ROOT / "docs" / "growth.png")


@style.drawn
def draw(found: dict) -> Figure:
    """Draw times above and memory below, a column per step.

    The dotted line is a cost in proportion to the size.
    """
    figure, axes = style.panels(7.2, 4, 2, len(STEPS), sharex=True, sharey="row")
    for row, unit in enumerate(("seconds", "megabytes")):
        for ax, step in zip(axes[row], STEPS, strict=True):
            for marker, (name, grown) in zip("osD^v", found["rows"].items(), strict=True):
                costs = [max(point[step][unit], 1e-3) for point in grown["points"]]
                ax.loglog(grown["factors"], costs, marker=marker, markersize=4, label=name)
            ax.loglog([1, 30], [costs[0], 30 * costs[0]], ":", color="0.6", label="in proportion")
            ax.set_xticks([1, 3, 10, 30], ["1", "3", "10", "30"])
            ax.xaxis.set_minor_locator(NullLocator())
            if not row:
                ax.set_title(step)
        axes[row][0].set_ylabel(("processor seconds", "memory, MB")[row])
    axes[1][len(STEPS) // 2].set_xlabel("times the smallest size")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


if __name__ == "__main__":
    app()
