"""The image of the service: it has the versions that are audited, and only what it needs."""

import re

from paragon.params import ROOT


def test_the_image_has_the_audited_versions_and_nothing_else_is_sent_to_its_build():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    installed = [line for line in lines if "pip install" in line]
    assert installed and all("--constraint constraints.txt" in line for line in installed)
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert sent[1] == "*" and {line[1:] for line in sent if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)
    tested = re.search(r"belong to Python ([\d.]+\d)", (ROOT / "docs/trust.md").read_text())
    assert f"FROM python:{tested[1]}-slim" in lines
