"""Wrong kernels of tanh that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import tanh
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


@fault("tanh", "forward", called="overflow in tanh")
def naive(x: Array) -> tuple[Array, Any]:
    """Infinity over infinity for x far below 0, and few digits near 0."""
    e = np.exp(-2 * x)
    return (1 - e) / (1 + e), tanh.forward(x)[1]


def gradient_from_y(grad_y: Array, saved: Any) -> tuple[Array]:
    """1 - y^2 has no digits left once y has rounded to 1: what autograd libraries compute."""
    y, _ = tanh.forward(saved.x)
    return (grad_y * (1 - y * y),)


@fault(
    "tanh",
    "forward",
    breaks=(
        "x near 0, bit for bit",
        "odd, with an even slope, bit for bit",
    ),
)
def by_its_formula(x: Array) -> tuple[Array, Any]:
    """1 - 2 / (e^2x + 1): all digits of a small x are lost."""
    _, saved = tanh.forward(x)
    with np.errstate(over="ignore"):
        return 1 - 2 / (np.exp(2 * x) + 1), saved
