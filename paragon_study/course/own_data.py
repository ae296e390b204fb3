"""Train a recommender on your own data, outside the pipeline: notebook 08, ``artifacts/NAME``."""

import shutil
from pathlib import Path

from paragon.backbones import BACKBONES, train_backbone
from paragon.data.sequences import save_sequences
from paragon.data.split import prepare
from paragon.data.table import Dataset
from paragon.errors import ParagonError
from paragon.params import ARTIFACTS, DATA, load_params, merge_sections
from paragon.rivals.baselines import beside_baselines
from paragon.serving.export import export_folder
from paragon.storage import write_text
from paragon_study.demo.page import build_page, make_bundle
from paragon_study.pipeline.jobs import train_category_bias, train_generators, tune_collection
from paragon_study.pipeline.settings import check_settings
from paragon_study.pipeline.study import Study, open_study

MARK = ".own"  # a file that marks folders made here
OTHERS = ("ablations", "notebooks")  # folders of artifacts/ without a study
# Skip rivals that would have to be trained.
WITHOUT: dict = {"rivals": {"end_to_end": []}}


def new_study(dataset: Dataset, backbone: str = "sasrec", settings: dict | None = None) -> Study:
    """Prepare a dataset and open its study, with changed ``settings``; replace an earlier one."""
    name = dataset.name
    folder = ARTIFACTS / name
    studies = load_params().studies
    named = name in (*studies.datasets, *studies.others, *OTHERS)
    used_by_study = named or (DATA / name).exists()
    holds_other = folder.exists() and not (folder / MARK).exists()
    if used_by_study or holds_other:
        used = f"the study uses this name, or {folder} holds something else"
        raise ParagonError(f"dataset {name!r}: {used}; give yours another name")
    if backbone not in BACKBONES:
        raise ParagonError(f"backbone {backbone!r} is unknown; known: {', '.join(BACKBONES)}")
    overrides = merge_sections(settings or {}, WITHOUT)
    study = open_study(name, backbone, overrides, checked=False)
    check_settings(study.params, f"settings of {name} with {backbone}")
    sequences = prepare(dataset, **study.params.data.model_dump())
    shutil.rmtree(folder, ignore_errors=True)
    write_text(folder / MARK, "paragon_study.course.own_data may remove this folder\n")
    save_sequences(sequences, folder / "data")
    return study


def train(study: Study) -> None:
    """Train backbone, collection and generators, as notebooks 2 to 4 do."""
    sequences = study.load_sequences()
    settings = study.params.backbones
    model, fitted = train_backbone(study.backbone, sequences, settings, study.device)
    study.save_backbone(model, sequences, fitted)
    print(beside_baselines(-min(fitted.validation), sequences))
    tune_collection(study)
    train_generators(study)


def export(study: Study) -> Path:
    """Write the folder that :meth:`paragon.Recommender.load` and ``paragon serve`` read."""
    folder = study.folder / "model"
    export_folder(folder, *study.load_served())
    return folder


def build_demo(study: Study) -> Path:
    """Tune the category bias, then write the demo page of the study."""
    train_category_bias(study)
    bundle = make_bundle(study.load_trained())
    path = study.folder / "demo.html"
    write_text(path, build_page(bundle, study.load_sequences()))
    return path
