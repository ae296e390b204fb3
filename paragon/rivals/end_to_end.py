"""Rivals trained end to end, by the task loss on the frozen backbone, without a collection.

Shapes: B weight vectors or events, O objectives, P parameters of an adapter, w the width of the
network, h hidden units and d inputs of an adapter, S seeds, W weights, M categories, N events.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paragon.adapters.adapter import AdapterForm, initial_vector
from paragon.adapters.collection import tune
from paragon.adapters.frozen import FrozenEvents
from paragon.generator.denoisers import WeightEmbedding, mlp
from paragon.generator.training import set_rate, stretches, take_step
from paragon.objectives import weights as simplex
from paragon.params import AdapterSettings, Params, RivalSettings
from paragon.progress import progress
from paragon.storage import loading


class EndToEnd(nn.Module):
    """A model from weights to adapters, for a ``count`` of objectives; ``rival``: its settings."""

    description: dict  # what it was trained for and with

    @torch.no_grad()
    def generate(self, weights: object) -> Tensor:
        """Generate adapters ``[W, P]`` for weights ``[W, O]`` or ``[O]``, raised to the floor."""
        floor = torch.tensor(self.description["floor"])  # [O]
        lifted = simplex.lift(simplex.check_weights(weights, self.description["objectives"]), floor)
        return self(lifted.to(next(self.parameters()).device))


class Hypernetwork(EndToEnd):
    """Generate adapters with a network (Navon et al., ICLR 2021, with linear scalarisation)."""

    def __init__(self, form: AdapterForm, start: Tensor, count: int, rival: RivalSettings) -> None:
        super().__init__()
        width = rival.width
        self.register_buffer("start", start)
        self.embed = WeightEmbedding(count, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(rival.blocks + 1))
        self.blocks = nn.ModuleList(mlp(width, 2 * width, width) for _ in range(rival.blocks))
        self.output = nn.Linear(width, len(start))
        nn.init.zeros_(self.output.weight)  # training begins at `start` for all weights
        nn.init.zeros_(self.output.bias)

    def forward(self, weights: Tensor) -> Tensor:
        """Map weights ``[B, O]`` to adapter vectors ``[B, P]``."""
        drop = torch.zeros(len(weights), dtype=torch.bool, device=weights.device)  # [B]
        h = self.embed(weights, drop)  # [B, w]
        for norm, block in zip(self.norms, self.blocks, strict=False):
            h = h + block(norm(h))  # [B, w]
        return self.start + self.output(self.norms[-1](h))  # [B, P]


class LinearSubspace(EndToEnd):
    """Mix ``endpoints [O, P]`` in proportion to the weights (Dimitriadis et al., ICML 2023)."""

    def __init__(self, form: AdapterForm, start: Tensor, count: int, rival: RivalSettings) -> None:
        super().__init__()
        self.endpoints = nn.Parameter(start.repeat(count, 1))

    def forward(self, weights: Tensor) -> Tensor:
        """Map weights ``[B, O]`` to adapter vectors ``[B, P]``."""
        return weights @ self.endpoints  # [B, O] @ [O, P]


class Conditioned(EndToEnd):
    """One adapter that takes the weights as input (Dosovitskiy & Djolonga, ICLR 2020).

    Functions of the weights scale and shift its hidden units and add to its bias for each category;
    for given weights, this is an adapter.
    """

    def __init__(self, form: AdapterForm, start: Tensor, count: int, rival: RivalSettings) -> None:
        super().__init__()
        self.form = form
        self.adapter = nn.Parameter(start)
        self.embed = WeightEmbedding(count, rival.width)
        self.modulate = nn.Linear(rival.width, 2 * form.width + form.categories)
        nn.init.zeros_(self.modulate.weight)  # training begins at `start` for all weights
        nn.init.zeros_(self.modulate.bias)

    def forward(self, weights: Tensor) -> Tensor:
        """Map weights ``[B, O]`` to adapter vectors ``[B, P]``."""
        h = self.form.width
        drop = torch.zeros(len(weights), dtype=torch.bool, device=weights.device)  # [B]
        condition = self.modulate(self.embed(weights, drop))  # [B, 2 h + M]
        scale, shift, bias = condition.split([h, h, self.form.categories], -1)
        plain = self.form.unflatten(self.adapter.expand(len(weights), -1))
        changed = plain._replace(
            w1=(1 + scale.unsqueeze(-1)) * plain.w1,  # [B, h, d]
            b1=(1 + scale) * plain.b1 + shift,  # [B, h]
            u=plain.u + bias,  # [B, M]
        )
        return torch.cat([part.flatten(1) for part in changed], 1)  # [B, P]


END_TO_END: dict[str, type[EndToEnd]] = {
    "hypernetwork": Hypernetwork,
    "conditioned": Conditioned,
    "linear_subspace": LinearSubspace,
}


def equal_steps(settings: Params) -> int:
    """Count the steps at which a rival has seen as many lists, by adapter, as the generator."""
    adapters = settings.adapters
    generator = settings.generator
    rivals = settings.rivals
    steps = adapters.start_steps + len(adapters.anchors) * adapters.steps
    tuning = steps * adapters.batch
    task_loss = generator.steps * generator.task_batch * generator.task_rows
    return max(1, (tuning + task_loss) // (rivals.weights * rivals.rows))


def train_end_to_end(
    name: str, train: FrozenEvents, settings: Params, seed: int, origin: dict | None = None
) -> EndToEnd:
    """Train the rival ``name`` on random weights; ``origin`` adds entries to its description."""
    rivals = settings.rivals
    objectives = settings.adapters.objectives
    floor = simplex.simplex_weights(settings.adapters.anchors, objectives).min(0).values  # [O]
    device = train.states.device
    start = initial_vector(train.form, seed)
    torch.manual_seed(seed)  # initial parameters
    model = END_TO_END[name](train.form, start, len(objectives), rivals).to(device)
    steps = equal_steps(settings)
    # Adapters learn at the rate of tuning.
    rate = (rivals if name == "hypernetwork" else settings.adapters).learning_rate
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    curves: list[dict[str, float]] = []
    rng = np.random.default_rng([seed, 5])
    for step in progress(range(steps), name):
        weights = simplex.random_weights(rivals.weights, floor, rng).to(device)  # [B, O]
        rows = torch.from_numpy(rng.integers(len(train.states), size=rivals.rows)).to(device)
        losses = train.losses(model(weights), rows, objectives)  # [B, O]
        loss = (weights * losses).sum(-1).mean()  # []
        curves.append({"task_loss": loss.item()})
        set_rate(optimizer, rate, step / steps)
        take_step(loss, model, optimizer)
    model.description = {
        "kind": name,
        "seed": seed,
        "form": asdict(train.form),
        "objectives": objectives,
        "floor": floor.tolist(),
        "settings": rivals.model_dump(),
        "steps": steps,
        "curves": stretches(curves),
        **(origin or {}),
    }
    return model.eval().requires_grad_(False)


def load_end_to_end(folder: Path, name: str, seed: int, backbone: dict) -> EndToEnd:
    """Read a saved rival; raise ``ParagonError`` for another kind, seed or backbone."""
    stem = folder / f"{name}-seed{seed}"
    expected = {"kind": name, "seed": seed, "backbone": backbone["sha256"]}
    with loading(stem, "rivals", expected) as (tensors, description):
        settings = RivalSettings(**description["settings"])
        form = AdapterForm(**description["form"])
        objectives = len(description["objectives"])
        model = END_TO_END[name](form, torch.zeros(form.size), objectives, settings)
        model.load_state_dict(tensors)
        model.description = description
        return model.eval().requires_grad_(False)


class BiasEvents(FrozenEvents):
    """Score ``s . e_i + g_i . u(w)``, with a bias ``u [..., W, M]`` instead of adapters."""

    def adapted(self, states: Tensor, vectors: Tensor) -> Tensor:
        """Append each bias to states ``[..., 1, B, d]``: ``[..., W, B, d + M]``."""
        shape = *vectors.shape[:-1], states.shape[-2], -1  # [..., W, B]
        return torch.cat([states.expand(shape), vectors.unsqueeze(-2).expand(shape)], -1)


def tune_category_bias(
    events: FrozenEvents, weights: Tensor, settings: AdapterSettings, seeds: Sequence[int]
) -> Tensor:
    """Tune a bias for each of ``weights [W, O]`` and seed on training events, ``[S, W, M]``."""
    # So few parameters need a larger rate to converge.
    change = {"learning_rate": 6 * settings.learning_rate, "checks": 1, "snapshots": 0}
    settings = settings.model_copy(update=change)
    categories = events.catalogue.categories  # [n + 1, M]
    items = torch.cat([events.items[:, : events.form.dim], categories], 1)  # also without item side
    train = BiasEvents(**{**vars(events), "items": items})
    start = torch.zeros(len(seeds), len(weights), categories.shape[1], device=items.device)
    return tune(train, None, weights.to(items.device), start, settings, seeds).vectors.cpu()


def biased_scores(scores: np.ndarray, categories: np.ndarray, bias: Tensor) -> np.ndarray:
    """Add ``bias [M]`` of the ``categories [n + 1, M]`` to catalogue scores ``[N, n + 1]``."""
    return scores + (categories @ bias.numpy()).astype(scores.dtype)  # [N, n + 1] + [n + 1]
