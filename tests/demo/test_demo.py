"""The bundle of the demo, and its page in a real browser: it shows what the package says."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from paragon.data.fetch import load_dataset
from paragon.data.split import prepare
from paragon.evaluation.methods import all_rows, named
from paragon.evaluation.protocol import measure_rows
from paragon.generator.generator import Generator
from paragon.generator.training import untrained
from paragon.params import DATA, RESULTS, ROOT, load_params
from paragon.storage import save_tensors
from paragon_study.command_line import app
from paragon_study.demo.of_study import renew_bundle, write_page
from paragon_study.demo.page import (
    METHODS,
    Rankings,
    build_page,
    load_bundle,
    make_bundle,
    measured_again,
    study_tensors,
)
from paragon_study.pipeline.study import Study, open_study
from tests.conftest import refused, trained_study
from tests.demo.browser import Browser

pytestmark = pytest.mark.slow

STEM = ROOT / "docs" / "demo" / "ml-100k-sasrec"


@pytest.fixture(scope="session")
def sequences():
    if not (DATA / "ml-100k" / "ml-100k.inter").exists():
        pytest.skip("data/ml-100k is missing: run `python -m paragon fetch ml-100k`")
    rules = load_params(study="ml-100k").data
    return prepare(load_dataset("ml-100k", DATA), **rules.model_dump())


@pytest.fixture(scope="session")
def bundle(sequences):
    """The committed one."""
    return load_bundle(STEM, sequences, "demo --renew")


@pytest.fixture(scope="session")
def lists(bundle, sequences):
    """The lists of the package."""
    return Rankings(bundle, sequences)


@pytest.fixture(scope="session")
def address(bundle, sequences, tmp_path_factory):
    """The built page, as a file."""
    path = tmp_path_factory.mktemp("demo") / "demo.html"
    path.write_text(build_page(bundle, sequences), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(browser, address):
    """The page, newly opened in a window of a desk."""
    size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.send("Emulation.setDeviceMetricsOverride", **size)
    browser.events.clear()
    browser.send("Page.navigate", url="about:blank")
    browser.open(address.as_uri(), "window.paragon")
    return browser


# --- the bundle


def test_the_committed_one_is_small_holds_no_raw_data_and_has_the_points_of_the_results(
    bundle, sequences
):
    files = [STEM.with_suffix(ending) for ending in (".json", ".safetensors")]
    assert sum(path.stat().st_size for path in files) <= 5.5e6
    assert all(tensor.is_floating_point() for tensor in bundle.tensors.values())
    text = files[0].read_text()
    assert not any(f'"{title}"' in text for title in sequences.titles)
    curve = pd.read_csv(RESULTS / "ml-100k" / "sasrec" / "curve.csv")
    for method in METHODS:
        rows = curve.query("method == @method and protocol == 'full' and seed == 0")
        steps = (100 * rows["w_accuracy"]).round().astype(int).tolist()
        points = bundle.tensors[f"front.{method}"][steps]
        assert len(points) == 11
        recorded = rows[["ndcg@10", "alpha_ndcg@10"]].to_numpy()
        assert np.allclose(points[:, :2], recorded, atol=2e-5), method


def test_its_lists_are_measured_again_beside_the_recorded_ones(toy_bundle, toy_study):
    seqs = toy_study.test_set.sequences
    curve = measure_rows(toy_study.test_set, all_rows(toy_study, named([*METHODS, "tuned"])))[0]
    table = measured_again(toy_bundle, seqs, curve)
    assert set(table["method"]) == {*METHODS}
    assert np.allclose(table.iloc[:, -4:-2], table.iloc[:, -2:], atol=1e-6)
    noise = {"generator.latent.mean": toy_bundle.tensors["generator.latent.mean"] + 1}
    other = replace(toy_bundle, tensors=toy_bundle.tensors | noise)
    table = measured_again(other, seqs, curve).set_index("method")
    assert not np.allclose(table.iloc[:, -4:-2], table.iloc[:, -2:], atol=1e-3)
    assert np.allclose(*np.split(table.loc["xquad"].iloc[:, -4:], 2, axis=1), atol=1e-6)


def test_it_is_what_the_pipeline_made(bundle):
    study = open_study("ml-100k", "sasrec", checked=False)
    if not (study.folder / "rivals" / "category_bias.json").exists():
        pytest.skip("the study was not run here: `dvc repro`")
    trained = study.load_trained()
    generator = trained.generators["generated"][0]
    if generator.description["sha256"] != bundle.description["made_from"]["generator"]:
        pytest.skip("the study was trained anew here, with other bytes than the recorded ones")
    tensors, description = study_tensors(trained)
    assert description == {k: v for k, v in bundle.description.items() if k != "sha256"}
    for name, tensor in tensors.items():
        assert torch.allclose(tensor, bundle.tensors[name], atol=1e-5), name


@pytest.fixture(scope="module")
def toy_bundle(toy_study):
    return make_bundle(toy_study)


def test_between_two_tuned_weights_a_bias_is_on_their_line(toy_bundle):
    tuned, at = np.array(toy_bundle.description["biases"])[:, 0], np.arange(101) / 100
    lines = [np.interp(at, tuned, of_category) for of_category in toy_bundle.tensors["bias"].T]
    assert np.allclose(toy_bundle.biases.T, lines, atol=1e-6)


def test_another_study_has_a_bundle_with_the_same_bytes_twice_and_a_page(
    toy_study, toy_bundle, tmp_path, browser
):
    seqs, stems = toy_study.test_set.sequences, [tmp_path / "one", tmp_path / "two"]
    for stem, bundle in zip(stems, (toy_bundle, make_bundle(toy_study)), strict=True):
        save_tensors(stem, bundle.tensors, bundle.description)
    for ending in (".json", ".safetensors"):
        one, two = (stem.with_suffix(ending).read_bytes() for stem in stems)
        assert one == two
    page = build_page(load_bundle(stems[0], seqs, "demo --renew"), seqs)
    assert all(title in page for title in seqs.titles)
    strange = replace(seqs, titles=["</script><b>"] * seqs.n_items)  # titles are only text
    assert "</script><b>" not in build_page(toy_bundle, strange)
    (tmp_path / "toy.html").write_text(page, encoding="utf-8")
    browser.open((tmp_path / "toy.html").as_uri(), "window.paragon")
    lists = Rankings(toy_bundle, seqs)
    for method in METHODS:
        script = f"data.users.map((_, user) => recommender.list(user, '{method}', 25).items)"
        assert (np.array(browser.run(script)) == lists.top(method, 25)).mean() > 0.99, method


@pytest.mark.parametrize("guidance", [0, 1, 2.5])
def test_adapters_are_those_of_the_package_with_any_guidance(
    toy_bundle, seqs, tmp_path, browser, guidance
):
    about = toy_bundle.description["generator"] | {"guidance": guidance}
    bundle = replace(toy_bundle, description=toy_bundle.description | {"generator": about})
    (tmp_path / "guided.html").write_text(build_page(bundle, seqs), encoding="utf-8")
    browser.open((tmp_path / "guided.html").as_uri(), "window.paragon")
    for row in (0, 35, 100):
        found = browser.run(f"[...recommender.vector('generated', {row})]")
        expected = bundle.generator.generate(bundle.dials[row] / bundle.steps)[0]
        assert np.allclose(found, expected, atol=1e-6)


def test_three_objectives_have_three_dials(seqs, backbone, settings, tmp_path, browser):
    anchors = [[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]]
    three = {"objectives": ["accuracy", "diversity", "novelty"], "anchors": anchors, "oracles": 2}
    three["start"] = [0.15, 0.5, 0.35]
    adapters = settings.adapters.model_copy(update=three)
    trained = trained_study(seqs, backbone, settings.model_copy(update={"adapters": adapters}))
    bundle = make_bundle(trained)
    lists, row = Rankings(bundle, seqs), int((bundle.dials == [8, 7, 5]).all(1).argmax())
    (tmp_path / "three.html").write_text(build_page(bundle, seqs), encoding="utf-8")
    browser.open((tmp_path / "three.html").as_uri(), "window.paragon")
    for method in METHODS:
        script = f"data.users.map((_, user) => recommender.list(user, '{method}', {row}).items)"
        assert (np.array(browser.run(script)) == lists.top(method, row)).mean() > 0.99, method
    curve = measure_rows(trained.test_set, all_rows(trained, named([*METHODS, "tuned"])))[0]
    table = measured_again(bundle, seqs, curve)  # the corners, and the middles between two
    assert len(table) == 6 * len(METHODS)
    assert np.allclose(table.iloc[:, -6:-3], table.iloc[:, -3:], atol=1e-6)
    # One dial moves: the others share the rest as they were set, also when they had nothing left.
    browser.run(f"choose({{ step: {row} }}); wished.splice(0, 3, ...data.dials[{row}])")
    for value, expected in ((20, [20, 0, 0]), (3, [3, 10, 7]), (8, [8, 7, 5])):
        browser.run(f"dials[0].value = {value}; dials[0].dispatchEvent(new Event('input'))")
        assert browser.run("[data.dials[chosen.step], dials.map(d => +d.value)]") == [expected] * 2
    address = "new Promise(done => setTimeout(() => done(location.hash), 400))"
    assert browser.run(address).endswith("&accuracy=0.4&diversity=0.35")
    words = browser.run("document.getElementById('point').textContent")
    assert f"{bundle.tensors['front.generated'][row, 2]:.3f}" in words and "novelty@10" in words


def test_what_is_wrong_is_said(toy_study, toy_bundle, tmp_path):
    seqs = toy_study.test_set.sequences
    refused(("none", "demo --renew"), load_bundle, tmp_path / "none", seqs, "demo --renew")
    save_tensors(tmp_path / "toy", toy_bundle.tensors, toy_bundle.description)
    other = replace(seqs, description=seqs.description | {"fingerprint": "other"})
    refused("fingerprint", load_bundle, tmp_path / "toy", other, "demo --renew")
    generator, collection = toy_study.generators["generated"][0], toy_study.collection
    for change in ({"predicts": "velocity"}, {"network": "transformer"}):
        model = untrained(collection, generator.settings.model_copy(update=change), seed=0)
        others = {"generated": [Generator(model, generator.description)]}
        refused(*change.values(), make_bundle, replace(toy_study, generators=others))


def test_what_has_to_be_run_before_is_named(sequences, tmp_path):
    shop = Study("shop", "sasrec", load_params())
    refused(("generator@shop-sasrec", "rivals@shop-sasrec"), renew_bundle, shop)
    assert "rivals@" in CliRunner().invoke(app, ["demo", "--help"]).output
    other = Study("ml-100k", "deepfm", load_params(study="ml-100k"))
    command = "demo --study ml-100k --backbone deepfm --renew"
    refused(command, write_page, other, tmp_path / "demo.html")


def test_the_command_builds_the_page_without_any_training(sequences, tmp_path):
    page = tmp_path / "demo.html"
    chosen = ["--study", "ml-100k", "--backbone", "sasrec", "--output", str(page), "--no-show"]
    done = CliRunner().invoke(app, ["demo", *chosen])
    assert str(page) in done.output and 1e6 < page.stat().st_size <= 8e6


# --- the page


STEPS = {"generated": (0, 10, 50, 65, 100), "backbone": [0]}
# All lists of a method at a step, as one string: users apart by ";", items by ",".
ALL = """(vector => data.users.map((_, user) =>
    recommender.ordered(user, '{0}', {1}, vector)).join(';'))(recommender.vector('{0}', {1}))"""


@pytest.mark.parametrize("method", METHODS)
def test_lists_are_those_of_the_package_for_every_user(page, lists, method):
    """But for ties: where two differ, the scores of both items are equal."""
    for step in STEPS.get(method, (33, 90)):
        text = page.run(ALL.format(method, step))
        found = np.array([[int(item) for item in line.split(",")] for line in text.split(";")])
        expected = lists.top(method, step)  # [N, 10]
        differ = found != expected
        if method in ("generated", "category_bias", "backbone"):
            scores = lists.scored(method, step).astype(float)  # [N, n + 1]
            apart = np.take_along_axis(scores, found, 1) - np.take_along_axis(scores, expected, 1)
            assert np.abs(apart[differ]).max(initial=0) < 1e-4 and differ.mean() < 1e-3
        else:  # a rule that looks at the items above: a tie would change all that follows
            assert differ.any(1).mean() < 2e-3


def shown(page):
    """The ten items that are seen on the left."""
    return page.run("[...document.querySelectorAll('#now li')].map(e => Number(e.dataset.item))")


def test_everything_can_be_done_with_the_keyboard(page, lists, sequences):
    page.run("choose({ user: 0 }); document.querySelector('.weight input').focus()")
    page.key("End", 35)
    assert page.run("chosen.step") == 100 and shown(page) == lists.top("generated", 100)[0].tolist()
    page.key("ArrowLeft", 37)
    assert page.run("chosen.step") == 99
    page.key("Home", 36)
    assert shown(page) == lists.top("generated", 0)[0].tolist()
    later = "new Promise(done => setTimeout(() => done(location.hash), 400))"
    assert page.run(later).endswith("&method=generated&accuracy=0")
    page.run("document.querySelector('#methods input:checked').focus()")
    for _ in range(2):
        page.key("ArrowRight", 39)
    assert page.run("chosen.method") == "xquad"
    assert shown(page) == lists.top("xquad", 0)[0].tolist()
    page.run("document.getElementById('user').focus()")
    page.key("ArrowDown", 40)
    user = page.run("chosen.user")
    assert sequences.user_ids[user] == "197"  # after 196
    assert shown(page) == lists.top("xquad", 0)[user].tolist()


def test_changes_are_marked_and_the_point_is_where_the_study_measured(page, lists, bundle):
    page.run("choose({ user: 0, step: 65 })")
    old, new = lists.top("backbone", 65)[0], lists.top("generated", 65)[0]
    fresh = sum(item not in old for item in new)
    assert fresh > 0
    assert page.run("document.querySelectorAll('#now .in').length") == fresh
    assert page.run("document.querySelectorAll('#before .out').length") == fresh
    assert page.run("document.getElementById('summary').textContent").startswith(f"{fresh} ")
    page.run("choose({ method: 'xquad', step: 40 })")
    accuracy, diversity, *errors = bundle.tensors["front.xquad"][40].tolist()
    words = page.run("document.getElementById('point').textContent")
    for value, error in ((accuracy, errors[0]), (diversity, errors[1])):
        assert f"{value:.3f} ± {1.96 * error:.3f}" in words
    x = page.run("front.here.getAttribute('cx')")
    assert float(x) == pytest.approx(page.run(f"front.x({accuracy})"))


def test_it_opens_where_the_list_with_weights_has_clearly_more_categories(page, lists, sequences):
    user, step = page.run("[chosen.user, chosen.step]")
    assert lists.weights[step].tolist() == [0.5, 0.5]
    new, old = (lists.top(method, step).tolist() for method in ("generated", "backbone"))
    diverse = lists.top("generated", 0).tolist()
    sets = [set(np.flatnonzero(row)) for row in sequences.categories]
    gains = {
        row: len(set().union(*(sets[i] for i in new[row])))
        - len(set().union(*(sets[i] for i in old[row])))
        for row, target in enumerate(sequences.test.targets)
        if target in new[row] and target in old[row] and target not in diverse[row]
    }
    assert user == max(gains, key=gains.get)  # of equal ones, the first
    counts = "[...document.querySelectorAll('.cells')].map(e => e.querySelectorAll('.has').length)"
    now, before = page.run(counts)
    assert now - before == gains[user] and now >= 1.5 * before


@pytest.mark.parametrize("width", [360, 390, 820, 1280])
def test_both_lists_stand_side_by_side_on_every_screen(page, width):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 720}
    page.send("Emulation.setDeviceMetricsOverride", **size)
    place = "[...document.querySelectorAll('#now, #before')].map(e => e.getBoundingClientRect())"
    now, before = page.run(f"{place}.map(r => [r.left, r.right, r.top])")
    assert now[2] == before[2] and now[1] < before[0] and before[1] <= width
    assert page.run("document.documentElement.scrollWidth") == width


def test_it_is_quick_and_small_and_alone(page, address):
    assert address.stat().st_size <= 8e6
    assert page.run("paragon.ready") < 2000  # milliseconds after the page was asked for
    changes = (
        "durations.length = 0; for (let i = 0; i < 60; i++)"
        " choose({ step: (37 * i) % 101, user: (13 * i) % data.users.length }); durations"
    )
    # One round of several: other programs may keep the processor busy for a while.
    assert any(np.percentile(page.run(changes), 95) < 50 for _ in range(6))
    asked = [event["request"]["url"] for event in page.happened("Network.requestWillBeSent")]
    assert [url for url in asked if url != "about:blank"] == [address.as_uri()]
    assert page.happened("Runtime.exceptionThrown", "Log.entryAdded") == []
    # Nor could it ask for anything: the page itself forbids it.
    refused = "fetch('https://example.org').then(() => 'sent', () => 'refused')"
    assert page.run(refused) == "refused"
