"""How settings of re-rankers are chosen: on validation events, and for each weight in its place."""

import dataclasses

import numpy as np
import pytest
from scipy.special import log_softmax

from paragon.metrics.diversity import alpha_dcg, alpha_ndcg_at, ideal_alpha_dcg
from paragon.metrics.ranking import ndcg_at, target_ranks, top_k
from paragon.rivals import calibration
from paragon.rivals.calibration import (
    Candidates,
    candidates_of,
    chosen_settings,
    placed,
    reranked_scores,
    validation_rows,
)
from paragon.rivals.reranking import RERANKERS

W = np.linspace(0, 1, 11)
XQUAD = RERANKERS["xquad"]


@pytest.fixture(scope="module")
def planted(seqs):
    """Scores of all items for which the targets of test and validation are likely."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((2, len(seqs.test), seqs.n_items + 1)).astype(np.float32)
    for own, events in zip(scores, (seqs.valid, seqs.test), strict=True):
        own[np.arange(len(own)), events.targets] += 2
    return scores


def test_the_temperature_is_the_likeliest(seqs):
    """Targets drawn from a softmax at temperature 0.25 of scores that have another scale."""
    rng = np.random.default_rng(0)
    scores = 3 * rng.standard_normal((2000, 12))
    excluded = rng.random(scores.shape) < 0.2
    allowed = np.where(excluded, -np.inf, scores)
    targets = (allowed / 0.75 + rng.gumbel(size=scores.shape)).argmax(1)
    kinds, patterns = np.zeros(12, dtype=int), np.ones((1, 2), dtype=bool)
    items = np.broadcast_to(np.arange(12), scores.shape)
    found = Candidates(items, excluded, targets, kinds, patterns).temperature(scores)

    def likelihood(temperature):
        return log_softmax(allowed / temperature, axis=1)[np.arange(2000), targets].mean()

    assert 0.75 / 1.3 < found < 0.75 * 1.3
    assert all(likelihood(found) > likelihood(found * factor) for factor in (0.7, 1.4))


def test_relevance_is_a_probability_among_all_candidates(seqs, planted):
    full = candidates_of(seqs, seqs.test)["full"]
    columns, lists = full.best(planted[1], 0.7)
    allowed = np.where(full.excluded, -np.inf, planted[1])
    expected = np.exp(log_softmax(allowed.astype(float) / 0.7, axis=1))
    assert np.array_equal(columns, top_k(planted[1], columns.shape[1], full.excluded))
    assert np.allclose(lists.relevance, np.take_along_axis(expected, columns, 1), rtol=1e-5)
    assert columns.shape[1] == (~full.excluded).sum(1).min()
    assert np.array_equal(lists.patterns[lists.kinds], seqs.categories[columns])


def test_of_more_than_a_thousand_validation_events_some_are_taken(seqs, monkeypatch):
    assert len(validation_rows(seqs.valid)[1]) == len(seqs.valid)
    monkeypatch.setattr(calibration, "EVENTS", 15)
    rows, events = validation_rows(seqs.valid)
    assert len(events) == len(np.arange(len(seqs.valid))[rows]) <= 15
    assert np.array_equal(events.targets, seqs.valid.targets[rows])
    assert events.users[-1] > 0.8 * seqs.n_users


def test_places_by_hand():
    points = np.array(
        [[0.0, 1.0], [0.1, 0.9], [0.1, 0.8], [0.5, 0.5], [0.9, 0.4], [1.2, 0.0], [1.0, 0.2],
         [0.4, 0.5], [1.0, 0.0]]
    )  # fmt: skip
    # On the front are 0, 1, 3, 4 and 8, at 0, 0.1, 0.5, 0.75 and 1; 5 is beyond the end and 6 as
    # accurate as it; 7 is as diverse as 3 and less accurate.
    weights = np.array([0.0, 0.09, 0.4, 0.45, 0.7, 0.9, 1.0])
    assert placed(points, weights).tolist() == [0, 1, 3, 3, 4, 8, 8]


def test_places_are_never_beaten_and_follow_the_weight():
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.random((50, 2))
        points[-1] = [0.97, rng.random()]
        found = points[placed(points, W)]
        others = points[points[:, 0] < 0.97]
        for point in found:
            better = (others >= point).all(1) & (others > point).any(1)
            assert not better.any()
        assert (np.diff(found[:, 0]) >= 0).all() and (np.diff(found[:, 1]) <= 0).all()
        assert found[-1].tolist() == points[-1].tolist() and found[0, 1] == others[:, 1].max()


def test_a_front_of_one_point():
    assert placed(np.array([[0.1, 0.2], [0.3, 0.5]]), W).tolist() == [1] * 11


def measured(seqs, events, scores):
    """NDCG@10 and α-nDCG@10 under both protocols, by the metrics themselves."""
    found = {}
    excluded = seqs.excluded(events)
    places = {
        "sampled": (events.candidates, np.zeros_like(events.candidates, dtype=bool), 0),
        "full": (np.broadcast_to(np.arange(excluded.shape[1]), excluded.shape), excluded, None),
    }
    for protocol, (items, hidden, target) in places.items():
        own, column = scores[protocol], events.targets if target is None else target
        best = np.take_along_axis(items, top_k(own, 10, hidden), 1)
        ideal = ideal_alpha_dcg(seqs.categories, 10, candidates=items, excluded=hidden)
        found[protocol] = (
            ndcg_at(target_ranks(own, column, hidden), 10).mean(),
            alpha_ndcg_at(alpha_dcg(seqs.categories[best]), ideal, 10).mean(),
        )
    return found


@pytest.mark.parametrize("rule", RERANKERS)
def test_on_the_events_of_the_choice_every_weight_is_in_its_place(seqs, planted, rule):
    events = seqs.valid
    sources = (events, [planted[0]]), (events, lambda _: planted[0])
    points = [
        measured(seqs, events, s) for s in reranked_scores(RERANKERS[rule], seqs, *sources, W, 12)
    ]
    own = np.take_along_axis(planted[0], events.candidates, 1)
    bare = measured(seqs, events, {"sampled": own, "full": planted[0]})
    for protocol in ("sampled", "full"):
        accuracy, spread = np.array([point[protocol] for point in points]).T
        assert (np.diff(accuracy) >= 0).all() and (np.diff(spread) <= 0).all()
        assert (accuracy[-1], spread[-1]) == pytest.approx(bare[protocol])
        assert spread[0] > spread[-1] + 0.02
        if rule == "xquad":
            assert spread[0] == pytest.approx(1.0, abs=0.01)  # the ideal breaks ties otherwise
            assert len(set(spread)) >= 6


def test_other_events_take_the_settings_of_validation(seqs, planted):
    """What was chosen does not depend on the test events' targets."""
    ends = seqs.valid, [planted[0]]
    shuffled = seqs.test.candidates.copy()
    shuffled[:, [0, 1]] = shuffled[:, [1, 0]]
    other = dataclasses.replace(seqs.test, candidates=shuffled)
    first = list(reranked_scores(XQUAD, seqs, ends, (seqs.test, lambda _: planted[1]), W, 12))
    second = list(reranked_scores(XQUAD, seqs, ends, (other, lambda _: planted[1]), W, 12))
    for one, two in zip(first, second, strict=True):
        assert one["full"].shape == planted[1].shape and one["sampled"].shape == shuffled.shape
        own = one["sampled"].copy()
        own[:, [0, 1]] = own[:, [1, 0]]
        assert np.array_equal(np.argsort(-own)[:, :5], np.argsort(-two["sampled"])[:, :5])


def test_the_source_that_is_beaten_is_not_taken(seqs, planted):
    rng = np.random.default_rng(1)
    bad = rng.standard_normal(planted[0].shape).astype(np.float32)
    full = candidates_of(seqs, seqs.valid)["full"]
    settings = chosen_settings(XQUAD, full, [bad, planted[0]], W)
    assert [setting.source for setting in settings[2:]] == [1] * 9
    assert settings[-1].weight == 1.0


def test_each_source_is_re_ranked_with_its_own_scores(seqs, planted):
    asked = []

    def on_test(source):
        asked.append(source)
        return planted[1]

    valid = (seqs.valid, [-planted[0], planted[0]])
    list(reranked_scores(XQUAD, seqs, valid, (seqs.test, on_test), np.array([1.0]), 12))
    assert asked == [1, 1]  # the more accurate one, under both protocols
