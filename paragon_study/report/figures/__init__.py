"""All figures of the study: each function takes data and returns a matplotlib Figure.

A notebook needs this one import: ``from paragon_study.report import figures``.
"""

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
