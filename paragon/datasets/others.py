"""Amazon reviews, ReChorus's csv files and MIND, turned into atomic files."""

from __future__ import annotations

import ast
import json
import re

import numpy as np
import pandas as pd

from paragon.datasets.form import (
    INTER_HEADER,
    ITEM_HEADER,
    lines,
    number,
    rendered_category,
)
from paragon.datasets.movielens import csv_rows
from paragon.datasets.places import shown
from paragon.datasets.raw import Source, check_number, json_lines, rows, text_of
from paragon.errors import ParagonError

REVIEWS = "reviews_Grocery_and_Gourmet_Food_5.json"
META = "meta_Grocery_and_Gourmet_Food.json"
_UNRATED_HEADER = "user_id:token\titem_id:token\ttimestamp:float"
_ASIN = re.compile(r"""['"]asin['"]\s*:\s*['"]([^'"]*)['"]""")
_CLICK = re.compile(r"(.+)-([01])")


def _item_line(item_id: str, title: str, names: list[str]) -> str:
    words = dict.fromkeys(rendered_category(name) for name in names if name.strip())
    return f"{item_id}\t{' '.join(title.split())}\t{' '.join(words)}"


def amazon(source: Source) -> dict[str, bytes]:
    """The 5-core reviews, and from the meta file the reviewed items only.

    An item's categories are all names on all its category paths.  Items keep
    the meta file's order; reviewed items that it lacks follow, with neither
    title nor categories.
    """
    inter = [INTER_HEADER]
    reviewed: dict[str, None] = {}
    for line, record in json_lines(source, REVIEWS):
        fields = []
        for name in ("reviewerID", "asin", "overall", "unixReviewTime"):
            if name not in record:
                raise ParagonError(
                    f"{source.label(REVIEWS)}, line {line}: no field {name} in the review"
                )
            fields.append(record[name])
        for name, value in zip(("overall", "unixReviewTime"), fields[2:], strict=True):
            check_number(source, REVIEWS, line, name, value)
        user, item, rating, time = fields
        reviewed[str(item)] = None
        inter.append(f"{user}\t{item}\t{number(float(rating))}\t{number(float(time))}")

    described: dict[str, str] = {}

    def wanted(text: str) -> dict:
        # The meta file describes twenty times as many items as were reviewed
        # by the 5-core's users; parsing only those keeps this to seconds.
        found = _ASIN.search(text)
        return literal(text) if not found or found[1] in reviewed else {}

    for line, record in json_lines(source, META, wanted):
        item = record.get("asin")
        if item not in reviewed or item in described:
            continue
        paths = record.get("categories", record.get("category", []))
        names = [name for path in paths for name in ([path] if isinstance(path, str) else path)]
        if not all(isinstance(name, str) for name in names):
            raise ParagonError(
                f"{source.label(META)}, line {line}, field categories: found {shown(paths)}, "
                "expected lists of strings"
            )
        described[item] = _item_line(item, str(record.get("title") or ""), names)
    rest = [_item_line(item, "", []) for item in reviewed if item not in described]
    return {"inter": lines(inter), "item": lines([ITEM_HEADER, *described.values(), *rest])}


def literal(text: str) -> object:
    """A JSON object, or a Python literal as in older Amazon files; never evaluated as code."""
    try:
        return json.loads(text)
    except ValueError:
        try:
            return ast.literal_eval(text.strip())
        except (SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError from None


def rechorus(source: Source) -> dict[str, bytes]:
    """ReChorus's train, dev and test rows one after another, and its item categories.

    The files hold no ratings and no titles.  The category is the column
    ``i_category`` (or ``i_category_c``), a number, of which 0 means unknown.
    """
    inter = [_UNRATED_HEADER]
    for filename in ("train.csv", "dev.csv", "test.csv"):
        columns = ("user_id", "item_id", "time")
        for line, fields in csv_rows(source, filename, columns, delimiter="\t"):
            check_number(source, filename, line, "time", fields[2])
            inter.append("\t".join(fields))
    header = text_of(source, "item_meta.csv").partition("\n")[0].split("\t")
    column = "i_category_c" if "i_category_c" in header else "i_category"
    item = [ITEM_HEADER]
    for _, (item_id, category) in csv_rows(source, "item_meta.csv", ("item_id", column), "\t"):
        item.append(_item_line(item_id, "", [] if category in ("0", "") else [category]))
    return {"inter": lines(inter), "item": lines(item)}


def mind(source: Source) -> dict[str, bytes]:
    """Clicks (the entries ``-1`` of an impression) at the impression's time, read as UTC.

    The column of earlier clicks is left out: nothing says when they happened.
    Categories are the category and the subcategory of the news.
    """
    columns = ("impression_id", "user_id", "time", "history", "impressions")
    behaviors = list(rows(source, "behaviors.tsv", "\t", columns))
    texts = [fields[2] for fields in behaviors]
    times = pd.to_datetime(pd.Series(texts), format="%m/%d/%Y %I:%M:%S %p", errors="coerce")
    bad = np.flatnonzero(times.isna())
    if len(bad):
        raise ParagonError(
            f"{source.label('behaviors.tsv')}, line {bad[0] + 1}, column time: found "
            f"{shown(texts[bad[0]])}, expected a time like '11/13/2019 8:36:57 AM'"
        )
    seconds = (times - pd.Timestamp(0)) // pd.Timedelta(seconds=1)
    inter = [_UNRATED_HEADER]
    for line, (fields, second) in enumerate(zip(behaviors, seconds, strict=True), start=1):
        for news in fields[4].split():
            click = _CLICK.fullmatch(news)
            if not click:
                raise ParagonError(
                    f"{source.label('behaviors.tsv')}, line {line}, column impressions: found "
                    f"{shown(news)}, expected a news id that ends in -0 or -1 (a test set "
                    "without labels cannot be used)"
                )
            if click[2] == "1":
                inter.append(f"{fields[1]}\t{click[1]}\t{second}")
    columns = ("news_id", "category", "subcategory", "title", "abstract", "url", "t", "a")
    item = [ITEM_HEADER]
    for news, category, subcategory, title, *_ in rows(source, "news.tsv", "\t", columns):
        item.append(_item_line(news, title, [category, subcategory]))
    return {"inter": lines(inter), "item": lines(item)}
