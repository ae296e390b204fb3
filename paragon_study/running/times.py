"""Record how long each stage took here; times vary, so they are not committed."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from pydantic import NonNegativeFloat, ValidationError

from paragon.params import ROOT, Params, Section
from paragon.storage import write_text

STAGES = ("02_backbones", "03_adapters", "04_generator", "05_rivals", "06_evaluation")
RESULTS_OF = ("metrics.json", "differences.json")  # of `06_evaluation`, compared by `verify`
FOLDER = "artifacts/notebooks"


class StageTime(Section):
    """One run of a stage; ``results`` is the digest of an evaluation's numbers."""

    seconds: NonNegativeFloat
    finished: str
    results: str | None


def pipeline(params: Params) -> list[str]:
    """Name the stages of dvc.yaml, for example ``ml-100k/sasrec/06_evaluation``."""
    studies = [f"{d}/{b}" for d in params.studies.datasets for b in params.studies.backbones]
    data = [f"{dataset}/01_data" for dataset in params.studies.datasets]
    return [*data, *(f"{study}/{stage}" for study in studies for stage in STAGES), "compare"]


def load_times(root: Path = ROOT) -> dict[str, StageTime]:
    """Load the times of the stages that ran here, by name; skip broken records."""
    times = {}
    for path in sorted((root / FOLDER).rglob("*.time.json")):
        try:
            name = path.relative_to(root / FOLDER).as_posix().removesuffix(".time.json")
            times[name] = StageTime.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
    return times


def record_time(seconds: float, name: str, root: Path = ROOT) -> None:
    """Record the seconds that a stage took."""
    finished = datetime.now().astimezone().isoformat(" ", "minutes")
    study, _, stage = name.rpartition("/")
    results = digest(root / "results" / study) if stage == STAGES[-1] else None
    about = StageTime(seconds=round(seconds, 1), finished=finished, results=results)
    write_text(root / FOLDER / f"{name}.time.json", about.model_dump_json() + "\n")


def recomputed(root: Path = ROOT) -> list[tuple[str, str]]:
    """List the studies whose results are unchanged since an evaluation in this folder."""
    done = {tuple(name.split("/")): about.results for name, about in load_times(root).items()}
    return [
        (study[0], study[1])
        for *study, stage in done
        if stage == STAGES[-1] and done[*study, stage] == digest(root.joinpath("results", *study))
    ]


def digest(folder: Path) -> str:
    """Return the SHA-256 of a study's numbers."""
    parts = [folder / name for name in RESULTS_OF if (folder / name).exists()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()
