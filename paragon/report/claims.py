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

from paragon.errors import ParagonError
from paragon.evaluation.summary import seed_measures
from paragon.metrics.checks import Measure
from paragon.metrics.statistics import REAL, beyond_seeds, holm, is_real
from paragon.report import markdown as md

PUBLISHED_REDUCTION = 0.946  # of the time to a ready model against retraining (Shen et al. 2025)
REDUCTION = 0.999  # what is asked of it here
GOOD = 0.1  # studies whose generator has more regret are told apart
OBJECTIVES = ("accuracy", "diversity")  # of every study in results/
NEXT_TO_CORNER = 0.1  # the evaluation weight on accuracy between the first two anchors
REPEATED = "-paper"  # a dataset's name with this is the same data with more seeds and rivals
# Datasets called like this, or with something after a hyphen, are of the same data.
DATA = {"ml-100k": "MovieLens-100K", "ml-1m": "MovieLens-1M"}

Metrics = dict[str, dict[str, dict]]  # of studies: {"dataset, backbone": {method: row}}


def claims(results: Path) -> str:
    """Markdown: one list item a claim."""
    found = {f"{f.parent.name}, {f.name}": md.load_metrics(f) for f in md.studies(results)}
    differences = {name: md.load_differences(_folder(results, name)) for name in found}
    apart = {name for name in found if _regret(found, name, "generated") > GOOD}
    good = {name: own for name, own in found.items() if name not in apart}
    if not good:
        raise ParagonError(f"{results}: no study whose generator follows the oracle; new words!")
    small = _by_data(found).get(DATA["ml-100k"])
    items = [
        _follows(good),
        *(_does_not_follow(results, name, found) for name in sorted(apart)),
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


def _folder(results: Path, study: str) -> Path:
    """Where the results of a study are."""
    return results.joinpath(*study.split(", "))


def _listed(names: Iterable[str]) -> str:
    """Names of studies in a sentence."""
    return "; ".join(sorted(names)) or "none"


def _by_data(found: Metrics) -> dict[str, Metrics]:
    """The studies of the same data, by its name."""
    groups: dict[str, Metrics] = {}
    for study, own in found.items():
        dataset = study.partition(", ")[0]
        alike = (name for start, name in DATA.items() if f"{dataset}-".startswith(f"{start}-"))
        groups.setdefault(next(alike, dataset), {})[study] = own
    return groups


def _number(studies: Metrics, study: str, method: str, measure: str) -> float:
    """A measure of one study, or an error that names it: what is undefined is in no sentence."""
    row = studies[study].get(method, {})
    value = row.get(measure)
    if value is None:
        reason = row.get(f"{measure}_note", "it is not among the results")
        raise ParagonError(
            f"{study}: {measure} of `{method}` is undefined ({reason}), and the claims of the "
            "README need it"
        )
    return value


def _values(studies: Metrics, method: str, measure: str) -> list[float]:
    """A measure of all studies that have the method."""
    return [_number(studies, s, method, measure) for s in studies if method in studies[s]]


def _regret(studies: Metrics, study: str, method: str) -> float:
    return _number(studies, study, method, "regret_mean_sampled")


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


def _does_not_follow(results: Path, study: str, found: Metrics) -> str:
    others = {"interpolation": "that of interpolation", "nearest": "that of the nearest anchor"}
    more = _more_than_generated(results, {study: found[study]}, others, ["regret_mean"])
    shown = {m: md.cell(found[study][m], "regret_mean_sampled", 0) for m in others}
    return checked(
        not any(below or above for below, above in _told_apart(more).values()),
        f"**Not so on {study}**: there the generator's regret is "
        f"{md.cell(found[study]['generated'], 'regret_mean_sampled', 0)} %, "
        + ", ".join(f"{words} {shown[m]} %" for m, words in others.items())
        + f"; {len(more['nearest', 'regret_mean'][study])} seeds tell neither from the generator's "
        "(paired t tests, Holm).",
    )


def _interpolates(results: Path, good: Metrics, differences: Metrics) -> list[str]:
    """What simple mixtures of the anchors reach, in which coordinates and from how many."""
    mean, median = (
        _values(good, "interpolation", f"regret_{m}_sampled") for m in ("mean", "median")
    )
    name = "set_hv_sampled"
    told = [s for s in good if is_real(differences[s]["interpolation"], name)]
    gap = max((abs(differences[s]["interpolation"][name]) for s in told), default=0.0)
    at_one = [_share(results, s, "interpolation", NEXT_TO_CORNER) for s in good]
    soup_most = all(
        _regret(good, s, "soup") > _regret(good, s, other)
        for s in good
        for other in ("interpolation", "rbf", "ridge")
    )
    items = [
        checked(
            max(median) < 0.05
            and min(mean) > 0.2
            and gap < 0.005
            and min(at_one) > 0.9
            and soup_most,
            "**Interpolation between the anchors does as well at most weights** (median regret "
            f"{span(median, 1, 100)} %; set HV told from that of `generated` in {len(told)} of "
            f"{len(good)} studies, and there by {gap:.4f} at most). Its mean regret of "
            f"{span(mean, 0, 100)} % comes from *w*<sub>acc</sub> = {NEXT_TO_CORNER}, between the "
            "anchors at 0.001 and 0.15. An anchor so close to the singular corner is what covers "
            "the oracle's range, and it costs whatever mixes with it in proportion to the weight: "
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
    more = _more_than_generated(results, tried, ways, ["regret_mean"])
    apart = _told_apart(more)
    gaps = [
        f"by {_points(more[key], above)} points ({word}) in {_listed(above)}"
        for (key, (_, above)), word in zip(apart.items(), ("interpolation", "spline"), strict=True)
        if above
    ]
    users = [s for s in tried if differences[s]["interpolation_log"][f"{name}_p_holm"] < REAL]
    by_users = max((abs(differences[s]["interpolation_log"][name]) for s in users), default=0.0)
    items.append(
        checked(
            max(map(max, logs.values())) < 0.1
            and not told
            and by_users < 0.001
            and not any(below for below, _ in apart.values()),
            "**Mixed by the logarithms of the weights, ten anchors leave little for a generator "
            "to add**: the same interpolation between log-ratios (`interpolation_log`) has a mean "
            f"regret of {span(logs['interpolation_log'], 1, 100)} %, a spline between them "
            f"(`rbf_log`) {span(logs['rbf_log'], 1, 100)} %, the generator "
            f"{span(generated, 1, 100)} %. In none of {len(tried)} studies do users and seeds both "
            "tell set HV from the generator's"
            + (f" (users alone in {_listed(users)}, by {by_users:.4f})" if users else "")
            + ". Seed by seed the generator's regret is lower "
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
    measures, name = ("regret_mean", "regret_corner_mean"), "set_hv_sampled"
    more = _more_than_generated(results, trained, ["hypernetwork"], measures)
    (lower, higher), (_, at_corners) = _told_apart(more).values()
    off, corner = more.values()
    gaps = {s: differences[s]["hypernetwork"] for s in trained}
    users = [s for s, row in gaps.items() if row[f"{name}_p_holm"] < REAL]
    less = [s for s, row in gaps.items() if row[name] < 0]
    seeds = [s for s, row in gaps.items() if beyond_seeds(row, name)]
    most = max(abs(row[name]) for row in gaps.values())
    return [
        checked(
            not higher and not users and set(seeds) <= set(less) and most < 0.01,
            "**A hypernetwork trained end to end at equal cost comes close, without a "
            "collection**: off the corners its regret is lower "
            + (f"by {_points(off, lower)} points in {_listed(lower)}" if lower else "in no study")
            + ", otherwise not told apart; at the corners it is higher "
            + (
                f"by {_points(corner, at_corners)} points (of their own unit, several times as "
                f"large) in {_listed(at_corners)}"
                if at_corners
                else "in no study"
            )
            + f" (paired t tests over {span(map(len, off.values()), 0)} seeds, Holm). Its set HV "
            f"is lower in {len(less)} of {len(trained)} studies, by {most:.4f} at most: the users "
            f"of the test tell it from the generator's in none, the seeds in {len(seeds)} (95 % t "
            "interval).",
        )
    ]


def _more_than_generated(
    results: Path, studies: Metrics, methods: Iterable[str], measures: Iterable[str]
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """{(method, measure): {study: a number a seed}}, the measure minus that of `generated`."""
    methods, measures = list(methods), list(measures)
    more: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name in studies:
        curve = pd.read_csv(_folder(results, name) / "curve.csv")
        found = {
            method: seed_measures(curve, method, "sampled", OBJECTIVES).values()
            for method in [*methods, "generated"]
        }
        for method, measure in product(methods, measures):
            own, generated = (
                np.array([_defined(by_seed[measure], name, m) for by_seed in found[m]])
                for m in (method, "generated")
            )
            more.setdefault((method, measure), {})[name] = own - generated
    return more


def _defined(measure: Measure, study: str, method: str) -> float:
    if measure.value is None:
        raise ParagonError(f"{study}: a measure of `{method}` is undefined: {measure.reason}")
    return measure.value


def _told_apart(
    more: dict[tuple[str, str], dict[str, np.ndarray]],
) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
    """For each key the studies whose mean over seeds is beyond chance below and above 0.

    Holm's correction is for all of ``more`` together, which is what one sentence says.
    """
    tests = [(key, study) for key, own in more.items() for study in own]
    p_values = []
    for key, study in tests:
        values = more[key][study]
        if len(values) < 2:
            raise ParagonError(f"{study}: one seed tells nothing from luck; `seeds` needs two")
        same = np.ptp(values) == 0
        p_values.append(float(values[0] == 0) if same else ttest_1samp(values, 0).pvalue)
    out: dict[tuple[str, str], tuple[list[str], list[str]]] = {key: ([], []) for key in more}
    for (key, study), p in zip(tests, holm(p_values), strict=True):
        if p < REAL:
            out[key][int(more[key][study].mean() > 0)].append(study)
    return out


def _points(more: dict[str, np.ndarray], studies: Iterable[str]) -> str:
    """How far regret is apart in some studies: means over seeds in per cent, without sign."""
    return span((abs(more[study].mean()) for study in studies), 1, 100)


def _share(results: Path, study: str, method: str, weight: float) -> float:
    """How much of a method's regret off the corners comes from one weight on accuracy."""
    curve = pd.read_csv(_folder(results, study) / "curve.csv")
    own = curve[(curve["protocol"] == "sampled") & curve["w_accuracy"].between(0, 1, "neither")]
    losses = sum(own[f"w_{o}"] * own[f"loss_{o}"] for o in OBJECTIVES)
    means = losses.groupby([own["method"], own["w_accuracy"]]).mean()
    excess = means[method] - means["tuned"]
    return excess[weight] / excess.sum()


def _moves(found: Metrics) -> str:
    worse = [_regret(found, s, "nearest_noise") > _regret(found, s, "nearest") for s in found]
    return checked(
        all(worse),
        "**Being far from the collection is worth nothing in itself**: an adapter moved as far "
        "from it as generated ones lie, in a random direction (`nearest_noise`), has more regret "
        f"than the adapter it came from, in all {len(worse)} studies.",
    )


def _games(found: Metrics) -> str:
    name = "mean_hv_sampled"
    pairs = [[_number(found, s, method, name) for method in ("constant", "tuned")] for s in found]
    more = [constant / tuned if tuned else math.inf for constant, tuned in pairs]
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
    by_data = _by_data(found)
    small = by_data.pop(DATA["ml-100k"], {})
    of_tuned = "set_hv_of_tuned_full"
    short = _values(small, "mmr", of_tuned)
    share = {data: _values(part, "mmr", of_tuned) for data, part in by_data.items()}
    follows = [_values(small, m, "r_div_full") for m in ("mmr", "generated")]
    return checked(
        np.median(reach) < 0.6
        and not told["sampled"][0]
        and min(short, default=1) > 0.9
        and not set(worse) & set(small)
        and all(own > generated for own, generated in zip(*follows, strict=True))
        and max(map(max, share.values()), default=0) < 0.95,
        "**Re-ranking for variety (`mmr`) is short on sampled lists**: it reaches "
        f"{np.median(reach):.2f} of the oracle's range of diversity (median; {span(reach, 2)}) and "
        f"has less set HV in {len(told['sampled'][1])} of {len(found)} studies. "
        + (
            f"Not so over the whole catalogue of {DATA['ml-100k']}, with {span(short, 2)} of the "
            f"oracle's set HV (better than `generated` in {len(set(better) & set(small))}, worse "
            f"in none of {len(small)} studies); there its diversity follows the weights more "
            f"closely (r div {span(follows[0], 2)}, `generated` {span(follows[1], 2)}). "
            if small
            else ""
        )
        + "".join(
            f"Over that of {data} it has {span(values, 2)}. " for data, values in share.items()
        ),
    ).strip()


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
        if "retrain" in own and not md.has_one_weight(own["retrain"])
    }
    if not several:
        return []
    names = ("range_ratio_div_sampled", "set_hv_of_tuned_sampled")
    found = {
        data: [_values(part, "retrain", name) for name in names]
        for data, part in _by_data(several).items()
    }
    words = [
        f"{span(reach, 1)} times the range of diversity and {span(front, 2)} of the set HV on "
        f"{data}"
        for data, (reach, front) in found.items()
    ]
    behind = min(min(front) for _, front in found.values()) < 1
    return [
        checked(
            min(min(reach) for reach, _ in found.values()) > 1,
            f"**Retraining goes further{', and is not always better' * behind}**: with the whole "
            "recommender free to move it has, of adapters tuned at the same weights, "
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
