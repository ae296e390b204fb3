"""The defects that benchmarks/defects.py puts back are those of the released code."""

import importlib

import numpy as np
import pytest
import torch

from paragon.adapters.frozen import frozen_task
from paragon.data.negatives import NegativeSampler
from paragon.objectives.lists import Lists
from paragon.objectives.losses import diversity
from paragon.params import ROOT


@pytest.fixture
def defects(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("defects")


def test_what_counts_as_seen_lies_below(defects):
    """Loop by loop: the gain of an item halves with every item of its category with less score."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 5, generator=generator)  # lists, tasks, candidates
    categories = (torch.rand(2, 5, 4, generator=generator) < 0.5).float()
    lists = Lists(categories, torch.zeros(2, 5), torch.zeros(2))
    expected = torch.zeros(3)
    for b in range(2):
        for a in range(3):
            s = scores[b, a]
            for j in range(5):
                rank = 0.5 + sum(torch.sigmoid((s[i] - s[j]) / 0.1) for i in range(5))
                for m in range(4):
                    seen = sum(
                        categories[b, i, m] * torch.sigmoid((s[j] - s[i]) / 0.1) for i in range(5)
                    )
                    gain = categories[b, j, m] * 0.5 ** (seen - 0.5 * categories[b, j, m])
                    expected[a] -= gain / torch.log2(1 + rank) / 2
    found = defects.diversity_below(scores, lists)
    assert torch.allclose(found, expected, atol=1e-5)
    assert (found - diversity(scores, lists)).abs().min() > 1e-3


def test_negatives_that_are_drawn_once_stay(defects, backbone, seqs):
    task = frozen_task(backbone, seqs, "train", 4)
    sampler = NegativeSampler(seqs)
    once = defects.DrawnOnce.of(task, sampler, 3)
    rng = np.random.default_rng(0)
    rows, candidates = once.draw(sampler, 500, 3, rng)
    again, others = once.draw(sampler, 500, 3, rng)
    assert candidates[:, 0].tolist() == [task.targets[row] for row in rows]
    both = dict(zip(rows.tolist(), candidates.tolist(), strict=True))
    same = [both[r] == c for r, c in zip(again.tolist(), others.tolist(), strict=True) if r in both]
    assert len(same) > 10 and all(same)
    assert torch.equal(once.states, task.states)
