"""Bad input of metrics: an error that begins with the argument that is wrong, by kind of fault."""

import numpy as np
import pytest

from paragon.metrics import control, ranking, statistics
from tests.conftest import refused

TWO = np.array([1.0, 2.0])
LIST, TABLE, ZEROS = np.ones((1, 2, 3), bool), np.eye(3, dtype=bool), np.zeros((2, 3))
FIRST = lambda means: means[:, 0]  # noqa: E731
HIDDEN = np.array([[False] * 3, [True, False, False]])

CASES = [  # the argument that the error names, what it says of it, the function, its arguments
    # Shapes and kinds.
    ("scores", "(3,)", ranking.target_ranks, np.zeros(3)),
    ("excluded", "int64", ranking.target_ranks, ZEROS, 0, HIDDEN.astype(int)),
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
    ("points[0, 1]", "nan", control.set_hv, [[1.0, np.nan]]),
    ("target", "", ranking.target_ranks, ZEROS, 0, HIDDEN),
    ("candidates[0, 1]", "3", ranking.ideal_alpha_dcg, TABLE, 1, 0.5, np.array([[0, 3]])),
    ("alpha", "1.5", ranking.alpha_dcg, LIST, 1.5),
    ("p-values[0]", "-0.1", statistics.holm, [-0.1, 0.5]),
    ("p-values[1]", "1.5", statistics.holm, [0.5, 1.5]),
    ("resamples", "10", statistics.paired_bootstrap, [(TWO, TWO, FIRST)], TWO, 10),
    # Cut-offs.
    ("k", "0", ranking.category_coverage_at, LIST, 0),
    ("k", "bool", ranking.hr_at, np.array([1]), True),
    ("k", "3", ranking.top_k, ZEROS, 3, HIDDEN),
    ("ranked", "3", ranking.category_coverage_at, LIST, 3),
    # Nothing to measure.
    ("α-nDCG", "", ranking.alpha_ndcg_at, np.ones((1, 3)), np.zeros((1, 3)), 3),
]


@pytest.mark.parametrize(
    ("argument", "found", "call"),
    [pytest.param(argument, found, call, id=argument) for argument, found, *call in CASES],
)
def test_an_error_begins_with_the_argument_that_is_wrong(argument, found, call):
    assert refused(found, *call).startswith(argument)
