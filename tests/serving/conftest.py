"""A recommender of the small dataset, as a module and as an exported folder."""

import pytest

from paragon.adapters.collection import collect
from paragon.backbones import build, load_backbone, save_backbone, training_record
from paragon.backbones.training import Fitted
from paragon.generator.training import train_generator
from paragon.serving import measured
from paragon.serving.export import export_folder
from paragon.serving.recommender import Recommender

measured.BALANCES = 20  # instead of 100: a fifth of the time of an export


def make(name, seqs, settings):
    """A frozen backbone, untrained, and a generator for it."""
    model = build(name, seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    collection = collect(model, seqs, settings.adapters, [0], {"backbone": "0" * 64})
    return model, train_generator(collection, settings.generator, 0)


def export(folder, name, seqs, settings, model, generator, people=False):
    """Export as the command does, by way of a saved backbone."""
    fitted = Fitted(training=[1.0], validation=[-1.0], epochs=1, best_epoch=1)
    about = training_record(name, seqs, settings.backbones, fitted)
    stem = folder.parent / f"{folder.name}-backbone"
    save_backbone(model, about, stem)
    export_folder(folder, seqs, *load_backbone(stem, seqs), generator, people)
    return folder


@pytest.fixture(scope="session")
def made(seqs, settings):
    return make("sasrec", seqs, settings)


@pytest.fixture(scope="session")
def recommender(made, seqs):
    return Recommender(*made, seqs)


@pytest.fixture(scope="session")
def exported(made, seqs, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    return export(folder, "sasrec", seqs, settings, *made)


@pytest.fixture(scope="session")
def loaded(exported):
    return Recommender.load(exported)
