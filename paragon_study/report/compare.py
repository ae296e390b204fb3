"""All studies beside each other: results/summary.md and its figure.

The stage `compare` of dvc.yaml.  Every study whose results are in the folder takes part,
those of earlier runs and other machines too.  Nothing is computed here that is not in
their metrics.json and differences.json; times are no part of it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paragon.evaluation.methods import methods_of
from paragon.metrics.statistics import is_real
from paragon.storage import write_text
from paragon_study.report import figures
from paragon_study.report import markdown as md
from paragon_study.report.figures.drawing import LISTS
from paragon_study.report.results import (
    APART,
    REGRET,
    has_one_weight,
    load_differences,
    load_metrics,
    study_folders,
)
from paragon_study.report.style import look
from paragon_study.report.templates import fill_template

# What is drawn of every method.
DRAWN = ("set_hv_of_tuned_full", REGRET)
# In the tables only: floors and checks, and variants of what is drawn.
NOT_DRAWN = [*methods_of("reference"), "generated_best", "generated_cfg", "generated_no_cfg"]
NOT_DRAWN += ["paragon_no_cfg", "interpolation", "rbf", "ridge", "ridge_log", "cmr"]


def write_comparison(results: Path) -> None:
    """Write summary.md and summary.png to ``results``."""
    write_text(results / "summary.md", summary(results))
    contenders = points(results).query("method not in @NOT_DRAWN")
    figures.save_figure(figures.all_studies(gathered(contenders)), results / "summary.png")


def gathered(frame: pd.DataFrame) -> pd.DataFrame:
    """Datasets with one backbone, put together as one that has a marker for each of them.

    A block of panels for each would be too high for a screen.  If no dataset has several
    backbones, nothing changes.
    """
    alone = frame.groupby("dataset")["backbone"].transform("nunique") == 1
    if alone.all():
        return frame
    title = frame["backbone"].map(lambda name: f"{look(name).label}, other studies")
    return frame.assign(
        dataset=frame["dataset"].where(~alone, title),
        backbone=frame["backbone"].where(~alone, frame["dataset"]),
    )


def summary(results: Path) -> str:
    """The text of results/summary.md."""
    folders = study_folders(results)
    tables = {
        f"{f.parent.name}, {f.name}": {
            words.capitalize(): md.method_table(f, protocol) for protocol, words in LISTS.items()
        }
        for f in folders
    }
    values = {"data": md.data_lines(results), "overview": md.overview(results), "studies": tables}
    return fill_template("summary.md.j2", values | {"winners": winners(folders)})


def winners(folders: list[Path]) -> str:
    """Markdown: for every study and protocol who is ahead, by how much, and what is beyond chance.

    Every method is compared with `generated`; where that is ahead itself, with the next one.
    """
    titles = ["dataset, backbone", "lists", "ahead", "by [95 %]"]
    titles += ["better than `generated` \\*", "worse \\*"]
    rows = []
    for folder in folders:
        metrics, gaps = load_metrics(folder), load_differences(folder)
        gaps = {m: row for m, row in gaps.items() if not has_one_weight(metrics.get(m, {}))}
        for protocol, words in LISTS.items():
            name = f"set_hv_{protocol}"
            first = max((m for m in gaps if m not in APART), key=lambda m: gaps[m][name])
            row, leader, other = gaps[first], first, "generated"
            if row[name] <= 0:
                row, leader, other = md.turned(row, name), "generated", first
            real = {m: gap[name] for m, gap in gaps.items() if is_real(gap, name)}
            real.pop("generated_shuffled", None)  # the same set of models as `generated`
            sides = ([m for m in real if real[m] > 0], [m for m in real if real[m] < 0])
            rows.append([
                f"{folder.parent.name}, {folder.name}", words, f"`{leader}`",
                f"{md.difference_cell(row, name)} over `{other}`",
                *(", ".join(f"`{m}`" for m in methods) or "–" for methods in sides),
            ])  # fmt: skip
    return md.markdown_table(titles, rows, left=len(titles))


def points(results: Path) -> pd.DataFrame:
    """A row per dataset, backbone, method and measure: mean, low and high over seeds."""
    rows = []
    for folder in study_folders(results):
        for method, row in load_metrics(folder).items():
            for name in DRAWN:
                one_rectangle = name.startswith("set_hv") and has_one_weight(row)
                if row.get(name) is not None and not one_rectangle:
                    limits = (row.get(f"{name}_low"), row.get(f"{name}_high"))
                    measure = name.rpartition("_")[0]
                    rows.append((*folder.parts[-2:], method, measure, row[name], *limits))
    return pd.DataFrame(rows, columns="dataset backbone method measure mean low high".split())
