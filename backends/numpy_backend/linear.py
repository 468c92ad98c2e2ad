"""Linear: y = x @ weight.T + bias."""

import math
from typing import NamedTuple

from twingrad.backends.numpy_backend.sums import column_sums
from twingrad.core.spec import Array


class Saved(NamedTuple):
    x: Array  # (..., in)
    weight: Array  # (out, in)
    has_bias: bool


def forward(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Saved]:
    """Map each row of x from `in` to `out` features.

    Shapes: x (..., in), weight (out, in), bias (out) -> y (..., out).
    """
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y, Saved(x, weight, bias is not None)


def backward(grad_y: Array, saved: Saved) -> tuple[Array, Array, Array | None]:
    """Return grad_x, grad_weight, grad_bias.

    grad_x = grad_y @ weight, grad_weight = grad_y.T @ x, grad_bias = sum of grad_y over the rows.
    """
    x, weight, has_bias = saved
    rows = math.prod(x.shape[:-1])
    flat_grad_y = grad_y.reshape(rows, weight.shape[0])
    grad_x = grad_y @ weight
    grad_weight = flat_grad_y.T @ x.reshape(rows, weight.shape[1])
    grad_bias = column_sums(flat_grad_y) if has_bias else None
    return grad_x, grad_weight, grad_bias
