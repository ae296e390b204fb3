"""Export a trained recommender to a folder that can be served without its study.

Nothing of single users is in the folder, unless asked for. Shapes: N events, G balances, O
objectives, K items of a list, n items, M categories.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from paragon import __version__
from paragon.backbones import Backbone
from paragon.data.registry import REGISTRY
from paragon.data.sequences import Evaluation, Sequences, save_sequences
from paragon.errors import ParagonError
from paragon.generator.generator import Generator
from paragon.metrics import ranking
from paragon.metrics.lists import TOP, ListQuality
from paragon.objectives.table import information_of
from paragon.objectives.weights import simplex_lattice
from paragon.progress import progress
from paragon.serving.folder import FILES, FORMAT, checksums_of, load_exported_backbone, parts_of
from paragon.serving.lists import Encoded
from paragon.serving.outcome import Outcomes
from paragon.serving.recommender import Recommender
from paragon.serving.rerank import choose_reranker
from paragon.storage import atomic_folder, check_match, save_tensors

BALANCES = 100  # steps from accuracy alone to the other objective alone
# Rows to keep: for unknown users and for the one user who remains.
_UNKNOWN = {"units": [-1, -1], "groups": [-1, -1], "fields.user": [-1, -1], "fields.group": [0]}
_PEOPLE = {
    False: "it holds no histories, names or embeddings of people. Lists follow from the history "
    "in the request alone. (Item vectors and item counts were learned from people.)",
    True: "**it holds the histories and ids of all users of the dataset**, exported on purpose "
    "(`--people`). Treat it as the data themselves.",
}
_CARD = """\
# A recommender with a balance to choose: {backbone}, {dataset}

A frozen recommender, and a generator of adapters that turn it to preference weights for {names}.

```python
from paragon import Recommender

recommender = Recommender.load("path/of/this/folder")
recommender.recommend({history!r}, weights={equal!r}, normalise=True)
```

`python -m paragon serve path/of/this/folder` answers the same over HTTP.

## Data

- Dataset: {dataset}, source: {source}, fingerprint `{fingerprint:.16}`. {events:,} events of
  {users:,} users with {items:,} items, split `{split}`; {train:,} of them were trained on.
- Licence of the data, and of the titles and categories in this folder: {licence}{cite}
- People: {people}

## How good it is

{warning}Means over {test_users:,} test users, of the lists of this folder without what they had
met:

{table}

## Limits

- It knows the items above; an unknown item of a history is skipped. It learned from one dataset:
  groups that are rare there are served less well.
- It was measured offline, on what people chose before they saw its lists; α-nDCG rewards lists
  with many categories, good or not.
- No adapter is made for less than the smallest weights that were tuned: {floor}.

Backbone `{made:.16}`, generator of seed {seed}.
"""


def export_folder(
    folder: Path,
    sequences: Sequences,
    backbone: Backbone,
    description: dict,
    generator: Generator,
    people: bool = False,
) -> None:
    """Write a backbone and a generator to ``folder``, with measurements as served.

    ``people``: include histories, ids and embeddings of all users.  Raises ``ParagonError`` if the
    folder holds other files, or if the generator was made for another backbone.
    """
    collection = generator.description["collection"]
    if "moved" in collection:  # moved to this backbone
        origin = {"from": collection["backbone"], **collection["moved"]}
        collection = collection | {"moved": origin, "backbone": description["sha256"]}
        generator = Generator(generator.model, generator.description | {"collection": collection})
    check_match({"backbone": description["sha256"]}, collection, "the generator's collection")
    with atomic_folder(folder, FILES) as made:
        if folder.exists() and any(folder.iterdir()) and not (folder / "paragon.json").exists():
            raise ParagonError(f"{folder} is no earlier export; choose another")

        # The parts that are served.
        data = sequences if people else without_people(sequences)
        save_sequences(data, made)
        save_tensors(made / "generator", generator.model.state_dict(), generator.description)
        names = ("kind", "backbone", "data", "settings", "versions", "warning")
        kept = {name: description[name] for name in names if name in description}
        save_tensors(
            made / "backbone",
            dict(backbone.state_dict()) if people else parameters_without_people(backbone),
            {**kept, "trained": description["sha256"], "people": people},
        )

        # Measurements of them.
        frozen, _ = load_exported_backbone(made / "backbone", data)
        frozen = frozen.to(backbone.item_vectors().device)
        served = Recommender(frozen, generator, data, sequences.popularity())
        arrays = {"popularity": served.popularity}
        outcomes = outcomes_of(served, sequences)
        if outcomes is not None:
            arrays |= outcomes._asdict()
        settings: list[dict] = []  # of the re-ranker
        sampled = sequences.valid[sequences.valid.sample_rows()]
        reranker = choose_reranker(served, sequences, _histories(served, sequences, sampled))
        if reranker is not None:
            arrays["sources"] = reranker.sources
            settings = [setting._asdict() for setting in reranker.settings]
        save_tensors(
            made / "paragon",
            {name: torch.from_numpy(array) for name, array in arrays.items()},
            {
                "format": FORMAT,
                "paragon": __version__,
                "parts": checksums_of(parts_of(made)),
                "settings": settings,
            },
        )
        card = model_card(served, sequences, people, description.get("warning"))
        (made / "README.md").write_text(card, encoding="utf-8")


def without_people(sequences: Sequences) -> Sequences:
    """Keep the items of a dataset, and one user without name and events."""
    none = np.zeros(0, dtype=np.int64)
    zero = np.zeros(1, dtype=np.int64)
    no_events = Evaluation(users=none, positions=none, candidates=none.reshape(0, 1))
    return replace(
        sequences,
        items=none,
        times=none,
        offsets=np.zeros(2, dtype=np.int64),
        n_train=zero,
        groups=zero - 1,  # unknown
        valid=no_events,
        test=no_events,
        user_ids=[""],
        group_names=[],
    )


def parameters_without_people(backbone: Backbone) -> dict[str, torch.Tensor]:
    """Return the parameters of a backbone without those of users.

    Graphs are made of histories: of a backbone with a graph, only the final item vectors remain.
    """
    tensors = dict(backbone.state_dict())
    vectors = backbone.item_vectors().detach()  # [n + 1, d]
    if backbone.name in ("lightgcn", "ngcf"):
        nobody = torch.zeros_like(vectors[:1])  # [1, d]
        tensors = {"embedding": torch.cat([nobody, vectors])}
    if backbone.name == "pinsage":
        tensors = {name: t for name, t in tensors.items() if not name.startswith("convolutions.")}
        for name in ("index", "weights", "category"):
            tensors[name] = torch.zeros_like(tensors[name])
        tensors["item"] = vectors
    for name, rows in _UNKNOWN.items():
        if name in tensors:
            tensors[name] = tensors[name][rows]
    return tensors


def _histories(recommender: Recommender, sequences: Sequences, events: Evaluation) -> list[Encoded]:
    """Encode the histories before events; a target may be recommended though it was met before."""
    pasts = []
    for user, position, target in zip(events.users, events.positions, events.targets, strict=True):
        start = sequences.offsets[user]
        items = sequences.items[start : start + position].tolist()
        times = sequences.times[start : start + position].tolist()
        seen = [item for item in items if item != target]
        number = int(user) if recommender.users else -1
        pasts.append(Encoded(items=items, times=times, user=number, seen=seen))
    return pasts


def quality_of_lists(
    recommender: Recommender, sequences: Sequences, events: Evaluation, weights: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return ``NDCG@10 [G, N]`` and other metrics ``[G]`` by name for weights ``[G, O]``."""
    pasts = _histories(recommender, sequences, events)
    quality = ListQuality.of(
        events.targets, sequences.categories, excluded=sequences.excluded(events)
    )
    information = information_of(sequences)  # [n + 1]
    ndcg = []
    means = []
    for row in progress(weights.astype(np.float32), "balances"):
        lists, _, _ = recommender.best(pasts, np.tile(row, (len(pasts), 1)), TOP)  # [N, K]
        accuracy, diversity = quality.measure(lists)  # [N] each
        novelty = ranking.novelty_at(lists, information, TOP)
        ndcg.append(accuracy)
        means.append([diversity.mean(), novelty.mean()])
    return np.array(ndcg), dict(zip(("diversity", "novelty"), np.array(means).T, strict=True))


def outcomes_of(recommender: Recommender, sequences: Sequences) -> Outcomes | None:
    """Measure balances of accuracy and another objective on validation events.

    The other objective is diversity, or else novelty; None if both are missing.
    """
    names = recommender.objectives
    other = next((name for name in ("diversity", "novelty") if name in names), None)
    if other is None:
        return None
    share = np.linspace(0, 1, BALANCES + 1)
    weights = np.zeros((len(share), len(names)))
    weights[:, names.index("accuracy")] = 1 - share
    weights[:, names.index(other)] = share
    ndcg, metrics = quality_of_lists(recommender, sequences, sequences.valid, weights)
    order = np.lexsort(ndcg[::-1])  # sort users by their values, to hide who they are
    return Outcomes(
        weights=weights,
        ndcg=ndcg[:, order].astype(np.float32),
        diversity=metrics[other],
    )


def model_card(
    recommender: Recommender, sequences: Sequences, people: bool, warning: str | None = None
) -> str:
    """Write the model card in Markdown, with results on the test events.

    ``people``: whether the folder holds histories and ids of all users. ``warning``: what stage
    `backbones` stored of a recommender that is no better than a rule.
    """
    names = recommender.objectives
    trained = recommender.generator.description
    description = sequences.description
    entry = REGISTRY.get(description["dataset"])

    weights = simplex_lattice(len(names), 10 if len(names) == 2 else 3).numpy()[::-1]  # [G, O]
    ndcg, metrics = quality_of_lists(recommender, sequences, sequences.test, weights)
    table = [[*names, "NDCG@10", "α-nDCG@10"], ["---:"] * (len(names) + 2)]
    for row, *quality in zip(weights, ndcg.mean(1), metrics["diversity"], strict=True):
        table.append([f"{weight:.2g}" for weight in row] + [f"{value:.4f}" for value in quality])
    floor = zip(names, recommender.generator.floor.tolist(), strict=True)
    return _CARD.format(
        **description["counts"],
        dataset=description["dataset"],
        source=description["source"],
        split=description["split"],
        fingerprint=description["fingerprint"],
        backbone=recommender.backbone.name,
        names=", ".join(names),
        history=sequences.item_ids[:2],
        equal=dict.fromkeys(names, 1),
        licence=entry.licence if entry else "that of your own data.",
        cite=f"\n- Please cite: {entry.citation}" if entry else "",
        people=_PEOPLE[people],
        warning=f"**{warning}**\n\n" if warning else "",
        table="\n".join(f"| {' | '.join(row)} |" for row in table),
        floor=", ".join(f"{name} {least:g}" for name, least in floor),
        made=trained["collection"]["backbone"],
        seed=trained["seed"],
    )
