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
SOME = 5  # lines of a problem that are named


@dataclass(frozen=True)
class CsvFiles:
    """The files, how to read them, and what is wrong with them."""

    events: Path
    items: Path | None = None  # None: in the rows of the events
    columns: Mapping[str, str] = field(default_factory=dict)  # those not to be guessed
    day_first: bool | None = None  # 3/4/2024 is in April; None: as other rows tell
    show_all: bool = False  # all lines of each problem
    problems: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)  # for each file, its columns

    def read(self, name: str) -> Dataset:
        """Read the dataset; raise one ``ParagonError`` with all problems."""
        log = self._table(self.events, *NEEDED["inter"], *["categories"] * (not self.items))
        shelf = self._table(self.items, "item_id", "categories") if self.items else log
        unknown = {*self.columns.values()} - {*log.published.values(), *shelf.published.values()}
        self.problems.extend(f"no file has a column {shown(column)}" for column in unknown)
        self._check(log, "user_id", map(is_id, log.frame["user_id"]), "no id")
        for table in [log, shelf] if self.items else [log]:
            self._check(table, "item_id", map(is_id, table.frame["item_id"]), "no id")
        about = shelf.frame.filter(["item_id", "title", "categories"])
        rows = about.drop_duplicates()
        several = rows.index[rows.duplicated("item_id", keep=False)]
        self._check(shelf, "item_id", ~about.index.isin(several), "several titles or categories")
        log = log.replaced(timestamp=self._seconds(log))
        self._stop()
        texts = about["categories"]
        mark = next((m for m in "|;>," if texts.str.contains(m, regex=False).any()), "|")
        names = texts.map(lambda text: [name.strip(" []'\"") for name in text.split(mark)])
        shelf = replace(shelf, frame=about.assign(categories=names)[~about.duplicated()])
        return Dataset.from_raw(name, {"inter": log, "item": shelf}, atomic=False)

    def _table(self, path: Path, *needed: str) -> RawTable:
        """Read a file; its columns get the names of ``NAMES``."""
        text, broken = decode(str(path), read_bytes(path), latin_1=True), list[int]()
        separator = max(",;\t|", key=text.lstrip("\r\n").partition("\n")[0].count)
        table = split_rows(str(path), text, separator, quoted=True, broken=broken)
        self._note(f"{path}: another number of fields than in line 1", broken)
        plain = {re.sub(r"[\W_]+", "", name.lower()): name for name in reversed([*table.frame])}
        if "user_id" not in needed:
            plain = {"itemid": plain.get("id", "")} | plain
        usual = {n: next(filter(None, map(plain.get, NAMES[n].split())), "") for n in NAMES}
        wanted = usual | {n: c for n, c in self.columns.items() if c in table.frame}
        columns = {n: c for n, c in wanted.items() if c and n in (*needed, "rating", "title")}
        if missing := ", ".join(name for name in needed if name not in columns):
            have = ", ".join(map(shown, table.frame))
            lost = [c for n, c in self.columns.items() if n in needed and n not in columns]
            self.problems.extend(f"{path}: no column {shown(column)}" for column in lost)
            self.problems.append(f"{path}: which of {have} are {missing}? {OPTIONS} say it")
            self._stop()
        used = [f"{n} is {shown(c)}" for n, c in columns.items()]
        unused = [shown(column) for column in table.frame if column not in columns.values()]
        self.used.append(f"{path}: {', '.join(used)}; not used: {', '.join(unused) or 'none'}")
        frame = table.select(*columns.values()).frame.map(str.strip).set_axis([*columns], axis=1)
        return replace(table, frame=frame, published=columns)

    def _seconds(self, log: RawTable) -> pd.Series:
        """Parse times as seconds since 1970; note those that are neither numbers nor dates."""
        texts = log.frame["timestamp"]
        number = texts.str.fullmatch(NUMBER) & ~texts.str.fullmatch(r"(19|20)\d{6}")
        parts = texts.str.extract(NUMERIC)
        first, second = (parts[column].astype(float) > 12 for column in (0, 2))  # no month
        day_first = self.day_first
        if day_first is None:
            day_first = bool(first.sum() >= second.sum())
            unclear = parts[1].isin(["/", "-"]) & (first.sum() == second.sum())
            self._check(log, "timestamp", ~unclear, "give --day-first or --month-first")
        wrong = number | (second if day_first else first) | ~texts.str.contains(r"\d{4}")
        dates = texts.mask(wrong).str.replace(r"\A(\d{4})[/.](\d+)[/.]", r"\1-\2-", regex=True)
        dates = dates.str.replace(NUMERIC, r"\4-\3-\1" if day_first else r"\4-\1-\3", regex=True)
        dates = dates.mask(dates.str.match(r"\d{4}-(1[3-9]|[2-9]\d)", na=False))  # no month
        found = pd.to_datetime(dates, format="ISO8601", utc=True, errors="coerce")
        rest = dates.mask(found.notna())  # a hundred times slower
        found = found.fillna(pd.to_datetime(rest, format="mixed", utc=True, errors="coerce"))
        seconds = found.dt.as_unit("us").astype("int64") / 1e6  # below 0: unreadable
        if number.mean() > 0.5:
            seconds = pd.to_numeric(texts.where(number))
        self._check(log, "timestamp", seconds >= 0, TIME)
        return seconds

    def _check(self, table: RawTable, column: str, good: Iterable, fault: str) -> None:
        wrong = table.frame[column][~np.array([*map(bool, good)], dtype=bool)]
        if len(wrong):
            where = f"{table.name}, column {table.published[column]}"
            self._note(f"{where}: {fault}, found {shown(wrong.iloc[0])}", wrong.index)

    def _note(self, problem: str, lines: Iterable[int]) -> None:
        where = [*map(str, lines)]
        if more := 0 if self.show_all else len(where[SOME:]):
            where[SOME - 1 :] = [f"{where[SOME - 1]} and {more:,} more"]
        self.problems.extend([f"{problem}: line {', '.join(where)}"] if where else [])

    def _stop(self) -> None:
        if self.problems:
            first = "nothing was kept; correct this, then try again:"
            raise ParagonError("\n- ".join([first, *self.problems]))
