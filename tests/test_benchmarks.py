"""The times of benchmarks/run.py: what is told of them, and from when on generation pays."""

import importlib
import json
from types import SimpleNamespace

import pytest
import torch

from paragon.params import ROOT
from tests.conftest import small, trained_study

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("run")


def test_generation_pays_from_the_first_change_at_which_it_took_no_longer(bench):
    for first, generate, other in ((10, 1, 3), (10, 1, 3.01), (10, 1, 2.99), (0.5, 0, 10)):
        change = bench.pays_after(first, generate, other)
        assert first + change * generate <= change * other
        assert first + (change - 1) * generate > (change - 1) * other
    assert bench.pays_after(10, 2, 2) is bench.pays_after(10, 3, 2) is None


def test_the_page_on_serving_has_the_recorded_numbers():
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    records = json.loads((ROOT / "benchmarks" / "serving.json").read_text(encoding="utf-8"))
    for study, record in records.items():
        two, one, busy = record["threads_2"], record["threads_1"], record["service"]["0.1"]
        singly = [
            f"{1e3 * one[name]['p50']:.1f}, {1e3 * one[name]['p99']:.1f} ms"
            for name in ("one_new_weights", "one_same_weights")
        ]
        many = f"{two['many']['p50']:.2f} s ({one['many']['p50']:.2f} s)"
        served = f"{busy['requests_per_second']} | {busy['p99_ms']:.0f} ms"
        assert f"| {study} | {many} | {' | '.join(singly)} | {served} |" in page
        for loss, kept in record["promise"].items():
            shares = f"{kept['diversity']:.3f} | {kept['best_fixed']:.3f}"
            assert f"| {study} | {float(loss):.0%} | {kept['broken']:.1%} | {shares} |" in page
            assert kept["broken"] <= 0.05


def test_the_page_on_serving_has_the_recorded_times_of_an_index():
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    record = json.loads((ROOT / "benchmarks" / "index.json").read_text(encoding="utf-8"))
    for size in ("10,000", "100,000", "1,000,000"):
        row, least = record[size], min(record[size]["recall@10"])
        one, many, exact = row["approximate"]["1"], row["approximate"]["16"], row["exact"]["1"]
        times = f"{one['p50_ms']:.1f}, {one['p99_ms']:.1f} ms | {many['p50_ms']:.0f} ms"
        cells = f"{least:.3f} | {times} | {exact['p50_ms']:.1f} ms"
        assert len(row["recall@10"]) == 11 and least >= 0.95
        assert f"| {size} | {row['megabytes']} | {cells} |" in page


def test_a_record_has_the_times_of_both_generators_and_all_that_comes_before_them(
    bench, seqs, backbone, tmp_path, monkeypatch
):
    few = {"adapters": {"start_steps": 2, "steps": 5}, "rivals": {"epochs": 1}}
    params = small(generator={"steps": 3, "guidance": [2.0]}, **few)
    trained = trained_study(seqs, backbone, params)
    study = SimpleNamespace(
        params=params,
        device=torch.device("cpu"),
        results=tmp_path / "toy",
        load_frozen=lambda: (seqs, backbone, {}),
        load_collection=lambda about: trained.collection,
        load_generators=lambda name, collection: trained.generators[name],
    )
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    page.write_text("<!-- costs: begin --><!-- costs: end -->", encoding="utf-8")
    for name, value in {"ROOT": tmp_path, "RESULTS": tmp_path}.items():
        monkeypatch.setattr(bench, name, value)
    monkeypatch.setattr(bench, "open_study", lambda *_: study)
    steps = []
    tune = bench.adapters.tune

    def counted(*given):
        steps.append(given[4].steps)
        return tune(*given)

    monkeypatch.setattr(bench.adapters, "tune", counted)
    bench.measure("toy", "sasrec", tunes=1, retrains=1)
    assert steps == [2, 5, 2, 5]  # the start, one adapter; then the start and all adapters
    (record,) = json.loads((tmp_path / "toy" / "timing.json").read_text()).values()
    assert [*record["prepare"]] == ["collection", "paragon", "generated"]
    for name, key in {"paragon": "paragon", "generated": "generate"}.items():
        assert record[key]["evaluations"] == 2 * params.of_generator(name).sampler_steps
        first = record["prepare"]["collection"] + record["prepare"][name]
        each, other = record[key]["p50"], record["retrain"]["p50"]
        assert record["pays_after"][name]["retrain"] == bench.pays_after(first, each, other)
    assert "| toy, sasrec | Paragon |" in page.read_text(encoding="utf-8")


def test_the_page_on_results_has_the_recorded_times(bench):
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert bench.costs(ROOT / "results") in page
    times = {"generate": {"p50": 0.006, "p99": 0.009}, "retrain": {"p50": 180, "p99": 190}}
    figure = bench.time_to_model(times, {"cores": 2})
    words = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert all(number in words for number in ("6 ms", "30,000", "3 min", "94.6%"))


def test_the_readme_of_the_benchmarks_has_the_recorded_speed_and_memory_does_not_grow(bench):
    speed = importlib.import_module("speed")
    folder = ROOT / "benchmarks"
    record = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    assert speed.table(record) in (folder / "README.md").read_text(encoding="utf-8")
    assert {name for name, row in record["rows"].items() if row["factor"] > 3} <= {*speed.BEYOND}
    record = json.loads((folder / "growth.json").read_text(encoding="utf-8"))
    slopes = (slope for row in record["rows"].values() for slope in row["exponents"].values())
    assert all(slope["megabytes"] < 1 for slope in slopes)
