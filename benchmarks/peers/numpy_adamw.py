"""AdamW for libraries that differentiate NumPy and bring no such optimizer: its definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twingrad.core.catalogue import OPTIMIZERS
from twingrad.core.spec import Array, Arrays


class NumpyAdamW:
    """Changes arrays in place by their gradients, one after the other."""

    def __init__(self, weights: Sequence[Array]) -> None:
        self.weights = weights
        names = ("exp_avg", "exp_avg_sq")
        self.states: list[Arrays] = [
            {name: np.zeros_like(weight) for name in names} for weight in weights
        ]
        self.steps = 0

    def step(self, grads: Sequence[Array]) -> None:
        """Take one step; `grads` are in the order of the weights, each like its weight."""
        spec = OPTIMIZERS["adamw"]
        self.steps += 1
        for number, (weight, grad) in enumerate(zip(self.weights, grads, strict=True)):
            weight[...], self.states[number] = spec.definition(
                weight, grad, self.states[number], self.steps, **spec.defaults()
            )
