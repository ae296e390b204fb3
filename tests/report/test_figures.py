"""Every figure: what is on it, the same bytes twice, clear errors, nothing left behind."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from paragon.evaluation.methods import METHODS
from paragon_study.report import style
from paragon_study.report.figures import (
    all_studies,
    changed_choices,
    control_curves,
    dataset_overview,
    front_3d,
    latent_space,
    lead,
    modes,
    nearest_distances,
    pareto_front,
    published_curves,
    ternary,
    time_to_model,
    training_curves,
    tuning_curves,
    two_versions,
)
from paragon_study.report.figures.control import _beyond
from paragon_study.report.figures.studies import _human
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


def make_ablation(seeds=3):
    rows = [
        (variable, value, seed, 0.29 + 0.001 * seed + shift)
        for variable, values in {"space": ["full", "PCA-16"], "steps": [10, 2, 50]}.items()
        for shift, value in enumerate(values)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["variable", "value", "seed", "set_hv"])


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


DRAWN = ["tuned", "retrain", "generated", "generated_shuffled", "constant", "a_new_method"]
PAIRS = np.column_stack([WEIGHTS, 1 - WEIGHTS])
LATTICE = np.array([[i, j, 4 - i - j] for i in range(5) for j in range(5 - i)]) / 4
CLOUDS = {name: np.eye(3, 9) * n for n, name in enumerate(["start 1", "start 2", "mean", "new"], 1)}
FIGURES = {
    "control_curves": lambda: control_curves(make_curve()),
    "lead": lambda: lead(make_curve()),
    "pareto_front": lambda: pareto_front(make_curve(), DRAWN),
    "latent_space": lambda: latent_space(
        np.random.default_rng(0).normal(size=(11, 3, 20)), PAIRS, np.eye(11, 20), PAIRS
    ),
    "training_curves": lambda: training_curves(
        {
            "backbone": {"loss": np.exp(-np.arange(1, 20.0)), "validation": ([2, 4], [0.3, 0.4])},
            "generator": {"v-loss": 1 + np.sin(np.arange(400.0))},
        }
    ),
    "tuning_curves": lambda: tuning_curves(
        [0, 100, 200], [[1, 0.5, 0.4], [2, 1.1, 1.2]], [0.1, 0.9]
    ),
    "time_to_model": lambda: time_to_model(
        {"generate": {"p50": 0.006, "p99": 0.009}, "retrain": {"p50": 180, "p99": 190}},
        {"cores": 2},
    ),
    "dataset_overview": lambda: dataset_overview(
        [5, 3, 1, 1],
        [20, 30, 300],
        {"Drama": 3, "Film-Noir": 1},
        [874724710, 893286638],
        carried=[1, 2, 2],
        parts={"train": 344, "test": 3},
        groups=["F", "M", "M"],
    ),
    "nearest_distances": lambda: nearest_distances(
        {"generated": [1.0, 1.2], "held out": [0.9] * 3}
    ),
    "modes": lambda: modes(CLOUDS),
    "ternary": lambda: ternary(LATTICE, LATTICE[:, 0], ["accuracy", "diversity", "novelty"], "x"),
    "changed_choices": lambda: changed_choices(make_ablation(), "set_hv", {"space": "PCA-16"}),
    "front_3d": lambda: front_3d(FRONTS, ["ndcg@10", "alpha_ndcg@10", "novelty@10"]),
    "all_studies": lambda: all_studies(make_studies()),
    "two_versions": lambda: two_versions({"a": (make_curve(), make_curve(2))}, ("v1", "v2")),
    "published_curves": lambda: published_curves({"gru4rec": make_curve()}, {"gru4rec": PUBLISHED}),
}

PUBLISHED = {"ndcg@10": [NDCG[:-1], NDCG[1:]], "alpha_ndcg@10": [ALPHA[:-1]]}

FRONTS = {"tuned": LATTICE * 0.5 + 0.1, "generated": LATTICE * 0.4 + 0.1}


def texts(figure):
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


def line(ax, label):
    return next(x for x in ax.lines if x.get_label() == label)


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_the_same_twice_and_leaves_nothing_behind(name, tmp_path):
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    figure = FIGURES[name]()
    first = style.save_figure(figure, tmp_path / "a.png").read_bytes()
    assert isinstance(figure, Figure)
    assert first == style.save_figure(FIGURES[name](), tmp_path / "b.png").read_bytes()
    assert dict(matplotlib.rcParams) == before and not pyplot.get_fignums()
    assert b"Software" not in first


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_vector_files_have_no_date_and_do_not_change(suffix, tmp_path):
    target = tmp_path / "new" / f"figure{suffix}"
    figure = FIGURES["time_to_model"]()
    files = [style.save_figure(figure, target).read_bytes() for _ in range(2)]
    assert (
        files[0] == files[1] == style.save_figure(FIGURES["time_to_model"](), target).read_bytes()
    )
    assert b"date" not in files[0].lower().replace(b"/date", b"")
    assert [p.name for p in target.parent.iterdir()] == [target.name]


def test_save_refuses_other_formats_and_writes_nothing(tmp_path):
    refused("figure.jpg", style.save_figure, style.new(1, 1), tmp_path / "figure.jpg")
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_a_figure_once_without_pyplot():
    from IPython.core.formatters import DisplayFormatter

    data, about = DisplayFormatter().format(FIGURES["time_to_model"]())
    assert set(data) == {"text/plain", "image/png"}
    assert about["image/png"]["width"] == 576  # six inches


def test_control_curves_show_means_and_differences_paired_by_seed():
    curve = make_curve()
    curve.loc[curve["protocol"] == "sampled", "ndcg@10"] *= 2
    figure = control_curves(curve)
    assert len(figure.axes) == 6  # the sampled lists beside, smaller
    ndcg, alpha, below = figure.axes[:3]
    beside = figure.axes[4]
    assert ndcg.get_title(loc="left") == "accuracy, whole catalogue"
    assert beside.get_title(loc="left") == "accuracy, sampled lists"
    twice = 2 * (NDCG * 1.004 + 0.002 * (1 + WEIGHTS))
    assert line(beside, "generated").get_ydata() == pytest.approx(twice)
    assert beside.get_window_extent().width < 0.8 * ndcg.get_window_extent().width
    assert ndcg.get_ylabel() == "NDCG@10 (0–1)" and alpha.get_ylabel() == "α-nDCG@10 (0–1)"
    assert below.get_xlabel() == "weight of accuracy"
    shown = line(ndcg, "generated")
    assert shown.get_ydata() == pytest.approx(NDCG * 1.004 + 0.002 * (1 + WEIGHTS))
    assert line(below, "generated").get_ydata() == pytest.approx(NDCG * 0.004)
    assert list(line(ndcg, "retrained").get_xdata()) == [0, 0.5, 1]
    assert line(ndcg, "retrained").get_linestyle() == "None"
    assert "constant (middle)" not in [x.get_label() for x in below.lines]  # too far off
    assert "a new method" not in texts(figure)  # not among the default methods
    assert any("over 3 seeds" in t for t in texts(figure))


def test_the_figure_of_the_readme_shows_both_metrics_of_the_whole_catalogue():
    curve = make_curve()
    curve.loc[curve["protocol"] == "full", "ndcg@10"] /= 2
    bias = curve.query("method == 'constant'").assign(method="category_bias")
    figure = lead(pd.concat([curve, bias]))
    ndcg, alpha = figure.axes
    shown = line(ndcg, "generated").get_ydata()
    assert shown == pytest.approx((NDCG * 1.004 + 0.002 * (1 + WEIGHTS)) / 2)
    assert list(line(alpha, "retrained").get_xdata()) == [0, 0.5, 1]
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["tuned (oracle)", "generated", "category bias", "retrained"]
    assert min(t.get_fontsize() for t in figure.findobj(matplotlib.text.Text) if t.get_text()) >= 10


def test_a_wide_band_hides_no_line():
    curve = make_curve()
    assert not any("cut off" in t for t in texts(control_curves(curve)))
    own = curve["method"] == "generated"
    curve.loc[own, "ndcg@10"] += 0.5 * (curve.loc[own, "seed"] - 1)  # the same mean
    figure = control_curves(curve)
    assert any("over 3 seeds. What lies far outside is cut off." in t for t in texts(figure))
    low, high = figure.axes[0].get_ylim()
    shown = np.concatenate([x.get_ydata() for x in figure.axes[0].lines])
    room = 0.25 * np.ptp(shown)
    assert (low, high) == pytest.approx((shown.min() - room, shown.max() + room))


def test_two_seeds_are_shown_and_no_interval_that_fills_the_panel():
    figure = control_curves(make_curve(seeds=2))
    assert any("Bands and bars: the two seeds." in t for t in texts(figure))
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]  # of `tuned`
    assert band.max() == pytest.approx(NDCG.max() + 0.002 * 1.9)  # the second seed at weight .9


def test_two_versions_share_a_panel():
    curve = make_curve()
    later = curve.assign(**{"ndcg@10": curve["ndcg@10"] + 0.1})
    figure = two_versions({"a, sasrec": (curve, later)}, ("v1", "v2"))
    before, after = (line(figure.axes[0], f"generated: {name}") for name in ("v1", "v2"))
    assert after.get_ydata() - before.get_ydata() == pytest.approx(np.full(11, 0.1))
    assert (before.get_linestyle(), after.get_linestyle()) == ("--", "-")
    one_seed = curve[curve["seed"] == 0]
    for versions in ((curve, one_seed), (one_seed, curve)):
        said = texts(two_versions({"a, sasrec": versions}, ("v1", "v2")))
        assert any("over 3 seeds" in text for text in said)


def test_small_print_is_as_wide_as_its_figure():
    figure = style.new(4, 2)
    style.small_print(figure, "A sentence of several words. " * 8)
    lines = figure.get_supxlabel().splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= 84


def test_seeds_are_counted_of_what_has_a_band():
    curve = make_curve(seeds=4)
    alone = curve[(curve["method"] != "constant") | (curve["seed"] == 0)]
    assert any("over 4 seeds" in t for t in texts(control_curves(alone)))


def test_methods_that_are_missing_are_named_and_without_oracle_there_is_one_row():
    curve = make_curve(seeds=1)
    figure = control_curves(curve, ["generated", "retrain", "tuned"])
    assert any("Not in the table: retrain." in t for t in texts(figure)) and len(figure.axes) == 6
    assert any("One seed, no interval." in t for t in texts(figure))
    curve = curve[curve["protocol"] == "full"]  # nothing to put beside
    figure = control_curves(curve[curve["method"] == "generated"])
    assert len(figure.axes) == 2 and len(figure.axes[0].lines) == 1
    assert len(pareto_front(curve, ["constant"]).axes) == 1
    refused("none of retrain is in the table", control_curves, curve, methods=["retrain"])


@pytest.mark.parametrize("function", [control_curves, pareto_front])
def test_a_table_that_cannot_be_drawn_is_refused(function):
    curve = make_curve()
    refused("the table is empty", function, curve.iloc[:0], DRAWN)
    refused("column `method` is missing", function, pd.DataFrame(), DRAWN)
    less = curve.drop(columns="alpha_ndcg@10")
    refused("column `alpha_ndcg@10` is missing", function, less, DRAWN)
    refused("use `ternary`", function, curve.assign(w_novelty=0.0), DRAWN)
    sampled = curve[curve["protocol"] == "sampled"]
    refused("no rows of protocol `full`; it has sampled", function, sampled, DRAWN)
    curve.loc[curve["method"] == "generated", "ndcg@10"] = np.nan
    refused("`ndcg@10` of method `generated`", function, curve, DRAWN)


def test_pareto_front_marks_dominated_points_and_measures_from_the_oracle():
    figure = pareto_front(make_curve(seeds=1), methods=["tuned", "constant", "generated"])
    front, close, beside = figure.axes
    assert beside.get_position().width < front.get_position().width
    assert len(line(front, "tuned (oracle)").get_xdata()) == 9  # w = 0 and w = 1 are dominated
    assert len(line(front, "constant (middle)").get_xdata()) == 1
    own = line(close, "generated").get_ydata()
    assert np.isfinite(own).all() and 0 < np.abs(own).max() < 0.01
    shown = {x.get_label() for x in close.lines}
    assert not shown & {"tuned (oracle)", "constant (middle)"}  # the zero; no control at all
    one = {"seed": 0, "w_accuracy": [0.5, 0.6], "ndcg@10": [0.6, 0.2], "alpha_ndcg@10": [0.2, 0.45]}
    other = {"seed": 0, "w_accuracy": [0, 1], "ndcg@10": [0.1, 0.5], "alpha_ndcg@10": [0.5, 0.1]}
    gaps = _beyond(pd.DataFrame(one), pd.DataFrame(other))["gap"]  # right of the end; beyond it
    assert gaps.to_numpy() == pytest.approx([np.hypot(0.1, 0.1), 0.05 / np.sqrt(2)])


def test_latent_space_projects_on_the_components_of_the_collection():
    vectors = np.zeros((4, 2, 5))
    vectors[:, :, 2] = np.array([-3, -1, 1, 3])[:, None]
    vectors[:, :, 4] = np.array([1, -1, -1, 1])[:, None]
    weights, one = PAIRS[[1, 3, 6, 9]], np.eye(5)[[2]]
    figure = latent_space(vectors, weights, one, PAIRS[[5]], one, PAIRS[[5]])
    ax = figure.axes[0]
    assert ax.get_xlabel() == "component 1 (83% of variance)"
    assert [len(c.get_offsets()) for c in ax.collections] == [8, 1, 1]
    assert list(ax.collections[2].get_offsets()[0]) == pytest.approx([1, 0])
    flat = latent_space(
        vectors.reshape(8, 5), np.repeat(weights, 2, 0), one, PAIRS[[5]], one, PAIRS[[5]]
    )
    assert np.array_equal(flat.axes[0].collections[0].get_array(), ax.collections[0].get_array())
    refused("generated: vectors", latent_space, vectors, weights, one, PAIRS)
    refused("held-out oracle", latent_space, vectors, weights, one, PAIRS[[5]], one[0], PAIRS)
    refused("two components", latent_space, [[1.0]], [[1, 0]], [[1.0]], [[1, 0]])


def test_an_adapter_at_a_corner_does_not_take_most_of_the_figure():
    vectors = np.zeros((5, 2, 6))
    vectors[:, :, 2] = np.array([-3, -1, 1, 3, 50])[:, None]
    vectors[:, :, 4] = np.array([1, -1, -1, 1, 40])[:, None]
    one = np.eye(6)[[2]]
    figure = latent_space(vectors, PAIRS[[1, 3, 6, 9, 10]], one, PAIRS[[5]])
    ax = figure.axes[0]
    assert ax.get_xlabel() == "component 1 (83% of variance)" and max(ax.get_xlim()) < 5
    assert ax.collections[0].get_offsets().max() <= max(ax.get_xlim())
    assert any("At the edge: 2 adapters" in t for t in texts(figure))


def test_training_curves_smooth_long_series_only():
    figure = FIGURES["training_curves"]()
    drawn = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_ylabel() for ax in drawn] == ["loss", "v-loss", "validation"]
    assert [len(ax.lines) for ax in drawn] == [1, 2, 1]
    assert drawn[0].get_yscale() == "log" and drawn[1].get_yscale() == "linear"
    assert np.ptp(drawn[1].lines[1].get_ydata()) < np.ptp(drawn[1].lines[0].get_ydata())
    assert list(drawn[2].lines[0].get_xdata()) == [2, 4]
    refused("no series", training_curves, {})
    refused("backbone, loss: 2 steps for 1 values", training_curves,
            {"backbone": {"loss": ([1, 2], [0.5])}})  # fmt: skip
    refused("backbone, loss", training_curves, {"backbone": {"loss": [np.nan]}})


def test_tuning_curves_show_the_excess_over_the_best():
    figure = FIGURES["tuning_curves"]()
    ax = figure.axes[0]
    assert ax.get_yscale() == "log" and len(ax.lines) == 4  # a curve and a dot a task
    assert ax.lines[0].get_ydata()[:2] == pytest.approx([0.6, 0.1])
    assert ax.lines[3].get_xdata()[0] == 100
    refused("validation: shape (1, 2)", tuning_curves, [0, 1, 2], [[1, 2]], [0.5])
    assert tuning_curves([0, 1], [[1, 1]], [0.5]).axes  # nothing moves: still a figure


def test_time_to_model_speaks_in_human_units():
    figure = FIGURES["time_to_model"]()
    assert {"6 ms   30,000 × faster", "3 min", "published saving, 94.6%"} <= set(texts(figure))
    assert any("2 cores" in t for t in texts(figure))
    assert figure.axes[0].get_xscale() == "log"
    assert "6 ms" in texts(time_to_model({"generate": {"p50": 0.006, "p99": 0.01}}, {}))
    refused("`p50`", time_to_model, {"machine": {"cores": 2}}, {})
    refused("timing, tune: seconds", time_to_model, {"tune": {"p50": 0.0, "p99": 1.0}}, {})


def test_human_units():
    found = [_human(s) for s in (2e-6, 0.0061, 0.99999, 59.99, 3600, 2e5)]
    assert found == ["2 µs", "6.1 ms", "1 s", "1 min", "1 h", "2.3 d"]


def test_dataset_overview_counts_months_and_shares():
    figure = FIGURES["dataset_overview"]()
    assert len(figure.axes) == 6 and len(figure.axes[3].patches) == 8  # 1997-09 to 1998-04
    assert any("50% of interactions" in t for t in texts(figure)) and "median 30" in texts(figure)
    assert {"F (1)", "M (2)"} <= set(texts(figure))
    assert [bar.get_height() for bar in figure.axes[4].patches] == [1, 2]
    assert [bar.get_width() for bar in figure.axes[5].patches] == [3, 344]
    refused("lengths", dataset_overview, [1], [], {"Drama": 1}, [0], [1], {"train": 1}, None)


def test_memorisation_shows_every_value():
    ax = FIGURES["nearest_distances"]().axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["generated (n = 2)", "held out (n = 3)"]
    assert ax.get_xscale() == "linear"
    assert nearest_distances({"a": [0.01], "b": [9.0]}).axes[0].get_xscale() == "log"
    refused("no group", nearest_distances, {})
    refused("distances", nearest_distances, {"distances": []})


def test_modes_draws_the_last_two_groups_over_the_others():
    ax = FIGURES["modes"]().axes[0]
    shown = {cloud.get_label(): cloud for cloud in ax.collections}
    assert list(shown) == list(CLOUDS)
    assert shown["new"].get_zorder() == shown["mean"].get_zorder() > shown["start 2"].get_zorder()
    flat = np.vstack([cloud.get_offsets() for cloud in shown.values()])
    every = np.vstack(list(CLOUDS.values()))
    kept = np.linalg.svd(every - every.mean(0), compute_uv=False)[:2]
    assert (flat**2).sum() == pytest.approx((kept**2).sum())  # the plane of largest variance
    refused("three groups", modes, {"a": np.eye(2), "b": np.eye(2)})


def test_ternary_puts_each_objective_on_its_corner():
    ax = FIGURES["ternary"]().axes[0]
    corner = {t.get_text(): t.xy for t in ax.texts}
    points = ax.lines[0].get_xydata()
    for number, name in enumerate(["accuracy", "diversity", "novelty"]):
        assert corner[f"{name} = 1"] == pytest.approx(points[LATTICE[:, number] == 1][0])
    labels = ["a", "b", "c"]
    same = ternary(LATTICE, np.ones(15), labels, "ndcg@10")  # the same everywhere
    assert same.axes[1].get_ylabel() == "NDCG@10 (0–1)"
    refused("three objectives", ternary, PAIRS, WEIGHTS, labels, "x")
    refused("sum to 1", ternary, LATTICE * 2, LATTICE[:, 0], labels, "x")
    refused("not on one line", ternary, LATTICE[:3], LATTICE[:3, 0], labels, "x")


def test_the_front_in_three_dimensions_shows_every_point_from_two_sides():
    figure = FIGURES["front_3d"]()
    assert len(figure.axes) == 2
    for ax in figure.axes:
        for name, label in (("tuned", "tuned (oracle)"), ("generated", "generated")):
            assert np.array_equal(np.array(line(ax, label).get_data_3d()).T, FRONTS[name])
        assert "novelty" in ax.get_zlabel()
    refused("three metrics", front_3d, FRONTS, ["ndcg@10"])
    refused("three metrics", front_3d, {"a": np.eye(2)}, list("abc"))


def test_ablation_has_a_panel_for_each_variable():
    figure = FIGURES["changed_choices"]()
    space, steps = figure.axes
    assert [t.get_text() for t in space.get_yticklabels()] == ["full", "PCA-16"]
    assert [t.get_text() for t in steps.get_yticklabels()] == ["2", "10", "50"]
    assert space.lines[0].get_markerfacecolor() == "white" != space.lines[1].get_markerfacecolor()
    assert "hypervolume" in steps.get_xlabel()
    mixed = make_ablation().query("variable == 'steps'").astype({"value": str})
    mixed = pd.concat([mixed, mixed[mixed["value"] == "2"].assign(value="none")])
    (ax,) = changed_choices(mixed, "set_hv", {}).axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["2", "10", "50", "none"]
    named = make_ablation().replace({"variable": {"steps": "latent"}})
    assert [ax.get_title(loc="left") for ax in changed_choices(named, "set_hv", {}).axes] == [
        "space",
        "latent coordinates",
    ]
    assert changed_choices(make_ablation(seeds=1), "set_hv", {}).axes
    refused("column `regret` is missing", changed_choices, make_ablation(), "regret", {})
    refused("the table is empty", changed_choices, make_ablation().iloc[:0], "set_hv", {})


def test_studies_have_a_panel_for_each_dataset_and_measure():
    figure = FIGURES["all_studies"]()
    (a, a_regret), (b, b_regret) = np.reshape(figure.axes, (2, 2))
    methods = ["generated", "tuned (oracle)", "soup of two", "constant (middle)", "popularity"]
    assert [t.get_text() for t in a.get_yticklabels()] == methods  # by the first measure
    assert [a.get_title(loc="left"), b.get_title(loc="left")] == ["a", "b"]
    assert "share of the oracle" in b.get_xlabel() and "regret" in b_regret.get_xlabel()
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["SASRec", "GRU4Rec", "mine"]  # known backbones first

    def points(ax):
        return [line for line in ax.lines if len(line.get_xdata()) == len(methods)]

    sasrec, gru4rec = points(a)
    assert sasrec.get_xdata()[:3] == pytest.approx([1.01, 1.0, 0.97])
    assert np.isnan(sasrec.get_xdata()[3:]).all()  # too far off, written at the edge instead
    assert {"← 0.78", "← 0.40"} <= {t.get_text() for t in a.texts}
    assert "← 0.78–0.80" in {t.get_text() for t in b.texts}
    assert [t.get_text() for t in a_regret.texts if t.get_text()] == ["undefined"]  # popularity
    assert (sasrec.get_ydata() < gru4rec.get_ydata()).all()
    assert abs(sasrec.get_ydata() - np.arange(5)).max() < 0.5  # within the method's line
    assert points(a_regret)[0].get_xdata()[:4] == pytest.approx([-0.02, 0, 18, 1])
    assert np.isnan(points(a_regret)[0].get_xdata()[4]) and a_regret.get_xscale() == "symlog"
    assert any("off the scale" in t for t in texts(figure))

    own = make_studies().query("measure == 'regret_mean' and dataset == 'a'")
    alone = all_studies(own)
    assert len(alone.axes) == 1 and not any("off the scale" in t for t in texts(alone))
    refused("column `low` is missing", all_studies, own.drop(columns="low"))
    refused("the table is empty", all_studies, own.iloc[:0])
    refused("studies, mean", all_studies, own.assign(mean=np.nan))


def test_published_curves_lie_over_ours_at_evenly_spaced_weights():
    both = {name: make_curve() for name in ("tisasrec", "gru4rec")}
    figure = published_curves(both, dict.fromkeys(both, PUBLISHED))
    first, second, alpha, _ = figure.axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["TiSASRec", "GRU4Rec"]
    theirs = line(first, "published")
    assert theirs.get_xdata() == pytest.approx(np.linspace(0, 1, 10))
    assert theirs.get_ydata() == pytest.approx(NDCG[:-1])
    assert line(first, "generated").get_ydata()[0] == pytest.approx(NDCG[0] * 1.004 + 0.002)
    assert "α-nDCG" in alpha.get_ylabel() and any("evenly spaced" in t for t in texts(figure))


def test_looks_are_all_different_and_stay_for_methods_that_are_not_listed():
    for table in ({name: style.look(name) for name in METHODS}, style.BACKBONES):
        looks = list(table.values())
        different = {(x.colour, x.marker) for x in looks}
        assert len(different) == len({x.label for x in looks}) == len(looks)
    assert not set(METHODS) & set(style.BACKBONES)
    assert style.look("my_method") == style.look("my_method")
    assert style.look("my_method").label == "my method"
