"""Which lists an objective judges, what it knows of them, and what data it needs."""

import dataclasses

import numpy as np
import pytest
import torch

from paragon.data.split import prepare
from paragon.errors import ParagonError
from paragon.metrics.ranking import ideal_alpha_dcg
from paragon.objectives.losses import Lists
from paragon.objectives.table import (
    OBJECTIVES,
    Catalogue,
    Scored,
    check_objectives,
    check_served,
    objective_losses,
    served,
)
from tests.conftest import toy_dataset


def test_lists_have_the_features_of_their_items_and_the_ideal_of_their_length(seqs):
    rich = seqs.categories.copy()
    rich[1] = True  # the first item carries everything: without it the ideal is another
    catalogue = Catalogue.of(dataclasses.replace(seqs, categories=rich), 6, "cpu")
    expected = ideal_alpha_dcg(rich[1:], 6)[0]
    groups, rng = torch.tensor([0, 1, -1]), np.random.default_rng(0)
    for length in (1, 3, 6, 9):  # longer lists are judged by the longest that is known
        items = torch.from_numpy(rng.integers(1, seqs.n_items + 1, (3, length)))
        lists = catalogue.lists(items, groups)
        assert lists.ideal == pytest.approx(expected[min(length, 6) - 1])
        assert torch.equal(lists.categories, torch.from_numpy(rich).float()[items])
        assert torch.equal(lists.popularity, catalogue.popularity[items])
        assert torch.equal(lists.groups, groups)


def test_the_best_that_is_not_met_is_served():
    scores = torch.tensor([[9.0, 3, 5, 4, 1], [9.0, 1, 2, 3, 4]])
    met = torch.tensor([[True, False, True, False, False], [True, False, False, False, True]])
    assert served(scores, met, 2).tolist() == [[3, 1], [3, 2]]


def test_lists_that_are_too_long_for_somebody_are_refused(seqs):
    met = seqs.met_in_training()
    least = int((~met.mask()).sum(1).min())
    check_served(met, least)
    with pytest.raises(ParagonError, match=f"adapters.served: .* 1 of {seqs.n_users} users"):
        check_served(met, least + 1)


def test_an_objective_judges_what_is_drawn_or_what_is_served():
    lists = Lists(torch.rand(4, 3, 2).round(), torch.rand(4, 3), torch.tensor([0, 1, 1, -1]), 2.0)
    drawn = Scored(torch.randn(4, 2, 3), lists)
    best = Scored(
        torch.randn(2, 4, 1, 3),
        Lists(torch.rand(2, 4, 3, 2).round(), torch.rand(2, 4, 3), torch.zeros(2, 4), 2.0),
    )
    losses = objective_losses(list(OBJECTIVES), drawn, lambda: best)
    assert losses.shape == (2, len(OBJECTIVES))
    for column, (name, entry) in enumerate(OBJECTIVES.items()):
        expected = entry.loss(*best).squeeze(-1) if entry.served else entry.loss(*drawn)
        assert torch.equal(losses[:, column], expected), name

    def never():
        raise AssertionError("no objective judges the served list")

    assert objective_losses(["accuracy", "fairness"], drawn, never).shape == (2, 2)


def test_what_data_must_have_for_an_objective():
    toy, everybody = toy_dataset(), prepare(toy_dataset())
    check_objectives(list(OBJECTIVES), everybody)

    def refused(word, names, seqs):
        with pytest.raises(ParagonError, match=word):
            check_objectives(names, seqs)

    def data(categories):
        return prepare(toy.from_frame(toy.interactions, toy.items.assign(categories=categories)))

    rows = -(-everybody.n_items // 2)
    number = {name: row for row, name in enumerate(toy.items["item_id"])}
    half = [("x",)] * 150
    for item in everybody.item_ids[rows:]:
        half[number[item]] = ()
    check_objectives(["diversity"], data(half))  # two kinds of items: with the category, without
    half[number[everybody.item_ids[0]]] = ()
    refused(f"only {rows - 1} of", ["diversity"], data(half))
    refused("the same categories", ["diversity"], data([("x", "y")] * 150))
    refused("no item has a category", ["accuracy", "novelty"], data([()] * 150))
    refused("no groups$", ["fairness"], data([("x",), ("y",)] * 75))
    one = toy.from_frame(toy.interactions, toy.items, toy.users.assign(group="F"))
    refused("found: F$", ["fairness"], prepare(one))
    refused("'speed' is unknown", ["speed"], everybody)
