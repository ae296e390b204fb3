"""Adapters moved between recommenders whose relation is known, and between ones without any."""

import dataclasses

import numpy as np
import pytest
import torch

from paragon.adapters.adapter import AdapterForm, adapt
from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_task, held_out_losses
from paragon.adapters.transport import (
    LEAST_FIT,
    ItemSpace,
    calibrate,
    corrected,
    explained,
    fit_transport,
    least_squares,
    with_means,
)
from paragon.backbones import Backbone
from paragon.errors import ParagonError
from paragon.objectives.weights import simplex_lattice

N, D = 300, 16  # items, and numbers of a state
IDS = [f"i{item}" for item in range(N)]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def space(vectors, ids=IDS):
    return ItemSpace(ids, vectors, np.arange(len(ids) + 1))


def turn(rows=D, columns=D, seed=1):
    """A matrix ``[rows, columns]`` with orthonormal rows (or columns, if there are fewer)."""
    u, _, vh = torch.linalg.svd(draw(rows, columns, seed=seed), full_matrices=False)
    return u @ vh


def scores(states, items, categories, vectors, form):
    """Scores ``[A, B, n]`` of adapters ``[A, P]``."""
    table = torch.cat([items, categories], 1) if form.categories else items
    return adapt(states, vectors, form) @ table.T


@pytest.mark.parametrize("categories", [0, 5])
@pytest.mark.parametrize("width", [D, D + 8])
def test_a_planted_turn_is_found_and_scores_stay(categories, width):
    form, hidden = AdapterForm(D, 4, categories), turn(D, width)
    items, states = draw(N + 1, D), draw(20, D, seed=2)
    vectors = 0.3 * draw(3, form.size, seed=3)
    features = draw(N + 1, categories, seed=4)
    moved = fit_transport(space(items), space(items @ hidden))
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
    moved = fit_transport(space(items), space(longer * items @ hidden))
    before = scores(states, items, features, vectors, form)
    there = moved.vectors(vectors, form).double()
    after = scores(states @ hidden / longer, longer * items @ hidden, features, there, form)
    assert torch.allclose(before, after, atol=1e-4)


def test_a_smaller_state_keeps_what_fits_into_it():
    """An old table that uses 8 of 16 directions loses nothing in a state of 8 numbers."""
    inside = turn(8, D)
    small = draw(N + 1, 8)
    moved = fit_transport(space(small @ inside), space(small))
    assert torch.allclose(small @ inside @ moved.write, small) and moved.fit == pytest.approx(1)


def test_items_are_matched_by_id_and_the_rest_does_not_count():
    items, hidden, order = draw(N + 1, D), turn(), torch.randperm(N)
    ids = [IDS[row] for row in order[:200]] + [f"new{item}" for item in range(50)]
    there = torch.cat([items[:1], items[1:][order[:200]] @ hidden, draw(50, D, seed=5)])
    moved = fit_transport(space(items), space(there, ids))
    assert moved.shared == 200 and torch.allclose(moved.write, hidden)


def test_what_all_items_have_in_common_changes_nothing():
    """It adds the same to every score of a user; PinSage's item vectors lean far to one side."""
    items, there = draw(N + 1, D), draw(N + 1, D) @ turn() + draw(N + 1, D, seed=8)
    plain = fit_transport(space(items), space(there))
    for shift, new_shift in ((5, 0), (0, 5), (5, -5)):
        leaning = fit_transport(space(items + shift), space(there + new_shift))
        assert leaning.fit == pytest.approx(plain.fit)
        assert torch.allclose(leaning.write, plain.write)


def test_tables_without_common_structure_are_refused_with_the_figure():
    """Also if both lean to one side, which any two tables can be made to agree in."""
    for shift in (0, 3):
        items, other = draw(N + 1, D) + shift, draw(N + 1, D, seed=7) + shift
        with pytest.raises(ParagonError, match=r"explains -?\d+% of the other half.*tune"):
            fit_transport(space(items), space(other))


def test_the_fit_is_that_of_items_which_the_map_was_not_fitted_to():
    items = draw(N + 1, D)
    noisy = items @ turn() + 1.0 * draw(N + 1, D, seed=8)  # half of the variance is noise
    assert LEAST_FIT < fit_transport(space(items), space(noisy)).fit < 0.5
    assert explained(2 * items, items, torch.ones(N + 1)) == pytest.approx(1)


def bad_tables():
    nan, alike = draw(N + 1, D), torch.ones(N + 1, D).double()
    nan[7, 3] = torch.nan
    yield space(nan), r"new recommender: 1 rows .* not finite, the first is row 7"
    yield space(alike), "new recommender: all 300 rows are alike"
    yield space(draw(31, D), IDS[:30]), "have 30 items in common.* 32 are needed"
    yield space(draw(N + 1, D), [f"x{i}" for i in range(N)]), "have 0 items in common"


@pytest.mark.parametrize(("there", "message"), list(bad_tables()))
def test_bad_tables_are_refused_in_one_line(there, message):
    with pytest.raises(ParagonError, match=message) as error:
        fit_transport(space(draw(N + 1, D)), there)
    assert "\n" not in str(error.value)


def test_adapters_of_another_size_are_refused():
    moved = fit_transport(space(draw(N + 1, D)), space(draw(N + 1, D) @ turn()))
    with pytest.raises(ParagonError, match="states with 8 numbers .* with 16"):
        moved.vectors(torch.zeros(AdapterForm(8, 2).size), AdapterForm(8, 2))


def test_states_give_the_offset_and_a_linear_map():
    form, vectors = AdapterForm(D, 4), 0.3 * draw(2, AdapterForm(D, 4).size, seed=3)
    items, old, hidden, shift = draw(N + 1, D), draw(500, D, seed=2), turn(), draw(D, seed=6)
    plain = fit_transport(space(items), space(items @ hidden))
    new = (old + shift) @ hidden
    moved = with_means(plain, old, new)
    change = adapt(old, vectors, form) - old
    there = adapt(new, moved.vectors(vectors, form).double(), form) - new
    assert torch.allclose(change @ hidden, there, atol=1e-4)
    bent = turn() + 0.1 * draw(D, D, seed=11)
    moved = least_squares(plain, old, old @ bent)
    assert torch.allclose(moved.write, bent, atol=0.05)
    assert torch.allclose(bent @ moved.read, torch.eye(D).double(), atol=0.05)


def test_a_gain_multiplies_what_is_added_to_a_score():
    form, vectors = AdapterForm(D, 4), 0.3 * draw(2, AdapterForm(D, 4).size, seed=3)
    items, states = draw(N + 1, D), draw(20, D, seed=2)
    moved = fit_transport(space(items), space(items))
    once, twice = (adapt(states, moved.vectors(vectors, form, g).double(), form) for g in (1, 2))
    assert torch.allclose(2 * (once - states), twice - states, atol=1e-4)


class Turned(Backbone):
    """A backbone in other coordinates."""

    name = "turned"

    def __init__(self, inner, hidden):
        super().__init__()
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
        ItemSpace(ids, model.item_vectors(), seqs.popularity()) for model in (backbone, there)
    )
    return collection, there, fit_transport(*spaces)


def test_a_moved_collection_does_the_same_on_the_turned_recommender(
    backbone, seqs, settings, place
):
    collection, there, transport = place
    moved = transport.collection(collection, {"sha256": "new"})
    assert moved.description["backbone"] == "new"
    assert moved.description["moved"] == {"fit": 1.0, "shared": seqs.n_items, "from": "old"}
    objectives = settings.adapters.objectives
    before, after, unmoved = (
        held_out_losses(frozen_task(model, seqs, "test", settings.adapters), vectors, objectives)
        for model, vectors in (
            (backbone, collection.oracle_vectors[0]),
            (there, moved.oracle_vectors[0]),
            (there, collection.oracle_vectors[0]),
        )
    )
    assert torch.allclose(before, after, atol=1e-4)
    assert not torch.allclose(before, unmoved, atol=1e-3)


def test_calibration_takes_the_smallest_loss_and_follows_the_weights(seqs, settings, place):
    collection, there, transport = place
    valid = frozen_task(there, seqs, "valid", settings.adapters)
    candidates = torch.cat(
        [transport.vectors(collection.oracle_vectors[0], collection.form, g) for g in (1, 3)]
    )
    weights = simplex_lattice(2, 10)
    objectives = settings.adapters.objectives
    losses = held_out_losses(valid, candidates, objectives)
    adapters = calibrate(valid, candidates, weights, objectives)  # [W, Q]
    chosen = (adapters.unsqueeze(1) == candidates).all(2).int().argmax(1)  # [W]
    assert torch.equal(candidates[chosen], adapters)
    for row, weight in zip(chosen, weights, strict=True):
        assert (losses[row] @ weight) == (losses @ weight).min()
    accuracy = losses[chosen, 0][weights[:, 0].argsort()]
    assert (accuracy.diff() <= 0).all()


def test_a_correction_is_exact_at_its_anchors_and_constant_beyond():
    weights = torch.tensor([[0.0, 1], [0.2, 0.8], [0.5, 0.5], [0.8, 0.2], [1, 0]])
    moved, differences = draw(5, 7).float(), draw(2, 7, seed=1).float()
    change = corrected(moved, weights, weights[[1, 3]], differences) - moved
    for row, difference in ((0, 0), (1, 0), (3, 1), (4, 1)):
        assert torch.allclose(change[row], differences[difference], atol=1e-5)
    assert torch.allclose(change[2], differences.mean(0), atol=1e-5)
