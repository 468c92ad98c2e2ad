"""Laws of the order and the range of a function of one variable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.laws.ball import at_most, balls, outcome, same
from twingrad.parity_tests.laws.drawn import cast, changed


def ascending(case: Case) -> Case:
    """Return all numbers of x in one row, in order, each followed by the next float."""
    x = case.inputs["x"].reshape(-1)
    row = np.sort(np.concatenate([x, np.nextafter(x, cast(0, x.dtype))]))
    return changed(case, grad_y=np.ones_like(row), x=row)


def never_falls(case: Case, backend: str) -> None:
    y = outcome(ascending(case), backend)["y"]
    fall = np.maximum(y[:-1] - y[1:], 0)
    same(backend, "the fall of y", fall, np.zeros_like(fall))


def never_falls_but_for_rounding(case: Case, backend: str) -> None:
    y = balls(ascending(case), backend)["y"]
    at_most(backend, "y against the next one", y[:-1], y[1:])


def stays_within(low: float, high: float) -> Callable[[Case, str], None]:
    """Return the law that y is from `low` to `high`."""

    def inside(case: Case, backend: str) -> None:
        y = outcome(case, backend)["y"]
        same(backend, f"y against {low} to {high}", np.clip(y, low, high), y)

    return inside
