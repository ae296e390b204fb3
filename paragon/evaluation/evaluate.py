"""The evaluation of a study as a whole: what notebook 06 calls, and what results/ holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from paragon.evaluation import testbed
from paragon.evaluation.differences import from_generated
from paragon.evaluation.following import following
from paragon.evaluation.methods import all_rows
from paragon.evaluation.summary import few_anchors, headline, lacks_unit, over_seeds, summarise
from paragon.evaluation.trained import Trained
from paragon.metrics.checks import Measure
from paragon.params import EvaluationSettings
from paragon.storage import write_json, write_text


@dataclass(frozen=True)
class Results:
    """What was measured.

    ``curve``: one row per method, seed, protocol and evaluation weight; ``summary``:
    ``{method: {measure: number}}``; ``differences``: those of every method from `generated`.
    """

    curve: pd.DataFrame
    summary: dict[str, dict]
    differences: dict[str, dict]

    def write(self, folder: Path) -> None:
        """Write curve.csv, metrics.json, differences.json and headline.json, six digits each."""
        text = self.curve.to_csv(index=False, float_format="%.6g")
        write_text(folder / "curve.csv", text)
        write_json(folder / "metrics.json", self.summary)
        write_json(folder / "differences.json", self.differences)
        write_json(folder / "headline.json", headline(self.summary))


def evaluate(trained: Trained, settings: EvaluationSettings) -> Results:
    """Measure every method of ``METHODS`` at every evaluation weight, and sum it up."""
    curve = testbed.measure_rows(trained.bed, all_rows(trained))
    summary = summarise(curve, trained.bed.objectives)
    with_few = few_anchors(trained.collection, trained.test, settings.few_anchors)
    no_unit = lacks_unit(curve, "full", trained.bed.objectives)
    for method, measures in with_few.items():
        if no_unit:
            measures = {name: [Measure(None, no_unit)] for name in measures}
        summary[method] |= over_seeds(measures)
    for method, shares in following(trained.bed).items():
        summary[method] |= shares
    return Results(curve, summary, from_generated(trained.bed, settings.resamples))
