"""The times of benchmarks/run.py: what is told of them, and from when on generation pays."""

import importlib
import json

import pytest
import torch

from paragon.params import RESULTS, ROOT


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("run")


def test_generation_pays_from_the_first_change_at_which_it_took_no_longer(bench):
    cases = [(10, 1, 3, 5), (10, 1, 3.01, 5), (10, 1, 2.99, 6), (0.5, 0, 10, 1)]
    for first, generate, other, change in cases:
        assert bench.pays_after(first, generate, other) == change
        assert first + change * generate <= change * other
        assert first + (change - 1) * generate > (change - 1) * other
    assert bench.pays_after(10, 2, 2) is bench.pays_after(10, 3, 2) is None
    records = [json.loads(path.read_text()) for path in RESULTS.glob("*/timing.json")]
    for timing in (timing for record in records for timing in record.values()):
        first, generate = sum(timing["prepare"].values()), timing["generate"]["p50"]
        for name, change in timing["pays_after"].items():
            assert change == bench.pays_after(first, generate, timing[name]["p50"])


def test_percentiles_are_of_the_calls_that_count(bench, monkeypatch):
    calls, clock = [], iter(range(1000))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock) ** 2 / 100)
    times = bench.seconds(lambda: calls.append(1), 5, "x")
    assert len(calls) == 6  # the first is not counted
    # 0.01, 0.05, 0.09, 0.13 and 0.17 s
    assert times == {"p50": 0.09, "p99": pytest.approx(0.1684), "runs": 5}
    assert bench.seconds(lambda: calls.append(1), 2, "x")["runs"] == len(calls) - 6 == 2


def test_the_page_on_serving_has_the_recorded_numbers():
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    records = json.loads((ROOT / "benchmarks" / "serving.json").read_text(encoding="utf-8"))
    for study, own in records.items():
        two, one, busy = own["threads_2"], own["threads_1"], own["service"]["0.1"]
        singly = [
            f"{1e3 * one[name]['p50']:.1f}, {1e3 * one[name]['p99']:.1f} ms"
            for name in ("one_new_weights", "one_same_weights")
        ]
        many = f"{two['many']['p50']:.2f} s ({one['many']['p50']:.2f} s)"
        served = f"{busy['requests_per_second']} | {busy['p99_ms']:.0f} ms"
        assert f"| {study} | {many} | {' | '.join(singly)} | {served} |" in page
        for loss, kept in own["promise"].items():
            shares = f"{kept['diversity']:.3f} | {kept['best_fixed']:.3f}"
            assert f"| {study} | {float(loss):.0%} | {kept['broken']:.1%} | {shares} |" in page
            assert kept["broken"] <= 0.05


def test_the_page_on_results_has_the_recorded_times(bench):
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert bench.costs(ROOT / "results") in page
    times = {"generate": {"p50": 0.006, "p99": 0.009}, "retrain": {"p50": 180, "p99": 190}}
    figure = bench.time_to_model(times, {"cores": 2})
    words = {text.get_text() for text in figure.axes[0].texts}
    assert words == {"6 ms   30,000 × faster", "3 min", "published saving, 94.6%"}


def test_the_readme_of_the_benchmarks_has_the_recorded_speed_and_memory_does_not_grow(bench):
    speed = importlib.import_module("speed")
    folder = ROOT / "benchmarks"
    record = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    assert speed.table(record) in (folder / "README.md").read_text(encoding="utf-8")
    assert {name for name, row in record["rows"].items() if row["factor"] > 3} <= {*speed.BEYOND}
    record = json.loads((folder / "growth.json").read_text(encoding="utf-8"))
    for row in record["rows"].values():
        assert all(slope["megabytes"] < 1 for slope in row["exponents"].values())


def test_a_floor_counts_products_and_results(bench):
    speed, a = importlib.import_module("speed"), torch.ones(64, 32)
    with speed.Results() as results:
        (a @ a.T).view(-1)  # one result of 64 x 64 numbers; a view is none
    assert (results.number, results.bytes) == (1, 64 * 64 * 4)
    row = speed.measured(speed.Row("x", lambda: a @ a.T), 3)
    low, high = row["seconds"]["quartiles"]
    assert 0 < low <= row["seconds"]["median"] <= high and row["floor"] > 0 and row["runs"] == 3
