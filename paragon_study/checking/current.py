"""Which results are current: made with the code, the data and the settings of this folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paragon.errors import ParagonError
from paragon.params import NO_RESULT, merge_sections

Study = tuple[str, ...]  # name and backbone
UNKEPT = "not in cache"  # an output that DVC cannot bring back, whether or not it is there


def stale(studies: Iterable[Study], root: Path) -> dict[Study, str]:
    """Say for each study that DVC would run again which of its stages changed.

    Without a dvc.yaml nothing is known to have changed.
    """
    pipeline = root / "dvc.yaml"
    if not pipeline.exists():
        return {}
    from dvc.exceptions import DvcException  # slow
    from dvc.repo import Repo
    from dvc.stage.exceptions import StageNotFound

    found: dict[Study, str] = {}
    try:
        with Repo(str(root)) as repo:
            for study in studies:
                stage = evaluation_of(study)
                target = f"{pipeline}:{stage}"
                try:
                    status = repo.status(targets=[target], with_deps=True)
                except StageNotFound:
                    found[study] = f"dvc.yaml has no {stage}"
                    continue
                changed = [_short(name) for name, changes in status.items() if _runs_again(changes)]
                # DVC says nothing else of an output that its cache lacks.
                for made_by in repo.stage.collect(target, with_deps=True):
                    if any(output.workspace_status() for output in made_by.outs):
                        changed.append(_short(made_by.addressing))
                if changed:
                    found[study] = f"changed: {', '.join(dict.fromkeys(changed))}"
    except DvcException as error:
        reason = " ".join(str(error).split())
        raise ParagonError(f"{pipeline}: {reason}; see `dvc status`") from error
    return found


def evaluation_of(study: Study) -> str:
    """Return the last stage of a study."""
    return f"evaluation@{'-'.join(study)}"


def _short(stage: str) -> str:
    """Return the name of a stage, without its folder and its study."""
    return stage.rpartition(":")[2].partition("@")[0]


def _runs_again(changes: Iterable) -> bool:
    """Whether DVC would run a stage again, for more than a missing copy in its cache."""
    for change in changes:
        if not isinstance(change, dict):  # "changed command"
            return True
        if any(what != UNKEPT for of_kind in change.values() for what in of_kind.values()):
            return True
    return False


def settings_of(study: Study, content: dict) -> dict[str, Any]:
    """Return what a params.yaml sets for a study, with dots in the keys, without null."""
    own = content.get("overrides") or {}
    merged = merge_sections(content, *(own.get(name) or {} for name in study))
    return _set({k: v for k, v in merged.items() if k not in NO_RESULT})


def made_with_others(study: Study, recorded: dict, content: dict) -> list[str]:
    """List the keys in which settings.json of a study differs from a params.yaml."""
    return different(_set(recorded), settings_of(study, content))


def _set(content: dict) -> dict[str, Any]:
    return {key: value for key, value in flat(content).items() if value is not None}


def flat(content: Any, key: str = "") -> dict[str, Any]:
    """Write nested mappings as one, with dots in the keys; an empty one has no keys."""
    if not isinstance(content, dict):
        return {key: content}
    parts = (flat(value, f"{key}.{name}".strip(".")) for name, value in content.items())
    return {name: value for part in parts for name, value in part.items()}


def different(before: dict, now: dict) -> list[str]:
    """List the keys that are in one mapping only, or have another value in the other."""
    return [k for k in before | now if k not in before or k not in now or before[k] != now[k]]
