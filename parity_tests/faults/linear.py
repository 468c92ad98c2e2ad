"""Wrong kernels of linear that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import linear
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


@fault(
    "linear", "backward", called="bias averaged", breaks=("the bias gets the sum of the upstream",)
)
def with_bias_averaged(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """The bias' gradient is a mean over the rows, not their sum."""
    grad_x, grad_weight, grad_bias = linear.backward(grad_y, saved)
    rows = max(grad_y.size // max(grad_y.shape[-1], 1), 1)
    return (
        grad_x,
        grad_weight,
        None if grad_bias is None else grad_bias / grad_bias.dtype.type(rows),
    )


@fault("linear", "forward", breaks=("one-hot weights pick, bit for bit",))
def with_rounded_weights(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Any]:
    """Multiplied in half precision, as some units do by themselves."""
    _, saved = linear.forward(x, weight, bias)
    y = (x.astype(np.float16) @ weight.T.astype(np.float16)).astype(x.dtype)
    return y if bias is None else y + bias, saved
