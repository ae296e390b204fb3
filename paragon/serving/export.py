"""Export a trained recommender to a folder that can be served without its study, and load it.

Unless people are exported on purpose, nothing of single users remains, and new users get the same
lists.  Shapes: N events, G balances, O objectives, K items of a list, n items, M categories.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from paragon import __version__, params
from paragon.backbones import BACKBONES, Backbone
from paragon.data.registry import REGISTRY
from paragon.data.sequences import Evaluation, Sequences, load_sequences, save_sequences
from paragon.errors import ParagonError, shown
from paragon.generator.generator import Generator, load_generator, save_generator
from paragon.metrics import ranking
from paragon.metrics.ranking import ideal_alpha_dcg
from paragon.objectives.weights import simplex_lattice
from paragon.progress import progress
from paragon.rivals.reranking import (
    RERANKERS,
    Setting,
    chosen_settings,
    list_quality,
    source_vectors,
    source_weights,
    validation_rows,
)
from paragon.serving.engine import Reranker
from paragon.serving.lists import Request
from paragon.serving.outcome import Outcomes
from paragon.serving.recommender import Recommender
from paragon.storage import check_match, load_tensors, loading, save_tensors, write_text

FORMAT = 2  # version of the folder format; increase it if older versions cannot read it
EXPORT = "python -m paragon export"
PARTS, ROOT, CARD = ("sequences", "backbone", "generator"), "paragon", "README.md"
FILES = (CARD, *(f"{name}.{end}" for name in (ROOT, *PARTS) for end in ("json", "safetensors")))
BALANCES = 100  # steps from accuracy alone to the other objective alone
TOP = 10
_OUTCOMES = ("weights", "ndcg", "diversity")
# Rows to keep: for unknown users and for the one user who remains.
_UNKNOWN = {"units": [-1, -1], "groups": [-1, -1], "fields.user": [-1, -1], "fields.group": [0]}
_PEOPLE = {
    False: "it holds no histories, no names and no embeddings of people. What is shown to somebody "
    "follows from the history in the request alone. (Numbers that were learned from people are "
    "in it: item vectors, and how often each item was chosen.)",
    True: "**it holds the histories and ids of all users of the dataset**, exported on purpose "
    "(`--people`). Treat it as the data themselves.",
}
_CARD = """\
# A recommender with a balance to choose: {backbone}, {dataset}

A frozen recommender and a generator of adapters: from preference weights for {names} it makes, in
about a millisecond, the adapter that turns the recommender to this balance.

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

The mean over {test_users:,} test users, over the whole catalogue without what they had met,
measured with this folder when it was exported:

{table}

## Limits

- It knows the items above and no others; an unknown item of a history is skipped.
- It was measured offline, on what people chose before they saw its lists. What its lists do to
  people was not measured.
- α-nDCG rewards lists with many categories. Whether a category is a good one is not its matter.
- No adapter is made for less than the smallest weights that were tuned: {floor}.
- It learned from one dataset: groups that are rare there are served less well.

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
    with new_folder(folder) as made:
        data = sequences if people else without_people(sequences)
        save_sequences(data, made)
        save_generator(generator, made / "generator")
        tensors = dict(backbone.state_dict()) if people else parameters_without_people(backbone)
        about = {n: description[n] for n in ("kind", "backbone", "data", "settings", "versions")}
        about |= {"trained": description["sha256"], "people": people}
        save_tensors(made / "backbone", tensors, about)
        frozen, _ = _load_backbone(made / "backbone", data)
        frozen = frozen.to(backbone.item_vectors().device)
        served = Recommender(frozen, generator, data, sequences.popularity())
        outcomes, reranker = outcomes_of(served, sequences), reranker_of(served, sequences)
        arrays = {"popularity": served.popularity}
        if outcomes is not None:
            arrays |= {name: getattr(outcomes, name) for name in _OUTCOMES}
        if reranker is not None:
            arrays["sources"] = reranker.sources
        about = {
            "format": FORMAT,
            "paragon": __version__,
            "parts": _checksums(made),
            "settings": [setting._asdict() for setting in reranker.settings] if reranker else [],
        }
        save_tensors(made / ROOT, {n: torch.from_numpy(a) for n, a in arrays.items()}, about)
        write_text(made / CARD, model_card(served, sequences, people))


def load_folder(folder: Path) -> Recommender:
    """Load and check an exported folder; torch's global random state is restored."""
    for name in FILES:
        if not (folder / name).is_file():
            raise ParagonError(f"{folder / name} is missing; `{EXPORT} {folder}` makes the folder")
    root = loading(folder / ROOT, EXPORT, {"format": FORMAT})
    with torch.random.fork_rng(devices=[]), root as (tensors, about):
        check_match(about["parts"], _checksums(folder), f"{folder}: checksums", EXPORT)
        data = load_sequences(folder)
        backbone, trained = _load_backbone(folder / "backbone", data)
        generator = load_generator(folder / "generator")
        collection = generator.description["collection"]
        check_match({"backbone": trained}, collection, f"{folder / 'generator'}.json", EXPORT)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        names, outcomes, reranker = generator.objectives, None, None
        if "ndcg" in arrays:
            outcomes = Outcomes(names, *(arrays[name] for name in _OUTCOMES))
        if "sources" in arrays:
            settings = [Setting(**setting) for setting in about["settings"]]
            reranker = Reranker(names.index("accuracy"), settings, arrays["sources"])
        return Recommender(backbone, generator, data, arrays["popularity"], outcomes, reranker)


def _checksums(folder: Path) -> dict[str, str]:
    return {name: load_tensors(folder / name, EXPORT)[1]["sha256"] for name in PARTS}


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder that replaces an earlier export on success, or raise ``ParagonError``."""
    try:
        names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        other = [name for name in names if name not in FILES or not (folder / name).is_file()]
        if names and (other or f"{ROOT}.json" not in names):
            raise ParagonError(
                f"{folder} holds {shown((other or names)[0])}, which is not of an earlier export; "
                "choose a folder that does not exist yet"
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            ".part", f".{folder.name}.", folder.parent, ignore_cleanup_errors=True
        ) as scratch:
            made, old = Path(scratch, "new"), Path(scratch, "old")
            made.mkdir()
            yield made
            try:
                if folder.is_dir():
                    folder.rename(old)
                made.rename(folder)
            finally:  # also after an interrupt between the two
                if old.is_dir() and not folder.exists():
                    old.rename(folder)
    except OSError as error:
        raise ParagonError(f"{folder} cannot be written: {error.strerror}") from error


def without_people(sequences: Sequences) -> Sequences:
    """Keep the items of a dataset, and one user without name and events."""
    none, zero = np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    events = Evaluation(none, none, none.reshape(0, 1))
    nobody = replace(sequences, user_ids=[""], offsets=zero.repeat(2), n_train=zero)
    nobody = replace(nobody, groups=zero - 1, group_names=[], valid=events, test=events)
    return replace(nobody, items=none, times=none)


def parameters_without_people(backbone: Backbone) -> dict[str, torch.Tensor]:
    """Return the parameters of a backbone without those of single users.

    Of LightGCN, NGCF and PinSage only final item vectors stay: their graphs are user histories.
    """
    tensors, vectors = dict(backbone.state_dict()), backbone.item_vectors().detach()  # [n + 1, d]
    if backbone.name in ("lightgcn", "ngcf"):
        tensors = {"embedding": torch.cat([torch.zeros_like(vectors[:1]), vectors])}
    if backbone.name == "pinsage":
        tensors = {name: t for name, t in tensors.items() if not name.startswith("convolutions.")}
        tensors |= {n: torch.zeros_like(tensors[n]) for n in ("index", "weights", "category")}
        tensors["item"] = vectors
    return tensors | {
        name: tensors[name][rows] for name, rows in _UNKNOWN.items() if name in tensors
    }


def _load_backbone(stem: Path, data: Sequences) -> tuple[Backbone, str]:
    """Load the backbone, and the checksum of the trained one."""
    with loading(stem, EXPORT, {"data": data.description}) as (tensors, about):
        settings = params.stored(params.BackboneSettings, about["settings"], f"{stem}.json")
        if not about["people"] and about["backbone"] in ("lightgcn", "ngcf", "pinsage"):
            settings = settings.model_copy(update={"layers": 0})
        backbone = BACKBONES[about["backbone"]](data, settings)
        backbone.load_state_dict(tensors)
        return backbone.eval().requires_grad_(False), about["trained"]


def _requests(recommender: Recommender, sequences: Sequences, events: Evaluation) -> list[Request]:
    """Make requests, still without weights, for the K best items for the users of the events."""
    blocked, requests = sequences.excluded(events), []  # [N, n + 1], never true for the target
    for user, position, left_out in zip(events.users, events.positions, blocked, strict=True):
        past = slice(sequences.offsets[user], sequences.offsets[user] + position)
        items, times = sequences.items[past].tolist(), sequences.times[past].tolist()
        known = int(user) if recommender.users else -1
        requests.append(
            Request(items, times, known, 0, np.zeros(0), TOP, left_out, exclude_seen=False)
        )
    return requests


def quality_of_lists(
    recommender: Recommender, sequences: Sequences, events: Evaluation, weights: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return ``NDCG@10 [G, N]`` and other metrics ``[G]`` by name for weights ``[G, O]``."""
    requests = _requests(recommender, sequences, events)
    ideal = ideal_alpha_dcg(sequences.categories, TOP, excluded=sequences.excluded(events))
    holders = np.minimum(recommender.popularity[1:], sequences.n_users)
    information = np.append(0.0, ranking.self_information(holders, sequences.n_users))  # [n + 1]
    ndcg, spread, novelty = [], [], []
    for own in progress(weights, "balances"):
        asked = [replace(request, weights=own.astype(np.float32)) for request in requests]
        lists = recommender.answer(asked).numbers  # [N, K]
        hits, sets = lists == events.targets[:, None], sequences.categories[lists]  # [N, K, M]
        accuracy, diversity = list_quality(hits, sets, ideal)
        ndcg.append(accuracy)
        spread.append(diversity.mean())
        novelty.append(ranking.novelty_at(lists, information, TOP).mean())
    return np.array(ndcg), {"diversity": np.array(spread), "novelty": np.array(novelty)}


def outcomes_of(recommender: Recommender, sequences: Sequences) -> Outcomes | None:
    """Measure balances of accuracy with diversity, else novelty; None if either is missing."""
    names = recommender.objectives
    other = next((name for name in ("diversity", "novelty") if name in names), None)
    if "accuracy" not in names or other is None:
        return None
    share = np.linspace(0, 1, BALANCES + 1)
    weights = np.zeros((len(share), len(names)))
    weights[:, names.index("accuracy")], weights[:, names.index(other)] = 1 - share, share
    ndcg, metrics = quality_of_lists(recommender, sequences, sequences.valid, weights)
    order = np.lexsort(ndcg[::-1])  # sort users by their values, to hide who they are
    return Outcomes(names, weights, ndcg[:, order].astype(np.float32), metrics[other])


def reranker_of(recommender: Recommender, sequences: Sequences) -> Reranker | None:
    """Choose settings of xQuAD as in the evaluation; None without accuracy or categories."""
    names = recommender.objectives
    if "accuracy" not in names or len(np.unique(sequences.categories[1:], axis=0)) < 2:
        return None
    accuracy = names.index("accuracy")
    # Evaluation weights are the multiples of 1 / oracles.
    oracles = recommender.generator.description["collection"]["settings"]["oracles"]
    sources = source_weights(simplex_lattice(len(names), oracles), accuracy)  # [3, O]
    events = sequences.valid[validation_rows(sequences.valid)]
    requests = _requests(recommender, sequences, events)
    vectors = source_vectors(recommender.generator, sources)  # [4, P]
    scores = [recommender.scores(requests, vector) for vector in vectors]
    settings = chosen_settings(RERANKERS["xquad"], sequences, scores, np.arange(101) / 100)
    return Reranker(accuracy, settings, sources.numpy())


def model_card(recommender: Recommender, sequences: Sequences, people: bool) -> str:
    """Write the model card in Markdown, with results on the test events."""
    about, names = sequences.description, recommender.objectives
    trained, entry = recommender.generator.description, REGISTRY.get(about["dataset"])
    weights = simplex_lattice(len(names), 10 if len(names) == 2 else 3).numpy()[::-1]  # [G, O]
    ndcg, metrics = quality_of_lists(recommender, sequences, sequences.test, weights)
    rows = [[*names, "NDCG@10", "α-nDCG@10"], ["---:"] * (len(names) + 2)]
    for own, *quality in zip(weights, ndcg.mean(1), metrics["diversity"], strict=True):
        rows.append([f"{weight:.2g}" for weight in own] + [f"{value:.4f}" for value in quality])
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
