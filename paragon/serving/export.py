"""Export a trained recommender to a folder that can be served without its study, and load it.

Nothing of single users remains, unless asked for. Shapes: N events, G balances, O objectives, K
items of a list, n items, M categories.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from paragon import __version__, params
from paragon.backbones import BACKBONES, Backbone
from paragon.data.registry import REGISTRY
from paragon.data.sequences import Evaluation, Sequences, load_sequences, save_sequences
from paragon.errors import ParagonError
from paragon.generator.generator import Generator, load_generator
from paragon.metrics import ranking
from paragon.metrics.lists import TOP, ListQuality
from paragon.objectives.table import information_of
from paragon.objectives.weights import simplex_lattice
from paragon.progress import progress
from paragon.reranking import settings as reranking
from paragon.reranking.rules import RERANKERS, Setting
from paragon.serving.lists import Encoded
from paragon.serving.outcome import Outcomes
from paragon.serving.recommender import Recommender, Reranker
from paragon.storage import atomic_folder, check_match, load_tensors, loading, save_tensors

FORMAT = 2  # version of the folder format; increase it if older versions cannot read it
EXPORT = "python -m paragon export"
PARTS = ("sequences", "backbone", "generator")
FILES = ("README.md", *(f"{p}.{e}" for p in ("paragon", *PARTS) for e in ("json", "safetensors")))
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

Means over {test_users:,} test users, of the lists of this folder without what they had met:

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
        data = sequences if people else without_people(sequences)
        save_sequences(data, made)
        save_tensors(made / "generator", generator.model.state_dict(), generator.description)
        tensors = dict(backbone.state_dict()) if people else parameters_without_people(backbone)
        about = {n: description[n] for n in ("kind", "backbone", "data", "settings", "versions")}
        about |= {"trained": description["sha256"], "people": people}
        save_tensors(made / "backbone", tensors, about)
        frozen = _load_backbone(made / "backbone", data)[0].to(backbone.item_vectors().device)
        served = Recommender(frozen, generator, data, sequences.popularity())
        arrays, settings = {"popularity": served.popularity}, []
        if outcomes := outcomes_of(served, sequences):
            arrays |= outcomes._asdict()
        if reranker := reranker_of(served, sequences):
            arrays["sources"] = reranker.sources
            settings = [setting._asdict() for setting in reranker.settings]
        about = {"format": FORMAT, "paragon": __version__, "parts": _checksums(made)}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        save_tensors(made / "paragon", tensors, about | {"settings": settings})
        (made / "README.md").write_text(model_card(served, sequences, people), encoding="utf-8")


def load_folder(folder: Path) -> Recommender:
    """Load and check an exported folder; torch's global random state is restored."""
    for name in FILES:
        if not (folder / name).is_file():
            raise ParagonError(f"{folder / name} is missing; `{EXPORT} {folder}` makes the folder")
    root = loading(folder / "paragon", EXPORT, {"format": FORMAT})
    with torch.random.fork_rng(devices=[]), root as (tensors, about):
        check_match({"parts": about["parts"]}, {"parts": _checksums(folder)}, str(folder), EXPORT)
        data = load_sequences(folder)
        backbone, trained = _load_backbone(folder / "backbone", data)
        generator = load_generator(folder / "generator")
        collection = generator.description["collection"]
        check_match({"backbone": trained}, collection, f"{folder / 'generator'}.json", EXPORT)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        outcomes = Outcomes(*(arrays[n] for n in Outcomes._fields)) if "ndcg" in arrays else None
        reranker = None
        if "sources" in arrays:
            settings = [Setting(**setting) for setting in about["settings"]]
            reranker = Reranker(generator.objectives.index("accuracy"), settings, arrays["sources"])
        # Once more: an export may have replaced the folder meanwhile.
        check_match({"parts": about["parts"]}, {"parts": _checksums(folder)}, str(folder), EXPORT)
        return Recommender(backbone, generator, data, arrays["popularity"], outcomes, reranker)


def _checksums(folder: Path) -> dict[str, str]:
    return {name: load_tensors(folder / name, EXPORT)[1]["sha256"] for name in PARTS}


def without_people(sequences: Sequences) -> Sequences:
    """Keep the items of a dataset, and one user without name and events."""
    none, zero = np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    events = Evaluation(none, none, none.reshape(0, 1))
    nobody = replace(sequences, user_ids=[""], offsets=zero.repeat(2), n_train=zero)
    nobody = replace(nobody, groups=zero - 1, group_names=[], valid=events, test=events)
    return replace(nobody, items=none, times=none)


def parameters_without_people(backbone: Backbone) -> dict[str, torch.Tensor]:
    """Return parameters without those of users; graphs are histories, so only items stay."""
    tensors, vectors = dict(backbone.state_dict()), backbone.item_vectors().detach()  # [n + 1, d]
    if backbone.name in ("lightgcn", "ngcf"):
        tensors = {"embedding": torch.cat([torch.zeros_like(vectors[:1]), vectors])}
    if backbone.name == "pinsage":
        tensors = {name: t for name, t in tensors.items() if not name.startswith("convolutions.")}
        tensors |= {n: torch.zeros_like(tensors[n]) for n in ("index", "weights", "category")}
        tensors["item"] = vectors
    return tensors | {n: tensors[n][rows] for n, rows in _UNKNOWN.items() if n in tensors}


def _load_backbone(stem: Path, data: Sequences) -> tuple[Backbone, str]:
    with loading(stem, EXPORT, {"data": data.description}) as (tensors, about):
        settings = params.BackboneSettings(**about["settings"])
        if not about["people"] and about["backbone"] in ("lightgcn", "ngcf", "pinsage"):
            settings = settings.model_copy(update={"layers": 0})
        backbone = BACKBONES[about["backbone"]](data, settings)
        backbone.load_state_dict(tensors)
        return backbone.eval().requires_grad_(False), about["trained"]


def _histories(recommender: Recommender, sequences: Sequences, events: Evaluation) -> list[Encoded]:
    """Encode the histories of events; a target may be recommended though it was met before."""
    pasts = []
    for user, position, target in zip(events.users, events.positions, events.targets, strict=True):
        past = slice(sequences.offsets[user], sequences.offsets[user] + position)
        items, times = sequences.items[past].tolist(), sequences.times[past].tolist()
        seen = [item for item in items if item != target]
        pasts.append(Encoded(items, times, int(user) if recommender.users else -1, seen))
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
    ndcg, means = [], []
    for row in progress(weights.astype(np.float32), "balances"):
        lists, *_ = recommender.best(pasts, np.tile(row, (len(pasts), 1)), TOP)  # [N, K]
        accuracy, diversity = quality.measure(lists)  # [N] each
        novelty = ranking.novelty_at(lists, information, TOP)
        ndcg.append(accuracy)
        means.append([diversity.mean(), novelty.mean()])
    return np.array(ndcg), dict(zip(("diversity", "novelty"), np.array(means).T, strict=True))


def outcomes_of(recommender: Recommender, sequences: Sequences) -> Outcomes | None:
    """Measure balances of accuracy with diversity, else novelty; None if both are missing."""
    names = recommender.objectives
    other = next((name for name in ("diversity", "novelty") if name in names), None)
    if other is None:
        return None
    share = np.linspace(0, 1, BALANCES + 1)
    weights = np.zeros((len(share), len(names)))
    weights[:, names.index("accuracy")], weights[:, names.index(other)] = 1 - share, share
    ndcg, metrics = quality_of_lists(recommender, sequences, sequences.valid, weights)
    order = np.lexsort(ndcg[::-1])  # sort users by their values, to hide who they are
    return Outcomes(weights, ndcg[:, order].astype(np.float32), metrics[other])


def reranker_of(recommender: Recommender, sequences: Sequences) -> Reranker | None:
    """Choose settings of xQuAD as in the evaluation; None if all items have the same categories."""
    if len(np.unique(sequences.categories[1:], axis=0)) < 2:
        return None
    names, accuracy = recommender.objectives, recommender.objectives.index("accuracy")
    # Evaluation weights are the multiples of 1 / oracles.
    oracles = recommender.generator.description["collection"]["settings"]["oracles"]
    sources = reranking.source_weights(simplex_lattice(len(names), oracles), accuracy)  # [3, O]
    events = sequences.valid[sequences.valid.sample_rows()]
    pasts = _histories(recommender, sequences, events)
    vectors = reranking.source_vectors(recommender.generator, sources)  # [4, P]
    scores = [recommender.scores(pasts, vector) for vector in vectors]
    tried = reranking.tried_settings(RERANKERS["xquad"], sequences, scores)
    settings = reranking.chosen_settings(tried, np.arange(101) / 100)
    return Reranker(accuracy, settings, sources.numpy())


def model_card(recommender: Recommender, sequences: Sequences, people: bool) -> str:
    """Write the model card in Markdown, with results on the test events."""
    about, names = sequences.description, recommender.objectives
    trained, entry = recommender.generator.description, REGISTRY.get(about["dataset"])
    weights = simplex_lattice(len(names), 10 if len(names) == 2 else 3).numpy()[::-1]  # [G, O]
    ndcg, metrics = quality_of_lists(recommender, sequences, sequences.test, weights)
    rows = [[*names, "NDCG@10", "α-nDCG@10"], ["---:"] * (len(names) + 2)]
    for row, *quality in zip(weights, ndcg.mean(1), metrics["diversity"], strict=True):
        rows.append([f"{weight:.2g}" for weight in row] + [f"{value:.4f}" for value in quality])
    floor = zip(names, recommender.generator.floor.tolist(), strict=True)
    return _CARD.format(
        **about["counts"],
        **{name: about[name] for name in ("dataset", "source", "split", "fingerprint")},
        backbone=recommender.backbone.name,
        names=", ".join(names),
        history=sequences.item_ids[:2],
        equal=dict.fromkeys(names, 1),
        licence=entry.licence if entry else "that of your own data.",
        cite=f"\n- Please cite: {entry.citation}" if entry else "",
        people=_PEOPLE[people],
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
        floor=", ".join(f"{name} {least:g}" for name, least in floor),
        made=trained["collection"]["backbone"],
        seed=trained["seed"],
    )
