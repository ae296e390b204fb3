"""People at a slider, one by one, and sliders whose people are known beforehand."""

import numpy as np
import pytest

from paragon.metrics.people import MISTAKEN, MOVES, PEOPLE, PLACES, at_the_slider

USERS = 60


def one_by_one(categories, gains, most, seed):
    """The same measures from plain loops: a person, then the next one."""
    rng = np.random.default_rng(seed)
    draws = rng.random((PEOPLE, USERS))
    mistakes = rng.random((MOVES, PEOPLE, USERS)) < MISTAKEN
    content, asked, right, over, kept, plain = np.zeros(MOVES + 1), 0, 0, 0, 0.0, 0.0
    for n in range(PEOPLE):
        for user in range(USERS):
            first = categories[0, user]
            extra = max(int(most[user] - first), 0)
            wanted = first + int(draws[n, user] * (extra + 1))
            place, low, high = 0, 0, PLACES
            for move in range(MOVES + 1):
                shown = categories[place, user]
                if abs(shown - wanted) <= 1:
                    content[move:] += 1
                    kept += gains[place, user]
                    plain += gains[0, user]
                    break
                if move == MOVES:
                    break
                asked += 1
                more = bool(shown < wanted) != bool(mistakes[move, n, user])
                if more:
                    low = place
                elif place > 0:
                    high = place
                else:
                    continue  # no less than the first place
                place = (low + high) // 2
                after = categories[place, user]
                right += after > shown if more else after < shown
                over += (shown - wanted) * (after - wanted) < 0 and abs(after - wanted) > 1
    people = PEOPLE * USERS
    out = {f"content_{move}": share / people for move, share in enumerate(content)}
    out |= {"moves": asked / people, "right": right / asked, "overshoot": over / asked}
    return out | {"content_kept": kept / plain}


@pytest.mark.parametrize("seed", range(3))
def test_people_are_simulated_as_one_by_one(seed):
    rng = np.random.default_rng(10 + seed)
    rising = np.sort(rng.integers(3, 16, (PLACES + 1, USERS)), 0)
    categories = rising + rng.integers(-1, 2, rising.shape)  # not quite
    gains = rng.random(categories.shape)
    most = rng.integers(3, 18, USERS)
    found = at_the_slider(categories, gains, most, seed)
    expected = one_by_one(categories, gains, most, seed)
    assert {name: measure.value for name, measure in found.items()} == pytest.approx(expected)


def test_a_slider_that_does_nothing_satisfies_nobody_later():
    flat = np.full((PLACES + 1, USERS), 5)
    found = at_the_slider(flat, np.ones_like(flat, float), np.full(USERS, 15))
    assert found["content_5"].value == found["content_0"].value
    assert found["right"].value == found["overshoot"].value == 0


def test_who_wants_what_is_there_never_moves():
    flat = np.full((PLACES + 1, USERS), 5)
    found = at_the_slider(flat, np.zeros(flat.shape), np.full(USERS, 5))
    assert found["content_0"].value == 1 and found["moves"].value == 0
    for name in ("right", "overshoot", "content_kept"):
        assert found[name].value is None and found[name].reason, name


def test_even_steps_reach_every_wish_but_for_mistakes():
    """One category more every second place: halving finds any number in five moves."""
    even = np.repeat((4 + np.arange(PLACES + 1) // 2)[:, None], USERS, 1)
    found = at_the_slider(even, np.ones(even.shape), np.full(USERS, 20))
    assert found["content_5"].value > 0.8
    assert found["right"].value > 0.9  # steps of one place may keep the number
