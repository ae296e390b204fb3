"""Weights, and what an objective judges, knows of its lists and needs of the data."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import rankdata

from paragon.data.split import prepare
from paragon.metrics.ranking import ideal_alpha_dcg, self_information
from paragon.objectives import table
from paragon.objectives import weights as simplex
from paragon.objectives.losses import Lists
from paragon.objectives.table import OBJECTIVES, Catalogue, Scored, check_objectives
from paragon.objectives.weights import check_weights, lift, random_weights, refined, simplex_lattice
from tests.conftest import refused, toy_dataset, uneven

NAMES = ["accuracy", "diversity"]


def test_lists_have_the_features_of_their_items_and_the_ideal_of_their_length(seqs):
    rich = seqs.categories.copy()
    rich[1] = True  # the first item carries everything: without it the ideal is another
    catalogue = Catalogue.of(dataclasses.replace(seqs, categories=rich), 6, "cpu")
    expected = ideal_alpha_dcg(rich[1:], 6)[0]
    rng, history = np.random.default_rng(0), torch.rand(3, rich.shape[1])
    for length in (1, 3, 6, 9):  # longer lists are judged by the longest that is known
        items = torch.from_numpy(rng.integers(1, seqs.n_items + 1, (3, length)))
        lists = catalogue.lists(items, history)
        assert lists.history is history
        assert lists.ideal == pytest.approx(expected[min(length, 6) - 1])
        assert torch.equal(lists.categories, torch.from_numpy(rich).float()[items])
        assert torch.equal(lists.popularity, catalogue.popularity[items])
        assert torch.equal(lists.recency, catalogue.recency[items])
        assert lists.end is None and catalogue.lists(items, history, length).end is None
        for end in range(1, length):  # of what is searched, so many are served
            assert (served := catalogue.lists(items, history, end)).end == end
            assert served.ideal == pytest.approx(expected[min(end, 6) - 1])
            assert torch.equal(served.popularity, lists.popularity)
            of_two_adapters = catalogue.lists(items.expand(2, 3, length), history, end)
            assert of_two_adapters.ideal == served.ideal


def test_history_and_recency_by_hand(seqs):
    """From plain loops over the events of each user, in training."""
    seqs = uneven(seqs)
    times, kinds = [[] for _ in range(seqs.n_items + 1)], seqs.categories.shape[1]
    shares = np.zeros((seqs.n_users, kinds))
    for user, count in enumerate(seqs.n_train):
        for event in range(seqs.offsets[user], seqs.offsets[user] + count):
            item = seqs.items[event]
            times[item].append(seqs.times[event])
            if size := seqs.categories[item].sum():
                shares[user] += seqs.categories[item] / size
    expected = shares / shares.sum(1, keepdims=True).clip(1e-12)
    found = table.history_shares(seqs.met_in_training(), seqs.categories)
    assert np.allclose(found, expected)
    oldest, mean = min(seqs.times) - 1, [np.mean(t) if t else 0 for t in times[1:]]
    assert oldest > 0 and seqs.recency()[0] == 0
    assert np.allclose(seqs.recency()[1:], (rankdata(mean) - 1) / (seqs.n_items - 1))


def test_the_best_that_is_not_met_is_served():
    scores = torch.tensor([[9.0, 3, 5, 4, 1], [9.0, 1, 2, 3, 4]])
    met = torch.tensor([[True, False, True, False, False], [True, False, False, False, True]])
    assert table.served(scores, met, 2).tolist() == [[3, 1], [3, 2]]


def test_the_fewest_unmet_items_are_those_of_a_plain_count(seqs):
    met = seqs.met_in_training()
    least = int((~met.mask()).sum(1).min())
    assert 0 < least < seqs.n_items
    for most in (1, least - 1, least, least + 1, seqs.n_items + 10):
        assert table.fewest_unmet(met, most) == min(most, least)


def test_too_few_items_left_to_serve_are_refused_with_their_number(seqs):
    met = seqs.met_in_training()
    left = (~met.mask()).sum(1)
    least = int(left.min())
    table.check_served(met, least)
    short = int((left < least + 1).sum())
    numbers = [f"{least + 1} items", f"{short} of {len(met)}", f"{least}"]
    refused(["adapters.served", *numbers], table.check_served, met, least + 1)
    middle = int(left.median())
    short = int((left < middle).sum())
    assert 1 < short < len(met) - short and int((left == middle).sum())
    assert f" {short} of {len(met)} " in refused("served", table.check_served, met, middle)


def test_the_information_of_an_item_counts_each_user_once(seqs):
    users, items = seqs.train_pairs()
    holders = [len(set(users[items == item].tolist())) for item in range(1, seqs.n_items + 1)]
    expected = self_information(np.array(holders), seqs.n_users)
    assert np.array_equal(table.information_of(seqs), [0, *expected])
    assert 0 < len(set(holders)) < seqs.n_items
    last = dataclasses.replace(seqs, items=np.where(seqs.items == seqs.n_items, 1, seqs.items))
    assert len(found := table.information_of(last)) == seqs.n_items + 1 and found[-1] == 1


def test_an_objective_judges_served_lists_or_divergences_from_its_reference():
    best = Scored(
        torch.randn(2, 4, 3),
        Lists(torch.rand(2, 4, 3, 2).round(), *torch.rand(2, 2, 4, 3), torch.rand(2, 4, 2), 2.0),
    )
    groups = torch.tensor([0, 1, 1, -1])
    far = {"backbone": torch.rand(2, 4), "next item": torch.rand(2, 4)}  # [A, B]
    losses = best.losses(list(OBJECTIVES), groups, far.__getitem__)
    assert losses.shape == (2, len(OBJECTIVES))
    for column, (name, entry) in enumerate(OBJECTIVES.items()):
        given = (far[entry.reference], groups) if entry.reference else best
        assert torch.equal(losses[:, column], entry.loss(*given).view(2)), name
    never = None  # must not be called: both objectives judge served lists
    assert best.losses(["diversity", "novelty"], groups, never).shape == (2, 2)


def test_what_data_must_have_for_an_objective():
    toy, everybody = toy_dataset(), prepare(toy_dataset())
    check_objectives(list(OBJECTIVES), everybody)

    def refuse(named, names, seqs):
        refused(named, check_objectives, names, seqs)

    def data(categories):
        return prepare(toy.from_frame(toy.interactions, toy.items.assign(categories=categories)))

    rows = -(-everybody.n_items // 2)
    number = {name: row for row, name in enumerate(toy.items["item_id"])}
    half = [("x",)] * 150
    for item in everybody.item_ids[rows:]:
        half[number[item]] = ()
    check_objectives(["diversity"], data(half))  # two kinds of items: with the category, without
    half[number[everybody.item_ids[0]]] = ()
    refuse(("`diversity`", f"{rows - 1} "), ["diversity"], data(half))
    refuse(("`diversity`", "x, y"), ["diversity"], data([("x", "y")] * 150))
    refuse("category", ["accuracy", "novelty"], data([()] * 150))
    refuse("`fairness`", ["fairness"], data([("x",), ("y",)] * 75))
    one = toy.from_frame(toy.interactions, toy.items, toy.users.assign(group="F"))
    refuse(("`fairness`", ": F"), ["fairness"], prepare(one))
    refuse(["'speed'", *OBJECTIVES], ["speed"], everybody)
    still = toy.from_frame(toy.interactions.assign(timestamp=1), toy.items, toy.users)
    refuse("`recency`", ["recency"], prepare(still))
    refuse("`calibration`", ["calibration"], data([("x", "y")] * 150))


def test_names_rows_and_sums():
    assert check_weights([0.3, 0.7], NAMES).shape == (1, 2)
    named = {"diversity": 0.25, "accuracy": 0.75}
    for own in (named, pd.Series(named)):
        assert check_weights(own, NAMES).tolist() == [[0.75, 0.25]]
    assert check_weights({"accuracy": 1}, NAMES).tolist() == [[1, 0]]  # a missing name has 0
    refused(["novel", *NAMES], check_weights, {"accuracy": 1, "novel": 0, "x": 0}, NAMES)
    for shape in ([1.0], [0.5, 0.25, 0.25], [[[0.5, 0.5]]], np.empty((0, 2))):
        refused([f"{np.atleast_2d(shape).shape}", "2 numbers", *NAMES], check_weights, shape, NAMES)
    for wrong, listed in (([0.2, 0.7], "0.9"), ([1.5, -0.5], "1.5, -0.5"), ([1, np.nan], "nan")):
        assert "row" not in refused(listed, check_weights, wrong, NAMES)
    assert "normalise" in refused("0.9", check_weights, [0.2, 0.7], NAMES)
    refused(["row 1", "1.5, -0.5"], check_weights, [[0.5, 0.5], [1.5, -0.5]], NAMES)
    refused(["row 1", "nan"], check_weights, [[0.5, 0.5], [1, np.nan]], NAMES)
    for own in (pd.DataFrame([named]), {"accuracy": True}, [[0.5, 0.5], [True, 0.0]]):
        refused(["weights", "True" if "True" in str(own) else "0.25"], check_weights, own, NAMES)
    refused(["True", "bool"], check_weights, [True, False], NAMES)
    refused(["'many'", "str"], check_weights, ["many", "few"], NAMES)
    mixed = simplex.simplex_weights([0.2, [0.5, 0.5]], NAMES)  # the first of two is enough
    assert torch.allclose(mixed, torch.tensor([[0.2, 0.8], [0.5, 0.5]]))
    rows = np.random.default_rng(0).gamma(1, 10.0 ** np.arange(-3, 3)[:, None], (6, 2))
    huge = np.array([[1e308, 1e308], [1.5e308, 0.5e308], [1e308, 0]])
    found = check_weights(np.concatenate([rows, huge]), NAMES, normalise=True)
    assert found[6:].tolist() == [[0.5, 0.5], [0.75, 0.25], [1, 0]]
    expected = (rows / rows.sum(1)[:, None]).astype(np.float32)
    assert found[:6].numpy().tobytes() == expected.tobytes()
    for weights in ([1e308, -1e-300], [0, 0]):
        assert "normalise" not in refused("weights", check_weights, weights, NAMES, normalise=True)
    refused("row 1", check_weights, [[0.5, 0.5], [2, 3]], NAMES)


def test_lattice():
    assert torch.allclose(simplex_lattice(2, 10)[:, 0], torch.linspace(0, 1, 11))
    three = simplex_lattice(3, 4)
    assert len(three) == 15 and len({tuple(r.tolist()) for r in three}) == 15
    assert torch.allclose(three.sum(1), torch.ones(15))
    assert three[:6].tolist() == [*([0, n / 4, 1 - n / 4] for n in range(5)), [0.25, 0, 0.75]]


def test_random_and_lifted_weights_are_on_the_simplex_above_the_floor():
    floor, none = torch.tensor([0.1, 0.0, 0.2]), torch.zeros(3)
    weights, again = (random_weights(4000, floor, np.random.default_rng(0)) for _ in range(2))
    assert torch.equal(weights, again)
    for found in (weights, lift(torch.eye(3), floor)):
        assert torch.allclose(found.sum(1), torch.ones(len(found)), atol=1e-6)
        assert (found >= floor - 1e-6).all()
    inside = torch.tensor([[0.5, 0.3, 0.2]])
    assert torch.allclose(lift(inside, none), inside)
    # Excesses of .4, .3 and 0 share what the floor leaves, .7.
    assert torch.allclose(lift(inside, floor), torch.tensor([[0.5, 0.3, 0.2]]))
    below = torch.tensor([[[0.0, 0.5, 0.5], [0.1, 0.9, 0.0]]])  # [1, 2, O]
    by_hand = [[0.1, 0.5 * 0.7 / 0.8, 0.2 + 0.3 * 0.7 / 0.8], [0.1, 0.7, 0.2]]
    assert torch.allclose(lift(below, floor), torch.tensor([by_hand]))
    free = random_weights(4000, none, np.random.default_rng(0))
    assert torch.allclose(free.mean(0), torch.full((3,), 1 / 3), atol=0.015)  # 4 standard errors


def test_weights_between_two_are_tried_where_the_accuracy_differs():
    def measure(weights):  # falls below 0.42 and 0.1
        return np.column_stack([np.select([weights < 0.1, weights < 0.42], [0.2, 0.6], 1), weights])

    found, points = refined([1, 0.5, 0.25, 0], measure, least=0.7)
    assert np.array_equal(points, measure(found)) and len(found) == 4 + 6
    assert np.diff(found)[np.searchsorted(found, 0.42) - 1] == 0.25 / 2**6
    assert len(refined([1, 0.5, 0.25, 0], measure)[0]) == 4 + 2 * 6  # the lower fall, too
    assert len(refined([1, 0.5, 0.25, 0], measure, least=0.6)[0]) == 4 + 2 * 6  # from just there
    for unit in ([0.01, 1], [100, 1]):  # accuracy is compared with the best, and FAR is a share
        scaled = refined([1, 0.5, 0.25, 0], lambda w, unit=unit: measure(w) * unit, least=0.7)[0]
        assert np.array_equal(scaled, found)
    mirrored = refined([1, 0.75, 0.5, 0], lambda w: measure(1 - w), least=0.7)[0]
    assert np.allclose(mirrored, 1 - found[::-1])
    assert refined([1, 0], lambda w: np.ones((len(w), 2)))[0].tolist() == [0, 1]
