"""Do processors and builds of torch agree on the last digit, and GPUs within rounding?"""

import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_events
from paragon.backbones import BACKBONES, build
from paragon.generator.training import losses_on, train_generator
from paragon.params import ROOT
from paragon_study import command_line
from paragon_study.pipeline.determinism import KERNELS
from paragon_study.pipeline.study import Study

pytestmark = pytest.mark.slow

VERSIONS = {"torch": "2.13.0", "numpy": "2.4.6"}
DIGESTS = {
    "functions": "0e87c44a",
    "sasrec": "eedd74ad",
    "gru4rec": "4bed243a",
    "tisasrec": "5ae06579",
    "lightgcn": "39b66d76",
    "ngcf": "a70f56bf",
    "pinsage": "66b64f5e",
    "deepfm": "334b574b",
    "collection": "fb250fae",
    "interpolation": "eabb722d",
    "paragon": "712c816d",
    "generated": "77a336fa",
    "hypernetwork": "f3d90fea",
}
X86 = platform.machine() in ("x86_64", "AMD64")


def test_training_gives_the_same_bytes_on_every_processor():
    found = {"torch": torch.__version__.split("+")[0], "numpy": np.__version__}
    if found != VERSIONS or not X86:
        pytest.skip(f"the digests are of {VERSIONS} on x86-64, this is {found}")
    command = [sys.executable, "-m", "tests.study.training_digest"]
    printed = subprocess.check_output(command, cwd=ROOT, text=True)
    assert dict(line.split() for line in printed.splitlines()) == DIGESTS


def test_the_command_line_chooses_the_kernels_for_all_it_starts(monkeypatch):
    for name in KERNELS:
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr(command_line, "app", lambda: None)
    command_line.main()
    expected = KERNELS if X86 else dict.fromkeys(KERNELS, "before")
    assert {name: os.environ[name] for name in KERNELS} == expected


def test_nothing_that_is_measured_takes_what_the_processor_estimates():
    """Square roots of tensors, distances with them, and logarithms to the bases 2 and 10."""
    for path in sorted((ROOT / "paragon").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<!np)(?<!math)\.(sqrt|cdist|log2|log10)\(", text), path
        for call in re.findall(r"torch\.optim\.Adam.*", text):  # the others do: x / (sqrt(v) + e)
            assert "fused=True" in call, path


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU: nothing to compare with")
@pytest.mark.parametrize("name", list(BACKBONES))
def test_scores_tuning_and_generation_agree(name, seqs, settings):
    assert Study("d", "b", settings).device.type == "cuda"  # by default
    backbone, found = build(name, seqs, settings.backbones, seed=0).eval().requires_grad_(False), []
    for device in ("cpu", "cuda"):
        model = backbone.to(device)
        test = frozen_events(model, seqs, "test", settings.adapters)
        collection = collect(model, seqs, settings.adapters, [0])
        train = frozen_events(model, seqs, "train", settings.adapters)
        valid = frozen_events(model, seqs, "valid", settings.adapters)
        losses = losses_on(train, settings.adapters.objectives, 16)
        generator = train_generator(collection, settings.generator, 0, valid, losses)
        vectors = collection.anchor_vectors
        scores = test.catalogue_scores(vectors[0, 0].to(device)).cpu()
        found.append((scores, vectors, generator.generate([0.3, 0.7]).cpu()))
    for cpu, cuda in zip(*found, strict=True):
        assert torch.allclose(cpu, cuda, rtol=1e-2, atol=1e-3)
