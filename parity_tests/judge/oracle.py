"""The first oracle: a spec's definition, in a precision above the one that is judged.

float16 and float32 are judged in float64, float64 in longdouble (64 bits of mantissa on x86; where
longdouble is no wider than float64, the bounds still hold but are half used up by the oracle).
Gradients come from a complex step, which has no cancellation: see core/complex_step.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.spec import Array, Arrays, LayerSpec
from twingrad.parity_tests.judge.case import Case

ALL_STEPS = 256  # up to so many elements, every one of them gets a complex step of its own
SAMPLED_STEPS = 5  # of each larger input


def precise(dtype: np.dtype[Any]) -> Any:
    """Return the dtype in which values of `dtype` are judged."""
    return np.longdouble if dtype == np.float64 else np.float64


def output(case: Case) -> Array:
    """Return the definition's output, in the judging precision."""
    return _evaluate(case.spec, _widened(case), case.settings)


def gradients(case: Case) -> dict[str, tuple[Array, Array]]:
    """Return, for each differentiable input, indices (count, ndim) and the gradient there.

    All indices of small inputs and of elementwise layers, some of each large one.
    """
    names = case.inputs if case.spec.variadic else case.spec.differentiable
    return {name: _gradient(case, name) for name in names if name in case.inputs}


def directional(case: Case, direction: Arrays) -> Any:
    """Return d/dt sum(grad_y * y) along `direction` (an array for each differentiable input)."""
    inputs, step = _widened(case), _step(case)
    moved = {
        name: x + 1j * step * direction[name] if name in direction else x
        for name, x in inputs.items()
    }
    y = _evaluate(case.spec, moved, case.settings)
    return (case.grad_y * (y.imag / step)).sum()


def gradient_at(case: Case, name: str, indices: Array) -> Array:
    """Return the gradient of one input at `indices` (count, ndim), a complex step for each."""
    inputs, step = _widened(case), _step(case)
    values = np.zeros(len(indices), inputs[name].dtype)
    for number, index in enumerate(indices):
        moved = np.asarray(inputs[name], np.result_type(inputs[name], np.complex64))
        moved[tuple(index)] += 1j * step
        y = _evaluate(case.spec, {**inputs, name: moved}, case.settings)
        values[number] = (case.grad_y * (y.imag / step)).sum()
    return values


def _gradient(case: Case, name: str) -> tuple[Array, Array]:
    x = case.inputs[name]
    indices = np.argwhere(np.ones(x.shape, bool))
    if _is_elementwise(case.spec):
        # Each output depends on one input, so one step for all is one step for each.
        inputs, step = _widened(case), _step(case)
        y = _evaluate(case.spec, {**inputs, name: inputs[name] + 1j * step}, case.settings)
        return indices, (case.grad_y * (y.imag / step)).reshape(-1)
    if x.size > ALL_STEPS:
        rng = np.random.default_rng(x.size)
        indices = indices[rng.choice(len(indices), SAMPLED_STEPS, replace=False)]
    return indices, gradient_at(case, name, indices)


def _evaluate(spec: LayerSpec, inputs: Arrays, settings: dict[str, Any]) -> Array:
    with np.errstate(all="ignore"):
        if spec.variadic:
            return np.asarray(spec.definition(*inputs.values(), **settings))
        return np.asarray(spec.definition(**inputs, **settings))


def _widened(case: Case) -> Arrays:
    wide = precise(case.dtype)
    return {name: x.astype(wide) if x.dtype.kind == "f" else x for name, x in case.inputs.items()}


def _step(case: Case) -> Any:
    # So small that its square is nothing, so large that its product with a gradient is something.
    return np.sqrt(np.finfo(precise(case.dtype)).tiny)


def _is_elementwise(spec: LayerSpec) -> bool:
    shapes = [spec.inputs[name] for name in spec.inputs]
    return spec.output == "..." and set(shapes) == {"..."} and not spec.broadcast
