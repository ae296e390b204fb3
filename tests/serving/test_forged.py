"""Exported folders that were changed and given new checksums: refused before anything is made."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from paragon import Recommender
from paragon.serving.check import check_events, check_parameters
from paragon.storage import load_tensors, save_tensors
from tests.conftest import refused

HUGE = 2**31 - 2
FIELDS = [
    ("sequences", "item_ids", [*range(147)]),
    ("sequences", "item_ids", ["i1"] * 147),
    ("sequences", "titles", ["short"]),
    ("sequences", "titles", ["\ud800"] * 147),
    ("sequences", "category_names", ["A"]),
    ("sequences", "more", 1),
    ("backbone", "kind", "generator"),
    ("backbone", "backbone", "none"),
    ("backbone", "people", "no"),
    ("backbone", "settings.dim", 10**6),
    ("backbone", "settings.dim", "16"),
    ("backbone", "settings.layers", HUGE),
    ("backbone", "settings.history", HUGE),
    ("backbone", "settings.heads", 3),
    ("generator", "kind", "backbone"),
    ("generator", "seed", -1),
    ("generator", "floor", [0.1]),
    ("generator", "floor", [0.6, 0.6]),
    ("generator", "guidance", None),
    ("generator", "settings.blocks", HUGE),
    ("generator", "settings.width", HUGE),
    ("generator", "settings.diffusion_steps", 1001),
    ("generator", "settings.sampler_steps", 501),
    ("generator", "settings.network", "transformer"),
    ("generator", "collection.form.dim", 10**6),
    ("generator", "collection.form.width", 10**6),
    ("generator", "collection.form.categories", 5),
    ("generator", "collection.objectives", ["accuracy", "none"]),
    ("generator", "collection.objectives", ["novelty", "diversity"]),
    ("generator", "collection.objectives", ["diversity", "accuracy"]),
    ("paragon", "settings", []),
    ("paragon", "settings", [{"source": 9, "temperature": 1.0, "depth": 9, "weight": 0.5}]),
    ("paragon", "settings", [{"source": 0, "temperature": 0.0, "depth": 9, "weight": 0.5}]),
    ("paragon", "settings", [{"source": 0, "temperature": 5e-324, "depth": 9, "weight": 0.5}]),
    ("paragon", "settings", 5001 * [{"source": 0, "temperature": 1, "depth": 9, "weight": 0.5}]),
    ("backbone", "warning", 5),
    ("backbone", "warning", "weak\x1b[31m"),
]
CHANGES = {
    "double": lambda tensor: tensor.double() if tensor.dtype != torch.float64 else tensor.float(),
    "eight bits": lambda tensor: tensor.to(torch.float8_e4m3fn),  # torch cannot test these
    "another length": lambda tensor: torch.cat([tensor.flatten(), tensor.new_ones(1)]),
    "one more axis": lambda tensor: tensor.unsqueeze(0).clone(),
}


@pytest.fixture
def forge(exported, tmp_path):
    """Change a part of a copy of the export, and make all checksums anew."""
    whole = {part: load_tensors(exported / part, "") for part in ("paragon", "sequences")}
    whole |= {part: load_tensors(exported / part, "") for part in ("backbone", "generator")}
    folder = tmp_path / "model"

    def save(part, change):
        tensors, about = whole[part]
        tensors, about = dict(tensors), json.loads(json.dumps(about))
        change(tensors, about)
        about.pop("sha256")
        save_tensors(folder / part, tensors, about)
        return json.loads((folder / f"{part}.json").read_text())["sha256"]

    def forged(part, change):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(exported, folder)
        changed = save(part, change)
        if part != "paragon":
            save("paragon", lambda _, about: about["parts"].update({part: changed}))
        return folder

    return forged


@pytest.mark.parametrize(("part", "key", "value"), FIELDS)
def test_a_field_of_another_type_or_size_is_refused(forge, part, key, value):
    *sections, last = key.split(".")

    def change(_, about):
        for section in sections:
            about = about[section]
        about[last] = value

    line = refused((f"{part}.", "export"), Recommender.load, forge(part, change))
    assert last.rstrip("s") in line or f"{part}.safetensors: `" in line


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("part", ["paragon", "sequences", "backbone", "generator"])
def test_a_tensor_of_another_type_or_shape_is_refused(forge, exported, part, change):
    """Every third tensor of a part, other ones for each change."""
    names = sorted(load_tensors(exported / part, "")[0])
    for name in names[[*CHANGES].index(change) % 3 :: 3]:

        def one(tensors, _, name=name):
            tensors[name] = CHANGES[change](tensors[name])

        line = refused(f"{part}.safetensors: `", Recommender.load, forge(part, one))
        # Of arrays that go together, the length of one decides.
        assert f"`{name}`" in line or change == "another length"


def test_a_tensor_more_or_less_and_infinite_scores_are_refused(forge):
    for part in ("paragon", "sequences", "backbone", "generator"):
        folder = forge(part, lambda tensors, _: tensors.update(more=torch.zeros(2)))
        refused(f"{part}.safetensors: `more`", Recommender.load, folder)
        folder = forge(part, lambda tensors, _: tensors.pop(max(tensors)))
        refused(f"{part}.safetensors: `", Recommender.load, folder)
    huge = forge("generator", lambda tensors, _: tensors["latent.mean"].fill_(3e38))
    refused("not finite", Recommender.load, huge)
    beyond = forge("paragon", lambda tensors, _: tensors["weights"].mul_(2))
    refused("`weights`", Recommender.load, beyond)


def test_numbers_of_no_item_user_or_event_are_refused(seqs):
    stem = Path("model", "sequences")
    check_events(stem, seqs)
    for name, by in (("items", 1), ("items", -1), ("n_train", 99), ("groups", 9), ("offsets", 1)):
        wrong = replace(seqs, **{name: getattr(seqs, name) + by})
        refused(f"`{name}`", check_events, stem, wrong)
    refused("`offsets`", check_events, stem, replace(seqs, offsets=np.flip(seqs.offsets).copy()))
    for name, by in (("users", 40), ("positions", 99), ("candidates", 200)):
        changed = {name: getattr(seqs.test, name) + by}
        wrong = replace(seqs, test=replace(seqs.test, **changed))
        refused(f"`test.{name}`", check_events, stem, wrong)
    for name, value in (("units", 0), ("index", seqs.n_items + 1), ("groups", -1)):
        refused(f"`{name}`", check_parameters, stem, {name: torch.tensor([value])}, seqs)
