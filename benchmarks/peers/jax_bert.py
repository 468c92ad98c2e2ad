"""The BERT of the benchmarks in JAX, compiled with its optimizer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from twingrad.benchmarks.bert_work import BertWork, draw_batch, first_weights
from twingrad.benchmarks.measure import Call
from twingrad.benchmarks.pages import cross_entropy, layer_norm, linear
from twingrad.benchmarks.peers.jax_training import Weights, training_step, use_dtype

LINEAR, LAYER_NORM, CROSS_ENTROPY = linear.jax(), layer_norm.jax(), cross_entropy.jax()


def step(work: BertWork) -> Call:
    """Return what takes a training step and returns its loss."""
    use_dtype(work.dtype)
    input_ids, positions, targets = (jnp.array(part) for part in draw_batch(work))
    weights = first_weights(work)
    weights.pop("masked.decoder.weight", None)  # it is the embedding's

    def loss(weights: Weights) -> Any:
        hidden = _encode(weights, work, input_ids).reshape(-1, work.hidden)
        word, bias = weights["bert.embeddings.word.weight"], weights["masked.decoder.bias"]
        return CROSS_ENTROPY(LINEAR(hidden[positions], word, bias), targets)

    return training_step(loss, weights)


def _encode(weights: Weights, work: BertWork, input_ids: Any) -> Any:
    eps = work.config.layer_norm_eps

    def dense(name: str, x: Any) -> Any:
        return LINEAR(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, x: Any) -> Any:
        return LAYER_NORM(x, weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    x = weights["bert.embeddings.word.weight"][input_ids]
    x = x + weights["bert.embeddings.segment.weight"][0]
    x = x + weights["bert.embeddings.position"][: work.length]
    for index in range(work.layers):
        block = f"bert.layers.{index}"
        normed = norm(f"{block}.attention_norm", x)
        query, key, value = (
            dense(f"{block}.attention.{name}", normed).reshape(*x.shape[:2], work.heads, -1)
            for name in ("query", "key", "value")
        )
        seen = jax.nn.dot_product_attention(query, key, value).reshape(x.shape)
        x = x + dense(f"{block}.attention.output", seen)
        wide = dense(f"{block}.feed_forward.intermediate", norm(f"{block}.output_norm", x))
        x = x + dense(f"{block}.feed_forward.output", jax.nn.gelu(wide, approximate=True))
    return norm("bert.norm", x)
