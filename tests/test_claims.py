"""Sentences on results have their numbers, and are refused where the results say otherwise."""

import json
import shutil

import pandas as pd
import pytest

from paragon.claims import claims
from paragon.errors import ParagonError
from paragon.params import RESULTS


@pytest.fixture
def results(tmp_path):
    """A copy of committed results, to be changed."""
    for backbone in ("sasrec", "gru4rec"):
        folder = tmp_path / "ml-100k" / backbone
        folder.mkdir(parents=True)
        for name in ("metrics.json", "differences.json", "curve.csv"):
            shutil.copy(RESULTS / "ml-100k" / backbone / name, folder)
    return tmp_path


def change(results, kind, method, name, value, backbone="sasrec"):
    path = results / "ml-100k" / backbone / f"{kind}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record[method][name] = value
    if name.endswith("_p_holm"):  # beyond other users, and now beyond other seeds
        stem = name.removesuffix("_p_holm")
        record[method] |= {f"{stem}_seeds_low": 0.001, f"{stem}_seeds_high": 0.002}
    path.write_text(json.dumps(record))


def test_sentences_have_the_numbers_of_the_results(results):
    change(results, "metrics", "generated", "set_hv_of_tuned_sampled", 0.9912)
    change(results, "metrics", "generated", "set_hv_of_tuned_sampled", 0.9993, "gru4rec")
    change(results, "metrics", "generated_shuffled", "regret_mean_sampled", 12.34)
    text = claims(results)
    assert "0.991 to 0.999 of its hypervolume" in text and "(regret 1,234 % and more)" in text
    assert text.startswith("2 studies, 2 combinations") and "In 2 of them" in text
    assert "is ready in" not in text and "hypernetwork" not in text
    timing = {"generate": {"p50": 0.002, "p99": 0.003}, "retrain": {"p50": 20.0}}
    timing["pays_after"] = {"tune": 14, "retrain": 3}
    path = results / "ml-100k" / "timing.json"
    path.write_text(json.dumps({"sasrec": timing}))
    text = claims(results)
    assert "is ready in 2.0 ms** (" in text and "99th percentile 3.0 ms), 99.990 % or" in text
    assert "at least 94.6 %" in text
    path.write_text(json.dumps({"sasrec": timing | {"retrain": {"p50": 0.01}}}))
    with pytest.raises(ParagonError, match="no longer say so.*is ready in"):
        claims(results)


@pytest.mark.parametrize(
    ("kind", "method", "name", "value", "claim"),
    [
        ("metrics", "generated", "set_hv_of_tuned_sampled", 0.95, "Generation follows"),
        ("metrics", "generated_shuffled", "regret_mean_sampled", 0.5, "Generation follows"),
        ("metrics", "interpolation", "regret_median_sampled", 0.3, "Interpolation between"),
        ("differences", "interpolation_log", "set_hv_sampled_p_holm", 0.01, "Mixed by the log"),
        ("metrics", "rbf_log", "regret_mean_sampled", 0.3, "Mixed by the log"),
        ("metrics", "rbf_log", "regret_mean_5_anchors", 9.0, "Few anchors are where"),
        ("metrics", "nearest_noise", "regret_mean_sampled", 0.01, "Being far"),
        ("metrics", "constant", "mean_hv_sampled", 0.01, "mean HV can be gamed"),
        ("metrics", "mmr", "range_ratio_div_sampled", 0.9, "Re-ranking for variety"),
        ("differences", "generated_cfg", "set_hv_sampled_p_holm", 0.01, "No effect of guidance"),
        ("metrics", "retrain", "range_ratio_div_sampled", 0.9, "Retraining goes further"),
        ("metrics", "tuned", "r_div_full", 0.999, "Over the whole catalogue"),
    ],
)
def test_a_sentence_that_no_longer_holds_is_refused(results, kind, method, name, value, claim):
    change(results, kind, method, name, value)
    with pytest.raises(ParagonError, match=f"no longer say so.*{claim}"):
        claims(results)


def test_a_study_whose_generator_fails_is_told_apart(results):
    change(results, "metrics", "generated", "regret_mean_sampled", 0.3)
    assert "**Not so on ml-100k, sasrec**: there the generator's regret is 30 ± " in claims(results)
    change(results, "metrics", "nearest", "regret_mean_sampled", 0.5)
    with pytest.raises(ParagonError, match="no longer say so.*Not so on"):
        claims(results)


def test_generator_and_mixtures_are_compared_seed_by_seed(results):
    assert "the generator's regret is lower in none (paired t" in claims(results)
    path = results / "ml-100k" / "sasrec" / "curve.csv"
    curve = pd.read_csv(path)
    losses = [name for name in curve if name.startswith("loss_")]
    middle = (curve["w_accuracy"] > 0) & (curve["w_accuracy"] < 1)
    curve.loc[(curve["method"] == "rbf_log") & middle, losses] += 0.2
    curve.to_csv(path, index=False)
    assert " points (spline) in ml-100k, sasrec (paired t" in claims(results)
    curve.loc[(curve["method"] == "rbf_log") & middle, losses] -= 0.4
    curve.to_csv(path, index=False)
    with pytest.raises(ParagonError, match="no longer say so.*Mixed by"):
        claims(results)


def test_generator_and_hypernetwork_are_compared_seed_by_seed(results):
    folder = results / "ml-100k-paper" / "sasrec"
    folder.mkdir(parents=True)
    for name in ("metrics.json", "differences.json", "curve.csv"):
        shutil.copy(RESULTS / "ml-100k-paper" / "sasrec" / name, folder)
    text = claims(results)
    assert text.startswith("3 studies, 2 combinations")
    assert "**A hypernetwork trained end to end at equal cost is no worse**" in text
    curve = pd.read_csv(folder / "curve.csv")
    losses = [name for name in curve if name.startswith("loss_")]
    middle = (curve["w_accuracy"] > 0) & (curve["w_accuracy"] < 1)
    for better in (True, False):
        own = curve.copy()
        own.loc[(own["method"] == "hypernetwork") & middle, losses] += -0.2 if better else 0.2
        own.to_csv(folder / "curve.csv", index=False)
        if better:
            assert "points in ml-100k-paper, sasrec (paired t tests" in claims(results)
        else:
            with pytest.raises(ParagonError, match="no longer say so.*hypernetwork"):
                claims(results)
