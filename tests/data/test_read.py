"""Reading atomic files: what is read, what is repaired and counted, what is refused."""

from pathlib import Path

import pandas as pd
import pytest

from paragon.data.atomic import read_atomic, write_atomic
from paragon.data.fetch import load_dataset
from paragon.data.table import Dataset
from paragon.errors import ParagonError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ITEM = "item_id:token\ttitle:token_seq\tgenre:token_seq\n"
ROWS = "u1\ta\t4\t10\nu1\tb\t3.5\t20\n"


def test_reads_all_tables_in_file_order(own):
    dataset = read_atomic(own())
    assert dataset.name == "mine" and dataset.source == "own" and dataset.repairs == {}
    events = dataset.interactions
    assert list(events.itertuples(index=False, name=None)) == [
        ("u1", "a", 4.0, 10),
        ("u1", "b", 3.5, 20),
        ("u2", "a", 1.0, 5),
    ]
    assert events["rating"].dtype == "float64" and events["timestamp"].dtype == "int64"
    assert dataset.items["title"].tolist() == ["Alpha", "Beta"]
    assert dataset.items["categories"].tolist() == [("X", "Y"), ("Y",)]
    assert dataset.users["group"].iloc[0] == "F" and pd.isna(dataset.users["group"].iloc[1])
    assert dataset.categories == ("X", "Y") and dataset.n_categories == 2


def test_user_file_is_optional(own):
    users = read_atomic(own(user=None)).users
    assert len(users) == 0 and list(users.columns) == ["user_id", "group"]


def test_bom_crlf_and_trailing_blank_lines_change_nothing(own):
    plain = read_atomic(own(INTER + ROWS))
    text = b"\xef\xbb\xbf" + (INTER + ROWS).replace("\n", "\r\n").encode() + b"\r\n\r\n"
    windows = read_atomic(own(text))
    pd.testing.assert_frame_equal(plain.interactions, windows.interactions)
    assert plain.fingerprint != windows.fingerprint


def test_ids_stay_strings_of_64_bits(own):
    big = "9223372036854775807"
    inter = INTER + f"{big}\t007\t4\t10\n9223372036854775806\t7\t4\t11\n"
    dataset = read_atomic(own(inter, ITEM + "007\tBond\tX\n7\tSeven\tY\n", user=None))
    assert dataset.interactions["user_id"].tolist() == [big, "9223372036854775806"]
    assert dataset.interactions["item_id"].tolist() == ["007", "7"]


def test_words_that_look_missing_are_words(own):
    inter = INTER + "NA\tnull\t4\t10\n"
    dataset = read_atomic(own(inter, ITEM + "null\tNaN\tNone\n", user=None))
    assert dataset.interactions.iloc[0].tolist() == ["NA", "null", 4.0, 10]
    assert dataset.items.iloc[0].tolist() == ["null", "NaN", ("None",)]


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("class:token_seq", "A B A", ("A", "B")),
        ("categories:token_seq", "Food & Drink, Coffee", ("Food & Drink", "Coffee")),
        ("category:token", "Late News", ("Late News",)),
        ("category:token\tsub_category:token", "news\tsport", ("news", "sport")),
        ("categories:token_seq", "'Patio, Lawn', 'Tea'", ("Patio, Lawn", "Tea")),
        ("genre:token_seq", "X Y Z", ("X", "Y", "Z")),
        ("categories:token_seq", '"Children\'s"', ("Children's",)),
    ],
)
def test_category_columns(own, header, row, expected):
    dataset = read_atomic(own(INTER + "u\ta\t1\t1\n", f"item_id:token\t{header}\na\t{row}\n"))
    assert dataset.items["categories"].tolist() == [expected]
    assert dataset.items["title"].tolist() == ["a"]


def test_one_name_of_several_words_among_lists(own):
    rows = "a\tA\tFood & Drink, Tea\nb\tB\tFood & Drink\nc\tC\tTea\nd\tD\t'Rare Thing'\n"
    dataset = read_atomic(own(item=ITEM + rows))
    food = "Food & Drink"
    assert dataset.items["categories"].tolist() == [
        (food, "Tea"),
        (food,),
        ("Tea",),
        ("Rare Thing",),
    ]


def test_constant_category_is_visible(own):
    assert read_atomic(own(item=ITEM + "a\tA\tX\nb\tB\tX\n")).n_categories == 1


# --- repairs: made, and counted -------------------------------------------------------------


def test_duplicate_events(own):
    extra = "u1\ta\t4\t10\nu1\ta\t2\t10\nu1\ta\t4\t10\nu1\ta\t4\t11\n"
    dataset = read_atomic(own(INTER + ROWS + extra))
    assert dataset.repairs == {
        "duplicate events dropped": 2,
        "events that repeat user, item and time with another rating dropped": 1,
    }
    assert dataset.interactions["timestamp"].tolist() == [10, 20, 11]
    assert dataset.interactions["rating"].tolist() == [4.0, 3.5, 4.0]


def test_milliseconds_keep_the_order_within_a_second(own):
    rows = "u\tb\t1\t978300760900\nu\ta\t1\t978300760100\nu\tb\t1\t978300761000\n"
    dataset = read_atomic(own(INTER + rows))
    assert dataset.interactions["item_id"].tolist() == ["a", "b", "b"]
    assert dataset.interactions["timestamp"].tolist() == [978300760, 978300760, 978300761]
    assert dataset.repairs == {
        "timestamps in milliseconds divided by 1000": 3,
        "timestamps rounded down to the second": 2,
    }


def test_missing_ratings_are_one(own):
    inter = "user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\nu\tb\t2\n"
    dataset = read_atomic(own(inter))
    assert dataset.interactions["rating"].tolist() == [1.0, 1.0]
    assert dataset.repairs == {"interactions without a rating, set to 1": 2}


def test_items_without_categories_and_duplicate_items(own):
    dataset = read_atomic(own(item=ITEM + "a\tA\t\nb\tB\tX\nb\tB\tX\n"))
    assert dataset.items["categories"].tolist() == [(), ("X",)]
    assert dataset.repairs == {"items without categories": 1, "duplicate items dropped": 1}


def test_few_unknown_items_are_added(own):
    inter = INTER + "".join(f"u\ti{n}\t1\t{n}\n" for n in range(20))
    item = ITEM + "".join(f"i{n}\tT{n}\tX\n" for n in range(19))
    dataset = read_atomic(own(inter, item))
    assert dataset.items.iloc[-1].tolist() == ["i19", "i19", ()]
    assert dataset.repairs == {"items missing from the catalogue added without categories": 1}


# --- errors: tests/bad_inputs/atomic.yaml has most of them -------------------------------------


def test_users_missing_from_their_table_are_counted(own):
    dataset = read_atomic(own(user="user_id:token\tgender:token\nu1\tF\n"))
    assert dataset.repairs == {"users missing from the user table, of unknown group": 1}


def test_missing_files_name_the_command(own, tmp_path):
    folder = own()
    (folder / "mine.item").unlink()
    with pytest.raises(ParagonError, match=r"mine\.item is missing: run `python -m paragon fetch"):
        read_atomic(folder)
    with pytest.raises(ParagonError, match="does not exist: known datasets are ml-100k"):
        load_dataset("nothing", tmp_path)
    with pytest.raises(ParagonError, match=r"ml-100k\.inter is missing"):
        load_dataset("ml-100k", tmp_path)
    with pytest.raises(ParagonError, match="not a name for a dataset"):
        load_dataset("../raw", tmp_path)


# --- writing --------------------------------------------------------------------------------


def test_write_and_read_again(own, tmp_path):
    first = read_atomic(own())
    second = read_atomic(write_atomic(first, tmp_path / "copy"))
    for table in ("interactions", "items", "users"):
        pd.testing.assert_frame_equal(getattr(first, table), getattr(second, table))
    again = write_atomic(second, tmp_path / "again")
    for suffix in ("inter", "item", "user"):
        one, two = (folder / f"mine.{suffix}" for folder in (tmp_path / "copy", again))
        assert one.read_bytes() == two.read_bytes()


def test_writing_replaces_the_files_together(own, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    write_atomic(read_atomic(own()), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "raw" / "mine.user").unlink()
    fewer = read_atomic(own(item=ITEM + "a\tA\tZ\nb\tB\tZ\n", user=None))
    real = Path.write_bytes

    def full(path, data):
        if path.suffix == ".item":
            raise OSError(28, "No space left on device")
        return real(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(ParagonError, match="No space left"):
            write_atomic(fewer, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    again = read_atomic(write_atomic(fewer, folder))
    assert len(again.users) == 0 and again.categories == ("Z",)
    (folder / "notes.txt").write_text("keep me")
    with pytest.raises(ParagonError, match="'notes.txt', which is not one of the files of mine"):
        write_atomic(fewer, folder)


def test_spaces_in_categories_become_one_word(tmp_path):
    events = {"user_id": ["u"], "item_id": ["a"], "timestamp": [1]}
    items = {"item_id": ["a"], "categories": [["Food & Drink", "Tea, Green"]]}
    dataset = Dataset.from_frame(events, items)
    again = read_atomic(write_atomic(dataset, tmp_path / "out"))
    assert again.items["categories"].tolist() == [("Food_&_Drink", "Tea_Green")]
    with pytest.raises(ParagonError, match="become the same word"):
        Dataset.from_frame(events, {"item_id": ["a"], "categories": [["b c", "b_c"]]})
    with pytest.raises(ParagonError, match="category ',' holds nothing but separators"):
        Dataset.from_frame(events, {"item_id": ["a"], "categories": [[","]]})


def test_categories_come_back_as_many_as_they_were(tmp_path):
    given = [["Tea,", "Oil"], ["Oil", "Food"], ["R&B|Soul", "[new]; cheap", "1,000 pieces"]]
    given += [["'Tis", "Children's", "fun'"], ["'A'", 'B"']]
    ids = ["a", "b", "c", "d", "e"]
    events = {"user_id": ["u"] * 5, "item_id": ids, "timestamp": [1, 2, 3, 4, 5]}
    dataset = Dataset.from_frame(events, {"item_id": ids, "categories": given})
    again = read_atomic(write_atomic(dataset, tmp_path / "out"))
    assert again.items["categories"].tolist() == [
        ("Tea", "Oil"),
        ("Oil", "Food"),
        ("R&B_Soul", "new_cheap", "1_000_pieces"),
        ("Tis", "Children's", "fun"),
        ("A", "B"),
    ]
