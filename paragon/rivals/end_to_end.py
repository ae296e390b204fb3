"""Rivals that learn the way from weights to adapters end to end, without a collection.

Both are modules ``model(weights [B, O]) -> adapter vectors [B, P]``, trained on the task
loss of random weights on the frozen backbone: no adapter is ever tuned for them.

* :class:`Hypernetwork`: a network puts out the adapter (Navon et al., "Learning the
  Pareto Front with Hypernetworks", ICLR 2021, with linear scalarisation).
* :class:`LinearSubspace`: one adapter an objective, mixed in proportion to the weights,
  and trained so that every mixture is good (Dimitriadis et al., "Pareto Manifold
  Learning", ICML 2023).

They are given as many lists as the collection and the generator's behavioural loss
together (:func:`equal_steps`): at equal cost, is a collection worth having?
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paragon import params
from paragon.adapters.adapter import initial_vector
from paragon.adapters.frozen import FrozenTask
from paragon.data.negatives import NegativeSampler
from paragon.generator.denoiser import WeightEmbedding, feed_forward
from paragon.generator.training import stretches
from paragon.objectives.weights import check_weights, lift, simplex_weights
from paragon.progress import progress
from paragon.storage import check_match, load_tensors, save_tensors


class Hypernetwork(nn.Module):
    """Weights, embedded as in the generator, through residual layers to a vector.

    The last layer starts at zero: training begins from ``start [P]``, the shared start of
    the seed's collection, for all weights.
    """

    def __init__(self, start: Tensor, objectives: int, settings: params.RivalSettings) -> None:
        super().__init__()
        width = settings.width
        self.register_buffer("start", start)
        self.embed = WeightEmbedding(objectives, width, separate=False)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(settings.blocks + 1))
        self.blocks = nn.ModuleList(feed_forward(width) for _ in range(settings.blocks))
        self.leave = nn.Linear(width, len(start))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, weights: Tensor) -> Tensor:
        """Adapter vectors ``[B, P]``."""
        keep = torch.zeros(len(weights), dtype=torch.bool, device=weights.device)
        h = self.embed(weights, keep).squeeze(1)
        for norm, block in zip(self.norms, self.blocks, strict=False):
            h = h + block(norm(h))
        return self.start + self.leave(self.norms[-1](h))


class LinearSubspace(nn.Module):
    """``sum_o w_o * endpoint_o``, with ``endpoints [O, P]`` that are trained together."""

    def __init__(self, start: Tensor, objectives: int, settings: params.RivalSettings) -> None:
        super().__init__()
        self.endpoints = nn.Parameter(start.repeat(objectives, 1))

    def forward(self, weights: Tensor) -> Tensor:
        """Adapter vectors ``[B, P]``."""
        return weights @ self.endpoints


END_TO_END: dict[str, type[nn.Module]] = {
    "hypernetwork": Hypernetwork,
    "linear_subspace": LinearSubspace,
}


def equal_steps(settings: params.Params) -> int:
    """Training steps that see as many lists as the generator's whole way took, for one seed.

    Counted are pairs of an adapter and a list: those of the anchors' tuning and those of
    the behavioural loss.  (Oracles are not counted: they serve the evaluation alone.)
    """
    a, d, r = settings.adapters, settings.generator, settings.rivals
    tuning = len(a.anchors) * a.steps * a.batch
    behaviour = d.steps * d.behaviour_batch * d.behaviour_rows
    return max(1, (tuning + behaviour) // (r.weights * r.rows))


@dataclass(frozen=True)
class EndToEnd:
    """A trained rival; ``description`` says what it was made with and for.

    Every weight is lifted to the ``floor`` of the anchors, as in the generator.
    """

    model: nn.Module
    description: dict

    @torch.no_grad()
    def generate(self, weights: object) -> Tensor:
        """Adapter vectors ``[W, P]`` for weights ``[W, O]`` (or one vector of O numbers)."""
        floor = torch.tensor(self.description["floor"])
        lifted = lift(check_weights(weights, self.description["objectives"]), floor)
        return self.model(lifted.to(next(self.model.parameters()).device))


def train_end_to_end(
    name: str,
    train: FrozenTask,
    sampler: NegativeSampler,
    settings: params.Params,
    seed: int,
    description: dict | None = None,
) -> EndToEnd:
    """Train the rival ``name`` on weights drawn uniformly from the simplex, lifted as above.

    The description of the result keeps the task loss as the means of 100 stretches of training.
    """
    own, objectives = settings.rivals, settings.adapters.objectives
    floor = simplex_weights(settings.adapters.anchors, objectives).min(0).values
    device, dim = train.states.device, train.backbone.dim
    start = initial_vector(dim, settings.adapters.width, torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)  # initial parameters
    model = END_TO_END[name](start, len(objectives), own).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=own.learning_rate, fused=True)
    steps = equal_steps(settings)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng([seed, 5])
    curve = np.empty((steps, 1))
    for step in progress(range(steps), name):
        uniform = torch.from_numpy(rng.dirichlet(np.ones(len(objectives)), own.weights)).float()
        weights = lift(uniform, floor).to(device)
        rows, candidates = train.draw(sampler, own.rows, settings.adapters.negatives, rng)
        losses = train.losses(model(weights), rows, candidates, objectives)
        loss = (losses * weights).sum(-1).mean()
        curve[step] = loss.item()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        cosine.step()
    about = {
        "kind": name,
        "seed": seed,
        "size": len(start),
        "objectives": objectives,
        "floor": floor.tolist(),
        "settings": own.model_dump(),
        "steps": steps,
        "curves": stretches(curve, ["task_loss"]),
    }
    return EndToEnd(model.eval().requires_grad_(False), {**about, **(description or {})})


def save_end_to_end(rival: EndToEnd, folder: Path) -> None:
    """Write ``<kind>-seed<n>.safetensors`` and its description."""
    about = rival.description
    stem = folder / f"{about['kind']}-seed{about['seed']}"
    save_tensors(stem, rival.model.state_dict(), about)


def load_end_to_end(folder: Path, name: str, seed: int, backbone: dict) -> EndToEnd:
    """Read what :func:`save_end_to_end` wrote; ``backbone``: the description it belongs to."""
    stem = folder / f"{name}-seed{seed}"
    tensors, about = load_tensors(stem, "rivals")
    check_match({"backbone": backbone["sha256"]}, about, f"{stem}.json")
    settings = params.stored(params.RivalSettings, about["settings"], f"{stem}.json")
    model = END_TO_END[name](torch.zeros(about["size"]), len(about["objectives"]), settings)
    model.load_state_dict(tensors)
    return EndToEnd(model.eval().requires_grad_(False), about)
