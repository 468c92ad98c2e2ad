"""RMSNorm by hand: y = x / sqrt(mean(x^2) + eps) * weight."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Saved(NamedTuple):
    xhat: Array  # (..., features)
    inv_rms: Array  # (..., 1)
    weight: Array | None


def forward(x: Array, weight: Array | None = None, eps: float = 1e-6) -> tuple[Array, Saved]:
    """Divide each row of x by its root mean square, then scale it.

    Shapes: x (..., features), weight (features) -> y (..., features). Squares are added in float64.
    """
    inv_rms = (1 / np.sqrt(_row_mean(x * x) + eps)).astype(x.dtype)
    xhat = x * inv_rms
    return xhat if weight is None else xhat * weight, Saved(xhat, inv_rms, weight)


def backward(grad_y: Array, saved: Saved) -> tuple[Array, Array | None]:
    """Return grad_x and grad_weight.

    With g = grad_y * weight: grad_x = inv_rms * (g - xhat * mean(g * xhat)), and grad_weight is the
    sum of grad_y * xhat over the rows.
    """
    xhat, inv_rms, weight = saved
    g = grad_y if weight is None else grad_y * weight
    grad_x = inv_rms * (g - xhat * _row_mean(g * xhat).astype(g.dtype))
    if weight is None:
        return grad_x, None
    rows = math.prod(grad_y.shape[:-1])
    product = (grad_y * xhat).reshape(rows, len(weight))
    return grad_x, product.sum(axis=0, dtype=np.float64).astype(g.dtype)


def _row_mean(x: Array) -> Array:
    total: Array = x.sum(axis=-1, keepdims=True, dtype=np.float64)
    return total / x.shape[-1]
