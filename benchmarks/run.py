"""Seconds from new preference weights to a ready model: generate, tune, retrain, in one run.

Run by `make bench` once the pipeline has been through.  Writes
results/<study>/timing.json, results/<study>/<backbone>/timing.png and the table of
docs/results.md.  Times belong to a machine and change from run to run, so `dvc repro` takes none
and nothing here is an output of the pipeline.  The libraries choose the kernels that suit the
processor, as in a service, not the pipeline's, which are the same on all processors.

timing.json has a record for each backbone.  Its times are in seconds:

* generate: one adapter by the generator `generated`: condition, sampling with the guidance that was
  chosen for it, decoding, and the adapter installed as a module.  ``evaluations``: of the network,
  for one adapter; a step takes two with guidance and one without;
* paragon, paragon_transformer: the same by these generators; the transformer only where
  `generators` in params.yaml has it;
* tune: one adapter for one weight vector, from the common start, on cached states, as in
  notebook 03;
* retrain: backbone and adapter from scratch, as in notebook 05;
* prepare: what generation needs first, for one seed.  ``collection``: the adapters of all anchors,
  tuned together, and the common start (03); ``paragon``, ``generated``: the training of each (04);
* pays_after: for `paragon` and `generated`, the number of changes of the weights from which on
  generation, its part of `prepare` included, has taken no longer than `tune` or `retrain`; null:
  never;
* adapters_per_second: of `generated`, in a batch of 5,000;
* machine: what the times belong to.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import typer
from matplotlib import ticker
from matplotlib.figure import Figure

from paragon.adapters import collection as adapters
from paragon.adapters.adapter import Adapter, start_vectors
from paragon.adapters.frozen import frozen_events
from paragon.generator.generator import Generator
from paragon.generator.training import losses_on, train_generator
from paragon.objectives.weights import check_weights
from paragon.params import RESULTS, ROOT, load_params
from paragon.progress import progress
from paragon.rivals.retrain import retrain as train_anew
from paragon.storage import write_json, write_text
from paragon_study.pipeline.study import open_study
from paragon_study.report import style
from paragon_study.report.pages import with_block
from paragon_study.report.style import look
from paragon_study.report.tables import as_markdown

_CLAIM = 0.946  # of the time of retraining: the saving that the paper reports
_GENERATORS = {"paragon": "paragon", "generated": "generate"}  # their times in a record
_WORDS = {"paragon": "Paragon", "generated": "with task loss"}
_TIMED = {  # the words for a timing, and the method whose look it has
    "generate": ("generate, with task loss", "generated"),
    "paragon": ("generate, Paragon", "paragon"),
    "paragon_transformer": ("generate, transformer", "paragon_transformer"),
    "tune": ("tune an adapter", "tuned"),
    "retrain": ("retrain from scratch", "retrain"),
}


def seconds(action: Callable[[], object], runs: int, name: str) -> dict[str, float]:
    """Measure ``runs`` calls of an action: median (p50) and 99th percentile, in seconds.

    With more than three calls, one call before them is not counted.
    """
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
    """Return after how many changes of the weights generation has taken no longer; None: never.

    In seconds: ``first`` is what generation needs before the first change, ``generate`` what it
    needs for each change, ``other`` what the other way needs for each change.
    """
    gap = other - generate
    return math.ceil(first / gap) if gap > 0 else None


def machine() -> dict[str, object]:
    """Describe the machine that the times belong to."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    facts = {"cpu": model, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return {**facts, "python": platform.python_version(), "torch": torch.__version__}


@style.drawn
def time_to_model(timing: Mapping[str, Mapping[str, float]], machine: Mapping[str, Any]) -> Figure:
    """Draw the seconds from new weights to a ready model.

    A dot is at the median, a line leads to the 99th percentile.  ``timing`` has ``p50`` and ``p99``
    of every method.  With ``retrain`` among them, each is compared with it, and the published
    saving is marked.
    """
    order = sorted(timing, key=lambda m: -timing[m]["p50"])
    named = {m: _TIMED.get(m, (look(m).label, m)) for m in order}
    retrain = timing.get("retrain", {}).get("p50")
    figure, ax = style.panels(6, 0.9 + 0.36 * len(order))
    for row, method in enumerate(order):
        p50 = timing[method]["p50"]
        p99 = timing[method]["p99"]
        kind = look(named[method][1])
        ax.plot([p50, p99], [row, row], color=kind.colour, linewidth=1.6, zorder=2)
        face = "white" if method == "retrain" else kind.colour
        ax.plot(p50, row, kind.marker, color=kind.colour, mfc=face, markersize=6.5, zorder=3)
        ratio = _ratio(p50, retrain) if retrain and method != "retrain" else ""
        ax.annotate(
            f"{_human(p50)}{ratio}",
            xy=(max(p50, p99), row),
            xytext=(8, 0),
            textcoords="offset points",
            fontsize=7.5,
            va="center",
            bbox={"fc": "white", "ec": "none", "pad": 1},
        )
    values = [seconds[end] for seconds in timing.values() for end in ("p50", "p99")]
    if retrain:
        published = retrain * (1 - _CLAIM)
        values.append(published)
        ax.axvline(published, color="#777777", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        ax.annotate(
            f"published saving, {_CLAIM:.1%}",
            xy=(published, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3, 2),
            textcoords="offset points",
            fontsize=6.5,
            color="#555555",
            ha="right",
        )
    ax.set(xscale="log", xlim=(min(values) / 2, max(values) * 8), ylim=(-0.6, len(order) - 0.4))
    marks = [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 864000]
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(ticker.FixedLocator([m for m in marks if low <= m <= high]))
    ax.xaxis.set_major_formatter(lambda x, _: _human(x))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.6, zorder=0)
    ax.set_yticks(range(len(order)), [words for words, _ in named.values()])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("time from new weights to a ready model, log scale")
    facts = [f"{v}" if isinstance(v, str) else f"{v} {k}" for k, v in machine.items()]
    style.small_print(figure, "Dot: median; line: to the 99th percentile.", f"{', '.join(facts)}.")
    return figure


def _ratio(seconds: float, retrain: float) -> str:
    """Say how much faster or slower than retraining a method is, in two digits."""
    factor = retrain / seconds
    word = "faster"
    if factor <= 1:
        factor = 1 / factor
        word = "slower"
    digits = f"{float(f'{factor:.2g}'):,.0f}" if factor >= 10 else f"{factor:.1f}"
    return f"   {digits} × {word}"


def _human(seconds: float) -> str:
    """Write a duration in the unit that a person would use."""
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
    size, unit = next((u for u in units if seconds >= u[0] * 0.9995), units[-1])
    return f"{float(f'{seconds / size:.2g}'):g} {unit}"


def costs(results: Path) -> str:
    """Return the recorded times from new weights to a ready model, as a Markdown table.

    Records from before `paragon` was trained by default are left out.
    """
    rows = []
    for path in sorted(results.glob("*/timing.json")):
        for backbone, record in json.loads(path.read_text(encoding="utf-8")).items():
            if "paragon" not in record["prepare"]:
                continue
            rows += [cost_row(f"{path.parent.name}, {backbone}", name, record) for name in _WORDS]
    if not rows:
        return "*Not measured yet: `make bench` does it.*"
    return as_markdown(pd.DataFrame(rows), left=2)


def cost_row(study: str, name: str, record: Mapping[str, Any]) -> dict[str, str]:
    """Make one row of the table: a study and a generator."""
    generated = record[_GENERATORS[name]]
    p50 = 1000 * generated["p50"]
    p99 = 1000 * generated["p99"]
    prepare = record["prepare"]
    pays = record["pays_after"][name]
    return {
        "study": study,
        "generator": _WORDS[name],
        "generated, p50 (p99)": f"{p50:.1f} ms ({p99:.1f} ms)",
        "tuned": f"{record['tune']['p50']:.3g} s",
        "retrained": f"{record['retrain']['p50']:.3g} s",
        "collection": f"{prepare['collection']:.3g} s",
        "training": f"{prepare[name]:.3g} s",
        "pays against tuning": str(pays["tune"] or "never"),
        "against retraining": str(pays["retrain"] or "never"),
    }


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
    """Measure and record the times of one backbone, on an otherwise idle machine."""
    study = open_study(dataset, backbone)
    sequences, frozen, description = study.load_frozen()
    collection = study.load_collection(description)
    settings = study.params.adapters
    names = settings.objectives
    seed = collection.description["seeds"][0]
    fresh = np.random.default_rng(0).dirichlet(np.ones(len(names)), 20_000)
    draws = iter(fresh)

    def make(generator: Generator) -> Adapter:
        return Adapter.from_vector(generator.generate(next(draws))[0], generator.form)

    ready = {}
    models = {}
    for name in study.params.generators:
        models[name] = study.load_generators(name, collection)[0]
        runs = 20 if models[name].settings.network == "transformer" else 500
        times = seconds(partial(make, models[name]), runs, name)
        ready[_GENERATORS.get(name, name)] = {**times, "evaluations": evaluations(models[name])}
    batch = torch.from_numpy(fresh[:5000])
    many = seconds(lambda: models["generated"].generate(batch), 5, "batches")

    train = frozen_events(frozen, sequences, "train", settings)
    valid = frozen_events(frozen, sequences, "valid", settings)
    untrained = start_vectors(train.form, len(settings.anchors), [seed])  # [1, A, P]
    common = adapters.common_start(train, untrained, settings, [seed])  # [1, A, P]
    alone = settings.model_copy(update={"checks": 1, "snapshots": 0})

    def tune() -> None:
        weights = check_weights(next(draws), names)
        adapters.tune(train, valid, weights, common[:, :1], alone, [seed])

    def retrain() -> None:
        weights = check_weights(next(draws), names)[0]
        train_anew(backbone, sequences, study.params, weights, 0, study.device)

    def collect() -> None:
        starts = adapters.common_start(train, untrained, settings, [seed])
        adapters.tune(train, valid, collection.anchors, starts, settings, [seed])

    def learn(name: str) -> None:
        recipe = study.params.of_generator(name)
        losses = losses_on(train, names, recipe.task_rows) if recipe.task_batch else None
        train_generator(collection, recipe, seed, valid, losses, name)

    others = {
        "tune": seconds(tune, tunes, "tune"),
        "retrain": seconds(retrain, retrains, "retrain"),
    }
    prepare = {"collection": seconds(collect, 1, "collection")["p50"]}
    for name in _GENERATORS:
        prepare[name] = seconds(partial(learn, name), 1, name)["p50"]
    pays: dict[str, dict[str, int | None]] = {}
    for name, key in _GENERATORS.items():
        first = prepare["collection"] + prepare[name]
        each = ready[key]["p50"]
        pays[name] = {}
        for other, times in others.items():
            pays[name][other] = pays_after(first, each, times["p50"])
    record = {
        "machine": machine(),
        **ready,
        **others,
        "prepare": prepare,
        "pays_after": pays,
        "adapters_per_second": float(f"{len(batch) / many['p50']:.4g}"),
    }

    path = RESULTS / dataset / "timing.json"
    timing = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, timing | {backbone: record})
    figure = time_to_model({key: record[key] for key in (*ready, *others)}, record["machine"])
    style.save_figure(figure, study.results / "timing.png")
    page = ROOT / "docs" / "results.md"
    write_text(page, with_block(page.read_text(encoding="utf-8"), "costs", costs(RESULTS)))
    typer.echo(json.dumps(record, indent=2))


def evaluations(generator: Generator) -> int:
    """Return how often the network is evaluated for one adapter: with guidance, twice a step."""
    per_step = 1 if generator.guidance in (0, 1) else 2
    return generator.settings.sampler_steps * per_step


if __name__ == "__main__":
    typer.run(main)
