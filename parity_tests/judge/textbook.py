"""Every layer's formula once more, in mpmath: the oracle of many digits.

Inputs are NumPy arrays of mpmath numbers. Nothing here is written for stability: at 60 digits no
formula loses any that matter. A gradient is a central difference, right to about 30 digits, with a
step that fits the size of the number that is moved, and digits enough to see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

from twingrad.core.catalogue import LAYERS
from twingrad.core.spec import Array, Arrays
from twingrad.parity_tests.judge.strategies import Case

DIGITS = 60
DIGITS_OF_A_DIFFERENCE = 400  # so that a gradient of 1e-300 of the function can be seen
STEP = 25  # digits: the central difference moves a number by its 10^-25th part, and errs by 10^-50

exp, log, sqrt, tanh = (
    np.frompyfunc(function, 1, 1) for function in (mpmath.exp, mpmath.log, mpmath.sqrt, mpmath.tanh)
)
# Beyond 200 the gate is 0 or 1 in thousands of digits, and further out mpmath gives up.
phi = np.frompyfunc(lambda x: mpmath.ncdf(x) if abs(x) < 200 else mpmath.mpf(int(x > 0)), 1, 1)


def _sigmoid(x: Array) -> Any:
    return 1 / (1 + exp(-x))


def _gelu(x: Array, approximate: str) -> Any:
    if approximate == "none":
        return x * phi(x)
    return x * _sigmoid(2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(0.044715) * x**3))


def _softmax(x: Array) -> Any:
    return exp(x) / exp(x).sum(axis=-1, keepdims=True)


def _layer_norm(x: Array, eps: float, weight: Any = 1, bias: Any = 0) -> Any:
    centred = x - _mean(x)
    return centred / sqrt(_mean(centred**2) + mpmath.mpf(eps)) * weight + bias


def _mean(x: Array) -> Any:
    return x.sum(axis=-1, keepdims=True) / x.shape[-1]


def _attention(
    query: Array,
    key: Array,
    value: Array,
    causal: bool,
    scale: float | None,
    p: float,
    mask: Array | None = None,
    keep: Array | None = None,
) -> Any:
    factor = 1 / mpmath.sqrt(query.shape[-1]) if scale is None else mpmath.mpf(scale)
    shape = (*query.shape[:-1], key.shape[-2])
    visible = np.broadcast_to(True if mask is None else mask, shape)
    visible = np.tril(visible) if causal else visible
    weights = np.where(visible, exp(factor * (query @ key.swapaxes(-1, -2))), 0)
    total = weights.sum(axis=-1, keepdims=True)
    weights = weights / np.where(total == 0, 1, total)
    if keep is not None:
        weights = _dropout(weights, np.broadcast_to(keep, shape), p)
    return weights @ value


def _dropout(x: Array, keep: Array, p: float) -> Any:
    # By the spec the multiplier is rounded to the dtype, which here is float64.
    return np.where(keep, x * mpmath.mpf(1 / (1 - p)), mpmath.mpf(0)) if p < 1 else x * 0


def _bce_with_logits(
    x: Array, target: Array, reduction: str, weight: Any = 1, pos_weight: Any = 1
) -> Any:
    yes, no = log(1 + exp(-x)), log(1 + exp(x))
    loss = weight * (pos_weight * target * yes + (1 - target) * no)
    if reduction == "none":
        return loss
    return np.sum(loss) / (x.size if reduction == "mean" else 1)


def _cross_entropy(
    x: Array,
    target: Array,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
    weight: Array | None = None,
) -> Any:
    surprise, kept = -log(_softmax(x)), mpmath.mpf(1) - mpmath.mpf(label_smoothing)
    losses, count = np.full(target.shape, mpmath.mpf(0), object), mpmath.mpf(0)
    for index in np.ndindex(target.shape):
        if target[index] != ignore_index:
            each = np.full(x.shape[-1], mpmath.mpf(1)) if weight is None else weight
            own = each[target[index]]
            spread = (each * surprise[index]).sum() * mpmath.mpf(label_smoothing) / x.shape[-1]
            losses[index] = kept * own * surprise[index][target[index]] + spread
            count += own
    if reduction == "none":
        return losses
    return np.sum(losses) / (count if reduction == "mean" and count else 1)


# The structure operations' own definitions are plain arithmetic, and run on mpmath's numbers.
TEXTBOOK: dict[str, Callable[..., Any]] = {
    "linear": lambda x, weight, bias=0: x @ weight.T + bias,
    "tanh": lambda x: tanh(x),
    "sigmoid": _sigmoid,
    "relu": lambda x: np.where(x > 0, x, x * 0),
    "gelu": _gelu,
    "softmax": _softmax,
    "log_softmax": lambda x: log(_softmax(x)),
    "layer_norm": _layer_norm,
    "attention": _attention,
    "dropout": _dropout,
    "embedding": lambda ids, weight, padding_idx: weight[ids],
    "bce_with_logits": _bce_with_logits,
    "cross_entropy": _cross_entropy,
    "exp": lambda x: exp(x),
    "log": lambda x: log(x),
    "sqrt": lambda x: sqrt(x),
}


def output_at(case: Case, index: tuple[int, ...]) -> Any:
    """Return one element of a case's output, as an mpmath number."""
    with mpmath.workdps(DIGITS):
        return _evaluate(case, _exact(case))[index]


def gradient_at(case: Case, name: str, index: tuple[int, ...]) -> Any:
    """Return one element of the gradient of one input, as an mpmath number."""
    x = abs(float(case.inputs[name][index])) or 1.0
    exponent = math.floor(math.log10(x)) - STEP
    with mpmath.workdps(DIGITS_OF_A_DIFFERENCE + 2 * abs(exponent)):
        inputs, step = _exact(case), mpmath.mpf(10) ** exponent
        upstream = _numbers(case.grad_y)
        sides = []
        for sign in (1, -1):
            moved = inputs[name].copy()
            moved[index] += sign * step
            sides.append(_evaluate(case, {**inputs, name: moved}))
        return np.sum(upstream * (sides[0] - sides[1])) / (2 * step)


def knows(case: Case) -> bool:
    """Whether the formulas apply: on finite inputs that are not empty, and away from a kink."""
    floating = [x for x in case.inputs.values() if x.dtype.kind == "f"]
    if case.spec.name == "relu" and (floating[0] == 0).any():
        return False
    # No formula knows that a row of an embedding is not to be trained.
    if case.settings.get("padding_idx") is not None:
        return False
    return all(np.isfinite(x).all() for x in floating) and all(x.size for x in floating)


def _evaluate(case: Case, inputs: Arrays) -> Array:
    formula = TEXTBOOK.get(case.spec.name)
    if formula is None:
        assert case.spec.name not in LAYERS, f"{case.spec.name} has no formula in the textbook"
        formula = case.spec.definition
    if case.spec.variadic:
        return np.asarray(formula(*inputs.values(), **case.settings), object)
    return np.asarray(formula(**inputs, **case.settings), object)


def _exact(case: Case) -> Arrays:
    return {name: _numbers(x) if x.dtype.kind == "f" else x for name, x in case.inputs.items()}


def _numbers(x: Array) -> Array:
    numbers = np.empty(x.shape, object)
    for index in np.ndindex(x.shape):
        # Two parts, since longdouble holds more than a Python float.
        high = float(x[index])
        numbers[index] = mpmath.mpf(high) + mpmath.mpf(float(x[index] - x.dtype.type(high)))
    return numbers
