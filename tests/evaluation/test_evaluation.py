"""Evaluation: the long table against brute force, the summary against hand-made curves."""

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
from scipy import stats

from paragon.adapters.adapter import Adapter
from paragon.adapters.frozen import adapter_form, frozen_task, held_out_losses
from paragon.backbones import base, build
from paragon.data.negatives import NegativeSampler
from paragon.errors import ParagonError
from paragon.evaluation.differences import from_generated
from paragon.evaluation.evaluate import Results
from paragon.evaluation.methods import (
    METHODS,
    Trained,
    adapter_vectors,
    all_rows,
    generated_best,
    other_rows,
)
from paragon.evaluation.protocol import PROTOCOLS, Row, Scores, measure_rows
from paragon.evaluation.summary import headline, summarise
from paragon.generator.training import train_generator
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
from tests.evaluation.conftest import OBJECTIVES, make_test_set
from tests.metrics.test_ranking import slow_greedy


@pytest.fixture(scope="module")
def test_set(seqs):
    return make_test_set(seqs)


@pytest.fixture(scope="module")
def tasks(backbone, seqs, settings):
    return {n: frozen_task(backbone, seqs, n, settings.adapters) for n in ("valid", "test")}


@pytest.fixture(scope="module")
def generators(collection, settings):
    return [train_generator(collection, settings.generator, seed) for seed in (0, 1)]


def brute_force(seqs, scores, pool, target, k=10):
    """(NDCG, α-DCG) of one event by sorting a list of candidates."""
    rank = sum(scores[i] >= scores[target] for i in pool)
    ndcg = 1 / math.log2(1 + rank) if rank <= k else 0.0
    seen, total = {}, 0.0
    for place, item in enumerate(sorted(pool, key=lambda i: -scores[i])[:k], start=1):
        for category in np.flatnonzero(seqs.categories[item]):
            total += 0.5 ** seen.get(category, 0) / math.log2(1 + place)
            seen[category] = seen.get(category, 0) + 1
    return ndcg, total


def test_both_protocols_against_brute_force(seqs, test_set):
    scores = np.random.default_rng(0).standard_normal((len(seqs.test), seqs.n_items + 1))
    found = test_set.measure(Scores.of(scores.astype(np.float32)))[0]
    for protocol in ("sampled", "full"):
        ndcg, dcg, best = [], [], []
        for row, (user, position) in enumerate(
            zip(seqs.test.users, seqs.test.positions, strict=True)
        ):
            start = seqs.offsets[user]
            history = set(seqs.items[start : start + position].tolist())
            pool = {
                "sampled": seqs.test.candidates[row].tolist(),
                "full": [i for i in range(1, seqs.n_items + 1) if i not in history],
            }[protocol]
            one = brute_force(seqs, scores[row], pool, seqs.test.targets[row])
            ndcg.append(one[0])
            dcg.append(one[1])
            best.append(slow_greedy(seqs.categories, sorted(pool) if protocol == "full" else pool,
                                    10, 0.5)[0][-1])  # fmt: skip
        assert found[protocol]["ndcg@10"] == pytest.approx(np.mean(ndcg), abs=1e-6)
        alpha_ndcg = np.mean(np.divide(dcg, best))
        assert found[protocol]["alpha_ndcg@10"] == pytest.approx(alpha_ndcg, abs=1e-6)


@pytest.fixture(scope="module")
def learned(backbone, seqs, settings):
    train, sampler = frozen_task(backbone, seqs, "train", settings.adapters), NegativeSampler(seqs)
    return [
        {
            name: train_end_to_end(name, train, sampler, settings, seed)
            for name in ("hypernetwork", "linear_subspace")
        }
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def trained(test_set, collection, generators, learned, tasks):
    """Everything but retrained models."""
    none, draw = collection.oracles[:0], torch.Generator().manual_seed(0)
    bias = 0.1 * torch.randn(2, len(collection.oracles), 6, generator=draw)
    parts = tasks["valid"], tasks["test"], test_set
    return Trained(*parts, collection, generators, [], learned, bias, none, {})


def vectors_of(trained, index):
    found = {name: adapter_vectors(trained, index, name) for name in METHODS}
    return {name: vectors for name, vectors in found.items() if vectors is not None}


def table(scores):
    return np.concatenate(list(scores.blocks()))


def rows_of(trained, *methods):
    return [row for method in methods for row in other_rows(trained, method)]


@pytest.fixture(scope="module")
def measured(trained):
    """Adapters and the category bias: what has an evaluation weight in every seed."""
    rows = (row for row in all_rows(trained) if row.random)
    few = (row for row in rows if row.method not in ("cmr", "generated_xquad"))
    return measure_rows(trained.test_set, few)


@pytest.fixture(scope="module")
def curve(measured):
    return measured[0]


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


def test_a_category_bias_adds_to_every_item_of_its_categories(trained, seqs):
    rows, own = rows_of(trained, "category_bias"), trained.backbone_scores()
    assert [row.seed for row in rows] == [0, 1]
    for row, bias in zip(rows, trained.category_bias.numpy(), strict=True):
        for scores, u in zip(row.scores, bias, strict=True):
            for item in (1, 17, seqs.n_items):
                gain = sum(u[m] for m in np.flatnonzero(seqs.categories[item]))
                assert np.allclose(table(scores)[:, item], own[:, item] + gain, atol=1e-5)


def test_retrained_rows_belong_to_their_seeds(seqs, settings, tmp_path, monkeypatch):
    """Whatever order the rows are consumed in."""
    monkeypatch.setattr(study, "ARTIFACTS", tmp_path)
    own = Study("toy", "sasrec", settings)
    weights = retrain_weights(settings)
    expected = {}
    for seed in settings.run.seeds:
        for index, w in enumerate(weights):
            model = build("sasrec", seqs, settings.backbones, seed=10 * seed + index).eval()
            adapter = Adapter(adapter_form(model, seqs, settings.adapters))
            retrained = Retrained(model, adapter)
            about = retrain_origin(settings, w, seed)
            stem = retrain_stem(own.folder / "rivals", w, seed)
            save_tensors(stem, retrained.state_dict(), about)
            expected[seed, index] = retrained.scores(seqs, seqs.test).numpy()
    test_set = make_test_set(seqs)
    models = own.load_retrained(seqs)
    rows = rows_of(
        SimpleNamespace(test_set=test_set, retrain_weights=weights, retrained=models), "retrain"
    )
    assert [row.seed for row in rows] == settings.run.seeds
    for row in rows:
        for index, scores in enumerate(row.scores):
            assert np.allclose(table(scores), expected[row.seed, index], atol=1e-5)


def test_noise_goes_as_far_from_memory_as_generation(collection, trained):
    vectors = vectors_of(trained, 0)
    collected = collection.training_set(0)[0]
    far = torch.cdist(vectors["generated"], collected).min(1).values
    moved = (vectors["nearest_noise"] - vectors["nearest"]).norm(dim=1)
    assert torch.allclose(moved, far, rtol=1e-4)


def test_rows_without_an_adapter(test_set, trained, curve):
    found = measure_rows(test_set, rows_of(trained, "mmr", "popularity", "item_knn"))[0]
    assert set(found["method"]) == {"mmr", "popularity", "item_knn"}
    last = found.query("method == 'mmr' and w_accuracy == 1").set_index("protocol")
    bare = curve.query("method == 'backbone' and seed == 0 and w_accuracy == 1")
    for protocol, row in bare.set_index("protocol").iterrows():
        for metric in ("ndcg@10", "alpha_ndcg@10", "hr@5"):
            assert last.loc[protocol, metric] == pytest.approx(row[metric])
    means = found.groupby(["method", "protocol"])["ndcg@10"].mean().unstack()
    assert (means.loc["popularity"] - means.loc["item_knn"]).abs().min() > 1e-3
    mmr = found.query("method == 'mmr' and protocol == 'sampled'").set_index("w_accuracy")
    assert mmr.loc[0, "ild@10"] > mmr.loc[1, "ild@10"]
    summary = summarise(pd.concat([curve, found]), ["accuracy", "diversity"])
    flat = summary["popularity"]
    assert flat["r_acc_sampled"] is None and "r_acc_sampled_note" in flat
    assert "regret_mean_full" not in summary["mmr"] and summary["mmr"]["set_hv_sampled"] > 0


def test_a_hypernetwork_is_also_a_re_ranker(test_set, trained, curve):
    """On sampled lists, which it orders whole, it is itself; only the first 100 of all items."""
    rows = rows_of(trained, "cmr")
    assert [(row.method, row.seed) for row in rows] == [("cmr", 0), ("cmr", 1)]
    found, _ = measure_rows(test_set, rows)
    own = curve.query("method == 'hypernetwork' and protocol == 'sampled'")
    same = found.query("protocol == 'sampled'")
    for metric in ("ndcg@10", "alpha_ndcg@10"):
        assert same[metric].tolist() == pytest.approx(own[metric].tolist())
    assert rows_of(dataclasses.replace(trained, learned=[{}, {}]), "cmr") == []


def test_backbone_row_is_the_backbone(curve, backbone, test_set, tasks):
    scores = (tasks["test"].states @ backbone.item_vectors().T).detach().numpy()
    own = curve[(curve["method"] == "backbone") & (curve["protocol"] == "full")]
    assert np.allclose(own["ndcg@10"], test_set.measure(Scores.of(scores))[0]["full"]["ndcg@10"])


def test_a_few_events_at_a_time_give_the_same(test_set, tasks, backbone, monkeypatch):
    vector = torch.randn(tasks["test"].form.size, generator=torch.Generator().manual_seed(0))
    whole = test_set.measure(Scores.of(tasks["test"].catalogue_scores(vector)))
    monkeypatch.setattr(base, "_LEAST", 1)
    monkeypatch.setattr(base, "PAIRS", 7 * len(backbone.item_vectors()))
    parts = Scores.of_adapter(tasks["test"], vector)
    assert {len(block) for block in parts.blocks()} == {7, len(test_set.evaluation) % 7 or 7}
    found = test_set.measure(parts)
    for protocol in PROTOCOLS:
        assert found[0][protocol] == pytest.approx(whole[0][protocol], rel=1e-6)
        assert np.array_equal(found[1][protocol], whole[1][protocol])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")
def test_users_times_items_need_not_fit_into_memory():
    """Tables of 100,000 x 100,000 would take 10 GB; beyond 1.5 GB an allocation fails."""
    size = ["--users", "100000", "--items", "100000", "--tests", "8", "--memory", "1.5"]
    command = [sys.executable, ROOT / "benchmarks" / "growth.py", "large", *size]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["test_events"] == 8


def test_the_best_of_several_is_chosen_on_validation(
    generators, collection, tasks, curve, test_set
):
    """The row of the comparison: never by what it is judged on."""
    row = curve.query("method == 'generated_best' and seed == 0 and protocol == 'full'")

    def losses(chosen_on):
        vectors = generated_best(generators[0], collection.oracles, tasks[chosen_on])
        found = [test_set.measure(Scores.of_adapter(tasks["test"], v))[0] for v in vectors]
        return [own["full"]["loss_accuracy"] for own in found]

    assert row["loss_accuracy"].tolist() == losses("valid") != losses("test")


def made_curve(**methods):
    """A curve with chosen metrics at w = 0, 0.5, 1: {method: (ndcg, alpha, loss)}."""
    rows = []
    for method, (ndcg, alpha, loss) in methods.items():
        for seed in (0, 1):
            for w, n, a, x in zip((0, 0.5, 1), ndcg, alpha, loss, strict=True):
                for protocol in PROTOCOLS:
                    rows.append(
                        {
                            "method": method, "seed": seed, "protocol": protocol,
                            "w_accuracy": w, "w_diversity": 1 - w,
                            "ndcg@10": n, "alpha_ndcg@10": a,
                            "loss_accuracy": x if protocol == "full" else np.nan,
                            "loss_diversity": x if protocol == "full" else np.nan,
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def test_summary_by_hand():
    curve = made_curve(
        tuned=((0.1, 0.3, 0.5), (0.8, 0.6, 0.4), (1, 1, 1)),
        constant=((0.3, 0.3, 0.3), (0.6, 0.6, 0.6), (3, 3, 3)),
        other=((0.2, 0.3, 0.4), (0.8, 0.7, 0.8), (1.5, 1.5, 1.5)),
    )
    found = summarise(curve, OBJECTIVES)
    tuned, constant, other = found["tuned"], found["constant"], found["other"]
    assert tuned["set_hv_sampled"] == pytest.approx(0.1 * 0.8 + 0.2 * 0.6 + 0.2 * 0.4)
    assert tuned["set_hv_of_tuned_sampled"] == 1 and tuned["set_hv_sampled_sd"] == 0
    assert tuned["mean_hv_full"] == pytest.approx((0.08 + 0.18 + 0.2) / 3, rel=1e-5)
    assert tuned["r_acc_sampled"] == 1 and tuned["r_div_sampled"] == pytest.approx(1)
    assert other["range_ratio_acc_sampled"] == pytest.approx(0.5)
    assert other["violations_div_sampled"] == 1 and other["violations_acc_sampled"] == 0
    assert other["regret_mean_full"] == pytest.approx(0.25)
    assert constant["regret_mean_full"] == 1 and tuned["regret_mean_full"] == 0
    assert constant["r_acc_sampled"] is None
    assert "constant" in constant["r_acc_sampled_note"]
    json.dumps(found, allow_nan=False)


def test_every_seed_is_measured_against_its_own_oracle_off_the_corners():
    """Numbers by hand: two seeds on other scales, with other losses at the corners."""
    curve = made_curve(
        tuned=((0.1, 0.3, 0.5), (0.8, 0.6, 0.4), (9, 1, 8)),
        constant=((0.3, 0.3, 0.3), (0.6, 0.6, 0.6), (29, 3, 18)),
        other=((0.2, 0.3, 0.4), (0.8, 0.7, 0.8), (19, 1.5, 13)),
    )
    second, other = curve["seed"] == 1, curve["method"] == "other"
    curve.loc[second, ["loss_accuracy", "loss_diversity"]] *= 1.1
    middle = curve["w_accuracy"] == 0.5
    curve.loc[second & other & middle, ["loss_accuracy", "loss_diversity"]] = 2.2
    curve.loc[second & other & (curve["w_accuracy"] == 1), "ndcg@10"] = 0.45
    found = summarise(curve, OBJECTIVES)["other"]
    first, last = 0.5 / 2, (2.2 - 1.1) / (3.3 - 1.1)  # of the middle weight, seed by seed
    assert found["regret_mean_full"] == pytest.approx((first + last) / 2)
    assert found["regret_corner_mean_full"] == pytest.approx((10 + 5) / (20 + 10))
    best = np.array([0.4, 0.45])
    limits = [found[f"best_acc_full_{end}"] for end in ("low", "high")]
    assert limits == pytest.approx(stats.ttest_1samp(best, 0).confidence_interval(0.95), rel=1e-5)
    assert found["best_acc_full_sd"] == pytest.approx(best.std(ddof=1), rel=1e-5)
    one = summarise(curve[curve["seed"] == 0], OBJECTIVES)["other"]
    assert not [name for name in one if name.endswith(("_sd", "_low", "_high"))]


def test_a_method_with_few_weights_meets_the_oracle_at_these():
    curve = made_curve(
        tuned=((0.1, 0.3, 0.5), (0.8, 0.6, 0.4), (9, 1, 8)),
        constant=((0.3, 0.3, 0.3), (0.6, 0.6, 0.6), (29, 3, 18)),
        retrain=((0, 0.3, 0.4), (0, 0.6, 0.5), (0, 2, 13)),
    )
    curve = curve[(curve["method"] != "retrain") | (curve["w_accuracy"] > 0)]
    found = summarise(curve, OBJECTIVES)["retrain"]
    own, oracle = 0.3 * 0.6 + 0.1 * 0.5, 0.3 * 0.6 + 0.2 * 0.4
    assert found["set_hv_of_tuned_full"] == pytest.approx(own / oracle, rel=1e-5)
    assert found["range_ratio_acc_full"] == pytest.approx(0.1 / 0.2)
    assert found["regret_mean_full"] == pytest.approx((2 - 1) / (3 - 1))
    assert found["regret_corner_mean_full"] == pytest.approx((13 - 8) / ((20 + 10) / 2))


def test_the_controls_of_generation_are_what_they_are_called(collection, generators, trained):
    """Shuffled: the same vectors in another order; guided: guidance, and nothing else."""
    weights, generator = collection.oracles, generators[1]
    own = vectors_of(trained, 1)
    assert torch.equal(own["generated"], generator.generate(weights))
    moved = [not torch.allclose(a, b) for a, b in zip(own["generated"], own["generated_shuffled"],
                                                      strict=True)]  # fmt: skip
    assert sum(moved) >= len(weights) // 2
    order = torch.cdist(own["generated_shuffled"], own["generated"]).argmin(1)
    assert sorted(order.tolist()) == list(range(len(weights)))
    assert torch.equal(own["generated_cfg"], generator.generate(weights, guidance=1.5, steps=10))
    plain = generator.generate(weights, guidance=1.0, steps=10)
    assert not torch.equal(own["generated_cfg"], plain)
    guided = copy.copy(generator)
    guided.settings = generator.settings.model_copy(update={"guidance": 2.0})
    found = vectors_of(dataclasses.replace(trained, generators=[generators[0], guided]), 1)
    assert "generated_cfg" not in found and "generated_no_cfg" not in own
    assert torch.equal(found["generated_no_cfg"], generator.generate(weights))


def test_a_retrained_model_follows_its_weights(seqs, settings):
    """Trained for one objective alone it has a lower loss in that one than the other model."""
    long = {"epochs": 15, "patience": 15}
    fast = settings.model_copy(
        update={
            "rivals": settings.rivals.model_copy(update=long),
            "backbones": settings.backbones.model_copy(update={"learning_rate": 0.01}),
        }
    )
    losses = {}
    for weights in ([1.0, 0.0], [0.0, 1.0]):
        model, _ = retrain("sasrec", seqs, fast, torch.tensor(weights), 0)
        task = frozen_task(model.backbone.eval(), seqs, "valid", settings.adapters)
        vector = model.adapter.vector().unsqueeze(0)
        losses[weights[0]] = held_out_losses(task, vector, OBJECTIVES)[0]
    accuracy, diversity = losses[1.0] - losses[0.0]
    assert accuracy < -0.01 and diversity > 0.01


def test_written_files_hold_the_same_numbers(curve, tmp_path):
    summary = summarise(curve, OBJECTIVES)
    differences = {"tuned": {"set_hv_sampled": 0.0123}}
    Results(curve, summary, differences).write(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == summary
    assert json.loads((tmp_path / "differences.json").read_text()) == differences
    assert json.loads((tmp_path / "headline.json").read_text()) == headline(summary)
    assert len(list(tmp_path.iterdir())) == 4  # nothing half-written is left
    read = pd.read_csv(tmp_path / "curve.csv")
    assert np.allclose(read["ndcg@10"], curve["ndcg@10"], rtol=1e-5)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (lambda n, m: np.full((n, m), np.nan, np.float32), "not finite"),
        (lambda n, m: np.zeros((n, m - 1), np.float32), "shape"),
        (lambda n, m: np.zeros((n - 1, m), np.float32), "rows"),
        (lambda n, m: [["high"] * m] * n, "numbers"),
        (lambda n, m: [0.0] * m, "shape"),
    ],
)
def test_broken_scores_are_named_with_their_method(test_set, seqs, scores, words):
    made = Scores.of(scores(len(seqs.test), seqs.n_items + 1))
    row = Row("mine", 3, np.array([[1.0, 0.0]]), [made])
    with pytest.raises(ParagonError, match=f"mine, seed 3.*{words}"):
        measure_rows(test_set, [row])


def test_scores_of_other_candidates_or_weights_are_named(test_set, seqs):
    made = np.zeros((len(seqs.test), seqs.n_items + 1), np.float32)
    weights = np.array([[1.0, 0.0], [0.0, 1.0]])
    for scores, words in (
        ([Scores.of(made, np.zeros((len(seqs.test), 3)))], "shape"),
        ([Scores.of(made)], "weight 2 of 2.*missing"),
        ([Scores.of(made)] * 3, "more scores"),
    ):
        with pytest.raises(ParagonError, match=words):
            measure_rows(test_set, [Row("mine", 0, weights, scores)])


def undefined_rows(seqs, evaluation, good):
    """Rows of three methods that never rank a target among the first, or (``good``) one does."""
    n, w = len(evaluation), np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    scores = np.zeros((n, seqs.n_items + 1), np.float32)
    better = scores.copy()
    better[np.arange(n), evaluation.targets] = 1
    methods = {"tuned": scores, "generated": scores, "constant": scores}
    methods["mine"] = better if good else scores
    return [Row(m, seed, w, [Scores.of(own)] * 3) for m, own in methods.items() for seed in (0, 1)]


@pytest.mark.parametrize("good", [False, True])
@pytest.mark.parametrize("users", [1, None])
def test_equal_scores_and_one_user_have_reasons_and_no_numbers(seqs, users, good):
    """From rows to the files: what is undefined is null with its reason, and nothing is NaN."""
    few = seqs.test[:users]
    test_set = make_test_set(seqs, few, cutoffs=[10])
    curve, measured = measure_rows(test_set, undefined_rows(seqs, few, good))
    found = summarise(curve, OBJECTIVES)
    json.dumps([found, from_generated(measured, few.users, 100)], allow_nan=False)
    for method in ("generated", "mine"):
        own = found[method]
        assert own["set_hv_of_tuned_sampled"] is None
        assert "oracle's hypervolume is 0" in own["set_hv_of_tuned_sampled_note"]
        assert own["r_acc_sampled"] is None and "constant" in own["r_acc_sampled_note"]
        assert own["regret_mean_full"] is None and own["regret_mean_full_note"]
    assert (found["mine"]["set_hv_sampled"] > 0) == good


def test_the_generator_never_sees_the_oracles(collection, settings):
    """Other oracles, same generator: they may judge it and nothing else."""
    other = dataclasses.replace(collection, oracle_vectors=collection.oracle_vectors + 1)
    one = train_generator(collection, settings.generator, 0).generate([0.4, 0.6])
    two = train_generator(other, settings.generator, 0).generate([0.4, 0.6])
    assert torch.equal(one, two)


def test_what_could_not_be_compared_is_refused_before_anything_is_measured(trained):
    elsewhere = dataclasses.replace(trained, retrain_weights=torch.tensor([[0.55, 0.45]]))
    with pytest.raises(ParagonError, match="retrain: weights"):
        next(all_rows(elsewhere))


def test_a_method_has_one_way_to_its_scores():
    for name, m in METHODS.items():
        ways = (m.mixture, m.vectors, m.rerank, m.rows)
        assert sum(way is not None for way in ways) == 1, name
