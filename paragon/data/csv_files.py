"""Make a dataset of CSV files with columns of any names: events, perhaps items in another file."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from paragon.data.atomic import decode, read_bytes, split_rows
from paragon.data.table import NEEDED, NUMBER, Dataset, RawTable, is_id
from paragon.errors import ParagonError, shown

# Usual names of columns, in small letters and digits; the first that a file has is taken.
NAMES = {
    "user_id": "userid user customerid customer memberid visitorid reviewerid uid",
    "item_id": "itemid item productid product sku asin movieid articleid isbn stockcode",
    "timestamp": "timestamp time datetime date createdat eventtime orderdate orderedat invoicedate",
    "categories": "categories category genres genre tags class department",
    "rating": "rating stars overall",
    "title": "title name itemname productname movietitle description",
}
TIME = "no time such as 2024-12-31 17:05, 31.12.2024, 12/31/2024 5:05 PM or seconds since 1970"
NUMERIC = re.compile(r"\A(\d{1,2})([./-])(\d{1,2})[./-](\d{4})")  # 3/4/2024
OPTIONS = "--user, --item, --time, --categories, --title or --items FILE"
SOME = 5  # how many lines of a problem a message names


@dataclass(frozen=True)
class CsvFiles:
    """The files, how to read them, and what is wrong with them."""

    events: Path
    items: Path | None = None  # None: each event has the title and categories of its item
    columns: Mapping[str, str] = field(default_factory=dict)  # given by the user, by our names
    day_first: bool | None = None  # True: 3/4/2024 is in April; None: other rows tell
    show_all: bool = False  # name all lines of each problem
    problems: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)  # for each file, how its columns were understood

    def read(self, name: str) -> Dataset:
        """Read the files as a dataset.

        Raises one ``ParagonError`` that lists all problems that were found.
        """
        if self.items:
            events = self._table(self.events, *NEEDED["inter"])
            items = self._table(self.items, "item_id", "categories")
            tables = [events, items]
        else:
            events = self._table(self.events, *NEEDED["inter"], "categories")
            items = events
            tables = [events]
        found = {*events.published.values(), *items.published.values()}
        unknown = {*self.columns.values()} - found
        self.problems.extend(f"no file has a column {shown(column)}" for column in unknown)
        self._check(events, "user_id", map(is_id, events.frame["user_id"]), "no id")
        for table in tables:
            self._check(table, "item_id", map(is_id, table.frame["item_id"]), "no id")

        catalogue = items.frame.filter(["item_id", "title", "categories"])
        distinct = catalogue.drop_duplicates()
        several = distinct.index[distinct.duplicated("item_id", keep=False)]
        good = ~catalogue.index.isin(several)
        self._check(items, "item_id", good, "several titles or categories")
        events = events.replaced(timestamp=self._seconds(events))
        self._stop()

        texts = catalogue["categories"]
        mark = next((m for m in "|;>," if texts.str.contains(m, regex=False).any()), "|")
        names = texts.map(lambda text: [name.strip(" []'\"") for name in text.split(mark)])
        catalogue = catalogue.assign(categories=names)[~catalogue.duplicated()]
        items = replace(items, frame=catalogue)
        return Dataset.from_raw(name, {"inter": events, "item": items}, atomic=False)

    def _table(self, path: Path, *needed: str) -> RawTable:
        """Read a file, and give its columns our names, the keys of ``NAMES``.

        ``needed``: our names of the columns that the file must have.
        """
        text = decode(str(path), read_bytes(path), latin_1=True)
        first_line = text.lstrip("\r\n").partition("\n")[0]
        separator = max(",;\t|", key=first_line.count)
        broken: list[int] = []  # lines
        table = split_rows(str(path), text, separator, quoted=True, broken=broken)
        self._note(f"{path}: another number of fields than in line 1", broken)

        columns = self._columns(table, needed)
        missing = [name for name in needed if name not in columns]
        if missing:
            for name, column in self.columns.items():
                if name in missing:
                    self.problems.append(f"{path}: no column {shown(column)}")
            have = ", ".join(map(shown, table.frame))
            names = ", ".join(missing)
            self.problems.append(f"{path}: which of {have} are {names}? {OPTIONS} say it")
            self._stop()

        used = [f"{name} is {shown(column)}" for name, column in columns.items()]
        unused = [shown(column) for column in table.frame if column not in columns.values()]
        self.used.append(f"{path}: {', '.join(used)}; not used: {', '.join(unused) or 'none'}")
        frame = table.select(*columns.values()).frame.map(str.strip)
        frame = frame.set_axis(list(columns), axis=1)
        return replace(table, frame=frame, published=columns)

    def _columns(self, table: RawTable, needed: tuple[str, ...]) -> dict[str, str]:
        """Return the column of the file for each of our names, as far as there is one."""
        in_file = {}  # by plain name: small letters and digits; the first column of a name stays
        for column in reversed(list(table.frame)):
            plain = re.sub(r"[\W_]+", "", column.lower())
            in_file[plain] = column
        if "user_id" not in needed:  # in a file of items, `id` is that of the item
            in_file = {"itemid": in_file.get("id", "")} | in_file
        columns = {}
        for name, usual in NAMES.items():
            known = [in_file[plain] for plain in usual.split() if in_file.get(plain)]
            column = known[0] if known else ""
            given = self.columns.get(name)
            if given is not None and given in table.frame:
                column = given
            if column and name in (*needed, "rating", "title"):
                columns[name] = column
        return columns

    def _seconds(self, events: RawTable) -> pd.Series:
        """Parse times as seconds since 1970; note those that are neither numbers nor dates."""
        texts = events.frame["timestamp"]
        compact_date = texts.str.fullmatch(r"(19|20)\d{6}")  # 20241231
        number = texts.str.fullmatch(NUMBER) & ~compact_date

        # In 31/12/2024 the first number cannot be a month, in 12/31/2024 the second cannot.
        fields = texts.str.extract(NUMERIC)
        first = fields[0].astype(float) > 12
        second = fields[2].astype(float) > 12
        day_first = self.day_first
        if day_first is None:
            day_first = bool(first.sum() >= second.sum())
            unclear = fields[1].isin(["/", "-"]) & (first.sum() == second.sum())
            self._check(events, "timestamp", ~unclear, "give --day-first or --month-first")

        no_month = second if day_first else first
        no_year = ~texts.str.contains(r"\d{4}")
        dates = texts.mask(number | no_month | no_year)
        # As 2024-12-31.
        dates = dates.str.replace(r"\A(\d{4})[/.](\d+)[/.]", r"\1-\2-", regex=True)
        order = r"\4-\3-\1" if day_first else r"\4-\1-\3"
        dates = dates.str.replace(NUMERIC, order, regex=True)
        dates = dates.mask(dates.str.match(r"\d{4}-(1[3-9]|[2-9]\d)", na=False))  # no month

        found = pd.to_datetime(dates, format="ISO8601", utc=True, errors="coerce")
        rest = dates.mask(found.notna())  # in other forms: a hundred times slower
        found = found.fillna(pd.to_datetime(rest, format="mixed", utc=True, errors="coerce"))
        seconds = found.dt.as_unit("us").astype("int64") / 1e6  # below 0: unreadable
        if number.mean() > 0.5:
            seconds = pd.to_numeric(texts.where(number))
        self._check(events, "timestamp", seconds >= 0, TIME)
        return seconds

    def _check(self, table: RawTable, column: str, good: Iterable, fault: str) -> None:
        """Note the problem ``fault`` for the rows of the column that are not ``good [rows]``."""
        values = table.frame[column]
        wrong = values[~np.array([bool(value) for value in good], dtype=bool)]
        if len(wrong):
            where = f"{table.name}, column {table.published[column]}"
            self._note(f"{where}: {fault}, found {shown(wrong.iloc[0])}", wrong.index)

    def _note(self, problem: str, lines: Iterable[int]) -> None:
        """Add a problem and its lines, of which at most ``SOME`` are named; none: no problem."""
        where = [str(line) for line in lines]
        if not where:
            return
        more = len(where) - SOME
        if more > 0 and not self.show_all:
            where[SOME - 1 :] = [f"{where[SOME - 1]} and {more:,} more"]
        self.problems.append(f"{problem}: line {', '.join(where)}")

    def _stop(self) -> None:
        """Raise a ``ParagonError`` with all problems so far, if there are some."""
        if self.problems:
            first = "nothing was kept; correct this, then try again:"
            raise ParagonError("\n- ".join([first, *self.problems]))
