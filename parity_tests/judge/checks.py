"""The checks that the laws are made of; each can be called by any test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hypothesis
import numpy as np

import twingrad as tg
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, Arrays
from twingrad.parity_tests.judge import oracle, votes
from twingrad.parity_tests.judge.bounds import derived, scaled
from twingrad.parity_tests.judge.case import Case, Walk
from twingrad.parity_tests.judge.constants import constant
from twingrad.parity_tests.judge.options import Options
from twingrad.parity_tests.judge.recurrence import Recurrence
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import SHAPE

STEPS = 200  # of an optimizer's walk
RATCHET = 1.5
FEW_ULP = 4  # no regression, however few were recorded

# The errors recorded of a case: shares of the derived bound, by tensor and backend.
Recorded = Mapping[str, Mapping[str, float]]
NOTHING: Mapping[str, Any] = {}


@dataclass
class Finding:
    """One element that a backend has wrong, or worse than it was."""

    subject: str  # the layer or optimizer
    dtype: str
    what: str  # "y", "grad_<input>", "weight"
    index: tuple[int, ...]
    values: dict[str, float]
    expected: float
    bound: float
    wrong: list[str]  # beyond the bound
    worse: list[str]  # within it, but further off than was recorded
    source: Case | Walk  # what to do again
    recorded: Mapping[str, float]  # by backend; empty for a case that is nobody's worst
    options: Options  # of the run that found it


class Disagreement(AssertionError):
    """A backend is further from the definition than its bound, or its record, allows."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding

    def __str__(self) -> str:
        # Written when it is read: while Hypothesis shrinks, thousands are raised and dropped.
        return describe(self.finding)


def describe(finding: Finding) -> str:
    """Return all that is needed to understand a disagreement and to see it again."""
    spacing = float(_spacing(np.asarray(finding.expected), np.dtype(finding.dtype)))
    at = f"{finding.subject} ({finding.dtype}): {finding.what}{list(finding.index)} is"
    right = [name for name in finding.values if name not in finding.wrong + finding.worse]
    if finding.wrong:
        headline = f"{at} wrong on {' and '.join(finding.wrong)}"
    else:
        headline = f"{at} less accurate than recorded on {' and '.join(finding.worse)}"
    lines = [headline + (f", right on {' and '.join(right)}" if right else "")]
    case = finding.source if isinstance(finding.source, Case) else None
    condition = "" if case is None else votes.condition_in_words(case, finding.what, finding.index)
    lines.append(
        f"  {'definition':<10} {finding.expected!r}   "
        f"(error allowed: {finding.bound:.3g}{condition})"
    )
    for name, value in finding.values.items():
        error = abs(value - finding.expected)
        lines.append(
            f"  {name:<10} {value!r}   off by {error:.3g} = {error / spacing:.3g} ulp = "
            f"{_share(error, finding.bound):.3g} of the bound   {_verdict(finding, name)}"
        )
    if case is not None:
        lines += [f"  {line}" for line in votes.in_words(case, finding.what, finding.index)]
    lines += ["inputs:", *(f"  {line}" for line in str(finding.source).splitlines())]
    lines.append(f"again: {finding.options.command(finding.subject, finding.dtype)}")
    return "\n".join(lines)


def _verdict(finding: Finding, name: str) -> str:
    if name in finding.wrong:
        return "wrong"
    if name not in finding.worse:
        return "right"
    share = finding.recorded[name] / constant(finding.subject, finding.what, finding.dtype)
    return f"worse than {RATCHET} times the recorded {share:.3g}"


def check(case: Case | Walk, session: Session, recorded: Recorded = NOTHING) -> None:
    """Everything that a case can be asked."""
    if isinstance(case, Walk):
        check_walk(case, session, recorded)
    else:
        check_forward(case, session, recorded)
        check_gradient(case, session, recorded)


def check_forward(case: Case, session: Session, recorded: Recorded = NOTHING) -> None:
    """Every backend's output is within its bound of the definition, and near what was recorded."""
    computed = {
        name: backend.forward(case.spec, case.inputs, case.settings)
        for name, backend in session.backends.items()
    }
    indices = np.argwhere(np.ones(case.grad_y.shape, bool))
    expected = oracle.output(case).reshape(-1)
    room = derived(case)["y"]
    before = recorded.get("y", {})
    _aim(compare(case, "y", computed, indices, expected, room, session, before), "y")


def check_gradient(case: Case, session: Session, recorded: Recorded = NOTHING) -> None:
    """Every backend's gradients are within their bounds of the definition's complex step."""
    computed = {name: gradients(name, case) for name in session.backends}
    explained = derived(case)
    worst = dict.fromkeys(session.backends, 0.0)
    for input_name, (indices, expected) in oracle.gradients(case).items():
        what = f"grad_{input_name}"
        grads = {name: grads[input_name] for name, grads in computed.items()}
        room, before = explained.get(what, 0), recorded.get(what, {})
        shares = [compare(case, what, grads, indices, expected, room, session, before)]
        if len(indices) < case.inputs[input_name].size:
            shares.append(_check_everywhere(case, input_name, grads, explained[what], session))
        for share in shares:
            worst = {name: max(worst[name], share.get(name, 0.0)) for name in worst}
    _aim(worst, "gradients")


def check_walk(walk: Walk, session: Session, recorded: Recorded = NOTHING) -> None:
    """Every backend's weights follow the optimizer's recurrence, step by step."""
    spec, settings = walk.optimizer, walk.settings
    rng = np.random.default_rng(walk.seed)
    weight = rng.standard_normal(SHAPE).astype(walk.dtype)
    path = Recurrence(spec, settings, weight)
    weights = dict.fromkeys(session.backends, weight)
    states: dict[str, Any] = dict.fromkeys(session.backends)
    scale = 10 ** rng.uniform(-4, 2, SHAPE)
    for _ in range(STEPS):
        grad = (rng.standard_normal(SHAPE) * scale).astype(walk.dtype)
        path.step(grad)
        for name in weights:
            weights[name], states[name] = tg.optimizer_step(
                spec.name, weights[name], grad, states[name], backend=name, **settings
            )
        before = recorded.get("weight", {})
        compare_weights(walk, weights, path.weight, path.allowed, session, before)


def _check_everywhere(
    case: Case,
    input_name: str,
    grads: Mapping[str, Array],
    explained: Array,
    session: Session,
) -> dict[str, float]:
    """Where complex steps for all are too many: one for the element that parts the backends."""
    with np.errstate(all="ignore"):
        parted = np.ptp([grad.astype(np.float64) for grad in grads.values()], axis=0) / explained
    index = np.unravel_index(np.argmax(parted), parted.shape)
    at = np.array([index])
    expected = oracle.gradient_at(case, input_name, at)
    return compare(case, f"grad_{input_name}", grads, at, expected, explained, session)


def _aim(shares: Mapping[str, float], what: str) -> None:
    """Let Hypothesis climb towards the largest error, as a share of its bound."""
    if hypothesis.currently_in_test_context():
        for name, share in shares.items():
            if 0 < share < math.inf:
                hypothesis.target(math.log2(share), label=f"{name} {what}")


def gradients(backend: str, case: Case) -> Arrays:
    """Return one backend's gradients of a case."""
    # The arrays as they lie in memory: a copy would be contiguous, whatever the layout was.
    _, grads = load_backend(backend).vjp(
        case.spec, case.inputs, lambda _: case.grad_y, case.settings
    )
    return grads


def compare(
    case: Case,
    what: str,
    computed: Mapping[str, Array],
    indices: Array,
    expected: Array,
    explained: Array | float,
    session: Session,
    recorded: Mapping[str, float] = NOTHING,
) -> dict[str, float]:
    """Return each backend's largest error at `indices` of a tensor, as a share of the bound.

    `explained` is the derived bound. Raises Disagreement where an error is beyond the constant's
    part of it, or RATCHET times what was recorded of the backend on this case.
    """
    subject = (case.spec.name, str(case.dtype), what)
    return _compare(subject, computed, indices, expected, explained, case, session, recorded)


def compare_weights(
    walk: Walk,
    computed: Mapping[str, Array],
    expected: Array,
    explained: Array,
    session: Session,
    recorded: Mapping[str, float] = NOTHING,
) -> dict[str, float]:
    """Do what `compare` does, everywhere in the weights that an optimizer has walked to."""
    subject = (walk.optimizer.name, walk.dtype, "weight")
    indices = np.argwhere(np.ones(expected.shape, bool))
    flat = expected.reshape(-1)
    return _compare(subject, computed, indices, flat, explained, walk, session, recorded)


def _compare(
    subject: tuple[str, str, str],
    computed: Mapping[str, Array],
    indices: Array,
    expected: Array,
    explained: Array | float,
    source: Case | Walk,
    session: Session,
    recorded: Mapping[str, float],
) -> dict[str, float]:
    layer, dtype_name, what = subject
    dtype, where = np.dtype(dtype_name), tuple(indices.T)
    shape = next(iter(computed.values())).shape
    room = np.broadcast_to(explained, shape)[where].reshape(-1)
    c = constant(layer, what, dtype_name)
    allowed = scaled(c, room, dtype)
    shares: dict[str, float] = {}
    errors: dict[str, Array] = {}
    limits: dict[str, Array] = {}
    worst: tuple[float, int] = (1.0, -1)
    for name, array in computed.items():
        assert array.shape == shape, f"{layer}: {what} has shape {array.shape} on {name}"
        assert array.dtype == dtype, f"{layer}: {what} is {array.dtype} on {name}"
        values = array[where].reshape(-1)
        error = errors[name] = _errors(values, expected, dtype)
        limits[name] = allowed
        if not error.size:
            continue
        if name in recorded:
            least = np.abs(expected).astype(np.float64) * (FEW_ULP * float(np.finfo(dtype).eps))
            recent = scaled(RATCHET * recorded[name], room, dtype)
            limits[name] = np.minimum(allowed, np.maximum(recent, least))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratios = np.where(error == 0, 0, error / room)
            excess = np.where(error == 0, 0, error / limits[name])
            # Below its own bound a value has no digits left, and no unit in its last place.
            ulp = error / _spacing(np.maximum(np.abs(expected), room), dtype)
        key = (layer, dtype_name, what, name)
        session.record.add(key, ulp, ratios, (values, expected), indices, source)
        shares[name] = float(np.max(ratios)) / c
        worst = max(worst, (float(np.max(excess)), int(np.argmax(excess))))
    if worst[0] <= 1:
        return shares
    at = worst[1]
    index = tuple(int(i) for i in indices[at])
    beyond = [name for name, error in errors.items() if error[at] > allowed[at]]
    raise Disagreement(
        Finding(
            layer,
            dtype_name,
            what,
            index,
            {name: float(array[index]) for name, array in computed.items()},
            float(expected[at]),
            float(allowed[at]),
            beyond,
            [
                name
                for name, error in errors.items()
                if error[at] > limits[name][at] and name not in beyond
            ],
            source,
            recorded,
            session.options,
        )
    )


def _errors(values: Array, expected: Array, dtype: np.dtype[Any]) -> Array:
    """Return |values - expected|: 0 where both are the same NaN or infinity, else inf."""
    with np.errstate(all="ignore"):
        rounded = expected.astype(dtype)
        error = np.abs(values.astype(expected.dtype) - expected)
        special = ~np.isfinite(rounded) | ~np.isfinite(values)
        same = (np.isnan(values) & np.isnan(rounded)) | (values == rounded)
        return np.where(special, np.where(same, 0, np.inf), error).astype(np.float64)


def _spacing(expected: Array, dtype: np.dtype[Any]) -> Array:
    """Return the unit in the last place at `expected`; that of the smallest normal below it."""
    info = np.finfo(dtype)
    size = np.clip(
        np.abs(expected.astype(np.float64)), float(info.smallest_normal), float(info.max)
    )
    _, exponent = np.frexp(size)
    return np.asarray(np.ldexp(float(info.eps), exponent - 1))


def _share(error: float, bound: float) -> float:
    return error / bound if bound else (float("inf") if error else 0.0)
