"""Two processes train what one trains; a training of which one process was killed goes on."""

import multiprocessing
import os
import subprocess
import sys
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from paragon import params
from paragon.adapters.collection import load_collection
from paragon.backbones import load_backbone
from paragon.params import ROOT
from paragon_study.pipeline import parallel, study
from tests.conftest import refused, write_study
from tests.study.conftest import wait_until

NO_CHANCE = {"loss": "softmax", "negatives": None, "dropout": 0.0}
EPOCHS = 20
# Processes that start with the libraries loaded, which takes longer than a training here.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.study.test_parallel"])

pytestmark = pytest.mark.slow


def train(root, backbone="sasrec", rank=0, processes=1):
    """What a process of `torchrun` does in the study of a folder."""
    meeting = {"init_method": f"file://{root}/{processes}", "rank": rank, "world_size": processes}
    dist.init_process_group("gloo", **meeting)
    try:
        with (
            patch.object(params, "ROOT", root),
            patch.object(study, "ARTIFACTS", root / "artifacts"),
        ):
            parallel.run(study.open_study("toy", backbone, checked=False))
    finally:
        dist.destroy_process_group()


def started(root):
    """Two processes of a training."""
    (root / "2").unlink(missing_ok=True)
    both = [FORKS.Process(target=train, args=(root, "sasrec", rank, 2)) for rank in range(2)]
    for process in both:
        process.start()
    return both


def ended(processes):
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, seqs):
    """Makes the folder of a study, and names that of its trained models."""
    place = tmp_path_factory.mktemp("parallel")

    def make(name, epochs=EPOCHS, backbone="sasrec"):
        backbones = NO_CHANCE | {"epochs": epochs, "patience": epochs}
        write_study(place / name, seqs, backbone, backbones=backbones, run={"seeds": [0, 1, 2]})
        return place / name, place / name / "artifacts" / "toy" / backbone / "parallel"

    return make


@pytest.fixture(scope="module")
def of_two(folder):
    """The folder of what two processes trained."""
    root, made = folder("of-two")
    assert ended(started(root)) == [0, 0]
    return made


def test_two_processes_train_what_one_trains(folder, of_two, seqs):
    root, of_one = folder("of-one")
    train(root)
    models, collections = [], []
    for made in (of_one, of_two):
        model, about = load_backbone(made / "backbone", seqs)
        models.append((model.state_dict(), about["training"]["training"]))
        collections.append(load_collection(made / "collection", about))
        assert len(list(made.iterdir())) == 4  # no checkpoint is left
    (one, losses), (two, shared) = models
    assert losses == pytest.approx(shared, rel=1e-5)
    assert all(torch.allclose(one[name], two[name], atol=2e-4) for name in one)
    alone, parts = collections
    assert alone.description["seeds"] == parts.description["seeds"] == [0, 1, 2]
    assert alone.anchor_vectors.shape == parts.anchor_vectors.shape
    for seed in range(3):  # every seed at its own place
        gaps = [(alone.anchor_vectors[seed] - other).norm() for other in parts.anchor_vectors]
        assert int(torch.stack(gaps).argmin()) == seed


def test_a_training_of_which_one_process_was_killed_goes_on(folder, of_two):
    root, made = folder("killed")
    both = started(root)
    wait_until((made / "backbone.checkpoint.safetensors").exists, seconds=120)
    both[1].kill()
    assert 0 not in ended(both)
    assert not (made / "backbone.json").exists()
    assert (made / "backbone.checkpoint.safetensors").exists()
    assert ended(started(root)) == [0, 0]
    for name in ("backbone.safetensors", "collection.safetensors"):
        assert (made / name).read_bytes() == (of_two / name).read_bytes()
    folder("killed", EPOCHS + 1)
    refused((str(made), "`epochs`"), train, root)


def test_torchrun_starts_the_processes_and_a_graph_is_shared_as_well(folder, seqs):
    (root, of_one), (other, shared) = (folder(name, 3, "lightgcn") for name in ("one", "two"))
    train(root, "lightgcn")
    launcher = "-m torch.distributed.run --nproc-per-node 2 -m paragon_study.pipeline.parallel"
    done = subprocess.run(
        [sys.executable, *launcher.split(), "toy", "lightgcn"], cwd=ROOT,
        env=os.environ | {"PARAGON_ROOT": str(other)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two = (load_backbone(made / "backbone", seqs)[0].state_dict() for made in (of_one, shared))
    assert all(torch.allclose(one[name], two[name], atol=2e-4) for name in one)
