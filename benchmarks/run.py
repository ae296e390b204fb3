"""Seconds from new preference weights to a ready model: generate, tune, retrain, in one run.

Run by `make bench` once the pipeline has been through.  Writes
results/<dataset>/timing.json, results/<dataset>/<backbone>/timing.png and the table of
docs/results.md.  Times
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
from collections.abc import Callable, Mapping
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
from paragon.adapters.frozen import frozen_task
from paragon.generator.training import behaviour, train_generator
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
_TIMED = {  # the words for a timing, and the method whose look it has
    "generate": ("generate", "generated"),
    "tune": ("tune an adapter", "tuned"),
    "retrain": ("retrain from scratch", "retrain"),
}


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


@style.drawn
def time_to_model(timing: Mapping[str, Mapping[str, float]], machine: Mapping[str, Any]) -> Figure:
    """Seconds from new weights to a ready model: dot at the median, line to the 99th percentile.

    ``timing`` has ``p50`` and ``p99`` of every method.  With ``retrain`` among them, each is
    compared with it, and the published saving is marked.
    """
    order = sorted(timing, key=lambda m: -timing[m]["p50"])
    named = {m: _TIMED.get(m, (look(m).label, m)) for m in order}
    retrain = timing.get("retrain", {}).get("p50")
    figure, ax = style.panels(6, 0.9 + 0.36 * len(order))
    for row, method in enumerate(order):
        p50, p99 = timing[method]["p50"], timing[method]["p99"]
        kind = look(named[method][1])
        ax.plot([p50, p99], [row, row], color=kind.colour, linewidth=1.6, zorder=2)
        face = "white" if method == "retrain" else kind.colour
        ax.plot(p50, row, kind.marker, color=kind.colour, mfc=face, markersize=6.5, zorder=3)
        ratio = _ratio(p50, retrain) if retrain and method != "retrain" else ""
        ax.annotate(
            f"{_human(p50)}{ratio}", (max(p50, p99), row), (8, 0), fontsize=7.5, va="center",
            textcoords="offset points", bbox={"fc": "white", "ec": "none", "pad": 1},
        )  # fmt: skip
    values = [seconds[end] for seconds in timing.values() for end in ("p50", "p99")]
    if retrain:
        values.append(line := retrain * (1 - _CLAIM))
        ax.axvline(line, color="#777777", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        ax.annotate(
            f"published saving, {_CLAIM:.1%}", (line, 1), xycoords=("data", "axes fraction"),
            xytext=(-3, 2), textcoords="offset points", fontsize=6.5, color="#555555", ha="right",
        )  # fmt: skip
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
    about = ", ".join(f"{v}" if isinstance(v, str) else f"{v} {k}" for k, v in machine.items())
    style.small_print(figure, "Dot: median; line: to the 99th percentile.", f"{about}.")
    return figure


def _ratio(seconds: float, retrain: float) -> str:
    """How much faster or slower than retraining, in two digits."""
    factor = retrain / seconds
    factor, word = (factor, "faster") if factor > 1 else (1 / factor, "slower")
    digits = f"{float(f'{factor:.2g}'):,.0f}" if factor >= 10 else f"{factor:.1f}"
    return f"   {digits} × {word}"


def _human(seconds: float) -> str:
    """A duration in the unit a person would use."""
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
    size, unit = next((u for u in units if seconds >= u[0] * 0.9995), units[-1])
    return f"{float(f'{seconds / size:.2g}'):g} {unit}"


def costs(results: Path) -> str:
    """Markdown: the time from new weights to a ready model, as `make bench` recorded it."""
    rows = {}
    for path in sorted(results.glob("*/timing.json")):
        for backbone, record in json.loads(path.read_text(encoding="utf-8")).items():
            fast, slow = (1000 * record["generate"][end] for end in ("p50", "p99"))
            pays = record["pays_after"]
            rows[f"{path.parent.name}, {backbone}"] = {
                "generated, p50 (p99)": f"{fast:.1f} ms ({slow:.1f} ms)",
                "tuned": f"{record['tune']['p50']:.3g} s",
                "retrained": f"{record['retrain']['p50']:.3g} s",
                "collection": f"{record['prepare']['collection']:.3g} s",
                "generator": f"{record['prepare']['generator']:.3g} s",
                "pays against tuning": str(pays["tune"] or "never"),
                "against retraining": str(pays["retrain"] or "never"),
            }
    return as_markdown(pd.DataFrame.from_dict(rows, orient="index").rename_axis("study"))


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
    starts = start_vectors(train.form, len(settings.anchors), [0])

    def tune() -> None:
        weights = check_weights(next(draws), names)
        adapters.tune(train, valid, weights, starts[:, :1], alone, seeds=[0])

    def collect() -> None:
        adapters.tune(train, valid, collection.anchors, starts, settings, seeds=[0])

    def learn() -> None:
        own, seed = study.params.generator, collection.description["seeds"][0]
        extra = behaviour(train, names, own.behaviour_rows)
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
    page = ROOT / "docs" / "results.md"
    write_text(page, with_block(page.read_text(encoding="utf-8"), "costs", costs(RESULTS)))
    typer.echo(json.dumps(timing[backbone], indent=2))


if __name__ == "__main__":
    typer.run(main)
