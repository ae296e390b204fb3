"""A method of one's own beside recorded results."""

from types import SimpleNamespace

import pytest

from paragon.evaluation.evaluate import evaluate
from paragon.evaluation.methods import METHODS, Method
from paragon_study.checking.own_method import beside_tables, measure_beside

pytestmark = pytest.mark.slow


def test_a_method_is_a_row_beside_those_that_were_recorded(
    toy_study, settings, tmp_path, monkeypatch
):
    own = settings.evaluation.model_copy(update={"resamples": 1200})
    evaluate(toy_study, own).write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    params = SimpleNamespace(evaluation=own)
    study = SimpleNamespace(results=tmp_path, params=params, load_trained=lambda: toy_study)
    mine = Method("mixture", mixture=METHODS["soup"].mixture)
    monkeypatch.setitem(METHODS, "mine", mine)  # as it is entered, but taken back after the test
    results = measure_beside(study, "mine", mine)
    assert results.summary["mine"]["set_hv_full"] == results.summary["soup"]["set_hv_full"]
    tables = beside_tables(results, "mine", own.shares)
    assert "| mine |" in tables and all(f"{100 * share:g} %" in tables for share in own.shares)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
