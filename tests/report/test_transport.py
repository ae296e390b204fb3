"""Tables and the figure of moved adapters, from tables whose means are known."""

import json
import shutil

import pandas as pd
import pytest

from paragon.errors import ParagonError
from paragon.params import ROOT
from paragon_study.report import figures
from paragon_study.report.transport import (
    COLUMNS,
    load_moves,
    load_shared,
    measure_table,
    pairs_table,
    tables,
)

WITHOUT = ", without the item side"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three moves between seeds and one between architectures, made up."""
    root = tmp_path_factory.mktemp("transport")
    (root / "results").mkdir()
    moves = [("seed", f"sasrec-{s}", f"sasrec-{s + 1}", s) for s in range(3)]
    for kind, old, new, seed in [*moves, ("architecture", "sasrec-0", "gru4rec-0", 0)]:
        rows = [
            (kind, old, new, method, protocol, seed, share + seed / 100, 0.9, None, 0.5, side, 0.6)
            for side in ("item_side", "state_only")
            for protocol in ("full", "sampled")
            for method, share in (("tuned", 1.0), ("moved", 0.95), ("moved_50", 0.97))
        ]
        names = "kind old new method protocol seed set_hv_of_tuned r_acc r_div regret_mean side fit"
        table = pd.DataFrame(rows, columns=names.split()).assign(shared=100, items=1.0)
        name = f"seed-{seed}" if kind == "seed" else "sasrec-to-gru4rec-0"
        table.to_csv(root / "results" / f"move-{name}.csv", index=False)
        alone = table[table["method"] == "moved"].assign(method="backbone", set_hv_of_tuned=0.6)
        alone = alone.drop(columns=["kind", "old", "fit", "shared", "items"])
        pd.concat([alone, table[table["method"] == "tuned"][alone.columns]]).to_csv(
            root / "results" / f"alone-{new}.csv", index=False
        )
        spent = {side: {"moved": 0.2, "moved_50": 3} for side in ("item_side", "state_only")}
        (root / "seconds").mkdir(exist_ok=True)
        (root / "seconds" / f"move-{name}.json").write_text(json.dumps(spent))
        whole = {"backbone": 50, "item_side": 30, "state_only": 20}
        (root / "seconds" / f"train-{new}.json").write_text(json.dumps(whole))
    return root


def test_a_table_has_means_over_moves_with_their_interval_and_seconds(folder):
    frame = load_moves(folder)
    full = frame[frame["protocol"] == "full"]
    title, _, *lines = measure_table(full, "item_side", "set_hv_of_tuned", 3).splitlines()
    assert title.split("|")[2:-1] == [" seed ", " architecture ", " seconds "]
    assert lines[0].endswith("| 0.600 | 0.600 | – |")
    assert lines[1].startswith("| **moved**, from item tables | 0.960 ± 0.025 |")
    assert lines[-1].startswith("| tuned there |") and lines[-1].endswith("| 30 |")
    assert len(lines) == 4
    regret = measure_table(full, "state_only", "regret_mean", 0, 100)
    assert "| tuned there | 50" in regret and "seconds" not in regret


def test_a_kind_on_other_data_has_a_column_but_no_part_in_the_seconds(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "transport")
    path = tmp_path / "transport" / "results" / "move-seed-0.csv"
    own = pd.read_csv(path).assign(kind="one category an item")
    own.to_csv(path.with_name("move-planted-0.csv"), index=False)
    seconds = tmp_path / "transport" / "seconds" / "move-planted-0.json"
    seconds.write_text(json.dumps({"item_side": {"moved": 100}}))
    text = tables(tmp_path / "transport")
    assert text.count("| adapters | seed | architecture | one category an item |") == 4
    line = "| **moved**, from item tables | 0.96 ± 0.02 | 0.95 | 0.95 | 0.2 |"
    assert text.count(line) == 2  # with and without the item side


def test_moved_generators_have_tables_of_their_own_where_there_are_trials(folder, tmp_path):
    assert "moved generators" not in tables(folder)
    shutil.copytree(folder, tmp_path / "transport")
    results = tmp_path / "transport" / "results"
    table = pd.read_csv(results / "move-seed-0.csv").drop(columns=["old", "shared", "items"])
    for name, olds, kind in (("few", 4, "four old ones"), ("one", 1, "one old one")):
        method = table["method"].replace("moved_50", "moved_generated")
        own = table.assign(kind=kind, olds=olds, method=method)
        own.to_csv(results / f"shared-{name}.csv", index=False)
    text = tables(tmp_path / "transport")
    kinds = [f"{kind}{side}" for kind in ("one old one", "four old ones") for side in ("", WITHOUT)]
    assert text.count(f"| adapters | {' | '.join(kinds)} |") == 2
    assert text.count("| **moved generator** | 0.97 | 0.97 | 0.97 | 0.97 |") == 1
    assert text.count("| adapters | seed | architecture |") == 4


def test_every_pair_is_shown_once(folder):
    frame = load_moves(folder)
    lines = pairs_table(frame[frame["protocol"] == "full"], "state_only").splitlines()[2:]
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
    assert [line.split("|")[1:7] for line in lines] == [
        [" sasrec → sasrec ", " 3 ", " 0.60 ", " 0.96 ± 0.02 ", " – ", " 50 "],
        [" sasrec → gru4rec ", " 1 ", " 0.60 ", " 0.95 ", " – ", " 50 "],
    ]
    assert tables(folder).count("| adapters | seed | architecture |") == 4


def test_what_a_recommender_has_alone_counts_once_however_many_moves_go_there(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "transport")
    path = tmp_path / "transport" / "results" / "move-seed-0.csv"
    pd.read_csv(path).assign(old="sasrec-3").to_csv(path.with_name("move-seed-9.csv"), index=False)
    frame = load_moves(tmp_path / "transport").query("kind == 'seed' and side == 'item_side'")
    assert len(frame.query("protocol == 'full' and method == 'moved'")) == 4
    assert len(frame.query("protocol == 'full' and method == 'backbone'")) == 3


def test_other_kinds_of_moves_have_rows_among_the_pairs_alone(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "transport")
    path = tmp_path / "transport" / "results" / "move-seed-0.csv"
    few = pd.read_csv(path).assign(kind="few items", items=0.2)
    few.loc[few["method"] == "tuned", "method"] = "as_it_is"
    few.to_csv(path.with_name("move-items-20.csv"), index=False)
    text = tables(tmp_path / "transport").replace("\N{NO-BREAK SPACE}", " ")
    assert "few items" not in text
    line = "| sasrec → sasrec, 20 % of the items | 1 | 0.60 | 0.95 | 1.00 | 50 | 50 | 0.90 | – |"
    assert text.count(line) == 2  # with and without the item side


def test_the_figure_has_a_panel_for_each_kind_and_side(folder):
    figure = figures.moved_adapters(load_moves(folder))
    titles = [ax.get_title("left") for ax in figure.axes]
    assert len(titles) == 4 and len(set(titles)) == 4
    with pytest.raises(ParagonError, match="column `seconds` is missing"):
        figures.moved_adapters(load_moves(folder).drop(columns="seconds"))


def test_a_folder_without_tables_says_what_makes_them(tmp_path):
    with pytest.raises(ParagonError, match=r"dvc repro transport/dvc\.yaml"):
        load_moves(tmp_path)


# What docs/transport.md says in words.


def test_moved_adapters_reach_more_than_unmoved_ones_but_not_the_balance():
    frame = load_moves(ROOT / "transport").query("protocol == 'full'")
    means = frame.groupby(["kind", "side", "method"])[["set_hv_of_tuned", "regret_mean"]].mean()
    for kind in COLUMNS:
        own = means.loc[kind]
        moved, unmoved = (own.loc["item_side", way] for way in ("moved", "as_it_is"))
        more = moved["set_hv_of_tuned"] - unmoved["set_hv_of_tuned"]
        assert more < 0.02 if "warm" in kind else more > 0.05
        assert moved["set_hv_of_tuned"] > 0.9 and moved["regret_mean"] > 0.2
        assert own.loc[("state_only", "moved"), "set_hv_of_tuned"] > 0.8


def test_several_old_recommenders_are_better_than_one_but_not_as_good_as_tuning():
    frame = load_shared(ROOT / "transport").query("protocol == 'full'")
    assert frame.groupby("kind")["new"].nunique().to_dict() == {
        kind: 10 if "architecture" in kind else 5 for kind in frame["kind"]
    }
    means = frame.groupby(["olds", "kind", "method"]).mean(numeric_only=True)
    hv, regret, r_acc = (means[m].unstack() for m in ("set_hv_of_tuned", "regret_mean", "r_acc"))
    assert ((hv["moved_generated"] - hv["moved"]).loc[1].abs() < 0.01).all()
    several = regret.loc[[4, 5]]
    for way in ("moved_generated", "moved_ensemble"):
        assert (several[way] < several["moved"] - 0.2).all()
    assert regret["moved_generated"].min() > 0.8
    five = frame.query("olds == 5").assign(to=lambda rows: rows["new"].str.partition("-")[0])
    of_five = five.groupby(["to", "kind", "method"]).mean(numeric_only=True)
    own = of_five["regret_mean"].unstack()
    assert (own["moved_generated"] < own["moved"]).all()
    ways = ["moved", "moved_generated", "moved_ensemble", "moved_mean", "moved_calibrated"]
    assert set(own.loc["gru4rec", ways].idxmin(axis=1)) == {"moved_calibrated"}
    share = of_five["set_hv_of_tuned"].unstack().loc["gru4rec", ways]
    assert share.iloc[1].idxmax() == "moved_calibrated"
    assert hv["moved_ensemble"].loc[4].iloc[0] > 0.98
    four = hv.loc[4].iloc[1]
    assert min(four["moved_generated"], four["moved_ensemble"]) > four["moved"] + 0.03
    assert r_acc.loc[4].iloc[1]["moved_ensemble"] < r_acc.loc[4].iloc[1]["moved_generated"] - 0.05
