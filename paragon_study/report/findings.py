"""The numbers behind docs/findings.md.

People write the words, in findings.md.j2.  `numbers` computes every number in them from the
committed files, and tests/report/test_findings.py holds the condition of every finding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from paragon.evaluation.methods import METHODS, methods_of
from paragon.metrics.statistics import REAL, is_real
from paragon_study.report import ablations as ab
from paragon_study.report import markdown as md
from paragon_study.report import templates, transport
from paragon_study.report.results import APART, REGRET, Studies, has_one_weight, study_folders
from paragon_study.report.style import look

HV, HV_OF_TUNED = "set_hv_full", "set_hv_of_tuned_full"
WEIGHTS = (0, 0.5)  # of accuracy
SIMPLE = ("nearest", "interpolation_log", "rbf_log", "hypernetwork")  # what might do as well
PUBLISHED = ("paragon", "paragon_no_cfg")
# Variants of others, checks and floors: results/summary.md has them.
LEFT_OUT = (
    "generated_shuffled generated_cfg generated_no_cfg interpolation rbf ridge ridge_log "
    "generated_best nearest_noise soup cmr popularity item_knn paragon_no_cfg linear_subspace"
).split()
# What a row of the table of methods says: means over studies, and their digits.
COLUMNS = {
    "of `tuned`": (HV_OF_TUNED, 2),
    "r acc": ("r_acc_full", 2),
    "r div": ("r_div_full", 2),
    "inner": ("r_div_inner_full", 2),
    "distance": ("even_ild_full", 2),
    "items": ("even_items_full", 0),
    "regret %": (REGRET, 1),
}


def render_findings(
    results: Path,
    ablations: Path,
    drawn: Path,
    moved: Path | None = None,
    block: str | None = None,
) -> str:
    """The text of docs/findings.md, or of one block of it."""
    found = numbers(results, ablations, drawn, moved)
    return templates.fill_template("findings.md.j2", found, block)


def numbers(
    results: Path, ablations: Path, drawn: Path, moved: Path | None = None
) -> dict[str, Any]:
    """Every number of the findings; those of one section together.

    ``drawn``: the folder of the studies that were tuned on drawn lists; ``moved``: that of the
    trials of moved adapters, if there are any.
    """
    every, planted = (_distinct(Studies(study_folders(results, own))) for own in (False, True))
    methods = dict.fromkeys(m for table in every.differences.values() for m in table)
    beside = {m: _beside(every, m) for m in methods if len(every.having(m))}
    ahead = _ahead(every)
    simple = {m: _simple(every, m) for m in SIMPLE if m in beside}
    return {
        "studies": list(every.folders),
        "titles": {name: look(name).label for name in METHODS},
        "seeds": sorted({int(c["seed"].nunique()) for c in every.curves.values()}),
        "ahead": ahead,
        "table": _table(every, beside, ahead["leaders"]),
        "beside": beside,
        "control": _control(every, drawn),
        "shuffled": every.values("generated_shuffled", "r_div_full"),
        "bias": _bias(every),
        "planted": _bias(planted),
        "simple": simple,
        "published": {m: _simple(every, m) for m in PUBLISHED if m in beside},
        "as_good": {m: found["regret"] for m, found in simple.items() if found["as_good"]},
        "as_low": {m: found["regret"] for m, found in simple.items() if found["as_low"]},
        "regret": every.values("generated", REGRET),
        "rerankers": [m for m in methods_of("reranked") if m in beside and m not in LEFT_OUT],
        "costs": _costs(results),
        "moves": _moves(moved) if moved else "",
        **_ablations(ablations),
    }


def _distinct(every: Studies) -> Studies:
    """Of several studies of the same data and backbone, the one with the most seeds."""
    most: dict[tuple, tuple[int, str]] = {}
    for study, folder in every.folders.items():
        record = folder.parent / "data.json"
        data = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        same = (json.dumps({**data, "dataset": None if data else folder.parent.name}), folder.name)
        seeds = every.curves[study]["seed"].nunique()
        most[same] = max(most.get(same, (0, "")), (seeds, study))
    return every.only(study for _, study in most.values())


def _table(every: Studies, beside: dict[str, dict], leaders: Iterable[str]) -> str:
    """Markdown: the main methods and the leaders, means over the studies, by set HV."""
    names = dict.fromkeys(m for table in every.metrics.values() for m in table)
    means = {m: _means(every, m) for m in names if m not in LEFT_OUT or m in leaders}
    means = {method: own for method, own in means.items() if HV_OF_TUNED in own}
    lines = []
    for method in sorted(means, key=lambda m: -means[m][HV_OF_TUNED]):
        found = beside.get(method)
        sides = f"{len(found['ahead'])}, {len(found['behind'])}" if found else "–"
        having = every.only(study for study, table in every.metrics.items() if method in table)
        shown = [means[method]]
        if len(having) < len(every):  # behind a slash: `generated` in the same studies
            sides += f" of {len(having)}"
            shown.append(_means(having, "generated"))
        cells = []
        for name, digits in COLUMNS.values():
            scale, values = 100 if name == REGRET else 1, [own.get(name) for own in shown]
            kept = values[:1] if None in values else values
            cells.append(" / ".join(md.plus_minus(v, None, digits, scale) for v in kept))
        lines.append([f"`{method}`", sides, *cells])
    return md.markdown_table(["method", "ahead, behind", *COLUMNS], lines)


def _means(studies: Studies, method: str) -> dict[str, float]:
    """The measures of a row of the table, where they are defined: means over studies."""
    known = {name: studies.known(method, name) for name, _ in COLUMNS.values()}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def _ahead(every: Studies) -> dict:
    """Who has the most set HV in each study, and whether its lead over `generated` is real."""
    leaders: dict[str, list[str]] = {}
    real = []
    for study, table in every.metrics.items():
        volumes = {
            method: row[HV]
            for method, row in table.items()
            if method not in APART and HV in row and not has_one_weight(row)
        }
        first = max(volumes, key=lambda method: volumes[method])
        leaders.setdefault(first, []).append(study)
        if first != "generated":
            real += [study] * is_real(every.differences[study][first], HV)
    order = sorted(leaders, key=lambda m: -len(leaders[m]))
    return {"leaders": {m: leaders[m] for m in order}, "real": real}


def _beside(every: Studies, method: str) -> dict:
    """A method's set HV minus that of `generated`: where it is ahead and behind beyond chance."""
    rows = {s: t[method] for s, t in every.having(method).differences.items()}
    real = {s: row[HV] for s, row in rows.items() if is_real(row, HV)}
    return {
        "gap": [row[HV] for row in rows.values()],
        "ahead": {s: gap for s, gap in real.items() if gap > 0},
        "behind": {s: -gap for s, gap in real.items() if gap < 0},
        "of_tuned": every.having(method).values(method, HV_OF_TUNED),
    }


def _control(every: Studies, drawn: Path) -> dict:
    """How models follow the weights over the whole catalogue, and how they did on drawn lists."""
    measures = {
        "set HV": (HV, 3),
        "r acc": ("r_acc_full", 2),
        "r div": ("r_div_full", 2),
        "r div, inner": ("r_div_inner_full", 2),
    }
    before = (drawn / own.parent.name / own.name for own in every.folders.values())
    old = Studies((own for own in before if own.exists()), methods=["tuned", "backbone"])
    parts = [(f"`{m}`", every.having(m), m) for m in ("generated", "tuned", "retrain")]
    parts += [("`tuned`, drawn lists", old, "tuned")]
    parts = [part for part in parts if len(part[1])]
    rows = []
    for words, (name, digits) in measures.items():
        cells = []
        for _, studies, method in parts:
            # That of three points is in `_table`, relative to the same points of `tuned`.
            known = [] if (name, method) == (HV, "retrain") else studies.known(method, name)
            cells.append(templates.span(known, digits) if known else "–")
        rows.append([words, *cells])
    for weight in WEIGHTS:
        cells = [templates.span(part.at(m, "alpha_ndcg@10", weight)) for _, part, m in parts]
        rows.append([f"α-nDCG@10 at weight {weight:g}", *cells])
    wrong = [every.values("generated", f"violations_{o}_full") for o in ("acc", "div")]
    # How many users' own lists follow the weight of diversity, and at how many of its steps.
    alone = ("users_div_full", "steps_div_full", "steps_div_full_low", "steps_div_full_high")
    names = (HV_OF_TUNED, "r_acc_full", "r_div_full", "r_div_inner_full", "range_ratio_div_full")
    return {
        "table": md.markdown_table(["whole catalogue", *(title for title, *_ in parts)], rows),
        **{name: every.values("generated", name) for name in names},
        "violations": max(wrong[0] + wrong[1]),
        "retrain": every.having("retrain").values("retrain", "range_ratio_div_full"),
        "accuracy": {m: _of_backbone(every.having(m), m) for m in ("tuned", "retrain")},
        "users": {name: every.known("generated", name) for name in alone},
        "drawn": list(old.folders),
    }


def _of_backbone(every: Studies, method: str) -> list[float]:
    """NDCG@10 at all weight on accuracy, divided by that of the backbone alone."""
    alone = every.values("backbone", "best_acc_full")
    return [own / a for own, a in zip(every.at(method, "ndcg@10", 1), alone, strict=True)]


def _bias(every: Studies) -> dict:
    """What one number a category does without an adapter, and what an adapter adds to it."""
    tried = every.having("category_bias")
    gains = {s: md.turned(t["category_bias"], HV) for s, t in tried.differences.items()}
    return {
        "studies": list(tried.folders),
        "of_tuned": tried.values("category_bias", HV_OF_TUNED),
        "gains": {s: md.difference_cell(row, HV) for s, row in gains.items()},
        "lists": _lists(tried) if len(tried) else "",
    }


def _lists(studies: Studies) -> str:
    """Markdown: what is served with an adapter, with the bias alone and with neither."""
    metrics = {"ndcg@10": 3, "alpha_ndcg@10": 2, "ild@10": 2, "items@10": 0}
    lines = []
    for method, weight in (*product(("generated", "category_bias"), WEIGHTS), ("backbone", 1)):
        words = f"`{method}`" + f", weight {weight:g}" * (method != "backbone")
        found = {name: studies.at(method, name, weight) for name in metrics}
        means = {name: float(np.mean(v)) if v else None for name, v in found.items()}
        lines.append([words, *(md.plus_minus(means[n], None, d) for n, d in metrics.items())])
    return md.markdown_table(["", "NDCG", "α-nDCG", "distance", "items"], lines)


def _simple(every: Studies, method: str) -> dict:
    """Whether something simpler reaches the set HV or the regret of `generated`."""
    part = every.having(method)
    tests = part.regret_against_generated(method)
    real = tests.loc[tests["p"] < REAL, "difference"]
    regret, beside = part.values(method, REGRET), _beside(every, method)
    more, usual = real[real > 0].to_dict(), part.values("generated", REGRET)
    return {
        "regret": regret,
        "more": more,
        "less": real[real < 0].abs().to_dict(),
        "as_good": not beside["behind"],
        "as_low": not more and np.mean(regret) <= np.mean(usual),
    }


def _costs(results: Path) -> dict:
    """What the recorded times say; nothing without a record."""
    records = [json.loads(p.read_text(encoding="utf-8")) for p in results.glob("*/timing.json")]
    times = [timing for record in records for timing in record.values()]
    if not times:
        return {}
    pays = {m: max(t["pays_after"][m] or np.inf for t in times) for m in ("tune", "retrain")}
    return {
        "studies": len(times),
        "median": max(t["generate"]["p50"] for t in times),
        "p99": max(t["generate"]["p99"] for t in times),
        "paragon": max((t["paragon"]["p50"] for t in times if t.get("paragon")), default=None),
        "saved": min(1 - t["generate"]["p50"] / t["retrain"]["p50"] for t in times),
        "pays_after": pays,
    }


def _moves(folder: Path) -> str:
    """Markdown: for each kind of move what moved adapters reach there, means over moves."""
    frame = transport.load_moves(folder).query("protocol == 'full'")
    names = ["set_hv_of_tuned", "regret_mean"]
    means = frame.groupby(["kind", "side", "method"])[names].mean()
    shown = [("item_side", "moved"), ("item_side", "as_it_is"), ("state_only", "moved")]
    titles = ["move", "moved", "unmoved", "without the item side", "regret %"]
    rows = []
    for kind in transport.COLUMNS:
        volumes = [f"{means.loc[(kind, *which), names[0]]:.2f}" for which in shown]
        regret = 100 * means.loc[(kind, "item_side", "moved"), names[1]]
        rows.append([kind, *volumes, f"{regret:.0f}"])
    return md.markdown_table(titles, rows)


def _ablations(folder: Path) -> dict:
    """Few anchors and single changes of the generator."""
    collections, points = (ab.load_tables(kind, folder) for kind in ("collection", "point"))
    usual = ab.usual(points)
    rows = ab.core(collections, usual)
    few = rows.groupby(["setting", "method"], sort=False)["regret_mean"].mean()
    generated = usual[usual["method"] == "generated"].groupby("name")["regret_mean"].mean()
    changes = ab.single_changes(collections, usual)
    real = changes.loc[changes["p (Holm)"] < REAL, "change"]
    volumes = collections[collections["method"] == "tuned"].groupby("name")["set_hv"].mean()
    return {
        "few": {n: few[ab.CORE[f"anchors-{n}"]].to_dict() for n in (3, 10)},
        "item_side": {"with": volumes["anchors-10"], "without": volumes["no-item-side"]},
        "no_behaviour": {n: generated[f"anchors-{n}-no-behaviour"] for n in (3, 10)},
        "changes": {
            "number": len(changes),
            "better": list(real.index[real < 0]),
            "worse": list(real.index[real > 0]),
        },
    }
