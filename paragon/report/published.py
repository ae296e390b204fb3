"""What the published study reports, to be put beside ours, and used for nothing else.

``CURVES``: the numbers behind a figure of the paper, as its authors released them with their
code (github.com/Starrylay/Paragon, ``Rebuttal_Experiment_Result.py``, "unfair" and "fair": two
runs, whose accuracy loss weighs the two genders differently).  MovieLens-1M, split by time,
adapters retrained for ten preferences from diversity to accuracy.  Which weights these are is
not said.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

STUDY = "ml-1m-time"  # ours on the same data and split
NDCG, ALPHA = "ndcg@10", "alpha_ndcg_published@10"  # their α-nDCG has a scale of its own
# {backbone: {metric: one tuple of ten a run}}
CURVES = {
    "tisasrec": {
        NDCG: (
            (0.0810, 0.0976, 0.1089, 0.1315, 0.2077, 0.2713, 0.3194, 0.4013, 0.4235, 0.4212),
            (0.0740, 0.0842, 0.1099, 0.1403, 0.1944, 0.2733, 0.3430, 0.3838, 0.4102, 0.4161),
        ),
        ALPHA: (
            (0.1123, 0.1132, 0.1122, 0.1128, 0.1120, 0.1091, 0.1028, 0.0926, 0.0849, 0.0816),
            (0.1100, 0.1114, 0.1116, 0.1128, 0.1119, 0.1067, 0.1025, 0.0902, 0.0832, 0.0812),
        ),
    },
    "gru4rec": {
        NDCG: (
            (0.1592, 0.1794, 0.1996, 0.2351, 0.2715, 0.2944, 0.3100, 0.3217, 0.3249, 0.3258),
            (0.1570, 0.1742, 0.1982, 0.2360, 0.2723, 0.2918, 0.3092, 0.3178, 0.3251, 0.3254),
        ),
        ALPHA: (
            (0.1021, 0.1018, 0.1017, 0.1006, 0.0986, 0.0965, 0.0946, 0.0926, 0.0910, 0.0895),
            (0.1022, 0.1022, 0.1021, 0.1010, 0.0990, 0.0971, 0.0947, 0.0930, 0.0914, 0.0898),
        ),
    },
}


def our_curves(results: Path) -> dict[str, pd.DataFrame]:
    """``{backbone: curve.csv}`` of our study on the same data, where it has been run."""
    paths = {backbone: results / STUDY / backbone / "curve.csv" for backbone in CURVES}
    curves = {backbone: pd.read_csv(path) for backbone, path in paths.items() if path.exists()}
    # Only some runs measured on their scale.
    return {backbone: curve for backbone, curve in curves.items() if ALPHA in curve}
