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


def shuffled(length, random):
    order = list(range(length))
    random.shuffle(order)
    return np.array(order)


@st.composite
def scored(draw, least=2):
    """Scores with ties [N, C], a target of each row [N] and what is excluded [N, C]."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(least, 8))
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
    # Any rising function of the scores, and other scores where nothing is a candidate.
    other = np.where(excluded, 99.0, scores**3 / 4 + scores)
    assert np.array_equal(ranks, ranking.target_ranks(other, target, excluded))
    # Other columns for the same candidates, other rows for the same events.
    columns, rows = shuffled(scores.shape[1], random), shuffled(len(scores), random)
    moved = np.argsort(columns)[target]
    turned = ranking.target_ranks(scores[:, columns], moved, excluded[:, columns])
    assert np.array_equal(ranks, turned)
    turned = ranking.target_ranks(scores[rows], target[rows], excluded[rows])
    assert np.array_equal(ranks[rows], turned)
    # A longer list can only help, and so can a better score of the target.
    ndcg = ranking.ndcg_at(ranks, k)
    assert (ndcg <= ranking.ndcg_at(ranks, k + 1)).all() and (ndcg <= ranking.hr_at(ranks, k)).all()
    better = scores.copy()
    better[np.arange(len(scores)), target] += 1
    assert (ranking.target_ranks(better, target, excluded) <= ranks).all()


@st.composite
def catalogues(draw):
    """Categories [V, M], one list of different items for each of some events, and its length."""
    table = draw(arrays.arrays(bool, st.tuples(st.integers(2, 8), st.integers(1, 5))))
    table[0, 0] = True  # else nothing could be measured
    random = draw(orders)
    lists = np.stack([shuffled(len(table), random) for _ in range(draw(st.integers(1, 3)))])
    return table, lists, draw(st.integers(2, len(table))), random


@many
@given(catalogues(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_diversity_does_not_know_the_names_of_categories(case, alpha):
    table, lists, k, random = case
    columns = shuffled(table.shape[1], random)
    for name, metric in {
        "ild": lambda t: ranking.intra_list_distance_at(t[lists], k),
        "coverage": lambda t: ranking.category_coverage_at(t[lists], k),
        "alpha_dcg": lambda t: ranking.alpha_dcg(t[lists], alpha),
        "ideal": lambda t: ranking.ideal_alpha_dcg(t, k, alpha),
    }.items():
        value = metric(table)
        assert value == pytest.approx(metric(table[:, columns])), name
        # Every category twice: sums double, shares and distances stay.
        twice = value * (2 if name in ("alpha_dcg", "ideal") else 1)
        assert metric(np.tile(table, 2)) == pytest.approx(twice), name


@many
@given(catalogues(), arrays.arrays(int, 8, elements=st.integers(0, 9)), st.integers(2, 5))
def test_novelty_does_not_know_the_number_of_users(case, holders, times):
    _, lists, k, _ = case
    once = ranking.self_information(1 + holders, 10)
    assert once == pytest.approx(ranking.self_information(times * (1 + holders), times * 10))
    assert (once >= 0).all() and (once <= 1).all()
    found = ranking.novelty_at(lists, once, k)
    assert found == pytest.approx(ranking.novelty_at(lists[:, :k][:, ::-1], once, k))
    assert ranking.novelty_at(lists, once / 2, k) == pytest.approx(found / 2)


series = arrays.arrays(float, (3, 6), elements=whole)


@many
@given(series, st.sampled_from([2.0**-30, 0.5, 4.0]), whole)
def test_control_does_not_know_the_unit_of_a_metric(three, factor, shift):
    values, oracle, constant = three
    weights = np.linspace(0, 1, 6)
    constant = oracle + np.abs(constant) + 1

    def all_of(unit, shift=0.0):
        own, best, middle = (unit * x + shift for x in (values, oracle, constant))
        pairs = np.stack([weights, 1 - weights], 1)
        return {
            "correlation": control.correlation(weights, own).value,
            "range": control.range_ratio(own, best).value,
            "violations": control.violations(pairs, own, tolerance=0.5 * unit).value,
        } | {
            name: found.value
            for name, found in control.regret(own, best, middle, weights > 2).items()
        }

    expected, found = all_of(1.0), all_of(factor)
    for name in expected:
        assert found[name] == pytest.approx(expected[name]), name
    found = all_of(1.0, shift)
    for name in expected:
        assert found[name] == pytest.approx(expected[name]), name


@given(arrays.arrays(float, (2, 7), elements=whole), orders, st.sampled_from([0.5, 4.0]))
def test_a_difference_does_not_know_its_unit_nor_the_order_of_a_users_events(two, random, factor):
    users = np.array([0, 0, 1, 1, 1, 2, 3])

    def compared(a, b):
        interval, p = statistics.paired_bootstrap(a, b, users, lambda m: m[:, 0], resamples=100)
        return (*interval[:3], p)

    found = compared(*two)
    own = [np.flatnonzero(users == user) for user in range(4)]
    order = np.concatenate([events[shuffled(len(events), random)] for events in own])
    assert compared(*two[:, order]) == pytest.approx(found)
    *stretched, p_value = compared(*(factor * two + 1))
    assert stretched == pytest.approx([factor * x for x in found[:3]]) and p_value == found[3]
    assert 2 / 101 <= p_value <= 1 and found[1] <= found[2]
