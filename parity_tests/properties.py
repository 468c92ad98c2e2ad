"""What must be true of a layer or an optimizer whatever its inputs are: a table of properties.

A property relates results to each other, so it needs no oracle of its own. Most relations hold
only up to rounding, and a `Ball` carries along how much of it there can be: each result starts
with the bound that the definition's error has (bounds.py), and sums and products add up what they
are made of. The others hold bit for bit, and their sentences say so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import torch

import twingrad as tg
from twingrad.core.catalogue import LAYERS, OPTIMIZERS
from twingrad.core.layers.attention import visible_pairs
from twingrad.core.operations import OPERATIONS
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec
from twingrad.parity_tests.judge.bounds import derived
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.options import DTYPES
from twingrad.parity_tests.judge.oracle import precise
from twingrad.parity_tests.judge.strategies import cases, large_cases, optimizer_settings

Inputs = dict[str, Any]  # arrays by name, or None for one that is left out

BIT_FOR_BIT = "bit for bit"  # stands in the sentence of every property that allows no error
ALPHA = 1e-9  # chance that a fair dropout is called unfair


@dataclass(frozen=True)
class Run:
    """An optimizer's settings, a weight, and one gradient after the other: (steps, *shape)."""

    spec: OptimizerSpec
    settings: dict[str, Any]
    weight: Array
    grads: Array


@dataclass(frozen=True)
class Property:
    """A check that raises AssertionError if a backend lacks the property, and what it is run on."""

    holds: Callable[[Any, str], None]  # takes a Case or a Run, and the backend's name
    draws: Callable[[Any, str], st.SearchStrategy[Any]]
    dtypes: tuple[str, ...] = DTYPES
    concerns: frozenset[str] = frozenset()  # of a property of several layers: which ones
    uses: tuple[str, ...] = ()  # other layers that it computes
    needs_tensors: bool = False  # it builds models, or goes over a tape


# Values that carry their error


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


# What properties are tried on

KINDS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "integers": lambda rng, shape: rng.integers(-8, 9, shape),
    "powers of two": lambda rng, shape: np.ldexp(
        rng.choice([-1.0, 1.0], shape), rng.integers(-4, 5, shape)
    ),
    "ties": lambda rng, shape: rng.choice(rng.standard_normal(3), shape),
    "constant rows": lambda rng, shape: np.broadcast_to(
        rng.standard_normal((*shape[:-1], 1) if shape else ()), shape
    ),
    "far from 0": lambda rng, shape: 16 + rng.standard_normal(shape) / 64,
}
POSITIVE = frozenset({"div", "pow", "log", "sqrt"})


@st.composite
def awkward(draw: st.DrawFn, spec: LayerSpec, dtype: str) -> Case:
    """Draw a case whose numbers are of one awkward kind."""
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)), label="kind")]
    return _renumbered(draw(large_cases(spec, dtype)), kind)


def drawn(spec: LayerSpec, dtype: str) -> st.SearchStrategy[Case]:
    """Draw a case of any kind: large, awkward, or small and element by element."""
    return st.one_of(
        large_cases(spec, dtype), awkward(spec, dtype), cases(spec, dtype, min_length=1)
    )


def integers(spec: LayerSpec, dtype: str) -> st.SearchStrategy[Case]:
    """Draw a case of integers from -8 to 8, whose products and sums are not rounded."""

    def as_integers(case: Case) -> Case:
        settings = {"p": 0.5} if "p" in case.settings else {}
        case = replace(case, settings=case.settings | settings)
        return _renumbered(case, KINDS["integers"], upstream_too=True)

    return large_cases(spec, dtype).map(as_integers)


def _most_condition(dtype: str | np.dtype[Any]) -> float:
    """Return how large max|x| / deviation of a row may be, for its bound to say something.

    The bound is one of first order: up to 31 roundings, times the condition, must stay below 1.
    """
    return 1 / (32 * float(np.finfo(dtype).eps / 2))


@st.composite
def rows(draw: st.DrawFn, spec: LayerSpec, dtype: str, eps: float | None = None) -> Case:
    """Draw rows to normalise: means up to 1e6, deviations from 1e-6 to 1e6.

    With a given eps the mean is at most as large as the deviation. Without one it may be so many
    times larger as leave xhat a digit.
    """
    count, features = draw(st.integers(1, 5)), draw(st.sampled_from([2, 3, 7, 33, 128]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    deviation = 10.0 ** draw(st.integers(-6, 6), label="log10 of the deviation")
    means = [0.0, deviation] if eps is not None else [0.0, 1.0, 30.0, 1e3, 1e6]
    # Two numbers stand a deviation away on either side, so the row's own is an eighth of it at
    # least: sqrt(2 / features).
    largest = deviation / 16 * _most_condition(dtype)
    mean = min(draw(st.sampled_from(means), label="mean"), largest)
    settings = {"eps": draw(st.sampled_from([1e-12, 1e-5, 0.5])) if eps is None else eps}
    x = rng.standard_normal((count, features))
    x[:, :2] = rng.permuted(np.tile([-1, 1], (count, 1)), axis=1)
    inputs = {"x": x * deviation + mean * rng.choice([-1, 1], (count, 1))}
    for name in ("weight", "bias"):
        if draw(st.booleans(), label=f"{name} given"):
            inputs[name] = rng.standard_normal(features)
    grad_y = rng.standard_normal((count, features)).astype(dtype)
    return Case(spec, {name: x.astype(dtype) for name, x in inputs.items()}, settings, grad_y)


def rows_without_eps(spec: LayerSpec, dtype: str) -> st.SearchStrategy[Case]:
    """Draw rows for eps 0, where only the direction of x - mean counts."""
    return rows(spec, dtype, eps=0.0)


@st.composite
def runs(draw: st.DrawFn, spec: OptimizerSpec, dtype: str) -> Run:
    """Draw an optimizer's settings, a weight, and gradients of many magnitudes, none of them 0."""
    settings = draw(optimizer_settings(spec), label="settings")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    shape = draw(st.sampled_from([(), (3, 5), (65,)]), label="shape")
    grads = rng.choice([-1, 1], (6, *shape)) * 10 ** rng.uniform(-4, 2, (6, *shape))
    return Run(spec, settings, _cast(rng.standard_normal(shape), dtype), _cast(grads, dtype))


def _cast(array: Any, dtype: Any) -> Array:
    return np.asarray(array).astype(dtype)


def _renumbered(
    case: Case,
    kind: Callable[[np.random.Generator, tuple[int, ...]], Array],
    upstream_too: bool = False,
) -> Case:
    """Return the case with other numbers in the same shapes."""
    rng = np.random.default_rng(case.grad_y.size)

    def numbers(x: Array) -> Array:
        if x.dtype.kind != "f":
            return x
        values = kind(rng, x.shape)
        return _cast(np.abs(values) + 0.25 if case.spec.name in POSITIVE else values, case.dtype)

    inputs = {name: numbers(x) for name, x in case.inputs.items()}
    return replace(
        case, inputs=inputs, grad_y=numbers(case.grad_y) if upstream_too else case.grad_y
    )


def _random(case: Case, shape: tuple[int, ...] | None = None) -> Array:
    """Return numbers of the case's dtype that depend on nothing but a shape."""
    rng = np.random.default_rng(1 + case.grad_y.size)
    return _cast(rng.standard_normal(case.grad_y.shape if shape is None else shape), case.dtype)


def _on_a_grid(x: Array, limit: float = 64, spacing: float = 2.0**-6) -> Array:
    """Return multiples of `spacing` up to `limit`, whose sums and differences are exact."""
    return _cast(np.round(np.clip(x, -limit, limit) / spacing) * spacing, x.dtype)


def _with(
    case: Case,
    grad_y: Array | None = None,
    settings: Mapping[str, Any] | None = None,
    **inputs: Any,
) -> Case:
    """Return the case with some inputs, settings or the upstream gradient replaced.

    An input that is None is left out; the others stand in the spec's order.
    """
    merged = {**case.inputs, **inputs}
    order = list(merged) if case.spec.variadic else list(case.spec.inputs)
    given = {name: merged[name] for name in order if merged.get(name) is not None}
    upstream = case.grad_y if grad_y is None else grad_y
    return Case(case.spec, given, case.settings | dict(settings or {}), upstream)


def _of(layer: str, like: Case, inputs: Arrays, **settings: Any) -> Case:
    """Return a case of another layer, with the same upstream gradient."""
    spec = LAYERS[layer]
    return Case(spec, inputs, spec.defaults() | settings, like.grad_y)


def _gradients(found: Mapping[str, Any]) -> list[str]:
    return [what for what in found if what != "y"]


# Every layer and operation


def upstreams_add_up(case: Case, backend: str) -> None:
    # On a grid, so that the sum of the two is no third, rounded gradient.
    one, two = _on_a_grid(case.grad_y), _on_a_grid(_random(case))
    first, second, both = (balls(_with(case, grad_y=g), backend) for g in (one, two, one + two))
    for what in _gradients(both):
        total = first[what] + second[what]
        agree(backend, f"{what} of a sum of upstream gradients", both[what], total)


def integer_upstreams_add_up(case: Case, backend: str) -> None:
    one, two = case.grad_y, case.grad_y[..., ::-1] if case.grad_y.ndim else case.grad_y
    first, second, both = (outcome(_with(case, grad_y=g), backend) for g in (one, two, one + two))
    for what in _gradients(both):
        total = first[what] + second[what]
        same(backend, f"{what} of a sum of upstream gradients", both[what], total)


def no_upstream_no_gradient(case: Case, backend: str) -> None:
    found = outcome(_with(case, grad_y=np.zeros_like(case.grad_y)), backend)
    for what in _gradients(found):
        nothing = np.zeros_like(found[what])
        same(backend, f"{what} of an upstream gradient of 0", found[what], nothing)


def negative_upstream_negative_gradient(case: Case, backend: str) -> None:
    found, negated = outcome(case, backend), outcome(_with(case, grad_y=-case.grad_y), backend)
    for what in _gradients(found):
        same(backend, f"{what} of the negative upstream gradient", negated[what], -found[what])


def backward_runs_twice(case: Case, backend: str) -> None:
    """A second backward through the same forward adds the same gradient once more."""
    target, once = load_backend(backend), outcome(case, backend)
    tensors = {
        name: target.tensor(x, requires_grad=f"grad_{name}" in once)
        for name, x in case.inputs.items()
    }
    y = target.apply(case.spec, tensors, case.settings)
    for _ in range(2):
        y.backward(target.tensor(case.grad_y), retain_graph=True)
    for what in _gradients(once):
        grad = tensors[what.removeprefix("grad_")].grad
        twice = np.zeros_like(once[what]) if grad is None else target.to_numpy(grad)
        same(backend, f"{what} of two backward passes", twice, 2 * once[what])


def float32_is_float64_rounded(case: Case, backend: str) -> None:
    def widened(x: Array) -> Array:
        return x.astype(np.float64) if x.dtype.kind == "f" else x

    wide = {name: widened(x) for name, x in case.inputs.items()}
    narrow, upstream = balls(case, backend), widened(case.grad_y)
    for what, ball in balls(Case(case.spec, wide, case.settings, upstream), backend).items():
        expected = Ball(ball.value.astype(np.float64), ball.radius.astype(np.float64))
        agree(backend, f"{what} in float32 against float64", narrow[what], expected)


def _stacked(case: Case) -> tuple[Case, list[str]]:
    """Return a batch of three like the case, and what of its outcome has the batch's rows."""
    rng = np.random.default_rng(case.grad_y.size)
    named = {name: len(text.split()) - 1 for name, text in case.spec.inputs.items()}
    names = [name for name in case.inputs if case.spec.inputs[name].startswith("...")]
    rank = max(case.inputs[name].ndim - named[name] for name in names)
    # A loss is looked at before it is reduced: that is where it has rows.
    settings = {"reduction": "none"} if "reduction" in case.settings else {}
    upstream = _random(case, case.inputs["target"].shape) if settings else case.grad_y

    def batch(x: Array, missing: int = 0) -> Array:
        padded = x.reshape((1,) * missing + x.shape)
        return np.stack([padded, *(_shuffled(padded, rng) for _ in range(2))])

    stacked = _with(
        case,
        grad_y=batch(upstream),
        settings=settings,
        **{
            name: batch(case.inputs[name], rank - (case.inputs[name].ndim - named[name]))
            for name in names
        },
    )
    return stacked, ["y", *(f"grad_{name}" for name in names)]


def _shuffled(x: Array, rng: np.random.Generator) -> Array:
    return rng.permutation(x.reshape(-1)).reshape(x.shape)


def _rows(case: Case, of_rows: list[str], index: Any) -> Case:
    picked = {name: case.inputs[name][index] for name in case.inputs if f"grad_{name}" in of_rows}
    return _with(case, grad_y=case.grad_y[index], **picked)


def rows_may_be_reordered(case: Case, backend: str) -> None:
    batch, of_rows = _stacked(case)
    order = [2, 0, 1]
    found, moved = balls(batch, backend), balls(_rows(batch, of_rows, order), backend)
    for what in found:
        expected = found[what][order] if what in of_rows else found[what]
        agree(backend, f"{what} of reordered rows", moved[what], expected)


def a_batch_is_its_parts(case: Case, backend: str) -> None:
    """Row by row; parameters get the sum of what each part gives them (and heads are a loop)."""
    batch, of_rows = _stacked(case)
    whole = balls(batch, backend)
    parts = [balls(_rows(batch, of_rows, slice(i, i + 1)), backend) for i in range(3)]
    for what in whole:
        if what in of_rows:
            for i, part in enumerate(parts):
                agree(backend, f"{what} of part {i} alone", part[what], whole[what][i : i + 1])
        else:
            total = parts[0][what] + parts[1][what] + parts[2][what]
            agree(backend, f"{what} of all parts", whole[what], total)


# linear


def linear_inner_products(case: Case, backend: str) -> None:
    found = balls(case, backend)
    y = found["y"] - (exactly(case.inputs["bias"]) if "bias" in case.inputs else 0)
    by_y = (y * exactly(case.grad_y)).sum()
    for name in ("x", "weight"):
        product = (found[f"grad_{name}"] * exactly(case.inputs[name])).sum()
        agree(backend, f"<{name}, grad_{name}> against <y - bias, grad_y>", product, by_y)


def linear_bias_gets_the_sum(case: Case, backend: str) -> None:
    out = case.inputs["weight"].shape[0]
    found = balls(_with(case, bias=_random(case, (out,))), backend)
    total = exactly(case.grad_y.reshape(math.prod(case.grad_y.shape[:-1]), out)).sum(axis=0)
    agree(backend, "grad_bias against the sum of grad_y", found["grad_bias"], total)


def linear_identity(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    weight = np.eye(x.shape[-1], dtype=x.dtype)
    case = _with(case, grad_y=_random(case, x.shape), weight=weight, bias=None)
    found = outcome(case, backend)
    same(backend, "y of the identity", found["y"], x)
    same(backend, "grad_x of the identity", found["grad_x"], case.grad_y)


def linear_zero(case: Case, backend: str) -> None:
    weight = np.zeros_like(case.inputs["weight"])
    bias = _random(case, weight.shape[:1])
    found = outcome(_with(case, weight=weight, bias=bias), backend)
    same(backend, "y of weight 0", found["y"], np.broadcast_to(bias, found["y"].shape))
    same(backend, "grad_x of weight 0", found["grad_x"], np.zeros_like(case.inputs["x"]))


def linear_one_hot(case: Case, backend: str) -> None:
    """Each output picks one feature and scales it by a power of two."""
    x, rng = case.inputs["x"], np.random.default_rng(case.grad_y.size)
    picks = rng.permutation(x.shape[-1])
    factors = _cast(KINDS["powers of two"](rng, picks.shape), x.dtype)
    weight = np.zeros((len(picks), len(picks)), x.dtype)
    weight[np.arange(len(picks)), picks] = factors
    case = _with(case, grad_y=_random(case, x.shape), weight=weight, bias=None)
    found = outcome(case, backend)
    same(backend, "y of one-hot weights", found["y"], x[..., picks] * factors)
    same(backend, "grad_x of one-hot weights", found["grad_x"][..., picks], case.grad_y * factors)


def linear_powers_of_two(case: Case, backend: str) -> None:
    # A product below the normal numbers is rounded, and four times it is rounded elsewhere.
    root = np.sqrt(np.finfo(case.dtype).smallest_normal)
    x, weight, grad_y = (
        np.where(np.abs(array) < root, array.dtype.type(0), array)
        for array in (case.inputs["x"], case.inputs["weight"], case.grad_y)
    )
    plain = _with(case, grad_y=grad_y, x=x, weight=weight, bias=None)
    found = outcome(plain, backend)
    scaled = outcome(_with(plain, x=4 * plain.inputs["x"]), backend)
    for what, factor in (("y", 4), ("grad_x", 1), ("grad_weight", 4)):
        same(backend, f"{what} of 4 x", scaled[what], factor * found[what])


def linear_splits_exactly(case: Case, backend: str) -> None:
    """Gradient accumulation: integer parts of a batch add up to the whole."""
    batch, of_rows = _stacked(case)
    whole = outcome(batch, backend)
    parts = [outcome(_rows(batch, of_rows, slice(*ends)), backend) for ends in ((0, 1), (1, 3))]
    for what in _gradients(whole):
        joined = np.concatenate if what in of_rows else np.add.reduce
        same(backend, f"{what} of a split batch", whole[what], joined([p[what] for p in parts]))


# tanh and sigmoid


def odd(case: Case, backend: str) -> None:
    found, mirrored = outcome(case, backend), outcome(_with(case, x=-case.inputs["x"]), backend)
    same(backend, "y of -x", mirrored["y"], -found["y"])
    same(backend, "sign of y", np.signbit(mirrored["y"]), ~np.signbit(found["y"]))
    same(backend, "grad_x of -x", mirrored["grad_x"], found["grad_x"])


def _ascending(case: Case) -> Case:
    """Return all numbers of x in one row, in order, each followed by the next float."""
    x = case.inputs["x"].reshape(-1)
    row = np.sort(np.concatenate([x, np.nextafter(x, _cast(0, x.dtype))]))
    return _with(case, grad_y=np.ones_like(row), x=row)


def never_falls(case: Case, backend: str) -> None:
    y = outcome(_ascending(case), backend)["y"]
    fall = np.maximum(y[:-1] - y[1:], 0)
    same(backend, "the fall of y", fall, np.zeros_like(fall))


def never_falls_but_for_rounding(case: Case, backend: str) -> None:
    y = balls(_ascending(case), backend)["y"]
    at_most(backend, "y against the next one", y[:-1], y[1:])


def _stays_within(low: float, high: float) -> Callable[[Case, str], None]:
    def stays_within(case: Case, backend: str) -> None:
        y = outcome(case, backend)["y"]
        same(backend, f"y against {low} to {high}", np.clip(y, low, high), y)

    return stays_within


def tanh_by_sigmoid(case: Case, backend: str) -> None:
    half = np.finfo(case.dtype).max / 2
    x = np.clip(case.inputs["x"], -half, half)
    sigmoid = balls(_of("sigmoid", case, {"x": 2 * x}), backend)["y"]
    agree(
        backend,
        "y against 2 sigmoid(2 x) - 1",
        balls(_with(case, x=x), backend)["y"],
        2 * sigmoid - 1,
    )


def tanh_is_x_near_0(case: Case, backend: str) -> None:
    """Below 2^-12 (2^-27 in float64) x^3 / 3 is less than half the spacing of the floats at x."""
    digits = np.finfo(case.dtype).nmant + 1
    mantissa, _ = np.frexp(case.inputs["x"])
    rng = np.random.default_rng(case.grad_y.size)
    exponents = rng.integers(-60, -math.ceil(digits / 2) + 1, mantissa.shape)
    x = _cast(np.ldexp(mantissa, exponents), case.dtype)
    same(backend, "tanh of a small x", outcome(_with(case, x=x), backend)["y"], x)


def tanh_slope(case: Case, backend: str) -> None:
    grad_x = outcome(case, backend)["grad_x"]
    size = np.maximum(np.abs(grad_x), np.abs(case.grad_y))
    same(backend, "|grad_x| against |grad_y|", size, np.abs(case.grad_y))


def sigmoid_complement(case: Case, backend: str) -> None:
    found, mirrored = (balls(_with(case, x=sign * case.inputs["x"]), backend) for sign in (1, -1))
    agree(backend, "sigmoid(x) + sigmoid(-x) against 1", found["y"] + mirrored["y"], 1)


def sigmoid_slope(case: Case, backend: str) -> None:
    """Even, and 1/4 at most."""
    found, mirrored = (balls(_with(case, x=sign * case.inputs["x"]), backend) for sign in (1, -1))
    agree(backend, "grad_x of -x", mirrored["grad_x"], found["grad_x"])
    sign = np.sign(case.grad_y)
    slope = found["grad_x"] * exactly(sign)
    at_most(backend, "grad_x against grad_y / 4", slope, exactly(np.abs(case.grad_y)) * 0.25)
    at_most(backend, "0 against grad_x", -slope, 0)


# gelu

# form: where it is lowest, and how low, to the digits that are written
LOWEST = {"none": (-0.7518, -0.16997), "tanh": (-0.7525, -0.17004)}


def gelu_difference(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    found, mirrored = (balls(_with(case, x=sign * x), backend)["y"] for sign in (1, -1))
    agree(backend, "gelu(x) - gelu(-x) against x", found - mirrored, exactly(x))


def gelu_slopes(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    found, mirrored = (balls(_with(case, x=sign * x), backend)["grad_x"] for sign in (1, -1))
    agree(backend, "gelu'(x) + gelu'(-x) against 1", found + mirrored, exactly(case.grad_y))


def gelu_of_zero(case: Case, backend: str) -> None:
    zeros = np.copysign(_cast(0, case.dtype), case.inputs["x"])
    y = outcome(_with(case, x=zeros), backend)["y"]
    same(backend, "gelu(0)", y, zeros)
    same(backend, "the sign of gelu(0)", np.signbit(y), np.signbit(zeros))


def gelu_tail(case: Case, backend: str) -> None:
    """For x < 0 never above 0, and on NumPy below it as long as the dtype can tell."""
    x = -np.abs(case.inputs["x"])
    tail = np.linspace(-40, -2, 4001, dtype=case.dtype)
    for inputs in (x, tail):
        y = outcome(_with(case, grad_y=np.ones_like(inputs), x=inputs), backend)["y"]
        same(backend, "max(gelu(x), 0) for x < 0", np.maximum(y, 0), np.zeros_like(y))
        if backend == "numpy" and case.settings["approximate"] == "none":
            true = LAYERS["gelu"].definition(inputs.astype(precise(case.dtype)))
            info = np.finfo(case.dtype)
            # In float64 the gate falls below the normal numbers before its product with x does.
            least = info.smallest_subnormal if case.dtype != np.float64 else info.smallest_normal
            there = true <= -float(least)
            same(backend, "gelu(x) < 0 in the tail", there & (y < 0), there)


def gelu_lowest(case: Case, backend: str) -> None:
    at, low = LOWEST[case.settings["approximate"]]
    near = np.array([at - 2e-4, at, at + 2e-4], case.dtype)
    found = outcome(_with(case, grad_y=np.ones_like(near), x=near), backend)
    assert f"{found['y'][1]:.5f}" == str(low), f"the minimum is {found['y'][1]} on {backend}"
    slopes = found["grad_x"][[0, 2]]
    same(backend, "the sign of the slope beside the minimum", np.sign(slopes), np.array([-1, 1]))
    y = outcome(case, backend)["y"]
    # Half a unit of the last digit that is written.
    same(backend, "y against its minimum", y >= low - 5e-6, np.ones(y.shape, bool))


def gelu_selector(case: Case, backend: str) -> None:
    """The two forms are 4.7e-4 apart near +-2.7, and nowhere further."""
    x = np.linspace(-5, 5, 1001, dtype=case.dtype) + 1e-3 * np.tanh(_random(case, (1001,)))
    for what in ("y", "grad_x"):
        forms = [{"approximate": form} for form in LOWEST]
        ones = np.ones_like(x)
        none, tanh = (
            outcome(_with(case, grad_y=ones, settings=form, x=x), backend)[what] for form in forms
        )
        gap = float(np.abs(none - tanh).max())
        assert 1e-4 <= gap <= 2e-3, f"{what} of the two forms differs by {gap:.3g} on {backend}"


# softmax and log_softmax


def softmax_shift(case: Case, backend: str) -> None:
    x = _on_a_grid(case.inputs["x"], limit=2.0**12)
    found = outcome(_with(case, x=x), backend)
    for shift in (1, -64, 1000):
        moved = outcome(_with(case, x=x + _cast(shift, x.dtype)), backend)
        for what in found:
            same(backend, f"{what} of logits shifted by {shift}", moved[what], found[what])


def _probabilities(case: Case, backend: str) -> Ball:
    y = balls(case, backend)["y"]
    return y.exp() if case.spec.name == "log_softmax" else y


def softmax_adds_up_to_one(case: Case, backend: str) -> None:
    total = _probabilities(case, backend).sum(axis=-1)
    agree(backend, "the sum of a row's probabilities", total, 1)


def softmax_gradients_cancel(case: Case, backend: str) -> None:
    agree(backend, "the sum of a row of grad_x", balls(case, backend)["grad_x"].sum(axis=-1), 0)


def _features_reordered(case: Case, backend: str, names: tuple[str, ...]) -> None:
    """Reorder the last axis of some inputs and of grad_y; what is summed over it stays."""
    order = np.random.default_rng(case.grad_y.size).permutation(case.inputs["x"].shape[-1])
    there: Inputs = {name: case.inputs[name][..., order] for name in names if name in case.inputs}
    found = balls(case, backend)
    moved = balls(_with(case, grad_y=case.grad_y[..., order], **there), backend)
    for what in found:
        agree(backend, f"{what} of reordered features", moved[what], found[what][..., order])


def softmax_reordered(case: Case, backend: str) -> None:
    _features_reordered(case, backend, ("x",))


def softmax_of_one(case: Case, backend: str) -> None:
    x = case.inputs["x"].reshape(-1, 1)
    found = outcome(_with(case, grad_y=_random(case, x.shape), x=x), backend)
    certain = 0 if case.spec.name == "log_softmax" else 1
    same(backend, "y of a single logit", found["y"], np.full_like(x, certain))
    same(backend, "grad_x of a single logit", found["grad_x"], np.zeros_like(x))


def log_softmax_is_the_log(case: Case, backend: str) -> None:
    softmax = balls(_of("softmax", case, dict(case.inputs)), backend)["y"]
    agree(backend, "exp(log_softmax) against softmax", _probabilities(case, backend), softmax)


def probabilities_are_ordered(case: Case, backend: str) -> None:
    """A larger logit has no smaller probability, but for rounding; equal logits have equal ones."""
    order = np.argsort(case.inputs["x"], axis=-1)
    x = np.take_along_axis(case.inputs["x"], order, axis=-1)
    ball = balls(_with(case, x=x), backend)["y"]
    rise, ties = ball[..., 1:] - ball[..., :-1], x[..., 1:] == x[..., :-1]
    at_most(backend, "0 against the rise of y to the next larger logit", -rise, 0)
    agree(backend, "the difference of y at equal logits", rise[ties], 0)


# layer_norm


def layer_norm_shift(case: Case, backend: str) -> None:
    # A grid of 1/8 up to 64 beside a shift of 2^20 fills the 24 bits of a float32.
    x = _on_a_grid(case.inputs["x"], spacing=2.0**-3)
    found = balls(_with(case, x=x), backend)
    deviations = x.std(axis=-1, dtype=np.float64)
    # A constant row has nothing to lose.
    farthest = np.min(deviations, initial=np.inf, where=deviations > 0) * _most_condition(x.dtype)
    shifts = [-5, 2**8, 2**14, 2**17, 2**20 - 2**7]
    for shift in (shift for shift in shifts if abs(shift) + 64 <= farthest):
        moved = balls(_with(case, x=x + _cast(shift, x.dtype)), backend)
        for what in found:
            agree(backend, f"{what} of rows shifted by {shift}", moved[what], found[what])


def layer_norm_scale(case: Case, backend: str) -> None:
    found = outcome(case, backend)
    for k in (-7, 6):
        factor = _cast(2.0**k, case.dtype)
        scaled = outcome(_with(case, x=case.inputs["x"] * factor), backend)
        for what in found:
            expected = found[what] / factor if what == "grad_x" else found[what]
            same(backend, f"{what} of x * 2^{k}", scaled[what], expected)


def layer_norm_gradients_cancel(case: Case, backend: str) -> None:
    agree(backend, "the sum of a row of grad_x", balls(case, backend)["grad_x"].sum(axis=-1), 0)


def layer_norm_no_gradient_along_x(case: Case, backend: str) -> None:
    """Without eps a longer x - mean gives the same y, so no gradient points that way."""
    x = exactly(case.inputs["x"])
    mean = x.sum(axis=-1)[..., None] * (1 / x.value.dtype.type(x.value.shape[-1]))
    centred = x - mean
    along = (balls(case, backend)["grad_x"] * centred).sum(axis=-1)
    agree(backend, "<x - mean, grad_x>", along, 0)


def layer_norm_zero_weight(case: Case, backend: str) -> None:
    features = case.inputs["x"].shape[-1]
    bias = _random(case, (features,))
    zero = np.zeros(features, case.dtype)
    found = outcome(_with(case, weight=zero, bias=bias), backend)
    same(backend, "y of weight 0", found["y"], np.broadcast_to(bias, found["y"].shape))
    same(backend, "grad_x of weight 0", found["grad_x"], np.zeros_like(found["grad_x"]))


def layer_norm_parameters(case: Case, backend: str) -> None:
    """grad_bias is the sum of grad_y, and grad_weight that of grad_y * xhat."""
    features = case.inputs["x"].shape[-1]
    full = _with(case, weight=_random(case, (features,)), bias=_random(case, (features,)))
    xhat = balls(_with(case, weight=None, bias=None), backend)["y"]
    found, g = balls(full, backend), exactly(case.grad_y)
    lead = tuple(range(case.grad_y.ndim - 1))
    agree(backend, "grad_bias against the sum of grad_y", found["grad_bias"], g.sum(axis=lead))
    total = (g * xhat).sum(axis=lead)
    agree(backend, "grad_weight against the sum of grad_y * xhat", found["grad_weight"], total)


def layer_norm_defaults(case: Case, backend: str) -> None:
    """No weight is a weight of 1, no bias a bias of 0."""
    ones, zeros = (np.full(case.inputs["x"].shape[-1], n, case.dtype) for n in (1, 0))
    given: Inputs = {"weight": ones, "bias": zeros}
    written = balls(_with(case, **given), backend)
    for what, ball in balls(_with(case, **dict.fromkeys(given)), backend).items():
        agree(backend, f"{what} without weight and bias", ball, written[what])


def layer_norm_reordered(case: Case, backend: str) -> None:
    _features_reordered(case, backend, ("x", "weight", "bias"))


def layer_norm_is_normal(case: Case, backend: str) -> None:
    """Without weight, bias and eps each row has mean 0 and variance 1."""
    y = balls(_with(case, weight=None, bias=None), backend)["y"]
    agree(backend, "the sum of a row", y.sum(axis=-1), 0)
    agree(backend, "the sum of a row's squares", (y * y).sum(axis=-1), y.value.shape[-1])


# attention


def _explicit(case: Case) -> Case:
    """Return the case without dropout, and with a full mask that says all."""
    visible = visible_pairs(
        case.inputs["query"], case.inputs["key"], case.inputs.get("mask"), case.settings["causal"]
    )
    return _with(case, settings={"causal": False, "p": 0.0}, mask=visible, keep=None)


def _reorder(case: Case, backend: str, moves: dict[str, tuple[int, Array]]) -> None:
    """Check that what has a reordered axis is reordered, and that the rest is as it was."""
    case = _explicit(case)
    inputs: Inputs = {
        name: np.take(case.inputs[name], order, axis)
        for name, (axis, order) in moves.items()
        if name in case.inputs
    }
    axis, order = moves.get("y", (0, None))
    grad_y = case.grad_y if order is None else np.take(case.grad_y, order, axis)
    found, moved = balls(case, backend), balls(_with(case, grad_y=grad_y, **inputs), backend)
    for what in found:
        axis, order = moves.get(what.removeprefix("grad_"), (0, None))
        expected = found[what]
        if order is not None:
            expected = expected.take(order, axis)
        agree(backend, f"{what} after {' and '.join(moves)} were reordered", moved[what], expected)


def attention_keys_reordered(case: Case, backend: str) -> None:
    order = np.random.default_rng(case.grad_y.size).permutation(case.inputs["key"].shape[-2])
    _reorder(case, backend, {"key": (-2, order), "value": (-2, order), "mask": (-1, order)})


def attention_queries_reordered(case: Case, backend: str) -> None:
    order = np.random.default_rng(case.grad_y.size).permutation(case.inputs["query"].shape[-2])
    _reorder(case, backend, {"query": (-2, order), "y": (-2, order), "mask": (-2, order)})


def attention_shifted_keys(case: Case, backend: str) -> None:
    """One vector added to all keys adds one number to all scores of a query."""
    key = _on_a_grid(case.inputs["key"])
    shift = _on_a_grid(_random(case, key.shape[-1:]))
    found, moved = (balls(_with(case, key=x), backend) for x in (key, key + shift))
    for what in found:
        agree(backend, f"{what} of shifted keys", moved[what], found[what])


def attention_key_gradients_cancel(case: Case, backend: str) -> None:
    total = balls(case, backend)["grad_key"].sum(axis=-2)
    agree(backend, "the sum of grad_key over keys", total, 0)


def attention_value_gradients(case: Case, backend: str) -> None:
    """What flows into the queries that see something arrives at the values, all of it."""
    case = _explicit(case)
    sees = case.inputs["mask"].any(axis=-1, keepdims=True)
    incoming = exactly(np.where(sees, case.grad_y, case.dtype.type(0))).sum(axis=-2)
    total = balls(case, backend)["grad_value"].sum(axis=-2)
    agree(backend, "the sum of grad_value against that of grad_y", total, incoming)


def attention_inner_products(case: Case, backend: str) -> None:
    found = balls(case, backend)
    by_query, by_key, by_value = (
        (found[f"grad_{name}"] * exactly(case.inputs[name])).sum()
        for name in ("query", "key", "value")
    )
    agree(backend, "<query, grad_query> against <key, grad_key>", by_query, by_key)
    by_y = (found["y"] * exactly(case.grad_y)).sum()
    agree(backend, "<value, grad_value> against <y, grad_y>", by_value, by_y)


def _extremes(case: Case, lowest: bool) -> Ball:
    value, visible = case.inputs["value"], case.inputs["mask"]
    seen = np.where(visible[..., None], value[..., None, :, :], np.inf if lowest else -np.inf)
    extreme = np.min(seen, axis=-2) if lowest else np.max(seen, axis=-2)
    return exactly(np.where(np.isinf(extreme), 0, extreme).astype(case.dtype))


def attention_is_a_mean(case: Case, backend: str) -> None:
    """No output is outside of the values that its query sees."""
    case = _explicit(case)
    y = balls(case, backend)["y"]
    at_most(backend, "the smallest visible value against y", _extremes(case, lowest=True), y)
    at_most(backend, "y against the largest visible value", y, _extremes(case, lowest=False))


def attention_of_ones(case: Case, backend: str) -> None:
    case = _explicit(case)
    ones = _with(case, value=np.ones_like(case.inputs["value"]))
    sees = case.inputs["mask"].any(axis=-1, keepdims=True)
    agree(backend, "y of values that are all 1", balls(ones, backend)["y"], np.where(sees, 1, 0))


def attention_to_one_key(case: Case, backend: str) -> None:
    """A query that sees one key gets its value, and nothing flows into query and key."""
    case = _explicit(case)
    rng = np.random.default_rng(case.grad_y.size)
    shape = case.inputs["mask"].shape
    chosen = rng.integers(0, shape[-1], shape[:-1])
    mask = chosen[..., None] == np.arange(shape[-1])
    found = outcome(_with(case, mask=mask), backend)
    expected = np.take_along_axis(case.inputs["value"], chosen[..., None], axis=-2)
    same(backend, "y of a query that sees one key", found["y"], expected)
    for name in ("query", "key"):
        nothing = np.zeros_like(case.inputs[name])
        same(backend, f"grad_{name} where one key is seen", found[f"grad_{name}"], nothing)


def attention_is_uniform_for_no_query(case: Case, backend: str) -> None:
    case = _explicit(case)
    mask, value = case.inputs["mask"], case.inputs["value"]
    y = balls(_with(case, query=np.zeros_like(case.inputs["query"])), backend)["y"]
    seen = np.where(mask[..., None], value[..., None, :, :], value.dtype.type(0))
    count, total = mask.sum(axis=-1, keepdims=True), exactly(seen).sum(axis=-2)
    agree(backend, "y of query 0 times the number of visible keys", y * count, total)


def attention_hidden_is_dropped(case: Case, backend: str) -> None:
    """Hiding keys from all queries is leaving them out, and leaving them out is hiding them."""
    case = _explicit(case)
    key, value, mask = (case.inputs[name] for name in ("key", "value", "mask"))
    kept = np.asarray(np.random.default_rng(case.grad_y.size).random(key.shape[-2]) < 0.6)
    kept[-1] = True
    hidden = balls(_with(case, mask=mask & kept), backend)
    fewer = _with(case, key=key[..., kept, :], value=value[..., kept, :], mask=mask[..., kept])
    for what, dropped in balls(fewer, backend).items():
        expected = hidden[what]
        if what in ("grad_key", "grad_value"):
            nothing = expected.value[..., ~kept, :]
            same(backend, f"{what} of hidden keys", nothing, np.zeros_like(nothing))
            expected = expected[..., kept, :]
        agree(backend, f"{what} of dropped keys", dropped, expected)


def attention_padding(case: Case, backend: str) -> None:
    """Padding of any length, hidden from the queries, changes nothing before it."""
    case = _explicit(case)
    found = balls(case, backend)
    query, key, value, mask = (case.inputs[name] for name in ("query", "key", "value", "mask"))
    for extra in (1, 5):

        def padded(x: Array, last: int = extra) -> Array:
            junk = 1e4 * _random(case, (*x.shape[:-2], last, x.shape[-1]))
            return np.concatenate([x, junk], axis=-2)

        longer = np.zeros((*mask.shape[:-2], mask.shape[-2] + extra, mask.shape[-1] + extra), bool)
        longer[..., : mask.shape[-2], : mask.shape[-1]] = mask
        # A padding query sees a padding key, so that its gradient is not 0 for want of keys.
        longer[..., mask.shape[-2] :, mask.shape[-1] :] = True
        moved = balls(
            _with(
                case,
                grad_y=padded(case.grad_y),
                query=padded(query),
                key=padded(key),
                value=padded(value),
                mask=longer,
            ),
            backend,
        )
        for what in found:
            before = moved[what][..., : found[what].value.shape[-2], :]
            agree(backend, f"{what} before {extra} of padding", before, found[what])


# embedding


def embedding_of_an_identity(case: Case, backend: str) -> None:
    """Each id gives its unit vector, and each row of the table the upstream where its id stands."""
    ids, count = case.inputs["ids"], len(case.inputs["weight"])
    eye = np.eye(count, dtype=case.dtype)
    grad_y = _random(case, (*ids.shape, count))
    found = outcome(_with(case, weight=eye, grad_y=grad_y), backend)
    expected = (ids[..., None] == np.arange(count)).astype(case.dtype)
    same(backend, "y of the identity", found["y"], expected)


def embedding_gives_all_of_the_upstream(case: Case, backend: str) -> None:
    found = balls(_with(case, settings={"padding_idx": None}), backend)["grad_weight"]
    rows = case.grad_y.reshape(case.inputs["ids"].size, case.grad_y.shape[-1])
    total = exactly(rows).sum(axis=0)
    agree(backend, "the sum of grad_weight over the table", found.sum(axis=0), total)


def embedding_padding_gets_nothing(case: Case, backend: str) -> None:
    plain = outcome(_with(case, settings={"padding_idx": None}), backend)
    found = outcome(_with(case, settings={"padding_idx": 0}), backend)
    same(backend, "y with a padding row", found["y"], plain["y"])
    expected = plain["grad_weight"].copy()
    expected[0] = 0
    same(backend, "grad_weight with a padding row", found["grad_weight"], expected)


# cross_entropy


def _each_loss(case: Case, **inputs: Any) -> Case:
    """Return the case unreduced, without weight unless it is given, and nothing ignored."""
    classes = inputs.get("x", case.inputs["x"]).shape[-1]
    target = np.clip(case.inputs["target"], 0, classes - 1)
    plain: dict[str, Any] = {"weight": None, "target": target} | inputs
    settings = {"reduction": "none", "label_smoothing": 0.0, "ignore_index": -100}
    return _with(case, grad_y=_random(case, target.shape), settings=settings, **plain)


def cross_entropy_is_a_log_probability(case: Case, backend: str) -> None:
    loss = _each_loss(case)
    log_softmax = _of("log_softmax", loss, {"x": loss.inputs["x"]})
    log_p = balls(_with(log_softmax, grad_y=loss.inputs["x"]), backend)["y"]
    at = loss.inputs["target"][..., None]
    expected = Ball(
        *(np.take_along_axis(side, at, -1)[..., 0] for side in (log_p.value, log_p.radius))
    )
    agree(backend, "the loss against -log_softmax", balls(loss, backend)["y"], -expected)


def cross_entropy_of_two_is_bce(case: Case, backend: str) -> None:
    """Logits of 0 and z are what a single logit z is to the binary loss."""
    z = case.inputs["x"][..., :1]
    target = case.inputs["target"] % 2
    loss = _each_loss(case, x=np.concatenate([np.zeros_like(z), z], axis=-1), target=target)
    binary = {"x": z[..., 0], "target": target.astype(case.dtype)}
    expected = balls(_of("bce_with_logits", loss, binary, reduction="none"), backend)
    found = balls(loss, backend)
    agree(backend, "the loss of two classes against bce", found["y"], expected["y"])
    agree(backend, "grad_x of two classes against bce", found["grad_x"][..., 1], expected["grad_x"])


def cross_entropy_of_equal_logits(case: Case, backend: str) -> None:
    loss = _each_loss(case, x=np.full_like(case.inputs["x"], 3))
    classes = exactly(case.inputs["x"]).value.dtype.type(loss.inputs["x"].shape[-1])
    found = balls(loss, backend)["y"]
    agree(backend, "the loss of equal logits against log(classes)", found, np.log(classes))


def cross_entropy_gradients_cancel(case: Case, backend: str) -> None:
    found = balls(case, backend)["grad_x"].sum(axis=-1)
    agree(backend, "the sum of a row of grad_x", found, 0)


def cross_entropy_ignored_is_absent(case: Case, backend: str) -> None:
    """Whatever stands in the logits of a target that is not counted, NaN included."""
    x, ignored = case.inputs["x"], case.settings["ignore_index"]
    target = case.inputs["target"].copy()
    target.reshape(-1)[::2] = ignored
    hidden = (target == ignored)[..., None]
    found = outcome(_with(case, target=target), backend)
    junk = _with(case, target=target, x=np.where(hidden, x.dtype.type(np.nan), x))
    other = outcome(junk, backend)
    same(backend, "y with NaN where nothing is counted", other["y"], found["y"])
    for what, grads in (("grad_x", found), ("grad_x beside NaN", other)):
        rows = np.where(hidden, grads["grad_x"], 0)
        same(backend, f"{what} where nothing is counted", rows, np.zeros_like(x))
    rest = np.where(hidden, 0, other["grad_x"])
    same(backend, "grad_x of what is counted", rest, np.where(hidden, 0, found["grad_x"]))


def cross_entropy_smoothed_is_a_mixture(case: Case, backend: str) -> None:
    """(1 - s) of the target's own loss, and s of the mean of the losses of all classes."""
    loss, share = _each_loss(case), 0.25
    smoothed = balls(_with(loss, settings={"label_smoothing": share}), backend)["y"]
    target, classes = loss.inputs["target"], loss.inputs["x"].shape[-1]
    own = balls(loss, backend)["y"]
    spread = balls(_with(loss, settings={"label_smoothing": 1.0}), backend)["y"]
    each = [
        balls(_with(loss, target=np.full_like(target, c)), backend)["y"] for c in range(classes)
    ]
    total = sum(each[1:], each[0])
    agree(
        backend,
        "the smoothed loss against its mixture",
        smoothed,
        own * (1 - share) + spread * share,
    )
    agree(backend, "the spread loss against the mean of all", spread * classes, total)


def cross_entropy_weights_of_one(case: Case, backend: str) -> None:
    loss = _with(case, weight=None)
    ones = np.ones(case.inputs["x"].shape[-1], case.dtype)
    found, given = outcome(loss, backend), outcome(_with(loss, weight=ones), backend)
    for what in found:
        same(backend, f"{what} with weight 1", given[what], found[what])


# bce_with_logits


def _elementwise_loss(case: Case, **inputs: Any) -> Case:
    """Return the case unreduced, with neither weight unless it is given."""
    x = case.inputs["x"]
    plain = {"weight": None, "pos_weight": None} | inputs
    return _with(case, grad_y=_random(case, x.shape), settings={"reduction": "none"}, **plain)


def bce_mirrored(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    yes = balls(_elementwise_loss(case, target=np.ones_like(x)), backend)
    no = balls(_elementwise_loss(case, x=-x, target=np.zeros_like(x)), backend)
    agree(backend, "the loss of (x, 1) against that of (-x, 0)", yes["y"], no["y"])
    agree(backend, "grad_x of (x, 1) against that of (-x, 0)", yes["grad_x"], -no["grad_x"])


def bce_difference(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    no, yes = (
        balls(_elementwise_loss(case, target=np.full_like(x, t)), backend)["y"] for t in (0, 1)
    )
    agree(backend, "the loss of (x, 0) less that of (x, 1) against x", no - yes, exactly(x))


def bce_gradient(case: Case, backend: str) -> None:
    loss = _elementwise_loss(case)
    sigmoid = balls(_of("sigmoid", loss, {"x": loss.inputs["x"]}), backend)["y"]
    expected = (sigmoid - exactly(loss.inputs["target"])) * exactly(loss.grad_y)
    agree(backend, "grad_x against sigmoid(x) - target", balls(loss, backend)["grad_x"], expected)


def _proper(target: Array) -> Array:
    """Return targets in [0, 1], some of them 0 and 1."""
    return np.clip(np.abs(target), 0, 1)


def bce_is_convex(case: Case, backend: str) -> None:
    one = _on_a_grid(case.inputs["x"])
    other = _on_a_grid(8 * _random(case, one.shape))
    target = _proper(case.inputs["target"])
    left, right, middle = (
        balls(_elementwise_loss(case, x=x, target=target), backend)["y"]
        for x in (one, other, (one + other) / 2)
    )
    at_most(backend, "the loss between two logits", middle, (left + right) * 0.5)


def bce_is_not_negative(case: Case, backend: str) -> None:
    y = outcome(_elementwise_loss(case, target=_proper(case.inputs["target"])), backend)["y"]
    same(backend, "the loss against 0", np.minimum(y, 0), np.zeros_like(y))


def bce_weights_of_one(case: Case, backend: str) -> None:
    loss = _with(case, weight=None, pos_weight=None)
    found = outcome(loss, backend)
    ones: Any = np.ones_like(case.inputs["x"])
    for name in ("weight", "pos_weight"):
        given = outcome(_with(loss, **{name: ones}), backend)
        for what in found:
            same(backend, f"{what} with {name} 1", given[what], found[what])


def bce_weight_is_a_factor(case: Case, backend: str) -> None:
    shape, rng = case.inputs["x"].shape, np.random.default_rng(case.grad_y.size)
    weight = _cast(np.ldexp(1.0, rng.integers(-8, 9, shape)), case.dtype)
    found = outcome(_elementwise_loss(case), backend)
    weighed = outcome(_elementwise_loss(case, weight=weight), backend)
    normal = np.finfo(case.dtype).smallest_normal * 2.0**8
    for what in found:
        # What is rounded below the normal numbers cannot be scaled exactly.
        exact = (found[what] == 0) | (np.abs(found[what]) >= normal)
        expected = np.where(exact, weight * found[what], 0)
        same(backend, f"{what} with a weight", np.where(exact, weighed[what], 0), expected)


def bce_pos_weight_is_a_factor(case: Case, backend: str) -> None:
    x = case.inputs["x"]
    ones, factor = np.ones_like(x), np.abs(_random(case, x.shape))
    plain = balls(_elementwise_loss(case, target=ones), backend)
    weighed = balls(_elementwise_loss(case, target=ones, pos_weight=factor), backend)
    for what in plain:
        agree(backend, f"{what} with a pos_weight", weighed[what], plain[what] * exactly(factor))


def bce_sum_is_n_means(case: Case, backend: str) -> None:
    grad_y = _random(case, ())
    total, mean = (
        balls(_with(case, grad_y=grad_y, settings={"reduction": word}), backend)
        for word in ("sum", "mean")
    )
    for what in total:
        n_means = mean[what] * case.inputs["x"].size
        agree(backend, f"{what} of the sum against n means", total[what], n_means)


# dropout


def dropout_of_nothing(case: Case, backend: str) -> None:
    keep = np.ones_like(case.inputs["keep"])
    found = outcome(_with(case, settings={"p": 0.0}, keep=keep), backend)
    same(backend, "y at p = 0", found["y"], case.inputs["x"])
    same(backend, "grad_x at p = 0", found["grad_x"], case.grad_y)


def dropout_of_everything(case: Case, backend: str) -> None:
    found = outcome(_with(case, settings={"p": 1.0}), backend)
    for what in found:
        same(backend, f"{what} at p = 1", found[what], np.zeros_like(case.inputs["x"]))


def dropout_shares_its_mask(case: Case, backend: str) -> None:
    """What is 0 in y is 0 in grad_x, and what is kept is scaled by one number in both."""
    keep = case.inputs["keep"]
    ones = np.ones_like(case.grad_y)
    found = outcome(_with(case, grad_y=ones, x=ones), backend)
    same(backend, "the mask of y", found["y"] != 0, keep)
    same(backend, "grad_x against y", found["grad_x"], found["y"])
    kept, multiplier = found["y"][keep], 1 / (1 - case.settings["p"])
    same(backend, "the multiplier of what is kept", kept, np.full_like(kept, multiplier))


def _masks(case: Case, backend: str, native: bool) -> list[Array]:
    """Return what two calls of one dropout keep of 4096 elements; the seed is the case's size."""
    seed = case.grad_y.size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = tg.Dropout(case.settings["p"])
        model = tg.build(module, backend, seed=seed, dtype=str(case.dtype), native_random=native)
        ones = np.ones((64, 64), case.dtype)
        return [tg.to_numpy(model(load_backend(backend).tensor(ones))) != 0 for _ in range(2)]


def _check_count(backend: str, what: str, count: int, of: int, chance: float) -> None:
    """Raise AssertionError if the count has a chance below ALPHA (Chernoff's bound of it)."""
    share = count / of
    divergence = sum(
        s * math.log(s / max(c, 1e-300)) for s, c in ((share, chance), (1 - share, 1 - chance)) if s
    )
    likelihood = 2 * math.exp(-of * divergence)
    assert likelihood >= ALPHA, (
        f"{what} is wrong on {backend}: {count} of {of} at a chance of {chance} each "
        f"(likelihood {likelihood:.3g})"
    )


def dropout_keeps_its_share(case: Case, backend: str) -> None:
    for native in (False, True):
        for mask in _masks(case, backend, native):
            chance = 1 - case.settings["p"]
            _check_count(backend, "the number kept", int(mask.sum()), mask.size, chance)


def dropout_calls_are_independent(case: Case, backend: str) -> None:
    chance = case.settings["p"] ** 2 + (1 - case.settings["p"]) ** 2
    for native in (False, True):
        one, two = _masks(case, backend, native)
        _check_count(backend, "the number alike", int((one == two).sum()), one.size, chance)


# optimizers


def trajectory(run: Run, backend: str, **settings: Any) -> tuple[list[Array], list[Arrays]]:
    """Return weight and state after every step."""
    weight, state = run.weight, None
    weights, states = [], []
    for grad in run.grads:
        weight, state = tg.optimizer_step(
            run.spec.name, weight, grad, state, backend=backend, **(run.settings | settings)
        )
        weights.append(weight)
        states.append({name: np.asarray(value) for name, value in state["0"].items()})
    return weights, states


def _same_path(backend: str, what: str, found: list[Array], expected: list[Array]) -> None:
    for number, (one, other) in enumerate(zip(found, expected, strict=True), start=1):
        same(backend, f"{what} after step {number}", one, other)


def no_rate_no_step(run: Run, backend: str) -> None:
    weights, _ = trajectory(run, backend, lr=0.0)
    _same_path(backend, "the weight with lr 0", weights, [run.weight] * len(weights))


def steps_are_antisymmetric(run: Run, backend: str) -> None:
    weights, _ = trajectory(run, backend)
    mirrored, _ = trajectory(replace(run, weight=-run.weight, grads=-run.grads), backend)
    expected = [-weight for weight in weights]
    _same_path(backend, "the weight of negative weights and gradients", mirrored, expected)


OPTIMIZER_CLASSES: dict[str, Any] = {cls.spec_name: cls for cls in (tg.AdamW, tg.SGD)}


def an_optimizer_goes_on_from_its_state(run: Run, backend: str) -> None:
    """Saved and loaded after every step, or never: the same bits, and those of optimizer_step."""
    target = load_backend(backend)

    def start(weight: Array) -> tuple[Any, Any]:
        param = target.tensor(weight, requires_grad=True)
        return param, OPTIMIZER_CLASSES[run.spec.name]([param], **run.settings)

    weights, states = trajectory(run, backend)
    unbroken, optimizer = start(run.weight)
    broken, saved = run.weight, None
    for number, grad in enumerate(run.grads):
        unbroken.grad = target.tensor(grad)
        optimizer.step()
        param, resumed = start(broken)
        if saved is not None:
            resumed.load_state_dict(saved)
        param.grad = target.tensor(grad)
        resumed.step()
        broken, saved = target.to_numpy(param), resumed.state_dict()
        for word, weight in (("unbroken", target.to_numpy(unbroken)), ("resumed", broken)):
            same(backend, f"the weight of an {word} run", weight, weights[number])
        for name, value in saved["state"][0].items():
            array = value if name == "step" else tg.to_numpy(value)
            expected = states[number].get(name, np.zeros_like(run.weight))
            same(backend, f"{name} of a resumed run", np.asarray(array), expected)


def parameters_do_not_meet(run: Run, backend: str) -> None:
    """Two parameters in one step move as each does alone."""
    twin = replace(run, weight=2 * run.weight + 1, grads=run.grads[::-1])
    params, state = {"a": run.weight, "b": twin.weight}, None
    alone = {"a": trajectory(run, backend)[0], "b": trajectory(twin, backend)[0]}
    for number in range(len(run.grads)):
        grads = {"a": run.grads[number], "b": twin.grads[number]}
        params, state = tg.optimizer_step(
            run.spec.name, params, grads, state, backend=backend, **run.settings
        )
        for name in params:
            same(backend, f"the weight of {name} beside another", params[name], alone[name][number])


def adamw_scale(run: Run, backend: str) -> None:
    weights, _ = trajectory(run, backend, eps=0.0)
    for k in (-10, 9):
        factor = _cast(2.0**k, run.grads.dtype)
        scaled, _ = trajectory(replace(run, grads=run.grads * factor), backend, eps=0.0)
        _same_path(backend, f"the weight of gradients * 2^{k}", scaled, weights)


def adamw_first_step(run: Run, backend: str) -> None:
    """Without eps and decay the first step is lr long, whatever the gradient is."""
    lr = run.settings["lr"]
    start = replace(run, weight=np.zeros_like(run.weight), grads=run.grads[:1])
    (weight,), _ = trajectory(start, backend, eps=0.0, weight_decay=0.0)
    # Roundings: 2 of exp_avg, 3 / 2 + 1 of the root, 2 of its correction, 1 of the quotient, 2 of
    # lr / (1 - beta1) times it.
    room = 9.5 * np.finfo(weight.dtype).eps / 2 * lr
    step = Ball(exactly(weight).value, np.full(weight.shape, room))
    direction = 1 if run.settings["maximize"] else -1
    agree(backend, "the first step against lr", step, direction * lr * np.sign(run.grads[0]))


def decay_alone(run: Run, backend: str) -> None:
    """Without gradients and momentum only the decay is left: weight * (1 - lr * decay)^t."""
    still = replace(run, grads=np.zeros_like(run.grads))
    settings = {"momentum": 0.0, "nesterov": False} if "momentum" in run.settings else {}
    weights, _ = trajectory(still, backend, **settings)
    rate = np.longdouble(run.settings["lr"]) * np.longdouble(run.settings["weight_decay"])
    for t, weight in enumerate(weights, start=1):
        expected = exactly(run.weight.astype(np.float64)).value * (1 - rate) ** t
        # Each step rounds 1 - lr * decay, or lr, decay and their products, then the new weight.
        room = t * (2 + 4 * float(rate)) * np.finfo(weight.dtype).eps / 2 * np.abs(run.weight)
        found = Ball(weight.astype(np.longdouble), room)
        agree(backend, f"the weight after {t} steps of decay", found, expected)


def amsgrad_never_forgets(run: Run, backend: str) -> None:
    # The gradients shrink, so that the second moment falls and its largest value must not.
    factors = _cast(0.5 ** np.arange(len(run.grads)), run.grads.dtype)
    shrinking = (run.grads.T * factors).T
    _, states = trajectory(replace(run, grads=shrinking), backend, amsgrad=True)
    largest = np.zeros_like(run.weight)
    for state in states:
        largest = np.maximum(largest, state["exp_avg_sq"])
        same(backend, "max_exp_avg_sq", state["max_exp_avg_sq"], largest)


def sgd_scale(run: Run, backend: str) -> None:
    """Weights and gradients in another unit: the same path in that unit."""
    weights, _ = trajectory(run, backend)
    for k in (-10, 9):
        factor = _cast(2.0**k, run.weight.dtype)
        start = replace(run, weight=run.weight * factor, grads=run.grads * factor)
        expected = [weight * factor for weight in weights]
        _same_path(
            backend, f"the weight of everything * 2^{k}", trajectory(start, backend)[0], expected
        )


# The table: what each layer has, and under "*" what several of them share

INTEGER_LAYERS = frozenset(
    {"linear", "relu", "dropout", "add", "sub", "mul", "neg", "matmul", "sum"}
    | {"reshape", "transpose", "getitem", "concat"}
)
# What works row by row, with leading dimensions that mean nothing to it.
ROWWISE = frozenset(LAYERS) | {"add", "sub", "mul", "div", "pow", "neg", "exp", "log", "sqrt"}
ALL = frozenset(LAYERS) | frozenset(OPERATIONS)
STEPS = frozenset(OPTIMIZERS)

PROPERTIES: dict[str, dict[str, Property]] = {
    "*": {
        "gradients of two upstreams add up": Property(upstreams_add_up, drawn, concerns=ALL),
        "integer gradients of two upstreams add up, bit for bit": Property(
            integer_upstreams_add_up, integers, concerns=INTEGER_LAYERS
        ),
        "no upstream, no gradient, bit for bit": Property(
            no_upstream_no_gradient, drawn, concerns=ALL
        ),
        "a negative upstream negates the gradient, bit for bit": Property(
            negative_upstream_negative_gradient, drawn, concerns=ALL
        ),
        "backward twice gives the same twice, bit for bit": Property(
            backward_runs_twice, drawn, concerns=ALL, needs_tensors=True
        ),
        "float32 is float64 within its bound": Property(
            float32_is_float64_rounded, drawn, dtypes=("float32",), concerns=ALL
        ),
        "rows may be reordered": Property(rows_may_be_reordered, drawn, concerns=ROWWISE),
        "a batch is its parts": Property(a_batch_is_its_parts, drawn, concerns=ROWWISE),
        "lr 0 changes nothing, bit for bit": Property(no_rate_no_step, runs, concerns=STEPS),
        "negative weights and gradients mirror the path, bit for bit": Property(
            steps_are_antisymmetric, runs, concerns=STEPS
        ),
        "goes on from its state, bit for bit": Property(
            an_optimizer_goes_on_from_its_state, runs, concerns=STEPS, needs_tensors=True
        ),
        "parameters do not meet, bit for bit": Property(
            parameters_do_not_meet, runs, concerns=STEPS
        ),
        "decay alone is geometric": Property(decay_alone, runs, concerns=STEPS),
    },
    "linear": {
        "three inner products are one": Property(linear_inner_products, drawn),
        "the bias gets the sum of the upstream": Property(linear_bias_gets_the_sum, drawn),
        "the identity hands on, bit for bit": Property(linear_identity, drawn),
        "zero weights leave the bias, bit for bit": Property(linear_zero, drawn),
        "one-hot weights pick, bit for bit": Property(linear_one_hot, drawn),
        "x times 4 is y times 4, bit for bit": Property(linear_powers_of_two, drawn),
        "parts of an integer batch add up, bit for bit": Property(linear_splits_exactly, integers),
    },
    "tanh": {
        "odd, with an even slope, bit for bit": Property(odd, drawn),
        # In float64 NumPy's tanh falls by one unit in the last place from the float below 8 to 8.
        "never falls but for rounding": Property(never_falls_but_for_rounding, drawn),
        "never falls in float32, bit for bit": Property(never_falls, drawn, dtypes=("float32",)),
        "between -1 and 1, bit for bit": Property(_stays_within(-1, 1), drawn),
        "slope at most 1, bit for bit": Property(tanh_slope, drawn),
        "2 sigmoid(2x) - 1": Property(tanh_by_sigmoid, drawn, uses=("sigmoid",)),
        "x near 0, bit for bit": Property(tanh_is_x_near_0, drawn),
    },
    "sigmoid": {
        "sigmoid(x) + sigmoid(-x) = 1": Property(sigmoid_complement, drawn),
        "between 0 and 1, bit for bit": Property(_stays_within(0, 1), drawn),
        # No more than that: torch gives equal numbers different last digits, in a vector and after
        # it, and in float64 both backends fall by one unit in one of 4000 pairs of neighbours.
        "never falls but for rounding": Property(never_falls_but_for_rounding, drawn),
        "slope even, from 0 to 1/4": Property(sigmoid_slope, drawn),
    },
    "gelu": {
        "gelu(x) - gelu(-x) = x": Property(gelu_difference, drawn),
        "gelu'(x) + gelu'(-x) = 1": Property(gelu_slopes, drawn),
        "0 keeps its sign, bit for bit": Property(gelu_of_zero, drawn),
        "the negative tail is negative, bit for bit": Property(gelu_tail, drawn),
        "lowest where it should be": Property(gelu_lowest, drawn),
        "the selector selects": Property(gelu_selector, drawn),
    },
    "softmax": {
        "an integer shift changes nothing, bit for bit": Property(softmax_shift, drawn),
        "rows add up to 1": Property(softmax_adds_up_to_one, drawn),
        "gradients of a row cancel": Property(softmax_gradients_cancel, drawn),
        "between 0 and 1, bit for bit": Property(_stays_within(0, 1), drawn),
        "logits may be reordered": Property(softmax_reordered, drawn),
        "a single logit is certain, bit for bit": Property(softmax_of_one, drawn),
        "larger logits have larger probabilities": Property(probabilities_are_ordered, drawn),
    },
    "log_softmax": {
        "an integer shift changes nothing, bit for bit": Property(softmax_shift, drawn),
        "rows of probabilities add up to 1": Property(softmax_adds_up_to_one, drawn),
        "gradients of a row cancel": Property(softmax_gradients_cancel, drawn),
        "never above 0, bit for bit": Property(_stays_within(-np.inf, 0), drawn),
        "logits may be reordered": Property(softmax_reordered, drawn),
        "a single logit is certain, bit for bit": Property(softmax_of_one, drawn),
        "the logarithm of softmax": Property(log_softmax_is_the_log, drawn, uses=("softmax",)),
        "larger logits have larger probabilities": Property(probabilities_are_ordered, drawn),
    },
    "layer_norm": {
        "a shift changes nothing": Property(layer_norm_shift, rows),
        "without eps a power of two changes nothing, bit for bit": Property(
            layer_norm_scale, rows_without_eps
        ),
        "gradients of a row cancel": Property(layer_norm_gradients_cancel, rows),
        "without eps no gradient along x - mean": Property(
            layer_norm_no_gradient_along_x, rows_without_eps
        ),
        "without eps rows have mean 0 and variance 1": Property(
            layer_norm_is_normal, rows_without_eps
        ),
        "weight 0 leaves the bias, bit for bit": Property(layer_norm_zero_weight, rows),
        "parameters get the sums of the upstream": Property(layer_norm_parameters, rows),
        "no weight is 1 and no bias 0": Property(layer_norm_defaults, rows),
        "features may be reordered": Property(layer_norm_reordered, rows),
        "float32 is float64 within its bound, at any scale": Property(
            float32_is_float64_rounded, rows, dtypes=("float32",)
        ),
    },
    "attention": {
        "keys and values may be reordered": Property(attention_keys_reordered, drawn),
        "queries may be reordered": Property(attention_queries_reordered, drawn),
        "a shift of all keys changes nothing": Property(attention_shifted_keys, drawn),
        "gradients of the keys cancel": Property(attention_key_gradients_cancel, drawn),
        "the values get all of the upstream": Property(attention_value_gradients, drawn),
        "inner products are equal": Property(attention_inner_products, drawn),
        "an output is a mean of values": Property(attention_is_a_mean, drawn),
        "values of 1 give 1": Property(attention_of_ones, drawn),
        "one visible key gives its value, bit for bit": Property(attention_to_one_key, drawn),
        "a query of 0 sees all keys alike": Property(attention_is_uniform_for_no_query, drawn),
        "hidden keys are dropped keys": Property(attention_hidden_is_dropped, drawn),
        "padding changes nothing": Property(attention_padding, drawn),
    },
    "embedding": {
        "a table of unit vectors gives them, bit for bit": Property(
            embedding_of_an_identity, drawn
        ),
        "the table gets all of the upstream": Property(embedding_gives_all_of_the_upstream, drawn),
        "padding gets nothing, bit for bit": Property(embedding_padding_gets_nothing, drawn),
    },
    "cross_entropy": {
        "the loss is -log_softmax": Property(
            cross_entropy_is_a_log_probability, drawn, uses=("log_softmax",)
        ),
        "two classes are bce": Property(
            cross_entropy_of_two_is_bce, drawn, uses=("bce_with_logits",)
        ),
        "equal logits lose log(classes)": Property(cross_entropy_of_equal_logits, drawn),
        "gradients of a row cancel": Property(cross_entropy_gradients_cancel, drawn),
        "what is ignored is absent, bit for bit": Property(cross_entropy_ignored_is_absent, drawn),
        "a smoothed loss is a mixture": Property(cross_entropy_smoothed_is_a_mixture, drawn),
        "weights of 1 are none, bit for bit": Property(cross_entropy_weights_of_one, drawn),
    },
    "bce_with_logits": {
        "(x, 1) is (-x, 0)": Property(bce_mirrored, drawn),
        "(x, 0) less (x, 1) is x": Property(bce_difference, drawn),
        "the gradient is sigmoid(x) - target": Property(bce_gradient, drawn, uses=("sigmoid",)),
        "convex": Property(bce_is_convex, drawn),
        "never below 0, bit for bit": Property(bce_is_not_negative, drawn),
        "weights of 1 are none, bit for bit": Property(bce_weights_of_one, drawn),
        "a weight is a factor, bit for bit": Property(bce_weight_is_a_factor, drawn),
        "a pos_weight is a factor of target 1": Property(bce_pos_weight_is_a_factor, drawn),
        "a sum is n means": Property(bce_sum_is_n_means, drawn),
    },
    "dropout": {
        "p = 0 is the identity, bit for bit": Property(dropout_of_nothing, drawn),
        "p = 1 leaves nothing, bit for bit": Property(dropout_of_everything, drawn),
        "both passes share the mask, bit for bit": Property(dropout_shares_its_mask, drawn),
        "the share that is kept is 1 - p": Property(
            dropout_keeps_its_share, drawn, needs_tensors=True
        ),
        "two calls are independent": Property(
            dropout_calls_are_independent, drawn, needs_tensors=True
        ),
    },
    "adamw": {
        "without eps gradients * 2^k are the same, bit for bit": Property(adamw_scale, runs),
        "without eps the first step is lr": Property(adamw_first_step, runs),
        "amsgrad keeps the largest, bit for bit": Property(amsgrad_never_forgets, runs),
    },
    "sgd": {
        "everything * 2^k is the same in that unit, bit for bit": Property(sgd_scale, runs),
    },
}


WITH_TENSORS = ("numpy", "torch")  # another package's backend may compute layers, and no more


def properties_of(spec: LayerSpec | OptimizerSpec) -> dict[str, Property]:
    """Return all properties of a layer, operation or optimizer, its own after the general ones."""
    general = {
        sentence: each for sentence, each in PROPERTIES["*"].items() if spec.name in each.concerns
    }
    return general | PROPERTIES.get(spec.name, {})


SUBJECTS: dict[str, LayerSpec | OptimizerSpec] = {**LAYERS, **OPERATIONS, **OPTIMIZERS}
