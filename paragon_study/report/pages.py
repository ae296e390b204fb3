"""Write results into the pages: tables between markers, and figures."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from paragon.errors import ParagonError
from paragon.storage import require, write_text
from paragon_study.moves import recorded
from paragon_study.report import figures
from paragon_study.report.results import load_results
from paragon_study.report.style import look
from paragon_study.report.tables import as_markdown, plus_minus

MAIN = ("ml-100k", "sasrec")  # study in the README
METHODS = (
    "tuned", "generated", "generated_xquad", "hypernetwork", "interpolation_log", "category_bias",
    "xquad", "backbone",
)  # fmt: skip
COLUMNS = {
    "set_hv_full": ("set HV", 4),
    "r_acc_full": ("r acc", 2),
    "r_div_full": ("r div", 2),
    "even_ild_full": ("distance", 2),
    "even_items_full": ("items", 0),
    "set_hv_sampled": ("set HV, sampled", 4),
}


def main_results(folder: Path) -> str:
    """Return a Markdown table of the main methods of one study, by set HV."""
    metrics = load_results(folder / "metrics.json")
    rows = {m: metrics[m] for m in METHODS if metrics.get(m, {}).get("set_hv_full") is not None}
    cells = {
        look(method).label: {
            title: plus_minus(
                row[name], row.get("set_hv_full_low") if name == "set_hv_full" else None, digits
            )
            for name, (title, digits) in COLUMNS.items()
        }
        for method, row in sorted(rows.items(), key=lambda item: -item[1]["set_hv_full"])
    }
    return as_markdown(pd.DataFrame.from_dict(cells, orient="index").rename_axis("method"))


def with_block(text: str, name: str, block: str) -> str:
    """Replace the text of a page between the markers ``name``."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ParagonError(f"{text[:40]!r}: the markers {begin} and {end} are missing")
    return pattern.sub(lambda _: "\n\n".join([begin, block, end]), text)


def pages(root: Path) -> dict[Path, str]:
    """Return the full text of each page with current tables."""
    blocks = {
        "README.md": ("results", main_results(root.joinpath("results", *MAIN))),
    }
    if (moved := root / "moves" / "results").is_dir():
        blocks["moves/README.md"] = ("moves", recorded.tables(moved))
    return {
        root / name: with_block((root / name).read_text(encoding="utf-8"), *block)
        for name, block in blocks.items()
    }


def write_pages(root: Path) -> None:
    """Write the pages, and their figures."""
    for path, text in pages(root).items():
        write_text(path, text)
    curve = require(root.joinpath("results", *MAIN) / "curve.csv", "evaluation")
    figures.save_figure(figures.lead(pd.read_csv(curve)), root / "docs" / "lead.png")
    if (moved := root / "moves" / "results").is_dir():
        drawn = recorded.moved_adapters(recorded.load_moves(moved))
        figures.save_figure(drawn, root / "moves" / "moves.png")
