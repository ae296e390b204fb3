"""Evaluate a study, as notebook 06 does: measure all methods, summarise and compare them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from paragon.errors import ParagonError, shown
from paragon.evaluation.differences import REFERENCE, from_generated, shares_from_generated
from paragon.evaluation.methods import METHODS, Method, Trained, all_rows, named
from paragon.evaluation.protocol import measure_rows
from paragon.evaluation.shares import HEADLINE, MEASURES, all_choices, with_shares
from paragon.evaluation.slider import WANTED_OF, with_slider
from paragon.evaluation.summary import (
    Summary,
    over_seeds,
    per_user_control,
    significant,
    summarise,
)
from paragon.metrics.checks import Measure
from paragon.metrics.statistics import holm
from paragon.params import EvaluationSettings
from paragon.storage import write_json, write_text

# Measures that headline.json repeats for DVC: at shares of the accuracy, and of control.
SHARED = r"(kept|alpha_ndcg|possible)_[\d.]+"
CONTROL = ("regret_mean_full", "asked_acc", "asked_div", "moves")
FEW = 2000  # resamples for the hypervolume, which takes far longer than a mean


@dataclass(frozen=True)
class Results:
    """The measurements of all methods."""

    curve: pd.DataFrame  # a row for each method, seed, protocol and evaluation weight
    summary: Summary
    differences: Summary

    def write(self, folder: Path) -> None:
        """Write curve.csv, metrics.json, differences.json and headline.json, with six digits."""
        write_text(folder / "curve.csv", self.curve.to_csv(index=False, float_format="%.6g"))
        write_json(folder / "metrics.json", self.summary)
        write_json(folder / "differences.json", self.differences)
        write_json(folder / "headline.json", headline(self.summary))


def evaluate(trained: Trained, settings: EvaluationSettings) -> Results:
    """Measure all methods in two ways, and summarise both.

    First at the evaluation weights, for regret and control: the rows of the curve. Then at shares
    of the backbone's accuracy and on a slider, with settings that validation users chose among many
    more weights or strengths: no row of the curve enters there.
    """
    objectives = trained.test_set.objectives
    users = trained.test_set.evaluation.users  # [N]

    curve, measured = measure_rows(trained.test_set, all_rows(trained))
    summary = summarise(curve, objectives)
    for method, control_of in per_user_control(measured, users, objectives).items():
        summary[method] |= control_of
    differences = from_generated(measured, users, min(settings.resamples, FEW))

    choices = all_choices(trained, named(HEADLINE))
    kept, by_share = with_shares(choices, settings.shares)
    for measured_by in (kept, with_slider(choices)):
        for method, measures in measured_by.items():
            summary[method] |= over_seeds(measures)
    for method, more in shares_from_generated(by_share, users, settings.resamples).items():
        differences[method] = differences.get(method, {}) | more
    return Results(curve, summary, differences)


def evaluate_method(
    trained: Trained, name: str, method: Method, recorded: Results, settings: EvaluationSettings
) -> Results:
    """Add a new method to the ``recorded`` results of its study; train and write nothing.

    Of the others, `generated` and `tuned` alone are measured again, at shares of accuracy.
    Raise ``ParagonError`` for an unknown kind.
    """
    kinds = sorted({entry.kind for entry in METHODS.values()})
    if method.kind not in kinds:
        raise ParagonError(f"method {name}: kind {shown(method.kind)}; known: {', '.join(kinds)}")
    measured, _ = measure_rows(trained.test_set, all_rows(trained, {name: method}))
    curve = pd.concat([recorded.curve, measured])
    compared = curve[curve["method"].isin(("tuned", "tuned_alone", "constant", name))]
    row = summarise(compared, trained.test_set.objectives)[name]

    both = {name: method} | named([REFERENCE, WANTED_OF])
    choices = all_choices(trained, both)
    kept, by_share = with_shares(choices, settings.shares)
    if name in kept:
        row |= over_seeds(kept[name] | with_slider(choices).get(name, {}))
    else:
        none = Measure(None, "a method of `rows` has no settings to choose from")
        unknown = {f"{m}_{100 * s:g}": [none] for m in MEASURES for s in settings.shares}
        row |= over_seeds(unknown)
    users = trained.test_set.evaluation.users  # [N]
    by_method = shares_from_generated(by_share, users, settings.resamples)
    difference = by_method.get(name, {})
    return Results(
        curve=curve,
        summary=recorded.summary | {name: row},
        differences=recorded.differences | {name: corrected(difference, recorded.differences)},
    )


def corrected(difference: Mapping, recorded: Summary) -> dict[str, float | str | None]:
    """Adjust the p-values of a new method by Holm, for it and all ``recorded`` methods."""
    out = dict(difference)
    for measure, value in difference.items():
        if measure.endswith("_p") and value is not None:
            others = [row.get(measure) for row in recorded.values()]
            p_values = [value, *(p for p in others if p is not None)]
            out[f"{measure}_holm"] = significant(holm(np.array(p_values))[0])
    return out


def headline(summary: Mapping[str, Mapping]) -> dict[str, dict[str, float]]:
    """Select the measures of the README for methods at shares, without undefined numbers."""
    out = {}
    for method, row in summary.items():
        known = {key: value for key, value in row.items() if value is not None}
        shared = {key: value for key, value in known.items() if re.fullmatch(SHARED, key)}
        if shared:
            out[method] = shared | {key: known[key] for key in CONTROL if key in known}
    return out
