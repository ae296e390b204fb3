"""Every verdict on the paper's claims follows from the stated rule."""

import json

import numpy as np
import pandas as pd
import pytest

from paragon_study.report.verdicts import CLAIMS, short_verdicts, verdict, verdicts

WEIGHTS = np.linspace(0, 1, 6)


def write_study(folder, excess, wobble=0.0, generate=0.05):
    """Write a study of three seeds in which methods lose ``excess`` more than `tuned`."""
    folder.mkdir(parents=True)
    rows = []
    for seed in range(3):
        for method, more in {"tuned": 0.0, "constant": 0.1, **excess}.items():
            for w in WEIGHTS:
                accuracy, diversity = 0.5 + 0.2 * w, 0.8 - 0.3 * w
                if method == "constant":
                    accuracy, diversity = 0.6, 0.65
                change = wobble * (seed - 1) if method == "paragon" else 0.0
                loss = 0.3 + more * (1 + change)
                rows.append((method, seed, "full", w, 1 - w, accuracy, diversity, loss, loss))
    names = "method seed protocol w_accuracy w_diversity ndcg@10 alpha_ndcg@10".split()
    table = pd.DataFrame(rows, columns=[*names, "loss_accuracy", "loss_diversity"])
    table.to_csv(folder / "curve.csv", index=False)
    times = {folder.name: {"retrain": {"p50": 1.0}, "paragon": {"p50": generate}}}
    (folder.parent / "timing.json").write_text(json.dumps(times))
    return folder


def of(table, condition, method="paragon"):
    """The verdict on the claim with this condition."""
    (row,) = [n for n, claim in enumerate(CLAIMS) if claim.look.__name__ == condition]
    return table[method][row].partition("<br>")[0]


def test_the_rule():
    """The verdict counts the studies of which something can be said."""
    assert "2 of 2" in verdict([True, True])
    assert "1 of 2" in verdict([True, False, None])
    assert "0 of 1" in verdict([False])
    assert verdict([None]) == verdict([])


EXCESS = {"paragon": 0.01, "paragon_no_cfg": 0.015, "soup": 0.05}


def test_a_condition_that_holds_and_one_that_fails(tmp_path):
    good = write_study(tmp_path / "a" / "one", EXCESS)
    table = verdicts([good])
    assert list(table.columns[2:]) == ["paragon"]  # the others were not recorded
    assert set(table["paragon"]) == {verdict([True])} and len(table) == len(CLAIMS)
    short = short_verdicts([good])
    assert "regret 10 %" in short["we find"][2]
    assert set(short["verdict"]) == {verdict([True])}
    far = write_study(tmp_path / "b" / "two", {**EXCESS, "paragon": 0.06}, generate=0.055)
    both = verdicts([good, far])
    for condition in ("_is_ready_soon", "_is_close_to_tuned", "_guidance_helps", "_beats_soup"):
        assert of(both, condition) == verdict([True, False])
    assert of(verdicts([far]), "_beats_fixed_weights") == verdict([True])


@pytest.mark.parametrize("wobble", [0.0, 3.0])
def test_less_regret_counts_only_beyond_seeds(tmp_path, wobble):
    """If seeds differ much more than the methods, guidance is not said to help."""
    study = write_study(tmp_path / "c" / "one", EXCESS, wobble)
    assert of(verdicts([study]), "_guidance_helps") == verdict([not wobble])


def test_a_study_of_one_seed_says_nothing_about_chance(tmp_path):
    study = write_study(tmp_path / "d" / "one", EXCESS)
    curve = pd.read_csv(study / "curve.csv")
    curve[curve["seed"] == 0].to_csv(study / "curve.csv", index=False)
    table = verdicts([study])
    assert of(table, "_guidance_helps") == of(table, "_beats_soup") == verdict([])
    assert of(table, "_is_close_to_tuned") == verdict([True])


def test_the_released_architecture_is_judged_by_studies_of_its_own(tmp_path):
    good = write_study(tmp_path / "a" / "one", EXCESS)
    released = {**EXCESS, "paragon": 0.01, "paragon_transformer": 0.06}
    table = verdicts([good], [write_study(tmp_path / "b" / "one", released)])
    assert of(table, "_is_close_to_tuned") == verdict([True])  # of one study, not of both
    assert of(table, "_is_close_to_tuned", "paragon_transformer") == verdict([False])
