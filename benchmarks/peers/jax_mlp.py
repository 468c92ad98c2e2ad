"""The multilayer perceptron of the benchmarks in JAX, compiled with its optimizer."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from twingrad.benchmarks.bench_mlp import MlpWork, draw_batch, first_weights
from twingrad.benchmarks.measure import Call
from twingrad.benchmarks.pages import bce_with_logits, linear
from twingrad.benchmarks.peers.jax_training import Weights, training_step, use_dtype


def step(work: MlpWork) -> Call:
    """Return what takes a training step and returns its loss."""
    use_dtype(work.dtype)
    x, target = (jnp.array(array) for array in draw_batch(work))
    first = first_weights(work)
    dense, loss_of = linear.jax(), bce_with_logits.jax()
    layers = [name.removesuffix(".weight") for name in first if name.endswith(".weight")]

    def loss(weights: Weights) -> Any:
        y = x
        for index, layer in enumerate(layers):
            y = jnp.tanh(y) if index else y
            y = dense(y, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        return loss_of(y, target)

    return training_step(loss, first)
