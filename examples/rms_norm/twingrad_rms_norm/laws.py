"""What the laws must know of RMSNorm: its bound, its formula in mpmath, its domain, its laws."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np

from twingrad.parity_tests.judge.case import Case, Domain
from twingrad.parity_tests.laws.ball import agree, balls, exactly, outcome, same
from twingrad.parity_tests.laws.digits import sqrt
from twingrad.parity_tests.laws.drawn import changed, drawn
from twingrad.parity_tests.laws.roundings import BASIC, Weights, roundings
from twingrad.parity_tests.laws.table import law

DOMAINS = {"x": Domain(-10, 20)}  # no square of float32 overflows, none falls below normal numbers


def bound(g: Any, x: Any, weight: Any = None, eps: float = 1e-6) -> Weights:
    """Return W of y and of each gradient.

    Nothing cancels in a sum of squares, so its n roundings are relative, and the root halves them.
    The other operations: a square, a division, eps, two of the root, two products.
    """
    n, rows = x.shape[-1], math.prod(x.shape[:-1])
    count = 7 * BASIC + roundings(n) / 2
    inv_rms = 1 / np.sqrt(_mean(x * x) + eps)
    xhat, scale = np.abs(x) * inv_rms, 1 if weight is None else np.abs(weight)
    inner = g * scale
    # The difference may cancel, so its two terms count as they are.
    grad_x = inv_rms * (inner + xhat * _mean(inner * xhat))
    weights = {"y": count * xhat * scale, "grad_x": (2 * count + roundings(n)) * grad_x}
    if weight is not None:
        per_row = (g * xhat).reshape(rows, n)
        weights["grad_weight"] = (count + roundings(rows)) * per_row.sum(axis=0)
    return weights


def truth(x: Any, eps: float, weight: Any = 1) -> Any:
    return x / sqrt(_mean(x * x) + mpmath.mpf(eps)) * weight


def _mean(x: Any) -> Any:
    return x.sum(axis=-1, keepdims=True) / max(x.shape[-1], 1)


@law("rms_norm", "a power of two changes nothing but eps", draws=drawn, exact=True)
def scale(case: Case, backend: str) -> None:
    """4 x with 16 eps is the same y, and its gradient a quarter."""
    found = outcome(case, backend)
    larger = changed(case, x=4 * case.inputs["x"], settings={"eps": 16 * case.settings["eps"]})
    scaled = outcome(larger, backend)
    for what in found:
        expected = found[what] / 4 if what == "grad_x" else found[what]
        same(backend, f"{what} of 4 x", scaled[what], expected)


@law("rms_norm", "the weight gets the upstream times y without it", draws=drawn)
def weight_gradient(case: Case, backend: str) -> None:
    features = case.inputs["x"].shape[-1]
    ones = np.ones(features, case.dtype)
    xhat = balls(changed(case, weight=None), backend)["y"]
    found = balls(changed(case, weight=ones), backend)["grad_weight"]
    lead = tuple(range(case.grad_y.ndim - 1))
    total = (exactly(case.grad_y) * xhat).sum(axis=lead)
    agree(backend, "grad_weight against the sum of grad_y * xhat", found, total)


LONG = 37  # features, or rows: equal terms, whose sum float64 holds exactly and float32 does not


@law("rms_norm", "equal terms add up", draws=drawn, exact=True, dtypes=("float32",))
def equal_terms(case: Case, backend: str) -> None:
    """A row of equal numbers is as long as one of them; equal rows give the weight their number.

    That is promised of the handwritten kernel, which adds in float64; torch adds in float32.
    """
    if backend != "numpy":
        return
    x, g = case.inputs["x"].reshape(-1)[:1], case.grad_y.reshape(-1)[:1]
    one = outcome(changed(case, x=x, grad_y=g, weight=None), backend)
    row = np.full(LONG, 1, x.dtype)
    many = outcome(changed(case, x=x * row, grad_y=g * row, weight=None), backend)
    for what in ("y", "grad_x"):
        same(backend, f"{what} of {LONG} equal features", many[what], one[what] * row)
    ones = np.ones(1, x.dtype)
    one = outcome(changed(case, x=x, grad_y=g, weight=ones), backend)
    rows = {"x": np.tile(x, (LONG, 1)), "grad_y": np.tile(g, (LONG, 1)), "weight": ones}
    total = (LONG * one["grad_weight"].astype(np.float64)).astype(x.dtype)
    found = outcome(changed(case, **rows), backend)["grad_weight"]
    same(backend, f"grad_weight of {LONG} equal rows", found, total)
