"""Reading and writing atomic files, and tables in memory: what is read, repaired and counted.

What is refused is in tests/bad_inputs/corpus.yaml.
"""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from paragon.data.atomic import write_atomic
from paragon.data.describe import describe
from paragon.data.fetch import load_dataset
from paragon.data.split import prepare
from paragon.data.table import Dataset
from tests.conftest import refused, toy_dataset, tree
from tests.data.conftest import INTER, ITEM, ITEMS, events

ROWS = "u1\ta\t4\t10\nu1\tb\t3.5\t20\n"


def read(folder):
    return load_dataset(folder.name, folder.parent)


def test_reads_all_tables_in_file_order(own):
    dataset = read(own())
    assert dataset.name == "mine" and dataset.source == "own" and dataset.repairs == {}
    events = dataset.interactions
    expected = [("u1", "a", 4.0, 900000010), ("u1", "b", 3.5, 900000020)]
    expected += [("u2", "a", 1.0, 900000005)]
    assert list(events.itertuples(index=False, name=None)) == expected
    assert events["rating"].dtype == "float64" and events["timestamp"].dtype == "int64"
    assert dataset.items["title"].tolist() == ["Alpha", "Béta"]
    assert dataset.items["categories"].tolist() == [("X", "Y"), ("Y",)]
    assert dataset.users["group"].iloc[0] == "F" and pd.isna(dataset.users["group"].iloc[1])
    assert dataset.categories == ("X", "Y")


def test_bom_crlf_and_trailing_blank_lines_change_nothing(own):
    plain = read(own(inter=INTER + ROWS, user=None))
    text = b"\xef\xbb\xbf" + (INTER + ROWS).replace("\n", "\r\n").encode() + b"\r\n\r\n"
    windows = read(own(inter=text))
    pd.testing.assert_frame_equal(plain.interactions, windows.interactions)
    assert plain.fingerprint != windows.fingerprint


def test_ids_stay_strings_and_words_that_look_missing_are_words(own):
    big = "9223372036854775807"
    inter = INTER + f"{big}\t007\t4\t10\n9223372036854775806\t7\t4\t11\nNA\tnull\t4\t12\n"
    items = ITEM + "007\tNaN\tNone\n7\tSeven\tY\nnull\tN\tX\n"
    dataset = read(own(inter=inter, item=items, user=None))
    assert dataset.interactions["user_id"].tolist() == [big, "9223372036854775806", "NA"]
    assert dataset.interactions["item_id"].tolist() == ["007", "7", "null"]
    assert dataset.items.iloc[0].tolist() == ["007", "NaN", ("None",)]


@pytest.mark.parametrize(
    ("header", "rows", "expected"),
    [
        ("class:token_seq", ["A B A"], [("A", "B")]),
        ("category:token", ["Late News"], [("Late News",)]),
        ("category:token\tsub_category:token", ["news\tsport"], [("news", "sport")]),
        ("categories:token_seq", ["'Patio, Lawn', 'Tea'"], [("Patio, Lawn", "Tea")]),
        ("categories:token_seq", ['"Children\'s"'], [("Children's",)]),
        # One name of several words among lists.
        ("genre:token_seq", ["Big Oil, Tea", "Big Oil"], [("Big Oil", "Tea"), ("Big Oil",)]),
        ("genre:token_seq", ["A, B", "'Rare Thing'"], [("A", "B"), ("Rare Thing",)]),
        # Written by an earlier version, or meant: an underscore stays one.
        ("categories:token_seq", ["Sport_&_Fun R&B", "b_c"], [("Sport_&_Fun", "R&B"), ("b_c",)]),
        ("genre:token_seq", ['["A, B", "C"]', "A D", "[]"], [("A, B", "C"), ("A", "D"), ()]),
    ],
)
def test_category_columns(own, header, rows, expected):
    lines = "".join(f"{name}\t{row}\n" for name, row in zip("abcd", rows, strict=False))
    dataset = read(own(inter=INTER + "u1\ta\t1\t1\n", item=f"item_id:token\t{header}\n{lines}"))
    assert dataset.items["categories"].tolist() == expected
    assert dataset.items["title"].tolist()[0] == "a"


TWENTY = "".join(f"u1\ti{n}\t1\t{n}\n" for n in range(20))
REPAIRS = [  # the files, the times that are read, what was repaired
    (
        {
            "inter": INTER + TWENTY + "u1\ti0\t1\t0\nu1\ti0\t2\t0\nu1\ti0\t1\t0\nu2\ti0\t1\t9\n",
            "item": ITEM + "i0\tT\tX\ni18\tT\t\n" + "".join(f"i{n}\tT\tX\n" for n in range(18)),
            "user": "user_id:token\tgender:token\nu1\tF\n",
        },
        [*range(20), 9],
        {
            "duplicate events dropped": 2,
            "events that repeat user, item and time with another rating dropped": 1,
            "items without categories": 1,
            "duplicate items dropped": 1,
            "items missing from the catalogue added without categories": 1,
            "users missing from the user table, of unknown group": 1,
        },
    ),
    (
        {"inter": INTER + "u1\tb\t1\t978300760900\nu2\ta\t1\t978300759100\n"},
        [978300759, 978300760],  # sorted: the order within a second decides ties
        {
            "timestamps in milliseconds divided by 1000": 2,
            "timestamps rounded down to the second": 2,
        },
    ),
    ({"inter": INTER + "u1\tb\t1\t900900\nu1\ta\t1\t900100\n"}, [900900, 900100], {}),
    (
        {"inter": INTER.replace("\trating:float", "") + "u1\ta\t1\nu1\tb\t2\n"},
        [1, 2],
        {"interactions without a rating, set to 1": 2},
    ),
]


@pytest.mark.parametrize(("changes", "times", "repairs"), REPAIRS)
def test_repairs_are_made_and_counted(own, changes, times, repairs):
    dataset = read(own(**changes))
    assert dataset.interactions["timestamp"].tolist() == times and dataset.repairs == repairs
    assert set(dataset.interactions["item_id"]) <= set(dataset.items["item_id"])


def test_writing_replaces_the_files_together(own, tmp_path, monkeypatch):
    folder, first = tmp_path / "copy" / "mine", read(own())
    again = read(write_atomic(first, folder))
    for table in ("interactions", "items", "users"):
        pd.testing.assert_frame_equal(getattr(first, table), getattr(again, table))
    before = tree(folder)
    fewer, write_bytes = replace(first, users=first.users[:0]), Path.write_bytes

    def full(path, data):
        if path.suffix == ".item":
            raise OSError(28, "No space left on device")
        return write_bytes(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        refused((str(folder), "No space left"), write_atomic, fewer, folder)
    assert tree(folder) == before
    assert len(read(write_atomic(fewer, folder)).users) == 0


def test_categories_come_back_as_they_were(tmp_path):
    given = [["Tea, Green", "Oil"], ["Oil", "Sport & Freizeit"], ["R&B|Soul", "[new]; cheap"]]
    given += [["'Tis", "Children's", "fun'"], ["'A'", 'B"', "1,000 pieces", "b c", "b_c", ","]]
    events = {"user_id": ["u"] * 5, "item_id": list("abcde"), "timestamp": [1, 2, 3, 4, 5]}
    dataset = Dataset.from_frame(events, {"item_id": list("abcde"), "categories": given})
    again = read(write_atomic(dataset, tmp_path / "own"))
    assert again.items["categories"].tolist() == list(map(tuple, given))
    assert again.fingerprint == dataset.fingerprint and not again.repairs.keys() - dataset.repairs
    words = {"item_id": list("abcde"), "categories": [["Oil", "R&B"]] * 5}
    assert b"Oil R&B\n" in Dataset.from_frame(events, words).atomic_files()["item"]


def test_many_categories_are_counted_and_ten_are_named():
    names = [f"c{n:03}" for n in range(302)]
    seqs = toy_dataset()
    items = seqs.items.assign(categories=[names[n::150] for n in range(150)])
    dataset = Dataset.from_frame(seqs.interactions, items, seqs.users)
    facts = describe(dataset, prepared := prepare(dataset, negatives=9))
    assert "c009" in facts["categories"] and "c010" not in facts["categories"]
    count = len(prepared.category_names)
    assert facts["categories"].startswith(str(count)) and str(count - 10) in facts["categories"]


# --- tables in memory -------------------------------------------------------------------------


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


def test_other_tables():
    class Polars:  # what is used of a polars frame
        columns = ("user_id", "item_id", "timestamp")
        __getitem__ = staticmethod(lambda name: iter(events()[name].tolist()))

    dataset = Dataset.from_frame(Polars(), ITEMS.to_dict("list"))
    assert dataset.interactions["rating"].tolist() == [1.0, 1.0, 1.0]
    assert dataset.interactions["item_id"].tolist() == ["a", "b", "a"]


SECONDS = [259200, 172800, 86400]
DAYS = pd.to_datetime(pd.Series([3, 2, 1]), unit="D")
NUMBERS = [  # a column, values of any type, what they mean
    ("timestamp", DAYS, SECONDS),
    ("timestamp", DAYS.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"), SECONDS),
    ("rating", pd.Series([5, 3, 4], dtype="Int64"), [5, 3, 4]),
    ("rating", pd.Series(["5", "3", "4"], dtype="str"), [5, 3, 4]),
    ("rating", pd.Series([5, "3", Decimal(4)], dtype=object), [5, 3, 4]),
    ("rating", pd.Series([5, 3, 4], dtype="category"), [5, 3, 4]),
]


@pytest.mark.parametrize(("column", "values", "expected"), NUMBERS)
def test_numbers_and_times_may_come_in_any_type(column, values, expected):
    dataset = Dataset.from_frame(events(**{column: values}), ITEMS)
    assert dataset.interactions[column].tolist() == expected


def test_years_in_a_table_in_memory_need_a_word():
    years = events(timestamp=[2009, 2010, 1999])
    where = ("interactions table, row 0", "timestamp", "2009", "unit='seconds'")
    refused(where, Dataset.from_frame, years, ITEMS)
    kept = Dataset.from_frame(years, ITEMS, unit="seconds").interactions["timestamp"]
    assert kept.tolist() == [2009, 2010, 1999]
    few = Dataset.from_frame(events(timestamp=[2009, 20, 10]), ITEMS)  # a clock of its own
    assert few.interactions["timestamp"].tolist() == [2009, 20, 10]
