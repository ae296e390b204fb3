"""A whole study in small, and an exported folder."""

import pytest

from paragon.adapters.frozen import frozen_events
from paragon.backbones import train_backbone
from paragon.data.sequences import save_sequences
from paragon.params import load_params
from paragon.rivals.end_to_end import train_end_to_end
from paragon.storage import save_tensors
from paragon_study.pipeline import study as module
from paragon_study.pipeline.jobs import (
    _retrain,
    _train_generator,
    train_category_bias,
    tune_collection,
)
from paragon_study.pipeline.study import Study
from tests.conftest import SMALL
from tests.data.conftest import own, small_copies  # noqa: F401
from tests.serving.conftest import exported, loaded, made, make_once, nobody, recommender  # noqa: F401


def with_settings(**sections):
    """The study's parameters in small, changed."""
    rivals = {"end_to_end": ["linear_subspace"], "retrain_weights": [0, 1], "epochs": 1, "seeds": 1}
    small = SMALL | {"rivals": SMALL["rivals"] | rivals, "data": {"negatives": 50}}
    return load_params(
        overrides=small | {name: small.get(name, {}) | change for name, change in sections.items()}
    )


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory, seqs):
    """The artifacts of a study: everything that is stored between stages."""
    folder = tmp_path_factory.mktemp("artifacts")
    before, module.ARTIFACTS = module.ARTIFACTS, folder
    settings = with_settings()
    study = Study("toy", "sasrec", settings)
    save_sequences(seqs, folder / "toy" / "data")
    model, fitted = train_backbone("sasrec", seqs, settings.backbones)
    study.save_backbone(model, seqs, fitted)
    _, about = study.load_backbone(seqs)
    belongs = {"backbone": about["sha256"]}
    tune_collection(study)
    stem = study.folder / "adapters" / "collection"
    task = frozen_events(model, seqs, "train", settings.adapters)
    name = "linear_subspace"
    for seed in settings.run.seeds:
        for generator in settings.generators:
            _train_generator(study, stem, study.folder / "generator", generator, seed)
        rival = train_end_to_end(name, task, settings, seed, belongs)
        rivals = study.folder / "rivals"
        save_tensors(rivals / f"{name}-seed{seed}", rival.state_dict(), rival.description)
    train_category_bias(study)
    for index in range(2):
        _retrain(study, index, 0)
    yield folder
    module.ARTIFACTS = before
