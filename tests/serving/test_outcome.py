"""The promise about new users: kept as often as it says, and not by promising nothing."""

import math

import numpy as np
import pytest
from scipy import stats

from paragon import Recommender
from paragon.serving.outcome import Outcomes, furthest, loss_bounds
from tests.conftest import refused


def population(users, rng, balances=41):
    """NDCG of users whose loss grows with the row: most have none, as in real lists."""
    share = np.linspace(0, 1, balances)[:, None]
    hit = rng.random(users) < 0.2
    worth = rng.choice([1, 0.63, 0.5, 0.43, 0.39], users) * hit
    lost = rng.random(users)
    moved = rng.normal(0, 0.1, users) * hit  # some gain, some lose, by chance
    kept = np.where(lost < 0.5 * share**1.5, 0, worth + moved * np.sqrt(share))
    return kept.clip(0, 1)


def test_the_promise_is_kept():
    rng = np.random.default_rng(0)
    broken, rows, best = 0, [], []
    truth = population(200_000, rng).mean(1)
    for _ in range(400):
        known, new = population(800, rng), population(800, rng)
        row = furthest(known, 0.1, 0.95, 800)
        rows.append(row)
        means = new.mean(1)
        broken += means[row] < 0.9 * means[0]
        best.append(np.flatnonzero(truth >= 0.9 * truth[0]).max())
    assert broken / 400 <= 0.07  # 5 % and three standard errors
    assert np.mean(rows) > 0.4 * np.mean(best)


def test_more_confidence_or_fewer_people_mean_less_change():
    known = population(800, np.random.default_rng(1))
    rows = [furthest(known, 0.1, *how) for how in ((0.99, 800), (0.95, 800), (0.95, math.inf))]
    assert rows == sorted(rows) and rows[0] < rows[2]
    assert furthest(known, 0.3, 0.95, 800) > rows[1]
    bound = loss_bounds(known, 0.95, 800)  # the least loss that could be promised
    assert bound[0] == pytest.approx(0, abs=1e-9) and (np.diff(bound[1:]) > -0.05).all()
    assert bound[: rows[1] + 1].max() <= 0.1 < bound[rows[1] + 1]


def test_the_bound_of_few_users_is_that_of_a_t_test():
    known = 1 - 0.1 * np.random.default_rng(0).random((3, 5))
    known[1:] *= [[0.9], [0.7]]
    bound = loss_bounds(known, 0.9, math.inf)
    for row, loss in zip(known[1:], bound[1:], strict=True):
        found = stats.ttest_1samp((1 - loss) * known[0] - row, 0, alternative="less")
        assert found.confidence_interval(0.9).high == pytest.approx(0, abs=1e-9)


def test_a_balance_is_weights(loaded, seqs):
    found = loaded.weights_for(accuracy_loss_at_most=0.5)
    assert set(found) == {"accuracy", "diversity"} and sum(found.values()) == pytest.approx(1)
    served = loaded.recommend(seqs.item_ids[:2], found).weights
    assert served["accuracy"] == pytest.approx(found["accuracy"])
    assert found.bound <= 0.5 and found.users == len(seqs.test)
    assert loaded.weights_for(0.5, users=math.inf).users == math.inf
    outcomes = loaded.outcomes
    assert outcomes.ndcg.shape == (21, len(seqs.valid)) and outcomes.weights[0].tolist() == [1, 0]
    # The users are in the order of their values, so that no column is somebody's.
    columns = outcomes.ndcg.T.tolist()
    assert columns == sorted(columns) and columns[0] != columns[-1]


@pytest.mark.parametrize(
    "ndcg",
    [[[1.0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], [[0.0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]],
    ids=["too few users", "accuracy of 0, of which there is no share"],
)
def test_where_nothing_can_be_promised_accuracy_alone_comes_back(made, seqs, ndcg):
    outcomes = Outcomes(np.eye(3, 2), np.array(ndcg), np.array([0.4, 0.9, 1]))
    found = Recommender(made[0], made[2], seqs, outcomes=outcomes).weights_for(0.01)
    assert found == {"accuracy": 1, "diversity": 0} and found.loss == found.bound == 0


def test_bad_arguments(loaded, recommender):
    """``tests/bad_inputs/objects.py`` has more."""
    assert len(refused("users", loaded.weights_for, 0.1, users="many " * 10_000)) < 200
    refused("weights_for", recommender.weights_for, 0.1)
