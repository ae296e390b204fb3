"""dvc.yaml against the imports, environment.yml against pyproject.toml, a study in small."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from paragon import pipeline
from paragon.errors import ParagonError
from paragon.notebooks import code_cells
from paragon.params import ROOT, Params, load_params
from tests.test_portable import VERSIONS

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
NOTEBOOKS = pipeline.stage_notebooks()
RUNS_THE_PIPELINE = {"__main__", "notebooks", "pipeline", "verify"}
# The study in small: some seconds a stage, most of them for starting the kernel.
SMALL = {
    "seeds": [0, 1],
    "preprocess": {"max_users": 60},
    "backbone": {"dim": 16, "history": 20, "epochs": 2, "batch": 32},
    "adapters": {
        "width": 4,
        "anchors": [0.05, 0.35, 0.65, 1],
        "oracles": 4,
        "steps": 40,
        "batch": 64,
        "checks": 5,
        "snapshots": 4,
    },
    "diffusion": {
        "latent": 4,
        "width": 32,
        "blocks": 1,
        "steps": 60,
        "batch": 32,
        "behaviour_batch": 2,
        "behaviour_rows": 32,
    },
    "evaluate": {"few_anchors": [[0.05, 0.35, 1]]},
    "rivals": {
        "retrain_weights": [0.5],
        "end_to_end": ["hypernetwork"],
        "weights": 2,
        "rows": 32,
        "width": 16,
        "blocks": 1,
    },
}


def write_notebook(path, *sources):
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [new_markdown_cell("import paragon.unused"), *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture
def package(tmp_path):
    """A checkout whose package has every way of importing."""
    modules = {
        "__init__": "",
        "errors": "from paragon import unused",
        "unused": "",
        "a": "from __future__ import annotations\nimport paragon.b as b\nimport numpy as np",
        "b": "def late():\n    from paragon.late import thing",
        "late": "thing = 1\nfrom paragon import errors",
        "typed": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from paragon import a",
        "nest/__init__": "from .inner import x",
        "nest/inner": "from ..late import thing\nfrom . import other\nx = 1",
        "nest/other": "",
        "circle": "import paragon.round",
        "round": "import paragon.circle",
    }
    for name, text in modules.items():
        path = tmp_path / "paragon" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy", []),
        ("%matplotlib inline\n!ls\nimport paragon", ["__init__"]),
        ("from paragon import a", ["__init__", "a", "b", "late"]),
        ("from paragon.a import np", ["__init__", "a", "b", "late"]),
        ("import paragon.typed", ["__init__", "typed"]),
        ("from paragon.errors import ParagonError", ["__init__"]),
        (
            "from paragon import nest",
            ["__init__", "late", "nest/__init__", "nest/inner", "nest/other"],
        ),
        (
            "import paragon.nest.other",
            ["__init__", "late", "nest/__init__", "nest/inner", "nest/other"],
        ),
        ("if True:\n    import paragon.circle", ["__init__", "circle", "round"]),
    ],
)
def test_every_way_of_importing_is_followed(package, source, expected):
    notebook = write_notebook(package / "notebooks" / "n.ipynb", source)
    found = pipeline.imported_modules(notebook, package)
    assert found == [f"paragon/{name}.py" for name in expected]


def test_the_list_of_a_stage_is_put_right_and_nothing_else_changes(package):
    write_notebook(package / "notebooks" / "n.ipynb", "import paragon.circle")
    text = """\
# A comment
stages:
  one:
    cmd: python -m paragon run n --dataset x
    deps:
    - notebooks/n.ipynb
    - paragon/a.py
    - paragon/circle.py
    - data/x   # stays
  two:
    cmd: echo
    deps:
    - paragon/a.py
"""
    (package / "dvc.yaml").write_text(text)
    assert pipeline.differences(package) == {
        "one": (["paragon/__init__.py", "paragon/round.py"], ["paragon/a.py"])
    }
    modules = "".join(f"    - paragon/{name}.py\n" for name in ("__init__", "circle", "round"))
    expected = text.replace("    - paragon/a.py\n    - paragon/circle.py\n", modules, 1)
    assert pipeline.rewritten(package) == expected
    (package / "dvc.yaml").write_text(expected)
    assert pipeline.differences(package) == {} and pipeline.rewritten(package) == expected


def test_the_module_behind_a_command_is_the_source_of_a_stage_without_a_notebook(package):
    text = """\
stages:
  circle:
    cmd: python -m paragon circle --all
    deps:
    - results
    - paragon/circle.py
    - paragon/late.py
  other:
    cmd: python elsewhere.py
    deps:
    - paragon/a.py
"""
    (package / "dvc.yaml").write_text(text)
    assert pipeline.stage_sources(package) == {"circle": "paragon/circle.py"}
    expected = ["paragon/__init__.py", "paragon/circle.py", "paragon/round.py"]
    assert pipeline.imported_modules(package / "paragon" / "circle.py", package) == expected
    missing, surplus = pipeline.differences(package)["circle"]
    assert missing == [expected[0], expected[2]] and surplus == ["paragon/late.py"]
    modules = "".join(f"    - {path}\n" for path in expected)
    right = text.replace("    - paragon/circle.py\n    - paragon/late.py\n", modules)
    assert pipeline.rewritten(package) == right


def test_a_notebook_that_is_missing_or_broken_is_named(package):
    with pytest.raises(ParagonError, match=r"n\.ipynb is missing"):
        pipeline.imported_modules(package / "n.ipynb", package)
    notebook = write_notebook(package / "n.ipynb", "def")
    with pytest.raises(ParagonError, match="cell 1 is not valid Python"):
        pipeline.imported_modules(notebook, package)


def test_every_stage_lists_the_modules_that_its_notebook_imports():
    assert pipeline.differences() == {}, "run `python -m paragon deps --write`"


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("paragon/evaluate.py", ["evaluate"]),
        ("paragon/generator.py", ["diffusion", "evaluate"]),
        ("paragon/diffusion/samplers.py", ["diffusion", "evaluate"]),
        ("paragon/datasets/download.py", ["preprocess"]),
        ("paragon/report.py", ["compare"]),
        ("paragon/compare.py", ["compare"]),
    ],
)
def test_a_change_late_in_the_study_retrains_nothing_before_it(module, stages):
    listed = pipeline.listed_modules()
    assert [stage for stage in listed if module in listed[stage]] == stages


def test_the_comparison_follows_every_evaluation_and_not_the_times(tmp_path):
    """Its dependency is the folder of results, without what it writes itself and without times."""
    assert pipeline.stage_sources()["compare"] == "paragon/compare.py"
    assert "results" in STAGES["compare"]["deps"] and "outs" not in STAGES["compare"]
    root = tmp_path / "study"
    for name in ("paragon", ".dvc"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("cache", "tmp"))
    shutil.copy(ROOT / ".dvcignore", root)
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"compare": STAGES["compare"]}}))
    own = root / "results" / "toy" / "mine"
    own.mkdir(parents=True)
    counts = dict.fromkeys(["train", "valid", "test", "items", "test_users"], 5)
    about = {"source": "own", "split": "leave_one_out", "min_rating": 0, "k_core": 0}
    about |= {"midnight": None, "counts": counts}
    (own.parent / "data.json").write_text(json.dumps(about))
    (own / "metrics.json").write_text(json.dumps({"tuned": {"set_hv_of_tuned_sampled": 1.0}}))
    gap = {f"set_hv_{p}{end}": 0.1 for p in ("sampled", "full") for end in ("", "_low", "_high")}
    differences = own / "differences.json"
    differences.write_text(json.dumps({"tuned": gap, "soup": gap}))
    git(root, "init", "-q")
    command(root, "dvc", "repro")
    summary = root / "results" / "summary.md"
    before = summary.read_bytes()
    assert b"`soup`" in before and (root / "results" / "summary.png").exists()

    (own.parent / "timing.json").write_text("{}")
    (own / "timing.png").write_text("")
    assert "up to date" in command(root, "dvc", "status")
    differences.write_text(json.dumps({"nearest": gap}))
    command(root, "dvc", "repro")
    assert b"`nearest`" in summary.read_bytes() != before


@pytest.mark.parametrize("stage", NOTEBOOKS)
def test_a_stage_depends_on_its_notebook_and_keeps_the_executed_one(stage):
    name = NOTEBOOKS[stage]
    assert f"notebooks/{name}.ipynb" in STAGES[stage]["deps"]
    folder = "/".join(f"${{item.{key}}}" for key in STAGES[stage]["matrix"])
    assert f"artifacts/notebooks/{folder}/{name}.ipynb" in STAGES[stage]["outs"]


@pytest.mark.parametrize("stage", NOTEBOOKS)
def test_what_runs_the_pipeline_is_nobodys_dependency(stage):
    modules = {Path(path).stem for path in pipeline.listed_modules()[stage]}
    assert not modules & RUNS_THE_PIPELINE


@pytest.mark.parametrize("stage", NOTEBOOKS)
def test_a_stage_lists_the_sections_that_its_notebook_reads(stage):
    """``params.SECTION`` in a cell must be among the stage's params; so must those it lists exist.

    What is read inside the package from a whole ``params`` cannot be seen here.
    """
    special = {f"special.${{item.{key}}}" for key in STAGES[stage]["matrix"]}
    assert special <= set(STAGES[stage]["params"])
    listed = set(STAGES[stage]["params"]) - special
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


def test_all_committed_metrics_can_be_compared():
    """What no stage of the default study writes is listed for `dvc metrics` on its own."""
    default = load_params()
    made = {f"results/{d}/data.json" for d in default.datasets}
    studies = [f"results/{d}/{b}" for d in default.datasets for b in default.backbones]
    made |= {f"{s}/{name}.json" for s in studies for name in ("metrics", "differences")}
    found = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*/data.json", "*/*/metrics.json", "*/*/differences.json")
        for path in (ROOT / "results").glob(pattern)
    }
    listed = yaml.safe_load((ROOT / "dvc.yaml").read_text())["metrics"]
    assert made <= found
    assert sorted(found - made) == sorted(listed)


def test_both_environments_are_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
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


def command(folder, *arguments):
    """Run a program of this environment in a folder; its output, after an exit code of 0."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PARAGON_")}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(folder, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return command(folder, "git", *identity, *arguments)


def snapshot(root):
    """The content of everything that the pipeline makes."""
    paths = [path for name in ("artifacts", "results") for path in (root / name).rglob("*")]
    files = [*filter(Path.is_file, paths), root / "dvc.lock"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def small_study(tmp_path):
    """A clone of the working tree, as it is now, with few users, steps and seeds."""
    if not (ROOT / "data" / "ml-100k" / "ml-100k.inter").exists():
        pytest.skip("data/ml-100k is missing: run `python -m paragon fetch ml-100k`")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: its files cannot be told from others")
    root = tmp_path / "first"
    for name in git(ROOT, "ls-files", "-coz", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("results/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    (root / "dvc.lock").unlink(missing_ok=True)
    shutil.copytree(ROOT / "data" / "ml-100k", root / "data" / "ml-100k")
    params = yaml.safe_load((root / "params.yaml").read_text())
    params |= {"datasets": ["ml-100k"], "backbones": ["sasrec"]}
    for key, value in SMALL.items():
        params[key] = params[key] | value if isinstance(value, dict) else value
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "small")
    return root


@pytest.mark.slow
def test_a_small_study_runs_once_and_is_reproduced_byte_for_byte(small_study, tmp_path):
    first = small_study
    command(first, "dvc", "repro")
    made = snapshot(first)
    assert "results/ml-100k/sasrec/metrics.json" in made
    executed = {name: text for name, text in made.items() if name.endswith(".ipynb")}
    assert len(executed) == len(NOTEBOOKS)
    for name, content in executed.items():
        text = content.decode()
        assert str(first) not in text and "/tmp/ipykernel" not in text, name
        assert '"name": "stderr"' not in text and "widget-view" not in text, name

    assert "Running stage" not in command(first, "dvc", "repro")
    assert "up to date" in command(first, "dvc", "status", "data.dvc")
    git(first, "add", "-A")
    git(first, "commit", "-qm", "results")

    # Everything again, in another folder, which must not show anywhere.
    second = tmp_path / "second"
    git(tmp_path, "clone", "-q", str(first), str(second))
    shutil.copytree(first / "data", second / "data")
    command(second, "dvc", "repro", "-f")
    assert snapshot(second) == made
    assert git(second, "status", "--porcelain") == ""
    assert "0 outside" in command(second, sys.executable, "-m", "paragon", "verify")

    # A clone without data still tells one commit's results from another's.
    metrics = second / "results" / "ml-100k" / "sasrec" / "metrics.json"
    metrics.write_text(re.sub(r"(?<=: )0\.\d+", "0.123", metrics.read_text(), count=1))
    git(second, "commit", "-qam", "other results")
    third = tmp_path / "third"
    git(tmp_path, "clone", "-q", str(second), str(third))
    assert "0.123" in command(third, "dvc", "metrics", "diff", "HEAD~1")
