"""The BERT of the benchmarks in torch.nn alone, with the parameter names of twingrad's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twingrad.benchmarks.bert_work import BertWork, draw_batch, first_weights
from twingrad.benchmarks.measure import Call
from twingrad.benchmarks.peers.torch_training import training_step
from twingrad.models.bert.config import BertConfig


def plain(work: BertWork) -> Call:
    """Return the step, eager, with the AdamW that torch chooses by itself."""
    return _step(work)


def fused(work: BertWork) -> Call:
    """Return the step, eager, with AdamW as one kernel."""
    return _step(work, fused=True)


def compiled(work: BertWork) -> Call:
    """Return the step through torch.compile, with AdamW as one kernel."""
    return _step(work, compile=True, fused=True)


def _step(work: BertWork, **how: bool) -> Call:
    input_ids, positions, targets = (torch.from_numpy(part) for part in draw_batch(work))
    return training_step(
        PlainBert(work.config),
        first_weights(work),
        lambda forward: F.cross_entropy(forward(input_ids, positions), targets),
        **how,
    )


class PlainBert(nn.Module):
    """The encoder with the decoder of masked tokens, whose weight is the embedding's."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = PlainEncoder(config)
        self.masked = nn.ModuleDict({"decoder": nn.Linear(config.hidden_size, config.vocab_size)})
        self.masked["decoder"].weight = self.bert.embeddings.word.weight

    def forward(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """Return logits (targets, vocabulary) of the tokens at `positions`."""
        hidden = self.bert(input_ids).flatten(0, 1)
        logits: Tensor = self.masked["decoder"](hidden[positions])
        return logits


class PlainEncoder(nn.Module):
    """Embeddings, blocks, and a norm at the end."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.embeddings = PlainEmbeddings(config)
        self.layers = nn.ModuleList([PlainBlock(config) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return (batch, length, hidden) of input_ids (batch, length)."""
        x = self.embeddings(input_ids)
        for layer in self.layers:
            x = layer(x)
        y: Tensor = self.norm(x)
        return y


class PlainEmbeddings(nn.Module):
    """What a token is and where it stands; all are of the first segment."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.segment = nn.Embedding(config.segments, config.hidden_size)
        self.position = nn.Parameter(torch.empty(config.max_positions, config.hidden_size))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return (batch, length, hidden) of input_ids (batch, length)."""
        x: Tensor = self.word(input_ids) + self.segment.weight[0]
        return x + self.position[: input_ids.shape[1]]


class PlainBlock(nn.Module):
    """Attention and a feed-forward part, a norm before each."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, wide = config.hidden_size, config.intermediate_size
        self.heads = config.heads
        names = ("query", "key", "value", "output")
        self.attention = nn.ModuleDict({name: nn.Linear(width, width) for name in names})
        self.attention_norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.feed_forward = nn.ModuleDict(
            {"intermediate": nn.Linear(width, wide), "output": nn.Linear(wide, width)}
        )
        self.output_norm = nn.LayerNorm(width, config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, like x (batch, length, hidden)."""
        normed = self.attention_norm(x)
        query, key, value = (
            self.attention[name](normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.attention["output"](seen)
        wide = self.feed_forward["intermediate"](self.output_norm(x))
        y: Tensor = x + self.feed_forward["output"](F.gelu(wide, approximate="tanh"))
        return y
