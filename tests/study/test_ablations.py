"""Ablations: collections made of others, what is measured on them, the plan itself."""

import dataclasses

import numpy as np
import pytest
import torch
import yaml

from paragon.adapters.adapter import AdapterForm, adapt
from paragon.adapters.collection import (
    collect,
    load_collection,
    save_collection,
)
from paragon.adapters.frozen import held_out_losses
from paragon.errors import ParagonError
from paragon.evaluation.methods import generated_best
from paragon.evaluation.protocol import Scores
from paragon.generator.training import train_generator
from paragon.metrics.control import set_hv
from paragon.params import ROOT
from paragon_study.ablations import stages as ablations
from paragon_study.ablations.alignment import matching, permute, pooled
from paragon_study.ablations.stages import (
    Bench,
    CollectionEntry,
    PointEntry,
    derive_collection,
    load_ablations,
    study_of,
    ways_of_sampling,
)
from paragon_study.pipeline.study import Study


@pytest.fixture(scope="module")
def bench(backbone, seqs, settings, collection):
    return Bench(Study("toy", "sasrec", settings), seqs, backbone, collection)


def test_a_part_of_a_tuning_is_that_part_tuned_alone(backbone, seqs, settings, collection):
    entry = CollectionEntry(of="x", anchors=[0.3, 1], snapshots=1)
    part = derive_collection(collection, entry)
    alone = settings.adapters.model_copy(update={"anchors": [0.3, 1.0], "snapshots": 1})
    tuned = collect(backbone, seqs, alone, [0, 1])
    assert torch.equal(part.anchors, tuned.anchors)
    for name in ("anchor_vectors", "snapshots", "oracle_vectors"):
        assert torch.allclose(getattr(part, name), getattr(tuned, name), atol=1e-5)


def test_anchors_that_were_not_tuned_are_named(collection):
    with pytest.raises(ParagonError, match=r"0\.31.*not all of them were tuned"):
        derive_collection(collection, CollectionEntry(of="x", anchors=[0.31, 1]))


def test_more_snapshots_than_were_stored_are_refused(collection):
    stored = collection.snapshots.shape[2]
    assert derive_collection(collection, CollectionEntry(of="x", snapshots=stored))
    with pytest.raises(ParagonError, match=f"snapshots: {stored + 2} .* {stored} were stored"):
        derive_collection(collection, CollectionEntry(of="x", snapshots=stored + 2))


def test_no_snapshots_is_a_collection_still(collection, settings, tmp_path):
    part = derive_collection(collection, CollectionEntry(of="x", snapshots=0))
    save_collection(part, tmp_path / "c")
    read = load_collection(tmp_path / "c")
    assert read.training_set(0)[0].shape[0] == len(collection.anchors)
    train_generator(read, settings.generator, 0)


def test_permuted_neurons_are_the_same_function_and_are_found_again(backbone, settings):
    form = AdapterForm(16, 6, 5)
    start = torch.randn(form.size, generator=torch.Generator().manual_seed(0))
    states = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    other = permute(start, order, form)
    assert not torch.allclose(start, other)
    same = [adapt(states, v.unsqueeze(0), form) for v in (start, other)]
    assert torch.allclose(*same, atol=1e-5)
    back = permute(other, matching(other, start, form), form)
    assert torch.equal(back, start)


def test_pooled_starts(collection):
    made = pooled(collection, aligned=False)
    seeds, anchors = len(collection.anchor_vectors), len(collection.anchors)
    assert made.anchors.shape[0] == seeds * anchors
    assert made.anchor_vectors.shape[:2] == (seeds, seeds * anchors)
    assert torch.equal(made.anchor_vectors[0], made.anchor_vectors[1])
    assert torch.equal(made.anchor_vectors[0][:anchors], collection.anchor_vectors[0])
    assert torch.equal(made.oracle_vectors, collection.oracle_vectors)


def test_aligned_starts_have_their_hidden_units_in_the_order_of_the_first(collection):
    """A second start that is the first with its units in a cycle of three comes back as it was."""
    form, order = AdapterForm(3, 3, 2), torch.tensor([2, 0, 1])  # not its own inverse
    first = torch.randn(1, 3, form.size, generator=torch.Generator().manual_seed(0))
    both = torch.cat([first, permute(first, order, form)])
    description = collection.description | {"form": dataclasses.asdict(form)}
    made = dataclasses.replace(
        collection,
        anchors=collection.anchors[:3],
        anchor_vectors=both,
        snapshots=both.unsqueeze(2),
        description=description,
    )
    aligned = pooled(made, True)
    assert torch.equal(aligned.anchor_vectors[0], torch.cat([first[0], first[0]]))
    assert torch.equal(aligned.snapshots[0, :, 0], torch.cat([first[0], first[0]]))
    assert torch.equal(pooled(made, False).anchor_vectors[0], torch.cat([*both]))


def test_rows_hold_the_measures_of_the_study(bench, collection, settings):
    tuned, constant = (bench.row(name, 0, way) for name, way in (
        ("tuned", None), ("constant", lambda w: bench.mixed("constant", 0, w)),
    ))  # fmt: skip
    assert tuned["set_hv_of_tuned"] == 1 and tuned["r_acc_tuned"] == pytest.approx(1)
    assert constant["range_ratio_acc"] == 0 and constant["r_acc"] is None
    valid, test, test_set = bench.held_out
    scores = [Scores.of_adapter(test, vector) for vector in collection.oracle_vectors[0]]
    points = [test_set.measure(one)[0]["full"] for one in scores]
    expected = set_hv(np.array([[p["ndcg@10"], p["alpha_ndcg@10"]] for p in points]))
    assert tuned["set_hv"] == pytest.approx(expected)
    assert tuned["choice"] is None
    middle = bench.mixed("constant", 0, bench.choices)
    losses = held_out_losses(valid, middle, settings.adapters.objectives)
    assert constant["choice"] == pytest.approx((losses * bench.choices).sum(-1).mean().item())


def test_every_way_of_sampling_is_measured(bench, collection, settings):
    entry = PointEntry(
        collection="c",
        variable="v",
        value=1,
        sampling=[{"guidance": 2}, {"samples": 8, "steps": 3}],
    )
    found = ways_of_sampling(settings.generator, entry)
    usual = found[0]
    assert usual == {"guidance": 1, "steps": 2, "samples": 1}
    assert [{k: v for k, v in way.items() if v != usual[k]} for way in found[1:]] == [
        {"guidance": 2}, {"samples": 8, "steps": 3},
    ]  # fmt: skip
    model = train_generator(collection, settings.generator, 0)
    way = {"guidance": 2.0, "steps": 3}
    found = generated_best(model, bench.choices, bench.held_out[0], samples=1, **way)
    assert torch.equal(found, model.generate(bench.choices, **way))


def test_equal_weights_are_averaged_before_interpolation():
    from paragon.adapters.mixtures import interpolation, rbf

    anchors = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.5, 0.5]])
    for method in (interpolation, rbf):
        mix = method(anchors, np.array([[0.5, 0.5], [0.0, 1.0]]))
        assert np.allclose(mix, [[0, 0.5, 0, 0.5], [1, 0, 0, 0]], atol=1e-9)


def test_the_plan_holds_together():
    plan = load_ablations()
    for name, entry in plan.collections.items():
        study = study_of(plan, entry.of)
        first = [a if isinstance(a, float) else a[0] for a in study.params.adapters.anchors]
        assert set(entry.anchors or []) <= set(first), name
    for name, entry in plan.points.items():
        of = plan.entry("collections", entry.collection).of
        study = study_of(plan, of, entry.change)
        assert study.params.run.seeds == plan.seeds and (entry.seeds or 1) <= len(plan.seeds), name
        assert entry.change.keys() <= {"generator"}, name  # a collection is not tuned again
    stages = yaml.safe_load((ROOT / "ablations" / "dvc.yaml").read_text())["stages"]
    assert stages.keys() == {"tune", "collection", "point", "notebook"}


def test_unknown_names_are_listed():
    plan = load_ablations()
    with pytest.raises(ParagonError, match="collections: 'x' is unknown; known: anchors-10"):
        plan.entry("collections", "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "params.yaml: not found"),
        ("seeds: [0", "params.yaml: not valid YAML"),
        ("seeds: [0]\nseeds: [1]", "the key 'seeds' is there twice"),
        ("[]", "a mapping of sections is needed"),
        ("sedes: [0]", "^ablations/params.yaml: sedes: Extra inputs are not permitted, found .0."),
    ],
)
def test_a_plan_is_read_as_params_yaml_is(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(ablations, "ROOT", tmp_path)
    if text is not None:
        (tmp_path / "ablations").mkdir()
        (tmp_path / "ablations" / "params.yaml").write_text(text)
    with pytest.raises(ParagonError, match=message):
        load_ablations()
