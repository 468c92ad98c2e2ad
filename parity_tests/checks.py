"""The checks that the laws are made of; each can be called by any test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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

    subject: str  # the layer or optimizer
    dtype: str
    what: str  # "y", "grad_<input>", "weight"
    index: tuple[int, ...]
    values: dict[str, float]
    expected: float
    bound: float
    wrong: list[str]
    inputs: str  # written out, to be read or pasted


class Disagreement(AssertionError):
    """A backend is further from the definition than its bound allows."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(describe(finding))


def describe(finding: Finding) -> str:
    """Return all that is needed to understand a disagreement and to see it again."""
    spacing = float(_spacing(np.asarray(finding.expected), np.dtype(finding.dtype)))
    right = [name for name in finding.values if name not in finding.wrong]
    lines = [
        f"{finding.subject} ({finding.dtype}): {finding.what}{list(finding.index)} is wrong on "
        f"{' and '.join(finding.wrong)}" + (f", right on {' and '.join(right)}" if right else ""),
        f"  {'definition':<10} {finding.expected!r}   (error allowed: {finding.bound:.3g})",
    ]
    for name, value in finding.values.items():
        error = abs(value - finding.expected)
        mark = "wrong" if name in finding.wrong else "right"
        lines.append(
            f"  {name:<10} {value!r}   off by {error:.3g} = {error / spacing:.3g} ulp = "
            f"{_ratio(error, finding.bound):.3g} of the bound   {mark}"
        )
    lines += ["inputs:", *(f"  {line}" for line in finding.inputs.splitlines())]
    lines.append(f"again: {options().command(finding.subject, finding.dtype)}")
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
    """Where complex steps for all are too many: one for the element that parts the backends."""
    with np.errstate(all="ignore"):
        parted = np.ptp([grad.astype(np.float64) for grad in grads.values()], axis=0) / allowed
    index = np.unravel_index(np.argmax(parted), parted.shape)
    at = np.array([index])
    expected = oracle.gradient_at(case, input_name, at)
    compare(case, f"grad_{input_name}", grads, at, expected, allowed)


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
    """Raise Disagreement if a backend is out of bounds at one of `indices` of a tensor."""
    _compare(case.spec.name, str(case.dtype), what, computed, indices, expected, allowed, case)


def compare_values(
    subject: str,
    what: str,
    computed: Mapping[str, Array],
    expected: Array,
    allowed: Array,
    inputs: str,
) -> None:
    """Raise Disagreement if a backend is out of bounds anywhere in an array."""
    dtype = str(next(iter(computed.values())).dtype)
    indices = np.argwhere(np.ones(expected.shape, bool))
    _compare(subject, dtype, what, computed, indices, expected.reshape(-1), allowed, inputs)


def _compare(
    subject: str,
    dtype: str,
    what: str,
    computed: Mapping[str, Array],
    indices: Array,
    expected: Array,
    allowed: Array | float,
    inputs: object,
) -> None:
    where = tuple(indices.T)
    shape = next(iter(computed.values())).shape
    limit = np.broadcast_to(allowed, shape)[where].reshape(-1)
    errors: dict[str, Array] = {}
    worst: tuple[float, int] = (1.0, -1)
    for name, array in computed.items():
        assert array.shape == shape, f"{subject}: {what} has shape {array.shape} on {name}"
        assert array.dtype == dtype, f"{subject}: {what} is {array.dtype} on {name}"
        error = errors[name] = _errors(array[where].reshape(-1), expected, np.dtype(dtype))
        if not error.size:
            continue
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratios = np.where(error == 0, 0, error / limit)
            # Below its own bound a value has no digits left, and no unit in its last place.
            ulp = error / _spacing(np.maximum(np.abs(expected), limit), np.dtype(dtype))
        RECORD.add(subject, dtype, what, name, ulp, ratios)
        worst = max(worst, (float(np.max(ratios)), int(np.argmax(ratios))))
    if worst[0] <= 1:
        return
    at = worst[1]
    index = tuple(int(i) for i in indices[at])
    written = inputs if isinstance(inputs, str) else repr(inputs)
    wrong = [name for name, error in errors.items() if error[at] > limit[at]]
    values = {name: float(array[index]) for name, array in computed.items()}
    raise Disagreement(
        Finding(
            subject,
            dtype,
            what,
            index,
            values,
            float(expected[at]),
            float(limit[at]),
            wrong,
            written,
        )
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
    return np.asarray(np.ldexp(float(info.eps), exponent - 1))


def _ratio(error: float, bound: float) -> float:
    return error / bound if bound else (float("inf") if error else 0.0)


def _copies(inputs: Arrays) -> Arrays:
    return {name: array.copy() for name, array in inputs.items()}
