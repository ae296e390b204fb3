"""Adapters moved between recommenders whose relation is known, and between ones without any."""

import dataclasses

import numpy as np
import pytest
import torch

from paragon.adapters.adapter import AdapterForm, adapt
from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_task, held_out_losses
from paragon.adapters.rotation import LEAST_FIT, ItemTable, explained, fit_rotation
from paragon.backbones import Backbone
from paragon.errors import ParagonError

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


def scores(states, items, categories, vectors, form):
    """Scores ``[A, B, n]`` of adapters ``[A, P]``."""
    features = torch.cat([items, categories], 1) if form.categories else items
    return adapt(states, vectors, form) @ features.T


@pytest.mark.parametrize("categories", [0, 5])
@pytest.mark.parametrize("width", [D, D + 8])
def test_a_planted_turn_is_found_and_scores_stay(categories, width):
    form, hidden = AdapterForm(D, 4, categories), turn(D, width)
    items, states = draw(N + 1, D), draw(20, D, seed=2)
    vectors = 0.3 * draw(3, form.size, seed=3)
    features = draw(N + 1, categories, seed=4)
    moved = fit_rotation(table(items), table(items @ hidden))
    assert torch.allclose(moved.write, hidden) and moved.fit == pytest.approx(1)
    before = scores(states, items, features, vectors, form)
    there = moved.vectors(vectors, form).double()
    after = scores(states @ hidden, items @ hidden, features, there, moved.form(form))
    assert torch.allclose(before, after, atol=1e-4)
    wrong = dataclasses.replace(moved, read=turn(D, width, seed=9).T)
    there = wrong.vectors(vectors, form).double()
    bad = scores(states @ hidden, items @ hidden, features, there, moved.form(form))
    assert not torch.allclose(before, bad, atol=1)


@pytest.mark.parametrize("longer", [0.25, 4])
def test_item_vectors_of_another_length_change_no_score(longer):
    """LightGCN's are four times as long as SASRec's, and its states a quarter as long."""
    form, hidden = AdapterForm(D, 4, 5), turn()
    items, states, features = draw(N + 1, D), draw(20, D, seed=2), draw(N + 1, 5, seed=4)
    vectors = 0.3 * draw(3, form.size, seed=3)
    moved = fit_rotation(table(items), table(longer * items @ hidden))
    before = scores(states, items, features, vectors, form)
    there = moved.vectors(vectors, form).double()
    after = scores(states @ hidden / longer, longer * items @ hidden, features, there, form)
    assert torch.allclose(before, after, atol=1e-4)


def test_a_smaller_state_keeps_what_fits_into_it():
    """An old table that uses 8 of 16 directions loses nothing in a state of 8 numbers."""
    inside = turn(8, D)
    small = draw(N + 1, 8)
    moved = fit_rotation(table(small @ inside), table(small))
    assert torch.allclose(small @ inside @ moved.write, small) and moved.fit == pytest.approx(1)


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


def test_tables_without_common_structure_are_refused_with_the_figure():
    """Also if both lean to one side, which any two tables can be made to agree in."""
    for shift in (0, 3):
        items, other = draw(N + 1, D) + shift, draw(N + 1, D, seed=7) + shift
        with pytest.raises(ParagonError, match=r"explains -?\d+% of the other half.*tune"):
            fit_rotation(table(items), table(other))


def test_the_fit_is_that_of_items_which_the_map_was_not_fitted_to():
    items = draw(N + 1, D)
    noisy = items @ turn() + 1.0 * draw(N + 1, D, seed=8)  # half of the variance is noise
    assert LEAST_FIT < fit_rotation(table(items), table(noisy)).fit < 0.5
    assert explained(2 * items, items, torch.ones(N + 1)) == pytest.approx(1)


def bad_tables():
    nan, alike = draw(N + 1, D), torch.ones(N + 1, D).double()
    nan[7, 3] = torch.nan
    yield table(nan), "new recommender: not finite"
    yield table(alike), "new recommender: .* alike"
    yield table(draw(31, D), IDS[:30]), "have 30 items in common.* 32 are needed"
    yield table(draw(N + 1, D), [f"x{i}" for i in range(N)]), "have 0 items in common"


@pytest.mark.parametrize(("there", "message"), list(bad_tables()))
def test_bad_tables_are_refused_in_one_line(there, message):
    with pytest.raises(ParagonError, match=message) as error:
        fit_rotation(table(draw(N + 1, D)), there)
    assert "\n" not in str(error.value)


def test_adapters_of_another_size_are_refused():
    moved = fit_rotation(table(draw(N + 1, D)), table(draw(N + 1, D) @ turn()))
    with pytest.raises(ParagonError, match="states with 8 numbers .* with 16"):
        moved.vectors(torch.zeros(AdapterForm(8, 2).size), AdapterForm(8, 2))


def test_a_gain_multiplies_what_is_added_to_a_score():
    form, vectors = AdapterForm(D, 4), 0.3 * draw(2, AdapterForm(D, 4).size, seed=3)
    items, states = draw(N + 1, D), draw(20, D, seed=2)
    moved = fit_rotation(table(items), table(items))
    once, twice = (adapt(states, moved.vectors(vectors, form, g).double(), form) for g in (1, 2))
    assert torch.allclose(2 * (once - states), twice - states, atol=1e-4)


class Turned(Backbone):
    """A backbone in other coordinates."""

    name = "turned"

    def __init__(self, inner, hidden):
        torch.nn.Module.__init__(self)
        self.inner, self.hidden, self.dim, self.history = inner, hidden, inner.dim, inner.history

    def states(self, context):
        return self.inner.states(context) @ self.hidden

    def item_vectors(self):
        return self.inner.item_vectors() @ self.hidden


@pytest.fixture(scope="module")
def place(backbone, seqs, settings):
    """A collection, the same recommender in other coordinates, and the map to it."""
    collection = collect(backbone, seqs, settings.adapters, [0], {"backbone": "old"})
    there = Turned(backbone, turn().float())
    ids = seqs.item_ids
    spaces = (
        ItemTable(ids, model.item_vectors(), seqs.popularity()) for model in (backbone, there)
    )
    return collection, there, fit_rotation(*spaces)


def test_a_moved_collection_does_the_same_on_the_turned_recommender(
    backbone, seqs, settings, place
):
    collection, there, rotation = place
    assert rotation.description == {"fit": 1.0, "shared": seqs.n_items}
    objectives = settings.adapters.objectives
    before, after, unmoved = (
        held_out_losses(frozen_task(model, seqs, "test", settings.adapters), vectors, objectives)
        for model, vectors in (
            (backbone, collection.oracle_vectors[0]),
            (there, rotation.vectors(collection.oracle_vectors[0], collection.form)),
            (there, collection.oracle_vectors[0]),
        )
    )
    assert torch.allclose(before, after, atol=1e-4)
    assert not torch.allclose(before, unmoved, atol=1e-3)
