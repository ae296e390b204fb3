"""Datasets from tables in memory."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from paragon.data.table import Dataset


def events(**changes):
    columns = {
        "user_id": [9223372036854775807, 1, 1],
        "item_id": ["a", "b", "a"],
        "rating": [5, 3, 4],
        "timestamp": [30, 20, 10],
    }
    columns |= changes
    return pd.DataFrame({name: value for name, value in columns.items() if value is not None})


ITEMS = pd.DataFrame({"item_id": ["a", "b"], "title": ["A\tx", None], "categories": [["X"], []]})


@pytest.mark.parametrize("group", ["group", "gender"])
def test_ids_become_strings_and_order_stays(group):
    given, items = events().set_index(pd.Index([7, 7, 3])), ITEMS.copy(deep=True)
    users = pd.DataFrame({"user_id": [1, 2], group: ["F", None]})
    dataset = Dataset.from_frame(given, items, users, name="shop")
    assert dataset.interactions["user_id"].tolist() == ["9223372036854775807", "1", "1"]
    assert dataset.interactions["timestamp"].tolist() == [30, 20, 10]
    assert dataset.items["title"].tolist() == ["A x", "b"]
    assert dataset.items["categories"].tolist() == [("X",), ()]
    assert dataset.users["group"].tolist()[0] == "F" and pd.isna(dataset.users["group"][1])
    assert dataset.repairs == {
        "items without categories": 1,
        "users missing from the user table, of unknown group": 1,
    }
    assert (dataset.name, dataset.source) == ("shop", "own")
    pd.testing.assert_frame_equal(given.reset_index(drop=True), events())  # not changed
    pd.testing.assert_frame_equal(items, ITEMS)


def test_names_that_files_change_are_counted():
    items = ITEMS.assign(categories=[["Food & Drink", "X"], ["X", "Food & Drink", "a|b"]])
    assert Dataset.from_frame(events(), items).repairs == {
        "names of categories written with '_' for spaces and separators": 2
    }


def test_fingerprint_follows_the_content():
    one, same = (Dataset.from_frame(events(), ITEMS).fingerprint for _ in range(2))
    other = Dataset.from_frame(events(rating=[5, 3, 4.5]), ITEMS).fingerprint
    assert one == same != other and len(one) == 64


def test_other_tables():
    class Polars:  # what is used of a polars frame
        columns = ("user_id", "item_id", "timestamp")
        __getitem__ = staticmethod(lambda name: iter(events()[name].tolist()))

    dataset = Dataset.from_frame(Polars(), ITEMS.to_dict("list"))
    assert dataset.interactions["rating"].tolist() == [1.0, 1.0, 1.0]
    assert dataset.interactions["item_id"].tolist() == ["a", "b", "a"]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_datetimes(zone):
    times = pd.to_datetime(pd.Series(np.array([3, 2, 1]) * 86400, dtype="int64"), unit="s")
    times = times.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else times
    dataset = Dataset.from_frame(events(timestamp=times), ITEMS)
    assert dataset.interactions["timestamp"].tolist() == [259200, 172800, 86400]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([5, 3, 4], "Int64"),
        (["5", "3", "4"], "str"),
        ([5, "3", Decimal(4)], object),
        ([5, 3, 4], "category"),
    ],
)
def test_numbers_may_come_in_any_type(values, kind):
    dataset = Dataset.from_frame(events(rating=pd.Series(values, dtype=kind)), ITEMS)
    assert dataset.interactions["rating"].tolist() == [5.0, 3.0, 4.0]
