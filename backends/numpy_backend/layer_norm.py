"""LayerNorm: y = xhat * weight + bias, where xhat is x with mean 0 and variance 1 in each row."""

import math
from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.sums import column_sums
from twingrad.core.spec import Array


class Saved(NamedTuple):
    xhat: Array  # (..., features)
    inv_std: Array  # (..., 1)
    weight: Array | None  # (features)
    has_bias: bool


def forward(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Saved]:
    """Normalise each row of x, then scale and shift it.

    Shapes: x (..., features), weight and bias (features) -> y (..., features).
    Variance is the biased one (divide by features, not features - 1).
    """
    mean = _row_mean(x)
    # A second pass takes the rounding out of the mean, so a constant row is centred to exactly 0.
    mean += _row_mean(x - mean)
    centred = x - mean
    inv_std = 1 / np.sqrt(_row_mean(centred * centred) + eps)
    xhat = centred * inv_std
    y = xhat if weight is None else xhat * weight
    y = y if bias is None else y + bias
    return y, Saved(xhat, inv_std, weight, bias is not None)


def backward(grad_y: Array, saved: Saved) -> tuple[Array, Array | None, Array | None]:
    """Return grad_x, grad_weight, grad_bias.

    grad_x = inv_std * (g - mean(g) - xhat * mean(g * xhat)) with g = grad_y * weight.
    """
    xhat, inv_std, weight, has_bias = saved
    g = grad_y if weight is None else grad_y * weight
    # Two projections: mean and variance both move with x, so both directions drop out.
    grad_x = inv_std * (g - _row_mean(g) - xhat * _row_mean(g * xhat))
    rows, features = math.prod(xhat.shape[:-1]), xhat.shape[-1]
    flat_grad_y = grad_y.reshape(rows, features)
    grad_weight = None
    if weight is not None:
        grad_weight = column_sums(flat_grad_y * xhat.reshape(rows, features))
    grad_bias = column_sums(flat_grad_y) if has_bias else None
    return grad_x, grad_weight, grad_bias


def _row_mean(x: Array) -> Array:
    mean: Array = x.sum(axis=-1, keepdims=True) / x.dtype.type(x.shape[-1])
    return mean
