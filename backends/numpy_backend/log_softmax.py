"""LogSoftmax: y = x - log(sum(e^x)) over the last dimension."""

from typing import NamedTuple

import numpy as np

from twingrad.core.spec import Array


class Saved(NamedTuple):
    y: Array  # (..., n)


def forward(x: Array) -> tuple[Array, Saved]:
    """Turn each row of logits into log probabilities; a logit of -inf stays -inf.

    Shapes: x (..., n) -> y (..., n).
    """
    top = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    shifted = np.subtract(x, np.where(np.isneginf(top), 0, top), dtype=np.float64)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    y = shifted - np.log(np.where(total == 0, 1, total))
    y = y.astype(x.dtype)
    return y, Saved(y)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x = g - e^y * sum(g), with g = grad_y where the logit is not -inf, else 0."""
    (y,) = saved
    g = np.where(np.isneginf(y), 0, grad_y)
    total = g.sum(axis=-1, keepdims=True, dtype=np.float64)
    return ((g - np.exp(y, dtype=np.float64) * total).astype(grad_y.dtype),)
