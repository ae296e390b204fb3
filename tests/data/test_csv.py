"""CSV files with columns of any names: what is guessed, read and refused."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from paragon.data.csv_files import CsvFiles
from paragon.data.describe import describe
from paragon.data.fetch import fetch, fetch_csv, load_dataset
from paragon.data.split import prepare
from paragon.errors import ParagonError, shown
from tests.conftest import refused
from tests.data.conftest import zipped

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
    assert dataset.items["categories"].tolist() == [("Crime", "Old books"), ()]
    assert dataset.source.endswith("a test") and len(dataset.repairs) == 1
    assert "'Customer ID'" in files.used[0] and "'id'" in files.used[1]


def test_categories_of_a_csv_come_back_as_they_were_given(tmp_path):
    names = ["Bücher_neu", "Sport & Freizeit", "a_b c"]
    events = "".join(f"u{n % 3},i{n},{n}\n" for n in range(12))
    items = "".join(f"i{n},{names[n % 3]}|{names[0]}\n" for n in range(12))
    files = csv(tmp_path, "user,item,time\n" + events, "item,category\n" + items, unit="days")
    fetch_csv("shop", files, data=tmp_path / "data")
    dataset = load_dataset("shop", tmp_path / "data")
    sequences = prepare(dataset, negatives=1)
    assert sequences.category_names == names
    assert all(name in describe(dataset, sequences)["categories"] for name in names)


def test_items_may_be_in_the_rows_of_the_events_under_names_that_are_given(tmp_path):
    text = "who,sku,id,at,kind\nu1,a,1,170000000,X;Y\nu2,a,2,170000001.5,X;Y\nu1,b,3,170000002,Y\n"
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
        (["20240213 10:30 PM", "10:30 20240213", "10:30 2024 02 13"], [" 22:30"] + [" 10:30"] * 2),
        (["10:30+0200 2/13/2024", "10:30 -0500 2/13/2024"], [" 08:30", " 15:30"]),
        (["2024 02 13 1030", "10:30 +2 13/2/2024"], [" 10:30", " 08:30"]),
        # The sign after a name of UTC is as written.
        (["Tue Feb 13 2024 10:30:00 GMT+0200 (Eastern European Time)"], [" 08:30"]),
        (["2024-02-13 10:30 UTC+2", "2024-02-13 10:30GMT-03:30"], [" 08:30", " 14:00"]),
        # Whatever stands between date and time, neither is filled in from the clock.
        (["10:30,13/02/2024", "10:30,13 Feb 2024", "10:30 Feb 13,2024"], [" 10:30"] * 3),
        (["10:30-2024-02-13", "5PM,13 Feb 2024", "13 Feb 2024@5PM"], [" 10:30"] + [" 17:00"] * 2),
        (["10:30 GMT at Feb 13,2024", "13 Feb 2024 10h30-05:00"], [" 10:30", " 15:30"]),
        (["13/2/2024 5:05 p. m.", "13 Feb 2024 5 p. m."], [" 17:05", " 17:00"]),
        (["2024-02-13 10:30+0545", "2024-02-13 10:30-9:30"], [" 04:45", " 20:00"]),
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
    words = ("events.csv", "Customer ID", "Product", "column id", *["Order date"] * 3)
    # The last three: a number among dates, a thirteenth month, and what is no time at all.
    places = ("7", "4", "5", "3, 4", "9", "11", "6, 10, 12")
    for line, word, at in zip(lines, words, places, strict=True):
        assert word in line and line.endswith(f"line {at}"), line
    files = csv(tmp_path, EVENTS + bad + "c;b1;now;1\n", show_all=True)
    assert listed(files)[-1].endswith("line 6, 10, 12, 13")
    text = EVENTS.replace("13/02", "12/02")  # two meanings
    assert "--month-first" in (line := listed(csv(tmp_path, text))[0]) and "line 2, 3" in line
    found = [csv(tmp_path, text, day_first=d).read("s").interactions["timestamp"] for d in (1, 0)]
    assert [pd.Timestamp(times[1], unit="s").month for times in found] == [4, 3]


def read_times(folder, times, **options):
    """The events of one user each at these times."""
    rows = "".join(f'u{n}\tb{n}\t"{text}"\tX\n' for n, text in enumerate(times))
    return csv(folder, "user\titem\ttime\tcategory\n" + rows, "", **options)


@pytest.mark.parametrize(
    "text",
    "05/02/2024|Mon 05/02/2024|10:00 05/02/2024|'05/02/2024|5 / 2 / 2024|5-2-2024 7pm|05 02 2024|"
    "Mon, 05/02/2024T10:00|10:30:05 5 2 2024".split("|"),
)
def test_the_order_of_day_and_month_is_that_of_the_option_wherever_the_date_stands(tmp_path, text):
    assert listed(read_times(tmp_path, [text]))[0].endswith("line 2")
    for day_first, month in ((True, 2), (False, 5)):
        order = r"20\g<1>02" if day_first else r"02\g<1>20"
        clear = re.sub(r"\b0?5(\D+)0?2\b", order, text)  # with the same separators
        files = read_times(tmp_path, [text, clear])
        for options in ({}, {"day_first": day_first}):
            found = replace(files, problems=[], **options).read("shop").interactions["timestamp"]
            assert pd.Timestamp(found[0], unit="s").month == month


def test_dates_with_dots_and_with_slashes_have_each_their_order(tmp_path):
    texts = ["12/31/2024", "11/30/2024", "3.4.2024", "1/2/2024"]
    found = read_times(tmp_path, texts).read("shop").interactions["timestamp"]
    assert [pd.Timestamp(time, unit="s").month for time in found] == [12, 11, 4, 1]
    [line] = listed(read_times(tmp_path, ["31.12.2024", "12/31/2024", "3-4-2024"]))
    assert "--day-first" in line and line.endswith("line 4")


@pytest.mark.parametrize(
    "text",
    "05/02/24 1030|05/02/24 10:00 +0200|2024-02-05 - 2024-03-01|05–02–2024|05,02,2024|"
    "10.30 2024-02-13|10.30 2024 Feb 13|2024-02-13 10.30|13 Feb 2024 10:30 CET+1|"
    "13 Feb 2024 10:30 EST-0500|13 Feb 2024 10:30 GMT+99|"
    # No offsets from UTC, no zones, no fractions of a minute.
    "2024-02-13 10-45-10|2024-02-13T10-45-10|13.02.2024 10-45-10|20240213 10-45-10|"
    "10-30-00 13/02/2024|2024-02-13-10-45-10|2024-02-13 10-05:00|2024-02-13 10+02|"
    "2024-02-13 10.45.10|2024-02-13 10:45.10|"
    "13 Feb 2024 10-45-10|2024-02-13 10:30 UTC+2:90|2024-02-13 10:30+02:90|2024-02-13 10:30+1500|"
    "2024-02-13 10:30+230|2024-02-13 10:30 -200|2024-02-13T10:30:00+100|"
    "2024-02-13T10:30:00A|2024-02-13 10:30 p|3/4/2024 2023|3/4/2024 1030-0500|13 Feb 2024 2023|"
    "3/4/2024 20|2024-02-13 30m|"
    # A day or a year would be filled in, or -10:30 and +2 be a time or a day.
    "10:30 Feb 2024|2024 Feb 13:10:30|10:30+13 Feb 2024|4PM+1/Aug 2023|Oct 2024-6:01am|"
    # Two months, of which one may be a Tuesday; from and to, which is no offset of a zone.
    "mar 5 nov 2024|mar 5 nov. 2024 10:30|Mar/Apr 2024|Jan-Feb 2024|2024-02-13 13:00-14:00|"
    "2024-02-13 09:00-10:30|2024-02-13 0900-0945|2024-02-13 09:00+01:30|2024-02-13 9:00-1:45|"
    "10:30 13 Feb|2024-02-13-10:30|2024-02-13+02:00|07:30-05:00/Jun 2024".split("|"),
)
def test_a_date_that_has_to_be_guessed_is_refused(tmp_path, text):
    for day_first in (True, False):
        [line] = listed(read_times(tmp_path, ["2024-02-13", text], day_first=day_first))
        assert "column time" in line and shown(text) in line and line.endswith("line 3")


@pytest.mark.slow
def test_a_long_row_of_spaces_is_read_in_a_moment(tmp_path):
    [line] = listed(read_times(tmp_path, ["2024-02-13", "1" + " " * 20_000 + "x"]))
    assert line.endswith("line 3")


NO_SECONDS = "202402|240213|05022024|2019|45000.5|2460000.5|2402131030|240213103000|130220241030|"
NO_SECONDS += "63072000000|32503680000|0502241000|2147483647000|253402300799|2038-01-19 03:14:07|"
NO_SECONDS += "2999-12-31|2563-02-13|1700000000000000"


@pytest.mark.parametrize("text", [*NO_SECONDS.split("|"), "9" * 5000])
def test_numbers_that_are_no_seconds_are_refused(tmp_path, text):
    [line] = listed(read_times(tmp_path, [text]))
    assert "column time" in line and shown(text) in line and line.endswith("line 2")


def test_a_time_in_another_unit_or_unknown_is_refused(tmp_path):
    for texts in (
        ["1709719200000", "1709719300000", "1709719400"],
        ["1707800000"] * 2 + ["2147483647"],
    ):
        [line] = listed(read_times(tmp_path, texts))
        assert shown(texts[2]) in line and line.endswith("line 4")


def test_the_option_that_forbids_dates_is_named_and_milliseconds_are_said(tmp_path):
    [line] = listed(read_times(tmp_path, ["1707800000", "2024-02-13"], unit="seconds"))
    assert "--unit" in line and line.endswith("line 3")
    files = read_times(tmp_path, ["1707800000000", "1707800000500"])
    assert files.read("shop").interactions["timestamp"].tolist() == [1707800000, 1707800000]
    assert any("column time" in line and "1,000" in line for line in files.used)


@pytest.mark.parametrize(
    ("time", "missing"),
    [
        ("1707800000", "0"),
        ("1707800000000", "0"),
        ("1707800000", "3600"),
        ("2024-02-13", "1970-01-01"),
        ("2024-02-13 10:30", "1970-01-01 01:00"),
    ],
)
def test_a_missing_time_that_was_written_as_0_is_refused_in_a_few_rows_too(tmp_path, time, missing):
    [line] = listed(read_times(tmp_path, [time] * 9 + [missing]))
    assert shown(missing) in line and "missing" in line and line.endswith("line 11")


def test_times_of_0_in_a_unit_that_was_given_are_counted_in_a_line(tmp_path):
    files = read_times(tmp_path, ["19000"] * 9 + ["0"], unit="days")
    files.read("shop")
    [line] = [line for line in files.used if "1973" in line]
    assert "column time: 1 of 10 times" in line and "leave" in line
    files = read_times(tmp_path, ["19000"] * 10, unit="days")
    files.read("shop")
    assert not any("1973" in line for line in files.used)


@pytest.mark.parametrize("text", ["45000", "29221.5"])
def test_days_since_1900_are_refused(tmp_path, text):
    """They would be days of 2050 and later."""
    [line] = listed(read_times(tmp_path, ["19000", text], unit="days"))
    assert shown(text) in line and "25569" in line and line.endswith("line 3")


def test_a_unit_says_what_numbers_are(tmp_path):
    cases = [("days", "19000.5", 1641643200), ("milliseconds", "63072000500", 63072000)]
    for unit, text, seconds in [*cases, ("seconds", "2019", 2019)]:
        dataset = read_times(tmp_path, [text], unit=unit).read("shop")
        assert dataset.interactions["timestamp"].tolist() == [seconds]
    [line] = listed(read_times(tmp_path, ["1", "2024-02-13"], unit="days"))
    assert line.endswith("line 3")
    refused(("'weeks'", "days"), read_times(tmp_path, ["1"], unit="weeks").read, "shop")


def test_a_time_of_day_in_another_column_is_not_lost(tmp_path):
    head, row = "user,item,order date,order time,category\n", "u,b,13.02.2024,10:30,X\n"
    [line] = listed(csv(tmp_path, head + row, ""))
    assert "column order date" in line and "column order time" in line
    columns = {"timestamp": "order date"}  # dates are enough
    assert len(csv(tmp_path, head + row, "", columns=columns).read("shop").interactions) == 1
    lines = listed(csv(tmp_path, head.replace("order ", "") + row, ""))
    assert "column time" in lines[0]


@pytest.mark.parametrize(
    ("date", "name", "time"),
    [
        *[("13.02.2024", "at", t) for t in "10:30Z|10:30:00,123|10h30|10h30m05s|T10:30".split("|")],
        *[("13.02.2024", "at", t) for t in ("5:30:00 p. m.", "1899-12-30 10:30:00", "PT10H30M")],
        ("13.02.2024", "at", "0 days 10:30:00"),
        *[
            ("13.02.2024", "trans_time", text)
            for text in "10-30-00|10.30|930|1030|103000".split("|")
        ],
        ("2024-02-13 00:00:00", "at", "10:30"),
        ("2024-02-13T00:00:00.000+02:00", "at", "10:30"),
        ("2/13/2024 12:00:00 AM", "at", "10:30 PM"),
        ("Feb 2024", "at", "10:30"),
        ("2024-02", "at", "10:30"),
        ("20240213", "Hour", "0"),
        ("20240213", "Stunde", "23"),
        ("2024-02-13", "hora", "7"),
        ("2024-02-13", "Uhrzeit", "0.4375"),
        ("1707782400", "at", "10:30"),  # midnight
        ("2024-02-13", "at", "5 PM"),
        ("2024-02-13", "at", "10.30 Uhr"),
        ("2024-02-13", "clock", "0.4375"),
        ("2024-02-13", "time_of_day", "37800"),
        ("2024-02-13", "tod", "1030"),
    ],
)
def test_a_time_of_day_is_noticed_in_many_forms(tmp_path, date, name, time):
    text = f'user,item,date,{name},category\nu,b,"{date}","{time}",X\n'
    [line] = listed(csv(tmp_path, text, ""))
    assert "column date" in line and f"column {name}" in line


@pytest.mark.parametrize(
    ("date", "name", "value"),
    [
        ("2024-02-13", "price", "10.30"),
        ("2024-02-13", "ages", "10-12"),
        ("2024-02-13", "amount", "1030"),
        ("2024-02-13", "watch_time", "1090"),
        ("2024-02-13", "hours", "5"),
        ("2024-02-13", "Stunden", "5"),
        ("2024-02-13 10:30", "time_of_day", "10:30"),
        ("1707820200", "hour", "10"),
    ],
)
def test_what_is_no_time_of_day_is_not_taken_for_one(tmp_path, date, name, value):
    text = f"user,item,date,{name},category\nu,b,{date},{value},X\n"
    assert len(csv(tmp_path, text, "").read("shop").interactions) == 1


@pytest.mark.parametrize("name", ["ora", "uur", "saat", "godzina", "price"])
@pytest.mark.parametrize("date", ["2024-02-13", "1707782400", "20240213"])
def test_days_alone_are_mentioned_whatever_another_column_is_called(tmp_path, date, name):
    files = csv(tmp_path, f"user,item,date,{name},category\nu,b,{date},7,X\n", "")
    assert len(files.read("shop").interactions) == 1
    assert any("column date" in line and "without a time of day" in line for line in files.used)


@pytest.mark.parametrize("date", ["2024-02-13 10:30", "1707820200", "20240213T103000Z"])
def test_times_are_not_called_days(tmp_path, date):
    files = csv(tmp_path, f"user,item,date,ora,category\nu,b,{date},7,X\n", "")
    files.read("shop")
    assert not any("without a time of day" in line for line in files.used)


@pytest.mark.parametrize("time", ["1.70E+09", "1.7e9", "1.70000E+09", "2E+9"])
def test_times_that_a_spreadsheet_has_shortened_are_refused(tmp_path, time):
    lines = listed(csv(tmp_path, f"user,item,time,category\nu,b,{time},X\n", ""))
    assert any("column time" in line and "shortened" in line for line in lines)


def test_times_with_an_exponent_and_all_digits_are_read(tmp_path):
    files = csv(tmp_path, "user,item,time,category\nu,b,1.707820200e+09,X\n", "")
    assert files.read("shop").interactions["timestamp"].tolist() == [1707820200]


@pytest.mark.parametrize("column", ["user", "item"])
@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("1.23457E+12", "shortened"),
        ('"1,23457E+12"', "shortened"),
        *[(text, "missing") for text in r"#N/A|None|nan|null|NULL|NA|#REF!|-|\N".split("|")],
        ('"""u0"""', "quotes"),
        ("'u0'", "quotes"),
        ('="u0"', "quotes"),
        ("“u0”", "quotes"),
    ],
)
def test_ids_that_a_program_has_changed_are_refused(tmp_path, column, given, word):
    row = {"user": "u", "item": "b"} | {column: given}
    text = "user,item,time,category\nu,b,1700000000,X\n"
    lines = listed(csv(tmp_path, text + f"{row['user']},{row['item']},1700000001,X\n", ""))
    assert f"column {column}" in lines[0] and word in lines[0] and lines[0].endswith("line 3")


@pytest.mark.parametrize(
    "texts", ["9|9.0", "é|e\u0301", "5|５", "-5|\u22125", "AB-1|AB\u20111", "ｶﾞ|ガ"]
)
def test_one_id_in_two_forms_is_refused_in_a_column_and_between_files(tmp_path, texts):
    one, other = texts.split("|")
    head, items = "user,item,time\n", f"item,category\n{one},X\nb,Y\n"
    for events, column in (
        (f"u,{one},1700000000\nu,{other},1700000001\n", "item"),
        (f"u,b,1700000000\nu,{other},1700000001\n", "item"),  # the one is in the other file
        (f"{one},b,1700000000\n{other},b,1700000001\n", "user"),
    ):
        files = csv(tmp_path, head + events, items)
        named = f"{files.events}, line 3, column {column}", "another form"
        refused(named, files.read, "shop")


def test_ids_with_and_without_zeros_are_two(tmp_path):
    events = "user,item,time\n05,b,1700000000\n5,b,1700000001\n"
    assert (
        csv(tmp_path, events, "item,category\nb,X\n").read("shop").interactions["user_id"].nunique()
        == 2
    )


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["('Rock', 'Pop')", "('Rock',)", "(('A', 'B'), ['C'])"], ["Rock Pop", "Rock", "A B C"]),
        (["(Rock)", "('Til Tuesday) Rock"], ["(Rock)", "('Til_Tuesday)_Rock"]),
        (["Home &amp; Garden;Tea", "Home & Garden"], ["Home_&_Garden Tea", "Home_&_Garden"]),
        (["Home &gt; Kitchen", "Caf&eacute;"], ["Home Kitchen", "Café"]),
        (["hat&cap;shoes"], ["hat&cap shoes"]),
        (["Men&rsquo;s;A&ndash;B;X&trade;", "Tea"], ["Men’s A–B X™", "Tea"]),
        (['["A &amp; B"]', "A & B"], ["A_&_B", "A_&_B"]),
        (["A", *"null|None|nan|N/A|#N/A|-|NULL|()|[]".split("|")], ["A", *[""] * 9]),
        (["A", *"#NV|#WERT!|(null)|<null>|NaT|n.a.|(blank)|--|—|?|[NULL]".split("|")], ["A"]),
        (["$$", "#1 hits", "N.A.S.A.", "Nana"], ["$$", "#1_hits", "N.A.S.A.", "Nana"]),
        (["A|None|B", '["None", "A"]'], ["A B", "A"]),
        (["Rock\nPop", "Rock\r\n\r\nJazz", "A|B\nC|D"], ["Rock Pop", "Rock Jazz", "A B C D"]),
        (["Hip Hop", "Hip  Hop", "Hip\xa0Hop", '["Hip \xa0 Hop"]'], ["Hip_Hop"] * 4),
        (["ロック、ポップ", "ロック"], ["ロック ポップ", "ロック"]),
        (["روك، بوب"], ["روك بوب"]),
        (["Men › Shoes", "Women"], ["Men Shoes", "Women"]),
        (["A、B｜C", "C"], ["A、B C", "C"]),
    ],
)
def test_names_of_categories_in_other_forms(tmp_path, texts, names):
    quoted = (text.replace('"', '""') for text in texts)
    rows = "".join(f'b{n}\t"{text}"\n' for n, text in enumerate(quoted))
    events = "user,item,time\nu,b0,1700000000\n"
    found = csv(tmp_path, events, "item\tcategory\n" + rows).read("shop").items["categories"]
    assert [" ".join(name.replace(" ", "_") for name in row) for row in found] == (
        names + [""] * (len(texts) - len(names))
    )


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (['["Rock", "Food, Drink"]', "['A|B', \"Children's\"]"], [("Rock", "Food, Drink"), ()]),
        (['["Food, Drink"]', "Food, Drink", "Toys"], [("Food, Drink",), ("Food, Drink",)]),
        (["Rock<br>Pop", "Rock"], [("Rock", "Pop"), ("Rock",)]),
        (['"Food, Drink"', "A &amp;amp; B; C"], [("Food, Drink",), ("A & B", "C")]),
        (["'90s, Rock'n'Roll", "Rock"], [("'90s", "Rock'n'Roll"), ("Rock",)]),
        (['Vinyl [LP], 12"', "Boys', [Sale] Shoes"], [("Vinyl [LP]", '12"'), ()]),
        (['="Rock"', "'Rock'|[Pop]", "'Rock|Pop'"], [("Rock",), *[("Rock", "Pop")] * 2]),
        (['Rock<BR>Pop<br clear="all">Jazz', "Rock"], [("Rock", "Pop", "Jazz"), ("Rock",)]),
        (["[['Home', 'Tea'], ['Tools']]", "'Food, Drink', 'Tea'"], [("Home", "Tea", "Tools"), ()]),
        (["[Rock, Pop]", "[Children's, Drama's]"], [("Rock", "Pop"), ()]),
        (["Shoes, Bags|Women", "Shoes, Bags"], [("Shoes, Bags", "Women"), ("Shoes, Bags",)]),
        (["A|B", "C|D", "Food, Drink|"], [("A", "B"), ("C", "D")]),
    ],
)
def test_categories(tmp_path, texts, names):
    quoted = (text.replace('"', '""') for text in texts)
    rows = "".join(f'b{n}\t"{text}"\n' for n, text in enumerate(quoted))
    events = "user,item,time\n" + "".join(f"u,b{n},17000000{n:02}\n" for n in range(len(texts)))
    found = csv(tmp_path, events, "item\tcategory\n" + rows).read("shop").items["categories"]
    for categories, expected in zip(found, names, strict=False):
        assert categories == expected or (not expected and len(categories) == 2)


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (["Rock, Pop", "Rock, Jazz", "Jazz | Fusion"], "2, 3"),
        (["array(['Rock', 'Pop'], dtype=object)", "Rock"], "2"),
        (['c("Rock", "Food, Drink")', "Rock"], "2"),
        (["[u'Rock', u'Pop']", "Rock"], "2"),
        (["[“Rock”, “Food, Drink”]", "Rock"], "2"),
        (['"Food, Drink",Tea', "Rock"], "2"),
        (["A | B", "A | C", "B, C"], "4"),
        (["Clothing > Shirts", "Clothing, Clothing > Hoodies", "Clothing, Shoes > Men"], "3"),
        (["<python><pandas>", "<b>Rock</b>", "Home -> Tea", "A => B", ">100 EUR"], "2, 3, 4, 5, 6"),
        (["np.str_('Rock')", "b'Rock'", "u'Rock'", "WrappedArray(Rock, Pop)"], "2, 3, 4, 5"),
        (["frozenset({'A'})", "(Rock, Pop)", "Rock\\, Pop", '""[\\""A\\""]""'], "2, 3, 4, 5"),
        (["A | B", "A | C", "D\nB, C"], "4"),
        (['[{""name"": ""A""}]', '["A", "B', "{A,B}", '["A", null]'], "2, 3, 4, 5"),
    ],
)
def test_categories_that_can_be_read_in_two_ways_are_refused(tmp_path, texts, lines):
    quoted = (text.replace('""', '"').replace('"', '""') for text in texts)
    rows = "".join(f'b{n}\t"{text}"\n' for n, text in enumerate(quoted))
    events = "user,item,time\nu,b0,1700000000\n"
    [line] = listed(csv(tmp_path, events, "item\tcategory\n" + rows))
    assert "column category" in line and line.endswith(f"line {lines}")


def test_lines_that_are_no_items_or_hide_rows_are_named(tmp_path):
    events = 'user,item,time,note\nu,a,1700000000,"x\nu,b,1700000001,y\nu,c,1700000002,z"\n'
    items = "item,category\na,X\nitem,category\n----,----\nTotal,2\n"
    lines = listed(files := csv(tmp_path, events, items))
    assert "names of the columns again: line 3" in lines[0]
    assert "missing id" in lines[1] and lines[1].endswith("line 4")
    files = csv(tmp_path, events, "item,category\na,X\nTotal,2\n")
    files.read("shop")
    assert "events.csv, line 2: a cell in quotes has 1 lines" in files.used[0]
    assert "1 of 2 items have no event, the last of them 'Total'" in files.used[-1]


def test_a_column_has_one_role(tmp_path):
    text = "user,item,time,category\nu,b,1700000000,X\n"
    [line] = listed(csv(tmp_path, text, "", columns={"user_id": "item"}))
    assert "item_id" in line
    assert len(csv(tmp_path, text, "", columns={"title": "item"}).read("shop").items) == 1
    [line] = listed(csv(tmp_path, text, "", columns={"user_id": "user", "item_id": "user"}))
    assert "column 'user'" in line and "user_id and item_id" in line


@pytest.mark.parametrize("encoding", ["cp1252", "shift-jis", "cp437", "cp1251", "koi8-r", "gbk"])
def test_text_in_another_encoding_is_refused(tmp_path, encoding):
    title = {"cp1252": "Café – Bar", "cp437": "Café"}.get(encoding, "東京物語")
    title = "Москва" if encoding in ("cp1251", "koi8-r") else title
    files = csv(tmp_path)
    files.items.write_bytes(f"item,title,category\nb1,A,X\nb2,{title},X\n".encode(encoding))
    refused((f"{files.items}, line 3", "UTF-8"), files.read, "shop")


@pytest.mark.parametrize(
    ("encoding", "title"),
    [("latin-1", "Café"), ("cp1250", "łąka"), ("mac-roman", "©"), ("latin-1", "5\xa0")],
)
def test_text_that_is_not_utf_8_is_said_to_be_read_as_latin_1(tmp_path, encoding, title):
    files = csv(tmp_path)
    files.items.write_bytes(f"item,title,category\nb1,A,X\nb2,{title},X\n".encode(encoding))
    files.read("shop")
    [line] = [line for line in files.used if "UTF-8" in line]
    assert (
        line.startswith(f"{files.items}:")
        and shown(title.encode(encoding).decode("latin-1")) in line
    )
    files = csv(tmp_path)
    files.read("shop")
    assert not any("UTF-8" in line for line in files.used)


UNICODE = "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\3\4\0\0", "zip"),
        (b"PAR1\x15\0", "Parquet"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b'{"user": 1}\n', "JSON"),
        (b"1::10::5::978300760\n", "'::'"),
        *[("user,item\nu,b\n".encode(name), name[:6].upper()) for name in UNICODE],
        (b"sep=,\nuser,item\n", "remove the line sep="),
        (b'"sep=;"\nuser;item\n', "remove the line sep="),
    ],
)
def test_what_is_no_csv_is_called_what_it_is(tmp_path, content, kind):
    files = csv(tmp_path)
    for path in (files.items, files.events):
        path.write_bytes(content)
        refused((str(path), kind), files.read, "shop")
    path.rename(tmp_path / "ratings.dat")
    if kind != "zip" and not kind.startswith(("UTF", "remove")):
        given = {"directory": tmp_path / "ratings.dat", "data": tmp_path / "data"}
        refused(("ratings.dat", kind, ".csv"), fetch, "shop", **given)


def test_a_folder_or_an_archive_without_a_dataset_says_what_it_holds(tmp_path):
    (folder := tmp_path / "given").mkdir()
    (folder / "bought.parquet").write_bytes(b"PAR1")
    given = [folder, zipped(folder, tmp_path / "given.zip", "inside")]
    for path in given:
        named = str(path), "bought.parquet", ".csv"
        refused(named, fetch, "shop", directory=path, data=tmp_path / "data")
    (path := tmp_path / "bought.dat").write_text("user\titem\n1\t2\n")
    refused((str(path), "tabs", ".csv"), fetch, "shop", directory=path, data=tmp_path / "data")


@pytest.mark.parametrize("twice", ["user", "note"])
def test_a_column_that_is_there_twice_is_refused_by_its_name(tmp_path, twice):
    path = tmp_path / "events.csv"
    path.write_text(f"user,item,time,{twice},{twice}\na,b,1650000000,c,d\n")
    refused((str(path), twice, "rename"), CsvFiles(path).read, "shop")
