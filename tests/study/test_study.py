"""What a study loads was made for it: with its settings, seeds, backbone and data."""

import os

import pytest
import torch

from paragon.adapters.collection import collect, save_collection
from paragon.adapters.frozen import frozen_task
from paragon.backbones import BACKBONES, train_backbone
from paragon.data.negatives import NegativeSampler
from paragon.errors import ParagonError
from paragon.evaluation.methods import model_of
from paragon.generator.generator import save_generator
from paragon.generator.training import train_generator
from paragon.params import load_params
from paragon.rivals.end_to_end import save_end_to_end, train_end_to_end
from paragon.study import study as module
from paragon.study.study import Study
from tests.conftest import SMALL


def changed(**sections):
    merged = {name: {**SMALL.get(name, {}), **values} for name, values in sections.items()}
    return load_params(overrides=SMALL | merged)


@pytest.fixture(scope="module")
def made(tmp_path_factory, seqs):
    """A study with a backbone, a collection, two generators and a rival, in a folder of its own."""
    folder = tmp_path_factory.mktemp("artifacts")
    before, module.ARTIFACTS = module.ARTIFACTS, folder
    settings = changed(rivals={"end_to_end": ["linear_subspace"]})
    study = Study("toy", "sasrec", settings)
    model, fitted = train_backbone("sasrec", seqs, settings.backbones)
    study.save_backbone(model, seqs, fitted)
    _, about = study.load_backbone(seqs)
    seeds, belongs = settings.run.seeds, {"backbone": about["sha256"]}
    collection = collect(model, seqs, settings.adapters, seeds, belongs)
    save_collection(collection, study.folder / "adapters" / "collection")
    collection = study.load_collection(about)

    task, sampler = frozen_task(model, seqs, "train", settings.adapters), NegativeSampler(seqs)
    for seed in seeds:
        generator = train_generator(collection, settings.generator, seed)
        save_generator(generator, study.folder / "generator" / f"seed{seed}")
        name, kind = "linear_subspace", model_of("linear_subspace")
        rival = train_end_to_end(name, kind, task, sampler, settings, seed, belongs)
        save_end_to_end(rival, study.folder / "rivals")
    yield study
    module.ARTIFACTS = before


def test_a_study_loads_what_was_made_for_it(made, seqs):
    model, about = made.load_backbone(seqs)
    collection = made.load_collection(about)
    generators = made.load_generators(collection)
    assert [g.description["seed"] for g in generators] == made.params.run.seeds
    assert [list(rivals) for rivals in made.load_rivals(about)] == [["linear_subspace"]] * 2
    assert torch.equal(model.item_vectors(), made.load_backbone(seqs)[0].item_vectors())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbones": {"dropout": 0.4}}, "backbones: made with other settings.*`dropout` differs"),
        ({"adapters": {"steps": 21}}, "adapters: made with other settings.*`steps` differs"),
        ({"run": {"seeds": [0, 2]}}, "adapters: made with other settings.*`seeds` differs"),
        ({"generator": {"sampler_steps": 3}}, "generator: made with.*`sampler_steps` differs"),
        ({"rivals": {"learning_rate": 0.1}}, "rivals: made with other .*`learning_rate` differs"),
    ],
)
def test_what_was_made_with_other_settings_is_refused(made, seqs, change, words):
    change = {"rivals": {"end_to_end": ["linear_subspace"]}} | change
    change["rivals"] = {"end_to_end": ["linear_subspace"]} | change["rivals"]
    other = Study("toy", "sasrec", changed(**change))

    def load_everything():
        _, about = other.load_backbone(seqs)
        other.load_generators(other.load_collection(about))
        other.load_rivals(about)

    with pytest.raises(ParagonError, match=words):
        load_everything()


@pytest.mark.parametrize(
    ("folder", "one", "other"),
    [
        ("generator", "seed0", "seed1"),
        ("rivals", "linear_subspace-seed0", "linear_subspace-seed1"),
    ],
)
def test_swapped_files_are_noticed(made, seqs, folder, one, other):
    def swap():
        for suffix in (".safetensors", ".json"):
            pair = [made.folder / folder / f"{name}{suffix}" for name in (one, other)]
            kept = pair[0].with_name("kept")
            os.replace(pair[0], kept)
            os.replace(pair[1], pair[0])
            os.replace(kept, pair[1])

    _, about = made.load_backbone(seqs)
    collection = made.load_collection(about)
    swap()
    try:
        with pytest.raises(ParagonError, match="field `seed` differs: 0 is expected, 1 was found"):
            made.load_generators(collection)
            made.load_rivals(about)
    finally:
        swap()


def test_another_backbone_or_other_data_are_noticed(made, seqs):
    name = next(name for name in BACKBONES if name != "sasrec")
    folder = made.folder.parent
    (folder / name).symlink_to(made.folder, target_is_directory=True)
    with pytest.raises(ParagonError, match="field `backbone` differs"):
        Study("toy", name, made.params).load_backbone(seqs)
    (folder / name).unlink()
