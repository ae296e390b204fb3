"""From a trained recommender to a folder that is served without the study that made it.

In this file: what is written, measured as it will serve, and the model card: what the folder is,
of which data, how good, and its limits.

Shapes: W balances, O objectives.
"""

from __future__ import annotations

from pathlib import Path

from paragon.backbones import Backbone, save_backbone
from paragon.data.registry import REGISTRY
from paragon.data.sequences import Sequences, save_sequences
from paragon.generator.generator import Generator, save_generator
from paragon.objectives.weights import simplex_lattice
from paragon.serving.folder import new_folder, save_part
from paragon.serving.frozen import load_frozen, save_frozen
from paragon.serving.items import Items
from paragon.serving.measured import outcomes_of, quality_of_lists, reranker_of
from paragon.serving.recommender import Recommender
from paragon.storage import write_text

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

| {head} |
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


def export_folder(
    folder: Path,
    sequences: Sequences,
    backbone: Backbone,
    description: dict,
    generator: Generator,
    people: bool = False,
) -> None:
    """Write a backbone and a generator to ``folder``, measured as they will serve.

    ``description``: of the backbone.  ``people``: with the histories and ids of all users, and
    what the backbone knows of each.  Without them nothing about single people is written
    (:mod:`paragon.serving.frozen`).  Raises ``ParagonError`` for a folder that holds other files.
    """
    with new_folder(folder) as made:
        save_generator(generator, made / "generator")
        items = Items.of(sequences, people)
        if people:
            save_sequences(sequences, made)
            about = {key: value for key, value in description.items() if key != "sha256"}
            save_backbone(backbone, about, made / "backbone")
        else:
            save_part(items, made / "items")
            save_frozen(backbone, description, made / "backbone")
            device = backbone.item_vectors().device
            backbone = load_frozen(made / "backbone", items.anonymous()).to(device)
        recommender = Recommender(backbone, generator, items)
        outcomes = outcomes_of(recommender, sequences)
        if outcomes is not None:
            save_part(outcomes, made / "validation")
        reranker = reranker_of(recommender, sequences)
        if reranker is not None:
            save_part(reranker, made / "xquad")
        write_text(made / "README.md", model_card(recommender, sequences, people))


def model_card(recommender: Recommender, sequences: Sequences, people: bool) -> str:
    """The card as Markdown, with what the test events say of a few balances."""
    about, names = recommender.items.description, recommender.objectives
    weights = simplex_lattice(len(names), 10 if len(names) == 2 else 3).numpy()[::-1]  # [W, O]
    ndcg, metrics = quality_of_lists(recommender, sequences, sequences.test, weights)
    measured = zip(weights, ndcg.mean(1), metrics["diversity"], strict=True)
    rows = [
        f"| {' | '.join(f'{w:.2g}' for w in own)} | {a:.4f} | {d:.4f} |" for own, a, d in measured
    ]
    entry = REGISTRY.get(about["dataset"])
    floor = zip(names, recommender.generator.floor.tolist(), strict=True)
    equal = {name: round(1 / len(names), 2) for name in names[:-1]}
    return _CARD.format(
        **about["counts"],
        title=f"{recommender.backbone.name}, {about['dataset']}",
        names=", ".join(names),
        history=recommender.items.ids[:2],
        equal=equal | {names[-1]: round(1 - sum(equal.values()), 2)},
        **{name: about[name] for name in ("dataset", "source", "split")},
        fingerprint=about["fingerprint"][:16],
        licence=entry.licence if entry else "that of your own data.",
        cite=f"\n- Please cite: {entry.citation}" if entry else "",
        people=_PEOPLE[people],
        head=" | ".join([*names, "NDCG@10", "α-nDCG@10"]),
        rule=" | ".join(["---:"] * (len(names) + 2)),
        rows="\n".join(rows),
        floor=", ".join(f"{name} {least:g}" for name, least in floor),
        made=recommender.generator.description["collection"]["backbone"][:16],
        seed=recommender.generator.description["seed"],
    )
