"""The same study on a CUDA GPU, where there is one: equal within rounding."""

import pytest
import torch

from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_task
from paragon.backbones import BACKBONES, build
from paragon.data.negatives import NegativeSampler
from paragon.generator.training import behaviour, train_generator
from paragon_study.pipeline.study import Study

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA GPU on this machine: nothing to compare with"
)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_scores_tuning_and_generation_agree(name, seqs, settings):
    assert Study("d", "b", settings).device.type == "cuda"  # by default
    backbone, found = build(name, seqs, settings.backbones, seed=0).eval().requires_grad_(False), []
    for device in ("cpu", "cuda"):
        model = backbone.to(device)
        test = frozen_task(model, seqs, "test", settings.adapters)
        collection = collect(model, seqs, settings.adapters, [0])
        train = frozen_task(model, seqs, "train", settings.adapters)
        loss = behaviour(train, NegativeSampler(seqs), collection, 0, 16)
        generator = train_generator(collection, settings.generator, 0, loss, device)
        vectors = collection.anchor_vectors
        scores = test.catalogue_scores(vectors[0, 0].to(device)).cpu()
        found.append((scores, vectors, generator.generate([0.3, 0.7]).cpu()))
    for cpu, cuda in zip(*found, strict=True):
        assert torch.allclose(cpu, cuda, rtol=1e-2, atol=1e-3)
