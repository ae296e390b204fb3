"""What the ablations found, put side by side."""

from __future__ import annotations

import pandas as pd
import pytest

from paragon.errors import ParagonError
from paragon.metrics.statistics import mean_interval
from paragon_study.report import ablations
from paragon_study.report.ablations import one_at_a_time, points_of

WAYS = {"guidance": 1.0, "steps": 2}


def row(name: str, method: str, seed: int, m: float, **more) -> dict:
    return {"name": name, "collection": name, "method": method, "seed": seed, "m": m, **more}


def test_tables_are_read_with_the_names_of_their_entries(tmp_path):
    with pytest.raises(ParagonError, match="make ablations"):
        ablations.load_tables("point", tmp_path)
    for name in ("b", "a"):
        pd.DataFrame({"seed": [0, 1]}).to_csv(tmp_path / f"point-{name}.csv", index=False)
    pd.DataFrame({"seed": [7]}).to_csv(tmp_path / "collection-a.csv", index=False)
    assert list(ablations.load_tables("point", tmp_path)["name"]) == ["a", "a", "b", "b"]
    assert list(ablations.load_tables("collection", tmp_path)["seed"]) == [7]


def test_the_usual_way_of_sampling_is_the_first_of_each_point():
    other = {"guidance": 2.0, "steps": 10}
    points = pd.DataFrame([
        row("a", "generated", 0, 1, **WAYS), row("a", "generated_best", 0, 2, **WAYS),
        row("a", "generated", 0, 3, **other), row("b", "generated", 0, 4, **other),
    ])  # fmt: skip
    assert list(ablations.usual(points)["m"]) == [1, 2, 4]


def test_differences_are_taken_seed_by_seed():
    rows = pd.DataFrame([
        *(row("a", "one", seed, value) for seed, value in ((0, 5.0), (1, 9.0), (2, 100.0))),
        *(row("a", "other", seed, value) for seed, value in ((1, 8.0), (0, 3.0))),
    ])  # fmt: skip
    found = ablations.paired(rows, "one", "other", "m").loc["a"]
    mean, low, high, _ = mean_interval(pd.Series([2.0, 1.0]).to_numpy())
    assert found.tolist() == pytest.approx([mean, low, high, 2])


def test_pooled_starts_stand_beside_one_start_by_method_and_way_of_sampling():
    rivals = pd.DataFrame([
        row("anchors-10", "ridge", 0, 1.0), row("starts-pooled", "ridge", 0, 2.0),
        row("anchors-3", "ridge", 0, 3.0),
    ])  # fmt: skip
    points = pd.DataFrame([
        row(name, "generated", 0, m, guidance=guidance, steps=steps, samples=samples)
        | {"collection": collection}
        for name, collection, m, guidance, steps, samples in (
            ("anchors-10", "anchors-10", 4.0, 1.0, 2, 1),
            ("anchors-10", "anchors-10", 0.0, 2.0, 2, 1),  # guided
            ("anchors-10", "anchors-10", 0.0, 1.0, 3, 1),  # the pooled starts have no 3 steps
            ("latent-4", "anchors-10", 0.0, 1.0, 2, 1),  # another choice
            ("starts-pooled", "starts-pooled", 5.0, 1.0, 2, 1),
            ("starts-pooled-no-behaviour", "starts-pooled", 6.0, 1.0, 1, 1),
            ("starts-pooled-no-behaviour", "starts-pooled", 7.0, 1.0, 1, 8),
        )
    ])  # fmt: skip
    found = ablations.starts(rivals, points)
    assert list(found[["way", "start", "m"]].itertuples(index=False, name=None)) == [
        ("ridge", "one start", 1.0),
        ("ridge", "three starts, as they are", 2.0),
        ("diffusion alone, 1 step", "three starts, as they are", 6.0),
        ("diffusion alone, 1 step, best of 8", "three starts, as they are", 7.0),
        ("generated, 2 steps", "one start", 4.0),
        ("generated, 2 steps", "three starts, as they are", 5.0),
    ]


def test_a_choice_stands_beside_the_default_of_the_same_seeds(settings):
    usual = {"variable": "anchors", "value": 10}
    rows = pd.DataFrame([
        *(row("default", "generated", seed, seed, **usual) for seed in (0, 1, 2)),
        *(row("few", "generated", seed, 9, variable="latent", value=4) for seed in (0, 1)),
    ])  # fmt: skip
    found = one_at_a_time(rows, "default", settings, ["latent"])
    beside = found[found["value"] == str(settings.generator.latent)]
    assert sorted(beside["seed"]) == [0, 1] and set(found["variable"]) == {"latent"}
    assert list(found.loc[found["value"] == "4", "m"]) == [9, 9]


def test_a_choice_with_few_anchors_stands_beside_few_anchors(settings):
    few = {"variable": "behavioural loss (3 anchors)", "value": "none"}
    rows = pd.DataFrame([
        row("anchors-10", "generated", 0, 1.0, variable="anchors", value=10),
        row("anchors-3", "generated", 0, 2.0, variable="anchors", value=3),
        row("anchors-3-no-behaviour", "generated", 0, 3.0, **few),
    ])  # fmt: skip
    found = one_at_a_time(rows, "anchors-10", settings, [few["variable"]])
    assert dict(zip(found["value"], found["m"], strict=True)) == {"none": 3.0, "on": 2.0}


def test_the_core_settings_in_order():
    names = ("anchors-4", "anchors-5", "anchors-10")
    rows = [row(name, "generated", 0, 1.0, backbone="sasrec") for name in names]
    found = ablations.core(pd.DataFrame(rows[:1]), pd.DataFrame(rows[1:]))
    assert list(found["setting"]) == ["10 anchors", "4 anchors"]
    own = found.assign(m=[1.0, 2.0])
    points = points_of(pd.concat([own, own.assign(m=own["m"] + 2)]), ["m"])
    assert list(points["dataset"]) == ["10 anchors", "4 anchors"]
    assert list(points["mean"]) == [2, 3] and (points["low"] < points["mean"]).all()


def test_one_step_of_the_generator_does_what_two_do():
    points = ablations.load_tables("point")
    own = points.query("method == 'generated' and guidance == 1 and name == 'anchors-10'")
    steps = own.groupby("steps")["regret_mean"].mean()
    assert abs(steps[1] - steps[2]) < 0.02
