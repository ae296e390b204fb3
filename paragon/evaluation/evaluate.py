"""Evaluate a whole study, as notebook 06 does, and write the results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from paragon.evaluation.differences import from_generated
from paragon.evaluation.methods import Trained, all_rows
from paragon.evaluation.protocol import measure_rows
from paragon.evaluation.summary import (
    few_anchors,
    headline,
    lacks_unit,
    over_seeds,
    per_user_control,
    summarise,
)
from paragon.metrics.checks import Measure
from paragon.params import EvaluationSettings
from paragon.storage import write_json, write_text


@dataclass(frozen=True)
class Results:
    """The measurements of all methods.

    ``curve``: a row for each method, seed, protocol and evaluation weight; the others:
    ``{method: {measure: number}}``.
    """

    curve: pd.DataFrame
    summary: dict[str, dict]
    differences: dict[str, dict]

    def write(self, folder: Path) -> None:
        """Write curve.csv, metrics.json, differences.json and headline.json, with six digits."""
        text = self.curve.to_csv(index=False, float_format="%.6g")
        write_text(folder / "curve.csv", text)
        write_json(folder / "metrics.json", self.summary)
        write_json(folder / "differences.json", self.differences)
        write_json(folder / "headline.json", headline(self.summary))


def evaluate(trained: Trained, settings: EvaluationSettings) -> Results:
    """Measure all methods at all evaluation weights, and summarise the results."""
    objectives, users = trained.test_set.objectives, trained.test_set.evaluation.users
    curve, measured = measure_rows(trained.test_set, all_rows(trained))
    summary = summarise(curve, objectives)
    with_few = few_anchors(trained.collection, trained.test, settings.few_anchors)
    no_unit = lacks_unit(curve, "full", objectives)
    for method, measures in with_few.items():
        if no_unit:
            measures = {name: [Measure(None, no_unit)] for name in measures}
        summary[method] |= over_seeds(measures)
    for method, shares in per_user_control(measured, users, objectives).items():
        summary[method] |= shares
    return Results(curve, summary, from_generated(measured, users, settings.resamples))
