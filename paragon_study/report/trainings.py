"""Results of several trainings of a study as one: means and limits over trainings.

The study ``NAME-seedN`` is ``NAME`` with another seed throughout, from the recommender to the
generator. Where it is recorded, a training counts once, whatever number of seeds of adapters it
has, and intervals are over trainings.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from paragon.errors import ParagonError
from paragon.evaluation.summary import over_seeds, significant
from paragon.metrics.checks import Measure
from paragon.metrics.statistics import mean_interval
from paragon.storage import require

OTHER = re.compile(r"(?P<study>.+)-seed\d+")  # name of another training of a study
OF_A_NUMBER = ("_sd", "_low", "_high", "_note")  # endings that are no measures


def load_results(path: Path, stage: str = "evaluation") -> dict[str, Any]:
    """Read a JSON file that a stage wrote."""
    try:
        return json.loads(require(path, stage).read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8 or not JSON
        raise ParagonError(f"{path} cannot be read ({error}); run `dvc repro` again") from error


def is_another(folder: Path) -> bool:
    """Return whether ``<study>/<backbone>`` is another training of a study recorded beside it."""
    match = OTHER.fullmatch(folder.parent.name)
    if not match:
        return False
    first = folder.parents[1] / match["study"] / folder.name
    return (first / "metrics.json").exists()


def trainings_of(folder: Path) -> list[Path]:
    """List the recorded trainings of ``<study>/<backbone>``, itself first."""
    study = folder.parent
    others = sorted(study.parent.glob(f"{study.name}-seed*/{folder.name}/metrics.json"))
    return [folder, *(path.parent for path in others if OTHER.fullmatch(path.parts[-3]))]


def first_trainings(folders: Iterable[Path]) -> list[Path]:
    """Leave out the other trainings of studies that are recorded, too."""
    return [folder for folder in folders if not is_another(folder)]


def joined_metrics(folder: Path) -> dict[str, dict]:
    """Load metrics.json of a study; of several trainings, means and limits over them."""
    by_training = [load_results(path / "metrics.json") for path in trainings_of(folder)]
    first = by_training[0]
    if len(by_training) == 1:
        return first
    out = {}
    for method, row in first.items():
        names = [name for name in row if not name.endswith(OF_A_NUMBER)]
        rows = [of_training.get(method, {}) for of_training in by_training]
        out[method] = over_seeds({name: [_measure(row, name) for row in rows] for name in names})
    return out


def _measure(row: dict, name: str) -> Measure:
    value = row.get(name)
    if value is None:
        return Measure(None, row.get(f"{name}_note", "not measured in each training"))
    return Measure(value)


def joined_differences(folder: Path) -> dict[str, dict]:
    """Load differences.json of a study; of several trainings, means and limits over them.

    A p-value is then the largest of all trainings, and limits over seeds are over trainings.
    """
    by_training = [load_results(path / "differences.json") for path in trainings_of(folder)]
    first = by_training[0]
    if len(by_training) == 1:
        return first
    out: dict[str, dict] = {}
    for method, row in first.items():
        rows = [of_training.get(method, {}) for of_training in by_training]
        out[method] = {}
        for name in (name for name in row if f"{name}_p_holm" in row):
            values = [of_training.get(name) for of_training in rows]
            if any(value is None for value in values):
                continue  # a share that one training does not reach
            mean, low, high, _ = mean_interval(np.array(values, float))
            limits = {"low": low, "high": high, "seeds_low": low, "seeds_high": high}
            of_difference: dict[str, float | None] = {name: significant(mean)}
            for end, value in limits.items():
                of_difference[f"{name}_{end}"] = None if value is None else significant(value)
            for end in ("p", "p_holm"):
                p_values = [of_training.get(f"{name}_{end}") for of_training in rows]
                known = all(value is not None for value in p_values)
                of_difference[f"{name}_{end}"] = max(p_values) if known else None
            out[method] |= of_difference
    return out
