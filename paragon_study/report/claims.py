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
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from paragon.errors import ParagonError
from paragon.params import ROOT, read_settings
from paragon_study.ablations.contrasts import load_table
from paragon_study.checking.agreement import disagreements
from paragon_study.report import compare
from paragon_study.report.pages import pages
from paragon_study.report.tables import in_form
from paragon_study.report.trainings import first_trainings
from paragon_study.report.verdicts import verdict_table

# The pages, and the tables in them that `pages` writes.
WITH_CLAIMS = {
    "README.md": ("claims", "results"),
    "docs/findings.md": ("claims", "regret", "slider", "best"),
}
# The study of each source of claims.
STUDY_OF = {field: study for study, field in compare.FIELDS.items()}
STUDY_OF |= {"planted": "planted", "released": "ml-100k-transformer"}
STUDY_OF |= {name: name for name in ("ml-1m", "ml-1m-time")}
RELATIONS = {"is": operator.eq, "below": operator.lt, "above": operator.gt}
Sources = dict[str, pd.DataFrame]
Row = tuple[str, str, str, str]  # claim, file and key, made by, problem
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
PARAGRAPHS = re.compile(r"\n *\n|\n(?=- |\||#)")
END = re.compile(r"(?<=[.!?])(\**) +(?=[^a-z ])")  # of a sentence: `.** Next`, but not `e.g. next`

Number = tuple[str, str, str, str]  # source, method, measure, form
Condition = tuple[str, str, str, str, Literal["is", "below", "above"], float]


class Claim(BaseModel):
    """A sentence about results: the numbers in it, and the conditions that it needs."""

    model_config = ConfigDict(extra="forbid")
    says: str
    of: list[Number] = []
    needs: list[Condition] = Field([], alias="if")

    @model_validator(mode="after")
    def _has_a_place_for_each_number(self) -> "Claim":
        if self.says.count("{}") != len(self.of):
            raise ValueError(f"{self.says!r} needs as many {{}} as numbers in `of`")
        if not self.of and not self.needs:
            raise ValueError(f"{self.says!r} needs a number in `of` or a condition in `if`")
        return self


_ENTRIES = TypeAdapter(list[str | Claim])


def sentences_of(text: str, tables: tuple[str, ...] = ()) -> list[str]:
    """Split a page into sentences of prose, headings, rows of tables and code.

    White space in prose becomes single spaces; everything else stays as it is.  Generated
    ``tables`` become their names: ``<!-- results -->``.
    """
    for name in tables:
        table = rf"<!-- {name}: begin -->.*?<!-- {name}: end -->"
        text = re.sub(table, f"<!-- {name} -->", text, flags=re.DOTALL)
    sentences = []
    begin = 0
    for code in CODE.finditer(text):
        sentences += _of_prose(text[begin : code.start()])
        sentences.append(code[0])
        begin = code.end()
    return sentences + _of_prose(text[begin:])


def _of_prose(text: str) -> list[str]:
    sentences = []
    for paragraph in PARAGRAPHS.split(text):
        paragraph = paragraph.strip("\n")
        if paragraph.startswith(("|", "#")):
            sentences.append(paragraph)
        elif paragraph:
            sentences += END.sub(r"\1\n", one_line(paragraph)).split("\n")
    return sentences


def check_claims(root: Path = ROOT) -> pd.DataFrame:
    """Tabulate each claim, where its numbers are, what makes them again, and its problem.

    The problem is empty if the conditions of the claim hold.  A row is added for each place where a
    page differs from its list in claims.yaml, for each page whose generated tables are not those of
    the results, and for each study whose numbers do not agree with each other.
    """
    sources = load_sources(root)
    entries = read_claims(root / "claims.yaml")
    rows: list[Row] = []
    for page in WITH_CLAIMS:
        rows += _claims_of(page, entries[page], sources, root)
    rows += _old_tables(root)
    rows += _disagreeing_studies(root)
    return pd.DataFrame(rows, columns=["claim", "file and key", "made by", "problem"])


def read_claims(path: Path) -> dict[str, list[str | Claim]]:
    """Read the lists of all pages; raise ``ParagonError`` if an entry is none."""
    content = read_settings(path)
    entries = {}
    for page in WITH_CLAIMS:
        try:
            entries[page] = _ENTRIES.validate_python(content.pop(page, []))
        except ValidationError as error:
            problem = error.errors()[-1]
            number, _, *keys = problem["loc"]
            where = ".".join(map(str, [f"entry {number} of {page}", *keys]))
            raise ParagonError(f"{path}: {where}: {problem['msg']}") from error
    if content:
        raise ParagonError(f"{path}: {', '.join(content)}: no page with claims")
    return entries


def _claims_of(
    page: str, entries: list[str | Claim], sources: Sources, root: Path
) -> Iterator[Row]:
    """Check the claims of a page, then that it has just the sentences of its list."""
    expected = []
    for entry in entries:
        if isinstance(entry, str):
            expected += sentences_of(entry)
            continue
        values = [value_of(sources, *number) for number in entry.of]
        words = entry.says.format(*values)
        expected += sentences_of(words)
        numbers = [*entry.of, *(condition[:4] for condition in entry.needs)]
        places = dict.fromkeys(place_of(*number[:3]) for number in numbers)
        commands = dict.fromkeys(again_of(source) for source, *_ in numbers)
        problem = "\n".join(failures(sources, words, entry.needs))
        yield words, "; ".join(places), "; ".join(commands), problem
    found = sentences_of((root / page).read_text(encoding="utf-8"), WITH_CLAIMS[page])
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


def failures(sources: Sources, words: str, conditions: list[Condition]) -> Iterator[str]:
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
    if name == "verdicts":
        return f"docs/findings.md: {measure.replace('_', ' ')}"
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
    if name == "verdicts":
        return "python -m paragon report"
    study = STUDY_OF.get(name, name)
    return "make repro" if study == STUDY_OF["films"] else f"make add NAME={study}"


def one_line(text: str) -> str:
    """Replace line ends and spaces by single spaces; other white space has no place in a page."""
    return re.sub(r"[ \n]+", " ", text).rstrip()


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
    of_fields = [folder for folder in recorded if folder.parent.name in compare.FIELDS]
    return {
        **tables,
        "times": times(results),
        "law": law(root / "ablations/results"),
        "verdicts": verdict_table(of_fields),
    }


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
