"""What the laws must know of linear, and what only it has."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from twingrad.core.spec import Array, Settings
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.laws.ball import agree, balls, exactly, outcome, same
from twingrad.parity_tests.laws.drawn import (
    KINDS,
    cast,
    changed,
    drawn,
    gradients_in,
    integers,
    random_like,
)
from twingrad.parity_tests.laws.roundings import Weights, roundings
from twingrad.parity_tests.laws.rows import rows_of, stacked
from twingrad.parity_tests.laws.table import law


def bound(g: Array, x: Array, weight: Array, bias: Array | None = None) -> Weights:
    size = np.abs(x) @ np.abs(weight).T + (0 if bias is None else np.abs(bias))
    out, width = weight.shape
    rows = math.prod(x.shape[:-1])
    flat_g, flat_x = g.reshape(rows, out), np.abs(x).reshape(rows, width)
    weights = {
        "y": roundings(width + 1) * size,
        "grad_x": roundings(out) * (g @ np.abs(weight)),
        "grad_weight": roundings(rows) * (flat_g.T @ flat_x),
    }
    return (
        weights if bias is None else weights | {"grad_bias": roundings(rows) * flat_g.sum(axis=0)}
    )


def truth(x: Array, weight: Array, bias: Any = 0) -> Any:
    return x @ weight.T + bias


INTEGERS: Settings = {}


@law("linear", "three inner products are one", draws=drawn)
def inner_products(case: Case, backend: str) -> None:
    found = balls(case, backend)
    y = found["y"] - (exactly(case.inputs["bias"]) if "bias" in case.inputs else 0)
    by_y = (y * exactly(case.grad_y)).sum()
    for name in ("x", "weight"):
        product = (found[f"grad_{name}"] * exactly(case.inputs[name])).sum()
        agree(backend, f"<{name}, grad_{name}> against <y - bias, grad_y>", product, by_y)


@law("linear", "the bias gets the sum of the upstream", draws=drawn)
def bias_gets_the_sum(case: Case, backend: str) -> None:
    out = case.inputs["weight"].shape[0]
    found = balls(changed(case, bias=random_like(case, (out,))), backend)
    total = exactly(case.grad_y.reshape(math.prod(case.grad_y.shape[:-1]), out)).sum(axis=0)
    agree(backend, "grad_bias against the sum of grad_y", found["grad_bias"], total)


@law("linear", "the identity hands on", draws=drawn, exact=True)
def identity_hands_on(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    weight = np.eye(x.shape[-1], dtype=x.dtype)
    case = changed(case, grad_y=random_like(case, x.shape), weight=weight, bias=None)
    found = outcome(case, backend)
    same(backend, "y of the identity", found["y"], x)
    same(backend, "grad_x of the identity", found["grad_x"], case.grad_y)


@law("linear", "zero weights leave the bias", draws=drawn, exact=True)
def zero_weights(case: Case, backend: str) -> None:
    weight = np.zeros_like(case.inputs["weight"])
    bias = random_like(case, weight.shape[:1])
    found = outcome(changed(case, weight=weight, bias=bias), backend)
    same(backend, "y of weight 0", found["y"], np.broadcast_to(bias, found["y"].shape))
    same(backend, "grad_x of weight 0", found["grad_x"], np.zeros_like(case.inputs["x"]))


@law("linear", "one-hot weights pick", draws=drawn, exact=True)
def one_hot_weights(case: Case, backend: str) -> None:
    """Each output picks one feature and scales it by a power of two."""
    x, rng = case.inputs["x"], np.random.default_rng(case.grad_y.size)
    picks = rng.permutation(x.shape[-1])
    factors = cast(KINDS["powers of two"](rng, picks.shape), x.dtype)
    weight = np.zeros((len(picks), len(picks)), x.dtype)
    weight[np.arange(len(picks)), picks] = factors
    case = changed(case, grad_y=random_like(case, x.shape), weight=weight, bias=None)
    found = outcome(case, backend)
    same(backend, "y of one-hot weights", found["y"], x[..., picks] * factors)
    same(backend, "grad_x of one-hot weights", found["grad_x"][..., picks], case.grad_y * factors)


@law("linear", "x times 4 is y times 4", draws=drawn, exact=True)
def powers_of_two(case: Case, backend: str) -> None:
    # A product below the normal numbers is rounded, and four times it is rounded elsewhere.
    root = np.sqrt(np.finfo(case.dtype).smallest_normal)
    x, weight, grad_y = (
        np.where(np.abs(array) < root, array.dtype.type(0), array)
        for array in (case.inputs["x"], case.inputs["weight"], case.grad_y)
    )
    plain = changed(case, grad_y=grad_y, x=x, weight=weight, bias=None)
    found = outcome(plain, backend)
    scaled = outcome(changed(plain, x=4 * plain.inputs["x"]), backend)
    for what, factor in (("y", 4), ("grad_x", 1), ("grad_weight", 4)):
        same(backend, f"{what} of 4 x", scaled[what], factor * found[what])


@law("linear", "parts of an integer batch add up", draws=integers, exact=True)
def splits_exactly(case: Case, backend: str) -> None:
    """Gradient accumulation: integer parts of a batch add up to the whole."""
    batch, of_rows = stacked(case)
    whole = outcome(batch, backend)
    parts = [outcome(rows_of(batch, of_rows, slice(*ends)), backend) for ends in ((0, 1), (1, 3))]
    for what in gradients_in(whole):
        joined = np.concatenate if what in of_rows else np.add.reduce
        same(backend, f"{what} of a split batch", whole[what], joined([p[what] for p in parts]))
