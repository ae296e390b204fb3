"""Rows of the comparison and their measurements, against brute force."""

import copy
import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from paragon.adapters.adapter import Adapter
from paragon.adapters.frozen import adapter_form, frozen_task, held_out_losses
from paragon.backbones import base, build
from paragon.data.negatives import NegativeSampler
from paragon.evaluation.evaluate import from_generated, summarise
from paragon.evaluation.methods import (
    METHODS,
    Trained,
    adapter_vectors,
    all_rows,
    generated_best,
    other_rows,
)
from paragon.evaluation.protocol import PROTOCOLS, Row, Scores, measure_rows
from paragon.generator.training import train_generator
from paragon.metrics.ranking import intra_list_distance_at
from paragon.params import ROOT
from paragon.rivals.end_to_end import train_end_to_end
from paragon.rivals.retrain import (
    Retrained,
    retrain,
    retrain_origin,
    retrain_stem,
    retrain_weights,
)
from paragon.storage import save_tensors
from paragon_study.pipeline import study
from paragon_study.pipeline.study import Study
from tests.conftest import refused
from tests.evaluation.conftest import OBJECTIVES, make_test_set, table
from tests.metrics.test_ranking import slow_greedy


@pytest.fixture(scope="module")
def trained(backbone, seqs, settings, collection):
    """Everything but retrained models."""
    valid, test, train = (
        frozen_task(backbone, seqs, part, settings.adapters) for part in ("valid", "test", "train")
    )
    names, rest = ("hypernetwork", "linear_subspace"), (train, NegativeSampler(seqs), settings)
    none, draw = collection.oracles[:0], torch.Generator().manual_seed(0)
    return Trained(
        valid=valid,
        test=test,
        test_set=make_test_set(seqs),
        collection=collection,
        generators=[train_generator(collection, settings.generator, seed) for seed in (0, 1)],
        published=[],
        learned=[{n: train_end_to_end(n, *rest, seed) for n in names} for seed in (0, 1)],
        category_bias=0.1 * torch.randn(2, len(collection.oracles), 6, generator=draw),
        retrain_weights=none,
        retrained={},
    )


@pytest.fixture(scope="module")
def curve(trained):
    """Adapters and the category bias: what has an evaluation weight in every seed."""
    rows = (row for row in all_rows(trained) if row.random)
    few = (row for row in rows if row.method not in ("cmr", "generated_xquad"))
    return measure_rows(trained.test_set, few)[0]


def vectors_of(trained, index):
    vectors = {name: adapter_vectors(trained, index, name) for name in METHODS}
    return {name: each for name, each in vectors.items() if each is not None}


def rows_of(trained, *methods):
    return [row for method in methods for row in other_rows(trained, method)]


# --- the test set --------------------------------------------------------------------------------


def brute_force(seqs, scores, pool, target, k=10):
    """NDCG, α-DCG and the list of one event, by sorting a list of candidates."""
    rank = sum(scores[i] >= scores[target] for i in pool)
    ndcg = 1 / math.log2(1 + rank) if rank <= k else 0.0
    best = sorted(pool, key=lambda i: -scores[i])[:k]
    seen, total = {}, 0.0
    for place, item in enumerate(best, start=1):
        for category in np.flatnonzero(seqs.categories[item]):
            total += 0.5 ** seen.get(category, 0) / math.log2(1 + place)
            seen[category] = seen.get(category, 0) + 1
    return ndcg, total, best


def test_both_protocols_against_brute_force(seqs, trained):
    scores = np.random.default_rng(0).standard_normal((len(seqs.test), seqs.n_items + 1))
    measured = trained.test_set.measure(Scores.of(scores.astype(np.float32)))[0]
    for protocol in PROTOCOLS:
        ndcg, alpha_ndcg, lists = [], [], []
        for row, (user, position) in enumerate(
            zip(seqs.test.users, seqs.test.positions, strict=True)
        ):
            start = seqs.offsets[user]
            history = set(seqs.items[start : start + position].tolist())
            pool = seqs.test.candidates[row].tolist()
            if protocol == "full":
                pool = [i for i in range(1, seqs.n_items + 1) if i not in history]
            one = brute_force(seqs, scores[row], pool, seqs.test.targets[row])
            ideal = slow_greedy(seqs.categories, pool, 10, 0.5)[0][-1]
            ndcg.append(one[0])
            alpha_ndcg.append(one[1] / ideal)
            lists.append(one[2])
        means, different = measured[protocol], len(np.unique(lists))
        assert means["ndcg@10"] == pytest.approx(np.mean(ndcg), abs=1e-6)
        assert means["alpha_ndcg@10"] == pytest.approx(np.mean(alpha_ndcg), abs=1e-6)
        assert means["items@10"] == different
        assert means["catalogue@10"] == pytest.approx(different / seqs.n_items)
        distance = intra_list_distance_at(seqs.categories[np.array(lists)], 10)
        assert means["ild@10"] == pytest.approx(distance.mean())


def test_a_few_events_at_a_time_give_the_same(trained, backbone, monkeypatch):
    test, test_set = trained.test, trained.test_set
    vector = torch.randn(test.form.size, generator=torch.Generator().manual_seed(0))
    whole = test_set.measure(Scores.of(test.catalogue_scores(vector)))
    monkeypatch.setattr(base, "_LEAST", 1)
    monkeypatch.setattr(base, "PAIRS", 7 * len(backbone.item_vectors()))
    parts = Scores.of_adapter(test, vector)
    assert {len(block) for block in parts.blocks()} == {7, len(test_set.evaluation) % 7 or 7}
    means, by_event = test_set.measure(parts)
    for protocol in PROTOCOLS:
        assert means[protocol] == pytest.approx(whole[0][protocol], rel=1e-6)
        assert np.array_equal(by_event[protocol], whole[1][protocol])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")
def test_users_times_items_need_not_fit_into_memory():
    """Tables of 40,000 x 40,000 would take 1.6 GB; beyond 1 GB an allocation fails."""
    size = ["--users", "40000", "--items", "40000", "--tests", "8", "--memory", "1"]
    command = [sys.executable, ROOT / "benchmarks" / "growth.py", "large", *size]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["test_events"] == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: [Scores.of(np.full_like(s, np.nan))], "mine, seed 3, weight 1 of 2: .* is nan"),
        (lambda s: [Scores.of(s[:, 1:])], "shape"),
        (lambda s: [Scores.of(s[1:])], "rows"),
        (lambda s: [Scores.of(s.astype(str))], "numbers"),
        (lambda s: [Scores.of(s, np.zeros((len(s), 3)))], "shape"),
        (lambda s: [Scores.of(s)], "weight 2 of 2: .*shorter"),
        (lambda s: [Scores.of(s)] * 3, "longer"),
    ],
)
def test_broken_scores_are_named_with_their_method(trained, seqs, change, words):
    scores = change(np.zeros((len(seqs.test), seqs.n_items + 1), np.float32))
    with pytest.raises(Exception, match=words) as caught:
        measure_rows(trained.test_set, [Row("mine", 3, np.eye(2), scores)])
    assert type(caught.value).__name__ == "ParagonError"


@pytest.mark.parametrize(("users", "good"), [(1, False), (None, True)])
def test_equal_scores_and_one_user_have_reasons_and_no_numbers(seqs, users, good):
    """From rows to the files: what is undefined is null with its reason, and nothing is NaN."""
    few = seqs.test[:users]
    scores = np.zeros((2, len(few), seqs.n_items + 1), np.float32)
    scores[1, np.arange(len(few)), few.targets] = good
    weights = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    rows = [
        Row(method, seed, weights, [Scores.of(scores[int(method == "mine")])] * 3)
        for method in ("tuned", "generated", "constant", "mine")
        for seed in (0, 1)
    ]
    curve, measured = measure_rows(make_test_set(seqs, few, cutoffs=[10]), rows)
    summary = summarise(curve, OBJECTIVES)
    json.dumps([summary, from_generated(measured, few.users, 100)], allow_nan=False)
    for method in ("generated", "mine"):
        row = summary[method]
        assert row["set_hv_of_tuned_sampled"] is None
        assert "oracle's hypervolume is 0" in row["set_hv_of_tuned_sampled_note"]
        assert row["r_acc_sampled"] is None and "constant" in row["r_acc_sampled_note"]
        assert row["regret_mean_full"] is None and row["regret_mean_full_note"]
    assert (summary["mine"]["set_hv_sampled"] > 0) == good


# --- rows ----------------------------------------------------------------------------------------


def test_every_row_is_there(curve, collection):
    expected = {
        "tuned", "generated", "generated_cfg", "generated_best", "generated_shuffled",
        "interpolation", "rbf", "ridge", "interpolation_log", "rbf_log", "ridge_log", "nearest",
        "nearest_noise", "soup", "constant", "backbone",
        "hypernetwork", "linear_subspace", "category_bias",
    }  # fmt: skip
    assert set(curve["method"]) == expected
    counts = curve.groupby(["method", "seed", "protocol"]).size()
    assert (counts == len(collection.oracles)).all() and len(counts) == len(expected) * 2 * 2
    for name, m in METHODS.items():
        ways = (m.mixture, m.rerank or m.vectors, m.rows)
        assert sum(way is not None for way in ways) == 1, name


def test_a_category_bias_adds_to_every_item_of_its_categories(trained, seqs):
    rows, plain = rows_of(trained, "category_bias"), trained.backbone_scores()
    assert [row.seed for row in rows] == [0, 1]
    for row, bias in zip(rows, trained.category_bias.numpy(), strict=True):
        for scores, u in zip(row.scores, bias, strict=True):
            assert np.allclose(table(scores), plain + seqs.categories @ u, atol=1e-5)


def test_retrained_rows_belong_to_their_seeds(seqs, settings, trained, tmp_path, monkeypatch):
    """Whatever order the rows are consumed in."""
    monkeypatch.setattr(study, "ARTIFACTS", tmp_path)
    toy, weights, expected = Study("toy", "sasrec", settings), retrain_weights(settings), {}
    for seed in settings.run.seeds:
        for index, w in enumerate(weights):
            model = build("sasrec", seqs, settings.backbones, seed=10 * seed + index).eval()
            retrained = Retrained(model, Adapter(adapter_form(model, seqs, settings.adapters)))
            stem = retrain_stem(toy.folder / "rivals", w, seed)
            save_tensors(stem, retrained.state_dict(), retrain_origin(settings, w, seed))
            expected[seed, index] = retrained.scores(seqs, seqs.test).numpy()
    known = {"retrain_weights": weights, "retrained": toy.load_retrained(seqs)}
    rows = rows_of(SimpleNamespace(test_set=trained.test_set, **known), "retrain")
    assert [row.seed for row in rows] == settings.run.seeds
    for row in rows:
        for index, scores in enumerate(row.scores):
            assert np.allclose(table(scores), expected[row.seed, index], atol=1e-5)
    elsewhere = dataclasses.replace(trained, retrain_weights=torch.tensor([[0.55, 0.45]]))
    refused("retrain: weights", next, all_rows(elsewhere))  # before anything is measured


def test_rows_without_an_adapter(trained, curve):
    others, _ = measure_rows(trained.test_set, rows_of(trained, "mmr", "popularity", "item_knn"))
    last = others.query("method == 'mmr' and w_accuracy == 1").set_index("protocol")
    bare = curve.query("method == 'backbone' and seed == 0 and w_accuracy == 1")
    for protocol, row in bare.set_index("protocol").iterrows():
        for metric in ("ndcg@10", "alpha_ndcg@10", "hr@5"):
            assert last.loc[protocol, metric] == pytest.approx(row[metric])
    means = others.groupby(["method", "protocol"])["ndcg@10"].mean().unstack()
    assert (means.loc["popularity"] - means.loc["item_knn"]).abs().min() > 1e-3
    mmr = others.query("method == 'mmr' and protocol == 'sampled'").set_index("w_accuracy")
    assert mmr.loc[0, "ild@10"] > mmr.loc[1, "ild@10"]
    summary = summarise(pd.concat([curve, others]), OBJECTIVES)
    assert summary["popularity"]["r_acc_sampled"] is None
    assert "regret_mean_full" not in summary["mmr"] and summary["mmr"]["set_hv_sampled"] > 0


def test_a_hypernetwork_is_also_a_re_ranker(trained, curve):
    """On sampled lists, which it orders whole, it is itself; only the first 100 of all items."""
    rows = rows_of(trained, "cmr")
    assert [(row.method, row.seed) for row in rows] == [("cmr", 0), ("cmr", 1)]
    reordered, _ = measure_rows(trained.test_set, rows)
    itself = curve.query("method == 'hypernetwork' and protocol == 'sampled'")
    same = reordered.query("protocol == 'sampled'")
    for metric in ("ndcg@10", "alpha_ndcg@10"):
        assert same[metric].tolist() == pytest.approx(itself[metric].tolist())
    assert rows_of(dataclasses.replace(trained, learned=[{}, {}]), "cmr") == []


def test_the_best_of_several_is_chosen_on_validation(trained, curve):
    """The row of the comparison: never by what it is judged on."""
    row = curve.query("method == 'generated_best' and seed == 0 and protocol == 'full'")

    def losses(chosen_on):
        vectors = generated_best(trained.generators[0], trained.weights, chosen_on)
        scores = [Scores.of_adapter(trained.test, vector) for vector in vectors]
        return [trained.test_set.measure(one)[0]["full"]["loss_accuracy"] for one in scores]

    assert row["loss_accuracy"].tolist() == losses(trained.valid) != losses(trained.test)


def test_the_controls_of_generation_are_what_they_are_called(trained):
    """Shuffled: the same vectors in another order; guided: guidance; noise: as far from memory."""
    weights, generator, vectors = trained.weights, trained.generators[1], vectors_of(trained, 1)
    assert torch.equal(vectors["generated"], generator.generate(weights))
    distance = torch.cdist(vectors["generated_shuffled"], vectors["generated"])
    order = distance.argmin(1).tolist()
    assert sorted(order) == list(range(len(weights))) != order
    guided = generator.generate(weights, guidance=1.5, steps=10)
    assert torch.equal(vectors["generated_cfg"], guided)
    assert not torch.equal(guided, generator.generate(weights, guidance=1.0, steps=10))
    other = copy.copy(generator)
    other.settings = generator.settings.model_copy(update={"guidance": 2.0})
    again = vectors_of(dataclasses.replace(trained, generators=[other, other]), 1)
    assert "generated_cfg" not in again and "generated_no_cfg" not in vectors
    assert torch.equal(again["generated_no_cfg"], generator.generate(weights))
    collected = trained.collection.training_set(1)[0]
    far = torch.cdist(vectors["generated"], collected).min(1).values
    moved = (vectors["nearest_noise"] - vectors["nearest"]).norm(dim=1)
    assert torch.allclose(moved, far, rtol=1e-4)


def test_a_retrained_model_follows_its_weights(seqs, settings):
    """Trained for one objective alone it has a lower loss in that one than the other model."""
    change = {
        "rivals": settings.rivals.model_copy(update={"epochs": 15, "patience": 15}),
        "backbones": settings.backbones.model_copy(update={"learning_rate": 0.01}),
    }
    losses = []
    for weights in ([1.0, 0.0], [0.0, 1.0]):
        weights = torch.tensor(weights)
        model, _ = retrain("sasrec", seqs, settings.model_copy(update=change), weights, 0)
        task = frozen_task(model.backbone.eval(), seqs, "valid", settings.adapters)
        vector = parameters_to_vector(model.adapter.parameters()).detach().unsqueeze(0)
        losses.append(held_out_losses(task, vector, OBJECTIVES)[0])
    accuracy, diversity = losses[0] - losses[1]
    assert accuracy < -0.01 and diversity > 0.01


def test_the_generator_never_sees_the_oracles(collection, settings):
    """Other oracles, same generator: they may judge it and nothing else."""
    other = dataclasses.replace(collection, oracle_vectors=collection.oracle_vectors + 1)
    one, two = (train_generator(c, settings.generator, 0) for c in (collection, other))
    assert torch.equal(one.generate([0.4, 0.6]), two.generate([0.4, 0.6]))
