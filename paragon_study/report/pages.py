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
from paragon_study.report.tables import as_markdown
from paragon_study.report.trainings import first_trainings
from paragon_study.report.verdicts import short_verdicts, verdicts

MAIN = ("ml-100k", "sasrec")  # study in the README
RELEASED = "ml-100k-transformer"  # studies with the released architecture
# Columns of a table by field: its name, a measure, and how values of several backbones are written.
# The README's are as narrow as a telephone.
IN_README = {
    "films": ("films", "alpha_ndcg_80", "mean .2f"),
    "music": ("music", "alpha_ndcg_80", "mean .2f"),
    "food": ("groceries", "alpha_ndcg_80", "mean .2f"),  # a short word
}
IN_FINDINGS = [
    "tuned_alone",
    "paragon",
    "generated",
    "hypernetwork",
    "nearest",
    "interpolation_log",
    "category_bias",
    "xquad",
]
REGRETS = {
    "films": ("films", compare.REGRET, "percent .0f"),
    "music": ("music", compare.REGRET, "percent .0f"),
    "groceries": ("groceries", compare.REGRET, "percent .0f"),
}
SLIDER = {
    "error, films": ("films", "asked_acc", "mean .2f"),
    "error, music": ("music", "asked_acc", "mean .2f"),
    "error, groceries": ("groceries", "asked_acc", "mean .2f"),
    "moves, films": ("films", "moves", "mean .1f"),
}


def paper_claims(folders: Iterable[Path], released: Iterable[Path] = ()) -> str:
    """Return a Markdown table of what the paper says, the condition, and our verdicts.

    ``released``: the studies of the released architecture.
    """
    table = verdicts(list(folders), list(released)).set_index("the paper says")
    return as_markdown(table.rename(columns=lambda name: look(name).label), left=2)


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
    fields = [folder for folder in recorded if folder.parent.name in compare.FIELDS]
    of_fields = compare.all_results(fields)
    released = [folder for folder in recorded if folder.parent.name == RELEASED]
    tuning = contrasts.load_table("tuning", root / "ablations/results")
    tuning = tuning.pivot_table("ndcg", "change", "name", sort=False).map("{:.3f}".format)
    blocks = {
        root / "README.md": {
            "claims": as_markdown(short_verdicts(fields).set_index("the paper says"), left=3),
            "results": compare.by_field(of_fields, compare.IN_SHARES, IN_README),
        },
        root / "docs/findings.md": {
            "claims": paper_claims(fields, released),
            "regret": compare.by_field(of_fields, IN_FINDINGS, REGRETS),
            "slider": compare.by_field(of_fields, IN_FINDINGS, SLIDER),
            "best": compare.best_by_field(of_fields),
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
    figures.save_figure(lead, ROOT / "docs/lead.png")
    figures.save_figure(law, ROOT / "ablations/law.png")
