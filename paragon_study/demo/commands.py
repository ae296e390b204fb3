"""The commands that make of a study what is used without it: ``export``, ``move`` and ``demo``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[str | None, typer.Option("--dataset", help="The first of params.yaml.")]
Backbone = Annotated[str | None, typer.Option("--backbone", help="The first of params.yaml.")]
People = Annotated[bool, typer.Option("--people", help="With all users' histories.")]
Target = Annotated[Path, typer.Argument(help="Where to write; an earlier export is replaced.")]


def export(
    folder: Target, dataset: Dataset = None, backbone: Backbone = None, people: People = False
) -> None:
    """Write a trained recommender as a folder of its own.

    It is used and served without the study.
    """
    from paragon_study.demo.export import export_study

    export_study(folder, *_names(dataset, backbone), people)
    typer.echo(f"{os.path.relpath(folder)}: its README.md says what it is")


def _names(dataset: str | None, backbone: str | None) -> tuple[str, str]:
    """What is not named is the first of params.yaml."""
    from paragon.params import load_params

    studies = load_params().studies
    return dataset or studies.datasets[0], backbone or studies.backbones[0]


def move(
    old: Annotated[Path, typer.Argument(help="An exported folder.")],
    new: Target,
    dataset: Dataset = None,
    backbone: Backbone = None,
    people: People = False,
) -> None:
    """Give a newly trained backbone the control of an old one.

    OLD is a folder that `export` wrote.  Nothing is tuned.
    """
    from paragon.adapters.transport import LEAST_FIT
    from paragon_study.demo.export import move_to_study

    made = move_to_study(old, new, *_names(dataset, backbone), people)
    typer.echo(
        f"{os.path.relpath(new)}: the map from the old recommender, fitted to one half of "
        f"{made['shared']:,} common items, explains {made['fit']:.0%} of the variance of the other "
        f"half (below {LEAST_FIT:.0%} nothing is moved)"
    )


def demo(
    dataset: Dataset = None,
    backbone: Backbone = None,
    output: Annotated[Path | None, typer.Option(help="Instead of artifacts/demo.html.")] = None,
    show: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
    renew: Annotated[bool, typer.Option("--renew", help="First make docs/demo anew.")] = False,
) -> None:
    """Build the page on which one drags the weights; open it."""
    from paragon_study.demo.export import write_demo

    page = write_demo(output, *_names(dataset, backbone), renew)
    typer.echo(f"{page} has everything in it: it needs no server and no network")
    if show:
        typer.launch(page.resolve().as_uri())
