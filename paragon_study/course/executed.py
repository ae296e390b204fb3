"""Copy executed notebooks of the first study to docs/executed, with smaller images."""

import io
from base64 import b64decode, b64encode
from pathlib import Path

import nbformat
from PIL import Image

from paragon.params import ROOT, load_params
from paragon.storage import write_text

FOLDER = "docs/executed"
COLOURS = 256  # in a figure


def publish_notebooks(root: Path = ROOT) -> None:
    """Write the copies of all executed notebooks; keep older copies of the others."""
    studies = load_params(root / "params.yaml").studies
    folder = root / "artifacts" / "notebooks" / next(iter(studies.datasets))
    for source in sorted((root / "notebooks").glob("0[1-7]_*.ipynb")):
        for path in (folder / source.name, folder / studies.backbones[0] / source.name):
            if path.exists():
                write_text(root / FOLDER / source.name, smaller(path.read_text(encoding="utf-8")))


def smaller(text: str) -> str:
    """Adapt relative links to the deeper folder, and reduce figures to a palette of COLOURS."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](../../")
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            if "image/png" in data:
                made, image = io.BytesIO(), Image.open(io.BytesIO(b64decode(data["image/png"])))
                palette = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
                palette.save(made, "PNG", optimize=True)
                data["image/png"] = b64encode(made.getvalue()).decode("ascii")
    return nbformat.writes(notebook) + "\n"
