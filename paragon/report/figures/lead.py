"""The figure of README.md: it has to be legible on a telephone, 390 pixels wide."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from paragon.report import style
from paragon.report.figures import drawing

_LABELS = {
    "tuned": "tuned for the weights",
    "generated": "generated",
    "category_bias": "a bias per category",
    "xquad": "re-ranked",
    "retrain": "retrained",
}
_METRICS = {"ndcg@10": "accuracy\n(NDCG@10)", "alpha_ndcg@10": "diversity\n(α-nDCG@10)"}


@style.drawn
def lead(curve: pd.DataFrame) -> Figure:
    """Accuracy and diversity of the whole catalogue's ten best against the weight of accuracy.

    ``curve``: curve.csv of a study with the methods that are drawn.
    """
    frame, methods, _ = drawing.rows_to_draw(curve, "full", list(_LABELS), list(_METRICS))
    figure = style.new(3.9, 4.5)
    axes = figure.subplots(2, 1, sharex=True)
    for ax, (metric, label) in zip(axes, _METRICS.items(), strict=True):
        for method in methods:
            table = drawing.seed_intervals(frame[frame["method"] == method], "w_accuracy", metric)
            ax.plot(table.index, table["mean"], label=_LABELS[method], **_line(method))
        ax.set_ylabel(label, fontsize=11)
        ax.margins(y=0.12)
        ax.locator_params(axis="y", nbins=3)
        ax.tick_params(labelsize=11)
    axes[-1].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes[-1].set_xlabel("weight of accuracy", fontsize=11)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=10.5,
                  handlelength=1.8, columnspacing=0.9, borderaxespad=0.1)  # fmt: skip
    return figure


def _line(method: str) -> dict:
    """Wide lines and large marks."""
    line = drawing.line_look(method, single=method == "retrain")
    line |= {"linewidth": 2, "markersize": 7.5, "markeredgewidth": 1, "markevery": 2}
    special: dict[str, dict] = {
        "tuned": {"linewidth": 5.5, "marker": "none", "solid_capstyle": "round"},
        "retrain": {"markersize": 9, "markeredgewidth": 2, "markevery": 1, "clip_on": False},
    }
    return line | special.get(method, {})
