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
from paragon.adapters.frozen import frozen_task
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
    """A dataset with ``events`` a user on average."""
    activity = rng.lognormal(0, 1.1, users)
    lengths = np.maximum(5, activity / activity.mean() * events).astype(int)
    popular = rng.lognormal(0, 1.6, items).cumsum()
    user = np.repeat(np.arange(users), lengths)
    item = np.searchsorted(popular / popular[-1], rng.random(len(user)))
    frame = pd.DataFrame({"user_id": user, "item_id": item, "timestamp": np.arange(len(user))})
    genres = rng.random((items, GENRES)) < 2 / GENRES
    catalogue = pd.DataFrame({"item_id": np.arange(items)})
    catalogue["categories"] = [[f"g{g}" for g in np.flatnonzero(row)] for row in genres]
    people = pd.DataFrame(
        {"user_id": np.arange(users), "group": np.where(np.arange(users) % 2, *"FM")}
    )
    return Dataset.from_frame(frame, catalogue, people)


def measured(action: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What an action gives, its processor seconds and by how many MB it raised the memory."""
    ctypes.CDLL(None).malloc_trim(0)  # memory that was freed before does not hide what is taken
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, start = _memory("VmRSS"), time.process_time()
    result = action()
    seconds = time.process_time() - start
    peak = _memory("VmHWM") - before
    return result, {"seconds": round(seconds, 3), "megabytes": round(peak, 1)}


def _memory(name: str) -> float:
    """A figure of this process, in MB; Linux alone has it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


def sizes_of(sequences: Sequences) -> dict[str, int]:
    """How many users, items and events there are."""
    events = len(sequences.items)
    return {"users": sequences.n_users, "items": sequences.n_items, "events": events}


@app.command()
def point(users: int, items: int, events: int, anchors: int, objectives: int) -> None:
    """Measure one size, and print it as JSON."""
    torch.set_num_threads(1)
    rng, settings = np.random.default_rng(0), load_params()
    names, few = OBJECTIVES[:objectives], {"steps": 100, "checks": 1, "snapshots": 0}
    own = settings.adapters.model_copy(update={**few, "objectives": names, "events": 20_000})
    prepare(synthetic(30, 900, 20, rng), negatives=99)  # code is loaded before anything is measured
    raw = synthetic(users, items, events, rng)
    found = {"anchors": anchors, "objectives": objectives}
    sequences, found[STEPS[0]] = measured(lambda: prepare(raw, negatives=99))
    # What is left: of a large catalogue not every item has an event.
    found |= sizes_of(sequences)
    backbone = build("sasrec", sequences, settings.backbones, 0)
    training = Training(backbone, sequences, settings.backbones)
    _, found[STEPS[1]] = measured(lambda: training.epoch(rng))
    backbone.eval().requires_grad_(False)
    train, found[STEPS[2]] = measured(lambda: frozen_task(backbone, sequences, "train", own))
    valid, test = (frozen_task(backbone, sequences, part, own) for part in ("valid", "test"))
    weights = torch.from_numpy(rng.dirichlet(np.ones(objectives), anchors)).float()  # [A, O]
    starts = start_vectors(train.form, anchors, [0])  # [1, A, P]
    _, found[STEPS[3]] = measured(lambda: tune(train, valid, weights, starts, own, [0]))

    def evaluate() -> None:
        test_set = TestSet(sequences, sequences.test, names, cutoffs=[10], task=test)
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
    rng, settings, each = np.random.default_rng(0), load_params(), 10
    ids = list(map(str, range(max(users, items))))
    item = rng.integers(1, items + 1, users * each)
    offsets = np.arange(users + 1) * each
    categories = np.zeros((items + 1, GENRES), dtype=bool)
    categories[np.arange(1, items + 1), rng.integers(GENRES, size=items)] = True
    met = Met.of(items, item, offsets[:-1], np.diff(offsets))

    def held_out(position: int, count: int) -> Evaluation:
        own = np.sort(rng.choice(users, count, replace=False))
        targets = item[offsets[own] + position]
        candidates = draw_candidates(own, targets, met, 99, rng)
        return Evaluation(own, np.full(count, position), candidates)

    def everything() -> None:
        sequences = Sequences(
            items=item, times=np.arange(len(item)), offsets=offsets,
            n_train=np.full(users, each - 2), categories=categories, groups=np.full(users, -1),
            valid=held_out(each - 2, tests), test=held_out(each - 1, tests), item_ids=ids[:items],
            titles=ids[:items], user_ids=ids[:users], category_names=ids[:GENRES], group_names=[],
            description={},
        )  # fmt: skip
        small = settings.backbones.model_copy(update={"dim": 16, "history": 10})
        backbone = build("sasrec", sequences, small, 0).eval().requires_grad_(False)
        own = settings.adapters.model_copy(update={"events": 2000})
        train, test = (frozen_task(backbone, sequences, e, own) for e in ("train", "test"))
        NegativeSampler(sequences).draw(np.arange(users), 1, rng)
        vectors = start_vectors(train.form, 4, [0])[0]  # [4, P]
        train.serve(vectors, torch.arange(8))
        names = own.objectives
        test_set = TestSet(sequences, sequences.test, names, cutoffs=[10], task=test)
        test_set.measure(Scores.of_adapter(test, vectors[0]))

    _, found = measured(everything)
    sizes = {"users": users, "items": items, "events": users * each, "test_events": tests}
    print(json.dumps(sizes | found))


@app.command()
def rows(millions: int = 100, memory: str = "1GB") -> None:
    """Make sequences of that many million interactions in 20 Parquet files, and print the cost.

    Their users have 165 events on average, in no order of time; one item for 270 events.
    """
    import duckdb  # of the extra `scale`

    torch.set_num_threads(1)
    rng, files, each = np.random.default_rng(0), 20, millions * 50_000
    items, users = millions * 3706, each // 165
    popular = rng.lognormal(0, 1.6, items).cumsum()

    def write(name: str, **columns: object) -> None:
        written = pd.DataFrame(columns)  # noqa: F841
        duckdb.sql(f"copy written to '{folder}/{name}' (format parquet)")

    with tempfile.TemporaryDirectory() as folder:
        for number in range(files):
            user = np.sort(rng.integers(users, size=each)) + number * users
            item = np.searchsorted(popular / popular[-1], rng.random(each))
            times = rng.permutation(each)
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
    """What this program prints with the arguments of a command, in a process of its own."""
    command = [sys.executable, __file__, *map(str, arguments)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        command, env=os.environ | one | {"PARAGON_QUIET": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def exponent(sizes: list[float], costs: list[float]) -> float:
    """The slope of log cost over log size between the last two points: constants matter less."""
    return round(float(np.polyfit(np.log(sizes[-2:]), np.log(costs[-2:]), 1)[0]), 2)


@app.callback()
def main(
    context: typer.Context,
    at_once: Annotated[int, typer.Option(help="Points measured side by side.")] = 1,
) -> None:
    """Measure every point, write growth.json and draw docs/growth.png."""
    if context.invoked_subcommand:
        return
    torch.set_num_threads(1)
    sizes = {
        name: [BASE | {name: int(BASE[name] * factor)} for factor in FACTORS.get(name, FACTORS[""])]
        for name in BASE
    }
    every = list({tuple(size.values()) for own in sizes.values() for size in own})
    with ThreadPoolExecutor(at_once) as pool:
        points = pool.map(lambda size: run_child("point", *size), every)
        measures = dict(zip(every, points, strict=True))
        found = {"machine": machine(), "base": BASE, "large": run_child("large"), "rows": {}}
    for name, own in sizes.items():
        points = [measures[tuple(size.values())] for size in own]
        factors = [round(point[name] / points[0][name], 2) for point in points]
        slopes = {
            step: {
                unit: exponent(factors, [max(p[step][unit], 1e-3) for p in points])
                for unit in ("seconds", "megabytes")
            }
            for step in STEPS
        }
        found["rows"][name] = {"factors": factors, "points": points, "exponents": slopes}
    write_json(ROOT / "benchmarks" / "growth.json", found)
    style.save_figure(draw(found), ROOT / "docs" / "growth.png")


@style.drawn
def draw(found: dict) -> Figure:
    """Times above, memory below, a column a step; dotted: in proportion to the size."""
    figure, axes = style.panels(7.2, 4, 2, len(STEPS), sharex=True, sharey="row")
    for row, unit in enumerate(("seconds", "megabytes")):
        for ax, step in zip(axes[row], STEPS, strict=True):
            for marker, (name, own) in zip("osD^v", found["rows"].items(), strict=True):
                costs = [max(p[step][unit], 1e-3) for p in own["points"]]
                ax.loglog(own["factors"], costs, marker=marker, markersize=4, label=name)
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
