"""MovieLens as GroupLens publishes it, turned into atomic files."""

from __future__ import annotations

import csv
import io
import re

from paragon.datasets.form import INTER_HEADER, lines, rendered_category
from paragon.datasets.raw import Source, check_number, rows, text_of
from paragon.errors import ParagonError

RATINGS = ("user_id", "item_id", "rating", "timestamp")
_USER_HEADER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"
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


def ml_100k(source: Source) -> dict[str, bytes]:
    """u.data, u.item and u.user as the very bytes that RecBole distributes.

    Three rules give them: the year is whatever stands in the last brackets of
    the title (so item 1412, "... (1995) (V)", has the year "V"), what is left
    of it is stripped (three titles end in a space), and the one title without
    brackets, item 267 "unknown", becomes "unkonwn" in both fields, a slip of
    the distributed file that is kept for the sake of identical bytes.
    """
    inter = [INTER_HEADER]
    inter += map("\t".join, rows(source, "u.data", "\t", RATINGS, ("rating", "timestamp")))
    item = [_ITEM_HEADER.format("class")]
    for fields in rows(source, "u.item", "|", _ML_100K_ITEM):
        split = _LAST_BRACKETS.fullmatch(fields[1])
        title, year = split.groups() if split else ("unkonwn", "unkonwn")
        genres = [
            name for name, flag in zip(ML_100K_GENRES, fields[5:], strict=True) if flag == "1"
        ]
        item.append(f"{fields[0]}\t{title.strip()}\t{year}\t{' '.join(genres)}")
    columns = ("user_id", "age", "gender", "occupation", "zip_code")
    user = [_USER_HEADER, *map("\t".join, rows(source, "u.user", "|", columns))]
    return {"inter": lines(inter), "item": lines(item), "user": lines(user)}


def ml_1m(source: Source) -> dict[str, bytes]:
    """ratings.dat, movies.dat and users.dat, their fields separated by ``::``."""
    inter = [INTER_HEADER]
    inter += map("\t".join, rows(source, "ratings.dat", "::", RATINGS, ("rating", "timestamp")))
    item = [_ITEM_HEADER.format("genre")]
    for item_id, title, genres in rows(source, "movies.dat", "::", ("item_id", "title", "genres")):
        item.append(_movie(item_id, title, genres))
    user = [_USER_HEADER]
    columns = ("user_id", "gender", "age", "occupation", "zip_code")
    for user_id, gender, *others in rows(source, "users.dat", "::", columns):
        user.append("\t".join((user_id, others[0], gender, *others[1:])))
    return {"inter": lines(inter), "item": lines(item), "user": lines(user)}


def ml_latest_small(source: Source) -> dict[str, bytes]:
    """ratings.csv and movies.csv; nothing is known of the users."""
    inter = [INTER_HEADER]
    columns = ("userId", "movieId", "rating", "timestamp")
    for number, fields in csv_rows(source, "ratings.csv", columns):
        for index in (2, 3):
            check_number(source, "ratings.csv", number, columns[index], fields[index])
        inter.append("\t".join(fields))
    item = [_ITEM_HEADER.format("genre")]
    for _, fields in csv_rows(source, "movies.csv", ("movieId", "title", "genres")):
        item.append(_movie(*fields))
    return {"inter": lines(inter), "item": lines(item)}


def _movie(item_id: str, title: str, genres: str) -> str:
    split = _YEAR.fullmatch(title)
    title, year = split.groups() if split else (title, "")
    names = [] if genres == "(no genres listed)" else genres.split("|")
    title = " ".join(title.split())
    return f"{item_id}\t{title}\t{year}\t{' '.join(map(rendered_category, names))}"


def csv_rows(
    source: Source, filename: str, columns: tuple[str, ...], delimiter: str = ","
) -> list[tuple[int, list[str]]]:
    """Line number and the fields of ``columns`` for each row of a csv file with a header."""
    reader = csv.reader(io.StringIO(text_of(source, filename)), delimiter=delimiter, strict=True)
    label = source.label(filename)
    found = []
    try:
        header = next(reader)
        missing = [name for name in columns if name not in header]
        if missing:
            raise ParagonError(
                f"{label}, line 1: no column {missing[0]} among {', '.join(header)}, separated by "
                f"{delimiter!r}; correct the header"
            )
        places = [header.index(name) for name in columns]
        for fields in reader:
            if len(fields) != len(header):
                raise ParagonError(
                    f"{label}, line {reader.line_num}: found {len(fields)} fields, expected "
                    f"{len(header)} separated by {delimiter!r}"
                )
            found.append((reader.line_num, [fields[place] for place in places]))
    except csv.Error as error:
        raise ParagonError(f"{label}, line {reader.line_num}: {error}") from None
    return found
