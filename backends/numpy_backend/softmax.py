"""Softmax: y = e^x / sum(e^x) over the last dimension."""

from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import rows
from twingrad.core.spec import Array


class Saved(NamedTuple):
    y: Array  # (..., n)


def forward(x: Array) -> tuple[Array, Saved]:
    """Turn each row of logits into probabilities; a logit of -inf gets exactly 0.

    Shapes: x (..., n) -> y (..., n). A row of -inf alone gives 0 everywhere.
    """
    y = np.empty(x.shape, x.dtype)
    rows(_normalise, x, y)
    return y, Saved(y)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x = y * (grad_y - sum(grad_y * y))."""
    grad_x = np.empty(grad_y.shape, grad_y.dtype)
    rows(_project, grad_y, saved.y, grad_x)
    return (grad_x,)


def exp_from_top(x: Array) -> tuple[Array, Array, Array]:
    """Return e^(x - top) in float64, the top of each row, and the row's sum, or 1 where it is 0."""
    top = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    # The largest exponent is 0, so nothing overflows; a row of -inf has no largest to subtract.
    top = np.where(np.isneginf(top), 0, top)
    e = x.astype(np.float64)
    e -= top.astype(np.float64)
    np.exp(e, out=e)
    total = e.sum(axis=-1, keepdims=True)
    return e, top, np.where(total == 0, 1, total)


def _normalise(x: Array, y: Array) -> None:
    e, _, total = exp_from_top(x)
    e /= total
    np.copyto(y, e, casting="same_kind")


def _project(grad_y: Array, y: Array, grad_x: Array) -> None:
    np.multiply(grad_y, y, out=grad_x)
    np.subtract(grad_y, grad_x.sum(axis=-1, keepdims=True), out=grad_x)
    grad_x *= y
