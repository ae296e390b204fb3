"""Training that was interrupted goes on bit for bit, or says why it cannot."""

import pytest
import torch

from paragon.backbones import BACKBONES, checkpoint, train_backbone
from paragon.backbones.training import Training
from paragon.errors import ParagonError
from paragon.rivals.retrain import Retraining, retrain


def interrupted(monkeypatch, kind, after, train):
    """Run ``train`` up to an epoch, as if its process had been killed in the next one."""
    epoch, done = kind.epoch, []

    def counted(self, rng):
        if len(done) == after:
            rng.random(3), torch.rand(3)  # an epoch that came to nothing
            raise KeyboardInterrupt
        done.append(1)
        return epoch(self, rng)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "epoch", counted)
        with pytest.raises(KeyboardInterrupt):
            train()


def count_epochs(monkeypatch, kind):
    done, epoch = [], kind.epoch
    monkeypatch.setattr(kind, "epoch", lambda self, rng: done.append(1) or epoch(self, rng))
    return done


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


@pytest.fixture
def run(settings):
    """Few epochs; the first is the best, so training stops before the last."""
    changes = {"epochs": 7, "learning_rate": 0.05, "patience": 4, "dropout": 0.3}
    return settings.backbones.model_copy(update=changes)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_a_backbone_goes_on_bit_for_bit(name, seqs, run, tmp_path, monkeypatch):
    whole, fitted = train_backbone(name, seqs, run)
    path = tmp_path / "backbone.safetensors"
    interrupted(monkeypatch, Training, 2, lambda: train_backbone(name, seqs, run, "cpu", path))
    interrupted(monkeypatch, Training, 1, lambda: train_backbone(name, seqs, run, "cpu", path))
    torch.manual_seed(99), torch.rand(7)  # whatever ran in between
    done = count_epochs(monkeypatch, Training)
    for _ in range(2):  # what is finished is not trained again
        model, again = train_backbone(name, seqs, run, "cpu", path)
        assert same(model, whole) and again == fitted
        assert len(done) == fitted.epochs - 3


def test_retraining_goes_on_bit_for_bit(seqs, settings, tmp_path, monkeypatch):
    limits = settings.rivals.model_copy(update={"epochs": 3})
    own, weights = settings.model_copy(update={"rivals": limits}), torch.tensor([0.5, 0.5])
    whole, fitted = retrain("sasrec", seqs, own, weights, 1)

    def train():
        return retrain("sasrec", seqs, own, weights, 1, "cpu", tmp_path / "retrain.safetensors")

    interrupted(monkeypatch, Retraining, 1, train)
    done = count_epochs(monkeypatch, Retraining)
    model, again = train()
    assert same(model.backbone, whole.backbone) and same(model.adapter, whole.adapter)
    assert again == fitted and len(done) == fitted.epochs - 1


@pytest.fixture
def stored(seqs, run, tmp_path, monkeypatch):
    """A checkpoint, and what goes on from it with other settings."""
    path = tmp_path / "kept" / "backbone.safetensors"

    def train(**changes):
        return train_backbone("gru4rec", seqs, run.model_copy(update=changes), "cpu", path)

    interrupted(monkeypatch, Training, 2, train)
    return path, train


def test_a_checkpoint_of_other_settings_or_code_is_refused(stored, monkeypatch):
    path, train = stored
    with pytest.raises(ParagonError, match="cannot go on.*learning_rate.*delete the folder .*kept"):
        train(learning_rate=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_code", lambda: "0" * 64)
        with pytest.raises(ParagonError, match="cannot go on.*`code` differs"):
            train()
    path.unlink()
    train(learning_rate=0.01)


def test_an_altered_checkpoint_is_refused(stored):
    path, train = stored
    whole = path.read_bytes()
    size = 8 + int.from_bytes(whole[:8], "little")  # of the header
    for place in (whole.index(b"gru4rec"), size, len(whole) - 1):
        altered = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        path.write_bytes(altered)
        with pytest.raises(ParagonError, match="its checksum is wrong.*delete the folder"):
            train()
        assert path.read_bytes() == altered
    for content in (b"", b"no tensors", whole[:-9], whole[: size // 2]):
        path.write_bytes(content)
        with pytest.raises(ParagonError, match="cannot be read.*delete the folder"):
            train()
    path.write_bytes(whole)
    train()
