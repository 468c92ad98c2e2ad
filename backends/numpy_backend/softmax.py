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


def top_of_each_row(x: Array) -> Array:
    """Return what to subtract from each row (..., n), so that no e^x overflows -> (..., 1)."""
    top: Array = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    top[np.isneginf(top)] = 0  # -inf - (-inf) would be NaN
    return top


def _normalise(x: Array, y: Array) -> None:
    e = x.astype(np.float64)
    e -= top_of_each_row(x).astype(np.float64)
    np.exp(e, out=e)
    total = e.sum(axis=-1, keepdims=True)
    e /= np.where(total == 0, 1, total)
    np.copyto(y, e, casting="same_kind")


def _project(grad_y: Array, y: Array, grad_x: Array) -> None:
    np.multiply(grad_y, y, out=grad_x)
    np.subtract(grad_y, grad_x.sum(axis=-1, keepdims=True), out=grad_x)
    grad_x *= y
