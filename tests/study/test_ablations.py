"""Ablations: the plan and its tables, collections made of others, what is measured on them."""

from itertools import chain, product
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from IPython.display import Markdown
from scipy.special import softmax

from paragon import params
from paragon.adapters.collection import collect
from paragon.adapters.frozen import held_out_losses
from paragon.adapters.mixtures import interpolation, rbf
from paragon.backbones import train_backbone
from paragon.evaluation.protocol import Scores
from paragon.generator.training import guidance_losses
from paragon.metrics.control import set_hv
from paragon.metrics.statistics import mean_interval
from paragon_study.ablations import ablate, contrasts, factorial, trials
from paragon_study.ablations.ablate import Ablations, Option, spread_weights, start_weights
from paragon_study.ablations.greedy import Greedy
from paragon_study.pipeline.study import Study
from tests.conftest import refused

pytestmark = pytest.mark.slow


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


def test_tuning_starts_at_little_accuracy_wherever_it_stands_and_as_the_study_does():
    assert start_weights(["accuracy", "diversity"]) == [0.15, 0.85]
    three = start_weights(["diversity", "accuracy", "novelty"])
    assert three == pytest.approx([0.35, 0.3, 0.35])
    assert sum(start_weights([*"abcde", "accuracy"])) == pytest.approx(1)
    own = params.load_params().overrides["ml-100k-three"]["adapters"]
    assert own["start"] == pytest.approx(start_weights(own["objectives"]))


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


def open_toys(monkeypatch, folder, seqs, backbone, settings, own):
    """Let studies of a plan be the small one with its changes ``own``, and store in a folder."""

    def study(self, kind, name, change=None):
        self.entry(kind, name)
        changed = params.merge_sections(settings.model_dump(), own, dict(change or {}))
        return Study("toy", "sasrec", params.checked(params.Params, changed, "test"))

    monkeypatch.setattr(Ablations, "study", study)
    monkeypatch.setattr(Study, "load_frozen", lambda self: (seqs, backbone, {"sha256": "b"}))
    for module in (ablate, factorial):
        monkeypatch.setattr(module, "STORE", folder)


def test_the_law_has_a_row_for_each_method_number_and_seed(
    backbone, seqs, settings, tmp_path, monkeypatch
):
    names = ["accuracy", "diversity", "recency"]
    few = {"objectives": names, "steps": 6, "checks": 2, "snapshots": 1, "oracles": 2}
    few["anchors"] = spread_weights(3, 4).tolist()
    few["start"] = start_weights(names)
    own = {"adapters": few, "generator": {"steps": 6, "batch": 8}}
    own["run"] = {"seeds": [0, 1]}
    toy = {"dataset": "toy", "backbone": "sasrec", "oracles": 2, "anchors": [3, 4]}
    content = yaml.safe_load(PLAN) | {"seeds": [0, 1], "end_to_end": ["conditioned"]}
    content["law"] = {"toy": toy | {"objectives": names}}
    plan = params.checked(Ablations, content, "test")
    open_toys(monkeypatch, tmp_path, seqs, backbone, settings, own)
    table = ablate.measure_law(plan, "toy")
    several = {*ablate.MIXTURES, "best", "paragon", "generated", "generated_best"}
    expected = {(m, str(n), s) for m in several for n in (3, 4) for s in (0, 1)}
    once = {"tuned", "constant", "tuned_alone", "backbone", "category_bias", "conditioned"}
    once |= {"greedy_50", "greedy_1000"}
    expected |= {(m, "", s) for m in once for s in (0, 1)}
    found = {*table[["method", "anchors", "seed"]].itertuples(index=False, name=None)}
    assert found == expected and len(table) == len(expected)
    assert table["outcome_error"].notna().all() and (table["objectives"] == 3).all()
    # What is stored is not trained again.
    monkeypatch.setattr(ablate, "train_generators", None)
    pd.testing.assert_frame_equal(ablate.measure_law(plan, "toy"), table)


CHOICES = ["start", "predicts", "latent", "loss", "trained_steps", "steps", "guidance"]


def test_one_factor_is_changed_at_a_time_and_the_oracle_stays(
    backbone, seqs, settings, tmp_path, monkeypatch
):
    own = {"generator": {"steps": 6, "batch": 8, "sampler_steps": 3}}
    own["run"] = {"seeds": [0, 1]}
    toy = {"toy": {"dataset": "toy", "backbone": "sasrec"}}
    plan = Ablations.load().model_copy(update={"seeds": [0, 1]})
    plan = params.checked(Ablations, plan.model_dump() | {"factorial": toy}, "test")
    open_toys(monkeypatch, tmp_path, seqs, backbone, settings, own)
    table = factorial.measure_factorial(plan, "toy")

    same = {"tuned_alone", "nearest", "interpolation_log"}  # of a collection, without a generator
    expected = {(m, "default", "default") for m in ("paragon", "generated", *same)}
    expected |= {(m, "start", "untrained") for m in same}
    for factor, options in plan.factors.items():
        expected |= {(m, factor, option) for option, own in options.items() for m in own.of}
    rows = table.set_index(["generator", "factor", "option", "seed"])
    assert {*rows.index} == {(*row, seed) for row in expected for seed in (0, 1)}
    assert rows.index.is_unique and table["regret_mean"].notna().all()
    assert table["choice"].notna().equals(table["generator"] != "tuned_alone")

    choices = rows.xs(0, level="seed")[CHOICES]
    for (method, factor, option), row in choices.drop(index=[*same], level=0).iterrows():
        default = choices.loc[(method, "default", "default")]
        changed = {key for key in CHOICES if not (row[key] == default[key] or row.isna()[key])}
        alike = {"start", "predicts", "latent", "loss", "steps"} - {factor}
        if option == "trained_with_1":
            assert row["trained_steps"] == row["steps"] == 1
        else:
            assert row.isna()["trained_steps"] or row["trained_steps"] == 3
        assert not changed & alike, (method, factor, option)
        assert factor in ("default", "guidance") or factor in changed
    assert choices.loc[("generated", "guidance", "1.5"), "guidance"] == 1.5
    assert choices.loc[("generated", "steps", "50"), "steps"] == 50
    assert choices.loc[("paragon", "default", "default"), "loss"] == "diffusion"
    assert choices.loc[("generated", "default", "default"), "loss"] == "both"

    # One oracle: the default collection's, also for adapters that started untrained.
    collected = tmp_path / "factorial" / "toy"
    default, other = (
        factorial.tuned_adapters(
            plan.study("factorial", "toy", change), seqs, backbone, {"sha256": "b"}, stem
        )
        for change, stem in (
            ({}, collected / "tuned"),
            (plan.factors["start"]["untrained"].train, collected / "start-untrained" / "tuned"),
        )
    )
    assert not torch.equal(default.oracle_vectors, other.oracle_vectors)
    bench = ablate.AblationBench(plan.study("factorial", "toy"), seqs, backbone, default)
    again = bench.rows({}, 0, tuned={"untrained": other.oracle_vectors[0]}).set_index("method")
    alone = rows.loc[("tuned_alone", "start", "untrained", 0)]
    assert alone["regret_mean"] == again.loc["untrained", "regret_mean"]
    # What is stored is not trained again.
    monkeypatch.setattr(ablate, "train_generators", None)
    pd.testing.assert_frame_equal(factorial.measure_factorial(plan, "toy"), table)


def test_a_trained_generator_samples_with_other_settings_and_chooses_its_guidance(toy_study):
    generator, valid = toy_study.generators["paragon"][0], toy_study.valid
    weights, before = toy_study.weights, generator.generate(toy_study.weights)
    other = factorial.resampled(generator, {"sampler_steps": 7, "guidance": [2.5]}, valid)
    asked = generator.generate(weights, steps=7, guidance=2.5)
    assert torch.equal(other.generate(weights), asked) and not torch.equal(asked, before)
    assert torch.equal(generator.generate(weights), before)  # the given one stays as it is
    few = factorial.resampled(generator, {"guidance": [1.0, 3.0]}, valid)
    losses = guidance_losses(few, valid)
    assert losses[few.guidance] == min(losses.values())
    refused("sampler_steps", factorial.resampled, generator, {"sampler_steps": 0}, valid)


def test_the_factors_are_those_of_the_studies():
    plan = Ablations.load()
    for name, entry in plan.factorial.items():
        study = plan.study("factorial", name)
        own = study.params.adapters
        wanted = params.load_params(study=entry.adapters_of or entry.dataset).adapters
        assert own == wanted and len(own.anchors) == 10
        # As many components as there are directions between the vectors.
        directions = len(own.anchors) * (1 + own.snapshots) - 1
        latents = [
            change.train["generator"]["latent"] for change in plan.factors["latent"].values()
        ]
        assert latents == [16, directions]
        for change in chain.from_iterable(options.values() for options in plan.factors.values()):
            changed = plan.study("factorial", name, change.train)
            for generator in change.of:
                own = changed.params.of_generator(generator).model_dump()
                params.checked(params.GeneratorSettings, own | dict(change.sample), "test")
                assert not change.train or changed.params != study.params
    refused("overrides.unknown", ablate.FactorialEntry(
        dataset="a", backbone="b", adapters_of="unknown"
    ).adapters)  # fmt: skip
    content = {"sample": {"latent": 3}}
    refused("sample", params.checked, Option, content, "test")


def recorded_factorial():
    """Rows of two entries: 1 % more regret with each seed, and 10 % more with the option."""
    columns = ["name", "generator", "factor", "option", "seed"]
    methods, factors = ("paragon", "generated"), (("default", "default"), ("latent", "a_b"))
    rows = [
        (name, method, *factor, seed)
        for name, method, factor, seed in product("xy", methods, factors, range(3))
    ]
    table = pd.DataFrame(rows, columns=columns)
    more = 0.1 * (table["factor"] == "latent")
    return table.assign(guidance=1.5, regret_mean=0.01 * table["seed"] + more)


def test_the_tables_of_factors_are_differences_by_seed(tmp_path):
    recorded_factorial().to_csv(tmp_path / "factorial.csv", index=False)
    rows = contrasts.load_factorial(tmp_path)
    rows.loc[(rows["name"] == "y") & (rows["seed"] == 0), "regret"] += 50  # of both: no change
    table = contrasts.factor_table(rows, "latent")
    assert table.to_dict("list") == {"x": ["10.0 ± 0.0"] * 2, "y": ["10.0 ± 0.0"] * 2}
    assert [*table.index] == ["paragon, a b", "generated, a b"]
    assert contrasts.factor_table(rows, "default").loc["paragon", "x"].startswith("1.0 ± ")
    assert contrasts.chosen_guidance(rows).loc["generated", "y"] == "1.5, 1.5, 1.5"
    assert "z" in contrasts.not_recorded(rows, ["x", "z"])
    none = contrasts.load_factorial(tmp_path / "nowhere")
    assert contrasts.factor_table(none, "start").empty and contrasts.chosen_guidance(none).empty


@pytest.mark.parametrize("rows", [None, recorded_factorial()], ids=["without rows", "with rows"])
def test_the_notebook_shows_the_factors_that_are_recorded(rows, tmp_path, monkeypatch, capsys):
    if rows is not None:
        rows.to_csv(tmp_path / "factorial.csv", index=False)
    load = contrasts.load_factorial
    monkeypatch.setattr(contrasts, "load_factorial", lambda: load(tmp_path))
    cells = nbformat.read(params.ROOT / "notebooks" / "07_ablations.ipynb", 4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    names = {"contrasts": contrasts, "pd": pd, "Ablations": Ablations, "Markdown": Markdown}
    shown = []
    for source in sources:
        if "factorial" in source:
            *lines, last = source.split("\n")
            exec("\n".join(lines), names)
            shown.append(eval(last, names))
    assert "3-planted" in capsys.readouterr().out
    kinds = [type(one) for one in shown]
    assert len(kinds) == 8 and (rows is not None or set(kinds) == {Markdown})
    assert rows is None or kinds.count(pd.DataFrame) == 3  # the default, its guidance, `latent`


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
law:
  a: {dataset: toy, backbone: sasrec, oracles: 4, anchors: [3], objectives: [accuracy, diversity]}
  b: {dataset: toy, backbone: gru4rec, oracles: 4, anchors: [3], objectives: [accuracy, diversity]}
tuning:
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
        for kind in ("tuning",) if name else ("law", "tuning"):
            whole.run(kind, [name] if name else whole.missing(kind), None if renew else rows_of)
        return list(made)

    assert run() == ["a", "b", "p"] and run() == []
    table = tmp_path / "ablations" / "results" / "law.csv"
    before = table.read_text()
    assert before.splitlines()[:3] == ["name,method,m", "a,tuned,1", "a,constant,0.333333"]
    # The entry `a` differs now, `b` and the tuning do not.
    other = PLAN.replace("sasrec, oracles: 4", "sasrec, oracles: 5")
    assert run(other) == ["a"]
    assert table.read_text() == before  # rows of `b` and their place are kept
    assert run(other.replace("equal: 3", "equal: 4")) == ["a", "b"]
    assert run(other, name="p") == ["p"]
    assert run(PLAN, renew=True) == [] and run() == []
    table.with_name("settings.json").unlink()
    assert run() == ["a", "b", "p"]
    refused("params.yaml", run, "seeds: [0")
    refused("sedes", run, "sedes: [0]")


def test_differences_are_taken_seed_by_seed():
    one, other = ((0, 5.0), (1, 9.0), (2, 100.0)), ((1, 8.0), (0, 3.0))
    rows = [("s", "one", *own) for own in one] + [("s", "other", *own) for own in other]
    rows = pd.DataFrame(rows, columns=["setting", "method", "seed", "m"])
    mean, low, high, _ = mean_interval(np.array([2.0, 1.0]))
    found = contrasts.paired(rows, "one", "other", "m").loc["s"]
    assert found.tolist() == pytest.approx([mean, low, high, 2])


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
