"""Every figure: the right lines and labels, the same bytes twice, clear refusals."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from paragon.evaluation.methods import METHODS
from paragon_study.ablations import panels
from paragon_study.report import figures, style
from paragon_study.report.figures.curves import _beyond
from tests.conftest import refused

WEIGHTS = np.arange(11) / 10
NDCG = np.array([0.156, 0.23, 0.284, 0.315, 0.363, 0.398, 0.425, 0.443, 0.456, 0.468, 0.467])
ALPHA = np.array([0.725, 0.728, 0.72, 0.708, 0.692, 0.669, 0.648, 0.623, 0.598, 0.581, 0.551])


def make_curve(seeds=3):
    shuffled = np.random.default_rng(3).permutation(11)
    few = [0, 5, 10]
    methods = {
        "tuned": (WEIGHTS, NDCG, ALPHA),
        "retrain": (WEIGHTS[few], NDCG[few] + 0.003, ALPHA[few] - 0.002),
        "generated": (WEIGHTS, NDCG * 1.004, ALPHA * 0.998),
        "generated_shuffled": (WEIGHTS, NDCG[shuffled], ALPHA[shuffled]),
        "constant": (WEIGHTS, np.full(11, NDCG[5]), np.full(11, ALPHA[5])),
        "a_new_method": (WEIGHTS, NDCG - 0.01, ALPHA - 0.004),
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


def make_studies():
    """Two datasets, three backbones (one of them in both), a method without regret."""
    rows = []
    for dataset, backbone in (("a", "gru4rec"), ("a", "sasrec"), ("b", "sasrec"), ("b", "mine")):
        for method, hv, regret in (
            *(("tuned", 1.0, 0.0), ("popularity", 0.4, None), ("generated", 1.01, -0.02)),
            *(("constant", 0.8 if backbone == "mine" else 0.78, 1.0), ("soup", 0.97, 18.0)),
        ):
            for measure, mean in (("set_hv_of_tuned", hv), ("regret_mean", regret)):
                if mean is not None:
                    half = None if method == "popularity" else 0.01
                    limits = (None, None) if half is None else (mean - half, mean + half)
                    rows.append((dataset, backbone, method, measure, mean, *limits))
    names = "dataset backbone method measure mean low high".split()
    return pd.DataFrame(rows, columns=names)


SPACE = np.random.default_rng(0).normal(size=(11, 3, 20))
PAIRS = np.column_stack([WEIGHTS, 1 - WEIGHTS])
LATTICE = np.array([[i, j, 4 - i - j] for i in range(5) for j in range(5 - i)]) / 4
CLOUDS = {name: np.eye(3, 9) * n for n, name in enumerate(["start 1", "start 2", "mean", "new"], 1)}
FRONTS = {"tuned": LATTICE * 0.5 + 0.1, "generated": LATTICE * 0.4 + 0.1}
ABLATION = pd.DataFrame(
    [(v, x, s, 0.3 + s / 1000) for v, x in (("space", "full"), ("steps", "2")) for s in range(3)],
    columns=["variable", "value", "seed", "set_hv"],
)
LOSSES = {
    "backbone": {"loss": np.exp(-np.arange(1, 20.0)), "validation": ([2, 4], [0.3, 0.4])},
    "generator": {"v-loss": 1 + np.sin(np.arange(400.0))},
}
X = np.arange(5)
# How each figure is drawn; how many panels it has, how many lines its first one; a word on it.
FIGURES = {
    "control_curves": (lambda: figures.control_curves(make_curve()), 6, 3, "over 3 seeds"),
    "lead": (lambda: figures.lead(make_curve()), 2, 3, "retrained"),
    "pareto_front": (
        lambda: figures.pareto_front(make_curve(), ["tuned", "constant", "generated"]),
        3, 6, "beyond or behind tuned",
    ),
    "two_versions": (
        lambda: figures.two_versions({"a": (make_curve(), make_curve(2))}, ("v1", "v2")),
        2, 4, "generated: v2",
    ),
    "all_studies": (lambda: figures.all_studies(make_studies()), 4, 6, "off the scale"),
    "latent_space": (
        lambda: figures.latent_space(SPACE, PAIRS, np.eye(11, 20), PAIRS), 2, 1, "generated (n"
    ),
    "modes": (lambda: figures.modes(CLOUDS), 1, 0, "start 2"),
    "nearest_distances": (
        lambda: figures.nearest_distances({"generated": [1.0, 1.2], "held out": [0.9] * 3}),
        1, 2, "held out (n = 3)",
    ),
    "latent_steps": (
        lambda: figures.latent_steps({"t = 9": [1, -3], "t = 0": [0.5, 2]}), 2, 0, "t = 9"
    ),
    "dataset_overview": (
        lambda: figures.dataset_overview(
            [5, 3, 1, 1], [20, 30, 300], {"Drama": 3, "Film-Noir": 1}, [874724710, 893286638],
            carried=[1, 2, 2], parts={"train": 344, "test": 3}, groups=["F", "M", "M"],
        ),
        6, 2, "50% of interactions",
    ),
    "lines": (
        lambda: figures.lines({"a": (X, X), "b": (X, X)}, "x", "y", {"here": 2}), 1, 3, "here"
    ),
    "shares_below": (
        lambda: figures.shares_below({"few": [3, 1], "all": X}, "count", log=True), 1, 2, "few"
    ),
    "sequence_in_time": (
        lambda: figures.sequence_in_time([60, 120, 180], ["train", "valid", "test"]), 1, 3, "valid"
    ),
    "training_curves": (lambda: figures.training_curves(LOSSES), 4, 1, "v-loss"),
    "tuning_curves": (
        lambda: figures.tuning_curves([0, 100, 200], [[1, 0.5, 0.4], [2, 1.1, 1.2]], [0.1, 0.9]),
        2, 4, "each task's best step",
    ),
    "ternary": (lambda: panels.ternary(LATTICE, LATTICE[:, 0], list("abc"), "x"), 2, 2, "a = 1"),
    "changed_choices": (
        lambda: panels.changed_choices(ABLATION, "set_hv", {"space": "full"}), 2, 1, "default"
    ),
    "front_3d": (
        lambda: panels.front_3d(FRONTS, ["ndcg@10", "alpha_ndcg@10", "novelty@10"]),
        2, 17, "novelty@10",
    ),
}  # fmt: skip


def texts(figure):
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


def line(ax, label):
    return next(x for x in ax.lines if x.get_label() == label)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_what_it_should_and_is_the_same_twice(name, tmp_path):
    draw, panels, lines, word = FIGURES[name]
    before, figure = dict(matplotlib.rcParams), draw()
    assert (len(figure.axes), len(figure.axes[0].lines)) == (panels, lines)
    assert any(word in text.replace("\n", " ") for text in texts(figure))
    first = style.save_figure(figure, tmp_path / "a.png").read_bytes()
    assert first == style.save_figure(draw(), tmp_path / "b.png").read_bytes()
    assert dict(matplotlib.rcParams) == before and not pyplot.get_fignums()


def test_every_figure_is_drawn_here():
    both = {**vars(figures), **vars(panels)}
    assert {name for name, own in both.items() if hasattr(own, "__wrapped__")} == {*FIGURES}


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_vector_files_have_no_date_and_do_not_change(suffix, tmp_path):
    draw = FIGURES["modes"][0]
    first, second = (style.save_figure(draw(), tmp_path / f"{n}{suffix}") for n in (1, 2))
    assert first.read_bytes() == second.read_bytes()
    assert b"date" not in first.read_bytes().lower().replace(b"/date", b"")
    refused("figure.jpg", style.save_figure, style.new(1, 1), tmp_path / "figure.jpg")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_notebook_shows_a_figure_once_without_pyplot():
    from IPython.core.formatters import DisplayFormatter

    data, about = DisplayFormatter().format(FIGURES["modes"][0]())
    assert set(data) == {"text/plain", "image/png"}
    assert about["image/png"]["width"] == 499  # 5.2 inches


def test_control_curves_show_means_and_differences_paired_by_seed():
    curve = make_curve()
    curve.loc[curve["protocol"] == "sampled", "ndcg@10"] *= 2
    figure = figures.control_curves(curve)
    ndcg, _, below, _, beside, _ = figure.axes
    means = NDCG * 1.004 + 0.002 * (1 + WEIGHTS)
    assert line(ndcg, "generated").get_ydata() == pytest.approx(means)
    assert line(beside, "generated").get_ydata() == pytest.approx(2 * means)
    assert line(below, "generated").get_ydata() == pytest.approx(NDCG * 0.004)
    assert list(line(ndcg, "retrained").get_xdata()) == [0, 0.5, 1]
    assert "constant (middle)" not in [x.get_label() for x in below.lines]  # too far off
    assert "a new method" not in texts(figure)  # not among the default methods


def test_a_wide_band_hides_no_line():
    curve = make_curve()
    assert not any("cut off" in t for t in texts(figures.control_curves(curve)))
    own = curve["method"] == "generated"
    curve.loc[own, "ndcg@10"] += 0.5 * (curve.loc[own, "seed"] - 1)  # the same mean
    figure = figures.control_curves(curve)
    assert any("What lies far outside is cut off." in t for t in texts(figure))
    shown = np.concatenate([x.get_ydata() for x in figure.axes[0].lines])
    room = 0.25 * np.ptp(shown)
    limits = (shown.min() - room, shown.max() + room)
    assert figure.axes[0].get_ylim() == pytest.approx(limits)


def test_two_seeds_are_shown_and_no_interval_that_fills_the_panel():
    figure = figures.control_curves(make_curve(seeds=2))
    assert any("Bands and bars: the two seeds." in t for t in texts(figure))
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]  # of `tuned`
    assert band.max() == pytest.approx(NDCG.max() + 0.002 * 1.9)  # the second seed at weight .9


def test_methods_that_are_missing_are_named_and_without_oracle_there_is_one_row():
    curve = make_curve(seeds=1)
    figure = figures.control_curves(curve, ["generated", "llm", "tuned"])
    assert any("Not in the table: llm." in t for t in texts(figure)) and len(figure.axes) == 6
    assert any("One seed, no interval." in t for t in texts(figure))
    curve = curve[curve["protocol"] == "full"]  # nothing to put beside
    figure = figures.control_curves(curve[curve["method"] == "generated"])
    assert len(figure.axes) == 2 and len(figure.axes[0].lines) == 1
    assert len(figures.pareto_front(curve, ["constant"]).axes) == 1


def test_tables_and_series_that_cannot_be_drawn_are_refused():
    curve, draw = make_curve(), figures.control_curves
    refused("empty", draw, curve.iloc[:0])
    refused("`method`", draw, pd.DataFrame())
    refused("`ternary`", draw, curve.assign(w_novelty=0.0))
    refused("`full`", draw, curve[curve["protocol"] == "sampled"])
    refused("llm", draw, curve, ["llm"])
    curve.loc[curve["method"] == "generated", "ndcg@10"] = np.nan
    refused("`generated`", draw, curve)
    refused("series", figures.training_curves, {})
    refused("backbone, loss", figures.training_curves, {"backbone": {"loss": [np.nan]}})
    refused("group", figures.nearest_distances, {})
    refused("got 6", figures.lines, {str(n): (X, X) for n in range(6)}, "x", "y")
    refused("three objectives", panels.ternary, PAIRS, WEIGHTS, list("abc"), "x")


def test_pareto_front_marks_dominated_points_and_measures_from_the_oracle():
    figure = figures.pareto_front(make_curve(seeds=1), ["tuned", "constant", "generated"])
    front, close, _ = figure.axes
    assert len(line(front, "tuned (oracle)").get_xdata()) == 9  # w = 0 and w = 1 are dominated
    assert len(line(front, "constant (middle)").get_xdata()) == 1
    assert 0 < np.abs(line(close, "generated").get_ydata()).max() < 0.01
    assert "constant (middle)" not in {x.get_label() for x in close.lines}  # no control at all
    one = {"seed": 0, "w_accuracy": [0.5, 0.6], "ndcg@10": [0.6, 0.2], "alpha_ndcg@10": [0.2, 0.45]}
    other = {"seed": 0, "w_accuracy": [0, 1], "ndcg@10": [0.1, 0.5], "alpha_ndcg@10": [0.5, 0.1]}
    gaps = _beyond(pd.DataFrame(one), pd.DataFrame(other))["gap"]  # right of the end; beyond it
    assert gaps.to_numpy() == pytest.approx([np.hypot(0.1, 0.1), 0.05 / np.sqrt(2)])


def test_latent_space_projects_on_the_components_without_the_corners():
    vectors = np.zeros((5, 2, 6))
    vectors[:, :, 2] = np.array([-3, -1, 1, 3, 50])[:, None]
    vectors[:, :, 4] = np.array([1, -1, -1, 1, 40])[:, None]
    one = np.eye(6)[[2]]
    weights = PAIRS[[1, 3, 6, 9, 10]]
    figure = figures.latent_space(vectors, weights, one, PAIRS[[5]], one, PAIRS[[5]])
    ax = figure.axes[0]
    assert ax.get_xlabel() == "component 1 (83% of variance)" and max(ax.get_xlim()) < 5
    assert [len(c.get_offsets()) for c in ax.collections] == [10, 1, 1]
    assert list(ax.collections[2].get_offsets()[0]) == pytest.approx([1, 0])
    assert any("At the edge: 2 adapters" in t for t in texts(figure))


def test_modes_shows_the_plane_of_largest_variance():
    ax = figures.modes(CLOUDS).axes[0]
    flat = np.vstack([cloud.get_offsets() for cloud in ax.collections])
    together = np.vstack(list(CLOUDS.values()))
    spread = np.linalg.svd(together - together.mean(0), compute_uv=False)[:2]
    assert (flat**2).sum() == pytest.approx((spread**2).sum())


def test_training_curves_smooth_long_series_only():
    drawn = [ax for ax in figures.training_curves(LOSSES).axes if ax.axison]
    assert [len(ax.lines) for ax in drawn] == [1, 2, 1]
    assert drawn[0].get_yscale() == "log" and drawn[1].get_yscale() == "linear"
    assert np.ptp(drawn[1].lines[1].get_ydata()) < np.ptp(drawn[1].lines[0].get_ydata())
    assert list(drawn[2].lines[0].get_xdata()) == [2, 4]


def test_tuning_curves_show_the_excess_over_the_best():
    ax = FIGURES["tuning_curves"][0]().axes[0]
    assert ax.lines[0].get_ydata()[:2] == pytest.approx([0.6, 0.1])
    assert ax.lines[3].get_xdata()[0] == 100


def test_the_overview_of_a_dataset_counts():
    figure = FIGURES["dataset_overview"][0]()
    assert len(figure.axes[3].patches) == 8  # 1997-09 to 1998-04
    assert {"median 30", "F (1)", "M (2)"} <= set(texts(figure))
    assert [bar.get_height() for bar in figure.axes[4].patches] == [1, 2]
    assert [bar.get_width() for bar in figure.axes[5].patches] == [3, 344]


def test_shares_end_at_one():
    for own in FIGURES["shares_below"][0]().axes[0].lines:
        assert own.get_ydata()[-1] == 1 and (np.diff(own.get_xdata()) >= 0).all()
        assert own.get_xdata()[0] >= 0.5  # 0 on a logarithmic axis


def test_ternary_puts_each_objective_on_its_corner():
    ax = FIGURES["ternary"][0]().axes[0]
    corner = {t.get_text(): t.xy for t in ax.texts}
    points = ax.lines[0].get_xydata()
    for number, name in enumerate("abc"):
        assert corner[f"{name} = 1"] == pytest.approx(points[LATTICE[:, number] == 1][0])


def test_studies_have_a_panel_for_each_dataset_and_measure():
    figure = FIGURES["all_studies"][0]()
    (a, a_regret), (b, _) = np.reshape(figure.axes, (2, 2))
    methods = ["generated", "tuned (oracle)", "soup of two", "constant (middle)", "popularity"]
    assert [t.get_text() for t in a.get_yticklabels()] == methods  # by the first measure
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["SASRec", "GRU4Rec", "mine"]
    sasrec, gru4rec = (x for x in a.lines if len(x.get_xdata()) == len(methods))
    assert sasrec.get_xdata()[:3] == pytest.approx([1.01, 1.0, 0.97])
    assert np.isnan(sasrec.get_xdata()[3:]).all()  # too far off, written at the edge instead
    assert "← 0.78" in {t.get_text() for t in a.texts}
    assert "← 0.78–0.80" in {t.get_text() for t in b.texts}
    assert [t.get_text() for t in a_regret.texts if t.get_text()] == ["undefined"]  # popularity
    assert (sasrec.get_ydata() < gru4rec.get_ydata()).all()


def test_looks_are_all_different_and_stay_for_methods_that_are_not_listed():
    for table in ({name: style.look(name) for name in METHODS}, style.BACKBONES):
        looks = list(table.values())
        different = {(x.colour, x.marker) for x in looks}
        assert len(different) == len({x.label for x in looks}) == len(looks)
    assert style.look("my_method") == style.look("my_method")
    assert style.look("my_method").label == "my method"
