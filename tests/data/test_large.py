"""Sequences of Parquet files against those made in memory."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from paragon.data.large import prepare_large
from paragon.data.sequences import save_sequences
from paragon.data.split import prepare
from paragon.data.table import Dataset
from paragon.errors import ParagonError
from tests.conftest import toy_dataset

duckdb = pytest.importorskip("duckdb")


def written(folder, dataset, parts=3):
    """The three tables of a dataset as files, the interactions in several; what to call them."""
    events = dataset.interactions
    tables = {"items": dataset.items, "users": dataset.users}
    cuts = np.linspace(0, len(events), parts + 1).astype(int)
    tables |= {f"inter-{n}": events[a:b] for n, (a, b) in enumerate(zip(cuts, cuts[1:]))}  # noqa: B905
    for name, table in tables.items():
        # Lists, not tuples: those would be columns of their own.
        frame = table.assign(**{c: table[c].map(list) for c in table if c == "categories"})  # noqa: F841
        duckdb.sql("select * from frame").write_parquet(str(folder / f"{name}.parquet"))
    return folder / "inter-*.parquet", folder / "items.parquet", folder / "users.parquet"


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"min_rating": 3, "k_core": 3, "seed": 2},
        {"split": "global_time"},
        {"split": "global_time", "k_core": 3, "midnight": 8, "spread": 3000},
        {"numbers": True},
    ],
)
def test_the_same_sequences_as_in_memory(tmp_path, rules):
    rules, dataset = dict(rules), toy_dataset()
    events = dataset.interactions.assign(
        timestamp=lambda frame: frame["timestamp"] * rules.pop("spread", 1)
    )
    tables = {"interactions": events, "items": dataset.items, "users": dataset.users}
    if rules.pop("numbers", False):  # ids that are numbers, in whose order they would not be sorted
        for name, table in tables.items():
            ids = [c for c in table if c in ("user_id", "item_id")]
            tables[name] = table.assign(**{c: table[c].str[1:].astype(int) for c in ids})
    files = written(tmp_path, dataclasses.replace(dataset, **tables))
    expected = prepare(Dataset.from_frame(*tables.values(), name="toy"), negatives=9, **rules)
    found = prepare_large(*files, name="toy", negatives=9, **rules)
    save_sequences(found, tmp_path)
    for field in dataclasses.fields(expected):
        one, two = getattr(expected, field.name), getattr(found, field.name)
        if field.name in ("valid", "test"):
            for part in ("users", "positions", "candidates"):
                assert np.array_equal(getattr(one, part), getattr(two, part))
        elif isinstance(one, np.ndarray):
            assert np.array_equal(one, two) and one.dtype == two.dtype, field.name
        elif field.name == "description":
            assert one | {"fingerprint": ""} == two | {"fingerprint": ""}
        else:
            assert one == two, field.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop(columns="timestamp"), "column timestamp is missing"),
        (lambda frame: frame.assign(timestamp=frame["timestamp"] + 0.5), "whole seconds"),
        (lambda frame: frame.assign(timestamp=frame["timestamp"] * 10**6), "rows have no id"),
        (lambda frame: frame.assign(rating=np.nan), "rows have no id"),
        (lambda frame: frame.assign(item_id=None), "rows have no id"),
        (lambda frame: pd.concat([frame, frame[:2]]), "2 events repeat"),
        (lambda frame: frame.assign(rating=0.5), "no event is left"),
    ],
)
def test_what_would_have_to_be_repaired_is_refused(tmp_path, change, words):
    dataset = toy_dataset()
    changed = dataclasses.replace(dataset, interactions=change(dataset.interactions))
    files = written(tmp_path, changed)
    with pytest.raises(ParagonError, match=words):
        prepare_large(*files, min_rating=1, negatives=9)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ParagonError, match="nothing.parquet: .*No files found"):
        prepare_large(tmp_path / "nothing.parquet", tmp_path / "items.parquet")
