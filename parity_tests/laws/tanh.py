"""What the laws must know of tanh, and what only it has."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import torch

from twingrad.core.layers.tanh import SPEC
from twingrad.core.layers.tanh import tanh as definition
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import EVERYTHING, Case
from twingrad.parity_tests.laws import digits
from twingrad.parity_tests.laws.ball import agree, balls, outcome, same
from twingrad.parity_tests.laws.drawn import case_of, cast, changed, drawn
from twingrad.parity_tests.laws.order import never_falls, never_falls_but_for_rounding, stays_within
from twingrad.parity_tests.laws.roundings import BASIC, FUNCTION, Weights
from twingrad.parity_tests.laws.sweeps import BELL, EVERYWHERE, Direction, Function
from twingrad.parity_tests.laws.table import law


def bound(g: Array, x: Array) -> Weights:
    # 1 - y^2, as autograd has it, is right to one unit of 1, however small it is.
    return {"y": FUNCTION * np.abs(definition(x)), "grad_x": (FUNCTION + 2 * BASIC) * g}


def truth(x: Array) -> Any:
    return digits.tanh(x)


DOMAINS = {"x": EVERYTHING}
ROUNDED_ONCE = ("y", "grad_x")
SWEEPS = (
    Function(
        "tanh",
        SPEC,
        Direction(torch.tanh, mpmath.tanh, -1, 1, EVERYWHERE),
        Direction(lambda x: 1 / torch.cosh(x) ** 2, lambda x: mpmath.sech(x) ** 2, 0, 1, BELL),
    ),
)


@law("tanh", "odd, with an even slope", draws=drawn, exact=True)
def odd(case: Case, backend: str) -> None:
    found, mirrored = outcome(case, backend), outcome(changed(case, x=-case.inputs["x"]), backend)
    same(backend, "y of -x", mirrored["y"], -found["y"])
    same(backend, "sign of y", np.signbit(mirrored["y"]), ~np.signbit(found["y"]))
    same(backend, "grad_x of -x", mirrored["grad_x"], found["grad_x"])


@law("tanh", "slope at most 1", draws=drawn, exact=True)
def slope_at_most_1(case: Case, backend: str) -> None:
    grad_x = outcome(case, backend)["grad_x"]
    size = np.maximum(np.abs(grad_x), np.abs(case.grad_y))
    same(backend, "|grad_x| against |grad_y|", size, np.abs(case.grad_y))


@law("tanh", "2 sigmoid(2x) - 1", draws=drawn, uses=("sigmoid",))
def by_sigmoid(case: Case, backend: str) -> None:
    half = np.finfo(case.dtype).max / 2
    x = np.clip(case.inputs["x"], -half, half)
    sigmoid = balls(case_of("sigmoid", case, {"x": 2 * x}), backend)["y"]
    agree(
        backend,
        "y against 2 sigmoid(2 x) - 1",
        balls(changed(case, x=x), backend)["y"],
        2 * sigmoid - 1,
    )


@law("tanh", "x near 0", draws=drawn, exact=True)
def x_near_0(case: Case, backend: str) -> None:
    """Below 2^-12 (2^-27 in float64) x^3 / 3 is less than half the spacing of the floats at x."""
    digits = np.finfo(case.dtype).nmant + 1
    mantissa, _ = np.frexp(case.inputs["x"])
    rng = np.random.default_rng(case.grad_y.size)
    exponents = rng.integers(-60, -math.ceil(digits / 2) + 1, mantissa.shape)
    x = cast(np.ldexp(mantissa, exponents), case.dtype)
    same(backend, "tanh of a small x", outcome(changed(case, x=x), backend)["y"], x)


law("tanh", "never falls but for rounding", draws=drawn)(never_falls_but_for_rounding)
law("tanh", "never falls in float32", draws=drawn, exact=True, dtypes=("float32",))(never_falls)
law("tanh", "between -1 and 1", draws=drawn, exact=True)(stays_within(-1, 1))
