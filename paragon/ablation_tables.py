"""What the ablations found, read from their tables and put side by side for notebook 06."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from paragon.ablations import RESULTS
from paragon.errors import ParagonError
from paragon.params import Params
from paragon.statistics import mean_interval


def load(kind: str) -> pd.DataFrame:
    """All tables of a kind, ``point`` or ``collection``, with the ``name`` of each entry."""
    parts = [
        pd.read_csv(path).assign(name=path.stem.removeprefix(f"{kind}-"))
        for path in sorted(RESULTS.glob(f"{kind}-*.csv"))
    ]
    if not parts:
        raise ParagonError(f"{RESULTS}: no {kind}-*.csv; run `make ablations` first")
    return pd.concat(parts, ignore_index=True)


def usual(points: pd.DataFrame) -> pd.DataFrame:
    """The rows sampled as the point's settings say, the best of several among them."""
    ways = ["guidance", "steps"]
    first = points.groupby("name")[ways].transform("first")
    return points[(points[ways] == first).all(axis=1)]


def side_by_side(
    collections: pd.DataFrame, points: pd.DataFrame, names: Sequence[str]
) -> pd.DataFrame:
    """The rivals on, and the generators of, the entries called ``names``, in that order."""
    both = pd.concat([collections, points], ignore_index=True)
    order = {name: place for place, name in enumerate(names)}
    both = both[both["name"].isin(order)]
    return both.sort_values("name", key=lambda own: own.map(order), kind="stable")


def paired(rows: pd.DataFrame, one: str, other: str, measure: str) -> pd.DataFrame:
    """``one`` minus ``other`` on each collection: mean and 95 % interval over shared seeds."""
    keys, found = ["collection", "seed"], {}
    both = (rows[rows["method"] == method] for method in (one, other))
    merged = pd.merge(*both, on=keys, suffixes=("", "_other"))
    for name, own in merged.groupby("collection", sort=False):
        change = (own[measure] - own[f"{measure}_other"]).to_numpy(float)
        mean, low, high, _ = mean_interval(change)
        found[name] = {"difference": mean, "low": low, "high": high, "seeds": len(change)}
    return pd.DataFrame.from_dict(found, orient="index")


def defaults(settings: Params) -> dict[str, object]:
    """The study's own value of every variable that points change on its collection."""
    diffusion = settings.diffusion
    return {
        "anchors": str(len(settings.adapters.anchors)),
        "behavioural loss": "on",
        "conditioning": diffusion.conditioning,
        "latent": str(diffusion.latent),
        "snapshots": str(settings.adapters.snapshots),
        "training steps": str(diffusion.steps),
        "weights x lists": f"{diffusion.behaviour_batch} x {diffusion.behaviour_rows}",
        "strength of the behavioural loss": f"{diffusion.behaviour_strength:g}",
    }


def one_at_a_time(
    rows: pd.DataFrame, default: str, settings: Params, variables: Sequence[str]
) -> pd.DataFrame:
    """The rows of some variables, each beside those of the point ``default`` of the same seeds."""
    own, parts = defaults(settings), []
    base = rows[rows["name"] == default]
    for variable in variables:
        changed = rows[(rows["variable"] == variable) & (rows["name"] != default)]
        parts.append(changed.assign(value=changed["value"].astype(str)))
        if variable in own:
            same = base[base["seed"].isin(changed["seed"])]
            parts.append(same.assign(variable=variable, value=own[variable]))
    return pd.concat(parts, ignore_index=True)
