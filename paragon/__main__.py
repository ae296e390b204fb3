"""The command line: ``python -m paragon --help``.

Commands are thin, and import what they need when they run, so that help is
shown at once.  A ``ParagonError`` is one line on the standard error and exit
code 1; a wrong option is exit code 2.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from paragon.errors import ParagonError
from paragon.study.determinism import choose_kernels

app = typer.Typer(
    name="python -m paragon",
    help="A reproducible study of parameter generation for controllable recommendation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def fetch(
    name: Annotated[
        str | None,
        typer.Argument(help="Dataset; the first of params.yaml if left out."),
    ] = None,
    source: Annotated[
        str, typer.Option(help="'default', or 'official' for the publisher's own address.")
    ] = "default",
    directory: Annotated[
        Path | None,
        typer.Option("--from", help="Folder that holds the data already."),
    ] = None,
    note: Annotated[
        str, typer.Option(help="With --from: what kind of copy it is, shown beside its results.")
    ] = "",
) -> None:
    """Bring a dataset into data/ and print what was repaired, its licence and citation."""
    from paragon.data import fetch as data
    from paragon.data.describe import repairs
    from paragon.data.registry import notice
    from paragon.params import DATA, load_params

    name = load_params().studies.datasets[0] if name is None else name
    folder = data.fetch(name, source=source, directory=directory, words=note, data=DATA)
    repaired = f"repairs: {repairs(data.load_dataset(name, DATA))}"
    typer.echo("\n".join(filter(None, [f"{name} is in {folder}", repaired, notice(name)])))


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="A dataset that was fetched.")],
) -> None:
    """Show what a dataset is, in numbers, and what the split of params.yaml makes of it."""
    from paragon.data.describe import describe as facts_of
    from paragon.data.fetch import load_dataset
    from paragon.data.split import prepare
    from paragon.params import DATA, load_params

    dataset = load_dataset(name, DATA)
    rules = load_params(dataset=name).data
    facts = facts_of(dataset, prepare(dataset, **rules.model_dump()))
    width = max(map(len, facts.index))
    typer.echo("\n".join(f"{what:{width}}  {value}" for what, value in facts.items()))


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A dataset that was fetched, or a backbone.")],
) -> None:
    """Enter a dataset or backbone in params.yaml (`make add NAME=...` also runs its studies)."""
    from paragon.study import settings

    typer.echo(settings.add(name))


@app.command()
def studies(
    name: Annotated[str, typer.Argument(help="A dataset or a backbone of params.yaml.")],
) -> None:
    """Print the last stage of every study with it, for `dvc repro`."""
    from paragon.study import settings

    typer.echo(" ".join(settings.studies_of(name)))


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="A file of notebooks/, without .ipynb.")],
    dataset: Annotated[str, typer.Option(help="A dataset that was fetched.")],
    backbone: Annotated[
        str | None,
        typer.Option(help="A backbone, for the notebooks that have one."),
    ] = None,
) -> None:
    """Execute a notebook as the pipeline does and keep the executed copy."""
    from paragon.study.runner import NotebookFailed, run_notebook

    try:
        typer.echo(run_notebook(notebook, dataset, backbone))
    except NotebookFailed as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def ablate(
    kind: Annotated[str, typer.Argument(help="tune, collection or point.")],
    name: Annotated[str, typer.Argument(help="An entry of ablations/params.yaml.")],
) -> None:
    """Run one stage of the ablations (`make ablations` runs all that are missing)."""
    from paragon.study import ablations

    stages = {
        "tune": ablations.tune_entry,
        "collection": ablations.make_collection,
        "point": ablations.train_point,
    }
    if kind not in stages:
        raise ParagonError(f"{kind!r} is no stage of the ablations: {', '.join(stages)}")
    stages[kind](name)


@app.command()
def verify(
    revision: Annotated[str, typer.Argument(help="A git revision.")] = "HEAD",
    all_rows: Annotated[
        bool, typer.Option("--all", help="Every metric, not only the worst 20.")
    ] = False,
) -> None:
    """Compare results/ with those of a commit; exit code 1 if any metric is outside."""
    from paragon.study.verify import compare_with_commit

    report = compare_with_commit(revision)
    limit = None if all_rows else 20
    typer.echo(report.summary())
    typer.echo(report.table(limit))
    if limit is not None and len(report.rows) > limit:
        typer.echo(f"... and {len(report.rows) - limit} more, none worse: --all shows them")
    if not report.passed:
        typer.echo("What other machines change: docs/reproduction.md, Tolerances", err=True)
        raise typer.Exit(1)


@app.command()
def compare() -> None:
    """Write results/summary.md and the figures beside it from all of results/."""
    from paragon.params import RESULTS
    from paragon.report.compare import write_comparison

    write_comparison(RESULTS)


@app.command()
def report() -> None:
    """Write docs/findings.md, the tables of README.md and docs/, and docs/lead.png."""
    from paragon.params import ROOT
    from paragon.report.documents import write_documents

    write_documents(ROOT)


def main() -> None:
    """Entry point: errors that are meant for the user become one line."""
    choose_kernels()
    try:
        app()
    except ParagonError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
