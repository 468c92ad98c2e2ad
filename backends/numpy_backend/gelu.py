"""GELU: y = x * Phi(x), or its approximation y = x * sigmoid(2u) by a tanh of u.

Both gates are symmetric, gate(x) = 1 - gate(-x), so their tail at -|x| is all that is computed:
y = max(x, 0) - |x| * gate(-|x|), in which nothing cancels.
"""

import math
from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import elementwise
from twingrad.backends.numpy_backend.normal import FAR, tail_and_density
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
        size = np.minimum(np.abs(x), FAR).astype(np.float64)
        if approximate == "none":
            shut, _ = tail_and_density(size, x.dtype == np.float64)
        else:
            shut = _tail(size)
        shut *= size
        np.subtract(np.maximum(x, 0), shut, out=y, casting="same_kind")
        np.copysign(y, x, out=y)  # so that -0 stays -0

    y = np.empty(x.shape, x.dtype)
    elementwise(weigh, x, y)
    return y, Saved(x, approximate)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x = grad_y * (gate + x * gate').

    With q = gate(-|x|) - |x| * gate'(x) that is grad_y * (1 - q) above 0 and grad_y * q below.
    """

    def weigh(grad_y: Array, x: Array, grad_x: Array) -> None:
        near = np.clip(x, -FAR, FAR).astype(np.float64)
        size = np.abs(near)
        if saved.approximate == "none":
            shut, slope = tail_and_density(size, x.dtype == np.float64)
        else:
            shut = _tail(size)
            slope = _tail_slope(size, shut)
        slope *= near
        np.copysign(shut, near, out=shut)
        shut -= slope
        np.subtract(~np.signbit(x), shut, out=shut)
        np.multiply(grad_y, shut, out=grad_x, casting="same_kind")

    grad_x = np.empty(grad_y.shape, grad_y.dtype)
    elementwise(weigh, grad_y, saved.x, grad_x)
    return (grad_x,)


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
