"""Splits and candidates by hand; tests/evaluation/test_properties.py has those of leaks."""

import re

import numpy as np
import pytest

from paragon.data import negatives, sequences, split
from paragon.data.describe import describe, order_of_ties, users_needed
from paragon.data.negatives import NegativeSampler, draw_candidates
from paragon.data.sequences import Met
from paragon.data.split import prepare
from paragon.data.table import Dataset
from tests.conftest import refused


def of_events(users, items, times):
    """A dataset of events, with a catalogue of the items in the order of the alphabet."""
    known = sorted({*items})
    events = {"user_id": [*users], "item_id": [*items], "timestamp": [*times]}
    return Dataset.from_frame(events, {"item_id": known, "categories": [["x"]] * len(known)})


def test_leave_one_out_takes_the_last_two_events(dataset, seqs):
    """In order of time, ties in order of the file."""
    events = dataset.interactions.sort_values("timestamp", kind="stable")
    for number, user in enumerate(seqs.user_ids):
        expected = events["item_id"][events["user_id"] == user].tolist()
        start, stop = seqs.offsets[number : number + 2]
        assert [seqs.item_ids[i - 1] for i in seqs.items[start:stop]] == expected
        assert seqs.n_train[number] == len(expected) - 2
    for name, back in (("valid", 2), ("test", 1)):
        part = seqs.evaluation(name)
        assert np.array_equal(part.users, np.arange(seqs.n_users))
        assert np.array_equal(part.positions, seqs.lengths - back)
        assert np.array_equal(part.targets, seqs.targets(part.users, part.positions))
    tied = prepare(of_events("u" * 99, [chr(n) for n in range(200, 299)], [7] * 99), negatives=0)
    assert tied.items.tolist() == [*range(1, 100)] and tied.n_train.tolist() == [97]


@pytest.mark.parametrize("large", [negatives.LARGE, 0], ids=["by keys", "one by one"])
def test_negatives_are_uniform_never_met_and_do_not_repeat(seqs, monkeypatch, large):
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


def test_training_negatives_avoid_the_training_part(seqs):
    drawn = NegativeSampler(seqs).draw(np.arange(seqs.n_users), 450, np.random.default_rng(0))
    met = seqs.met_in_training().mask().numpy()
    assert not np.take_along_axis(met, drawn, 1).any()
    # Of somebody who met everything there are none: any item is drawn, and the draw ends.
    everybody = prepare(
        of_events("aaaaabbb", "vwxyzvwx", range(8)), split="global_time", negatives=0
    )
    user = everybody.user_ids.index("a")
    assert everybody.n_train[user] == everybody.n_items == 5
    drawn = NegativeSampler(everybody).draw(np.full(50, user), 7, np.random.default_rng(0))
    assert set(drawn.ravel()) == {1, 2, 3, 4, 5}


def test_a_history_is_left_aligned_and_ends_before_the_target(seqs):
    items, times = seqs.histories(seqs.test.users, seqs.test.positions, 6)
    for row, user in enumerate(seqs.test.users):
        recent = seqs.items[seqs.offsets[user] : seqs.offsets[user + 1] - 1][-6:]
        assert np.array_equal(items[row, : len(recent)], recent)
        assert not items[row, len(recent) :].any() and not times[row, len(recent) :].any()


def test_global_time_cuts_at_80_and_90_percent_of_the_time(dataset):
    seqs = prepare(dataset, split="global_time", negatives=10)
    train, user = seqs.is_train(), np.repeat(np.arange(seqs.n_users), seqs.lengths)
    assert set(seqs.items[~train]) <= set(seqs.items[train])
    assert set(user[~train]) <= set(user[train])
    time = dataset.interactions["timestamp"].to_numpy()
    eighty, ninety = (time.min() + share * (time.max() - time.min()) for share in (0.8, 0.9))
    assert train.sum() == (time <= eighty).sum()
    assert seqs.times[train].max() <= eighty < seqs.times[~train].min()
    ends = [seqs.times[seqs.offsets[e.users] + e.positions] for e in (seqs.valid, seqs.test)]
    assert ends[0].max() <= ninety < ends[1].min()
    assert len(seqs.valid) + len(seqs.test) == (~train).sum()


def test_an_event_on_the_boundary_belongs_to_the_earlier_part():
    parts = split._part_of_time(np.array([0, 80, 81, 90, 91, 100]), None)
    assert parts.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("midnight", [0, 8])
def test_global_time_cuts_at_midnight_to_the_second(midnight):
    """Eight hours ahead of UTC a day begins at 16:00 there; 80 % of days 0..100 end with day 80."""
    day = 86_400
    times = [*range(0, 80 * day, 10 * day), 80 * day, 100 * day]
    for moved, expected in ((0, 1), (-1, 0)):
        times[-2] = 81 * day - 3600 * midnight + moved
        parts = split._part_of_time(np.array(times), midnight)
        assert parts.tolist() == [0] * 8 + [expected, 2]


def test_filters_apply_and_are_described(dataset):
    rules = {"min_rating": 4.0, "k_core": 2, "max_users": 30, "negatives": 5, "seed": 3}
    changed = prepare(dataset, **rules).description
    assert {name: changed[name] for name in rules} == rules
    high = prepare(dataset, min_rating=4, negatives=10)
    assert len(high.items) == (dataset.interactions["rating"] >= 4).sum()


def test_short_users_are_training_data_only():
    seqs = prepare(of_events("uuvvv", "ababc", range(5)), negatives=0)
    assert seqs.user_ids == ["u", "v"] and seqs.n_train.tolist() == [2, 1]
    assert seqs.test.users.tolist() == [1]
    assert seqs.description["counts"]["users_without_evaluation"] == 1


def test_the_seed_chooses_users_and_candidates(dataset):
    one, two, other = (prepare(dataset, max_users=9, negatives=9, seed=s) for s in (0, 0, 1))
    assert one.user_ids == two.user_ids != other.user_ids
    assert np.array_equal(one.test.candidates, two.test.candidates)
    everybody = prepare(dataset, max_users=99, negatives=9, seed=1)
    first = everybody.user_ids
    assert [u for u in first if u in one.user_ids] == one.user_ids != first[:9]
    assert len(one.user_ids) == 9 and len(first) == 40
    again = prepare(dataset, negatives=9, seed=2)
    assert not np.array_equal(everybody.test.candidates, again.test.candidates)


def test_saved_sequences_are_loaded_and_give_the_same_bytes(seqs, tmp_path):
    sequences.save_sequences(seqs, tmp_path / "one")
    loaded = sequences.load_sequences(tmp_path / "one")
    assert np.array_equal(loaded.test.candidates, seqs.test.candidates)
    assert loaded.titles == seqs.titles and loaded.description == seqs.description
    sequences.save_sequences(loaded, tmp_path / "two")
    one, two = (tmp_path / name / "sequences.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_impossible_settings_name_the_key(dataset):
    refused(("data.split", "'random'"), prepare, dataset, split="random")
    refused("min_rating=9", prepare, dataset, min_rating=9)
    late = {"split": "global_time", "midnight": 0}
    refused(("toy", "global_time", "params.yaml"), prepare, dataset, **late)


def test_too_many_negatives_name_the_user_and_the_most_that_there_can_be(dataset):
    for way in ("leave_one_out", "global_time"):
        message = refused("data.negatives", prepare, dataset, negatives=149, split=way, seed=1)
        [user] = re.findall(r"'(u\d+)'", message)
        [most] = {*map(int, re.findall(r"\b\d+\b", message))} - {149}
        seqs = prepare(dataset, negatives=most, split=way, seed=1)
        number = seqs.user_ids.index(user)
        met = set(seqs.items[seqs.offsets[number] : seqs.offsets[number + 1]])
        assert seqs.n_items - len(met) == most
    everything = of_events("uuu", "abc", [1, 2, 3])
    refused(("data.negatives", "'u'"), prepare, everything, negatives=1)


def repeating():
    """Two users who repeat the item they met first; the file is not in the order of time."""
    return of_events("uuuuvvvv", "acbacdec", [4, 2, 3, 1, 1, 2, 3, 4])


def test_repeats_are_refused_until_a_rule_for_them_is_set():
    refused(("2 of 8", "data.repeats: first"), prepare, repeating(), negatives=0)
    refused("data.repeats", prepare, repeating(), negatives=0, repeats="last")


def test_the_first_event_of_each_user_and_item_is_kept():
    seqs = prepare(repeating(), negatives=0, repeats="first")
    kept = [[seqs.item_ids[i - 1] for i in seqs.items[start : start + 3]] for start in (0, 3)]
    assert kept == [["a", "c", "b"], ["c", "d", "e"]]
    assert seqs.times.tolist() == [1, 2, 3, 1, 2, 3]
    assert seqs.description["repeats"] == "first" and seqs.description["counts"]["events"] == 6


def test_a_repeat_counts_once_for_the_k_core():
    events = of_events("uuuvvvw", "abcabcc", [*range(6), 9])
    more = of_events("uuuvvvww", "abcabccc", [*range(8)])
    rules = {"k_core": 2, "negatives": 0, "repeats": "first"}
    assert prepare(events, **rules).user_ids == prepare(more, **rules).user_ids == ["u", "v"]


def test_repeats_are_those_of_a_plain_loop_over_time():
    rng = np.random.default_rng(0)
    user, item = rng.integers(12, size=(2, 200))  # so that sums and differences of both collide
    times = rng.integers(20, size=200)  # with ties
    met, expected = set(), np.zeros(200, bool)
    for event in sorted(range(200), key=lambda e: times[e]):
        pair = user[event], item[event]
        expected[event] = pair in met
        met.add(pair)
    assert np.array_equal(split._repeated(user, item, times), expected)


def test_data_without_repeats_are_the_same_with_and_without_the_rule(dataset, seqs, tmp_path):
    by_rule = prepare(dataset, negatives=50, repeats="first")
    for name, made in (("without", seqs), ("with", by_rule)):
        sequences.save_sequences(made, tmp_path / name)
    files = [tmp_path / name / "sequences.safetensors" for name in ("without", "with")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "repeats" not in seqs.description  # as in artifacts that are older than the rule


def of_baskets(rng, order):
    """Sixty users with five baskets of six items each, the items of a basket in an order."""
    baskets = [rng.choice(np.arange(1, 301), 30, replace=False).reshape(5, 6) for _ in range(60)]
    rows = [
        (f"u{user}", str(item), 100 + number)
        for user, of_user in enumerate(baskets)
        for number, basket in enumerate(of_user)
        for item in order(basket)
    ]
    return of_events(*zip(*rows, strict=True))


def test_ties_in_the_order_of_ids_are_a_warning_until_they_are_shuffled():
    orders = {"by id": sorted, "from the last id": lambda basket: -np.sort(-basket), "free": list}
    for name, order in orders.items():
        dataset = of_baskets(np.random.default_rng(0), order)
        expected = {"by id": 1, "from the last id": -1, "free": 0}[name]
        assert order_of_ties(dataset.interactions) == pytest.approx(expected)
        facts = describe(dataset, prepare(dataset))
        assert ("order of ties" in facts) == (expected != 0)
    by_id = of_baskets(np.random.default_rng(0), sorted)
    assert "100%" in describe(by_id, prepare(by_id))["order of ties"]
    facts = describe(by_id, prepare(by_id, ties="shuffled"))
    assert "order of ties" not in facts and "ties shuffled" in facts["split"]


def test_a_correlation_within_ties_that_chance_explains_is_none():
    """One basket of three in order: one of six orders is, so it says nothing."""
    few = of_events("uuuvv", ["1", "2", "10", "4", "3"], [7, 7, 7, 7, 8])
    assert order_of_ties(few.interactions) == 0
    none = of_events("uv", "ab", [1, 1])
    assert order_of_ties(none.interactions) == 0


def test_shuffled_ties_stay_at_their_time_and_give_no_target_away():
    dataset = of_baskets(np.random.default_rng(0), sorted)
    plain, one, again, other = (
        prepare(dataset, **rules)
        for rules in ({}, *({"ties": "shuffled", "seed": seed} for seed in (0, 0, 1)))
    )
    assert np.array_equal(one.items, again.items) and not np.array_equal(one.items, other.items)
    # The share of targets with the largest id of their basket.
    number = np.array([0, *map(int, plain.item_ids)])
    largest = [
        (number[seqs.items].reshape(-1, 5, 6)[:, -1].max(1) == number[seqs.test.targets]).mean()
        for seqs in (plain, one)
    ]
    assert largest[0] == 1 and largest[1] < 0.4
    for seqs in (one, other):
        assert np.array_equal(seqs.times, plain.times)
        assert np.array_equal(
            np.sort(seqs.items.reshape(-1, 6), 1), np.sort(plain.items.reshape(-1, 6), 1)
        )
    refused("data.ties", prepare, dataset, ties="random")


@pytest.mark.parametrize("loss", [0.1, 0.2])
def test_with_the_users_needed_a_loss_is_beyond_chance_in_four_of_five_samples(loss):
    rng = np.random.default_rng(0)
    ranks = np.arange(1, 11)
    gains = 1 / np.log2(1 + ranks)
    chances = ranks**-0.5 / (ranks**-0.5).sum()
    hit = 0.1 / (gains @ chances)  # NDCG@10 is 0.1
    users = 300, users_needed(loss)  # of 300 samples

    def recommended():
        return rng.choice(gains, users, p=chances) * (rng.random(users) < hit)

    better = recommended()
    other = np.where(rng.random(users) < 0.5, better, recommended())  # half of the users alike
    worse = other * (rng.random(users) < 1 - loss)
    gap = better - worse
    errors = gap.mean(1) / (gap.std(1) / users[1] ** 0.5)
    assert 0.7 < (errors > 1.96).mean() < 0.9


def test_the_users_needed_follow_from_a_measured_ndcg(dataset, seqs):
    """A rate of hits h has the mean h and the variance h (1 - h): worked out by hand."""
    hits = np.repeat([1.0, 0.0], [5, 95])
    expected = {0.2: 3700, 0.1: 14900}  # 0.05 * 0.95 * (2.8 / (share * 0.05))^2, to the hundred
    for share, users in expected.items():
        assert abs(0.05 * 0.95 * (2.8 / (share * 0.05)) ** 2 - users) < 50
    fact = describe(dataset, seqs, hits)["too few users"]
    assert all(f"{users:,} for {share:.0%}" in fact for share, users in expected.items())
    assert "0.05 (measured)" in fact and "(assumed)" in describe(dataset, seqs)["too few users"]
    assert "(assumed)" in describe(dataset, seqs, np.zeros(9))["too few users"]
