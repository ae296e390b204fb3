"""Copies of the executed notebooks in docs/executed, so that a visitor sees them with outputs.

They are committed: those of the first dataset and backbone of params.yaml, the ablations among
them.  Their figures have fewer colours than the originals, which makes them a third as large.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
from PIL import Image

from paragon.params import load_params
from paragon.storage import write_text

FOLDER = "docs/executed"
COLOURS = 256  # of a figure


def publish_notebooks(root: Path) -> None:
    """Write the copies of all notebooks that have been executed; others stay as they are."""
    studies = load_params(root / "params.yaml").studies
    folder = root / "artifacts" / "notebooks" / studies.datasets[0]
    for source in sorted((root / "notebooks").glob("0[1-7]_*.ipynb")):
        for path in (folder / source.name, folder / studies.backbones[0] / source.name):
            if path.exists():
                copy = smaller(path.read_text(encoding="utf-8"))
                write_text(root / FOLDER / source.name, copy)


def smaller(text: str) -> str:
    """A notebook with links that hold in FOLDER, one folder deeper, and figures of few colours."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](../../")
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = few_colours(output.data["image/png"])
    return nbformat.writes(notebook) + "\n"


def few_colours(encoded: str) -> str:
    """A PNG in base64 with a palette of COLOURS, in base64."""
    made = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        palette = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    palette.save(made, "PNG", optimize=True)
    return base64.b64encode(made.getvalue()).decode("ascii")
