"""The folder of an exported recommender: its files, and how its parts are read."""

from pathlib import Path

from paragon import params
from paragon.backbones import BACKBONES, Backbone
from paragon.data.sequences import Sequences
from paragon.storage import load_tensors, loading

FORMAT = 2  # version of the folder format; increase it if older versions cannot read it
EXPORT = "python -m paragon export"
PARTS = ("sequences", "backbone", "generator")
FILES = ("README.md", *(f"{p}.{e}" for p in ("paragon", *PARTS) for e in ("json", "safetensors")))
GRAPHS = ("lightgcn", "ngcf", "pinsage")  # backbones whose graph is made of histories


def checksums_of(folder: Path) -> dict[str, str]:
    """Return the checksum of each part; ``ParagonError`` if one is missing or altered."""
    checksums = {}
    for name in PARTS:
        _, description = load_tensors(folder / name, EXPORT)
        checksums[name] = description["sha256"]
    return checksums


def load_exported_backbone(stem: Path, data: Sequences) -> tuple[Backbone, str]:
    """Load a frozen backbone, and the checksum of the trained backbone that it was made of.

    Raises ``ParagonError`` if it is missing or altered, or was trained on other data.
    """
    with loading(stem, EXPORT, {"data": data.description}) as (tensors, description):
        settings = params.BackboneSettings(**description["settings"])
        if not description["people"] and description["backbone"] in GRAPHS:
            # Without people there is no graph: the final embeddings were stored.
            settings = settings.model_copy(update={"layers": 0})
        backbone = BACKBONES[description["backbone"]](data, settings)
        backbone.load_state_dict(tensors)
        return backbone.eval().requires_grad_(False), description["trained"]
