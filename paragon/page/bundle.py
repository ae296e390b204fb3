"""The bundle of the demo: what the page needs of a study, without the data that it was made from.

In this file: how a bundle is made from a study that was run, written, and read again.  A clone has
the one of the default study and so has the page without any training.

Shapes: N events, d numbers of a state, W evaluation weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paragon.backbones import Backbone
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon.evaluation.trained import Trained
from paragon.generator.generator import Generator
from paragon.metrics import diversity, ranking
from paragon.page.lists import METHODS, RERANKED, STEPS, TOP, Bundle, Rankings
from paragon.rivals.calibration import candidates_of, chosen_settings, validation_rows
from paragon.storage import check_match, load_tensors, save_tensors

# Fields of the data's description that decide which item and which event has which number.
_DATA = ("dataset", "fingerprint", "split", "midnight", "min_rating", "k_core", "max_users")


def study_tensors(trained: Trained) -> tuple[dict[str, Tensor], dict]:
    """What a bundle takes from a study as it is, and its description.

    Raises ``ParagonError`` for a study that the page cannot show.
    """
    generator, sequences = trained.generators[0], trained.bed.sequences
    _check_supported(generator, trained.test.backbone)
    order = np.argsort(trained.weights[:, 0].numpy(), kind="stable")  # [W]
    three = order[[0, len(order) // 2, -1]].tolist()
    own, collection = generator.description, trained.collection.description
    description = {
        "kind": "demo",
        "backbone": trained.test.backbone.name,
        "data": _data_of(sequences),
        # Which of two studies with the same settings: their checksums.
        "made_from": {"backbone": collection["backbone"], "generator": own.get("sha256")},
        "sources": trained.weights[three].tolist(),
        "generator": {
            **{name: own[name] for name in ("seed", "floor", "settings")},
            "collection": {name: own["collection"][name] for name in ("objectives", "form")},
        },
    }
    tensors = {
        "items": trained.test.backbone.item_vectors().detach(),  # [n + 1, d]
        "states": trained.test.states,  # [N, d]
        "bias": trained.category_bias[0][order.tolist()],  # [W, M]
        "noise": _noise(generator),  # [K]
        **{f"generator.{name}": t for name, t in generator.model.state_dict().items()},
    }
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, description


def make_bundle(trained: Trained) -> Bundle:
    """What the page needs of a study, with the generator of its first seed.

    The settings of the re-rankers are chosen on the validation events, for every step of the
    slider; then every method is measured at every step on the test events.  Raises
    ``ParagonError`` for a study that the page cannot show.
    """
    tensors, description = study_tensors(trained)
    sequences, ideal = trained.bed.sequences, trained.bed.ideal["full"]
    lists = Rankings(Bundle(tensors, description), sequences)
    tensors |= {f"rerank.{name}": _settings(name, trained, lists) for name in RERANKED}
    measured = {
        f"front.{method}": torch.from_numpy(_measured(lists, method, sequences, ideal))
        for method in METHODS
    }
    return Bundle(tensors | measured, description)


def _noise(generator: Generator) -> Tensor:
    """The noise ``[K]`` that :meth:`Generator.generate` starts from."""
    rng = np.random.default_rng([generator.description["seed"], 3, 0])
    size = len(generator.model.latent.basis)
    return torch.from_numpy(rng.standard_normal((1, size), dtype=np.float32)[0])


def _settings(method: str, trained: Trained, lists: Rankings) -> Tensor:
    """Source, temperature, depth and weight of a re-ranker at each step, float64 ``[101, 4]``."""
    rows, events = validation_rows(trained.bed.sequences.valid)
    vectors = lists.sources if method.startswith("generated") else lists.sources[:1]
    sources = [trained.valid.catalogue_scores(v, rows).cpu().numpy() for v in vectors]
    candidates = candidates_of(trained.bed.sequences, events)["full"]
    weights = np.arange(STEPS + 1) / STEPS
    chosen = chosen_settings(RERANKED[method], candidates, sources, weights)
    most = int((~lists.candidates.excluded).sum(1).min())  # no list of a test event is longer
    return torch.tensor([[*s[:2], min(s.depth, most), s.weight] for s in chosen]).double()


def _measured(lists: Rankings, method: str, sequences: Sequences, ideal: np.ndarray) -> np.ndarray:
    """NDCG@10 and α-nDCG@10 at every step, means and standard errors over events: ``[101, 4]``."""
    targets = sequences.test.targets[:, None]  # [N, 1]

    def point(step: int) -> list[float]:
        items = lists.top(method, step)  # [N, 10]
        hit = items == targets
        ranks = np.where(hit.any(1), hit.argmax(1) + 1, TOP + 1)  # [N]
        accuracy = ranking.ndcg_at(ranks, TOP)  # [N]
        spread = diversity.alpha_ndcg_at(sequences.categories[items], ideal, TOP)  # [N]
        error = [values.std(ddof=1) / len(values) ** 0.5 for values in (accuracy, spread)]
        return [accuracy.mean(), spread.mean(), *error]

    if method == "backbone":  # does not hear the weights
        return np.tile(point(0), (STEPS + 1, 1))
    return np.array([point(step) for step in range(STEPS + 1)])


def _check_supported(generator: Generator, backbone: Backbone) -> None:
    """The page is small: it has the defaults of the generator, and no others."""
    settings = generator.settings
    reasons: dict[str, Callable[[], bool]] = {
        "objectives other than accuracy and diversity": lambda: (
            generator.objectives != ["accuracy", "diversity"]
        ),
        "a generator with tokens": lambda: settings.token is not None,
        "conditioning other than adaptive_norm": lambda: settings.conditioning != "adaptive_norm",
        "guidance": lambda: settings.guidance != 1,
        "adapters without an item side": lambda: not generator.form.categories,
        "a backbone with a state for each item": lambda: (
            type(backbone).expand is not Backbone.expand
        ),
    }
    for reason, applies in reasons.items():
        if applies():
            raise ParagonError(f"the demo cannot show this study: it has {reason}")


def _data_of(sequences: Sequences) -> dict:
    return {name: sequences.description[name] for name in _DATA}


def save_bundle(bundle: Bundle, stem: Path) -> None:
    """Write ``stem.safetensors`` and ``stem.json``; the same study gives the same bytes."""
    save_tensors(stem, bundle.tensors, bundle.description)


def load_bundle(stem: Path, sequences: Sequences) -> Bundle:
    """Read what :func:`save_bundle` wrote, for the data that it was made with.

    Raises ``ParagonError`` if it is missing, was altered, or belongs to other data.
    """
    if not stem.with_name(f"{stem.name}.json").exists():
        raise ParagonError(
            f"{stem}.json is missing: run the study, then `python -m paragon demo --renew`"
        )
    tensors, description = load_tensors(stem, "bundle")
    check_match({"kind": "demo", "data": _data_of(sequences)}, description, f"{stem}.json")
    return Bundle(tensors, description)
