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

from twingrad.core.backend import load_backend
from twingrad.core.calls import layer
from twingrad.core.spec import Array
from twingrad.parity_tests import oracle
from twingrad.parity_tests.bounds import bounds
from twingrad.parity_tests.checks import gradients
from twingrad.parity_tests.strategies import Case, cases, large_cases

# The handwritten kernels that promise it, with the tensors that they promise it of.
ROUNDED_ONCE = {
    "tanh": ("y", "grad_x"),
    "sigmoid": ("y", "grad_x"),
    "gelu": ("y", "grad_x"),
    "softmax": ("y",),
    "log_softmax": ("y",),
    "bce_with_logits": ("y", "grad_x"),
    "exp": ("y",),
    "log": ("y",),
    "sqrt": ("y", "grad_x"),
    "pow": ("y",),
    "sum": ("y",),
}
# What float64 explains of float32's derived bound. GELU's polynomial for float32 is cut at 2^-33.
OF_FLOAT64 = float(np.finfo(np.float64).eps / np.finfo(np.float32).eps)
OF_POLYNOMIAL = 2.0**-12
SPARE = 1 + 2.0**-20  # of half a unit: the truth itself is rounded, to float64


@pytest.mark.parametrize("name", ROUNDED_ONCE)
@given(data=st.data())
def test_a_float32_result_is_rounded_once(name: str, data: st.DataObject) -> None:
    either = st.one_of(cases(layer(name), "float32"), large_cases(layer(name), "float32"))
    case = data.draw(either, label="case")
    values = {"y": load_backend("numpy").forward(case.spec, dict(case.inputs), case.settings)}
    values |= {f"grad_{key}": grad for key, grad in gradients("numpy", case).items()}
    share = OF_POLYNOMIAL if name == "gelu" else OF_FLOAT64
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
