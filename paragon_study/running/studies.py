"""The studies of params.yaml: new entries, their stages, and how long each stage took here."""

from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from io import StringIO
from pathlib import Path

from pydantic import NonNegativeFloat, ValidationError
from ruamel.yaml import YAML

from paragon.errors import ParagonError
from paragon.params import ROOT, Section, load_params
from paragon.storage import MARK, check_name, write_text

LAST = "06_evaluation"  # stage of a study
FOLDER = "artifacts/notebooks"


class StageTime(Section):
    """One run of a stage; ``results`` is the digest of an evaluation's files."""

    seconds: NonNegativeFloat
    finished: str
    results: str | None


def check_dataset(name: str, root: Path = ROOT) -> None:
    """Raise ``ParagonError`` if no dataset can be stored under ``name`` here.

    It is a study of a dataset that has another name, or, in a lab, a dataset of the study, whose
    data the lab uses.
    """
    if (root / MARK).exists() and (root / "data" / name).exists():
        shared = f"{root / 'data' / name} is that of the study, and would be replaced there"
        raise ParagonError(f"{shared}; take another name, or fetch it outside the lab")
    dataset = load_params(root / "params.yaml").studies.dataset_of(name)
    if dataset != name:
        instead = f"`python -m paragon fetch {dataset}`, then `make add NAME={name}`"
        raise ParagonError(f"{name!r} is no dataset but a study of {dataset}: {instead}")


def with_comments() -> YAML:
    """Make a reader and writer of params.yaml that keeps comments, quotes and `null`."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def add(name: str, root: Path = ROOT) -> str:
    """Add a study, by its name or that of its dataset, or a backbone to params.yaml.

    Comments are kept.  Returns a message.
    """
    check_name(name, "study or backbone")
    path = root / "params.yaml"
    params = load_params(path)
    from paragon.backbones import BACKBONES  # slow: loads torch
    from paragon_study.pipeline.settings import check_dataset_of

    dataset = params.studies.dataset_of(name)
    known = name in BACKBONES
    fetched = (root / "data" / dataset).is_dir()
    if known and fetched:
        instead = f"fetch it under another name, remove data/{name}"
        raise ParagonError(f"{name!r} is a backbone and a dataset: {instead}")
    if not known:
        check_dataset_of(name, params, root)
    if not known and not fetched:
        missing = f"there is no data/{dataset}: `python -m paragon fetch {dataset}` first"
        if name == dataset:
            missing = f"{name!r} is no study, no backbone ({', '.join(BACKBONES)}), and {missing}"
        raise ParagonError(missing)
    kind = "backbones" if known else "datasets"
    yaml = with_comments()
    content = yaml.load(path.read_text(encoding="utf-8"))
    studies = content["studies"]
    overrides = content.setdefault("overrides", {})
    if name in studies[kind] and name in overrides:
        return f"params.yaml: studies.{kind} has {name} already"
    if known and name not in studies[kind]:
        studies[kind].append(name)
    if not known:
        studies.get("others", {}).pop(name, None)
        studies[kind][name] = dataset
    overrides.setdefault(name, {})
    text = StringIO()
    yaml.dump(content, text)
    write_text(path, text.getvalue())
    return f"params.yaml: {name} added to studies.{kind}"


def studies_of(name: str | None = None, root: Path = ROOT) -> list[str]:
    """List the stages ``evaluation@...`` of all studies, or of one study or backbone."""
    if name is not None:
        check_name(name, "study or backbone")
    studies = load_params(root / "params.yaml").studies
    pairs = [(s, b) for s in studies.datasets for b in studies.backbones if name in (None, s, b)]
    if not pairs:
        names = ", ".join([*studies.datasets, *studies.backbones])
        more = f"`python -m paragon add` takes {', '.join(studies.others)} and the other backbones"
        raise ParagonError(f"params.yaml: no study or backbone {name!r}; it has {names}; {more}")
    return [f"evaluation@{study}-{backbone}" for study, backbone in pairs]


def load_times(root: Path = ROOT) -> dict[str, StageTime]:
    """Load the times of the stages that ran here, by name; skip broken records."""
    times = {}
    for path in sorted((root / FOLDER).rglob("*.time.json")):
        with suppress(OSError, ValidationError):
            name = path.relative_to(root / FOLDER).as_posix().removesuffix(".time.json")
            times[name] = StageTime.model_validate_json(path.read_bytes())
    return times


def record_time(seconds: float, name: str, root: Path = ROOT) -> None:
    """Record the seconds that a stage took; times vary, so they are not committed."""
    finished = datetime.now().astimezone().isoformat(" ", "minutes")
    study, _, stage = name.rpartition("/")
    results = _digest(root / "results" / study) if stage == LAST else None
    about = StageTime(seconds=round(seconds, 1), finished=finished, results=results)
    write_text(root / FOLDER / f"{name}.time.json", about.model_dump_json() + "\n")


def recomputed(root: Path = ROOT) -> dict[tuple[str, ...], bool]:
    """Say for each study that was evaluated in this folder whether its results are unchanged."""
    return {
        tuple(name.split("/")[:-1]): about.results == _digest((root / "results" / name).parent)
        for name, about in load_times(root).items()
        if name.endswith(f"/{LAST}")
    }


def _digest(folder: Path) -> str:
    """Return the SHA-256 of all files of a study's results, with their names."""
    digest = sha256()
    for path in sorted(path for path in folder.glob("[!.]*") if path.is_file()):
        digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()
