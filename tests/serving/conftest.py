"""A recommender of the small dataset, as a module and as an exported folder."""

import tempfile
from functools import cache
from pathlib import Path

import pytest

from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_events
from paragon.backbones import build, load_backbone, save_backbone
from paragon.backbones.training import Fitted
from paragon.generator.training import train_generator
from paragon.serving import export as export_module
from paragon.serving.export import export_folder
from paragon.serving.recommender import Recommender

export_module.BALANCES = 20  # instead of 100: a fifth of the time of an export


def make(name, seqs, settings):
    """A frozen backbone, untrained, its description, and a generator for it."""
    model = build(name, seqs, settings.backbones, seed=0)
    fitted = Fitted(training=[1.0], validation=[-1.0], epochs=1, best_epoch=1)
    with tempfile.TemporaryDirectory() as scratch:
        stem = Path(scratch, "backbone")
        save_backbone(model, seqs, settings.backbones, fitted, stem)
        model, about = load_backbone(stem, seqs)
    collection = collect(model, seqs, settings.adapters, [0], {"backbone": about["sha256"]})
    valid = frozen_events(model, seqs, "valid", settings.adapters)
    return model, about, train_generator(collection, settings.of_generator("paragon"), 0, valid)


def export(folder, seqs, made, people=False):
    export_folder(folder, seqs, *made, people)
    return folder


@pytest.fixture(scope="session")
def make_once(seqs, settings):
    return cache(lambda name: make(name, seqs, settings))


@pytest.fixture(scope="session")
def made(make_once):
    return make_once("sasrec")


@pytest.fixture(scope="session")
def other(make_once):
    """Another backbone, its description, and a generator for it."""
    return make_once("gru4rec")


@pytest.fixture(scope="session")
def recommender(made, seqs):
    return Recommender(made[0], made[2], seqs)


@pytest.fixture(scope="session")
def nobody(make_once, seqs, tmp_path_factory):
    """Exports without people, by name of the backbone."""
    folder = tmp_path_factory.mktemp("export")
    return cache(lambda name: export(folder / name, seqs, make_once(name)))


@pytest.fixture(scope="session")
def exported(nobody):
    return nobody("sasrec")


@pytest.fixture(scope="session")
def loaded(exported):
    return Recommender.load(exported)
