"""What cannot be meant is refused, in words that say what to do."""

import numpy as np
import pytest

from paragon import History, ParagonError

HALF = [0.5, 0.5]


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ("6269", "'6269' is not a list"),
        (b"6269", "is not a list"),
        ({"i1": 5}, "is not a list"),
        (17, "17 is not a list"),
        (None, "None is not a list"),
        ([], "history: empty"),
        ([1, 2], "1 is a int; ids are texts: give '1'"),
        (np.array([1, 2]), "ids are texts"),
        (["i1", 2.5], "2.5 is a float"),
        ([["i1"]], "every item must be an id"),
        ([None], "None is a NoneType"),
        (History(["i1"], times=[1, 2]), "1 items with 2 times"),
        (History(["i1"], times=["x"]), "whole numbers are needed"),
        (History(["i1"], times=[2**62]), "out of range"),
        (History(["i1"], user="nobody"), "user: 'nobody' is not in the data"),
    ],
)
def test_histories(recommender, history, words):
    with pytest.raises(ParagonError, match=words):
        recommender.recommend(history, HALF)
    batch = recommender.recommend_many([["i1"], history], HALF)
    assert batch[0] is not None and list(batch.errors) == [1]


@pytest.mark.parametrize("history", [("i1", "i2"), np.array(["i1", "i2"]), iter(["i1", "i2"])])
def test_any_list_of_ids_will_do(recommender, history):
    assert len(recommender.recommend(history, HALF, k=4)) == 4


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([0.5, 0.6], "their sum 1"),
        ([1.5, -0.5], "at least 0"),
        ([float("nan"), 1], "finite"),
        ([0.5], "2 numbers are needed"),
        ([[0.5, 0.5], [0.1, 0.9]], "2 rows for one history"),
        ({"accuracy": 0.5, "novelty": 0.5}, "'novelty' is unknown; known: accuracy, diversity"),
        ({"accuracy": 0.5}, "their sum 1"),
        ({}, "their sum 1"),
        ({"accuracy": "much", "diversity": 0.3}, "no list of numbers"),
        ("half", "'half' is neither"),
        (0.5, "0.5 is neither"),
        (None, "None is neither"),
        ([True, False], "bool"),
        ([[0.5, 0.5], [0.5]], "no list of numbers"),
    ],
)
def test_weights(recommender, weights, words):
    with pytest.raises(ParagonError, match=words):
        recommender.recommend(["i1"], weights)


def test_weights_are_normalised_only_when_asked(recommender):
    found = recommender.recommend(["i1"], {"accuracy": 3, "diversity": 1}, normalise=True)
    assert found.weights == {"accuracy": 0.75, "diversity": 0.25}
    for weights in ([0, 0], [-1, 2], [float("inf"), 1]):
        with pytest.raises(ParagonError, match="weights"):
            recommender.recommend(["i1"], weights, normalise=True)


def test_weights_of_many(recommender):
    with pytest.raises(ParagonError, match="3 rows for 2 histories"):
        recommender.recommend_many([["i1"]] * 2, [HALF] * 3)
    with pytest.raises(ParagonError, match="row 1: "):
        recommender.recommend_many([["i1"]] * 2, [HALF, [2, 3]])
    with pytest.raises(ParagonError, match="put it into a list"):
        recommender.recommend_many(["i1", "i2"], HALF)
    with pytest.raises(ParagonError, match="not a list of histories"):
        recommender.recommend_many("i1", HALF)
    assert len(recommender.recommend_many([], HALF)) == 0
    named = recommender.recommend_many([["i1"]] * 2, {"accuracy": 1})
    assert named[1].weights == {"accuracy": 1.0, "diversity": 0.0}


@pytest.mark.parametrize("k", [0, -1, 2.5, 2.0, True, "3", None, 10_000, np.float32(2)])
def test_lengths(recommender, k):
    with pytest.raises(ParagonError, match="^k: "):
        recommender.recommend(["i1"], HALF, k=k)
    with pytest.raises(ParagonError, match="^k: "):
        recommender.recommend_many([["i1"]], HALF, k=k)


def test_a_list_longer_than_what_is_left(recommender):
    assert len(recommender.recommend(["i1", "i2", "i2"], HALF, k=np.int64(145))) == 145
    left = recommender.recommend(["i1"], HALF, k=len(recommender.items) - 1)
    assert "i1" not in left.item_ids
    with pytest.raises(ParagonError, match=f"k: {len(recommender.items)} is more than the"):
        recommender.recommend(["i1"], HALF, k=len(recommender.items))


def test_options(recommender, loaded):
    with pytest.raises(TypeError):  # an adapter is no longer given beside weights, and ignored
        recommender.recommend(["i1"], HALF, adapter=None)
    with pytest.raises(ParagonError, match="'mmr' is unknown; known: xquad"):
        loaded.recommend(["i1"], HALF, rerank="mmr")
    with pytest.raises(ParagonError, match="never fitted"):
        recommender.recommend(["i1"], HALF, rerank="xquad")
    for name in ("only", "without"):
        with pytest.raises(ParagonError, match=f"{name}: item 'new' and 1 more is not known"):
            recommender.recommend(["i1"], HALF, **{name: ["new", "newer"]})
        with pytest.raises(ParagonError, match=f"{name}: 'i1' is not a list"):
            recommender.recommend(["i1"], HALF, **{name: "i1"})
