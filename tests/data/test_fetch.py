"""Fetching: sources, checks, what is recorded, and what is left after a failure."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from paragon.data.atomic import read_atomic
from paragon.data.fetch import fetch, load_dataset
from paragon.data.files import check_download
from paragon.data.registry import REGISTRY, notice
from paragon.errors import ParagonError

pytestmark = pytest.mark.usefixtures("small_copies")
ROOT = Path(__file__).parents[2]
USER = "user_id:token\tgender:token\nu1\tF\n"


def tree(folder):
    """Every file below a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- from a folder ----------------------------------------------------------------------------


def test_own_files_are_copied_as_they_are(own, tmp_path):
    given = own(name="anything")
    folder = fetch("mine", directory=given, data=tmp_path / "data")
    assert folder == tmp_path / "data" / "mine"
    assert set(tree(folder)) == {"mine.inter", "mine.item", "mine.user"}
    assert (folder / "mine.inter").read_bytes() == (given / "anything.inter").read_bytes()
    assert load_dataset("mine", tmp_path / "data").source == "own"


def test_errors_in_own_files_name_the_users_file(own, tmp_path):
    given = own("user_id:token\titem_id:token\ttimestamp:float\nu\ta\tx\n")
    with pytest.raises(ParagonError) as caught:
        fetch("mine", directory=given, data=tmp_path / "data")
    assert str(caught.value).startswith(f"{given / 'mine.inter'}, line 2, column timestamp")


def test_a_failure_leaves_the_old_data(own, tmp_path):
    fetch("mine", directory=own(), data=tmp_path / "data")
    before = tree(tmp_path / "data")
    with pytest.raises(ParagonError):
        fetch("mine", directory=own(item=""), data=tmp_path / "data")
    assert tree(tmp_path / "data") == before


def test_a_failure_while_installing_puts_the_old_data_back(own, tmp_path, monkeypatch):
    fetch("mine", directory=own(), data=tmp_path / "data")
    before = tree(tmp_path / "data")
    real = os.rename

    def fails_on_new(source, target):
        if str(source).endswith("new"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "rename", fails_on_new)
    other = own("user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\n")
    with pytest.raises(ParagonError, match="cannot write to .*No space left"):
        fetch("mine", directory=other, data=tmp_path / "data")
    assert tree(tmp_path / "data") == before
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine"]


def test_new_files_replace_the_old_folder_whole(own, tmp_path):
    fetch("mine", directory=own(), data=tmp_path / "data")
    given = own()
    (given / "mine.user").unlink()
    (tmp_path / "data" / ".mine.fetching-killed").mkdir()
    fetch("mine", directory=given, data=tmp_path / "data")
    assert set(tree(tmp_path / "data")) == {"mine/mine.inter", "mine/mine.item"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine"]


@pytest.mark.parametrize("form", ["folder", "archive", "above"])
def test_files_that_lie_where_the_dataset_goes_stay(ml1m, tmp_path, zipped, form):
    """They would be read, and then removed with the folder that the result replaces."""
    data = tmp_path / "data"
    (data / "ml-1m").parent.mkdir()
    ml1m.rename(data / "ml-1m")
    given = data / "ml-1m" if form == "folder" else data
    if form == "archive":
        given = zipped(data / "ml-1m", data / "ml-1m" / "ml-1m.zip", "ml-1m")
    before = tree(data)
    with pytest.raises(ParagonError, match="from a folder elsewhere|move it elsewhere"):
        fetch("ml-1m", directory=given, data=data)
    assert tree(data) == before


@pytest.mark.parametrize("foreign", ["mine/notes.txt", "mine/mine.inter/sub", "mine"])
def test_what_is_no_dataset_is_not_replaced(own, tmp_path, foreign):
    path = tmp_path / "data" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(ParagonError, match="move it elsewhere, nothing was changed"):
        fetch("mine", directory=own(), data=tmp_path / "data")
    assert tree(tmp_path / "data") == {foreign: b"mine"}


def test_old_data_comes_back_after_a_process_was_killed_between_the_renames(
    own, tmp_path, monkeypatch
):
    data = tmp_path / "data"
    fetch("mine", directory=own(), data=data)
    before = tree(data / "mine")
    (data / ".mine.fetching-killed").mkdir()
    os.rename(data / "mine", data / ".mine.fetching-killed" / "old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    other = own("user_id:token\titem_id:token\ttimestamp:float\nu1\ta\t1\n")
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "mkdtemp", full)
        with pytest.raises(ParagonError, match="No space left"):
            fetch("mine", directory=other, data=data)
    assert tree(data) == {f"mine/{name}": content for name, content in before.items()}


KILLED = """
import os, sys
from pathlib import Path
from paragon.data.fetch import fetch

real = os.rename
os.rename = lambda source, target: os._exit(9) if str(source).endswith("new") else real(
    source, target
)
fetch("mine", directory=Path(sys.argv[1]), data=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("then", ["load", "fetch"])
def test_a_process_killed_between_the_renames_hides_nothing(own, tmp_path, then):
    data = tmp_path / "data"
    fetch("mine", directory=own(), data=data)
    before, expected = tree(data), load_dataset("mine", data)
    other = own("user_id:token\titem_id:token\ttimestamp:float\nu1\ta\t1\n")
    done = subprocess.run([sys.executable, "-c", KILLED, other, data], cwd=ROOT)
    assert done.returncode == 9 and not (data / "mine").exists()
    if then == "load":
        assert load_dataset("mine", data).fingerprint == expected.fingerprint
        assert tree(data) == before
    else:
        fetch("mine", directory=other, data=data)
        assert (data / "mine" / "mine.inter").read_bytes() == (other / "mine.inter").read_bytes()
    assert [path.name for path in data.iterdir()] == ["mine"]


def test_an_official_dataset_is_put_back_and_not_fetched_again(ml1m, tmp_path, zipped, monkeypatch):
    data = tmp_path / "data"
    archive = zipped(ml1m, tmp_path / "ml-1m.zip", "ml-1m")
    _publish(monkeypatch, "ml-1m", archive, "http://127.0.0.1:9/none")
    fetch("ml-1m", directory=archive, data=data)
    before = tree(data)
    (data / ".ml-1m.fetching-killed").mkdir()
    (data / "ml-1m").rename(data / ".ml-1m.fetching-killed" / "old")
    assert fetch("ml-1m", data=data) == data / "ml-1m"
    assert tree(data) == before


def test_simultaneous_fetches_and_loads_of_one_name(tmp_path):
    """Whichever is last, each of them sees one of the two contents, whole."""
    data, times = tmp_path / "data", (1, 2)
    givens = []
    for time in times:
        given = tmp_path / f"given{time}"
        given.mkdir()
        header = "user_id:token\titem_id:token\ttimestamp:float\n"
        (given / "mine.inter").write_text(f"{header}u\ta{time}\t{time}\n")
        (given / "mine.item").write_text(f"item_id:token\tgenre:token_seq\na{time}\tX\n")
        givens.append(given)
    fetch("mine", directory=givens[0], data=data)
    prints, errors = set(), []

    def work(given):
        try:
            for _ in range(15):
                fetch("mine", directory=given, data=data)
                prints.add(load_dataset("mine", data).fingerprint)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(given,)) for given in givens * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(prints) == 2
    assert [path.name for path in data.iterdir()] == ["mine"]


def test_hidden_files_are_not_data(own, tmp_path):
    given = own()
    for name in ("._mine.inter", ".other.inter", ".mine.inter.x.part"):
        (given / name).write_text("left")
    assert read_atomic(given).name == "mine"
    folder = fetch("shop", directory=given, data=tmp_path / "data")
    assert set(tree(folder)) == {"shop.inter", "shop.item", "shop.user"}
    (given / "mine.inter").unlink()
    with pytest.raises(ParagonError, match="does not hold shop.inter"):
        fetch("shop", directory=given, data=tmp_path / "data")


def test_a_folder_that_cannot_go_back_is_kept(own, tmp_path, monkeypatch):
    data, real = tmp_path / "data", os.rename
    fetch("mine", directory=own(), data=data)
    before = tree(data / "mine")

    def only_away(source, target):
        if str(target).endswith("mine"):
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "rename", only_away)
    with pytest.raises(ParagonError, match="Input/output error"):
        fetch("mine", directory=own(user=USER), data=data)
    (stage,) = data.iterdir()
    assert tree(stage / "old") == before


def test_a_registered_name_records_its_source(ml1m, tmp_path, zipped):
    folder = fetch("ml-1m", directory=ml1m, data=tmp_path / "data")
    assert load_dataset("ml-1m", tmp_path / "data").source == "folder (not the official file)"
    record = json.loads((folder / "ml-1m.source.json").read_text())
    ratings = hashlib.sha256((ml1m / "ratings.dat").read_bytes()).hexdigest()
    assert record["raw_sha256"]["ratings.dat"] == ratings
    assert str(tmp_path) not in (folder / "ml-1m.source.json").read_text()

    again = fetch("ml-1m", directory=ml1m, data=tmp_path / "again")
    assert tree(folder) == tree(again)
    fetch("ml-1m-time", directory=ml1m, words="reconstructed", data=tmp_path / "data")
    same = load_dataset("ml-1m-time", tmp_path / "data")
    assert same.source == "folder (not the official file): reconstructed"
    assert same.fingerprint == load_dataset("ml-1m", tmp_path / "data").fingerprint


def test_a_copy_of_another_size_is_refused_or_says_so(ml1m, tmp_path, monkeypatch):
    """Rows that are missing or foreign; what its owner says of the copy is kept with its size."""
    data = tmp_path / "data"
    for size in ((4, 2, 2), (3, 3, 2), (3, 2, 1)):
        monkeypatch.setitem(REGISTRY, "ml-1m", replace(REGISTRY["ml-1m"], size=size))
        with pytest.raises(ParagonError, match="has 3 interactions, 2 users, 2 items, the publish"):
            fetch("ml-1m", directory=ml1m, data=data)
        assert not data.exists()
    monkeypatch.setitem(REGISTRY, "ml-1m", replace(REGISTRY["ml-1m"], size=(1_000, 2, 2)))
    folder = fetch("ml-1m", directory=ml1m, words="for a class", data=data)
    label = "folder (not the official file): for a class, 3 of 1,000 interactions"
    assert load_dataset("ml-1m", data).source == label
    (folder / "ml-1m.source.json").unlink()  # files put there by hand
    with pytest.raises(ParagonError, match=r"data/ml-1m: this copy of ml-1m has 3 interactions"):
        load_dataset("ml-1m", data)


def test_an_official_archive_is_recognised(ml1m, tmp_path, zipped, monkeypatch):
    archive = zipped(ml1m, tmp_path / "ml-1m.zip", "ml-1m")
    for directory in (tmp_path, archive):
        fetch("ml-1m", directory=directory, data=tmp_path / "data")
        assert load_dataset("ml-1m", tmp_path / "data").source == "folder (not the official file)"
    _publish(monkeypatch, "ml-1m", archive)
    fetch("ml-1m", directory=tmp_path, data=tmp_path / "data")
    assert load_dataset("ml-1m", tmp_path / "data").source == "official (checksums match)"


def test_altered_data_is_refused(ml1m, tmp_path):
    folder = fetch("ml-1m", directory=ml1m, data=tmp_path / "data")
    with open(folder / "ml-1m.inter", "a") as file:
        file.write("1\t20\t5\t1\n")
    with pytest.raises(ParagonError, match=r"ml-1m\.inter was altered since it was fetched"):
        load_dataset("ml-1m", tmp_path / "data")
    (folder / "ml-1m.source.json").write_text("{")
    with pytest.raises(ParagonError, match=r"source\.json cannot be read"):
        load_dataset("ml-1m", tmp_path / "data")
    folder.rename(tmp_path / "data" / "ml-100k")
    for path in (tmp_path / "data" / "ml-100k").iterdir():
        path.rename(path.with_name(path.name.replace("ml-1m", "ml-100k")))
    (tmp_path / "data" / "ml-100k" / "ml-100k.source.json").unlink()
    with pytest.raises(ParagonError, match=r"ml-100k\.inter was altered: .* another name"):
        load_dataset("ml-100k", tmp_path / "data")


BAD_DIRECTORIES = {
    "missing": (lambda path: path / "none", "does not exist"),
    "empty": (lambda path: path, "does not hold ratings.dat, movies.dat, users.dat, nor ml-1m.int"),
}


@pytest.mark.parametrize("case", BAD_DIRECTORIES)
def test_bad_directories(case, tmp_path):
    make, expected = BAD_DIRECTORIES[case]
    with pytest.raises(ParagonError) as caught:
        fetch("ml-1m", directory=make(tmp_path), data=tmp_path / "data")
    assert expected in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_two_datasets_in_one_folder(own, tmp_path):
    own(name="one")
    with pytest.raises(ParagonError, match=r"found 2 files \*\.inter \(one, two\)"):
        fetch("mine", directory=own(name="two"), data=tmp_path / "data")


def test_unknown_names(tmp_path):
    with pytest.raises(ParagonError, match="unknown dataset 'ml-2m': known are ml-100k, ml-1m"):
        fetch("ml-2m", data=tmp_path)
    with pytest.raises(ParagonError, match="not a name for a dataset"):
        fetch("../ml-1m", data=tmp_path)
    with pytest.raises(ParagonError, match="unknown source 'wheel'"):
        fetch("ml-1m", source="wheel", data=tmp_path)
    with pytest.raises(ParagonError, match="accept its terms"):
        fetch("mind", data=tmp_path)


# --- archives ---------------------------------------------------------------------------------


def test_a_truncated_archive(ml1m, tmp_path, zipped):
    archive = zipped(ml1m, tmp_path / "ml-1m.zip", "ml-1m")
    whole = archive.read_bytes()
    for data in (whole[: len(whole) // 2], whole[:100] + b"\0" * 40 + whole[140:], b""):
        archive.write_bytes(data)
        with pytest.raises(ParagonError, match=r"ml-1m\.zip is truncated, damaged"):
            fetch("ml-1m", directory=tmp_path, data=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_truncated_gzip(ml1m, tmp_path):
    whole = gzip.compress((ml1m / "ratings.dat").read_bytes())
    (ml1m / "ratings.dat").unlink()
    for data in (whole[:-12], b"plain text"):
        (ml1m / "ratings.dat.gz").write_bytes(data)
        with pytest.raises(
            ParagonError, match=r"ratings\.dat\.gz is truncated, damaged or no gzip"
        ):
            fetch("ml-1m", directory=ml1m, data=tmp_path / "data")


def test_an_archive_with_two_of_a_file(ml1m, tmp_path, zipped):
    archive = zipped(ml1m, tmp_path / "ml-1m.zip", "ml-1m")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("old/ratings.dat", "1::10::1::1\n")
    with pytest.raises(
        ParagonError, match=r"holds 2 files ratings\.dat \('ml-1m/ratings\.dat', 'o"
    ):
        fetch("ml-1m", directory=tmp_path, data=tmp_path / "data")


def test_damaged_lzma(ml1m, tmp_path):
    archive = tmp_path / "ml-1m.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as opened:
        for path in sorted(ml1m.iterdir()):
            opened.writestr(path.name, path.read_bytes() * 50)
    whole = bytearray(archive.read_bytes())
    whole[45:90] = b"\xff" * 45
    archive.write_bytes(whole)
    with pytest.raises(ParagonError, match=r"ml-1m\.zip is truncated, damaged"):
        fetch("ml-1m", directory=tmp_path, data=tmp_path / "data")


@pytest.mark.parametrize("path", ["../evil.txt", "/etc/evil", "a/../../evil", "..\\evil", "C:\\e"])
def test_a_path_out_of_the_archive(ml1m, tmp_path, zipped, path):
    archive = zipped(ml1m, tmp_path / "ml-1m.zip", "ml-1m")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(path, "x")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ParagonError, match="leads out of its folder"):
        fetch("ml-1m", directory=tmp_path, data=tmp_path / "data")
    assert set(tmp_path.rglob("*")) == before


# --- downloads --------------------------------------------------------------------------------


def _publish(monkeypatch, name, archive, url=None):
    """Pretend that this archive is the one that was published."""
    entry = REGISTRY[name]
    known = replace(
        entry.archives[0],
        sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
        size=archive.stat().st_size,
        url=url or entry.archives[0].url,
    )
    monkeypatch.setitem(REGISTRY, name, replace(entry, archives=(known,)))


@pytest.fixture
def server():
    """A local web server that answers every GET with (status, promised length, body)."""
    answer = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, length, body = answer["now"]
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        answer["url"] = f"http://127.0.0.1:{httpd.server_port}/ml-1m.zip"
        yield answer
        httpd.shutdown()


def test_download(ml1m, tmp_path, zipped, server, monkeypatch):
    archive = zipped(ml1m, tmp_path / "ml-1m.zip", "ml-1m")
    whole = archive.read_bytes()
    _publish(monkeypatch, "ml-1m", archive, server["url"])
    data = tmp_path / "data"
    for status, length, body, expected in (
        (404, 0, b"", "could not be downloaded"),
        (200, len(whole), whole[:50], "could not be downloaded"),
        (200, 50, whole[:50], f"(50 of {len(whole):,} bytes, sha256"),
        (200, len(whole), whole[:-1] + b"x", "was not received as published"),
    ):
        server["now"] = (status, length, body)
        with pytest.raises(ParagonError) as caught:
            fetch("ml-1m", data=data)
        assert expected in str(caught.value) and "--from DIR" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not data.exists()

    server["now"] = (200, len(whole), whole)
    fetch("ml-1m", data=data)
    assert load_dataset("ml-1m", data).source == "official (checksums match)"
    given = fetch("ml-1m", directory=tmp_path, data=tmp_path / "other")
    assert tree(given) == tree(data / "ml-1m")

    server["now"] = (500, 0, b"")  # in place: nothing is asked for again
    assert fetch("ml-1m", data=data) == data / "ml-1m"


def test_the_wheel_must_be_the_known_one(tmp_path):
    wheel = tmp_path / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("recbole/dataset_example/ml-100k/ml-100k.inter", "x")
    entry = REGISTRY["ml-100k"]
    with pytest.raises(ParagonError, match=r"not received as published .*--source official"):
        check_download(wheel, entry.wheel, entry)


def test_pip_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ParagonError, match="pip could not download recbole-1.2.1"):
        fetch("ml-100k", data=tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["ml-100k", "ml-100k-paper"])
def test_the_wheel_comes_through_pip(name, own, tmp_path, monkeypatch):
    given = own(name="ml-100k")
    files = {path.suffix[1:]: path.read_bytes() for path in given.iterdir()}
    wheel = tmp_path / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for suffix, content in files.items():
            archive.writestr(f"recbole/dataset_example/ml-100k/ml-100k.{suffix}", content)
    stub = tmp_path / "python"
    stub.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n'
        'while [ "$1" != --dest ]; do shift; done\n'
        f'cp {wheel} "$2"\n'
    )
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    entry = REGISTRY[name]
    sums = {suffix: hashlib.sha256(content).hexdigest() for suffix, content in files.items()}
    known = replace(entry.wheel, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setitem(REGISTRY, name, replace(entry, wheel=known, files=sums))

    folder = fetch(name, data=tmp_path / "data")
    assert tree(folder) == {f"{name}.{suffix}": content for suffix, content in files.items()}
    assert load_dataset(name, tmp_path / "data").source == "official (checksums match)"
    arguments = (tmp_path / "arguments").read_text()
    assert "pip download recbole==1.2.1 --no-deps --only-binary=:all:" in arguments

    monkeypatch.setitem(REGISTRY, name, replace(entry, wheel=known))
    with pytest.raises(ParagonError, match=rf"{name}\.inter has the sha256 .* nothing was kept"):
        fetch(name, data=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_every_entry_has_licence_and_citation():
    for name in REGISTRY:
        text = notice(name)
        assert "Licence:" in text and "Please cite:" in text and len(text.splitlines()) == 3
    assert notice("mine") == ""
