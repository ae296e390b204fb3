"""A study's recommender as a folder; see :mod:`paragon.serving.export`."""

from __future__ import annotations

from pathlib import Path

from paragon.errors import ParagonError
from paragon.params import ROOT
from paragon.serving.export import export_folder
from paragon.study.study import open_study


def export_study(folder: Path, dataset: str, backbone: str, people: bool = False) -> Path:
    """Write the recommender of a study, with the generator of the first seed, to ``folder``.

    Raises ``ParagonError`` where a stage of the study has not run.
    """
    folder = folder.resolve()
    if folder == ROOT or folder in ROOT.parents:
        raise ParagonError(f"{folder} holds the study itself; choose another folder")
    export_folder(folder, *open_study(dataset, backbone).load_served(), people)
    return folder
