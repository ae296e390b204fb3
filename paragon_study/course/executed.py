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
    folders = [folder, folder / studies.backbones[0]]  # of stages without, and with a backbone
    for source in sorted((root / "notebooks").glob("0[1-7]_*.ipynb")):
        for path in (folder / source.name for folder in folders):
            if path.exists():
                executed = path.read_text(encoding="utf-8")
                write_text(root / FOLDER / source.name, smaller(executed))


def smaller(text: str) -> str:
    """Adapt relative links to the deeper folder, and reduce figures to a palette of COLOURS."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](../../")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = _with_few_colours(data["image/png"])
    return nbformat.writes(notebook) + "\n"


def _with_few_colours(encoded: str) -> str:
    """Reduce a PNG image, encoded as text, to a palette of COLOURS."""
    image = Image.open(io.BytesIO(b64decode(encoded)))
    reduced = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    png = io.BytesIO()
    reduced.save(png, "PNG", optimize=True)
    return b64encode(png.getvalue()).decode("ascii")
