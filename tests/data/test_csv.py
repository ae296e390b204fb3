"""CSV files with columns of any names: what is guessed, read and refused."""

import pandas as pd
import pytest

from paragon.data.csv_files import CsvFiles
from paragon.data.fetch import fetch_csv, load_dataset
from paragon.errors import ParagonError

EVENTS = "Customer ID;Product;Order date;Stars\nann; b1 ;13/02/2024 10:30;4\nann;b2;3/4/2024;2\n"
ITEMS = 'id,Name,Genre\nb1,"The Well, old",Crime|Old books\nb2,Two,\n'


def csv(folder, events=EVENTS, items=ITEMS, **options):
    paths = [folder / "events.csv", folder / "items.csv"]
    for path, text in zip(paths, (events, items), strict=True):
        path.write_text(text)
    return CsvFiles(*paths[: 2 if items else 1], **options)


def listed(files):
    with pytest.raises(ParagonError) as caught:
        files.read("shop")
    return str(caught.value).splitlines()[1:]


def test_columns_are_guessed_and_a_dataset_is_made(tmp_path):
    fetch_csv("shop", files := csv(tmp_path, "\n" + EVENTS), "a test", data=tmp_path / "data")
    dataset = load_dataset("shop", tmp_path / "data")
    rows = [("ann", "b1", 4.0, 1707820200), ("ann", "b2", 2.0, 1712102400)]
    assert [*dataset.interactions.itertuples(index=False, name=None)] == rows
    assert dataset.items["title"].tolist() == ["The Well, old", "Two"]
    assert dataset.items["categories"].tolist() == [("Crime", "Old_books"), ()]
    assert dataset.source.endswith("a test") and len(dataset.repairs) == 2
    assert "'Customer ID'" in files.used[0] and "'id'" in files.used[1]


def test_items_may_be_in_the_rows_of_the_events_under_names_that_are_given(tmp_path):
    text = "who,sku,id,at,kind\nu1,a,1,170000000,X;Y\nu2,a,2,170000001.5,X;Y\nu1,b,3,17,Y\n"
    columns = {"user_id": "who", "timestamp": "at", "categories": "kind"}
    dataset = csv(tmp_path, text, "", columns=columns).read("shop")
    assert dataset.items["categories"].tolist() == [("X", "Y"), ("Y",)]
    assert sorted(dataset.interactions["item_id"]) == ["a", "a", "b"]
    [line] = listed(csv(tmp_path, text.replace("5,X;Y", "5,X"), "", columns=columns))
    assert "column sku" in line and line.endswith("line 2, 3")
    assert "'which'" in listed(csv(tmp_path, text, "", columns=columns | {"item_id": "which"}))[0]


@pytest.mark.parametrize(
    ("texts", "times"),
    [
        (["2024-02-13", "2024-02-13T10:30:00+02:00", "2024/2/13 10:30"], ["", " 08:30", " 10:30"]),
        (["13.02.2024", "13.2.2024 10:30", "13.02.2024 10:30:00"], ["", " 10:30", " 10:30"]),
        (["2/13/2024", "02/13/2024 10:30 PM", "Feb 13, 2024"], ["", " 22:30", ""]),
        (["13 Feb 2024 10:30", "Tue, 13 Feb 2024 10:30:00 GMT", "20240213"], [" 10:30"] * 2 + [""]),
    ],
)
def test_times(tmp_path, texts, times):
    rows = "".join(f'u{n},b{1 + n % 2},"{text}",4\n' for n, text in enumerate(texts))
    found = csv(tmp_path, "user,item,time,rating\n" + rows).read("shop").interactions["timestamp"]
    assert found.tolist() == [pd.Timestamp(f"2024-02-13{time}").timestamp() for time in times]


def test_all_problems_are_in_one_list_with_their_lines(tmp_path):
    bad = ";b1;13/02/2024;1\nann; ;13/02/2024;1\nann;b1;31/02/2024;1\nann;b1\n\nann;b1;12;1\n"
    bad += "ann;b1;13/2/24;1\nann;b1;2/13/1990;1\nann;b1;2024-13-02;1\n"
    lines = listed(csv(tmp_path, EVENTS + bad, ITEMS + "b2,Three,X\n"))
    words = ("events.csv", "Customer ID", "Product", "column id", "Order date")
    places = ("7", "4", "5", "3, 4", "6, 9, 10, 11, 12")
    for line, word, at in zip(lines, words, places, strict=True):
        assert word in line and line.endswith(f"line {at}"), line
    files = csv(tmp_path, EVENTS + bad + "c;b1;now;1\n", show_all=True)
    assert listed(files)[-1].endswith("line 6, 9, 10, 11, 12, 13")
    text = EVENTS.replace("13/02", "12/02")  # two meanings
    assert "--month-first" in (line := listed(csv(tmp_path, text))[0]) and "line 2, 3" in line
    found = [csv(tmp_path, text, day_first=d).read("s").interactions["timestamp"] for d in (1, 0)]
    assert [pd.Timestamp(times[1], unit="s").month for times in found] == [4, 3]
