"""Metrics of ranked lists against plain loops and by hand."""

import numpy as np
import pytest

from paragon.metrics import checks, ranking


@pytest.fixture
def small_blocks(monkeypatch):
    """Two rows a block, so that small inputs cross block borders."""
    monkeypatch.setattr(checks, "_BLOCK", 40)


# --- ranks, NDCG, hit rate, lists ------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_ranks_equal_a_loop_and_ties_count_against_the_target(dtype):
    random = np.random.default_rng(1)
    scores = random.integers(-4, 5, (23, 17)).astype(dtype)
    target = random.integers(0, 17, 23)
    excluded = random.random(scores.shape) < 0.3
    excluded[np.arange(23), target] = False
    ranks = ranking.target_ranks(scores, target, excluded)
    for row, own in enumerate(scores):
        assert ranks[row] == (own[~excluded[row]] >= own[target[row]]).sum()


def test_excluded_scores_may_be_minus_infinity_and_others_may_not():
    scores = np.zeros((9, 20), dtype=np.float32)
    scores[7, 3] = -np.inf
    excluded = np.zeros((9, 20), bool)
    excluded[:, 3] = True
    assert ranking.target_ranks(scores, excluded=excluded).tolist() == [19] * 9
    for value, out in ((-np.inf, None), (np.nan, excluded), (np.inf, excluded)):
        scores[7, 3] = value  # NaN is an error even where it could not matter
        for function in (ranking.target_ranks, lambda s, _, e: ranking.top_k(s, 1, e)):
            with pytest.raises(checks.ParagonError, match="row 7, column 3"):
                function(scores, 0, out)


@pytest.mark.parametrize("levels", [1, 5, 1000])
def test_top_k_equals_a_stable_sort(levels):
    random = np.random.default_rng(levels)
    for _ in range(20):
        columns = int(random.integers(1, 30))
        k = int(random.integers(1, columns + 1))
        scores = random.integers(0, levels, (11, columns)).astype(np.float32)
        excluded = random.random(scores.shape) < random.choice([0.0, 0.4])
        excluded[(~excluded).sum(axis=1) < k] = False
        masked = np.where(excluded, -np.inf, scores)
        expected = np.argsort(-masked, axis=1, kind="stable")[:, :k]
        assert np.array_equal(ranking.top_k(scores, k, excluded), expected)
        assert np.array_equal(ranking.top_k(masked, k, excluded), expected)


# --- α-nDCG ----------------------------------------------------------------------------------


def slow_greedy(table, order, k, alpha):
    """Greedy ideal by the definition: gains at each position, and whether one was ever tied."""
    left, seen, gains, tied = list(order), np.zeros(table.shape[1]), [], False
    for _ in range(k):
        worth = [float(sum((1 - alpha) ** seen[table[item]])) for item in left]
        if not left:
            gains.append(0.0)
            continue
        best = next(i for i, gain in enumerate(worth) if gain >= max(worth) - 1e-9)
        tied |= sum(gain >= max(worth) - 1e-9 for gain in worth) > 1
        gains.append(worth[best])
        seen += table[left.pop(best)]
    return np.cumsum(gains / np.log2(np.arange(k) + 2)), tied


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_ideal_equals_the_slow_greedy_with_its_ties(alpha, small_blocks):
    random = np.random.default_rng(7)
    ties = 0
    for _ in range(25):
        items, kinds, columns = random.integers(3, 25, 3)
        patterns = random.random((kinds, 5)) < 0.4
        table = patterns[random.integers(0, kinds, items)]
        candidates = random.integers(0, items, (5, columns))
        excluded = random.random(candidates.shape) < 0.3
        everything = random.random((5, items)) < 0.3
        some = ranking.ideal_alpha_dcg(table, 8, alpha, candidates, excluded)
        full = ranking.ideal_alpha_dcg(table, 8, alpha, excluded=everything)
        for row in range(5):
            expected, tied = slow_greedy(table, candidates[row][~excluded[row]], 8, alpha)
            assert some[row] == pytest.approx(expected, abs=1e-12)
            expected, _ = slow_greedy(table, np.flatnonzero(~everything[row]), 8, alpha)
            assert full[row] == pytest.approx(expected, abs=1e-12)
            ties += tied
        one = ranking.ideal_alpha_dcg(table, 3, alpha)
        assert one.shape == (1, 3)
        assert one[0] == pytest.approx(slow_greedy(table, range(items), 3, alpha)[0], abs=1e-12)
    assert ties > 20


def test_the_cutoff_reads_its_column_of_longer_lists_and_ideals():
    """As the evaluation uses it: one α-DCG and one ideal for several cut-offs."""
    random = np.random.default_rng(13)
    table = random.random((40, 8)) < 0.3
    items = random.integers(0, 40, (6, 10))
    dcg, ideal = ranking.alpha_dcg(table[items]), ranking.ideal_alpha_dcg(table, 12)
    for k in (1, 3, 10):
        short = ranking.alpha_dcg(table[items[:, :k]])[:, -1]
        expected = short / ranking.ideal_alpha_dcg(table, k)[0, -1]
        assert ranking.alpha_ndcg_at(dcg, ideal, k) == pytest.approx(expected, abs=1e-12)
    # An event whose candidates have no category scores 0.
    candidates = np.array([[0, 1], [2, 1]])
    table = np.array([[0, 0], [0, 0], [1, 0]], dtype=bool)
    ideal = ranking.ideal_alpha_dcg(table, 2, candidates=candidates)
    assert ranking.alpha_ndcg_at(ranking.alpha_dcg(table[candidates]), ideal, 2).tolist() == [0, 1]


# --- novelty, groups -------------------------------------------------------------------------


def test_self_information_runs_from_everybody_to_one_holder():
    information = ranking.self_information(np.array([8, 4, 1, 0]), 8)
    assert information == pytest.approx([0, 1 / 3, 1, 1])
    lists = np.array([[0, 1, 2], [2, 3, 0]])
    assert ranking.novelty_at(lists, information, 2) == pytest.approx([1 / 6, 1])
    assert ranking.self_information(np.array([5, 5]), 5).tolist() == [0, 0]
    assert ranking.self_information(np.array([3, 4]), 4).tolist() == [1, 0]  # below one bit


def test_gini_is_half_the_mean_difference_of_exposures():
    items = np.random.default_rng(0).integers(1, 8, (9, 5)) ** 2 // 8 + 1
    shown = [np.count_nonzero(items[:, :3] == item) for item in range(1, 11)]
    apart = np.mean([abs(a - b) for a in shown for b in shown])
    assert ranking.gini_at(items, 3, 10) == pytest.approx(apart / (2 * np.mean(shown)))
    assert ranking.gini_at(np.arange(1, 7).reshape(2, 3), 3, 6) == 0
    assert ranking.gini_at(np.ones((4, 1), int), 1, 10) == pytest.approx(0.9)


def test_calibration_is_the_smoothed_divergence_from_the_history():
    random = np.random.default_rng(0)
    ranked, history = random.random((7, 5, 4)) < 0.4, random.integers(0, 3, (7, 4)) / 2
    history[0] = 0
    found = ranking.calibration_at(ranked, history, 3)
    for value, items, past in zip(found, ranked, history, strict=True):
        q = sum((item / item.sum() for item in items[:3] if item.any()), np.zeros(4))
        q, total = q / max(q.sum(), 1e-9), 0.0
        for p, of_list in zip(past / max(past.sum(), 1e-9), q, strict=True):
            total += p * np.log(p / (0.99 * of_list + 0.01 * p)) if p else 0
        assert value == pytest.approx(total)
    sets = np.eye(4, dtype=bool)[None]
    assert ranking.calibration_at(sets, np.ones((1, 4)), 4) == pytest.approx(0)
    assert ranking.calibration_at(sets, [[1, 0, 0, 0]], 4) > 1


def test_group_gap():
    values = np.array([1.0, 0.0, 0.5, 0.5, 9.0])
    assert ranking.group_gap(values, np.array([0, 1, 0, 1, -1])) == (0.5, None)
    assert ranking.group_gap(values, np.array([0, 1, 2, 2, 2])) == (pytest.approx(10 / 3), None)
    value, reason = ranking.group_gap(values, np.array([1, 1, 1, 1, -1]))
    assert value is None and reason
