"""results/ in tables, for results/summary.md and the documents."""

from __future__ import annotations

import json
from pathlib import Path

from paragon.errors import ParagonError
from paragon.metrics.statistics import is_real
from paragon.storage import require

# Column title, measure, digits; the protocol is added.
COLUMNS = (
    ("set HV", "set_hv", 4),
    ("of tuned", "set_hv_of_tuned", 3),
    ("mean HV", "mean_hv", 4),
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
    ("of it: `interpolation_log`", "interpolation_log", "set_hv_of_tuned", 3),
    ("of it: `retrain`", "retrain", "set_hv_of_tuned", 3),
    ("range acc of `generated`", "generated", "range_ratio_acc", 2),
    ("range div of `generated`", "generated", "range_ratio_div", 2),
    ("regret % of `generated`", "generated", "regret_mean", 1),
    ("of `interpolation`", "interpolation", "regret_mean", 1),
    ("of `interpolation_log`", "interpolation_log", "regret_mean", 1),
)
ONE_WEIGHT = "there is one"  # in the reason why its correlation is undefined


def load_metrics(folder: Path) -> dict[str, dict]:
    """metrics.json of one dataset and backbone."""
    path = require(folder / "metrics.json", "evaluation")
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
    path = require(folder / "differences.json", "evaluation")
    found = json.loads(path.read_text(encoding="utf-8"))
    for method, row in found.items():
        for name in row:
            stem = name.removesuffix("_p_holm")
            if stem != name and f"{stem}_seeds_low" not in row:
                raise ParagonError(
                    f"{path}: {method}.{stem} has no limits over seeds, `{stem}_seeds_low`, beside "
                    "it: made by another version of the package, run `dvc repro` again"
                )
    return found


def studies(results: Path) -> list[Path]:
    """Folders ``<dataset>/<backbone>`` under ``results`` that hold metrics, sorted."""
    found = sorted(path.parent for path in results.glob("*/*/metrics.json"))
    if not found:
        raise ParagonError(f"{results}: no metrics.json in it; run `dvc repro` first")
    return found


def cell(row: dict, name: str, digits: int) -> str:
    """A mean with half the width of its interval over seeds, where there is one."""
    value, low = row.get(name), row.get(f"{name}_low")
    if value is None:
        return "–"
    scale = 100 if name.startswith("regret") else 1
    shown = f"{scale * value:.{digits}f}"
    # Nothing random, one model repeated: no interval.
    return shown if low in (None, value) else f"{shown} ± {scale * (value - low):.{digits}f}"


def has_one_weight(row: dict) -> bool:
    """Whether a method was run at a single weight: one rectangle is no front to compare."""
    return ONE_WEIGHT in row.get("r_acc_sampled_note", "")


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
        cells = [cell(row, f"{name}_{protocol}", digits) for _, name, digits in COLUMNS]
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
        found = {m: row for m, row in load_metrics(folder).items() if not has_one_weight(row)}
        cells = [
            cell(found.get(method, {}), f"{name}_{protocol}", digits)
            for _, method, name, digits in OVERVIEW
        ]
        rows.append([f"{folder.parent.name}, {folder.name}", *cells])
    return markdown(["dataset, backbone", *(title for title, *_ in OVERVIEW)], rows)


def data_line(folder: Path) -> str:
    """What a dataset's results are from: source, split, sizes."""
    about = json.loads(require(folder / "data.json", "data").read_text(encoding="utf-8"))
    counts = about["counts"]
    rules = [about["split"]]
    rules += [f"{k} {about[k]:g}" for k in ("min_rating", "k_core", "midnight") if about[k]]
    return (
        f"{folder.name}, source: {about['source']}; {', '.join(rules)}; "
        f"{counts['train']:,} training, {counts['valid']:,} validation and {counts['test']:,} test "
        f"events, {counts['items']:,} items, {counts['test_users']:,} users in the test"
    )


def costs(results: Path) -> str:
    """Markdown: time to a ready model for new weights, as recorded; empty without a record."""
    titles = [
        "time to a ready model",
        "generated, p50 (p99)",
        "tuned (runs)",
        "retrained (runs)",
    ]
    titles += ["less than retraining"]
    titles += ["collection", "generator", "pays from change: against tuning", "retraining"]
    titles += ["an answer of `llm`, p50 (p99)", "measured on"]
    rows = []
    for path in sorted(results.glob("*/timing.json")):
        for backbone, own in json.loads(path.read_text(encoding="utf-8")).items():
            generate, retrain = own["generate"]["p50"], own["retrain"]["p50"]
            facts, asked = own["machine"], own.get("llm")
            rows.append([
                f"{path.parent.name}, {backbone}",
                f"{1000 * generate:.1f} ms ({1000 * own['generate']['p99']:.1f})",
                *(f"{own[m]['p50']:.3g} s ({own[m]['runs']})" for m in ("tune", "retrain")),
                f"{100 * (1 - generate / retrain):.3f} %",
                *(f"{seconds:.3g} s" for seconds in own["prepare"].values()),
                *(str(own["pays_after"][m] or "never") for m in ("tune", "retrain")),
                f"{asked['p50']:.3g} s ({asked['p99']:.3g})" if asked else "not run",
                f"{facts.get('gpu', facts['cpu'])}, {facts['threads']} thread"
                + "s" * (facts["threads"] > 1),
            ])  # fmt: skip
    return markdown(titles, rows) if rows else ""
