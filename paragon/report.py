"""results/ in words and tables: results/summary.md and the README's result block.

Nothing is computed here that is not in a committed metrics.json or timing.json,
so a test can hold the README to the results.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from paragon.errors import ParagonError
from paragon.files import require, write_text

# Column title, measure, digits; the protocol is added.
COLUMNS = (
    ("set HV", "set_hv", 4),
    ("of tuned", "set_hv_of_tuned", 3),
    ("r acc", "r_acc", 3),
    ("r div", "r_div", 3),
    ("range acc", "range_ratio_acc", 2),
    ("range div", "range_ratio_div", 2),
    ("violations", "violations_acc", 1),
    ("regret %", "regret_mean", 1),
    ("median %", "regret_median", 1),
    ("at corners %", "regret_corner_mean", 1),
)
# Column title, method, measure, digits: one line a study.
OVERVIEW = (
    ("NDCG@10 of the backbone", "backbone", "best_acc", 4),
    ("set HV of `tuned`", "tuned", "set_hv", 4),
    ("of it: `generated`", "generated", "set_hv_of_tuned", 3),
    ("`interpolation`", "interpolation", "set_hv_of_tuned", 3),
    ("`retrain`", "retrain", "set_hv_of_tuned", 3),
    ("range acc", "generated", "range_ratio_acc", 2),
    ("range div", "generated", "range_ratio_div", 2),
    ("regret %: `generated`", "generated", "regret_mean", 1),
    ("`interpolation`", "interpolation", "regret_mean", 1),
    ("median", "interpolation", "regret_median", 1),
)
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def load_metrics(folder: Path) -> dict[str, dict]:
    """metrics.json of one dataset and backbone."""
    return json.loads(require(folder / "metrics.json", "evaluate").read_text(encoding="utf-8"))


def studies(results: Path) -> list[Path]:
    """Folders ``<dataset>/<backbone>`` under ``results`` that hold metrics, sorted."""
    return sorted(path.parent for path in results.glob("*/*/metrics.json"))


def _cell(row: dict, name: str, digits: int) -> str:
    value, spread = row.get(name), row.get(f"{name}_sd")
    if value is None:
        return "–"
    if name.startswith("regret"):
        value, spread = 100 * value, None if spread is None else 100 * spread
    shown = f"{value:.{digits}f}"
    return shown if spread is None else f"{shown} ± {spread:.{digits}f}"


def table(folder: Path, protocol: str = "sampled") -> str:
    """Markdown: a row per method, mean ± standard deviation over seeds."""
    header = ["method", *(title for title, _, _ in COLUMNS)]
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
    for method, row in load_metrics(folder).items():
        cells = [_cell(row, f"{name}_{protocol}", digits) for _, name, digits in COLUMNS]
        if "note" in row:  # a method as a whole, the reason for having no numbers
            cells[0] = row["note"].partition(":")[0]
        lines.append("| " + " | ".join([f"`{method}`", *cells]) + " |")
    return "\n".join(lines)


def overview(results: Path, protocol: str = "sampled") -> str:
    """Markdown: a line per dataset and backbone."""
    titles = ["dataset, backbone", *(title for title, *_ in OVERVIEW)]
    lines = ["| " + " | ".join(titles) + " |", "| --- |" + " ---: |" * len(OVERVIEW)]
    for folder in studies(results):
        rows = load_metrics(folder)
        cells = [
            _cell(rows.get(method, {}), f"{name}_{protocol}", digits)
            for _, method, name, digits in OVERVIEW
        ]
        lines.append("| " + " | ".join([f"{folder.parent.name}, {folder.name}", *cells]) + " |")
    return "\n".join(lines)


def data_line(folder: Path) -> str:
    """What a dataset's results are from: source, split, sizes."""
    about = json.loads(require(folder / "data.json", "preprocess").read_text(encoding="utf-8"))
    counts = about["counts"]
    rules = [about["split"]]
    rules += [f"{k} {about[k]:g}" for k in ("min_rating", "k_core", "midnight") if about[k]]
    return (
        f"{folder.name}, source: {about['source']}; {', '.join(rules)}; "
        f"{counts['train']:,} training, {counts['valid']:,} validation and {counts['test']:,} test "
        f"events, {counts['items']:,} items, {counts['test_users']:,} users in the test"
    )


def times(results: Path) -> str:
    """One sentence a backbone on the recorded time to a ready model; empty without a record."""
    lines = []
    for path in sorted(results.glob("*/timing.json")):
        for backbone, timing in json.loads(path.read_text(encoding="utf-8")).items():
            t = {name: timing[name]["p50"] for name in ("generate", "tune", "retrain")}
            facts = timing["machine"]
            lines.append(
                f"- {path.parent.name}, {backbone}: a ready model from new weights takes "
                f"{1000 * t['generate']:.1f} ms generated, {t['tune']:.1f} s tuned, "
                f"{t['retrain']:.0f} s retrained ({100 * (1 - t['generate'] / t['retrain']):.2f} % "
                f"less than retraining; medians, {facts['cpu']}, {facts['threads']} threads)."
            )
    return "\n".join(lines)


def summary(results: Path) -> str:
    """The text of results/summary.md."""
    found = studies(results)
    if not found:
        raise ParagonError(f"{results}: no metrics.json in it; run `dvc repro` first")
    parts = [
        "# Results",
        "Mean ± standard deviation over seeds. Written by `python -m paragon report`.",
    ]
    datasets = dict.fromkeys(folder.parent for folder in found)
    parts.append("\n".join(f"- {data_line(folder)}." for folder in datasets))
    parts += ["## All studies, short lists", overview(results)]
    for folder in found:
        parts.append(f"## {folder.parent.name}, {folder.name}")
        for protocol, words in (
            ("sampled", "Target and sampled negatives"),
            ("full", "Whole catalogue"),
        ):
            parts += [f"### {words}", table(folder, protocol)]
    if recorded := times(results):
        parts += ["## Time to a ready model", recorded]
    return "\n\n".join(parts) + "\n"


def readme_block(results: Path, dataset: str, backbone: str) -> str:
    """What stands between the README's result markers: one study, then a line for each."""
    datasets = dict.fromkeys(folder.parent for folder in studies(results))
    parts = [
        f"{dataset}, {backbone}:",
        table(results / dataset / backbone),
        "Every study, a line each:",
        overview(results),
        "\n".join([*(f"- {data_line(folder)}." for folder in datasets), times(results)]).strip(),
    ]
    return "\n\n".join([BEGIN, *parts, END])


def with_block(readme: str, block: str) -> str:
    """The README with its result block replaced."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(readme):
        raise ParagonError(f"README.md: the markers {BEGIN} and {END} are missing")
    return pattern.sub(lambda _: block, readme)


def write_report(root: Path, dataset: str, backbone: str) -> None:
    """Write results/summary.md and bring the README's block up to date."""
    results, readme = root / "results", root / "README.md"
    write_text(results / "summary.md", summary(results))
    text = readme.read_text(encoding="utf-8")
    write_text(readme, with_block(text, readme_block(results, dataset, backbone)))
