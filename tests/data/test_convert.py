"""Published layouts to atomic files."""

import gzip
import json

import pytest

from paragon.data.fetch import fetch, load_dataset
from paragon.errors import ParagonError
from tests.data.conftest import written

pytestmark = pytest.mark.usefixtures("small_copies")


@pytest.fixture
def ml100k(tmp_path):
    return written(tmp_path / "given" / "ml-100k", "ml-100k").parent


def test_ml_100k(ml100k, tmp_path):
    folder = fetch("ml-100k", directory=ml100k, data=tmp_path / "data")
    assert (folder / "ml-100k.item").read_text(encoding="utf-8") == (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tA Film, The (Un film)\t1995\tAction Comedy\n"
        "267\tunkonwn\tunkonwn\tunknown\n"
        "1412\tPart III (1995)\tV\tAnimation Children's\n"
        "7\tBrontë\t1996\tWestern\n"
    )
    assert (folder / "ml-100k.user").read_text().splitlines()[1] == "1\t24\tM\ttechnician\t85711"
    dataset = load_dataset("ml-100k", tmp_path / "data")
    assert dataset.source == "folder (not the official file)"
    assert dataset.users["group"].tolist() == ["M", "F"]


def test_ml_100k_titles_without_a_year_stay(ml100k, tmp_path):
    with open(ml100k / "ml-100k" / "u.item", "a") as file:
        flags = "|".join("01"[index == 1] for index in range(19))
        file.write(f"8|Alphaville||||{flags}\n9|unknown||||{flags}\n")
    folder = fetch("ml-100k", directory=ml100k, data=tmp_path / "data")
    lines = (folder / "ml-100k.item").read_text(encoding="utf-8").splitlines()
    assert lines[-2:] == ["8\tAlphaville\t\tAction", "9\tunknown\t\tAction"]


def test_ml_1m(ml1m, tmp_path):
    (ml1m / "ratings.dat.gz").write_bytes(gzip.compress((ml1m / "ratings.dat").read_bytes()))
    (ml1m / "ratings.dat").unlink()
    fetch("ml-1m", directory=ml1m, data=tmp_path / "data")
    dataset = load_dataset("ml-1m", tmp_path / "data")
    assert dataset.interactions["timestamp"].tolist() == [978300760, 978300760, 99]
    assert dataset.items["title"].tolist() == ["Café (Le Bar)", "No Year"]
    assert dataset.items["categories"].tolist() == [("Drama", "Sci-Fi"), ("Drama",)]
    assert dataset.users["group"].tolist() == ["F", "M"]


def test_a_utf8_copy_of_a_latin1_file_reads_the_same(ml1m, tmp_path):
    one = fetch("ml-1m", directory=ml1m, data=tmp_path / "one") / "ml-1m.item"
    text = (ml1m / "movies.dat").read_bytes().decode("latin-1")
    (ml1m / "movies.dat").write_text(text, encoding="utf-8")
    two = fetch("ml-1m", directory=ml1m, data=tmp_path / "two") / "ml-1m.item"
    assert one.read_bytes() == two.read_bytes()


def test_ml_latest_small(tmp_path):
    given = written(tmp_path / "given", "ml-latest-small")
    folder = fetch("ml-latest-small", directory=given, data=tmp_path / "data")
    dataset = load_dataset("ml-latest-small", tmp_path / "data")
    assert dataset.items["title"].tolist() == ["Usual, The", "Odd"]
    assert dataset.items["categories"].tolist() == [("Crime", "Drama"), ()]
    assert dataset.interactions["rating"].tolist() == [4.5, 0.5]
    assert not (folder / "ml-latest-small.user").exists()


@pytest.fixture
def amazon(tmp_path):
    def write(**changes):
        given = written(tmp_path / "given", "amazon-grocery")
        for path in sorted(given.glob("*.json")):
            text = changes.get(path.name.partition("_")[0], path.read_text())
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(text.encode()))
            path.unlink()
        return given

    return write


def test_amazon(amazon, tmp_path):
    fetch("amazon-grocery", directory=amazon(), data=tmp_path / "data")
    dataset = load_dataset("amazon-grocery", tmp_path / "data")
    assert dataset.source == "folder, unverified (no checksum is published)"
    assert dataset.items["item_id"].tolist() == ["B1", *(f"C{n}" for n in range(20)), "B2"]
    assert dataset.items["categories"][0] == ("Grocery_&_Gourmet_Food", "Tea", "Gifts")
    assert dataset.items["title"][0] == 'A "fine" tea'
    assert dataset.repairs == {
        "names of categories written with '_' for spaces and separators": 1,
        "items missing from the catalogue added without categories": 1,
    }
    assert dataset.interactions.iloc[0].tolist() == ["A1", "B1", 5.0, 100]


def test_amazon_never_evaluates_code(amazon, tmp_path):
    trap = tmp_path / "trap"
    code = f"{{'asin': 'B1', 'title': open({str(trap)!r}, 'w')}}"
    with pytest.raises(ParagonError, match="meta_.*line 1: found .*expected one JSON object"):
        fetch("amazon-grocery", directory=amazon(meta=code), data=tmp_path / "data")
    assert not trap.exists()


def test_amazon_bad_reviews(amazon, tmp_path):
    for text, expected in (
        (
            '{"reviewerID": "A1", "asin": "B1", "overall": 5.0}',
            "line 1, column unixReviewTime: found None",
        ),
        ('{"reviewerID": "A1", "asin"', "line 1: found"),
        (
            '{"reviewerID": "A", "asin": "B1", "overall": "x", "unixReviewTime": 1}',
            "line 1, column overall: found 'x'",
        ),
    ):
        with pytest.raises(ParagonError) as caught:
            fetch("amazon-grocery", directory=amazon(reviews=text), data=tmp_path / "data")
        assert expected in str(caught.value)


REVIEW = {"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 100}


def test_amazon_items_that_the_meta_file_lacks_are_counted_as_anywhere(amazon, tmp_path):
    rows = [REVIEW | {"asin": f"B{n}"} for n in range(20)]
    meta = [json.dumps({"asin": f"B{n}", "categories": None}) for n in range(10)]
    reviews = "\n".join(map(json.dumps, rows))
    for number, repaired in ((10, False), (19, True)):
        meta = [json.dumps({"asin": f"B{n}", "categories": None}) for n in range(number)]
        given = amazon(reviews=reviews, meta="\n".join(meta))
        if repaired:
            fetch("amazon-grocery", directory=given, data=tmp_path / "data")
        else:
            with pytest.raises(ParagonError, match="10 of 20 items, the first of them 'B10', are"):
                fetch("amazon-grocery", directory=given, data=tmp_path / "data")
    assert load_dataset("amazon-grocery", tmp_path / "data").repairs == {
        "items without categories": 19,
        "items missing from the catalogue added without categories": 1,
    }


def test_rechorus(tmp_path):
    given = written(tmp_path / "given", "amazon-grocery of ReChorus")
    fetch("amazon-grocery", directory=given, data=tmp_path / "data")
    dataset = load_dataset("amazon-grocery", tmp_path / "data")
    assert dataset.interactions["timestamp"].tolist() == [100, 50, 200, 300]
    assert dataset.items["categories"].tolist() == [("5",), (), ("7",), (), ()]
    (given / "test.csv").write_text('user_id,item_id,time,neg_items\n1,3,300,"[1, 2]"\n')
    meta = (given / "item_meta.csv").read_text().replace("[2]", '"[2, 3]"').replace("\t", ",")
    (given / "item_meta.csv").write_text(meta)
    fetch("amazon-grocery", directory=given, data=tmp_path / "commas")
    again = load_dataset("amazon-grocery", tmp_path / "commas")
    assert again.fingerprint == dataset.fingerprint
    # An error that shows when all three are together names the one that holds it.
    (given / "dev.csv").write_text("user_id\titem_id\ttime\n1\t2\t978300760000\n")
    with pytest.raises(ParagonError, match=r"given/dev\.csv, line 2, column time: found '97830"):
        fetch("amazon-grocery", directory=given, data=tmp_path / "data")


@pytest.fixture
def mind(tmp_path):
    return written(tmp_path / "given", "mind")


def test_mind(mind, tmp_path):
    fetch("mind", directory=mind, data=tmp_path / "data")
    dataset = load_dataset("mind", tmp_path / "data")
    assert dataset.interactions[["user_id", "item_id", "timestamp"]].values.tolist() == [
        ["U1", "N1", 1573463158],
        ["U1", "N3", 1573463158],
        ["U2", "N2", 1573582290],
    ]
    categories = [("sports", "golf"), ("news",), ("news", "us_west")]
    assert dataset.items["categories"].tolist() == categories
