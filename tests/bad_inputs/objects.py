"""Bad tables in memory and bad requests to the library: a value, then what the message says."""

from datetime import datetime

import numpy as np
import pandas as pd

from paragon import History
from tests.data.test_frames import ITEMS, events

HALF = [0.5, 0.5]

INTERACTIONS = [
    (events(user_id=[1.0, 2.0, 3.0]), "cannot keep 64-bit ids exactly"),
    (events(item_id=["a", None, "b"]), "row 1, column item_id"),
    (events(rating=["5", "x", "3"]), "row 1, column rating: found 'x'"),
    (events(rating=[5, None, 3]), "row 1, column rating"),
    (events(rating=[5, -2, 3]), "row 1, column rating: found -2.0"),
    (events(timestamp=None), "column timestamp is missing"),
    (
        events(timestamp=pd.Series([datetime(2020, 1, 1), pd.NaT, datetime(2020, 1, 1)])),
        "row 1, column timestamp",
    ),
    (events(item_id=["a", "b\tc", "a"]), "row 1, column item_id"),
    (events(user_id=["u0", "u0 ", "u1"]), "row 1, column user_id: found 'u0 '"),
    (events(item_id=["a", "b", "a\0"]), "row 2, column item_id"),
    (
        {"user_id": ["u", "v"], "item_id": ["a", "\ud800"], "timestamp": [1, 2]},
        "row 1, column item_id",
    ),
    (
        {"user_id": ["u"], "item_id": ["a", "b"], "timestamp": [1, 2]},
        "the columns differ in length (user_id 1, item_id 2, timestamp 2)",
    ),
    ({"user_id": 5, "item_id": ["a"]}, "found dict"),
    ({"user_id": "ab", "item_id": ["a", "b"]}, "a column is a single string"),
    (
        pd.DataFrame([["u", "v", "a"]], columns=["user_id", "user_id", "item_id"]),
        "column user_id is there twice",
    ),
    (type("Lazy", (), {"columns": ["user_id"]})(), "found Lazy"),
    (events(timestamp=pd.to_timedelta([3, 2, 1], unit="s")), "column timestamp holds"),
    (
        events(timestamp=pd.period_range("2020-01", periods=3, freq="M")),
        "column timestamp holds period[M] values",
    ),
    (events(rating=[1 + 2j, 2, 3]), "column rating holds complex128 values"),
    (events(rating=[True, False, True]), "column rating holds bool values"),
    (
        events(rating=pd.Series([1, True, 3], dtype=object)),
        "row 1, column rating: found True",
    ),
    (events(rating=pd.Series([1, 2, 2j], dtype=object)), "row 2, column rating"),
    (events(timestamp=pd.Series([1, 10**400, 3], dtype=object)), "row 1, column timestamp"),
    (events().iloc[:0], "there are no interactions"),
    ([1, 2], "expected a table with columns, found list"),
    (events(user_id=["u\u200b1", "u1", "u1"]), "row 0, column user_id: found 'u\\u200b1'"),
    (events(user_id=["u1", "u1", ""]), "row 2, column user_id: found ''"),
    (events(item_id=[["a"], "b", "a"]), "row 0, column item_id: found ['a'], expected a string"),
    (events(timestamp=[1, float("inf"), 2]), "row 1, column timestamp: found inf"),
    (events(timestamp=[10**9, 10**12, 10**9]), "row 1, column timestamp: found '1000000000000'"),
    (None, "expected a table with columns, found NoneType"),
    ({}, "column user_id is missing (columns found: none)"),
]
ITEM_TABLES = [
    (ITEMS.assign(categories=[["X"], "Drama"]), "row 1, column categories: found 'Drama'"),
    (ITEMS.assign(categories=[["X"], 3]), "row 1, column categories: found 3"),
    (ITEMS.assign(categories=[["X"], [1]]), "row 1, column categories: found [1]"),
    (ITEMS.assign(categories=[["X"], ["\ud800"]]), "row 1, column categories"),
    (ITEMS.assign(title=["A", "x\0"]), "row 1, column title: found 'x\\x00'"),
    (ITEMS.iloc[:0], "there are no items; add one row per item"),
    (ITEMS.assign(item_id=["x", "y"]), "column item_id of items table; add them there"),
    (ITEMS.assign(item_id=["a", "a"]), "row 1, column item_id: found 'a', expected an id that no"),
    (ITEMS.drop(columns="categories"), "column categories is missing"),
]
USER_TABLES = [
    ({"user_id": [1, 2], "group": ["F", "\udfff"]}, "row 1, column group"),
    ({"user_id": [7, 8], "group": ["F", "M"]}, "column user_id has none of the 2 users"),
    ({"user_id": [1, 1], "group": ["F", "M"]}, "row 1, column user_id: found '1'"),
    ({"group": ["F"]}, "column user_id is missing"),
]
HISTORIES = [
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
    (History(["i1"], times=[1.5]), "whole numbers are needed"),
    (History(["i1"], times=[2**62]), "out of range"),
    (History(["i1"], times=[10**30]), "whole numbers are needed"),
    (History(["i1", "i2"], times=[[1], [2, 3]]), "whole numbers are needed"),
    (History(["i1"], user="nobody"), "user: 'nobody' is not in the data"),
    (History(["i1"], user=["u1"]), "user: "),
]
WEIGHTS = [
    ([0.5, 0.6], "their sum 1"),
    ([1.5, -0.5], "at least 0"),
    ([float("nan"), 1], "finite"),
    ([0.5], "2 numbers are needed"),
    ([], "2 numbers are needed"),
    ([[0.5, 0.5], [0.1, 0.9]], "2 rows for one history"),
    (np.zeros((1, 1, 2)), "2 numbers are needed"),
    ({"accuracy": 0.5, "novelty": 0.5}, "'novelty' is unknown; known: accuracy, diversity"),
    ({"accuracy": 0.5}, "their sum 1"),
    ({}, "their sum 1"),
    ({"accuracy": "much", "diversity": 0.3}, "no list of numbers"),
    ("half", "'half' is neither"),
    (0.5, "0.5 is neither"),
    (None, "None is neither"),
    ([True, False], "bool"),
    ([1j, 0], "no list of numbers"),
    ([10**400, 0], "weights: "),
    ([[0.5, 0.5], [0.5]], "no list of numbers"),
]
LENGTHS = [(k, "k: ") for k in (0, -1, 2.5, 2.0, True, "3", None, 10_000, np.float32(2), 10**30)]
OPTIONS = [
    ({"rerank": "mmr"}, "rerank: 'mmr' is unknown; known: xquad"),
    ({"rerank": ["xquad"]}, "rerank: "),
    ({"only": ["new", "newer"]}, "only: item 'new' and 1 more is not known"),
    ({"without": ["new", "newer"]}, "without: item 'new' and 1 more is not known"),
    ({"only": "i1"}, "only: 'i1' is not a list"),
    ({"without": 5}, "without: "),
    ({"only": [["i1"]]}, "only: every item must be an id"),
    ({"only": []}, "k: 10 is more than the 0 items that are left"),
    ({"k": 147}, "k: 147 is more than the 146 items that are left for this history"),
]
OUTCOMES = [
    ({"accuracy_loss_at_most": 0}, "accuracy_loss_at_most: 0 is out of range"),
    ({"accuracy_loss_at_most": 3}, "accuracy_loss_at_most: 3 is out of range"),
    ({"accuracy_loss_at_most": float("nan")}, "accuracy_loss_at_most: nan is out of range"),
    ({"accuracy_loss_at_most": "0.03"}, "accuracy_loss_at_most: '0.03' is out of range"),
    ({"accuracy_loss_at_most": 0.03, "confidence": 1}, "confidence: 1 is out of range"),
    ({"accuracy_loss_at_most": 0.03, "users": 0}, "users: 0 is out of range"),
]
TABLES = {
    "interactions table": INTERACTIONS,
    "items table": ITEM_TABLES,
    "users table": USER_TABLES,
    "history": HISTORIES,
    "weights": WEIGHTS,
    "k": LENGTHS,
    "option": OPTIONS,
    "outcome": OUTCOMES,
}
