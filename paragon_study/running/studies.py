"""List the studies of params.yaml, and add datasets or backbones to it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from paragon.errors import ParagonError
from paragon.params import ROOT, load_params
from paragon.storage import check_name, write_text


def add(name: str, root: Path = ROOT) -> str:
    """Add a dataset or backbone to params.yaml, keeping comments; return a message.

    Raises ``ParagonError`` for an invalid file, or an unknown or ambiguous ``name``.
    """
    check_name(name, "dataset or backbone")
    path = root / "params.yaml"
    load_params(path)
    from paragon.backbones import BACKBONES  # slow: loads torch

    known, fetched = name in BACKBONES, (root / "data" / name).is_dir()
    if known == fetched:
        raise ParagonError(
            f"{name!r} is a backbone and a dataset: fetch it under another name, remove data/{name}"
            if known
            else f"{name!r} is no backbone ({', '.join(BACKBONES)}) and there is no data/{name}: "
            f"fetch a dataset first, with `python -m paragon fetch {name}`, or with `--from DIR`"
        )
    kind = "backbones" if known else "datasets"
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    yaml.representer.add_representer(
        type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    content = yaml.load(path.read_text(encoding="utf-8"))
    listed, overrides = content["studies"][kind], content.setdefault("overrides", {})
    if name in listed and name in overrides:
        return f"params.yaml: {kind} has {name} already"
    if name not in listed:
        listed.append(name)
    overrides.setdefault(name, {})
    text = StringIO()
    yaml.dump(content, text)
    write_text(path, text.getvalue())
    return f"params.yaml: {name} added to {kind}"


def studies_of(name: str | None = None, root: Path = ROOT) -> list[str]:
    """List the stages ``evaluation@...`` of all studies, or of those with a dataset or backbone."""
    if name is not None:
        check_name(name, "dataset or backbone")
    studies = load_params(root / "params.yaml").studies
    pairs = [(d, b) for d in studies.datasets for b in studies.backbones if name in (None, d, b)]
    if not pairs:
        raise ParagonError(f"params.yaml: no study has {name!r}: `python -m paragon add {name}`")
    return [f"evaluation@{dataset}-{backbone}" for dataset, backbone in pairs]
