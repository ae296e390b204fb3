"""All studies beside each other, and beside what was published: results/summary.md and figures.

The stage `compare` of dvc.yaml.  Every study whose results are in the folder takes part,
those of earlier runs and other machines too.  Nothing is computed here that is not in
their metrics.json and differences.json; times are no part of it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paragon.metrics.statistics import is_real
from paragon.report import figures, style
from paragon.report import markdown as md
from paragon.report.published import CURVES, our_curves
from paragon.storage import write_text

# What is drawn of every method.
DRAWN = ("set_hv_of_tuned_sampled", "regret_mean_sampled")
LISTS = {"sampled": "Target and sampled negatives", "full": "Whole catalogue"}
# No contenders: tuned or trained for the very weights, the same models in another order, and
# one whose noise the hypervolume rewards.
APART = ("tuned", "retrain", "generated_shuffled", "nearest_noise")


def write_comparison(results: Path) -> None:
    """Write summary.md, summary.png and, where it can be drawn, published.png to ``results``."""
    write_text(results / "summary.md", summary(results))
    style.save(figures.studies(points(results)), results / "summary.png")
    if ours := our_curves(results):
        style.save(figures.published(ours, CURVES), results / "published.png")


def summary(results: Path) -> str:
    """The text of results/summary.md."""
    found = md.studies(results)
    datasets = dict.fromkeys(folder.parent for folder in found)
    parts = [
        "# Results",
        "Means ± half of the 95 % Student t interval over seeds. *Difference from `generated`*: of "
        "set HV, with the 95 % interval over test users (paired bootstrap), marked \\* where it is "
        "beyond chance: p < .05 after Holm's correction for the number of methods and a 95 % t "
        "interval of the seeds' differences without 0. "
        "[docs/measures.md](../docs/measures.md) explains all of them. Written by the stage "
        "`compare`, `python -m paragon compare`.",
        "\n".join(f"- {md.data_line(folder)}." for folder in datasets),
        "![Set HV relative to the tuned oracle, and regret, of every method](summary.png)",
        "## Who wins where",
        "By set HV, among the methods that turn weights into a model without tuning or training "
        "for them. The best of many owes a part of its lead to luck: the last three columns say "
        "for which methods the users of the test and the seeds tell a difference from `generated`.",
        winners(found),
        "## All studies, sampled lists",
        md.overview(results),
    ]
    for folder in found:
        parts.append(f"## {folder.parent.name}, {folder.name}")
        for protocol, words in LISTS.items():
            parts += [f"### {words}", md.table(folder, protocol)]
    return "\n\n".join(parts) + "\n"


def winners(folders: list[Path]) -> str:
    """Markdown: for every study and protocol who is ahead, by how much, and what is beyond chance.

    Every method is compared with `generated`; where that is ahead itself, with the next one.
    """
    titles = ["dataset, backbone", "lists", "ahead", "by [95 %]"]
    titles += ["better than `generated` \\*", "not told apart", "worse \\*"]
    rows = []
    for folder in folders:
        metrics = md.load_metrics(folder)
        found = md.load_differences(folder)
        found = {m: own for m, own in found.items() if not md.has_one_weight(metrics.get(m, {}))}
        for protocol in LISTS:
            name = f"set_hv_{protocol}"
            first = max((m for m in found if m not in APART), key=lambda m: found[m][name])
            row, leader, other = found[first], first, "generated"
            if row[name] <= 0:
                row, leader, other = _turned(row, name), "generated", first
            lists: dict[str, list[str]] = {"better": [], "same": [], "worse": []}
            for method, own in found.items():
                if method == "generated_shuffled":  # the same set of models as `generated`
                    continue
                side = "better" if own[name] > 0 else "worse"
                lists[side if is_real(own, name) else "same"].append(f"`{method}`")
            rows.append([
                f"{folder.parent.name}, {folder.name}", protocol, f"`{leader}`",
                f"{md.difference(row, name)} over `{other}`",
                *(", ".join(methods) or "–" for methods in lists.values()),
            ])  # fmt: skip
    return md.markdown(titles, rows, left=len(titles))


def _turned(row: dict, name: str) -> dict:
    """A difference seen from the other side."""
    ends = {name: name, f"{name}_low": f"{name}_high", f"{name}_high": f"{name}_low"}
    return row | {new: None if row[old] is None else -row[old] for new, old in ends.items()}


def points(results: Path) -> pd.DataFrame:
    """A row per dataset, backbone, method and measure: mean, low and high over seeds."""
    rows = [
        {
            "dataset": folder.parent.name,
            "backbone": folder.name,
            "method": method,
            "measure": name.removesuffix("_sampled"),
            "mean": own[name],
            "low": own.get(f"{name}_low"),
            "high": own.get(f"{name}_high"),
        }
        for folder in md.studies(results)
        for method, own in md.load_metrics(folder).items()
        for name in DRAWN
        if own.get(name) is not None and not (name.startswith("set_hv") and md.has_one_weight(own))
    ]
    return pd.DataFrame(rows)
