"""Prepare sequences from Parquet files that do not fit in memory, with DuckDB.

Use it from 20 million events on.  The sequences (16 bytes an event) and the candidate lists stay in
memory.
"""

import re
import tempfile
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paragon.data.atomic import PARQUET, kind_of, read_start
from paragon.data.sequences import Sequences
from paragon.data.split import Numbered, prepare
from paragon.data.table import FIRST, LAST, NEEDED, NO_TIMES, Dataset, are_plausible, fingerprint
from paragon.errors import ParagonError, shown

SOME = 1_000_000  # first events, by which dates as one number are known


def prepare_large(
    interactions: str | Path,
    items: str | Path,
    users: str | Path | None = None,
    *,
    name: str = "own",
    memory: str = "1GB",
    unit: str = "",
    **rules: Any,
) -> Sequences:
    """Make sequences from Parquet files, by the ``rules`` of :func:`paragon.data.split.prepare`.

    ``interactions``: a file, or a pattern (``folder/*.parquet``) of files, which are read in order
    of name.  The columns are those of :meth:`Dataset.from_frame`, with ``timestamp`` in whole
    seconds since 1970.  ``memory``: how much DuckDB may use.  ``unit``: "seconds" if times are
    of years before 1973.  Raises ``ParagonError`` for missing values, other units of time, or
    repeated events.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ParagonError("large data: install the extra first: pip install '.[scale]'") from error

    if unit not in ("", "seconds"):
        raise ParagonError(f"unit: found {shown(unit)}; convert the times to whole seconds first")

    for path in filter(None, (interactions, items, users)):
        _check_kind(str(path))

    def read(min_rating: float) -> Numbered:
        """Read the events with a rating of at least ``min_rating``."""
        with tempfile.TemporaryDirectory(prefix="paragon-") as scratch:
            config: dict[str, Any] = {"memory_limit": memory, "temp_directory": scratch}
            with duckdb.connect(config=config) as db:
                raw = _check(db, str(interactions), unit)
                catalogue = db.read_parquet(str(items)).df()
                people = db.read_parquet(str(users)).df() if users else None
                dataset = Dataset.from_frame(_first_events(db), catalogue, people, name, unit)
                user_ids = dataset.interactions["user_id"].unique().tolist()
                item_ids = dataset.items["item_id"].tolist()
                events = _numbered(db, user_ids, item_ids, min_rating)
                contents = {f"events.{n}": column.tobytes() for n, column in enumerate(events)}
                contents["items"] = dataset.fingerprint.encode()
                dataset = replace(dataset, fingerprint=fingerprint(contents))
                return dataset, user_ids, events, raw

    try:
        return prepare(read, **rules)
    except duckdb.Error as error:
        raise ParagonError(f"{interactions}: {str(error).splitlines()[0]}") from error


def _check_kind(files: str) -> None:
    """Raise ``ParagonError`` if one of the ``files``, a path or a pattern, is no Parquet file."""
    paths = sorted(map(Path, glob(files, recursive=True)))
    if not paths:
        raise ParagonError(f"{files}: there is no such file; give Parquet files")
    for path in paths:
        if path.is_dir():
            raise ParagonError(f"{path} is a folder: give its files, as in {path / '*.parquet'}")
        kind = kind_of(read_start(path)) or "no Parquet file"
        if kind != PARQUET:
            raise ParagonError(
                f"{path} is {kind}; give Parquet files, or `fetch` text with columns"
            )


def _check(db: Any, files: str, unit: str) -> int:
    """Check all rows, make the view ``rated`` of them, and return their number.

    Times may not be after 2049; without a ``unit``, none before 1973.  Raises
    ``ParagonError`` for wrong or repeated events.
    """
    quoted = files.replace("'", "''")  # a view takes no parameters
    # By name: one type for a column of all files.  Else that of the first file, rounding others.
    source = f"read_parquet('{quoted}', file_row_number = true, union_by_name = true)"
    described = db.execute(f"describe from {source}").fetchall()
    types = {name: kind for name, kind, *_ in described}
    for column in NEEDED["inter"]:
        if column not in types:
            raise ParagonError(f"{files}: column {column} is missing among {', '.join(types)}")
    if not re.fullmatch("U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", types["timestamp"]):
        given = types["timestamp"]
        raise ParagonError(f"{files}: timestamp is {given}; give whole seconds since 1970")
    rating = "rating::double" if "rating" in types else "1.0"
    db.execute(f"""
        create view rated as select user_id, item_id, {rating} as rating, timestamp,
        (file_index << 40) + file_row_number as row from {source};
        create view wrong as from rated where user_id is null or item_id is null or rating is null
        or timestamp is null or timestamp not between 0 and {LAST - 1} or rating < 0
        or rating > 1e308;
        create view repeated as select 1 from rated group by user_id, item_id, timestamp
        having count(*) > 1""")
    wrong = len(db.view("wrong"))
    repeated = len(db.view("repeated"))
    rows = len(db.view("rated"))
    early = len(db.view("rated").filter(f"timestamp < {FIRST} or timestamp in {NO_TIMES}"))
    if early and not unit:
        raise ParagonError(
            f"{files}: {early} of {rows} values of timestamp are no time, or one before 1973; "
            "convert or remove them, or pass unit='seconds' if they are right"
        )
    if wrong or repeated:
        raise ParagonError(
            f"{files}: {wrong} rows have no id, no rating of 0 or more, or no time in seconds, and "
            f"{repeated} events repeat user, item and time; correct or remove them"
        )
    some = db.view("rated").limit(SOME).project("timestamp::double as seconds")
    if not unit and not are_plausible(some.fetchnumpy()["seconds"]).all():
        raise ParagonError(
            f"{files}: values of timestamp look like dates as one number; convert them to seconds, "
            "or pass unit='seconds' if they are right"
        )
    return rows


def _first_events(db: Any) -> pd.DataFrame:
    """Return the first event of each user and of each item, in the order of the files.

    All ids are among them: with the catalogue, they make a small dataset that can be checked.
    """
    for key in ("user", "item"):
        db.execute(f"""create table first_{key}s as
            select {key}_id, min(row) as row from rated group by {key}_id""")
    return db.execute("""
        select user_id, item_id, timestamp, 1.0 as rating from rated
        where row in (select row from first_users union select row from first_items)
        order by row""").df()


def _numbered(
    db: Any, user_ids: list[str], item_ids: list[str], min_rating: float
) -> list[np.ndarray]:
    """Return the events with a rating of at least ``min_rating``, in the order of the files.

    They are three arrays ``[E]``: the place of the user in ``user_ids``, that of the item in
    ``item_ids``, and the time in seconds since 1970.
    """
    for key, ids in (("user", user_ids), ("item", item_ids)):
        db.register("listed", pd.DataFrame({"id": ids, "place": range(len(ids))}))
        db.execute(f"""create table {key}_places as
            select {key}_id, place::int as {key} from first_{key}s join listed
            on {key}_id::varchar = id""")
    events = db.execute(f"""select "user", item, timestamp::bigint as timestamp from rated
        join user_places using (user_id) join item_places using (item_id)
        where rating >= {float(min_rating)} order by row""")
    return [*events.fetchnumpy().values()]
