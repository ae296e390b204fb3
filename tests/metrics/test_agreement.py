"""Every metric against other people's libraries, wherever their definitions coincide, to 1e-9.

docs/trust.md has the table of who agrees with whom.
"""

import itertools

import moocore
import numpy as np
import pandas as pd
import pyndeval
import pytest
import sklearn.metrics
from scipy import stats
from scipy.spatial.distance import pdist

from paragon.metrics import control, ranking
from tests.metrics.test_ranking import slow_greedy

N, C, M = 12, 30, 6  # events, candidates of each, categories
CUTOFFS = (1, 2, 3, 5, 10)


@pytest.fixture(scope="module")
def lists():
    """Scores without ties, the target in column 0, and the categories of every candidate."""
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(float(C)), (N, 1)), axis=1)  # [N, C]
    scores[:6, 0] += 25.5  # half of the targets stand high
    categories = rng.random((C, M)) < 0.4
    categories[:M] |= np.eye(M, dtype=bool)  # every category occurs
    categories[-3:] = False
    return scores, ranking.target_ranks(scores), categories, ranking.top_k(scores, 10)


def agree(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def test_scikit_learn_on_accuracy(lists):
    scores, ranks, _, _ = lists
    relevance = np.arange(C) == 0
    for k in CUTOFFS:
        ndcg = [sklearn.metrics.ndcg_score(relevance[None], s[None], k=k) for s in scores]
        agree(ranking.ndcg_at(ranks, k), ndcg)
        hits = [
            sklearn.metrics.top_k_accuracy_score([0], s[None], k=k, labels=range(C)) for s in scores
        ]
        agree(ranking.hr_at(ranks, k), hits)
    mean_rank = [sklearn.metrics.coverage_error(relevance[None], s[None]) for s in scores]
    agree(ranks, mean_rank)


def test_scipy_scikit_learn_and_pandas_on_lists(lists):
    scores, ranks, categories, best = lists
    ranked = categories[best]  # [N, 10, M]
    similarity = ranking.jaccard(ranked.astype(float))
    agree(ranks, [stats.rankdata(-s, method="max")[0] for s in scores])
    for k in CUTOFFS:
        covered = [sklearn.metrics.jaccard_score(np.ones(M), r[:k].any(0)) for r in ranked]
        agree(ranking.category_coverage_at(ranked, k), covered)
        agree(ranking.aggregate_diversity_at(best, k), pd.Series(best[:, :k].ravel()).nunique())
        if k > 1:
            distances = [pdist(sets, "jaccard").mean() for sets in ranked[:, :k]]
            agree(ranking.intra_list_distance_at(similarity, k), distances)
    pairs = itertools.combinations(ranked[0], 2)
    similar = [sklearn.metrics.jaccard_score(a, b, zero_division=1) for a, b in pairs]
    agree(ranking.intra_list_distance_at(similarity[:1], 10), 1 - np.mean(similar))
    group = np.arange(N) % 2
    means = pd.Series(1 / ranks).groupby(group).mean()
    agree(ranking.group_gap(1 / ranks, group).value, np.ptp(means))


def without_ties(rng, k, alpha):
    """Categories of twelve items whose greedy ideal has no tie: there the definitions coincide."""
    while True:
        table = rng.random((12, 14)) < rng.uniform(0.1, 0.6, (12, 1))
        table[rng.integers(12)] = rng.random(14) < 0.8
        if table.any(axis=0).all() and not slow_greedy(table, range(12), k, alpha)[1]:
            return table


@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_ndeval_on_diversity(alpha):
    """TREC's own program, the only public one that we know for α-nDCG."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        k = int(rng.choice([5, 10]))
        table, order = without_ties(rng, k, alpha), rng.permutation(12)
        qrels = [pyndeval.SubtopicQrel("q", str(m), f"d{i}", 1) for i, m in np.argwhere(table)]
        run = [pyndeval.ScoredDoc("q", f"d{i}", 50.0 - place) for place, i in enumerate(order)]
        names = [f"alpha-nDCG@{k}", f"strec@{k}"]
        found = pyndeval.ndeval(qrels, run, measures=names, alpha=alpha)["q"]
        ranked, ideal = table[order][None], ranking.ideal_alpha_dcg(table, k, alpha)
        agree(ranking.alpha_ndcg_at(ranking.alpha_dcg(ranked, alpha), ideal, k), found[names[0]])
        agree(ranking.category_coverage_at(ranked, k), found[names[1]])


@pytest.mark.parametrize("axes", [2, 3, 4, 5])
def test_moocore_on_hypervolume(axes):
    """Every other set has coarse coordinates: duplicates, ties on an axis."""
    rng, zero = np.random.default_rng(axes), np.zeros(axes)
    for trial in range(20):
        points = rng.random((66 if trial == 0 and axes < 4 else int(rng.integers(1, 9)), axes))
        points = np.round(points, 1) if trial % 2 else points
        agree(control.set_hv(points), moocore.hypervolume(points, ref=zero, maximise=True))
