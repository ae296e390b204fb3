"""What serves the course: exercises, the lab, the control room, executed notebooks."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from paragon.adapters.frozen import adapter_form
from paragon.params import ROOT, load_params, read_settings
from paragon.serving.recommender import Recommender
from paragon_study.course import answers, lab
from paragon_study.course.control_room import NOBODY, ControlRoom
from paragon_study.course.executed import FOLDER
from paragon_study.course.exercise import RIGHT, UNANSWERED, check
from paragon_study.pipeline.determinism import STAGE
from paragon_study.running.studies import check_dataset
from tests.conftest import Planned, refused

pytestmark = pytest.mark.slow

COPIES = sorted((ROOT / FOLDER).glob("*.ipynb"))

# --- exercises -----------------------------------------------------------------------------------


def said(capsys, *arguments, **options):
    check(*arguments, **options)
    return capsys.readouterr().out.strip()


def test_right_answers_and_no_answer_yet(capsys):
    pairs = [(0.25, 0.25000001), (np.arange(3), torch.arange(3)), (["a", 1], ("a", 1.0))]
    for answer, expected in [*pairs, (True, True), (float("nan"), None)]:
        assert said(capsys, answer, expected) == RIGHT
    for nothing in (..., (1, ...), [[...]]):
        assert said(capsys, nothing, 1) == UNANSWERED
        assert said(capsys, lambda x, y=nothing: y, lambda x: 1, (0,)) == UNANSWERED


class Sulky:
    """An object that does not even say what it is."""

    def __str__(self):
        raise KeyError

    __float__ = __eq__ = __array__ = __str__


def test_a_wrong_answer_is_no_error_and_does_not_give_the_right_one_away(capsys):
    endless = []
    endless.append(endless)
    for expected in (1.0, "a", (1, 2)):
        for answer in (10**400, np.array(["a", "b"]), [Sulky(), 2], (1, Sulky()), endless):
            assert said(capsys, answer, expected) not in (RIGHT, UNANSWERED, "")
    for answer in (0.26, "0.25", None, [0.25, 0.25], np.ones(2), object(), int):
        line = said(capsys, answer, 0.5)
        assert line not in (RIGHT, UNANSWERED, "") and "0.5" not in line


def test_a_slip_is_explained_and_a_function_is_tried_on_every_case(capsys):
    line = said(capsys, 4, 2, hints=[(3, "Too far."), (4, "This is the square.")])
    assert line.endswith("This is the square.")
    cases = [(1, 2), (3, 4)]
    assert said(capsys, lambda x, y: y + x, lambda x, y: x + y, *cases) == RIGHT
    line = said(capsys, lambda x, y: 3, lambda x, y: x + y, *cases)
    assert "3, 4" in line and "7" in line  # the case, and its value
    assert "ZeroDivisionError" in said(capsys, lambda x: x / 0, lambda x: x, (1,))


class Lists:
    """A recommender whose list depends on the weights."""

    def recommend(self, liked, weights):
        items = {1.0: "gh", 0.9: "abc", 0.1: "bcd", 0.0: "xy"}[round(weights[0], 6)]
        return SimpleNamespace(item_ids=list(items))


def table(*values):
    return pd.DataFrame({"alpha_ndcg@10": values})


LAW = pd.DataFrame(
    [("3-sasrec", "nearest", 5, 5.0), ("3-sasrec", "nearest", 20, 2.0), ("2", "nearest", 5, 7.0)],
    columns=["name", "method", "anchors", "regret_mean"],
)
METHODS = pd.DataFrame(
    [("a", 1.0, 0.4), ("b", 5.0, 0.3), ("c", 4.0, 0.5), ("d", 2.0, 0.2), ("e", 3.0, 0.1)],
    columns=["method", "regret", "outcome_error"],
).assign(setting="3 objectives, sasrec")
SIZES = load_params(ROOT / "params.yaml", study="ml-100k", backbone="sasrec")
QUESTIONS = {
    answers.velocity: (2.0, 3.0, 1.4),
    answers.equal_cost: (SIZES,),
    answers.times_saved: (SIZES, 3.5, 9_000),
    answers.factor: (LAW,),
    answers.farthest: (METHODS,),
    answers.shared: (Lists(), []),
    answers.new_w1: (torch.randn(2, 4), torch.linalg.qr(torch.randn(4, 4))[0]),
    answers.left: (table(0.5, 0.6), table(0.3, 0.8)),
}


@pytest.mark.parametrize("right", answers.MISTAKES, ids=lambda right: right.__name__)
def test_common_mistakes_are_explained(right, capsys):
    """As functions where the exercise asks for one, else as values."""
    given = QUESTIONS[right]
    asked = right in (answers.velocity, answers.new_w1)
    assert said(capsys, right if asked else right(*given), right, given) == RIGHT
    assert len(answers.MISTAKES[right]) >= 3
    for slip, why in answers.MISTAKES[right]:
        assert said(capsys, slip if asked else slip(*given), right, given).endswith(why)


# --- the lab --------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with two notebooks, and a runner that only writes down what it was given."""
    for name in ("data", "paragon", "paragon_study", "docs", "notebooks", "artifacts"):
        (tmp_path / name).mkdir()
    for name in ("01_data", "03_adapters"):
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", tmp_path / "notebooks")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "artifacts" / "made").write_text("by the study")
    calls = []
    monkeypatch.setattr(lab, "run_notebook", lambda *given: calls.append(given))
    return tmp_path, calls


def test_a_small_lab_runs_the_study_in_small_in_a_folder_of_its_own(checkout):
    root, calls = checkout
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    made = lab.make_lab(root=root, say=lambda _: None)
    expected = [("01_data", "ml-100k", None), ("03_adapters", "ml-100k", "sasrec")]
    assert made == root / "lab" and [call[:3] for call in calls] == expected
    small = load_params(made / "params.yaml")
    users = read_settings(lab.SMALL)["data"]["max_users"]
    assert small.data.max_users == users and small.adapters.served == load_params().adapters.served
    for path in (made / "notebooks").glob("*.ipynb"):
        cell = nbformat.read(path, as_version=4).cells[1]
        assert cell.source == lab.BEGIN.format(lab=str(made)), path
        assert str(users) in cell.outputs[0].data["text/markdown"], path
    assert not (made / "artifacts").exists() and (made / "data").resolve() == root / "data"
    assert {path: path.read_bytes() for path in before} == before


SHOW = """\
import os, sys
loaded = {"numpy", "torch"} & {*sys.modules}
from paragon_study.course.lab import begin
print(begin().data)
from paragon.params import ARTIFACTS
print(ARTIFACTS, loaded, *(os.environ.get(name) for name in NAMES))
"""


@pytest.mark.parametrize("where", ["notebooks", "."])
def test_a_kernel_that_anybody_starts_in_the_lab_works_there_with_the_settings_of_stages(
    checkout, where
):
    """As by `jupyter nbconvert --execute` or another editor, without a variable of the lab."""
    root, _ = checkout
    made = lab.make_lab(root=root, say=lambda _: None)
    names = ["OMP_NUM_THREADS", "PYTHONHASHSEED", "MALLOC_TRIM_THRESHOLD_"]
    ours = {"PARAGON_ROOT", *names}
    environment = {k: v for k, v in os.environ.items() if k not in ours}
    environment["PYTHONPATH"] = str(ROOT)

    def printed(folder):
        code = f"NAMES = {names}\n{SHOW}"
        command = [sys.executable, "-c", code]
        return subprocess.check_output(command, cwd=folder, env=environment, text=True)

    *text, last = printed(made / where).splitlines()
    assert str(read_settings(lab.SMALL)["data"]["max_users"]) in "".join(text)
    expected = [str(made / "artifacts"), "set()", *(STAGE[name] for name in names)]
    assert last.split() == expected
    # A lab that was moved takes no packages of the study.
    gone = subprocess.run(
        [sys.executable, "-c", lab.BEGIN.format(lab=str(made / "x"))],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert gone.returncode and "was in " + str(made / "x") in gone.stderr
    *text, last = printed(root / "notebooks").splitlines()  # outside: the study, and it says so
    assert str(ROOT) in "".join(text) and last.startswith(str(ROOT / "artifacts"))


def test_data_of_the_study_are_not_replaced_from_its_lab(checkout):
    root, _ = checkout
    made = lab.make_lab(root=root, say=lambda _: None)
    check_dataset("shop", made)
    (root / "data" / "shop").mkdir()
    refused(str(made / "data" / "shop"), check_dataset, "shop", made)
    check_dataset("shop", root)


def test_a_full_lab_has_copies_of_the_artifacts_and_is_kept(checkout):
    root, calls = checkout
    made = lab.make_lab(full=True, root=root)
    assert not calls and (made / "params.yaml").read_text() == (root / "params.yaml").read_text()
    (made / "artifacts" / "made").write_text("by a student")
    assert (root / "artifacts" / "made").read_text() == "by the study"
    (made / "params.yaml").write_text("edited")
    assert (lab.make_lab(full=True, root=root) / "params.yaml").read_text() == "edited"
    refused("make lab-reset", lab.make_lab, root=root)
    shutil.rmtree(made)
    for name in ("artifacts", "data"):
        shutil.rmtree(root / name)
        refused(str(root / name), lab.make_lab, True, root)


def test_a_lab_that_failed_half_way_is_none(checkout, monkeypatch):
    root, _ = checkout
    monkeypatch.setattr(lab, "run_notebook", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lab.make_lab(root=root, say=lambda _: None)
    assert not (root / "lab").exists()


def test_jupyterlab_is_found_without_its_environment_on_the_path(tmp_path, monkeypatch):
    called = []
    shutil.copy(ROOT / "params.yaml", tmp_path)
    given = {}

    def execve(program, words, environment):
        called.extend(words)
        given.update(environment)

    monkeypatch.setattr(os, "execve", execve)
    lab.open_lab(tmp_path, [])
    own = STAGE | {"PARAGON_ROOT": str(tmp_path)}
    assert own.items() <= given.items()
    assert called[1:] == ["-m", "jupyterlab", f"--notebook-dir={tmp_path}"]


def test_every_stage_has_a_copy_with_outputs_and_together_they_are_small():
    """After a change of a notebook: run its stage, then `python -m paragon report`."""
    names = {path.name for path in (ROOT / "notebooks").glob("0[1-7]_*.ipynb")}
    assert {path.name for path in COPIES} == names
    assert sum(path.stat().st_size for path in COPIES) < 3e6
    for path in COPIES:
        source = nbformat.read(ROOT / "notebooks" / path.name, as_version=4).cells
        cells = nbformat.read(path, as_version=4).cells
        own = [c for c in cells if "injected-parameters" not in c.metadata.get("tags", [])]
        assert [c.source for c in own] == [c.source.replace("](../", "](../../") for c in source]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert any("image/png" in output.get("data", {}) for output in outputs)
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


@pytest.fixture
def make_room(seqs, backbone, settings):
    form = adapter_form(backbone, seqs, settings.adapters)
    return lambda *names: ControlRoom(seqs, Recommender(backbone, Planned(form, names), seqs))


@pytest.fixture
def room(make_room):
    return make_room("accuracy", "diversity")


def test_a_list_is_the_best_of_what_was_not_met(room, seqs, backbone):
    number = seqs.user_ids.index("u3")
    event = np.array([number]), np.array([seqs.lengths[number]])
    scores = backbone.score_catalogue(backbone.states_before(seqs, *event))[0]
    met = seqs.items[seqs.offsets[number] : seqs.offsets[number + 1]]
    scores[[0, *met.tolist()]] = -torch.inf
    expected = scores.argsort(descending=True)[:10].tolist()
    assert room.top(room.history("u3", []), None) == expected
    assert room.top(room.history("u3", []), [1, 0]) == expected  # here an adapter of zeros
    assert room.top(room.history("u3", []), [0, 1]) != expected
    longer = room.history("u3", [seqs.titles[expected[0] - 1]])
    assert expected[0] not in room.top(longer, None)
    refused("'x'", room.history, None, ["x"])


def controls(room, monkeypatch):
    monkeypatch.delenv("PARAGON_QUIET", raising=False)
    *controls, _ = room.show().children
    return [control.description or "titles" for control in controls]


def test_the_widget_has_a_slider_and_its_lists_follow(room, seqs, monkeypatch):
    grid = room.show()  # without a person there is a table
    assert grid.shape == (10, 6) and grid.columns[0] == "accuracy 1, diversity 0"
    assert grid.iloc[:, 0].tolist() == grid["backbone alone"].tolist()
    assert controls(room, monkeypatch) == ["user", "titles", "accuracy"]
    *_, slider, lists = room.show().children
    assert "accuracy 0.50" in lists.value
    slider.value = 1
    assert "accuracy 1.00" in lists.value and "new</td>" not in lists.value
    text = room.lists(user="u3", titles=[], accuracy=1)
    assert "new</td>" not in text and "accuracy 1.00" in text and "diversity 0.00" in text
    text = room.lists(user="u3", titles=[], accuracy=0)
    assert text.count("new</td>") == text.count("left</td>") > 0
    assert "<td>" not in room.lists(user=NOBODY, titles=[], accuracy=0)
    text = room.lists(user=NOBODY, titles=[seqs.titles[4]], accuracy=0)
    best = room.top(room.history(None, [seqs.titles[4]]), [0, 1])
    assert f"<td>{seqs.titles[best[0] - 1]}</td>" in text


def test_three_objectives_have_three_sliders(make_room, monkeypatch):
    names = ["accuracy", "diversity", "novelty"]
    room = make_room(*names)
    assert controls(room, monkeypatch)[2:] == names
    text = room.lists(user="u3", titles=[], accuracy=0.2, diversity=0.2, novelty=0)
    assert "accuracy 0.50" in text and "diversity 0.50" in text and "novelty 0.00" in text
    text = room.lists(user="u3", titles=[], **dict.fromkeys(names, 0))
    assert all(f"{name} 0.33" in text for name in names)
