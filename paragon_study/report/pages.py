"""The pages: tables between markers, and figures."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from paragon.errors import ParagonError
from paragon.params import RESULTS, ROOT, load_params
from paragon.storage import require, write_text
from paragon_study.ablations import contrasts
from paragon_study.report import compare, figures
from paragon_study.report.style import look
from paragon_study.report.tables import ByMethod, as_markdown, plus_minus, shares_table
from paragon_study.report.trainings import (
    first_trainings,
    joined_differences,
    joined_metrics,
)
from paragon_study.report.verdicts import short_verdicts, verdicts

MAIN = ("ml-100k", "sasrec")  # study in the README
RELEASED = "ml-100k-transformer"  # studies with the released architecture
# Methods whose control the findings show.
WITH_CONTROL = [
    "tuned_alone",
    "paragon",
    "paragon_no_cfg",
    "paragon_transformer",
    "generated",
    "hypernetwork",
    "nearest",
    "interpolation_log",
    "soup",
    "category_bias",
    "xquad",
]
# Columns of the README's table, and their headings there: what a telephone shows without scrolling.
IN_README = {"95 %": "95 %", "80 %": "80 %", "asked − got": "error"}


def headline_table(summary: ByMethod, differences: ByMethod) -> pd.DataFrame:
    """Tabulate shares of accuracy and the slider's error, the most diverse at 95 % first."""
    table = shares_table(summary, differences).rename_axis("method")
    errors = [summary[name].get("asked_acc") for name in table.index]
    table["asked − got"] = [plus_minus(error, None, 2) for error in errors]
    second_share = table.iloc[:, 2].str.replace("–", "")  # undefined ones come last
    order = second_share.sort_values(kind="stable").index[::-1]
    return table.loc[order]


def main_results(folder: Path) -> str:
    """Return a small Markdown table of the main methods of a study: two shares, slider's error."""
    table = headline_table(joined_metrics(folder), joined_differences(folder))
    table = table.loc[table.index.isin(compare.IN_SHARES), [*IN_README]].rename(columns=IN_README)
    table = table.replace(r"^0\.", ".", regex=True)
    return as_markdown(table.rename(lambda name: look(name).label))


def paper_claims(folders: Iterable[Path], released: Iterable[Path] = ()) -> str:
    """Return a Markdown table of what the paper says, the condition, and our verdicts.

    ``released``: the studies of the released architecture.
    """
    table = verdicts(list(folders), list(released)).set_index("the paper says")
    return as_markdown(table.rename(columns=lambda name: look(name).label), left=2)


def control_table(folders: Iterable[Path], measure: str, digits: int) -> str:
    """Return a Markdown table of a measure of control: methods by study, ± over seeds."""
    columns = {}
    for folder in folders:
        summary = joined_metrics(folder)
        cells = {}
        for name in WITH_CONTROL:
            measures = summary.get(name, {})
            mean = measures.get(measure)
            low = measures.get(f"{measure}_low")
            cells[look(name).label] = plus_minus(mean, low, digits, measure)
        columns[compare.label_of(folder)] = cells
    table = pd.DataFrame(columns)
    return as_markdown(table[table.ne("–").any(axis=1)].rename_axis("method"))


def with_block(text: str, name: str, block: str) -> str:
    """Replace the text of a page between the markers ``name``."""
    begin = f"<!-- {name}: begin -->"
    end = f"<!-- {name}: end -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ParagonError(f"{text[:40]!r}: the markers {begin} and {end} are missing")
    return pattern.sub(lambda _: "\n\n".join([begin, block, end]), text)


def factors(factorial: pd.DataFrame) -> str:
    """Tabulate the regret without a change, then how each option of each factor changes it."""
    tables = []
    for factor in factorial["factor"].unique():
        table = contrasts.factor_table(factorial, factor)
        changes: list[str] = []
        methods: list[str] = []
        for label in table.index:
            method, _, option = label.partition(", ")
            changes.append(f"{factor}: {option}" if option else "none")
            methods.append(look(method).label)
        table.insert(0, "change", changes)
        table.insert(1, "method", methods)
        tables.append(table)
    return as_markdown(pd.concat(tables).fillna("–"), left=2)


def pages(root: Path) -> dict[Path, str]:
    """Return the full text of each page with current tables."""
    results = root / "results"
    recorded = first_trainings(compare.study_folders(results))
    main = [folder for folder in recorded if folder.parent.name == MAIN[0]]
    fields = [folder for folder in recorded if folder.parent.name in compare.FIELDS]
    not_films = [folder for folder in fields if folder not in main]
    released = [folder for folder in recorded if folder.parent.name == RELEASED]
    dataset, backbone = MAIN
    tuning = contrasts.load_table("tuning", root / "ablations/results")
    tuning = tuning.pivot_table("ndcg", "change", "name", sort=False).map("{:.3f}".format)
    blocks = {
        root / "README.md": {
            "claims": as_markdown(short_verdicts(fields).set_index("the paper says"), left=3),
            "results": main_results(results / dataset / backbone),
        },
        root / "docs/findings.md": {
            "claims": paper_claims(fields, released),
            "regret": control_table(main, "regret_mean_full", 1),
            "fields": control_table(not_films, "regret_mean_full", 1),
            "asked": control_table(main, "asked_acc", 3),
            "people": control_table(main, "moves", 2),
            "share95": compare.shares(main, "95"),
            "share80": compare.shares(main, "80"),
            "best": compare.best_by_field(fields),
        },
        root / "ablations/README.md": {
            "factors": factors(contrasts.load_factorial(root / "ablations/results")),
            "tuning": as_markdown(tuning),
        },
    }
    texts = {}
    for path, blocks_of_page in blocks.items():
        text = path.read_text("utf-8")
        for name, block in blocks_of_page.items():
            text = with_block(text, name, block)
        texts[path] = text
    return texts


def write_pages() -> None:
    """Write the pages, and their figures."""
    for path, text in pages(ROOT).items():
        write_text(path, text)
    dataset, backbone = MAIN
    curve = pd.read_csv(require(RESULTS / dataset / backbone / "curve.csv", "evaluation"))
    lead = figures.trade_off(curve, shares=load_params().evaluation.shares)
    law = contrasts.anchor_law(contrasts.load_table("law"))
    budgets = contrasts.budgets(contrasts.load_table("budgets"))
    figures.save_figure(lead, ROOT / "docs/lead.png")
    figures.save_figure(law, ROOT / "ablations/law.png")
    figures.save_figure(budgets, ROOT / "ablations/budgets.png")
