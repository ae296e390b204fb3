"""The figures and diagrams of the course: what is on them, and clear errors."""

import numpy as np
import pytest

from paragon.errors import ParagonError
from paragon_study.report.figures import (
    diagram,
    latent_steps,
    lines,
    save_figure,
    sequence_in_time,
    shares_below,
)
from paragon_study.report.figures.diagrams import DIAGRAMS, KINDS


def words(figure):
    return {text.get_text() for ax in figure.axes for text in ax.texts}


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_shows_all_of_its_boxes_and_arrows(name):
    boxes, arrows, _ = DIAGRAMS[name]
    figure = diagram(name)
    assert {box.text for box in boxes.values()} <= words(figure)
    assert {arrow.text for arrow in arrows} - {""} <= words(figure)
    assert len([t for t in figure.axes[0].texts if t.get_text() == ""]) == len(arrows)
    assert {box.kind for box in boxes.values()} <= set(KINDS)


@pytest.mark.parametrize("name", DIAGRAMS)
def test_no_text_is_wider_than_its_box_and_no_box_lies_on_another(name):
    figure = diagram(name)
    ax, draw = figure.axes[0], figure.canvas.get_renderer()
    boxes = [patch.get_window_extent(draw) for patch in ax.patches]
    texts = [text.get_window_extent(draw) for text in ax.texts[: len(boxes)]]
    for box, text in zip(boxes, texts, strict=True):
        assert box.x0 < text.x0 and text.x1 < box.x1 and box.y0 < text.y0 and text.y1 < box.y1
    pairs = [(one, other) for i, one in enumerate(boxes) for other in boxes[:i]]
    assert not any(one.overlaps(other) for one, other in pairs)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_the_same_bytes_twice(tmp_path):
    one, two = (save_figure(diagram("data"), tmp_path / f"{n}.png").read_bytes() for n in "ab")
    assert one == two


def test_an_unknown_diagram_is_named():
    with pytest.raises(ParagonError, match="'nope' is unknown; known: data"):
        diagram("nope")


def test_lines_have_a_look_of_their_own_each():
    x = np.arange(5)
    figure = lines({name: (x, x * n) for n, name in enumerate("abc")}, "x", "y", {"here": 2})
    ax = figure.axes[0]
    looks = [(line.get_color(), line.get_linestyle()) for line in ax.lines[:3]]
    assert len({colour for colour, _ in looks}) == len({line for _, line in looks}) == 3
    assert "here" in words(figure) and ax.get_legend() is not None
    assert lines({"": (x, x)}, "x", "y").axes[0].get_legend() is None
    for curves in ({}, {str(n): (x, x) for n in range(6)}):
        with pytest.raises(ParagonError, match="1 to 5 fit on one panel"):
            lines(curves, "x", "y")


def test_shares_end_at_one():
    figure = shares_below({"few": [3, 1], "many": np.arange(100)}, "count", log=True)
    for line in figure.axes[0].lines:
        assert line.get_ydata()[-1] == 1 and (np.diff(line.get_xdata()) >= 0).all()
    assert figure.axes[0].lines[1].get_xdata()[0] == 0.5  # 0 on a logarithmic axis
    dates = shares_below({"a": [0, 86_400 * 400]}, "time", dates=True).axes[0]
    assert any("197" in label.get_text() for label in dates.get_xticklabels())
    with pytest.raises(ParagonError, match="samples: 1 to 5 fit on one panel; found 6"):
        shares_below({str(n): [1, 2] for n in range(6)}, "count")


def test_events_in_time_are_shown_by_their_part():
    figure = sequence_in_time([60, 120, 180, 240], ["train", "train", "valid", "test"])
    found = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert found == {"train": [[1, 0], [2, 1]], "valid": [[3, 2]], "test": [[4, 3]]}


def test_latents_are_rows_of_one_scale():
    figure = latent_steps({"t = 9": [1, -3], "t = 0": [0.5, 2]})
    image = figure.axes[0].images[0]
    assert image.get_array().tolist() == [[1, -3], [0.5, 2]] and image.get_clim() == (-3, 3)
    assert latent_steps({"t = 0": [5, 0]}).axes[0].images[0].get_clim() == (-3, 3)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["t = 9", "t = 0"]
    with pytest.raises(ParagonError):
        latent_steps({"t": [1, np.nan]})
