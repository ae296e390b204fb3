"""Published layouts to atomic files."""

import gzip
import json

import pytest

from paragon.data.fetch import fetch, load_dataset
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
    dataset = load_dataset("ml-100k", tmp_path / "data")
    assert dataset.source == "folder (not the official file)"
    assert dataset.users["group"].tolist() == ["M", "F"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("267|unknown||||1", "267|unknown||||2", "u.item, line 2, column unknown: found '2'"),
        ("|0|0|1|1|", "|0|0|True|1|", "u.item, line 3, column Animation: found 'True'"),
        ("7|Bront", "1|Bront", "u.item, line 4, column item_id: found '1'"),
    ],
)
def test_ml_100k_bad_items(ml100k, tmp_path, old, new, expected):
    path = ml100k / "ml-100k" / "u.item"
    text = path.read_bytes().decode("latin-1")
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode("latin-1"))
    with pytest.raises(ParagonError) as caught:
        fetch("ml-100k", directory=ml100k, data=tmp_path / "data")
    assert expected in str(caught.value)


def test_ml_100k_titles_without_a_year_stay(ml100k, tmp_path):
    with open(ml100k / "ml-100k" / "u.item", "a") as file:
        file.write(f"8|Alphaville||||{flags(1)}\n9|unknown||||{flags(1)}\n")
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
    given = tmp_path / "given"
    given.mkdir()
    (given / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.5,9\n1,2,0.5,8\n")
    (given / "movies.csv").write_text(
        'movieId,title,genres\n1,"Usual, The (1995)",Crime|Drama\n2,Odd,(no genres listed)\n'
    )
    folder = fetch("ml-latest-small", directory=given, data=tmp_path / "data")
    dataset = load_dataset("ml-latest-small", tmp_path / "data")
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
    dataset = load_dataset("amazon-grocery", tmp_path / "data")
    assert dataset.source == "folder, unverified (no checksum is published)"
    assert dataset.items["item_id"].tolist() == ["B1", *(f"C{n}" for n in range(20)), "B2"]
    assert dataset.items["categories"][0] == ("Grocery_&_Gourmet_Food", "Tea", "Gifts")
    assert dataset.items["title"][0] == 'A "fine" tea'
    assert dataset.repairs == {"items missing from the catalogue added without categories": 1}
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
BAD_REVIEWS = {
    "no user": ({"reviewerID": None}, "line 1, column reviewerID: found None"),
    "list as id": ({"asin": ["B1"]}, "line 1, column asin: found ['B1']"),
    "true": ({"overall": True}, "line 1, column overall: found True"),
    "huge": ({"unixReviewTime": 10**400}, "line 1, column unixReviewTime: found 1000"),
    "line in id": ({"asin": "B1\n"}, "line 1, column asin: found 'B1\\n'"),
    "event in id": ({"reviewerID": "A1\tB1\t5\t1\nA9"}, "line 1, column reviewerID"),
    "half a character": ({"reviewerID": "\ud800"}, "line 1, column reviewerID: found '\\ud800'"),
    "padded": ({"asin": "B1 "}, "line 1, column asin: found 'B1 '"),
    "empty": ({"reviewerID": ""}, "line 1, column reviewerID: found ''"),
}


@pytest.mark.parametrize("case", BAD_REVIEWS)
def test_amazon_bad_fields(amazon, tmp_path, case):
    change, expected = BAD_REVIEWS[case]
    given = amazon(reviews=json.dumps(REVIEW | change), meta='{"asin": "B1"}\n{"asin": "B1 "}')
    with pytest.raises(ParagonError) as caught:
        fetch("amazon-grocery", directory=given, data=tmp_path / "data")
    assert "reviews_Grocery" in str(caught.value) and expected in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_META = {
    "string": ('"B1", "categories": "Grocery"', "line 1, column categories: found 'Grocery'"),
    "number": ('"B1", "categories": 5', "line 1, column categories: found 5"),
    "numbers": ('"B1", "categories": [5]', "line 1, column categories: found [5]"),
    "nested": ('"B1", "categories": [[["A"]]]', "line 1, column categories"),
    "list as id": ('["B1"]', "line 1, column asin: found ['B1']"),
    "title": ('"B1", "title": ["x"]', "line 1, column title: found ['x']"),
    "NUL": ('"B1", "title": "x\\u0000"', "line 1, column title: found 'x\\x00'"),
    "other items": ('"ZZ"', "describes none of the 1 items in"),
    "two contents": ('"B1"}\n{"asin": "B1", "title": "x"', "line 2, column asin: found 'B1'"),
    "deep": ('"B1", "x": ' + "[" * 200_000, "line 1: found"),
}


@pytest.mark.parametrize("case", BAD_META)
def test_amazon_bad_meta(amazon, tmp_path, case):
    rest, expected = BAD_META[case]
    given = amazon(reviews=json.dumps(REVIEW), meta=f'{{"asin": {rest}}}')
    with pytest.raises(ParagonError) as caught:
        fetch("amazon-grocery", directory=given, data=tmp_path / "data")
    assert "meta_Grocery" in str(caught.value) and expected in str(caught.value)
    assert "\n" not in str(caught.value)


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
    given = tmp_path / "given"
    given.mkdir()
    (given / "train.csv").write_text("user_id\titem_id\ttime\n1\t1\t100\n2\t2\t50\n")
    (given / "dev.csv").write_text("user_id\titem_id\ttime\tneg_items\n1\t2\t200\t[1, 2]\n")
    (given / "test.csv").write_text("user_id\titem_id\ttime\tneg_items\n1\t3\t300\t[1, 2]\n")
    (given / "item_meta.csv").write_text(
        "item_id\ti_category\tr_complement\n1\t5\t[2]\n2\t0\t[]\n3\t7\t[]\n4\t0.0\t[]\n5\tnan\t[]\n"
    )
    fetch("amazon-grocery", directory=given, data=tmp_path / "data")
    dataset = load_dataset("amazon-grocery", tmp_path / "data")
    assert dataset.interactions["timestamp"].tolist() == [100, 50, 200, 300]
    assert dataset.items["categories"].tolist() == [("5",), (), ("7",), (), ()]
    # An error that shows when all three are together names the one that holds it.
    (given / "dev.csv").write_text("user_id\titem_id\ttime\n1\t2\t978300760000\n")
    with pytest.raises(ParagonError, match=r"given/dev\.csv, line 2, column time: found '97830"):
        fetch("amazon-grocery", directory=given, data=tmp_path / "data")


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
    dataset = load_dataset("mind", tmp_path / "data")
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
        ("\tN2-1", "\tN2-1\tN3-1", "line 2, column impressions: found"),
        ("U2", "", "behaviors.tsv, line 2, column user_id: found ''"),
        ("-1", "-0", "behaviors.tsv: no impression ends in -1"),
    ):
        (mind / "behaviors.tsv").write_text(text.replace(old, new))
        with pytest.raises(ParagonError) as caught:
            fetch("mind", directory=mind, data=tmp_path / "data")
        assert expected in str(caught.value)


BAD_ML_1M = {
    "separator": (
        "ratings.dat",
        b"1,10,5,1\n",
        "line 1, column item_id: found '1,10,5,1', expected 4 fields",
    ),
    "text": ("ratings.dat", b"1::10::5::1\n1::10::x::1\n", "line 2, column rating: found 'x'"),
    "NaN": ("ratings.dat", b"1::10::nan::1\n", "ratings.dat, line 1, column rating: found 'nan'"),
    "negative": ("ratings.dat", b"1::10::5::-1\n", "line 1, column timestamp: found '-1'"),
    "empty": ("ratings.dat", b"", "ratings.dat: the file is empty"),
    "units": (
        "ratings.dat",
        b"1::10::5::978300760\n1::20::3::978300761\n2::10::4::978300760000\n",
        "ratings.dat, line 3, column timestamp: found '978300760000'",
    ),
    "no user": ("ratings.dat", b"1::10::5::1\n::10::5::1\n", "ratings.dat, line 2, column user_id"),
    "NUL in title": ("movies.dat", b"10::A::A\n20::B\0::A\n", "movies.dat, line 2, column title"),
    "twice": ("movies.dat", b"10::A::A\n10::B::A\n", "movies.dat, line 2, column item_id"),
    "unknown": ("movies.dat", b"11::A::A\n", "are not in column item_id of"),
    "commas": ("movies.dat", b"10::A::Drama, Sci-Fi\n", "line 1, column genres: found 'Drama, S"),
    "a list": ("movies.dat", b"10::A::['Drama']\n", "line 1, column genres"),
    "spaces": ("movies.dat", b"10::A::Drama War\n", "line 1, column genres"),
    "users": ("users.dat", b"7::F::1::10::48067\n", "users.dat: column user_id has none of"),
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


MOVIES = "movieId,title,genres\n1,A,X\n2,B,X\n"
BAD_CSV = {
    "separator": ("1;1;4.5;9\n", "line 1: no column userId among '1;1;4.5;9'"),
    "line in header": (
        'userId,movieId,rating,"time\nstamp"\n',
        "line 1: no column timestamp among",
    ),
    "twice": ("userId,userId,movieId,rating,timestamp\n", "line 1: 2 columns userId among"),
    "header only": ("userId,movieId,rating,timestamp\n", "ratings.csv: holds only a header"),
    "line in id": (
        'userId,movieId,rating,timestamp\n1,1,4,9\n"1\t1\t4\t8\n2",1,4,9\n',
        "line 3, column userId: found '1\\t1\\t4\\t8\\n2'",
    ),
    "after a long row": (
        'timestamp,userId,movieId,rating,note\n9,1,1,4,"a\nb"\n8,,1,4,\n',
        "line 4, column userId: found ''",
    ),
    "unknown items": (
        "userId,movieId,rating,timestamp\n1,7,4,9\n",
        "are not in column movieId of",
    ),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(tmp_path, case):
    text, expected = BAD_CSV[case]
    given = tmp_path / "given"
    given.mkdir()
    (given / "ratings.csv").write_text(text)
    (given / "movies.csv").write_text(MOVIES)
    with pytest.raises(ParagonError) as caught:
        fetch("ml-latest-small", directory=given, data=tmp_path / "data")
    assert str(caught.value).startswith(str(given / "ratings.csv")), caught.value
    assert expected in str(caught.value) and "\n" not in str(caught.value)
