"""What the ablations say, in sentences with their numbers: blocks of the README."""

from __future__ import annotations

import pandas as pd
from scipy.stats import ttest_1samp

from paragon.metrics.statistics import REAL, holm
from paragon.report import ablations
from paragon.report.ablations import ALONE
from paragon.report.claims import checked, span

# Of the same adapters as `anchors-10`, so that losses on validation users compare.
COLLECTIONS = ("anchors-5", "anchors-20", "snapshots-0")


def both_follow(rows: pd.DataFrame) -> str:
    """Generator and hypernetwork in the settings of `ablation_tables.core`."""
    apart = ablations.paired(rows, "generated_best", "hypernetwork", "regret_mean", "study")
    rows = rows[rows["study"].isin(apart.index)]
    mean = rows.groupby(["method", "study"])["regret_mean"].mean()
    left = rows[rows["method"] == "interpolation"].groupby(["setting", "backbone"], sort=False)
    by_setting = left["regret_mean"].mean().groupby("setting", sort=False)
    behind = [f"{span(own, 0, 100)} % with {setting}" for setting, own in by_setting]
    tied = (apart["low"] <= 0) & (apart["high"] >= 0)
    worst = max(mean["generated"].max(), mean["hypernetwork"].max())
    return checked(
        tied.all() and worst < 0.1 and mean["interpolation"].min() > worst,
        "**Both follow the oracle in every setting**, with a mean regret of "
        f"{span(mean['generated'], 1, 100)} % (`generated`) and "
        f"{span(mean['hypernetwork'], 1, 100)} % (`hypernetwork`), and the seeds do not tell them "
        f"apart: all {len(apart)} intervals of the difference contain 0. Interpolation's is "
        f"{', '.join(behind)}.",
    )


def few_anchors(points: pd.DataFrame) -> str:
    """What the behavioural loss is worth."""
    own = points[points["method"] == "generated"].groupby("name")["regret_mean"].mean()
    few, many = own["anchors-3-no-behaviour"], own["anchors-10-no-behaviour"]
    return checked(
        few > 0.2 > 0.05 > many,
        "**Few anchors need the behavioural loss**: without it the generator has a regret of "
        f"{100 * few:.0f} % with three anchors, and with ten of {100 * many:.1f} %.",
    )


def choices(collections: pd.DataFrame, points: pd.DataFrame) -> str:
    """Which single changes of the generator the seeds tell from the study's settings."""
    default, points = "anchors-10", points[points["method"] == "generated"]
    own = points["collection"].isin([default, *COLLECTIONS])
    changed = points[own & ~points["name"].str.endswith(ALONE)]
    base = changed[changed["name"] == default].set_index("seed")["choice"]
    middle = collections[(collections["name"] == default) & (collections["method"] == "constant")]
    gap = middle["choice"].mean() - base.mean()  # what listening to the weights is worth
    changes, p_values = {}, []
    for _, own in changed[changed["name"] != default].groupby("name", sort=False):
        more = (own.set_index("seed")["choice"] - base).dropna().to_numpy() / gap
        if len(more) > 1:
            which = own.iloc[0]
            words = f"{which['variable']} {which['value']} ({100 * more.mean():+.1f} %)"
            changes[words] = more.mean()
            p_values.append(ttest_1samp(more, 0).pvalue)
    real = [words for words, p in zip(changes, holm(p_values), strict=True) if p < REAL]
    worse = [words for words in real if changes[words] > 0]
    share = "in per cent of what listening to the weights is worth there"
    told = f"and only these as worse ({share}): {', '.join(worse)}" if worse else "nor as worse"
    return checked(
        len(worse) == len(real),
        f"**Little else matters.** Of {len(changes)} single changes of the generator or its "
        "collection the seeds tell none from the study's as better on validation users, "
        f"{told} (paired t tests, Holm).",
    )


def form(points: pd.DataFrame) -> str:
    """The denoiser of the paper, and what is left of diffusion in a step or two.

    ``points``: all ways of sampling, not the usual ones alone.
    """
    own = points[(points["method"] == "generated") & (points["guidance"] == 1)]
    tokens = own[own["name"].str.startswith("tokens-")].groupby("value")["regret_mean"].mean()
    steps = own[own["name"] == "anchors-10"].groupby("steps")["regret_mean"].mean()
    return checked(
        tokens.min() > steps[2] and abs(steps[1] - steps[2]) < 0.02,
        "**What generates is no longer the paper's diffusion model.** A transformer over parameter "
        f"tokens, its denoiser, has a regret of {span(tokens, 0, 100)} %, by the way the weights "
        f"enter (`add_every_block`, the released default: {100 * tokens['add_every_block']:.0f} %; "
        "no fair trial: half as wide, in half as many steps of an eighth of the batch, with a "
        "quarter of the weights in the behavioural loss, one seed). And with that loss one step "
        f"does what two do ({100 * steps[1]:.1f} and {100 * steps[2]:.1f} %): noise has next to "
        "nothing left to decide, the generator is a regression of adapters on weights.",
    )


def starts(rows: pd.DataFrame) -> str:
    """What averaging, regression and sampling make of the starts of `ablation_tables.starts`."""
    median = rows[rows["name"] == "starts-pooled"].groupby("way")["regret_median"].mean()
    steps = (1, 10, 50)
    fitted, ten, fifty = (median[f"diffusion alone, {n} step{'s' * (n > 1)}"] for n in steps)
    averages = {"interpolation": median["interpolation"], "ridge regression": median["ridge"]}
    averages["a network fitted to the vectors (diffusion in one step)"] = fitted
    best = median["diffusion alone, 50 steps, best of 8"]
    behaviour = median["generated, 2 steps"]
    return checked(
        best < 0.05
        and max(ten, fifty, median["nearest"]) < 0.3 * min(averages.values())
        and behaviour > max(ten, fifty),
        "Whatever averages loses its way among the starts as they are: "
        f"{', '.join(f'{name} {100 * value:.0f} %' for name, value in averages.items())}. Plain "
        f"diffusion over ten or more steps does not ({span((ten, fifty), 1, 100)} %; the best of "
        f"eight {100 * best:.1f} %). Nor does the nearest anchor ({100 * median['nearest']:.1f} %, "
        "with ten of them), which takes no training at all. The behavioural loss, which trains the "
        f"first step, does harm here ({100 * behaviour:.0f} % in two steps).",
    )
