"""What is computed in float64 is rounded once: a float32 result is the nearest one to the truth.

Bounds of several units in the last place, as sound float32 code needs them, would let a kernel
lose its float64 unseen. Here the last rounding is allowed, and what float64 explains: the derived
bound, with float64's roundoff in the place of float32's.
"""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import twingrad as tg
from twingrad.core.calls import layer
from twingrad.core.catalogue import everything
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array
from twingrad.parity_tests.judge import oracle
from twingrad.parity_tests.judge.bounds import bounds
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.checks import gradients
from twingrad.parity_tests.judge.strategies import cases, large_cases
from twingrad.parity_tests.laws.table import told
from twingrad.parity_tests.runs.exhaustive.functions import functions
from twingrad.parity_tests.runs.exhaustive.sweep import Tally, number_of_floats, sweep

# The handwritten kernels that promise it, with the tensors that they promise it of.
ROUNDED_ONCE: dict[str, tuple[str, ...]] = {
    name: promised for name in everything() if (promised := told(name, "ROUNDED_ONCE"))
}
# What float64 explains of float32's derived bound.
OF_FLOAT64 = float(np.finfo(np.float64).eps / np.finfo(np.float32).eps)
CORRECTLY_ROUNDED = 0.502  # units in the last place: half a unit, and GELU's polynomial
STRIDE, WINDOW = 2**24 - 2**9, 64  # between two samples of all float32, and the floats of each
FEW = 8  # units in the last place: the roundings of a formula in float64
SPARE = 1 + 2.0**-20  # of half a unit: the truth itself is rounded, to float64


@pytest.mark.parametrize("name", ROUNDED_ONCE)
@given(data=st.data())
def test_a_float32_result_is_rounded_once(name: str, data: st.DataObject) -> None:
    either = st.one_of(cases(layer(name), "float32"), large_cases(layer(name), "float32"))
    case = data.draw(either, label="case")
    values = {"y": load_backend("numpy").forward(case.spec, dict(case.inputs), case.settings)}
    values |= {f"grad_{key}": grad for key, grad in gradients("numpy", case).items()}
    share = told(name, "ROUNDED_WITHIN", OF_FLOAT64)
    for what in ROUNDED_ONCE[name]:
        indices, truth = _truth(case, what)
        got = values[what][tuple(indices.T)].reshape(-1)
        room = np.broadcast_to(bounds(case)[what], values[what].shape)[tuple(indices.T)]
        with np.errstate(all="ignore"):
            error = np.abs(got - truth)
            allowed = _spacing(truth) / 2 * SPARE + room.reshape(-1) * share
            fine = (error <= allowed) | ~np.isfinite(truth.astype(np.float32))
        assert fine.all(), f"{what}: {got[~fine]} for {truth[~fine]}"


def _truth(case: Case, what: str) -> tuple[Array, Array]:
    if what == "y":
        return np.argwhere(np.ones(case.grad_y.shape, bool)), oracle.output(case).reshape(-1)
    return oracle.gradients(case)[what.removeprefix("grad_")]


def _spacing(truth: Array) -> Array:
    """Return the distance of two float32 next to each truth; subnormal ones are as far apart."""
    info = np.finfo(np.float32)
    _, exponent = np.frexp(np.maximum(np.abs(truth), float(info.smallest_normal)))
    return np.asarray(np.ldexp(float(info.eps), exponent - 1))


@pytest.mark.parametrize("name", functions())
def test_a_sample_of_float32_is_rounded_correctly(name: str) -> None:
    """In every binade, whether the result is large or tiny: relative digits, not absolute ones."""
    function = functions()[name]
    last = number_of_floats("float32")
    total = {what: Tally() for what in function.directions}
    for start in range(STRIDE // 2, last, STRIDE):
        tallies = sweep(function, "float32", start, start + WINDOW, ("numpy",))
        for what, tally in total.items():
            tally.add(tallies["numpy", what])
    for what, tally in total.items():
        if not function.directions[what].kernel_cancels:
            assert tally.ulp <= CORRECTLY_ROUNDED, f"{what} at {tally.ulp_at:#x}"
            assert not tally.turns + tally.wrong_class + tally.out_of_range, what


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu"])
def test_float64_has_its_digits_in_the_tails(name: str) -> None:
    """To a few units in the last place of each result, however small it is."""
    near = np.linspace(-0.9, 5, 3001)
    far = np.concatenate([-np.geomspace(1.5, 37, 3001), np.linspace(-1, -0.98, 301)])
    for x, whats in ((near, ("y",)), (far[:3001], ("y", "grad_x")), (far[3001:], ("y",))):
        spec = layer(name)
        case = Case(spec, {"x": x}, spec.defaults(), np.ones_like(x))
        y, grads = load_backend("numpy").vjp(spec, case.inputs, np.ones_like, case.settings)
        for what in whats:
            got = y if what == "y" else grads["x"]
            truth = _truth(case, what)[1]
            unit = np.spacing(np.abs(truth).astype(np.float64))
            wrong = np.abs(got - truth) > FEW * unit
            assert not wrong.any(), f"{what} at {x[wrong][:5]}"


def test_the_gradient_of_log_softmax_is_rounded_once_from_its_output() -> None:
    """The output is what is saved, so its rounding is there; what follows is done in float64."""
    rng = np.random.default_rng(37)
    for length in (1, 7, 1000):
        x, g = (rng.standard_normal((50, length)).astype(np.float32) for _ in range(2))
        g += np.float32(0.5)
        y, grads = tg.vjp("log_softmax", {"x": x}, g, backend="numpy")
        wide, total = g.astype(np.float64), g.sum(axis=-1, keepdims=True, dtype=np.float64)
        truth = wide - np.exp(y.astype(np.float64)) * total
        room = OF_FLOAT64 * np.finfo(np.float32).eps * 8 * (np.abs(wide) + np.abs(total))
        assert np.all(np.abs(grads["x"] - truth) <= _spacing(truth) / 2 * SPARE + room)
