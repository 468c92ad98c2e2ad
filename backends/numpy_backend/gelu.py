"""GELU: y = x * Phi(x), or its approximation y = x * sigmoid(2u) by a tanh of u."""

import math
from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import elementwise
from twingrad.backends.numpy_backend.normal import FAR, cdf_and_density
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
        gate, _ = _gate_and_slope(x, approximate)
        np.multiply(np.maximum(x, -FAR), gate, out=y, casting="same_kind")

    y = np.empty(x.shape, x.dtype)
    elementwise(weigh, x, y)
    return y, Saved(x, approximate)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x = grad_y * (gate + x * gate')."""

    def weigh(grad_y: Array, x: Array, grad_x: Array) -> None:
        gate, slope = _gate_and_slope(x, saved.approximate)
        slope *= np.clip(x, -FAR, FAR)
        slope += gate
        np.multiply(grad_y, slope, out=grad_x, casting="same_kind")

    grad_x = np.empty(grad_y.shape, grad_y.dtype)
    elementwise(weigh, grad_y, saved.x, grad_x)
    return (grad_x,)


def _gate_and_slope(x: Array, approximate: str) -> tuple[Array, Array]:
    """Return the gate and its derivative: Phi and phi, or sigmoid(2u) and 2u' e / (1 + e)^2."""
    if approximate == "none":
        return cdf_and_density(x)
    wide = np.clip(x, -FAR, FAR).astype(np.float64)
    square = wide * wide
    twice_u = square * (2 * SLOPE * CUBIC)
    twice_u += 2 * SLOPE
    twice_u *= wide
    e = np.abs(twice_u)
    np.negative(e, out=e)
    np.exp(e, out=e)
    once_more = 1 / (1 + e)
    slope = square
    slope *= 3 * CUBIC
    slope += 1
    slope *= 2 * SLOPE
    slope *= e
    slope *= once_more
    slope *= once_more
    gate = np.where(twice_u < 0, e, 1)
    gate *= once_more
    return gate, slope
