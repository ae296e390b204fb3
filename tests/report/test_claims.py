"""README.md and docs/findings.md say what the results hold; a false sentence is named."""

import json
import re
import shutil

import pandas as pd
import pytest
import yaml

from paragon.params import ROOT, read_settings
from paragon_study.report import claims
from tests.conftest import refused

ENTRIES = read_settings(ROOT / "claims.yaml")
CLAIMS = [entry for page in ENTRIES.values() for entry in page if isinstance(entry, dict)]


@pytest.fixture(scope="module")
def sources():
    return claims.load_sources(ROOT)


def changed(table, rows, form):
    """The rows of a claim with other values, all beyond chance, and twice as many studies."""
    sign = -1 if form == "behind" else 1
    other = table[rows].assign(value=sign * (1.1 * table.loc[rows, "value"].abs() + 0.6))
    if "beyond_chance" in table:
        other["beyond_chance"] = True
    return pd.concat([table[~rows], other, other.assign(dataset="another")])


def test_a_changed_result_breaks_the_sentence_that_states_it(sources):
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in ENTRIES]
    whole = claims.one_line(" ".join(texts))
    for claim in CLAIMS:
        says = claims.one_line(claim["says"])
        values = [claims.value_of(sources, *one) for one in claim.get("of", [])]
        for place, (source, method, measure, form) in enumerate(claim.get("of", [])):
            name, _, study = source.partition("/")
            table = sources[name]
            rows = table["measure"].eq(measure)
            rows &= table["method"].eq(method) | (method == "any")
            now = {name: changed(table, rows, form)}
            one = claims.value_of(now, source, method, measure, form)
            words = says.format(*values[:place], one, *values[place + 1 :])
            assert words not in whole, (says, measure)


@pytest.fixture
def checked(tmp_path, monkeypatch, sources):
    """Checks pages with one changed, or with other entries: the problems."""
    monkeypatch.setattr(claims, "load_sources", lambda root: sources)
    monkeypatch.setattr(claims, "pages", lambda root: {})

    def check(page="", old="", new="", entries=None):
        for name in (*ENTRIES, "claims.yaml"):
            text = (ROOT / name).read_text(encoding="utf-8")
            if name == page:
                said = r"\s+".join(map(re.escape, old.split()))  # however its lines are broken
                text, count = re.subn(said, lambda _: new, text)
                assert count == 1, old
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        if entries is not None:
            (tmp_path / "claims.yaml").write_text(yaml.safe_dump(entries))
        return [problem for problem in claims.check_claims(tmp_path)["problem"] if problem]

    return check


def test_every_sentence_follows_and_a_condition_that_fails_is_named(checked, sources):
    assert checked() == []
    one = ["films", "generated", "r_acc_full", "min .2f", "above", 2]
    page, entries = next(iter(ENTRIES.items()))
    with_condition = [
        entry | {"if": [one]} if isinstance(entry, dict) else entry for entry in entries
    ]
    line, *_ = checked(entries=ENTRIES | {page: with_condition})
    assert "r_acc_full" in line and str(claims.value_of(sources, *one[:4])) in line
    refused(("r_acc_full", "nobody"), claims.value_of, sources, "films", "nobody", *one[2:4])


FALSE_EDITS = [  # page, what it says, what it would say
    ("README.md", "**On films it comes", "It is not true that: **On films it comes"),
    ("README.md", "**On films it comes close", "**On films it always comes close"),
    ("README.md", "it is farther off**", "it is closer**"),
    ("README.md", "**Diffusion is not needed", "**Adapters are not needed"),
    (
        "README.md",
        "a plain network trained on the *task loss*",
        "a plain network trained on another loss",
    ),
    ("README.md", "- **Re-ranking often", "- **It always wins.**\n- **Re-ranking often"),
    ("README.md", "often gives more diversity**", "gives more diversity**"),
    (
        "docs/findings.md",
        "the paper's recipe has a regret of 7",
        "the paper's recipe has a regret of 6",
    ),
    ("docs/findings.md", "with our task loss added -4", "without our task loss -4"),
    ("docs/findings.md", "Nowhere did it help test users", "Everywhere it helped test users"),
    (
        "docs/findings.md",
        "but the nearest tuned adapter has less regret",
        "and it has the least regret",
    ),
    ("docs/findings.md", "So this comparison does not show what", "So this comparison shows what"),
    ("README.md", "| a re-ranker, such as xQuAD |", "| the paper's recipe |"),
    ("README.md", "Diversity over accuracy on films, with", "Paragon is ahead on films, with"),
    ("README.md", "are older than the results", "are younger than the results"),
    ("docs/findings.md", "the share that test users keep is", "the share that people keep is"),
    ("docs/findings.md", "But on films, people who got what they wanted", "But most people"),
    ("docs/findings.md", "And a second step costs time.", "And a second step costs no time."),
    (
        "docs/findings.md",
        "A hypernetwork also needs",
        "A hypernetwork wins in 17 studies and needs",
    ),
    ("README.md", "every number: 20 minutes", "every number: 5 minutes"),  # code
    ("README.md", "the two extreme adapters.", "the two extreme adapters. Does it work?"),
    (
        "README.md",
        "*Set HV*: the area under accuracy and diversity",
        "*Soup*: the area under the points of accuracy and diversity",
    ),
    ("README.md", "## Run it", "<!-- new: begin --> It always wins. <!-- new: end -->"),
    # Layout that a reader sees as another meaning.
    ("README.md", "## Run it", "## Run it\n\n<!-- regret: begin --> wins <!-- regret: end -->"),
    ("README.md", "0.57 0.70\nxQuAD", "0.70 0.57\nxQuAD"),
    ("README.md", "```\ndiversity (0", "``` diversity (0"),
    ("README.md", "the notebooks\n```", "the notebooks```"),
    ("README.md", "make repro # train on films", "make lab # train on films"),
    ("README.md", "recommender.recommend(", "# recommender.recommend("),
    ("README.md", "- **Diffusion is not needed.**", "**Diffusion is not needed.**"),
    ("README.md", "[CITATION.cff](CITATION.cff).", "\u00a0[CITATION.cff](CITATION.cff)."),
    ("README.md", "| a few fixed balances |", "| a few fixed\nbalances |"),
    ("docs/findings.md", "## 4. Where", "## 9. Where"),
    ("docs/findings.md", "## 4. Where", "### 4. Where"),
    ("docs/findings.md", "## 4. Where", "##\n4. Where"),
    ("docs/findings.md", "And a second step costs time.", "\n\n    And a second step costs time."),
]


@pytest.mark.parametrize(("page", "old", "new"), FALSE_EDITS)
def test_a_false_sentence_is_named(checked, page, old, new):
    [problem] = checked(page, old, new)
    assert problem.startswith(page)


def test_a_moved_sentence_is_named(checked):
    """Each place is: where it is missing, and where it is now."""
    moved = "Take the first that fits."
    page = "README.md"
    at_the_end = (ROOT / page).read_text(encoding="utf-8").replace(moved, "") + "\n\n" + moved
    old = (ROOT / page).read_text(encoding="utf-8")
    problems = checked(page, old, at_the_end)
    assert len(problems) == 2 and all(moved in problem for problem in problems)


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"says": "It wins {}.", "of": []}, "as many"),
        ({"says": "It wins.", "of": [["films", "paragon", "moves", "min .2f"]]}, "as many"),
        ({"says": "It wins."}, "a condition"),
        ({"says": "It wins.", "if": []}, "a condition"),
        ({"says": "It wins.", "iff": [["films", "paragon", "moves", "min .2f", "is", 1]]}, "iff"),
        ({"says": "It wins.", "if": [["films", "paragon", "moves", "min .2f", "over", 1]]}, "is"),
        (7, "entry 1 of README.md"),
    ],
)
def test_an_entry_that_is_no_claim_is_refused(checked, entry, word):
    page, entries = next(iter(ENTRIES.items()))
    refused(word, checked, entries=ENTRIES | {page: [entries[0], entry]})
    refused("nowhere.md", checked, entries=ENTRIES | {"nowhere.md": []})


def test_a_page_without_a_list_is_named(checked):
    page, *others = ENTRIES
    [problem] = checked(entries={other: ENTRIES[other] for other in others})
    assert problem.startswith(page)


def test_a_table_that_is_not_of_the_results_is_named(checked, monkeypatch):
    monkeypatch.setattr(claims, "pages", lambda root: {root / "README.md": "with other numbers"})
    [problem] = checked()
    assert "README.md" in problem and "python -m paragon report" in problem


def test_each_claim_names_file_key_and_command():
    """Each place exists; a study whose numbers cannot be of one run breaks the claims."""
    for claim in CLAIMS:
        numbers = [*claim.get("of", []), *claim.get("if", [])]
        assert numbers, claim["says"]
        for source, method, measure, *_ in claim.get("of", []):
            file, _, key = claims.place_of(source, method, measure).partition(": ")
            paths = sorted(ROOT.glob(file))
            assert paths, file
            assert claims.again_of(source).startswith(("make ", "python -m paragon ")), file
            if source == "law":
                name, anchors = method.split()
                rows = pd.read_csv(paths[0])
                rows = rows[(rows["method"] == name) & (rows["anchors"] == float(anchors))]
                assert len(rows) and measure in rows, key
                continue
            name, _, number = key.partition(".")
            contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
            assert any(number in content.get(name, {}) for content in contents), key
    assert claims.again_of("planted/planted/sasrec") == "make add NAME=planted"
    assert claims.place_of("times/ml-100k/sasrec", "generate", "saved").startswith(
        "results/ml-100k/"
    )


def test_claims_are_not_judged_by_p_values_that_were_edited(tmp_path, monkeypatch, sources):
    """As after "all differences are significant": every corrected p-value is 1e-4."""
    folder = tmp_path / "results/ml-100k/sasrec"
    shutil.copytree(ROOT / "results/ml-100k/sasrec", folder)
    path = folder / "differences.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    small = {
        m: {k: 1e-4 if k.endswith("_holm") else x for k, x in row.items()}
        for m, row in rows.items()
    }
    path.write_text(json.dumps(small), encoding="utf-8")
    (tmp_path / "claims.yaml").write_text("{}")
    monkeypatch.setattr(claims, "WITH_CLAIMS", ())
    monkeypatch.setattr(claims, "load_sources", lambda root: sources)
    monkeypatch.setattr(claims, "pages", lambda root: {})
    [row] = claims.check_claims(tmp_path).to_dict("records")
    assert row["file and key"].startswith("results/ml-100k/sasrec/differences.json: ")
    assert "_p_holm" in row["problem"] and row["made by"] == "make repro"
