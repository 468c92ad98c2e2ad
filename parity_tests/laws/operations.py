"""What the laws must know of the structure operations, each as a page of its own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import mpmath
import numpy as np
import torch

from twingrad.core.operations import OPERATIONS
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import EVERYTHING, Domain
from twingrad.parity_tests.laws import digits
from twingrad.parity_tests.laws.roundings import (
    BASIC,
    EXACT,
    FUNCTION,
    LOG,
    Weights,
    roundings,
    summed,
)
from twingrad.parity_tests.laws.sweeps import EVERYWHERE, FALLING, INF, RISING, Direction, Function

Lengths = st.SearchStrategy[int]
Call = tuple[dict[str, tuple[int, ...]], dict[str, Any]]  # shapes by input, and settings


def _add(g: Array, x: Array, y: Array) -> Weights:
    return {"y": np.abs(x + y), "grad_x": summed(g, x.shape), "grad_y": summed(g, y.shape)}


def _mul(g: Array, x: Array, y: Array) -> Weights:
    return {
        "y": np.abs(x * y),
        "grad_x": summed(g * np.abs(y), x.shape),
        "grad_y": summed(g * np.abs(x), y.shape),
    }


def _div(g: Array, x: Array, y: Array) -> Weights:
    return {
        "y": np.abs(x / y),
        "grad_x": summed(2 * g / np.abs(y), x.shape),
        "grad_y": summed(4 * g * np.abs(x / y / y), y.shape),
    }


def _pow(g: Array, x: Array, y: Array) -> Weights:
    power = np.abs(x**y)
    relative = FUNCTION + LOG
    return {
        "y": relative * power,
        "grad_x": summed(
            relative * g * np.abs(y) * (power / np.abs(x)) * (1 + np.abs(np.log(x))), x.shape
        ),
        "grad_y": summed(2 * relative * g * power * np.abs(np.log(x)), y.shape),
    }


def _matmul(g: Array, x: Array, y: Array) -> Weights:
    rows, columns = (x[None] if x.ndim == 1 else x), (y[:, None] if y.ndim == 1 else y)
    wide = np.expand_dims(g, -1) if y.ndim == 1 else g
    wide = np.expand_dims(wide, -2) if x.ndim == 1 else wide
    grad_x = roundings(columns.shape[-1]) * (wide @ np.abs(columns).swapaxes(-1, -2))
    grad_y = roundings(rows.shape[-2]) * (np.abs(rows).swapaxes(-1, -2) @ wide)
    return {
        "y": roundings(x.shape[-1]) * (np.abs(x) @ np.abs(y)),
        "grad_x": summed(grad_x, rows.shape).reshape(x.shape),
        "grad_y": summed(grad_y, columns.shape).reshape(y.shape),
    }


def _sum(g: Array, x: Array, axis: Any, keepdim: bool) -> Weights:
    total = np.asarray(np.abs(x).sum(axis=axis, keepdims=keepdim))
    return {"y": roundings(x.size // max(total.size, 1)) * total, "grad_x": EXACT}


def _mean(g: Array, x: Array, axis: Any, keepdim: bool) -> Weights:
    weight = _sum(g, x, axis, keepdim)["y"]
    count = max(x.size // max(weight.size, 1), 1)
    kept = np.asarray(np.abs(x).sum(axis=axis, keepdims=True)).shape
    spread = np.broadcast_to(g.reshape(kept), x.shape)
    return {"y": 2 * weight / count, "grad_x": 2 * BASIC * spread / count}


def _getitem(g: Array, x: Array, index: Any) -> Weights:
    total = np.zeros_like(x)
    np.add.at(total, index, g)
    return {"y": EXACT, "grad_x": roundings(max(g.size, 1)) * total}


def _moved(g: Array, **inputs: Any) -> Weights:
    return {
        "y": EXACT,
        **{f"grad_{name}": EXACT for name, x in inputs.items() if isinstance(x, np.ndarray)},
    }


@st.composite
def call_of_broadcast(draw: st.DrawFn, lengths: Lengths) -> Call:
    full = tuple(draw(st.lists(lengths, max_size=3), label="shape"))

    def stretched() -> tuple[int, ...]:
        shape = tuple(1 if draw(st.booleans()) else length for length in full)
        return shape[draw(st.integers(0, len(shape))) :]

    return {"x": stretched(), "y": stretched()}, {}


@st.composite
def call_of_matmul(draw: st.DrawFn, lengths: Lengths) -> Call:
    m, n, p = draw(lengths), draw(lengths), draw(lengths)
    lead = tuple(draw(st.lists(lengths, max_size=1)))
    x, y = (lead if draw(st.booleans()) else ()), (lead if draw(st.booleans()) else ())
    return {
        "x": (n,) if draw(st.booleans()) else (*x, m, n),
        "y": (n,) if draw(st.booleans()) else (*y, n, p),
    }, {}


@st.composite
def call_of_reduce(draw: st.DrawFn, lengths: Lengths) -> Call:
    shape = tuple(draw(st.lists(lengths, max_size=3), label="shape"))
    axes = st.lists(st.integers(0, max(len(shape) - 1, 0)), unique=True, min_size=1).map(tuple)
    axis: Any = draw(st.one_of(st.none(), axes) if shape else st.none(), label="axis")
    if isinstance(axis, tuple) and len(axis) == 1 and draw(st.booleans()):
        axis = axis[0] - len(shape)
    return {"x": shape}, {"axis": axis, "keepdim": draw(st.booleans(), label="keepdim")}


@st.composite
def call_of_reshape(draw: st.DrawFn, lengths: Lengths) -> Call:
    shape = tuple(draw(st.lists(lengths, max_size=3), label="x"))
    new = draw(st.permutations([*shape, 1]), label="shape")
    flat = draw(st.booleans(), label="flat") and 0 not in shape
    return {"x": shape}, {"shape": (-1,) if flat else tuple(new)}


@st.composite
def call_of_transpose(draw: st.DrawFn, lengths: Lengths) -> Call:
    shape = tuple(draw(st.lists(lengths, max_size=3), label="x"))
    axes = draw(st.one_of(st.none(), st.permutations(range(len(shape))).map(tuple)), label="axes")
    return {"x": shape}, {"axes": axes}


@st.composite
def call_of_getitem(draw: st.DrawFn, lengths: Lengths) -> Call:
    # One more than drawn, since there is no element 0 of nothing.
    shape = tuple(draw(st.lists(lengths.map(lambda n: n + 1), min_size=1, max_size=3), label="x"))
    positions = st.integers(-shape[0], shape[0] - 1)
    # Rows may be picked twice: their gradients must add up.
    rows = st.lists(positions, min_size=1, max_size=4).map(lambda rows: (np.array(rows),))
    # torch has no slices that run backwards, so they are not under a law of two backends.
    basic = hnp.basic_indices(shape, allow_newaxis=True).filter(_runs_forward)
    return {"x": shape}, {"index": draw(st.one_of(basic, rows), label="index")}


@st.composite
def call_of_concat(draw: st.DrawFn, lengths: Lengths) -> Call:
    shape = draw(st.lists(lengths, min_size=1, max_size=3), label="shape")
    axis = draw(st.integers(-len(shape), len(shape) - 1), label="axis")
    shapes = {}
    for index in range(draw(st.integers(1, 3), label="arrays")):
        own = list(shape)
        own[axis] = draw(lengths)
        shapes[f"x{index}"] = tuple(own)
    return shapes, {"axis": axis}


def _runs_forward(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(not isinstance(part, slice) or (part.step or 1) > 0 for part in parts)


def _page(name: str, bound: Callable[..., Weights], **more: Any) -> SimpleNamespace:
    # Their definitions are plain arithmetic, and run on mpmath's numbers.
    return SimpleNamespace(**({"bound": bound, "truth": OPERATIONS[name].definition} | more))


SLOPE_OF_LOG = Direction(lambda x: 1 / x, lambda x: 1 / x, 0, INF, FALLING, positive=True)
SLOPE_OF_SQRT = Direction(
    lambda x: 0.5 / torch.sqrt(x),
    lambda x: 1 / (2 * mpmath.sqrt(x)),
    0,
    INF,
    FALLING,
    positive=True,
)
EXP = Direction(torch.exp, mpmath.exp, 0, INF, EVERYWHERE)
ABOVE_0 = {"x": Domain(-60, 60, positive=True, zero=False)}
BY_ROWS = "a vector has no rows"

PAGES: dict[str, SimpleNamespace] = {
    name: _page(name, bound, **more)
    for name, bound, more in (
        ("add", _add, {"calls": call_of_broadcast, "INTEGERS": {}}),
        ("sub", lambda g, x, y: _add(g, x, -y), {"calls": call_of_broadcast, "INTEGERS": {}}),
        ("mul", _mul, {"calls": call_of_broadcast, "INTEGERS": {}}),
        (
            "div",
            _div,
            {
                "calls": call_of_broadcast,
                "DOMAINS": {"y": Domain(-6, 6, zero=False)},
                "POSITIVE": True,
            },
        ),
        (
            "pow",
            _pow,
            {
                "calls": call_of_broadcast,
                "DOMAINS": {"x": Domain(-3, 3, positive=True, zero=False), "y": Domain(-3, 3)},
                "POSITIVE": True,
                "ROUNDED_ONCE": ("y",),
            },
        ),
        ("neg", _moved, {"DOMAINS": {"x": EVERYTHING}, "INTEGERS": {}}),
        (
            "exp",
            lambda g, x: {"y": FUNCTION * np.exp(x), "grad_x": (FUNCTION + BASIC) * g * np.exp(x)},
            {
                "truth": lambda x: digits.exp(x),  # a ufunc takes no names
                "DOMAINS": {"x": Domain(-20, 5)},
                "ROUNDED_ONCE": ("y",),
                "SWEEPS": (Function("exp", OPERATIONS["exp"], EXP, EXP),),
            },
        ),
        (
            "log",
            lambda g, x: {"y": LOG * np.abs(np.log(x)), "grad_x": BASIC * g / x},
            {
                "truth": lambda x: digits.log(x),
                "DOMAINS": ABOVE_0,
                "POSITIVE": True,
                "ROUNDED_ONCE": ("y",),
                "SWEEPS": (
                    Function(
                        "log",
                        OPERATIONS["log"],
                        Direction(torch.log, mpmath.log, monotone=RISING),
                        SLOPE_OF_LOG,
                        positive=True,
                    ),
                ),
            },
        ),
        (
            "sqrt",
            lambda g, x: {"y": 2 * BASIC * np.sqrt(x), "grad_x": 4 * BASIC * g / np.sqrt(x)},
            {
                "truth": lambda x: digits.sqrt(x),
                "DOMAINS": ABOVE_0,
                "POSITIVE": True,
                "ROUNDED_ONCE": ("y", "grad_x"),
                "SWEEPS": (
                    Function(
                        "sqrt",
                        OPERATIONS["sqrt"],
                        Direction(torch.sqrt, mpmath.sqrt, 0, INF, RISING),
                        SLOPE_OF_SQRT,
                        positive=True,
                    ),
                ),
            },
        ),
        (
            "matmul",
            _matmul,
            {
                "calls": call_of_matmul,
                "INTEGERS": {},
                "EXCEPTIONS": {
                    "rows may be reordered": BY_ROWS,
                    "a batch is its parts": BY_ROWS,
                },
            },
        ),
        ("sum", _sum, {"calls": call_of_reduce, "INTEGERS": {}, "ROUNDED_ONCE": ("y",)}),
        ("mean", _mean, {"calls": call_of_reduce}),
        (
            "reshape",
            _moved,
            {"calls": call_of_reshape, "DOMAINS": {"x": EVERYTHING}, "INTEGERS": {}},
        ),
        (
            "transpose",
            _moved,
            {"calls": call_of_transpose, "DOMAINS": {"x": EVERYTHING}, "INTEGERS": {}},
        ),
        ("getitem", _getitem, {"calls": call_of_getitem, "INTEGERS": {}}),
        ("concat", _moved, {"calls": call_of_concat, "INTEGERS": {}}),
    )
}
