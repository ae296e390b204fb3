"""The model card of an exported folder: what it is, of which data, how good, and its limits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paragon.data.registry import REGISTRY
from paragon.serving.recommender import Recommender

_PEOPLE = {
    False: "It holds no histories, no names and no embeddings of people. What is shown to somebody "
    "follows from the history in the request alone. (Numbers that were learned from people are "
    "in it: item vectors, and how often each item was chosen.)",
    True: "**It holds the histories and ids of all users of the dataset**: they were exported on "
    "purpose (`--people`). Treat it as the data themselves.",
}


_CARD = """\
# A recommender with a balance to choose: {title}

A frozen recommender and a generator of adapters: from preference weights for
{names} it makes, in about a millisecond, the adapter that turns the recommender to this
balance.

```python
from paragon import Recommender

recommender = Recommender.load("path/of/this/folder")
history = {history!r}
recommender.recommend(history, weights={equal!r}, k=10)
```

`python -m paragon serve path/of/this/folder` answers the same over HTTP.

## Data

- Dataset: {dataset}, source: {source}, fingerprint `{fingerprint}`.
- {events:,} events of {users:,} users with {items:,} items, split
  `{split}`; {train:,} of them were trained on.
- Licence of the data: {licence}
  The titles and categories in this folder are under it as well.{cite}

## People

{people}

## How good it is

The mean over {test_users:,} test users, over the whole catalogue without what they had
met, measured with this folder when it was exported:

{head}
| {rule} |
{rows}

## Limits

- It knows the items above and no others; an unknown item of a history is skipped.
- It was measured offline, on what people chose before they saw its lists. What its lists do to
  people was not measured.
- α-nDCG rewards lists with many categories. Whether a category is a good one is not its matter.
- No adapter is made for less than the smallest weights that were tuned: {floor}.
- It learned from one dataset: groups that are rare there are served less well.

Backbone `{made}`, generator of seed {seed}.
"""


def model_card(
    recommender: Recommender,
    *,
    people: bool,
    weights: np.ndarray,
    ndcg: Sequence[float],
    diversity: Sequence[float],
) -> str:
    """The card as Markdown; ``ndcg [W]`` and ``diversity [W]`` were measured on test events.

    Under ``weights [W, O]``, with the exported model and the lists that it serves.
    """
    about, names = recommender.items.description, recommender.objectives
    entry, counts = REGISTRY.get(about["dataset"]), about["counts"]
    licence = f"{entry.licence}" if entry else "that of your own data."
    cite = f"\n- Please cite: {entry.citation}" if entry else ""
    made = recommender.generator.description
    floors = zip(names, recommender.generator.floor.tolist(), strict=True)
    floor = ", ".join(f"{name} {least:g}" for name, least in floors)
    rows = [
        "| " + " | ".join([*(f"{w:.2g}" for w in own), f"{a:.4f}", f"{d:.4f}"]) + " |"
        for own, a, d in zip(weights, ndcg, diversity, strict=True)
    ]
    head = "| " + " | ".join([*names, "NDCG@10", "α-nDCG@10"]) + " |"
    equal = {name: round(1 / len(names), 2) for name in names[:-1]}
    equal[names[-1]] = round(1 - sum(equal.values()), 2)
    values = {
        **counts,
        "title": f"{recommender.backbone.name}, {about['dataset']}",
        "names": ", ".join(names),
        "history": recommender.items.ids[:2],
        "equal": equal,
        "dataset": about["dataset"],
        "source": about["source"],
        "fingerprint": about["fingerprint"][:16],
        "split": about["split"],
        "licence": licence,
        "cite": cite,
        "people": _PEOPLE[people],
        "head": head,
        "rule": " | ".join(["---:"] * (len(names) + 2)),
        "rows": "\n".join(rows),
        "floor": floor,
        "made": made["collection"]["backbone"][:16],
        "seed": made["seed"],
    }
    return _CARD.format(**values)
