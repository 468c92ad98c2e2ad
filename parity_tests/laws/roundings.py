"""How many roundings an operation carries: what the bounds of all pages are made of.

A sum of n terms carries `roundings(n)`: n at the worst, and 8 sqrt(n) with a chance of failure of
2e-14 (Higham and Mary 2019, doi:10.1137/18M1226312, theorem 2.4 with lambda = 8). The constants are
those of the other operations: a function such as exp counts 4, since vector libraries err by up to
2 units in the last place, log 8, and a root 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from twingrad.core.spec import Array

Weights = dict[str, Any]  # "y", and "grad_<input>" for each differentiable input

EXACT: Any = 0  # the result is an input's element, or nothing was rounded
BASIC, FUNCTION, LOG = 1, 4, 8  # roundings of + - * /; of exp, tanh, erf; of log and log1p


def roundings(n: int) -> float:
    """Return how many roundings a sum of n terms carries."""
    return max(min(float(n), 8 * math.sqrt(n)), 1.0)


def summed(weight: Array, shape: tuple[int, ...]) -> Array:
    """Return the weight of what is summed over all axes along which `shape` was stretched."""
    lead = weight.ndim - len(shape)
    axes = tuple(
        axis
        for axis in range(weight.ndim)
        if axis < lead or shape[axis - lead] != weight.shape[axis]
    )
    total = weight.sum(axis=axes, keepdims=True)
    count = weight.size // max(total.size, 1)
    extra = roundings(count) if axes else 0
    return np.asarray((1 + extra) * total).reshape(shape)
