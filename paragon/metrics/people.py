"""People at a slider, simulated: how many answers until the list has what a person wants?

A person sees ten items, wants a number of different categories, and answers *more* or *less* until
the list has that number or one beside it. Each answer halves what is left of the slider. No real
person was asked, and these play a guessing game: they know exactly which number they want.

Shapes: K places after the first on a slider, N users, R people for each user.
"""

import numpy as np

from paragon.metrics.checks import Measure

PLACES = 32  # after the first: five moves that halve can reach each of them but the last
MOVES = 5  # answers of a person, at most
PEOPLE = 20  # for each user; they want different numbers
CLOSE = 1  # a person is content with a number that differs by at most this from the wanted one
MISTAKEN = 0.1  # share of answers that say more instead of less, or less instead of more


def at_the_slider(
    categories: np.ndarray, gains: np.ndarray, most: np.ndarray, seed: int = 0
) -> dict[str, Measure]:
    """Let people move a slider from its first place, the recommender alone, to ``PLACES`` others.

    ``categories [K + 1, N]``: how many different ones the list of each user has at each place;
    ``gains [K + 1, N]``: its NDCG. A person wants a number between that at the first place and
    ``most [N]``, drawn evenly. People are the same for all sliders, whatever these can do.

    Who is not content gives an answer, up to ``MOVES`` times. An answer moves the slider, except
    *less* at the first place: it counts, but nothing changes. Return:

    - `content_0` to `content_5`: the share of people who are content after so many answers;
    - `moves`: the mean number of answers of a person;
    - `right`: the share of answers after which the number changed in the direction that the answer
      gave, be it a mistake or not;
    - `overshoot`: the share of answers after which the number was on the other side of the wanted
      one, and not close to it;
    - `content_kept`: the NDCG of those content in the end, over theirs at the first place.
    """
    rng = np.random.default_rng(seed)
    users = categories.shape[1]
    first = categories[0]  # [N]
    choices = np.maximum(most - first, 0) + 1  # [N]
    wanted = first + (rng.random((PEOPLE, users)) * choices).astype(int)  # [R, N]
    mistaken = rng.random((MOVES, PEOPLE, users)) < MISTAKEN
    user = np.broadcast_to(np.arange(users), wanted.shape)  # [R, N]

    place = np.zeros(wanted.shape, dtype=int)  # [R, N]
    low = place
    high = np.full(wanted.shape, PLACES)
    shown = categories[place, user]  # [R, N]
    content = np.abs(shown - wanted) <= CLOSE  # [R, N]
    shares = [content.mean()]
    answers = right = over = 0
    for wrong in mistaken:
        more = (shown < wanted) ^ wrong  # [R, N]
        moves = ~content & (more | (place > 0))  # there is no less than the first place
        low = np.where(moves & more, place, low)
        high = np.where(moves & ~more, place, high)
        place = np.where(moves, (low + high) // 2, place)
        before = shown
        shown = categories[place, user]
        change = np.where(more, shown - before, before - shown)
        beyond = (before - wanted) * (shown - wanted) < 0
        answers += (~content).sum()
        right += (moves & (change > 0)).sum()
        over += (moves & beyond & (np.abs(shown - wanted) > CLOSE)).sum()
        content = content | (np.abs(shown - wanted) <= CLOSE)
        shares.append(content.mean())

    out = {f"content_{move}": Measure(float(share)) for move, share in enumerate(shares)}
    out["moves"] = Measure(answers / wanted.size)
    nobody = Measure(None, "nobody moved: all are content with the first list")
    out["right"] = Measure(float(right / answers)) if answers else nobody
    out["overshoot"] = Measure(float(over / answers)) if answers else nobody
    plain = gains[0, user][content].sum()
    kept = gains[place, user][content].sum()
    none = Measure(None, "no content person had the next item among the first list's ten")
    out["content_kept"] = Measure(float(kept / plain)) if plain else none
    return out
