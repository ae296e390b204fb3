"""Sequences of Parquet files against those made in memory."""

import numpy as np
import pandas as pd
import pytest

from paragon.data.large import prepare_large
from paragon.data.sequences import save_sequences
from paragon.data.split import prepare
from paragon.data.table import Dataset
from paragon.storage import load_tensors
from tests.conftest import refused, toy_dataset

duckdb = pytest.importorskip("duckdb")


def written(folder, events, items, users, parts=3):
    """Write the tables as files, the interactions in several; return what to call them."""
    cuts = np.array_split(np.arange(len(events)), parts)
    tables = {f"inter-{n}": events.iloc[rows] for n, rows in enumerate(cuts)}
    # Lists, not tuples: those would be columns of their own.
    items = items.assign(categories=items["categories"].map(list))
    for name, frame in (tables | {"items": items, "users": users}).items():
        duckdb.from_df(frame).write_parquet(str(folder / f"{name}.parquet"))
    return folder / "inter-*.parquet", folder / "items.parquet", folder / "users.parquet"


@pytest.mark.parametrize(
    ("rules", "spread", "numbers"),
    [
        ({"min_rating": 3, "k_core": 3, "seed": 2, "ties": "shuffled"}, 1, False),
        ({"split": "global_time"}, 1, False),
        ({"split": "global_time", "k_core": 3, "midnight": 8}, 3000, False),
        ({}, 1, True),
    ],
)
def test_the_same_sequences_as_in_memory(tmp_path, rules, spread, numbers):
    dataset = toy_dataset()
    events = dataset.interactions.assign(
        timestamp=lambda frame: (frame["timestamp"] - 10**6) * spread + 10**9
    )
    tables = [events, dataset.items, dataset.users]
    if numbers:  # ids that are numbers, in whose order they would not be sorted
        for n, table in enumerate(tables):
            ids = table.columns.intersection(["user_id", "item_id"])
            tables[n] = table.assign(**{c: table[c].str[1:].astype(int) for c in ids})
    files, loaded = written(tmp_path, *tables), []
    expected = prepare(Dataset.from_frame(*tables, name="toy"), negatives=9, **rules)
    for made in (expected, prepare_large(*files, name="toy", negatives=9, **rules)):
        save_sequences(made, tmp_path)
        loaded.append(load_tensors(tmp_path / "sequences", "data"))
    (arrays, names), (others, other_names) = loaded
    assert all(a.equal(others[k]) and a.dtype == others[k].dtype for k, a in arrays.items())
    for about in (names, other_names):
        about["description"]["fingerprint"] = about["sha256"] = ""
    assert names == other_names


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda frame: frame.drop(columns="timestamp"), "timestamp"),
        (lambda frame: frame.assign(timestamp=frame["timestamp"] + 0.5), "timestamp"),
        (lambda frame: frame.assign(timestamp=frame["timestamp"] * 10**6), "604 rows"),
        (lambda frame: frame.assign(timestamp=20200901 + frame["timestamp"] % 30), "604 of 604"),
        (lambda frame: frame.assign(timestamp=frame["timestamp"] % 30 + 2000), "604 of 604"),
        (lambda frame: frame.assign(timestamp=2402131000 + frame["timestamp"] % 60), "dates"),
        (
            lambda frame: frame.assign(
                timestamp=frame["timestamp"].where(frame.index % 50 > 0, 2**31 - 1)
            ),
            "13 of 604",
        ),
        (lambda frame: frame.assign(timestamp=33e9).astype({"timestamp": int}), "604 rows"),
        (lambda frame: frame.assign(item_id=None), "604 rows"),
        (lambda frame: pd.concat([frame, frame[:2]]), "2 events"),
        (lambda frame: frame.assign(rating=0.5), "min_rating=1"),
    ],
)
def test_what_would_have_to_be_repaired_is_refused(tmp_path, change, named):
    dataset = toy_dataset()
    events = dataset.interactions.assign(timestamp=lambda frame: frame["timestamp"] + 10**9)
    files = written(tmp_path, change(events), dataset.items, dataset.users)
    refused(named, prepare_large, *files, min_rating=1, negatives=9)
    refused("nothing.parquet", prepare_large, tmp_path / "nothing.parquet", *files[1:])


def test_a_column_has_one_type_in_all_files(tmp_path):
    """Not that of the first file, to which the others would be rounded."""
    dataset = toy_dataset()
    events = dataset.interactions.assign(timestamp=lambda frame: frame["timestamp"] + 10**9)
    whole = events.assign(rating=events["rating"].astype(int))
    files = written(tmp_path, whole, dataset.items, dataset.users)
    last = events.iloc[-10:].assign(rating=0.75)
    duckdb.from_df(last.assign(timestamp=lambda frame: frame["timestamp"] + 0.7)).write_parquet(
        str(tmp_path / "inter-2.parquet")
    )
    refused("timestamp", prepare_large, *files, negatives=9)
    duckdb.from_df(last).write_parquet(str(tmp_path / "inter-2.parquet"))
    counts = prepare_large(*files, negatives=9, min_rating=1).description["counts"]
    assert counts["events"] == len(np.concatenate(np.array_split(events, 3)[:2]))


def test_small_times_are_read_if_they_are_said_to_be_seconds(tmp_path):
    dataset = toy_dataset()
    files = written(tmp_path, dataset.interactions, dataset.items, dataset.users)
    refused("unit='seconds'", prepare_large, *files, negatives=9)
    refused("'days'", prepare_large, *files, negatives=9, unit="days")
    early = dataset.interactions.assign(timestamp=lambda frame: frame["timestamp"] + 10**9)
    early.loc[0, "timestamp"] = 0
    few = written(tmp_path, early, dataset.items, dataset.users)
    refused(f"1 of {len(early)}", prepare_large, *few, negatives=9)
    files = written(tmp_path, dataset.interactions, dataset.items, dataset.users)
    assert prepare_large(*files, negatives=9, unit="seconds").description["counts"]["events"] == 604


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_no_parquet_file_is_called_what_it_is(tmp_path, place):
    dataset = toy_dataset()
    events = dataset.interactions.assign(timestamp=lambda frame: frame["timestamp"] + 10**9)
    files = list(written(tmp_path, events, dataset.items, dataset.users))
    for content, kind in ((b"PK\3\4\0\0", "zip"), (b"user,item\n", "no Parquet"), (None, "folder")):
        given = tmp_path / f"given {kind}"
        given.mkdir() if content is None else given.write_bytes(content)
        files[place] = given
        refused((str(given), kind), prepare_large, *files, negatives=9)
