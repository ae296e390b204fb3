"""What the published study reports, to be put beside ours, and used for nothing else.

``CURVES``: the numbers behind a figure of the paper, as its authors released them with their
code (github.com/Starrylay/Paragon, ``Rebuttal_Experiment_Result.py``, "unfair" and "fair": two
runs, whose accuracy loss weighs the two genders differently).  MovieLens-1M, split by time,
adapters retrained for ten preferences from diversity to accuracy.  Which weights these are is
not said.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

STUDY = "ml-1m-time"  # ours on the same data and split
NDCG, ALPHA = "ndcg@10", "alpha_ndcg_published@10"  # their α-nDCG has a scale of its own
# {backbone: {metric: ten numbers for each of two runs}}
CURVES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def our_curves(recorded: Path) -> dict[str, pd.DataFrame]:
    """``{backbone: curve.csv}`` of our study on the same data, where it has been run."""
    paths = {backbone: recorded / STUDY / backbone / "curve.csv" for backbone in CURVES}
    curves = {backbone: pd.read_csv(path) for backbone, path in paths.items() if path.exists()}
    # Only some runs measured on their scale.
    return {backbone: curve for backbone, curve in curves.items() if ALPHA in curve}
