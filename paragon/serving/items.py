"""What a recommender knows of its items, without anything about people.

Shapes: n items, M categories.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress

import numpy as np

from paragon.data.sequences import Evaluation, Sequences


@dataclass(frozen=True)
class Items:
    """The items in the order of their numbers 1..n; 0 is padding.

    ``categories [n + 1, M]`` bool; ``popularity [n + 1]``: training events, a count;
    ``description``: where the data come from, as in :class:`~paragon.data.sequences.Sequences`;
    ``users``: numbers of the users the backbone knows by name, empty unless they were exported.
    """

    ids: list[str]
    titles: list[str]
    category_names: list[str]
    categories: np.ndarray
    popularity: np.ndarray
    description: dict
    users: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        numbers = {name: number for number, name in enumerate(self.ids, start=1)}
        object.__setattr__(self, "numbers", numbers)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, data: Items | Sequences, people: bool = True) -> Items:
        """The items of a prepared dataset, with its users' names if ``people``."""
        if isinstance(data, Items):
            return data
        return cls(
            data.item_ids,
            data.titles,
            data.category_names,
            data.categories,
            data.popularity(),
            data.description,
            {name: number for number, name in enumerate(data.user_ids) if people},
        )

    def categories_of(self, number: int) -> tuple[str, ...]:
        """The names of an item's categories."""
        return tuple(compress(self.category_names, self.categories[number]))

    def anonymous(self) -> Sequences:
        """The dataset without its people: what a backbone needs to be built again."""
        none = np.zeros(0, dtype=np.int64)
        no_events = Evaluation(none, none, np.zeros((0, 1), dtype=np.int64))
        return Sequences(
            items=none,
            times=none,
            offsets=np.zeros(1, dtype=np.int64),
            n_train=none,
            categories=self.categories,
            groups=none,
            valid=no_events,
            test=no_events,
            item_ids=self.ids,
            titles=self.titles,
            user_ids=[],
            category_names=self.category_names,
            group_names=[],
            description=self.description,
        )
