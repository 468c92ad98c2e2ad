"""The handwritten backward is the adjoint of the definition's derivative, along any direction.

For a direction v: <grad_y, J v>, with J v from one complex step of the definition, equals
<J' grad_y, v> from the backward. It looks at every element of arrays of any size at once.
"""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from twingrad.core.spec import LayerSpec
from twingrad.parity_tests.judge import oracle
from twingrad.parity_tests.judge.bounds import bounds, derived
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.checks import gradients
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import large_cases


def adjoint_gap(case: Case, backend: str) -> tuple[float, float]:
    """Return |<grad_y, J v> - <J' grad_y, v>| for a random v, and how large it may be."""
    rng = np.random.default_rng(case.grad_y.size)
    grads = gradients(backend, case)
    direction = {name: rng.standard_normal(grad.shape) for name, grad in grads.items()}
    allowed = bounds(case)
    forwards = oracle.directional(case, direction)
    backwards = sum((grads[name] * v).sum(dtype=np.longdouble) for name, v in direction.items())
    room = sum((np.abs(v) * allowed[f"grad_{name}"]).sum() for name, v in direction.items())
    return abs(float(forwards - backwards)), float(room)


@given(data=st.data())
def test_backward_is_the_adjoint_of_the_derivative(
    spec: LayerSpec, session: Session, data: st.DataObject
) -> None:
    case = data.draw(large_cases(spec, "float64"))
    for backend in session.options.backends:
        gap, room = adjoint_gap(case, backend)
        # The sum over elements is exact in the moved layers, but for its own rounding.
        rounding = np.finfo(np.float64).eps * sum(
            float(np.abs(grad).sum()) for grad in gradients(backend, case).values()
        )
        assert gap <= room + rounding, (
            f"{spec.name} on {backend}: off by {gap:.3g}, allowed {room:.3g}"
        )


@pytest.mark.ours
@given(data=st.data())
def test_the_complex_step_is_the_derivative(layer: LayerSpec, data: st.DataObject) -> None:
    """The oracle itself: a complex step of a definition agrees with a central difference of it."""
    case = data.draw(large_cases(layer, "float64", is_smooth=True))
    names = [name for name in layer.differentiable if name in case.inputs]
    rng = np.random.default_rng(7)
    direction = {name: rng.standard_normal(case.inputs[name].shape) for name in names}
    step = np.finfo(np.longdouble).eps ** (1 / np.longdouble(3))

    def at(t: Any) -> Any:
        moved = {
            name: x + t * direction[name] if name in direction else x
            for name, x in case.inputs.items()
        }
        with np.errstate(all="ignore"):
            y = layer.definition(**moved, **case.settings)
        return (case.grad_y * np.asarray(y)).sum(dtype=np.longdouble)

    if layer.name == "relu" or layer.booleans:
        # A difference across a kink is no derivative; inputs this near to one are moved away.
        x = case.inputs["x" if "x" in case.inputs else "query"]
        x += np.where(x < 0, -1e-3, 1e-3)
    central = (at(step) - at(-step)) / (2 * step)
    complex_step = oracle.directional(case, direction)
    # It errs by the third derivative times step^2, which is below 2^10 times the sizes here.
    size = (
        sum(
            float((np.abs(v) * derived(case)[f"grad_{name}"]).sum())
            for name, v in direction.items()
        )
        / np.finfo(np.float64).eps
    )
    assert abs(float(central - complex_step)) <= float(step**2) * 1024 * (
        size + abs(float(at(step)))
    )
