"""Checkpoints from which an interrupted training resumes with bit-identical results.

One file holds everything and is replaced as a whole, so a process may be killed at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from paragon.errors import ParagonError
from paragon.storage import atomic_path, check_match

Part = nn.Module | torch.optim.Optimizer  # what changes in training
METHOD = ("metrics", "data", "objectives", "backbones", "adapters", "generator", "rivals")


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training (None: store nothing) and all that the training depends on."""

    path: Path | None
    about: dict[str, Any]
    writes: bool = True

    def save(self, parts: Mapping[str, Part], record: dict[str, Any]) -> None:
        """Store ``parts``, the state of torch's random generators, and a JSON ``record``."""
        if self.path is None or not self.writes:
            return
        tensors = {f"{name}/{key}": t for name in parts for key, t in _state(parts[name]).items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        text = json.dumps({**self._about(), "record": record})
        with atomic_path(self.path) as path:
            path.write_bytes(save(tensors, {"text": text, "sha256": _checksum(tensors, text)}))

    def load(self, parts: Mapping[str, Part]) -> dict[str, Any] | None:
        """Restore ``parts`` and the random generators; return the record, or None without a file.

        Raise ``ParagonError`` for a file that was altered or belongs to another training.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = metadata.get("text", "")
            if _checksum(tensors, text) != metadata.get("sha256"):
                raise ParagonError("its checksum is wrong: the file was altered")
            about = json.loads(text)
            check_match(self._about(), about, "its description")
        except (SafetensorError, OSError, ParagonError) as error:
            raise ParagonError(
                f"training cannot go on from the checkpoint {self.path}: {error}; to begin anew, "
                f"delete the folder {self.path.parent}"
            ) from error
        for name, part in parts.items():
            prefix = f"{name}/"
            own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            if isinstance(part, torch.optim.Optimizer):
                state = part.state_dict()
                for key, tensor in own.items():
                    number, _, field = key.partition(".")
                    state["state"].setdefault(int(number), {})[field] = tensor
                part.load_state_dict(state)
            else:
                part.load_state_dict(own)
        torch.set_rng_state(tensors["random/cpu"])
        if "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"])
        return about["record"]

    def _about(self) -> dict[str, Any]:
        return {**self.about, "torch": torch.__version__, "code": _code()}


def _state(part: Part) -> dict[str, Tensor]:
    """Return the tensors of a module or, as ``number.key``, of an optimizer."""
    if isinstance(part, nn.Module):
        return part.state_dict()
    state = part.state_dict()["state"]
    return {f"{i}.{key}": value for i, values in state.items() for key, value in values.items()}


def _checksum(tensors: dict[str, Tensor], text: str) -> str:
    return hashlib.sha256(save(tensors) + text.encode()).hexdigest()


@cache
def _code() -> str:
    """SHA-256 of the method's modules, since a change of code may change the training."""
    package = Path(__file__).parents[1]
    files = sorted(path for folder in METHOD for path in (package / folder).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
