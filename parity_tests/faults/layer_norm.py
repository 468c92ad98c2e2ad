"""Wrong kernels of layer_norm that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import layer_norm
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


@fault("layer_norm", "forward", called="unbiased deviation")
def of_unbiased_std(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Any]:
    """Divided by features - 1, and eps outside the root."""
    std = x.std(axis=-1, ddof=1, keepdims=True) if x.shape[-1] > 1 else np.zeros_like(x)
    xhat = (x - x.mean(axis=-1, keepdims=True)) / (std + eps)
    y = xhat if weight is None else xhat * weight
    _, saved = layer_norm.forward(x, weight, bias, eps)
    return y if bias is None else y + bias, saved


@fault(
    "layer_norm",
    "backward",
    called="one projection",
    breaks=("without eps no gradient along x - mean",),
)
def backward_with_one_projection(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """The mean moves with x, but the variance is taken for a constant."""
    g = grad_y if saved.weight is None else grad_y * saved.weight
    grad_x = saved.inv_std * (g - g.mean(axis=-1, keepdims=True))
    return (grad_x, *layer_norm.backward(grad_y, saved)[1:])


@fault("layer_norm", "forward", called="one-pass variance", breaks=("a shift changes nothing",))
def in_one_pass(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Any]:
    """The variance as E[x^2] - E[x]^2, which cancels."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = np.maximum((x * x).mean(axis=-1, keepdims=True) - mean * mean, 0)
    _, saved = layer_norm.forward(x, weight, bias, eps)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = (x - mean) / np.sqrt(variance + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, saved


@fault("layer_norm", "forward", breaks=("a batch is its parts",))
def of_the_batch(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Any]:
    """One deviation for all rows."""
    y, saved = layer_norm.forward(x, weight, bias, eps)
    pooled = np.full_like(saved.inv_std, saved.inv_std.mean())
    y = saved.xhat / saved.inv_std * pooled
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, saved


@fault("layer_norm", "backward", breaks=("backward twice gives the same twice, bit for bit",))
def backward_in_place(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """What was saved is overwritten on the way."""
    grads = layer_norm.backward(grad_y, saved)
    saved.xhat[...] *= 2
    return grads
