"""Embeddings of texts: the mean of the tokens' vectors, or that of the first token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from twingrad.core.errors import SettingError
from twingrad.core.spec import Array
from twingrad.core.state import to_numpy
from twingrad.models.bert.texts import Padded, encode, in_batches
from twingrad.models.bert.tokenizer import Tokenizer

POOLINGS = ("mean", "cls")


def embed_texts(
    model: Any,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pooling: str = "mean",
    normalize: bool = False,
    batch_size: int = 32,
    length: int | None = None,
) -> Array:
    """Return a vector for each text from a built Bert; `length` is the most tokens of a text.

    The mean is over all real tokens, [CLS] and [SEP] among them; padding is left out.
    `normalize` scales every vector to length 1. Shape: (texts, hidden_size), float32.
    Raises SettingError for an unknown pooling.
    """
    check_pooling(pooling)

    def vectors(batch: Padded) -> Array:
        hidden: Array = to_numpy(model(*batch).hidden)
        if pooling == "cls":
            first: Array = hidden[:, 0]
            return first
        mask = batch.attention_mask[:, :, None]
        total: Array = np.where(mask, hidden, 0).sum(axis=1, dtype=np.float64)
        mean: Array = total / mask.sum(axis=1)
        return mean

    encoded = encode(tokenizer, texts, None, length or model.config.max_positions)
    result = in_batches(model, vectors, encoded, tokenizer.pad_id, batch_size)
    if normalize:
        size = np.linalg.norm(result.astype(np.float64), axis=1, keepdims=True)
        result = result / np.where(size == 0, 1, size)
    return result.astype(np.float32)


def check_pooling(pooling: str) -> None:
    """Raise SettingError for an unknown pooling."""
    if pooling not in POOLINGS:
        raise SettingError(f"must be one of {', '.join(POOLINGS)}; got {pooling!r}", "pooling")
