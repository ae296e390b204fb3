"""The pages: tables between markers, figures, and claims, which claims.yaml explains."""

import json
import operator
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from paragon.errors import ParagonError
from paragon.params import RESULTS, ROOT, load_params, read_settings
from paragon.storage import require, write_text
from paragon_study.ablations import contrasts
from paragon_study.checking.agreement import disagreements
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
WITH_CLAIMS = ("README.md", "docs/findings.md")
STUDY_OF = {"studies": MAIN[0], "planted": "planted", "released": RELEASED}  # of a source
RELATIONS = {"is": operator.eq, "below": operator.lt, "above": operator.gt}
Sources = dict[str, pd.DataFrame]


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
    planted = [folder for folder in recorded if folder.parent.name == "planted"]
    released = [folder for folder in recorded if folder.parent.name == RELEASED]
    dataset, backbone = MAIN
    tuning = contrasts.load_table("tuning", root / "ablations/results")
    tuning = tuning.pivot_table("ndcg", "change", "name", sort=False).map("{:.3f}".format)
    blocks = {
        root / "README.md": {
            "claims": as_markdown(short_verdicts(main).set_index("the paper says"), left=3),
            "results": main_results(results / dataset / backbone),
        },
        root / "docs/findings.md": {
            "claims": paper_claims(main, released),
            "regret": control_table(main, "regret_mean_full", 1),
            "planted": control_table(planted, "regret_mean_full", 1),
            "asked": control_table(main, "asked_acc", 3),
            "people": control_table(main, "moves", 2),
            "control": control_table(main, "outcome_error_full", 3),
            "share95": compare.shares(main, "95"),
            "share80": compare.shares(main, "80"),
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


def check_claims(root: Path = ROOT) -> pd.DataFrame:
    """Tabulate each claim, where its numbers are, what makes them again, and its problem.

    The problem is empty if the sentence is on its page and follows from numbers that agree with
    each other; a row is added for each study in which they do not.
    """
    sources = load_sources(root)
    rows = []
    for claim in load_claims(root):
        values = []
        for source, method, measure, form in claim.get("of", []):
            values.append(value_of(sources, source, method, measure, form))
        words = claim["says"].format(*values)
        problems = []
        pages_of_claim = [claim["page"]] if "page" in claim else WITH_CLAIMS
        for page in pages_of_claim:
            if words not in one_line((root / page).read_text(encoding="utf-8")):
                problems.append(f"{page} should say: {words}")
        for source, method, measure, form, relation, limit in claim.get("if", []):
            value = float(value_of(sources, source, method, measure, form))
            if not RELATIONS[relation](value, limit):
                condition = f"{source} {method} {measure} {form} {relation} {limit}"
                problems.append(f"{words}: needs {condition}, it is {value:g}")
        numbers = [*claim.get("of", []), *claim.get("if", [])]
        places = dict.fromkeys(place_of(source, method, key) for source, method, key, *_ in numbers)
        commands = dict.fromkeys(again_of(source) for source, *_ in numbers)
        rows.append((words, "; ".join(places), "; ".join(commands), "\n".join(problems)))
    for folder in _folders_of_claims(root):
        found = list(disagreements(folder))
        if found:
            words = f"The numbers of {'/'.join(folder.parts[-2:])} agree with each other."
            more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
            problem = "; ".join(found[:3]) + more
            place, _, _ = problem.partition(" is ")
            rows.append((words, place, again_of(folder.parts[-2]), problem))
    return pd.DataFrame(rows, columns=["claim", "file and key", "made by", "problem"])


def place_of(source: str, method: str, measure: str) -> str:
    """Return file and key of a number that a claim refers to."""
    name, _, study = source.partition("/")
    if name == "times":
        return f"results/{study.partition('/')[0] or '*'}/timing.json: {method}"
    study = study or f"{STUDY_OF.get(name, name)}/*"
    key = measure.removesuffix("_minus_generated").removesuffix("_half")
    file = "metrics" if key == measure else "differences"
    return f"results/{study}/{file}.json: {method}.{key}"


def again_of(source: str) -> str:
    """Return the command that makes the numbers of a source again."""
    name, _, _ = source.partition("/")
    if name == "times":
        return "make bench"
    study = STUDY_OF.get(name, name)
    return "make repro" if study == MAIN[0] else f"make add NAME={study}"


def _folders_of_claims(root: Path) -> list[Path]:
    """List the studies that claims and their pages are about."""
    folders = sorted(path.parent for path in (root / "results").glob("*/*/metrics.json"))
    wanted = STUDY_OF.values()
    return [f for f in folders if f.parent.name in wanted]


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
    per cent) with digits; numbers of ``studies``, and of those ``ahead`` of `generated`, or
    ``behind`` it, beyond chance.
    """
    name, _, study = source.partition("/")
    table = sources[name]
    if study:
        studies = (table["dataset"] + "/" + table["backbone"]).str.strip("/")
        table = table[studies == study]
    table = table[table["measure"] == measure]
    if method != "any":
        table = table[table["method"] == method]
    if table.empty:
        raise ParagonError(f"claims.yaml: {source} has no {measure} of {method}")
    kind, _, digits = form.partition(" ")
    values = table["value"]
    if kind in ("ahead", "behind"):
        on_this_side = values > 0 if kind == "ahead" else values < 0
        real = table["beyond_chance"].eq(True)
        return str((on_this_side & real).sum())
    if kind == "studies":
        return str(len(table.drop_duplicates(["dataset", "backbone"])))
    if kind in ("span", "percent"):
        scale = 100 if kind == "percent" else 1
        smallest = f"{scale * values.min():z{digits}}"
        largest = f"{scale * values.max():z{digits}}"
        text = smallest if smallest == largest else f"{smallest} to {largest}"
        return f"{text} %" if kind == "percent" else text
    return f"{values.agg(kind):z{digits}}"


def load_sources(root: Path) -> Sources:
    """Load the tables that claims refer to, with the columns of `all_results`."""
    results = root / "results"
    recorded = first_trainings(compare.study_folders(results))
    tables = {}
    for source, study in STUDY_OF.items():
        folders = [folder for folder in recorded if folder.parent.name == study]
        tables[source] = compare.all_results(folders)
    return {**tables, "times": times(results)}


def times(results: Path) -> pd.DataFrame:
    """Read milliseconds, seconds and shares from the records of `make bench`."""
    rows = []
    for path in sorted(results.glob("*/timing.json")):
        dataset = path.parent.name
        by_backbone = json.loads(path.read_text(encoding="utf-8"))
        for backbone, record in by_backbone.items():
            generate = record["generate"]
            share = generate["p50"] / record["retrain"]["p50"]
            measures = {
                ("generate", "milliseconds"): 1000 * generate["p50"],
                ("generate", "milliseconds, p99"): 1000 * generate["p99"],
                ("generate", "saved"): 100 - 100 * share,
            }
            if record.get("paragon"):
                measures["paragon", "milliseconds"] = 1000 * record["paragon"]["p50"]
            for (method, measure), value in measures.items():
                rows.append((dataset, backbone, method, measure, value))
    return pd.DataFrame(rows, columns="dataset backbone method measure value".split())
