"""Adapters moved between recommenders whose relation is known, and between ones without any."""

import dataclasses

import numpy as np
import pytest
import torch

from paragon.adapters.adapter import AdapterForm, adapt
from paragon.adapters.rotation import LEAST_FIT, ItemTable, explained, fit_rotation
from paragon.backbones import Backbone
from tests.conftest import refused

N, D = 300, 16  # items, and numbers of a state
IDS = [f"i{item}" for item in range(N)]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def table(vectors, ids=IDS):
    return ItemTable(ids, vectors, np.arange(len(ids) + 1))


def turn(rows=D, columns=D, seed=1):
    """A matrix ``[rows, columns]`` with orthonormal rows (or columns, if there are fewer)."""
    u, _, vh = torch.linalg.svd(draw(rows, columns, seed=seed), full_matrices=False)
    return u @ vh


@pytest.mark.parametrize(
    ("categories", "width", "longer"), [(0, D, 1), (5, D + 8, 1), (5, D, 0.25), (5, D, 4)]
)
def test_a_planted_turn_is_found_and_scores_stay(categories, width, longer):
    """LightGCN's item vectors are four times as long as SASRec's; its states a quarter as long."""
    form, hidden = AdapterForm(D, 4, categories), turn(D, width)
    items, states, features = draw(N + 1, D), draw(20, D, seed=2), draw(N + 1, categories, seed=4)
    vectors = 0.3 * draw(3, form.size, seed=3)
    found = fit_rotation(table(items), table(longer * items @ hidden))
    assert torch.allclose(found.write, hidden / longer) and found.fit == pytest.approx(1)
    before = adapt(states, vectors, form) @ torch.cat([items, features], 1).T  # [3, 20, n + 1]

    def scores(moved):
        there = moved.vectors(vectors, form).double()
        adapted = adapt(states @ hidden / longer, there, moved.form(form))
        return adapted @ torch.cat([longer * items @ hidden, features], 1).T

    assert torch.allclose(scores(found), before, atol=1e-4)
    wrong = dataclasses.replace(found, read=turn(D, width, seed=9).T)
    assert not torch.allclose(scores(wrong), before, atol=1)


def test_items_are_matched_by_id_and_the_rest_does_not_count():
    items, hidden, order = draw(N + 1, D), turn(), torch.randperm(N)
    ids = [IDS[row] for row in order[:200]] + [f"new{item}" for item in range(50)]
    there = torch.cat([items[:1], items[1:][order[:200]] @ hidden, draw(50, D, seed=5)])
    moved = fit_rotation(table(items), table(there, ids))
    assert moved.shared == 200 and torch.allclose(moved.write, hidden)


def test_what_all_items_have_in_common_changes_nothing():
    """It adds the same to every score of a user; PinSage's item vectors lean far to one side."""
    items, there = draw(N + 1, D), draw(N + 1, D) @ turn() + draw(N + 1, D, seed=8)
    plain = fit_rotation(table(items), table(there))
    for shift, new_shift in ((5, 0), (0, 5), (5, -5)):
        leaning = fit_rotation(table(items + shift), table(there + new_shift))
        assert leaning.fit == pytest.approx(plain.fit)
        assert torch.allclose(leaning.write, plain.write)


def test_the_fit_is_that_of_items_which_the_map_was_not_fitted_to():
    items, inside, small = draw(N + 1, D), turn(8, D), draw(N + 1, 8)
    moved = fit_rotation(table(small @ inside), table(small))  # 8 of 16 directions are used
    assert torch.allclose(small @ inside @ moved.write, small) and moved.fit == pytest.approx(1)
    noisy = items @ turn() + 1.0 * draw(N + 1, D, seed=8)  # half of the variance is noise
    assert LEAST_FIT < fit_rotation(table(items), table(noisy)).fit < 0.5
    assert explained(2 * items, items, torch.ones(N + 1)) == pytest.approx(1)


def bad_tables():
    nan, other = draw(N + 1, D), draw(N + 1, D, seed=7)
    nan[7, 3] = torch.nan
    yield table(nan), "new"
    yield table(torch.ones(N + 1, D).double()), "new"
    yield table(draw(31, D), IDS[:30]), "30"
    yield table(other), f"{LEAST_FIT:.0%}"
    yield table(other + 3), f"{LEAST_FIT:.0%}"  # leans to one side


@pytest.mark.parametrize(("there", "named"), list(bad_tables()))
def test_bad_tables_are_refused(there, named):
    refused(named, fit_rotation, table(draw(N + 1, D)), there)


def test_adapters_of_another_recommender_are_refused():
    items, small = draw(N + 1, D), AdapterForm(8, 2)
    moved = fit_rotation(table(items), table(items))
    refused("8 numbers", moved.vectors, torch.zeros(small.size), small)


class Turned(Backbone):
    """A backbone in other coordinates."""

    def __init__(self, inner, hidden):
        torch.nn.Module.__init__(self)
        self.inner, self.hidden, self.dim, self.history = inner, hidden, inner.dim, inner.history

    def states(self, context):
        return self.inner.states(context) @ self.hidden

    def item_vectors(self):
        return self.inner.item_vectors() @ self.hidden
