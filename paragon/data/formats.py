"""Convert the published forms of datasets to unchecked tables of text, as in atomic files."""

import html
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.resources.abc import Traversable

import numpy as np
import pandas as pd

from paragon.data.records import in_order, read_objects, read_parquet, read_rows, typed
from paragon.data.table import SEPARATORS, UNWRITABLE, RawTable, number_of

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
# Columns of Parquet files, and their types.
PURCHASES = {
    "household_id": "BIGINT",
    "product_id": "BIGINT",
    "transaction_timestamp": "TIMESTAMP",
}
PRODUCTS = {
    "product_id": "BIGINT",
    "product_type": "VARCHAR",
    "package_size": "VARCHAR",
    "product_category": "VARCHAR",
}
LASTFM_START = 1_009_843_200_000  # 2002 in milliseconds: Last.fm is as old as that
LASTFM_TAGS = 50  # that are categories
FOOD = "Grocery & Gourmet Food"  # the category of all products of this set


def ml_100k(ratings: Traversable, items: Traversable, people: Traversable) -> Tables:
    """Convert u.data, u.item and u.user.

    The bytes become exactly those that RecBole distributes.  This includes its spelling mistake
    "unkonwn" for the title and the year of item 267.
    """
    movies = read_rows(items, "|", ML_100K_MOVIES)
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
    item = typed(movies, [*MOVIES, "class:token_seq"], ["item_id", "title", "year", "genres"])
    inter = read_rows(ratings, "\t", RATINGS)
    user = read_rows(people, "|", PEOPLE)
    return {"inter": typed(inter, EVENTS), "user": typed(user, USERS), "item": item}


def ml_1m(ratings: Traversable, movies: Traversable, people: Traversable) -> Tables:
    """Convert ratings.dat, movies.dat and users.dat, whose fields are separated by ``::``."""
    user = read_rows(people, "::", ("user_id", "gender", "age", *PEOPLE[3:]))
    inter = read_rows(ratings, "::", RATINGS)
    item = read_rows(movies, "::", ("item_id", "title", "genres"))
    return {"inter": typed(inter, EVENTS), "user": typed(user, USERS), "item": _movies(item)}


def ml_latest_small(ratings: Traversable, movies: Traversable) -> Tables:
    """Convert ratings.csv and movies.csv; users have no attributes."""
    inter = read_rows(ratings).select("userId", "movieId", "rating", "timestamp")
    item = _movies(read_rows(movies).select("movieId", "title", "genres"))
    return {"inter": typed(inter, EVENTS, [*inter.frame]), "item": item}


def journey(purchases: Traversable, products: Traversable) -> Tables:
    """Convert transactions.parquet and products.parquet of The Complete Journey.

    An event is a row: a product in a basket, at the time of the basket in UTC.  Products bought
    again are further events.  The category is the product category.  Products without one, most
    of which have no name either, are left out with their purchases.
    """
    inter = read_parquet(purchases, PURCHASES)
    about = read_parquet(products, PRODUCTS)
    named = about.frame[about.frame["product_category"] != ""]
    known = inter.frame["product_id"].isin(named["product_id"])
    inter = _most(inter, "product_id", known, f"a product of {products} with a category")
    titles = named["product_type"].str.cat(named["package_size"], sep=", ").str.strip(", ")
    item = replace(about, frame=named.assign(title=titles.str.split().str.join(" ")))
    headers = ["item_id:token", "title:token_seq", "category:token"]
    return {
        "inter": in_order(inter, *PURCHASES),
        "item": typed(item, headers, ["product_id", "title", "product_category"]),
    }


def lastfm(taggings: Traversable, tags: Traversable, artists: Traversable) -> Tables:
    """Convert user_taggedartists-timestamps.dat, tags.dat and artists.dat of HetRec 2011.

    An event is the first time that a user tags an artist.  Taggings of before 2002 are mistakes and
    are left out.  For the categories see :func:`_shared_tags`.
    """
    given = read_rows(taggings, "\t").select("userID", "artistID", "tagID", "timestamp")
    tag_names = read_rows(tags, "\t").select("tagID", "tagValue").frame
    titles = read_rows(artists, "\t").select("id", "name").frame.drop_duplicates("id")
    times = np.array([number_of(text) for text in given.frame["timestamp"]])
    given.check("timestamp", np.isfinite(times), "milliseconds since 1970")
    known = given.frame["tagID"].isin(tag_names["tagID"])
    given.check("tagID", known, f"a tagID of {tags}")

    tag = given.frame["tagID"].map(dict(tag_names.to_numpy()))
    given = replace(given, frame=given.frame.assign(tag=tag, time=times))
    given = _most(given, "timestamp", times >= LASTFM_START, "milliseconds since 1970, after 2001")
    by_time = given.frame.sort_values("time", kind="stable")
    first = replace(given, frame=by_time.drop_duplicates(["userID", "artistID"]))
    ids = sorted(set(given.frame["artistID"]))
    item = pd.DataFrame({"artistID": ids}, index=ids, dtype=object)
    item["name"] = item["artistID"].map(titles.set_index("id")["name"]).fillna("")
    item["tags"] = item["artistID"].map(_shared_tags(given.frame)).fillna("[]")
    headers = ["item_id:token", "title:token_seq", "categories:token_seq"]
    return {
        "inter": in_order(first, "userID", "artistID", "timestamp"),
        "item": typed(RawTable(f"{tags}", item, unit="artist"), headers, [*item]),
    }


def _shared_tags(taggings: pd.DataFrame) -> pd.Series:
    """Return the categories of each artist as a JSON list: tags of at least two users.

    A tag of one user alone would say that this user tagged the artist, which is the event itself.
    Of the tags that artists have by this rule, those of the most artists are kept.
    """
    users = taggings.groupby(["artistID", "tag"])["userID"].nunique()
    shared = users[users >= 2].reset_index()
    artists = shared["tag"].value_counts().sort_index()  # by name, for tags of equally many
    common = artists.sort_values(ascending=False, kind="stable").index[:LASTFM_TAGS]
    return shared[shared["tag"].isin(common)].groupby("artistID")["tag"].agg(_json)


def amazon_food(reviews: Traversable, metadata: Traversable) -> Tables:
    """Convert the 5-core reviews of 2014 and the metadata of the products that were reviewed.

    The categories of a product are all names on its category paths, but that of the whole set.
    """
    rated = read_objects(reviews, ("reviewerID", "asin", "overall", "unixReviewTime"))
    inter = in_order(rated, "reviewerID", "asin", "unixReviewTime", "overall")
    reviewed = set(inter.frame["item_id:token"])

    def is_reviewed(text: str) -> bool:
        """Return whether a line is about a product that was reviewed: one in twenty is."""
        ids = re.findall(r"""['"]asin['"]\s*:\s*['"]([^'"]*)['"]""", text)
        return not ids or not reviewed.isdisjoint(ids)

    about = read_objects(metadata, ("asin", "title", "categories"), is_reviewed)
    titles, paths = about.frame["title"], about.frame["categories"]
    about.check("title", (title is None or isinstance(title, str) for title in titles), "text")
    about.check("categories", map(_are_paths, paths), "a list of lists of names")
    names = ([_plain(name) for path in of_item or () for name in path] for of_item in paths)
    item = about.replaced(
        title=(_plain(title or "") for title in titles),
        categories=(_json(name for name in of_item if name != FOOD) for of_item in names),
    )
    item = typed(item, ["item_id:token", "title:token_seq", "categories:token_seq"], [*item.frame])
    return {"inter": inter, "item": item}


def _most(table: RawTable, column: str, good: np.ndarray | pd.Series, expected: str) -> RawTable:
    """Return the rows that are ``good [rows]``.

    Raises ``ParagonError`` for the first other one if they are more than a tenth: such a file is
    not the published one.
    """
    table.check(column, good | (good.sum() >= 0.9 * len(good)), expected)
    return replace(table, frame=table.frame[good])


def _are_paths(value: object) -> bool:
    """Return whether a value is None, or a list of lists of text."""
    if value is None:
        return True
    if not isinstance(value, list) or not all(isinstance(path, list) for path in value):
        return False
    return all(isinstance(name, str) for path in value for name in path)


def _plain(text: str) -> str:
    """Return text of a web page on one line, without its codes such as ``&amp;``."""
    return " ".join(UNWRITABLE.sub(" ", html.unescape(text)).split())


def _json(names: Iterable[str]) -> str:
    """Write names as a JSON list."""
    return json.dumps(list(names), ensure_ascii=False)


def _movies(movies: RawTable) -> RawTable:
    """Convert a table with the columns id, title with year, and genres separated by bars."""
    ids, titles, genres = movies.frame
    names = movies.frame[genres].replace("(no genres listed)", "")
    good = (not SEPARATORS.search(text.replace("|", "")) for text in names)
    movies.check(genres, good, "names between '|'")
    title, year = _title_and_year(movies.frame[titles], r"(.*\S)\s*\((\d{4})\)\s*\Z")
    title = title.str.split().str.join(" ")
    movies = movies.replaced(title=title, year=year, genres=names.str.replace("|", " "))
    return typed(movies, [*MOVIES, "genre:token_seq"], [ids, "title", "year", "genres"])


def _title_and_year(titles: pd.Series, pattern: str) -> tuple[pd.Series, pd.Series]:
    """Split titles into title and year; the year is "" if the ``pattern`` does not match.

    The pattern has two groups: the title and the year.
    """
    groups = titles.str.extract(r"\A" + pattern)
    return groups[0].fillna(titles), groups[1].fillna("")


# The files of each dataset, and the function that converts them.
FORMATS: dict[str, tuple[tuple[str, ...], Callable[..., Tables]]] = {
    "ml-100k": (("u.data", "u.item", "u.user"), ml_100k),
    "ml-1m": (("ratings.dat", "movies.dat", "users.dat"), ml_1m),
    "ml-latest-small": (("ratings.csv", "movies.csv"), ml_latest_small),
    "journey": (("transactions.parquet", "products.parquet"), journey),
    "lastfm": (("user_taggedartists-timestamps.dat", "tags.dat", "artists.dat"), lastfm),
    "amazon-food": (
        ("reviews_Grocery_and_Gourmet_Food_5.json", "meta_Grocery_and_Gourmet_Food.json"),
        amazon_food,
    ),
}
