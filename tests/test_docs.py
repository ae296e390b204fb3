"""`make docs`: no broken link, and nothing that asks the network."""

import re
import subprocess
import sys

import pytest

from paragon.params import ROOT


@pytest.mark.slow
def test_the_pages_are_made_without_a_warning_and_need_no_network(tmp_path):
    pytest.importorskip("sphinx", reason="installed by `make docs`")
    options = ["-q", "-W", "--keep-going", "-b", "html", "-c", "docs"]
    command = [sys.executable, "-m", "sphinx", *options, ".", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    fetched = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^"]+"')
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 80 and (tmp_path / "searchindex.js").exists()
    for page in pages:
        assert fetched.findall(page.read_text(encoding="utf-8")) == [], page
