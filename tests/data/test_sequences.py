"""Splits and candidates by property: no leak, no positive among the negatives."""

import re

import numpy as np
import pandas as pd
import pytest

from paragon.data import negatives, sequences, split
from paragon.data.negatives import NegativeSampler, draw_candidates
from paragon.data.sequences import Met
from paragon.data.split import prepare
from paragon.data.table import Dataset
from paragon.errors import ParagonError
from tests.conftest import refused, toy_dataset

PARTS = ("train", "valid", "test")


def of_events(users, items, times):
    """A dataset of events, with a catalogue of the items in the order of the alphabet."""
    known = sorted({*items})
    events = {"user_id": [*users], "item_id": [*items], "timestamp": [*times]}
    categories = [["xyz"[n % 3]] for n in range(len(known))]
    return Dataset.from_frame(events, {"item_id": known, "categories": categories})


def by_hand(dataset, user):
    """A user's item ids in time order, ties by file order, without numpy tricks."""
    rows = dataset.interactions[dataset.interactions["user_id"] == user]
    pairs = sorted(
        (t, n, item)
        for n, (t, item) in enumerate(zip(rows["timestamp"], rows["item_id"], strict=True))
    )
    return [item for _, _, item in pairs]


def test_leave_one_out_takes_the_last_two_events(dataset, seqs):
    for number, user in enumerate(seqs.user_ids):
        expected = by_hand(dataset, user)
        start, stop = seqs.offsets[number : number + 2]
        assert [seqs.item_ids[i - 1] for i in seqs.items[start:stop]] == expected
        assert seqs.n_train[number] == len(expected) - 2
    for name, back in (("valid", 2), ("test", 1)):
        part = seqs.evaluation(name)
        assert np.array_equal(part.users, np.arange(seqs.n_users))
        assert np.array_equal(part.positions, seqs.lengths - back)
        assert np.array_equal(part.targets, seqs.targets(part.users, part.positions))


def test_ties_keep_file_order():
    seqs = prepare(of_events("uuuuu", "edcba", [7] * 5), negatives=0)
    assert [seqs.item_ids[i - 1] for i in seqs.items] == list("edcba")
    assert seqs.item_ids[seqs.test.targets[0] - 1] == "a"
    # More than a sort that is not stable leaves alone.
    frame = pd.DataFrame({"user_id": "u", "item_id": range(99), "timestamp": 7})
    assert split._parts(frame, "leave_one_out", None).tolist() == [0] * 97 + [1, 2]


def test_negatives_were_never_met_and_do_not_repeat(seqs):
    for name in ("valid", "test"):
        part = seqs.evaluation(name)
        for user, row in zip(part.users, part.candidates, strict=True):
            met = set(seqs.items[seqs.offsets[user] : seqs.offsets[user + 1]])
            assert len(set(row)) == len(row)
            assert not met & set(row[1:])
            assert 1 <= row.min() and row.max() <= seqs.n_items


@pytest.mark.parametrize("large", [negatives.LARGE, 0], ids=["by keys", "one by one"])
def test_negatives_are_uniform(seqs, monkeypatch, large):
    monkeypatch.setattr(negatives, "LARGE", large)
    met = Met.of(seqs.n_items, seqs.items, seqs.offsets[:-1], seqs.lengths)
    rows, targets = np.zeros(4000, int), np.arange(4000)
    candidates = draw_candidates(rows, targets, met, 10, np.random.default_rng(0))
    assert np.array_equal(candidates[:, 0], targets)
    drawn = candidates[:, 1:]
    assert all(len(set(row)) == 10 for row in drawn)
    counts = np.bincount(drawn.ravel(), minlength=seqs.n_items + 1)
    free = np.setdiff1d(np.arange(1, seqs.n_items + 1), seqs.items[: seqs.lengths[0]])
    assert counts.sum() == counts[free].sum()
    expected = 40000 / len(free)
    assert np.abs(counts[free] - expected).max() < 6 * np.sqrt(expected)


def test_training_negatives_of_somebody_who_met_everything():
    """There are none: any item is drawn, and the draw ends."""
    everybody = of_events("aaaaabbb", "vwxyzvwx", range(8))
    found = prepare(everybody, split="global_time", negatives=0)
    user = found.user_ids.index("a")
    assert found.n_train[user] == found.n_items == 5
    assert not found.met_in_training()[user : user + 1].mask()[:, 1:].any()
    drawn = NegativeSampler(found).draw(np.full(50, user), 7, np.random.default_rng(0))
    assert set(drawn.ravel()) == {1, 2, 3, 4, 5}


def test_history_and_mask_hold_what_came_before_the_target(seqs):
    """A history is left-aligned; the full protocol excludes what came before, not the target."""
    items, times = seqs.histories(seqs.test.users, seqs.test.positions, 6)
    mask = seqs.excluded(seqs.test)
    for row, user in enumerate(seqs.test.users):
        before = seqs.items[seqs.offsets[user] : seqs.offsets[user + 1] - 1]
        recent = before[-6:]
        assert np.array_equal(items[row, : len(recent)], recent)
        assert not items[row, len(recent) :].any() and not times[row, len(recent) :].any()
        assert seqs.test.targets[row] not in recent
        assert set(np.flatnonzero(mask[row])) == {0, *before.tolist()}


def test_global_time_never_trains_on_the_future(dataset):
    seqs = prepare(dataset, split="global_time", negatives=10)
    train = seqs.is_train()
    user = np.repeat(np.arange(seqs.n_users), seqs.lengths)
    assert (np.diff(seqs.times)[np.diff(user) == 0] >= 0).all()
    assert set(seqs.items[~train]) <= set(seqs.items[train])
    assert set(user[~train]) <= set(user[train])
    time = dataset.interactions["timestamp"].to_numpy()
    span = time.max() - time.min()
    assert train.sum() == (time <= time.min() + 0.8 * span).sum()
    assert seqs.times[train].max() <= time.min() + 0.8 * span < seqs.times[~train].min()
    ends = [seqs.times[seqs.offsets[e.users] + e.positions] for e in (seqs.valid, seqs.test)]
    assert ends[0].max() <= time.min() + 0.9 * span < ends[1].min()
    assert len(seqs.valid) + len(seqs.test) == (~train).sum()


def test_global_time_cuts_at_midnight_of_the_clock_it_is_given():
    """One event an hour over 100 days, so that the boundaries can be counted by hand."""
    hours = range(100 * 24)
    dataset = of_events("u" * len(hours), [f"i{h % 9}" for h in hours], [3600 * h for h in hours])
    # Days 0..99 of UTC: 80 % of 99 is 79.2, so days 0..79 are training, 80..89 validation.
    # Eight hours ahead the first day has 16 hours and there are 101 days, 0..100.
    for midnight, days in ((0, [80, 10, 10]), (8, [80 + 16 / 24, 10, 9 + 8 / 24])):
        seqs = prepare(dataset, split="global_time", negatives=0, midnight=midnight)
        assert [seqs.description["counts"][part] / 24 for part in PARTS] == days


def test_a_day_begins_to_the_second():
    """Eight hours ahead of UTC a day begins at 16:00 there; one second decides."""
    day, hour = 86_400, 3600
    times = [*range(0, 80 * day, 10 * day), 80 * day, 100 * day]
    for moved, expected in ((0, 1), (-1, 0)):
        times[-2] = 81 * day - 8 * hour + moved  # the first second of day 81, and the one before
        frame = pd.DataFrame({"user_id": "u", "item_id": "a", "timestamp": times})
        part = split._parts(frame, "global_time", 8)
        assert part.tolist() == [0] * 8 + [expected, 2] and part.dtype == np.int64


def test_the_description_holds_the_rules_and_defaults_leave_everything_in(dataset):
    seqs = prepare(dataset)
    rules = {"split": "leave_one_out", "midnight": None, "min_rating": 0.0, "k_core": 0}
    rules |= {"max_users": None, "negatives": 99, "seed": 0}
    assert {name: seqs.description[name] for name in rules} == rules
    names = {*rules, "dataset", "source", "fingerprint", "counts", "repairs"}
    assert set(seqs.description) == names and seqs.categories.dtype == bool
    other = {"min_rating": 2.0, "k_core": 2, "max_users": 30, "negatives": 5, "seed": 3}
    changed = prepare(dataset, **other).description
    assert {name: changed[name] for name in other} == other


@pytest.mark.parametrize(("last", "part"), [("c", "test"), ("b", "validation")])
def test_a_part_without_events_is_named(last, part):
    """An item that training does not know is left out: `c`."""
    times = [0, 0, 85, 100] if part == "test" else [0, 0, 70, 100]
    dataset = of_events("uvuu", f"aba{last}", times)
    refused(f"no {part} event is left", prepare, dataset, split="global_time", negatives=0)


def test_short_users_are_training_data_only():
    dataset = toy_dataset()
    extra = pd.DataFrame(
        [("short", "i1", 5.0, 1), ("short", "i2", 5.0, 2)], columns=dataset.interactions.columns
    )
    frame = pd.concat([dataset.interactions, extra])
    seqs = prepare(Dataset.from_frame(frame, dataset.items, dataset.users))
    number = seqs.user_ids.index("short")
    assert seqs.n_train[number] == 2
    assert number not in seqs.test.users
    assert seqs.description["counts"]["users_without_evaluation"] == 1


def test_min_rating_and_k_core(dataset):
    high = prepare(dataset, min_rating=4, negatives=10)
    assert len(high.items) == (dataset.interactions["rating"] >= 4).sum()
    assert (np.bincount(prepare(dataset, negatives=9).items)[1:] == 1).any()
    for k in (2, 4):
        core = prepare(dataset, k_core=k, negatives=9)
        assert np.bincount(core.items)[1:].min() == k and core.lengths.min() >= k


def test_max_users_are_drawn_at_random(dataset):
    one, two, other = (prepare(dataset, max_users=9, negatives=9, seed=s) for s in (0, 0, 1))
    assert one.user_ids == two.user_ids != other.user_ids
    first = prepare(dataset, negatives=9).user_ids
    assert [u for u in first if u in one.user_ids] == one.user_ids != first[:9]
    assert len(one.user_ids) == 9 and prepare(dataset, max_users=99, negatives=9).user_ids == first


def test_same_seed_same_candidates_other_seed_others(dataset):
    one, two, other = (prepare(dataset, seed=s, negatives=20) for s in (3, 3, 4))
    assert np.array_equal(one.test.candidates, two.test.candidates)
    assert not np.array_equal(one.test.candidates, other.test.candidates)


def test_save_and_load(seqs, tmp_path):
    sequences.save_sequences(seqs, tmp_path)
    loaded = sequences.load_sequences(tmp_path)
    assert np.array_equal(loaded.test.candidates, seqs.test.candidates)
    assert loaded.titles == seqs.titles and loaded.description == seqs.description
    first = (tmp_path / "sequences.safetensors").read_bytes()
    sequences.save_sequences(loaded, tmp_path)
    assert (tmp_path / "sequences.safetensors").read_bytes() == first


def test_training_negatives_avoid_the_training_part_only(seqs):
    users = np.repeat(np.arange(seqs.n_users), 50)
    drawn = NegativeSampler(seqs).draw(users, 9, np.random.default_rng(0))
    for user, row in zip(users, drawn, strict=True):
        start = seqs.offsets[user]
        assert not set(row) & set(seqs.items[start : start + seqs.n_train[user]])
    held_out = seqs.test.targets[users]
    assert (drawn == held_out[:, None]).any()  # the future is unknown to training


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"split": "random"}, "random"),
        ({"min_rating": 9}, "min_rating=9"),
        ({"split": "global_time", "midnight": 0}, "no validation event is left"),
    ],
)
def test_impossible_settings_name_the_key(dataset, change, word):
    refused(word, prepare, dataset, **change)


def test_too_many_negatives_name_the_user_and_the_most_that_there_can_be(dataset):
    for way in ("leave_one_out", "global_time"):
        with pytest.raises(ParagonError) as caught:
            prepare(dataset, negatives=149, split=way, seed=1)
        found = re.search(
            r"data.negatives: user '(u\d+)' .* only (\d+) items .* to (\d+) or", str(caught.value)
        )
        assert found and found[2] == found[3]
        seqs = prepare(dataset, negatives=int(found[2]), split=way, seed=1)
        number = seqs.user_ids.index(found[1])
        met = set(seqs.items[seqs.offsets[number] : seqs.offsets[number + 1]])
        assert seqs.n_items - len(met) == int(found[2])
    refused("who met every item", prepare, of_events("uuu", "abc", [1, 2, 3]), negatives=1)
