"""dvc.yaml against the imports, environment.yml against pyproject.toml, a study in small."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import PurePosixPath

import pytest
import yaml
from dvc.repo import Repo
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from paragon.evaluation.evaluate import headline
from paragon.params import ROOT, Params, load_params
from paragon_study.running.runner import code_cells
from tests.study.conftest import command, git, snapshot, user_environment
from tests.study.test_determinism import VERSIONS
from tests.study.uses import Uses

# The stages of a `foreach` are described under `do`.
STAGES = {
    name: about.get("do", about)
    for name, about in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
NOTEBOOKS = {
    stage: match[1]
    for stage, about in STAGES.items()
    if (match := re.search(r"-m paragon run (\S+)", about["cmd"]))
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_every_file_that_can_change_its_numbers_and_on_no_other(stage):
    """Drawing is no number: a new colour trains nothing."""
    listed = [d for d in STAGES[stage]["deps"] if d.startswith(("paragon", "notebooks"))]
    code = [ast.parse("from paragon_study.report.compare import write_comparison")]
    if stage in NOTEBOOKS:
        notebook = f"notebooks/{NOTEBOOKS[stage]}.ipynb"
        listed.remove(notebook)
        code = [ast.parse(cell.source) for cell in code_cells(ROOT / notebook)]
    drawn = stage in ("evaluation", "compare")
    used = Uses(*code, without=() if drawn else ("paragon_study/report",)).files
    used = {path.relative_to(ROOT).as_posix() for path in used}
    covers = {d: {p for p in used if p == d or p.startswith(f"{d}/")} for d in listed}
    assert used - set(chain(*covers.values())) == set(), "these are not listed"
    assert [d for d, paths in covers.items() if not paths] == [], "these are listed in vain"
    assert not any("running" in d or "checking" in d or "course" in d for d in listed)


@pytest.mark.parametrize("stage", NOTEBOOKS)
def test_a_stage_lists_the_sections_that_its_notebook_reads(stage):
    """``params.SECTION`` in a cell must be among the stage's params; so must those it lists exist.

    What is read inside the package from a whole ``params`` cannot be seen here.
    """
    found = set(STAGES[stage]["params"])
    listed = {key.partition(".")[0] for key in found} - {"overrides"}
    names = {"key"} if stage == "data" else {f"item.{axis}" for axis in STAGES[stage]["matrix"]}
    assert {f"overrides.${{{name}}}" for name in names} <= found
    assert listed <= set(Params.model_fields)
    read = set()
    for cell in code_cells(ROOT / "notebooks" / f"{NOTEBOOKS[stage]}.ipynb"):
        lines = [line for line in cell.source.splitlines() if not re.match(r"\s*[%!]", line)]
        for node in ast.walk(ast.parse("\n".join(lines))):
            owner = getattr(node, "value", None) if isinstance(node, ast.Attribute) else None
            name = getattr(owner, "attr", getattr(owner, "id", None))
            if name == "params" and node.attr in Params.model_fields:
                read.add(node.attr)
    assert read <= listed


def test_the_metrics_are_the_headline_alone_and_follow_from_the_results():
    """What no stage of the default study writes is listed for `dvc metrics` on its own."""
    default = load_params().studies
    made = {f"results/{s}/{b}/headline.json" for s in default.datasets for b in default.backbones}
    found = {p.relative_to(ROOT).as_posix() for p in (ROOT / "results").glob("*/*/headline.json")}
    assert made <= found
    assert {*yaml.safe_load((ROOT / "dvc.yaml").read_text())["metrics"]} == found - made
    plots = [next(iter(out)) for stage in STAGES.values() for out in stage.get("plots", [])]
    assert all(plot.endswith(".png") for plot in plots)  # tables need the network to be drawn
    listed = [out for stage in STAGES.values() for out in stage.get("metrics", [])]
    assert [PurePosixPath(next(iter(out))).name for out in listed] == ["headline.json"]
    for path in (ROOT / "results").glob("*/*/metrics.json"):
        own = headline(json.loads(path.read_text(encoding="utf-8")))
        # Studies that were recorded before there were shares have none.
        assert own in ({}, json.loads((path.parent / "headline.json").read_text(encoding="utf-8")))


def test_no_name_of_params_yaml_is_read_by_the_shell(tmp_path):
    """DVC quotes what `${item}` stands for; a single name in a command it would not quote."""
    for stage in STAGES.values():
        assert set(re.findall(r"\$\{(.*?)\}", stage["cmd"])) <= {"item"}
    name = "x'; touch here; '"
    (tmp_path / "python").write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    (tmp_path / "python").chmod(0o755)
    data = {"foreach": {name: "ml-100k"}, "do": {"cmd": f"./{STAGES['data']['cmd']}"}}
    last = {"matrix": {"study": [name]}, "cmd": f"./{STAGES['evaluation']['cmd']}"}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"data": data, "last": last}}))
    git(tmp_path, "init", "-q")
    (tmp_path / ".dvc").mkdir()
    said = command(tmp_path, "dvc", "repro").splitlines()
    found = [said[number + 1] for number, line in enumerate(said) if line == "--study"]
    assert sorted(found) == sorted([f"data@{name}", name]) and not (tmp_path / "here").exists()


def test_stages_have_the_names_of_studies_and_the_data_of_their_datasets(tmp_path):
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["studies"] |= {"datasets": {"a": "raw", "a-two": "raw"}, "backbones": ["b"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    git(tmp_path, "init", "-q")
    (tmp_path / ".dvc").mkdir()
    with Repo(tmp_path) as repo:
        stages = {stage.name: {str(dep) for dep in stage.deps} for stage in repo.index.stages}
    assert {f"{stage}@{study}-b" for stage in NOTEBOOKS for study in ("a", "a-two")} - {
        *stages
    } == {"data@a-b", "data@a-two-b"}
    for study in ("a", "a-two"):
        assert "data/raw" in stages[f"data@{study}"]
        assert f"artifacts/{study}/data" in stages[f"backbones@{study}-b"]


@pytest.mark.slow
def test_make_ends_with_an_error_where_a_name_is_none_and_runs_no_name(tmp_path):
    """make itself would run the last name, as a command."""
    here = tmp_path / "here"
    for name in ("gru4reck", "gru4rec sasrec", f"$(shell touch {here})"):
        assert name[:20] in made(tmp_path, "repro", name)
        assert name[:20] in made(tmp_path, "add", name)
        assert not here.exists()


def made(folder, target, name):
    """The error of a target of the Makefile that starts no DVC, in a folder of its own."""
    programs = folder / ".venv" / "bin"
    if not programs.exists():
        programs.mkdir(parents=True)
        for program in ("python", "dvc"):
            run = f'"{sys.executable}"' if program == "python" else "echo ran: dvc"
            (programs / program).write_text(f'#!/bin/sh\nexec {run} "$@"\n')
            (programs / program).chmod(0o755)
        for file in ("Makefile", "params.yaml", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / file, folder)
        (folder / "data" / "ml-100k").mkdir(parents=True)
        git(folder, "init", "-q")
        git(folder, "commit", "-q", "--allow-empty", "-m", "first")
        (folder / ".venv" / ".run").touch()
    own = {"PARAGON_ROOT": str(folder), "PYTHONPATH": str(ROOT)}
    # Nothing is fetched.
    line = ["make", "--assume-old=fetch", target, f"NAME={name}"]
    given = {"cwd": folder, "env": user_environment() | own, "capture_output": True, "text": True}
    done = subprocess.run(line, **given, check=False)
    assert done.returncode and "ran: dvc" not in done.stdout, done.stdout + done.stderr
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return error


def test_environments_and_constraints_name_the_same_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["study"], *extras["serve"], *extras["test"]]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert environment["name"] == "paragon" and "-e ." in pip["pip"] and "pip" in conda
    assert f"python{project['requires-python']}" in conda
    found = [line for line in [*conda, *pip["pip"]] if not line.startswith(("python>", "pip", "-"))]
    renamed = [re.sub(r"^pytorch\b", "torch", line) for line in found]  # its name at conda-forge
    assert sorted(renamed) == sorted(wanted)

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    kept = [Requirement(line) for line in lines if not line.startswith("#")]
    pinned = {canonicalize_name(r.name): r.specifier for r in kept}
    assert len(pinned) == len(kept)
    assert [name for name, own in pinned.items() if not str(own).startswith("==")] == ["torch"]
    for line in map(Requirement, [*project["dependencies"], *chain(*extras.values())]):
        name = canonicalize_name(line.name)
        version = VERSIONS.get(name) or next(iter(pinned[name])).version
        assert version in line.specifier and version in pinned[name], line


def test_make_installs_the_versions_of_the_results(monkeypatch):
    # `make CONSTRAINTS= test` hands its own choice on to every make below it.
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    for given, pinned in ((), True), (("CONSTRAINTS=",), False):
        said = command(ROOT, "make", "--dry-run", "--always-make", ".venv/.test", *given)
        installs = [line for line in said.splitlines() if " pip install " in line]
        assert len(installs) == 2
        assert all(("--constraint constraints.txt" in line) == pinned for line in installs)


def changed(root, **texts):
    """The stages that DVC would run after other texts in some files, which are then put back."""
    before = {path: (root / path).read_bytes() for path in texts if (root / path).exists()}
    for path, text in texts.items():
        (root / path).write_bytes(before.get(path, b"") + text)
    stages = set(Repo(root).status(targets=["dvc.yaml"]))
    for path in texts:
        (root / path).write_bytes(before[path]) if path in before else (root / path).unlink()
    return {stage.partition("@")[0] for stage in stages}


@pytest.mark.slow
def test_dvc_sees_every_change_and_the_folder_of_a_study_shows_nowhere(
    run_once, finished, tmp_path, monkeypatch
):
    """That the same bytes come again: test_course.py, in which no stage is interrupted."""
    monkeypatch.chdir(finished)  # where DVC looks for its files
    made = snapshot(finished)
    executed = [text.decode() for name, text in made.items() if name.endswith(".ipynb")]
    assert len(executed) == len(NOTEBOOKS)
    for text in executed:
        assert str(run_once) not in text and "/tmp/ipykernel" not in text
        assert '"name": "stderr"' not in text and "widget-view" not in text

    # The comparison follows every evaluation, and neither times nor what it writes itself.
    line, own = b"\n# one line more\n", "results/ml-100k/sasrec"
    times = {f"{own}/timing.json": b"{}", "results/summary.md": b"more"}
    assert changed(finished, **times) == set()
    assert changed(finished, **{f"{own}/differences.json": b"\n"}) == {"evaluation", "compare"}
    assert changed(finished, **{"paragon_study/pipeline/study.py": line}) == {*NOTEBOOKS}
    code = {"paragon/generator/diffusion.py": line, "paragon_study/running/runner.py": line}
    late = {*NOTEBOOKS, "compare"} - {"data", "backbones", "adapters"}
    assert changed(finished, **code) == late
    assert changed(finished, **{"paragon_study/report/paragon.mplstyle": line}) >= {"evaluation"}

    # A clone without data still tells one commit's results from another's.
    git(finished, "add", "-A")
    git(finished, "commit", "-qm", "results")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(finished), str(clone))
    metrics = clone / own / "headline.json"
    metrics.write_text(re.sub(r"(?<=: )0\.\d+", "0.123", metrics.read_text(), count=1))
    assert "0.123" in command(clone, "dvc", "metrics", "diff")
