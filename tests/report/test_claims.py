"""Sentences on results have their numbers, and are refused where the results say otherwise."""

import json
import shutil

import pandas as pd
import pytest

from paragon.errors import ParagonError
from paragon.params import RESULTS
from paragon.report.claims import claims


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
        ("metrics", "mmr", "set_hv_of_tuned_full", 0.5, "Re-ranking for variety"),
        ("metrics", "mmr", "r_div_full", 0.1, "Re-ranking for variety"),
        ("metrics", "soup", "regret_mean_sampled", 0.3, "Interpolation between"),
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
    path = results / "ml-100k" / "sasrec" / "curve.csv"
    curve = pd.read_csv(path)
    losses = [name for name in curve if name.startswith("loss_")]
    own = curve["method"] == "generated"
    same = curve.copy()
    for method in ("nearest", "interpolation"):  # not told apart: what differs is luck
        same.loc[curve["method"] == method, losses] = same.loc[own, losses].to_numpy()
    same.to_csv(path, index=False)
    text = claims(results)
    assert "**Not so on ml-100k, sasrec**: there the generator's regret is 30 ± " in text
    assert "3 seeds tell neither from the generator's" in text
    same.loc[own & curve["w_accuracy"].between(0, 1, "neither"), losses] += 0.2
    same.to_csv(path, index=False)
    with pytest.raises(ParagonError, match="no longer say so.*Not so on"):
        claims(results)


def test_what_costs_interpolation_its_regret_is_checked(results):
    path = results / "ml-100k" / "sasrec" / "curve.csv"
    curve = pd.read_csv(path)
    losses = [name for name in curve if name.startswith("loss_")]
    own = (curve["method"] == "interpolation") & (curve["w_accuracy"] == 0.5)
    curve.loc[own, losses] += 0.05
    curve.to_csv(path, index=False)
    with pytest.raises(ParagonError, match="no longer say so.*comes from .* = 0.1"):
        claims(results)


def test_what_is_undefined_is_named_with_its_reason(results):
    change(results, "metrics", "mmr", "r_div_full", None)
    change(results, "metrics", "mmr", "r_div_full_note", "constant")
    expected = r"ml-100k, sasrec: r_div_full of `mmr` is undefined \(constant\)"
    with pytest.raises(ParagonError, match=expected):
        claims(results)


def test_one_seed_is_no_ground_for_a_comparison_of_seeds(results):
    path = results / "ml-100k" / "gru4rec" / "curve.csv"
    curve = pd.read_csv(path)
    curve[curve["seed"] == 0].to_csv(path, index=False)
    with pytest.raises(ParagonError, match="ml-100k, gru4rec: one seed tells nothing from luck"):
        claims(results)


def test_other_data_goes_by_its_own_name(results):
    assert "**Retraining goes further**: " in claims(results)
    shutil.copytree(results / "ml-100k", results / "shop")
    for name, value in (("set_hv_of_tuned_full", 0.9), ("set_hv_of_tuned_sampled", 0.8)):
        for method in ("mmr", "retrain"):
            path = results / "shop" / "sasrec" / "metrics.json"
            record = json.loads(path.read_text(encoding="utf-8"))
            record[method][name] = value
            path.write_text(json.dumps(record))
    shutil.rmtree(results / "shop" / "gru4rec")
    text = claims(results)
    assert "Over that of shop it has 0.90." in text and " set HV on shop. " in text
    assert "**Retraining goes further, and is not always better**" in text
    assert "MovieLens-1M" not in text


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
    assert "**A hypernetwork trained end to end at equal cost comes close, without" in text
    assert "(paired t tests over 5 seeds, Holm)" in text and "in 1 of 1 studies" in text
    curve = pd.read_csv(folder / "curve.csv")
    losses = [name for name in curve if name.startswith("loss_")]
    middle = (curve["w_accuracy"] > 0) & (curve["w_accuracy"] < 1)
    for better in (True, False):
        own = curve.copy()
        own.loc[(own["method"] == "hypernetwork") & middle, losses] += -0.2 if better else 0.2
        own.to_csv(folder / "curve.csv", index=False)
        if better:
            assert "points in ml-100k-paper, sasrec, otherwise not told" in claims(results)
        else:
            with pytest.raises(ParagonError, match="no longer say so.*hypernetwork"):
                claims(results)
