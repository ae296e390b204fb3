"""The lab in JupyterLab, as somebody sees it who opens every notebook and runs all cells."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from paragon_study.course.lab import make_lab
from tests.conftest import THOROUGH
from tests.demo.browser import Browser
from tests.study.conftest import command, git, snapshot, wait_until

# The control room, the data and every figure: what trains would change what the others load.
# Notebook 7 needs the ablations, which take hours.
NOTEBOOKS = "0[0-689]_*.ipynb" if THOROUGH else "0[01]_*.ipynb"
# The notebook of the only open file, once it has a kernel.
OPENED = """(async () => {
  for (;;) {
    const book = [...jupyterapp.shell.widgets("main")].find((widget) => widget.context);
    if (book) {
      await book.context.ready;
      await book.sessionContext.ready;
      jupyterapp.shell.activateById(book.id);
      return;
    }
    await new Promise((next) => setTimeout(next, 50));
  }
})()"""
ALL_RUN = """(async () => {
  const book = [...jupyterapp.shell.widgets("main")].find((widget) => widget.context);
  await jupyterapp.commands.execute("notebook:run-all-cells");
  await book.context.save();
  return book.content.model.toJSON();
})()"""
# The weights and the list of the control room.
SHOWN = "document.querySelector('.widget-output')?.textContent ?? ''"


def move_slider(browser):
    """Press the right arrow on the slider of an open control room until its weight follows."""
    wait_until(lambda: "accuracy 0.50" in browser.run(SHOWN))

    def moved():
        browser.run("document.querySelector('.noUi-handle').focus()")
        browser.key("ArrowRight", 39)
        return "accuracy 0.50" not in browser.run(SHOWN)

    wait_until(moved)


@pytest.mark.slow
def test_notebooks_of_the_lab_run_in_a_browser_and_leave_the_study_as_it_was(finished):
    """All cells in JupyterLab, saved with outputs; a slider follows the keys."""
    before = snapshot(finished)
    lab = make_lab(full=True, root=finished)
    environment = {k: v for k, v in os.environ.items() if k != "PARAGON_QUIET"}
    options = ("--no-browser", "--allow-root", "--port=0", "--IdentityProvider.token=")
    server = subprocess.Popen(
        [Path(sys.executable).parent / "jupyter", "lab", *options, f"--notebook-dir={lab}",
         "--LabApp.expose_app_in_browser=True"],
        env=environment | {"PARAGON_ROOT": str(lab), "JUPYTER_RUNTIME_DIR": str(lab / "runtime")},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with closing(Browser()) as browser:
            browser.socket.settimeout(300)
            wait_until(lambda: [*lab.glob("runtime/jpserver-*.json")])
            address = json.loads(next(lab.glob("runtime/jpserver-*.json")).read_text())["url"]
            for path in sorted(lab.glob(f"notebooks/{NOTEBOOKS}")):
                browser.open(f"{address}lab/tree/notebooks/{path.name}?reset", "window.jupyterapp")
                browser.run(OPENED)
                cells = browser.run(ALL_RUN)["cells"]
                code = [cell for cell in cells if cell["cell_type"] == "code"]
                for output in (output for cell in code for output in cell["outputs"]):
                    assert output["output_type"] != "error", (path.name, output["evalue"])
                    assert output.get("name") != "stderr", (path.name, output["text"])
                assert all(cell["execution_count"] for cell in code), path.name
                if path.name.startswith("00"):
                    move_slider(browser)
                assert '"execution_count": 1,' in path.read_text(), "it was not saved"
    finally:
        server.terminate()
        server.wait(30)
    assert snapshot(finished) == before
    assert git(finished, "status", "--porcelain", "notebooks", "params.yaml") == ""
    assert "up to date" in command(finished, "dvc", "status", "dvc.yaml")
