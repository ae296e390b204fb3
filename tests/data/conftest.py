"""Small hand-made data in the published layouts; nothing of a real dataset."""

import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from paragon.data.registry import REGISTRY

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ITEM = "item_id:token\ttitle:token_seq\tgenre:token_seq\n"
# A good dataset in atomic files, by suffix.
OWN = {
    "inter": INTER + "u1\ta\t4\t900000010\nu1\tb\t3.5\t900000020\nu2\ta\t1\t900000005\n",
    "item": ITEM + "a\tAlpha\tX Y\nb\tBéta\tY\n",
    "user": "user_id:token\tage:token\tgender:token\nu1\t20\tF\nu2\t30\t\nu\t40\tM\n",
}


def _flags(*on):
    return "|".join(str(int(index in on)) for index in range(19))


# A good small dataset in each published layout: files and their text; Latin-1 as GroupLens has it.
LAYOUTS = {
    "ml-100k": {
        "u.data": "1\t1\t3\t881250949\n2\t267\t4\t881250939\n1\t1412\t2\t881250938\n",
        "u.item": "1|A Film, The (Un film) (1995)|01-Jan-1995||http://x/?a%20(1995)|"
        f"{_flags(1, 5)}\n"
        f"267|unknown||||{_flags(0)}\n1412|Part III (1995) (V)|01-Jan-1995|||{_flags(3, 4)}\n"
        f"7|Brontë  (1996) |01-Jan-1996|||{_flags(18)}\n8|Alphaville||||{_flags(1)}\n",
        "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
    },
    "ml-1m": {
        "ratings.dat": "1::10::5::978300760\n1::20::3::978300760\n2::10::4::978300099\n",
        "movies.dat": "10::Café (Le Bar) (1995)::Drama|Sci-Fi\n20::No Year::Drama\n",
        "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
    },
    "ml-latest-small": {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.5,978300009\n1,2,0.5,978300008\n",
        "movies.csv": 'movieId,title,genres\n1,"Usual, The (1995)",Crime|Drama\n'
        "2,Odd,(no genres listed)\n",
    },
    # A tag of one user, a first tagging below a later one, a time of 1956, an unknown artist.
    "lastfm": {
        "user_taggedartists-timestamps.dat": "userID\tartistID\ttagID\ttimestamp\r\n"
        "2\t51\t13\t1304613254935\r\n2\t51\t14\t1238536800000\r\n2\t51\t15\t1238536800000\r\n"
        "2\t52\t13\t1238536800000\r\n2\t52\t14\t1238536800000\r\n3\t51\t13\t1235862000000\r\n"
        "3\t51\t15\t1235862000000\r\n3\t53\t14\t1235862000000\r\n4\t52\t14\t1264978800000\r\n"
        "4\t53\t14\t-428720400000\r\n4\t51\t15\t1264978800000\r\n",
        "tags.dat": "tagID\ttagValue\r\n13\trock fran\xe7ais\r\n14\t80s\r\n15\tpop\r\n",
        "artists.dat": "id\tname\turl\tpictureURL\n"
        '51\tThe "5" Band\thttp://x/5\thttp://x/5.jpg\n52\tDuo\thttp://x/Duo\t\n',
    },
    "amazon-food": {
        "reviews_Grocery_and_Gourmet_Food_5.json": '{"reviewerID": "A1", "asin": "B1", '
        '"reviewerName": "Ann \\"A\\"", "helpful": [0, 0], "reviewText": "{Good}", "overall": 4.0, '
        '"summary": "", "unixReviewTime": 1370044800, "reviewTime": "06 1, 2013"}\n'
        '{"reviewerID": "A2", "asin": "B2", "helpful": [1, 2], "overall": 1.0, '
        '"unixReviewTime": 1370044000, "reviewTime": "06 1, 2013"}\n',
        "meta_Grocery_and_Gourmet_Food.json": "{'asin': 'B1', 'description': \"Ann's 'asin'\", "
        "'title': 'Tea &amp; \\'Milk\\'\\n\\xe9', 'price': 3.5, "
        "'related': {'also_bought': ['B9']}, 'categories': "
        "[['Grocery & Gourmet Food', 'Beverages', 'Tea'], ['Gifts', 'Tea']]}\n"
        "{'asin': 'B9', 'title': 'Not reviewed', 'categories': [['Gifts']]}\n"
        "{'asin': 'B2', 'price': None, 'categories': [['Grocery & Gourmet Food']]}\n",
    },
}  # fmt: skip


def events(**changes):
    columns = {"user_id": [9223372036854775807, 1, 1], "item_id": ["a", "b", "a"]}
    columns |= {"rating": [5, 3, 4], "timestamp": [30, 20, 10], **changes}
    return pd.DataFrame({name: value for name, value in columns.items() if value is not None})


ITEMS = pd.DataFrame({"item_id": ["a", "b"], "title": ["A\tx", None], "categories": [["X"], []]})


def encoding_of(layout):
    return "latin-1" if layout in ("ml-100k", "ml-1m", "lastfm") else "utf-8"


def written(folder, layout, changes=None):
    """A folder with the files of a layout, some of them with other text (or bytes)."""
    folder.mkdir(parents=True, exist_ok=True)
    for filename, text in (LAYOUTS[layout] | (changes or {})).items():
        data = text if isinstance(text, bytes) else text.encode(encoding_of(layout))
        (folder / filename).write_bytes(data)
    return folder


@pytest.fixture
def small_copies(monkeypatch):
    """Copies of a few rows count as complete."""
    for name, entry in REGISTRY.items():
        monkeypatch.setitem(REGISTRY, name, replace(entry, size=None))


@pytest.fixture
def own(tmp_path):
    """A function that writes atomic files (any part replaced or left out) into `mine`."""

    def write(folder=tmp_path / "mine", name="mine", **changes):
        folder.mkdir(exist_ok=True)
        for suffix, text in (OWN | changes).items():
            if text is not None:
                data = text if isinstance(text, bytes) else text.encode()
                (folder / f"{name}.{suffix}").write_bytes(data)
        return folder

    return write


@pytest.fixture
def ml1m(tmp_path):
    """A folder in ML-1M's layout, Latin-1."""
    return written(tmp_path / "given", "ml-1m")


def zipped(folder: Path, target: Path, inside: str) -> Path:
    """Zip a folder's files below one path."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.writestr(f"{inside}/{path.name}", path.read_bytes())
    return target
