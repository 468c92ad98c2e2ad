"""What the laws must know of binary cross entropy, and what only it has."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

from twingrad.core.layers.bce_with_logits import SPEC
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import Case, Domain
from twingrad.parity_tests.laws.ball import agree, at_most, balls, exactly, outcome, same
from twingrad.parity_tests.laws.digits import exp, log
from twingrad.parity_tests.laws.drawn import (
    case_of,
    cast,
    changed,
    drawn,
    on_a_grid,
    random_like,
)
from twingrad.parity_tests.laws.roundings import BASIC, FUNCTION, LOG, Weights, roundings
from twingrad.parity_tests.laws.sigmoid import of_one as sigmoid
from twingrad.parity_tests.laws.sweeps import EVERYWHERE, INF, Direction, Function
from twingrad.parity_tests.laws.table import law


def bound(
    g: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: str = "mean",
) -> Weights:
    positive = np.abs(target if pos_weight is None else pos_weight * target)
    negative = np.abs(1 - target)
    scale = 1 if weight is None else np.abs(weight)
    tail = np.log1p(np.exp(-np.abs(x)))
    parts = positive * (tail + np.maximum(-x, 0)) + negative * (tail + np.maximum(x, 0))
    loss = (LOG + FUNCTION + 4 * BASIC) * scale * parts
    grad = (2 * FUNCTION + 6 * BASIC) * scale * (positive + negative)
    if reduction == "none":
        return {"y": loss, "grad_x": g * grad}
    count = max(x.size, 1) if reduction == "mean" else 1
    total = loss.sum() + roundings(x.size) * (scale * parts).sum()
    return {"y": total / count, "grad_x": g * grad / count}


def gain(
    x: Array, target: Array, weight: Array | None = None, pos_weight: Array | None = None
) -> float:
    if pos_weight is None:
        return 1.0
    # pos_weight * target, times a loss of up to |x|, times weight.
    factors = (x,) if weight is None else (x, weight)
    return math.prod(float(np.abs(a[np.isfinite(a)]).max(initial=1)) for a in factors)


def truth(x: Array, target: Array, reduction: str, weight: Any = 1, pos_weight: Any = 1) -> Any:
    yes, no = log(1 + exp(-x)), log(1 + exp(x))
    loss = weight * (pos_weight * target * yes + (1 - target) * no)
    if reduction == "none":
        return loss
    return np.sum(loss) / (x.size if reduction == "mean" else 1)


def _softplus(x: Tensor) -> Tensor:
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


def _function(target: float, y: Direction, grad: Direction) -> Function:
    name = f"bce_with_logits, target {target:g}"
    return Function(name, SPEC, y, grad, {"reduction": "none"}, {"target": target})


DOMAINS = {"x": Domain(-100, 100)}
ROUNDED_ONCE = ("y", "grad_x")
SWEEPS = (
    _function(
        0.0,
        Direction(_softplus, lambda x: mpmath.log1p(mpmath.exp(x)), 0, INF, EVERYWHERE),
        Direction(torch.sigmoid, sigmoid, 0, 1, EVERYWHERE),
    ),
    _function(
        1.0,
        Direction(
            lambda x: _softplus(-x),
            lambda x: mpmath.log1p(mpmath.exp(-x)),
            0,
            INF,
            ((-INF, INF, -1),),
        ),
        Direction(lambda x: -torch.sigmoid(-x), lambda x: -sigmoid(-x), -1, 0, EVERYWHERE),
    ),
)


def _elementwise_loss(case: Case, **inputs: Any) -> Case:
    """Return the case unreduced, with neither weight unless it is given."""
    x = case.inputs["x"]
    plain = {"weight": None, "pos_weight": None} | inputs
    return changed(case, grad_y=random_like(case, x.shape), settings={"reduction": "none"}, **plain)


@law("bce_with_logits", "(x, 1) is (-x, 0)", draws=drawn)
def mirrored(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    yes = balls(_elementwise_loss(case, target=np.ones_like(x)), backend)
    no = balls(_elementwise_loss(case, x=-x, target=np.zeros_like(x)), backend)
    agree(backend, "the loss of (x, 1) against that of (-x, 0)", yes["y"], no["y"])
    agree(backend, "grad_x of (x, 1) against that of (-x, 0)", yes["grad_x"], -no["grad_x"])


@law("bce_with_logits", "(x, 0) less (x, 1) is x", draws=drawn)
def difference(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    no, yes = (
        balls(_elementwise_loss(case, target=np.full_like(x, t)), backend)["y"] for t in (0, 1)
    )
    agree(backend, "the loss of (x, 0) less that of (x, 1) against x", no - yes, exactly(x))


@law("bce_with_logits", "the gradient is sigmoid(x) - target", draws=drawn, uses=("sigmoid",))
def gradient(case: Case, backend: str) -> None:
    loss = _elementwise_loss(case)
    sigmoid = balls(case_of("sigmoid", loss, {"x": loss.inputs["x"]}), backend)["y"]
    expected = (sigmoid - exactly(loss.inputs["target"])) * exactly(loss.grad_y)
    agree(backend, "grad_x against sigmoid(x) - target", balls(loss, backend)["grad_x"], expected)


def _proper(target: Array) -> Array:
    """Return targets in [0, 1], some of them 0 and 1."""
    return np.clip(np.abs(target), 0, 1)


@law("bce_with_logits", "convex", draws=drawn)
def is_convex(case: Case, backend: str) -> None:
    one = on_a_grid(case.inputs["x"])
    other = on_a_grid(8 * random_like(case, one.shape))
    target = _proper(case.inputs["target"])
    left, right, middle = (
        balls(_elementwise_loss(case, x=x, target=target), backend)["y"]
        for x in (one, other, (one + other) / 2)
    )
    at_most(backend, "the loss between two logits", middle, (left + right) * 0.5)


@law("bce_with_logits", "never below 0", draws=drawn, exact=True)
def is_not_negative(case: Case, backend: str) -> None:
    y = outcome(_elementwise_loss(case, target=_proper(case.inputs["target"])), backend)["y"]
    same(backend, "the loss against 0", np.minimum(y, 0), np.zeros_like(y))


@law("bce_with_logits", "weights of 1 are none", draws=drawn, exact=True)
def weights_of_one(case: Case, backend: str) -> None:
    loss = changed(case, weight=None, pos_weight=None)
    found = outcome(loss, backend)
    ones: Any = np.ones_like(case.inputs["x"])
    for name in ("weight", "pos_weight"):
        given = outcome(changed(loss, **{name: ones}), backend)
        for what in found:
            same(backend, f"{what} with {name} 1", given[what], found[what])


@law("bce_with_logits", "a weight is a factor", draws=drawn, exact=True)
def weight_is_a_factor(case: Case, backend: str) -> None:
    shape, rng = case.inputs["x"].shape, np.random.default_rng(case.grad_y.size)
    weight = cast(np.ldexp(1.0, rng.integers(-8, 9, shape)), case.dtype)
    found = outcome(_elementwise_loss(case), backend)
    weighed = outcome(_elementwise_loss(case, weight=weight), backend)
    normal = np.finfo(case.dtype).smallest_normal * 2.0**8
    for what in found:
        # What is rounded below the normal numbers cannot be scaled exactly.
        exact = (found[what] == 0) | (np.abs(found[what]) >= normal)
        expected = np.where(exact, weight * found[what], 0)
        same(backend, f"{what} with a weight", np.where(exact, weighed[what], 0), expected)


@law("bce_with_logits", "a pos_weight is a factor of target 1", draws=drawn)
def pos_weight_is_a_factor(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    ones, factor = np.ones_like(x), np.abs(random_like(case, x.shape))
    plain = balls(_elementwise_loss(case, target=ones), backend)
    weighed = balls(_elementwise_loss(case, target=ones, pos_weight=factor), backend)
    for what in plain:
        agree(backend, f"{what} with a pos_weight", weighed[what], plain[what] * exactly(factor))


@law("bce_with_logits", "a sum is n means", draws=drawn)
def sum_is_n_means(case: Case, backend: str) -> None:
    grad_y = random_like(case, ())
    total, mean = (
        balls(changed(case, grad_y=grad_y, settings={"reduction": word}), backend)
        for word in ("sum", "mean")
    )
    for what in total:
        n_means = mean[what] * case.inputs["x"].size
        agree(backend, f"{what} of the sum against n means", total[what], n_means)
