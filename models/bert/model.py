"""BERT, written once for every backend: embeddings, blocks, and the two heads of pretraining.

Devlin et al. 2019, arXiv:1810.04805; the blocks are those of Vaswani et al. 2017, arXiv:1706.03762.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from twingrad.core.contract import Tensor
from twingrad.core.errors import ShapeError
from twingrad.core.layers import GELU, Dropout, Embedding, LayerNorm, Linear, Tanh
from twingrad.core.module import (
    Module,
    ModuleList,
    Parameter,
    apply,
    backend_for,
    draw_keep,
    recompute,
)
from twingrad.core.random import Constant, Draws, Normal
from twingrad.core.spec import Array
from twingrad.models.bert.config import BertConfig


class Encoded(NamedTuple):
    """What the encoder returns."""

    hidden: Tensor  # (batch, length, hidden_size)
    pooled: Tensor  # (batch, hidden_size): of the first token, as a vector for the whole text
    hidden_states: tuple[Tensor, ...] = ()  # the embeddings, then each block's output
    attentions: tuple[Tensor, ...] = ()  # (batch, heads, length, length) of each block


class Bert(Module):
    """The encoder: a vector for each token, and one for the text."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.recomputes = False  # set it to trade time for memory: blocks then run twice
        self.embeddings = Embeddings(config)
        self.layers = ModuleList([Block(config) for _ in range(config.layers)])
        self.norm = _norm(config) if config.closing_norm else None
        self.pooler = _linear(config, config.hidden_size, config.hidden_size)
        if not config.pooler:
            self.pooler = None
        self.tanh = Tanh()

    def forward(
        self,
        input_ids: Any,
        segment_ids: Any = None,
        attention_mask: Any = None,
        return_all: bool = False,
    ) -> Encoded:
        """Encode a batch of texts.

        Shapes: input_ids and segment_ids (batch, length) of integers, attention_mask
        (batch, length), True where there is a token -> see Encoded.
        """
        batch, length = input_ids.shape
        mask = None
        if attention_mask is not None:
            mask = attention_mask.data.reshape(batch, 1, 1, length)  # no gradient flows to it
        x = self.embeddings(input_ids, segment_ids)
        states, maps = [x], []
        for layer in self.layers:
            if self.recomputes and self.training and not return_all:
                x, seen = recompute(layer, _output_of(layer), x, mask), None
            else:
                x, seen = layer(x, mask, return_all)
            states.append(x)
            maps.append(seen)
        if self.norm is not None:
            x = self.norm(x)
        first = x[:, 0]
        pooled = first if self.pooler is None else self.tanh(self.pooler(first))
        return Encoded(x, pooled, *((tuple(states), tuple(maps)) if return_all else ()))


class Embeddings(Module):
    """The sum of the embeddings of each token, its segment and its position."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.word = _embedding(config, config.vocab_size, config.pad_id)
        self.segment = _embedding(config, config.segments)
        self.position: Any = None
        if config.position == "learned":
            shape = (config.max_positions, config.hidden_size)
            self.position = Parameter(shape, Normal(config.initializer_range))
        self.norm = _norm(config) if config.embedding_norm else None
        self.dropout = Dropout(config.dropout)

    def forward(self, input_ids: Any, segment_ids: Any = None) -> Tensor:
        length = input_ids.shape[1]
        if length > self.config.max_positions:
            raise ShapeError(
                f"bert: max_positions is {self.config.max_positions}, so texts must have at most "
                f"as many tokens; got {length}"
            )
        x = self.word(input_ids)
        x = x + (self.segment.weight[0] if segment_ids is None else self.segment(segment_ids))
        if self.position is not None:
            x = x + self.position[:length]
        else:
            table = sinusoids(length, self.config.hidden_size)
            x = x + backend_for(self, "embedding", {"x": x}).constant(table, x)
        return self.dropout(x if self.norm is None else self.norm(x))


class Block(Module):
    """Attention and a feed-forward part, each with a residual sum and a norm after or before it."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.is_pre_norm = config.norm == "pre"
        self.attention = SelfAttention(config)
        self.attention_norm = _norm(config)
        self.feed_forward = FeedForward(config)
        self.output_norm = _norm(config)
        self.dropout = Dropout(config.dropout)
        self.output_dropout = Dropout(config.dropout)

    def forward(self, x: Any, mask: Any = None, need_map: bool = False) -> tuple[Tensor, Any]:
        """Return the block's output, like x, and its attention weights or None.

        Shapes: x (batch, length, hidden_size), mask (batch, 1, 1, length).
        """
        if self.is_pre_norm:
            seen, weights = self.attention(self.attention_norm(x), mask, need_map)
            x = x + self.dropout(seen)
            return x + self.output_dropout(self.feed_forward(self.output_norm(x))), weights
        seen, weights = self.attention(x, mask, need_map)
        x = self.attention_norm(x + self.dropout(seen))
        return self.output_norm(x + self.output_dropout(self.feed_forward(x))), weights


class SelfAttention(Module):
    """Attention of every token to all others, in several heads."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads, self.p = config.heads, config.attention_dropout
        self.query, self.key, self.value, self.output = (
            _linear(config, width, width) for _ in range(4)
        )
        self.draws = Draws(0, "attention")

    def forward(self, x: Any, mask: Any = None, need_map: bool = False) -> tuple[Tensor, Any]:
        batch, length, width = x.shape

        def split(projected: Any) -> Tensor:
            apart = projected.reshape(batch, length, self.heads, width // self.heads)
            return apart.transpose(1, 2)

        inputs = {"query": split(self.query(x)), "key": split(self.key(x)), "mask": mask}
        settings: dict[str, Any] = {}
        if self.training and self.p:
            shape = (batch, self.heads, length, length)
            inputs["keep"] = draw_keep(self, x, shape, self.p)
            settings["p"] = self.p
        value = split(self.value(x))
        seen = apply(self, "attention", {**inputs, "value": value}, **settings)
        weights = None
        if need_map:
            # With an identity matrix as value, attention returns its weights.
            eye = np.broadcast_to(np.eye(length), (batch, self.heads, length, length))
            rows = backend_for(self, "attention", {"x": x}).constant(eye, x)
            weights = apply(self, "attention", {**inputs, "value": rows}, **settings)
        joined = seen.transpose(1, 2).reshape(batch, length, width)
        return self.output(joined), weights


class FeedForward(Module):
    """Two layers with a GELU between them, the same for every token."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.intermediate = _linear(config, config.hidden_size, config.intermediate_size)
        self.gelu = GELU(config.gelu)
        self.output = _linear(config, config.intermediate_size, config.hidden_size)

    def forward(self, x: Any) -> Tensor:
        return self.output(self.gelu(self.intermediate(x)))


class MaskedTokenHead(Module):
    """Logits of the vocabulary for some of the hidden vectors."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform: Any = None
        if config.transform:
            self.transform = _linear(config, config.hidden_size, config.hidden_size)
            self.gelu, self.norm = GELU(config.gelu), _norm(config)
        self.decoder = _linear(config, config.hidden_size, config.vocab_size)

    def forward(self, x: Any) -> Tensor:
        if self.transform is not None:
            x = self.norm(self.gelu(self.transform(x)))
        return self.decoder(x)


class PretrainingLogits(NamedTuple):
    """What the model for pretraining returns; None for a missing head."""

    masked_logits: Tensor  # (targets, vocab_size)
    next_logits: Tensor  # (batch, 2): B follows A, B is from elsewhere


class BertForPretraining(Module):
    """The encoder with the heads of pretraining: which token was masked, and does B follow A.

    `heads` names those that it has; published models often have only one of the two.
    """

    def __init__(self, config: BertConfig, heads: Collection[str] = ("masked", "next")) -> None:
        super().__init__()
        self.config = config
        self.heads = tuple(heads)
        self.bert = Bert(config)
        self.masked: Any = None
        if "masked" in heads:
            self.masked = MaskedTokenHead(config)
            if config.tied:
                self.masked.decoder.weight = self.bert.embeddings.word.weight
        self.next = _linear(config, config.hidden_size, 2) if "next" in heads else None

    def forward(
        self,
        input_ids: Any,
        segment_ids: Any = None,
        attention_mask: Any = None,
        positions: Any = None,
    ) -> PretrainingLogits:
        """Return the logits of the tokens at `positions`, or of all, and those of the pair.

        Shapes: input_ids, segment_ids, attention_mask (batch, length); positions (targets) into
        the batch * length tokens.
        """
        encoded = self.bert(input_ids, segment_ids, attention_mask)
        next_logits = self.next(encoded.pooled) if self.next is not None else None
        if self.masked is None:
            return PretrainingLogits(None, next_logits)
        batch, length, width = encoded.hidden.shape
        tokens = encoded.hidden.reshape(batch * length, width)
        if positions is not None:
            # A look-up of rows: logits of all tokens would fill the memory, and few are needed.
            tokens = apply(self, "embedding", {"ids": positions, "weight": tokens})
        return PretrainingLogits(self.masked(tokens), next_logits)


class BertForClassification(Module):
    """The encoder with a classifier of texts."""

    def __init__(self, config: BertConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classes = classes
        self.bert = Bert(config)
        p = config.classifier_dropout
        self.dropout = Dropout(config.dropout if p is None else p)
        self.classifier = _linear(config, config.hidden_size, classes)

    def forward(
        self, input_ids: Any, segment_ids: Any = None, attention_mask: Any = None
    ) -> Tensor:
        """Return logits (batch, classes) of texts (batch, length)."""
        encoded = self.bert(input_ids, segment_ids, attention_mask)
        return self.classifier(self.dropout(encoded.pooled))


def _output_of(block: Any) -> Callable[[Any, Any], Tensor]:
    return lambda x, mask: block(x, mask)[0]


def sinusoids(length: int, width: int) -> Array:
    """Return a sine and a cosine of each position in turn (Vaswani et al. 2017, section 3.5).

    Shape: (length, width), width even.
    """
    rates = np.exp(np.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = np.arange(length)[:, None] * rates
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width)


def _linear(config: BertConfig, in_features: int, out_features: int) -> Any:
    layer = Linear(in_features, out_features)
    layer.weight = Parameter((out_features, in_features), Normal(config.initializer_range))
    layer.bias = Parameter((out_features,), Constant(0.0))
    return layer


def _embedding(config: BertConfig, rows: int, zero_row: int | None = None) -> Embedding:
    layer = Embedding(rows, config.hidden_size)
    initial = Normal(config.initializer_range, zero_row)
    layer.weight = Parameter((rows, config.hidden_size), initial)
    return layer


def _norm(config: BertConfig) -> Any:
    return LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
