"""Published layouts to atomic files."""

import gzip
import json

import pytest

from paragon.datasets import fetch, load
from paragon.errors import ParagonError

FLAGS = 19


def flags(*on):
    return "|".join("1" if index in on else "0" for index in range(FLAGS))


@pytest.fixture
def ml100k(tmp_path):
    folder = tmp_path / "given" / "ml-100k"
    folder.mkdir(parents=True)
    (folder / "u.data").write_text("1\t1\t3\t881250949\n2\t267\t4\t9\n1\t1412\t2\t8\n")
    items = [
        f"1|A Film, The (Un film) (1995)|01-Jan-1995||http://x/?a%20(1995)|{flags(1, 5)}",
        f"267|unknown||||{flags(0)}",
        f"1412|Part III (1995) (V)|01-Jan-1995|||{flags(3, 4)}",
        f"7|Brontë  (1996) |01-Jan-1996|||{flags(18)}",
    ]
    (folder / "u.item").write_bytes(("\n".join(items) + "\n").encode("latin-1"))
    (folder / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|94043\n")
    return folder.parent


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
    dataset = load("ml-100k", tmp_path / "data")
    assert dataset.source == "folder (not the official file)"
    assert dataset.users["group"].tolist() == ["M", "F"]


def test_ml_1m(ml1m, tmp_path):
    (ml1m / "ratings.dat.gz").write_bytes(gzip.compress((ml1m / "ratings.dat").read_bytes()))
    (ml1m / "ratings.dat").unlink()
    fetch("ml-1m", directory=ml1m, data=tmp_path / "data")
    dataset = load("ml-1m", tmp_path / "data")
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
    given = tmp_path / "given"
    given.mkdir()
    (given / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.5,9\n1,2,0.5,8\n")
    (given / "movies.csv").write_text(
        'movieId,title,genres\n1,"Usual, The (1995)",Crime|Drama\n2,Odd,(no genres listed)\n'
    )
    folder = fetch("ml-latest-small", directory=given, data=tmp_path / "data")
    dataset = load("ml-latest-small", tmp_path / "data")
    assert dataset.items["title"].tolist() == ["Usual, The", "Odd"]
    assert dataset.items["categories"].tolist() == [("Crime", "Drama"), ()]
    assert dataset.interactions["rating"].tolist() == [4.5, 0.5]
    assert not (folder / "ml-latest-small.user").exists()


@pytest.fixture
def amazon(tmp_path):
    given = tmp_path / "given"
    given.mkdir()

    def write(reviews=None, meta=None):
        rows = [("A1", "B1", 5.0, 100), ("A1", "B2", 1.0, 200), ("A2", "B1", 3.0, 50)]
        rows += [("A2", f"C{n}", 4.0, n) for n in range(20)]
        names = ("reviewerID", "asin", "overall", "unixReviewTime")
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        reviews = "\n".join(lines) if reviews is None else reviews
        tea = [["Grocery & Gourmet Food", "Tea"], ["Grocery & Gourmet Food", "Gifts"]]
        known = [
            json.dumps({"asin": "B1", "title": 'A "fine" tea', "categories": tea}),
            "{'asin': 'ZZ', 'title': 'never reviewed', 'categories': [['Tea']]}",
            *(f"{{'asin': 'C{n}', 'categories': [['Tea']]}}" for n in range(20)),
        ]
        meta = "\n".join(known) if meta is None else meta
        for kind, text in (("reviews", reviews), ("meta", meta)):
            end = "_5.json.gz" if kind == "reviews" else ".json.gz"
            path = given / f"{kind}_Grocery_and_Gourmet_Food{end}"
            path.write_bytes(gzip.compress(text.encode()))
        return given

    return write


def test_amazon(amazon, tmp_path):
    fetch("amazon-grocery", directory=amazon(), data=tmp_path / "data")
    dataset = load("amazon-grocery", tmp_path / "data")
    assert dataset.source == "folder, unverified (no checksum is published)"
    assert dataset.items["item_id"].tolist() == ["B1", *(f"C{n}" for n in range(20)), "B2"]
    assert dataset.items["categories"][0] == ("Grocery_&_Gourmet_Food", "Tea", "Gifts")
    assert dataset.items["title"][0] == 'A "fine" tea'
    assert dataset.repairs == {"items without categories": 1}
    assert dataset.interactions.iloc[0].tolist() == ["A1", "B1", 5.0, 100]


def test_amazon_never_evaluates_code(amazon, tmp_path):
    trap = tmp_path / "trap"
    code = f"{{'asin': 'B1', 'title': open({str(trap)!r}, 'w')}}"
    with pytest.raises(ParagonError, match="meta_.*line 1: found .*expected one JSON object"):
        fetch("amazon-grocery", directory=amazon(meta=code), data=tmp_path / "data")
    assert not trap.exists()


def test_amazon_bad_reviews(amazon, tmp_path):
    for text, expected in (
        ('{"reviewerID": "A1", "asin": "B1", "overall": 5.0}', "line 1: no field unixReviewTime"),
        ('{"reviewerID": "A1", "asin"', "line 1: found"),
        (
            '{"reviewerID": "A", "asin": "B1", "overall": "x", "unixReviewTime": 1}',
            "line 1, column overall: found 'x'",
        ),
    ):
        with pytest.raises(ParagonError) as caught:
            fetch("amazon-grocery", directory=amazon(reviews=text), data=tmp_path / "data")
        assert expected in str(caught.value)


def test_rechorus(tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    (given / "train.csv").write_text("user_id\titem_id\ttime\n1\t1\t100\n2\t2\t50\n")
    (given / "dev.csv").write_text("user_id\titem_id\ttime\tneg_items\n1\t2\t200\t[1, 2]\n")
    (given / "test.csv").write_text("user_id\titem_id\ttime\tneg_items\n1\t3\t300\t[1, 2]\n")
    (given / "item_meta.csv").write_text(
        "item_id\ti_category\tr_complement\n1\t5\t[2]\n2\t0\t[]\n3\t7\t[]\n"
    )
    fetch("amazon-grocery", directory=given, data=tmp_path / "data")
    dataset = load("amazon-grocery", tmp_path / "data")
    assert dataset.interactions["timestamp"].tolist() == [100, 50, 200, 300]
    assert dataset.items["categories"].tolist() == [("5",), (), ("7",)]


@pytest.fixture
def mind(tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    (given / "behaviors.tsv").write_text(
        "1\tU1\t11/11/2019 9:05:58 AM\tN9\tN1-1 N2-0 N3-1\n2\tU2\t11/12/2019 6:11:30 PM\t\tN2-1\n"
    )
    tail = "\tabstract\thttps://x\t[]\t[]\n"
    (given / "news.tsv").write_text(
        f"N1\tsports\tgolf\tA title{tail}N2\tnews\tnews\tB{tail}N3\tnews\tus{' '}west\tC{tail}"
    )
    return given


def test_mind(mind, tmp_path):
    fetch("mind", directory=mind, data=tmp_path / "data")
    dataset = load("mind", tmp_path / "data")
    assert dataset.interactions[["user_id", "item_id", "timestamp"]].values.tolist() == [
        ["U1", "N1", 1573463158],
        ["U1", "N3", 1573463158],
        ["U2", "N2", 1573582290],
    ]
    categories = [("sports", "golf"), ("news",), ("news", "us_west")]
    assert dataset.items["categories"].tolist() == categories


def test_mind_bad_input(mind, tmp_path):
    text = (mind / "behaviors.tsv").read_text()
    for old, new, expected in (
        ("11/12/2019", "2019-11-12", "line 2, column time"),
        ("N2-1", "N2", "line 2, column impressions: found 'N2'"),
    ):
        (mind / "behaviors.tsv").write_text(text.replace(old, new))
        with pytest.raises(ParagonError) as caught:
            fetch("mind", directory=mind, data=tmp_path / "data")
        assert expected in str(caught.value)


BAD_ML_1M = {
    "separator": ("ratings.dat", b"1,10,5,1\n", "line 1: found '1,10,5,1', expected 4 fields"),
    "text": ("ratings.dat", b"1::10::5::1\n1::10::x::1\n", "line 2, column rating: found 'x'"),
    "NaN": ("ratings.dat", b"1::10::nan::1\n", "ratings.dat, line 1, column rating: found 'nan'"),
    "negative": ("ratings.dat", b"1::10::5::-1\n", "line 1, column timestamp: found '-1'"),
    "empty": ("ratings.dat", b"", "ratings.dat: the file is empty"),
    "mixed": (
        "movies.dat",
        "10::é::A\n".encode() + "20::é::A\n".encode("latin-1"),
        "line 1 is UTF-8 and line 2 is not",
    ),
}


@pytest.mark.parametrize("case", BAD_ML_1M)
def test_bad_files_leave_nothing(ml1m, tmp_path, case):
    filename, content, expected = BAD_ML_1M[case]
    (ml1m / filename).write_bytes(content)
    with pytest.raises(ParagonError) as caught:
        fetch("ml-1m", directory=ml1m, data=tmp_path / "data")
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_csv_without_its_header(tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    (given / "ratings.csv").write_text("1;1;4.5;9\n")
    (given / "movies.csv").write_text("movieId,title,genres\n")
    with pytest.raises(ParagonError, match=r"ratings\.csv, line 1: no column userId"):
        fetch("ml-latest-small", directory=given, data=tmp_path / "data")
