"""A backend with a fault in each layer but relu, such as one makes by hand.

Each function returns y, and a function from grad_y to the gradients.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from twingrad.core.spec import Array, Arrays, LayerSpec, Settings

name = "wrong"
Pullback = Callable[[Array], dict[str, Any]]


def relu(x: Array) -> tuple[Array, Pullback]:
    return np.where(x <= 0, 0, x), lambda g: {"x": np.where(x <= 0, 0, g)}


def tanh(x: Array) -> tuple[Array, Pullback]:
    y = np.tanh(x)
    return y, lambda g: {"x": 1.001 * g * (1 - y * y)}  # off by 0.1 %


def softmax(x: Array) -> tuple[Array, Pullback]:
    top = x.max(axis=-1, keepdims=True, initial=-np.inf)
    e = np.exp(x - np.where(np.isfinite(top), top, 0))
    total = e.sum(axis=-1, keepdims=True)
    y = e / np.where(total == 0, 1, total)
    return y, lambda g: {"x": y * g}  # not y * (g - sum(y * g))


def layer_norm(
    x: Array, eps: float, weight: Array | None = None, bias: Array | None = None
) -> tuple[Array, Pullback]:
    n = max(x.shape[-1], 1)
    centred = x - x.sum(axis=-1, keepdims=True) / n
    variance = (centred**2).sum(axis=-1, keepdims=True) / max(n - 1, 1)  # not n
    inv_std = 1 / np.sqrt(variance + eps)
    xhat = centred * inv_std
    y = xhat if weight is None else xhat * weight

    def pullback(g: Array) -> dict[str, Any]:
        rows = tuple(range(x.ndim - 1))
        scaled = g if weight is None else g * weight
        mean = scaled.sum(axis=-1, keepdims=True) / n
        along = (scaled * xhat).sum(axis=-1, keepdims=True) / n
        grads = {"x": inv_std * (scaled - mean - xhat * along)}
        grads |= {} if weight is None else {"weight": (g * xhat).sum(axis=rows)}
        return grads | ({} if bias is None else {"bias": g.sum(axis=rows)})

    return y if bias is None else y + bias, pullback


def linear(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Pullback]:
    def pullback(g: Array) -> dict[str, Any]:
        rows = math.prod(x.shape[:-1])
        flat_g, flat_x = g.reshape(rows, g.shape[-1]), x.reshape(rows, x.shape[-1])
        return {"x": g @ weight, "weight": flat_g.T @ flat_x}  # and bias?

    return x @ weight.T if bias is None else x @ weight.T + bias, pullback


def total(x: Array, axis: Any, keepdim: bool) -> tuple[Array, Pullback]:
    y = np.sum(x, axis=axis, keepdims=True, dtype=np.float64)  # never rounded to float32 again
    shape = np.sum(x, axis=axis, keepdims=keepdim).shape
    return y.reshape(shape), lambda g: {"x": np.broadcast_to(g.reshape(y.shape), x.shape).copy()}


LAYERS = {"relu": relu, "tanh": tanh, "softmax": softmax, "layer_norm": layer_norm}
FUNCTIONS: dict[str, Any] = LAYERS | {"linear": linear, "sum": total}


def supports(name: str, dtype: str) -> bool:
    return name in FUNCTIONS and dtype in ("float32", "float64")


def forward(spec: LayerSpec, inputs: Arrays, settings: Settings) -> Array:
    with np.errstate(all="ignore"):
        return FUNCTIONS[spec.name](**inputs, **settings)[0]


def vjp(
    spec: LayerSpec, inputs: Arrays, grad_y: Callable[[Array], Array], settings: Settings
) -> tuple[Array, Arrays]:
    with np.errstate(all="ignore"):
        y, pullback = FUNCTIONS[spec.name](**inputs, **settings)
        return y, pullback(grad_y(y))
