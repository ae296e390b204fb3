"""Published layouts to atomic files."""

import gzip
import json

import pytest

from paragon.data.fetch import fetch, load_dataset
from paragon.errors import ParagonError
from tests.data.conftest import LAYOUTS, written

pytestmark = pytest.mark.usefixtures("small_copies")
RENAMED = "names of categories written with '_' for spaces and separators"
UNRATED = "interactions without a rating, set to 1"
TEA = [("Tea",)] * 20
# Per layout: timestamps, titles and categories in their order, groups, repairs.
EXPECTED = {
    "ml-100k": (
        [881250949, 9, 8],
        ["A Film, The (Un film)", "unkonwn", "Part III (1995)", "Brontë"],
        [("Action", "Comedy"), ("unknown",), ("Animation", "Children's"), ("Western",)],
        ["M", "F"],
        {},
    ),
    "ml-1m": (
        [978300760, 978300760, 99],
        ["Café (Le Bar)", "No Year"],
        [("Drama", "Sci-Fi"), ("Drama",)],
        ["F", "M"],
        {},
    ),
    "ml-latest-small": (
        [9, 8],
        ["Usual, The", "Odd"],
        [("Crime", "Drama"), ()],
        [],
        {"items without categories": 1},
    ),
    "amazon-grocery": (
        [100, 200, 50, *range(20)],
        ['A "fine" tea', *(f"C{n}" for n in range(20)), "B2"],
        [("Grocery_&_Gourmet_Food", "Tea", "Gifts"), *TEA, ()],
        [],
        {RENAMED: 1, "items missing from the catalogue added without categories": 1},
    ),
    "amazon-grocery of ReChorus": (
        [100, 50, 200, 300],
        ["1", "2", "3", "4", "5"],
        [("5",), (), ("7",), (), ()],
        [],
        {UNRATED: 4, "items without categories": 3},
    ),
    "mind": (
        [1573463158, 1573463158, 1573582290],
        ["A title", "B", "C"],
        [("sports", "golf"), ("news",), ("news", "us_west")],
        [],
        {RENAMED: 1, UNRATED: 3},
    ),
}


def converted(tmp_path, layout, changes=None, data="data"):
    """The dataset that is made of a layout, some of its files with another text."""
    given = written(tmp_path / "given", layout, changes)
    fetch(layout.split()[0], directory=given, data=tmp_path / data)
    return load_dataset(layout.split()[0], tmp_path / data)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout, packed):
    name, given = layout.split()[0], written(tmp_path / "given", layout)
    for path in list(given.iterdir()) if packed else []:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    fetch(name, directory=given, data=tmp_path / "data")
    dataset = load_dataset(name, tmp_path / "data")
    times, titles, categories, groups, repairs = EXPECTED[layout]
    assert dataset.interactions["timestamp"].tolist() == times
    assert dataset.items["title"].tolist() == titles
    assert dataset.items["categories"].tolist() == categories
    assert dataset.users["group"].tolist() == groups
    assert dataset.repairs == repairs and dataset.source.startswith("folder")


def test_ml_100k_has_the_bytes_that_recbole_distributes(tmp_path):
    flags = "|".join("01"[index == 1] for index in range(19))
    more = LAYOUTS["ml-100k"]["u.item"] + f"8|Alphaville||||{flags}\n9|unknown||||{flags}\n"
    converted(tmp_path, "ml-100k", {"u.item": more.encode("latin-1")})
    folder = tmp_path / "data" / "ml-100k"
    assert (folder / "ml-100k.item").read_text(encoding="utf-8") == (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tA Film, The (Un film)\t1995\tAction Comedy\n"
        "267\tunkonwn\tunkonwn\tunknown\n"
        "1412\tPart III (1995)\tV\tAnimation Children's\n"
        "7\tBrontë\t1996\tWestern\n"
        "8\tAlphaville\t\tAction\n"
        "9\tunknown\t\tAction\n"
    )
    assert (folder / "ml-100k.user").read_text().splitlines()[1] == "1\t24\tM\ttechnician\t85711"


def test_a_utf8_copy_of_a_latin1_file_reads_the_same(tmp_path):
    text = LAYOUTS["ml-1m"]["movies.dat"].encode("utf-8")
    one = converted(tmp_path, "ml-1m")
    assert one.fingerprint == converted(tmp_path, "ml-1m", {"movies.dat": text}).fingerprint


def test_amazon_never_evaluates_code(tmp_path):
    trap = tmp_path / "trap"
    code = f"{{'asin': 'B1', 'title': open({str(trap)!r}, 'w')}}"
    with pytest.raises(ParagonError, match="meta_.*line 1: found .*expected one JSON object"):
        converted(tmp_path, "amazon-grocery", {"meta_Grocery_and_Gourmet_Food.json": code})
    assert not trap.exists()


@pytest.mark.parametrize("known", [10, 19])
def test_amazon_items_that_the_meta_file_lacks_are_counted_as_anywhere(tmp_path, known):
    review = {"reviewerID": "A1", "overall": 5.0, "unixReviewTime": 100}
    reviews = "\n".join(json.dumps(review | {"asin": f"B{n}"}) for n in range(20))
    meta = "\n".join(json.dumps({"asin": f"B{n}", "categories": None}) for n in range(known))
    changes = {"reviews_Grocery_and_Gourmet_Food_5.json": reviews}
    changes |= {"meta_Grocery_and_Gourmet_Food.json": meta}
    if known == 10:
        with pytest.raises(ParagonError, match="10 of 20 items, the first of them 'B10', are"):
            converted(tmp_path, "amazon-grocery", changes)
    else:
        assert converted(tmp_path, "amazon-grocery", changes).repairs == {
            "items without categories": 19,
            "items missing from the catalogue added without categories": 1,
        }


def test_rechorus_with_commas_and_an_error_in_one_of_its_parts(tmp_path):
    layout = "amazon-grocery of ReChorus"
    expected = converted(tmp_path, layout)
    meta = LAYOUTS[layout]["item_meta.csv"].replace("[2]", '"[2, 3]"').replace("\t", ",")
    commas = {
        "test.csv": 'user_id,item_id,time,neg_items\n1,3,300,"[1, 2]"\n',
        "item_meta.csv": meta,
    }
    assert converted(tmp_path, layout, commas).fingerprint == expected.fingerprint
    wrong = {"dev.csv": "user_id\titem_id\ttime\n1\t2\t978300760000\n"}
    with pytest.raises(ParagonError, match=r"given/dev\.csv, line 2, column time: found '97830"):
        converted(tmp_path, layout, wrong)
