"""Small networks on bags of units: mean pooling and gated attention (Ilse et al. 2018).

They are seeded without touching torch's global state.

Letters in names: b bag (case), k unit of a bag, d feature, h hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from kronos_sc._core.arrays import writable
from kronos_sc._core.rng import integer
from kronos_sc._methods.case_splits import draw_split, training_counts
from kronos_sc._methods.threads import one_thread

_BATCH = 16  # bags per step


@dataclass(frozen=True)
class Bags:
    """Units of cases.

    Parameters
    ----------
    units
        Rows of all bags (n × d, float32).
    rows
        Row numbers of each bag.
    labels
        Class of each bag (int64).
    """

    units: np.ndarray
    rows: list[np.ndarray]
    labels: np.ndarray

    def batch(self, bags: np.ndarray, most: int | None, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return units (b × k × d) and which of them are present (b × k, bool).

        At most `most` of each bag, drawn without replacement; all of them if None.
        """
        drawn = [self.rows[b] if most is None else rng.permutation(self.rows[b])[:most] for b in bags]

        # bags differ in size: they are filled up to the longest, and what is filled in counts nowhere
        longest = max(map(len, drawn))
        index = np.zeros((len(drawn), longest), np.int64)
        present = np.zeros(index.shape, bool)
        for position, rows in enumerate(drawn):
            index[position, : len(rows)] = rows
            present[position, : len(rows)] = True
        return torch.from_numpy(writable(self.units[index])), torch.from_numpy(writable(present))


@dataclass(frozen=True)
class Training:
    """How a network is trained: AdamW on class-balanced cross-entropy.

    `validation` is the share of bags that choose the best epoch.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    validation: float
    bag_size: int | None
    device: str


class _Dropout(nn.Module):
    """Dropout that draws from a generator of its own."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self.share = share
        self.generator = generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.share == 0:
            return x
        kept = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.share
        return x * kept / (1 - self.share)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a layer drawn as torch draws it by default, from `generator`."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    bound = inputs**-0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class MeanPool(nn.Module):
    """Mean of the units, then a hidden layer."""

    def __init__(
        self,
        width: int,
        n_classes: int,
        *,
        hidden: int,
        dropout: float,
        generators: tuple[torch.Generator, torch.Generator],
    ) -> None:
        super().__init__()
        weights, dropout_generator = generators
        self.project = _linear(width, hidden, weights)
        self.classify = _linear(hidden, n_classes, weights)
        self.dropout = _Dropout(dropout, dropout_generator)

    def forward(self, x_bkd: torch.Tensor, present_bk: torch.Tensor) -> torch.Tensor:
        mean_bd = (x_bkd * present_bk[..., None]).sum(1) / present_bk.sum(1, keepdim=True)
        return self.classify(self.dropout(torch.relu(self.project(mean_bd))))


class GatedAttention(nn.Module):
    """Weighted mean of hidden units.

    Weights are softmax(w · (tanh(V h) ⊙ sigmoid(U h))), equation 9 of Ilse et al. (2018).
    """

    def __init__(
        self,
        width: int,
        n_classes: int,
        *,
        hidden: int,
        attention: int,
        dropout: float,
        generators: tuple[torch.Generator, torch.Generator],
    ) -> None:
        super().__init__()
        weights, dropout_generator = generators
        self.project = _linear(width, hidden, weights)
        self.classify = _linear(hidden, n_classes, weights)
        self.value = _linear(hidden, attention, weights)
        self.gate = _linear(hidden, attention, weights)
        self.score = _linear(attention, 1, weights)
        self.dropout = _Dropout(dropout, dropout_generator)

    def weights(self, h_bkh: torch.Tensor, present_bk: torch.Tensor) -> torch.Tensor:
        """Return attention (b × k), summing to 1 over the units that are present."""
        score_bk = self.score(torch.tanh(self.value(h_bkh)) * torch.sigmoid(self.gate(h_bkh))).squeeze(-1)
        return score_bk.masked_fill(~present_bk, -torch.inf).softmax(dim=-1)

    def forward(self, x_bkd: torch.Tensor, present_bk: torch.Tensor) -> torch.Tensor:
        h_bkh = self.dropout(torch.relu(self.project(x_bkd)))
        pooled_bh = (self.weights(h_bkh, present_bk)[..., None] * h_bkh).sum(1)
        return self.classify(pooled_bh)


Build = Callable[..., nn.Module]  # takes the two generators, of weights and of dropout, as `generators`


def bag_proba(
    build: Build,
    bags: Bags,
    train: np.ndarray,
    test: np.ndarray,
    n_classes: int,
    training: Training,
    rng: np.random.Generator,
) -> np.ndarray:
    """Train on the bags `train` and return probabilities of the bags `test` (test × classes, float64)."""
    weights = torch.Generator()
    dropout = torch.Generator(training.device)
    weights.manual_seed(integer(rng))
    dropout.manual_seed(integer(rng))
    net = build(generators=(weights, dropout)).to(training.device)
    validation = train[:0]
    if training.validation > 0:
        counts = np.bincount(bags.labels[train], minlength=n_classes)
        fit, hold = draw_split(bags.labels[train], training_counts(counts, 1 - training.validation), rng)
        train, validation = train[fit], train[hold]
    with one_thread():
        _fit(net, bags, train, validation, n_classes, training, rng)
        net.eval()
        with torch.inference_mode():
            logits = torch.cat([_logits(net, bags, test[i : i + 1], None, training, rng) for i in range(len(test))])
    return logits.double().softmax(dim=1).cpu().numpy()


def _fit(
    net: nn.Module,
    bags: Bags,
    train: np.ndarray,
    validation: np.ndarray,
    n_classes: int,
    training: Training,
    rng: np.random.Generator,
) -> None:
    """Train in place; with bags in `held`, end with the weights of the epoch that explained them best."""
    labels = torch.from_numpy(writable(bags.labels)).to(training.device)
    counts = np.bincount(bags.labels[train], minlength=n_classes)
    balance = len(train) / (n_classes * np.maximum(counts, 1))
    loss_of = nn.CrossEntropyLoss(weight=torch.tensor(balance, dtype=torch.float32, device=training.device))
    optimiser = torch.optim.AdamW(net.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    best_loss = np.inf
    best_weights = None
    for _ in range(training.epochs):
        net.train()
        for batch in _batches(train, rng):
            loss = loss_of(_logits(net, bags, batch, training.bag_size, training, rng), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if len(validation):
            net.eval()
            with torch.inference_mode():
                loss_now = float(loss_of(_logits(net, bags, validation, None, training, rng), labels[validation]))
            if loss_now < best_loss:
                best_loss = loss_now
                best_weights = {name: value.clone() for name, value in net.state_dict().items()}
    if best_weights is not None:
        net.load_state_dict(best_weights)


def _batches(bags: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    order = rng.permutation(bags)
    yield from (order[i : i + _BATCH] for i in range(0, len(order), _BATCH))


def _logits(
    net: nn.Module, bags: Bags, chosen: np.ndarray, most: int | None, training: Training, rng: np.random.Generator
) -> torch.Tensor:
    units, present = bags.batch(chosen, most, rng)
    return net(units.to(training.device), present.to(training.device))
