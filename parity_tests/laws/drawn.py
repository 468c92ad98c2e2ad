"""What laws are tried on: cases of awkward kinds, and how one case is made of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import hypothesis.strategies as st
import numpy as np

from twingrad.core.catalogue import spec_of
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.strategies import cases, large_cases, optimizer_settings
from twingrad.parity_tests.laws.table import told

Inputs = dict[str, Any]  # arrays by name, or None for one that is left out


@dataclass(frozen=True)
class Descent:
    """An optimizer's settings, a weight, and one gradient after the other: (steps, *shape)."""

    spec: OptimizerSpec
    settings: dict[str, Any]
    weight: Array
    grads: Array


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
        case = replace(case, settings=case.settings | told(spec.name, "INTEGERS", {}))
        return _renumbered(case, KINDS["integers"], upstream_too=True)

    return large_cases(spec, dtype).map(as_integers)


@st.composite
def descents(draw: st.DrawFn, spec: OptimizerSpec, dtype: str) -> Descent:
    """Draw an optimizer's settings, a weight, and gradients of many magnitudes, none of them 0."""
    settings = draw(optimizer_settings(spec), label="settings")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    shape = draw(st.sampled_from([(), (3, 5), (65,)]), label="shape")
    grads = rng.choice([-1, 1], (6, *shape)) * 10 ** rng.uniform(-4, 2, (6, *shape))
    return Descent(spec, settings, cast(rng.standard_normal(shape), dtype), cast(grads, dtype))


def _renumbered(
    case: Case,
    kind: Callable[[np.random.Generator, tuple[int, ...]], Array],
    upstream_too: bool = False,
) -> Case:
    """Return the case with other numbers in the same shapes."""
    rng = np.random.default_rng(case.grad_y.size)
    is_positive = told(case.spec.name, "POSITIVE", False)

    def numbers(x: Array) -> Array:
        if x.dtype.kind != "f":
            return x
        values = kind(rng, x.shape)
        return cast(np.abs(values) + 0.25 if is_positive else values, case.dtype)

    inputs = {name: numbers(x) for name, x in case.inputs.items()}
    return replace(
        case, inputs=inputs, grad_y=numbers(case.grad_y) if upstream_too else case.grad_y
    )


def changed(
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


def case_of(layer: str, like: Case, inputs: Arrays, **settings: Any) -> Case:
    """Return a case of another layer, with the same upstream gradient."""
    spec = spec_of(layer)
    return Case(spec, inputs, spec.defaults() | settings, like.grad_y)


def random_like(case: Case, shape: tuple[int, ...] | None = None) -> Array:
    """Return numbers of the case's dtype that depend on nothing but a shape."""
    rng = np.random.default_rng(1 + case.grad_y.size)
    return cast(rng.standard_normal(case.grad_y.shape if shape is None else shape), case.dtype)


def on_a_grid(x: Array, limit: float = 64, spacing: float = 2.0**-6) -> Array:
    """Return multiples of `spacing` up to `limit`, whose sums and differences are exact."""
    return cast(np.round(np.clip(x, -limit, limit) / spacing) * spacing, x.dtype)


def cast(array: Any, dtype: Any) -> Array:
    """Return numbers rounded to a dtype."""
    return np.asarray(array).astype(dtype)


def gradients_in(found: Mapping[str, Any]) -> list[str]:
    """Return the names of an outcome's gradients."""
    return [what for what in found if what != "y"]
