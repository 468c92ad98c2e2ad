"""Dropout: y = x / (1 - p) where keep, else 0."""

from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import elementwise
from twingrad.core.spec import Array


class Saved(NamedTuple):
    keep: Array
    p: float


def forward(x: Array, keep: Array, p: float = 0.5) -> tuple[Array, Saved]:
    """Keep some elements of x, scaled so that the expected sum stays, and drop the others.

    `keep` is drawn outside, with probability 1 - p of True. A dropped NaN or inf is gone too.
    """
    keep = keep if p < 1 else np.zeros_like(keep)
    return _scale_kept(x, keep, p), Saved(keep, p)


def backward(grad_y: Array, saved: Saved) -> tuple[Array, None]:
    """Return grad_x = grad_y / (1 - p) where keep, else 0, and None for keep."""
    return _scale_kept(grad_y, saved.keep, saved.p), None


def _scale_kept(x: Array, keep: Array, p: float) -> Array:
    multiplier = x.dtype.type(1 / (1 - p) if p < 1 else 0)

    def scale(x: Array, keep: Array, y: Array) -> None:
        np.multiply(x, multiplier, out=y)
        bits = y.view(f"u{y.itemsize}")
        bits *= keep  # and not the number: a dropped NaN is gone

    y = np.empty(x.shape, x.dtype)
    elementwise(scale, x, keep, y)
    return y
