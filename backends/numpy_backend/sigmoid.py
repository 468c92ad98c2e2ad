"""Sigmoid: y = 1 / (1 + e^-x)."""

from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import elementwise
from twingrad.core.spec import Array


class Saved(NamedTuple):
    x: Array


def forward(x: Array) -> tuple[Array, Saved]:
    """Squash each element of x into [0, 1], in float64 rounded once to x's dtype."""
    y = np.empty(x.shape, x.dtype)
    elementwise(_squash, x, y)
    return y, Saved(x)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x.

    grad_x = grad_y * y * (1 - y) = grad_y * e / (1 + e)^2 with e = e^-|x|, without the rounding
    of 1 - y.
    """
    grad_x = np.empty(grad_y.shape, grad_y.dtype)
    elementwise(_slope, grad_y, saved.x, grad_x)
    return (grad_x,)


def from_tail(tail: Array, x: Array) -> Array:
    """Return s(x) where s(x) = 1 - s(-x), given tail = s(-|x|) in float64, which is overwritten.

    It is |1 - tail| where x >= 0 and |0 - tail| elsewhere; nothing cancels, as no tail is above a
    half.
    """
    tail -= (~np.signbit(x)).astype(np.float64)
    return np.abs(tail, out=tail)


def _squash(x: Array, y: Array) -> None:
    tail = _exp_minus_abs(x)
    tail /= 1 + tail
    np.copyto(y, from_tail(tail, x), casting="same_kind")


def _slope(grad_y: Array, x: Array, grad_x: Array) -> None:
    e = _exp_minus_abs(x)
    e /= np.square(1 + e)
    e *= grad_y.astype(np.float64)
    np.copyto(grad_x, e, casting="same_kind")


def _exp_minus_abs(x: Array) -> Array:
    e = np.abs(x).astype(np.float64)
    np.negative(e, out=e)
    return np.exp(e, out=e)  # never above 1, whichever the sign of x
