"""Bad input of every metric: the message begins with the argument that is wrong, and says how."""

import numpy as np
import pytest

from paragon.errors import ParagonError
from paragon.metrics import control, diversity, ranking, statistics

NAN = [1.0, np.nan]
ORACLE = np.array([1.0, 2.0])
LIST = np.ones((1, 2, 3), bool)

CASES = [
    ("points: entry [0, 1] is nan", control.mean_hv, [NAN]),
    ("points: entry [0, 1] is nan", control.hypervolume, [NAN]),
    ("values: entry [1] is nan", control.correlation, NAN, ORACLE),
    ("the series to compare with: entry [1] is nan", control.correlation, ORACLE, NAN),
    ("weights: entry [0, 1] is nan", control.violations, [NAN], [0.5]),
    ("values: entry [1] is nan", control.violations, np.eye(2), NAN),
    ("corners: bool of shape (1,); give booleans [W] with W = 2",
     control.regret, ORACLE, ORACLE, ORACLE, np.array([True])),
    ("target: int64 of shape (3,); give integers [N] with N = 2",
     ranking.target_ranks, np.zeros((2, 3)), np.array([0, 1, 2])),
    ("scores: float64 of shape (3,); give numbers [N, C]", ranking.target_ranks, np.zeros(3)),
    ("ranks: float64 of shape (1,); give integers [N]", ranking.hr_at, np.array([1.0]), 10),
    ("ranks: entry 0 is 0, outside 1..inf", ranking.hr_at, np.array([0]), 10),
    ("holders: entry [1] is nan", ranking.self_information, NAN, 3),
    ("holders: there are 0 users", ranking.self_information, [0], 0),
    ("information: entry [1] is nan", ranking.novelty_at, [[0]], NAN, 1),
    ("ranked items: float64 of shape (1, 1); give integers [N, K] with K >= 1",
     ranking.novelty_at, [[0.0]], ORACLE, 1),
    ("ranked items: row 0, column 0 is 2, outside 0..1", ranking.novelty_at, [[2]], ORACLE, 1),
    ("values: entry [1] is nan", ranking.group_gap, NAN, [0, 1]),
    ("groups: float64 of shape (2,); give integers [N] with N = 2",
     ranking.group_gap, ORACLE, [0.0, 1.0]),
    ("k: 2.0; give an integer of at least 1", ranking.top_k, np.zeros((2, 3)), 2.0),
    ("k: nan; give an integer", ranking.ndcg_at, np.array([1]), np.nan),
    ("k: inf; give an integer", ranking.hr_at, np.array([1]), np.inf),
    ("k: 0; give an integer", diversity.category_coverage_at, LIST, 0),
    ("k: True; give an integer", ranking.hr_at, np.array([1]), True),
    ("k: intra-list distance needs pairs", diversity.intra_list_distance_at, LIST, 1),
    ("ranked: bool of shape (1, 2, 3); give numbers [N, K, M] with K >= 3",
     diversity.intra_list_distance_at, LIST, 3),
    ("ideal: float64 of shape (1, 2); give numbers [N, K] with K >= 3",
     diversity.normalised, np.ones((1, 3)), np.ones((1, 2)), 3),
    ("dcg: float64 of shape (1, 2); give numbers [N, K] with K >= 3",
     diversity.normalised, np.ones((1, 2)), np.ones((1, 3)), 3),
    ("α-nDCG: no candidate", diversity.normalised, np.ones((1, 3)), np.zeros((1, 3)), 3),
    ("values: entry [1] is nan", statistics.mean_interval, NAN),
    ("a: entry [1] is nan", statistics.paired_bootstrap, NAN, ORACLE),
    ("p-values: entry [1] is nan", statistics.holm, NAN),
    ("p-values: entry 1 is 2.0, outside 0..1", statistics.holm, ORACLE),
]  # fmt: skip


@pytest.mark.parametrize(("start", "function", "arguments"), [(s, f, a) for s, f, *a in CASES])
def test_a_message_begins_with_what_is_wrong(start, function, arguments):
    with pytest.raises(ParagonError) as caught:
        function(*arguments)
    assert str(caught.value).startswith(start) and "\n" not in str(caught.value)


def test_the_reasons_of_what_is_undefined():
    one = "a correlation needs two weights, there is one"
    assert control.correlation([0.5], [0.3]) == (None, one)
    assert statistics.mean_interval([0.4]).reason == "an interval needs two values, there is one"


def test_the_smallest_cases_have_values():
    """At the edge of what is refused, or undefined."""
    assert ranking.self_information([1], 1).tolist() == [0]
    assert ranking.self_information([3, 4], 4).tolist() == [1, 0]
    two = np.array([[[True, False], [False, True]]])
    assert diversity.intra_list_distance_at(two, 2).tolist() == [1]
    assert type(control.hypervolume([[0.5, 0.5]])) is float
