"""Bad input of metrics: an error that begins with the argument that is wrong, by kind of fault."""

import numpy as np
import pytest

from paragon.metrics import control, ranking, statistics
from paragon.metrics.checks import check_array, row_blocks
from tests.conftest import refused

TWO = np.array([1.0, 2.0])
LIST, TABLE, ZEROS = np.ones((1, 2, 3), bool), np.eye(3, dtype=bool), np.zeros((2, 3))
FIRST = lambda means: means[:, 0]  # noqa: E731
HIDDEN = np.array([[False] * 3, [True, False, False]])

CASES = [  # the argument that the error names, what it says of it, the function, its arguments
    # Shapes and kinds.
    ("scores", "[N, C]", ranking.target_ranks, np.zeros(3)),
    ("excluded", "int64", ranking.target_ranks, ZEROS, 0, HIDDEN.astype(int)),
    ("excluded", "N = 2", ranking.target_ranks, ZEROS, 0, HIDDEN[:1]),
    ("excluded", "C = 3", ranking.target_ranks, ZEROS, 0, HIDDEN[:, :2]),
    ("target", "N = 2", ranking.target_ranks, ZEROS, np.zeros(3, int)),
    ("ranks", "[N]", ranking.hr_at, np.eye(2, dtype=int), 1),
    ("ranks", "integers", ranking.hr_at, TWO, 1),
    ("categories", "[V, M]", ranking.ideal_alpha_dcg, np.zeros(3), 1),
    ("candidates", "[N, C]", ranking.ideal_alpha_dcg, TABLE, 1, 0.5, np.array([0, 1])),
    ("ideal", "N = 2", ranking.alpha_ndcg_at, np.ones((2, 3)), np.ones((3, 3)), 3),
    ("history", "N = 1", ranking.calibration_at, LIST, np.ones((2, 3)), 2),
    ("history", "M = 3", ranking.calibration_at, LIST, np.ones((1, 2)), 2),
    ("holders", "[V]", ranking.self_information, np.eye(2), 2),
    ("information", "[V]", ranking.novelty_at, np.array([[0]]), np.eye(2), 1),
    ("values", "[N]", ranking.group_gap, np.eye(2), np.array([0, 1])),
    ("groups", "integers", ranking.group_gap, TWO, TWO),
    ("groups", "N = 2", ranking.group_gap, TWO, np.array([0, 1, 1])),
    ("values", "[N]", statistics.mean_interval, np.eye(2)),
    ("a", "[S, N]", statistics.paired_bootstrap, [(np.ones((2, 2, 2)), TWO, FIRST)], TWO),
    ("b", "N = 2", statistics.paired_bootstrap, [(TWO, np.zeros(3), FIRST)], TWO),
    ("clusters", "4", statistics.paired_bootstrap, [(TWO, TWO, FIRST)], np.zeros(4)),
    ("the difference", "", statistics.paired_bootstrap, [(TWO, TWO, np.mean)], TWO),
    ("values", "(2, 2)", control.correlation, np.eye(2), TWO),
    ("values", "(2, 2)", control.range_ratio, np.eye(2), TWO),
    ("other", "(3,)", control.correlation, TWO, np.zeros(3)),
    ("tuned", "(3,)", control.range_ratio, TWO, np.zeros(3)),
    ("points", "(2,)", control.mean_hv, TWO),
    ("points", "(2,)", control.outcome_error, TWO, np.eye(2)),
    ("tuned", "(2,)", control.outcome_error, np.eye(2), TWO),
    ("weights", "(2,)", control.violations, TWO, TWO),
    ("values", "(3,)", control.violations, np.eye(2), np.zeros(3)),
    ("tuned", "(2, 2)", control.regret, TWO, np.eye(2), TWO),
    ("constant", "(3,)", control.regret, TWO, TWO, np.zeros(3)),
    ("corners", "(3,)", control.regret, TWO, TWO, TWO + 1, np.zeros(3, bool)),
    ("losses", "(3,)", control.regret, np.zeros(3), TWO, TWO + 1),
    # Numbers that are not finite, or out of range.
    ("scores: row 1, column 0", "nan", ranking.top_k, np.array([[1.0], [np.nan]]), 1),
    ("points[0, 1]", "nan", control.set_hv, [[1.0, np.nan]]),
    ("target", "", ranking.target_ranks, ZEROS, 0, HIDDEN),
    ("target[1]", "from 0 to 2", ranking.target_ranks, ZEROS, np.array([0, 3])),
    ("ranks[0]", "from 1", ranking.hr_at, np.array([0]), 3),
    ("candidates[0, 1]", "3", ranking.ideal_alpha_dcg, TABLE, 1, 0.5, np.array([[0, 3]])),
    ("alpha", "1.5", ranking.alpha_dcg, LIST, 1.5),
    ("alpha", "-0.5", ranking.alpha_dcg, LIST, -0.5),
    ("items[0, 0]", "from 1 to 3", ranking.gini_at, np.array([[4]]), 1, 3),
    ("history[0, 1]", "from 0", ranking.calibration_at, LIST, np.array([[1, -1, 0]]), 2),
    ("holders[0]", "from 0 to 2", ranking.self_information, np.array([-1, 1]), 2),
    ("holders[1]", "from 0 to 2", ranking.self_information, np.array([1, 3]), 2),
    ("ranked items[0, 0]", "from 0 to 1", ranking.novelty_at, np.array([[2]]), TWO, 1),
    ("p-values[0]", "-0.1", statistics.holm, [-0.1, 0.5]),
    ("p-values[1]", "1.5", statistics.holm, [0.5, 1.5]),
    ("resamples", "10", statistics.paired_bootstrap, [(TWO, TWO, FIRST)], TWO, 10),
    # Cut-offs.
    ("k", "0", ranking.category_coverage_at, LIST, 0),
    ("k", "bool", ranking.hr_at, np.array([1]), True),
    ("k", "3", ranking.top_k, ZEROS, 3, HIDDEN),
    ("k", "from 2", ranking.intra_list_distance_at, np.ones((1, 3, 3)), 1),
    ("k", "integers", ranking.intra_list_distance_at, np.ones((1, 3, 3)), 2.0),
    ("ranked", "K >= 3", ranking.category_coverage_at, LIST, 3),
    ("ranked", "K >= 3", ranking.calibration_at, LIST, np.ones((1, 3)), 3),
    ("dcg", "K >= 3", ranking.alpha_ndcg_at, np.ones((1, 2)), np.ones((1, 3)), 3),
    ("ideal", "K >= 3", ranking.alpha_ndcg_at, np.ones((1, 3)), np.ones((1, 2)), 3),
    ("items", "K >= 2", ranking.gini_at, np.array([[1]]), 2, 3),
    ("ranked items", "K >= 2", ranking.novelty_at, np.array([[0]]), TWO, 2),
    # Nothing to measure.
    ("α-nDCG", "", ranking.alpha_ndcg_at, np.ones((1, 3)), np.zeros((1, 3)), 3),
]


@pytest.mark.parametrize(
    ("argument", "found", "call"),
    [pytest.param(argument, found, call, id=argument) for argument, found, *call in CASES],
)
def test_an_error_begins_with_the_argument_that_is_wrong(argument, found, call):
    assert refused(found, *call).startswith(argument)


def test_finite_numbers_become_float64_and_others_stay():
    assert check_array("x", [1, 2]).dtype == np.float64
    assert check_array("x", np.array([1, 2], np.float32), "N", "numbers").dtype == np.float32
    assert check_array("x", [True, False], "N", "booleans").dtype == bool


def test_blocks_are_whole_rows_of_half_a_million_elements():
    assert list(row_blocks(5, 1 << 18)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(row_blocks(2, 1 << 20)) == [slice(0, 1), slice(1, 2)]  # at least one row
