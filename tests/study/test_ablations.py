"""Ablations: the plan and its tables, collections made of others, what is measured on them."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.special import softmax

from paragon import params
from paragon.adapters.collection import collect
from paragon.adapters.frozen import held_out_losses
from paragon.adapters.mixtures import interpolation, rbf
from paragon.backbones import train_backbone
from paragon.evaluation import shares
from paragon.evaluation.protocol import Scores
from paragon.metrics.control import set_hv
from paragon.metrics.statistics import mean_interval
from paragon.rivals.end_to_end import END_TO_END
from paragon_study.ablations import ablate, contrasts, trials
from paragon_study.ablations.ablate import Ablations, kernel, spread_weights
from paragon_study.ablations.greedy import Greedy
from paragon_study.pipeline.study import Study
from tests.conftest import refused


@pytest.fixture(scope="module")
def bench(backbone, seqs, settings, collection):
    return ablate.AblationBench(Study("toy", "sasrec", settings), seqs, backbone, collection)


def test_weights_are_spread_from_the_corners_and_fewer_are_the_first_of_more():
    for objectives in (2, 3, 4):
        many = spread_weights(objectives, 12)
        assert torch.equal(spread_weights(objectives, 5), many[:5])
        assert torch.allclose(many.sum(1), torch.ones(12)) and many.min() >= 0.01 - 1e-6
        corners = many[:objectives].diagonal()
        assert torch.allclose(corners, torch.full((objectives,), 1 - 0.01 * (objectives - 1)))
        apart = torch.cdist(many, many).fill_diagonal_(torch.inf).amin(1)
        assert apart.min() > 0.5 / 12  # none is a copy


def test_kernel_smoothing_is_the_mean_given_the_weights_of_a_smoothed_density():
    """By simulation: draw an anchor, add noise to its weights, average what falls near."""
    anchors, rng = np.array([[0.1, 0.9], [0.4, 0.6], [0.9, 0.1]]), np.random.default_rng(0)
    width = np.sqrt(2) * np.mean([0.3, 0.3, 0.5])
    drawn = rng.integers(3, size=2_000_000)
    noisy = anchors[drawn] + width * rng.standard_normal((len(drawn), 2))
    at = np.array([[0.3, 0.7], [0.8, 0.2]])
    for mix, weights in zip(kernel(anchors, at), at, strict=True):
        near = np.linalg.norm(noisy - weights, axis=1) < 0.05
        assert mix == pytest.approx(np.bincount(drawn[near]) / near.sum(), abs=0.03)


def test_rows_hold_the_measures_of_the_study(bench, collection, settings):
    rows = bench.rows(
        {"middle": lambda w: bench.best(bench.collection.tuned(0))(torch.full_like(w, 0.5))}
    )
    rows = rows.set_index("method")
    assert {*rows.index} == {"tuned", "constant", "tuned_alone", "middle"}
    assert np.isnan(rows.loc["tuned", "choice"])
    assert rows.loc["tuned", ["set_hv_of_tuned", "outcome_error"]].tolist() == [1, 0]
    assert rows.loc["middle", "range_ratio_acc"] == 0 and np.isnan(rows.loc["middle", "r_acc"])
    # The oracle is the tuned adapter with the smallest validation loss at each weight.
    objectives, (valid, test, test_set) = settings.adapters.objectives, bench.held_out
    tuned = torch.cat([collection.anchor_vectors[0], collection.oracle_vectors[0]])
    losses = held_out_losses(valid, tuned, objectives)
    middle = tuned[(losses @ torch.tensor([0.5, 0.5])).argmin()]
    vectors = [*(tuned[(losses @ w).argmin()] for w in collection.oracles), middle]
    points = [test_set.measure(Scores.of_adapter(test, vector))[0]["full"] for vector in vectors]
    *points, own = np.array([[p["ndcg@10"], p["alpha_ndcg@10"]] for p in points])
    assert rows.loc["tuned", "set_hv"] == pytest.approx(set_hv(np.array(points)))
    choice = (held_out_losses(valid, middle[None], objectives) * bench.choices).sum(-1).mean()
    assert rows.loc["middle", "choice"] == pytest.approx(choice.item())
    far = np.abs(points - own) / np.ptp(points, axis=0)
    assert rows.loc["middle", "outcome_error"] == pytest.approx(far.mean())


def test_the_law_has_a_row_for_each_method_number_and_seed(
    backbone, seqs, settings, tmp_path, monkeypatch
):
    names = ["accuracy", "diversity", "recency"]
    few = {"objectives": names, "steps": 6, "checks": 2, "snapshots": 1, "oracles": 2}
    few["anchors"] = [*spread_weights(3, 4).tolist(), [0.2, 0.3, 0.5]]  # the last is drawn
    own = {"adapters": few, "generator": {"steps": 6, "batch": 8}}
    own["run"] = {"seeds": [0, 1], "threads": 1}
    toy = {"dataset": "toy", "backbone": "sasrec", "oracles": 2, "anchors": [3, 4]}
    variants = {"generated": {"anchors": [3, 4]}}
    variants["no_collection"] = {"anchors": [4], "change": {"batch": 0}}
    content = yaml.safe_load(PLAN) | {"seeds": [0, 1], "end_to_end": ["conditioned"]}
    toy |= {"objectives": names}
    content |= {"variants": variants, "law": {"toy": toy, "typo": toy | {"variants": ["more"]}}}
    plan = params.checked(Ablations, content, "test")

    def study(self, name, change=None):
        changed = params.merge_sections(settings.model_dump(), own, change or {})
        return Study("toy", "sasrec", params.checked(params.Params, changed, "test"))

    monkeypatch.setattr(Ablations, "study", study)
    frozen = seqs, backbone, {"sha256": "b"}
    monkeypatch.setattr(Study, "load_frozen", lambda self: frozen)
    monkeypatch.setattr(ablate, "STORE", tmp_path)
    asked, bias = [], ablate.tune_category_bias
    record = ablate, "tune_category_bias", lambda *parts: asked.append(parts[1]) or bias(*parts)
    monkeypatch.setattr(*record)
    table = ablate.measure_law(plan, "toy")
    several = {*ablate.MIXTURES, "kernel", "best", "generated", "generated_best"}
    expected = {(m, str(n), s) for m in several for n in (3, 4) for s in (0, 1)}
    once = {"tuned", "constant", "tuned_alone", "backbone", "category_bias", "conditioned"}
    once |= {"greedy_50", "greedy_1000"}
    expected |= {(m, "", s) for m in once for s in (0, 1)}
    expected |= {("no_collection", "4", s) for s in (0, 1)}
    found = {*table[["method", "anchors", "seed"]].itertuples(index=False, name=None)}
    assert found == expected and len(table) == len(expected)
    assert table["outcome_error"].notna().all() and (table["objectives"] == 3).all()
    assert asked[0].tolist()[-1] == pytest.approx([0.2, 0.3, 0.5])  # not learned from
    # What is stored is not trained again.
    monkeypatch.setattr(ablate, "train_generators", None)
    pd.testing.assert_frame_equal(ablate.measure_law(plan, "toy"), table)
    refused("'more' is unknown; known: generated, no_collection", ablate.measure_law, plan, "typo")


def test_greedy_reranking_takes_the_item_with_the_largest_sum_of_gains(
    backbone, seqs, settings, collection
):
    names = ["accuracy", "novelty", "diversity"]
    adapters = settings.adapters.model_copy(update={"objectives": names})
    study = Study("toy", "sasrec", settings.model_copy(update={"adapters": adapters}))
    rival = Greedy(ablate.AblationBench(study, seqs, backbone, collection), 15)
    factors, (by_factors, temperature) = [1.0, 0.3, 0.1], rival.prepare("test", 0.7)
    (table,) = by_factors(np.array(factors)).blocks()
    scores = rival.bench.held_out[1].catalogue_scores(torch.zeros(collection.form.size)).numpy()
    for row, excluded in enumerate(seqs.excluded(seqs.test)):
        own = np.where(excluded, -np.inf, scores[row] / temperature)
        p, left, unmet, best = softmax(own), [*np.argsort(-own, kind="stable")[:15]], 1.0, []
        for _ in range(10):
            gains = np.stack([p, rival.of_items["novelty"], seqs.categories @ (unmet * np.ones(6))])
            best.append(max(left, key=lambda item: round(float(factors @ gains[:, item]), 6)))
            left.remove(best[-1])
            unmet = unmet * (1 - seqs.categories[best[-1]] / 2)
        assert np.argsort(-table[row])[:10].tolist() == best
    # On validation events, those factors are chosen that bring the outcome closest.
    tuned, valid = collection.oracle_vectors[0], rival.bench.held_out[0]
    asked = rival.measured(Scores.of_adapter(valid, vector) for vector in tuned)
    as_chosen, _ = rival.prepare("test", rival.temperature)
    for number, scores in enumerate(rival.row(0, tuned).scores):
        far = np.abs((rival.points - asked[number]) / np.ptp(asked, axis=0)).sum(1)
        (expected,) = as_chosen(rival.factors[np.argmin(far)]).blocks()
        assert np.array_equal([*scores.blocks()], [expected])


def test_equal_weights_are_averaged_before_interpolation():
    anchors = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.5, 0.5]])
    for method in (interpolation, rbf):
        mix = method(anchors, np.array([[0.5, 0.5], [0.0, 1.0]]))
        assert np.allclose(mix, [[0, 0.5, 0, 0.5], [1, 0, 0, 0]], atol=1e-9)


PLAN = """
dataset: toy
seeds: [0]
end_to_end: []
equal: 3
variants: {generated: {anchors: [3]}}
law:
  a: {dataset: toy, backbone: sasrec, oracles: 4, anchors: [3], objectives: [accuracy, diversity]}
  b: {dataset: toy, backbone: gru4rec, oracles: 4, anchors: [3], objectives: [accuracy, diversity]}
budgets:
  p: {dataset: toy, backbone: sasrec}
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
        for kind in ("budgets",) if name else ("law", "budgets"):
            whole.run(kind, [name] if name else whole.missing(kind), None if renew else rows_of)
        return list(made)

    assert run() == ["a", "b", "p"] and run() == []
    table = tmp_path / "ablations" / "results" / "law.csv"
    before = table.read_text()
    assert before.splitlines()[:3] == ["name,method,m", "a,tuned,1", "a,constant,0.333333"]
    # The entry `a` differs now, `b` and the budgets do not.
    other = PLAN.replace("sasrec, oracles: 4", "sasrec, oracles: 5")
    assert run(other) == ["a"]
    assert table.read_text() == before  # rows of `b` and their place are kept
    assert run(other.replace("variants: {", "variants: {more: {anchors: [3]}, ")) == ["a", "b"]
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


def test_where_xquad_catches_up_is_read_off_its_line():
    line = {"name": "s", "share": 90, "fetched": [10, 100, 1000]}
    xquad = pd.DataFrame(line | {"method": "xquad", "alpha_ndcg": [0.1, 0.2, 0.3]})
    other = pd.DataFrame(line | {"method": "generated", "alpha_ndcg": [0.2, 0.1, 0.0]})
    for end, move in {"": 0, "_low": -0.05, "_high": 0.05}.items():
        xquad[f"difference{end}"] = xquad["alpha_ndcg"] - other["alpha_ndcg"] + move
        other[f"alpha_ndcg{end}"] = [0.2 + move, 0.1, 0.0]
    found = contrasts.catching_up(pd.concat([xquad, other]), 10)["90 %"].tolist()
    assert found == ["32 (18 to 56)", "100 (32 to 316)"]
    early = xquad.assign(difference=1.0, difference_low=-1.0)
    found = contrasts.catching_up(pd.concat([early, other]), 1000)["90 %"].tolist()
    assert found == ["≤ 10 (18 to > 1000)", "≤ 10"]


def test_adapters_are_tuned_once_for_their_settings(bench, settings, tmp_path, monkeypatch):
    tuned = []

    def load(change, origin="b"):
        adapters = settings.adapters.model_copy(update=change)
        study = Study("toy", "sasrec", settings.model_copy(update={"adapters": adapters}))
        parts = bench.sequences, bench.backbone, {"sha256": origin}, tmp_path / "tuned"
        return trials.tuned_adapters(study, *parts), len(tuned)

    monkeypatch.setattr(trials, "collect", lambda *of: tuned.append(of) or collect(*of))
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
    expected = set(product(shares.BUDGETS, {*shares.FETCHED} - {*END_TO_END}, (90, 1)))
    assert set(table[["fetched", "method", "share"]].itertuples(index=False)) == expected
    rows = table.set_index(["fetched", "share", "method"]).sort_index()
    for budget in shares.BUDGETS:
        others, own = rows.loc[budget, 1].drop("generated"), rows.loc[(budget, 1, "generated")]
        gap = (others["alpha_ndcg"] - own["alpha_ndcg"]).to_numpy()
        assert others["difference"].to_numpy() == pytest.approx(gap, abs=1e-5)
        assert others["difference_p_holm"].between(0, 1).all()
    figure = contrasts.budgets(table.assign(name="toy"))
    assert [line.get_label() for line in figure.axes[0].lines][0] == "xQuAD re-ranking"


def test_a_backbone_is_trained_with_each_change_of_its_settings(seqs, settings, monkeypatch):
    def opened(dataset, backbone, change, checked):
        own = settings.backbones.model_copy(update=change["backbones"])
        params = settings.model_copy(update={"backbones": own})
        return SimpleNamespace(params=params, load_sequences=lambda: seqs)

    monkeypatch.setattr(ablate, "open_study", opened)
    plan = Ablations.load().model_copy(update={"tried": [{}, {"learning_rate": 0.05}, {}]})
    rows = ablate.measure_tuning(plan, "gru4rec")
    assert rows["change"].tolist() == ["the study", "learning_rate 0.05", "the study"]
    first, other, again = rows["ndcg"]
    assert first == again != other and (rows["seconds"] > 0).all()
    alone = settings.backbones.model_copy(update={"learning_rate": 0.05})
    assert other == -min(train_backbone("gru4rec", seqs, alone)[1].validation)


def test_other_settings_of_backbones_are_better_by_chance_at_most():
    assert Ablations.load().missing("tuning") == []  # measured with the settings of params.yaml
    table = contrasts.load_table("tuning").pivot(index="change", columns="name", values="ndcg")
    chance = (table.loc["the study"] - table.loc["seed 1"]).abs().max()
    assert (table.max() - table.loc["the study"] < chance).all()
