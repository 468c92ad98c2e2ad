"""ReLU: y = max(x, 0)."""

from typing import NamedTuple

import numpy as np

from twingrad.core.spec import Array


class Saved(NamedTuple):
    is_off: Array  # where x <= 0


def forward(x: Array) -> tuple[Array, Saved]:
    """Keep what is above 0."""
    return np.maximum(x, x.dtype.type(0)), Saved(x <= 0)


def backward(grad_y: Array, saved: Saved) -> tuple[Array]:
    """Return grad_x = grad_y where x > 0, else 0."""
    return (np.where(saved.is_off, grad_y.dtype.type(0), grad_y),)
