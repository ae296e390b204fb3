"""Two processes train what one trains; a training of which one process was killed goes on."""

import os
import subprocess
import sys
import time

import psutil
import pytest
import torch

from paragon.adapters.collection import load_collection
from paragon.backbones import load_backbone
from paragon.params import ROOT
from tests.conftest import write_study

TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node"]
# A process without torchrun, which takes as long to start as a training here.
ALONE = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
NO_CHANCE = {"loss": "softmax", "negatives": None, "dropout": 0.0}
EPOCHS = 20


@pytest.fixture(scope="module")
def start(tmp_path_factory, seqs):
    """Starts a training in a folder of its own: its process and that folder."""
    place = tmp_path_factory.mktemp("parallel")

    def begin(name, processes, epochs=EPOCHS, backbone="sasrec"):
        root, backbones = place / name, NO_CHANCE | {"epochs": epochs, "patience": epochs}
        write_study(root, seqs, backbone, backbones=backbones, run={"seeds": [0, 1, 2]})
        run, alone = ([*TORCHRUN, str(processes)], {}) if processes else ([], ALONE)
        environment = {**os.environ, **alone, "PARAGON_ROOT": str(root), "PARAGON_QUIET": "1"}
        process = subprocess.Popen(
            [sys.executable, *run, "-m", "paragon_study.pipeline.parallel", "toy", backbone],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return process, root / "artifacts" / "toy" / backbone / "parallel"

    return begin


@pytest.fixture(scope="module")
def of_two(start):
    """The folder of what two processes have trained."""
    process, folder = start("of-two", 2)
    code, output = ended(process)
    assert code == 0, output
    return folder


def ended(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.mark.slow
def test_two_processes_train_what_one_trains(start, of_two, seqs):
    process, of_one = start("of-one", 0)
    code, output = ended(process)
    assert code == 0, output
    models, collections = [], []
    for folder in (of_one, of_two):
        model, about = load_backbone(folder / "backbone", seqs)
        models.append((model, about["training"]["training"]))
        collections.append(load_collection(folder / "collection", about))
        assert sorted(path.name for path in folder.iterdir()) == [
            "backbone.json", "backbone.safetensors", "collection.json", "collection.safetensors"
        ]  # fmt: skip
    (one, losses), (two, shared) = models
    assert losses == pytest.approx(shared, rel=1e-5)
    for name, tensor in one.state_dict().items():
        assert torch.allclose(tensor, two.state_dict()[name], atol=2e-4), name
    alone, parts = collections
    assert alone.description["seeds"] == parts.description["seeds"] == [0, 1, 2]
    assert alone.anchor_vectors.shape == parts.anchor_vectors.shape
    for seed in range(3):  # every seed at its own place
        gaps = [(alone.anchor_vectors[seed] - other).norm() for other in parts.anchor_vectors]
        assert int(torch.stack(gaps).argmin()) == seed


@pytest.mark.slow
def test_a_training_of_which_one_process_was_killed_goes_on(start, of_two):
    process, folder = start("killed", 2)
    end = time.monotonic() + 120
    while not (folder / "backbone.checkpoint.safetensors").exists():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    psutil.Process(process.pid).children()[-1].kill()
    code, output = ended(process)
    assert code != 0 and "Signal 9 (SIGKILL)" in output
    assert not (folder / "backbone.json").exists()
    assert (folder / "backbone.checkpoint.safetensors").exists()
    process, _ = start("killed", 2)
    code, output = ended(process)
    assert code == 0, output
    for name in ("backbone.safetensors", "collection.safetensors"):
        assert (folder / name).read_bytes() == (of_two / name).read_bytes()
    code, output = ended(start("killed", 0, EPOCHS + 1)[0])
    assert code != 0 and "made with other settings; delete this folder" in output


@pytest.mark.slow
def test_a_graph_is_shared_as_well(start, seqs):
    states = []
    for name, processes in (("graph-one", 0), ("graph-two", 2)):
        process, folder = start(name, processes, 3, "lightgcn")
        code, output = ended(process)
        assert code == 0, output
        states.append(load_backbone(folder / "backbone", seqs)[0].state_dict())
    for name, tensor in states[0].items():
        assert torch.allclose(tensor, states[1][name], atol=2e-4), name
