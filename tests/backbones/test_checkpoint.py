"""Training that was interrupted goes on bit for bit, or says why it cannot."""

import pytest
import torch

from paragon.backbones import BACKBONES, load_backbone, save_backbone, train_backbone, training
from paragon.backbones.training import Training
from paragon.data.split import prepare
from paragon.rivals.retrain import Retraining, retrain
from tests.conftest import refused, same_parameters, small


def count_epochs(patch, kind, until=99):
    """Count epochs; after ``until``, end as if the process had been killed in the next one."""
    epoch, done = kind.epoch, []

    def counted(self, rng):
        if len(done) == until:
            rng.random(3), torch.rand(3)  # an epoch that came to nothing
            raise KeyboardInterrupt
        done.append(1)
        return epoch(self, rng)

    patch.setattr(kind, "epoch", counted)
    return done


def interrupted(monkeypatch, kind, after, train):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_epochs(patch, kind, after)
        train()


@pytest.fixture
def run():
    """Few epochs; the first is the best, so training stops before the last."""
    changes = {"epochs": 7, "learning_rate": 0.05, "patience": 4, "dropout": 0.3}
    return small(backbones=changes).backbones


@pytest.mark.parametrize("name", list(BACKBONES))
def test_a_backbone_learns_goes_on_bit_for_bit_and_is_stored(
    name, seqs, run, dataset, tmp_path, monkeypatch
):
    whole, fitted = train_backbone(name, seqs, run)
    assert fitted.training[-1] < fitted.training[0] - 0.02
    path = tmp_path / "backbone.safetensors"
    interrupted(monkeypatch, Training, 2, lambda: train_backbone(name, seqs, run, "cpu", path))
    torch.manual_seed(99), torch.rand(7)  # whatever ran in between
    done = count_epochs(monkeypatch, Training)
    for _ in range(2):  # what is finished is not trained again
        model, again = train_backbone(name, seqs, run, "cpu", path)
        assert same_parameters(model, whole) and again == fitted and len(done) == fitted.epochs - 2
    save_backbone(model, seqs, run, fitted, stem := tmp_path / "stored")
    loaded, description = load_backbone(stem, seqs)
    assert same_parameters(loaded, whole) and description["backbone"] == name
    refused("`seed`", load_backbone, stem, prepare(dataset, negatives=50, seed=1))


def test_retraining_goes_on_bit_for_bit(seqs, tmp_path, monkeypatch):
    own = small(rivals={"epochs": 3})

    def train(*checkpoint):
        return retrain("sasrec", seqs, own, torch.tensor([0.5, 0.5]), 1, *checkpoint)

    kept = "cpu", tmp_path / "retrain.safetensors"
    whole, fitted = train()
    interrupted(monkeypatch, Retraining, 1, lambda: train(*kept))
    done = count_epochs(monkeypatch, Retraining)
    model, again = train(*kept)
    assert same_parameters(model, whole) and again == fitted and len(done) == fitted.epochs - 1


def test_a_checkpoint_that_was_altered_or_is_of_another_training_is_refused(
    seqs, run, tmp_path, monkeypatch
):
    path = tmp_path / "kept" / "backbone.safetensors"

    def train(**changes):
        return train_backbone("gru4rec", seqs, run.model_copy(update=changes), "cpu", path)

    interrupted(monkeypatch, Training, 2, train)
    whole = path.read_bytes()
    refused((str(path), "learning_rate"), train, learning_rate=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(training, "_code", lambda: "0" * 64)
        refused((str(path), "`code`"), train)
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in (whole.index(b"gru4rec"), header, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refused(str(path), train)
    for content in (b"", b"no tensors", whole[:-9]):
        path.write_bytes(content)
        refused(str(path), train)
        assert path.read_bytes() == content
