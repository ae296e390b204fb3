"""Amazon reviews, ReChorus's csv files and MIND, turned into atomic files."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable

import pandas as pd

from paragon.data.form import INTER_HEADER, ITEM_HEADER, Converted, number, rendered_category
from paragon.data.movielens import Files, csv_rows
from paragon.data.places import Place
from paragon.data.raw import Source, check_number, json_lines, place_of, rows, text_of

REVIEWS = "reviews_Grocery_and_Gourmet_Food_5.json"
META = "meta_Grocery_and_Gourmet_Food.json"
_REVIEW = ("reviewerID", "asin", "overall", "unixReviewTime")
_UNRATED_HEADER = "user_id:token\titem_id:token\ttimestamp:float"
_ASIN = re.compile(r"""['"]asin['"]\s*:\s*['"]([^'"]*)['"]""")
_CLICK = re.compile(r"(.+)-([01])")


def _item(item_id: str, title: str, names: Iterable[str]) -> tuple[str, str, str]:
    words = dict.fromkeys(filter(None, map(rendered_category, names)))
    return item_id, " ".join(title.split()), " ".join(words)


def amazon(source: Source) -> Files:
    """The 5-core reviews, and from the meta file the reviewed items only.

    An item's categories are all names on all its category paths.  Items keep
    the meta file's order.
    """
    names = dict(zip(("user_id", "item_id", "rating", "timestamp"), _REVIEW, strict=True))
    where = place_of(source, REVIEWS)
    inter = Converted(INTER_HEADER, where.name, names)
    reviewed = set()
    for line, record in json_lines(source, REVIEWS):
        user, asin = (_string(record.get(name), where, line, name) for name in _REVIEW[:2])
        for name in _REVIEW[2:]:
            check_number(source, REVIEWS, line, name, record.get(name))
        reviewed.add(asin)
        inter.add((user, asin, *(number(float(record[name])) for name in _REVIEW[2:])), line)

    def wanted(text: str) -> object:
        # The meta file describes twenty times as many items as were reviewed
        # by the 5-core's users; parsing only those keeps this to seconds.
        found = _ASIN.findall(text)
        return {"asin": found[0]} if found and reviewed.isdisjoint(found) else literal(text)

    where = place_of(source, META)
    item = Converted(ITEM_HEADER, where.name, {"item_id": "asin"})
    for line, record in json_lines(source, META, wanted):
        asin = _string(record.get("asin"), where, line, "asin")
        if asin not in reviewed:
            continue
        title = record.get("title")
        title = "" if title is None else _string(title, where, line, "title")
        paths = record.get("categories", record.get("category"))
        found = [] if paths is None else _category_names(paths)
        if found is None:
            raise where.error(line, "categories", paths, "lists of strings", "correct the line")
        item.add(_item(asin, title, found), line)
    if not item.rows:
        raise where.whole(f"describes none of the {len(reviewed)} items in {inter.name}; get both")
    return {"inter": inter, "item": item}


def _string(value: object, where: Place, line: int, name: str) -> str:
    if not isinstance(value, str):
        raise where.error(line, name, value, "a string", "correct or remove the line")
    return value


def _category_names(paths: object) -> list[str] | None:
    """The names on all category paths, some of which may be single names; None if it is not so."""
    if not isinstance(paths, (list, tuple)):
        return None
    names: list[str] = []
    for path in paths:
        names += path if isinstance(path, (list, tuple)) else [path]
    return names if all(isinstance(name, str) for name in names) else None


def literal(text: str) -> object:
    """A JSON object, or a Python literal as in older Amazon files; never evaluated as code."""
    try:
        return json.loads(text)
    except ValueError:
        try:
            return ast.literal_eval(text.strip())
        except (SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError from None


def rechorus(source: Source) -> Files:
    """ReChorus's train, dev and test rows one after another, and its item categories.

    The files hold no ratings and no titles.  The category is the column
    ``i_category`` (or ``i_category_c``), a number; 0 or less means unknown.
    """
    parts = {name: source.label(name) for name in ("train.csv", "dev.csv", "test.csv")}
    inter = Converted(_UNRATED_HEADER, ", ".join(parts.values()), {"timestamp": "time"})
    for filename, label in parts.items():
        columns = ("user_id", "item_id", "time")
        for line, fields in csv_rows(source, filename, columns, delimiter="\t"):
            check_number(source, filename, line, "time", fields[2])
            inter.add(fields, line, label)
    header = text_of(source, "item_meta.csv").partition("\n")[0].split("\t")
    column = "i_category_c" if "i_category_c" in header else "i_category"
    item = Converted(ITEM_HEADER, source.label("item_meta.csv"), {"categories": column})
    for line, (item_id, category) in csv_rows(
        source, "item_meta.csv", ("item_id", column), delimiter="\t"
    ):
        item.add(_item(item_id, "", [] if _is_unknown(category) else [category]), line)
    return {"inter": inter, "item": item}


def _is_unknown(category: str) -> bool:
    """Whether the number of a category is none, nan included, as csv writers put it."""
    try:
        return not float(category or 0) > 0
    except ValueError:
        return False


def mind(source: Source) -> Files:
    """Clicks (the entries ``-1`` of an impression) at the impression's time, read as UTC.

    The column of earlier clicks is left out: nothing says when they happened.
    Categories are the category and the subcategory of the news.
    """
    columns = ("impression_id", "user_id", "time", "history", "impressions")
    where = place_of(source, "behaviors.tsv")
    behaviors = list(rows(source, "behaviors.tsv", "\t", columns))
    texts = pd.Series([fields[2] for _, fields in behaviors])
    times = pd.to_datetime(texts, format="%m/%d/%Y %I:%M:%S %p", errors="coerce")
    seconds = (times - pd.Timestamp(0)) // pd.Timedelta(seconds=1)
    names = {"item_id": "impressions", "timestamp": "time"}
    inter = Converted(_UNRATED_HEADER, where.name, names)
    for (line, fields), second in zip(behaviors, seconds, strict=True):
        if pd.isna(second):
            expected = "a time like '11/13/2019 8:36:57 AM'"
            raise where.error(line, "time", fields[2], expected, "correct the line")
        for news in fields[4].split():
            click = _CLICK.fullmatch(news)
            if not click:
                raise where.error(
                    line, "impressions", news, "a news id that ends in -0 or -1",
                    "a test set without labels cannot be used",
                )  # fmt: skip
            if click[2] == "1":
                inter.add((fields[1], click[1], str(second)), line)
    if not inter.rows:
        raise where.whole("no impression ends in -1, so nothing was clicked; use another part")
    columns = ("news_id", "category", "subcategory", "title", "abstract", "url", "t", "a")
    item = Converted(ITEM_HEADER, source.label("news.tsv"), {"item_id": "news_id"})
    for line, (news, category, subcategory, title, *_) in rows(source, "news.tsv", "\t", columns):
        item.add(_item(news, title, [category, subcategory]), line)
    return {"inter": inter, "item": item}
