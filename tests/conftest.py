"""A small synthetic dataset and an untrained backbone, for tests that need no data."""

import dataclasses
import os
import shutil
from types import SimpleNamespace

from paragon_study.pipeline.determinism import THREADS, choose_kernels

# As in the study: one thread, and the same numbers on every processor.  Libraries read these when
# they are loaded.
os.environ.update(dict.fromkeys(THREADS, "1"))
choose_kernels()
# joblib's number of cores: trainings of a second need no processes, and tests run side by side.
os.environ["LOKY_MAX_CPU_COUNT"] = "1"
os.environ.setdefault("PARAGON_QUIET", "1")

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import settings as hypothesis_settings
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_events
from paragon.backbones import build
from paragon.data.sequences import save_sequences
from paragon.data.split import prepare
from paragon.data.table import Dataset
from paragon.errors import ParagonError
from paragon.evaluation.methods import Trained
from paragon.evaluation.protocol import held_out
from paragon.generator.training import losses_on, train_generator
from paragon.params import ROOT, load_params

# `make test-all` runs every property on 1,000 examples, other ones each time; `make test` on few.
THOROUGH = bool(os.environ.get("PARAGON_THOROUGH"))
hypothesis_settings.register_profile(
    "paragon", max_examples=1000 if THOROUGH else 20, deadline=None, derandomize=not THOROUGH
)
hypothesis_settings.load_profile("paragon")

PARTS = ("train", "valid", "test")
# Over params.yaml: the study, made small, with so many steps that adapters leave their start.
SMALL = {
    "run": {"seeds": [0, 1]},
    "backbones": {"dim": 16, "history": 10, "epochs": 2, "batch": 16},
    "adapters": {"anchors": [0.05, 0.3, 0.6, 1], "oracles": 4, "served": 6, "searched": 8}
    | {"start_steps": 20, "steps": 100, "batch": 16, "checks": 5, "snapshots": 2, "width": 2}
    | {"learning_rate": 0.02},
    "generator": {"latent": None, "width": 16, "blocks": 1, "steps": 30, "batch": 16}
    | {"task_batch": 2, "task_rows": 16, "sampler_steps": 2},
    "generators": {"paragon": {"task_batch": 0, "sampler_steps": 50, "learning_rate": 0.001}},
    "rivals": {"seeds": 2, "weights": 2, "rows": 32, "width": 16, "blocks": 1},
}


def pytest_collection_modifyitems(items):
    """The slow tests first: at the end one core would wait for the other to finish them.

    The very first one runs the small study that others use, which come last of the slow ones.
    """

    def place(item):
        uses, makes = "run_once" in item.fixturenames, item.path.name == "test_pipeline.py"
        return "slow" not in item.keywords, uses and not makes, not makes

    items.sort(key=place)


def toy_dataset(users=40, items=150, seed=0) -> Dataset:
    """Users with 5 to 25 events each, ties in time, two categories an item."""
    rng = np.random.default_rng(seed)
    events = []
    for user in range(users):
        count = rng.integers(5, 26)
        chosen = rng.choice(items, size=count, replace=False)
        times = np.sort(rng.integers(1_000_000, 1_000_200, size=count))
        for item, time in zip(chosen, times, strict=True):
            events.append((f"u{user}", f"i{item}", float(rng.integers(1, 6)), time))
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "rating", "timestamp"])
    catalogue = {
        "item_id": [f"i{i}" for i in range(items)],
        "title": [f"Item {i}" for i in range(items)],
        "categories": [[*rng.choice(list("ABCDEF"), 2, replace=False)] for _ in range(items)],
    }
    people = {"user_id": [f"u{u}" for u in range(users)], "group": ["F", "M"] * (users // 2)}
    frame = frame.sample(frac=1, random_state=seed)
    return Dataset.from_frame(frame, catalogue, people, name="toy")


@pytest.fixture(scope="session")
def dataset():
    return toy_dataset()


@pytest.fixture(scope="session")
def seqs(dataset):
    return prepare(dataset, negatives=50)


def uneven(seqs):
    """The same events, of items with up to four categories: what was met changes the ideal."""
    categories = np.random.default_rng(0).random(seqs.categories.shape) < 1 / 3
    categories[0] = False  # padding
    return dataclasses.replace(seqs, categories=categories)


def write_study(root, seqs, backbone="sasrec", **changes):
    """The folder of a small study of ``seqs``: params.yaml with further changes, and the data."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["studies"] = {"datasets": {"toy": "toy"}, "backbones": [backbone]}
    own = {"data": {"negatives": 50}}  # as `seqs` has them
    for change in (SMALL, own, changes):
        for section, values in change.items():
            content[section] |= values
    content["overrides"] = {"toy": {}, backbone: {}}
    root.mkdir(exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    save_sequences(seqs, root / "artifacts" / "toy" / "data")


@pytest.fixture(scope="session")
def settings():
    return small()


def small(**changes):
    """The study's parameters, made small, with further changes of their sections."""
    return load_params(overrides={name: SMALL[name] | changes.get(name, {}) for name in SMALL})


def make_checkout(root, *cells):
    """A checkout in small: the parameters, and one notebook that takes a study and a backbone."""
    (root / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", root)
    add(root, "02_toy", *cells)
    return root


def add(root, name, *cells, parameters='study_name = "a"\nbackbone = "b"'):
    """A notebook of a checkout."""
    tagged = [new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters else []
    cells = [new_markdown_cell("# Toy"), *tagged, *map(new_code_cell, cells)]
    python = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": python})
    nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


def adapter_settings(**change):
    """The small section `adapters`, changed."""
    return small(adapters=change).adapters


@pytest.fixture(scope="session")
def backbone(seqs, settings):
    return build("sasrec", seqs, settings.backbones, seed=0).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def collection(backbone, seqs, settings):
    return collect(backbone, seqs, settings.adapters, [0, 1])


@pytest.fixture(scope="session")
def tasks(backbone, seqs, settings):
    """The frozen tasks of the training, validation and test events, by name."""
    return {part: frozen_events(backbone, seqs, part, settings.adapters) for part in PARTS}


def same_parameters(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def trained_study(seqs, backbone, settings):
    """What an evaluation needs, trained for a moment: adapters, generators, a random bias."""
    own, seeds = settings.adapters, settings.run.seeds
    valid, test, test_set = held_out(seqs, backbone, own, settings.evaluation.cutoffs)
    collection = collect(backbone, seqs, own, seeds, {"backbone": "its checksum"})
    train = frozen_events(backbone, seqs, "train", own)
    losses = losses_on(train, own.objectives, settings.generator.task_rows)
    generators = {
        name: [
            train_generator(collection, settings.of_generator(name), seed, valid, losses, name)
            for seed in seeds
        ]
        for name in settings.generators
    }
    weights = collection.oracles
    draw = torch.Generator().manual_seed(0)
    bias = torch.randn(len(seeds), len(weights), seqs.categories.shape[1], generator=draw)
    return Trained(
        valid=valid,
        test=test,
        test_set=test_set,
        collection=collection,
        weights=weights,
        generators=generators,
        learned=[{} for _ in seeds],
        category_bias=bias,
        retrain_weights=weights[:0],
        retrained={},
    )


class Planned:
    """Stands for a generator: the more weight on the first objective, the smaller the change."""

    def __init__(self, form, objectives, seed=0):
        self.form, self.objectives, self.asked = form, objectives, []
        self.model, draw = SimpleNamespace(latent=self), torch.Generator().manual_seed(seed)
        self.directions = 0.2 * torch.randn(len(objectives) - 1, form.size, generator=draw)

    def latents(self, weights):
        self.asked += weights.tolist()
        return weights[:, 1:]

    def decode(self, latents):
        return latents @ self.directions

    def generate(self, weights):
        return self.decode(self.latents(weights))


@pytest.fixture(scope="session")
def toy_study(seqs, backbone, settings):
    return trained_study(seqs, backbone, settings)


def tree(folder):
    """Every file below a folder with its content."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refused(named, function, *args, **kwargs):
    """The call raises ParagonError in a single line that names something, or all of several things.

    Keys, places, values and commands are named; the sentence around them may change.  Return it.
    """
    with pytest.raises(ParagonError) as caught:
        function(*args, **kwargs)
    line = str(caught.value)
    parts = [named] if isinstance(named, str) else named
    assert [part for part in parts if part not in line] == [] and "\n" not in line, line
    return line
