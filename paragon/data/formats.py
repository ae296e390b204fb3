"""Convert the published forms of datasets to unchecked tables of text, as in atomic files."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources.abc import Traversable

import numpy as np
import pandas as pd

from paragon.data.atomic import decode, read_bytes, split_rows
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
EVENTS = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
PEOPLE = ("user_id", "age", "gender", "occupation", "zip_code")
USERS = [f"{name}:token" for name in PEOPLE]
MOVIES = ("item_id:token", "movie_title:token_seq", "release_year:token")


def ml_100k(ratings: Traversable, items: Traversable, people: Traversable) -> Tables:
    """Convert u.data, u.item and u.user.

    The bytes become exactly those that RecBole distributes.  This includes its spelling mistake
    "unkonwn" for the title and the year of item 267.
    """
    movies = _rows(items, "|", ML_100K_MOVIES)
    for genre in ML_100K_GENRES:
        movies.check(genre, movies.frame[genre].isin(["0", "1"]), "0 or 1")
    flags = movies.frame[[*ML_100K_GENRES]].to_numpy() == "1"  # [items, 19]
    title, year = _title_and_year(movies.frame["title"], r"(.*)\(([^()]*)\)\s*\Z")
    misspelt = (movies.frame["item_id"] == "267") & (title == "unknown")
    movies = movies.replaced(
        title=title.str.strip().mask(misspelt, "unkonwn"),
        year=year.mask(misspelt, "unkonwn"),
        genres=(" ".join(np.compress(row, ML_100K_GENRES)) for row in flags),
    )
    item = _typed(movies, [*MOVIES, "class:token_seq"], ["item_id", "title", "year", "genres"])
    inter = _rows(ratings, "\t", RATINGS)
    user = _rows(people, "|", PEOPLE)
    return {"inter": _typed(inter, EVENTS), "user": _typed(user, USERS), "item": item}


def ml_1m(ratings: Traversable, movies: Traversable, people: Traversable) -> Tables:
    """Convert ratings.dat, movies.dat and users.dat, whose fields are separated by ``::``."""
    user = _rows(people, "::", ("user_id", "gender", "age", *PEOPLE[3:]))
    inter = _rows(ratings, "::", RATINGS)
    item = _rows(movies, "::", ("item_id", "title", "genres"))
    return {"inter": _typed(inter, EVENTS), "user": _typed(user, USERS), "item": _movies(item)}


def ml_latest_small(ratings: Traversable, movies: Traversable) -> Tables:
    """Convert ratings.csv and movies.csv; users have no attributes."""
    inter = _rows(ratings).select("userId", "movieId", "rating", "timestamp")
    item = _movies(_rows(movies).select("movieId", "title", "genres"))
    return {"inter": _typed(inter, EVENTS, [*inter.frame]), "item": item}


def _movies(movies: RawTable) -> RawTable:
    """Convert a table with the columns id, title with year, and genres separated by bars."""
    ids, titles, genres = movies.frame
    names = movies.frame[genres].replace("(no genres listed)", "")
    good = (not SEPARATORS.search(text.replace("|", "")) for text in names)
    movies.check(genres, good, "names between '|'")
    title, year = _title_and_year(movies.frame[titles], r"(.*\S)\s*\((\d{4})\)\s*\Z")
    title = title.str.split().str.join(" ")
    movies = movies.replaced(title=title, year=year, genres=names.str.replace("|", " "))
    return _typed(movies, [*MOVIES, "genre:token_seq"], [ids, "title", "year", "genres"])


def _title_and_year(titles: pd.Series, pattern: str) -> tuple[pd.Series, pd.Series]:
    """Split titles into title and year; the year is "" if the ``pattern`` does not match.

    The pattern has two groups: the title and the year.
    """
    groups = titles.str.extract(r"\A" + pattern)
    return groups[0].fillna(titles), groups[1].fillna("")


def _rows(path: Traversable, separator: str = ",", columns: Sequence[str] = ()) -> RawTable:
    """Read a file of rows.

    Without ``columns``, the first row is a header, and fields may be in quotes.
    """
    text = decode(str(path), read_bytes(path), latin_1=True)
    return split_rows(str(path), text, separator, columns, quoted=not columns)


def _typed(table: RawTable, headers: Sequence[str], columns: Sequence[str] = ()) -> RawTable:
    """Select ``columns`` and rename them to ``headers``, which are ``name:type``.

    Without ``columns``, they have the names of the headers already.  Raises ``ParagonError`` if an
    id, a title or another ``token`` is not text that a file can hold.
    """
    names = [header.partition(":")[0] for header in headers]
    published = dict(zip(names, columns or names, strict=True))
    for header, column in zip(headers, published.values(), strict=True):
        if header.endswith(":token") or "title" in header:
            table.check_text(column)
    frame = table.frame[[*published.values()]].set_axis([*headers], axis=1)
    return replace(table, frame=frame, published=published)


# The files of each dataset, and the function that converts them.
FORMATS: dict[str, tuple[tuple[str, ...], Callable[..., Tables]]] = {
    "ml-100k": (("u.data", "u.item", "u.user"), ml_100k),
    "ml-1m": (("ratings.dat", "movies.dat", "users.dat"), ml_1m),
    "ml-latest-small": (("ratings.csv", "movies.csv"), ml_latest_small),
}
