"""Embedding: y = weight[ids]."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.catalogue import register_layer
from twingrad.core.contract import Tensor
from twingrad.core.errors import SettingError
from twingrad.core.module import Module, Parameter, apply, length_of
from twingrad.core.random import Normal
from twingrad.core.spec import Array, Integer, LayerSpec


def embedding(ids: Array, weight: Array, padding_idx: int | None = None) -> Array:
    # The row of padding_idx is a constant: no step along it is seen.
    rows = np.arange(len(weight))[:, None]
    y: Array = np.where(rows == padding_idx, weight.real, weight)[ids]
    return y


SPEC = LayerSpec(
    name="embedding",
    formula="y = weight[ids]",
    inputs={"ids": "...", "weight": "n d"},
    indices={"ids": "n"},
    output="... d",
    source="torch.nn.functional.embedding",
    definition=embedding,
    settings={"padding_idx": Integer(None, place="n")},
    meaning=(
        "ids outside 0...n-1 are refused; the gradients of an id that occurs twice add up; the row "
        "of padding_idx is read as any other, and its gradient is exactly 0"
    ),
)
register_layer(SPEC)


class Embedding(Module):
    """A row of weight (num_embeddings, embedding_dim) for each id; that of padding_idx is 0.

    A negative padding_idx counts from the end, as in torch.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        super().__init__()
        self.num_embeddings = length_of("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = length_of("Embedding", "embedding_dim", embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise SettingError(
                f"Embedding: padding_idx must be within num_embeddings = {num_embeddings}; "
                f"got {padding_idx!r}"
            )
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        initial = Normal(1.0, zero_row=self.padding_idx)
        self.weight: Any = Parameter((num_embeddings, embedding_dim), initial)

    def forward(self, ids: Any) -> Tensor:
        inputs = {"ids": ids, "weight": self.weight}
        return apply(self, "embedding", inputs, padding_idx=self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
