"""What the results say, in sentences with their numbers: a block of the README.

Every sentence comes with the condition under which it is true.  Where new results break one,
writing the block fails and names it: then the words have to be found anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from paragon import report
from paragon.errors import ParagonError
from paragon.evaluate import seed_measures
from paragon.statistics import REAL, holm, is_real

PUBLISHED_REDUCTION = 0.946  # of the time to a ready model against retraining (Shen et al. 2025)
REDUCTION = 0.999  # what is asked of it here
GOOD = 0.1  # studies whose generator has more regret are told apart
OBJECTIVES = ("accuracy", "diversity")  # of every study in results/
REPEATED = "-paper"  # a dataset's name with this is the same data with more seeds and rivals

Metrics = dict[str, dict[str, dict]]  # of studies: {"dataset, backbone": {method: row}}


def claims(results: Path) -> str:
    """Markdown: one list item a claim."""
    found = {f"{f.parent.name}, {f.name}": report.load_metrics(f) for f in report.studies(results)}
    differences = {
        name: report.load_differences(results.joinpath(*name.split(", "))) for name in found
    }
    apart = {name for name, own in found.items() if _regret(own, "generated") > GOOD}
    good = {name: own for name, own in found.items() if name not in apart}
    if not good:
        raise ParagonError(f"{results}: no study whose generator follows the oracle; new words!")
    small = {name: own for name, own in found.items() if name.startswith("ml-100k")}
    items = [
        _follows(good),
        *(_does_not_follow(name, found[name]) for name in sorted(apart)),
        *_interpolates(results, good, differences),
        *_learns(results, good, differences),
        _moves(found),
        _games(found),
        _reranks(found, differences),
        _guides(found, differences),
        *_retrains(found),
        *([_whole_catalogue(small)] if small else []),
        *_costs(results),
    ]
    combinations = {name.replace(REPEATED, "") for name in found}
    lead = (
        f"{len(found)} studies, {len(combinations)} combinations of data and backbone (a dataset "
        f"with `{REPEATED}` is the same data with more seeds and rivals). In {len(good)} of them "
        f"the regret of `generated` is below {100 * GOOD:.0f} %"
        + (f"; what is said of it and of mixtures leaves out {_listed(apart)}." if apart else ".")
    )
    return "\n".join([lead, "", *(f"- {item}" for item in items)])


def _listed(names: Iterable[str]) -> str:
    """Names of studies in a sentence."""
    return "; ".join(sorted(names)) or "none"


def _values(studies: Metrics, method: str, measure: str) -> list[float]:
    rows = (own.get(method, {}) for own in studies.values())
    return [row[measure] for row in rows if row.get(measure) is not None]


def _regret(own: dict[str, dict], method: str) -> float:
    return own[method]["regret_mean_sampled"]


def span(values: Iterable[float], digits: int, scale: float = 1) -> str:
    """The smallest and the largest value, times ``scale``."""
    values = list(values)
    ends = (f"{scale * value:.{digits}f}" for value in (min(values), max(values)))
    return " to ".join(dict.fromkeys(ends))


def checked(holds: bool, claim: str) -> str:
    """The claim, or an error that names it if its condition does not hold."""
    if not holds:
        raise ParagonError(f"README.md: the results no longer say so: {claim}")
    return claim


def _follows(good: Metrics) -> str:
    front = _values(good, "generated", "set_hv_of_tuned_sampled")
    ranges = [_values(good, "generated", f"range_ratio_{o}_sampled") for o in ("acc", "div")]
    wrong = [
        v for o in ("acc", "div") for v in _values(good, "generated", f"violations_{o}_sampled")
    ]
    shuffled = _values(good, "generated_shuffled", "regret_mean_sampled")
    return checked(
        min(front) > 0.99 and min(map(min, ranges)) > 0.95 and max(wrong) <= 1 < min(shuffled),
        f"**Generation follows the oracle**: {span(front, 3)} of its hypervolume, "
        f"{span(ranges[0], 2)} of its range of accuracy, {span(ranges[1], 2)} of that of "
        f"diversity, at most {max(wrong):.1f} of ten steps of either in the wrong direction (mean "
        f"of seeds), regret {span(_values(good, 'generated', 'regret_mean_sampled'), 1, 100)} %, "
        "from adapters tuned at ten weights. With permuted weights it fails, as it must (regret "
        f"{100 * min(shuffled):,.0f} % and more).",
    )


def _does_not_follow(name: str, own: dict[str, dict]) -> str:
    generated, nearest = (_regret(own, method) for method in ("generated", "nearest"))
    return checked(
        generated > nearest,
        f"**Not so on {name}**: there the generator's regret is "
        f"{report.cell(own['generated'], 'regret_mean_sampled', 0)} %, that of "
        f"interpolation {100 * _regret(own, 'interpolation'):.0f} %, and the nearest anchor does "
        f"better than both ({100 * nearest:.0f} %).",
    )


def _interpolates(results: Path, good: Metrics, differences: Metrics) -> list[str]:
    """What simple mixtures of the anchors reach, in which coordinates and from how many."""
    mean, median = (
        _values(good, "interpolation", f"regret_{m}_sampled") for m in ("mean", "median")
    )
    name = "set_hv_sampled"
    told = [s for s in good if is_real(differences[s]["interpolation"], name)]
    gap = max((abs(differences[s]["interpolation"][name]) for s in told), default=0.0)
    items = [
        checked(
            max(median) < 0.05 and min(mean) > 0.2 and gap < 0.005,
            "**Interpolation between the anchors does as well at most weights** (median regret "
            f"{span(median, 1, 100)} %; set HV told from that of `generated` in {len(told)} of "
            f"{len(good)} studies, and there by {gap:.4f} at most). Its mean regret of "
            f"{span(mean, 0, 100)} % comes from *w*<sub>acc</sub> = 0.1, between the anchors at "
            "0.001 and 0.15. An anchor so close to the singular corner is what covers the oracle's "
            "range, and it costs whatever mixes with it in proportion to the weight: "
            "interpolation, splines, regression, and soup most of all.",
        )
    ]
    tried = {s: own for s, own in good.items() if "interpolation_log" in own}
    if not tried:
        return items
    ways = ("interpolation_log", "rbf_log")
    logs = {m: _values(tried, m, "regret_mean_sampled") for m in ways}
    generated = _values(tried, "generated", "regret_mean_sampled")
    told = [s for s in tried if is_real(differences[s]["interpolation_log"], name)]
    few = {n: _values(tried, "rbf_log", f"regret_mean_{n}_anchors") for n in (5, 4, 3)}
    means = {n: sum(own) / len(own) for n, own in few.items()}
    found = _more_than_generated(results, tried, ways, ["regret_mean"])
    more = {m: found[m, "regret_mean"] for m in ways}
    higher = {m: _told_apart(more[m], below=False) for m in ways}
    gaps = [
        f"by {span((more[m][s].mean() for s in own), 1, 100)} points ({word}) in {_listed(own)}"
        for (m, own), word in zip(higher.items(), ("interpolation", "spline"), strict=True)
        if own
    ]
    items.append(
        checked(
            max(map(max, logs.values())) < 0.1
            and not told
            and not any(_told_apart(own, below=True) for own in more.values()),
            "**Mixed by the logarithms of the weights, ten anchors leave little for a generator "
            "to add**: the same interpolation between log-ratios (`interpolation_log`) has a mean "
            f"regret of {span(logs['interpolation_log'], 1, 100)} %, a spline between them "
            f"(`rbf_log`) {span(logs['rbf_log'], 1, 100)} %, the generator "
            f"{span(generated, 1, 100)} %; no test tells set HV apart ({len(tried)} "
            "studies). Seed by seed the generator's regret is lower "
            + (" and ".join(gaps) or "in none")
            + " (paired t tests, Holm). Close to the corner the best adapter follows the order of "
            "magnitude of the weight; the generator is given logarithms as well.",
        )
    )
    items.append(
        checked(
            means[5] < means[4] < means[3],
            "**Few anchors are where the simple means end**: the spline's mean regret is "
            + ", ".join(
                f"{span(own, 1, 100)} % from {word}"
                for (_, own), word in zip(few.items(), ("five", "four", "three"), strict=True)
            )
            + ". What a generator has there is in the next section.",
        )
    )
    return items


def _learns(results: Path, good: Metrics, differences: Metrics) -> list[str]:
    """Generator and hypernetwork, seed by seed."""
    trained = {s: own for s, own in good.items() if "hypernetwork" in own}
    if not trained:
        return []
    names = {measure: f"regret_{measure}" for measure in ("mean", "corner_mean")}
    found = _more_than_generated(results, trained, ["hypernetwork"], names.values())
    more = {measure: found["hypernetwork", name] for measure, name in names.items()}
    told = [s for s in more["mean"] if is_real(differences[s]["hypernetwork"], "set_hv_sampled")]
    lower = _told_apart(more["mean"], below=True)
    higher = _told_apart(more["corner_mean"], below=False)
    return [
        checked(
            not told and not _told_apart(more["mean"], below=False),
            "**A hypernetwork trained end to end at equal cost is no worse**: no test tells its "
            f"set HV from the generator's ({len(more['mean'])} studies, five seeds), and off the "
            "corners its regret is lower "
            + (
                f"by {span((-more['mean'][s].mean() for s in lower), 1, 100)} points in "
                f"{_listed(lower)} (paired t tests over seeds, Holm), in the others not told apart"
                if lower
                else "in no study, nor higher (paired t tests over seeds, Holm)"
            )
            + (
                f". At the corners it is higher, by "
                f"{span((more['corner_mean'][s].mean() for s in higher), 1, 100)} points, in "
                f"{_listed(higher)}."
                if higher
                else "."
            ),
        )
    ]


def _more_than_generated(
    results: Path, studies: Metrics, methods: Iterable[str], measures: Iterable[str]
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """{(method, measure): {study: a number a seed}}, the measure minus that of `generated`."""
    methods, measures = list(methods), list(measures)
    more: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name in studies:
        curve = pd.read_csv(results.joinpath(*name.split(", ")) / "curve.csv")
        found = {
            method: seed_measures(curve, method, "sampled", OBJECTIVES).values()
            for method in [*methods, "generated"]
        }
        for method, measure in product(methods, measures):
            own, generated = (
                np.array([by_seed[measure].value for by_seed in found[m]])
                for m in (method, "generated")
            )
            more.setdefault((method, measure), {})[name] = own - generated
    return more


def _told_apart(more: dict[str, np.ndarray], below: bool) -> list[str]:
    """The studies whose mean over seeds is beyond chance on that side of 0."""
    adjusted = holm([ttest_1samp(values, 0).pvalue for values in more.values()])
    return [
        name
        for (name, values), p in zip(more.items(), adjusted, strict=True)
        if p < REAL and (values.mean() < 0) == below
    ]


def _moves(found: Metrics) -> str:
    worse = [_regret(own, "nearest_noise") > _regret(own, "nearest") for own in found.values()]
    return checked(
        all(worse),
        "**Being far from the collection is worth nothing in itself**: an adapter moved as far "
        "from it as generated ones lie, in a random direction (`nearest_noise`), has more regret "
        f"than the adapter it came from, in all {len(worse)} studies.",
    )


def _games(found: Metrics) -> str:
    name = "mean_hv_sampled"
    more = [own["constant"][name] / own["tuned"][name] for own in found.values()]
    return checked(
        min(more) > 1,
        "**mean HV can be gamed**: `constant`, one middle adapter for whatever weights, has "
        f"{span(more, 2)} times the oracle's, in all {len(more)} studies.",
    )


def _reranks(found: Metrics, differences: Metrics) -> str:
    reach = _values(found, "mmr", "range_ratio_div_sampled")
    told, name = {}, "set_hv_{}"
    for protocol in ("sampled", "full"):
        real = {
            s: own["mmr"][name.format(protocol)]
            for s, own in differences.items()
            if is_real(own["mmr"], name.format(protocol))
        }
        told[protocol] = [[s for s, gap in real.items() if (gap > 0) == up] for up in (True, False)]
    better, worse = told["full"]
    small, large = (
        {s: own for s, own in found.items() if s.startswith("ml-100k") == is_small}
        for is_small in (True, False)
    )
    shares = [_values(part, "mmr", "set_hv_of_tuned_full") for part in (small, large)]
    follows = [_values(small, m, "r_div_full") for m in ("mmr", "generated")]
    return checked(
        np.median(reach) < 0.6 and not told["sampled"][0] and (not large or max(shares[1]) < 0.95),
        "**Re-ranking for variety (`mmr`) is short on sampled lists, not over the whole "
        f"catalogue of MovieLens-100K**: on the first it reaches {np.median(reach):.2f} of the "
        f"oracle's range of diversity (median; {span(reach, 2)}) and has less set "
        f"HV in {len(told['sampled'][1])} of {len(found)} studies"
        + (
            f"; over the whole catalogue {span(shares[0], 2)} of the oracle's set HV "
            f"(better than `generated` in {len(better)}, worse in "
            f"{len([s for s in worse if s in small])} of {len(small)} studies), and its diversity "
            f"follows the weights more closely (r div {span(follows[0], 2)}, `generated` "
            f"{span(follows[1], 2)})"
            if small
            else ""
        )
        + (f". On MovieLens-1M it has {span(shares[1], 2)} there." if large else "."),
    )


def _guides(found: Metrics, differences: Metrics) -> str:
    exceptions = []
    for study, rows in differences.items():
        for method, sign in (("generated_cfg", 1), ("generated_no_cfg", -1)):
            row = rows.get(method, {})
            if is_real(row, "set_hv_sampled"):
                side = "better" if sign * row["set_hv_sampled"] > 0 else "worse"
                exceptions.append(f"{study} is {side} with it")
    return checked(
        4 * len(exceptions) < len(found),
        f"**No effect of guidance is told apart** in {len(found) - len(exceptions)} of "
        f"{len(found)} studies (`generated_cfg`, which takes ten steps; `generated_no_cfg` where "
        "the study was made with guidance)" + (f"; {_listed(exceptions)}." if exceptions else "."),
    )


def _retrains(found: Metrics) -> list[str]:
    """Retraining against adapters tuned at the same weights, by the size of the data."""
    several = {
        s: own
        for s, own in found.items()
        if "retrain" in own and not report.has_one_weight(own["retrain"])
    }
    parts = [
        {s: own for s, own in several.items() if s.startswith("ml-100k") == small}
        for small in (True, False)
    ]
    names = ("range_ratio_div_sampled", "set_hv_of_tuned_sampled")
    words, holds = [], bool(parts[0])
    for part, data in zip(parts, ("MovieLens-100K", "MovieLens-1M"), strict=True):
        if part:
            reach, front = (_values(part, "retrain", name) for name in names)
            holds = holds and min(reach) > 1
            words.append(
                f"{span(reach, 1)} times the range of diversity and {span(front, 2)} of the set "
                f"HV on {data}"
            )
    if not words:
        return []
    return [
        checked(
            holds,
            "**Retraining goes further, and is not always better**: with the whole recommender "
            "free to move it has, of adapters tuned at the same weights, "
            f"{'; '.join(words)}. What is generated is a good adapter, not a retrained model.",
        )
    ]


def _whole_catalogue(small: Metrics) -> str:
    short, full = (_values(small, "tuned", f"r_div_{protocol}") for protocol in ("sampled", "full"))
    return checked(
        all(f < s for f, s in zip(full, short, strict=True)),
        "**Over the whole catalogue control of diversity is weaker** on MovieLens-100K, for the "
        f"oracle too (r div {span(full, 2)}, on sampled lists {span(short, 2)}): adapters are "
        "tuned on lists of ten random candidates. See [results/summary.md](results/summary.md).",
    )


def _costs(results: Path) -> list[str]:
    """What the recorded times say; nothing without a record."""
    records = [json.loads(p.read_text(encoding="utf-8")) for p in results.glob("*/timing.json")]
    own = [timing for record in records for timing in record.values()]
    if not own:
        return []
    saved = min(1 - t["generate"]["p50"] / t["retrain"]["p50"] for t in own)
    slow, slowest = (max(t["generate"][p] for t in own) for p in ("p50", "p99"))
    tune, retrain = (max(t["pays_after"][m] or math.inf for t in own) for m in ("tune", "retrain"))
    return [
        checked(
            saved > REDUCTION and max(tune, retrain) < math.inf,
            f"**A generated adapter is ready in {1000 * slow:.1f} ms** (median of the slowest "
            f"study; 99th percentile {1000 * slowest:.1f} ms), {100 * saved:.3f} % or more below "
            f"retraining (published: at least {100 * PUBLISHED_REDUCTION:.1f} %). With collection "
            f"and generator counted (the backbone is there before either) it pays from change "
            f"{retrain} of the weights on against retraining, and from {tune} against tuning.",
        )
    ]
