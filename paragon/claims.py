"""What the results say, in sentences with their numbers: a block of the README.

Every sentence comes with the condition under which it is true.  Where new results break one,
writing the block fails and names it: then the words have to be found anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from paragon import report
from paragon.errors import ParagonError

PUBLISHED_REDUCTION = 0.946  # of the time to a ready model against retraining (Shen et al. 2025)
GOOD = 0.1  # studies whose generator has more regret are told apart

Metrics = dict[str, dict[str, dict]]  # of studies: {"dataset, backbone": {method: row}}


def claims(results: Path) -> str:
    """Markdown: one list item a claim."""
    found = {f"{f.parent.name}, {f.name}": report.load_metrics(f) for f in report.studies(results)}
    apart = {name for name, own in found.items() if _regret(own, "generated") > GOOD}
    good = {name: own for name, own in found.items() if name not in apart}
    if not good:
        raise ParagonError(f"{results}: no study whose generator follows the oracle; new words!")
    small = {name: own for name, own in good.items() if name.startswith("ml-100k")}
    items = [
        _follows(good),
        *(_does_not_follow(name, found[name]) for name in sorted(apart)),
        _interpolates(good),
        _moves(good),
        _reranks(good),
        _guides(results, good),
        *([_retrains(small), _whole_catalogue(small)] if small else []),
        *_costs(results),
    ]
    lead = (
        f"In {len(good)} of {len(found)} studies the regret of `generated` is below "
        f"{100 * GOOD:.0f} %; what follows is about these, and what is not is named."
    )
    return "\n".join([lead, "", *(f"- {item}" for item in items)])


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
        f"diversity, at most {max(wrong):.1f} of ten steps in the wrong direction (mean of seeds), "
        f"regret {span(_values(good, 'generated', 'regret_mean_sampled'), 1, 100)} %, from "
        "adapters tuned at ten weights. With permuted weights it fails, as it must (regret "
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


def _interpolates(good: Metrics) -> str:
    mean, median = (
        _values(good, "interpolation", f"regret_{m}_sampled") for m in ("mean", "median")
    )
    return checked(
        max(median) < 0.05 and min(mean) > 0.2,
        "**Interpolation between the anchors is as good where anchors are near** (median regret "
        f"{span(median, 1, 100)} %), and fails where they are not: its mean regret of "
        f"{span(mean, 0, 100)} % comes from *w*<sub>acc</sub> = 0.1, between the anchors at 0.001 "
        "and 0.15. An anchor so close to the singular corner is what covers the oracle's range, "
        "and it costs whatever mixes with it: interpolation, splines, regression, and soup most "
        f"of all. The nearest anchor, unmixed, is at "
        f"{span(_values(good, 'nearest', 'regret_mean_sampled'), 0, 100)} %.",
    )


def _moves(good: Metrics) -> str:
    worse = [_regret(own, "nearest_noise") > _regret(own, "nearest") for own in good.values()]
    return checked(
        all(worse),
        "**Being far from the collection is worth nothing in itself**: an adapter moved as far "
        "from it as generated ones lie, in a random direction (`nearest_noise`), has more regret "
        f"than the adapter it came from, in all {len(worse)} studies.",
    )


def _reranks(good: Metrics) -> str:
    reach = _values(good, "mmr", "range_ratio_div_sampled")
    return checked(
        max(reach) < 0.6,
        f"**Re-ranking for variety (`mmr`) reaches {span(reach, 2)} of the oracle's range of "
        "diversity** and bends below the front where it goes far.",
    )


def _guides(results: Path, good: Metrics) -> str:
    real = []
    for name in good:
        rows = report.load_differences(results.joinpath(*name.split(", ")))
        real += [
            report.is_real(row, "set_hv_sampled")
            for method, row in rows.items()
            if method in ("generated_cfg", "generated_no_cfg")
        ]
    return checked(
        not any(real),
        "**Guidance buys nothing** that the test users could tell from plain conditional "
        f"generation, in {len(real)} studies (`generated_cfg`; `generated_no_cfg` where the study "
        "was made with guidance).",
    )


def _retrains(small: Metrics) -> str:
    reach = _values(small, "retrain", "range_ratio_div_sampled")
    return checked(
        min(reach) > 1.5,
        "**Retraining goes further**: with the whole recommender free to move it has "
        f"{span(reach, 1)} times the oracle's range of diversity on MovieLens-100K. What is "
        "generated is a good adapter, not a retrained model.",
    )


def _whole_catalogue(small: Metrics) -> str:
    short, full = (_values(small, "tuned", f"r_div_{protocol}") for protocol in ("sampled", "full"))
    return checked(
        all(f < s for f, s in zip(full, short, strict=True)),
        "**Over the whole catalogue control of diversity is weaker** on MovieLens-100K, for the "
        f"oracle too (r div {span(full, 2)}, on short lists {span(short, 2)}): adapters are "
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
    tune, retrain = (max(t["pays_after"][m] for t in own) for m in ("tune", "retrain"))
    return [
        checked(
            saved > PUBLISHED_REDUCTION,
            f"**A generated adapter is ready in {1000 * slow:.1f} ms** (median of the slowest "
            f"study; 99th percentile {1000 * slowest:.1f} ms), {100 * saved:.3f} % or more below "
            f"retraining (published: at least {100 * PUBLISHED_REDUCTION:.1f} %). With collection "
            f"and generator counted it pays from change {retrain} of the weights on against "
            f"retraining, and from {tune} against tuning.",
        )
    ]
