"""The trials of moved adapters: the plan, and rows on a place where the truth is known."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from paragon.adapters import transport as maps
from paragon.adapters.collection import collect
from paragon.adapters.transport import fit_transport, shared_items
from paragon.backbones import build
from paragon.data.negatives import NegativeSampler
from paragon.params import ROOT, load_params, merge_sections
from paragon_study.ablations.alignment import permute
from paragon_study.ablations.places import Place
from paragon_study.moves import recommenders, shared
from paragon_study.moves import trials as transport
from paragon_study.moves.recommenders import (
    AnchorsEntry,
    RecommenderEntry,
    Trials,
    carry_over,
    load_trials,
    named_by_title,
    sequences_before,
    study_of_recommender,
    train_recommender,
)
from paragon_study.pipeline.study import Study, StudyData
from tests.adapters.test_transport import Turned, turn
from tests.conftest import SMALL

TRIALS = Trials(
    dataset="toy",
    change={},
    steps=[3],
    anchors=AnchorsEntry(weights=[0.25, 0.75], steps=3),
    recommenders={},
    moves={},
)


@pytest.fixture(scope="module")
def old(backbone, seqs, settings):
    collection = collect(backbone, seqs, settings.adapters, [0])
    return Place(Study("toy", "sasrec", settings), seqs, backbone, collection)


@pytest.fixture(scope="module")
def place(backbone, old):
    """The old recommender in other coordinates, its own adapters the old ones, moved exactly."""
    there = replace(old, backbone=Turned(backbone, turn().float()), seconds={})
    exact = fit_transport(old.space, there.space)
    return replace(there, collection=exact.collection(old.collection, {"sha256": "there"}))


@pytest.fixture(scope="module")
def table(place, old):
    moved = transport._moved(place, old, TRIALS)
    rows = {**moved, **transport._controls(place, old, fit_transport(old.space, place.space))}
    return place.table(rows).query("protocol == 'full'").set_index("method")


def test_moved_adapters_are_the_tuned_ones_where_the_truth_is_a_turn(table):
    for row in ("moved", "moved_means", "moved_least_squares"):
        tolerance = 0.05 if row == "moved_least_squares" else 1e-4
        assert table.loc[row, "set_hv_of_tuned"] == pytest.approx(1, abs=tolerance)
    tuned = table.loc["tuned", "set_hv"]
    for control in ("as_it_is", "random_rotation"):
        assert abs(table.loc[control, "set_hv"] - tuned) > 1e-3


def test_every_row_is_there_and_its_seconds_count_what_went_before(table, place):
    tuned_on = {"moved_two_anchors", "moved_3"}
    chosen = {"moved", "moved_means", "moved_least_squares", "moved_calibrated"}
    controls = {"as_it_is", "random_rotation"}
    assert set(table.index) == {"tuned", "constant"} | chosen | tuned_on | controls
    assert place.seconds.keys() == chosen | tuned_on
    for row in tuned_on | {"moved_calibrated"}:
        assert place.seconds[row] >= place.seconds["moved_means"]


def test_calibration_has_no_more_loss_than_moving_on_the_users_that_it_is_chosen_on(place, old):
    fitted = fit_transport(old.space, place.space)
    candidates = maps.candidates(fitted, old.collection)
    assert len(candidates) == 3 * maps.GRID
    chosen = maps.calibrate(place.held_out[0], candidates, place.weights, place.objectives)
    moved = fitted.vectors(old.collection.oracle_vectors[0], old.collection.form)

    def loss(vectors):
        valid, _, _ = place.held_out
        rows = torch.arange(len(valid.states))
        losses = valid.losses(vectors, rows, valid.candidates, place.objectives)
        return (losses * place.weights).sum(-1)

    assert (loss(chosen) <= loss(moved) + 1e-4).all()


def test_tuning_on_from_a_start_changes_it_and_repeats_itself(place):
    start = place.tuned
    first, again = (place.tuned_on(start, place.weights, 3) for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, start)


def test_the_data_of_an_earlier_day_have_no_later_event(settings, dataset, monkeypatch):
    study = Study("toy", "sasrec", settings)
    monkeypatch.setattr(StudyData, "load", lambda _: dataset)
    times = dataset.interactions["timestamp"]
    days = 50 / 86_400
    before = sequences_before(study, days)
    assert before.times.max() == times[times <= times.max() - 50].max() < times.max()
    assert before.n_users <= dataset.interactions["user_id"].nunique()


def test_a_map_from_few_items_uses_as_many(old):
    few = replace(old, items=0.5)
    assert len(few.space.ids) == round(0.5 * len(old.space.ids)) == len(few.space.vectors) - 1
    rows = [list(old.space.ids).index(name) + 1 for name in few.space.ids]
    assert rows == sorted(rows) and torch.equal(few.space.vectors[1:], old.space.vectors[rows])
    assert (few.space.popularity[1:] == old.space.popularity[rows]).all()


def test_other_data_are_mapped_by_titles_that_one_item_has(old, seqs):
    """Ids of one dataset mean nothing in another: the same films, in other places, renamed."""
    titles = ["Twice", "Twice", *seqs.titles[2:]]
    first = replace(old, sequences=replace(seqs, titles=titles))
    renamed = replace(seqs, titles=titles[::-1], item_ids=seqs.item_ids)
    study = replace(old.study, dataset="other")
    second = replace(old, study=study, sequences=renamed)
    ids = [place.space.ids for place in map(named_by_title, (first, second))]
    rows, others = shared_items(*ids)
    assert rows.tolist() == list(range(3, seqs.n_items + 1))
    assert (rows + others).unique().tolist() == [seqs.n_items + 1]
    moved = fit_transport(named_by_title(first).space, named_by_title(old).space)
    assert moved.shared == seqs.n_items - 2 and moved.fit == pytest.approx(1)


def test_a_warm_start_has_what_was_known_and_fresh_vectors_for_new_items(seqs, settings):
    old, new = (build("sasrec", seqs, settings.backbones, seed) for seed in (0, 1))
    fresh, n = new.item_vectors().clone(), seqs.n_items
    carry_over(old, new, torch.arange(1, n), torch.arange(2, n + 1))  # each one place further
    assert torch.equal(new.item_vectors()[2:], old.item_vectors()[1:-1])
    assert torch.equal(new.item_vectors()[1], fresh[1])
    others = {k: v for k, v in new.state_dict().items() if len(v) != n + 1}
    assert others and all(torch.equal(v, old.state_dict()[k]) for k, v in others.items())


def test_a_generator_is_tried_on_the_old_recommender_that_it_was_moved_from(place, old):
    """Where the truth is a turn, what is moved there and back loses nothing."""
    one = shared.Old.of(old, place)
    together = shared.collected([one])
    own = old.collection
    assert torch.allclose(together.anchor_vectors[0], one.vectors, atol=1e-6)
    assert len(one.vectors) == len(own.anchors) + len(own.oracles) == len(together.anchors)
    tries = shared.behaviour_of(together, [one], 8)
    vectors = torch.cat([own.anchor_vectors[0], own.oracle_vectors[0]])
    rng = np.random.default_rng(0)
    rng.integers(1)  # which of the old recommenders
    negatives = own.description["settings"]["negatives"]
    rows, candidates = old.train.draw(NegativeSampler(old.sequences), 8, negatives, rng)
    expected = old.train.losses(vectors, rows, candidates, old.objectives)
    tried = tries.task_losses(one.vectors, np.random.default_rng(0))
    assert torch.allclose(tried, expected, atol=1e-4)
    # Not moved back, they would be tried in the wrong coordinates.
    wrong = old.train.losses(one.vectors, rows, candidates, old.objectives)
    assert not torch.allclose(wrong, expected, atol=1e-4)


def test_of_one_recommender_twice_mean_and_ensemble_are_what_was_moved(place, old):
    """Even if its hidden units have another order the second time."""
    own, order = old.collection, torch.randperm(old.collection.form.width)
    names = ("anchor_vectors", "oracle_vectors")
    turned = {name: permute(getattr(own, name), order, own.form) for name in names}
    again = replace(old, collection=replace(own, **turned))
    olds = [shared.Old.of(one, place) for one in (old, again)]
    vectors, others = shared.rows_from(olds, place)
    assert torch.allclose(vectors["moved_mean"], vectors["moved"], atol=1e-6)
    table = place.table(vectors, others).query("protocol == 'full'").set_index("method")
    expected = {"moved", "moved_generated", "moved_mean", "moved_calibrated", "moved_ensemble"}
    assert set(table.index) == {"tuned", "constant"} | expected
    for row in ("moved", "moved_mean", "moved_ensemble"):
        assert table.loc[row, "set_hv_of_tuned"] == pytest.approx(1, abs=1e-4)


def test_of_one_recommender_a_hypernetwork_moves_as_well(place, old):
    vectors, others = shared.rows_from([shared.Old.of(old, place)], place)
    assert vectors.keys() == {"moved", "moved_generated", "moved_hypernetwork"} and not others
    assert all(own.shape == place.tuned.shape for own in vectors.values())


@pytest.fixture
def trained(seqs, tmp_path, monkeypatch):
    """Trains a small recommender with this change of its entry; how often what was trained."""
    counts = Counter()

    def counted(name):
        own = getattr(recommenders, name)

        def count(*given):
            counts[name] += 1
            return own(*given)

        monkeypatch.setattr(recommenders, name, count)

    def opened(dataset, backbone, change, **_):
        return Study(dataset, backbone, load_params(overrides=merge_sections(SMALL, change)))

    def train(**change):
        entry = RecommenderEntry(**{"backbone": "sasrec", "seed": 0} | change)
        trials = TRIALS.model_copy(update={"recommenders": {"one": entry}})
        monkeypatch.setattr(recommenders, "load_trials", lambda: trials)
        counts.clear()
        train_recommender("one")
        return counts["train_backbone"], counts["collect"]

    counted("train_backbone")
    counted("collect")
    monkeypatch.setattr(recommenders, "open_study", opened)
    monkeypatch.setattr(recommenders, "sequences_before", lambda *_: seqs)
    monkeypatch.setattr(recommenders, "STORE", tmp_path / "store")
    monkeypatch.setattr(recommenders, "FOLDER", tmp_path)
    return train


def test_a_recommender_is_trained_again_where_its_settings_are_others(trained, tmp_path):
    folder = tmp_path / "store" / "one"
    assert trained() == (1, 2) and trained() == (0, 0)
    (folder / "state_only.json").unlink()  # interrupted: the rest is kept
    assert trained() == (0, 1)
    (folder / "item_side.json").write_text("{}")
    assert trained() == (0, 1)
    for change in (
        {"backbone": "gru4rec"},
        {"seed": 1},
        {"change": {"backbones": {"dim": 8}}},
        {"warm": 1},
        {"warm": 2},
    ):
        assert trained(**change) == (1, 2) and trained(**change) == (0, 0), change
    assert trained() == (1, 2)
    longer = {"change": {"adapters": {"steps": 25}}}
    assert trained(**longer) == (0, 2) and trained(**longer) == (0, 0)


def test_the_plan_holds_together():
    trials = load_trials()
    for name, entry in trials.recommenders.items():
        changed = entry.days or entry.warm or entry.change or entry.dataset
        assert changed or name == f"{entry.backbone}-{entry.seed}"
        study = study_of_recommender(trials, name, item_side=False)
        assert study.params.backbones.seed == entry.seed and not study.params.adapters.item_side
    for entry in trials.moves.values():
        assert {entry.old, entry.new} <= trials.recommenders.keys()
    for entry in trials.shared.values():
        assert {*entry.old, entry.new} <= trials.recommenders.keys()
        assert entry.new not in entry.old
    stages = yaml.safe_load((ROOT / "transport" / "dvc.yaml").read_text())["stages"]
    assert stages.keys() == {"train", "alone", "move", "shared"}
