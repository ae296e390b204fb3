"""Commands of ``python -m paragon`` that have no place in ``__main__.py`` any more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def move(
    old: Annotated[Path, typer.Argument(help="An exported folder.")],
    new: Annotated[Path, typer.Argument(help="Where to write; an earlier export is replaced.")],
    dataset: Annotated[str | None, typer.Option(help="The first of params.yaml.")] = None,
    backbone: Annotated[str | None, typer.Option(help="The first of params.yaml.")] = None,
    people: Annotated[bool, typer.Option("--people", help="With all users' histories.")] = False,
) -> None:
    """Give a backbone that was trained anew the control of an exported one; nothing is tuned."""
    from paragon.adapters.transport import LEAST_FIT
    from paragon.params import load_params
    from paragon.study.export import move_to_study

    studies = load_params().studies
    names = (dataset or studies.datasets[0], backbone or studies.backbones[0])
    made = move_to_study(old, new, *names, people)
    typer.echo(
        f"{os.path.relpath(new)}: the map from the old recommender, fitted to one half of "
        f"{made.shared:,} common items, explains {made.fit:.0%} of the variance of the other half "
        f"(below {LEAST_FIT:.0%} nothing is moved)"
    )


def demo(
    dataset: Annotated[str | None, typer.Option(help="The first of params.yaml.")] = None,
    backbone: Annotated[str | None, typer.Option(help="The first of params.yaml.")] = None,
    output: Annotated[Path | None, typer.Option(help="Instead of artifacts/demo.html.")] = None,
    show: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
    renew: Annotated[bool, typer.Option("--renew", help="First make docs/demo anew.")] = False,
) -> None:
    """Build the page on which one drags the weights, and open it; nothing is trained."""
    from paragon.study.demo import write_demo

    page = write_demo(output, dataset, backbone, renew)
    typer.echo(f"{page} has everything in it: it needs no server and no network")
    if show:
        typer.launch(page.resolve().as_uri())
