"""The command line, ``python -m paragon --help``.  Exit code 1: an error, 2: a wrong option.

Commands import what they need when they run, so that help appears at once.
"""

import errno
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from paragon.errors import NotebookFailed, ParagonError
from paragon_study.pipeline.determinism import choose_kernels, keep_memory, when_gone

if TYPE_CHECKING:
    from paragon_study.pipeline.study import Study

NO_ACCESS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENAMETOOLONG)

StudyName = Annotated[str | None, Option("--study", help="The first of params.yaml.")]
Backbone = Annotated[str | None, Option("--backbone", help="The first of params.yaml.")]
Full = Annotated[bool, Option("--full", help="The study itself, not a small one.")]
People = Annotated[bool, Option("--people", help="With all users' histories.")]
STAGES = "dvc repro generator@STUDY-BACKBONE rivals@STUDY-BACKBONE"
Renew = Annotated[bool, Option("--renew", help=f"First make docs/demo anew, after `{STAGES}`.")]
Target = Annotated[Path, Argument(help="Where to write; an earlier export is replaced.")]

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
    name: str | None = Argument(None, help="Dataset; that of the first study if left out."),
    source: str = Option("default", help="Or 'official' for the publisher's own address."),
    given: Path | None = Option(None, "--from", help="A folder of files, or a CSV file of events."),
    note: str = Option("", help="With --from: what kind of copy it is, shown beside its results."),
    items: Path | None = Option(None, help="A CSV file of items, with their categories."),
    user: str = Option("", help="Name of the column in a CSV file; usual names are guessed."),
    item: str = Option("", help="The same, in both files."),
    time: str = Option("", help="Likewise: dates in UTC, or seconds since 1970."),
    unit: str = Option("", help="Of times: seconds, milliseconds or days, if it is not clear."),
    categories: str = Option("", help="Likewise: names between |, ; or commas."),
    title: str = Option("", help="Likewise."),
    day_first: bool | None = Option(None, "--day-first/--month-first", help="What 3/4/2024 is."),
    show_all: bool = Option(False, help="All lines of each problem of CSV files, not the first 5."),
) -> None:
    """Download or copy a dataset into data/; print its repairs and licence."""
    from paragon.data import fetch as data
    from paragon.data.csv_files import CsvFiles
    from paragon.params import DATA, load_params
    from paragon_study.running.studies import check_dataset

    name = next(iter(load_params().studies.datasets.values())) if name is None else name
    check_dataset(name)
    columns = {"user_id": user, "item_id": item, "timestamp": time, "categories": categories}
    columns["title"] = title
    columns = {role: column for role, column in columns.items() if column}
    if given and {".csv", ".tsv"} & {*map(str.lower, given.suffixes)}:
        files = CsvFiles(given, items, columns, day_first, show_all, unit)
        folder = data.fetch_csv(name, files, note, data=DATA)
        typer.echo("\n".join(files.used))
    elif items or columns or show_all or day_first is not None:
        raise ParagonError(
            f"{given}: --items, names and forms of columns are for `--from FILE.csv`"
        )
    else:
        folder = data.fetch(name, source=source, directory=given, note=note, unit=unit, data=DATA)
    _tell_fetched(name, folder)


def _tell_fetched(name: str, folder: Path) -> None:
    """Print where a dataset is, its repairs, and its licence."""
    from paragon.data.describe import repairs, repeats
    from paragon.data.fetch import load_dataset
    from paragon.data.registry import notice

    dataset = load_dataset(name, folder.parent)
    lines = [f"{name} is in {folder}", f"repairs: {repairs(dataset)}"]
    lines.append(f"repeats: {repeats(dataset)}")
    typer.echo("\n".join(filter(None, [*lines, notice(name)])))


@app.command()
def describe(name: str = Argument(..., help="A study, or a dataset that was fetched.")) -> None:
    """Show the main facts about the dataset of a study and its split."""
    from paragon.data.describe import describe as facts_of
    from paragon.data.fetch import load_dataset
    from paragon.data.split import prepare
    from paragon.objectives.table import check_objectives
    from paragon.params import DATA, load_params
    from paragon_study.pipeline.study import open_study

    params = load_params(study=name)
    dataset = load_dataset(params.studies.dataset_of(name), DATA)
    rules = params.data.model_dump()
    problems = []
    try:
        sequences = prepare(dataset, **rules)
    except ParagonError as error:
        if not dataset.repeats or rules["repeats"]:
            raise
        sequences = prepare(dataset, **rules | {"repeats": "first"})
        problems.append(str(error))
    ndcg = None
    for backbone in params.studies.backbones:
        with suppress(ParagonError):  # it is not trained, or not with these settings
            ndcg = open_study(name, backbone, checked=False).ndcg_by_user()
            break
    facts = facts_of(dataset, sequences, ndcg)
    try:
        check_objectives(params.adapters.objectives, sequences)
    except ParagonError as error:
        problems.append(str(error))
    if problems:
        facts["not possible"] = "; ".join(problems)
    width = max(map(len, facts.index))
    typer.echo("\n".join(f"{what:{width}}  {value}" for what, value in facts.items()))


@app.command()
def add(
    name: str = Argument(..., help="A study, a dataset, or a backbone."),
) -> None:
    """Add a study or backbone to what params.yaml runs; `make add NAME=...` also runs it.

    A public dataset that is missing is fetched.
    """
    from paragon.data import fetch as data
    from paragon.data.registry import REGISTRY
    from paragon.params import DATA, load_params
    from paragon_study.running.studies import add as enter

    dataset = load_params().studies.dataset_of(name)
    if dataset in REGISTRY and not (DATA / dataset).exists():
        _tell_fetched(dataset, data.fetch(dataset, data=DATA))
    typer.echo(enter(name))


@app.command()
def studies(name: str | None = Argument(None, help="A study or a backbone.")) -> None:
    """Print the last stage of each study and backbone, all or of NAME, for `dvc repro`."""
    from paragon_study.running.studies import studies_of

    typer.echo("\n".join(studies_of(name)))


@app.command()
def run(
    notebook: str = Argument(..., help="A file of notebooks/, without .ipynb."),
    study: str = Option(..., help="A study, or its stage data@STUDY."),
    backbone: str | None = Option(None, help="A backbone, for the notebooks that have one."),
) -> None:
    """Execute a notebook as the pipeline does and keep the copy."""
    from paragon_study.running.runner import run_notebook

    typer.echo(os.path.relpath(run_notebook(notebook, study.rpartition("@")[2], backbone)))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(options: typer.Context, full: Full = False) -> None:
    """Open JupyterLab, with any OPTIONS of it, on a copy that cannot change the study."""
    from paragon_study.course.lab import check_user, make_lab, open_lab

    check_user(options.args)
    open_lab(make_lab(full, say=typer.echo), options.args)


@app.command()
def small() -> None:
    """Run the whole study in small, in a lab, and print what it measured."""
    from paragon_study.course.lab import headline_of, make_lab

    lab = make_lab(say=typer.echo)
    typer.echo(headline_of(lab))
    typer.echo(
        "What ran is in lab/artifacts/notebooks; `make lab` opens the notebooks to change them."
    )


def _study(name: str | None, backbone: str | None) -> "Study":
    from paragon.params import load_params
    from paragon_study.pipeline.study import open_study

    studies = load_params().studies
    if name and "/" in name:
        before, _, after = name.partition("/")
        raise ParagonError(f"--study {name}: give `--study {before} --backbone {after}`")
    return open_study(name or next(iter(studies.datasets)), backbone or studies.backbones[0])


@app.command()
def export(
    folder: Target, study: StudyName = None, backbone: Backbone = None, people: People = False
) -> None:
    """Export a trained recommender as a folder that needs no study."""
    from paragon.data.fetch import load_dataset
    from paragon.params import DATA
    from paragon.serving.export import export_folder
    from paragon.storage import require

    opened = _study(study, backbone)
    stage = f"generator@{opened.name}-{opened.backbone}"
    require(opened.folder / "generator", f"dvc repro {stage}")
    served = opened.load_served()
    name = opened.dataset
    trained = served[0].description["fingerprint"]
    if (DATA / name).exists() and load_dataset(name, DATA).fingerprint != trained:
        raise ParagonError(f"data/{name} changed after training; run `dvc repro {stage}` first")
    export_folder(folder.resolve(), *served, people)
    typer.echo(f"{os.path.relpath(folder)}: its README.md says what it is")
    _warn_of(folder)


def _warn_of(folder: Path) -> None:
    """Print the warning about the recommender of an exported folder, if there is one."""
    warning = json.loads((folder / "backbone.json").read_text("utf-8")).get("warning")
    if warning:
        typer.echo(warning, err=True)


@app.command()
def move(
    old: Annotated[Path, Argument(help="An exported folder.")],
    new: Target,
    study: StudyName = None,
    backbone: Backbone = None,
    people: People = False,
) -> None:
    """Give a newly trained backbone the control of an old one, without tuning."""
    from paragon.objectives.table import check_objectives
    from paragon.serving.export import export_folder
    from paragon.serving.recommender import Recommender

    recommender = Recommender.load(old)
    if new.resolve() == old.resolve():
        raise ParagonError(f"{new} is the old recommender; choose another folder for the new one")
    sequences, model, about = _study(study, backbone).load_frozen()
    check_objectives(recommender.objectives, sequences)
    generator = recommender.move_to(model, sequences).generator
    export_folder(new.resolve(), sequences, model, about, generator, people)
    moved = generator.description["collection"]["moved"]
    words = f"a map of {moved['shared']:,} common items, which explains {moved['fit']:.0%}"
    typer.echo(f"{os.path.relpath(new)}: moved by {words} of the variance")
    _warn_of(new)


@app.command()
def demo(
    study: StudyName = None,
    backbone: Backbone = None,
    output: Annotated[Path | None, Option(help="Instead of artifacts/demo.html.")] = None,
    show: Annotated[bool, Option(help="Open it in a browser.")] = True,
    renew: Renew = False,
    check: Annotated[bool, Option("--check", help="Only measure its lists again.")] = False,
) -> None:
    """Build the demo page and open it; with --check, exit code 1 if lists are not as recorded."""
    from paragon_study.demo.of_study import check_lists, renew_bundle, write_page

    opened = _study(study, backbone)
    if renew:
        renew_bundle(opened)
    if check:
        text, alike = check_lists(opened)
        typer.echo(text)
        raise typer.Exit(int(not alike))
    page = write_page(opened, output)
    typer.echo(f"{page} has everything in it: it needs no server and no network")
    if show:
        typer.launch(page.resolve().as_uri())


@app.command()
def serve(
    folder: Path = Argument(..., help="An exported folder."),
    host: str = Option("127.0.0.1", help="0.0.0.0 is every address."),
    port: int = Option(8000, min=0, max=65535, help="0: any that is free."),
    threads: int = Option(1, min=1, help="Of torch."),
) -> None:
    """Answer requests over HTTP until Ctrl-C: POST /recommend, GET /health, GET /objectives."""
    from paragon.serving.recommender import Recommender
    from paragon.serving.service import serve as run_service

    recommender = Recommender.load(folder)
    _warn_of(folder)
    run_service(recommender, host, port, threads)


@app.command()
def trial(
    kind: str = Argument("", help="factorial, law or tuning."),
    name: str = Argument("", help="One trial, to run it anew."),
    renew: bool = Option(False, help="Run none: say that rows hold as they are."),
) -> None:
    """Run ablations that have no results yet; without KIND, list them."""
    keep_memory()
    from paragon_study.ablations import ablate, factorial

    trials = {
        "factorial": factorial.measure_factorial,
        "law": ablate.measure_law,
        "tuning": ablate.measure_tuning,
    }
    if kind and kind not in trials:
        raise ParagonError(f"{kind!r} is no kind of trial: {', '.join(trials)}")
    plan = ablate.Ablations.load()
    for one in [kind] if kind else trials:
        names = [name] if name else plan.missing(one)
        typer.echo(f"{one}: {len(names)} of {len(getattr(plan, one))} to run")
        if kind:
            plan.run(one, names, None if renew else trials[one])


@app.command()
def recover() -> None:
    """Repair DVC: half-written files after a kill, damaged ones of its cache; then `dvc repro`."""
    from paragon_study.running.runner import recover as repair

    typer.echo("".join(f"{name} was damaged: removed\n" for name in repair()), nl=False)


@app.command()
def verify(against: str = Option("HEAD", help="A git revision.")) -> None:
    """Compare the results with those of a commit.

    Exit code 1: they differ, some were edited after they were computed, or all are stale.
    """
    from paragon_study.checking.verify import compare_with_commit

    comparison = compare_with_commit(against)
    if comparison.empty:
        raise ParagonError(comparison.summary())
    rows = comparison.table[comparison.table["verdict"] != "equal"]
    if len(rows):
        typer.echo(rows[:20].to_string(index=False, na_rep="-", float_format="{:.6g}".format))
    if len(rows) > 20:
        typer.echo(f"... and {len(rows) - 20} more, none worse")
    typer.echo(comparison.summary())
    if not comparison.passed:
        typer.echo("What other machines change: docs/reproduction.md, Tolerances", err=True)
        raise typer.Exit(1)


@app.command()
def diff(
    before: str = Argument(..., help="A git revision."),
    after: str | None = Argument(None, help="Another; else the working tree."),
) -> None:
    """Compare the results of two versions, in Markdown."""
    from paragon.params import ROOT
    from paragon_study.checking.diff import compare_versions

    typer.echo(compare_versions(before, after, ROOT).markdown())


@app.command()
def evaluate(
    method: str = Option(..., help="As module:NAME; the module may be in this folder."),
    study: StudyName = None,
    backbone: Backbone = None,
) -> None:
    """Measure a method of yours beside the results of a study; nothing is trained or written."""
    from paragon_study.checking.own_method import beside_tables, load_method, measure_beside

    name, new = load_method(method)
    opened = _study(study, backbone)
    results = measure_beside(opened, name, new)
    typer.echo(beside_tables(results, name, opened.params.evaluation.shares))


@app.command()
def compare() -> None:
    """Write results/summary.md and all.csv."""
    from paragon.params import RESULTS
    from paragon_study.report.compare import write_comparison

    write_comparison(RESULTS)


@app.command()
def report() -> None:
    """Write tables and figures into the pages, notebooks into docs/executed; check all claims."""
    from paragon_study.course.executed import publish_notebooks
    from paragon_study.report.pages import write_pages

    write_pages()
    publish_notebooks()
    claims()


@app.command()
def claims() -> None:
    """Print each claim and its numbers; exit code 1 if a sentence or a table is another."""
    from paragon_study.report.claims import check_claims
    from paragon_study.report.tables import as_markdown

    table = check_claims()
    broken = table.pop("problem")
    table.insert(1, "holds", broken.eq("").map({True: "yes", False: "NO"}))
    typer.echo(as_markdown(table.set_index("claim"), left=4))
    if broken.any():
        raise ParagonError("claims.yaml: " + "\n".join(filter(None, broken)))


def _exit_at_signals() -> None:
    """Exit by an exception at SIGTERM and SIGHUP, so that open kernels and files are closed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` sets it
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    # DVC does not tell its commands when it ends; the next run would write the same files.
    if "DVC_STAGE" in os.environ:
        when_gone(os.getppid(), lambda: os.kill(os.getpid(), signal.SIGTERM))


def main() -> None:
    """Run the command line; errors meant for the user become one line."""
    if sys.argv[1:2] != ["serve"]:  # its output is not compared, and it must start fast
        choose_kernels()
    try:
        _exit_at_signals()
        app()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("paragon"):
            raise
        extra = "serve" if error.name in ("fastapi", "httptools", "uvicorn") else "study"
        sys.exit(f"error: {error.name} is not installed; it comes with `pip install '.[{extra}]'`")
    except (ParagonError, NotebookFailed) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in NO_ACCESS and "usable temporary" not in str(error):
            raise
        place = error.filename or f"a file in {os.getcwd()} or {os.environ.get('TMPDIR', '/tmp')}"
        sys.exit(f"error: {place} cannot be read or written: {error.strerror or error}")
