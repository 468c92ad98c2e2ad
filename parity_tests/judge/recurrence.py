"""Where an optimizer should be after each step, and how far rounding may have led it astray."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.spec import Array, Arrays, OptimizerSpec
from twingrad.parity_tests.judge.oracle import precise
from twingrad.parity_tests.laws.table import required


class Recurrence:
    """An optimizer's recurrence in a higher precision, and the size of what is rounded."""

    def __init__(self, spec: OptimizerSpec, settings: dict[str, Any], weight: Array) -> None:
        self.spec, self.settings = spec, settings
        self.wide = precise(weight.dtype)
        self.weight = weight.astype(self.wide)
        self.state: Arrays = {name: np.zeros_like(self.weight) for name in spec.state}
        # What the optimizer's own page keeps of the sizes of its state.
        self.sizes: Arrays = {name: np.zeros_like(self.weight) for name in spec.state}
        self.allowed = np.zeros_like(self.weight)
        self.unit = float(np.finfo(weight.dtype).eps) / 2
        self.steps = 0

    def step(self, grad: Array) -> None:
        self.steps += 1
        grad = grad.astype(self.wide)
        size = required(self.spec.name, "size")(self, grad)
        before = self.weight
        new, arrays = self.spec.definition(
            self.weight, grad, self.state, self.steps, **self.settings
        )
        self.weight, self.state = new, {**self.state, **arrays}
        # Each step rounds the weight three times, and carries the rounding of its update.
        self.allowed = self.allowed + self.unit * (
            3 * np.maximum(np.abs(before), np.abs(new)) + size
        )
