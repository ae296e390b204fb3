"""Measure a method of yours beside the recorded results of a study."""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature

import pandas as pd

from paragon.errors import ParagonError
from paragon.evaluation.evaluate import Results, evaluate_method
from paragon.evaluation.methods import METHODS, Method
from paragon.storage import require
from paragon_study.pipeline.study import Study
from paragon_study.report.compare import MEANS, REGRET
from paragon_study.report.tables import (
    ByMethod,
    as_markdown,
    difference_table,
    plus_minus,
    shares_table,
)
from paragon_study.report.trainings import load_results

# What the functions of a Method are called with.
CALLED = {"mixture": "anchors weights", "vectors": "trained index", "rows": "trained"}
CALLED |= {"rerank": "lists weight positions"}


def load_method(where: str) -> tuple[str, Method]:
    """Import a ``Method`` from ``module:NAME``; it gets the name in small letters."""
    module, _, name = where.partition(":")
    try:
        entries = vars(import_module(module))
    except (ImportError, ValueError) as error:
        advice = "give module:NAME, without .py, of a file in this folder"
        raise ParagonError(f"--method {where}: {error}; {advice}") from None
    known = {n: entry for n, entry in entries.items() if isinstance(entry, Method)}
    if name not in known:
        have = ", ".join(known) or "none"
        raise ParagonError(f"--method {where}: no Method has this name; {module} has {have}")
    if name.lower() in METHODS:
        raise ParagonError(f"--method {where}: there is a method {name.lower()}; rename it")
    for field, arguments in CALLED.items():
        if (function := getattr(known[name], field)) is not None:
            try:
                signature(function).bind(*arguments.split())
            except TypeError as error:
                reason = f"{field} is called with {arguments}: {error}"
                raise ParagonError(f"--method {where}: {reason}") from None
    return name.lower(), known[name]


def measure_beside(study: Study, name: str, method: Method) -> Results:
    """Measure a method and add it to the recorded results of a study that was run here."""
    curve = pd.read_csv(require(study.results / "curve.csv", "evaluation"))
    files = (study.results / f"{file}.json" for file in ("metrics", "differences"))
    recorded = Results(curve, *map(load_results, files))
    return evaluate_method(study.load_trained(), name, method, recorded, study.params.evaluation)


def headline_table(summary: ByMethod, differences: ByMethod) -> pd.DataFrame:
    """Tabulate shares of accuracy and the slider's error, the most diverse at 95 % first."""
    table = shares_table(summary, differences).rename_axis("method")
    errors = [summary[name].get("asked_acc") for name in table.index]
    table["asked − got"] = [plus_minus(error, None, 2) for error in errors]
    second_share = table.iloc[:, 2].str.replace("–", "")  # undefined ones come last
    order = second_share.sort_values(kind="stable").index[::-1]
    return table.loc[order]


def beside_tables(results: Results, name: str, shares: list[float]) -> str:
    """Tabulate all methods as pages do, then what sets ``name`` apart from `generated`.

    First what they buy with accuracy, then how well they are controlled.
    """
    texts = [f"{100 * share:g}" for share in shares]
    own = {name: results.differences[name]}
    parts = [difference_table(own, share, "alpha_ndcg") for share in texts]
    table = pd.concat(parts).set_axis([f"{share} %" for share in texts])
    table = table.rename(columns={"real": "beyond chance"}).rename_axis("share")
    return "\n".join([
        as_markdown(headline_table(results.summary, results.differences)),
        "\nControl, over all weights (± over seeds):\n",
        as_markdown(control_of_methods(results.summary)),
        f"\n{name} minus generated, α-nDCG@10 (intervals over users, and over seeds):\n",
        as_markdown(table.astype(str)),
    ])  # fmt: skip


def control_of_methods(summary: ByMethod) -> pd.DataFrame:
    """Tabulate the measures of control by method, the least regret first."""
    rows = sorted(summary.items(), key=lambda item: _regret(item[1]))
    cells = {
        title: [plus_minus(row.get(key), row.get(f"{key}_low"), digits, key) for _, row in rows]
        for key, (title, digits) in MEANS.items()
    }
    return pd.DataFrame(cells, index=[method for method, _ in rows]).rename_axis("method")


def _regret(row: Mapping) -> float:
    regret = row.get(REGRET)
    return float("inf") if regret is None else regret
