"""GELU: y = x * Phi(x), or its approximation y = x * sigmoid(2u) by a tanh of u."""

import math
from typing import NamedTuple

import numpy as np

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
    gate, _ = _gate_and_slope(x, approximate)
    y = np.maximum(x, -FAR) * gate
    return y.astype(x.dtype), Saved(x, approximate)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x = grad_y * (gate + x * gate')."""
    gate, slope = _gate_and_slope(saved.x, saved.approximate)
    grad_x = grad_y * (gate + np.clip(saved.x, -FAR, FAR) * slope)
    return (grad_x.astype(grad_y.dtype),)


def _gate_and_slope(x: Array, approximate: str) -> tuple[Array, Array]:
    """Return the gate and its derivative: Phi and phi, or sigmoid(2u) and 2u' e / (1 + e)^2."""
    if approximate == "none":
        return cdf_and_density(x)
    wide = np.clip(x, -FAR, FAR, dtype=np.float64)
    square = wide * wide
    twice_u = 2 * SLOPE * wide * (1 + CUBIC * square)
    e = np.exp(-np.abs(twice_u))
    gate = np.where(twice_u < 0, e, 1) / (1 + e)
    return gate, 2 * SLOPE * (1 + 3 * CUBIC * square) * e / np.square(1 + e)
