"""docs/findings.md says what the results hold, whatever they are.

The page has few words that a number could contradict; the condition of each of them is here.
A test that fails names the sentence that is no longer true: it has to be written anew.
"""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from paragon.errors import ParagonError
from paragon.evaluation.summary import task_loss
from paragon.params import ABLATIONS, RESULTS, ROOT
from paragon_study.report import ablations, findings, transport
from paragon_study.report.results import Studies, study_folders
from paragon_study.report.templates import listed, ordinal, percent, signed, span

DRAWN = ROOT / "ablations" / "drawn-lists"
MOVED = ROOT / "transport"
NAMES = ("ml-100k, gru4rec", "ml-100k, sasrec")
REAL, CHANCE = 0.01, 0.9  # p-values


def test_the_page_is_the_rendered_template_and_short():
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    assert page == findings.render_findings(RESULTS, ABLATIONS, DRAWN, MOVED), (
        "run `python -m paragon report`"
    )
    assert len(re.sub(r"\||-+:", "", page).split()) <= 1500


def test_moved_adapters_reach_more_than_unmoved_ones_but_not_the_balance():
    rows = [line.split(" | ") for line in findings._moves(MOVED).splitlines()[2:]]
    assert [row[0].strip("| ") for row in rows] == transport.COLUMNS
    for kind, *cells in rows:
        moved, unmoved, alone = map(float, cells[:3])
        more = moved - unmoved
        assert (more < 0.02 if "warm" in kind else more > 0.05) and moved > 0.9 > 0.8 < alone
        assert float(cells[3].strip("| ")) > 20


def test_several_old_recommenders_are_better_than_one_but_not_as_good_as_tuning():
    frame = transport.load_shared(MOVED).query("protocol == 'full'")
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


def test_one_step_of_the_generator_does_what_two_do():
    points = ablations.load_tables("point")
    own = points.query("method == 'generated' and guidance == 1 and name == 'anchors-10'")
    steps = own.groupby("steps")["regret_mean"].mean()
    assert abs(steps[1] - steps[2]) < 0.02


# That the numbers are those of the files: on copies that are changed.


@pytest.fixture
def results(tmp_path):
    for backbone in ("sasrec", "gru4rec"):
        copy(tmp_path, backbone)
    return tmp_path


HIDDEN = ["category_bias", "xquad", "dpp", "generated_xquad", "hypernetwork"]


def copy(results, backbone):
    folder = results / "ml-100k" / backbone
    folder.mkdir(parents=True)
    for name in ("metrics.json", "differences.json", "curve.csv"):
        shutil.copy(RESULTS / "ml-100k" / backbone / name, folder)
    # Rows that are in none of these tests unless they ask for them.
    for method in HIDDEN:
        for kind in ("metrics", "differences"):
            edit(folder / f"{kind}.json", lambda record, m=method: record.pop(m, None))
    curve = pd.read_csv(folder / "curve.csv")
    hidden = curve["method"].isin(HIDDEN)
    curve[~hidden].to_csv(folder / "curve.csv", index=False)


def edit(path, change):
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record))


def set_metric(results, method, name, value, backbone="sasrec"):
    path = results / "ml-100k" / backbone / "metrics.json"
    edit(path, lambda record: record[method].update({name: value}))


def set_gap(results, method, gap, p_value, backbone="sasrec"):
    """Set HV minus that of `generated`, over the whole catalogue."""
    half = 0.5 * abs(gap) if p_value < 0.05 else 2 * abs(gap)
    row = {"": gap, "_low": gap - half, "_high": gap + half, "_p": p_value, "_p_holm": p_value}
    row |= {"_seeds_low": gap - half, "_seeds_high": gap + half}
    named = {f"set_hv_full{end}": value for end, value in row.items()}
    path = results / "ml-100k" / backbone / "differences.json"
    edit(path, lambda record: record[method].update(named))


def add(results, method, like):
    """A new row in all files: a copy of another one."""
    for folder in (results / "ml-100k").iterdir():
        for kind in ("metrics", "differences"):
            edit(folder / f"{kind}.json", lambda r: r.update({method: dict(r[like])}))
        curve = pd.read_csv(folder / "curve.csv")
        rows = curve[curve["method"] == like].assign(method=method)
        pd.concat([curve, rows]).to_csv(folder / "curve.csv", index=False)


def change_losses(path, method, more, weights=(0, 1)):
    """Add to a method's losses at the weights between two values."""
    curve = pd.read_csv(path)
    losses = [name for name in curve if name.startswith("loss_")]
    rows = (curve["method"] == method) & curve["w_accuracy"].between(*weights, "neither")
    curve.loc[rows, losses] += more
    curve.to_csv(path, index=False)


NONE = ROOT / "none"  # reading the studies of drawn lists takes most of the time


def read(results, drawn=NONE):
    return findings.numbers(results, ABLATIONS, drawn)


def rendered(results, drawn=NONE):
    return findings.render_findings(results, ABLATIONS, drawn)


def test_who_is_ahead_is_named_first_with_what_is_beyond_chance(results):
    for backbone in ("sasrec", "gru4rec"):
        set_metric(results, "mmr", "set_hv_full", 0.9, backbone)
        set_gap(results, "mmr", 0.1, CHANCE, backbone)
    set_metric(results, "tuned", "set_hv_full", 2.0)  # no contender
    set_metric(results, "retrain", "set_hv_full", 2.0)
    assert read(results)["ahead"] == {"leaders": {"mmr": [*NAMES]}, "real": []}
    assert "**, by set HV: *MMR re-ranking* in 2 of 2 studies" in rendered(results)
    set_gap(results, "mmr", 0.1, REAL)
    set_metric(results, "soup", "set_hv_full", 1.0, "gru4rec")
    set_gap(results, "soup", 0.1, CHANCE, "gru4rec")
    found = read(results)["ahead"]
    assert found["leaders"] == {"soup": [NAMES[0]], "mmr": [NAMES[1]]}
    assert found["real"] == [NAMES[1]]
    set_metric(results, "generated", "set_hv_full", 1.5)
    assert list(read(results)["ahead"]["leaders"]) == ["soup", "generated"]


def test_a_method_is_ahead_or_behind_where_users_and_seeds_say_so(results):
    set_gap(results, "mmr", -0.2, REAL)
    set_gap(results, "mmr", 0.1, CHANCE, "gru4rec")
    found = read(results)["beside"]["mmr"]
    assert found["gap"] == [0.1, -0.2]
    assert found["ahead"] == {} and found["behind"] == {NAMES[1]: 0.2}
    assert "| `mmr` | 0, 1 |" in read(results)["table"]
    set_gap(results, "mmr", 0.1, REAL, "gru4rec")
    assert "| `mmr` | 1, 1 |" in read(results)["table"]


def test_the_table_is_ordered_by_hypervolume_and_shows_means(results):
    for backbone, value in (("sasrec", 3.0), ("gru4rec", 4.0)):
        set_metric(results, "constant", "set_hv_of_tuned_full", value, backbone)
        set_metric(results, "constant", "even_items_full", 100 * value, backbone)
        set_metric(results, "constant", "r_acc_full", None, backbone)
    first = read(results)["table"].splitlines()[2].strip("| ").split(" | ")
    assert first[0] == "`constant`" and first[2:4] == ["3.50", "–"] and first[7] == "350"
    assert first[8] == "100.0"  # its regret, by definition
    table = read(results)["table"]
    assert "`popularity`" not in table and "`nearest_noise`" not in table
    for backbone in ("sasrec", "gru4rec"):
        set_metric(results, "popularity", "set_hv_full", 9.0, backbone)
    assert "`popularity`" in read(results)["table"]  # who is ahead is in it


def test_ordinals_are_written_as_people_do():
    wanted = ["second", "11th", "13th", "21st", "22nd", "103rd", "112th"]
    assert [ordinal(n) for n in (2, 11, 13, 21, 22, 103, 112)] == wanted


def test_results_that_are_no_json_are_named(results):
    path = results / "ml-100k" / "sasrec" / "metrics.json"
    for content in (b"\xff", b"{"):
        path.write_bytes(content)
        with pytest.raises(ParagonError, match=r"metrics\.json cannot be read .*run `dvc repro`"):
            read(results)


def test_a_method_of_some_studies_is_shown_beside_generated_in_the_same(results):
    for backbone, value in (("sasrec", 0.6), ("gru4rec", 0.8)):
        set_metric(results, "generated", "r_div_full", value, backbone)
    edit(results / "ml-100k" / "gru4rec" / "metrics.json", lambda record: record.pop("rbf_log"))
    edit(results / "ml-100k" / "gru4rec" / "differences.json", lambda record: record.pop("rbf_log"))
    set_metric(results, "rbf_log", "r_div_full", 0.5)
    rows = [line.strip("| ").split(" | ") for line in read(results)["table"].splitlines()]
    cells = {row[0]: (row[1], row[4]) for row in rows}
    assert cells["`generated`"] == ("–", "0.70")
    assert cells["`rbf_log`"] == ("0, 0 of 1", "0.50 / 0.60")


def test_studies_of_the_same_data_and_backbone_count_once(results):
    more = results / "ml-100k-paper" / "sasrec"
    shutil.copytree(results / "ml-100k" / "sasrec", more)
    data = {"fingerprint": "abc", "split": "leave_one_out"}
    for name in ("ml-100k", "ml-100k-paper"):
        (results / name / "data.json").write_text(json.dumps({"dataset": name, **data}))
    curve = pd.read_csv(more / "curve.csv")
    more_seeds = pd.concat([curve, curve.assign(seed=curve["seed"] + 3)])
    more_seeds.to_csv(more / "curve.csv", index=False)
    assert set(read(results)["studies"]) == {NAMES[0], "ml-100k-paper, sasrec"}
    other = json.dumps({"dataset": "ml-100k-paper", **data, "split": "global_time"})
    (results / "ml-100k-paper" / "data.json").write_text(other)
    assert len(read(results)["studies"]) == 3


def test_control_is_told_of_the_whole_catalogue(results):
    for backbone, value in (("sasrec", 0.91), ("gru4rec", 0.83)):
        set_metric(results, "generated", "r_div_full", value, backbone)
        set_metric(results, "generated", "r_div_inner_full", value + 0.1, backbone)
        set_metric(results, "retrain", "r_acc_full", value, backbone)
    text = rendered(results)
    assert "r div 0.83 to 0.91." in text
    assert "| r acc |" in text and text.count("| 0.83 to 0.91 |") == 2
    curve = pd.read_csv(results / "ml-100k" / "sasrec" / "curve.csv")
    rows = curve.query("method == 'generated' and protocol == 'full' and w_accuracy == 0.5")
    shown = read(results)["control"]["table"].splitlines()[-1]
    assert shown.startswith("| α-nDCG@10 at weight 0.5 |")
    assert f"{rows['alpha_ndcg@10'].mean():.2f}" in shown.split(" | ")[1]


def test_drawn_lists_are_measured_from_their_curves(results, tmp_path):
    drawn = tmp_path / "before"
    for backbone in ("sasrec", "gru4rec"):
        shutil.copytree(DRAWN / "ml-100k" / backbone, drawn / "ml-100k" / backbone)
    path = drawn / "ml-100k" / "sasrec" / "curve.csv"
    curve = pd.read_csv(path)
    rows = (curve["method"] == "tuned") & (curve["protocol"] == "full")
    curve.loc[rows, "alpha_ndcg@10"] = 1 - curve.loc[rows, "w_accuracy"] / 4
    curve.to_csv(path, index=False)
    table = read(results, drawn)["control"]["table"]
    line = next(x for x in table.splitlines() if x.startswith("| r div |"))
    assert line.endswith(" to 1.00 |")  # a straight line
    shutil.rmtree(drawn / "ml-100k" / "sasrec")
    assert read(results, drawn)["control"]["drawn"] == [NAMES[0]]
    shutil.rmtree(drawn)
    assert "**Drawn lists.**" not in rendered(results, drawn)


def test_what_an_adapter_adds_to_a_bias_is_the_difference_from_the_other_side(results):
    assert "category_bias" not in rendered(results)
    add(results, "category_bias", "mmr")
    set_gap(results, "category_bias", -0.01, REAL)
    set_gap(results, "category_bias", -0.001, CHANCE, "gru4rec")
    found = read(results)["bias"]
    assert found["gains"][NAMES[1]] == "+0.0100 [+0.0050, +0.0150] \\*"
    assert found["gains"][NAMES[0]] == "+0.0010 [-0.0010, +0.0030]"
    curve = pd.read_csv(results / "ml-100k" / "sasrec" / "curve.csv")
    other = pd.read_csv(results / "ml-100k" / "gru4rec" / "curve.csv")
    query = "method == 'mmr' and protocol == 'full' and w_accuracy == 0"
    distance = np.mean([part.query(query)["ild@10"].mean() for part in (curve, other)])
    line = next(x for x in found["lists"].splitlines() if "`category_bias`, weight 0 " in x)
    assert line.split(" | ")[3] == f"{distance:.2f}"
    assert "Generated adapters are ahead of it in\n1 of 2 studies" in rendered(results)


def test_planted_data_count_only_where_they_are_named(results):
    add(results, "category_bias", "mmr")
    before = read(results)
    shutil.copytree(results / "ml-100k" / "sasrec", results / "planted" / "sasrec")
    edit(
        results / "planted" / "sasrec" / "metrics.json",
        lambda record: record["category_bias"].update(set_hv_of_tuned_full=0.432),
    )
    found = read(results)
    assert found["planted"]["of_tuned"] == [0.432] and [*found["planted"]["gains"]] == [
        "planted, sasrec"
    ]
    assert {**found, "planted": 0} == {**before, "planted": 0}
    assert "made-up data, one category an item, 43 %" in rendered(results)


def test_simpler_ways_reach_as_much_if_they_are_behind_nowhere(results):
    for backbone in ("sasrec", "gru4rec"):
        for method in ("interpolation_log", "rbf_log"):
            set_gap(results, method, -0.001, CHANCE, backbone)
            set_metric(results, method, "regret_mean_full", 0.03, backbone)
    assert set(read(results)["as_good"]) == {"interpolation_log", "rbf_log"}
    assert (
        "nowhere behind in set HV**: *interpolation, log-ratios* (2 studies), "
        "*thin-plate spline, log-ratios* (2)." in rendered(results)
    )
    set_gap(results, "rbf_log", -0.001, REAL)
    assert list(read(results)["as_good"]) == ["interpolation_log"]
    set_gap(results, "interpolation_log", -0.001, REAL)
    set_gap(results, "nearest", -0.001, REAL)
    assert read(results)["as_good"] == {}
    assert "**Simpler ways fall short**" in rendered(results)


def test_the_advice_holds_in_the_results():
    """Re-rankers lead; mixtures have as much, the nearest adapter loses no more, a network less."""
    found = findings.numbers(RESULTS, ABLATIONS, DRAWN)
    assert set(found["ahead"]["leaders"]) <= set(found["rerankers"])
    assert "nearest" in found["as_low"] and "interpolation_log" in found["as_good"]
    assert not found["simple"]["hypernetwork"]["more"]
    assert all(row["hypernetwork"] < row["generated"] for row in found["few"].values())


def test_the_backbone_alone_has_no_lower_task_loss_than_the_oracle():
    for folder in study_folders(RESULTS):
        curve = pd.read_csv(folder / "curve.csv").query("protocol == 'full'")
        loss = curve.assign(loss=task_loss(curve, ["accuracy", "diversity"]))
        loss = loss.pivot(index=["method", "w_accuracy"], columns="seed", values="loss")
        excess = loss.loc["tuned"] - loss.loc["backbone"]  # [weights, seeds]
        error = excess.std(axis=1) / np.sqrt(excess.shape[1])
        assert excess.shape[1] >= 3 and (excess.mean(axis=1) <= 2 * error + 1e-9).all(), folder


@pytest.mark.parametrize(("more", "low"), [(-0.2, True), (0.2, False)])
def test_the_nearest_adapter_is_named_where_its_regret_is_as_low(results, more, low):
    for backbone in ("sasrec", "gru4rec"):
        set_metric(results, "nearest", "regret_mean_full", more, backbone)
    assert ("nearest" in read(results)["as_low"]) == low
    assert ("**The nearest of ten tuned adapters**" in rendered(results)) == low


@pytest.mark.parametrize(("more", "side"), [(0.2, "more"), (-0.2, "less")])
def test_regret_is_compared_seed_by_seed(results, more, side):
    change_losses(results / "ml-100k" / "sasrec" / "curve.csv", "rbf_log", more)
    assert NAMES[1] in read(results)["simple"]["rbf_log"][side]


def test_the_published_generator_has_a_section_where_it_was_trained(results):
    assert "as published" not in rendered(results)
    add(results, "paragon", "interpolation_log")
    for backbone in ("sasrec", "gru4rec"):
        set_gap(results, "paragon", -0.02, REAL, backbone)
        set_metric(results, "paragon", "regret_mean_full", 0.456, backbone)
    timing = {"generate": {"p50": 0.002, "p99": 0.003}, "retrain": {"p50": 20.0}}
    timing |= {"pays_after": {"tune": 14, "retrain": 3}, "paragon": {"p50": 1.44}}
    path = results / "ml-100k" / "timing.json"
    path.write_text(json.dumps({"sasrec": timing, "gru4rec": timing | {"paragon": None}}))
    text = rendered(results).partition("## The generator as published")[2]
    assert "`paragon`, regret 45.6 %" in text and "Set HV, difference: -0.0200." in text
    assert "regret 45.6 % (studies: 2), 1.4 s an adapter" in rendered(results)
    assert "is ready in 2.0 ms" in rendered(results)
    assert "`paragon_no_cfg`, regret" not in text


def test_the_page_holds_for_one_study_and_without_some_rows(results):
    shutil.rmtree(results / "ml-100k" / "gru4rec")
    folder = results / "ml-100k" / "sasrec"
    curve = pd.read_csv(folder / "curve.csv")
    gone = ["retrain", "mmr", "nearest", "interpolation_log", "rbf_log"]
    curve[~curve["method"].isin(gone)].to_csv(folder / "curve.csv", index=False)
    for kind in ("metrics", "differences"):
        edit(folder / f"{kind}.json", lambda record: [record.pop(m, None) for m in gone])
    text = rendered(results)
    assert "ml-100k with sasrec; 3 seeds each" in text
    for title in ("Simpler ways", "Re-ranking", "Time", "A bias"):
        assert f"## {title}" not in text
    assert "{" not in text and "  \n" not in text


def test_times_are_those_of_the_slowest_study(results):
    timing = {"generate": {"p50": 0.002, "p99": 0.003}, "retrain": {"p50": 20.0}}
    timing["pays_after"] = {"tune": 14, "retrain": 3}
    fast = timing | {"generate": {"p50": 0.001, "p99": 0.004}}
    path = results / "ml-100k" / "timing.json"
    path.write_text(json.dumps({"sasrec": timing, "gru4rec": fast}))
    costs = read(results)["costs"]
    assert (costs["median"], costs["p99"]) == (0.002, 0.004)
    assert costs["saved"] == pytest.approx(0.9999)
    assert costs["pays_after"] == {"tune": 14, "retrain": 3}
    timing["pays_after"] = {"tune": None, "retrain": 3}
    path.write_text(json.dumps({"sasrec": timing}))
    assert read(results)["costs"]["pays_after"]["tune"] == np.inf


def test_what_is_undefined_is_named_with_its_reason(results):
    set_metric(results, "generated", "r_div_full", None)
    set_metric(results, "generated", "r_div_full_note", "constant")
    expected = r"ml-100k, sasrec: r_div_full of `generated` is undefined \(constant\)"
    with pytest.raises(ParagonError, match=expected):
        read(results)


def test_one_seed_is_no_ground_for_a_comparison_of_seeds(results):
    path = results / "ml-100k" / "gru4rec" / "curve.csv"
    curve = pd.read_csv(path)
    curve[curve["seed"] == 0].to_csv(path, index=False)
    with pytest.raises(ParagonError, match="ml-100k, gru4rec: one seed tells nothing from luck"):
        read(results)


def test_holms_correction_is_for_all_rows_of_a_comparison(results):
    studies = Studies(study_folders(results))
    name = "ml-100k, sasrec"
    pair = studies.regret_against_generated("soup").loc[name]
    alone = studies.only([name]).regret_against_generated("soup").loc[name]
    assert pair["difference"] == alone["difference"] and pair["p"] > alone["p"]


def test_the_re_rankers_that_were_measured_are_named(results):
    set_gap(results, "mmr", -0.0123, REAL)
    assert "Of the re-rankers (`mmr`) only `generated_xquad`" in rendered(results)


@pytest.fixture
def tables(tmp_path):
    """A copy of the committed tables of the ablations, to be changed."""
    return shutil.copytree(ABLATIONS, tmp_path / "results")


def change_table(tables, name, column, value, method="generated", **where):
    """Set ``column`` in the rows of a method, and of a way of sampling if one is given."""
    path = tables / f"{name}.csv"
    table = pd.read_csv(path)
    rows = table["method"] == method
    for key, wanted in where.items():
        rows &= table[key] == wanted
    assert rows.any()
    table.loc[rows, column] = value
    table.to_csv(path, index=False)


def test_numbers_are_those_of_the_ablations(tables):
    change_table(tables, "point-anchors-3", "regret_mean", 0.0678, steps=2)
    change_table(tables, "point-anchors-3-no-behaviour", "regret_mean", 0.512, steps=50)
    found = findings._ablations(tables)
    assert found["few"][3]["generated"] == pytest.approx(0.0678)
    assert found["no_behaviour"][3] == pytest.approx(0.512)


def test_a_single_change_that_the_seeds_show_is_named(tables):
    path = tables / "point-latent-4.csv"
    base = pd.read_csv(tables / "point-anchors-10.csv").query(
        "method == 'generated' and steps == 2"
    )
    base = base.drop_duplicates("seed").set_index("seed")["choice"]
    table = pd.read_csv(path)
    table["choice"] = table["seed"].map(base) + 0.01 + 0.0001 * table["seed"]
    table.to_csv(path, index=False)
    assert findings._ablations(tables)["changes"]["worse"] == ["latent coordinates: 4"]
    points, collections = (ablations.load_tables(k, tables) for k in ("point", "collection"))
    found = ablations.single_changes(collections, ablations.usual(points))
    assert found.loc["latent coordinates: 4", "change"] > 0
    table["choice"] -= 0.02
    table.to_csv(path, index=False)
    assert findings._ablations(tables)["changes"]["better"] == ["latent coordinates: 4"]


def test_numbers_are_written_as_spans_and_studies_by_dataset():
    assert span([0.5, 0.25], 1) == "0.2 to 0.5" and span([0.5], 2) == "0.50"
    assert percent(0.0213) == "2.1 %" and percent([0.5, 0.7], 0) == "50 to 70 %"
    assert signed([-0.0004, 0.2], 3) == "+0.000 to +0.200" and signed([0, 0], 1) == "+0.0"
    assert listed(["b, x", "a, z", "a, y"]) == "a with y, z; b with x" and listed([]) == "none"
