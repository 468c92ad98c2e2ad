"""LogSoftmax: y = x - log(sum(e^x)) over the last dimension."""

from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import rows
from twingrad.backends.numpy_backend.softmax import top_of_each_row
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
    shifted = x.astype(np.float64)
    shifted -= top_of_each_row(x).astype(np.float64)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    shifted -= np.log(np.where(total == 0, 1, total))
    np.copyto(y, shifted, casting="same_kind")


def project(grad_y: Array, y: Array, grad_x: Array) -> None:
    """Write the gradient of a block of rows into grad_x."""
    is_absent = y == -np.inf
    g = np.where(is_absent, 0, grad_y) if is_absent.any() else grad_y
    p = y.astype(np.float64)
    np.exp(p, out=p)
    p *= g.sum(axis=-1, keepdims=True, dtype=np.float64)
    np.subtract(g.astype(np.float64), p, out=p)
    np.copyto(grad_x, p, casting="same_kind")
