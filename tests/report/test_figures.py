"""Every figure is drawn, with the right values, and the same bytes twice."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from paragon.data.split import prepare
from paragon_study.ablations import contrasts
from paragon_study.report import figures, style
from tests.conftest import refused, toy_dataset

WEIGHTS = np.arange(11) / 10
PAIRS = np.column_stack([WEIGHTS, 1 - WEIGHTS])
NDCG = np.array([0.156, 0.23, 0.284, 0.315, 0.363, 0.398, 0.425, 0.443, 0.456, 0.468, 0.467])
ALPHA = np.array([0.725, 0.728, 0.72, 0.708, 0.692, 0.669, 0.648, 0.623, 0.598, 0.581, 0.551])
LATTICE = np.array([[i, j, 4 - i - j] for i in range(5) for j in range(5 - i)]) / 4
LAW = pd.DataFrame(
    [("toy", "d", 3, "sasrec", method, number, seed, 0.1 * seed + number / 20, number / 30)
     for method in ("nearest", "generated") for number in (5, 10) for seed in range(3)]
    + [("toy", "d", 3, "sasrec", "hypernetwork", None, seed, 0.2, 0.1) for seed in range(3)],
    columns=["name", "dataset", "objectives", "backbone", "method", "anchors", "seed",
             "regret_mean", "outcome_error"],
)  # fmt: skip
LOSSES = {
    "backbone": {"loss": np.exp(-np.arange(1, 20.0)), "validation": ([2, 4], [0.3, 0.4])},
    "generator": {"diffusion loss": 1 + np.sin(np.arange(400.0))},
}
OURS = style.look("generated").label
TOY, X, TUNED = toy_dataset(), np.arange(5), [[1, 0.5, 0.4], [2, 1.1, 1.2]]


def make_curve(seeds=3):
    few = [0, 5, 10]
    methods = {
        "tuned": (WEIGHTS, NDCG, ALPHA),
        "retrain": (WEIGHTS[few], NDCG[few] + 0.003, ALPHA[few] - 0.002),
        "generated": (WEIGHTS, NDCG * 1.004, ALPHA * 0.998),
        "constant": (WEIGHTS, np.full(11, NDCG[5]), np.full(11, ALPHA[5])),
    }
    rows = [
        (method, seed, protocol, w, 1 - w, n + 0.002 * seed * (1 + w), a - 0.001 * seed)
        for protocol in ("sampled", "full")
        for method, points in methods.items()
        for seed in range(seeds)
        for w, n, a in zip(*points, strict=True)
    ]
    names = "method seed protocol w_accuracy w_diversity ndcg@10 alpha_ndcg@10".split()
    return pd.DataFrame(rows, columns=names)


CONTENT = {f"content_{move}": 0.2 + 0.1 * move for move in range(6)} | {"content_kept": 0.7}
LEAD = make_curve().replace("constant", "backbone")
# What each figure is drawn from, and a name or number on it.
FIGURES = {
    "control_curves": ([make_curve()], OURS),
    "trade_off": ([LEAD, LEAD["method"].unique(), [0.9, 0.8]], style.look("backbone").label),
    "latent_space": ({"collected": (np.eye(11, 20), PAIRS)}, "collected"),
    "nearest_distances": ([{"new": [1.0, 1.2], "old": [0.9] * 3}], "old"),
    "latent_steps": ([{"t = 9": [1, -3], "t = 0": [0.5, 2]}], "t = 9"),
    "dataset_overview": ([TOY, prepare(TOY, negatives=5)], "F"),
    "lines": ([{"a": (X, X), "b": (X, X)}, "x", "y", {"here": 2}], "here"),
    "shares_below": ([{"few": [3, 1], "all": X}, "count", False, True], "few"),
    "sequence_in_time": ([[60, 120, 180], ["train", "valid", "test"]], "valid"),
    "training_curves": ([LOSSES], "generator"),
    "tuning_curves": ([[0, 100, 200], TUNED, [0.1, 0.9]], "step"),
    "people": ([{"generated": CONTENT}], OURS),
    "ternary": ([LATTICE, LATTICE[:, 0], list("abc"), "x"], "a = 1"),
    "anchor_law": ([LAW, ["nearest", "generated", "hypernetwork"]], "SASRec"),
}


def draw(name):
    given, function = FIGURES[name][0], {**vars(figures), **vars(contrasts)}[name]
    return function(**given) if isinstance(given, dict) else function(*given)


def texts(figure):
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


def line(ax, label):
    return next(x for x in ax.lines if x.get_label() == label)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_with_its_names_and_leaves_no_style_behind(name):
    before, figure, word = dict(matplotlib.rcParams), draw(name), FIGURES[name][1]
    assert any(word in text.replace("\n", " ") for text in texts(figure))
    assert len(figure._repr_png_()[0]) > 5000 and dict(matplotlib.rcParams) == before
    assert all(ax.yaxis.label.get_window_extent().x0 >= 0 for ax in figure.axes if ax.get_ylabel())
    both = {**vars(figures), **vars(contrasts)}
    assert {name for name, value in both.items() if hasattr(value, "__wrapped__")} == {*FIGURES}


def test_a_file_has_no_date_and_does_not_change(tmp_path):
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for path in paths:
        style.save_figure(draw("latent_steps"), path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second and b"date" not in first.lower()


def test_control_curves_and_the_trade_off_show_means_over_seeds():
    ndcg, _ = draw("control_curves").axes
    means = NDCG * 1.004 + 0.002 * (1 + WEIGHTS)
    assert line(ndcg, OURS).get_ydata() == pytest.approx(means)
    assert list(line(ndcg, "retrained").get_xdata()) == [0, 0.5, 1]
    more = [make_curve().assign(w_novelty=w, **{"ndcg@10": 9.0}) for w in (0.5, 1.0)]
    three = pd.concat([make_curve().assign(w_novelty=0.0), *more])
    edge = line(figures.control_curves(three).axes[0], OURS)  # no weight on the third
    assert edge.get_ydata() == pytest.approx(means)
    (both,) = draw("trade_off").axes
    whole = NDCG[5] + 0.002 * (1 + WEIGHTS).mean()  # the backbone's, here not constant
    kept = means > 0.5 * whole
    assert line(both, OURS).get_xdata() == pytest.approx(means[kept])
    assert [x.get_xdata()[0] for x in both.lines[-2:]] == pytest.approx([0.9 * whole, 0.8 * whole])


def test_what_cannot_be_drawn_is_refused():
    curve = make_curve()
    refused("`full`", figures.control_curves, curve[curve["protocol"] == "sampled"])
