"""What is made of a study and used without it: a recommender's folder, and the demo page."""

from __future__ import annotations

from pathlib import Path

from paragon.data.fetch import load_dataset
from paragon.data.split import prepare
from paragon.errors import ParagonError
from paragon.objectives.table import check_objectives
from paragon.params import ARTIFACTS, DATA, ROOT, load_params
from paragon.serving.export import export_folder
from paragon.serving.recommender import Recommender
from paragon.storage import write_text
from paragon_study.demo.build import build_page
from paragon_study.demo.bundle import load_bundle, make_bundle, save_bundle
from paragon_study.pipeline.study import open_study


def export_study(folder: Path, dataset: str, backbone: str, people: bool) -> None:
    """Write the recommender of a study, with the generator of the first seed, to ``folder``.

    Raises ``ParagonError`` where a stage of the study has not run.
    """
    export_folder(_checked(folder), *open_study(dataset, backbone).load_served(), people)


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


def write_demo(target: Path | None, dataset: str, backbone: str, renew: bool) -> Path:
    """Build the page of a study from the data that was fetched and the study's bundle.

    ``target``: None for artifacts/demo.html; ``renew``: make the bundle anew from what the stages
    made, with the same bytes if nothing has changed.  Returns the page's path.  Raises
    ``ParagonError`` if something is missing or does not belong together, and for a study that the
    page cannot show.
    """
    target = target or ARTIFACTS / "demo.html"
    stem = ROOT / "docs" / "demo" / f"{dataset}-{backbone}"
    if renew:
        save_bundle(make_bundle(open_study(dataset, backbone).load_trained()), stem)
    rules = load_params(dataset=dataset, backbone=backbone).data
    sequences = prepare(load_dataset(dataset, DATA), **rules.model_dump())
    write_text(target, build_page(load_bundle(stem, sequences), sequences))
    return target
