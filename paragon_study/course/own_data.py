"""Data of one's own, from tables to a recommender: notebook 08.

The stages of the study without its pipeline: everything lies in ``artifacts/NAME``, and neither
params.yaml nor ``results/`` change.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from paragon.backbones import BACKBONES, train_backbone
from paragon.data.sequences import save_sequences
from paragon.data.split import prepare
from paragon.data.table import Dataset
from paragon.errors import ParagonError
from paragon.params import ARTIFACTS, DATA, load_params
from paragon.serving.export import export_folder
from paragon.storage import check_name, write_text
from paragon_study.demo.build import build_page
from paragon_study.demo.bundle import make_bundle
from paragon_study.pipeline.jobs import train_category_bias, train_generators, tune_collection
from paragon_study.pipeline.settings import check_settings
from paragon_study.pipeline.study import Study, open_study

MARK = ".own"  # a file in the folder of every study that is made here
OTHERS = ("ablations", "notebooks", "transport")  # folders of artifacts/ that are no dataset
# Rivals that are of no use here, and would have to be trained.
WITHOUT = {"rivals": {"end_to_end": []}, "published": {"seeds": 0}}


def own_study(dataset: Dataset, backbone: str = "sasrec", settings: dict | None = None) -> Study:
    """Prepare a dataset, and the study in which a recommender is trained on it.

    ``settings``: other values than those of params.yaml, ``{section: {key: value}}``.  What was
    made here of an earlier dataset of this name is removed.  Raises ``ParagonError`` for a name
    under which the study has or made something else, and for data that are not enough.
    """
    name, folder = dataset.name, ARTIFACTS / dataset.name
    check_name(name, "dataset")
    if name in [*load_params().studies.datasets, *OTHERS] or (DATA / name).exists():
        raise ParagonError(
            f"dataset {name!r}: the study itself uses this name; give yours another name"
        )
    if folder.exists() and not (folder / MARK).exists():
        raise ParagonError(
            f"{folder}: not made of data of your own, and would be removed; give your dataset "
            "another name, or remove that folder yourself"
        )
    if backbone not in BACKBONES:
        raise ParagonError(f"backbone {backbone!r} is unknown; known: {', '.join(BACKBONES)}")
    given = settings or {}
    settings = given | {section: given.get(section, {}) | own for section, own in WITHOUT.items()}
    params = load_params(overrides=settings, backbone=backbone)
    check_settings(params, f"settings of {name} with {backbone}")
    sequences = prepare(dataset, **params.data.model_dump())
    shutil.rmtree(folder, ignore_errors=True)
    write_text(folder / MARK, "paragon_study.course.own_data may remove this folder\n")
    save_sequences(sequences, folder / "data")
    return open_study(name, backbone, overrides=settings, checked=False)


def train_own(study: Study) -> None:
    """Backbone, collection and generators, as notebooks 2 to 4 make them.

    Raises ``ParagonError`` for objectives that the data do not support.
    """
    sequences, params = study.load_sequences(), study.params
    model, fitted = train_backbone(study.backbone, sequences, params.backbones, study.device)
    study.save_backbone(model, sequences, fitted)
    tune_collection(study)
    train_generators(study)


def export_own(study: Study) -> Path:
    """The folder that :meth:`paragon.Recommender.load` and ``python -m paragon serve`` read."""
    folder = study.folder / "model"
    export_folder(folder, *study.load_served())
    return folder


def own_page(study: Study) -> Path:
    """The demo page of the study, one file that opens in a browser.

    It also shows the bias of categories of notebook 5, which is tuned for it.  Raises
    ``ParagonError`` for settings that the page cannot show.
    """
    page = study.folder / "demo.html"
    train_category_bias(study)
    write_text(page, build_page(make_bundle(study.load_trained()), study.load_sequences()))
    return page
