import os
import shutil
import signal
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from paragon.errors import ParagonError
from paragon.params import ROOT
from paragon_study.running import runner
from paragon_study.running.runner import FRAMES, NotebookFailed, code_cells, executed_path
from tests.study.conftest import hear_signals, is_running, wait_until

SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Everything that made two runs differ: a stream cut in pieces, addresses, warnings with
# process numbers, random ids, times, the folder.
RESTLESS = """\
import os, sys, time, warnings
import pandas as pd
for number in range(3):
    print(number, object(), os.getcwd() + os.sep + "file", flush=True)
    time.sleep(0.3)
warnings.warn("only for the person who runs this")
display(pd.DataFrame({"a": [1]}).style.highlight_max())
object()"""


@pytest.fixture
def root(tmp_path):
    """A checkout in small: params.yaml and an empty folder of notebooks."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def add(root, name, *cells, parameters='dataset = "a"\nbackbone = "b"'):
    tagged = [new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters else []
    notebook = new_notebook(cells=[new_markdown_cell("# Toy"), *tagged, *map(new_code_cell, cells)])
    nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


def outputs_of(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def test_two_runs_give_the_same_bytes(root, capsys):
    add(root, "toy", RESTLESS, "print(dataset, backbone)")
    target = runner.run_notebook("toy", "ml-toy", "sasrec", root)
    assert target == root / "artifacts/notebooks/ml-toy/sasrec/toy.ipynb"
    first = target.read_bytes()
    assert "only for the person" in capsys.readouterr().err  # said, but not kept
    assert runner.run_notebook("toy", "ml-toy", "sasrec", root).read_bytes() == first
    text = first.decode()
    assert "ml-toy sasrec" in text and "/file" not in text and str(root) not in text
    assert "ipykernel" not in text
    outputs = outputs_of(target)
    assert [out.output_type for out in outputs] == [
        *("stream", "display_data", "execute_result", "stream")
    ]
    assert outputs[0].text.count("object object at 0x0") == 3
    assert not [out for out in outputs if out.get("name") == "stderr"]


def test_the_kernel_gets_its_environment_and_the_runner_keeps_its_own(root, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    names = ["PARAGON_QUIET", "PYTHONHASHSEED", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]
    add(root, "toy", f"import os\nfor name in {names}:\n    print(name, os.environ[name])")
    before = dict(os.environ)
    target = runner.run_notebook("toy", "d", "b", root)
    assert dict(os.environ) == before
    expected = [f"{name} {value}" for name, value in zip(names, "1022", strict=True)]
    assert outputs_of(target)[0].text.splitlines() == expected


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (
            "from paragon.errors import ParagonError\nraise ParagonError('x.json: not there')",
            ParagonError,
            "x.json: not there",
        ),
        ("1 / 0", NotebookFailed, "toy failed with ZeroDivisionError"),
    ],
)
def test_a_failure_keeps_the_last_good_copy_and_the_broken_one(root, code, kind, message):
    target = executed_path("toy", "d", "b", root)
    target.parent.mkdir(parents=True)
    target.write_text("good")
    add(root, "toy", "print('so far')", code, "print('never')")
    with pytest.raises(kind) as raised:
        runner.run_notebook("toy", "d", "b", root)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) <= FRAMES + 2
    assert "\x1b" not in str(raised.value)
    assert target.read_text() == "good"
    failed = target.with_suffix(".failed.ipynb")
    assert "so far" in failed.read_text() and {p.name for p in target.parent.iterdir()} == {
        target.name,
        failed.name,
    }


def test_a_success_takes_the_broken_copy_away(root):
    target = executed_path("toy", "d", None, root)
    target.parent.mkdir(parents=True)
    target.with_suffix(".failed.ipynb").write_text("old")
    add(root, "toy", "1", parameters='dataset = "a"')
    runner.run_notebook("toy", "d", None, root)
    assert [path.name for path in target.parent.iterdir()] == ["toy.ipynb"]


def test_a_kernel_that_dies_is_one_line(root):
    add(root, "toy", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(ParagonError, match="kernel died"):
        runner.run_notebook("toy", "d", "b", root)


def test_a_kernel_that_dies_while_it_starts_says_what_it_said(root):
    (root / "ipykernel_launcher.py").write_text("raise SystemExit('no kernel today')")
    add(root, "toy", "1")
    with pytest.raises(NotebookFailed, match=r"(?s)notebook toy: Kernel died .*no kernel today"):
        runner.run_notebook("toy", "d", "b", root)


@pytest.mark.parametrize(
    ("arguments", "parameters", "message"),
    [
        (("nope", "d", "b"), None, "unknown notebook 'nope': there are toy"),
        (("../toy", "d", "b"), None, "unknown notebook"),
        (("toy", "d", "b"), None, "0 cells are tagged `parameters`"),
        (("toy", "d"), 'dataset = ""\nbackbone = ""', "needs --backbone"),
        (("toy", "d", "b"), 'dataset = ""', "takes no --backbone"),
        (("toy", "d", "b"), 'dataset = ""\nbackbone = ""\nsteps = 60', "needs --steps"),
        (("toy", "d"), 'dataset = ""\nimport sys', "may only assign values to names"),
        (("toy", "d"), "dataset = input()", "may only assign values to names"),
        (("toy", "d"), "%run other.py", "may only assign values to names"),
        (("toy", "../d", "b"), 'dataset = ""\nbackbone = ""', "not a name for a dataset"),
        (("toy", "d", "/b"), 'dataset = ""\nbackbone = ""', "not a name for a backbone"),
    ],
)
def test_what_cannot_run_is_refused_before_a_kernel_starts(root, arguments, parameters, message):
    add(root, "toy", "1", parameters=parameters)
    with pytest.raises(ParagonError, match=message):
        runner.run_notebook(*arguments, root=root)
    assert not (root / "artifacts").exists()


@pytest.mark.parametrize("line", ["overrides: dict = {'a': 1}", "overrides = {'a': 1}  # comment"])
def test_an_edited_parameters_cell_is_refused(root, line):
    add(root, "toy", "print(dataset, overrides)", parameters=f'dataset = "a"\n{line}')
    with pytest.raises(ParagonError, match=r"toy.ipynb: its first cell sets .*: 1.*params.yaml"):
        runner.run_notebook("toy", "d", None, root)


@pytest.mark.parametrize("line", ["overrides: dict = {}", ""])
def test_the_parameters_cell_has_no_influence(root, line):
    add(root, "toy", "print(dataset, overrides)", parameters=f'dataset = "a"\n{line}')
    assert outputs_of(runner.run_notebook("toy", "d", None, root))[0].text == "d {}\n"


def started(root, *parent, **variables):
    """A run whose notebook sleeps, perhaps below another program, and the process of its kernel."""
    note = "pathlib.Path('pid').write_text(str(os.getpid()))"
    add(root, "toy", f"import os, pathlib, time\n{note}\ntime.sleep(99)")
    (root / "tmp").mkdir()
    command = [sys.executable, "-m", "paragon", "run", "toy", "--dataset", "d", "--backbone", "b"]
    variables |= {"PARAGON_ROOT": str(root), "TMPDIR": str(root / "tmp")}
    running = subprocess.Popen(
        [*parent, *command],
        cwd=ROOT,
        env={**os.environ, **variables},
        stderr=subprocess.DEVNULL,
        preexec_fn=hear_signals,
    )
    pid = root / "pid"
    wait_until(lambda: pid.exists() and pid.read_text())
    return running, int(pid.read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_kernel_ends_with_the_runner(root, number):
    running, kernel = started(root)
    running.send_signal(number)
    assert running.wait(30) == 128 + number
    assert not is_running(kernel)
    assert not list((root / "tmp").glob("paragon-*")) and not (root / "artifacts").exists()


def test_the_kernel_ends_when_the_runner_is_killed(root):
    """Nothing can be tidied up then, but nothing may go on computing either."""
    running, kernel = started(root)
    running.kill()
    running.wait(30)
    wait_until(lambda: not is_running(kernel), seconds=30)
    assert not (root / "artifacts").exists()


def test_the_kernel_ends_when_dvc_is_killed(root):
    """DVC tells its commands nothing when it ends."""
    dvc = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"]
    running, kernel = started(root, *dvc, DVC_STAGE="toy@d-b")
    running.terminate()
    running.wait(30)
    wait_until(lambda: not is_running(kernel), seconds=30)
    wait_until(lambda: not list((root / "tmp").glob("paragon-*")))
    assert not (root / "artifacts").exists()


def test_a_broken_file_is_named(root):
    (root / "notebooks" / "toy.ipynb").write_text("<<<<<<< HEAD")
    with pytest.raises(ParagonError, match=r"toy\.ipynb: not a notebook"):
        runner.run_notebook("toy", "d", "b", root)


def test_there_are_source_notebooks():
    assert SOURCES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_sources_are_stored_stripped(path):
    command = [sys.executable, "-m", "nbstripout", "--verify", str(path)]
    assert subprocess.run(command).returncode == 0, "run `make strip`"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_sources_have_one_cell_of_parameters(path):
    tagged = [c for c in code_cells(path) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
