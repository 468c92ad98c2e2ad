"""What the laws must know of layer normalisation, and what only it has."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import mpmath
import numpy as np

from twingrad.core.spec import Array, LayerSpec
from twingrad.parity_tests.judge.case import Case, Domain
from twingrad.parity_tests.laws.ball import agree, balls, exactly, outcome, same
from twingrad.parity_tests.laws.digits import sqrt
from twingrad.parity_tests.laws.drawn import Inputs, cast, changed, on_a_grid, random_like
from twingrad.parity_tests.laws.every import float32_is_float64_rounded
from twingrad.parity_tests.laws.roundings import BASIC, Weights, roundings
from twingrad.parity_tests.laws.rows import features_reordered, gradients_of_a_row_cancel
from twingrad.parity_tests.laws.table import law


def _mean(x: Array) -> Array:
    mean: Array = x.sum(axis=-1, keepdims=True) / max(x.shape[-1], 1)
    return mean


def bound(
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


def truth(x: Array, eps: float, weight: Any = 1, bias: Any = 0) -> Any:
    centred = x - _mean(x)
    return centred / sqrt(_mean(centred**2) + mpmath.mpf(eps)) * weight + bias


DOMAINS = {"x": Domain(-10, 20)}
# What an infinite weight scales may be 0 by rounding alone, where a row is nearly constant.
NO_INFINITY = ("weight",)


def most_condition(dtype: str | np.dtype[Any]) -> float:
    """Return how large max|x| / deviation of a row may be, for its bound to say something.

    The bound is one of first order: up to 31 roundings, times the condition, must stay below 1.
    """
    return 1 / (32 * float(np.finfo(dtype).eps / 2))


@st.composite
def rows(draw: st.DrawFn, spec: LayerSpec, dtype: str, eps: float | None = None) -> Case:
    """Draw rows to normalise: means up to 1e6, deviations from 1e-6 to 1e6.

    With a given eps the mean is at most as large as the deviation. Without one it may be so many
    times larger as leave xhat a digit.
    """
    count, features = draw(st.integers(1, 5)), draw(st.sampled_from([2, 3, 7, 33, 128]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    deviation = 10.0 ** draw(st.integers(-6, 6), label="log10 of the deviation")
    means = [0.0, deviation] if eps is not None else [0.0, 1.0, 30.0, 1e3, 1e6]
    # Two numbers stand a deviation away on either side, so the row's own is an eighth of it at
    # least: sqrt(2 / features).
    largest = deviation / 16 * most_condition(dtype)
    mean = min(draw(st.sampled_from(means), label="mean"), largest)
    settings = {"eps": draw(st.sampled_from([1e-12, 1e-5, 0.5])) if eps is None else eps}
    x = rng.standard_normal((count, features))
    x[:, :2] = rng.permuted(np.tile([-1, 1], (count, 1)), axis=1)
    inputs = {"x": x * deviation + mean * rng.choice([-1, 1], (count, 1))}
    for name in ("weight", "bias"):
        if draw(st.booleans(), label=f"{name} given"):
            inputs[name] = rng.standard_normal(features)
    grad_y = rng.standard_normal((count, features)).astype(dtype)
    return Case(spec, {name: x.astype(dtype) for name, x in inputs.items()}, settings, grad_y)


def rows_without_eps(spec: LayerSpec, dtype: str) -> st.SearchStrategy[Case]:
    """Draw rows for eps 0, where only the direction of x - mean counts."""
    return rows(spec, dtype, eps=0.0)


@law("layer_norm", "a shift changes nothing", draws=rows)
def shift_changes_nothing(case: Case, backend: str) -> None:
    # A grid of 1/8 up to 64 beside a shift of 2^20 fills the 24 bits of a float32.
    x = on_a_grid(case.inputs["x"], spacing=2.0**-3)
    found = balls(changed(case, x=x), backend)
    deviations = x.std(axis=-1, dtype=np.float64)
    # A constant row has nothing to lose.
    farthest = np.min(deviations, initial=np.inf, where=deviations > 0) * most_condition(x.dtype)
    shifts = [-5, 2**8, 2**14, 2**17, 2**20 - 2**7]
    for shift in (shift for shift in shifts if abs(shift) + 64 <= farthest):
        moved = balls(changed(case, x=x + cast(shift, x.dtype)), backend)
        for what in found:
            agree(backend, f"{what} of rows shifted by {shift}", moved[what], found[what])


@law("layer_norm", "without eps a power of two changes nothing", draws=rows_without_eps, exact=True)
def scale_changes_nothing(case: Case, backend: str) -> None:
    found = outcome(case, backend)
    for k in (-7, 6):
        factor = cast(2.0**k, case.dtype)
        scaled = outcome(changed(case, x=case.inputs["x"] * factor), backend)
        for what in found:
            expected = found[what] / factor if what == "grad_x" else found[what]
            same(backend, f"{what} of x * 2^{k}", scaled[what], expected)


@law("layer_norm", "without eps no gradient along x - mean", draws=rows_without_eps)
def no_gradient_along_x(case: Case, backend: str) -> None:
    """Without eps a longer x - mean gives the same y, so no gradient points that way."""
    x = exactly(case.inputs["x"])
    mean = x.sum(axis=-1)[..., None] * (1 / x.value.dtype.type(x.value.shape[-1]))
    centred = x - mean
    along = (balls(case, backend)["grad_x"] * centred).sum(axis=-1)
    agree(backend, "<x - mean, grad_x>", along, 0)


@law("layer_norm", "without eps rows have mean 0 and variance 1", draws=rows_without_eps)
def is_normal(case: Case, backend: str) -> None:
    """Without weight, bias and eps each row has mean 0 and variance 1."""
    y = balls(changed(case, weight=None, bias=None), backend)["y"]
    agree(backend, "the sum of a row", y.sum(axis=-1), 0)
    agree(backend, "the sum of a row's squares", (y * y).sum(axis=-1), y.value.shape[-1])


@law("layer_norm", "weight 0 leaves the bias", draws=rows, exact=True)
def zero_weight(case: Case, backend: str) -> None:
    features = case.inputs["x"].shape[-1]
    bias = random_like(case, (features,))
    zero = np.zeros(features, case.dtype)
    found = outcome(changed(case, weight=zero, bias=bias), backend)
    same(backend, "y of weight 0", found["y"], np.broadcast_to(bias, found["y"].shape))
    same(backend, "grad_x of weight 0", found["grad_x"], np.zeros_like(found["grad_x"]))


@law("layer_norm", "parameters get the sums of the upstream", draws=rows)
def parameters_get_sums(case: Case, backend: str) -> None:
    """grad_bias is the sum of grad_y, and grad_weight that of grad_y * xhat."""
    features = case.inputs["x"].shape[-1]
    full = changed(case, weight=random_like(case, (features,)), bias=random_like(case, (features,)))
    xhat = balls(changed(case, weight=None, bias=None), backend)["y"]
    found, g = balls(full, backend), exactly(case.grad_y)
    lead = tuple(range(case.grad_y.ndim - 1))
    agree(backend, "grad_bias against the sum of grad_y", found["grad_bias"], g.sum(axis=lead))
    total = (g * xhat).sum(axis=lead)
    agree(backend, "grad_weight against the sum of grad_y * xhat", found["grad_weight"], total)


@law("layer_norm", "no weight is 1 and no bias 0", draws=rows)
def defaults(case: Case, backend: str) -> None:
    """No weight is a weight of 1, no bias a bias of 0."""
    ones, zeros = (np.full(case.inputs["x"].shape[-1], n, case.dtype) for n in (1, 0))
    given: Inputs = {"weight": ones, "bias": zeros}
    written = balls(changed(case, **given), backend)
    for what, ball in balls(changed(case, **dict.fromkeys(given)), backend).items():
        agree(backend, f"{what} without weight and bias", ball, written[what])


@law("layer_norm", "features may be reordered", draws=rows)
def reordered(case: Case, backend: str) -> None:
    features_reordered(case, backend, ("x", "weight", "bias"))


law("layer_norm", "gradients of a row cancel", draws=rows)(gradients_of_a_row_cancel)
law(
    "layer_norm",
    "float32 is float64 within its bound, at any scale",
    draws=rows,
    dtypes=("float32",),
)(float32_is_float64_rounded)
