"""Softmax: y = e^x / sum(e^x) over the last dimension."""

from typing import NamedTuple

import numpy as np

from twingrad.core.spec import Array


class Saved(NamedTuple):
    y: Array  # (..., n)


def forward(x: Array) -> tuple[Array, Saved]:
    """Turn each row of logits into probabilities; a logit of -inf gets exactly 0.

    Shapes: x (..., n) -> y (..., n). A row of -inf alone gives 0 everywhere.
    """
    y = normalised_exp(x).astype(x.dtype)
    return y, Saved(y)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x = y * (grad_y - sum(grad_y * y))."""
    (y,) = saved
    return (y * (grad_y - (grad_y * y).sum(axis=-1, keepdims=True)),)


def normalised_exp(x: Array) -> Array:
    """Return e^x / sum(e^x) over the last dimension, in float64."""
    top = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    # The largest exponent is 0, so nothing overflows; a row of -inf has no largest to subtract.
    e = np.exp(np.subtract(x, np.where(np.isneginf(top), 0, top), dtype=np.float64))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)
