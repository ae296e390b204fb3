"""The method in one file: from made-up users to adapters generated for any weights.

``python docs/one_file.py`` prints the curves in a minute or two and draws docs/one_file.png. Each
part is a short version of a folder of the package; tests/test_one_file.py compares what has to be
equal. Shapes: N events, n items, M categories, d numbers of a state, h hidden units, P parameters
of an adapter, A adapters, S snapshots, B events of a batch, C items of a list, O = 2 objectives,
T steps.
"""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F

USERS, ITEMS, CATEGORIES, DIM, HIDDEN = 400, 240, 8, 32, 8
ANCHORS = torch.tensor([0.001, 0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.85, 1.0])
ORACLES = torch.linspace(0, 1, 11)
START = torch.tensor([0.15])  # all adapters are tuned from one that was tuned for this weight


# 1. Data: the last event of each user is the test, all events before it are training.
def planted(rng):
    """Draw the events of users who take an item of one favourite category in 85 % of cases."""
    category = np.arange(ITEMS) % CATEGORIES  # [n]
    popular = rng.pareto(1.5, ITEMS) + 0.2  # [n]
    users = [[] for _ in range(USERS)]
    for items in users:
        favourite = rng.integers(CATEGORIES)
        for _ in range(rng.integers(8, 17)):
            wants_favourite = rng.random() < 0.85
            chance = popular * ((category == favourite) == wants_favourite)
            chance[items] = 0  # nobody takes an item twice
            items.append(rng.choice(ITEMS, p=chance / chance.sum()))
    return users, F.one_hot(torch.from_numpy(category)).float()  # [n, M]


def events_of(users, positions):
    """List a history ``[N, n]`` (1: met), the target ``[N]`` and all items met in training."""
    histories, targets, met = [], [], []
    for items in users:
        for t in positions(len(items)):
            histories.append(F.one_hot(torch.tensor(items[:t]), ITEMS).sum(0))
            met.append(F.one_hot(torch.tensor(items[:-1]), ITEMS).sum(0))
            targets.append(items[t])
    return torch.stack(histories).float(), torch.tensor(targets), torch.stack(met).bool()


# 2. A recommender: the state is an average of what the user met; score_i = s . e_i.
class Recommender(nn.Module):
    def __init__(self):
        super().__init__()
        self.read, self.items = nn.Linear(ITEMS, DIM), nn.Embedding(ITEMS, DIM)

    def states(self, histories):
        return self.read(histories / histories.sum(1, keepdim=True))  # [N, n] -> [N, d]


def train_recommender(histories, targets):
    """Train for accuracy with a softmax over the catalogue; then freeze."""
    model = Recommender()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-5)
    for _ in range(300):
        scores = model.states(histories) @ model.items.weight.T  # [N, n]
        step(optimizer, F.cross_entropy(scores, targets))
    return model.requires_grad_(False)


def step(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# 3. An adapter: P numbers that change the state and add a liking for each category.
SHAPES = [(HIDDEN, DIM), (HIDDEN,), (DIM, HIDDEN), (DIM,), (CATEGORIES, DIM), (CATEGORIES,)]


def adapt(states, vectors):
    """Map states ``[B, d]`` by adapters ``[A, P]`` to ``[A, B, d + M]``."""
    parts = vectors.split([math.prod(shape) for shape in SHAPES], -1)
    w1, b1, w2, b2, v, u = (p.unflatten(-1, s) for p, s in zip(parts, SHAPES, strict=True))
    hidden = torch.relu(states @ w1.mT + b1[:, None])  # [A, B, h]
    changed = states + hidden @ w2.mT + b2[:, None]  # s' [A, B, d]
    return torch.cat([changed, changed @ v.mT + u[:, None]], -1)  # [s', V s' + u]


# 4. Two losses.
def divergence(scores, p):
    """Accuracy: KL divergence of softmax(scores) from p, ``[..., n]`` to ``[...]``."""
    return (torch.xlogy(p, p) - p * scores.log_softmax(-1)).sum(-1)  # sum_i p_i log(p_i / q_i)


def soft_alpha_dcg(scores, categories, end=None, temperature=0.1, alpha=0.5):
    """Diversity: ``[..., C]`` and ``[..., C, M]`` to ``[...]``; a smooth alpha-DCG.

    Only the first ``end`` of the items are served; those just below could enter the list.
    """
    above = torch.sigmoid((scores.unsqueeze(-2) - scores.unsqueeze(-1)) / temperature)
    rank = 0.5 + above.sum(-1)  # [..., C]
    seen = above @ categories - categories / 2  # of each category above item i [..., C, M]
    gain = (categories * (1 - alpha) ** seen).sum(-1)  # [..., C]
    if end is not None:
        gain = gain * torch.sigmoid((end + 0.5 - rank) / 2)  # how surely it is in the list
    return (gain / torch.log2(1 + rank)).sum(-1)


def alpha_dcg(categories, alpha=0.5):
    """Exact alpha-DCG of ranked lists ``[..., C, M]``: ``[...]``."""
    seen = categories.cumsum(-2) - categories
    gain = (categories * (1 - alpha) ** seen).sum(-1)  # [..., C]
    return (gain / torch.log2(2 + torch.arange(gain.shape[-1]))).sum(-1)


def ideal(length):
    """Alpha-DCG of the best list of items with one category each: all categories in turn."""
    return alpha_dcg(torch.eye(CATEGORIES).repeat(length // CATEGORIES + 1, 1)[:length])


class Task:
    """The losses of adapters on the cached states of a frozen recommender."""

    def __init__(self, model, histories, targets, met, categories):
        self.states, self.targets, self.met = model.states(histories), targets, met
        self.frozen = (self.states @ model.items.weight.T).softmax(-1)  # without an adapter [N, n]
        self.items = torch.cat([model.items.weight, categories], 1)  # [e_i, g_i], [n, d + M]
        self.categories = categories

    def scores(self, vectors, rows=slice(None)):
        return adapt(self.states[rows], vectors) @ self.items.T  # [A, B, n]

    def losses(self, vectors, rng, batch=32, served=20, searched=40):
        """Return accuracy and diversity loss ``[A, 2]`` of adapters ``[A, P]``."""
        rows = torch.from_numpy(rng.integers(len(self.targets), size=batch))
        scores = self.scores(vectors, rows)  # [A, B, n]
        accuracy = divergence(scores, self.frozen[rows])  # [A, B]
        # What would be served, and more that could be: the best items that the user has not met.
        best = scores.masked_fill(self.met[rows], -torch.inf).topk(searched).indices  # [A, B, C]
        value = soft_alpha_dcg(scores.gather(-1, best), self.categories[best], served)  # [A, B]
        return torch.stack([accuracy.mean(1), 1 - value.mean(1) / ideal(served)], -1)


def pairs(accuracy):
    return torch.stack([accuracy, 1 - accuracy], -1)  # weights of both objectives [..., 2]


# 5. The collection: adapters for many weights, tuned in one computation from one start.
def untrained():
    """Return an adapter ``[P]`` that changes no score yet: only W1 is not 0."""
    start = torch.zeros(sum(math.prod(shape) for shape in SHAPES))
    start[: HIDDEN * DIM].uniform_(-(DIM**-0.5), DIM**-0.5)
    return start


def tune(task, weights, start, rng, steps=400, kept_last=2):
    """Tune adapters from ``start [P]`` for weights ``[A]``; return ``[S, A, P]``."""
    vectors = start.repeat(len(weights), 1).requires_grad_()  # [A, P]
    optimizer, kept = torch.optim.Adam([vectors], lr=0.005), []
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for number in range(1, steps + 1):
        # An adapter occurs in its loss only, so a sum trains each of them alone.
        step(optimizer, (task.losses(vectors, rng) * pairs(weights)).sum())
        cosine.step()
        if number % (steps // 10) == 0:
            kept = [*kept, vectors.detach().clone()][-kept_last:]
    return torch.stack(kept)


# 6. Diffusion over the collected vectors, shifted and scaled.
class Latent:
    def __init__(self, vectors):
        self.mean = vectors.mean(0)  # [P]
        self.scale = (vectors - self.mean).std()

    def encode(self, vectors):
        return (vectors - self.mean) / self.scale  # [B, P]

    def decode(self, latents):
        return self.mean + self.scale * latents  # [B, P]


STEPS = 500
_beta = torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64) * (1000 / STEPS)
_kept = torch.cumprod(1 - _beta, 0)
SIGNAL, NOISE = _kept.sqrt().float(), (1 - _kept).sqrt().float()  # a_t, s_t [T]


def layers(*sizes):
    """Build linear layers with SiLU between them."""
    every = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*every[:-1])


class Denoiser(nn.Module):
    """Predict the clean z_0 from z_t, the step and the weights; weights may be hidden.

    Not the noise in z_t: that fills all P directions, and a network of 128 can give back 128.
    """

    def __init__(self, size, width=128):
        super().__init__()
        # The weights enter apart: beside P noisy numbers, the network would hardly see them.
        self.read, self.condition = nn.Linear(size, width), layers(2 + 3, width, width)
        self.net = nn.Sequential(nn.SiLU(), layers(width, width, width, size))

    def forward(self, z, t, weights, hidden):  # [B, P], [B], [B], [B] bool
        told = torch.stack([weights, torch.log(weights + 1e-3) / 7], 1)  # [B, 2]
        told = told.masked_fill(hidden[:, None], 0)
        time = torch.stack([SIGNAL[t], NOISE[t], hidden], 1)
        condition = self.condition(torch.cat([told, time], 1))  # [B, width]
        return self.net(self.read(z) + condition)  # z_0 [B, P]


def sample(latent, denoiser, weights, z, guidance=1.0, steps=5):
    """Sample adapters ``[A, P]`` for weights ``[A]`` from noise ``z [A, P]`` by DDIM."""
    shown = torch.zeros(len(z), dtype=torch.bool)
    times = np.linspace(STEPS - 1, 0, steps).round().astype(int).tolist()
    for now, after in zip(times, [*times[1:], None], strict=True):
        t = torch.full((len(z),), now)
        clean = denoiser(z, t, weights, shown)
        if guidance != 1:  # classifier-free guidance
            null = denoiser(z, t, weights, ~shown)
            clean = null + guidance * (clean - null)
        eps = (z - SIGNAL[now] * clean) / NOISE[now]
        z = clean if after is None else SIGNAL[after] * clean + NOISE[after] * eps
    return latent.decode(z)


def train_generator(anchors, collected, rng, task=None, steps=1500, drop=0.1):
    """Train on ``collected [S, A, P]`` alone, the paper's recipe, or with the losses of a task."""
    latent = Latent(collected.flatten(0, 1))
    denoiser = Denoiser(len(latent.mean))
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=0.001)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    vectors, weights = collected.flatten(0, 1), anchors.repeat(len(collected))
    for _ in range(steps):
        rows = rng.integers(len(vectors), size=64)
        clean = latent.encode(vectors[rows])  # z_0 [64, P]
        t, eps = torch.from_numpy(rng.integers(STEPS, size=len(clean))), torch.randn_like(clean)
        z = SIGNAL[t, None] * clean + NOISE[t, None] * eps  # z_t [64, P]
        error = denoiser(z, t, weights[rows], torch.rand(len(z)) < drop) - clean
        loss = ((1 / NOISE[t, None] ** 2).clamp(max=5) * error.square()).mean()
        if task:  # sampled adapters; the gradient goes through the recommender and all steps
            new = torch.from_numpy(rng.uniform(anchors[0], 1, 16)).float()  # other weights [16]
            sampled = sample(latent, denoiser, new, torch.randn(16, z.shape[1]))  # [16, P]
            loss = loss + 10 * (task.losses(sampled, rng) * pairs(new)).sum(1).mean()
        step(optimizer, loss)
        cosine.step()
    return latent, denoiser


# 7. Measure on test events, among all items that the user has not met.
def curve(task, vectors):
    """Compute NDCG@10 and alpha-nDCG@10 of adapters ``[A, P]``: ``[A, 2]``."""
    scores = task.scores(vectors).masked_fill(task.met, -torch.inf)  # [A, N, n]
    target = scores.gather(-1, task.targets.expand(len(scores), -1)[..., None])
    rank = (scores >= target).sum(-1)  # [A, N], ties count against the target
    ndcg = torch.where(rank <= 10, 1 / torch.log2(1.0 + rank), 0.0).mean(1)
    listed = task.categories[scores.topk(10).indices]  # [A, N, 10, M]
    return torch.stack([ndcg, alpha_dcg(listed).mean(1) / ideal(10)], 1)


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    users, categories = planted(rng)
    training = events_of(users, lambda length: range(1, length - 1))
    model = train_recommender(*training[:2])
    train = Task(model, *training, categories)
    test = Task(model, *events_of(users, lambda length: [length - 1]), categories)
    common = tune(train, START, untrained(), rng)[-1, 0]  # [P]
    tuned = tune(train, torch.cat([ANCHORS, ORACLES]), common, rng)  # [2, 10 + 11, P]
    curves = {"tuned": curve(test, tuned[-1, len(ANCHORS) :])}
    noise = torch.randn(1, tuned.shape[-1]).repeat(len(ORACLES), 1)  # one for all weights
    # Name, task, guidance (the study chooses it on validation users) and steps of the sampler.
    for name, task, *how in (("paragon", None, 1.5, 50), ("generated", train, 1.0, 5)):
        model = train_generator(ANCHORS, tuned[:, : len(ANCHORS)], rng, task)
        with torch.no_grad():
            made = sample(*model, ORACLES.clamp(min=float(ANCHORS[0])), noise, *how)
        curves[name] = curve(test, made)
    print("weight of accuracy" + "".join(f" | {name:>9}: NDCG  α-nDCG" for name in curves))
    for w, *rows in zip(ORACLES, *curves.values(), strict=True):
        print(f"{w:18.1f}" + "".join(f" | {a:15.3f} {b:7.3f}" for a, b in rows))
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    for (name, points), look in zip(curves.items(), ("o-", "s:", "x--"), strict=True):
        axes.plot(*points.T, look, label=name)
    axes.set(xlabel="accuracy: NDCG@10", ylabel="diversity: α-nDCG@10")
    axes.legend()
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
