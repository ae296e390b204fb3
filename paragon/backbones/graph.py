"""Backbones on the graph of users and items: LightGCN, NGCF and PinSage.

Shapes: U users, n items, V = U + n + 1 nodes, B contexts of L past events, M categories, T
neighbours, d numbers of a state (``dim``).
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.sparse import block_array, csr_array
from torch import Tensor, nn
from torch.nn import functional as F

from paragon import params
from paragon.backbones.base import Backbone, Batch, Context, Dropout, Rng, mean_of_history
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError

# Of PinSage.
WALKS = 1000  # random walks from each item
STEPS = 3  # of a walk
RESTART = 0.5  # probability that a step begins at the start of the walk
NEIGHBOURS = 20  # T
_BLOCK = 256  # items whose walks are drawn at a time; limits memory


def interactions(sequences: Sequences) -> csr_array:
    """Build the matrix of training interactions, bool ``[U, n + 1]``."""
    users, items = sequences.train_pairs()
    shape = (sequences.n_users, sequences.n_items + 1)
    return csr_array((np.ones(len(users), dtype=bool), (users, items)), shape)


def normalised_graph(sequences: Sequences) -> Tensor:
    """Build ``D^-1/2 A D^-1/2`` of the training events, sparse ``[V, V]``.

    A is the adjacency matrix of the graph, D the diagonal matrix of the degrees.  The nodes are
    the users, then the items 0..n.
    """
    links = interactions(sequences)  # [U, n + 1]
    edges = block_array([[None, links], [links.T, None]], format="coo")  # A, [V, V]
    degree = edges.sum(1)  # [V]
    values = 1 / np.sqrt(degree[edges.row] * degree[edges.col])  # [edges]
    index = np.stack([edges.row, edges.col]).astype(np.int64)  # [2, edges]
    graph = torch.sparse_coo_tensor(
        torch.from_numpy(index),
        torch.from_numpy(values).float(),
        edges.shape,
        check_invariants=True,
    )
    return graph.coalesce()


class GraphBackbone(Backbone):
    """Embeddings of users and items that are propagated over the graph.

    The state of a known user is the user's embedding, that of a new user the mean of the items in
    the history.
    """

    graph: Tensor  # [V, V], sparse: fixed by the data, not a parameter
    propagate: Callable[[], Tensor]  # the final embeddings of users, then of items 0..n: [V, d]

    def __init__(
        self, sequences: Sequences, settings: params.BackboneSettings, width: int | None = None
    ) -> None:
        super().__init__(sequences, settings)
        self.n_users = sequences.n_users
        self.layers = settings.layers
        self.history = 50  # used for new users only
        self.register_buffer("graph", normalised_graph(sequences), persistent=False)
        nodes = self.graph.shape[0]
        self.embedding = nn.Parameter(torch.empty(nodes, width or self.dim))  # [V, width]
        nn.init.normal_(self.embedding, std=0.1)
        self._current: tuple[Tensor, Tensor] | None = None

    def _vectors(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users ``[U, d]`` and items ``[n + 1, d]``.

        In training, they are propagated only once per step.
        """
        if self.training and self._current is not None:
            return self._current
        final = self.propagate()  # [V, d]
        return final[: self.n_users], final[self.n_users :]

    def states(self, context: Context) -> Tensor:
        """Return the propagated embeddings of known users, and means for new ones: ``[B, d]``."""
        users, items = self._vectors()  # [U, d], [n + 1, d]
        history = mean_of_history(items, context.items)  # [B, d]
        known = (context.users >= 0).unsqueeze(-1)  # [B, 1]
        of_user = users[context.users.clamp(min=0)]  # [B, d]
        return torch.where(known, of_user, history)

    def item_vectors(self) -> Tensor:
        """Return the propagated item embeddings, ``[n + 1, d]``."""
        return self._vectors()[1]

    def training_states(self, sequences: Sequences, batch: int, rng: Rng) -> Iterator[Batch]:
        """Yield one epoch of pairs of user and item, in random batches of 16 x ``batch``."""
        users, items = sequences.train_pairs()
        try:
            for rows in self.random_batches(len(users), 16 * batch, rng):
                self._current = None  # the last step has changed the parameters
                self._current = self._vectors()
                user_vectors, _ = self._current
                index = torch.from_numpy(users[rows]).to(self.device)
                yield F.embedding(index, user_vectors), users[rows], items[rows]
        finally:
            self._current = None


class LightGCN(GraphBackbone):
    """Embeddings averaged over neighbours and layers (He et al., SIGIR 2020)."""

    name = "lightgcn"

    def propagate(self) -> Tensor:
        """Return the mean of the embeddings of all layers, equations 7 and 8: ``[V, d]``."""
        layers: list[Tensor] = [self.embedding]  # [V, d]
        for _ in range(self.layers):
            layers.append(torch.sparse.mm(self.graph, layers[-1]))  # [V, d]
        return torch.stack(layers).mean(0)


class NGCF(GraphBackbone):
    """Messages, and their products with the receiver (Wang et al., SIGIR 2019).

    The final embedding is that of all layers, one after another.
    """

    name = "ngcf"

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        width, rest = divmod(settings.dim, settings.layers + 1)
        if rest:
            needed = f"NGCF needs a multiple of layers + 1 = {settings.layers + 1}"
            raise ParagonError(f"params.yaml: backbones.dim: {settings.dim}; {needed}")
        super().__init__(sequences, settings, width)
        self.neighbour = nn.ModuleList(nn.Linear(width, width) for _ in range(self.layers))
        self.product = nn.ModuleList(nn.Linear(width, width) for _ in range(self.layers))
        self.dropout = Dropout(settings.dropout)

    def propagate(self) -> Tensor:
        """Join the embeddings of all layers: ``[V, d]``.

        Each layer is ``leaky_relu((L + I) E W1 + (L E * E) W2)`` of that before it, equation 7.
        """
        layers: list[Tensor] = [self.embedding]  # [V, width]
        current: Tensor = self.embedding
        for neighbour, product in zip(self.neighbour, self.product, strict=True):
            message = torch.sparse.mm(self.graph, current)  # [V, width]
            total = neighbour(message + current) + product(message * current)  # [V, width]
            current = self.dropout(F.leaky_relu(total, 0.2))
            layers.append(F.normalize(current, dim=1))
        return torch.cat(layers, 1)  # [V, d]


class PinSage(Backbone):
    """Convolutions over random-walk neighbourhoods of items (Ying et al., KDD 2018)."""

    name = "pinsage"
    index: Tensor  # [n + 1, T], see `neighbourhoods`
    weights: Tensor  # [n + 1, T], see `neighbourhoods`
    categories: Tensor  # [n + 1, M]: shares of the item's categories, sum 1

    def __init__(self, sequences: Sequences, settings: params.BackboneSettings) -> None:
        super().__init__(sequences, settings)
        index, weights = neighbourhoods(sequences, settings.seed)
        multi_hot = torch.from_numpy(sequences.categories).float()  # [n + 1, M]
        categories = F.normalize(multi_hot, p=1, dim=1)
        self.register_buffer("index", torch.from_numpy(index))
        self.register_buffer("weights", torch.from_numpy(weights))
        self.register_buffer("categories", categories)
        self.item = nn.Parameter(torch.empty(len(index), self.dim).normal_(std=0.1))
        self.category = nn.Parameter(torch.empty(categories.shape[1], self.dim).normal_(std=0.1))
        self.dropout = Dropout(settings.dropout)
        self.convolutions = nn.ModuleList(Convolution(self.dim) for _ in range(settings.layers))
        self.fading = nn.Parameter(torch.tensor(-2.0))  # log of the decay rate of past events
        self.scale = nn.Parameter(torch.tensor(2.0))  # log; item vectors have the length 1
        self.user = nn.Linear(self.dim, self.dim)
        self._current: Tensor | None = None

    def convolved(self) -> Tensor:
        """Compute item vectors of length 1 after all layers, ``[n + 1, d]``."""
        vectors: Tensor = self.item + self.categories @ self.category  # [n + 1, d]
        for convolution in self.convolutions:
            vectors = convolution(self.dropout(vectors), self.index, self.weights)
        return vectors

    def item_vectors(self) -> Tensor:
        """Return the convolved items ``[n + 1, d]``; in training, computed once per step."""
        if self.training and self._current is not None:
            return self._current
        return self.convolved()

    def states(self, context: Context) -> Tensor:
        """Map the weighted mean of past items to a state: ``[B, d]``.

        The weight of an event is ``exp(-rate age)``; its age is the number of events after it.
        """
        inside = context.items > 0  # [B, L]
        place = torch.arange(inside.shape[1], device=inside.device)  # [L]
        age = inside.sum(1, keepdim=True) - 1 - place  # [B, L]
        weights = (-self.fading.exp() * age.clamp(min=0)).exp() * inside  # [B, L]
        past = F.embedding(context.items, self.item_vectors())  # [B, L, d]
        total = (weights.unsqueeze(1) @ past).squeeze(1)  # [B, d]
        mean = total / weights.sum(1, keepdim=True).clamp(min=1)  # the latest counts 1
        return self.user(mean) * self.scale.exp()  # [B, d]

    def training_states(self, sequences: Sequences, batch: int, rng: Rng) -> Iterator[Batch]:
        """Yield one epoch as :meth:`Backbone.training_states`; items are convolved once a step."""
        try:
            self._current = self.convolved()
            for drawn in super().training_states(sequences, batch, rng):
                yield drawn
                self._current = self.convolved()  # the step has changed the parameters
        finally:
            self._current = None


class Convolution(nn.Module):
    """One layer of PinSage's algorithm 1, for all items at once."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.neighbour = nn.Linear(dim, dim)
        self.merge = nn.Linear(2 * dim, dim)

    def forward(self, vectors: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """Join each of ``vectors [N, d]`` with the weighted mean of its neighbours: ``[N, d]``.

        ``index [N, T]``: the neighbours; ``weights [N, T]``.  The results have the length 1.
        """
        message = F.relu(self.neighbour(vectors))  # [N, d]
        around = (F.embedding(index, message) * weights.unsqueeze(-1)).sum(1)  # [N, d]
        joined = torch.cat([vectors, around], 1)  # [N, 2 d]
        return F.normalize(F.relu(self.merge(joined)), dim=1)


def neighbourhoods(
    sequences: Sequences, seed: int, walks: int = WALKS, top: int = NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray]:
    """Find the neighbours of each item: the items that random walks from it visit most.

    Importance pooling, section 3.2 of the PinSage paper.  In each of ``STEPS`` steps a walk returns
    to its start with the probability ``RESTART``; then it goes to a random user of the item and to
    a random item of that user.

    ``walks``: number of walks from each item; ``top``: T.  Returns the neighbours and their shares
    of the visits, ``[n + 1, T]`` each.  The shares of a row sum to 1, or to 0 without a visit.
    """
    rng = np.random.default_rng([seed, 9])
    count = sequences.n_items + 1
    by_user = interactions(sequences)  # [U, n + 1]
    by_item = by_user.T.tocsr()  # [n + 1, U]
    index = np.zeros((count, top), dtype=np.int64)
    shares = np.zeros((count, top), dtype=np.float32)
    known = np.flatnonzero(np.diff(by_item.indptr))  # items with an event

    def random_neighbours(links: csr_array, rows: np.ndarray) -> np.ndarray:
        """Draw a column that is not 0 for each of ``rows``."""
        degree = np.diff(links.indptr)[rows]
        return links.indices[links.indptr[rows] + rng.integers(degree)]

    for starts in np.split(known, range(_BLOCK, len(known), _BLOCK)):
        rows = np.arange(len(starts))
        start = np.repeat(starts, walks)  # [rows x walks]
        cell = np.repeat(rows * count, walks)  # [rows x walks], of item 0 in the flat table
        visits = np.zeros(len(starts) * count, dtype=np.int64)
        at = start
        for _ in range(STEPS):
            at = np.where(rng.random(len(at)) < RESTART, start, at)
            users = random_neighbours(by_item, at)
            at = random_neighbours(by_user, users)
            visits += np.bincount(cell + at, minlength=len(visits))
        table = visits.reshape(len(starts), count)
        table[rows, starts] = 0  # an item is not its own neighbour
        order = np.argsort(-table, axis=1, kind="stable")[:, :top]  # [rows, <= T]
        visits_of = np.take_along_axis(table, order, 1)  # [rows, <= T]
        total = visits_of.sum(1, keepdims=True)  # [rows, 1]
        found = order.shape[1]  # T, or fewer in a small catalogue
        index[starts, :found] = order
        shares[starts, :found] = visits_of / total.clip(min=1)
    return index, shares
