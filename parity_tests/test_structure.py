"""Shapes, dtypes and memory: what goes in stays as it is, what comes out belongs to the caller."""

import itertools

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from twingrad.core.registry import load_backend
from twingrad.core.spec import LayerSpec
from twingrad.parity_tests.judge import oracle
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import cases


@given(data=st.data())
def test_shapes_and_dtypes_follow_the_inputs(
    spec: LayerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    case = data.draw(cases(spec, dtype))
    differentiable = case.inputs if spec.variadic else spec.differentiable
    for name in session.options.backends:
        y, grads = load_backend(name).vjp(spec, case.inputs, lambda _: case.grad_y, case.settings)
        assert (y.shape, y.dtype) == (oracle.output(case).shape, np.dtype(dtype)), name
        assert list(grads) == [key for key in differentiable if key in case.inputs], name
        for key, grad in grads.items():
            assert type(grad) is np.ndarray, name
            assert (grad.shape, grad.dtype) == (case.inputs[key].shape, np.dtype(dtype)), name


@given(data=st.data())
def test_no_input_is_changed(
    spec: LayerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    case = data.draw(cases(spec, dtype))
    for array in (*case.inputs.values(), case.grad_y):
        array.setflags(write=False)
    before = [array.tobytes() for array in (*case.inputs.values(), case.grad_y)]
    for name in session.options.backends:
        backend = load_backend(name)
        backend.forward(spec, case.inputs, case.settings)
        backend.vjp(spec, case.inputs, lambda _: case.grad_y, case.settings)
    assert before == [array.tobytes() for array in (*case.inputs.values(), case.grad_y)]


@given(data=st.data())
def test_outputs_share_no_memory(
    spec: LayerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    case = data.draw(cases(spec, dtype, min_length=1))
    given_arrays = [*case.inputs.values(), case.grad_y]
    for name in session.options.backends:
        backend = load_backend(name)
        y, grads = backend.vjp(spec, case.inputs, lambda _: case.grad_y, case.settings)
        made = [backend.forward(spec, case.inputs, case.settings), y, *grads.values()]
        for one, other in (
            *itertools.product(made, given_arrays),
            *itertools.combinations(made, 2),
        ):
            assert not np.shares_memory(one, other), f"{spec.name} on {name}"


@given(data=st.data())
def test_the_same_call_gives_the_same_bits(
    spec: LayerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    case = data.draw(cases(spec, dtype))
    for name in session.options.backends:
        backend = load_backend(name)
        first, second = (
            backend.vjp(spec, case.inputs, lambda _: case.grad_y, case.settings) for _ in range(2)
        )
        assert first[0].tobytes() == second[0].tobytes()
        assert [g.tobytes() for g in first[1].values()] == [g.tobytes() for g in second[1].values()]


@given(data=st.data())
def test_a_gradient_is_linear_in_powers_of_two(
    spec: LayerSpec, dtype: str, session: Session, data: st.DataObject
) -> None:
    """Scaling the upstream gradient by -4 scales every gradient by -4, bit for bit."""
    case = data.draw(cases(spec, dtype))
    normal = float(np.finfo(dtype).smallest_normal)
    # What is rounded below the normal numbers on the way cannot be scaled exactly.
    grad_y = np.where(np.abs(case.grad_y) < 2.0**-20, case.grad_y.dtype.type(0), case.grad_y)
    for name in session.options.backends:
        backend = load_backend(name)
        _, once = backend.vjp(spec, case.inputs, lambda _: grad_y, case.settings)
        _, scaled = backend.vjp(spec, case.inputs, lambda _: -4 * grad_y, case.settings)
        for key, grad in once.items():
            exact = (grad == 0) | (np.abs(grad) >= normal * 2**30)
            np.testing.assert_array_equal(
                np.where(exact, scaled[key], 0),
                np.where(exact, -4 * grad, 0),
                f"{spec.name} on {name}",
            )
