"""Prepare sequences from Parquet files that do not fit in memory, with DuckDB.

The sequences (16 bytes per event) and the candidate lists stay in memory.  Use it from about 20
million events on.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paragon.data.sequences import Sequences
from paragon.data.split import assemble, check_split
from paragon.data.table import MILLISECONDS, NEEDED, Dataset
from paragon.errors import ParagonError


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
    """Make sequences from Parquet files, by the rules of :func:`paragon.data.split.prepare`.

    ``interactions``: a file or a pattern (``folder/*.parquet``), in order of name.  Columns: as in
    :meth:`Dataset.from_frame`, ``timestamp`` in whole seconds since 1970.  ``memory``: DuckDB's
    limit.  Raises ``ParagonError`` for missing values, other units of time, or repeated events.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ParagonError("large data: install the extra first: pip install '.[scale]'") from error
    check_split(split)
    rules = {"split": split, "midnight": midnight, "min_rating": min_rating, "k_core": k_core}
    rules |= {"max_users": None, "negatives": negatives, "seed": seed}
    with tempfile.TemporaryDirectory(prefix="paragon-") as scratch:
        config: dict[str, Any] = {"memory_limit": memory, "temp_directory": scratch}
        with duckdb.connect(config=config) as db:
            try:
                raw = _check(db, str(interactions))
                _filter(db, min_rating, k_core)
                _split(db, split, midnight)
                tables = [db.read_parquet(str(path)).df() for path in (items, users) if path]
                dataset, catalogue = _number(db, name, *tables)
                people = db.execute("from first_users order by row").df()
                ordered = _in_order(db, int(people["events"].sum()))
            except duckdb.Error as error:
                raise ParagonError(f"{interactions}: {str(error).splitlines()[0]}") from error
    lengths, part = people["events"].to_numpy().astype(np.int64), ordered[2]
    if split == "leave_one_out":
        ends = lengths.cumsum()[lengths >= 3]
        part[ends - 2], part[ends - 1] = 1, 2
    user_ids = people["user_id"].astype(str).tolist()
    return assemble(dataset, catalogue, user_ids, (*ordered, lengths), rules, raw)


def _count(db: Any, table: str) -> int:
    return int(db.execute(f"select count(*) from {table}").fetchall()[0][0])


def _check(db: Any, files: str) -> int:
    """Check all rows (times may not be dates as 20200913), view them as ``rated``, count them."""
    quoted = files.replace("'", "''")  # a view takes no parameters
    source = f"read_parquet('{quoted}', file_row_number = true)"
    columns = {name: kind for name, kind, *_ in db.execute(f"describe from {source}").fetchall()}
    for column in NEEDED["inter"]:
        if column not in columns:
            raise ParagonError(f"{files}: column {column} is missing among {', '.join(columns)}")
    if "INT" not in (kind := columns["timestamp"]):
        raise ParagonError(f"{files}: timestamp is {kind}; give whole seconds since 1970")
    rating = "rating::double" if "rating" in columns else "1.0"
    db.execute(f"""
        create view rated as select user_id, item_id, {rating} as rating, timestamp,
        (file_index << 40) + file_row_number as row from {source};
        create view wrong as from rated where user_id is null or item_id is null or rating is null
        or timestamp is null or timestamp not between 0 and {MILLISECONDS:.0f} or rating < 0
        or rating > 1e308 or (select min(timestamp) > 19e6 and max(timestamp) < 21e6 from rated);
        create view repeated as select 1 from rated group by user_id, item_id, timestamp
        having count(*) > 1""")
    wrong, repeated = _count(db, "wrong"), _count(db, "repeated")
    if wrong or repeated:
        raise ParagonError(
            f"{files}: {wrong} rows have no id, no rating of 0 or more, or no time in seconds, and "
            f"{repeated} events repeat user, item and time; correct or remove them"
        )
    return _count(db, "rated")


def _filter(db: Any, min_rating: float, k: int) -> None:
    """Create the view ``core``: rated rows of users and items with at least ``k`` of them."""
    db.execute(f"""
        create view enough as from rated where rating >= {float(min_rating)};
        create view core as from enough""")
    before, after = None, [0]
    while k > 1 and before != after:
        for key in ("user", "item"):
            db.execute(f"""create or replace table next_{key}s as
                select {key}_id from core group by {key}_id having count(*) >= {int(k)}""")
        before, after = after, [_count(db, "next_users"), _count(db, "next_items")]
        db.execute("""
            create or replace table kept_users as from next_users;
            create or replace table kept_items as from next_items;
            create or replace view core as from enough
            semi join kept_users using (user_id) semi join kept_items using (item_id)""")
    if not _count(db, "core"):
        raise ParagonError(f"no event is left: lower min_rating {min_rating} or k_core {k}")


def _split(db: Any, split: str, midnight: float | None) -> None:
    """Create the view ``events``, with the part of the split if it is ``global_time``."""
    if split == "leave_one_out":
        db.execute("create view events as select *, 0::tinyint as part from core")
        return
    time = "timestamp" if midnight is None else f"(timestamp + {round(3600 * midnight)}) // 86400"
    [(first, last)] = db.execute(f"select min({time}), max({time}) from core").fetchall()
    later = [f"(10 * ({time} - {first}) > {tenths * (last - first)})::tinyint" for tenths in (8, 9)]
    db.execute(f"""
        create view parted as select *, {" + ".join(later)} as part from core;
        create table trained_users as select distinct user_id from parted where part = 0;
        create table trained_items as select distinct item_id from parted where part = 0;
        create view events as from parted
        semi join trained_users using (user_id) semi join trained_items using (item_id)""")


def _number(
    db: Any, name: str, items: pd.DataFrame, users: pd.DataFrame | None = None
) -> tuple[Dataset, pd.DataFrame]:
    """Check and number items and users; return the dataset and its catalogue of items."""
    for key, other in (("user", "item"), ("item", "user")):
        db.execute(f"""
            create table first_{key}s as select {key}_id, arg_min({other}_id, row) as {other}_id,
            arg_min(timestamp, row) as timestamp, min(row) as row, count(*) as events
            from events group by {key}_id""")
    events = db.execute("""
        select user_id, item_id, timestamp, 1.0 as rating from (
            select distinct user_id, item_id, timestamp, row from
            (from first_users union by name from first_items)) order by row""").df()
    dataset = Dataset.from_frame(events, items, users, name)
    catalogue = dataset.items[dataset.items["item_id"].isin(events["item_id"].astype(str))]
    db.register("numbered", catalogue[["item_id"]].assign(item=range(1, len(catalogue) + 1)))
    db.execute("""
        create table item_numbers as select first_items.item_id, item
        from first_items join numbered on first_items.item_id::varchar = numbered.item_id;
        create table user_numbers as
        select user_id, row_number() over (order by row) as "user" from first_users""")
    return dataset, catalogue


def _in_order(db: Any, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return items, times and parts ``[E]`` by user and time, with ties in file order."""
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
