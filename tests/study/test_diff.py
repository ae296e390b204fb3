import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from paragon.errors import ParagonError
from paragon_study.checking.diff import compare_versions, welch
from tests.study.conftest import git

SEEDS = {"steady": [0.50, 0.51, 0.52], "loose": [0.3, 0.5, 0.7], "generated": [0.6, 0.6, 0.6]}


def write(root, seeds, study="toy/sasrec"):
    folder = root / "results" / study
    folder.mkdir(parents=True, exist_ok=True)
    rows, metrics = [], {}
    for method, values in seeds.items():
        own = {"set_hv_full": float(np.mean(values)), "r_acc_full": None, "r_acc_full_note": "why"}
        if len(values) > 1:
            own["set_hv_full_sd"] = float(np.std(values, ddof=1))
            own["set_hv_full_low"] = own["set_hv_full"] - 0.01
        metrics[method] = own
        for seed, value in enumerate(values):
            rows += [(method, seed, "full", w, value * w, 1 - value * w) for w in (0, 1)]
    columns = ["method", "seed", "protocol", "w_accuracy", "ndcg@10", "alpha_ndcg@10"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "curve.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def root(tmp_path):
    write(tmp_path, SEEDS)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "before")
    return tmp_path


def test_what_the_seeds_do_not_explain_comes_first(root):
    later = {"steady": [0.60, 0.61, 0.62], "loose": [0.4, 0.6, 0.8], "alone": [0.1]}
    write(root, later | {"generated": SEEDS["generated"]})
    write(root, later, "toy/mine")
    found = compare_versions("HEAD", None, root)
    assert [(row.method, row.kind) for row in found.moved] == [
        *(("steady", "beyond"), ("loose", "within"), ("generated", "equal"))
    ]
    text = found.markdown()
    assert text.startswith("### Results: HEAD → the working tree\n\n1 study, 3 means: 1 beyond")
    assert "Only in the working tree: toy, mine." in text
    row = "| toy, sasrec | `steady` | set HV | 0.5100 ± 0.0100 | 0.6100 ± 0.0100 | +0.1000 |"
    assert row in text and "`generated`" not in text
    assert "... and 1 more" in found.markdown(1)
    assert found.draw(root / "both.png").stat().st_size > 10_000
    git(root, "add", "-A")
    git(root, "commit", "-qm", "after")
    assert compare_versions("HEAD~1", "HEAD", root).moved == found.moved


def test_a_single_run_has_no_spread(root):
    write(root, SEEDS | {"loose": [0.9]})
    kinds = {row.method: row.kind for row in compare_versions("HEAD", None, root).moved}
    assert kinds == {"steady": "equal", "loose": "alone", "generated": "equal"}


def test_the_spread_is_that_of_welch():
    a, b = np.array([0.1, 0.2, 0.4]), np.array([0.5, 0.55, 0.61, 0.7])
    half = welch((a.std(ddof=1), b.std(ddof=1)), [3, 4])
    interval = ttest_ind(b, a, equal_var=False).confidence_interval()
    assert half == pytest.approx((interval.high - interval.low) / 2)
    assert welch((0.0, 0.0), [3, 3]) == 0


def test_errors_are_one_line(root):
    with pytest.raises(ParagonError, match="git knows no commit 'nope'"):
        compare_versions("nope", None, root)
    (root / "results/toy/sasrec/metrics.json").write_text("{")
    with pytest.raises(ParagonError, match="metrics.json of the working tree cannot be read"):
        compare_versions("HEAD", None, root)
    (root / "results/toy/sasrec/metrics.json").unlink()
    with pytest.raises(ParagonError, match="no study in common"):
        compare_versions("HEAD", None, root)
