"""A bias per category: what is tuned, what it does, how it is stored."""

import numpy as np
import pytest
import torch

from paragon.adapters.frozen import frozen_task
from paragon.errors import ParagonError
from paragon.rivals.category_bias import (
    biased_scores,
    load_category_bias,
    save_category_bias,
    tune_category_bias,
)
from tests.conftest import adapter_settings

ABOUT = {"kind": "category_bias", "seeds": [0, 1], "backbone": "abc"}


@pytest.fixture(scope="module")
def bias(backbone, seqs):
    own = adapter_settings(steps=60, batch=64, served_rows=32)
    return tune_category_bias(backbone, seqs, own, [0, 1])


def test_it_gives_each_item_what_its_categories_are_worth(seqs):
    scores = np.random.default_rng(0).normal(size=(3, seqs.n_items + 1)).astype(np.float32)
    worth = torch.tensor([0.5, -1.0, 2.0, 0.0, 0.25, 3.0])
    found = biased_scores(scores, seqs.categories, worth)
    assert found.dtype == scores.dtype
    for item in range(seqs.n_items + 1):
        gain = sum(worth[m].item() for m in np.flatnonzero(seqs.categories[item]))
        assert np.allclose(found[:, item], scores[:, item] + gain, atol=1e-6)


def test_it_is_the_constant_part_of_an_adapter_and_follows_the_weights(backbone, seqs, bias):
    assert bias.shape == (2, 5, 6)  # seeds, evaluation weights, categories
    task = frozen_task(backbone, seqs, "valid", adapter_settings())
    vectors = torch.zeros(5, task.form.size)
    vectors[:, -6:] = bias[0]
    scores = biased_scores(
        backbone.score_catalogue(task.states).numpy(), seqs.categories, bias[0, 2]
    )
    assert np.allclose(task.catalogue_scores(vectors[2]).numpy(), scores, atol=1e-5)
    assert not torch.allclose(bias[0, 0], bias[0, -1], atol=0.05)


def test_round_trip_and_other_settings(bias, tmp_path):
    save_category_bias(bias, ABOUT, tmp_path)
    assert torch.equal(load_category_bias(tmp_path, ABOUT), bias)
    with pytest.raises(ParagonError, match=r"category_bias\.json.*backbone"):
        load_category_bias(tmp_path, ABOUT | {"backbone": "other"})
