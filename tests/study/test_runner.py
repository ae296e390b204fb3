"""A notebook as a stage, and what a killed DVC leaves half-written."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
import yaml
from dvc.repo import Repo

from paragon import progress
from paragon.errors import NotebookFailed, ParagonError
from paragon.params import ROOT
from paragon_study.pipeline import determinism
from paragon_study.pipeline.determinism import KERNELS
from paragon_study.running import runner
from paragon_study.running.runner import FRAMES, code_cells, recover
from tests.conftest import THOROUGH, add, make_checkout, refused
from tests.study.conftest import hear_signals, is_running, wait_until

pytestmark = pytest.mark.slow

NAMES = ["PARAGON_QUIET", "PYTHONHASHSEED", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]
# Everything that made two runs differ: a stream cut in pieces, addresses, warnings with
# process numbers, times, the folder.
RESTLESS = """\
import os, sys, time, warnings
import pandas as pd
for number in range(3):
    print(number, object(), os.getcwd() + os.sep + "file", flush=True)
    time.sleep(0.3)
warnings.warn("only for the person who runs this")
display(pd.DataFrame({"a": [1]}))
object()"""


@pytest.fixture
def root(tmp_path):
    return make_checkout(tmp_path)


def test_two_runs_in_their_own_environment_give_the_same_bytes(root, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    before = dict(os.environ)
    given = 'study_name = "a"\nbackbone = "b"\noverrides: dict = {}'
    show = f"print(study_name, backbone, overrides, *(os.environ[name] for name in {NAMES}))"
    add(root, "toy", RESTLESS, show, parameters=given)
    target = runner.run_notebook("toy", "ml-toy", "sasrec", root)
    assert target == root / "artifacts/notebooks/ml-toy/sasrec/toy.ipynb"
    first = target.read_bytes()
    assert "only for the person" in capsys.readouterr().err  # said, but not kept
    assert runner.run_notebook("toy", "ml-toy", "sasrec", root).read_bytes() == first
    assert dict(os.environ) == before
    text = first.decode()
    assert "/file" not in text and str(root) not in text and "ipykernel" not in text
    outputs = [output for cell in code_cells(target) for output in cell.outputs]
    kinds = ["stream", "display_data", "execute_result", "stream"]
    assert [output.output_type for output in outputs] == kinds
    assert outputs[0].text.count("object object at 0x0") == 3
    assert outputs[3].text == "ml-toy sasrec {} 1 0 1 1\n"


def test_a_notebook_has_the_kernels_of_a_stage_whoever_starts_it(root, monkeypatch):
    """Else a lab that is made by a call has other digits than its notebooks, run again."""
    for name in KERNELS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(determinism.platform, "machine", lambda: "x86_64")
    add(root, "toy", f"import os\nprint(*(os.environ.get(name) for name in {[*KERNELS]}), sep=';')")
    [cell] = code_cells(runner.run_notebook("toy", "d", "b", root))[-1:]
    assert cell.outputs[0].text.strip().split(";") == [*KERNELS.values()]
    assert not KERNELS.keys() & os.environ.keys()


def test_a_failure_keeps_the_last_good_copy_and_the_broken_one(root):
    target = root / "artifacts/notebooks/d/b/toy.ipynb"
    target.parent.mkdir(parents=True)
    target.write_text("good")
    failed = target.with_suffix(".failed.ipynb")
    refusal = "from paragon import ParagonError\nraise ParagonError('not there')"
    for code, kind, word in (
        (refusal, ParagonError, "^not there$"),
        ("1 / 0", NotebookFailed, "ZeroDivisionError"),
    ):
        add(root, "toy", "print('so far')", code, "print('never')")
        with pytest.raises(kind, match=word) as raised:
            runner.run_notebook("toy", "d", "b", root)
        lines = str(raised.value).splitlines()
        assert len(lines) <= FRAMES + 2 and "\x1b" not in str(raised.value)
        assert target.read_text() == "good" and "so far" in failed.read_text()
        assert {*target.parent.iterdir()} == {target, failed}
    add(root, "toy", "1")
    runner.run_notebook("toy", "d", "b", root)  # a success takes the broken copy away
    assert {*target.parent.iterdir()} == {target, target.with_suffix(".time.json")}


def test_a_kernel_that_dies_is_one_line(root, capfd):
    add(root, "toy", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    refused("notebook toy", runner.run_notebook, "toy", "d", "b", root)
    (root / "ipykernel_launcher.py").write_text("raise SystemExit('no kernel today')")
    with pytest.raises(NotebookFailed, match="notebook toy"):
        runner.run_notebook("toy", "d", "b", root)
    assert "no kernel today" in capfd.readouterr().err


BOTH = 'study_name = ""\nbackbone = ""'


@pytest.mark.parametrize(
    ("arguments", "parameters", "named"),
    [
        (("../toy", "d", "b"), None, "'../toy'"),
        (("toy", "d", "b"), None, "--backbone"),
        (("toy", "d", "b"), BOTH, "toy.ipynb"),
        (("toy", "d"), BOTH, "--backbone"),
        (("toy", "d", "b"), 'study_name = ""', "--backbone"),
        (("toy", "d", "/b"), BOTH, "'/b'"),
        (("toy", "d"), 'study_name = ""\noverrides: dict = {"a": 1}', "overrides"),
    ],
)
def test_what_cannot_run_is_refused_before_a_kernel_starts(root, arguments, parameters, named):
    add(root, "toy", "1", parameters=parameters)
    if named == "toy.ipynb":  # which is then no notebook
        (root / "notebooks" / "toy.ipynb").write_text("<<<<<<< HEAD")
    refused(named, runner.run_notebook, *arguments, root=root)
    assert not (root / "artifacts").exists()


def test_a_long_stage_says_how_far_it_is(root, monkeypatch, capsys):
    monkeypatch.setattr(runner, "SECONDS", 0.05)
    code = "from paragon import progress\nprogress.SECONDS = 0.0\nimport time\n"
    steps = "for _ in progress.progress({}, 'epochs'):\n    time.sleep(0.2)"
    unknown = steps.format("(n for n in range(4))")  # how many there are
    add(root, "toy", code + steps.format("range(4)"), unknown)
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    monkeypatch.setenv(progress.LINE, str(root / "gone" / "progress"))
    assert [*progress.progress(range(4), "epochs")] == [0, 1, 2, 3]  # a lost line ends no training
    runner.run_notebook("toy", "d", "b", root)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("d/b/toy: ") and "epochs" in line for line in lines)
    assert any("3/4" in line for line in lines) and not any("/4" in line for line in lines[-1:])
    assert "?" not in lines[-1]  # no total, no rate
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGKILL", "DVC"] + THOROUGH * ["SIGINT"])
def test_the_kernel_ends_with_the_runner_or_with_dvc(root, ending):
    """DVC, here a program that starts the runner, tells its commands nothing when it ends."""
    note = "pathlib.Path('pid').write_text(str(os.getpid()))"
    add(root, "toy", f"import os, pathlib, time\n{note}\ntime.sleep(99)")
    (root / "tmp").mkdir()
    command = [sys.executable, "-m", "paragon", "run", "toy", "--study", "d", "--backbone", "b"]
    variables = {"PARAGON_ROOT": str(root), "TMPDIR": str(root / "tmp")}
    if ending == "DVC":
        code = "import subprocess, sys; subprocess.run(sys.argv[1:])"
        command, variables["DVC_STAGE"] = [sys.executable, "-c", code, *command], "toy@d-b"
    running = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | variables, stderr=subprocess.DEVNULL,
        preexec_fn=hear_signals,
    )  # fmt: skip
    pid = root / "pid"
    wait_until(lambda: pid.exists() and pid.read_text())
    number = signal.SIGTERM if ending == "DVC" else signal.Signals[ending]
    running.send_signal(number)
    status = running.wait(30)
    assert ending not in ("SIGTERM", "SIGINT") or status == 128 + number
    wait_until(lambda: not is_running(int(pid.read_text())), seconds=30)
    if ending != "SIGKILL":  # after which nothing can be tidied up
        wait_until(lambda: not list((root / "tmp").glob("paragon-*")))
    assert not (root / "artifacts").exists()


def test_sources_are_stored_stripped_with_one_cell_of_parameters():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = code_cells(path)
        assert not any(cell.outputs or cell.execution_count for cell in cells), "run `make strip`"
        assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1, path


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """A pipeline of two stages that was run."""
    monkeypatch.chdir(tmp_path)
    stages = {
        "first": {"cmd": "cp dep one", "deps": ["dep"], "outs": ["one"]},
        "last": {"cmd": "cp one two", "deps": ["one"], "outs": ["two"]},
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / "dep").write_text("text")
    with Repo.init(no_scm=True) as repo:
        repo.reproduce()
    return tmp_path


def test_wherever_a_lock_file_was_cut_dvc_goes_on_to_the_same_file(pipeline):
    path, running = pipeline / "dvc.lock", pipeline / ".dvc" / "tmp" / "rwlock"
    whole = path.read_text()
    running.write_text("{}")
    assert recover(pipeline) == [] and running.exists()
    running.write_text("")
    assert recover(pipeline) == [".dvc/tmp/rwlock"] and not running.exists()
    for length in [0, *range(1, len(whole) - 1, 9)]:
        path.write_text(whole[:length])
        recover(pipeline)
        with Repo() as repo:
            assert length > 0.9 * len(whole) or "last" in repo.status()
    path.write_text(whole[:200])
    assert recover(pipeline) == ["dvc.lock"]
    with Repo() as repo:
        repo.reproduce()
    assert path.read_text() == whole


@pytest.mark.parametrize("name", ["one", "one.dir"])
@pytest.mark.parametrize("copied", [False, True])
def test_a_flipped_bit_in_the_cache_is_repaired_and_the_stage_runs_again(pipeline, name, copied):
    """DVC checks nothing that it wrote: it would hand out the damaged file again and again."""
    first = {"cmd": "mkdir -p one && cp dep one/model", "deps": ["dep"], "outs": ["one"]}
    last = {"cmd": "cp one/model two", "deps": ["one"], "outs": ["two"]}
    (pipeline / "two").unlink()
    (pipeline / "one").unlink()
    (pipeline / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"first": first, "last": last}}))
    with Repo() as repo:
        repo.reproduce()
    cached = sorted(
        path for path in (pipeline / ".dvc/cache/files/md5").rglob("*") if path.is_file()
    )
    [file] = [path for path in cached if (path.suffix == ".dir") == (name == "one.dir")]
    whole = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    file.chmod(0o444)
    if copied and name == "one":  # into the folder, where DVC takes it for good
        shutil.rmtree("one")
        (pipeline / "two").unlink()
        with Repo() as repo:
            repo.checkout()
            assert repo.status() == {}
        assert (pipeline / "one/model").read_text() != "text"
    assert recover(pipeline) == [str(file.relative_to(pipeline))]
    with Repo() as repo:
        repo.reproduce()
        assert repo.status() == {} and recover(pipeline) == []
    assert (pipeline / "one/model").read_text() == (pipeline / "two").read_text() == "text"
    shutil.rmtree("one")
    with Repo() as repo:
        repo.checkout()
    assert (pipeline / "one/model").read_text() == "text"


def test_a_bit_that_flipped_in_an_output_is_seen_by_the_next_run(pipeline):
    """Its time is as it was, and so DVC would not read it again."""
    before = os.stat("two")
    (pipeline / "two").chmod(0o644)
    (pipeline / "two").write_text("taxt")
    os.utime("two", ns=(before.st_atime_ns, before.st_mtime_ns))
    with Repo() as repo:
        assert repo.status() == {}
    assert recover(pipeline) == []
    with Repo() as repo:
        assert [*repo.status()] == ["last"]
        repo.reproduce()
    assert (pipeline / "two").read_text() == "text"


def test_a_stage_that_fails_says_how_its_last_outputs_come_back(root, monkeypatch):
    add(root, "toy", "from paragon import ParagonError\nraise ParagonError('not there')")
    monkeypatch.setenv("DVC_STAGE", "toy@d-b")
    assert "dvc checkout" not in refused("not there", runner.run_notebook, "toy", "d", "b", root)
    (root / "dvc.lock").write_text("schema: '2.0'\nstages:\n  toy@d-b:\n    cmd: run\n")
    refused("`dvc checkout toy@d-b`", runner.run_notebook, "toy", "d", "b", root)
    refused("`dvc checkout toy@d-b`", runner.run_notebook, "gone", "d", "b", root)


def test_a_warning_in_a_notebook_is_printed_and_kept(root, capsys):
    add(root, "toy", "print('all is well')\nprint('WARNING: no better than a rule')")
    target = runner.run_notebook("toy", "d", "b", root)
    printed = capsys.readouterr().err
    assert "toy: WARNING: no better than a rule" in printed and "all is well" not in printed
    assert "WARNING" in target.read_text()
