"""Linear: y = x @ weight.T + bias."""

import math
from typing import NamedTuple

from twingrad.backends.numpy_backend.sums import column_sums
from twingrad.core.spec import Array


class Saved(NamedTuple):
    x: Array | None  # (..., in); None if grad_weight is not wanted
    weight: Array | None  # (out, in); None if grad_x is not wanted
    has_bias: bool


def forward(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Saved]:
    """Map each row of x from `in` to `out` features.

    Shapes: x (..., in), weight (out, in), bias (out) -> y (..., out).
    """
    y = _rows(x) @ weight.T
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], weight.shape[0]), Saved(x, weight, bias is not None)


def spared(saved: Saved, is_wanted: tuple[bool, ...]) -> Saved:
    """Return `saved` without what only gradients need that are not wanted."""
    for_x, for_weight, for_bias = is_wanted
    return Saved(saved.x if for_weight else None, saved.weight if for_x else None, for_bias)


def backward(grad_y: Array, saved: Saved) -> tuple[Array | None, Array | None, Array | None]:
    """Return grad_x, grad_weight, grad_bias.

    grad_x = grad_y @ weight, grad_weight = grad_y.T @ x, grad_bias = sum of grad_y over the rows.
    """
    x, weight, has_bias = saved
    grad_rows = _rows(grad_y)
    grad_x = None
    if weight is not None:
        grad_x = (grad_rows @ weight).reshape(*grad_y.shape[:-1], weight.shape[1])
    grad_weight = None if x is None else grad_rows.T @ _rows(x)
    grad_bias = column_sums(grad_rows) if has_bias else None
    return grad_x, grad_weight, grad_bias


def _rows(x: Array) -> Array:
    """Return x (..., features) as one matrix: one large product beats one for each of a batch."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
