"""All figures of the study, by chapter: each function takes data and returns a matplotlib Figure.

A notebook needs this one import: ``from paragon.report import figures``.
"""

from paragon.report.figures.ablations import changed_choices
from paragon.report.figures.control import control_curves, pareto_front
from paragon.report.figures.course import latent_steps, lines, sequence_in_time, shares_below
from paragon.report.figures.data import dataset_overview
from paragon.report.figures.diagrams import diagram
from paragon.report.figures.lead import lead
from paragon.report.figures.studies import (
    all_studies,
    published_curves,
    time_to_model,
    two_versions,
)
from paragon.report.figures.three import front_3d, ternary
from paragon.report.figures.training import training_curves, tuning_curves
from paragon.report.figures.transport import moved_adapters
from paragon.report.figures.vectors import latent_space, modes, nearest_distances
from paragon.report.style import save_figure

__all__ = [
    "all_studies",
    "changed_choices",
    "control_curves",
    "dataset_overview",
    "diagram",
    "front_3d",
    "latent_space",
    "latent_steps",
    "lead",
    "lines",
    "modes",
    "moved_adapters",
    "nearest_distances",
    "pareto_front",
    "published_curves",
    "save_figure",
    "sequence_in_time",
    "shares_below",
    "ternary",
    "time_to_model",
    "training_curves",
    "tuning_curves",
    "two_versions",
]
