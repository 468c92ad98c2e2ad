"""Values that carry their error, and the assertions that laws are made of.

A law relates results to each other, so it needs no oracle of its own. Most relations hold only up
to rounding, and a `Ball` carries along how much of it there can be: each result starts with the
bound that the definition's error has (bounds.py), and sums and products add up what they are made
of. The others hold bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, Arrays
from twingrad.parity_tests.judge.bounds import derived
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.oracle import precise


@dataclass(frozen=True)
class Ball:
    """Numbers in the judging precision, each with the distance that the true one may be away."""

    value: Array
    radius: Array

    def __add__(self, other: Any) -> Ball:
        other = self._like(other)
        return _rounded(self.value + other.value, self.radius + other.radius)

    def __mul__(self, other: Any) -> Ball:
        other = self._like(other)
        radius = (
            np.abs(self.value) * other.radius
            + np.abs(other.value) * self.radius
            + self.radius * other.radius
        )
        return _rounded(self.value * other.value, radius)

    def __neg__(self) -> Ball:
        return Ball(-self.value, self.radius)

    def __sub__(self, other: Any) -> Ball:
        return self + -self._like(other)

    def __getitem__(self, index: Any) -> Ball:
        return Ball(self.value[index], self.radius[index])

    __radd__, __rmul__ = __add__, __mul__

    def take(self, indices: Array, axis: int) -> Ball:
        return Ball(np.take(self.value, indices, axis), np.take(self.radius, indices, axis))

    def sum(self, axis: Any = None) -> Ball:
        """Add up; n terms are rounded n times."""
        size = np.abs(self.value).sum(axis=axis)
        terms = self.value.size // max(size.size, 1)
        radius = self.radius.sum(axis=axis) + terms * _eps(self.value) * size
        return Ball(np.asarray(self.value.sum(axis=axis)), np.asarray(radius))

    def exp(self) -> Ball:
        """The exponential; a library's own may be off by two units in the last place."""
        value = np.exp(self.value)
        return Ball(value, value * (np.expm1(self.radius) + 2 * _eps(value)))

    def _like(self, other: Any) -> Ball:
        return other if isinstance(other, Ball) else exactly(np.asarray(other, self.value.dtype))


def exactly(value: Array) -> Ball:
    """Return numbers that carry no error, such as inputs."""
    wide = value if value.dtype == np.longdouble else value.astype(precise(value.dtype))
    return Ball(wide, np.zeros(value.shape, wide.dtype))


def _rounded(value: Array, radius: Array) -> Ball:
    return Ball(value, radius + _eps(value) * np.abs(value))


def _eps(value: Array) -> Any:
    return np.finfo(value.dtype).eps


def outcome(case: Case, backend: str) -> Arrays:
    """Return "y" and each "grad_<input>" as one backend computes them."""
    inputs = {name: array.copy() for name, array in case.inputs.items()}
    y, grads = load_backend(backend).vjp(
        case.spec, inputs, lambda _: case.grad_y.copy(), case.settings
    )
    return {"y": y, **{f"grad_{name}": grad for name, grad in grads.items()}}


def balls(case: Case, backend: str) -> dict[str, Ball]:
    """Return the outcome, each number with its bound."""
    allowed = derived(case)
    return {
        what: Ball(exactly(array).value, np.broadcast_to(allowed[what], array.shape))
        for what, array in outcome(case, backend).items()
    }


def agree(backend: str, what: str, found: Ball, expected: Any) -> None:
    """Raise AssertionError if two values are further apart than their errors can explain."""
    gap = found - expected
    _check(backend, what, np.abs(gap.value), gap.radius)


def at_most(backend: str, what: str, lower: Ball, upper: Any) -> None:
    """Raise AssertionError if a value is above another by more than their errors can explain."""
    gap = lower - upper
    _check(backend, what, gap.value, gap.radius)


def same(backend: str, what: str, found: Array, expected: Array) -> None:
    """Raise AssertionError unless all numbers are equal; 0 and -0 are."""
    assert found.shape == np.shape(expected), f"{what} has shape {found.shape} on {backend}"
    _check(backend, what, (~(found == expected)).astype(float), np.zeros(found.shape))


def _check(backend: str, what: str, error: Array, allowed: Array) -> None:
    # A NaN is wrong, too, and a bound that allows everything would be no law.
    wrong = ~((error <= allowed) & np.isfinite(allowed))
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{what} is wrong on {backend} at {list(index)}: off by "
            f"{float(error[index]):.3g}, where {float(allowed[index]):.3g} is allowed"
        )
