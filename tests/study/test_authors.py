"""docs/authors.md, command by command, in a clone with a small study."""

import doctest
import re

import pytest

from paragon.params import ROOT
from tests.study.conftest import command, git

CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def steps():
    """The commands of the page, each with the output that it shows."""
    text = (ROOT / "docs" / "authors.md").read_text(encoding="utf-8")
    for block in CONSOLE.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            yield line, output


@pytest.mark.slow
def test_every_command_prints_what_the_page_says(small_study):
    git(small_study, "config", "user.name", "test")
    git(small_study, "config", "user.email", "test@example.org")
    command(small_study, "dvc", "repro")
    git(small_study, "add", "-A")
    git(small_study, "commit", "-qm", "results")
    alike = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for line, expected in steps():
        found = command(small_study, "bash", "-c", f"{line} 2>&1")
        assert doctest.OutputChecker().check_output(expected, found, alike), (
            f"$ {line}\n{found}\ninstead of\n{expected}"
        )
    assert git(small_study, "status", "--porcelain") == "?? shop/\n"
