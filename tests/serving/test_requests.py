"""What cannot be meant is refused, in words that say what to do."""

import warnings

import numpy as np
import pandas as pd
import pytest

from paragon import History, ParagonError
from paragon.serving.requests import check_many_weights

HALF = [0.5, 0.5]


@pytest.mark.parametrize("history", [("i1", "i2"), np.array(["i1", "i2"]), iter(["i1", "i2"])])
def test_any_list_of_ids_will_do(recommender, history):
    assert len(recommender.recommend(history, HALF, k=4)) == 4


def test_weights_are_normalised_only_when_asked(recommender):
    found = recommender.recommend(["i1"], {"accuracy": 3, "diversity": 1}, normalise=True)
    assert found.weights == {"accuracy": 0.75, "diversity": 0.25}
    for weights in ([0, 0], [-1, 2], [float("inf"), 1]):
        with pytest.raises(ParagonError, match="weights"):
            recommender.recommend(["i1"], weights, normalise=True)


def test_huge_weights_are_normalised_and_ordinary_ones_as_ever():
    rows = np.random.default_rng(0).gamma(1, 10.0 ** np.arange(-3, 3)[:, None], (6, 2))
    huge = np.array([[1e308, 1e308], [1.5e308, 0.5e308], [1e308, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = check_many_weights(np.concatenate([rows, huge]), ["a", "b"], 9, True)
    assert found[6:].tolist() == [[0.5, 0.5], [0.75, 0.25], [1, 0]]
    expected = (rows / rows.sum(1)[:, None]).astype(np.float32)
    assert found[:6].tobytes() == expected.tobytes()
    for weights, normalise in (([1e308, 1e308], False), ([1e308, -1e-300], True)):
        with pytest.raises(ParagonError, match=r"weights: \(1e\+308, "):
            check_many_weights(weights, ["a", "b"], 1, normalise)


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


def test_a_list_longer_than_what_is_left(recommender):
    assert len(recommender.recommend(["i1", "i2", "i2"], HALF, k=np.int64(145))) == 145
    left = recommender.recommend(["i1"], HALF, k=len(recommender.items) - 1)
    assert "i1" not in left.item_ids
    with pytest.raises(ParagonError, match=f"k: {len(recommender.items)} is more than the"):
        recommender.recommend(["i1"], HALF, k=len(recommender.items))


TABLE = pd.DataFrame(np.zeros((50, 20)))
LONG = ["x" * 900_000, {"x" * 900_000: 1}, TABLE, [TABLE], 10**5000, [10**5000], [["x"] * 10**5]]


@pytest.mark.parametrize("value", LONG, ids=lambda value: type(value).__name__)
def test_what_was_sent_comes_back_in_one_short_line(recommender, value):
    def refused(function, *arguments, **options):
        with pytest.raises(ParagonError) as caught:
            function(*arguments, **options)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300

    one, many = recommender.recommend, recommender.recommend_many
    refused(one, value, HALF)
    refused(one, History(["i1"], user=value), HALF)
    refused(one, ["i1"], value)
    refused(many, [["i1"]], value)
    for name in ("k", "rerank", "only", "without"):
        refused(one, ["i1"], HALF, **{name: value})
    if isinstance(value, str):
        refused(many, value, HALF)
        refused(one, ["i1"], HALF, only=[value])


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
