"""Evaluation: the long table against brute force, the summary against hand-made curves."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from paragon import adapters, evaluate, rivals, study, testbed
from paragon.backbones import build
from paragon.errors import ParagonError
from paragon.generator import train_generator
from paragon.hypernetwork import END_TO_END, train_end_to_end
from paragon.negatives import NegativeSampler

OBJECTIVES = ["accuracy", "diversity"]


@pytest.fixture(scope="module")
def bed(seqs):
    return testbed.TestBed(seqs, seqs.test, OBJECTIVES, negatives=5, cutoffs=[5, 10])


@pytest.fixture(scope="module")
def collection(backbone, seqs, settings):
    return adapters.collect(backbone, seqs, settings.adapters, [0, 1])


@pytest.fixture(scope="module")
def tasks(backbone, seqs, settings):
    length = 1 + settings.adapters.negatives
    return {n: adapters.frozen_task(backbone, seqs, n, length) for n in ("valid", "test")}


@pytest.fixture(scope="module")
def generators(collection, settings):
    return [train_generator(collection, settings.diffusion, seed) for seed in (0, 1)]


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


def test_both_protocols_against_brute_force(seqs, bed):
    scores = np.random.default_rng(0).standard_normal((len(seqs.test), seqs.n_items + 1))
    found = bed.measure(scores.astype(np.float32))
    for protocol in ("sampled", "full"):
        ndcg, dcg = [], []
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
        assert found[protocol]["ndcg@10"] == pytest.approx(np.mean(ndcg), abs=1e-6)
        ideal = bed.ideal[protocol][:, 9]
        assert found[protocol]["alpha_ndcg@10"] == pytest.approx(np.mean(dcg / ideal), abs=1e-6)


@pytest.fixture(scope="module")
def learned(backbone, seqs, settings):
    train, sampler = adapters.frozen_task(backbone, seqs, "train", 10), NegativeSampler(seqs)
    return [
        [train_end_to_end(name, train, sampler, settings, seed) for name in END_TO_END]
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def curve(bed, collection, generators, learned, tasks):
    return testbed.run(bed, evaluate.all_rows(collection, generators, learned, tasks))


def test_every_row_is_there(curve, collection):
    expected = {
        "tuned", "generated", "generated_cfg", "generated_best", "generated_shuffled",
        "interpolation", "rbf", "ridge", "interpolation_log", "rbf_log", "ridge_log", "nearest",
        "nearest_noise", "soup", "constant", "backbone",
        "hypernetwork", "linear_subspace",
    }  # fmt: skip
    assert set(curve["method"]) == expected
    counts = curve.groupby(["method", "seed", "protocol"]).size()
    assert (counts == len(collection.oracles)).all() and len(counts) == len(expected) * 2 * 2


def test_retrained_rows_belong_to_their_seeds(seqs, settings, tmp_path, monkeypatch):
    """Whatever order the rows are consumed in."""
    monkeypatch.setattr(study, "ARTIFACTS", tmp_path)
    own = study.Study("toy", "sasrec", settings)
    weights = rivals.retrain_weights(settings)
    expected = {}
    for seed in settings.seeds:
        for index, w in enumerate(weights):
            model = build("sasrec", seqs, settings.backbone, seed=10 * seed + index).eval()
            adapter = adapters.Adapter(model.dim, settings.adapters.width)
            retrained = rivals.Retrained(model, adapter)
            rivals.save_retrained(retrained, {"kind": "retrain"}, own.folder / "rivals", w, seed)
            expected[seed, index] = retrained.scores(seqs, seqs.test).numpy()
    rows = list(evaluate.retrained_rows(own, seqs, seqs.test))
    assert [row.seed for row in rows] == settings.seeds
    for row in rows:
        for index, scores in enumerate(row.scores):
            assert np.allclose(scores, expected[row.seed, index], atol=1e-5)


def test_noise_goes_as_far_from_memory_as_generation(collection, generators, tasks):
    vectors = evaluate.vectors_of(collection, 0, generators[0], tasks["valid"])
    collected = collection.training_set(0)[0]
    far = torch.cdist(vectors["generated"], collected).min(1).values
    moved = (vectors["nearest_noise"] - vectors["nearest"]).norm(dim=1)
    assert torch.allclose(moved, far, rtol=1e-4)


def test_rows_without_an_adapter(bed, collection, generators, tasks, curve):
    others = list(evaluate.reranked_rows(bed, tasks["test"], collection.oracles, 0))
    found = testbed.run(bed, others)
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
    summary = evaluate.summarise(pd.concat([curve, found]), ["accuracy", "diversity"])
    flat = summary["popularity"]
    assert flat["r_acc_sampled"] is None and "r_acc_sampled_note" in flat
    assert "regret_mean_sampled" not in summary["mmr"] and summary["mmr"]["set_hv_sampled"] > 0


def test_a_hypernetwork_also_stands_as_a_re_ranker(bed, collection, tasks, learned, curve):
    """On sampled lists, which it orders whole, it is itself; only the first 100 of all items."""
    rows = list(evaluate.cmr_rows(bed, tasks["test"], learned, collection.oracles))
    assert [(row.method, row.seed) for row in rows] == [("cmr", 0), ("cmr", 1)]
    found = testbed.run(bed, rows)
    own = curve.query("method == 'hypernetwork' and protocol == 'sampled'")
    same = found.query("protocol == 'sampled'")
    for metric in ("ndcg@10", "alpha_ndcg@10"):
        assert same[metric].tolist() == pytest.approx(own[metric].tolist())
    assert list(evaluate.cmr_rows(bed, tasks["test"], [[], []], collection.oracles)) == []


def test_what_is_kept_by_event_has_the_means_of_the_table(curve, bed, collection):
    for method, seed, protocol in (("generated", 1, "full"), ("constant", 0, "sampled")):
        kept = bed.kept[method, seed, protocol]
        own = curve.query(f"method == '{method}' and seed == {seed} and protocol == '{protocol}'")
        assert np.array_equal(kept.weights, own[["w_accuracy", "w_diversity"]])
        assert np.array_equal(kept.points, own[["ndcg@10", "alpha_ndcg@10"]])
        means = np.array([part.mean(axis=1) for part in kept.events])
        assert np.allclose(means, kept.points, rtol=1e-12)
        assert kept.events[0].shape == (2, len(bed.evaluation))


def test_backbone_row_is_the_backbone(curve, backbone, bed, tasks):
    scores = (tasks["test"].states @ backbone.item_vectors().T).detach().numpy()
    own = curve[(curve["method"] == "backbone") & (curve["protocol"] == "full")]
    assert np.allclose(own["ndcg@10"], bed.measure(scores)["full"]["ndcg@10"])


def test_best_of_several_is_no_worse_on_validation(generators, collection, tasks):
    weights = collection.oracles
    best = evaluate.generated_best(generators[0], weights, tasks["valid"])

    def loss(vectors):
        parts = adapters.held_out_losses(tasks["valid"], vectors, OBJECTIVES)
        return (parts * weights).sum(-1)

    for sample in range(8):
        assert (loss(best) <= loss(generators[0].generate(weights, sample=sample)) + 1e-5).all()


def made_curve(**methods):
    """A curve with chosen metrics at w = 0, 0.5, 1: {method: (ndcg, alpha, loss)}."""
    rows = []
    for method, (ndcg, alpha, loss) in methods.items():
        for seed in (0, 1):
            for w, n, a, x in zip((0, 0.5, 1), ndcg, alpha, loss, strict=True):
                for protocol in testbed.PROTOCOLS:
                    rows.append(
                        {
                            "method": method, "seed": seed, "protocol": protocol,
                            "w_accuracy": w, "w_diversity": 1 - w,
                            "ndcg@10": n, "alpha_ndcg@10": a,
                            "loss_accuracy": x if protocol == "sampled" else np.nan,
                            "loss_diversity": x if protocol == "sampled" else np.nan,
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def test_summary_by_hand():
    curve = made_curve(
        tuned=((0.1, 0.3, 0.5), (0.8, 0.6, 0.4), (1, 1, 1)),
        constant=((0.3, 0.3, 0.3), (0.6, 0.6, 0.6), (3, 3, 3)),
        other=((0.2, 0.3, 0.4), (0.8, 0.7, 0.8), (1.5, 1.5, 1.5)),
    )
    found = evaluate.summarise(curve, OBJECTIVES)
    tuned, constant, other = found["tuned"], found["constant"], found["other"]
    assert tuned["set_hv_sampled"] == pytest.approx(0.1 * 0.8 + 0.2 * 0.6 + 0.2 * 0.4)
    assert tuned["set_hv_of_tuned_sampled"] == 1 and tuned["set_hv_sampled_sd"] == 0
    assert tuned["mean_hv_full"] == pytest.approx((0.08 + 0.18 + 0.2) / 3, rel=1e-5)
    assert tuned["r_acc_sampled"] == 1 and tuned["r_div_sampled"] == pytest.approx(1)
    assert other["range_ratio_acc_sampled"] == pytest.approx(0.5)
    assert other["violations_div_sampled"] == 1 and other["violations_acc_sampled"] == 0
    assert other["regret_mean_sampled"] == pytest.approx(0.25)
    assert constant["regret_mean_sampled"] == 1 and tuned["regret_mean_sampled"] == 0
    assert constant["r_acc_sampled"] is None
    assert "constant" in constant["r_acc_sampled_note"]
    json.dumps(found, allow_nan=False)


def test_intervals_over_seeds_are_those_of_student(curve):
    found = evaluate.summarise(curve, OBJECTIVES)
    own = curve.query("method == 'generated' and protocol == 'full'").groupby("seed")
    best = own["ndcg@10"].max().to_numpy()
    expected = stats.ttest_1samp(best, 0).confidence_interval(0.95)
    limits = [found["generated"][f"best_acc_full_{end}"] for end in ("low", "high")]
    assert limits == pytest.approx(expected, rel=1e-5)
    assert found["generated"]["best_acc_full_sd"] == pytest.approx(best.std(ddof=1), rel=1e-5)
    one = evaluate.summarise(curve[curve["seed"] == 0], OBJECTIVES)["generated"]
    assert not [name for name in one if name.endswith(("_sd", "_low", "_high"))]


def test_written_files_hold_the_same_numbers(curve, tmp_path):
    summary = evaluate.summarise(curve, OBJECTIVES)
    differences = {"tuned": {"set_hv_sampled": 0.0123}}
    evaluate.write_results(curve, summary, differences, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == summary
    assert json.loads((tmp_path / "differences.json").read_text()) == differences
    assert len(list(tmp_path.iterdir())) == 3  # nothing half-written is left
    read = pd.read_csv(tmp_path / "curve.csv")
    assert np.allclose(read["ndcg@10"], curve["ndcg@10"], rtol=1e-5)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (lambda n, m: np.full((n, m), np.nan, np.float32), "not finite"),
        (lambda n, m: np.zeros((n, m - 1), np.float32), "shape"),
        (lambda n, m: {"sampled": np.zeros((n, 3)), "full": np.zeros((n, m))}, "shape"),
    ],
)
def test_a_broken_method_is_named(bed, seqs, scores, words):
    made = scores(len(seqs.test), seqs.n_items + 1)
    row = testbed.Row("mine", 3, np.array([[1.0, 0.0]]), [made])
    with pytest.raises(ParagonError, match=f"mine.*{words}"):
        testbed.run(bed, [row])


def test_the_generator_never_sees_the_oracles(collection, settings):
    """Other oracles, same generator: they may judge it and nothing else."""
    import dataclasses

    other = dataclasses.replace(collection, oracle_vectors=collection.oracle_vectors + 1)
    one = train_generator(collection, settings.diffusion, 0).generate([0.4, 0.6])
    two = train_generator(other, settings.diffusion, 0).generate([0.4, 0.6])
    assert torch.equal(one, two)
