"""What the ablations found, put side by side."""

from __future__ import annotations

import pandas as pd
import pytest

from paragon import ablation_tables
from paragon.errors import ParagonError
from paragon.statistics import mean_interval

WAYS = {"guidance": 1.0, "steps": 2}


def row(name: str, method: str, seed: int, m: float, **more) -> dict:
    return {"name": name, "collection": name, "method": method, "seed": seed, "m": m, **more}


def test_tables_are_read_with_the_names_of_their_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(ablation_tables, "RESULTS", tmp_path)
    with pytest.raises(ParagonError, match="make ablations"):
        ablation_tables.load("point")
    for name in ("b", "a"):
        pd.DataFrame({"seed": [0, 1]}).to_csv(tmp_path / f"point-{name}.csv", index=False)
    pd.DataFrame({"seed": [7]}).to_csv(tmp_path / "collection-a.csv", index=False)
    assert list(ablation_tables.load("point")["name"]) == ["a", "a", "b", "b"]
    assert list(ablation_tables.load("collection")["seed"]) == [7]


def test_the_usual_way_of_sampling_is_the_first_of_each_point():
    other = {"guidance": 2.0, "steps": 10}
    points = pd.DataFrame([
        row("a", "generated", 0, 1, **WAYS), row("a", "generated_best", 0, 2, **WAYS),
        row("a", "generated", 0, 3, **other), row("b", "generated", 0, 4, **other),
    ])  # fmt: skip
    assert list(ablation_tables.usual(points)["m"]) == [1, 2, 4]


def test_differences_are_taken_seed_by_seed():
    rows = pd.DataFrame([
        *(row("a", "one", seed, value) for seed, value in ((0, 5.0), (1, 9.0), (2, 100.0))),
        *(row("a", "other", seed, value) for seed, value in ((1, 8.0), (0, 3.0))),
    ])  # fmt: skip
    found = ablation_tables.paired(rows, "one", "other", "m").loc["a"]
    mean, low, high, _ = mean_interval(pd.Series([2.0, 1.0]).to_numpy())
    assert found.tolist() == pytest.approx([mean, low, high, 2])


def test_entries_keep_the_order_that_was_asked_for():
    one, two = pd.DataFrame([row("a", "x", 0, 1.0)]), pd.DataFrame([row("b", "y", 0, 2.0)])
    assert list(ablation_tables.side_by_side(one, two, ["b", "a"])["name"]) == ["b", "a"]
    assert list(ablation_tables.side_by_side(one, two, ["b"])["name"]) == ["b"]


def test_a_choice_stands_beside_the_default_of_the_same_seeds(settings):
    usual = {"variable": "anchors", "value": 10}
    rows = pd.DataFrame([
        *(row("default", "generated", seed, seed, **usual) for seed in (0, 1, 2)),
        *(row("few", "generated", seed, 9, variable="latent", value=4) for seed in (0, 1)),
    ])  # fmt: skip
    found = ablation_tables.one_at_a_time(rows, "default", settings, ["latent"])
    beside = found[found["value"] == str(settings.diffusion.latent)]
    assert sorted(beside["seed"]) == [0, 1] and set(found["variable"]) == {"latent"}
    assert list(found.loc[found["value"] == "4", "m"]) == [9, 9]
