"""What the laws must know of GELU, and what only it has."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

from twingrad.core.layers.gelu import CUBIC, SPEC
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import EVERYTHING, Case
from twingrad.parity_tests.judge.oracle import precise
from twingrad.parity_tests.laws.ball import agree, balls, exactly, outcome, same
from twingrad.parity_tests.laws.drawn import cast, changed, drawn, random_like
from twingrad.parity_tests.laws.roundings import BASIC, FUNCTION, Weights
from twingrad.parity_tests.laws.sigmoid import truth as sigmoid
from twingrad.parity_tests.laws.sweeps import INF, Direction, Function
from twingrad.parity_tests.laws.table import law

SLOPE = math.sqrt(2 / math.pi)
# Extremes of the two forms and of their slopes, found with mpmath in 30 digits.
LEAST, LEAST_OF_TANH = -0.16997120747990366, -0.17004075057125405
LEAST_SLOPE, LARGEST_SLOPE = -0.12890414518515479, 1.1289041451851548
LEAST_SLOPE_OF_TANH, LARGEST_SLOPE_OF_TANH = -0.12899306865877176, 1.1289930686587718


def bound(g: Array, x: Array, approximate: str) -> Weights:
    # x (1 + erf) / 2, as most libraries have it, is right to one unit of x, however small it is.
    slope = np.zeros_like(x)
    if approximate == "tanh":
        # So is 1 - tanh(u)^2, until tanh has rounded to 1, and x * u' multiplies it.
        near = np.clip(x, -8, 8)
        slope = np.abs(near) * SLOPE * (1 + 3 * CUBIC * near * near)
    return {
        "y": (FUNCTION + 4 * BASIC) * np.abs(x),
        "grad_x": (2 * FUNCTION + 8 * BASIC + 2 * BASIC * slope) * g,
    }


# Beyond 200 the gate is 0 or 1 in thousands of digits, and further out mpmath gives up.
phi = np.frompyfunc(lambda x: mpmath.ncdf(x) if abs(x) < 200 else mpmath.mpf(int(x > 0)), 1, 1)


def truth(x: Array, approximate: str) -> Any:
    if approximate == "none":
        return x * phi(x)
    return x * sigmoid(2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(CUBIC) * x**3))


def _density(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _normal(x: Tensor) -> Tensor:
    return torch.erfc(-x / math.sqrt(2)) / 2


def _by_normal(x: Tensor) -> Tensor:
    return torch.where(x < -60, 0.0, x * _normal(x))


def _slope_by_normal(x: Tensor) -> Tensor:
    near = x.clamp(-60, 60)
    return _normal(near) + near * _density(near)


def _gate(x: Tensor) -> Tensor:
    return torch.sigmoid(2 * SLOPE * (x + CUBIC * x**3))


def _by_tanh(x: Tensor) -> Tensor:
    return torch.where(x < -60, 0.0, x * _gate(x))


def _slope_by_tanh(x: Tensor) -> Tensor:
    near = x.clamp(-60, 60)
    u = SLOPE * (near + CUBIC * near**3)
    inner = 2 * SLOPE * (1 + 3 * CUBIC * near**2)
    return torch.sigmoid(2 * u) + near * inner * torch.sigmoid(2 * u) * torch.sigmoid(-2 * u)


def _exact_gate(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-2 * _exact_u(x)))


def _exact_u(x: Any) -> Any:
    return mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(CUBIC) * x**3)


def _exact_slope_by_tanh(x: Any) -> Any:
    gate = _exact_gate(x)
    inner = 2 * mpmath.sqrt(2 / mpmath.pi) * (1 + 3 * mpmath.mpf(CUBIC) * x**2)
    return gate + x * inner * gate / (1 + mpmath.exp(2 * _exact_u(x)))


DOMAINS = {"x": EVERYTHING}
ROUNDED_ONCE = ("y", "grad_x")
ROUNDED_WITHIN = 2.0**-12  # the polynomial for float32 is cut at 2^-33
SWEEPS = (
    Function(
        "gelu",
        SPEC,
        Direction(
            _by_normal,
            lambda x: x * mpmath.ncdf(x),
            LEAST,
            INF,
            ((-INF, -0.752, -1), (-0.7517, INF, 1)),
        ),
        Direction(
            _slope_by_normal,
            lambda x: mpmath.ncdf(x) + x * mpmath.npdf(x),
            LEAST_SLOPE,
            LARGEST_SLOPE,
            ((-INF, -1.415, -1), (-1.414, 1.414, 1), (1.415, INF, -1)),
            truth_cancels=True,
            kernel_cancels=True,
        ),
    ),
    Function(
        "gelu, tanh",
        SPEC,
        Direction(
            _by_tanh,
            lambda x: x * _exact_gate(x),
            LEAST_OF_TANH,
            INF,
            ((-INF, -0.753, -1), (-0.7525, INF, 1)),
        ),
        Direction(
            _slope_by_tanh,
            _exact_slope_by_tanh,
            LEAST_SLOPE_OF_TANH,
            LARGEST_SLOPE_OF_TANH,
            truth_cancels=True,
        ),
        {"approximate": "tanh"},
    ),
)


# form: where it is lowest, and how low, to the digits that are written
LOWEST = {"none": (-0.7518, -0.16997), "tanh": (-0.7525, -0.17004)}


@law("gelu", "gelu(x) - gelu(-x) = x", draws=drawn)
def odd_difference(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    found, mirrored = (balls(changed(case, x=sign * x), backend)["y"] for sign in (1, -1))
    agree(backend, "gelu(x) - gelu(-x) against x", found - mirrored, exactly(x))


@law("gelu", "gelu'(x) + gelu'(-x) = 1", draws=drawn)
def slopes_add_up(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    found, mirrored = (balls(changed(case, x=sign * x), backend)["grad_x"] for sign in (1, -1))
    agree(backend, "gelu'(x) + gelu'(-x) against 1", found + mirrored, exactly(case.grad_y))


@law("gelu", "0 keeps its sign", draws=drawn, exact=True)
def zero_keeps_its_sign(case: Case, backend: str) -> None:
    zeros = np.copysign(cast(0, case.dtype), case.inputs["x"])
    y = outcome(changed(case, x=zeros), backend)["y"]
    same(backend, "gelu(0)", y, zeros)
    same(backend, "the sign of gelu(0)", np.signbit(y), np.signbit(zeros))


@law("gelu", "the negative tail is negative", draws=drawn, exact=True)
def negative_tail(case: Case, backend: str) -> None:
    """For x < 0 never above 0, and on NumPy below it as long as the dtype can tell."""
    x = -np.abs(case.inputs["x"])
    tail = np.linspace(-40, -2, 4001, dtype=case.dtype)
    for inputs in (x, tail):
        y = outcome(changed(case, grad_y=np.ones_like(inputs), x=inputs), backend)["y"]
        same(backend, "max(gelu(x), 0) for x < 0", np.maximum(y, 0), np.zeros_like(y))
        if backend == "numpy" and case.settings["approximate"] == "none":
            true = SPEC.definition(inputs.astype(precise(case.dtype)))
            info = np.finfo(case.dtype)
            # In float64 the gate falls below the normal numbers before its product with x does.
            least = info.smallest_subnormal if case.dtype != np.float64 else info.smallest_normal
            there = true <= -float(least)
            same(backend, "gelu(x) < 0 in the tail", there & (y < 0), there)


@law("gelu", "lowest where it should be", draws=drawn)
def lowest(case: Case, backend: str) -> None:
    at, low = LOWEST[case.settings["approximate"]]
    near = np.array([at - 2e-4, at, at + 2e-4], case.dtype)
    found = outcome(changed(case, grad_y=np.ones_like(near), x=near), backend)
    assert f"{found['y'][1]:.5f}" == str(low), f"the minimum is {found['y'][1]} on {backend}"
    slopes = found["grad_x"][[0, 2]]
    same(backend, "the sign of the slope beside the minimum", np.sign(slopes), np.array([-1, 1]))
    y = outcome(case, backend)["y"]
    # Half a unit of the last digit that is written.
    same(backend, "y against its minimum", y >= low - 5e-6, np.ones(y.shape, bool))


@law("gelu", "the selector selects", draws=drawn)
def selector_selects(case: Case, backend: str) -> None:
    """The two forms are 4.7e-4 apart near +-2.7, and nowhere further."""
    x = np.linspace(-5, 5, 1001, dtype=case.dtype) + 1e-3 * np.tanh(random_like(case, (1001,)))
    for what in ("y", "grad_x"):
        forms = [{"approximate": form} for form in LOWEST]
        ones = np.ones_like(x)
        none, tanh = (
            outcome(changed(case, grad_y=ones, settings=form, x=x), backend)[what] for form in forms
        )
        gap = float(np.abs(none - tanh).max())
        assert 1e-4 <= gap <= 2e-3, f"{what} of the two forms differs by {gap:.3g} on {backend}"
