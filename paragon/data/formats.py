"""Convert the published forms of datasets.

Each function returns text tables by suffix (``inter``, ``item``, ``user``) with columns
``name:type``, whose values :mod:`paragon.data.table` checks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.resources.abc import Traversable

import numpy as np
import pandas as pd

from paragon.data.atomic import decode, find, read_bytes, split_rows
from paragon.data.registry import SAME_FILES
from paragon.data.table import SEPARATORS, RawTable

Tables = dict[str, RawTable]

# The 19 flags at the end of each line of u.item, in order.
ML_100K_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
    "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance",
    "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
ML_100K_MOVIES = ("item_id", "title", "released", "video_released", "url", *ML_100K_GENRES)
RATINGS = ("user_id", "item_id", "rating", "timestamp")
EVENTS = {"user_id:token": "user_id", "item_id:token": "item_id"}
EVENTS |= {"rating:float": "rating", "timestamp:float": "timestamp"}
PEOPLE = ("user_id", "age", "gender", "occupation", "zip_code")
USERS = {f"{name}:token": name for name in PEOPLE}


def ml_100k(folder: Traversable) -> Tables:
    """Convert into exactly the bytes that RecBole distributes, "unkonwn" for item 267 included."""
    movies = _rows(folder, "u.item", "|", ML_100K_MOVIES)
    for genre in ML_100K_GENRES:
        movies.check(genre, movies.frame[genre].isin(["0", "1"]), "0 or 1")
    flags = movies.frame[[*ML_100K_GENRES]].to_numpy() == "1"  # [items, 19]
    title, year = _title_and_year(movies.frame["title"], r"(.*)\(([^()]*)\)\s*\Z")
    slip = (movies.frame["item_id"] == "267") & (title == "unknown")
    movies = movies.replaced(
        title=title.str.strip().mask(slip, "unkonwn"),
        year=year.mask(slip, "unkonwn"),
        genres=(np.compress(row, ML_100K_GENRES).tolist() for row in flags),
    )
    item = {"item_id:token": "item_id", "movie_title:token_seq": "title"}
    item |= {"release_year:token": "year", "class:token_seq": "genres"}
    inter, users = _rows(folder, "u.data", "\t", RATINGS), _rows(folder, "u.user", "|", PEOPLE)
    tables = {"inter": _typed(inter, EVENTS), "user": _typed(users, USERS)}
    return tables | {"item": _typed(movies, item)}


def ml_1m(folder: Traversable) -> Tables:
    """Convert ratings.dat, movies.dat and users.dat, whose fields are separated by ``::``."""
    users = _rows(folder, "users.dat", "::", ("user_id", "gender", "age", *PEOPLE[3:]))
    inter = _rows(folder, "ratings.dat", "::", RATINGS)
    movies = _rows(folder, "movies.dat", "::", ("item_id", "title", "genres"))
    tables = {"inter": _typed(inter, EVENTS), "user": _typed(users, USERS)}
    return tables | {"item": _movies(movies)}


def ml_latest_small(folder: Traversable) -> Tables:
    """Convert ratings.csv and movies.csv; users have no attributes."""
    ratings = _rows(folder, "ratings.csv").select("userId", "movieId", "rating", "timestamp")
    movies = _rows(folder, "movies.csv").select("movieId", "title", "genres")
    events = dict(zip(EVENTS, ratings.frame, strict=True))
    return {"inter": _typed(ratings, events), "item": _movies(movies)}


def _movies(movies: RawTable) -> RawTable:
    """Convert a table of id, title with year, and genres separated by bars."""
    ids, titles, genres = movies.frame
    names = movies.frame[genres].replace("(no genres listed)", "")
    good = (not SEPARATORS.search(text.replace("|", "")) for text in names)
    movies.check(genres, good, "names between '|'")
    title, year = _title_and_year(movies.frame[titles], r"(.*\S)\s*\((\d{4})\)\s*\Z")
    title = title.str.split().str.join(" ")
    movies = movies.replaced(title=title, year=year, genres=names.str.split("|"))
    item = {"item_id:token": ids, "movie_title:token_seq": "title"}
    return _typed(movies, item | {"release_year:token": "year", "genre:token_seq": "genres"})


def _title_and_year(titles: pd.Series, pattern: str) -> tuple[pd.Series, pd.Series]:
    parts = titles.str.extract(r"\A" + pattern)
    return parts[0].fillna(titles), parts[1].fillna("")


def _rows(
    folder: Traversable, filename: str, separator: str = "", columns: Sequence[str] = ()
) -> RawTable:
    """Read a file of rows, unquoted with ``columns``, else with a header; guess tab or comma."""
    path = find(folder, filename) or folder / filename
    text = decode(str(path), read_bytes(path), latin_1=True)
    if len(separator) > 1:  # csv allows only one character
        text, separator = text.replace(separator, "\t"), "\t"
    separator = separator or ("\t" if "\t" in text.partition("\n")[0] else ",")
    return split_rows(str(path), text, separator, columns, quoted=not columns)


def _typed(table: RawTable, columns: Mapping[str, str]) -> RawTable:
    """Select columns, rename them as in an atomic file, and check ids, titles and the like."""
    for header, column in columns.items():
        if header.endswith(":token") or "title" in header:
            table.check_text(column)
    frame = table.frame[list(columns.values())].set_axis(list(columns), axis=1)
    published = {name.partition(":")[0]: column for name, column in columns.items()}
    return replace(table, frame=frame, published=published)


# The files of each dataset, and the function that converts them.
FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Traversable], Tables]]] = {
    "ml-100k": (("u.data", "u.item", "u.user"), ml_100k),
    "ml-1m": (("ratings.dat", "movies.dat", "users.dat"), ml_1m),
    "ml-latest-small": (("ratings.csv", "movies.csv"), ml_latest_small),
}
FORMATS |= {name: FORMATS[of] for name, of in SAME_FILES.items()}
