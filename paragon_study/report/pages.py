"""The pages: tables between markers, figures, and claims, which claims.yaml explains."""

import json
import operator
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from paragon.errors import ParagonError
from paragon.metrics.statistics import is_real
from paragon.params import RESULTS, ROOT, load_params, read_settings
from paragon.storage import require, write_text
from paragon_study.ablations import contrasts
from paragon_study.report import compare, figures
from paragon_study.report.style import look
from paragon_study.report.tables import ByMethod, as_markdown, plus_minus, shares_table
from paragon_study.report.verdicts import verdicts

MAIN = ("ml-100k", "sasrec")  # study in the README
MARGIN = 0.005  # of non-inferiority: about 1 % of α-nDCG@10
# Methods whose control the findings show.
WITH_CONTROL = ["tuned_alone", "paragon", "paragon_no_cfg", "paragon_transformer", "generated"]
WITH_CONTROL += ["hypernetwork", "nearest", "interpolation_log", "soup", "category_bias", "xquad"]
WITH_CLAIMS = ("README.md", "docs/findings.md")
RELATIONS = {"is": operator.eq, "below": operator.lt, "above": operator.gt}
Sources = dict[str, pd.DataFrame]


def headline_table(summary: ByMethod, differences: ByMethod) -> pd.DataFrame:
    """Tabulate shares of accuracy and control error, the most diverse at the second share first."""
    table = shares_table(summary, differences).rename_axis("method")
    errors = [summary[name].get("outcome_error_full") for name in table.index]
    table["control error"] = [plus_minus(error, None, 2) for error in errors]
    order = table.iloc[:, 2].str.replace("–", "").sort_values(kind="stable").index[::-1]
    return table.loc[order]


def main_results(folder: Path) -> str:
    """Return a Markdown table of the main methods of a study: shares of accuracy, control error."""
    names = "metrics.json", "differences.json"
    table = headline_table(*(compare.load_results(folder / name) for name in names))
    table = table[table.index.isin(compare.IN_SHARES)]
    return as_markdown(table.rename(lambda name: look(name).label))


def paper_claims(folders: Iterable[Path]) -> str:
    """Return a Markdown table of what the paper says, the condition, and our verdicts."""
    table = verdicts(list(folders)).set_index("the paper says")
    return as_markdown(table.rename(columns=lambda name: look(name).label), left=2)


def control_table(folders: Iterable[Path], measure: str, digits: int) -> str:
    """Return a Markdown table of a measure of control: methods by study, ± over seeds."""
    columns = {}
    for folder in folders:
        summary = compare.load_results(folder / "metrics.json")
        cells = {}
        for name in WITH_CONTROL:
            row = summary.get(name, {})
            cells[look(name).label] = plus_minus(
                row.get(measure), row.get(f"{measure}_low"), digits, measure
            )
        columns[", ".join(folder.parts[-2:])] = cells
    table = pd.DataFrame(columns)
    return as_markdown(table[table.ne("–").any(axis=1)].rename_axis("method"))


def with_block(text: str, name: str, block: str) -> str:
    """Replace the text of a page between the markers ``name``."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ParagonError(f"{text[:40]!r}: the markers {begin} and {end} are missing")
    return pattern.sub(lambda _: "\n\n".join([begin, block, end]), text)


def pages(root: Path) -> dict[Path, str]:
    """Return the full text of each page with current tables."""
    tuned = contrasts.load_table("tuning", root / "ablations/results")
    tuned = tuned.pivot_table("ndcg", "change", "name", sort=False).map("{:.3f}".format)
    results = root / "results"
    main = [folder for folder in compare.study_folders(results) if folder.parent.name == MAIN[0]]
    main = [folder for folder in main if compare.is_current(folder)]
    planted = [f for f in compare.study_folders(results) if f.parent.name == "planted"]
    both = [*main, *(folder for folder in planted if compare.is_current(folder))]
    blocks = {
        root / "README.md": {
            "claims": paper_claims(main),
            "results": main_results(results.joinpath(*MAIN)),
        },
        root / "docs/findings.md": {
            "regret": control_table(both, "regret_mean_full", 1),
            "control": control_table(both, "outcome_error_full", 3),
            "shares": compare.shares(both),
        },
        root / "ablations/README.md": {"tuning": as_markdown(tuned)},
    }
    made = {}
    for path, of_page in blocks.items():
        text = path.read_text("utf-8")
        for name, block in of_page.items():
            text = with_block(text, name, block)
        made[path] = text
    return made


def write_pages() -> None:
    """Write the pages, and their figures."""
    for path, text in pages(ROOT).items():
        write_text(path, text)
    curve = pd.read_csv(require(RESULTS.joinpath(*MAIN) / "curve.csv", "evaluation"))
    for name, figure in {
        "docs/lead.png": figures.trade_off(curve, shares=load_params().evaluation.shares),
        "ablations/law.png": contrasts.anchor_law(contrasts.load_table("law")),
        "ablations/budgets.png": contrasts.budgets(contrasts.load_table("budgets")),
    }.items():
        figures.save_figure(figure, ROOT / name)


def check_claims(root: Path = ROOT) -> pd.DataFrame:
    """Tabulate each claim, what the paper says, our verdict on that, and the problem, if any."""
    sources, rows = load_sources(root), []
    for claim in load_claims(root):
        words = claim["says"].format(*(value_of(sources, *one) for one in claim.get("of", [])))
        problems = [
            f"{page} should say: {words}"
            for page in ([claim["page"]] if "page" in claim else WITH_CLAIMS)
            if words not in one_line((root / page).read_text(encoding="utf-8"))
        ]
        for *one, relation, limit in claim.get("if", []):
            value = float(value_of(sources, *one))
            if not RELATIONS[relation](value, limit):
                problem = f"{words}: needs {' '.join(one)} {relation} {limit}, it is {value:g}"
                problems.append(problem)
        rows.append((words, claim.get("paper"), claim.get("verdict"), "\n".join(problems)))
    return pd.DataFrame(rows, columns=["claim", "paper", "verdict", "problem"]).fillna("")


def load_claims(root: Path) -> list[dict]:
    """Load the claims, each text on one line."""
    claims = read_settings(root / "claims.yaml")["claims"]
    return [claim | {"says": one_line(claim["says"])} for claim in claims]


def one_line(text: str) -> str:
    """Replace all whitespace by single spaces."""
    return " ".join(text.split())


def value_of(sources: Sources, source: str, method: str, measure: str, form: str) -> str:
    """Format a number from a source, or from one study of it: ``studies/ml-1m/sasrec``.

    Forms: ``mean``, ``min``, ``max``, ``span`` (smallest to largest) and ``percent`` (the same in
    per cent) with digits; numbers of ``studies``, and of those ``ahead``, ``behind`` or not worse
    than `generated` by ``MARGIN`` (``level``: both intervals of the difference are above it).
    """
    name, _, study = source.partition("/")
    table = sources[name]
    if study:
        table = table[(table["dataset"] + "/" + table["backbone"]).str.strip("/") == study]
    table = table[(table["measure"] == measure) & ((table["method"] == method) | (method == "any"))]
    if table.empty:
        raise ParagonError(f"claims.yaml: {source} has no {measure} of {method}")
    kind, _, digits = form.partition(" ")
    values = table["value"]
    if kind in ("ahead", "behind"):
        side = values > 0 if kind == "ahead" else values < 0
        return str((side & table["beyond_chance"].eq(True)).sum())
    if kind == "level":
        seeds = sources[name].query("method == @method")
        seeds = seeds[seeds["measure"] == measure.replace("minus_generated", "seeds_half")]
        both = table.merge(seeds, on=["dataset", "backbone"], suffixes=("", "_half"))
        worst = np.minimum(both["low"], both["value"] - both["value_half"])
        return str((worst > -MARGIN).sum())
    if kind == "studies":
        return str(len(table.drop_duplicates(["dataset", "backbone"])))
    if kind in ("span", "percent"):
        ends = values.agg(["min", "max"]) * (100 if kind == "percent" else 1)
        text = " to ".join(dict.fromkeys(f"{end:z{digits}}" for end in ends))
        return f"{text} %" if kind == "percent" else text
    return f"{values.agg(kind):z{digits}}"


def load_sources(root: Path) -> Sources:
    """Load the tables that claims refer to, with the columns of `all_results`.

    ``earlier``: studies tuned with another loss for accuracy; ``law``: means over seeds
    (``regret_mean of 35``: with 35 tuned adapters; without a number: ten, or none).
    """
    folders = compare.study_folders(root / "results")
    earlier = [f for f in folders if f.parent.name != "planted" and not compare.is_current(f)]
    current: dict[str, list[Path]] = {}
    for folder in (folder for folder in folders if folder not in earlier):
        current.setdefault(folder.parent.name, []).append(folder)
    current["studies"] = current.pop("ml-100k")
    law = contrasts.load_table("law", root / "ablations" / "results").fillna({"anchors": 10})
    measures = [*contrasts.MEASURES, "set_hv_of_tuned"]
    mean = law.groupby(["name", "method", "anchors"])[measures].mean().stack()
    mean = mean.rename_axis(["backbone", "method", "anchors", "measure"]).reset_index(name="value")
    mean["measure"] += mean.pop("anchors").map(" of {:.0f}".format).replace(" of 10", "")
    few = budget_rows(root / "ablations" / "results")
    return {
        "earlier": pd.concat([compare.all_results(earlier), *served_lists(earlier)]),
        **{n: pd.concat([compare.all_results(f), *served_lists(f)]) for n, f in current.items()},
        "law": mean.assign(dataset=""),
        "budgets": few[few["dataset"].str.startswith("ml-100k")],
        "budgets_ml_1m": few[few["dataset"].str.startswith("ml-1m")],
        "times": times(root / "results"),
    }  # fmt: skip


def served_lists(folders: Iterable[Path]) -> Iterator[pd.DataFrame]:
    """Yield mean metrics of full-catalogue lists at three weights, as ``ndcg@10 at 0.5``."""
    for folder in folders:
        curve = pd.read_csv(folder / "curve.csv").query("protocol == 'full'")
        curve = curve[np.isclose(curve["w_accuracy"].to_numpy()[:, None], [0, 0.5, 1]).any(1)]
        metrics = [m for m in ("ndcg@10", "hr@10", "alpha_ndcg@10", "ild@10") if m in curve]
        means = curve.groupby(["method", "w_accuracy"])[metrics].mean().stack()
        table = means.rename_axis(["method", "weight", "metric"]).rename("value").reset_index()
        names = table["metric"] + " at " + table["weight"].map("{:g}".format)
        yield table.assign(dataset=folder.parts[-2], backbone=folder.name, measure=names)


def budget_rows(folder: Path) -> pd.DataFrame:
    """Read α-nDCG@10 by share and fetched items, ``95_of_20``, and ``95_of_20_minus_generated``."""
    rows: list[tuple] = []
    for row in contrasts.load_table("budgets", folder).to_dict("records"):
        front, name = (row["name"], "", row["method"]), f"{row['share']}_of_{row['fetched']}"
        rows.append((*front, name, row["alpha_ndcg"], None))
        if row["difference_p_holm"] >= 0:  # not of `generated` itself
            real = is_real(row, "difference")
            rows.append((*front, f"{name}_minus_generated", row["difference"], real))
    return pd.DataFrame(rows, columns="dataset backbone method measure value beyond_chance".split())


def times(results: Path) -> pd.DataFrame:
    """Read milliseconds, seconds and shares from the records of `make bench`."""
    rows = []
    for path in sorted(results.glob("*/timing.json")):
        for backbone, record in json.loads(path.read_text(encoding="utf-8")).items():
            generate = record["generate"]
            measures = {
                ("generate", "milliseconds"): 1000 * generate["p50"],
                ("generate", "milliseconds, p99"): 1000 * generate["p99"],
                ("generate", "saved"): 100 - 100 * generate["p50"] / record["retrain"]["p50"],
            }
            if record.get("paragon"):
                measures["paragon", "seconds"] = record["paragon"]["p50"]
            rows += [(path.parent.name, backbone, *key, value) for key, value in measures.items()]
    return pd.DataFrame(rows, columns="dataset backbone method measure value".split())
