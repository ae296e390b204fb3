"""Sentences on the ablations have their numbers, and are refused where the tables say otherwise."""

import shutil

import pandas as pd
import pytest

from paragon.errors import ParagonError
from paragon.params import ABLATIONS
from paragon.report import documents
from paragon.report.documents import ablation_words


@pytest.fixture
def tables(tmp_path):
    """A copy of the committed tables, to be changed."""
    return shutil.copytree(ABLATIONS, tmp_path / "results")


def change(tables, name, column, value, method="generated", **where):
    """Set ``column`` in the rows of a method, and of a way of sampling if one is given."""
    path = tables / f"{name}.csv"
    table = pd.read_csv(path)
    rows = table["method"] == method
    for key, wanted in where.items():
        rows &= table[key] == wanted
    assert rows.any()
    table.loc[rows, column] = value
    table.to_csv(path, index=False)


def test_sentences_have_the_numbers_of_the_tables(tables):
    change(tables, "point-anchors-3", "regret_mean", 0.0678, steps=2)
    change(tables, "point-anchors-3-no-behaviour", "regret_mean", 0.512, steps=50)
    text = ablation_words(tables)
    assert "to 6.8 % (`generated`)" in text and "regret of 51 % with three anchors" in text
    change(tables, "collection-starts-pooled", "regret_median", 0.789, method="ridge")
    assert "ridge regression 79 %" in documents.starts(tables)


@pytest.mark.parametrize(
    ("name", "value", "claim"),
    [
        ("point-gru4rec-anchors-4", 0.3, "Both follow the oracle"),
        ("point-anchors-3-no-behaviour", 0.01, "Few anchors need"),
        ("point-anchors-10-no-behaviour", 0.3, "Few anchors need"),
        ("point-tokens-add-once", -0.05, "What generates is no longer"),
    ],
)
def test_a_sentence_that_no_longer_holds_is_refused(tables, name, value, claim):
    change(tables, name, "regret_mean", value)
    with pytest.raises(ParagonError, match=f"no longer say so.*{claim}"):
        ablation_words(tables)


def test_seeds_that_tell_the_two_apart_break_the_sentence(tables):
    path = tables / "collection-anchors-10.csv"
    table = pd.read_csv(path)
    own = table["method"] == "hypernetwork"
    table.loc[own, "regret_mean"] = -0.5 + 0.01 * table.loc[own, "seed"]
    table.to_csv(path, index=False)
    with pytest.raises(ParagonError, match="Both follow the oracle"):
        ablation_words(tables)


def test_a_choice_that_the_seeds_tell_apart_is_named(tables):
    path = tables / "point-latent-8.csv"
    base = pd.read_csv(tables / "point-anchors-10.csv").query(
        "method == 'generated' and steps == 2"
    )
    base = base.drop_duplicates("seed").set_index("seed")["choice"]
    table = pd.read_csv(path)
    table["choice"] = table["seed"].map(base) + 0.01 + 0.0001 * table["seed"]
    table.to_csv(path, index=False)
    assert "latent 8 (+" in ablation_words(tables)
    table["choice"] -= 0.02
    table.to_csv(path, index=False)
    with pytest.raises(ParagonError, match="Little else matters"):
        ablation_words(tables)


@pytest.mark.parametrize(("method", "value"), [("interpolation", 0.01), ("nearest", 0.3)])
def test_starts_that_can_be_averaged_break_the_sentence(tables, method, value):
    change(tables, "collection-starts-pooled", "regret_median", value, method=method)
    with pytest.raises(ParagonError, match="averages loses its way"):
        documents.starts(tables)
