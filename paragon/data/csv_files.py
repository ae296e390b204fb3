"""Make a dataset of CSV files with columns of any names: events, perhaps items in another file."""

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from html.entities import name2codepoint
from pathlib import Path

import numpy as np
import pandas as pd

from paragon.data.atomic import decode, is_utf8, read_bytes, split_rows
from paragon.data.table import (
    AN_ID,
    FIRST,
    LEADING_ZERO,
    NEEDED,
    NO_TIMES,
    NUMBER,
    SHORTENED_TIMES,
    UNITS,
    Dataset,
    RawTable,
    are_plausible,
    in_seconds,
    is_id,
    is_rounded,
    names_listed,
    number_of,
)
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
NO_ID = f"no id, which is {AN_ID}"
NUMBERS_ALONE = "no number, as --unit says that times are: leave --unit out for dates"
BOTH_KINDS = "numbers and dates in one column: write all times in one form"
NO_MONTH = (
    "a month above 12, if all dates of this form have one order of day and month: write them in one"
)
YEARS = (
    "no time of 1973 to 2049, or of another unit: leave the row out if 0 is a missing time; "
    f"--unit {', '.join(UNITS)} says what numbers since 1970 are (spreadsheets count days since "
    "1900: subtract 25569)"
)
# 3/4/2024 wherever it stands in the text, 2024/4/3, and the form that both are brought into.
NUMERIC = re.compile(
    r"(?<![\d:+/.-])(\d{1,2})\s*(?:([./-])|\s)\s*(\d{1,2})\s*(?(2)[./-]|(?<=\s))\s*(\d{4})(?!\d)"
)
YEAR_FIRST = re.compile(
    r"(?<![\d+-])([12]\d{3})(?:\s*[/.]\s*|\s)(\d{1,2})(?:\s*[/.]\s*|\s)(?=\d\d?(?![\d.:]))"
)
COMPACT = re.compile(r"(?<![\d.])((?:19|20)\d\d)(\d\d)(\d\d)(?![\d.])")
SOME_DATE = re.compile(r"\d[/.-]\d+[/.-]\d|\d{4}-\d\d")  # in a column of numbers
# Parts of a time.  An offset from UTC follows hours and minutes; 10-45-10 is none, nor is +2:90.
# Nor +230, which pandas takes for 23 hours.  After a date, -10:30 may be a time or an offset.
# Those with 30 or 45 minutes are of zones since 2000: 13:00-14:30 is from and to.
ZONE = (
    r"\s*(?:(?:Z|UTC|GMT)\b|(?:"
    r"(?:[+-]0\d|\+1[0-4]|-1[0-2])(?::?00)?|[+-]\d(?::00)?"
    r"|(?:-0[2349]|\+0[345689]|\+1[01]):?30|(?:-[2349]|\+[345689]):30"
    r"|\+(?:0[589]|1[23]):?45|\+[589]:45"
    r")(?![\d:-]))"
)
CLOCK = r"(?<![\d:.+-])\d{1,2}:\d{1,2}(?::\d{1,2}(?:[.,]\d+)?)?(?![:.]?\d)"
AM_PM = r"\s*[ap]\.?\s?m\b\.?"  # Spanish has a space: 5:05 p. m.
# 1030 or 10 is a time after a date with the year first.
NO_COLON = rf"[T\s]\s*(?:(?:\d{{6}}(?:\.\d+)?|\d{{4}})(?:{ZONE})?|\d\d)(?!\d|:|h|{AM_PM})"
ISO = rf"(?<!\d)\d{{4}}-\d{{1,2}}-\d{{1,2}}(?!\d)(?P<time>{NO_COLON})?"
ISO_TIME = re.compile(rf"{ISO}(?:[T ]{CLOCK}(?:{ZONE})?)?|\d{{4}}-\d\d", re.IGNORECASE)
DATE = re.compile(ISO, re.IGNORECASE)
AFTER_DATE = re.compile(rf"-\d{{1,2}}(?:{NO_COLON})", re.IGNORECASE)
TIME_PART = re.compile(
    rf"(?:{CLOCK}(?:{AM_PM})?|(?<![\w:.+-])\d{{1,2}}(?:{AM_PM}|h(?:\d\d)?m?\b))(?:{ZONE})?",
    re.IGNORECASE,
)
# As in GMT+0200 (Eastern European Time) and UTC+2.  pandas takes the opposite sign after a name.
OFFSET = re.compile(
    r"\s*(?<![a-z])(?:GMT|UTC|Z)\s*([+-])(\d{1,2})(?::?(\d\d))?(?!\d)(?:\s*\(.*\))?", re.IGNORECASE
)
MONTHS = {
    *"january february march april may june july august september".split(),
    *"october november december jan feb mar apr jun jul aug sep sept oct nov dec".split(),
}
DAYS = "monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun"
WORDS = MONTHS | {*DAYS.split(), *"t z utc gmt at of on st nd rd th".split()}
# Spreadsheets and databases write some date of their own before it, or a length of time.
TIME_OF_DAY = re.compile(
    r"(?:(?:1899-12-3[01]|1900-01-0[01]|1970-01-01)[T ]|0 days |P?T)?"
    rf"\d{{1,2}}(?::|h)\d\d(?:[:m]\d\d(?:[.,]\d+)?)?[ms]?(?:{AM_PM})?(?:{ZONE})?"
    rf"|\d{{1,2}}(?:[:.]\d\d)?(?:{AM_PM}|\s*(?:uhr|o'clock))",
    re.IGNORECASE,
)
# An hour, 10.30, 10-30-00 or 930: times of day only in a column whose name says so.
TIME_NAME = re.compile(
    r"time|clock|uhr|zeit|hour(?!s)|stunde(?!n)|heure(?!s)|hora(?!s)", re.IGNORECASE
)
DIGITS_OF_DAY = r"(?:[01]?\d|2[0-3])(?:[-.]?[0-5]\d){0,2}(?:\.0+)?"
# In a column of such a name, any number is a time of day: seconds, or a part of the day.
DAYTIME_NAME = re.compile(r"time.?of.?day|tod|clock|uhrzeit", re.IGNORECASE)
MIDNIGHT = re.compile(
    rf"[T\s]+(?:00?:00(?::00(?:[.,]0+)?)?|12:00(?::00)?\s*a\.?m\b\.?)(?:{ZONE})?\Z", re.IGNORECASE
)
# Between categories, each with characters that look like it; the first that a file has is taken.
MARKS = ("|｜", ";；؛", ">＞›", ",，、､،")
# A list or tuple, as JSON, Python, R, Scala or a database write it, a string of a program, or a
# name with a mark in it, in quotes or after a backslash.
LIST = re.compile(
    r"\{.*|\[[\[\s]*(?:[ub]?['\"]|[{“„«]).*|\([\[(\s]*['\"].*['\"][\s,)\]]*\)|\([^()]*,[^()]*\)"
    r"|(?:array|np\.\w+|WrappedArray|ArrayBuffer|Array|List|Seq|Vector|Set|set|frozenset|tuple|list)\(.*"
    r"|c\(\s*['\"].*|[bu](?:'.*'|\".*\")|(['\"]).*\1\s*,\s*\1.*\1"
    r"|\"\[.*|\"[^\"]*[,;|>][^\"]*\".*|.*\\[,;|>].*",
    re.DOTALL,
)
# Letters, signs and punctuation as HTML writes them.  Not all that it knows: in hat&cap;shoes two
# names are meant, not the sign of an intersection.
SIGNS = [name for name, code in name2codepoint.items() if code < 0x370 or 0x2000 <= code < 0x2100]
ENTITY = re.compile(rf"&(?:#\d+|#x[\da-f]+|apos|trade|{'|'.join(SIGNS)});", re.IGNORECASE)
ARROW = re.compile(r"<[^<>]*>|[-=]>|\A>")  # no mark between names: a tag, an arrow, a comparison
LINE_END = re.compile(r"[\r\n]+|<br\b[^>]*>", re.IGNORECASE)  # between the lines of a cell
# What spreadsheets, databases and programs write for a missing value, perhaps in brackets: words,
# signs alone, and errors such as #REF!.
NO_VALUE = re.compile(
    r"[(<\[]?(n/?a|n\.a\.?|nan|nat|null|none|nil|undefined|blank|not set|[-–—_.?]+)[)>\]]?"
    r"|#(n/a|n/d|nv|##+|div/0!|[^\W\d_]\w*[!?])|\\n|\(\)|\[\]|\{\}",
    re.IGNORECASE,
)
SHORTENED = r"[+-]?\d([.,]\d+)?[eE]\+\d+"  # 1.23457E+12
IN_QUOTES = r"""=?["'“”„‘’«»].*["'“”‘’«»]"""
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
    unit: str = ""  # of times that are numbers, one of ``UNITS``
    problems: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)  # for each file, how its columns were understood

    def read(self, name: str) -> Dataset:
        """Read the files as a dataset.

        Raises one ``ParagonError`` that lists all problems that were found.
        """
        if self.unit not in ("", *UNITS):
            raise ParagonError(f"--unit: found {shown(self.unit)}, expected {', '.join(UNITS)}")
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
        self._check_ids(events, "user_id")
        for table in tables:
            self._check_ids(table, "item_id")

        catalogue = items.frame.filter(["item_id", "title", "categories"])
        distinct = catalogue.drop_duplicates()
        several = distinct.index[distinct.duplicated("item_id", keep=False)]
        good = ~catalogue.index.isin(several)
        self._check(items, "item_id", good, "several titles or categories")
        unmet = distinct.loc[~distinct["item_id"].isin(events.frame["item_id"]), "item_id"]
        if len(unmet):
            self.used.append(
                f"{items.name}: {len(unmet):,} of {len(distinct):,} items have no event, the last "
                f"of them {shown(unmet.iloc[-1])}; lists may have them: leave out what is no item"
            )
        events = events.replaced(timestamp=self._seconds(events))
        items = replace(items, frame=catalogue[~catalogue.duplicated()])
        items = items.replaced(categories=self._names(items))
        self._stop()
        return Dataset.from_raw(name, {"inter": events, "item": items})

    def _table(self, path: Path, *needed: str) -> RawTable:
        """Read a file, and give its columns our names, the keys of ``NAMES``.

        ``needed``: our names of the columns that the file must have.
        """
        data = read_bytes(path)
        text = decode(str(path), data, latin_1=True)
        if not is_utf8(data):
            example = next(re.finditer(r"\w*[^\x00-\x7f]\w*", text))[0]
            self.used.append(
                f"{path}: not UTF-8, so it was read as Latin-1, as in {shown(example)}; if letters "
                "are wrong, save it as UTF-8"
            )
        first_line = text.lstrip("\r\n").partition("\n")[0]
        separator = max(",;\t|", key=first_line.count)
        if re.match("['\"]?sep=", first_line, re.IGNORECASE):
            raise ParagonError(
                f"{path}, line 1: {shown(first_line)} is meant for Excel, and names no columns; "
                "remove the line sep="
            )
        if first_line.count("::") > 1:
            raise ParagonError(
                f"{path}, line 1: fields are separated by '::', as in the files of MovieLens; "
                "write commas and a first line with names, or fetch ml-1m from the folder"
            )
        broken: list[int] = []  # lines
        table = split_rows(str(path), text, separator, quoted=True, broken=broken)
        self._note(f"{path}: another number of fields than in line 1", broken)

        twice = table.frame.columns[table.frame.columns.duplicated()].unique()
        if len(twice):
            names = ", ".join(map(shown, twice))
            raise ParagonError(f"{path}: several columns {names}; rename them, or leave some out")
        again = (table.frame == list(table.frame)).all(axis=1)
        self._note(f"{path}: the names of the columns again", table.frame.index[again])
        for line, number in _swallowed(table.frame, separator):
            self.used.append(
                f"{path}, line {line}: a cell in quotes has {number:,} lines that look like rows; "
                "if they are rows, a quotation mark is missing or too many"
            )
        columns = self._columns(table, needed)
        for column in {*columns.values()}:
            roles = [name for name in columns if columns[name] == column and name != "title"]
            if len(roles) > 1:
                self.problems.append(
                    f"{path}: column {shown(column)} is given for {' and '.join(roles)}; "
                    "each needs a column of its own"
                )
        missing = [name for name in needed if name not in columns]
        if missing:
            for name, column in self.columns.items():
                if name in missing:
                    self.problems.append(f"{path}: no column {shown(column)}")
            have = ", ".join(map(shown, table.frame))
            names = ", ".join(missing)
            self.problems.append(f"{path}: which of {have} are {names}? {OPTIONS} say it")
            self._stop()
        if "timestamp" in needed:
            self._check_time_of_day(table, columns["timestamp"])

        used = [f"{name} is {shown(column)}" for name, column in columns.items()]
        unused = [shown(column) for column in table.frame if column not in columns.values()]
        self.used.append(f"{path}: {', '.join(used)}; not used: {', '.join(unused) or 'none'}")
        frame = table.select(*columns.values()).frame.map(str.strip)
        frame = frame.set_axis(list(columns), axis=1)
        if "title" in frame:
            frame["title"] = frame["title"].map(_in_one_form)
        return replace(table, frame=frame, published=columns)

    def _columns(self, table: RawTable, needed: tuple[str, ...]) -> dict[str, str]:
        """Return the column of the file for each of our names, as far as there is one."""
        in_file = {}  # by plain name: small letters and digits; the first column of a name stays
        for column in reversed(list(table.frame)):
            plain = re.sub(r"[\W_]+", "", column.lower())
            in_file[plain] = column
        if "user_id" not in needed:  # in a file of items, `id` is that of the item
            in_file = {"itemid": in_file.get("id", "")} | in_file
        roles = [name for name in NAMES if name in (*needed, "rating", "title")]
        given = {name: column for name, column in self.columns.items() if column in table.frame}
        taken = {column for name, column in given.items() if name != "title"}
        columns = {}
        for name in roles:
            known = [in_file.get(plain) for plain in NAMES[name].split()]
            free = [column for column in known if column and column not in taken]
            if name in given:
                columns[name] = given[name]
            elif free:
                columns[name] = free[0]
        return columns

    def _check_time_of_day(self, table: RawTable, column: str) -> None:
        """Note that dates and times of day are in two columns, of which only one would be read.

        ``column``: that of the times.  If it was given by name, dates alone may be meant.  A column
        of hours in another language is not known as such, so dates alone are always mentioned.
        """
        frame = table.frame.map(str.strip)
        of_day = []
        if frame[column].str.fullmatch(TIME_OF_DAY).mean() > 0.5:
            of_day = [column]
        elif "timestamp" not in self.columns and _are_days(frame[column], self.unit):
            others = frame.drop(columns=column)
            of_day = [other for other in others if _are_times_of_day(others[other])]
            self.used.append(
                f"{table.name}, column {column}: days without a time of day, so a user's events "
                "of one day stay in the order of the file; if another column has hours or times, "
                "write both into one"
            )
        if of_day:
            self.problems.append(
                f"{table.name}, column {column}: the times of day are in column {of_day[0]}; write "
                "date and time into one column, or say with --time that dates are enough"
            )

    def _names(self, items: RawTable) -> list[list[str]]:
        """Split the categories of each row; note rows that can be read in two ways."""
        texts = items.frame["categories"]
        is_list = texts.str.fullmatch(LIST)
        lists = {row: names_listed(texts[row]) for row in texts.index[is_list]}
        for row, names in lists.items():
            if names and any(map(LIST.fullmatch, names)):  # a list that was encoded twice
                lists[row] = None
        good = [lists.get(row, []) is not None for row in texts.index]
        self._check(items, "categories", good, "no list of names")

        texts = texts[~is_list]
        items = replace(items, frame=items.frame[~is_list])
        lines = texts.str.split(LINE_END, regex=True).explode().map(_bare)  # some have several
        no_arrow = ~lines.str.contains(ARROW) | lines.map(_is_missing)  # <null>
        self._check_lines(items, no_arrow, "a tag of HTML or an arrow")
        mark = next((m for m in MARKS if lines.str.contains(f"[{m}]").any()), MARKS[0])
        whole = lines.isin({name for names in lists.values() if names for name in names})
        marked = lines.str.contains(f"[{mark}]") & ~whole
        parts = lines.str.split(f"[{mark}]", regex=True).where(~whole, lines.map(lambda one: [one]))
        split = parts.map(lambda names: [_bare(name) for name in names])
        in_marked = {name for names in split[marked] for name in names}
        others = "".join(MARKS[MARKS.index(mark) + 1 :])
        others = f"[{others}]" if others else "$^"  # the latter is found nowhere
        doubtful = ~marked & ~whole & ~lines.isin(in_marked) & lines.str.contains(others)
        known = in_marked | {*lines[~marked & ~doubtful]}
        many = doubtful.sum() >= marked.sum()
        several = [many or bool(known & {*map(str.strip, re.split(others, n))}) for n in lines]
        between = repr(mark[0])
        fault = (
            f"other lines have {between} between names: write it here as well, or after one name"
        )
        self._check_lines(items, ~(doubtful & np.array(several, dtype=bool)), fault)

        def has_two_marks(name: str) -> bool:
            names = [*map(str.strip, re.split(others, name))]
            return len(names) > 1 and (len({*names}) < len(names) or known.issuperset(names))

        two = marked & split.map(lambda names: any(map(has_two_marks, names)))
        fault = f"{between} and another mark between names: write {between} between all of them"
        self._check_lines(items, ~two, fault)
        names_of = {row: names for row, names in lists.items() if names}
        for row, names in split.items():
            names_of.setdefault(row, []).extend(names)
        return [
            [name for name in map(_in_one_form, names_of.get(row, [])) if not _is_missing(name)]
            for row in is_list.index
        ]

    def _check_lines(self, items: RawTable, good: pd.Series, fault: str) -> None:
        """Note the problem ``fault`` for the rows that have a line which is not ``good``."""
        self._check(items, "categories", good.groupby(level=0, sort=False).all(), fault)

    def _seconds(self, events: RawTable) -> pd.Series:
        """Parse times as seconds since 1970; note those that are neither numbers nor dates."""
        texts = events.frame["timestamp"]
        compact_date = texts.str.fullmatch(r"(19|20)\d{6}")  # 20241231
        number = texts.str.fullmatch(NUMBER) & ~(compact_date & (not self.unit))
        if self.unit or number.mean() > 0.5:
            times = texts.where(number).map(number_of).to_numpy(np.float64, copy=True)
            readable = (times >= 0) & (times < np.inf)
            times[~readable] = 0
            date = texts.mask(number).str.contains(SOME_DATE, na=False)
            plausible = are_plausible(times, self.unit) & ~texts.str.match(LEADING_ZERO)
            self._check(events, "timestamp", ~date, NUMBERS_ALONE if self.unit else BOTH_KINDS)
            self._check(events, "timestamp", readable | date, TIME)
            self._check(events, "timestamp", ~texts.map(is_rounded), SHORTENED_TIMES)
            self._check(events, "timestamp", plausible | ~readable, YEARS)
            seconds = pd.Series(in_seconds(times, self.unit), index=texts.index)
            if not self.unit and (seconds != times).any():
                self.used.append(
                    f"{events.name}, column {events.published['timestamp']}: milliseconds since "
                    "1970, which were divided by 1,000"
                )
            early = (seconds < FIRST).sum()
            if early:  # the unit allows it
                self.used.append(
                    f"{events.name}, column {events.published['timestamp']}: {early:,} of "
                    f"{len(texts):,} times are before 1973, and so the first of their users; leave "
                    "these rows out if 0 stands for a missing time"
                )
            return seconds

        texts = texts.str.split().str.join(" ")
        texts = texts.str.replace(COMPACT, r"\1-\2-\3", regex=True)
        texts = texts.str.replace(YEAR_FIRST, r"\1-\2-", regex=True)
        fields = texts.str.extract(NUMERIC)
        numeric = fields[0].notna()
        # In 31/12/2024 the first number cannot be a month, in 12/31/2024 the second cannot.
        first = fields[0].astype(float) > 12
        second = fields[2].astype(float) > 12
        # Dates with slashes say nothing about those with dots, which are in another form.
        mark = fields[1].fillna(" ")
        more_first = (first.astype(int) - second).groupby(mark).transform("sum")
        if self.day_first is None:
            day_first = more_first >= 0
            unclear = numeric & (mark != ".") & (more_first == 0)
            self._check(events, "timestamp", ~unclear, "give --day-first or --month-first")
        else:
            day_first = pd.Series(bool(self.day_first), index=texts.index)

        no_month = second.where(day_first, first)
        no_year = ~texts.str.contains(r"\d{4}")
        dates = texts.mask(number | no_month | no_year)
        by_month = dates.str.replace(NUMERIC, r"\4-\1-\3", regex=True)
        dates = dates.str.replace(NUMERIC, r"\4-\3-\1", regex=True).where(day_first, by_month)
        thirteenth = dates.str.contains(r"(?<!\d)\d{4}-(?:1[3-9]|[2-9]\d)", na=False)  # no month
        no_time = numeric & dates.str.contains(AFTER_DATE, na=False)  # 3/4/2024 2023
        dates = dates.mask(thirteenth | no_time)
        dates = dates.str.replace(OFFSET, _offset, regex=True)

        iso = dates.where(dates.str.fullmatch(ISO_TIME, na=False))
        found = pd.to_datetime(iso, format="ISO8601", utc=True, errors="coerce")
        rest = dates.mask(found.notna())  # in other forms: a hundred times slower
        rest = rest.map(_date_then_time, na_action="ignore")
        found = found.fillna(pd.to_datetime(rest, format="mixed", utc=True, errors="coerce"))
        seconds = found.dt.as_unit("us").astype("int64") / 1e6  # below 0: unreadable
        self._check(events, "timestamp", ~number, BOTH_KINDS)
        self._check(events, "timestamp", ~no_month, NO_MONTH)
        self._check(events, "timestamp", (seconds >= 0) | number | no_month, TIME)
        plausible = are_plausible(seconds.to_numpy(), "seconds") & (seconds >= FIRST)
        plausible &= ~seconds.isin(NO_TIMES)
        self._check(events, "timestamp", plausible | (seconds < 0), YEARS)
        return seconds

    def _check_ids(self, table: RawTable, column: str) -> None:
        """Note values that are no ids, or no longer those of the source."""
        ids = table.frame[column]
        missing = "a missing id; write it, or leave the row out"
        shortened = "a spreadsheet has shortened the ids; export them again as text"
        in_quotes = "quotes around the id; write it without them"
        self._check(table, column, map(is_id, ids), NO_ID)
        self._check(table, column, ~ids.map(_is_missing), missing)
        self._check(table, column, ~ids.str.fullmatch(SHORTENED), shortened)
        self._check(table, column, ~ids.str.fullmatch(IN_QUOTES), in_quotes)

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


def _offset(found: re.Match) -> str:
    """Write the difference from UTC as in +02:00."""
    return f"{found[1]}{found[2]:0>2}:{found[3] or '00'}"


def _date_then_time(text: str) -> str | None:
    """Return a time as in 2024-02-13 10:30; None if somebody would have to guess.

    Each number is of the date or the time, and each word known.  Names of time zones are not; and
    10.30 and 10-30 may be a time, a date or an offset.  pandas would fill in what it does not find.
    """
    numeric = [*DATE.finditer(text)]
    dates = [date[0] for date in numeric]
    without_date = DATE.sub(" ", text)
    times = [time[0] for time in TIME_PART.finditer(without_date)]
    rest = TIME_PART.sub(" ", without_date)
    words = {word.lower() for word in re.findall(r"[^\W\d_]+", rest)}
    numbers = sorted(re.findall(r"\d+", rest), key=len)
    months = words & MONTHS
    for month in months:
        if [len(number) for number in numbers] == [4] and not times:  # Feb 2024
            numbers = ["1", *numbers]
        if [len(number) for number in numbers] in ([1, 4], [2, 4]):  # Feb 13, 2024
            day, year = numbers
            numbers = []
            dates.append(f"{day} {month} {year}")
    clear = not numbers and words <= WORDS and len(dates) == 1 and len(months) <= 1
    of_dates = sum(date["time"] is not None for date in numeric)  # as in 2024-02-13 1030
    return " ".join(dates + times) if clear and len(times) + of_dates <= 1 else None


def _swallowed(frame: pd.DataFrame, separator: str) -> list[tuple[int, int]]:
    """Find cells of several lines that look like rows: the line of each, and how many look so."""
    found = []
    for column in frame:
        for line, text in frame.loc[frame[column].str.contains("\n"), column].items():
            inside = text.split("\n")[1:-1]
            rows = sum(part.count(separator) == frame.shape[1] - 1 for part in inside)
            if rows:
                found.append((line, rows))
    return found


def _are_times_of_day(texts: pd.Series) -> bool:
    """Return whether a column has times without dates, such as 10:30, or 930 if it is named so."""
    name = str(texts.name)
    if texts.str.fullmatch(TIME_OF_DAY).mean() > 0.5:
        return True
    if DAYTIME_NAME.fullmatch(name):
        return texts.str.fullmatch(NUMBER).mean() > 0.9
    return bool(TIME_NAME.search(name)) and texts.str.fullmatch(DIGITS_OF_DAY).mean() > 0.9


def _are_days(texts: pd.Series, unit: str) -> bool:
    """Return whether most times of a column are dates without a time, or midnights.

    ``unit``: of times that are numbers.
    """
    days = texts.str.replace(MIDNIGHT, "", regex=True)
    number = days.str.fullmatch(NUMBER)
    whole = days.where(number).map(number_of) % (1 if unit == "days" else 86_400) == 0
    dates = ~days.str.contains(r":|\dT\d") & ~number
    return (dates | whole | days.str.fullmatch(r"\d{8}")).mean() > 0.5


def _is_missing(text: str) -> bool:
    """Return whether a word or sign stands for a missing value."""
    return NO_VALUE.fullmatch(text.strip()) is not None


def _in_one_form(name: str) -> str:
    """Return a name without the signs of HTML, also if written twice, and with single spaces."""
    for _ in range(2):
        name = ENTITY.sub(lambda sign: html.unescape(sign[0]), name)
    return " ".join(name.split())


def _bare(text: str) -> str:
    """Return a name, or several in a line, in one form, without the brackets and quotes around."""
    text = _in_one_form(text)
    for around in (r"\[([^\[\]]*)\]", r"=?'([^']*)'", r'=?"([^"]*)"'):
        text = re.sub(rf"\A{around}\Z", r"\1", text).strip()
    return text
