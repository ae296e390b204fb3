"""docs/executed: the notebooks with their outputs, as a visitor sees them."""

import base64
import io

import nbformat
import pytest
from PIL import Image

from paragon.params import ROOT
from paragon_study.course.executed import COLOURS, FOLDER, UP, few_colours

COPIES = sorted((ROOT / FOLDER).glob("*.ipynb"))


def cells_of(path):
    """What a person wrote, without the cell that the pipeline adds."""
    cells = nbformat.read(path, as_version=4).cells
    own = [c for c in cells if "injected-parameters" not in c.metadata.get("tags", [])]
    return [(c.cell_type, c.source) for c in own], cells


def test_every_stage_has_a_copy_and_together_they_are_small():
    names = {path.name for path in (ROOT / "notebooks").glob("0[1-7]_*.ipynb")}
    assert {path.name for path in COPIES} == names
    assert sum(path.stat().st_size for path in COPIES) < 3e6


@pytest.mark.parametrize("path", COPIES, ids=lambda path: path.stem)
def test_a_copy_is_its_notebook_with_outputs(path):
    """After a change of a notebook: run its stage, then `python -m paragon report`."""
    source, _ = cells_of(ROOT / "notebooks" / path.name)
    copied, cells = cells_of(path)
    assert copied == [(kind, UP.sub("](../../", text)) for kind, text in source]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for output in outputs:
        assert output.output_type != "error" and output.get("name") != "stderr", output


def test_a_figure_keeps_its_size_and_loses_colours():
    made = io.BytesIO()
    bands = Image.linear_gradient("L"), Image.radial_gradient("L"), Image.new("L", (256, 256))
    Image.merge("RGB", bands).save(made, "PNG")
    with Image.open(
        io.BytesIO(base64.b64decode(few_colours(base64.b64encode(made.getvalue()))))
    ) as image:
        assert image.size == (256, 256) and len(image.getcolors()) <= COLOURS
