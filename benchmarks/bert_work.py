"""The training step of a BERT that every library is asked to take, and the least it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from twingrad.benchmarks.measure import Call
from twingrad.core.build import build
from twingrad.core.layers import CrossEntropyLoss
from twingrad.core.optimizers import AdamW
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.model import BertForPretraining

SEED = 0
MASKED = 0.15  # share of the tokens that are to be guessed
TRAFFIC = 6  # times AdamW reads or writes each parameter: it and both moments, in and out


@dataclass(frozen=True)
class BertWork:
    """Sizes of a model and of its batch; pre-norm, tanh GELU, tied decoder, no dropout."""

    hidden: int
    layers: int
    heads: int
    batch: int
    vocabulary: int
    length: int = 128
    dtype: str = "float32"

    @property
    def config(self) -> BertConfig:
        """The model in twingrad's words."""
        return BertConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            layers=self.layers,
            heads=self.heads,
            intermediate_size=4 * self.hidden,
            max_positions=self.length,
            gelu="tanh",
            norm="pre",
            closing_norm=True,
            embedding_norm=False,
            pooler=False,
            transform=False,
            dropout=0.0,
            attention_dropout=0.0,
        )

    @property
    def targets(self) -> int:
        """How many tokens are to be guessed."""
        return max(1, round(MASKED * self.batch * self.length))

    @property
    def flops(self) -> float:
        """What the matrix products need: each forward, and twice as much backward."""
        tokens = self.batch * self.length
        projections = 24 * tokens * self.hidden**2
        attention = 4 * tokens * self.length * self.hidden
        decoder = 2 * self.targets * self.hidden * self.vocabulary
        return 3.0 * (self.layers * (projections + attention) + decoder)

    @property
    def bytes(self) -> float:
        """What AdamW has to read and write."""
        block = 12 * self.hidden**2 + 13 * self.hidden
        outside = (self.vocabulary + self.length + 4) * self.hidden + self.vocabulary
        return float(TRAFFIC * np.dtype(self.dtype).itemsize * (self.layers * block + outside))

    def __str__(self) -> str:
        return (
            f"{self.dtype}, hidden {self.hidden}, {self.layers} layers, {self.heads} heads, "
            f"batch {self.batch}, length {self.length}, vocabulary {self.vocabulary}"
        )


class Batch(NamedTuple):
    """One batch, the same every time."""

    input_ids: Array  # (batch, length)
    positions: Array  # (targets) into the batch * length tokens
    targets: Array  # (targets)


def draw_batch(work: BertWork) -> Batch:
    """Return drawn tokens, and which of them are to be guessed."""
    generator = np.random.default_rng(SEED)
    input_ids = generator.integers(0, work.vocabulary, (work.batch, work.length))
    positions = generator.permutation(input_ids.size)[: work.targets]
    return Batch(
        input_ids, np.sort(positions), generator.integers(0, work.vocabulary, work.targets)
    )


def model_on(backend: str, work: BertWork) -> Any:
    """Return twingrad's model, with the head for masked tokens."""
    recipe = BertForPretraining(work.config, heads=("masked",))
    return build(recipe, backend=backend, seed=SEED, dtype=work.dtype)


def first_weights(work: BertWork) -> dict[str, Array]:
    """Return the weights that every library starts from, by their names in twingrad."""
    weights: dict[str, Array] = model_on("numpy", work).state_dict()
    return weights


def twingrad_step(work: BertWork, backend: str) -> Call:
    """Return what takes a training step on one of twingrad's backends and returns its loss."""
    model, loss_fn = model_on(backend, work), CrossEntropyLoss()
    optimizer = AdamW(model.parameters())
    input_ids, positions, targets = (
        load_backend(backend).tensor(part) for part in draw_batch(work)
    )

    def step() -> Any:
        loss = loss_fn(model(input_ids, positions=positions).masked_logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step
