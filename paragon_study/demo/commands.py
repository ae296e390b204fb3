"""The commands that export a study: ``export``, ``move`` and ``demo``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paragon.errors import ParagonError

if TYPE_CHECKING:
    from paragon_study.pipeline.study import Study

Dataset = Annotated[str | None, typer.Option("--dataset", help="The first of params.yaml.")]
Backbone = Annotated[str | None, typer.Option("--backbone", help="The first of params.yaml.")]
People = Annotated[bool, typer.Option("--people", help="With all users' histories.")]
Target = Annotated[Path, typer.Argument(help="Where to write; an earlier export is replaced.")]


def _study(dataset: str | None, backbone: str | None) -> Study:
    from paragon.params import load_params
    from paragon_study.pipeline.study import open_study

    studies = load_params().studies
    return open_study(dataset or studies.datasets[0], backbone or studies.backbones[0])


def export(
    folder: Target, dataset: Dataset = None, backbone: Backbone = None, people: People = False
) -> None:
    """Export a trained recommender as a folder that needs no study."""
    from paragon.serving.export import export_folder

    export_folder(folder.resolve(), *_study(dataset, backbone).load_served(), people)
    typer.echo(f"{os.path.relpath(folder)}: its README.md says what it is")


def move(
    old: Annotated[Path, typer.Argument(help="An exported folder.")],
    new: Target,
    dataset: Dataset = None,
    backbone: Backbone = None,
    people: People = False,
) -> None:
    """Give a newly trained backbone the control of an old one, without tuning.

    OLD is a folder that `export` wrote.
    """
    from paragon.objectives.table import check_objectives
    from paragon.serving.export import export_folder
    from paragon.serving.recommender import Recommender

    recommender = Recommender.load(old)
    if new.resolve() == old.resolve():
        raise ParagonError(f"{new} is the old recommender; choose another folder for the new one")
    sequences, model, about = _study(dataset, backbone).load_frozen()
    check_objectives(recommender.objectives, sequences)
    generator = recommender.move_to(model, sequences).generator
    export_folder(new.resolve(), sequences, model, about, generator, people)
    moved = generator.description["collection"]["moved"]
    typer.echo(
        f"{os.path.relpath(new)}: moved by a map that, fitted to one half of {moved['shared']:,} "
        f"common items, explains {moved['fit']:.0%} of the variance of the other half"
    )


def demo(
    dataset: Dataset = None,
    backbone: Backbone = None,
    output: Annotated[Path | None, typer.Option(help="Instead of artifacts/demo.html.")] = None,
    show: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
    renew: Annotated[bool, typer.Option("--renew", help="First make docs/demo anew.")] = False,
) -> None:
    """Build the demo page with a slider for the weights; open it."""
    from paragon.data.fetch import load_dataset
    from paragon.data.split import prepare
    from paragon.params import ARTIFACTS, DATA, ROOT
    from paragon.storage import save_tensors, write_text
    from paragon_study.demo.page import build_page, load_bundle, make_bundle

    study, target = _study(dataset, backbone), output or ARTIFACTS / "demo.html"
    stem = ROOT / "docs" / "demo" / f"{study.dataset}-{study.backbone}"
    if renew:
        bundle = make_bundle(study.load_trained())
        save_tensors(stem, bundle.tensors, bundle.description)
    sequences = prepare(load_dataset(study.dataset, DATA), **study.params.data.model_dump())
    write_text(target, build_page(load_bundle(stem, sequences), sequences))
    typer.echo(f"{target} has everything in it: it needs no server and no network")
    if show:
        typer.launch(target.resolve().as_uri())
