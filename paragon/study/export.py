"""A study's recommender as a folder; see :mod:`paragon.serving.export`."""

from __future__ import annotations

from pathlib import Path

from paragon.errors import ParagonError
from paragon.objectives.table import check_objectives
from paragon.params import ROOT
from paragon.serving.export import export_folder
from paragon.serving.recommender import Recommender
from paragon.study.study import open_study


def export_study(folder: Path, dataset: str, backbone: str, people: bool = False) -> Path:
    """Write the recommender of a study, with the generator of the first seed, to ``folder``.

    Raises ``ParagonError`` where a stage of the study has not run.
    """
    folder = _checked(folder)
    export_folder(folder, *open_study(dataset, backbone).load_served(), people)
    return folder


def move_to_study(old: Path, new: Path, dataset: str, backbone: str, people: bool) -> dict:
    """Write the backbone of a study with the control of the exported folder ``old`` to ``new``.

    Of the study only the stage `backbones` has to have run.  Returns the description of the map
    (:class:`paragon.adapters.transport.Transport`).  Raises ``ParagonError`` where the
    two recommenders do not fit (:mod:`paragon.adapters.transport`); then nothing is written.
    """
    new, recommender = _checked(new), Recommender.load(old)
    if new == old.resolve():
        raise ParagonError(f"{new} is the old recommender; choose another folder for the new one")
    study = open_study(dataset, backbone)
    sequences = study.load_sequences()
    model, about = study.load_backbone(sequences)
    check_objectives(recommender.objectives, sequences)
    moved = recommender.move_to(model, sequences).generator
    export_folder(new, sequences, model, about, moved, people)
    return moved.description["collection"]["moved"]


def _checked(folder: Path) -> Path:
    folder = folder.resolve()
    if folder == ROOT or folder in ROOT.parents:
        raise ParagonError(f"{folder} holds the study itself; choose another folder")
    return folder
