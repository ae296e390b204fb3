"""MovieLens as GroupLens publishes it, turned into atomic files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from paragon.data.form import INTER_HEADER, SEPARATORS, Converted
from paragon.data.places import Place, shown
from paragon.data.raw import Row, Source, check_number, place_of, rows, text_of
from paragon.errors import ParagonError

Files = dict[str, Converted]
RATINGS = ("user_id", "item_id", "rating", "timestamp")
_USER = ("user_id", "age", "gender", "occupation", "zip_code")
_USER_HEADER = "\t".join(f"{name}:token" for name in _USER)
_ITEM_HEADER = "item_id:token\tmovie_title:token_seq\trelease_year:token\t{}:token_seq"

# The 19 flags at the end of each line of u.item, in their order.
ML_100K_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
    "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance",
    "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_ML_100K_ITEM = ("item_id", "title", "released", "video_released", "url", *ML_100K_GENRES)

_LAST_BRACKETS = re.compile(r"(.*)\(([^()]*)\)\s*")
_YEAR = re.compile(r"(.*\S)\s*\((\d{4})\)\s*")


def ml_100k(source: Source) -> Files:
    """u.data, u.item and u.user as the very bytes that RecBole distributes.

    Three rules give them: the year is whatever stands in the last brackets of
    the title (so item 1412, "... (1995) (V)", has the year "V"), what is left
    of it is stripped (three titles end in a space), and the title and year of
    item 267, "unknown", become "unkonwn", a slip of the distributed file that
    is kept for the sake of identical bytes.
    """
    where = place_of(source, "u.item")
    item = Converted(_ITEM_HEADER.format("class"), where.name, {"movie_title": "title"})
    for line, fields in rows(source, "u.item", "|", _ML_100K_ITEM):
        split = _LAST_BRACKETS.fullmatch(fields[1])
        title, year = split.groups() if split else (fields[1], "")
        if fields[:2] == ["267", "unknown"]:
            title = year = "unkonwn"
        flags = dict(zip(ML_100K_GENRES, fields[5:], strict=True))
        for genre, flag in flags.items():
            if flag not in ("0", "1"):
                raise where.error(line, genre, flag, "0 or 1", "correct the line")
        genres = " ".join(genre for genre, flag in flags.items() if flag == "1")
        item.add((fields[0], title.strip(), year, genres), line)
    user = Converted(_USER_HEADER, source.label("u.user"))
    for line, fields in rows(source, "u.user", "|", _USER):
        user.add(fields, line)
    return {"inter": _ratings(source, "u.data", "\t"), "item": item, "user": user}


def ml_1m(source: Source) -> Files:
    """ratings.dat, movies.dat and users.dat, their fields separated by ``::``."""
    columns = ("item_id", "title", "genres")
    movies = rows(source, "movies.dat", "::", columns)
    item = _movies(movies, place_of(source, "movies.dat"), columns)
    user = Converted(_USER_HEADER, source.label("users.dat"))
    columns = ("user_id", "gender", "age", "occupation", "zip_code")
    for line, (user_id, gender, age, *others) in rows(source, "users.dat", "::", columns):
        user.add((user_id, age, gender, *others), line)
    return {"inter": _ratings(source, "ratings.dat", "::"), "item": item, "user": user}


def ml_latest_small(source: Source) -> Files:
    """ratings.csv and movies.csv; nothing is known of the users."""
    columns = ("userId", "movieId", "rating", "timestamp")
    names = dict(zip(RATINGS, columns, strict=True))
    inter = Converted(INTER_HEADER, source.label("ratings.csv"), names)
    for line, fields in csv_rows(source, "ratings.csv", columns):
        for index in (2, 3):
            check_number(source, "ratings.csv", line, columns[index], fields[index])
        inter.add(fields, line)
    columns = ("movieId", "title", "genres")
    movies = csv_rows(source, "movies.csv", columns)
    item = _movies(movies, place_of(source, "movies.csv"), columns)
    return {"inter": inter, "item": item}


def _ratings(source: Source, filename: str, separator: str) -> Converted:
    inter = Converted(INTER_HEADER, source.label(filename))
    for line, fields in rows(source, filename, separator, RATINGS, ("rating", "timestamp")):
        inter.add(fields, line)
    return inter


def _movies(movies: Iterable[Row], where: Place, columns: tuple[str, ...]) -> Converted:
    names = dict(zip(("item_id", "movie_title", "genre"), columns, strict=True))
    item = Converted(_ITEM_HEADER.format("genre"), where.name, names)
    for line, (item_id, title, genres) in movies:
        split = _YEAR.fullmatch(title)
        title, year = split.groups() if split else (title, "")
        words = [] if genres == "(no genres listed)" else genres.split("|")
        if any(map(SEPARATORS.search, words)):
            expected = "genres of one word each, separated by '|'"
            raise where.error(line, columns[2], genres, expected, "correct the line")
        item.add((item_id, " ".join(title.split()), year, " ".join(words)), line)
    return item


def csv_rows(
    source: Source, filename: str, columns: tuple[str, ...], delimiter: str = ","
) -> list[Row]:
    """Line number and the fields of ``columns`` for each row of a csv file with a header."""
    reader = csv.reader(io.StringIO(text_of(source, filename)), delimiter=delimiter, strict=True)
    label = source.label(filename)
    found, line = [], 1
    try:
        header = next(reader)
        for name in columns:
            if (times := header.count(name)) != 1:
                raise ParagonError(
                    f"{label}, line 1: {times or 'no'} column{'s' * (times > 1)} {name} among "
                    f"{', '.join(map(shown, header))}, separated by {delimiter!r}; correct the "
                    "header"
                )
        places = [header.index(name) for name in columns]
        line = reader.line_num + 1  # the first of the next row, which may have several
        for fields in reader:
            if len(fields) != len(header):
                raise ParagonError(
                    f"{label}, line {line}: found {len(fields)} fields, expected "
                    f"{len(header)} separated by {delimiter!r}"
                )
            found.append((line, [fields[place] for place in places]))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ParagonError(f"{label}, line {line}: {error}") from None
    return found
