"""LayerNorm: y = xhat * weight + bias, where xhat is x with mean 0 and variance 1 in each row."""

from typing import NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.blocks import rows
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
    y = np.empty(x.shape, x.dtype)
    xhat = np.empty(x.shape, x.dtype)
    inv_std = np.empty((*x.shape[:-1], 1), x.dtype)

    def normalise(x: Array, y: Array, xhat: Array, inv_std: Array) -> None:
        mean = _row_mean(x)
        # A second pass takes the rounding out of the mean: a constant row is centred to exactly 0.
        mean += _row_mean(np.subtract(x, mean, out=y))
        np.subtract(x, mean, out=xhat)
        inv_std[...] = 1 / np.sqrt(_row_mean(xhat, xhat) + eps)
        xhat *= inv_std
        np.multiply(xhat, 1 if weight is None else weight, out=y)
        if bias is not None:
            y += bias

    rows(normalise, x, y, xhat, inv_std)
    return y, Saved(xhat, inv_std, weight, bias is not None)


def backward(grad_y: Array, saved: Saved) -> tuple[Array, Array | None, Array | None]:
    """Return grad_x, grad_weight, grad_bias.

    grad_x = inv_std * (g - mean(g) - xhat * mean(g * xhat)) with g = grad_y * weight.
    """
    xhat, inv_std, weight, has_bias = saved
    grad_x = np.empty(grad_y.shape, grad_y.dtype)

    def project(
        grad_y: Array, xhat: Array, inv_std: Array, grad_x: Array
    ) -> tuple[Array | None, Array | None]:
        product = grad_y * xhat
        grad_weight = None if weight is None else column_sums(product)
        grad_bias = column_sums(grad_y) if has_bias else None
        # Two projections: mean and variance both move with x, so both directions drop out.
        np.multiply(xhat, _row_mean(product, weight), out=product)
        g = grad_y if weight is None else grad_y * weight
        np.subtract(g, _row_mean(g), out=grad_x)
        grad_x -= product
        grad_x *= inv_std
        return grad_weight, grad_bias

    parts = rows(project, grad_y, xhat, inv_std, grad_x)
    grad_weight, grad_bias = (
        None if group[0] is None else np.sum(group, axis=0, dtype=np.float64).astype(grad_y.dtype)
        for group in zip(*parts, strict=True)
    )
    return grad_x, grad_weight, grad_bias


def _row_mean(x: Array, factor: Array | None = None) -> Array:
    """Return the mean of each row (..., n) of x, or of x * factor -> (..., 1)."""
    n = x.shape[-1]
    mean: Array = np.vecdot(x, np.ones(n, x.dtype) if factor is None else factor)[..., None]
    mean /= x.dtype.type(n)
    return mean
