"""The same study on a CUDA GPU, where there is one: equal within rounding."""

import pytest
import torch

from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_task
from paragon.backbones import BACKBONES, build
from paragon.data.negatives import NegativeSampler
from paragon.generator.training import behaviour, train_generator
from paragon_study.pipeline.study import Study

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA GPU on this machine: nothing to compare with"
)
DEVICES = ("cpu", "cuda")


@pytest.mark.parametrize("name", list(BACKBONES))
def test_scores_agree(name, seqs, settings):
    assert Study("d", "b", settings).device.type == "cuda"  # by default
    model = build(name, seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    draw, form = torch.Generator().manual_seed(0), AdapterForm(model.dim, 2, 6)
    vector, scores = 0.1 * torch.randn(form.size, generator=draw), []
    for device in DEVICES:
        task = frozen_task(model.to(device), seqs, "test", settings.adapters)
        scores.append(task.catalogue_scores(vector.to(device)).cpu())
    assert torch.allclose(*scores, rtol=1e-3, atol=1e-4)


def test_tuning_and_generation_agree(backbone, seqs, settings):
    found = []
    for device in DEVICES:
        model = backbone.to(device)
        collection = collect(model, seqs, settings.adapters, [0])
        train = frozen_task(model, seqs, "train", settings.adapters)
        loss = behaviour(train, NegativeSampler(seqs), collection, 0, 16)
        generator = train_generator(collection, settings.generator, 0, loss, device)
        found.append((collection.anchor_vectors, generator.generate([0.3, 0.7]).cpu()))
    backbone.to("cpu")
    for cpu, cuda in zip(*found, strict=True):
        assert torch.allclose(cpu, cuda, rtol=1e-2, atol=1e-3)
