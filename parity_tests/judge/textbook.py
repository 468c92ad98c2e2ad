"""The oracle of many digits: a layer's formula once more, in mpmath, as its page has it in `truth`.

Inputs are NumPy arrays of mpmath numbers. A gradient is a central difference, right to about 30
digits, with a step that fits the size of the number that is moved, and digits enough to see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import numpy as np

from twingrad.core.spec import Array, Arrays, LayerSpec
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.laws.table import told

DIGITS = 60
DIGITS_OF_A_DIFFERENCE = 400  # so that a gradient of 1e-300 of the function can be seen
STEP = 25  # digits: the central difference moves a number by its 10^-25th part, and errs by 10^-50


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
    """Whether there is a formula, and it applies: to finite inputs, not empty, and to no kink."""
    name = case.spec.name
    floating = [x for x in case.inputs.values() if x.dtype.kind == "f"]
    if _formula(case.spec) is None or any((x == k).any() for x in floating for k in kinks(name)):
        return False
    smooth: Mapping[str, Any] = told(name, "SMOOTH", {})
    if any(case.settings.get(setting, value) != value for setting, value in smooth.items()):
        return False
    return all(np.isfinite(x).all() for x in floating) and all(x.size for x in floating)


def kinks(name: str) -> tuple[float, ...]:
    """Return the numbers at which a layer has no derivative."""
    found: tuple[float, ...] = told(name, "KINKS", ())
    return found


def _formula(spec: LayerSpec) -> Callable[..., Any] | None:
    found: Callable[..., Any] | None = told(spec.name, "truth")
    return found


def _evaluate(case: Case, inputs: Arrays) -> Array:
    formula = _formula(case.spec)
    assert formula is not None, case.spec.name
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
