"""How long each stage took here, and how long is left: a record beside the artifacts.

Times vary from run to run, so no stage depends on them and nothing committed holds them.
artifacts/times.json also says which results were computed here: see :func:`recomputed`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from paragon.params import ROOT, Params, load_params
from paragon.storage import write_json

# What a first run is told, in seconds: two cores, this dataset, three seeds, the mean of the three
# backbones of the default study.
TYPICAL_OF = "ml-100k"
TYPICAL = {
    **{"01_data": 6, "02_backbones": 50, "03_adapters": 55, "04_generator": 115},
    **{"05_rivals": 130, "06_evaluation": 55, "compare": 1},
}
RESULTS_OF = ("metrics.json", "differences.json")  # what `06_evaluation` writes and is compared
SAID_EVERY = 60.0  # seconds: how far a stage is


def load_times(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """``{"06_evaluation ml-100k sasrec": {"seconds": ..., ...}}``; empty without a record."""
    path = root / "artifacts" / "times.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # only times: a broken record is begun anew
        return {}
    entries = record.items() if isinstance(record, dict) else ()
    return {name: own for name, own in entries if _is_stage(name, own)}


def _is_stage(name: str, own: object) -> bool:
    """Whether an entry of the record is one that :func:`stage_done` writes."""
    seconds = own.get("seconds") if isinstance(own, dict) else None
    timed = isinstance(seconds, int | float) and 0 <= seconds < math.inf
    return timed and (name == "compare" or len(name.split()) in (2, 3))


def pipeline(params: Params) -> list[str]:
    """The stages of dvc.yaml, as `load_times` names them."""
    data, *others, last = TYPICAL
    datasets, backbones = params.studies.datasets, params.studies.backbones
    studies = [f"{stage} {d} {b}" for d in datasets for b in backbones for stage in others]
    return [*(f"{data} {dataset}" for dataset in datasets), *studies, last]


def stage_begins(notebook: str, *study: str | None, root: Path = ROOT) -> str:
    """What the terminal says before a stage of the pipeline; nothing before anything else."""
    name = " ".join(filter(None, [notebook, *study]))
    if name not in pipeline(load_params(root / "params.yaml")):
        return ""
    expected = _expected([name], load_times(root))
    return f"{name} begins" if expected is None else f"{name}: about {in_words(expected)}"


@contextmanager
def said_from_time_to_time(notebook: str, line: Path) -> Iterator[None]:
    """Print how far a running notebook is, and how long that part will take.

    ``line``: the file in which :func:`paragon.progress.progress` keeps both.
    """
    over = threading.Event()

    def say() -> None:
        last = ""
        while not over.wait(SAID_EVERY):
            with suppress(OSError, ValueError):  # not there yet, or just being written
                now = line.read_text(encoding="utf-8")
                done, seconds = now.rsplit(",", 1)
                if now != last:
                    left = f", about {in_words(float(seconds))} left" if seconds else ""
                    print(f"{notebook}: {done}{left}", flush=True)
                last = now

    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


def stage_done(seconds: float, notebook: str, *study: str | None, root: Path = ROOT) -> str:
    """Record that a stage took so long; returns what the terminal says about it."""
    names = list(filter(None, study))
    name, record, run = " ".join([notebook, *names]), load_times(root), os.getpgrp()
    if record.get(name, {}).get("run") == run:  # of an earlier run in the same terminal
        record = {key: {**own, "run": None} for key, own in record.items()}
    finished = datetime.now().astimezone().isoformat(" ", "minutes")
    record[name] = {"seconds": round(seconds, 1), "finished": finished, "run": run}
    if notebook == "06_evaluation":
        record[name]["results"] = digest(root.joinpath("results", *names))
    write_json(root / "artifacts" / "times.json", record)
    stages = pipeline(load_params(root / "params.yaml"))
    took = f"{name} took {in_words(seconds)}"
    if name not in stages:
        return took
    left = [s for s in stages if record.get(s, {}).get("run") != run]
    said = f"stage {len(stages) - len(left)} of {len(stages)}: {took}"
    if not left:
        return f"{said}, the last one"
    expected = _expected(left, record)
    return said if expected is None else f"{said}, at most {in_words(expected)} left"


def recomputed(root: Path = ROOT) -> list[tuple[str, str]]:
    """Datasets and backbones whose results are as an evaluation in this folder wrote them."""
    found = []
    for name, own in load_times(root).items():
        notebook, *study = name.split()
        folder = root.joinpath("results", *study)
        if notebook == "06_evaluation" and own.get("results") == digest(folder) is not None:
            found.append((study[0], study[1]))
    return found


def digest(folder: Path) -> str | None:
    """SHA-256 of a study's numbers; None if there are none."""
    parts = [folder / name for name in RESULTS_OF if (folder / name).exists()]
    return hashlib.sha256(b"".join(p.read_bytes() for p in parts)).hexdigest() if parts else None


def in_words(seconds: float) -> str:
    """A duration as a person would say it: "8 s", "3 min", "1 h 10 min"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _expected(stages: list[str], record: dict[str, dict[str, Any]]) -> float | None:
    """Seconds: a stage's last time here, else its like's, else the typical one on this machine.

    None if nothing is known of one of them: another dataset may take a hundred times as long.
    """
    known: defaultdict[str, list[float]] = defaultdict(list)
    for name, own in record.items():
        known[_like(name)].append(own["seconds"])
    mean = {like: sum(times) / len(times) for like, times in known.items()}
    typical = {_like(f"{notebook} {TYPICAL_OF}"): own for notebook, own in TYPICAL.items()}
    both = [like for like in mean if like in typical]
    usual = sum(typical[like] for like in both)
    # The first seconds say little: most of them are for starting.
    factor = sum(mean[like] for like in both) / usual if usual > 30 else 1.0
    expected = {like: factor * own for like, own in typical.items()} | mean
    expected |= {name: own["seconds"] for name, own in record.items()}
    times = [expected.get(name, expected.get(_like(name))) for name in stages]
    return None if None in times else sum(filter(None, times))


def _like(stage: str) -> str:
    """What a stage has in common with others that take about as long: notebook and dataset."""
    notebook, *study = stage.split()
    return notebook if notebook == "compare" else f"{notebook} {study[0]}"
