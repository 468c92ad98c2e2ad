"""The structure operations on tensors, as data: what stands between the layers of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.spec import Array, LayerSpec, Structural

AXIS = Structural(None, "an axis, a tuple of axes, or None for all")
AXES = Structural(None, "a permutation of the axes, or None to reverse them")
ONE_AXIS = Structural(0, "an axis")
SHAPE = Structural((-1,), "a shape of as many elements; one length may be -1")
INDEX = Structural((), "an index: integers, slices, None, ..., integer or boolean arrays")
KEEPDIM = Structural(False, "True or False")


NUMPY_NAMES = {
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "pow": "power",
    "neg": "negative",
}


def _add(x: Array, y: Array) -> Array:
    return np.asarray(x + y)


def _sub(x: Array, y: Array) -> Array:
    return np.asarray(x - y)


def _mul(x: Array, y: Array) -> Array:
    return np.asarray(x * y)


def _div(x: Array, y: Array) -> Array:
    return np.asarray(x / y)


def _pow(x: Array, y: Array) -> Array:
    # With exponents in full, along an axis: for a single 0.5 NumPy takes the root, NaN at -inf.
    shape = (1, *np.broadcast_shapes(np.shape(x), np.shape(y)))
    return np.asarray((x ** np.array(np.broadcast_to(y, shape)))[0])


def _neg(x: Array) -> Array:
    return np.asarray(-x)


def _exp(x: Array) -> Array:
    return np.asarray(np.exp(x))


def _log(x: Array) -> Array:
    return np.asarray(np.log(x))


def _sqrt(x: Array) -> Array:
    return np.asarray(np.sqrt(x))


def _matmul(x: Array, y: Array) -> Array:
    return np.asarray(x @ y)


def _sum(x: Array, axis: Any = None, keepdim: bool = False) -> Array:
    return np.asarray(np.sum(x, axis=axis, keepdims=keepdim))


def _mean(x: Array, axis: Any = None, keepdim: bool = False) -> Array:
    total = _sum(x, axis, keepdim)
    return np.asarray(total / max(x.size // max(total.size, 1), 1))


def _reshape(x: Array, shape: Any) -> Array:
    return np.array(np.reshape(x, shape))


def _transpose(x: Array, axes: Any = None) -> Array:
    return np.array(np.transpose(x, axes))


def _getitem(x: Array, index: Any = ()) -> Array:
    return np.array(x[index])


def _concat(*arrays: Array, axis: int = 0) -> Array:
    return np.concatenate(arrays, axis=axis)


def _elementwise(name: str, formula: str, definition: Any, *inputs: str) -> LayerSpec:
    """Return the spec of an operation whose inputs are broadcast against each other."""
    return LayerSpec(
        name=name,
        formula=formula,
        inputs=dict.fromkeys(inputs, "..."),
        broadcast=inputs if len(inputs) > 1 else (),
        output="...",
        source=f"numpy.{NUMPY_NAMES.get(name, name)}",
        definition=definition,
    )


OPERATIONS: dict[str, LayerSpec] = {
    spec.name: spec
    for spec in (
        _elementwise("add", "z = x + y", _add, "x", "y"),
        _elementwise("sub", "z = x - y", _sub, "x", "y"),
        _elementwise("mul", "z = x * y", _mul, "x", "y"),
        _elementwise("div", "z = x / y", _div, "x", "y"),
        _elementwise("pow", "z = x ** y", _pow, "x", "y"),
        _elementwise("neg", "y = -x", _neg, "x"),
        _elementwise("exp", "y = e^x", _exp, "x"),
        _elementwise("log", "y = log(x)", _log, "x"),
        _elementwise("sqrt", "y = sqrt(x)", _sqrt, "x"),
        LayerSpec(
            name="matmul",
            formula="z = x @ y",
            inputs={"x": "... m n", "y": "... n p"},
            output="... m p",
            source="numpy.matmul",
            definition=_matmul,
            meaning="leading dimensions broadcast; a vector is a row on the left, a column right",
        ),
        LayerSpec(
            name="sum",
            formula="y = sum of x over axis",
            inputs={"x": "..."},
            output="... without axis",
            source="numpy.sum",
            definition=_sum,
            settings={"axis": AXIS, "keepdim": KEEPDIM},
        ),
        LayerSpec(
            name="mean",
            formula="y = sum of x over axis / number of summands",
            inputs={"x": "..."},
            output="... without axis",
            source="numpy.mean",
            definition=_mean,
            settings={"axis": AXIS, "keepdim": KEEPDIM},
            meaning="the mean of nothing is 0",
        ),
        LayerSpec(
            name="reshape",
            formula="y = the elements of x in a new shape",
            inputs={"x": "..."},
            output="shape",
            source="numpy.reshape",
            definition=_reshape,
            settings={"shape": SHAPE},
        ),
        LayerSpec(
            name="transpose",
            formula="y = x with its axes permuted",
            inputs={"x": "..."},
            output="... permuted",
            source="numpy.transpose",
            definition=_transpose,
            settings={"axes": AXES},
        ),
        LayerSpec(
            name="getitem",
            formula="y = x[index]",
            inputs={"x": "..."},
            output="... indexed",
            source="NumPy's indexing",
            definition=_getitem,
            settings={"index": INDEX},
            meaning="an element picked twice gets the sum of both gradients",
        ),
        LayerSpec(
            name="concat",
            formula="y = x0, x1, ... joined along axis",
            inputs={"x0": "..."},
            variadic=True,
            output="... joined",
            source="numpy.concatenate",
            definition=_concat,
            settings={"axis": ONE_AXIS},
        ),
    )
}
