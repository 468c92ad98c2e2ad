"""Where an optimizer should be after each step, and how far rounding may have led it astray."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.spec import Array, Arrays, OptimizerSpec
from twingrad.parity_tests.judge.bounds import roundings
from twingrad.parity_tests.judge.oracle import precise


class Recurrence:
    """An optimizer's recurrence in a higher precision, and the size of what is rounded."""

    def __init__(self, spec: OptimizerSpec, settings: dict[str, Any], weight: Array) -> None:
        self.spec, self.settings = spec, settings
        self.wide = precise(weight.dtype)
        self.weight = weight.astype(self.wide)
        self.state: Arrays = {name: np.zeros_like(self.weight) for name in spec.state}
        self.sizes: Arrays = {name: np.zeros_like(self.weight) for name in spec.state}
        self.allowed = np.zeros_like(self.weight)
        self.unit = float(np.finfo(weight.dtype).eps) / 2
        self.steps = 0

    def step(self, grad: Array) -> None:
        self.steps += 1
        grad = grad.astype(self.wide)
        size = getattr(self, f"_size_of_{self.spec.name}")(grad)
        before = self.weight
        new, arrays = self.spec.definition(
            self.weight, grad, self.state, self.steps, **self.settings
        )
        self.weight, self.state = new, {**self.state, **arrays}
        # Each step rounds the weight three times, and carries the rounding of its update.
        self.allowed = self.allowed + self.unit * (
            3 * np.maximum(np.abs(before), np.abs(new)) + size
        )

    def _size_of_adamw(self, grad: Array) -> Array:
        (beta1, beta2), lr, eps = (self.settings[name] for name in ("betas", "lr", "eps"))
        # A running mean of memory 1 / (1 - beta) carries the roundings of that many steps, and its
        # terms may cancel, so their absolute values are what is rounded.
        sizes = self.sizes["exp_avg"] = beta1 * self.sizes["exp_avg"] + (1 - beta1) * np.abs(grad)
        memory = sum(roundings(min(self.steps, 1 / (1 - beta))) for beta in (beta1, beta2))
        second = beta2 * self.state["exp_avg_sq"] + (1 - beta2) * grad * grad
        if self.settings["amsgrad"]:
            second = np.maximum(second, self.state["max_exp_avg_sq"])
        root = np.sqrt(second / (1 - beta2**self.steps))
        size: Array = (8 + 4 * memory) * lr / (1 - beta1**self.steps) * sizes / (root + eps)
        return size

    def _size_of_sgd(self, grad: Array) -> Array:
        momentum, lr = self.settings["momentum"], self.settings["lr"]
        grad = np.abs(grad) + self.settings["weight_decay"] * np.abs(self.weight)
        sizes = self.sizes["momentum_buffer"] = momentum * self.sizes["momentum_buffer"] + grad
        memory = roundings(min(self.steps, 1 / (1 - momentum)))
        size: Array = (8 + 4 * memory) * lr * (sizes + grad)
        return size
