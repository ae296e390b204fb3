"""Files and values nobody thought of: either a documented error or the right result.

hypothesis draws them: random bytes, cut files, changed bytes, words that are hard to read, rotated
columns and odd encodings.  `make test` tries a few, `make test-all` thousands.
"""

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from paragon import ParagonError
from paragon.data import fetch as fetching
from paragon.data.atomic import write_atomic
from paragon.data.table import Dataset
from paragon.objectives.weights import check_weights
from paragon.params import ROOT, Params, checked, load_params
from paragon.serving.lists import Options, Past
from paragon.storage import load_tensors, save_tensors
from tests.data.conftest import LAYOUTS, OWN, encoding_of

FOLDERS = {"mine": {f"mine.{suffix}": text for suffix, text in OWN.items()}, **LAYOUTS}
WORDS = st.sampled_from([
    "\t", "\n", "\r", "\0", "\ufeff", "\u200b", "\ud800", "'", '"', ",", "|", "::", "", " ", "-1",
    "nan", "inf", "1e999", "0x10", "1_0", "٣", "978300760000", "1" * 400, "null", "[]", "{", "é",
]) | st.text(max_size=6)  # fmt: skip
ENCODINGS = st.sampled_from(["utf-8", "latin-1", "utf-16", "utf-8-sig", "cp500", "utf-7"])


@st.composite
def damaged(draw, data):
    """Bytes of a good file after one to three accidents."""
    for _ in range(draw(st.integers(1, 3))):
        place, lines = draw(st.integers(0, len(data))), data.split(b"\n")
        line = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["cut", "bytes", "word", "rotate", "line", "encoding", "all"]))
        before, after = data[:place], data[place:]
        if kind == "cut":
            data = before
        elif kind == "bytes":
            data = before + draw(st.binary(max_size=4)) + after[1:]
        elif kind == "word":
            data = before + draw(WORDS).encode("utf-8", "surrogatepass") + after
        elif kind == "rotate":
            fields = lines[line].split(b"\t")
            data = b"\n".join(
                [*lines[:line], b"\t".join(fields[1:] + fields[:1]), *lines[line + 1 :]]
            )
        elif kind == "line":
            data = b"\n".join([*lines[:line], *lines[line : line + 1] * draw(st.integers(0, 2))])
        elif kind == "encoding":
            data = data.decode("latin-1").encode(draw(ENCODINGS), "replace")
        else:
            data = draw(st.binary(max_size=200))
    return data


def documented(function, *arguments):
    """What comes back, or None after an error that a person can read."""
    try:
        return function(*arguments)
    except ParagonError as error:
        message = str(error)
        assert "\n" not in message and 10 < len(message) < 1_500, message
        return None


@given(st.sampled_from(sorted(FOLDERS)), st.data())
def test_a_damaged_file_is_refused_or_read_right(layout, data):
    chosen = data.draw(st.sampled_from(sorted(FOLDERS[layout])))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "given").mkdir()
        for filename, text in FOLDERS[layout].items():
            good = text.encode(encoding_of(layout))
            written = data.draw(damaged(good)) if filename == chosen else good
            (root / "given" / filename).write_bytes(written)
        dataset = documented(fetched, layout, root)
        if dataset is not None:
            check_dataset(dataset, root)
            if layout == "mine":
                events = dataset.interactions.itertuples(index=False, name=None)
                assert Counter(events) == by_hand((root / "given" / "mine.inter").read_bytes())


def fetched(name, root):
    """A dataset after ``fetch --from``; copies of a few rows count as complete."""
    known = {name: replace(entry, size=None) for name, entry in fetching.REGISTRY.items()}
    with mock.patch.object(fetching, "REGISTRY", known):
        try:
            fetching.fetch(name, directory=root / "given", data=root / "data")
        except ParagonError:
            assert not (root / "data").exists()
            raise
        return fetching.load_dataset(name, root / "data")


def by_hand(data):
    """The different events of an atomic file, in the simplest way."""
    header, *lines = data.decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n").split("\n")
    names = [column.strip().partition(":")[0] for column in header.split("\t")]
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines]
    events = {(r["user_id"], r["item_id"], float(r["timestamp"])): r for r in rows[::-1]}
    unit = 1000 if max(time for *_, time in events) > 1e11 else 1
    return Counter(
        (user, item, float(row.get("rating", 1)), int(time / unit // 1))
        for (user, item, time), row in events.items()
    )


def check_dataset(dataset, root):
    """What every dataset that was read fulfils; it can be written and is the same when read."""
    events, items, users = dataset.interactions, dataset.items, dataset.users
    assert len(events) and set(events["item_id"]) <= set(items["item_id"])
    assert items["item_id"].is_unique and users["user_id"].is_unique
    assert np.isfinite(events["rating"]).all() and (events["rating"] >= 0).all()
    assert (events["timestamp"] >= 0).all()
    for ids in (events["user_id"], items["item_id"], users["user_id"]):
        assert all(text.isprintable() and text.strip() == text != "" for text in ids)
    if documented(write_atomic, replace(dataset, name="copy"), root / "copy") is not None:
        again = fetching.load_dataset("copy", root)
        pd.testing.assert_frame_equal(again.interactions, events)
        assert again.items["item_id"].tolist() == items["item_id"].tolist()
        assert list(map(len, again.items["categories"])) == list(map(len, items["categories"]))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text()
    | st.binary(max_size=3) | st.datetimes() | st.decimals(allow_nan=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)  # fmt: skip
COLUMNS = ("user_id", "item_id", "rating", "timestamp")


@given(st.dictionaries(st.sampled_from(COLUMNS), st.lists(VALUES, max_size=3) | VALUES), st.data())
def test_tables_of_anything_are_refused_or_read_right(columns, data):
    """Some columns of a good table are anything."""
    good = {"user_id": ["u", "v"], "item_id": ["a", "b"], "rating": [1, 2], "timestamp": [1, 2]}
    items = {"item_id": ["a", "b"], "categories": data.draw(st.just([["X"], []]) | VALUES)}
    dataset = documented(Dataset.from_frame, good | columns, items)
    if dataset is not None:
        with tempfile.TemporaryDirectory() as name:
            check_dataset(dataset, Path(name))


@given(damaged((ROOT / "params.yaml").read_bytes()))
def test_a_damaged_params_file_is_refused_or_valid(data):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "params.yaml")
        path.write_bytes(data)
        found = documented(load_params, path)
    if found is not None:
        assert Params.model_validate(yaml.safe_load(data.decode())) == found


@given(st.sampled_from([".json", ".safetensors"]), st.data())
def test_a_damaged_artifact_is_refused_or_equal(suffix, data):
    saved = {"mean": torch.arange(6.0).view(2, 3), "order": torch.tensor([2, 0, 1])}
    with tempfile.TemporaryDirectory() as name:
        stem = Path(name, "seed0")
        save_tensors(stem, saved, {"kind": "generator", "floor": [0.001, 0]})
        path = stem.with_name(f"seed0{suffix}")
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        found = documented(load_tensors, stem, "generator")
    if found is not None:
        tensors, about = found
        assert all(torch.equal(tensors[name], saved[name]) for name in saved)
        assert (about["kind"], about["floor"]) == ("generator", [0.001, 0])


@given(VALUES, VALUES, VALUES)
def test_requests_of_anything_are_refused_or_meant(one, two, three):
    found = documented(checked, Past, {"history": one, "times": two}, "request.")
    assert found is None or found.history == [*one]
    options = documented(checked, Options, {"k": one, "only": two, "without": three}, "request.")
    assert options is None or options.k == one
    weights = documented(check_weights, one, ["accuracy", "diversity"], True)
    assert weights is None or np.allclose(weights.sum(1), 1) and (weights >= 0).all()
