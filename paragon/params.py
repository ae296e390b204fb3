"""params.yaml as typed, checked settings, and where files are.

A misspelt key or a wrong type is an error that names the key; nothing is
guessed.  Paths resolve from the root of the repository, so that a notebook
finds them from whatever folder it is started in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError, field_validator

from paragon.errors import ParagonError
from paragon.sections import (
    AdapterSettings,
    BackboneSettings,
    DataSettings,
    EvaluationSettings,
    GeneratorSettings,
    Name,
    PublishedSettings,
    RivalSettings,
    RunSettings,
    Section,
    StudiesSettings,
    VerifySettings,
)

__all__ = [  # the sections as well: `params.AdapterSettings` is how the package names them
    "ABLATIONS",
    "ARTIFACTS",
    "CHECKPOINTS",
    "DATA",
    "MOST_VALUES",
    "RESULTS",
    "ROOT",
    "AdapterSettings",
    "BackboneSettings",
    "DataSettings",
    "EvaluationSettings",
    "GeneratorSettings",
    "Name",
    "Params",
    "PublishedSettings",
    "RivalSettings",
    "RunSettings",
    "Section",
    "StudiesSettings",
    "VerifySettings",
    "checked",
    "load_params",
    "read_settings",
    "stored",
]

ROOT = Path(os.environ.get("PARAGON_ROOT", Path(__file__).resolve().parent.parent))
DATA, ARTIFACTS, RESULTS = ROOT / "data", ROOT / "artifacts", ROOT / "results"
CHECKPOINTS = "PARAGON_CHECKPOINTS"  # the folder of a running stage's: see `Study.checkpoint`
# Beside their plan, not in results/: the study's stage `compare` depends on all of that folder.
ABLATIONS = ROOT / "ablations" / "results"

MOST_VALUES = 100_000  # in params.yaml; a few aliases can stand for billions


class Params(Section):
    """The whole of params.yaml."""

    studies: StudiesSettings
    run: RunSettings
    data: DataSettings
    backbones: BackboneSettings
    adapters: AdapterSettings
    generator: GeneratorSettings
    published: PublishedSettings
    rivals: RivalSettings
    evaluation: EvaluationSettings
    verify: VerifySettings
    special: dict[Name, dict[str, dict[str, Any]]] = {}

    @field_validator("special")
    @classmethod
    def _of_sections(cls, special: dict[str, dict]) -> dict[str, dict]:
        known = set(cls.model_fields) - {"special", "studies"}
        for name, own in special.items():
            if wrong := sorted(set(own) - known):
                raise ValueError(f"{name}.{wrong[0]} is no section that can differ")
        return special


S = TypeVar("S", bound=Section)


def stored(section: type[S], values: dict, where: str) -> S:
    """Settings read back from a stored description; other versions may have had other keys."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ParagonError(
            f"{where}: settings.{key}: {error.errors()[0]['msg']}; "
            "made by another version of the package, run its stage again"
        ) from error


def load_params(
    path: Path | None = None,
    overrides: dict | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
) -> Params:
    """Read and check params.yaml.

    What ``special`` says of the ``dataset`` and then of the ``backbone`` wins over
    the sections, and ``overrides`` {section: {key: value}} win over both.
    """
    path = path or ROOT / "params.yaml"
    content = read_settings(path)
    params = checked(Params, content, path.name)
    changes = [(f"special.{n}.", params.special.get(n, {})) for n in (dataset, backbone) if n]
    for where, change in [*changes, ("", overrides or {})]:
        for section, values in change.items():
            merge = isinstance(values, dict) and isinstance(content.get(section), dict)
            content[section] = {**content[section], **values} if merge else values
        params = checked(Params, content, f"{path.name}: {where}" if where else path.name)
    return params


def read_settings(path: Path) -> dict:
    """The content of a file of settings, which a person wrote; raises ``ParagonError``."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError as error:
        raise ParagonError(f"{path}: not found; run from a checkout of the repository") from error
    except OSError as error:
        raise ParagonError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ParagonError(f"{path}: not valid UTF-8 ({error.reason}); save it as UTF-8") from error
    except RecursionError as error:
        raise ParagonError(f"{path}: not valid YAML: nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise ParagonError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ParagonError(
            f"{path}: a mapping of sections is needed, found {type(content).__name__}"
        )
    if _size(content) > MOST_VALUES:
        raise ParagonError(
            f"{path}: more than {MOST_VALUES:,} values; aliases that repeat aliases?"
        )
    return content


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice; YAML would let the last one win."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        names: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # a list, say, which is refused when the mapping is made
            if key.value in names and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark
                )
            names.add(key.value)
        return node


def _size(content: object) -> int:
    """How many values there are, aliases written out; counting ends beyond ``MOST_VALUES``."""
    waiting, count = [content], 0
    while waiting and count <= MOST_VALUES:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return count


def checked(section: type[S], content: dict, where: str) -> S:
    """``content`` as settings, or an error that names the first key that is wrong."""
    try:
        return section.model_validate(content)
    except ValidationError as error:
        # A misspelt key is also a missing one: name what the person wrote.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        found = "" if first["type"] == "missing" else f", found {first['input']!r}"
        found = found if len(found) <= 100 else found[:97] + "..."
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        place = f"{where}{key}" if where.endswith(".") else f"{where}: {key}"
        said = first["msg"].removeprefix("Value error, ")
        raise ParagonError(f"{place}: {said}{found}{more}") from error
