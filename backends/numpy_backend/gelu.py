"""GELU: y = x * Phi(x), or its approximation y = x * sigmoid(2u) by a tanh of u."""

import math
from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import elementwise
from twingrad.backends.numpy_backend.normal import tail_and_density
from twingrad.backends.numpy_backend.sigmoid import from_tail
from twingrad.core.spec import Array

CUBIC = 0.044715
SLOPE = math.sqrt(2 / math.pi)  # u = SLOPE * (x + CUBIC * x^3); (1 + tanh(u)) / 2 = sigmoid(2u)
# Further away from 0, no output of that dtype can tell the gate from one that is open or shut.
FAR = {np.dtype(np.float32): 16.0, np.dtype(np.float64): 60.0}


class Saved(NamedTuple):
    x: Array
    approximate: str


def forward(x: Array, approximate: str = "none") -> tuple[Array, Saved]:
    """Weigh each element of x by a gate that opens from 0 to 1, in float64 rounded once.

    At +inf the gate is open and the output is inf; at -inf it is shut and the output is 0.
    """

    def weigh(x: Array, y: Array) -> None:
        near, is_wide = _near(x), x.dtype == np.float64
        gate = _sigmoid(near, is_wide) if approximate == "tanh" else _phi(near, is_wide)[0]
        gate *= near
        np.copyto(y, gate, casting="same_kind")
        if not np.max(x, initial=0) <= FAR[x.dtype]:
            np.copyto(y, x, where=x > FAR[x.dtype])

    y = np.empty(x.shape, x.dtype)
    elementwise(weigh, x, y)
    return y, Saved(x, approximate)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x = grad_y * (gate + x * gate')."""

    def weigh(grad_y: Array, x: Array, grad_x: Array) -> None:
        near, is_wide = _near(x), x.dtype == np.float64
        if saved.approximate == "tanh":
            gate = _sigmoid(near, is_wide)
            slope = _sigmoid_slope(near, gate)
        else:
            gate, slope = _phi(near, is_wide)
        slope *= near
        slope += gate
        slope *= grad_y.astype(np.float64)
        np.copyto(grad_x, slope, casting="same_kind")

    grad_x = np.empty(grad_y.shape, grad_y.dtype)
    elementwise(weigh, grad_y, saved.x, grad_x)
    return (grad_x,)


def _near(x: Array) -> Array:
    """Return x in float64, clipped to where the gate still changes."""
    far = FAR[x.dtype]
    near = x.astype(np.float64)
    if not (np.min(x, initial=0) >= -far and np.max(x, initial=0) <= far):
        np.clip(near, -far, far, out=near)
    return near


def _phi(x: Array, is_wide: bool) -> tuple[Array, Array]:
    """Return the gate Phi(x) and its slope, to float64's digits or to float32's."""
    tail, density = tail_and_density(np.abs(x), is_wide)
    return from_tail(tail, x), density


def _sigmoid(x: Array, is_wide: bool) -> Array:
    """Return the gate sigmoid(2u), to float64's digits or to float32's."""
    return from_tail(_tail(-np.abs(x)), x) if is_wide else _tail(x)


def _sigmoid_slope(x: Array, gate: Array) -> Array:
    """Return the slope of that gate, 2u' * gate * (1 - gate)."""
    slope = x * x
    slope *= 6 * SLOPE * CUBIC
    slope += 2 * SLOPE
    slope *= gate
    slope *= 1 - gate
    return slope


def _tail(x: Array) -> Array:
    """Return sigmoid(2u) = e / (1 + e), where e = e^(2u); of all its digits, if x <= 0."""
    e = x * x
    e *= 2 * SLOPE * CUBIC
    e += 2 * SLOPE
    e *= x
    np.exp(e, out=e)
    e /= 1 + e
    return e
