"""The rival `paragon`: the generator of Shen et al. (RecSys 2025), a transformer over adapters.

It differs to get a fair trial: centred data, a schedule that ends in pure noise, a token per hidden
unit, early stopping. Shapes: B samples, W weights, O objectives, P parameters, N tokens of n
numbers, A anchors.
"""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paragon.adapters.adapter import AdapterForm
from paragon.adapters.collection import Collection
from paragon.backbones.training import Checkpoint, Part
from paragon.generator.diffusion import Schedule, ddim, guided, standard_normal
from paragon.generator.generator import Latent, mlp, sinusoidal
from paragon.generator.training import diffusion_loss, take_step, update_average
from paragon.objectives.weights import check_weights, lift
from paragon.params import PublishedSettings
from paragon.progress import progress
from paragon.storage import loading

CHECK_SAMPLER_STEPS = 20  # of DDIM: enough to see whether training still helps


def token_order(form: AdapterForm) -> Tensor:
    """Return the position in the vector of each number of the tokens, ``[N, n]``; P means a zero.

    Each of h hidden units has a token: its row of W1, its b1, its column of W2, a share of b2.
    Then every two of M categories have one: their rows of V and their u.
    """
    d, h, zero = form.dim, form.width, form.size
    at = form.unflatten(torch.arange(form.size))  # the positions of each part
    share = -(-d // h)  # of b2, rounded up
    b2 = F.pad(at.b2, (0, h * share - d), value=zero).view(h, share)
    units = torch.cat([at.w1, at.b1.unsqueeze(1), at.w2.T, b2], 1)  # [h, n]
    categories = torch.cat([at.v, at.u.unsqueeze(1)], 1)  # [M, d + 1]
    categories = F.pad(categories, (0, 0, 0, form.categories % 2), value=zero)
    pairs = categories.view(len(categories) // 2, 2 * (d + 1))  # [M / 2, 2 (d + 1)]
    padded = F.pad(pairs, (0, units.shape[1] - 2 * (d + 1)), value=zero)  # [M / 2, n]
    return torch.cat([units, padded])


class TokenDenoiser(nn.Module):
    """Predict v with a transformer over tokens; the weights are added before every layer."""

    order: Tensor  # [N, n]
    back: Tensor  # [P], the position of each number of a vector in the flat tokens

    def __init__(self, form: AdapterForm, objectives: int, settings: PublishedSettings) -> None:
        super().__init__()
        width, heads = settings.width, settings.heads
        order = token_order(form)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.flatten().argsort()[: form.size], persistent=False)
        self.embed_token = nn.Linear(order.shape[1], width)
        self.embed_step = mlp(width, width, width, nn.GELU())
        self.embed_weights = mlp(objectives, width, width, nn.GELU())
        self.null = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, settings.dropout, batch_first=True)
            for _ in range(settings.blocks)
        )
        self.output = nn.Linear(width, order.shape[1])

    def tokens(self, vectors: Tensor) -> Tensor:
        """Split vectors ``[B, P]`` into tokens ``[B, N, n]``."""
        return F.pad(vectors, (0, 1))[:, self.order]

    def vectors(self, tokens: Tensor) -> Tensor:
        """Join tokens ``[B, N, n]`` to vectors ``[B, P]``, without the added zeros."""
        return tokens.flatten(1)[:, self.back]

    def forward(self, x: Tensor, t: Tensor, weights: Tensor, drop: Tensor) -> Tensor:
        """Predict v ``[B, P]`` for noisy vectors ``x [B, P]`` at steps ``t [B]``."""
        h = self.embed_token(self.tokens(x))  # [B, N, w]
        width = h.shape[-1]
        h = h + sinusoidal(torch.arange(h.shape[1], device=x.device), width)  # [B, N, w]
        h = h + self.embed_step(sinusoidal(t, width)).unsqueeze(1)  # [B, N, w]
        condition = torch.where(drop.unsqueeze(1), self.null, self.embed_weights(weights))
        for layer in self.layers:
            h = layer(h + condition.unsqueeze(1))  # [B, N, w]
        return self.vectors(self.output(h))  # [B, P]


class Published(nn.Module):
    """The generator of the paper: a denoiser of scaled vectors."""

    low: Tensor  # [P], smallest and largest scaled values in the collection
    high: Tensor

    def __init__(self, description: dict) -> None:
        super().__init__()
        self.description = description
        form = AdapterForm(**description["collection"]["form"])
        settings = PublishedSettings(**description["settings"])
        self.diffusion_steps = settings.diffusion_steps
        self.denoiser = TokenDenoiser(form, len(description["floor"]), settings)
        self.latent = Latent(torch.zeros(form.size), None, 1.0)  # scaled vectors
        for name in ("low", "high"):
            self.register_buffer(name, torch.zeros(form.size))

    @torch.no_grad()
    def sample(self, weights: Tensor, guidance: float = 1.0, steps: int | None = None) -> Tensor:
        """Sample vectors ``[W, P]`` from one noise: by DDIM in ``steps``, or by DDPM in all."""
        rng = np.random.default_rng([self.description["seed"], 8, 0])
        noise = standard_normal((1, self.latent.size), rng).repeat(len(weights), 1).to(weights)
        predict = guided(self.denoiser, weights, guidance)
        schedule, eta, draws = Schedule(self.diffusion_steps, weights.device), 0.0, None
        if steps is None:
            steps, eta = schedule.steps, 1.0
            draws = torch.Generator(weights.device).manual_seed(int(rng.integers(2**63)))
        clip = self.low, self.high
        scaled = ddim(predict, schedule, noise, steps=steps, eta=eta, generator=draws, clip=clip)
        return self.latent.decode(scaled)

    def generate(self, weights: object, guidance: float | None = None) -> Tensor:
        """Generate vectors ``[W, P]``; ``guidance`` (1: none) overrides the chosen one."""
        about = self.description
        checked = check_weights(weights, about["collection"]["objectives"])
        lifted = lift(checked, torch.tensor(about["floor"])).to(self.low)
        guidance = about["guidance"] if guidance is None else guidance
        return self.sample(lifted, guidance)


def train_published(
    collection: Collection,
    settings: PublishedSettings,
    seed: int,
    held_out: Callable[[Tensor], Tensor],
    checkpoint: Path | None = None,
    device: str | torch.device = "cpu",
) -> Published:
    """Train on the vectors of one seed until validation stops improving; choose the guidance.

    ``held_out(vectors [A, P]) -> [A, O]``: losses on validation events, of vectors generated for
    the anchors' weights. The best averaged parameters are kept. The caller removes ``checkpoint``.
    """
    about = {"kind": "published", "seed": seed, "floor": collection.anchors.min(0).values.tolist()}
    about |= {"settings": settings.model_dump(), "collection": collection.description}
    seed_index = collection.description["seeds"].index(seed)
    vectors, weights = (part.to(device) for part in collection.training_set(seed_index))
    anchors = collection.anchors.to(device)  # [A, O]
    torch.manual_seed(seed)  # initial parameters
    model = Published(about).to(device)
    model.latent = Latent.fit(vectors, None)
    clean = model.latent.encode(vectors)  # [N, P], mean 0 and variance 1
    model.low, model.high = clean.amin(0), clean.amax(0)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    best, schedule = copy.deepcopy(averaged), Schedule(settings.diffusion_steps, device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, fused=True)
    parts: dict[str, Part] = {"model": model, "averaged": averaged, "best": best}
    parts["optimizer"] = optimizer
    state = Checkpoint(checkpoint, about)
    record = state.load(parts) or {"step": 0, "curves": {"v_loss": [], "task_loss": []}}
    first, losses = record["step"], record["curves"]["task_loss"]
    cosine = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: (1 + math.cos(math.pi * (first + i) / settings.steps)) / 2
    )

    def task_loss(model: Published, guidance: float, steps: int | None) -> float:
        generated = model.sample(anchors, guidance, steps)  # [A, P]
        return (held_out(generated) * anchors).sum(-1).mean().item()

    for start in range(first, settings.steps, settings.check):
        if losses and len(losses) - int(np.argmin(losses)) > settings.patience:
            break
        # Its first step alone decides what a stretch of steps draws.
        rng = np.random.default_rng([seed, 7, start])
        torch.manual_seed(int(rng.integers(2**63)))  # dropout
        record["step"], v_losses = min(start + settings.check, settings.steps), []
        for step in progress(range(start, record["step"]), "steps"):
            rows = torch.from_numpy(rng.integers(len(clean), size=settings.batch)).to(device)
            batch = clean[rows], weights[rows], rng, settings.condition_drop
            loss = diffusion_loss(model.denoiser, schedule, *batch)
            take_step(loss, model, optimizer, cosine)
            update_average(averaged, model, decay=min(settings.ema, step / (step + 10)))
            v_losses.append(loss.item())
        record["curves"]["v_loss"].append(float(np.mean(v_losses)))
        losses.append(task_loss(averaged, 1.0, CHECK_SAMPLER_STEPS))
        if losses[-1] < min(losses[:-1], default=math.inf):
            best.load_state_dict(averaged.state_dict())
        state.save(parts, record)
    by_guidance = [task_loss(best, guidance, None) for guidance in settings.guidance]
    chosen = settings.guidance[int(np.argmin(by_guidance))]
    best.description = {**about, **record, "guidance": chosen, "guidance_losses": by_guidance}
    return best


def load_published(stem: Path, collection: dict) -> Published:
    """Read a saved generator; raise ``ParagonError`` for altered files or another collection."""
    expected = {"kind": "published", "collection": collection}
    with loading(stem, "rivals", expected) as (tensors, description):
        model = Published(description)
        model.load_state_dict(tensors)
        return model.eval().requires_grad_(False)
