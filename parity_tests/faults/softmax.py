"""Wrong kernels of softmax that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import softmax
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


@fault("softmax", "backward", called="sum forgotten", breaks=("gradients of a row cancel",))
def without_the_sum(grad_y: Array, saved: Any) -> tuple[Array]:
    """The rows' common part is not taken out."""
    return (saved.y * grad_y,)


@fault("softmax", "backward", called="invisible to ones")
def backward_for_ones(grad_y: Array, saved: Any) -> tuple[Array]:
    """Wrong by a factor of -3, which an upstream gradient of ones would never show."""
    (grad_x,) = softmax.backward(grad_y, saved)
    return (-3 * grad_x,)


@fault("softmax", "forward", breaks=("an integer shift changes nothing, bit for bit",))
def without_the_shift(x: Array) -> tuple[Array, Any]:
    """e^x as it stands, in the dtype's own range."""
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(x)
        y = e / e.sum(axis=-1, keepdims=True)
    return y, softmax.Saved(y)
