"""The exact lane: where nothing is rounded, both backends give the bits of integer arithmetic.

Inputs are integers from -8 to 8 and powers of two. Their products and sums fit the 24 bits of a
float32, so whatever the order of summation is, the result is the one of int64, and a difference of
one bit is a fault. No bound is needed, and none can hide anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import Phase, given, settings

import twingrad as tg
from twingrad.backends.numpy_backend.kernels import KERNELS, Kernel
from twingrad.core.foreign import supports
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, Arrays
from twingrad.parity_tests.judge.session import Session

LENGTHS = (1, 2, 3, 7, 16, 33, 128)
Draw = Callable[..., Any]


@dataclass(frozen=True)
class Exact:
    """One call of a layer in integers, and its result: exact, in int64 or as fractions of 2^k."""

    inputs: Arrays
    grad_y: Array
    y: Array
    grads: Arrays
    settings: dict[str, Any] = field(default_factory=dict)


class Integers:
    """Lengths and integers, drawn by Hypothesis: the lengths one by one, the integers by a seed."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))

    def length(self, *of: int) -> int:
        return int(self.draw(st.sampled_from(of or LENGTHS)))

    def lead(self) -> tuple[int, ...]:
        return tuple(self.draw(st.lists(st.sampled_from([1, 2, 3, 8]), max_size=2)))

    def __call__(self, *shape: int) -> Array:
        return np.asarray(self.rng.integers(-8, 9, shape))

    def powers(self, *shape: int) -> Array:
        """Return powers of two from 1/8 to 8, of either sign."""
        size = np.ldexp(1.0, self.rng.integers(-3, 4, shape))
        return np.asarray(size * self.rng.choice([-1, 1], shape))


def _flat(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def linear(of: Integers, bias: bool = True) -> Exact:
    n, out, lead = of.length(), of.length(), of.lead()
    x, weight, b, g = of(*lead, n), of(out, n), of(out), of(*lead, out)
    y = np.einsum("...i,oi->...o", x, weight) + (b if bias else 0)
    grads = {
        "x": np.einsum("...o,oi->...i", g, weight),
        "weight": np.einsum("ro,ri->oi", _flat(g), _flat(x)),
    }
    if not bias:
        return Exact({"x": x, "weight": weight}, g, y, grads)
    return Exact(
        {"x": x, "weight": weight, "bias": b}, g, y, grads | {"bias": _flat(g).sum(axis=0)}
    )


def linear_without_bias(of: Integers) -> Exact:
    return linear(of, bias=False)


def relu(of: Integers) -> Exact:
    x, g = of(of.length()), of(1)
    g = np.broadcast_to(g, x.shape)
    return Exact({"x": x}, g, np.where(x > 0, x, 0), {"x": np.where(x > 0, g, 0)})


def dropout(of: Integers) -> Exact:
    """The multiplier is 1 / (1 - p): 1, 2 or 4."""
    shape = (*of.lead(), of.length())
    x, g, keep = of(*shape), of(*shape), of.rng.random(shape) < 0.6
    factor = of.length(1, 2, 4)
    y, grad = (np.where(keep, factor * array, 0) for array in (x, g))
    return Exact({"x": x, "keep": keep}, g, y, {"x": grad}, {"p": 1 - 1 / factor})


def softmax_of_ties(of: Integers) -> Exact:
    """2^k equal logits among others that are too far below to count."""
    count, others, lead = of.length(1, 2, 8, 64), of.length(0, 1, 5), of.lead()
    x = np.full((*lead, count + others), 3)
    x[..., count:] -= 2000
    y = np.where(x == 3, 1 / count, 0)
    g = of(*x.shape)
    mean = g[..., :count].sum(axis=-1, keepdims=True) / count
    return Exact({"x": x}, g, y, {"x": y * (g - mean)})


def _attention(of: Integers) -> tuple[int, int, int, int, tuple[int, ...]]:
    return (
        of.length(1, 2, 7, 33),
        of.length(1, 2, 7, 33),
        of.length(1, 4, 16),
        of.length(1, 3, 8),
        of.lead(),
    )


def _of_one_key(of: Integers, chosen: Array, inputs: Arrays, settings: dict[str, Any]) -> Exact:
    """Return what attention gives where query i attends to key chosen[i] alone."""
    value = inputs["value"]
    weights = (chosen[..., None] == np.arange(value.shape[-2])).astype(np.int64)
    g = of(*chosen.shape, value.shape[-1])
    grads = {
        "query": np.zeros_like(inputs["query"]),
        "key": np.zeros_like(inputs["key"]),
        "value": np.einsum("...qk,...qv->...kv", weights, g),
    }
    return Exact(inputs, g, np.einsum("...qk,...kv->...qv", weights, value), grads, settings)


def attention_to_one_visible_key(of: Integers) -> Exact:
    q, k, d, v, lead = _attention(of)
    chosen = of.rng.integers(0, k, (*lead, q))
    mask = chosen[..., None] == np.arange(k)
    inputs = {
        "query": of(*lead, q, d),
        "key": of(*lead, k, d),
        "value": of(*lead, k, v),
        "mask": mask,
    }
    return _of_one_key(of, chosen, inputs, {})


def attention_of_one_hot_weights(of: Integers) -> Exact:
    """Nothing is hidden, but every other score is 1024 lower, and e^-1024 is 0."""
    q, k, _, v, lead = _attention(of)
    chosen = of.rng.integers(0, k, (*lead, q))
    query = (chosen[..., None] == np.arange(k)).astype(np.int64)
    key = np.broadcast_to(np.eye(k, dtype=np.int64), (*lead, k, k))
    inputs = {"query": query, "key": key, "value": of(*lead, k, v)}
    return _of_one_key(of, chosen, inputs, {"scale": 1024.0})


def attention_of_a_query_of_0(of: Integers) -> Exact:
    """All 2^k keys count the same; with 4^m features the scale is a power of two, too."""
    q, _, d, v, lead = _attention(of)
    k = of.length(1, 2, 8, 32)
    key, value, g = of(*lead, k, d), of(*lead, k, v), of(*lead, q, v)
    y = np.repeat(value.sum(axis=-2, keepdims=True) / k, q, axis=-2)
    flow = np.einsum("...qv,...kv->...qk", g, value)
    scores = (flow - flow.sum(axis=-1, keepdims=True) / k) / k
    grads = {
        "query": np.einsum("...qk,...kd->...qd", scores, key) / math.isqrt(d),
        "key": np.zeros_like(key),
        "value": np.repeat(g.sum(axis=-2, keepdims=True) / k, k, axis=-2),
    }
    inputs = {"query": np.zeros((*lead, q, d)), "key": key, "value": value}
    return Exact(inputs, g, y, grads)


def _stretched(of: Integers) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return a shape and two that broadcast to it."""
    full = (*of.lead(), of.length(1, 2, 7, 16))
    lengths = [(n, 1) if of.draw(st.booleans()) else (n, n) for n in full]
    left = tuple(one for one, _ in lengths)
    right = tuple(other for _, other in lengths)[of.draw(st.integers(0, len(full))) :]
    return full, left, right


def _summed_to(grad: Array, shape: tuple[int, ...]) -> Array:
    """Return grad with every axis added up along which `shape` was stretched."""
    padded = (1,) * (grad.ndim - len(shape)) + shape
    axes = tuple(axis for axis, n in enumerate(padded) if n != grad.shape[axis])
    return np.asarray(grad.sum(axis=axes, keepdims=True)).reshape(shape)


def _binary(
    operation: Callable[[Array, Array], Array], by_x: Any, by_y: Any, powers: bool = False
) -> Callable[[Integers], Exact]:
    """Return the exact call of x (operation) y, from the derivatives by x and by y."""

    def exact(of: Integers) -> Exact:
        full, left, right = _stretched(of)
        x, y, g = of(*left), of.powers(*right) if powers else of(*right), of(*full)
        grads = {"x": _summed_to(g * by_x(x, y), left), "y": _summed_to(g * by_y(x, y), right)}
        return Exact({"x": x, "y": y}, g, operation(x, y), grads)

    return exact


def neg(of: Integers) -> Exact:
    x, g = of(3, of.length()), of(1)
    g = np.broadcast_to(g, x.shape)
    return Exact({"x": x}, g, -x, {"x": -g})


def matmul(of: Integers) -> Exact:
    m, n, p, lead = of.length(), of.length(), of.length(), of.lead()
    shared = of.draw(st.booleans(), label="one y for all x")
    x, y, g = of(*lead, m, n), of(*(() if shared else lead), n, p), of(*lead, m, p)
    grad_y = np.einsum("...mn,...mp->...np", x, g)
    grads = {"x": np.einsum("...mp,...np->...mn", g, y), "y": _summed_to(grad_y, y.shape)}
    return Exact({"x": x, "y": y}, g, np.einsum("...mn,...np->...mp", x, y), grads)


def matmul_of_vectors(of: Integers) -> Exact:
    n = of.length()
    x, y, g = of(n), of(n), of()
    return Exact({"x": x, "y": y}, g, np.asarray((x * y).sum()), {"x": g * y, "y": g * x})


def _reduced(of: Integers, lengths: tuple[int, ...], mean: bool) -> Exact:
    shape = (of.length(*lengths), of.length(*lengths), of.length(*lengths))
    axis = of.draw(st.sampled_from([None, 0, 1, -1, (0, 2), (1, 2)]), label="axis")
    keepdim = of.draw(st.booleans(), label="keepdim")
    x = of(*shape)
    y = np.asarray(x.sum(axis=axis, keepdims=keepdim))
    count = x.size // y.size if mean else 1
    g = of(*y.shape)
    spread = np.broadcast_to(g.reshape(x.sum(axis=axis, keepdims=True).shape), shape)
    settings = {"axis": axis, "keepdim": keepdim}
    return Exact({"x": x}, g, y / count, {"x": spread / count}, settings)


def sum_(of: Integers) -> Exact:
    return _reduced(of, (1, 3, 7, 33), mean=False)


def mean(of: Integers) -> Exact:
    return _reduced(of, (1, 2, 8, 32), mean=True)


def reshape(of: Integers) -> Exact:
    a, b, c = of.length(1, 2, 3), of.length(1, 2, 3), of.length()
    x, g = of(a, b, c), of(c * a, b)
    return Exact({"x": x}, g, x.reshape(c * a, b), {"x": g.reshape(a, b, c)}, {"shape": (-1, b)})


def transpose(of: Integers) -> Exact:
    x = of(of.length(1, 2, 3), of.length(), of.length(1, 2, 3))
    axes = tuple(of.draw(st.permutations(range(3)), label="axes"))
    y = x.transpose(axes)
    g = of(*y.shape)
    return Exact({"x": x}, g, y, {"x": g.transpose(np.argsort(axes))}, {"axes": axes})


def getitem_with_duplicates(of: Integers) -> Exact:
    n, width, picks = of.length(), of.length(1, 2, 7), of.length()
    x, index, g = of(n, width), of.rng.integers(-n, n, picks), of(picks, width)
    grad = np.zeros_like(x)
    for row, into in zip(g, index, strict=True):
        grad[into] += row
    return Exact({"x": x}, g, x[index], {"x": grad}, {"index": (index,)})


def getitem_of_a_slice(of: Integers) -> Exact:
    n = of.length()
    x, index = of(n, 3, n), (slice(1, None, 2), ..., slice(0, n, 3))
    y = x[index]
    g, grad = of(*y.shape), np.zeros_like(x)
    grad[index] = g
    return Exact({"x": x}, g, y, {"x": grad}, {"index": index})


def concat(of: Integers) -> Exact:
    axis, lengths = of.length(0, 1), [of.length(1, 2, 7) for _ in range(3)]
    arrays = [of(*((n, 5) if axis == 0 else (5, n))) for n in lengths]
    y = np.concatenate(arrays, axis=axis)
    g = of(*y.shape)
    parts = np.split(g, np.cumsum(lengths)[:-1], axis=axis)
    names = [f"x{number}" for number in range(3)]
    grads = dict(zip(names, parts, strict=True))
    return Exact(dict(zip(names, arrays, strict=True)), g, y, grads, {"axis": axis})


# layer, and what is special about the call: its result
CALLS: dict[tuple[str, str], Callable[[Integers], Exact]] = {
    ("linear", "with bias"): linear,
    ("linear", "without bias"): linear_without_bias,
    ("relu", ""): relu,
    ("dropout", "p = 1 - 1 / 2^k"): dropout,
    ("softmax", "ties"): softmax_of_ties,
    ("attention", "one visible key"): attention_to_one_visible_key,
    ("attention", "one-hot weights"): attention_of_one_hot_weights,
    ("attention", "query 0"): attention_of_a_query_of_0,
    ("add", ""): _binary(np.add, lambda x, y: 1, lambda x, y: 1),
    ("sub", ""): _binary(np.subtract, lambda x, y: 1, lambda x, y: -1),
    ("mul", ""): _binary(np.multiply, lambda x, y: y, lambda x, y: x),
    ("div", "by 2^k"): _binary(np.divide, lambda x, y: 1 / y, lambda x, y: -x / y / y, powers=True),
    ("neg", ""): neg,
    ("matmul", "matrices"): matmul,
    ("matmul", "vectors"): matmul_of_vectors,
    ("sum", ""): sum_,
    ("mean", "of 2^k"): mean,
    ("reshape", ""): reshape,
    ("transpose", ""): transpose,
    ("getitem", "duplicates"): getitem_with_duplicates,
    ("getitem", "slices"): getitem_of_a_slice,
    ("concat", ""): concat,
}
CALLS_IN_WORDS = {
    f"{name} {words}".strip(): (name, exact) for (name, words), exact in CALLS.items()
}


def check_exact(name: str, exact: Exact, dtype: str, backend: str) -> None:
    """Raise AssertionError unless the backend gives every bit of the result."""

    def cast(x: Array) -> Array:
        narrow = x if x.dtype == bool else np.asarray(x).astype(dtype)
        assert np.array_equal(narrow, x), f"{name}: not exact in {dtype}, so no law"
        return narrow

    inputs = {key: cast(x) for key, x in exact.inputs.items()}
    y, grads = tg.vjp(name, inputs, cast(exact.grad_y), backend=backend, **exact.settings)
    found = {"y": y} | {f"grad_{key}": grad for key, grad in grads.items()}
    expected = {"y": exact.y} | {f"grad_{key}": grad for key, grad in exact.grads.items()}
    assert found.keys() == expected.keys(), f"{name} on {backend} gives {list(found)}"
    for what, value in expected.items():
        wrong = found[what] != cast(value)
        assert found[what].shape == value.shape, f"{name}: shape of {what} on {backend}"
        assert not wrong.any(), (
            f"{name}: {what} is wrong on {backend} at {np.argwhere(wrong)[0].tolist()}: "
            f"{found[what][wrong][0]!r} instead of {value[wrong][0]!r}"
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each call of a layer."""
    if "call" in metafunc.fixturenames:
        calls = [
            pytest.param(words, id=words, marks=pytest.mark.about(name))
            for words, (name, _) in CALLS_IN_WORDS.items()
        ]
        metafunc.parametrize("call", calls)


@given(data=st.data())
def test_integers_give_integers(
    call: str, dtype: str, session: Session, data: st.DataObject
) -> None:
    """Forward and every gradient, bit for bit those of integer arithmetic."""
    name, of = CALLS_IN_WORDS[call]
    exact = of(Integers(data.draw))
    for backend in session.options.backends:
        if supports(load_backend(backend), name, dtype):
            check_exact(name, exact, dtype, backend)


@pytest.mark.about("linear", "matmul", "sum")
@given(data=st.data())
def test_the_order_of_summation_does_not_matter(
    dtype: str, session: Session, data: st.DataObject
) -> None:
    """Summands in another order, or in parts that are added up: the same bits."""
    of = Integers(data.draw)
    rows, n, out = of.length(2, 8, 33, 128), of.length(), of.length()
    x, weight, g = (a.astype(dtype) for a in (of(rows, n), of(out, n), of(rows, out)))
    order, by = of.rng.permutation(n), of.rng.permutation(rows)
    cut = data.draw(st.integers(1, rows - 1), label="cut")
    for backend in session.options.backends:

        def linear_of(
            x: Array, weight: Array, g: Array, backend: str = backend
        ) -> tuple[Array, Arrays]:
            return tg.vjp("linear", {"x": x, "weight": weight}, g, backend=backend)

        y, grads = linear_of(x, weight, g)
        reordered, _ = linear_of(x[:, order], weight[:, order], g)
        np.testing.assert_array_equal(y, reordered, f"features in another order on {backend}")
        _, shuffled = linear_of(x[by], weight, g[by])
        np.testing.assert_array_equal(grads["weight"], shuffled["weight"], f"rows on {backend}")
        halves = [
            linear_of(x[part], weight, g[part])[1]["weight"]
            for part in (slice(cut), slice(cut, None))
        ]
        np.testing.assert_array_equal(grads["weight"], halves[0] + halves[1], f"parts on {backend}")
        product = tg.forward("matmul", {"x": x, "y": weight.T.copy()}, backend=backend)
        np.testing.assert_array_equal(y, product, f"matmul on {backend}")
        total = tg.forward("sum", {"x": x[:, None] * weight}, backend=backend, axis=-1)
        np.testing.assert_array_equal(y, total, f"sum on {backend}")


@pytest.mark.about("sgd")
@given(data=st.data())
def test_sgd_in_powers_of_two_is_exact(dtype: str, session: Session, data: st.DataObject) -> None:
    """Rates, momentum and decay that are powers of two: the recurrence in Python's fractions."""
    of = Integers(data.draw)
    power = st.sampled_from([0.25, 0.5, 1.0])
    chosen: dict[str, Any] = {
        "lr": data.draw(power, label="lr"),
        "momentum": data.draw(st.sampled_from([0.0, 0.5]), label="momentum"),
        "weight_decay": data.draw(st.sampled_from([0.0, 0.25]), label="weight_decay"),
        "maximize": data.draw(st.booleans(), label="maximize"),
    }
    chosen["nesterov"] = chosen["momentum"] > 0 and data.draw(st.booleans(), label="nesterov")
    lr, momentum, decay = (Fraction(chosen[s]) for s in ("lr", "momentum", "weight_decay"))
    start, gradients = of(5), of(3, 5)
    weight = [Fraction(int(w)) for w in start]
    buffer = [Fraction(0)] * 5
    path = []
    for number, grad in enumerate(gradients):
        flow = [
            (-g if chosen["maximize"] else g) + decay * w
            for g, w in zip(grad.tolist(), weight, strict=True)
        ]
        buffer = (
            flow if number == 0 else [momentum * b + f for b, f in zip(buffer, flow, strict=True)]
        )
        update = (
            [f + momentum * b for f, b in zip(flow, buffer, strict=True)]
            if chosen["nesterov"]
            else buffer
        )
        update = update if momentum else flow
        weight = [w - lr * u for w, u in zip(weight, update, strict=True)]
        path.append(np.array([float(w) for w in weight], dtype))
        assert [Fraction(float(w)) for w in path[-1]] == weight, "not exact, so no law"
    for backend in session.options.backends:
        found, state = start.astype(dtype), None
        for expected, grad in zip(path, gradients, strict=True):
            found, state = tg.optimizer_step(
                "sgd", found, grad.astype(dtype), state, backend=backend, **chosen
            )
            np.testing.assert_array_equal(found, expected, f"sgd on {backend}", strict=True)


def test_the_lane_covers_what_mathematics_makes_exact() -> None:
    """So that no entry of the table can be dropped unseen."""
    assert len(CALLS_IN_WORDS) == len(CALLS) >= 22
    assert {name for name, _ in CALLS} >= {
        *("linear", "relu", "dropout", "softmax", "attention", "matmul", "sum"),
        *("mean", "add", "sub", "mul", "div", "neg", "getitem", "concat", "reshape", "transpose"),
    }


# Faults that the lane sees


def _in_eight_bits(honest: Kernel) -> Kernel:
    """Return a kernel that rounds y to the 8 bits of a bfloat16, as fast modes of hardware do."""

    def forward(*args: Any, **kwargs: Any) -> tuple[Array, Any]:
        y, saved = honest.forward(*args, **kwargs)
        mantissa, exponent = np.frexp(y)
        return np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(y.dtype), saved

    return honest._replace(forward=forward)


def _without_duplicates(honest: Kernel) -> Kernel:
    """Return a getitem whose backward writes where it should add."""

    def backward(grad_y: Array, saved: Any) -> tuple[Array]:
        grad = np.zeros(saved.shapes[0], grad_y.dtype)
        grad[saved.setting] = grad_y
        return (grad,)

    return honest._replace(backward=backward)


def _one_part_in_a_million(honest: Kernel) -> Kernel:
    """Return a kernel with gradients that are too large, by what most tolerances let pass."""

    def backward(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
        grads = honest.backward(grad_y, saved)
        return tuple(None if g is None else g * g.dtype.type(1 + 1e-6) for g in grads)

    return honest._replace(backward=backward)


PLANTED_EXAMPLES = 300  # a sum must be long before eight bits are too few


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("linear with bias", _in_eight_bits),
        ("sum", _in_eight_bits),
        ("getitem duplicates", _without_duplicates),
        ("attention one-hot weights", _one_part_in_a_million),
        ("matmul matrices", _one_part_in_a_million),
        ("softmax ties", _one_part_in_a_million),
    ],
)
def test_a_planted_fault_leaves_the_lane(
    words: str, fault: Callable[[Kernel], Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, of = CALLS_IN_WORDS[words]
    monkeypatch.setitem(KERNELS, name, fault(KERNELS[name]))

    @settings(
        max_examples=PLANTED_EXAMPLES,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        database=None,
        derandomize=True,
    )
    @given(data=st.data())
    def law(data: st.DataObject) -> None:
        check_exact(name, of(Integers(data.draw)), "float32", "numpy")

    with pytest.raises(AssertionError, match="on numpy"):
        law()
