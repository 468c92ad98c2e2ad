"""GELU: y = x * Phi(x), or its approximation y = x * sigmoid(2u) by a tanh of u.

Both gates are symmetric, gate(x) = 1 - gate(-x), so gate(-|x|) is all that has to be computed.
"""

import math
from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import elementwise
from twingrad.backends.numpy_backend.normal import FAR, tail_and_density
from twingrad.backends.numpy_backend.sigmoid import from_tail
from twingrad.core.spec import Array

CUBIC = 0.044715
SLOPE = math.sqrt(2 / math.pi)  # u = SLOPE * (x + CUBIC * x^3); (1 + tanh(u)) / 2 = sigmoid(2u)


class Saved(NamedTuple):
    x: Array
    approximate: str


def forward(x: Array, approximate: str = "none") -> tuple[Array, Saved]:
    """Weigh each element of x by a gate that opens from 0 to 1, in float64 rounded once.

    At +inf the gate is open and the output is inf; at -inf it is shut and the output is 0.
    """

    def weigh(x: Array, y: Array) -> None:
        size = _size(x)
        if approximate == "none":
            tail, _ = tail_and_density(size, x.dtype == np.float64)
        else:
            tail = _tail(size)
        gate = from_tail(tail, x)
        gate *= np.clip(x, -FAR, np.inf).astype(np.float64)
        np.copyto(y, gate, casting="same_kind")

    y = np.empty(x.shape, x.dtype)
    elementwise(weigh, x, y)
    return y, Saved(x, approximate)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x = grad_y * (gate + x * gate')."""

    def weigh(grad_y: Array, x: Array, grad_x: Array) -> None:
        size = _size(x)
        if saved.approximate == "none":
            tail, slope = tail_and_density(size, x.dtype == np.float64)
        else:
            tail = _tail(size)
            slope = _tail_slope(size, tail)
        slope *= np.clip(x, -FAR, FAR).astype(np.float64)
        slope += from_tail(tail, x)
        slope *= grad_y.astype(np.float64)
        np.copyto(grad_x, slope, casting="same_kind")

    grad_x = np.empty(grad_y.shape, grad_y.dtype)
    elementwise(weigh, grad_y, saved.x, grad_x)
    return (grad_x,)


def _size(x: Array) -> Array:
    """Return |x| in float64, of all that is far away the same."""
    size: Array = np.abs(np.clip(x, -FAR, FAR)).astype(np.float64)
    return size


def _tail(size: Array) -> Array:
    """Return sigmoid(-2u) = e / (1 + e), where e = e^(-2u) and x = `size` >= 0."""
    e = size * size
    e *= -2 * SLOPE * CUBIC
    e -= 2 * SLOPE
    e *= size
    np.exp(e, out=e)
    e /= 1 + e
    return e


def _tail_slope(size: Array, tail: Array) -> Array:
    """Return 2u' * sigmoid(-2u) * sigmoid(2u)."""
    slope = size * size
    slope *= 6 * SLOPE * CUBIC
    slope += 2 * SLOPE
    slope *= tail
    slope *= 1 - tail
    return slope
