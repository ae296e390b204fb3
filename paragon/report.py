"""results/ in tables, and the README's blocks of results.

Nothing is shown here that does not follow from the committed files of results/ and
ablations/results/, so a test can hold the README to them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from paragon import ablation_tables, tables
from paragon.errors import ParagonError
from paragon.files import require, write_text
from paragon.statistics import mean_interval

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
# What the ablations are asked for in the README.
RIVALS = ("generated", "generated_best", "hypernetwork", "interpolation", "nearest")
REAL = 0.05  # adjusted p-values below it are marked


def load_metrics(folder: Path) -> dict[str, dict]:
    """metrics.json of one dataset and backbone."""
    path = require(folder / "metrics.json", "evaluate")
    found = json.loads(path.read_text(encoding="utf-8"))
    for method, row in found.items():
        for name in row:
            if name.endswith("_sd") and f"{name.removesuffix('_sd')}_low" not in row:
                raise ParagonError(
                    f"{path}: {method}.{name} has no limits `_low` and `_high` beside it: made by "
                    "another version of the package, run `dvc repro` again"
                )
    return found


def load_differences(folder: Path) -> dict[str, dict]:
    """differences.json of one dataset and backbone."""
    path = require(folder / "differences.json", "evaluate")
    return json.loads(path.read_text(encoding="utf-8"))


def studies(results: Path) -> list[Path]:
    """Folders ``<dataset>/<backbone>`` under ``results`` that hold metrics, sorted."""
    found = sorted(path.parent for path in results.glob("*/*/metrics.json"))
    if not found:
        raise ParagonError(f"{results}: no metrics.json in it; run `dvc repro` first")
    return found


def _cell(row: dict, name: str, digits: int) -> str:
    """A mean with half the width of its interval over seeds, where there is one."""
    value, low = row.get(name), row.get(f"{name}_low")
    if value is None:
        return "–"
    scale = 100 if name.startswith("regret") else 1
    shown = f"{scale * value:.{digits}f}"
    return shown if low is None else f"{shown} ± {scale * (value - low):.{digits}f}"


def is_real(row: dict, name: str) -> bool:
    """Whether a difference is beyond chance, allowing for the number of methods."""
    p_value = row.get(f"{name}_p_holm")
    return p_value is not None and p_value < REAL


def difference(row: dict | None, name: str) -> str:
    """A difference with its interval over users, marked with a star where it is beyond chance."""
    if row is None:  # `generated` itself
        return "–"
    # Without the 0.0 a rounded difference could be -0.
    shown, *limits = (
        None if row[key] is None else f"{round(row[key], 4) + 0.0:+.4f}"
        for key in (name, f"{name}_low", f"{name}_high")
    )
    if None not in limits:
        shown += f" [{', '.join(limits)}]"
    return f"{shown} \\*" if is_real(row, name) else shown


def table(folder: Path, protocol: str = "sampled") -> str:
    """Markdown: a row per method, its mean ± half of the 95 % interval over seeds."""
    differences = load_differences(folder)
    rows = []
    for method, row in load_metrics(folder).items():
        cells = [_cell(row, f"{name}_{protocol}", digits) for _, name, digits in COLUMNS]
        if "note" in row:  # a method as a whole, the reason for having no numbers
            cells[0] = row["note"].partition(":")[0]
        cells.insert(1, difference(differences.get(method), f"set_hv_{protocol}"))
        rows.append([f"`{method}`", *cells])
    titles = [title for title, _, _ in COLUMNS]
    titles.insert(1, "difference from `generated` [95 %]")
    return markdown(["method", *titles], rows)


def markdown(titles: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A table; so many columns, the first ones, are aligned left."""
    rule = "|" + " --- |" * left + " ---: |" * (len(titles) - left)
    lines = ["| " + " | ".join(titles) + " |", rule]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def overview(results: Path, protocol: str = "sampled") -> str:
    """Markdown: a line per dataset and backbone."""
    rows = []
    for folder in studies(results):
        found = load_metrics(folder)
        cells = [
            _cell(found.get(method, {}), f"{name}_{protocol}", digits)
            for _, method, name, digits in OVERVIEW
        ]
        rows.append([f"{folder.parent.name}, {folder.name}", *cells])
    return markdown(["dataset, backbone", *(title for title, *_ in OVERVIEW)], rows)


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
            facts, pays = timing["machine"], timing["pays_after"]
            lines.append(
                f"- {path.parent.name}, {backbone}: a ready model from new weights takes "
                f"{1000 * t['generate']:.1f} ms generated, {t['tune']:.1f} s tuned, "
                f"{t['retrain']:.0f} s retrained ({100 * (1 - t['generate'] / t['retrain']):.3f} % "
                f"less than retraining). Collection and generator took "
                f"{sum(timing['prepare'].values()):.0f} s: they pay from change {pays['retrain']} "
                f"of the weights on against retraining, from {pays['tune']} on against tuning "
                f"(medians, {facts['cpu']}, {facts['threads']} threads)."
            )
    return "\n".join(lines)


def ablations(folder: Path) -> str:
    """Markdown: regret of generation and its rivals by setting and backbone, over all seeds."""
    kinds = [ablation_tables.load(kind, folder) for kind in ("collection", "point")]
    rows = ablation_tables.core(kinds[0], ablation_tables.usual(kinds[1]))
    apart = ablation_tables.paired(rows, "generated_best", "hypernetwork", "regret_mean", "study")
    lines = []
    for study, own in rows.groupby("study", sort=False):
        if not set(RIVALS) <= set(own["method"]):  # its points or its collection is still to run
            continue
        regret = own.groupby("method")["regret_mean"]
        found = [mean_interval(regret.get_group(m).to_numpy(float)) for m in RIVALS]
        named = [{"regret": own.mean, "regret_low": own.low} for own in found]
        cells = [_cell(row, "regret", 1) for row in named]
        low, high = (100 * apart.loc[study, end] for end in ("low", "high"))
        cells.append(f"{100 * apart.loc[study, 'difference']:+.1f} [{low:+.1f}, {high:+.1f}]")
        lines.append([study, *cells])
    titles = [f"`{m}`" for m in RIVALS]
    return markdown(["regret %", *titles, "best of 8 minus hypernetwork [95 %]"], lines)


def starts(folder: Path) -> str:
    """Markdown: median regret where adapters of several random starts are put together."""
    kinds = [ablation_tables.load(kind, folder) for kind in ("collection", "point")]
    rows = ablation_tables.starts(*kinds)
    rows = rows[rows["way"] != "tuned"].assign(median=100 * rows["regret_median"])
    cells = tables.intervals(rows, "median", "way", "start")
    lines = [[f"`{way}`" if way.isidentifier() else way, *own] for way, *own in cells.itertuples()]
    return markdown(["median regret %", *cells.columns], lines)


def results_block(results: Path, dataset: str, backbone: str) -> str:
    """The README's block of results: one study, then a line for each."""
    datasets = dict.fromkeys(folder.parent for folder in studies(results))
    parts = [
        f"{dataset}, {backbone}:",
        table(results / dataset / backbone),
        "Every study, a line each:",
        overview(results),
        "\n".join([*(f"- {data_line(folder)}." for folder in datasets), times(results)]).strip(),
    ]
    return "\n\n".join(parts)


def with_block(readme: str, name: str, text: str) -> str:
    """The README with what stands between the markers ``name`` replaced."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(readme):
        raise ParagonError(f"README.md: the markers {begin} and {end} are missing")
    return pattern.sub(lambda _: "\n\n".join([begin, text, end]), readme)


def reported(readme: str, root: Path, dataset: str, backbone: str) -> str:
    """The README with all of its blocks brought up to date."""
    readme = with_block(readme, "results", results_block(root / "results", dataset, backbone))
    found = root / "ablations" / "results"
    readme = with_block(readme, "ablations", ablations(found))
    return with_block(readme, "starts", starts(found))


def write_report(root: Path, dataset: str, backbone: str) -> None:
    """Bring the README's blocks up to date."""
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    write_text(readme, reported(text, root, dataset, backbone))
