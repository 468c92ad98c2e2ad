"""The multilayer perceptron of the benchmarks in tinygrad, captured by its JIT."""

from __future__ import annotations

from typing import Any

from tinygrad import Context, Tensor, TinyJit
from tinygrad.nn.optim import AdamW

from twingrad.benchmarks.bench_mlp import MlpWork, draw_batch, first_weights
from twingrad.benchmarks.measure import Call


def step(work: MlpWork) -> Call:
    """Return what takes a training step and returns its loss."""
    x, target = (Tensor(array).realize() for array in draw_batch(work))
    weights = [Tensor(array).realize() for array in first_weights(work).values()]
    optimizer = AdamW(weights)

    def step_on(x: Tensor, target: Tensor) -> Tensor:
        y = x
        for index in range(0, len(weights), 2):
            y = y.tanh() if index else y
            y = y.linear(weights[index].T, weights[index + 1])
        loss = y.binary_crossentropy_logits(target)
        optimizer.zero_grad()
        loss.backward()
        # Together, so that the loss is not computed from the new weights.
        return loss.realize(*optimizer.schedule_step())

    captured = TinyJit(step_on)

    def take_step() -> Any:
        with Context(TRAINING=1):
            return captured(x, target).item()  # waits until it is computed

    return take_step
