"""Convert the published forms of datasets.

Each function returns text tables by suffix (``inter``, ``item``, ``user``) with columns
``name:type``, whose values :mod:`paragon.data.table` checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from paragon.data.raw import RawTable, read_objects, read_rows
from paragon.data.registry import SAME_FILES
from paragon.data.table import SEPARATORS, number_text, one_word

Tables = dict[str, RawTable]

# The 19 flags at the end of each line of u.item, in order.
ML_100K_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
    "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance",
    "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
RATINGS = ("user_id", "item_id", "rating", "timestamp")
PEOPLE = {f"{name}:token": name for name in ("user_id", "age", "gender", "occupation", "zip_code")}
REVIEWS = "reviews_Grocery_and_Gourmet_Food_5.json"
META = "meta_Grocery_and_Gourmet_Food.json"


def ml_100k(folder: Path) -> Tables:
    """Convert u.data, u.item and u.user into exactly the bytes that RecBole distributes.

    The year is in the title's last brackets ("V" for item 1412, "... (1995) (V)").  Title and year
    of item 267, "unknown", become "unkonwn", a misspelling in the distributed file.
    """
    columns = ("item_id", "title", "released", "video_released", "url", *ML_100K_GENRES)
    movies = read_rows(folder, "u.item", "|", columns)
    for genre in ML_100K_GENRES:
        movies.check(genre, ("0", "1").__contains__, "0 or 1")
    flags = movies.frame[list(ML_100K_GENRES)].to_numpy() == "1"  # [items, 19]
    title, year = _title_and_year(movies.frame["title"], r"(.*)\(([^()]*)\)\s*\Z")
    slip = (movies.frame["item_id"] == "267") & (title == "unknown")
    movies = movies.replaced("title", title.str.strip().mask(slip, "unkonwn"))
    movies = movies.replaced("year", year.mask(slip, "unkonwn"))
    movies = movies.replaced("class", (" ".join(np.compress(f, ML_100K_GENRES)) for f in flags))
    item = {"item_id:token": "item_id", "movie_title:token_seq": "title"}
    item |= {"release_year:token": "year", "class:token_seq": "class"}
    return {
        "inter": _events(read_rows(folder, "u.data", "\t", RATINGS)),
        "item": _typed(movies, item),
        "user": _typed(read_rows(folder, "u.user", "|", tuple(PEOPLE.values())), PEOPLE),
    }


def ml_1m(folder: Path) -> Tables:
    """Convert ratings.dat, movies.dat and users.dat, whose fields are separated by ``::``."""
    people = ("user_id", "gender", "age", "occupation", "zip_code")
    return {
        "inter": _events(read_rows(folder, "ratings.dat", "::", RATINGS)),
        "item": _movies(read_rows(folder, "movies.dat", "::", ("item_id", "title", "genres"))),
        "user": _typed(read_rows(folder, "users.dat", "::", people), PEOPLE),
    }


def ml_latest_small(folder: Path) -> Tables:
    """Convert ratings.csv and movies.csv; users have no attributes."""
    ratings = read_rows(folder, "ratings.csv").select("userId", "movieId", "rating", "timestamp")
    movies = read_rows(folder, "movies.csv").select("movieId", "title", "genres")
    return {"inter": _events(ratings), "item": _movies(movies)}


def _movies(movies: RawTable) -> RawTable:
    """Convert a table of id, title with year, and genres separated by bars."""
    ids, titles, genres = movies.frame
    words, none = movies.frame[genres].replace("(no genres listed)", ""), "names between '|'"
    movies = movies.replaced(genres, words)
    movies.check(genres, lambda text: not SEPARATORS.search(text.replace("|", "")), none)
    title, year = _title_and_year(movies.frame[titles], r"(.*\S)\s*\((\d{4})\)\s*\Z")
    movies = movies.replaced(titles, map(_in_one_line, title)).replaced("year", year)
    movies = movies.replaced(genres, (text.replace("|", " ") for text in words))
    item = {"item_id:token": ids, "movie_title:token_seq": titles}
    return _typed(movies, item | {"release_year:token": "year", "genre:token_seq": genres})


def _title_and_year(titles: pd.Series, pattern: str) -> tuple[pd.Series, pd.Series]:
    parts = titles.str.extract(r"\A" + pattern)
    return parts[0].fillna(titles), parts[1].fillna("")


def amazon(folder: Path) -> Tables:
    """Convert the 5-core reviews, and the reviewed items with all names on category paths."""
    reviews = read_objects(folder, REVIEWS, ("reviewerID", "asin", "overall", "unixReviewTime"))
    for column in ("overall", "unixReviewTime"):
        reviews = reviews.replaced(column, map(number_text, reviews.numbers(column)))
    inter, reviewed = _events(reviews), set(reviews.frame["asin"])

    def is_reviewed(text: str) -> bool:
        # One in twenty items of the meta file was reviewed; parsing only those takes seconds.
        asins = re.findall(r"""['"]asin['"]\s*:\s*['"]([^'"]*)['"]""", text)
        return bool(text.strip()) and not (asins and reviewed.isdisjoint(asins))

    meta = read_objects(folder, META, ("asin", "title", "categories", "category"), is_reviewed)
    meta.check_text("asin")
    frame = meta.frame[meta.frame["asin"].isin(reviewed)]
    paths = frame["categories"].where(frame["categories"].notna(), frame["category"])
    return {"inter": inter, "item": _items(replace(meta, frame=frame), "asin", paths)}


def rechorus(folder: Path) -> Tables:
    """Convert the train, dev and test rows, and categories (a number; nan or <= 0: unknown)."""
    files = [read_rows(folder, f"{part}.csv") for part in ("train", "dev", "test")]
    parts = [part.select("user_id", "item_id", "time") for part in files]
    inter = RawTable(
        ", ".join(part.name for part in parts), pd.concat({part.name: part.frame for part in parts})
    )
    meta = read_rows(folder, "item_meta.csv")
    column = "i_category_c" if "i_category_c" in meta.frame else "i_category"
    numbers = meta.select("item_id", column).frame[column]
    names = ([] if re.fullmatch("(nan|-.*|0*[.]?0*)", number) else [number] for number in numbers)
    meta = meta.replaced("title", [""] * len(numbers))
    return {"inter": _events(inter), "item": _items(meta, "item_id", names)}


def mind(folder: Path) -> Tables:
    """Convert clicks at the impression's time in UTC; the history has no times and is left out."""
    columns = ("impression_id", "user_id", "time", "history", "impressions")
    table = read_rows(folder, "behaviors.tsv", "\t", columns)
    frame = table.frame[["user_id", "impressions", "time"]]
    times = pd.to_datetime(frame["time"], format="%m/%d/%Y %I:%M:%S %p", errors="coerce")
    if times.isna().any():
        raise table.error(int(times.isna().argmax()), "time", "a time like '11/13/2019 8:36:57 AM'")
    seconds = times.astype("datetime64[s]").astype("int64").astype(str)
    frame = frame.assign(time=seconds, impressions=frame["impressions"].str.split())
    entries = replace(table, frame=frame.explode("impressions").dropna())
    labelled, fix = re.compile("(.+)-([01])"), "a test set without labels cannot be used"
    entries.check("impressions", labelled.fullmatch, "a news id that ends in -0 or -1", fix)
    clicks = entries.frame[entries.frame["impressions"].str.endswith("-1")]
    clicks = clicks.assign(impressions=clicks["impressions"].str[:-2])
    about = ("news_id", "category", "subcategory", "title", "abstract", "url", "t", "a")
    news = read_rows(folder, "news.tsv", "\t", about)
    names = news.frame[["category", "subcategory"]].to_numpy().tolist()
    return {"inter": _events(replace(table, frame=clicks)), "item": _items(news, "news_id", names)}


# --- tables of atomic files ---------------------------------------------------------------------


def _events(table: RawTable) -> RawTable:
    """Name the columns of ``table`` as user, item, rating (if present) and time."""
    typed = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    if len(table.frame.columns) == 3:
        del typed[2]
    return _typed(table, dict(zip(typed, table.frame, strict=True)))


def _items(table: RawTable, ids: str, categories: Iterable) -> RawTable:
    """Make the item table of ids, titles (None if unknown) and lists or paths of categories."""
    table = table.replaced("categories", categories)
    table.check("title", lambda title: title is None or isinstance(title, str), "a string")
    table.check("categories", lambda paths: None not in _names_on(paths), "lists of strings")
    names = [_names_on(paths) for paths in table.frame["categories"]]
    words = (dict.fromkeys(filter(None, map(one_word, row))) for row in names)
    table = table.replaced("categories", map(" ".join, words))
    table = table.replaced("title", (_in_one_line(title or "") for title in table.frame["title"]))
    item = {"item_id:token": ids, "title:token_seq": "title", "categories:token_seq": "categories"}
    changed = sum(name != one_word(name) for name in {name for row in names for name in row})
    return replace(_typed(table, item), renamed=changed)


def _names_on(paths: object) -> list:
    """List the names on category paths or single names; None marks anything else."""
    if not isinstance(paths, (list, tuple)):
        return [] if paths is None else [None]
    lists = (path if isinstance(path, (list, tuple)) else [path] for path in paths)
    return [name if isinstance(name, str) else None for path in lists for name in path]


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _typed(table: RawTable, columns: Mapping[str, str]) -> RawTable:
    """Select columns, rename them as in an atomic file, and check their text."""
    frame = table.frame[list(columns.values())].set_axis(list(columns), axis=1)
    published = {name.partition(":")[0]: column for name, column in columns.items()}
    for column in columns.values():
        table.check_text(column)
    return replace(table, frame=frame, published=published)


# The files of each published form, and the function that converts them.
FORMATS: dict[str, dict[tuple[str, ...], Callable[[Path], Tables]]] = {
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
