"""The sentences of the pages that state a result; claims.yaml has them, and says how.

For each page, claims.yaml has the list of its sentences in their order, word for word; headings,
rows of tables and code are in it, too.  A *claim* is an entry with what it follows from.
"""

import json
import operator
import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

import pandas as pd

from paragon.errors import ParagonError
from paragon.params import ROOT, read_settings
from paragon_study.ablations.contrasts import load_table
from paragon_study.checking.agreement import disagreements
from paragon_study.report import compare
from paragon_study.report.pages import pages
from paragon_study.report.tables import in_form
from paragon_study.report.trainings import first_trainings

WITH_CLAIMS = ("README.md", "docs/findings.md")
# The study of each source of claims.
STUDY_OF = {field: study for study, field in compare.FIELDS.items()}
STUDY_OF |= {"planted": "planted", "released": "ml-100k-transformer"}
RELATIONS = {"is": operator.eq, "below": operator.lt, "above": operator.gt}
Sources = dict[str, pd.DataFrame]
Row = tuple[str, str, str, str]  # claim, file and key, made by, problem
# A table that `pages` writes.
GENERATED = re.compile(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", re.DOTALL)
PARAGRAPHS = re.compile(r"\n\s*\n|\n(?=- |\|)")
MARKS = re.compile(r"^(- |#+ (\d\. )?)")  # of a list and of a heading
END = re.compile(r"(?<=[.!?])(\**) +(?=[^a-z ])")  # of a sentence: `.** Next`, but not `e.g. next`


def sentences_of(text: str) -> list[str]:
    """Split a page into sentences, each on one line: of prose, headings, tables and code.

    A generated table becomes one of its name: ``<!-- results -->``.
    """
    sentences = []
    for paragraph in PARAGRAPHS.split(GENERATED.sub(r"<!-- \1 -->", text)):
        line = MARKS.sub("", one_line(paragraph))
        if line.startswith("|"):
            sentences.append(line)
        elif line:
            sentences += END.sub(r"\1\n", line).split("\n")
    return sentences


def check_claims(root: Path = ROOT) -> pd.DataFrame:
    """Tabulate each claim, where its numbers are, what makes them again, and its problem.

    The problem is empty if the conditions of the claim hold.  A row is added for each place where a
    page differs from its list in claims.yaml, for each page whose generated tables are not those of
    the results, and for each study whose numbers do not agree with each other.
    """
    sources = load_sources(root)
    entries = read_settings(root / "claims.yaml")
    rows: list[Row] = []
    for page in WITH_CLAIMS:
        rows += _claims_of(page, entries.get(page, []), sources, root)
    rows += _old_tables(root)
    rows += _disagreeing_studies(root)
    return pd.DataFrame(rows, columns=["claim", "file and key", "made by", "problem"])


def _claims_of(page: str, entries: list, sources: Sources, root: Path) -> Iterator[Row]:
    """Check the claims of a page, then that it has just the sentences of its list."""
    expected = []
    for entry in entries:
        if isinstance(entry, str):
            expected.append(one_line(entry))
            continue
        values = [value_of(sources, *number) for number in entry.get("of", [])]
        words = one_line(entry["says"]).format(*values)
        expected += sentences_of(words)
        numbers = [*entry.get("of", []), *entry.get("if", [])]
        places = dict.fromkeys(place_of(*number[:3]) for number in numbers)
        commands = dict.fromkeys(again_of(source) for source, *_ in numbers)
        problem = "\n".join(failures(sources, words, entry.get("if", [])))
        yield words, "; ".join(places), "; ".join(commands), problem
    found = sentences_of((root / page).read_text(encoding="utf-8"))
    for old, new in differences(expected, found):
        problem = f"{page} has {new or 'nothing'}\nwhere claims.yaml has {old or 'nothing'}"
        yield new or old, page, "", problem


def _old_tables(root: Path) -> Iterator[Row]:
    """Name the pages whose generated tables are not those of the results."""
    for path, text in pages(root).items():
        if path.read_text(encoding="utf-8") != text:
            page = str(path.relative_to(root))
            problem = f"{page} has other tables than the results: run `python -m paragon report`"
            yield f"The tables of {page} are those of the results.", page, "", problem


def _disagreeing_studies(root: Path) -> Iterator[Row]:
    """Name the studies whose numbers cannot be of one run."""
    for metrics in sorted((root / "results").glob("*/*/metrics.json")):
        folder = metrics.parent
        found = list(disagreements(folder))
        if found:
            words = f"The numbers of {'/'.join(folder.parts[-2:])} agree with each other."
            more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
            problem = "; ".join(found[:3]) + more
            place, _, _ = problem.partition(" is ")
            yield words, place, again_of(folder.parts[-2]), problem


def failures(sources: Sources, words: str, conditions: list[list]) -> Iterator[str]:
    """Describe each condition of a claim that does not hold."""
    for source, method, measure, form, relation, limit in conditions:
        value = float(value_of(sources, source, method, measure, form))
        if not RELATIONS[relation](value, limit):
            condition = f"{source} {method} {measure} {form} {relation} {limit}"
            yield f"{words}: needs {condition}, it is {value:g}"


def differences(expected: list[str], found: list[str]) -> Iterator[tuple[str, str]]:
    """Return the sentences at each place where two lists differ: the expected, then the found."""
    matcher = SequenceMatcher(None, expected, found, autojunk=False)
    for kind, old_begin, old_end, new_begin, new_end in matcher.get_opcodes():
        if kind != "equal":
            yield " ".join(expected[old_begin:old_end]), " ".join(found[new_begin:new_end])


def place_of(source: str, method: str, measure: str) -> str:
    """Return file and key of a number that a claim refers to."""
    name, _, study = source.partition("/")
    if name == "law":
        return f"ablations/results/law.csv: {method}, {measure}"
    if name == "times":
        return f"results/{study.partition('/')[0] or '*'}/timing.json: {method}"
    study = study or f"{STUDY_OF.get(name, name)}/*"
    key = measure.removesuffix("_minus_generated").removesuffix("_half")
    file = "metrics" if key == measure else "differences"
    return f"results/{study}/{file}.json: {method}.{key}"


def again_of(source: str) -> str:
    """Return the command that makes the numbers of a source again."""
    name, _, _ = source.partition("/")
    if name == "law":
        return "python -m paragon trial law"
    if name == "times":
        return "make bench"
    study = STUDY_OF.get(name, name)
    return "make repro" if study == STUDY_OF["films"] else f"make add NAME={study}"


def one_line(text: str) -> str:
    """Replace all whitespace by single spaces."""
    return " ".join(text.split())


def value_of(sources: Sources, source: str, method: str, measure: str, form: str) -> str:
    """Format a number from a source, or from one study of it: ``studies/ml-1m/sasrec``.

    Forms: those of `in_form`; the number of ``studies``, of those that are ``ahead`` of
    `generated`, or ``behind`` it, beyond chance, and of ``trainings`` of each study at least.
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
    values = table["value"]
    if form in ("ahead", "behind"):
        on_this_side = values > 0 if form == "ahead" else values < 0
        real = table["beyond_chance"].eq(True)
        return str((on_this_side & real).sum())
    if form == "studies":
        return str(len(table.drop_duplicates(["dataset", "backbone"])))
    if form == "trainings":
        return str(table["trainings"].min())
    return in_form(values, form)


def load_sources(root: Path) -> Sources:
    """Load the tables that claims refer to, with the columns of `all_results`."""
    results = root / "results"
    recorded = first_trainings(compare.study_folders(results))
    tables = {}
    for source, study in STUDY_OF.items():
        folders = [folder for folder in recorded if folder.parent.name == study]
        tables[source] = compare.all_results(folders)
    return {**tables, "times": times(results), "law": law(root / "ablations/results")}


def law(folder: Path) -> pd.DataFrame:
    """Read the mean regret of each method, with the number of tuned adapters in its name."""
    table = load_table("law", folder)
    numbers = table["anchors"].map(" {:g}".format, na_action="ignore").fillna("")
    table["method"] += numbers  # "paragon 35"
    key = ["dataset", "backbone", "method"]
    means = table.groupby(key, sort=False)["regret_mean"].mean()  # over seeds
    return means.reset_index(name="value").assign(measure="regret_mean")


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
