"""Copies of the executed notebooks in docs/executed, so that a visitor sees them with outputs.

They are committed: those of the first dataset and backbone of params.yaml, the ablations among
them.  Their figures have fewer colours than the originals, which makes them a third as large.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

from paragon.params import load_params
from paragon.storage import write_text

FOLDER = "docs/executed"
COLOURS = 256  # of a figure
UP = re.compile(r"\]\(\.\./")  # a link from notebooks/ to elsewhere: one folder more from FOLDER


def executed_notebooks(root: Path) -> dict[Path, str]:
    """``{path: text}`` of the copies of the notebooks that have been executed in this clone."""
    studies = load_params(root / "params.yaml").studies
    folder = root / "artifacts" / "notebooks" / studies.datasets[0]
    made = {}
    for source in sorted((root / "notebooks").glob("0[1-7]_*.ipynb")):
        for path in (folder / source.name, folder / studies.backbones[0] / source.name):
            if path.exists():
                notebook = nbformat.read(path, as_version=4)
                made[root / FOLDER / source.name] = nbformat.writes(smaller(notebook)) + "\n"
    return made


def smaller(notebook: NotebookNode) -> NotebookNode:
    """The notebook with links that hold in FOLDER and figures of few colours; changed in place."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = UP.sub("](../../", cell.source)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = few_colours(output.data["image/png"])
    return notebook


def few_colours(encoded: str) -> str:
    """A PNG in base64 with a palette of COLOURS, in base64."""
    made = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
            made, "PNG", optimize=True
        )
    return base64.b64encode(made.getvalue()).decode("ascii")


def publish_notebooks(root: Path) -> None:
    """Write the copies of all notebooks that have been executed; others stay as they are."""
    for path, text in executed_notebooks(root).items():
        write_text(path, text)
