"""Metrics of ranked lists against plain loops, and bad input by name."""

import itertools

import numpy as np
import pytest

from paragon.metrics import checks, control, diversity, ranking
from tests.conftest import refused


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def small_blocks(monkeypatch):
    """Two rows a block, so that small inputs cross block borders."""
    monkeypatch.setattr(checks, "_BLOCK", 40)


# --- ranks, NDCG, hit rate -------------------------------------------------------------------


def test_ranks_count_ties_against_the_target():
    scores = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    assert ranking.target_ranks(scores).tolist() == [1, 3, 3]
    assert ranking.target_ranks(scores, np.array([2, 1, 1])).tolist() == [2, 1, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_ranks_equal_a_loop(dtype, small_blocks):
    random = rng(1)
    scores = random.integers(-4, 5, (23, 17)).astype(dtype)
    target = random.integers(0, 17, 23)
    excluded = random.random(scores.shape) < 0.3
    excluded[np.arange(23), target] = False
    ranks = ranking.target_ranks(scores, target, excluded)
    for row in range(23):
        rivals = [
            column
            for column in range(17)
            if not excluded[row, column] and scores[row, column] >= scores[row, target[row]]
        ]
        assert ranks[row] == len(rivals)


def test_excluded_scores_may_be_minus_infinity_and_others_may_not():
    scores = np.array([[1.0, -np.inf, 2.0], [1.0, 5.0, 0.0]], dtype=np.float32)
    excluded = np.array([[False, True, False], [False, True, False]])
    assert ranking.target_ranks(scores, excluded=excluded).tolist() == [2, 1]
    refused("row 0, column 1 is -inf", ranking.target_ranks, scores)
    refused("row 0, column 1 is -inf", ranking.top_k, scores, 1)
    for value in (np.nan, np.inf):
        scores[1, 1] = value  # a broken score is an error even where it could not matter
        refused(f"row 1, column 1 is {value}", ranking.target_ranks, scores, 0, excluded)


def test_a_bad_score_is_named_by_its_row_in_the_whole(small_blocks):
    scores = np.zeros((9, 20))
    scores[7, 3] = np.nan
    refused("row 7, column 3 is nan", ranking.target_ranks, scores)


def test_bad_targets_and_shapes_are_named():
    scores = np.zeros((2, 3))
    refused("row 1 names column 3", ranking.target_ranks, scores, np.array([0, 3]))
    refused("row 0 names column -1", ranking.target_ranks, scores, -1)
    refused("target", ranking.target_ranks, scores, np.array([0, 1, 2]))
    refused("target", ranking.target_ranks, scores, 0.0)
    excluded = np.zeros((2, 3), bool)
    excluded[1, 0] = True
    refused("row 1 has an excluded target", ranking.target_ranks, scores, 0, excluded)
    refused("excluded", ranking.target_ranks, scores, 0, excluded[:1])
    refused("excluded", ranking.target_ranks, scores, 0, excluded.astype(int))
    refused("scores", ranking.target_ranks, np.zeros(3))
    refused("scores", ranking.target_ranks, np.zeros((0, 3)))


def test_ndcg_by_hand():
    assert ranking.ndcg_at(np.array([1, 3, 10, 11]), 10).tolist() == pytest.approx(
        [1, 0.5, 1 / np.log2(11), 0]
    )
    refused("ranks", ranking.ndcg_at, np.array([0]), 10)
    refused("ranks", ranking.hr_at, np.array([1.0]), 10)
    refused("k: 0", ranking.ndcg_at, np.array([1]), 0)
    refused("k: 2.5", ranking.ndcg_at, np.array([1]), 2.5)


# --- the list itself -------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_top_k_equals_a_stable_sort(levels, small_blocks):
    random = rng(levels)
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
        if not excluded.any():
            assert np.array_equal(ranking.top_k(scores, k), expected)


def test_top_k_of_equal_scores_is_the_candidate_order():
    assert ranking.top_k(np.zeros((2, 6)), 4).tolist() == [[0, 1, 2, 3]] * 2


def test_top_k_needs_k_candidates():
    refused("k: 4", ranking.top_k, np.zeros((2, 3)), 4)
    excluded = np.array([[False] * 3, [False, True, True]])
    refused("candidates of row 1", ranking.top_k, np.zeros((2, 3)), 2, excluded)


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


def test_alpha_dcg_by_hand():
    ranked = np.array([[[1, 1, 0], [1, 0, 0], [1, 0, 1]]], dtype=bool)
    expected = np.cumsum([2, 0.5 / np.log2(3), (0.25 + 1) / 2])
    assert diversity.alpha_dcg(ranked)[0] == pytest.approx(expected)
    assert diversity.alpha_dcg(ranked, 1.0)[0] == pytest.approx(np.cumsum([2, 0, 0.5]))
    plain = np.cumsum([2, 1 / np.log2(3), 1])
    assert diversity.alpha_dcg(ranked, 0.0)[0] == pytest.approx(plain)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_ideal_equals_the_slow_greedy_with_its_ties(alpha, small_blocks):
    random = rng(7)
    ties = 0
    for _ in range(25):
        items, kinds, columns = random.integers(3, 25, 3)
        patterns = random.random((kinds, 5)) < 0.4
        table = patterns[random.integers(0, kinds, items)]
        candidates = random.integers(0, items, (5, columns))
        excluded = random.random(candidates.shape) < 0.3
        everything = random.random((5, items)) < 0.3
        some = diversity.ideal_alpha_dcg(table, 8, alpha, candidates, excluded)
        full = diversity.ideal_alpha_dcg(table, 8, alpha, excluded=everything)
        for row in range(5):
            expected, tied = slow_greedy(table, candidates[row][~excluded[row]], 8, alpha)
            assert some[row] == pytest.approx(expected, abs=1e-12)
            expected, _ = slow_greedy(table, np.flatnonzero(~everything[row]), 8, alpha)
            assert full[row] == pytest.approx(expected, abs=1e-12)
            ties += tied
        one = diversity.ideal_alpha_dcg(table, 3, alpha)
        assert one.shape == (1, 3)
        assert one[0] == pytest.approx(slow_greedy(table, range(items), 3, alpha)[0], abs=1e-12)
    assert ties > 20


def test_the_order_of_candidates_decides_between_ties():
    # After {0, 1} and {2, 3} tie, only one choice leaves two fresh categories.
    table = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]], dtype=bool)
    good = diversity.ideal_alpha_dcg(table, 2, candidates=np.array([[0, 1, 2]]))
    poor = diversity.ideal_alpha_dcg(table, 2, candidates=np.array([[1, 0, 2]]))
    assert good[0, 1] == pytest.approx(2 + 2 / np.log2(3))
    assert poor[0, 1] == pytest.approx(2 + 1.5 / np.log2(3))


def test_the_greedy_list_scores_one_and_reversing_a_list_does_not():
    table = np.eye(6, dtype=bool)[[0, 0, 0, 1, 2, 3]]
    ideal = diversity.ideal_alpha_dcg(table, 4)
    best, worst = table[[0, 3, 4, 5]][None], table[[0, 1, 2, 3]][None]
    assert diversity.alpha_ndcg_at(best, ideal, 4)[0] == pytest.approx(1)
    assert diversity.alpha_ndcg_at(worst, ideal, 4)[0] < 0.9


def test_events_without_categories_score_zero_and_data_without_are_refused():
    table = np.array([[0, 0], [0, 0], [1, 0]], dtype=bool)
    candidates = np.array([[0, 1], [2, 1]])
    ideal = diversity.ideal_alpha_dcg(table, 2, candidates=candidates)
    assert diversity.alpha_ndcg_at(table[candidates], ideal, 2).tolist() == [0, 1]
    refused("no candidate", diversity.alpha_ndcg_at, table[candidates][:1], ideal[:1], 2)


def test_alpha_ndcg_names_bad_input():
    table, ranked = np.eye(3, dtype=bool), np.eye(3, dtype=bool)[None]
    ideal = diversity.ideal_alpha_dcg(table, 3)
    refused("K >= 4", diversity.alpha_ndcg_at, ranked, ideal, 4)
    refused("ideal", diversity.alpha_ndcg_at, ranked, ideal[:, :2], 3)
    refused("ideal", diversity.alpha_ndcg_at, ranked, np.ones((2, 3)), 3)
    refused("alpha: 1.5", diversity.alpha_dcg, ranked, 1.5)
    refused("ranked", diversity.alpha_dcg, ranked[0])
    refused("column 1 is 3", diversity.ideal_alpha_dcg, table, 1, candidates=np.array([[0, 3]]))
    refused("excluded", diversity.ideal_alpha_dcg, table, 1, excluded=np.zeros((1, 2), bool))
    refused("categories", diversity.ideal_alpha_dcg, np.zeros((3, 0), bool), 1)


def test_the_cutoff_reads_its_column_of_longer_lists_and_ideals():
    """As the evaluation uses it: one α-DCG and one ideal for several cut-offs."""
    random = rng(13)
    table = random.random((40, 8)) < 0.3
    items = random.integers(0, 40, (6, 10))
    dcg, ideal = diversity.alpha_dcg(table[items]), diversity.ideal_alpha_dcg(table, 12)
    for k in (1, 3, 10):
        short = diversity.alpha_dcg(table[items[:, :k]])[:, -1]
        expected = short / diversity.ideal_alpha_dcg(table, k)[0, -1]
        assert diversity.normalised(dcg, ideal, k) == pytest.approx(expected, abs=1e-12)
        assert diversity.alpha_ndcg_at(table[items], ideal, k) == pytest.approx(expected)


def test_repetitions_are_worth_one_minus_alpha():
    ranked = np.array([[[1, 0], [1, 0]]], dtype=bool)
    second = 1 / np.log2(3)
    for alpha in (0.2, 0.9):
        expected = [1, 1 + (1 - alpha) * second]
        assert diversity.alpha_dcg(ranked, alpha)[0] == pytest.approx(expected)
        assert diversity.ideal_alpha_dcg(ranked[0], 2, alpha)[0] == pytest.approx(expected)
        found = diversity.alpha_ndcg_at(ranked, np.ones((1, 2)), 2, alpha)
        assert found[0] == pytest.approx(expected[-1])
        # On the published scale a repetition is a candidate that two categories share.
        both = np.array([[1, 1], [1, 0]], dtype=bool)
        expected = [2, 2 + (1 - alpha) * second]
        published = diversity.ideal_alpha_dcg_published(both, 2, alpha)[0]
        assert published == pytest.approx(expected)


# --- the published scale ---------------------------------------------------------------------


def on_published_scale(ranked, categories, k, alpha=0.5, candidates=None, excluded=None):
    ideal = diversity.ideal_alpha_dcg_published(categories, k, alpha, candidates, excluded)
    return diversity.alpha_ndcg_at(ranked, ideal, k, alpha)


def test_published_scale_by_hand():
    # Columns as the greedy picks: category 0 (3 candidates), then 1 (one fresh, one met before).
    table = np.array([[1, 0], [1, 1], [1, 0], [0, 1]], dtype=bool)
    wrong_ideal = 3 + (1 + 0.5) / np.log2(3)
    ranked = table[[1, 0]][None]
    expected = (2 + 0.5 / np.log2(3)) / wrong_ideal
    assert on_published_scale(ranked, table, 2)[0] == pytest.approx(expected)


def test_published_ideal_is_the_greedy_of_the_transposed_matrix(small_blocks):
    random = rng(11)
    table = random.random((30, 6)) < 0.3
    candidates = random.integers(0, 30, (7, 15))
    excluded = random.random(candidates.shape) < 0.2
    ranked = table[candidates[:, :10]]
    for k in (3, 10):
        ours = on_published_scale(ranked, table, k, 0.5, candidates, excluded)
        for row in range(7):
            transposed = table[candidates[row][~excluded[row]]].T
            ideal, _ = slow_greedy(transposed, range(6), k, 0.5)
            expected = diversity.alpha_dcg(ranked[row : row + 1])[0, k - 1] / ideal[-1]
            assert ours[row] == pytest.approx(expected, abs=1e-12)


def test_published_scale_shrinks_with_more_candidates():
    table = rng(5).random((400, 18)) < 0.12
    few, many = np.arange(50)[None], np.arange(400)[None]
    ranked = table[:10][None]
    small = on_published_scale(ranked, table, 10, candidates=many)
    assert small < on_published_scale(ranked, table, 10, candidates=few) / 4


# --- coverage, distance, novelty, groups -----------------------------------------------------


def test_coverage_counts_all_categories():
    ranked = np.array([[[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]], dtype=bool)
    assert diversity.category_coverage_at(ranked, 2).tolist() == [0.5]
    assert diversity.category_coverage_at(ranked, 3).tolist() == [0.75]
    refused("K >= 4", diversity.category_coverage_at, ranked, 4)


def test_items_shown_are_those_of_all_lists_together():
    items = rng(5).integers(0, 40, (7, 6))
    for k in (1, 3, 6):
        assert diversity.items_shown_at(items, k) == len({i for row in items for i in row[:k]})
    assert diversity.items_shown_at(np.tile(np.arange(4), (9, 1)), 3) == 3  # one list for all
    refused("K >= 7", diversity.items_shown_at, items, 7)
    refused("items", diversity.items_shown_at, items.astype(float), 2)


def test_intra_list_distance_equals_a_loop():
    random = rng(9)
    ranked = random.random((12, 7, 5)) < 0.35
    expected = []
    for sets in ranked[:, :6]:
        distances = [
            1 - (a & b).sum() / (a | b).sum() if (a | b).any() else 0.0
            for a, b in itertools.combinations(sets, 2)
        ]
        expected.append(np.mean(distances))
    assert diversity.intra_list_distance_at(ranked, 6) == pytest.approx(expected)
    refused("pairs", diversity.intra_list_distance_at, ranked, 1)


def test_self_information_runs_from_everybody_to_one_holder():
    holders = np.array([8, 4, 1, 0])
    information = ranking.self_information(holders, 8)
    assert information == pytest.approx([0, 1 / 3, 1, 1])
    lists = np.array([[0, 1, 2], [2, 3, 0]])
    assert ranking.novelty_at(lists, information, 2) == pytest.approx([1 / 6, 1])
    assert ranking.self_information(np.array([5, 5]), 5).tolist() == [0, 0]
    refused("item 1 has 9 of 8 users", ranking.self_information, np.array([1, 9]), 8)
    refused("outside 0..3", ranking.novelty_at, np.array([[0, 4]]), information, 1)
    refused("K >= 4", ranking.novelty_at, lists, information, 4)


def test_group_gap():
    values = np.array([1.0, 0.0, 0.5, 0.5, 9.0])
    assert ranking.group_gap(values, np.array([0, 1, 0, 1, -1])) == (0.5, None)
    assert ranking.group_gap(values, np.array([0, 1, 2, 2, 2])) == (pytest.approx(10 / 3), None)
    value, reason = ranking.group_gap(values, np.array([1, 1, 1, 1, -1]))
    assert value is None and "two groups" in reason
    refused("entry [0] is nan", ranking.group_gap, np.array([np.nan]), np.array([0]))
    refused("groups", ranking.group_gap, values, np.array([0, 1]))


# --- hypervolume -----------------------------------------------------------------------------


def cell_volume(points, reference):
    """Volume of the union of boxes by summing the cells of the grid they span."""
    axes = [
        np.unique(np.append(np.maximum(column, r), r))
        for column, r in zip(points.T, reference, strict=True)
    ]
    total = 0.0
    for corner in itertools.product(*(range(len(axis) - 1) for axis in axes)):
        upper = np.array([axis[i + 1] for axis, i in zip(axes, corner, strict=True)])
        lower = np.array([axis[i] for axis, i in zip(axes, corner, strict=True)])
        if (points >= upper).all(axis=1).any():
            total += np.prod(upper - lower)
    return total


@pytest.mark.parametrize("axes", [2, 3])
def test_hypervolume_equals_counted_cells(axes):
    random = rng(axes)
    for trial in range(40):
        # Every other set has coarse coordinates, hence duplicates and ties on an axis.
        points = random.random((int(random.integers(1, 9)), axes))
        points = np.round(points, 1) if trial % 2 else points
        reference = np.full(axes, 0.0 if trial % 3 else 0.2)
        volume = control.hypervolume(points, reference)
        assert volume == pytest.approx(cell_volume(points, reference), abs=1e-12)


@pytest.mark.parametrize("axes", [2, 3])
def test_many_sets_have_the_hypervolumes_of_each(axes):
    many = np.round(rng(axes).normal(0.3, 0.4, (4, 5, 7, axes)), 1)
    found = control.hypervolume(many, 0.1)
    assert found.shape == (4, 5)
    for place in np.ndindex(4, 5):
        assert found[place] == control.hypervolume(many[place], 0.1)
        box = cell_volume(many[place], np.full(axes, 0.1))
        assert found[place] == pytest.approx(box, abs=1e-12)


def test_dominated_and_duplicate_points_add_nothing():
    front = np.array([[0.2, 0.8], [0.5, 0.4]])
    assert control.hypervolume(front) == pytest.approx(0.16 + 0.3 * 0.4)
    more = np.concatenate([front, front, [[0.1, 0.1], [0.5, 0.2], [-1.0, 9.0]]])
    assert control.hypervolume(more) == pytest.approx(control.hypervolume(front), rel=1e-15)
    assert control.hypervolume(np.array([[0.0, 1.0]])) == 0.0
    assert control.hypervolume(np.zeros((2, 3))) == 0.0


def test_hypervolume_names_bad_input():
    refused("4 objectives", control.hypervolume, np.ones((2, 4)))
    refused("entry [1, 0] is nan", control.hypervolume, np.array([[1.0, 1.0], [np.nan, 1.0]]))
    refused("reference", control.hypervolume, np.ones((2, 2)), np.zeros(3))
    refused("points", control.hypervolume, np.ones((0, 2)))
