"""What must hold of the whole chain, whatever the data: symmetries, and no way for a leak.

Few examples each in `make test`, 1,000 in `make test-all` (docs/trust.md).
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paragon.adapters.collection import collect, tune
from paragon.adapters.frozen import frozen_events
from paragon.backbones import build
from paragon.backbones.training import Training
from paragon.data.negatives import NegativeSampler
from paragon.data.split import prepare
from paragon.data.table import Dataset
from paragon.evaluation.protocol import Scores
from paragon.generator.training import losses_on, train_generator
from paragon.metrics.ranking import top_k
from paragon.objectives import table
from paragon.rivals.end_to_end import train_end_to_end, tune_category_bias
from tests.conftest import THOROUGH, adapter_settings, toy_dataset
from tests.evaluation.conftest import OBJECTIVES, make_test_set
from tests.test_mutants import with_other_test_events

NAMES = ("backbone", "generator", "rival", "anchors", "bias")
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=1000 if THOROUGH else 5)


@few
@given(seeds)
def test_names_of_users_and_items_change_nothing(seqs, dataset, seed):
    rng, names = np.random.default_rng(seed), {}
    for column, known in (("user_id", dataset.users), ("item_id", dataset.items)):
        order = rng.permutation(len(known))
        names[column] = {n: f"{n[0]}{o}" for n, o in zip(known[column], order, strict=True)}

    def renamed(frame):
        return frame.assign(**{c: frame[c].map(new) for c, new in names.items() if c in frame})

    other = Dataset.from_frame(*map(renamed, (dataset.interactions, dataset.items, dataset.users)))
    again = prepare(other, negatives=50)
    arrays = [
        [s.items, s.times, s.offsets, s.n_train, s.categories, s.groups]
        + [part.candidates for part in (s.valid, s.test)]
        for s in (seqs, again)
    ]
    assert all(np.array_equal(one, two) for one, two in zip(*arrays, strict=True))
    assert again.item_ids != seqs.item_ids and again.user_ids != seqs.user_ids


def scores_of(backbone, sequences):
    states = backbone.states_before(sequences, sequences.test.users, sequences.test.positions)
    return backbone.score_catalogue(states).detach().numpy()


@few
@given(seeds)
def test_numbers_of_items_change_no_list_and_no_metric(seqs, backbone, settings, seed):
    """But one: of two items that bring equally much, the ideal of α-nDCG takes the first."""
    order = np.append(0, 1 + np.random.default_rng(seed).permutation(seqs.n_items))
    back = np.argsort(order)  # item i is now at order[i]; padding stays 0
    other = dataclasses.replace(
        seqs,
        items=order[seqs.items],
        categories=seqs.categories[back],
        valid=dataclasses.replace(seqs.valid, candidates=order[seqs.valid.candidates]),
        test=dataclasses.replace(seqs.test, candidates=order[seqs.test.candidates]),
    )
    model = build("sasrec", other, settings.backbones, seed=0).eval().requires_grad_(False)
    state = backbone.state_dict()
    (table,) = [name for name, value in state.items() if len(value) == len(order)]
    model.load_state_dict(state | {table: state[table][back]})
    given = scores_of(backbone, seqs)
    assert np.allclose(given, scores_of(model, other)[:, order], atol=1e-5)
    one = make_test_set(seqs).measure(Scores.of(given))[0]
    two = make_test_set(other).measure(Scores.of(given[:, back]))[0]
    for protocol, metrics in one.items():
        for name, value in metrics.items():
            tied = protocol == "full" and name in ("alpha_ndcg@10", "loss_diversity")
            rel = 0.02 if tied else 1e-6
            assert two[protocol][name] == pytest.approx(value, rel=rel), (protocol, name)


@few
@given(seeds)
def test_a_user_added_changes_nobody_elses_list(seqs, dataset, backbone, seed):
    rng = np.random.default_rng(seed)
    met = rng.choice(seqs.item_ids, rng.integers(3, 30), replace=False)
    times = rng.integers(999_000, 1_001_000) + np.arange(len(met))
    new = {"user_id": "new", "item_id": met, "rating": 5.0, "timestamp": times}
    frame = pd.concat([dataset.interactions, pd.DataFrame(new)])
    more = prepare(Dataset.from_frame(frame, dataset.items, dataset.users), negatives=50)
    assert more.n_users == seqs.n_users + 1 and more.item_ids == seqs.item_ids
    lists = [top_k(scores_of(backbone, s), 10, s.excluded(s.test)) for s in (seqs, more)]
    assert np.array_equal(lists[0], lists[1][: seqs.n_users])


@few
@given(seeds)
def test_an_event_is_judged_alone(seqs, seed):
    """Whoever else is in the test: its metrics are its own."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(rng.random(len(seqs.test)) < 0.5)
    rows = rows if len(rows) else np.arange(1)
    scores = rng.standard_normal((len(seqs.test), seqs.n_items + 1)).astype(np.float32)
    _, of_all = make_test_set(seqs).measure(Scores.of(scores))
    _, of_some = make_test_set(seqs, seqs.test[rows]).measure(Scores.of(scores[rows]))
    for protocol in of_all:
        assert np.allclose(of_all[protocol][:, rows], of_some[protocol], rtol=1e-12)


@pytest.mark.parametrize("silent", [0, 1])
def test_an_objective_of_weight_0_has_no_influence(seqs, backbone, silent, monkeypatch):
    own = adapter_settings(steps=10)
    tasks = [frozen_events(backbone, seqs, name, own) for name in ("train", "valid")]
    weights = torch.tensor([[1.0, 0.0], [0.5, 0.5]]).roll(1 - silent, 1)
    start = 0.1 * torch.randn(1, 2, tasks[0].form.size, generator=torch.Generator().manual_seed(0))

    def tuned():
        return tune(*tasks, weights, start, own, [0]).vectors[0]

    expected, name = tuned(), OBJECTIVES[silent]
    entry = table.OBJECTIVES[name]
    other = entry._replace(loss=lambda *given: 7 - 3 * entry.loss(*given))
    monkeypatch.setitem(table.OBJECTIVES, name, other)
    found = tuned()
    assert torch.equal(expected[0], found[0])
    assert not torch.allclose(expected[1], found[1], atol=1e-4)


def check_no_leak(s):
    """What is held out, and its candidates, know nothing that they should not."""
    trained = s.is_train()
    for part in (s.valid, s.test):
        rows = zip(part.users, part.positions, part.candidates, strict=True)
        for row, (user, position, candidates) in enumerate(rows):
            start, end = s.offsets[user : user + 2]
            mine, event = s.items[start:end], start + position
            history, _ = s.histories(np.array([user]), np.array([position]), 50)
            excluded = s.excluded(part[row : row + 1])[0]
            met = [i for i in mine[:position] if i != candidates[0]]
            assert not trained[event], "a held-out event is a training event"
            assert s.times[event] >= s.times[start:event].max(initial=0), "too early"
            assert mine[position] == candidates[0]
            assert not np.isin(candidates[1:], mine).any(), "a negative was met"
            assert set(history[0]) - {0} <= set(mine[:position])
            assert excluded[met].all() and not excluded[candidates[0]]
    if s.description["split"] == "global_time" and (~trained).any():
        assert s.times[trained].max() <= s.times[~trained].min()
    whose = np.repeat(np.arange(s.n_users), s.lengths)
    held = set(zip(whose[~trained], s.items[~trained], strict=True))
    users = np.repeat(np.arange(s.n_users), 30)
    drawn = NegativeSampler(s).draw(users, 20, np.random.default_rng(0))
    pairs = {(user, item) for user, row in zip(users, drawn, strict=True) for item in row}
    assert held & pairs or not held  # training does not avoid held-out items


@st.composite
def splits(draw):
    """Small data with ties in time, split in either way."""
    made = toy_dataset(users=draw(st.integers(6, 12)) * 2, items=60, seed=draw(seeds))
    rule = draw(st.sampled_from(["leave_one_out", "global_time"]))
    # Users and items are spread over time, else a split by time leaves nothing.
    frame = made.interactions
    spread = frame.assign(timestamp=frame["timestamp"].to_numpy() % 200 // draw(st.integers(1, 9)))
    made = Dataset.from_frame(spread, made.items, made.users)
    return prepare(made, split=rule, negatives=10, seed=draw(st.integers(0, 9)))


def planted(s, row):
    """Leaks for the user of a test event: pairs of a fault and what makes it."""
    user = s.test.users[row]
    n_train, times, candidates = s.n_train.copy(), s.times.copy(), s.test.candidates.copy()
    n_train[user] = s.lengths[user]
    times[s.offsets[user] + s.test.positions[row]] = -1
    others = s.items[s.offsets[user] : s.offsets[user + 1]]
    candidates[row, 3] = others[others != candidates[row, 0]][0]
    yield "training event", {"n_train": n_train}
    yield "too early", {"times": times}
    yield "was met", {"test": dataclasses.replace(s.test, candidates=candidates)}


@few
@given(splits(), st.integers(0, 10**6))
def test_no_split_leaks_and_a_planted_leak_is_found(sequences, number):
    check_no_leak(sequences)
    tested = np.flatnonzero(np.isin(sequences.test.users, sequences.valid.users))
    if len(tested):
        for fault, change in planted(sequences, tested[number % len(tested)]):
            with pytest.raises(AssertionError, match=fault):
                check_no_leak(dataclasses.replace(sequences, **change))


def all_that_learns(seqs, settings):
    """Everything that is trained, from backbone to rivals, by name."""
    model = build("sasrec", seqs, settings.backbones, seed=0)
    Training(model, seqs, settings.backbones).fit(0)
    model = model.eval().requires_grad_(False)
    collection = collect(model, seqs, settings.adapters, [0])
    train = frozen_events(model, seqs, "train", settings.adapters)
    valid = frozen_events(model, seqs, "valid", settings.adapters)
    losses = losses_on(train, OBJECTIVES, 16)
    generator = train_generator(collection, settings.generator, 0, valid, losses)
    rival = train_end_to_end("hypernetwork", train, settings, 0)
    vectors = [torch.cat([p.flatten() for p in m.state_dict().values()])
               for m in (model, generator.model, rival)]  # fmt: skip
    bias = tune_category_bias(train, collection.oracles, settings.adapters, [0])
    return dict(zip(NAMES, (*vectors, collection.anchor_vectors, bias), strict=True))


@pytest.mark.slow
def test_nothing_that_learns_knows_the_test_events(seqs, settings):
    """Other items and times in the test, the same everything; a leak of them, and it is not."""
    other = with_other_test_events(seqs)
    leaking = dataclasses.replace(other, n_train=other.lengths)
    expected, found, leaked = (all_that_learns(s, settings) for s in (seqs, other, leaking))
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert not torch.equal(expected["anchors"], leaked["anchors"])
