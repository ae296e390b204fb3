import numpy as np
import pandas as pd
import pytest
import torch

from paragon.adapters.frozen import frozen_events
from paragon.metrics import ranking
from paragon_study.report import tables


def test_a_validation_curve_has_the_means_of_the_metrics(seqs, backbone, settings):
    valid = frozen_events(backbone, seqs, "valid", settings.adapters)
    vectors = 0.1 * torch.randn(2, valid.form.size, generator=torch.Generator().manual_seed(0))
    weights = np.array([[0.2, 0.8], [0.7, 0.3]])
    objectives = ["accuracy", "diversity"]
    table = tables.validation_curve("mine", vectors, weights, valid, seqs, objectives)
    assert table[["w_accuracy", "w_diversity"]].to_numpy() == pytest.approx(weights)
    scores = valid.catalogue_scores(vectors[1]).numpy()
    ranks = ranking.target_ranks(scores, seqs.valid.targets, seqs.excluded(seqs.valid))
    assert table["ndcg@10"][1] == pytest.approx(ranking.ndcg_at(ranks, 10).mean())
    assert table["alpha_ndcg@10"].between(0, 1).all()
    assert (table["method"] == "mine").all() and (table["protocol"] == "full").all()


def test_ranked_lists_leave_out_what_was_met_and_name_each_category_once(seqs):
    row, items = 3, np.arange(seqs.n_items + 1)
    table = tables.ranked_lists(seqs, {"last": items, "first": -items}, row, length=5)
    left = np.flatnonzero(~seqs.excluded(seqs.test)[row])
    for label, best in {"last": left[::-1][:5], "first": left[:5]}.items():
        titles = [seqs.titles[item - 1] for item in best]
        assert table[label, "title"].tolist() == [*titles, ""]
        *new, total = table[label, "new categories"]
        named = [name for cell in new if cell for name in cell.split(", ")]
        categories = seqs.categories[best].any(0)
        assert sorted(named) == sorted(np.array(seqs.category_names)[categories])
        assert total.startswith(f"{categories.sum()} in all, ")


def test_measures_have_limits_where_there_are_any_and_keep_what_is_undefined_apart():
    a = {"r": 0.5, "r_low": 0.4, "h": 0.12345, "h_low": 0.12345}
    summary = {"a": a, "b": {"r": None, "r_note": "constant", "h": 2}}
    names = {"r": "correlation", "h": "volume"}
    table = tables.with_limits(summary, names, 2)
    assert table.loc["a"].to_dict() == {"correlation": "0.50 ± 0.10", "volume": "0.12"}
    assert table.loc["b"].tolist() == ["–", "2.00"]
    numbers = tables.measures(summary, names)["correlation"]
    assert numbers["a"] == 0.5 and np.isnan(numbers["b"])


def test_differences_are_sorted_and_the_undefined_ones_are_not_real():
    ends = ("", "_low", "_high", "_p", "_p_holm", "_seeds_low", "_seeds_high")
    names = [f"set_hv_full{end}" for end in ends]
    rows = {
        "a": dict(zip(names, (-0.2, -0.3, -0.1, 0.001, 0.003, -0.3, -0.1), strict=True)),
        "b": dict(zip(names, (0.1, -0.1, 0.3, 0.04, 0.08, 0.05, 0.15), strict=True)),
        "c": dict(zip(names, (0.0, *[None] * 6), strict=True)) | {"x_note": "one user"},
    }
    table = tables.difference_table(rows, "full")
    assert table["real"].to_dict() == {"b": False, "c": False, "a": True}
    assert table.loc["c", "low"] == "–" and table.loc["a", "high"] == -0.1
    rows["a"]["set_hv_full_seeds_high"] = 0.01
    assert not tables.difference_table(rows, "full")["real"].any()


def test_intervals_are_means_over_seeds_with_half_their_width():
    rows = pd.DataFrame(
        [("a", "x", 0, 1.0), ("a", "x", 1, 3.0), ("b", "x", 0, 2.0), ("a", "y", 0, None)],
        columns=["method", "setting", "seed", "regret"],
    )
    table = tables.interval_table(rows, "regret", "method", "setting")
    half = 12.706205 * 1.0  # Student t with one degree of freedom, times the standard error
    assert table.to_dict() == {"x": {"a": f"2.0 ± {half:.1f}", "b": "2.0"}}
    undefined = pd.DataFrame([("a", "x", 2, None)], columns=rows.columns)
    table = tables.interval_table(pd.concat([rows, undefined]), "regret", "method", "setting")
    assert table.loc["a", "x"] == "–"  # no mean of the seeds that happen to have it
