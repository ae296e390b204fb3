"""Interactions that do not fit in memory: the sequences of Parquet files.

In this file: what `paragon.data.split` does, for a table that is read from disk as often as it is
needed.  DuckDB filters, counts and sorts it within a limit of memory, and uses the disk beyond
that.  In memory remain the sequences themselves, 16 bytes an event, and the candidate lists.

From about 20 million events on, use this; below, `Dataset` and `prepare`, which repair what can be
repaired.  Both give the same sequences.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from paragon.data.checks import MILLISECONDS
from paragon.data.sequences import Sequences
from paragon.data.split import SPLITS, assemble
from paragon.data.table import Dataset
from paragon.errors import ParagonError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def prepare_large(
    interactions: str | Path,
    items: str | Path,
    users: str | Path | None = None,
    *,
    name: str = "own",
    split: str = "leave_one_out",
    midnight: float | None = None,
    min_rating: float = 0.0,
    k_core: int = 0,
    negatives: int = 99,
    seed: int = 0,
    memory: str = "1GB",
) -> Sequences:
    """The sequences of Parquet files, as :func:`paragon.data.split.prepare` makes them.

    ``interactions``: a file, or a pattern such as ``folder/*.parquet``, whose rows count in the
    order of the names.  Columns as in :meth:`Dataset.from_frame`; ``timestamp`` holds whole
    seconds since 1970.  ``memory``: how much DuckDB may use; the rules are those of `prepare`.
    Raises ``ParagonError`` for what `prepare` refuses and for what it would have to repair:
    missing values, other units of time, repeated events.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ParagonError("large data: install the extra first: pip install '.[scale]'") from error
    if split not in SPLITS:
        raise ParagonError(f"data.split: {split!r} is unknown; choose one of {SPLITS}")
    rules = {"split": split, "midnight": midnight, "min_rating": min_rating, "k_core": k_core}
    rules |= {"max_users": None, "negatives": negatives, "seed": seed}
    with tempfile.TemporaryDirectory(prefix="paragon-") as scratch:
        with duckdb.connect(config={"memory_limit": memory, "temp_directory": scratch}) as db:
            try:
                raw = _open(db, str(interactions))
                _filter(db, min_rating, k_core)
                _split(db, split, midnight)
                dataset = _dataset(db, name, str(items), None if users is None else str(users))
                catalogue, user_ids, lengths = _number(db, dataset)
                items_in_order, times, part = _in_order(db, int(lengths.sum()))
            except duckdb.Error as error:
                raise ParagonError(f"{interactions}: {str(error).splitlines()[0]}") from error
    if split == "leave_one_out":
        ends = lengths.cumsum()[lengths >= 3]
        part[ends - 2], part[ends - 1] = 1, 2
    in_order = (items_in_order, times, part, lengths)
    return assemble(dataset, catalogue, user_ids, in_order, rules, raw)


def _open(db: Connection, files: str) -> int:
    """The view ``rated`` of the rows; how many there are, after a check of every one."""
    source = "read_parquet($files, file_row_number = true)"
    found = db.execute(f"describe select * from {source}", {"files": files}).fetchall()
    columns = {column: kind for column, kind, *_ in found}
    for column in ("user_id", "item_id", "timestamp"):
        if column not in columns:
            raise ParagonError(f"{files}: column {column} is missing among {', '.join(columns)}")
    if "INT" not in columns["timestamp"]:
        kind = columns["timestamp"]
        raise ParagonError(f"{files}: timestamp is {kind}; give whole seconds since 1970")
    rating = "rating::double" if "rating" in columns else "1.0"
    quoted = files.replace("'", "''")  # a view takes no parameters
    db.execute(f"""
        create view rated as
        select user_id, item_id, {rating} as rating, timestamp,
               (file_index << 40) + file_row_number as row
        from {source.replace("$files", f"'{quoted}'")}""")
    [(count, wrong)] = db.execute(f"""
        select count(*), count(*) filter (
            user_id is null or item_id is null or timestamp is null or rating is null
            or timestamp not between 0 and {MILLISECONDS:.0f} or not isfinite(rating) or rating < 0
        ) from rated""").fetchall()
    if wrong:
        raise ParagonError(
            f"{files}: {wrong} of {count} rows have no id, no rating of 0 or more, or no time in "
            "seconds since 1970; correct or remove them"
        )
    [(repeated,)] = db.execute("""
        select count(*) from (
            select 1 from rated group by user_id, item_id, timestamp having count(*) > 1
        )""").fetchall()
    if repeated:
        raise ParagonError(
            f"{files}: {repeated} events repeat user, item and time; keep one of each"
        )
    return count


def _filter(db: Connection, min_rating: float, k: int) -> None:
    """The view ``core``: the rows that count, of users and items with ``k`` of them or more."""
    db.execute(f"create view enough as select * from rated where rating >= {float(min_rating)}")
    db.execute("create view core as select * from enough")
    before = None
    while k > 1:
        for what in ("user", "item"):
            db.execute(f"""
                create or replace table next_{what}s as select {what}_id from core
                group by {what}_id having count(*) >= {int(k)}""")
        after = [_count(db, f"next_{what}s") for what in ("user", "item")]
        for what in ("user", "item"):
            db.execute(f"create or replace table kept_{what}s as from next_{what}s")
        db.execute("""
            create or replace view core as select * from enough
            semi join kept_users using (user_id) semi join kept_items using (item_id)""")
        if after == before:
            break
        before = after
    if not _count(db, "core"):
        raise ParagonError(
            f"no event is left after min_rating={min_rating} and k_core={k}; lower them"
        )


def _count(db: Connection, table: str) -> int:
    [(count,)] = db.execute(f"select count(*) from {table}").fetchall()
    return int(count)


def _split(db: Connection, split: str, midnight: float | None) -> None:
    """The view ``events``, with the part of the split for ``global_time``."""
    if split == "leave_one_out":
        db.execute("create view events as select *, 0::tinyint as part from core")
        return
    time = "timestamp" if midnight is None else f"(timestamp + {round(3600 * midnight)}) // 86400"
    [(first, last)] = db.execute(f"select min({time}), max({time}) from core").fetchall()
    later = [f"(10 * ({time} - {first}) > {tenths * (last - first)})::tinyint" for tenths in (8, 9)]
    db.execute(f"create view parted as select *, {' + '.join(later)} as part from core")
    for what in ("user", "item"):
        db.execute(f"""
            create table trained_{what}s as
            select distinct {what}_id from parted where part = 0""")
    db.execute("""
        create view events as select * from parted
        semi join trained_users using (user_id) semi join trained_items using (item_id)""")


def _dataset(db: Connection, name: str, items: str, users: str | None) -> Dataset:
    """The tables of items and users, checked beside the first event of each."""
    for what, other in (("user", "item"), ("item", "user")):
        db.execute(f"""
            create table first_{what}s as
            select {what}_id, arg_min({other}_id, row) as {other}_id, arg_min(timestamp, row)
            as timestamp, min(row) as row, count(*) as events from events group by {what}_id""")
    events = db.execute("""
        select user_id, item_id, timestamp, 1.0 as rating from (
            select user_id, item_id, timestamp, row from first_users
            union select user_id, item_id, timestamp, row from first_items
        ) order by row""").df()
    catalogue = db.execute("from read_parquet($1)", [items]).df()
    people = None if users is None else db.execute("from read_parquet($1)", [users]).df()
    dataset = Dataset.from_frame(events, catalogue, people, name)
    return replace(dataset, interactions=dataset.interactions[:0])


def _number(db: Connection, dataset: Dataset) -> tuple[pd.DataFrame, list[str], np.ndarray]:
    """The catalogue, the ids of the users and how many events each has; tables of their numbers."""
    people = db.execute("select user_id, events from first_users order by row").df()
    things = db.execute("select item_id from first_items").df()
    of_text = pd.Series(things["item_id"].to_numpy(), index=things["item_id"].astype(str))
    catalogue = dataset.items[dataset.items["item_id"].isin(of_text.index)]
    own_ids = of_text.loc[catalogue["item_id"]].to_numpy()
    for what, ids, start in (("user", people["user_id"], 0), ("item", own_ids, 1)):
        numbers = pd.DataFrame({f"{what}_id": ids, what: np.arange(len(ids)) + start})  # noqa: F841
        db.execute(f"create table {what}_numbers as from numbers")
    lengths = people["events"].to_numpy().astype(np.int64)
    return catalogue, people["user_id"].astype(str).tolist(), lengths


def _in_order(db: Connection, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, times and parts ``[E]`` of the split, by user and time, ties as in the files."""
    items, times, parts = (np.empty(size, kind) for kind in (np.int64, np.int64, np.int8))
    db.execute("""
        select item::int as item, timestamp::bigint as timestamp, part
        from events join user_numbers using (user_id) join item_numbers using (item_id)
        order by "user", timestamp, row""")
    start = 0
    while len(chunk := db.fetch_df_chunk(256)):
        rows = slice(start, start + len(chunk))
        items[rows], times[rows], parts[rows] = chunk["item"], chunk["timestamp"], chunk["part"]
        start += len(chunk)
    return items, times, parts
