"""Data whose truth is known: one category an item, and a favourite one for every user.

``python -m tests.planted`` puts it into ``data/``, ``make add NAME=planted`` runs its study.
"""

import numpy as np

from paragon.data.atomic import write_atomic
from paragon.data.table import Dataset
from paragon.params import ROOT


def planted_dataset(users=500, items=240, categories=8, favourite=0.85, seed=0) -> Dataset:
    """Users who take an item of their favourite category with the probability ``favourite``.

    8 to 16 different items each, one a second, otherwise at random.
    """
    rng = np.random.default_rng(seed)
    category = np.arange(items) % categories
    events = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(users):
        liked, met = rng.integers(categories), np.zeros(items, dtype=bool)
        for second in range(rng.integers(8, 17)):
            wanted = (category == liked) == (rng.random() < favourite)
            item = rng.choice(np.flatnonzero(wanted & ~met))
            met[item] = True
            for column, value in zip(events, (f"u{user}", f"i{item}", second), strict=True):
                events[column].append(value)
    catalogue = {
        "item_id": [f"i{item}" for item in range(items)],
        "title": [f"Item {item}" for item in range(items)],
        "categories": [[f"c{number}"] for number in category],
    }
    events["rating"] = [1.0] * len(events["user_id"])
    return Dataset.from_frame(events, catalogue, name="planted")


if __name__ == "__main__":
    write_atomic(planted_dataset(), ROOT / "data" / "planted")
