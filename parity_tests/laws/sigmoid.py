"""What the laws must know of the sigmoid, and what only it has."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import torch

from twingrad.core.layers.sigmoid import SPEC, sigmoid
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import EVERYTHING, Case
from twingrad.parity_tests.laws.ball import agree, at_most, balls, exactly
from twingrad.parity_tests.laws.digits import exp
from twingrad.parity_tests.laws.drawn import changed, drawn
from twingrad.parity_tests.laws.order import never_falls_but_for_rounding, stays_within
from twingrad.parity_tests.laws.roundings import BASIC, FUNCTION, Weights
from twingrad.parity_tests.laws.sweeps import BELL, EVERYWHERE, Direction, Function
from twingrad.parity_tests.laws.table import law


def bound(g: Array, x: Array) -> Weights:
    return {
        "y": (FUNCTION + 2 * BASIC) * sigmoid(x),
        "grad_x": (FUNCTION + 2 * BASIC) * g,
    }


def of_one(x: Any) -> Any:
    """Return the sigmoid of one of mpmath's numbers."""
    return 1 / (1 + mpmath.exp(-x))


def truth(x: Array) -> Any:
    return 1 / (1 + exp(-x))


DOMAINS = {"x": EVERYTHING}
ROUNDED_ONCE = ("y", "grad_x")
SWEEPS = (
    Function(
        "sigmoid",
        SPEC,
        Direction(torch.sigmoid, of_one, 0, 1, EVERYWHERE),
        Direction(
            lambda x: torch.sigmoid(x) * torch.sigmoid(-x),
            lambda x: of_one(x) * of_one(-x),
            0,
            0.25,
            BELL,
        ),
    ),
)


@law("sigmoid", "sigmoid(x) + sigmoid(-x) = 1", draws=drawn)
def complement(case: Case, backend: str) -> None:
    found, mirrored = (balls(changed(case, x=sign * case.inputs["x"]), backend) for sign in (1, -1))
    agree(backend, "sigmoid(x) + sigmoid(-x) against 1", found["y"] + mirrored["y"], 1)


@law("sigmoid", "slope even, from 0 to 1/4", draws=drawn)
def even_slope(case: Case, backend: str) -> None:
    """Even, and 1/4 at most."""
    found, mirrored = (balls(changed(case, x=sign * case.inputs["x"]), backend) for sign in (1, -1))
    agree(backend, "grad_x of -x", mirrored["grad_x"], found["grad_x"])
    sign = np.sign(case.grad_y)
    slope = found["grad_x"] * exactly(sign)
    at_most(backend, "grad_x against grad_y / 4", slope, exactly(np.abs(case.grad_y)) * 0.25)
    at_most(backend, "0 against grad_x", -slope, 0)


law("sigmoid", "between 0 and 1", draws=drawn, exact=True)(stays_within(0, 1))
law("sigmoid", "never falls but for rounding", draws=drawn)(never_falls_but_for_rounding)
