"""Bad tables in memory and bad requests to the library, by subject and what the message names."""

from datetime import datetime

import numpy as np
import pandas as pd

from paragon import History
from paragon.evaluation.methods import Method
from tests.data.conftest import ITEMS, events

GOOD = {"interactions table": events(), "items table": ITEMS, "users table": None}
WRONG = Method("reranked", rerank=lambda lists: lists)
DAY = datetime(2020, 1, 1)
THREE = {"user_id": ["u"] * 3, "item_id": ["a"] * 3}
TRUE, HUGE = (pd.Series([1, value, 3], dtype=object) for value in (True, 10**400))


def all_events(column, *values):
    return [events(**{column: value}) for value in values]


def all_items(column, *values):
    return [ITEMS.assign(**{column: value}) for value in values]


INTERACTIONS = {
    "row 0, column user_id": all_events(
        *("user_id", [1.0, 2.0, 3.0], ["u\u200b1", "u1", "u1"], [10**5000, 1, 2])
    ),
    "row 1, column item_id": [
        *all_events("item_id", ["a", None, "b"], ["a", "b\tc", "a"]),
        THREE | {"item_id": ["a", "\ud800", "a"], "timestamp": [1, 2, 3]},
    ],
    "row 1, column rating": all_events("rating", ["5", "x", "3"], [5, None, 3], [5, -2, 3], TRUE),
    "row 0, column rating": all_events("rating", [1 + 2j, 2, 3], [True, False, True]),
    "row 1, column timestamp": all_events(
        *("timestamp", [10**9, 10**12, 10**9], pd.Series([DAY, pd.NaT, DAY])),
        *(HUGE, [1, float("inf"), 2]),
    ),
    "row 0, column timestamp": all_events(
        *("timestamp", pd.to_timedelta([3, 2, 1], unit="s"), [datetime(1, 1, 1)] * 3),
        *(np.array([1.7e9] * 3, dtype="float32"), np.array(["5200-01-01"] * 3, "datetime64[s]")),
        pd.period_range("2020-01", periods=3, freq="M"),
    ),
    "column timestamp": [events(timestamp=None), {"user_id": [], "item_id": []}],
    "row 1, column user_id": all_events("user_id", [1, "1", 2], ["u0", "u0 ", "u1"]),
    "row 2, column item_id": all_events("item_id", ["a", "b", "a\0"], ["a", "b", ""]),
    "row 0, column item_id": all_events("item_id", [["a"], "b", "a"]),
    # What is no table: its type.
    "dict": [
        *(THREE | {"timestamp": [1, 2]}, {"user_id": 5, "item_id": ["a"]}),
        {"user_id": "ab", "item_id": ["a", "b"]},
        *(THREE | {"item_id": column} for column in ({"a": 1, "b": 2, "c": 3}, {"a", "b", "c"})),
    ],
    "DataFrame": [pd.DataFrame([["u", "v"]] * 2, columns=["user_id", "user_id"])],
    "Lazy": [type("Lazy", (), {"columns": ["user_id"]})()],
    "list": [[1, 2]],
    "": [events().iloc[:0]],
    "column user_id": [{}],
}
ITEM_TABLES = {
    "row 1, column categories": all_items("categories", *([["X"], n] for n in ("a", 3, [1]))),
    "row 1, column title": all_items("title", ["A", "x\0"], ["A", 10**5000]),
    "column item_id of items table": all_items("item_id", ["x", "y"]),
    "row 1, column item_id": all_items("item_id", ["a", "a"]),
    "column categories": [ITEMS.drop(columns="categories")],
}
USER_TABLES = {
    "row 1, column group": [{"user_id": [1, 2], "group": ["F", "\udfff"]}],
    "column user_id": [{"user_id": [7, 8], "group": ["F", "M"]}],
    "row 1, column user_id": [{"user_id": [1, 1], "group": ["F", "M"]}],
}
# What JSON can hold is asked of the service, in corpus.yaml.
TIMES = [["x"], [1.5], [True], [2**62]]
HISTORIES = {
    "history": ["6269", b"6269", {"i1": 5}, 17, None, []],
    "history.0": [[1, 2], np.array([1, 2]), [["i1"]], [None], ["x" * 257]],
    "times": [History(["i1"], times=[1, 2]), History(["i1", "i2"], times=[9, 1])],
    "times.0": [*(History(["i1"], times=t) for t in TIMES), History(["i1"] * 2, [[1], [2, 3]])],
    "user": [History(["i1"], user="nobody"), History(["i1"], user=["u1"])],
}
WEIGHTS = {
    "weights (0.5": [[0.5, 0.6], {"accuracy": 0.5}],
    "weights (nan": [[float("nan"), 1]],
    "weights, (1": [[0.5], [], np.zeros((1, 1, 2)), 0.5],  # a shape
    "weights, 2 rows": [[[0.5, 0.5], [0.1, 0.9]]],
    "weights": [{"accuracy": "much", "diversity": 0.3}, [1j, 0], "half", None, [10**400, 0]],
    "weights, True": [[True, False]],
}
OPTIONS = {
    "rerank": [{"rerank": ["xquad"]}],
    "only": [{"only": "i1"}, {"only": [["i1"]]}],
    "without": [{"without": ["new", "newer"]}, {"without": 5}],
    "k: 10, 0 items": [{"only": []}],
    "k: 147, 146 items": [{"k": 147}],
}
OUTCOMES = {
    "accuracy_loss_at_most": [{"accuracy_loss_at_most": x} for x in (0, 3, float("nan"), "0.03")],
    "confidence": [{"accuracy_loss_at_most": 0.03, "confidence": 1}],
    "users": [{"accuracy_loss_at_most": 0.03, "users": 0}],
}
OBJECTS = {"interactions table": INTERACTIONS, "items table": ITEM_TABLES}
OBJECTS |= {"users table": USER_TABLES, "history": HISTORIES, "weights": WEIGHTS}
OBJECTS |= {"option": OPTIONS, "outcome": OUTCOMES}
OBJECTS["k"] = {"k": [0, -1, 2.5, 2.0, True, "3", None, 10_000, np.float32(2), 10**30]}
