"""Every defect of ``defects.yaml``, planted, is caught: those of the released code among them."""

import shutil
import subprocess
import sys

import pytest
import yaml

from paragon.params import ROOT
from tests.conftest import THOROUGH

DEFECTS = yaml.safe_load((ROOT / "tests" / "defects.yaml").read_text(encoding="utf-8"))


def test_every_defect_of_the_list_has_its_place():
    for name, defect in DEFECTS.items():
        text = (ROOT / defect["file"]).read_text(encoding="utf-8")
        assert text.count(defect["old"]) == 1, name
        path, _, test = defect["test"].partition("::")
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), name


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="minutes; `make test-all` runs it")
@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_caught(name, tmp_path):
    """Planted into a copy, it makes its test fail, and not by a mistake in the mistake."""
    defect = DEFECTS[name]
    for part in ("paragon", "paragon_study", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part)
    for part in ("params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / part, tmp_path)
    path = tmp_path / defect["file"]
    path.write_text(path.read_text(encoding="utf-8").replace(defect["old"], defect["new"]))
    command = f"{sys.executable} -m pytest -n0 -x -p no:cacheprovider {defect['test']}".split()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout
    assert "E   NameError" not in done.stdout and "E   SyntaxError" not in done.stdout
