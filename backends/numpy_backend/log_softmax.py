"""LogSoftmax: y = x - log(sum(e^x)) over the last dimension."""

from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import rows
from twingrad.core.spec import Array


class Saved(NamedTuple):
    y: Array  # (..., n)


def forward(x: Array) -> tuple[Array, Saved]:
    """Turn each row of logits into log probabilities; a logit of -inf stays -inf.

    Shapes: x (..., n) -> y (..., n).
    """
    y = np.empty(x.shape, x.dtype)
    rows(_normalise, x, y)
    return y, Saved(y)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x = g - e^y * sum(g), with g = grad_y where the logit is not -inf, else 0."""
    grad_x = np.empty(grad_y.shape, grad_y.dtype)
    rows(project, grad_y, saved.y, grad_x)
    return (grad_x,)


def _normalise(x: Array, y: Array) -> None:
    top = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    shifted = np.subtract(x, np.where(np.isneginf(top), 0, top), dtype=np.float64)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    np.subtract(shifted, np.log(np.where(total == 0, 1, total)), out=y, casting="same_kind")


def project(grad_y: Array, y: Array, grad_x: Array) -> None:
    """Write the gradient of a block of rows into grad_x."""
    g = np.where(np.isneginf(y), 0, grad_y)
    p = np.exp(y, dtype=np.float64)
    p *= g.sum(axis=-1, keepdims=True, dtype=np.float64)
    np.subtract(g, p, out=grad_x, casting="same_kind")
