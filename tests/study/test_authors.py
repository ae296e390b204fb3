"""docs/authors.md: every command on it in a small study, and its objective and its rival."""

import doctest
import json
import re
from importlib import import_module

import pytest

from paragon.evaluation import methods
from paragon.evaluation.evaluate import evaluate
from paragon.objectives import table
from paragon.params import ROOT
from paragon.storage import write_json
from paragon_study.report.compare import write_comparison
from tests.conftest import trained_study
from tests.study.conftest import command, git

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "authors.md").read_text(encoding="utf-8")


def code_of(language):
    return re.findall(rf"```(?:{language})\n(.*?)```", PAGE, re.DOTALL)


def test_every_command_for_authors_prints_what_the_page_says(run_once):
    git(run_once, "add", "-A")
    git(run_once, "commit", "-qm", "results")
    git(run_once, "config", "user.name", "test")
    git(run_once, "config", "user.email", "test@example.org")
    alike = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for block in code_of("console|python"):
        if file := re.match(r"# (\w+\.py)\n", block):
            (run_once / file[1]).write_text(block)
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, expected = step.partition("\n")
            found = command(run_once, "bash", "-c", f"{line} 2>&1")
            assert doctest.OutputChecker().check_output(expected, found, alike), (
                f"$ {line}\n{found}\ninstead of\n{expected}"
            )
    assert git(run_once, "status", "--porcelain") == "?? shop/\n"


def test_an_objective_and_a_rival_are_a_file_an_import_and_a_line_each(
    seqs, backbone, settings, tmp_path, monkeypatch
):
    blocks = [block.strip() for block in code_of("python")]
    for block in (block for block in blocks if block.startswith("# paragon/")):
        path = tmp_path / block[2:].partition("\n")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)
        package = import_module(".".join(path.relative_to(tmp_path).parts[:-1]))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(path.parent)])
    lines = iter(block for block in blocks if not block.startswith("# "))
    for module, name in ((table, "OBJECTIVES"), (methods, "METHODS")):
        names = dict(vars(module))
        exec(next(lines), names)
        for key, entry in eval("{" + next(lines) + "}", names).items():
            monkeypatch.setitem(getattr(module, name), key, entry)
    own = settings.adapters.model_copy(update={"objectives": ["accuracy", "even"]})
    evaluation = settings.evaluation.model_copy(update={"resamples": 1200})
    trained = trained_study(seqs, backbone, settings.model_copy(update={"adapters": own}))
    evaluate(trained, evaluation).write(tmp_path / "toy" / "sasrec")
    write_json(tmp_path / "toy" / "data.json", seqs.description)
    write_comparison(tmp_path)
    metrics = json.loads((tmp_path / "toy" / "sasrec" / "metrics.json").read_text())
    assert metrics["average"]["set_hv_full"] > 0
    assert "r_even_sampled" in metrics["generated"]
    assert "w_even" in (tmp_path / "toy/sasrec/curve.csv").read_text().partition("\n")[0]
    assert "| average " in (tmp_path / "summary.md").read_text()
