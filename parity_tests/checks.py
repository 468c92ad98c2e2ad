"""The checks that the laws are made of; each can be called by any test."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from twingrad.core.backend import load_backend
from twingrad.core.spec import Array, Arrays
from twingrad.parity_tests import oracle
from twingrad.parity_tests.bounds import bounds
from twingrad.parity_tests.options import options
from twingrad.parity_tests.record import RECORD
from twingrad.parity_tests.strategies import Case


@dataclass
class Finding:
    """One element that a backend has wrong."""

    what: str  # "y" or "grad_<input>"
    index: tuple[int, ...]
    values: dict[str, float]
    expected: float
    bound: float
    wrong: list[str] = field(default_factory=list)


class Disagreement(AssertionError):
    """A backend is further from the definition than its bound allows."""

    def __init__(self, case: Case, finding: Finding) -> None:
        self.case, self.finding = case, finding
        super().__init__(describe(case, finding))


def describe(case: Case, finding: Finding) -> str:
    """Return all that is needed to understand a disagreement and to see it again."""
    spacing = _spacing(np.asarray(finding.expected), case.dtype)
    names = list(finding.values)
    right = [name for name in names if name not in finding.wrong]
    lines = [
        f"{case.spec.name} ({case.dtype}): {finding.what}{list(finding.index)} is wrong on "
        f"{' and '.join(finding.wrong)}" + (f", right on {' and '.join(right)}" if right else ""),
        f"  definition {finding.expected!r}   (error allowed: {finding.bound:.3g})",
    ]
    for name, value in finding.values.items():
        error = abs(float(value) - float(finding.expected))
        mark = "wrong" if name in finding.wrong else "right"
        lines.append(
            f"  {name:<10} {value!r}   off by {error:.3g} = {error / spacing:.3g} ulp = "
            f"{_ratio(error, finding.bound):.3g} of the bound   {mark}"
        )
    lines.append("inputs:")
    with np.printoptions(threshold=200, precision=17, floatmode="unique"):
        lines += [f"  {line}" for line in repr(case).splitlines()]
    lines.append(f"again: {options().command(case.spec.name, str(case.dtype))}")
    return "\n".join(lines)


def check_forward(case: Case) -> None:
    """Every backend's output is within its bound of the definition."""
    computed = {
        name: load_backend(name).forward(case.spec, _copies(case.inputs), case.settings)
        for name in options().backends
    }
    indices = np.argwhere(np.ones(case.grad_y.shape, bool))
    expected = oracle.output(case).reshape(-1)
    compare(case, "y", computed, indices, expected, bounds(case)["y"])


def check_gradient(case: Case) -> None:
    """Every backend's gradients are within their bounds of the definition's complex step."""
    computed = {name: gradients(name, case) for name in options().backends}
    allowed = bounds(case)
    for input_name, (indices, expected) in oracle.gradients(case).items():
        what = f"grad_{input_name}"
        grads = {name: grads[input_name] for name, grads in computed.items()}
        compare(case, what, grads, indices, expected, allowed.get(what, 0))
        if len(indices) < case.inputs[input_name].size:
            _check_everywhere(case, input_name, grads, allowed[what])


def _check_everywhere(
    case: Case, input_name: str, grads: Mapping[str, Array], allowed: Array
) -> None:
    """Where complex steps are too many: all elements, against float64 on both backends."""
    wide = Case(
        case.spec,
        {name: x if x.dtype == bool else x.astype(np.float64) for name, x in case.inputs.items()},
        case.settings,
        case.grad_y.astype(np.float64),
    )
    what = f"grad_{input_name}"
    indices = np.argwhere(np.ones(case.inputs[input_name].shape, bool))
    for judge in options().backends:
        expected = gradients(judge, wide)[input_name].reshape(-1)
        # The judge may itself be wrong by the bound of its own dtype.
        compare(case, what, grads, indices, expected, allowed + bounds(wide)[what])


def gradients(backend: str, case: Case) -> Arrays:
    """Return one backend's gradients of a case."""
    _, grads = load_backend(backend).vjp(
        case.spec, _copies(case.inputs), lambda _: case.grad_y.copy(), case.settings
    )
    return grads


def compare(
    case: Case,
    what: str,
    computed: Mapping[str, Array],
    indices: Array,
    expected: Array,
    allowed: Array | float,
) -> None:
    """Raise Disagreement if any backend is out of bounds at any of `indices`; record the errors."""
    where = tuple(indices.T)
    spacing = _spacing(expected, case.dtype)
    shape = next(iter(computed.values())).shape
    limit = np.broadcast_to(allowed, shape)[where].reshape(-1)
    worst: tuple[float, int] | None = None
    errors: dict[str, Array] = {}
    for name, array in computed.items():
        assert array.shape == shape, (
            f"{case.spec.name}: {what} has shape {array.shape} on {name}, else {shape}"
        )
        assert array.dtype == case.dtype, f"{case.spec.name}: {what} is {array.dtype} on {name}"
        error = errors[name] = _errors(array[where].reshape(-1), expected, case.dtype)
        if not error.size:
            continue
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratios = np.where(error == 0, 0, error / limit)
            RECORD.add(case.spec.name, str(case.dtype), what, name, error / spacing, ratios)
        if np.max(ratios) > max(1.0, worst[0] if worst else 0.0):
            worst = (float(np.max(ratios)), int(np.argmax(ratios)))
    if worst is None:
        return
    at = worst[1]
    index = tuple(int(i) for i in indices[at])
    raise Disagreement(
        case,
        Finding(
            what,
            index,
            {name: float(array[index]) for name, array in computed.items()},
            float(expected[at]),
            float(limit[at]),
            [name for name, error in errors.items() if error[at] > limit[at]],
        ),
    )


def _errors(values: Array, expected: Array, dtype: np.dtype[np.floating]) -> Array:
    """Return |values - expected|: 0 where both are the same NaN or infinity, else inf."""
    with np.errstate(all="ignore"):
        rounded = expected.astype(dtype)
        error = np.abs(values.astype(expected.dtype) - expected)
        special = ~np.isfinite(rounded) | ~np.isfinite(values)
        same = (np.isnan(values) & np.isnan(rounded)) | (values == rounded)
        return np.where(special, np.where(same, 0, np.inf), error).astype(np.float64)


def _spacing(expected: Array, dtype: np.dtype[np.floating]) -> Array:
    """Return the unit in the last place at `expected`; that of the smallest normal below it."""
    info = np.finfo(dtype)
    size = np.clip(
        np.abs(expected.astype(np.float64)), float(info.smallest_normal), float(info.max)
    )
    _, exponent = np.frexp(size)
    return np.ldexp(float(info.eps), exponent - 1)


def _ratio(error: float, bound: float) -> float:
    return error / bound if bound else (float("inf") if error else 0.0)


def _copies(inputs: Arrays) -> Arrays:
    return {name: array.copy() for name, array in inputs.items()}
