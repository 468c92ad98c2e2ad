"""Wrong kernels of sigmoid that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import sigmoid
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


def naive(x: Array) -> tuple[Array, Any]:
    """e^-x overflows for x far below 0."""
    return 1 / (1 + np.exp(-x)), sigmoid.forward(x)[1]


@fault("sigmoid", "backward", breaks=("slope even, from 0 to 1/4",))
def backward_by_y(grad_y: Array, saved: Any) -> tuple[Array]:
    """y instead of y * (1 - y)."""
    y, _ = sigmoid.forward(saved.x)
    return (grad_y * y,)
