"""The definitions themselves: what mpmath computes from the textbook formula, in 50 digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from twingrad.backends.numpy_backend.normal import tail_and_density
from twingrad.core.layers.bce_with_logits import bce_with_logits
from twingrad.core.layers.gelu import gelu
from twingrad.core.layers.sigmoid import sigmoid
from twingrad.core.layers.tanh import tanh

mpmath.mp.dps = 50

POINTS = np.concatenate(
    [
        np.linspace(-6, 6, 121),
        np.array([1e-30, 1e-8, 0.7518, 8.5, 12.0, 17.3, 24.9, 30.0, 36.5]),
        -np.array([1e-30, 1e-8, 0.7518, 8.5, 12.0, 17.3, 24.9, 30.0, 36.5]),
    ]
)


def gelu_of_tanh(x: Any) -> Any:
    u = mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(0.044715) * x**3)
    return x / (1 + mpmath.exp(-2 * u))


FORMULAS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "tanh": (tanh, mpmath.tanh),
    "sigmoid": (sigmoid, lambda x: 1 / (1 + mpmath.exp(-x))),
    "gelu": (gelu, lambda x: x * mpmath.ncdf(x)),
    "gelu of tanh": (lambda x: gelu(x, "tanh"), gelu_of_tanh),
    "bce of 0": (
        lambda x: bce_with_logits(x, np.zeros_like(x), reduction="none"),
        lambda x: mpmath.log(1 + mpmath.exp(x)),
    ),
    "bce of 1": (
        lambda x: bce_with_logits(x, np.ones_like(x), reduction="none"),
        lambda x: mpmath.log(1 + mpmath.exp(-x)),
    ),
}


def worst_error(values: Any, exact: list[Any], wide: Any) -> float:
    """Return the largest relative error, in units of the dtype's eps."""
    worst = 0.0
    for value, truth in zip(values, exact, strict=True):
        high = float(value)
        written = mpmath.mpf(high) + mpmath.mpf(float(value - wide(high)))
        worst = max(worst, float(abs(written - truth) / abs(truth)))
    return worst / float(np.finfo(wide).eps)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("wide", [np.float64, np.longdouble], ids=lambda wide: wide.__name__)
def test_a_definition_has_the_digits_of_its_dtype(name: str, wide: Any) -> None:
    definition, formula = FORMULAS[name]
    # With a cubic in its exponent, the second GELU underflows beyond 15.
    points = POINTS[(POINTS != 0) & (np.abs(POINTS) < (15 if name == "gelu of tanh" else 40))]
    exact = [formula(mpmath.mpf(float(x))) for x in points]
    # An argument's rounding is magnified by |x f'(x) / f(x)|: up to x^2 in a tail like the normal
    # distribution's, and up to 3 x^3 with the cubic.
    condition = 3 * np.max(np.abs(points)) ** 3 if name == "gelu of tanh" else 40**2
    assert worst_error(definition(points.astype(wide)), exact, wide) <= 8 + condition


def test_the_handwritten_normal_distribution_is_right_in_its_tails() -> None:
    """Phi to 8 units of float64, without the loss of digits that e^(-x^2 / 2) invites."""
    points = POINTS[(POINTS >= 0) & (POINTS < 36)]
    tail, density = tail_and_density(points, is_wide=True)
    assert worst_error(tail, [mpmath.ncdf(-float(x)) for x in points], np.float64) <= 8
    assert worst_error(density, [mpmath.npdf(float(x)) for x in points], np.float64) <= 8


def test_the_two_forms_of_gelu_differ_as_they_should() -> None:
    """By 4.7e-4 near +-2.7 (and by 0.093 if the constant were mistyped as 0.44715)."""
    x = np.linspace(-5, 5, 200_001)
    gap = np.abs(gelu(x) - gelu(x, "tanh"))
    assert f"{gap.max():.1e}" == "4.7e-04"
    assert f"{abs(x[gap.argmax()]):.1f}" == "2.7"
