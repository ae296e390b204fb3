"""What cannot be meant is refused, in words that say what to do."""

import numpy as np
import pytest

from paragon import ParagonError

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
