"""How far a backend may be from the definition: u times a running magnitude, for every tensor.

The bound of an element is u * W + tiny, where u is the dtype's unit roundoff and W sums up, over
the operations that lead to the element, the size of each intermediate result times the number of
roundings it carries: the same expression as the layer's, on absolute values, computed in the
judging precision. It is what a sound implementation in the dtype can guarantee, and it grows with
the condition of the problem, not with the number of elements that were looked at. What libraries
really need of it is measured, and frozen as a constant c for each tensor: see constants.py.

A sum of n terms carries `roundings(n)`: n at the worst, and 8 sqrt(n) with a chance of failure of
2e-14 (Higham and Mary 2019, doi:10.1137/18M1226312, theorem 2.4 with lambda = 8). The constants
below are the roundings of the remaining operations, counted on the formula; a function such as exp
counts 4, since vector libraries err by up to 2 units in the last place, log 8, and a root 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from twingrad.core.layers.attention import visible_pairs
from twingrad.core.layers.dropout import dropout
from twingrad.core.layers.log_softmax import log_softmax
from twingrad.core.layers.sigmoid import sigmoid
from twingrad.core.layers.softmax import softmax
from twingrad.core.layers.tanh import tanh
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.constants import constant
from twingrad.parity_tests.judge.oracle import precise
from twingrad.parity_tests.judge.strategies import Case

Weights = dict[str, Any]  # "y", and "grad_<input>" for each differentiable input

EXACT: Any = 0  # the result is an input's element, or nothing was rounded
BASIC, FUNCTION, LOG = 1, 4, 8  # roundings of + - * /; of exp, tanh, erf; of log and log1p


def roundings(n: int) -> float:
    """Return how many roundings a sum of n terms carries."""
    return max(min(float(n), 8 * math.sqrt(n)), 1.0)


def bounds(case: Case) -> dict[str, Array]:
    """Return the largest error allowed in each element of y and of each gradient."""
    name, dtype = case.spec.name, case.dtype
    return {
        what: scaled(constant(name, what, str(dtype)), room, dtype)
        for what, room in derived(case).items()
    }


def scaled(share: float, room: Any, dtype: np.dtype[Any]) -> Array:
    """Return a share of a derived bound, but at least what a flush to 0 costs where it is not 0."""
    least = 4 * float(np.finfo(dtype).smallest_normal)
    return np.where(np.asarray(room) == 0, 0, np.maximum(share * room, least))


def derived(case: Case) -> dict[str, Array]:
    """Return the error in each element of y and of each gradient that rounding can explain."""
    info = np.finfo(case.dtype)
    wide = {
        name: x.astype(precise(case.dtype)) if x.dtype.kind == "f" else x
        for name, x in case.inputs.items()
    }
    grad_y = np.abs(case.grad_y.astype(precise(case.dtype)))
    with np.errstate(all="ignore"):
        weights = BOUNDS[case.spec.name](grad_y, **wide, **case.settings)
    unit = np.finfo(precise(case.dtype)).dtype.type(info.eps) / 2
    return {name: unit * weight + _underflow(case, weight) for name, weight in weights.items()}


def _underflow(case: Case, weight: Any) -> float:
    # Vector units may flush what is below the smallest normal number to 0, in every term.
    if np.isscalar(weight) and weight == EXACT:
        return 0.0
    terms = max(x.size for x in case.inputs.values()) + case.grad_y.size + 1
    gain = GAINS[case.spec.name](**case.inputs) if case.spec.name in GAINS else 1.0
    return float(np.finfo(case.dtype).smallest_normal) * terms * gain


def _linear(g: Array, x: Array, weight: Array, bias: Array | None = None) -> Weights:
    size = np.abs(x) @ np.abs(weight).T + (0 if bias is None else np.abs(bias))
    out, width = weight.shape
    rows = math.prod(x.shape[:-1])
    flat_g, flat_x = g.reshape(rows, out), np.abs(x).reshape(rows, width)
    weights = {
        "y": roundings(width + 1) * size,
        "grad_x": roundings(out) * (g @ np.abs(weight)),
        "grad_weight": roundings(rows) * (flat_g.T @ flat_x),
    }
    return (
        weights if bias is None else weights | {"grad_bias": roundings(rows) * flat_g.sum(axis=0)}
    )


def _tanh(g: Array, x: Array) -> Weights:
    # 1 - y^2, as autograd has it, is right to one unit of 1, however small it is.
    return {"y": FUNCTION * np.abs(tanh(x)), "grad_x": (FUNCTION + 2 * BASIC) * g}


def _sigmoid(g: Array, x: Array) -> Weights:
    return {
        "y": (FUNCTION + 2 * BASIC) * sigmoid(x),
        "grad_x": (FUNCTION + 2 * BASIC) * g,
    }


def _relu(g: Array, x: Array) -> Weights:
    return {"y": EXACT, "grad_x": EXACT}


def _gelu(g: Array, x: Array, approximate: str) -> Weights:
    # x (1 + erf) / 2, as most libraries have it, is right to one unit of x, however small it is.
    slope = np.zeros_like(x)
    if approximate == "tanh":
        # So is 1 - tanh(u)^2, until tanh has rounded to 1, and x * u' multiplies it.
        near = np.clip(x, -8, 8)
        slope = np.abs(near) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near * near)
    return {
        "y": (FUNCTION + 4 * BASIC) * np.abs(x),
        "grad_x": (2 * FUNCTION + 8 * BASIC + 2 * BASIC * slope) * g,
    }


def _shift(x: Array) -> tuple[Array, Array]:
    """Return |x - max| at each finite logit, and the largest of them in each row."""
    finite = np.isfinite(x)
    top = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    shift = np.where(finite, np.abs(x - np.where(np.isfinite(top), top, 0)), 0)
    return shift, np.max(shift, axis=-1, keepdims=True, initial=0)


def _softmax(g: Array, x: Array) -> Weights:
    y, (_, largest) = softmax(x), _shift(x)
    # exp turns an absolute error of its argument into a relative one of its value.
    relative = 2 * (FUNCTION + BASIC * largest) + roundings(x.shape[-1])
    inner = g + (g * y).sum(axis=-1, keepdims=True)
    return {"y": relative * y, "grad_x": (2 * relative + 4 * BASIC) * y * inner}


def _log_softmax(g: Array, x: Array) -> Weights:
    y, (shift, largest) = softmax(x), _shift(x)
    summed = roundings(x.shape[-1]) + FUNCTION + LOG
    log_total = np.log(max(x.shape[-1], 1))
    relative = 2 * (FUNCTION + BASIC * (largest + log_total)) + summed
    return {
        "y": 2 * BASIC * (shift + log_total) + summed,
        "grad_x": 2 * BASIC * g + relative * y * g.sum(axis=-1, keepdims=True),
    }


def _layer_norm(
    g: Array, x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Weights:
    n = x.shape[-1]
    inv_std = 1 / np.sqrt(_mean(np.square(x - _mean(x))) + eps)
    xhat = np.abs(x - _mean(x)) * inv_std
    # Centring cancels: the error is one of the largest x, and inv_std magnifies it.
    condition = 1 + np.max(np.abs(x), axis=-1, keepdims=True, initial=0) * inv_std
    count = 8 * BASIC + roundings(n) / 4
    scale = 1 if weight is None else np.abs(weight)
    inner = g * scale
    error_of_xhat = condition * (1 + xhat)
    grad_x = inv_std * condition * (inner + _mean(inner) + (1 + xhat) * _mean(inner * (1 + xhat)))
    rows = math.prod(x.shape[:-1])
    flat = (rows, n)
    weights = {
        "y": count * error_of_xhat * scale + (0 if bias is None else 2 * BASIC * np.abs(bias)),
        "grad_x": 2 * count * grad_x,
    }
    if weight is not None:
        per_row = (g * error_of_xhat).reshape(flat)
        weights["grad_weight"] = (count + roundings(rows)) * per_row.sum(axis=0)
    if bias is not None:
        weights["grad_bias"] = roundings(rows) * g.reshape(flat).sum(axis=0)
    return weights


def _mean(x: Array) -> Array:
    mean: Array = x.sum(axis=-1, keepdims=True) / max(x.shape[-1], 1)
    return mean


def _attention(
    g: Array,
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    keep: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
    p: float = 0.0,
) -> Weights:
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else abs(scale)
    visible = visible_pairs(query, key, mask, causal)
    sizes = np.where(visible, scale * (np.abs(query) @ np.abs(key).swapaxes(-1, -2)), 0)
    scores = np.where(visible, scale * (query @ key.swapaxes(-1, -2)), -np.inf)
    weights = softmax(scores)
    _, shift = _shift(scores)
    (q, d), (k, v) = query.shape[-2:], value.shape[-2:]
    largest = np.max(sizes, axis=-1, keepdims=True, initial=0)
    relative = 2 * (FUNCTION + shift + (roundings(d) + 2) * largest) + roundings(k)
    multiplier: Any = 1.0
    if keep is not None:
        multiplier = dropout(np.ones_like(weights), np.broadcast_to(keep, weights.shape), p)
    kept = weights * multiplier
    grad_weights = (g @ np.abs(value).swapaxes(-1, -2)) * multiplier
    inner = grad_weights + (grad_weights * weights).sum(axis=-1, keepdims=True)
    grad_scores = (2 * relative + roundings(v) + 6) * weights * inner
    return {
        "y": (relative + roundings(k) + 2) * (kept @ np.abs(value)),
        "grad_query": scale * ((1 + roundings(k) / 4) * grad_scores @ np.abs(key)),
        "grad_key": scale * ((1 + roundings(q) / 4) * grad_scores.swapaxes(-1, -2) @ np.abs(query)),
        "grad_value": (
            ((relative + 2) * kept).swapaxes(-1, -2) + roundings(q) * kept.swapaxes(-1, -2)
        )
        @ g,
    }


def _dropout(g: Array, x: Array, keep: Array, p: float) -> Weights:
    # The multiplier is rounded once, the product once more.
    kept = dropout(np.ones_like(x), keep, p)
    return {"y": 2 * BASIC * np.abs(x) * kept, "grad_x": 2 * BASIC * g * kept}


def _bce_with_logits(
    g: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: str = "mean",
) -> Weights:
    positive = np.abs(target if pos_weight is None else pos_weight * target)
    negative = np.abs(1 - target)
    scale = 1 if weight is None else np.abs(weight)
    tail = np.log1p(np.exp(-np.abs(x)))
    parts = positive * (tail + np.maximum(-x, 0)) + negative * (tail + np.maximum(x, 0))
    loss = (LOG + FUNCTION + 4 * BASIC) * scale * parts
    grad = (2 * FUNCTION + 6 * BASIC) * scale * (positive + negative)
    if reduction == "none":
        return {"y": loss, "grad_x": g * grad}
    count = max(x.size, 1) if reduction == "mean" else 1
    total = loss.sum() + roundings(x.size) * (scale * parts).sum()
    return {"y": total / count, "grad_x": g * grad / count}


def _bce_gain(
    x: Array, target: Array, weight: Array | None = None, pos_weight: Array | None = None
) -> float:
    if pos_weight is None:
        return 1.0
    # pos_weight * target, times a loss of up to |x|, times weight.
    factors = (x,) if weight is None else (x, weight)
    return math.prod(float(np.abs(a[np.isfinite(a)]).max(initial=1)) for a in factors)


def _embedding(g: Array, ids: Array, weight: Array, padding_idx: int | None = None) -> Weights:
    total, counts = np.zeros_like(weight), np.zeros(len(weight))
    np.add.at(total, ids, g)
    np.add.at(counts, ids, 1)
    if padding_idx is not None:
        total[padding_idx] = 0
    sums = np.array([roundings(int(count)) for count in counts])
    return {"y": EXACT, "grad_weight": sums[:, None] * total}


def _cross_entropy(
    g: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Weights:
    classes = x.shape[-1]
    surprise, logits = -log_softmax(x), _log_softmax(np.ones_like(x), x)
    counted = (target != ignore_index)[..., None]
    each = np.ones(classes, x.dtype) if weight is None else np.abs(weight)
    is_target = counted & (np.arange(classes) == target[..., None])
    parts = is_target * each * (1 - label_smoothing) + counted * each * (label_smoothing / classes)
    # What is absent, or has no part, is left out.
    size = np.where((parts == 0) | np.isinf(surprise), 0, parts * np.abs(surprise))
    of_logits = np.where(parts == 0, 0, parts * logits["y"])
    sums = roundings(classes) if label_smoothing else 0
    loss = (of_logits + (4 * BASIC + sums) * size).sum(axis=-1)
    present = np.where(np.isneginf(x), 0, parts)
    whole = present.sum(axis=-1, keepdims=True)
    # What the gradient of log_softmax costs for an upstream gradient of -parts.
    grad = _log_softmax(present, x)["grad_x"] + (4 * BASIC + sums) * (present + softmax(x) * whole)
    if reduction == "none":
        return {"y": loss, "grad_x": g[..., None] * grad}
    count = (is_target * each).sum() if reduction == "mean" else 1
    rows = roundings(target.size)
    total = loss.sum() + 2 * rows * size.sum()
    scale = 1 / count if count else 1
    return {"y": total * scale, "grad_x": g * scale * (1 + rows / 4) * grad}


def _summed(weight: Array, shape: tuple[int, ...]) -> Array:
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


def _add(g: Array, x: Array, y: Array) -> Weights:
    return {"y": np.abs(x + y), "grad_x": _summed(g, x.shape), "grad_y": _summed(g, y.shape)}


def _mul(g: Array, x: Array, y: Array) -> Weights:
    return {
        "y": np.abs(x * y),
        "grad_x": _summed(g * np.abs(y), x.shape),
        "grad_y": _summed(g * np.abs(x), y.shape),
    }


def _div(g: Array, x: Array, y: Array) -> Weights:
    return {
        "y": np.abs(x / y),
        "grad_x": _summed(2 * g / np.abs(y), x.shape),
        "grad_y": _summed(4 * g * np.abs(x / y / y), y.shape),
    }


def _pow(g: Array, x: Array, y: Array) -> Weights:
    power = np.abs(x**y)
    relative = FUNCTION + LOG
    return {
        "y": relative * power,
        "grad_x": _summed(
            relative * g * np.abs(y) * (power / np.abs(x)) * (1 + np.abs(np.log(x))), x.shape
        ),
        "grad_y": _summed(2 * relative * g * power * np.abs(np.log(x)), y.shape),
    }


def _matmul(g: Array, x: Array, y: Array) -> Weights:
    rows, columns = (x[None] if x.ndim == 1 else x), (y[:, None] if y.ndim == 1 else y)
    wide = np.expand_dims(g, -1) if y.ndim == 1 else g
    wide = np.expand_dims(wide, -2) if x.ndim == 1 else wide
    grad_x = roundings(columns.shape[-1]) * (wide @ np.abs(columns).swapaxes(-1, -2))
    grad_y = roundings(rows.shape[-2]) * (np.abs(rows).swapaxes(-1, -2) @ wide)
    return {
        "y": roundings(x.shape[-1]) * (np.abs(x) @ np.abs(y)),
        "grad_x": _summed(grad_x, rows.shape).reshape(x.shape),
        "grad_y": _summed(grad_y, columns.shape).reshape(y.shape),
    }


def _sum(g: Array, x: Array, axis: Any, keepdim: bool) -> Weights:
    total = np.asarray(np.abs(x).sum(axis=axis, keepdims=keepdim))
    return {"y": roundings(x.size // max(total.size, 1)) * total, "grad_x": EXACT}


def _mean_over(g: Array, x: Array, axis: Any, keepdim: bool) -> Weights:
    weight = _sum(g, x, axis, keepdim)["y"]
    count = max(x.size // max(weight.size, 1), 1)
    kept = np.asarray(np.abs(x).sum(axis=axis, keepdims=True)).shape
    spread = np.broadcast_to(g.reshape(kept), x.shape)
    return {"y": 2 * weight / count, "grad_x": 2 * BASIC * spread / count}


def _getitem(g: Array, x: Array, index: Any) -> Weights:
    total = np.zeros_like(x)
    np.add.at(total, index, g)
    return {"y": EXACT, "grad_x": roundings(max(g.size, 1)) * total}


def _moved(g: Array, **inputs: Any) -> Weights:
    return {
        "y": EXACT,
        **{f"grad_{name}": EXACT for name, x in inputs.items() if isinstance(x, np.ndarray)},
    }


BOUNDS: dict[str, Callable[..., Weights]] = {
    "linear": _linear,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "relu": _relu,
    "gelu": _gelu,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "layer_norm": _layer_norm,
    "attention": _attention,
    "dropout": _dropout,
    "embedding": _embedding,
    "bce_with_logits": _bce_with_logits,
    "cross_entropy": _cross_entropy,
    "add": _add,
    "sub": lambda g, x, y: _add(g, x, -y),
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "neg": _moved,
    "exp": lambda g, x: {"y": FUNCTION * np.exp(x), "grad_x": (FUNCTION + BASIC) * g * np.exp(x)},
    "log": lambda g, x: {"y": LOG * np.abs(np.log(x)), "grad_x": BASIC * g / x},
    "sqrt": lambda g, x: {"y": 2 * BASIC * np.sqrt(x), "grad_x": 4 * BASIC * g / np.sqrt(x)},
    "matmul": _matmul,
    "sum": _sum,
    "mean": _mean_over,
    "reshape": _moved,
    "transpose": _moved,
    "getitem": _getitem,
    "concat": _moved,
}

# What an intermediate result that was flushed to 0 may be multiplied with later, if by more than 1.
GAINS: dict[str, Callable[..., float]] = {"bce_with_logits": _bce_gain}
