"""dvc.yaml against the imports, environment.yml against pyproject.toml, a study in small."""

import ast
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import PurePosixPath

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from paragon.evaluation.evaluate import headline
from paragon.params import ROOT, Params, load_params
from paragon_study.running.runner import code_cells
from tests.study.conftest import command, git, snapshot
from tests.study.kills import killed_run
from tests.study.test_determinism import VERSIONS
from tests.study.uses import Uses

KILLS = int(os.environ.get("PARAGON_KILLS", "1"))  # `make test-all` has 25
EARLIER = ("backbones", "adapters")  # than the generator
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
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


def test_the_comparison_follows_every_evaluation_and_not_the_times(tmp_path):
    """Its dependency is the folder of results, without what it writes itself and without times."""
    assert "results" in STAGES["compare"]["deps"] and "outs" not in STAGES["compare"]
    root = tmp_path / "study"
    for name in ("paragon", "paragon_study", ".dvc"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("cache", "tmp"))
    for name in (".dvcignore", "params.yaml"):
        shutil.copy(ROOT / name, root)
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"compare": STAGES["compare"]}}))
    own = root / "results" / "toy" / "mine"
    own.mkdir(parents=True)
    counts = dict.fromkeys(["train", "valid", "test", "items", "test_users"], 5)
    about = {"source": "own", "split": "leave_one_out", "min_rating": 0, "k_core": 0}
    about |= {"midnight": None, "counts": counts}
    (own.parent / "data.json").write_text(json.dumps(about))
    (own / "metrics.json").write_text(json.dumps({"tuned": {"set_hv_of_tuned_full": 1.0}}))
    gap = {f"set_hv_{p}{end}": 0.1 for p in ("sampled", "full") for end in ("", "_low", "_high")}
    differences = own / "differences.json"
    differences.write_text(json.dumps({"tuned": gap, "soup": gap}))
    git(root, "init", "-q")
    command(root, "dvc", "repro")
    summary = root / "results" / "summary.md"
    before = summary.read_bytes()
    assert b"soup of two" in before and (root / "results" / "summary.png").exists()

    (own.parent / "timing.json").write_text("{}")
    (own / "timing.png").write_text("")
    assert "up to date" in command(root, "dvc", "status")
    differences.write_text(json.dumps({"nearest": gap}))
    command(root, "dvc", "repro")
    assert b"nearest anchor" in summary.read_bytes() != before


@pytest.mark.parametrize("stage", NOTEBOOKS)
def test_a_stage_lists_the_sections_that_its_notebook_reads(stage):
    """``params.SECTION`` in a cell must be among the stage's params; so must those it lists exist.

    What is read inside the package from a whole ``params`` cannot be seen here.
    """
    found = set(STAGES[stage]["params"])
    listed = {key.partition(".")[0] for key in found} - {"overrides"}
    assert {f"overrides.${{item.{key}}}" for key in STAGES[stage]["matrix"]} <= found
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
    made = {f"results/{d}/{b}/headline.json" for d in default.datasets for b in default.backbones}
    found = {p.relative_to(ROOT).as_posix() for p in (ROOT / "results").glob("*/*/headline.json")}
    assert made <= found
    assert sorted(found - made) == sorted(
        yaml.safe_load((ROOT / "dvc.yaml").read_text())["metrics"]
    )
    listed = [out for stage in STAGES.values() for out in stage.get("metrics", [])]
    assert [PurePosixPath(next(iter(out))).name for out in listed] == ["headline.json"]
    for path in (ROOT / "results").glob("*/*/metrics.json"):
        own = json.loads((path.parent / "headline.json").read_text(encoding="utf-8"))
        assert own == headline(json.loads(path.read_text(encoding="utf-8"))) and len(own) <= 12


def test_no_plot_needs_the_network():
    """Of tables DVC makes a page that fetches three libraries; of images it does not."""
    for stage in STAGES.values():
        assert all(next(iter(out)).endswith(".png") for out in stage.get("plots", []))


def test_no_name_of_params_yaml_is_read_by_the_shell(tmp_path):
    """DVC quotes what `${item}` stands for; a single name in a command it would not quote."""
    for stage in STAGES.values():
        assert set(re.findall(r"\$\{(.*?)\}", stage["cmd"])) <= {"item"}
    name = "x'; touch here; '"
    stage = {"matrix": {"dataset": [name]}, "cmd": STAGES["data"]["cmd"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"data": stage}}))
    git(tmp_path, "init", "-q")
    (tmp_path / ".dvc").mkdir()
    said = command(tmp_path, "dvc", "repro", "--dry")
    [line] = [line for line in said.splitlines() if line.startswith("> ")]
    assert shlex.split(line)[1:] == ["python", "-m", "paragon", "run", "01_data", "--dataset", name]


def test_both_environments_are_the_same():
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


def test_constraints_name_a_version_of_every_dependency_and_those_of_the_digests():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    kept = [Requirement(line) for line in lines if not line.startswith("#")]
    pinned = {canonicalize_name(r.name): r.specifier for r in kept}
    assert len(pinned) == len(kept)
    assert [name for name, own in pinned.items() if not str(own).startswith("==")] == ["torch"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = chain.from_iterable(project["optional-dependencies"].values())
    for wanted in map(Requirement, [*project["dependencies"], *extras]):
        name = canonicalize_name(wanted.name)
        version = VERSIONS.get(name) or next(iter(pinned[name])).version
        assert version in wanted.specifier and version in pinned[name], wanted


def test_make_lists_its_targets():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(f"make {name}" in done.stdout for name in ("repro", "test", "lab", "bench"))


def test_make_installs_the_versions_of_the_results_unless_told_otherwise(monkeypatch):
    # `make CONSTRAINTS= test` hands its own choice on to every make below it.
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    for given, pinned in ((), True), (("CONSTRAINTS=",), False):
        command_line = ["make", "--dry-run", "--always-make", ".venv/.test", *given]
        done = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, check=True)
        installs = [line for line in done.stdout.splitlines() if " pip install " in line]
        assert len(installs) == 2
        assert all(("--constraint constraints.txt" in line) == pinned for line in installs)


@pytest.mark.slow
def test_a_small_study_runs_once_and_is_reproduced_byte_for_byte(finished, tmp_path):
    first = finished
    made = snapshot(first)
    assert "results/ml-100k/sasrec/metrics.json" in made
    executed = {name: text for name, text in made.items() if name.endswith(".ipynb")}
    assert len(executed) == len(NOTEBOOKS)
    for name, content in executed.items():
        text = content.decode()
        assert str(first) not in text and "/tmp/ipykernel" not in text, name
        assert '"name": "stderr"' not in text and "widget-view" not in text, name

    assert "Running stage" not in command(first, "dvc", "repro")
    stages = {f"{name}@ml-100k-sasrec" for name in NOTEBOOKS} - {"data@ml-100k-sasrec"}
    every = stages | {"data@ml-100k"}
    for name, listed in {
        "paragon_study/pipeline/determinism.py": every,
        "paragon_study/pipeline/study.py": every,
        "paragon/generator/diffusion.py": stages - {f"{s}@ml-100k-sasrec" for s in EARLIER},
        "paragon_study/report/paragon.mplstyle": {"evaluation@ml-100k-sasrec"},
        "paragon_study/running/runner.py": set(),
    }.items():
        before = (first / name).read_text()
        (first / name).write_text(before + "\n# one line more\n")
        changed = set(json.loads(command(first, "dvc", "status", "--json", "dvc.yaml")))
        assert changed - {"compare"} == listed, name
        (first / name).write_text(before)
    assert "up to date" in command(first, "dvc", "status", "data.dvc")
    git(first, "add", "-A")
    git(first, "commit", "-qm", "results")

    # Everything again, in another folder, which must not show anywhere, and with interruptions.
    # A new clone whenever a run was complete, until KILLS runs were hit.
    second, rng, left = tmp_path / "second", random.Random(KILLS), KILLS
    while left:
        shutil.rmtree(second, ignore_errors=True)
        git(tmp_path, "clone", "-q", str(first), str(second))
        shutil.copytree(first / "data", second / "data")
        while left and killed_run(second, rng, longest=20) is not None:
            left -= 1
        command(second, "dvc", "repro")
        assert snapshot(second) == made
        assert git(second, "status", "--porcelain") == ""
    assert "0 outside" in command(second, sys.executable, "-m", "paragon", "verify")

    # A clone without data still tells one commit's results from another's.
    metrics = second / "results" / "ml-100k" / "sasrec" / "headline.json"
    metrics.write_text(re.sub(r"(?<=: )0\.\d+", "0.123", metrics.read_text(), count=1))
    git(second, "commit", "-qam", "other results")
    third = tmp_path / "third"
    git(tmp_path, "clone", "-q", str(second), str(third))
    assert "0.123" in command(third, "dvc", "metrics", "diff", "HEAD~1")
