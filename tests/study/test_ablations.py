"""Ablations: the plan and its tables, collections made of others, what is measured on them."""

import dataclasses
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from paragon.adapters.adapter import AdapterForm, adapt
from paragon.adapters.collection import collect, load_collection, save_collection
from paragon.adapters.frozen import held_out_losses
from paragon.adapters.mixtures import interpolation, rbf
from paragon.evaluation import shares
from paragon.evaluation.protocol import Scores
from paragon.generator.training import train_generator
from paragon.metrics.control import set_hv
from paragon.metrics.statistics import mean_interval
from paragon.rivals.end_to_end import END_TO_END
from paragon_study.ablations import ablate, contrasts, trials
from paragon_study.ablations.ablate import (
    Ablations,
    CollectionEntry,
    derive_collection,
    matching,
    permute,
    pooled,
)
from paragon_study.pipeline.study import Study
from tests.conftest import refused


@pytest.fixture(scope="module")
def bench(backbone, seqs, settings, collection):
    return ablate.AblationBench(Study("toy", "sasrec", settings), seqs, backbone, collection)


def test_a_part_of_a_tuning_is_that_part_tuned_alone(backbone, seqs, settings, collection):
    part = derive_collection(collection, CollectionEntry(of="x", anchors=[0.3, 1], snapshots=1))
    alone = settings.adapters.model_copy(update={"anchors": [0.3, 1.0], "snapshots": 1})
    tuned = collect(backbone, seqs, alone, [0, 1])
    assert torch.equal(part.anchors, tuned.anchors)
    for name in ("anchor_vectors", "snapshots", "oracle_vectors"):
        assert torch.allclose(getattr(part, name), getattr(tuned, name), atol=1e-5)
    for word, entry in (("tuned", {"anchors": [0.31, 1.0]}), ("stored", {"snapshots": 99})):
        refused(word, derive_collection, collection, CollectionEntry(of="x", **entry))


def test_no_snapshots_is_a_collection_still(collection, settings, tmp_path):
    part = derive_collection(collection, CollectionEntry(of="x", snapshots=0))
    save_collection(part, tmp_path / "c")
    read = load_collection(tmp_path / "c")
    assert read.training_set(0)[0].shape[0] == len(collection.anchors)
    train_generator(read, settings.generator, 0)


def test_permuted_neurons_are_the_same_function_and_are_found_again():
    form = AdapterForm(16, 6, 5)
    start = torch.randn(form.size, generator=torch.Generator().manual_seed(0))
    states = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    other = permute(start, torch.tensor([3, 1, 0, 5, 4, 2]), form)
    assert not torch.allclose(start, other)
    same = [adapt(states, v.unsqueeze(0), form) for v in (start, other)]
    assert torch.allclose(*same, atol=1e-5)
    assert torch.equal(permute(other, matching(other, start, form), form), start)


def test_aligned_starts_have_their_hidden_units_in_the_order_of_the_first(collection):
    """A second start that is the first with its units in a cycle of three comes back as it was."""
    form, order = AdapterForm(3, 3, 2), torch.tensor([2, 0, 1])  # not its own inverse
    first = torch.randn(1, 3, form.size, generator=torch.Generator().manual_seed(0))
    both = torch.cat([first, permute(first, order, form)])
    made = dataclasses.replace(
        collection,
        anchors=collection.anchors[:3],
        anchor_vectors=both,
        snapshots=both.unsqueeze(2),
        description=collection.description | {"form": dataclasses.asdict(form)},
    )
    plain, aligned = (pooled(made, aligned=aligned) for aligned in (False, True))
    assert plain.anchor_vectors.shape[:2] == (2, 6)
    assert all(torch.equal(vectors, both.flatten(0, 1)) for vectors in plain.anchor_vectors)
    assert torch.equal(plain.oracle_vectors, collection.oracle_vectors)
    assert torch.equal(aligned.anchor_vectors[0], torch.cat([first[0], first[0]]))
    assert torch.equal(aligned.snapshots[0, :, 0], torch.cat([first[0], first[0]]))


def test_rows_hold_the_measures_of_the_study(bench, collection, settings):
    rows = bench.rows({"constant": lambda w: bench.mixed("constant", 0, w)}).set_index("method")
    assert list(rows.index) == ["tuned", "constant"] and np.isnan(rows.loc["tuned", "choice"])
    assert rows.loc["tuned", "set_hv_of_tuned"] == 1
    assert rows.loc["constant", "range_ratio_acc"] == 0 and np.isnan(rows.loc["constant", "r_acc"])
    _, test, test_set = bench.held_out
    scores = [Scores.of_adapter(test, vector) for vector in collection.oracle_vectors[0]]
    points = [test_set.measure(one)[0]["full"] for one in scores]
    expected = set_hv(np.array([[p["ndcg@10"], p["alpha_ndcg@10"]] for p in points]))
    assert rows.loc["tuned", "set_hv"] == pytest.approx(expected)
    middle = bench.mixed("constant", 0, bench.choices)
    losses = held_out_losses(bench.held_out[0], middle, settings.adapters.objectives)
    choice = (losses * bench.choices).sum(-1).mean().item()
    assert rows.loc["constant", "choice"] == pytest.approx(choice)


def test_equal_weights_are_averaged_before_interpolation():
    anchors = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.5, 0.5]])
    for method in (interpolation, rbf):
        mix = method(anchors, np.array([[0.5, 0.5], [0.0, 1.0]]))
        assert np.allclose(mix, [[0, 0.5, 0, 0.5], [1, 0, 0, 0]], atol=1e-9)


def test_the_plan_holds_together():
    whole = Ablations.load()
    for entry in whole.collections.values():
        anchors = whole.study(entry.of).params.adapters.anchors
        first = [a if isinstance(a, float) else a[0] for a in anchors]
        assert set(entry.anchors or []) <= set(first)
    for name, entry in whole.points.items():
        of = whole.entry("collections", entry.collection).of
        assert whole.study(of, entry.change).params.run.seeds == whole.seeds
        assert entry.change.keys() <= {"generator"}, name  # a collection is not tuned again
    refused("known: anchors-10", whole.entry, "collections", "x")


PLAN = """
dataset: toy
seeds: [0]
backbone: sasrec
tuned: {t: {}, u: {}}
collections: {a: {of: t}, b: {of: u}}
points:
  p: {collection: a, variable: latent, value: 4, change: {generator: {latent: 4}}}
"""


def test_what_is_missing_is_run_and_takes_its_place_in_the_table(tmp_path, monkeypatch):
    (tmp_path / "ablations").mkdir()
    monkeypatch.setattr(trials, "ROOT", tmp_path)
    made = []

    def rows_of(_, name):
        made.append(name)
        return pd.DataFrame({"method": ["tuned", "constant"], "m": [len(made), 1 / 3]})

    def run(text=PLAN, name="", renew=False):
        (tmp_path / "ablations" / "params.yaml").write_text(text)
        made.clear()
        whole = Ablations.load()
        for kind in ("points",) if name else ("collections", "points"):
            whole.run(kind, [name] if name else whole.missing(kind), None if renew else rows_of)
        return list(made)

    assert run() == ["a", "b", "p"] and run() == []
    table = tmp_path / "ablations" / "results" / "collections.csv"
    before = table.read_text()
    assert before.splitlines()[:3] == ["name,method,m", "a,tuned,1", "a,constant,0.333333"]
    # The tuned entry of `a` and of its point differs now, that of `b` does not.
    other = PLAN.replace("t: {}", "t: {run: {threads: 3}}")
    assert run(other) == ["a", "p"]
    assert table.read_text() == before  # rows of `b` and their place are kept
    assert run(other, name="p") == ["p"]
    assert run(PLAN, renew=True) == [] and run() == []
    table.with_name("settings.json").unlink()
    assert run() == ["a", "b", "p"]
    refused("YAML", run, "seeds: [0")
    refused("sedes", run, "sedes: [0]")


def test_differences_are_taken_seed_by_seed():
    one, other = ((0, 5.0), (1, 9.0), (2, 100.0)), ((1, 8.0), (0, 3.0))
    rows = [("s", "one", *own) for own in one] + [("s", "other", *own) for own in other]
    rows = pd.DataFrame(rows, columns=["setting", "method", "seed", "m"])
    mean, low, high, _ = mean_interval(np.array([2.0, 1.0]))
    found = contrasts.paired(rows, "one", "other", "m").loc["s"]
    assert found.tolist() == pytest.approx([mean, low, high, 2])


def test_recorded_rows_are_selected_by_setting_start_and_single_change(settings, tmp_path):
    collections, points = contrasts.load_tables()
    of_core = contrasts.core(collections, contrasts.usual(points))
    assert [*of_core["setting"].unique()] == [*contrasts.CORE.values()]
    found = contrasts.starts(collections, points)
    assert {*found["start"]} == {*contrasts.STARTS.values()}
    few, latent = "behavioural loss (3 anchors)", str(settings.generator.latent)
    usual = contrasts.usual(points).query("method == 'generated'")
    found = contrasts.one_at_a_time(usual, settings, ["latent", few])
    values = found.groupby("variable")["value"].unique()
    assert {*values["latent"]} == {"4", "full vector", latent} and {*values[few]} == {"none", "on"}
    beside = found[found["value"] == "on"]
    assert {*beside["name"]} == {"anchors-3"} and beside["choice"].notna().all()
    refused("make ablations", contrasts.load_tables, tmp_path)


def test_adapters_are_tuned_once_for_their_settings(bench, settings, tmp_path, monkeypatch):
    tuned = []

    def counted(*given):
        tuned.append(given)
        return collect(*given)

    def load(change, origin="b"):
        adapters = settings.adapters.model_copy(update=change)
        study = Study("toy", "sasrec", settings.model_copy(update={"adapters": adapters}))
        parts = bench.sequences, bench.backbone, {"sha256": origin}, tmp_path / "tuned"
        return trials.tuned_adapters(study, *parts), len(tuned)

    monkeypatch.setattr(trials, "collect", counted)
    (first, _), (again, count) = load({}), load({})
    assert count == 1 and torch.equal(first.oracle_vectors, again.oracle_vectors)
    assert load({"steps": 25})[1] == 2 and load({"steps": 25}, "another backbone")[1] == 3
    (tmp_path / "tuned.json").write_text("{}")  # interrupted
    assert load({"steps": 25}, "another backbone")[1] == 4


def test_budgets_have_a_row_for_each_method_and_share(toy_study, settings, monkeypatch):
    own = settings.evaluation.model_copy(update={"resamples": 1200, "shares": [0.9, 0.01]})
    params = settings.model_copy(update={"evaluation": own})
    study = SimpleNamespace(load_trained=lambda: toy_study, params=params)
    monkeypatch.setattr(ablate, "open_study", lambda *_: study)
    table = ablate.measure_budgets(Ablations.load(), "ml-100k-sasrec")
    methods = set(shares.FETCHED) - set(END_TO_END)
    expected = set(product(shares.BUDGETS, methods, (90, 1)))
    assert set(table[["fetched", "method", "share"]].itertuples(index=False)) == expected
    rows = table.set_index(["fetched", "share", "method"]).sort_index()
    for at in product(shares.BUDGETS, (1,)):
        group = rows.loc[at]
        gap = group["alpha_ndcg"] - group.loc["generated", "alpha_ndcg"]
        assert group["difference"].drop("generated").to_numpy() == pytest.approx(
            gap.drop("generated").to_numpy(), abs=1e-5
        )
        assert group["difference_p_holm"].drop("generated").between(0, 1).all()
    figure = contrasts.budgets(table.assign(name="toy"))
    assert [line.get_label() for line in figure.axes[0].lines][0] == "xQuAD re-ranking"
