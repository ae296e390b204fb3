"""Rows of the comparison and their measurements, against brute force."""

import dataclasses
import json
import math
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import rel_entr

from paragon.adapters.frozen import frozen_events, held_out_losses
from paragon.backbones import base, build
from paragon.evaluation.differences import from_generated
from paragon.evaluation.evaluate import Results, evaluate_method
from paragon.evaluation.methods import METHODS, Method, all_rows, named, other_rows
from paragon.evaluation.protocol import Row, Scores, TestSet, measure_rows
from paragon.evaluation.shares import all_choices, with_shares
from paragon.evaluation.summary import summarise
from paragon.generator.generator import Generator
from paragon.generator.training import losses_on, train_generator
from paragon.metrics.ranking import intra_list_distance_at, jaccard, ndcg_at, target_ranks, top_k
from paragon.objectives import table as objectives
from paragon.params import ROOT
from paragon.reranking.settings import Trials
from paragon.rivals import baselines
from paragon.rivals.end_to_end import END_TO_END, train_end_to_end
from tests.conftest import Planned, refused, uneven
from tests.evaluation.conftest import OBJECTIVES, make_test_set, table
from tests.metrics.test_ranking import slow_greedy

pytestmark = pytest.mark.slow

METRICS = ["ndcg@10", "alpha_ndcg@10"]
UNDEFINED = ["set_hv_of_tuned_sampled", "r_acc_sampled", "regret_mean_full"]


@pytest.fixture(scope="module")
def trained(toy_study, tasks, settings):
    """Everything but retrained models."""
    rest = tasks["train"], settings
    learned = [{n: train_end_to_end(n, *rest, seed) for n in END_TO_END} for seed in (0, 1)]
    return dataclasses.replace(toy_study, learned=learned, tried={})


@pytest.fixture(scope="module")
def curve(trained):
    """Adapters and the category bias: what has an evaluation weight in every seed."""
    others = "cmr", "generated_xquad"
    rows = (row for row in all_rows(trained) if row.random and row.method not in others)
    return measure_rows(trained.test_set, rows)[0]


def vectors_of(trained, index):
    weights = trained.weights
    vectors = {name: m.adapters(trained, index, weights) for name, m in METHODS.items()}
    return {name: each for name, each in vectors.items() if each is not None}


def rows_of(trained, *names):
    return [row for name in names for row in other_rows(trained, name, METHODS[name])]


def brute_force(seqs, scores, pool, target):
    """NDCG, α-nDCG and the list of one event, by sorting a list of candidates."""
    rank = sum(scores[i] >= scores[target] for i in pool)
    best = sorted(pool, key=lambda i: -scores[i])[:10]
    seen, total = Counter(), 0.0
    for place, item in enumerate(best, start=1):
        carried = np.flatnonzero(seqs.categories[item]).tolist()
        total += sum(0.5 ** seen[category] for category in carried) / math.log2(1 + place)
        seen.update(carried)
    ideal = slow_greedy(seqs.categories, pool, 10, 0.5)[0][-1]
    return 1 / math.log2(1 + rank) if rank <= 10 else 0.0, total / ideal, best


def test_both_protocols_against_brute_force(seqs):
    seqs = uneven(seqs)
    scores = np.random.default_rng(0).standard_normal((len(seqs.test), seqs.n_items + 1))
    measured = make_test_set(seqs).measure(Scores.of(scores.astype(np.float32)))[0]
    for protocol, means in measured.items():
        values, lists = [], []
        events = zip(seqs.test.users, seqs.test.positions, seqs.test.candidates, strict=True)
        for row, (user, position, stored) in enumerate(events):
            start, pool = seqs.offsets[user], stored.tolist()
            if protocol == "full":
                history = set(seqs.items[start : start + position].tolist())
                pool = [i for i in range(1, seqs.n_items + 1) if i not in history]
            *two, best = brute_force(seqs, scores[row], pool, seqs.test.targets[row])
            values.append(two)
            lists.append(best)
        assert [means[m] for m in METRICS] == pytest.approx(np.mean(values, axis=0), abs=1e-6)
        different = len(np.unique(lists))
        assert means["items@10"] == different
        assert means["catalogue@10"] == pytest.approx(different / seqs.n_items)
        similarity = jaccard(seqs.categories[np.array(lists)].astype(float))
        distance = intra_list_distance_at(similarity, 10)
        assert means["ild@10"] == pytest.approx(distance.mean())


def test_many_sets_of_categories_are_measured_alike_without_a_table_of_pairs(seqs, monkeypatch):
    scores = np.random.default_rng(0).standard_normal((len(seqs.test), seqs.n_items + 1))
    with_table = make_test_set(seqs).measure(Scores.of(scores))[0]
    monkeypatch.setattr("paragon.evaluation.protocol.MOST_PATTERNS", 0)
    assert make_test_set(seqs).measure(Scores.of(scores))[0] == with_table


def test_a_few_events_at_a_time_give_the_same(trained, backbone, monkeypatch):
    test, test_set = trained.test, trained.test_set
    vector = torch.randn(test.form.size, generator=torch.Generator().manual_seed(0))
    whole = test_set.measure(Scores.of(test.catalogue_scores(vector)))
    monkeypatch.setattr(base, "_LEAST", 1)
    monkeypatch.setattr(base, "PAIRS", 7 * len(backbone.item_vectors()))
    parts = Scores.of_adapter(test, vector)
    assert {len(block) for block in parts.blocks()} == {7, len(test_set.evaluation) % 7 or 7}
    means, by_event = test_set.measure(parts)
    for protocol in means:
        assert means[protocol] == pytest.approx(whole[0][protocol], rel=1e-6)
        assert np.array_equal(by_event[protocol], whole[1][protocol])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")
def test_users_times_items_need_not_fit_into_memory():
    """Tables of 40,000 x 27,000 would take more than 1 GB, beyond which an allocation fails."""
    size = ["--users", "40000", "--items", "27000", "--tests", "8", "--memory", "1"]
    command = [sys.executable, ROOT / "benchmarks" / "growth.py", "large", *size]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_broken_scores_are_named_with_their_method(trained, seqs):
    scores = np.zeros((len(seqs.test), seqs.n_items + 1), np.float32)
    for weight, tables in (
        (1, [(np.full_like(scores, np.nan),)]),
        (1, [(scores[:, 1:],)]),
        (1, [(scores, np.zeros((len(scores), 3)))]),
        (2, [(scores,)]),  # one table too few
        (3, [(scores,)] * 3),  # one too many
    ):
        made = (Scores.of(*given) for given in tables)
        named = "mine", "seed 3", f"weight {weight}"
        refused(named, measure_rows, trained.test_set, [Row("mine", 3, np.eye(2), made)])


@pytest.mark.parametrize(("users", "good"), [(1, False), (None, True)])
def test_equal_scores_and_one_user_have_reasons_and_no_numbers(seqs, tasks, users, good):
    """From rows to the files: what is undefined is null with its reason, and nothing is NaN."""
    few = seqs.test[:users]
    scores = np.zeros((2, len(few), seqs.n_items + 1), np.float32)
    scores[1, np.arange(len(few)), few.targets] = good
    weights = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    rows = [
        Row(method, seed, weights, [Scores.of(scores[int(method == "mine")])] * 3)
        for method, seed in product(("tuned", "generated", "constant", "mine"), (0, 1))
    ]
    curve, measured = measure_rows(
        make_test_set(seqs, few, cutoffs=[10], frozen=tasks["test"]), rows
    )
    summary = summarise(curve, OBJECTIVES)
    json.dumps([summary, from_generated(measured, few.users, 100)], allow_nan=False)
    for row, name in product((summary["generated"], summary["mine"]), UNDEFINED):
        assert row[name] is None and row[f"{name}_note"]
    assert (summary["mine"]["set_hv_sampled"] > 0) == good


def test_every_row_is_there(curve, collection):
    others = "popularity item_knn retrain paragon_transformer cmr generated_xquad mmr xquad dpp"
    expected = METHODS.keys() - others.split()
    assert set(curve["method"]) == expected
    counts = curve.groupby(["method", "seed", "protocol"]).size()
    assert (counts == len(collection.oracles)).all() and len(counts) == len(expected) * 2 * 2
    for name, m in METHODS.items():
        ways = (m.mixture, m.rerank or m.vectors, m.rows)
        assert sum(way is not None for way in ways) == 1, name


def test_a_new_method_is_measured_beside_recorded_results(trained, curve, settings, tmp_path):
    curve.to_csv(tmp_path / "curve.csv", index=False, float_format="%.6g")
    shares = [0.01]  # a toy keeps no more
    differences = {f"other{n}": {"alpha_ndcg_1_p": 1.0} for n in range(4)}
    recorded = Results(pd.read_csv(tmp_path / "curve.csv"), {"other0": {}}, differences)
    few = settings.evaluation.model_copy(update={"resamples": 200, "shares": shares})
    results = evaluate_method(trained, "again", METHODS["interpolation"], recorded, few)
    again, there = results.summary["again"], summarise(curve, OBJECTIVES)["interpolation"]
    kept = with_shares(all_choices(trained, named(["interpolation"])), shares)[0]["interpolation"]
    there |= {name: np.mean([m.value for m in measures]) for name, measures in kept.items()}
    numbers = {name: x for name, x in there.items() if isinstance(x, float)}
    assert {name: again[name] for name in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-4)
    assert results.summary.keys() == {"other0", "again"} and set(results.curve) == set(curve)
    p, corrected = (results.differences["again"][f"alpha_ndcg_1_{n}"] for n in ("p", "p_holm"))
    assert 0 < p and corrected == pytest.approx(min(1, 5 * p), rel=1e-4)  # of five methods
    wrong = "again", Method("mix"), recorded, few
    refused(("again", "kind", "mix"), evaluate_method, trained, *wrong)


def test_rows_that_are_no_adapters(trained, seqs):
    rows, plain = rows_of(trained, "category_bias"), trained.backbone_scores()
    for row, bias in zip(rows, trained.category_bias.numpy(), strict=True):
        for scores, u in zip(row.scores, bias, strict=True):
            assert np.allclose(table(scores), plain + seqs.categories @ u, atol=1e-5)
    for row in rows_of(trained, "popularity", "item_knn"):
        expected = getattr(baselines, row.method)(seqs, seqs.test)
        assert all(np.array_equal(table(scores), expected) for scores in row.scores)


def test_retrained_rows_belong_to_their_seeds(seqs, trained):
    """Whatever order the rows are consumed in."""

    def model(number):
        scores = torch.full((len(seqs.test), seqs.n_items + 1), number)
        return SimpleNamespace(scores=lambda *events: scores)

    models = {seed: iter([model(10 * seed), model(10 * seed + 1)]) for seed in (4, 7)}
    known = {"retrain_weights": trained.weights[1:3], "retrained": models}
    rows = rows_of(dataclasses.replace(trained, **known), "retrain")
    found = {row.seed: [table(scores)[0, 0] for scores in row.scores] for row in rows}
    assert found == {4: [40, 41], 7: [70, 71]}
    elsewhere = dataclasses.replace(trained, retrain_weights=torch.tensor([[0.55, 0.45]]))
    refused(("retrain", "weights"), next, all_rows(elsewhere))  # before anything is measured


def test_a_hypernetwork_is_also_a_re_ranker(trained, curve):
    """On sampled lists, which it orders whole, it is itself; only the first 100 of all items."""
    reordered, _ = measure_rows(trained.test_set, rows_of(trained, "cmr"))
    itself = curve.query("method == 'hypernetwork' and protocol == 'sampled'")
    same = reordered.query("protocol == 'sampled'")
    assert np.allclose(same[METRICS], itself[METRICS], rtol=1e-6)
    assert rows_of(dataclasses.replace(trained, learned=[{}, {}]), "cmr") == []


def test_the_best_of_several_is_chosen_on_validation(trained, collection):
    """Of all tuned adapters of a seed; never by what it is judged on."""
    draw = torch.Generator().manual_seed(1)
    tuned = 0.5 * torch.randn((2, 12, collection.form.size), generator=draw)
    vectors = {"anchor_vectors": tuned[:, :5], "oracle_vectors": tuned[:, 5:]}
    known = dataclasses.replace(trained, collection=dataclasses.replace(collection, **vectors))
    found = METHODS["tuned"].adapters(known, 1, known.weights)
    for w, weight in enumerate(known.weights):
        losses = held_out_losses(trained.valid, tuned[1], OBJECTIVES) @ weight
        assert torch.equal(found[w], tuned[1, losses.argmin()])
    peeking = dataclasses.replace(known, valid=known.test)
    on_test = METHODS["tuned"].adapters(peeking, 1, known.weights)
    assert not torch.equal(found, on_test)


def test_recency_and_calibration_are_measured_if_they_are_objectives(seqs):
    """By loops over events; the lists are the ten best that were not met."""
    names = ["accuracy", "recency", "calibration"]
    test_set = TestSet(seqs, seqs.test, names, cutoffs=[10])
    scores = np.random.default_rng(0).random((len(seqs.test), seqs.n_items + 1))
    found = test_set.measure(Scores.of(scores))[1]["full"]  # [O, N]
    shares = seqs.categories / np.maximum(seqs.categories.sum(1, keepdims=True), 1)
    recency, hidden = seqs.recency(), test_set.excluded
    for event, (user, position) in enumerate(
        zip(seqs.test.users, seqs.test.positions, strict=True)
    ):
        best = np.argsort(-np.where(hidden[event], -1, scores[event]))[:10]
        assert found[1, event] == pytest.approx(recency[best].mean())
        start = seqs.offsets[user]
        p, q = (shares[x].sum(0) for x in (seqs.items[start : start + position], best))
        p, q = p / p.sum(), q / q.sum()
        far = rel_entr(p, 0.99 * q + 0.01 * p).sum()
        assert found[2, event] == pytest.approx(1 - far / np.log(100))


def test_the_controls_of_generation_are_what_they_are_called(trained):
    """Shuffled: the same vectors in another order; without guidance: guidance 1."""
    weights, vectors = trained.weights, vectors_of(trained, 1)
    assert torch.equal(vectors["generated"], trained.generators["generated"][1].generate(weights))
    distance = torch.cdist(vectors["generated_shuffled"], vectors["generated"])
    order = distance.argmin(1).tolist()
    assert sorted(order) == list(range(len(weights))) != order
    assert torch.equal(vectors["tuned_alone"], trained.collection.oracle_vectors[1])
    made = trained.generators["paragon"][1]
    guided = Generator(made.model, made.description | {"guidance": 3.0})
    generators = trained.generators | {"paragon": [None, guided], "paragon_transformer": [made] * 2}
    others = dataclasses.replace(trained, generators=generators)
    vectors = vectors_of(others, 1)
    assert torch.equal(vectors["paragon"], made.generate(weights, guidance=3.0))
    assert torch.equal(vectors["paragon_no_cfg"], made.generate(weights, guidance=1.0))
    assert not torch.equal(vectors["paragon"], vectors["paragon_no_cfg"])
    assert torch.equal(vectors["paragon_transformer"], made.generate(weights))


def test_the_generator_never_sees_the_oracles(collection, settings, tasks):
    """Other oracles, same generator: they may judge it and nothing else."""
    other = dataclasses.replace(collection, oracle_vectors=collection.oracle_vectors + 1)
    losses = losses_on(tasks["train"], settings.adapters.objectives, 16)
    rest = settings.generator, 0, tasks["valid"], losses
    one, two = (train_generator(c, *rest) for c in (collection, other))
    assert torch.equal(one.generate([0.4, 0.6]), two.generate([0.4, 0.6]))


@pytest.fixture
def planned(seqs, tasks):
    # Accuracy is the second objective here, and its weights do not rise.
    weights = torch.tensor([[0.5, 0.5], [0.0, 1.0], [1.0, 0.0], [0.25, 0.75], [0.75, 0.25]])
    names = ["diversity", "accuracy"]
    test_set = SimpleNamespace(sequences=seqs, objectives=names, cutoffs=[5, 12])
    generators = [Planned(tasks["test"].form, names, seed) for seed in (0, 1)]
    known = tasks | {"test_set": test_set, "weights": weights}
    known["generators"] = {"generated": generators}
    known["trials"] = Trials.of(seqs)
    return SimpleNamespace(**known, seeds=[3, 4], tried={}, columns=lambda: (1, 0))


def head(seqs, scores):
    return top_k(scores, 12, seqs.excluded(seqs.test))


@pytest.mark.parametrize("name", ["mmr", "dpp"])
def test_the_backbone_is_re_ranked_by_the_weight_of_accuracy(seqs, backbone, planned, name):
    (row,) = other_rows(planned, name, METHODS[name])
    assert (row.method, row.seed, row.random) == (name, 3, False)
    assert np.array_equal(row.weights, planned.weights.numpy())
    scores = list(row.scores)
    own = backbone.score_catalogue(planned.test.states).numpy()
    shown = [head(seqs, table(one)) for one in scores]
    assert np.array_equal(shown[1], head(seqs, own))  # all weight on accuracy
    lists = np.take_along_axis(own, seqs.test.candidates, 1)
    assert np.array_equal(top_k(scores[1].sampled, 12), top_k(lists, 12))
    categories = [seqs.categories[items[:, :3]].any(1).sum(1).mean() for items in shown]
    assert categories[2] > categories[1] and not np.array_equal(shown[2], shown[1])


def test_generated_adapters_are_re_ranked_for_each_seed(seqs, planned):
    rows = list(other_rows(planned, "generated_xquad", METHODS["generated_xquad"]))
    assert [(row.seed, row.random) for row in rows] == [(3, True), (4, True)]
    for row, generator in zip(rows, planned.generators["generated"], strict=True):
        scores = list(row.scores)
        assert len(scores) == len(planned.weights)
        assert generator.asked == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
        # All weight on accuracy: the order of the list that is the most accurate on validation.
        ndcg, tables = [], []
        for vector in (share * generator.directions[0] for share in (0, 0.5, 1)):
            valid = planned.valid.catalogue_scores(vector).numpy()
            ranks = target_ranks(valid, seqs.valid.targets, seqs.excluded(seqs.valid))
            ndcg.append(ndcg_at(ranks, 10).mean())
            tables.append(planned.test.catalogue_scores(vector).numpy())
        best = tables[np.argmax(ndcg)]
        assert np.array_equal(head(seqs, table(scores[1])), head(seqs, best))


@pytest.mark.parametrize("name", ["sasrec", "deepfm"])
def test_losses_are_those_of_tuning(seqs, settings, name):
    """Of an adapter, from its scores of all items; scores on sampled lists have none."""
    model = build(name, seqs, settings.backbones, seed=0).eval().requires_grad_(False)
    task, names = frozen_events(model, seqs, "test", settings.adapters), [*objectives.OBJECTIVES]
    vector = 0.1 * torch.randn(task.form.size, generator=torch.Generator().manual_seed(0))
    test_set = make_test_set(seqs, objectives=names, frozen=task)
    measured = test_set.measure(Scores.of_adapter(task, vector))[0]["full"]
    losses = [measured[f"loss_{name}"] for name in names]
    assert losses == pytest.approx(held_out_losses(task, vector[None], names)[0].tolist(), abs=1e-5)
    scores = task.catalogue_scores(vector).numpy()
    sampled = Scores.of(scores, np.take_along_axis(scores, seqs.test.candidates, 1))
    assert not [m for m in test_set.measure(sampled)[0]["full"] if m.startswith("loss_")]
