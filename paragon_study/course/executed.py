"""Copy executed notebooks of the first study to docs/executed, with smaller images."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
from PIL import Image

from paragon.params import load_params
from paragon.storage import write_text

FOLDER = "docs/executed"
COLOURS = 256  # in a figure


def publish_notebooks(root: Path) -> None:
    """Write the copies of all executed notebooks; keep older copies of the others."""
    studies = load_params(root / "params.yaml").studies
    folder = root / "artifacts" / "notebooks" / studies.datasets[0]
    for source in sorted((root / "notebooks").glob("0[1-7]_*.ipynb")):
        for path in (folder / source.name, folder / studies.backbones[0] / source.name):
            if path.exists():
                copy = smaller(path.read_text(encoding="utf-8"))
                write_text(root / FOLDER / source.name, copy)


def smaller(text: str) -> str:
    """Adapt relative links to the deeper folder, and reduce the colours of figures."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](../../")
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = few_colours(output.data["image/png"])
    return nbformat.writes(notebook) + "\n"


def few_colours(encoded: str) -> str:
    """Reduce a PNG to a palette of COLOURS; both are in base64."""
    made = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        palette = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    palette.save(made, "PNG", optimize=True)
    return base64.b64encode(made.getvalue()).decode("ascii")
