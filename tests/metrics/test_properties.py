"""What must hold of every metric, whatever the numbers: what changes nothing, and how it scales.

20 examples each in `make test`, ten times 1,000 in `make test-all` (docs/trust.md).
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from paragon.metrics import control, ranking, statistics
from tests.conftest import THOROUGH

many = settings(max_examples=10_000 if THOROUGH else 20)
whole = st.integers(-20, 20).map(float)  # sums and halves of these are exact
orders = st.randoms(use_true_random=False)


@st.composite
def scored(draw):
    """Scores with ties [N, C], a target of each row [N] and what is excluded [N, C]."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(2, 8))
    scores = draw(arrays.arrays(float, (rows, columns), elements=whole))
    target = draw(arrays.arrays(int, rows, elements=st.integers(0, columns - 1)))
    excluded = draw(arrays.arrays(bool, (rows, columns)))
    excluded[np.arange(rows), target] = False
    return scores, target, excluded


@many
@given(scored(), orders, st.integers(1, 10))
def test_accuracy_knows_nothing_but_the_order_of_the_candidates(case, random, k):
    scores, target, excluded = case
    ranks = ranking.target_ranks(scores, target, excluded)
    assert (ranks >= 1).all() and (ranks <= (~excluded).sum(1)).all()
    # Any rising function of the scores, other scores where nothing is a candidate, and other
    # columns for the same candidates.
    other, columns = np.where(excluded, 99.0, scores**3 / 4 + scores), [*range(scores.shape[1])]
    random.shuffle(columns)
    moved = np.argsort(columns)[target]
    turned = ranking.target_ranks(other[:, columns], moved, excluded[:, columns])
    assert np.array_equal(ranks, turned)
    # A longer list can only help, and so can a better score of the target.
    ndcg = ranking.ndcg_at(ranks, k)
    assert (ndcg <= ranking.ndcg_at(ranks, k + 1)).all() and (ndcg <= ranking.hr_at(ranks, k)).all()
    scores[np.arange(len(scores)), target] += 1
    assert (ranking.target_ranks(scores, target, excluded) <= ranks).all()


series = arrays.arrays(float, (3, 6), elements=whole)


@many
@given(series, st.sampled_from([2.0**-30, 0.5, 4.0]), whole)
def test_control_does_not_know_the_unit_of_a_metric(three, factor, shift):
    values, tuned, constant = three
    weights = np.linspace(0, 1, 6)
    constant = tuned + np.abs(constant) + 1

    pairs = np.stack([weights, 1 - weights], 1)

    def all_of(unit, shift=0.0):
        own, best, middle = (unit * x + shift for x in (values, tuned, constant))
        found = control.regret(own, best, middle, weights > 2) | {
            "correlation": control.correlation(weights, own),
            "range": control.range_ratio(own, best),
            "violations": control.violations(pairs, own, tolerance=0.5 * unit),
        }
        return {name: measure.value for name, measure in found.items()}

    for found in (all_of(factor), all_of(1.0, shift)):
        for name, expected in all_of(1.0).items():
            assert found[name] == pytest.approx(expected), name


@given(arrays.arrays(float, (2, 7), elements=whole), orders, st.sampled_from([0.5, 4.0]))
def test_a_difference_does_not_know_its_unit_nor_the_order_of_a_users_events(two, random, factor):
    users = np.array([0, 0, 1, 1, 1, 2, 3])

    def compared(a, b):
        interval, p = statistics.paired_bootstrap([(a, b, lambda m: m[:, 0])], users, 100)[0]
        return (*interval[:3], p)

    found, order = compared(*two), []
    for user in range(4):
        events = np.flatnonzero(users == user).tolist()
        order += random.sample(events, len(events))
    assert compared(*two[:, order]) == pytest.approx(found)
    *stretched, p_value = compared(*(factor * two + 1))
    assert stretched == pytest.approx([factor * x for x in found[:3]]) and p_value == found[3]
    assert 2 / 101 <= p_value <= 1 and found[1] <= found[2]
