"""The forms in which datasets are published, turned into tables of atomic files.

Each function takes the published files and returns tables of text by suffix (``inter``,
``item`` and perhaps ``user``), whose columns are called ``name:type`` as in the header of an
atomic file.  Numbers, ids and what else is the same for all datasets are checked later, by
:mod:`paragon.data.checks`, with the lines of the published files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from paragon.data.files import Files
from paragon.data.raw import (
    RawTable,
    parse_object,
    read_headless,
    read_objects,
    read_quoted,
    read_text,
)
from paragon.data.registry import SAME_FILES
from paragon.data.table import RENAMED, SEPARATORS, number_text, one_word, renamed

Tables = dict[str, RawTable]

# The 19 flags at the end of each line of u.item, in their order.
ML_100K_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
    "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance",
    "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_ML_100K_ITEM = ("item_id", "title", "released", "video_released", "url", *ML_100K_GENRES)
_RATINGS = ("user_id", "item_id", "rating", "timestamp")
_PEOPLE = ("user_id", "age", "gender", "occupation", "zip_code")
_LAST_BRACKETS = re.compile(r"(.*)\(([^()]*)\)\s*")
_YEAR = re.compile(r"(.*\S)\s*\((\d{4})\)\s*")
REVIEWS = "reviews_Grocery_and_Gourmet_Food_5.json"
META = "meta_Grocery_and_Gourmet_Food.json"
_ASIN = re.compile(r"""['"]asin['"]\s*:\s*['"]([^'"]*)['"]""")
_CLICK = re.compile(r"(.+)-([01])")


# --- MovieLens ----------------------------------------------------------------------------------


def ml_100k(files: Files) -> Tables:
    """u.data, u.item and u.user as the very bytes that RecBole distributes.

    Three rules give them: the year is whatever is in the last brackets of the title (so item
    1412, "... (1995) (V)", has the year "V"), what is left of it is stripped (three titles end
    in a space), and the title and year of item 267, "unknown", become "unkonwn", a slip of the
    distributed file that is kept for the sake of identical bytes.
    """
    movies = read_headless(files, "u.item", "|", _ML_100K_ITEM)
    for genre in ML_100K_GENRES:
        movies.check_each(genre, ("0", "1").__contains__, "0 or 1", "correct the line")
    frame = movies.frame
    titles, years = _titles_and_years(frame["title"], _LAST_BRACKETS)
    slip = (frame["item_id"] == "267") & (frame["title"] == "unknown")
    titles = pd.Series(titles, frame.index).str.strip().mask(slip, "unkonwn")
    movies = movies.replaced("title", titles)
    movies = movies.replaced("year", pd.Series(years, frame.index).mask(slip, "unkonwn"))
    flags = frame[list(ML_100K_GENRES)].to_numpy() == "1"
    movies = movies.replaced("class", (" ".join(np.compress(f, ML_100K_GENRES)) for f in flags))
    inter = read_headless(files, "u.data", "\t", _RATINGS)
    people = read_headless(files, "u.user", "|", _PEOPLE)
    item = {"item_id:token": "item_id", "movie_title:token_seq": "title"}
    item |= {"release_year:token": "year", "class:token_seq": "class"}
    return {"inter": _events(inter), "item": _table(movies, item), "user": _users(people)}


def ml_1m(files: Files) -> Tables:
    """ratings.dat, movies.dat and users.dat, their fields separated by ``::``."""
    inter = read_headless(files, "ratings.dat", "::", _RATINGS)
    movies = read_headless(files, "movies.dat", "::", ("item_id", "title", "genres"))
    columns = ("user_id", "gender", "age", "occupation", "zip_code")
    people = read_headless(files, "users.dat", "::", columns)
    return {"inter": _events(inter), "item": _movies(movies), "user": _users(people)}


def ml_latest_small(files: Files) -> Tables:
    """ratings.csv and movies.csv; nothing is known of the users."""
    inter = read_quoted(files, "ratings.csv", ("userId", "movieId", "rating", "timestamp"))
    movies = read_quoted(files, "movies.csv", ("movieId", "title", "genres"))
    return {"inter": _events(inter), "item": _movies(movies)}


def _movies(movies: RawTable) -> RawTable:
    """Columns of the id, the title with its year, and the genres between bars."""
    ids, titles, genres = movies.frame.columns
    none = "(no genres listed)"
    movies.check_each(
        genres,
        lambda text: text == none or not any(map(SEPARATORS.search, text.split("|"))),
        "genres of one word each, separated by '|'",
        "correct the line",
    )
    names, years = _titles_and_years(movies.frame[titles], _YEAR)
    words = movies.frame[genres].where(movies.frame[genres] != none, "")
    movies = movies.replaced(titles, map(_in_one_line, names)).replaced("year", years)
    movies = movies.replaced(genres, (text.replace("|", " ") for text in words))
    item = {"item_id:token": ids, "movie_title:token_seq": titles}
    return _table(movies, item | {"release_year:token": "year", "genre:token_seq": genres})


def _titles_and_years(titles: Iterable[str], pattern: re.Pattern) -> tuple[list[str], list[str]]:
    pairs = [m.groups() if (m := pattern.fullmatch(text)) else (text, "") for text in titles]
    return [title for title, _ in pairs], [year for _, year in pairs]


def _users(people: RawTable) -> RawTable:
    return _table(people, {f"{name}:token": name for name in _PEOPLE})


# --- Amazon, ReChorus, MIND ---------------------------------------------------------------------


def amazon(files: Files) -> Tables:
    """The 5-core reviews, and from the meta file the reviewed items only.

    An item's categories are all names on all its category paths.  Items keep the meta file's
    order.
    """
    columns = ["reviewerID", "asin", "overall", "unixReviewTime"]
    reviews = read_objects(files, REVIEWS, columns)
    for column in columns[:2]:
        reviews.check_each(column, _is_string, "a string")
    for column in columns[2:]:
        texts = [number_text(number) for number in reviews.numbers(column)]
        reviews = reviews.replaced(column, texts)
    inter, reviewed = _events(reviews), set(reviews.frame["asin"])

    def parse_if_reviewed(text: str) -> object:
        # The meta file describes twenty times as many items as were reviewed by the 5-core's
        # users; parsing only those keeps this to seconds.
        asins = _ASIN.findall(text)
        return {"asin": asins[0]} if asins and reviewed.isdisjoint(asins) else parse_object(text)

    meta = read_objects(files, META, ["asin", "title", "categories", "category"], parse_if_reviewed)
    meta.check_each("asin", _is_string, "a string")
    meta = replace(meta, frame=meta.frame[meta.frame["asin"].isin(reviewed)])
    if meta.frame.empty:
        raise meta.error_in_whole(
            f"describes none of the {len(reviewed)} items in {reviews.name}; get both"
        )
    meta.check_each("title", lambda title: title is None or _is_string(title), "a string")
    paths = meta.frame["categories"].where(meta.frame["categories"].notna(), meta.frame["category"])
    meta = meta.replaced("categories", paths.tolist())
    fits, expected = lambda value: _category_names(value) is not None, "lists of strings"
    meta.check_each("categories", fits, expected, "correct the line")
    names = [_category_names(value) or [] for value in meta.frame["categories"]]
    titles = [title or "" for title in meta.frame["title"]]
    return {"inter": inter, "item": _items(meta, "asin", titles, names)}


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _category_names(paths: object) -> list[str] | None:
    """The names on all category paths, some of which may be single names; None if it is not so."""
    if paths is None:
        return []
    if not isinstance(paths, (list, tuple)):
        return None
    names: list[str] = []
    for path in paths:
        names += path if isinstance(path, (list, tuple)) else [path]
    return names if all(map(_is_string, names)) else None


def rechorus(files: Files) -> Tables:
    """ReChorus's train, dev and test rows one after another, and its item categories.

    Fields are separated by tabs, in some copies by commas.  The files hold no ratings and no
    titles.  The category is the column ``i_category`` (or ``i_category_c``), a number; 0 or
    less means unknown.
    """
    columns = ("user_id", "item_id", "time")
    parts = [read_quoted(files, f"{part}.csv", columns) for part in ("train", "dev", "test")]
    frame = pd.concat({part.name: part.frame for part in parts})
    inter = RawTable(", ".join(part.name for part in parts), frame)
    header = read_text(files, "item_meta.csv").partition("\n")[0]
    column = "i_category_c" if "i_category_c" in re.split("[\t,]", header) else "i_category"
    meta = read_quoted(files, "item_meta.csv", ("item_id", column))
    names = [[] if _is_unknown(category) else [category] for category in meta.frame[column]]
    return {"inter": _events(inter), "item": _items(meta, "item_id", [""] * len(names), names)}


def _is_unknown(category: str) -> bool:
    """Whether the number of a category is none, nan included, as csv writers put it."""
    try:
        return not float(category or 0) > 0
    except ValueError:
        return False


def mind(files: Files) -> Tables:
    """Clicks (the entries ``-1`` of an impression) at the impression's time, read as UTC.

    The column of earlier clicks is left out: nothing says when they happened.  Categories are
    the category and the subcategory of the news.
    """
    columns = ("impression_id", "user_id", "time", "history", "impressions")
    table = read_headless(files, "behaviors.tsv", "\t", columns)
    frame = table.frame[["user_id", "impressions", "time"]]
    times = pd.to_datetime(frame["time"], format="%m/%d/%Y %I:%M:%S %p", errors="coerce")
    for index, text in frame["time"][times.isna()].items():
        expected = "a time like '11/13/2019 8:36:57 AM'"
        raise table.error(index, "time", text, expected, "correct the line")
    seconds = times.astype("datetime64[s]").astype("int64").astype(str).astype(object)
    frame = frame.assign(time=seconds, impressions=frame["impressions"].str.split())
    entries = replace(table, frame=frame.explode("impressions").dropna())
    expected = "a news id that ends in -0 or -1"
    advice = "a test set without labels cannot be used"
    entries.check_each("impressions", _CLICK.fullmatch, expected, advice)
    clicks = entries.frame[entries.frame["impressions"].str.endswith("-1")]
    if clicks.empty:
        raise table.error_in_whole(
            "no impression ends in -1, so nothing was clicked; use another part"
        )
    clicks = clicks.assign(impressions=clicks["impressions"].str[:-2])

    news_columns = ("news_id", "category", "subcategory", "title", "abstract", "url", "t", "a")
    news = read_headless(files, "news.tsv", "\t", news_columns)
    names = news.frame[["category", "subcategory"]].to_numpy().tolist()
    items = _items(news, "news_id", news.frame["title"], names)
    return {"inter": _events(replace(table, frame=clicks)), "item": items}


# --- tables of atomic files ---------------------------------------------------------------------


def _events(table: RawTable) -> RawTable:
    """The columns of ``table`` as user, item, perhaps rating, and time."""
    typed = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    if len(table.frame.columns) == 3:
        del typed[2]
    return _table(table, dict(zip(typed, table.frame.columns, strict=True)))


def _items(
    table: RawTable, ids: str, titles: Iterable[str], categories: Iterable[Iterable[str]]
) -> RawTable:
    given = list(map(list, categories))
    words = (dict.fromkeys(filter(None, map(one_word, names))) for names in given)
    table = table.replaced("title", map(_in_one_line, titles))
    table = table.replaced("categories", map(" ".join, words))
    changed = {RENAMED: renamed(name for names in given for name in names)}
    item = {"item_id:token": ids, "title:token_seq": "title", "categories:token_seq": "categories"}
    return _table(replace(table, repairs=changed), item)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _table(origin: RawTable, columns: Mapping[str, str]) -> RawTable:
    """These columns of ``origin`` by their names in an atomic file, every field fit for one."""
    frame = origin.frame[list(columns.values())].set_axis(list(columns), axis=1)
    published = {name.partition(":")[0]: column for name, column in columns.items()}
    table = replace(origin, frame=frame, published=published)
    for name in columns:
        table.check_text(name)
    return table


# By name, the files of each published form and what turns them into tables.
FORMATS: dict[str, dict[tuple[str, ...], Callable[[Files], Tables]]] = {
    "ml-100k": {("u.data", "u.item", "u.user"): ml_100k},
    "ml-1m": {("ratings.dat", "movies.dat", "users.dat"): ml_1m},
    "ml-latest-small": {("ratings.csv", "movies.csv"): ml_latest_small},
    "amazon-grocery": {
        (REVIEWS, META): amazon,
        ("train.csv", "dev.csv", "test.csv", "item_meta.csv"): rechorus,
    },
    "mind": {("behaviors.tsv", "news.tsv"): mind},
}
FORMATS |= {name: FORMATS[of] for name, of in SAME_FILES.items()}
