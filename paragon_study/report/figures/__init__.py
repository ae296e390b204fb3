"""The figures of the study: functions that return a matplotlib Figure."""

# ruff: noqa: F401

from paragon_study.report.figures.curves import (
    control_curves,
    lead,
    pareto_front,
    two_versions,
)
from paragon_study.report.figures.data import (
    dataset_overview,
    lines,
    sequence_in_time,
    shares_below,
    training_curves,
    tuning_curves,
)
from paragon_study.report.figures.studies import all_studies
from paragon_study.report.figures.vectors import (
    latent_space,
    latent_steps,
    modes,
    nearest_distances,
)
from paragon_study.report.style import save_figure
