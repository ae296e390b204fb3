"""The rows that re-rank: whose scores they start from, and which weight they hear."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from paragon.adapters.frozen import frozen_task
from paragon.evaluation.methods import METHODS, Method, other_rows
from paragon.metrics.ranking import ndcg_at, target_ranks, top_k
from tests.evaluation.conftest import table


class Planned:
    """Stands for a generator: the same random adapter, larger where accuracy counts more."""

    def __init__(self, size, seed):
        self.direction = torch.randn(size, generator=torch.Generator().manual_seed(seed))
        self.form = SimpleNamespace(size=size)
        self.asked = []

    def generate(self, weights):
        self.asked += weights.tolist()
        return weights[:, 1:] * self.direction * 0.1


@pytest.fixture
def trained(seqs, backbone, settings):
    valid, test = (frozen_task(backbone, seqs, n, settings.adapters) for n in ("valid", "test"))
    # Accuracy is the second objective here, and its weights do not rise.
    weights = torch.tensor([[0.5, 0.5], [0.0, 1.0], [1.0, 0.0], [0.25, 0.75], [0.75, 0.25]])
    names = ["diversity", "accuracy"]
    test_set = SimpleNamespace(sequences=seqs, objectives=names, cutoffs=[5, 12])
    generators = [Planned(test.form.size, seed) for seed in (0, 1)]
    tasks = {"valid": valid, "test": test, "test_set": test_set}
    return SimpleNamespace(**tasks, weights=weights, seeds=[3, 4], generators=generators)


def ndcg(valid, seqs, vector):
    scores, excluded = valid.catalogue_scores(vector).numpy(), seqs.excluded(seqs.valid)
    return ndcg_at(target_ranks(scores, seqs.valid.targets, excluded), 10).mean()


def head(seqs, scores):
    return top_k(scores, 12, seqs.excluded(seqs.test))


@pytest.mark.parametrize("name", ["mmr", "dpp"])
def test_the_backbone_is_re_ranked_by_the_weight_of_accuracy(seqs, backbone, trained, name):
    (row,) = other_rows(trained, name)
    assert (row.method, row.seed, row.random) == (name, 3, False)
    assert np.array_equal(row.weights, trained.weights.numpy())
    scores = list(row.scores)
    own = backbone.score_catalogue(trained.test.states).numpy()
    shown = [head(seqs, table(one)) for one in scores]
    assert np.array_equal(shown[1], head(seqs, own))  # all weight on accuracy
    lists = np.take_along_axis(own, seqs.test.candidates, 1)
    assert np.array_equal(top_k(scores[1].sampled, 12), top_k(lists, 12))
    categories = [seqs.categories[items[:, :3]].any(1).sum(1).mean() for items in shown]
    assert categories[2] > categories[1] and not np.array_equal(shown[2], shown[1])


def test_a_re_ranker_of_ones_own_is_a_function_and_an_entry(seqs, trained, monkeypatch):
    def turned(lists, weight, positions):
        """The first items in the opposite order, unless accuracy alone counts."""
        columns = np.arange(positions)[:: 1 if weight == 1 else -1]
        return np.tile(columns, (len(lists.relevance), 1))

    monkeypatch.setitem(METHODS, "mine", Method("reranked", rerank=turned))
    (row,) = other_rows(trained, "mine")
    plain = head(seqs, trained.test.catalogue_scores(torch.zeros(trained.test.form.size)).numpy())
    found = [head(seqs, table(one)) for one in row.scores]
    assert row.method == "mine" and np.array_equal(found[1], plain)
    assert all((np.sort(own) == np.sort(plain)).all() for own in found)


def test_generated_adapters_are_re_ranked_for_each_seed(seqs, trained):
    rows = list(other_rows(trained, "generated_xquad"))
    assert [(row.seed, row.random) for row in rows] == [(3, True), (4, True)]
    for row, generator in zip(rows, trained.generators, strict=True):
        scores = list(row.scores)
        assert len(scores) == len(trained.weights)
        assert generator.asked == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
        # All weight on accuracy: the order of the list that is the most accurate on validation.
        lists = [share * 0.1 * generator.direction for share in (0, 0, 0.5, 1)]
        best = max(lists, key=lambda vector: ndcg(trained.valid, seqs, vector))
        expected = trained.test.catalogue_scores(best).numpy()
        assert np.array_equal(head(seqs, table(scores[1])), head(seqs, expected))
