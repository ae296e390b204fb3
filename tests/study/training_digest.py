"""Train a little of everything and print a digest of each, for test_determinism.py.

A program of its own: the kernels have to be chosen before NumPy and torch are loaded.
"""

import os

from paragon_study.pipeline.determinism import STAGE, choose_kernels

choose_kernels()
os.environ.update(STAGE)

import hashlib

import torch
from torch.nn import functional as F

from paragon.adapters.collection import collect
from paragon.adapters.frozen import frozen_events
from paragon.adapters.mixtures import interpolation
from paragon.backbones import BACKBONES, train_backbone
from paragon.data.split import prepare
from paragon.generator.training import losses_on, train_generator
from paragon.objectives.kernels import matmul
from paragon.params import load_params
from paragon.rivals.end_to_end import train_end_to_end
from tests.conftest import SMALL, toy_dataset


def show(name, *tensors):
    """Print the digest of the bytes of tensors."""
    data = b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in tensors)
    print(name, hashlib.sha256(data).hexdigest()[:8])


def functions():
    """What training takes of MKL, OpenBLAS and torch: so many that a rare last digit shows."""
    draw = torch.Generator().manual_seed(0)
    share, any_sign = (make(200_000, generator=draw) for make in (torch.rand, torch.randn))
    rows = 4 * any_sign.view(-1, 100)
    wide, tall = any_sign[:170_000].view(100, -1), share[:170_000].view(-1, 100)
    return [
        *(f(share + 1e-3) for f in (torch.log, torch.log1p)),
        *(f(4 * any_sign) for f in (torch.exp, torch.sigmoid, torch.tanh, F.silu, F.softplus)),
        *(f(500 * share) for f in (torch.sin, torch.cos)),
        *(matmul(wide, tall), matmul(tall, wide)),
        *(rows.softmax(-1), rows.log_softmax(-1), F.layer_norm(rows, (100,))),
    ]


def main():
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(1)
    show("functions", *functions())
    settings, seqs = load_params(overrides=SMALL), prepare(toy_dataset(), negatives=50)
    own = settings.adapters
    trained = {n: train_backbone(n, seqs, settings.backbones, "cpu")[0] for n in BACKBONES}
    for name, model in trained.items():
        show(name, *model.state_dict().values())
    backbone = trained["sasrec"]
    collection = collect(backbone, seqs, own, settings.run.seeds)
    show("collection", collection.snapshots, collection.validation)
    mix = interpolation(collection.anchors.double().numpy(), collection.oracles.numpy())
    show("interpolation", torch.from_numpy(mix))
    train, valid = (frozen_events(backbone, seqs, part, own) for part in ("train", "valid"))
    losses = losses_on(train, own.objectives, settings.generator.task_rows)
    for name in ("paragon", "generated"):
        generator = train_generator(collection, settings.of_generator(name), 0, valid, losses, name)
        show(name, generator.generate(collection.oracles))
    rival = train_end_to_end("hypernetwork", train, settings, 0)
    show("hypernetwork", rival.generate(collection.oracles))


if __name__ == "__main__":
    main()
