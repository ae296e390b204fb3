"""Moved adapters: other maps, the plan, rows where the truth is known, and the pages' tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from paragon.adapters.adapter import AdapterForm, adapt
from paragon.adapters.collection import collect
from paragon.adapters.frozen import best_of, held_out_losses
from paragon.adapters.rotation import fit_rotation, shared_items
from paragon.backbones import build
from paragon.objectives.weights import simplex_lattice
from paragon.params import ROOT, load_params, merge_sections
from paragon_study.moves import measure, recorded
from paragon_study.moves.measure import Moves, Place, RecommenderEntry, named_by_title
from paragon_study.pipeline.study import Study, StudyData
from tests.adapters.test_rotation import D, N, Turned, draw, table, turn
from tests.conftest import SMALL, refused

EMPTY = dict.fromkeys(("change", "recommenders", "moves", "generators"), {})
PLAN = Moves(dataset="toy", steps=[3], anchors=[0.25, 0.75], anchor_steps=3, **EMPTY)


def test_permuted_neurons_are_the_same_function_and_are_found_again():
    form = AdapterForm(16, 6, 5)
    start = torch.randn(form.size, generator=torch.Generator().manual_seed(0))
    states = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    other = measure.permute(start, torch.tensor([3, 1, 0, 5, 4, 2]), form)
    assert not torch.allclose(start, other)
    same = [adapt(states, v.unsqueeze(0), form) for v in (start, other)]
    assert torch.allclose(*same, atol=1e-5)
    assert torch.equal(measure.permute(other, measure.matching(other, start, form), form), start)


def test_aligned_starts_have_their_hidden_units_in_the_order_of_the_first():
    """A second start that is the first with its units in a cycle of three comes back as it was."""
    form, order = AdapterForm(3, 3, 2), torch.tensor([2, 0, 1])  # not its own inverse
    first = torch.randn(3, form.size, generator=torch.Generator().manual_seed(0))
    turned = measure.permute(first, order, form)
    assert not torch.equal(turned, first)
    found = measure.aligned(torch.stack([first, turned]), form)
    assert torch.equal(found, torch.stack([first, first]))


def test_states_give_the_offset_and_a_linear_map():
    form, vectors = AdapterForm(D, 4), 0.3 * draw(2, AdapterForm(D, 4).size, seed=3)
    items, old, hidden, shift = draw(N + 1, D), draw(500, D, seed=2), turn(), draw(D, seed=6)
    plain = fit_rotation(table(items), table(items @ hidden))
    new = (old + shift) @ hidden
    moved = measure.with_means(plain, old, new)
    change = adapt(old, vectors, form) - old
    there = adapt(new, moved.vectors(vectors, form).double(), form) - new
    assert torch.allclose(change @ hidden, there, atol=1e-4)
    bent = turn() + 0.1 * draw(D, D, seed=11)
    moved = measure.least_squares(plain, old, old @ bent)
    assert torch.allclose(moved.write, bent, atol=0.05)
    assert torch.allclose(bent @ moved.read, torch.eye(D).double(), atol=0.05)


@pytest.fixture(scope="module")
def old(backbone, seqs, settings):
    collection = collect(backbone, seqs, settings.adapters, [0])
    return Place(Study("toy", "sasrec", settings), seqs, backbone, collection)


@pytest.fixture(scope="module")
def place(backbone, old):
    """The old recommender in other coordinates, its own adapters the old ones, moved exactly."""
    there = replace(old, backbone=Turned(backbone, turn().float()), seconds={})
    exact = fit_rotation(old.table, there.table)
    names = ("anchor_vectors", "oracle_vectors")
    own = {n: exact.vectors(getattr(old.collection, n), old.collection.form) for n in names}
    return replace(there, collection=replace(old.collection, **own))


@pytest.fixture(scope="module")
def measured(place, old):
    moved = measure.moved(place, old, PLAN)
    rows = {**moved, **measure.controls(place, old, fit_rotation(old.table, place.table))}
    return place.rows(rows).query("protocol == 'full'").set_index("method")


def test_moved_adapters_are_the_tuned_ones_where_the_truth_is_a_turn(measured):
    hv = measured["set_hv_of_tuned"]
    assert hv[["moved", "moved_means"]].to_numpy() == pytest.approx(1, abs=1e-4)
    # The ridge of the few states here costs something, but less than no map or a wrong one.
    wrong = abs(hv[["as_it_is", "random_rotation"]] - 1).min()
    assert abs(hv["moved_least_squares"] - 1) < wrong and wrong > 1e-3


def test_every_row_is_there_and_its_seconds_count_what_went_before(measured, place):
    tuned_on = {"moved_two_anchors", "moved_3"}
    chosen = {"moved", "moved_means", "moved_least_squares", "moved_calibrated"}
    controls = {"as_it_is", "random_rotation"}
    assert set(measured.index) == {"tuned", "constant"} | chosen | tuned_on | controls
    assert place.seconds.keys() == chosen | tuned_on
    for row in tuned_on | {"moved_calibrated"}:
        assert place.seconds[row] >= place.seconds["moved_means"]
    again = place.tuned_on(place.tuned, place.weights, 3)
    assert torch.equal(again, place.tuned_on(place.tuned, place.weights, 3))
    assert not torch.equal(again, place.tuned)


def test_calibration_takes_the_smallest_loss_and_follows_the_weights(seqs, settings, place, old):
    rotation, objectives = fit_rotation(old.table, place.table), settings.adapters.objectives
    choice = measure.candidates(rotation, old.collection)
    assert len(choice) == 3 * measure.GRID
    valid, weights = place.held_out[0], simplex_lattice(2, 10)
    losses = held_out_losses(valid, choice, objectives)
    adapters = best_of(valid, choice, objectives)(weights)  # [W, Q]
    chosen = (adapters.unsqueeze(1) == choice).all(2).int().argmax(1)  # [W]
    assert torch.equal(choice[chosen], adapters)
    for row, weight in zip(chosen, weights, strict=True):
        assert (losses[row] @ weight) == pytest.approx((losses @ weight).min())
    assert (losses[chosen, 0][weights[:, 0].argsort()].diff() <= 1e-6).all()


def test_the_data_of_an_earlier_day_have_no_later_event(settings, dataset, monkeypatch):
    study = Study("toy", "sasrec", settings)
    monkeypatch.setattr(StudyData, "load", lambda _: dataset)
    times = dataset.interactions["timestamp"]
    days = 50 / 86_400
    before = measure.sequences_before(study, days)
    assert before.times.max() == times[times <= times.max() - 50].max() < times.max()
    assert before.n_users <= dataset.interactions["user_id"].nunique()


def test_other_data_are_mapped_by_titles_that_one_item_has(old, seqs):
    """Ids of one dataset mean nothing in another: the same films, in other places, renamed."""
    titles = ["Twice", "Twice", *seqs.titles[2:]]
    first = replace(old, sequences=replace(seqs, titles=titles))
    renamed = replace(seqs, titles=titles[::-1], item_ids=seqs.item_ids)
    study = replace(old.study, dataset="other")
    second = replace(old, study=study, sequences=renamed)
    ids = [place.table.ids for place in map(named_by_title, (first, second))]
    rows, others = shared_items(*ids)
    assert rows.tolist() == list(range(3, seqs.n_items + 1))
    assert (rows + others).unique().tolist() == [seqs.n_items + 1]
    moved = fit_rotation(named_by_title(first).table, named_by_title(old).table)
    assert moved.shared == seqs.n_items - 2 and moved.fit == pytest.approx(1)
    few = replace(old, items=0.5).table
    rows = [list(old.table.ids).index(name) + 1 for name in few.ids]
    assert len(few.ids) == round(0.5 * len(old.table.ids)) == len(few.vectors) - 1
    assert rows == sorted(rows) and torch.equal(few.vectors[1:], old.table.vectors[rows])


def test_a_warm_start_has_what_was_known_and_fresh_vectors_for_new_items(seqs, settings):
    old, new = (build("sasrec", seqs, settings.backbones, seed) for seed in (0, 1))
    fresh, n = new.item_vectors().clone(), seqs.n_items
    measure.carry_over(old, new, torch.arange(1, n), torch.arange(2, n + 1))
    assert torch.equal(new.item_vectors()[2:], old.item_vectors()[1:-1])
    assert torch.equal(new.item_vectors()[1], fresh[1])
    others = {k: v for k, v in new.state_dict().items() if len(v) != n + 1}
    assert others and all(torch.equal(v, old.state_dict()[k]) for k, v in others.items())


def test_a_generator_is_tried_on_the_old_recommender_that_it_was_moved_from(place, old):
    """Where the truth is a turn, what is moved there and back loses nothing."""
    one = measure.Old.of(old, place)
    together = measure.collected([one])
    own = old.collection
    assert torch.allclose(together.anchor_vectors[0], one.vectors, atol=1e-6)
    assert len(one.vectors) == len(own.anchors) + len(own.oracles) == len(together.anchors)
    tries = measure.behaviour_of(together, [one], 8)
    vectors = torch.cat([own.anchor_vectors[0], own.oracle_vectors[0]])
    rng = np.random.default_rng(0)
    rng.integers(1)  # which of the old recommenders
    rows = torch.from_numpy(rng.integers(len(old.train.states), size=8))
    expected = old.train.losses(vectors, rows, old.objectives)
    tried = tries(one.vectors, np.random.default_rng(0))
    assert torch.allclose(tried, expected, atol=1e-4)
    elsewhere = old.train.losses(one.vectors, rows, old.objectives)  # not moved back
    assert not torch.allclose(elsewhere, expected, atol=1e-4)


def test_of_one_recommender_twice_mean_and_ensemble_are_what_was_moved(place, old):
    """Even if its hidden units have another order the second time."""
    own, order = old.collection, torch.randperm(old.collection.form.width)
    names = ("anchor_vectors", "oracle_vectors")
    turned = {name: measure.permute(getattr(own, name), order, own.form) for name in names}
    again = replace(old, collection=replace(own, **turned))
    olds = [measure.Old.of(one, place) for one in (old, again)]
    vectors, others = measure.rows_from(olds[:1], place)
    assert vectors.keys() == {"moved", "moved_generated", "moved_hypernetwork"} and not others
    vectors, others = measure.rows_from(olds, place)
    assert torch.allclose(vectors["moved_mean"], vectors["moved"], atol=1e-6)
    found = place.rows(vectors, others).query("protocol == 'full'").set_index("method")
    expected = {"moved", "moved_generated", "moved_mean", "moved_calibrated", "moved_ensemble"}
    assert set(found.index) == {"tuned", "constant"} | expected
    for row in ("moved", "moved_mean", "moved_ensemble"):
        assert found.loc[row, "set_hv_of_tuned"] == pytest.approx(1, abs=1e-4)


def test_a_recommender_is_trained_again_where_its_settings_are_others(seqs, tmp_path, monkeypatch):
    trained = []

    def counted(*given):
        trained.append(given)
        return train(*given)

    def opened(dataset, backbone, change, **_):
        return Study(dataset, backbone, load_params(overrides=merge_sections(SMALL, change)))

    def count(**change):
        entry = RecommenderEntry(**{"backbone": "sasrec", "seed": 0} | change)
        plan, before = PLAN.model_copy(update={"recommenders": {"one": entry}}), len(trained)
        assert measure.place_of(plan, "one", "item_side").collection.form.categories
        assert not measure.place_of(plan, "one", "state_only").collection.form.categories
        return len(trained) - before

    train = measure.backbones.train_backbone
    monkeypatch.setattr(measure.backbones, "train_backbone", counted)
    monkeypatch.setattr(measure, "open_study", opened)
    monkeypatch.setattr(measure, "sequences_before", lambda *_: seqs)
    monkeypatch.setattr(measure, "STORE", tmp_path)
    assert count() == 1 and count() == 0
    (tmp_path / "one" / "backbone.json").write_text("{}")  # interrupted
    assert count() == 1
    for change in ({"backbone": "gru4rec"}, {"seed": 1}, {"warm": 1}, {"warm": 2}):
        assert count(**change) == 1 and count(**change) == 0, change
    assert count(change={"backbones": {"dim": 8}}) == 1


def test_the_page_has_the_recorded_tables(tmp_path):
    frame = recorded.load_moves()
    page = (ROOT / "moves" / "README.md").read_text(encoding="utf-8")
    assert set(frame["protocol"]) == {"full"} and recorded.tables() in page
    # What a recommender has alone counts once, however many moves go there.
    alone = frame.query("method == 'backbone'").groupby(["kind", "side"])["new"]
    assert (alone.count() == alone.nunique()).all() and (alone.count() > 1).any()
    assert not frame["seconds"].isna().all() and len(recorded.moved_adapters(frame).axes) == 8
    refused("make moves", recorded.load_moves, tmp_path)
