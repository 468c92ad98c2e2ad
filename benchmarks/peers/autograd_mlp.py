"""The multilayer perceptron of the benchmarks in autograd."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
from autograd import value_and_grad

from twingrad.benchmarks.bench_mlp import MlpWork, draw_batch, first_weights
from twingrad.benchmarks.measure import Call
from twingrad.benchmarks.peers.numpy_adamw import NumpyAdamW


def step(work: MlpWork) -> Call:
    """Return what takes a training step and returns its loss."""
    x, target = draw_batch(work)
    weights = [*first_weights(work).values()]
    optimizer = NumpyAdamW(weights)

    def loss(weights: Any) -> Any:
        y = x
        for index in range(0, len(weights), 2):
            y = anp.tanh(y) if index else y
            y = anp.dot(y, weights[index].T) + weights[index + 1]
        return anp.mean(anp.logaddexp(0, y) - y * target)

    loss_and_gradients = value_and_grad(loss)

    def take_step() -> Any:
        value, grads = loss_and_gradients(weights)
        optimizer.step(grads)
        return value

    return take_step
