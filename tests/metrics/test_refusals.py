"""Bad input of every metric: an error that begins with the argument that is wrong."""

import numpy as np
import pytest

from paragon.errors import ParagonError
from paragon.metrics import control, diversity, ranking, statistics

NAN, TWO = [1.0, np.nan], np.array([1.0, 2.0])
LIST, TABLE, ZEROS = np.ones((1, 2, 3), bool), np.eye(3, dtype=bool), np.zeros((2, 3))
FIRST = lambda means: means[:, 0]  # noqa: E731
HIDDEN = np.array([[False] * 3, [True, False, False]])

CASES = [  # what the error begins with, the function, its arguments
    # Shapes and kinds.
    ("scores: float64 of shape (3,)", ranking.target_ranks, np.zeros(3)),
    ("target", ranking.target_ranks, ZEROS, np.array([0, 1, 2])),
    ("excluded", ranking.target_ranks, ZEROS, 0, HIDDEN.astype(int)),
    ("ranks", ranking.ndcg_at, np.array([1.0]), 10),
    ("groups", ranking.group_gap, TWO, [0.0, 1.0]),
    ("ranked items", ranking.novelty_at, [[0.0]], TWO, 1),
    ("ranked: bool of shape (1, 2, 3); give numbers [N, K, M] with K >= 3",
     diversity.category_coverage_at, LIST, 3),
    ("ranked", diversity.alpha_dcg, LIST[0]),
    ("items", diversity.items_shown_at, np.zeros((7, 6), int), 7),
    ("ideal", diversity.alpha_ndcg_at, np.ones((1, 3)), np.ones((1, 2)), 3),
    ("ideal", diversity.alpha_ndcg_at, np.ones((3, 3)), np.ones((2, 3)), 3),
    ("categories", diversity.ideal_alpha_dcg, np.zeros((3, 0), bool), 1),
    ("excluded", diversity.ideal_alpha_dcg, TABLE, 1, 0.5, None, np.zeros((1, 2), bool)),
    ("other", control.correlation, TWO, [1.0, 2.0, 3.0]),
    ("values", control.violations, np.eye(2), [1.0]),
    ("corners", control.regret, TWO, TWO, TWO, np.array([0, 1])),
    ("losses", control.regret, TWO, TWO, TWO, None, np.array([0])),
    ("points", control.set_hv, np.ones((0, 2))),
    ("points: 4 objectives", control.set_hv, np.ones((2, 4))),
    ("b", statistics.paired_bootstrap, TWO, np.zeros(4), TWO, FIRST),
    ("clusters", statistics.paired_bootstrap, TWO, TWO, np.zeros(4), FIRST),
    ("the difference", statistics.paired_bootstrap, TWO, TWO, TWO, np.mean),
    # Numbers that are not finite.
    ("scores: row 1, column 1 is inf", ranking.target_ranks, [[0, 1], [0, np.inf]]),
    ("holders: entry [1] is nan", ranking.self_information, NAN, 3),
    ("points: entry [0, 1] is nan", control.set_hv, [NAN]),
    ("values", control.correlation, NAN, TWO),
    ("weights", control.violations, [NAN], [0.5]),
    ("b: entry [0, 1] is nan", statistics.paired_bootstrap, TWO, NAN, TWO, FIRST),
    ("the difference", statistics.paired_bootstrap, TWO, TWO, TWO, lambda m: m[:, 0] / 0),
    ("p-values", statistics.holm, NAN),
    # Numbers out of range.
    ("target: entry [1] is 3", ranking.target_ranks, ZEROS, np.array([0, 3])),
    ("target: row 1", ranking.target_ranks, ZEROS, 0, HIDDEN),
    ("ranks: entry [0] is 0", ranking.hr_at, np.array([0]), 10),
    ("holders: entry [1] is 9.0", ranking.self_information, [1, 9], 8),
    ("users: 0", ranking.self_information, [0], 0),
    ("ranked items: entry [0, 0] is 2", ranking.novelty_at, [[2]], TWO, 1),
    ("candidates", diversity.ideal_alpha_dcg, TABLE, 1, 0.5, np.array([[0, 3]])),
    ("alpha: 1.5", diversity.alpha_dcg, LIST, 1.5),
    ("resamples: 10", statistics.paired_bootstrap, TWO, TWO, TWO, FIRST, 10),
    ("p-values: entry [1] is 2.0", statistics.holm, TWO),
    # Cut-offs.
    ("k: 0", diversity.category_coverage_at, LIST, 0),
    ("k: 2.0", ranking.top_k, ZEROS, 2.0),
    ("k: True", ranking.hr_at, np.array([1]), True),
    ("k", diversity.intra_list_distance_at, LIST, 1),
    ("k: 3 is more than the 2 candidates of row 1", ranking.top_k, ZEROS, 3, HIDDEN),
    # Nothing to measure, or measured twice.
    ("α-nDCG", diversity.alpha_ndcg_at, np.ones((1, 3)), np.zeros((1, 3)), 3),
    ("weights: rows 0 and 2 are the same", control.violations, np.eye(2)[[0, 1, 0]], np.zeros(3)),
]  # fmt: skip


@pytest.mark.parametrize(("start", "function", "arguments"), [(s, f, a) for s, f, *a in CASES])
def test_an_error_begins_with_what_is_wrong(start, function, arguments):
    with pytest.raises(ParagonError) as caught:
        function(*arguments)
    assert str(caught.value).startswith(start) and "\n" not in str(caught.value)
