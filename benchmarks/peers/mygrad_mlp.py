"""The multilayer perceptron of the benchmarks in MyGrad."""

from __future__ import annotations

from typing import Any

import mygrad as mg
import numpy as np

from twingrad.benchmarks.bench_mlp import MlpWork, draw_batch, first_weights
from twingrad.benchmarks.measure import Call
from twingrad.benchmarks.peers.numpy_adamw import NumpyAdamW


def step(work: MlpWork) -> Call:
    """Return what takes a training step and returns its loss."""
    x, target = draw_batch(work)
    weights = [mg.tensor(array) for array in first_weights(work).values()]
    optimizer = NumpyAdamW([weight.data for weight in weights])
    zero = np.zeros((), work.dtype)  # Python's 0 would make everything after it float64

    def take_step() -> Any:
        y = x
        for index in range(0, len(weights), 2):
            y = mg.tanh(y) if index else y
            y = mg.matmul(y, weights[index].T) + weights[index + 1]
        loss = mg.mean(mg.logaddexp(zero, y) - y * target)
        loss.backward()
        optimizer.step([weight.grad for weight in weights])
        for weight in weights:
            weight.null_grad()
        return loss

    return take_step
