"""docs/authors.md: every command on it, in a small study."""

import doctest
import re

import pytest

from paragon.params import ROOT
from tests.study.conftest import command, git


def steps_of(page):
    """The commands of a page of docs/, each with the output that it shows."""
    for block in re.findall(r"```console\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            yield line, output


@pytest.mark.slow
def test_every_command_for_authors_prints_what_the_page_says(run_once):
    git(run_once, "add", "-A")
    git(run_once, "commit", "-qm", "results")
    git(run_once, "config", "user.name", "test")
    git(run_once, "config", "user.email", "test@example.org")
    alike = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for line, expected in steps_of("authors.md"):
        found = command(run_once, "bash", "-c", f"{line} 2>&1")
        assert doctest.OutputChecker().check_output(expected, found, alike), (
            f"$ {line}\n{found}\ninstead of\n{expected}"
        )
    assert git(run_once, "status", "--porcelain") == "?? shop/\n"
