"""What the laws must know of softmax, and what it has with its logarithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from twingrad.core.layers.softmax import softmax
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import Case, Domain
from twingrad.parity_tests.laws.ball import agree, at_most, balls, outcome, same
from twingrad.parity_tests.laws.digits import exp
from twingrad.parity_tests.laws.drawn import cast, changed, drawn, on_a_grid, random_like
from twingrad.parity_tests.laws.order import stays_within
from twingrad.parity_tests.laws.roundings import BASIC, FUNCTION, Weights, roundings
from twingrad.parity_tests.laws.rows import features_reordered, gradients_of_a_row_cancel
from twingrad.parity_tests.laws.table import law


def shifts(x: Array) -> tuple[Array, Array]:
    """Return |x - max| at each finite logit, and the largest of them in each row."""
    finite = np.isfinite(x)
    top = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    shift = np.where(finite, np.abs(x - np.where(np.isfinite(top), top, 0)), 0)
    return shift, np.max(shift, axis=-1, keepdims=True, initial=0)


def bound(g: Array, x: Array) -> Weights:
    y, (_, largest) = softmax(x), shifts(x)
    # exp turns an absolute error of its argument into a relative one of its value.
    relative = 2 * (FUNCTION + BASIC * largest) + roundings(x.shape[-1])
    inner = g + (g * y).sum(axis=-1, keepdims=True)
    return {"y": relative * y, "grad_x": (2 * relative + 4 * BASIC) * y * inner}


def truth(x: Array) -> Any:
    return exp(x) / exp(x).sum(axis=-1, keepdims=True)


DOMAINS = {"x": Domain(-20, 14)}
ROUNDED_ONCE = ("y",)


@law("softmax", "an integer shift changes nothing", draws=drawn, exact=True)
def shift_changes_nothing(case: Case, backend: str) -> None:
    x = on_a_grid(case.inputs["x"], limit=2.0**12)
    found = outcome(changed(case, x=x), backend)
    for shift in (1, -64, 1000):
        moved = outcome(changed(case, x=x + cast(shift, x.dtype)), backend)
        for what in found:
            same(backend, f"{what} of logits shifted by {shift}", moved[what], found[what])


@law("softmax", "rows add up to 1", draws=drawn)
def adds_up_to_one(case: Case, backend: str) -> None:
    total = balls(case, backend)["y"].sum(axis=-1)
    agree(backend, "the sum of a row's probabilities", total, 1)


@law("softmax", "logits may be reordered", draws=drawn)
def reordered(case: Case, backend: str) -> None:
    features_reordered(case, backend, ("x",))


def single_logit(certain: float) -> Callable[[Case, str], None]:
    """Return the law that a single logit is sure to give `certain`."""

    def is_certain(case: Case, backend: str) -> None:
        x = case.inputs["x"].reshape(-1, 1)
        found = outcome(changed(case, grad_y=random_like(case, x.shape), x=x), backend)
        same(backend, "y of a single logit", found["y"], np.full_like(x, certain))
        same(backend, "grad_x of a single logit", found["grad_x"], np.zeros_like(x))

    return is_certain


@law("softmax", "larger logits have larger probabilities", draws=drawn)
def probabilities_are_ordered(case: Case, backend: str) -> None:
    """A larger logit has no smaller probability, but for rounding; equal logits have equal ones."""
    order = np.argsort(case.inputs["x"], axis=-1)
    x = np.take_along_axis(case.inputs["x"], order, axis=-1)
    ball = balls(changed(case, x=x), backend)["y"]
    rise, ties = ball[..., 1:] - ball[..., :-1], x[..., 1:] == x[..., :-1]
    at_most(backend, "0 against the rise of y to the next larger logit", -rise, 0)
    agree(backend, "the difference of y at equal logits", rise[ties], 0)


law("softmax", "gradients of a row cancel", draws=drawn)(gradients_of_a_row_cancel)
law("softmax", "a single logit is certain", draws=drawn, exact=True)(single_logit(1))
law("softmax", "between 0 and 1", draws=drawn, exact=True)(stays_within(0, 1))
